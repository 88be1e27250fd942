"""torchvision and detectron2 as peers; neither can reuse an output."""

from boxes import upright


def torchvision(workload, threads):
    """``torchvision.ops.roi_align`` without autograd."""
    import torch
    from torchvision.ops import roi_align

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        x, boxes = torch.from_numpy(features), torch.from_numpy(rois)

        def call():
            with torch.inference_mode():
                return roi_align(x, boxes, workload.output_size, 1.0, workload.sampling_ratio, True).numpy()

        return call

    return prepare


def torchvision_backward(workload, threads):
    """The backward pass alone: the graph is built untimed and kept."""
    import torch
    from torchvision.ops import roi_align

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        x, boxes = torch.from_numpy(features).requires_grad_(), torch.from_numpy(upright(rois))
        pooled = roi_align(x, boxes, workload.output_size, 1.0, workload.sampling_ratio, True)
        grad = torch.from_numpy(grad_output)
        return lambda: torch.autograd.grad(pooled, x, grad, retain_graph=True)[0].numpy()

    return prepare


def torchvision_pool(workload, threads):
    """The operator below ``torchvision.ops.roi_pool``, which drops the argmax that this one returns."""
    import torch
    import torchvision.ops  # noqa: F401

    torch.set_num_threads(threads)
    size = workload.output_size

    def prepare(features, rois, grad_output):
        x, boxes = torch.from_numpy(features), torch.from_numpy(rois)

        def call():
            with torch.inference_mode():
                pooled, argmax = torch.ops.torchvision.roi_pool(x, boxes, 1.0, size, size)
                return pooled.numpy(), argmax.numpy()

        return call

    return prepare


def torchvision_pool_backward(workload, threads):
    """The backward pass alone: the graph is built untimed and kept."""
    import torch
    from torchvision.ops import roi_pool

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        x = torch.from_numpy(features).requires_grad_()
        pooled = roi_pool(x, torch.from_numpy(rois), workload.output_size, 1.0)
        grad = torch.from_numpy(grad_output)
        return lambda: torch.autograd.grad(pooled, x, grad, retain_graph=True)[0].numpy()

    return prepare


def torchvision_ps_align(workload, threads):
    """``torchvision.ops.ps_roi_align`` without autograd; always aligned."""
    from torchvision.ops import ps_roi_align

    return _torchvision_by_position(
        lambda x, boxes: ps_roi_align(x, boxes, workload.output_size, 1.0, workload.sampling_ratio), threads
    )


def torchvision_ps_pool(workload, threads):
    """``torchvision.ops.ps_roi_pool`` without autograd."""
    from torchvision.ops import ps_roi_pool

    return _torchvision_by_position(
        lambda x, boxes: ps_roi_pool(x, boxes, workload.output_size, 1.0), threads
    )


def _torchvision_by_position(pool, threads):
    import torch

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        x, boxes = torch.from_numpy(features), torch.from_numpy(rois)

        def call():
            with torch.inference_mode():
                return pool(x, boxes).numpy()

        return call

    return prepare


def torchvision_ps_align_backward(workload, threads):
    """The backward pass alone: the graph is built untimed and kept."""
    import torch
    from torchvision.ops import ps_roi_align

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        x = torch.from_numpy(features).requires_grad_()
        pooled = ps_roi_align(x, torch.from_numpy(rois), workload.output_size, 1.0, workload.sampling_ratio)
        grad = torch.from_numpy(grad_output)
        return lambda: torch.autograd.grad(pooled, x, grad, retain_graph=True)[0].numpy()

    return prepare


def torchvision_pyramid(workload, threads):
    """``torchvision.ops.MultiScaleRoIAlign`` without autograd; never aligned."""
    import torch

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        pool = torchvision_pooler(
            workload, [torch.from_numpy(each) for each in workload.maps(features)], rois
        )

        def call():
            with torch.inference_mode():
                return pool().numpy()

        return call

    return prepare


def torchvision_pyramid_backward(workload, threads):
    """The backward pass alone: the graph is built untimed and kept."""
    import torch

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        maps = [torch.from_numpy(each).requires_grad_() for each in workload.maps(features)]
        pooled, grad = torchvision_pooler(workload, maps, rois)(), torch.from_numpy(grad_output)
        return lambda: tuple(
            each.numpy() for each in torch.autograd.grad(pooled, maps, grad, retain_graph=True)
        )

    return prepare


def torchvision_pooler(workload, maps, rois):
    """A call of the layer, whose boxes are a list; the results are in the order of the images there."""
    import torch
    from torchvision.ops import MultiScaleRoIAlign

    named = {str(level): each for level, each in enumerate(maps)}
    images, _, height, width = workload.input_shape
    pooler = MultiScaleRoIAlign(list(named), workload.output_size, workload.sampling_ratio)
    sizes = [(4 * height, 4 * width)] * images
    boxes = [torch.as_tensor(rois[rois[:, 0] == image, 1:]) for image in range(images)]
    return lambda: pooler(named, boxes, sizes)


def torchvision_paste(workload, threads):
    """``paste_masks_in_image``, a mask at a time."""
    import torch
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    torch.set_num_threads(threads)
    size = workload.input_shape[2:]

    def prepare(features, rois, grad_output):
        masks, boxes = torch.from_numpy(features), torch.from_numpy(rois[:, 1:])

        def call():
            with torch.inference_mode():
                return paste_masks_in_image(masks, boxes, size).numpy()

        return call

    return prepare


def detectron2_paste(workload, threads):
    """detectron2's way on a CPU: grid_sample on a window for each mask, and the threshold."""
    import torch
    from torch.nn.functional import grid_sample

    torch.set_num_threads(threads)
    height, width = workload.input_shape[2:]

    def paste(mask, box, image):
        left, top = (box[:2].floor() - 1).clamp(min=0).int().tolist()
        right, bottom = int((box[2].ceil() + 1).clamp(max=width)), int((box[3].ceil() + 1).clamp(max=height))
        x = (torch.arange(left, right) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
        y = (torch.arange(top, bottom) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack([x[None, :].expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=2)
        values = grid_sample(mask[None], grid[None], align_corners=False)[0, 0]
        image[top:bottom, left:right] = values >= 0.5

    def prepare(features, rois, grad_output):
        masks, boxes = torch.from_numpy(features), torch.from_numpy(rois[:, 1:])

        def call():
            with torch.inference_mode():
                out = torch.zeros((len(masks), height, width), dtype=torch.bool)
                for each in zip(masks, boxes, out, strict=True):
                    paste(*each)
                return out.numpy()

        return call

    return prepare
