"""roicy as torchvision's own kernels for the CPU: its functions, layers and models run on them, unchanged."""

import time

import torch
import torchvision

import roicy


def replace_kernels():
    """Put roicy behind torchvision's operators, as long as the library that this returns is kept.

    Autograd, `torch.compile` and `torch.export` see the operators that they know.
    """
    library = torch.library.Library("torchvision", "IMPL")
    for kernel in (roi_align, _roi_align_backward, roi_pool, _roi_pool_backward):
        library.impl(kernel.__name__, kernel, "CPU")
    return library


def roi_align(features, rois, spatial_scale, rows, columns, sampling_ratio, aligned):
    """Return the average over boxes."""
    pooled = features.new_empty(rois.shape[0], features.shape[1], rows, columns)
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    roicy.roi_align(features.detach(), rois.detach(), (rows, columns), out=pooled, **options)
    return pooled


def _roi_align_backward(grad, rois, spatial_scale, _rows, _columns, n, c, h, w, sampling_ratio, aligned):
    grad_features = grad.new_empty(n, c, h, w)
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    roicy.roi_align_backward(grad.detach(), rois.detach(), (n, c, h, w), out=grad_features, **options)
    return grad_features


def roi_pool(features, rois, spatial_scale, rows, columns):
    """Return the maximum over boxes, and where it is."""
    pooled = features.new_empty(rois.shape[0], features.shape[1], rows, columns)
    argmax = torch.empty_like(pooled, dtype=torch.int32)
    roicy.roi_pool(
        features.detach(),
        rois.detach(),
        (rows, columns),
        spatial_scale=spatial_scale,
        return_argmax=True,
        out=(pooled, argmax),
    )
    return pooled, argmax


def _roi_pool_backward(grad, rois, argmax, _spatial_scale, _rows, _columns, n, c, h, w):
    grad_features = grad.new_empty(n, c, h, w)
    roicy.roi_pool_backward(grad.detach(), argmax, rois.detach(), (n, c, h, w), out=grad_features)
    return grad_features


def main():
    """Compare a detector's boxes with and without roicy, and time the pooling of a larger one."""
    torch.manual_seed(0)
    detector = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, box_score_thresh=0.0
    ).eval()
    images = [torch.rand(3, 320, 400)]
    pooler = torchvision.ops.MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=7, sampling_ratio=2)
    maps = {str(level - 2): torch.rand(1, 256, 800 >> level, 1088 >> level) for level in (2, 3, 4, 5)}
    corners, sizes = torch.rand(1000, 2) * 600, torch.exp(torch.rand(1000, 2) * 3 + 3)
    boxes = [torch.cat([corners, corners + sizes], dim=1)]

    def results():
        with torch.inference_mode():
            found, times = detector(images)[0], []
            for _ in range(5):
                start = time.perf_counter()
                pooled = pooler(maps, boxes, [(800, 1088)])
                times.append(time.perf_counter() - start)
            return found, pooled, min(times)

    found, pooled, theirs = results()
    library = replace_kernels()
    same, alike, ours = results()
    del library  # torchvision's own kernels are back
    torch.testing.assert_close(same, found, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(alike, pooled, rtol=1e-4, atol=1e-5)
    print(f"{len(found['boxes'])} boxes of a detector, the same with both")
    print(
        f"1000 boxes from four levels of 256 channels: {1000 * theirs:.0f} ms, with roicy {1000 * ours:.0f}"
    )


if __name__ == "__main__":
    main()
