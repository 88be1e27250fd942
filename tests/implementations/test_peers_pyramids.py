"""Other implementations of pooling from a pyramid, where they are installed."""

import numpy as np
import pytest

import roicy
from implementations import peers_openvino

SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def problem(seed, images):
    """Maps, and boxes of all levels with where levels begin, one without area and one reversed twice."""
    rng = np.random.default_rng(seed)
    maps = [rng.random((images, 2, 512 >> level, 640 >> level)).astype(np.float32) for level in (2, 3, 4, 5)]
    sides = np.exp(rng.uniform(np.log(5), np.log(600), (40, 2)))
    first = rng.uniform(-20, 500, (40, 2))
    boxes = np.concatenate([first, first + sides], axis=1).astype(np.float32)
    boxes[:3, 2:] = boxes[:3, :2] + [[224], [112], [448]]  # the first of a level
    boxes[3:5, 2:] = boxes[3:5, :2] + [[0], [-40]]
    return rng, maps, boxes


@pytest.mark.parametrize("seed", range(10))
def test_torchvision(seed, torchvision, parity):
    rng, maps, boxes = problem(seed, 3)
    boxes[5, 2] = boxes[5, 0] - 9  # reversed along one axis: of no level
    by_image = np.split(boxes, [25, 25])
    options = {"spatial_scales": SCALES, "sampling_ratio": [0, 2][seed % 2], "aligned": False}
    ours = roicy.multi_scale_roi_align(maps, by_image, 7, **options)
    assert not ours[5].any()
    grad_output = rng.random(ours.shape, np.float32)
    shapes = [features.shape for features in maps]
    grads = roicy.multi_scale_roi_align_backward(grad_output, by_image, shapes, **options)
    named = {str(level): features for level, features in enumerate(maps)}
    given = list(named), 7, options["sampling_ratio"]
    sizes = [(512, 640)] * 3
    theirs, their_grads, _ = torchvision.multi_scale_pooled(given, {}, named, by_image, sizes, grad_output)
    parity.close("multi_scale_roi_align: forward", "torchvision", ours, theirs)
    for grad, their_grad in zip(grads, their_grads.values(), strict=True):
        parity.close("multi_scale_roi_align: backward", "torchvision", grad, their_grad)


@pytest.mark.parametrize("kind", ["ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated"])
@pytest.mark.parametrize("seed", range(4))
def test_the_formulas_of_detectron2(seed, kind, torchvision, parity):
    """From a pyramid that begins at the usual level, or at the one above."""
    rng, maps, boxes = problem(seed, 2)
    first = seed % 2
    maps, scales = maps[first:], SCALES[first:]
    rois = np.column_stack([rng.integers(2, size=40), boxes]).astype(np.float32)
    options = {"spatial_scales": scales, "levels": "detectron2"}
    operator = "multi_scale_roi_align"
    if kind == "ROIAlignRotated":
        rois = rois[5:]  # those are of some size
        sizes = rois[:, 3:] - rois[:, 1:3]
        rois = np.column_stack([rois[:, :3], sizes, rng.uniform(-180, 180, len(rois))]).astype(np.float32)
        operator, options["sampling_ratio"] = "multi_scale_roi_align_rotated", 2
    elif kind == "ROIPool":
        operator = "multi_scale_roi_pool"
    else:
        options |= {"sampling_ratio": 2 if kind == "ROIAlignV2" else 0, "aligned": kind == "ROIAlignV2"}
    ours = getattr(roicy, operator)(maps, rois, (3, 5), **options)
    theirs = torchvision.roi_pooler(maps, rois, (3, 5), scales, options.get("sampling_ratio", 0), kind)
    if kind == "ROIPool":
        parity.same(f"{operator}: forward", "torchvision", ours, theirs)
    else:
        bound = 1e-4 if kind == "ROIAlignRotated" else None  # places by another order of roundings
        parity.close(f"{operator}: forward", "torchvision", ours, theirs, bound=bound)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_openvino(seed, aligned, parity):
    """Boxes without area have no level, and none is less than a pixel, also where they are aligned."""
    parity.needs("openvino")
    _, maps, boxes = problem(seed, 1)
    boxes[5, 2] = boxes[5, 0] - 9
    if aligned:
        boxes[4] = boxes[6]  # a size of less than nothing is one pixel there
        boxes[:, 2:] = np.where(boxes[:, 2:] < boxes[:, :2] + 5, boxes[:, 2:] + 40, boxes[:, 2:])
    ratio = [0, 2][seed % 2]
    ours = roicy.multi_scale_roi_align(
        maps, boxes, 7, spatial_scales=SCALES, levels="openvino", sampling_ratio=ratio, aligned=aligned
    )
    theirs = peers_openvino.feature_extractor(boxes, maps, 7, sampling_ratio=ratio, aligned=aligned)
    assert aligned or not ours[[3, 5]].any()
    parity.close("multi_scale_roi_align: forward", "openvino", ours, theirs)
