"""torchvision's operators with their gradients, and RoIAlign put together from what torch differentiates.

All functions take arrays and return arrays.
"""

import numpy as np
import torch

torch.set_num_threads(1)


def ops(name):
    """What ``torchvision.ops`` has under a name."""
    import torchvision.ops

    return getattr(torchvision.ops, name)


def pooled(name, features, boxes, given, grad_output):
    """An operator of positional arguments and its gradient; boxes are an array or a list of them."""
    boxes = [torch.tensor(each) for each in boxes] if isinstance(boxes, list) else torch.tensor(boxes)
    return _with_gradient(lambda x: ops(name)(x, boxes, *given), features, grad_output)


def roi_align(problem, grad_output=None):
    """torchvision's, and its gradient with respect to the features."""
    from torchvision.ops import roi_align

    features, rois, output_size, options = problem
    return _with_gradient(
        lambda x: roi_align(x, torch.tensor(rois), output_size, **options), features, grad_output
    )


def roi_pool(problem, grad_output=None):
    """Values, argmax and gradient of the operator below ``torchvision.ops.roi_pool``, which has an argmax."""
    import torchvision.ops  # noqa: F401

    features, rois, output_size, options = problem
    x = torch.tensor(features, requires_grad=grad_output is not None)
    values, argmax = torch.ops.torchvision.roi_pool(
        x, torch.tensor(rois), options["spatial_scale"], *output_size
    )
    if grad_output is not None:
        values.backward(torch.tensor(grad_output))
    return values.detach().numpy(), argmax.numpy(), None if x.grad is None else x.grad.numpy()


def adaptive_pool(features, output_size, mode, grad_output):
    """torch's adaptive pooling of whole maps, and its gradient."""
    from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

    pool = adaptive_max_pool2d if mode == "max" else adaptive_avg_pool2d
    return _with_gradient(lambda x: pool(x, output_size), features, grad_output)


def ps_roi_align(problem, grad_output=None):
    """The position-sensitive one, always aligned."""
    from torchvision.ops import ps_roi_align

    features, rois, output_size, options = problem
    scale, ratio = options["spatial_scale"], options["sampling_ratio"]
    return _with_gradient(
        lambda x: ps_roi_align(x, torch.tensor(rois), output_size, scale, ratio), features, grad_output
    )


def ps_roi_pool(problem, grad_output=None):
    """The position-sensitive one."""
    from torchvision.ops import ps_roi_pool

    features, rois, output_size, options = problem
    scale = options["spatial_scale"]
    return _with_gradient(
        lambda x: ps_roi_pool(x, torch.tensor(rois), output_size, scale), features, grad_output
    )


def roi_pooler(maps, rois, output_size, scales, sampling_ratio, kind):
    """detectron2's ROIPooler of a type: its formula for levels, and torchvision's operators below it."""
    from torchvision.ops import roi_align, roi_pool

    boxes, finest = torch.tensor(rois), -int(np.log2(scales[0]))
    rotated = kind == "ROIAlignRotated"
    sides = boxes[:, 3:5] if rotated else boxes[:, 3:] - boxes[:, 1:3]
    levels = torch.floor(4 + torch.log2(torch.sqrt(sides.prod(dim=1)) / 224 + 1e-8))
    levels = torch.clamp(levels, finest, finest + len(maps) - 1).to(torch.int64) - finest
    pooled = torch.zeros((len(rois), maps[0].shape[1], *output_size))
    for level, (array, scale) in enumerate(zip(maps, scales, strict=True)):
        own, x = torch.nonzero(levels == level)[:, 0], torch.tensor(array)
        if rotated:
            options = {"spatial_scale": scale, "sampling_ratio": sampling_ratio, "aligned": True}
            for k in own:
                pooled[k] = _one_box(x, boxes[k], *output_size, "avg", **options)
        elif kind == "ROIPool":
            pooled[own] = roi_pool(x, boxes[own], output_size, scale)
        else:
            aligned = kind == "ROIAlignV2"
            pooled[own] = roi_align(x, boxes[own], output_size, scale, sampling_ratio, aligned)
    return pooled.numpy()


def multi_scale_pooled(given, options, maps, boxes, image_shapes, grad_output):
    """MultiScaleRoIAlign of maps by their names: its result, the gradient of each map, and its scales."""
    pooler = ops("MultiScaleRoIAlign")(*given, **options)
    tensors = {name: torch.tensor(array, requires_grad=True) for name, array in maps.items()}
    out = pooler(tensors, [torch.tensor(some) for some in boxes], image_shapes)
    out.backward(torch.tensor(grad_output))
    grads = {name: None if x.grad is None else x.grad.numpy() for name, x in tensors.items()}
    return out.detach().numpy(), grads, pooler.scales


def rmac(features, regions, grad_output):
    """R-MAC over torchvision's RoIPool: its vectors, and their gradient with respect to the features."""
    from torch.nn.functional import normalize
    from torchvision.ops import roi_pool

    def vectors(x):
        maxima = roi_pool(x, torch.tensor(regions.astype(features.dtype)), 1)[:, :, 0, 0]
        maxima = normalize(maxima.reshape(len(features), -1, features.shape[1]), dim=2)
        return normalize(maxima.sum(dim=1), dim=1)

    return _with_gradient(vectors, features, grad_output)


def _with_gradient(operator, features, grad_output):
    x = torch.tensor(features, requires_grad=grad_output is not None)
    out = operator(x)
    if grad_output is None:
        return out.numpy()
    out.backward(torch.tensor(grad_output))
    return out.detach().numpy(), x.grad.numpy()


# ---------------------------------------------------------------- by torch's grid_sample


def sampled(problem, grad_output, *, mode="avg"):
    """RoIAlign as samples by ``grid_sample``: the result, and gradients for the features and for the boxes.

    Boxes with five columns after the image are rotated, in degrees. A sample beyond the border has the value
    of the border's pixel, and one more than a pixel beyond it is zero.
    """
    features, rois, (height, width), options = problem
    x = torch.tensor(features, requires_grad=True)
    boxes = torch.tensor(rois, requires_grad=True)
    out = torch.stack([_one_box(x, box, height, width, mode, **options) for box in boxes])
    out.backward(torch.tensor(grad_output))
    return out.detach().numpy(), x.grad.numpy(), boxes.grad.numpy()


def _one_box(x, box, height, width, mode, *, spatial_scale, sampling_ratio, aligned):
    upright = len(box) == 5
    if upright:
        x1, y1, x2, y2 = box[1:] * spatial_scale - 0.5 * aligned
        across, down = x2 - x1, y2 - y1
    else:
        centre_x, centre_y = box[1:3] * spatial_scale - 0.5 * aligned
        across, down = box[3:5] * spatial_scale
        angle = torch.deg2rad(box[5])
    if not aligned:
        across, down = across.clamp(min=1), down.clamp(min=1)
    per_row = sampling_ratio or int(np.ceil(across.item() / width))
    per_column = sampling_ratio or int(np.ceil(down.item() / height))
    steps_x = (torch.arange(width * per_row, dtype=x.dtype) + 0.5) / (width * per_row)
    steps_y = (torch.arange(height * per_column, dtype=x.dtype) + 0.5) / (height * per_column)
    if upright:
        places_y, places_x = torch.meshgrid(y1 + steps_y * down, x1 + steps_x * across, indexing="ij")
    else:
        v, u = torch.meshgrid((steps_y - 0.5) * down, (steps_x - 0.5) * across, indexing="ij")
        places_y = v * angle.cos() - u * angle.sin() + centre_y
        places_x = v * angle.sin() + u * angle.cos() + centre_x
    samples = _bilinear(x[int(box[0])], places_y, places_x)
    bins = samples.reshape(-1, height, per_column, width, per_row).permute(0, 1, 3, 2, 4).flatten(3)
    return bins.mean(dim=3) if mode == "avg" else bins.max(dim=3).values


def _bilinear(plane, y, x):
    rows, columns = plane.shape[1:]
    inside = (y >= -1) & (y <= rows) & (x >= -1) & (x <= columns)
    grid = torch.stack([2 * x / (columns - 1) - 1, 2 * y / (rows - 1) - 1], dim=2)
    samples = torch.nn.functional.grid_sample(
        plane[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return samples[0] * inside


def fpn_levels(boxes, num_levels, finest_level):
    """Levels by what torchvision's MultiScaleRoIAlign asks; -1 for a number that no map has."""
    from torchvision.ops.poolers import LevelMapper

    found = LevelMapper(finest_level, finest_level + num_levels - 1)([torch.tensor(boxes)]).numpy()
    return np.where((found < 0) | (found >= num_levels), -1, found)


def pasted_masks(masks, boxes, image_size):
    """torchvision's masks on images, (K, 1, H, W)."""
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    return paste_masks_in_image(torch.tensor(masks), torch.tensor(boxes), image_size).numpy()


def pasted_masks_of_detectron2(masks, boxes, image_size):
    """Masks (K, M, M) on images, (K, H, W), by detectron2's formula: a window for each mask."""
    from torch.nn.functional import grid_sample

    height, width = image_size
    out = torch.zeros((len(masks), height, width))
    for mask, box, image in zip(torch.tensor(masks), torch.tensor(boxes), out, strict=True):
        left, top = (box[:2].floor() - 1).clamp(min=0).int().tolist()
        right, bottom = int((box[2].ceil() + 1).clamp(max=width)), int((box[3].ceil() + 1).clamp(max=height))
        x = (torch.arange(left, right) + 0.5 - box[0]) / (box[2] - box[0]) * 2 - 1
        y = (torch.arange(top, bottom) + 0.5 - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)
        image[top:bottom, left:right] = grid_sample(mask[None, None], grid[None], align_corners=False)[0, 0]
    return out.numpy()
