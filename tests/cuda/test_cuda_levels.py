"""Which map of a pyramid boxes are pooled from on a GPU, where it is decided: as on the processor."""

import shutil

import numpy as np
import pytest
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import cuda
from roicy.levels import by_area, levels_of

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

SCALES = tuple(1 / 4 / 2**level for level in range(9))
RULES = "torchvision", "detectron2", "mmdet", "openvino", "tensorrt"


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """A module in the place of ``cupy``."""
    return arrays.install(monkeypatch, by_address=True)


def at_the_borders(dtype, turned, least=()):
    """Boxes whose areas are those from which on another map is meant, their neighbours, and none."""
    sides = np.array([0, 1, 56, 112, 224, 448, 896, 1e4], dtype)
    with np.errstate(all="ignore"):
        low, high = np.nextafter(sides, dtype.type(-1)), np.nextafter(sides, dtype.type(np.inf))
    near = np.float64([1 - 1e-9, 1 + 1e-9])  # float64 that rounds to these in float32
    sides = np.concatenate([sides, low, high, *(sides * part for part in near)]).astype(dtype)
    huge = np.finfo(dtype).max
    areas = np.array(least, dtype)
    sides = np.concatenate([sides, areas, np.nextafter(areas, 0), np.nextafter(areas, dtype.type(np.inf))])
    ones = np.ones_like(sides)
    width = np.concatenate([sides, sides, -sides, sides, [np.nan, np.inf, huge, 0]])
    height = np.concatenate([sides, ones, sides, -sides, [1, np.inf, 0, huge]])
    rows = [np.zeros_like(width), np.zeros_like(width), width, height, np.zeros_like(width)]
    boxes = np.stack(rows[: 5 if turned else 4], axis=1).astype(dtype)
    with np.errstate(all="ignore"):
        boxes = np.concatenate([boxes, boxes + 64])  # of which some areas are rounded, and others infinite
    if not turned:
        wide = np.array([[-huge, 5, huge, 5], [5, -huge, 5, huge]], dtype)  # an area that is no number
        boxes = np.concatenate([boxes, wide])
    return boxes


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("maps", [1, 2, 5, 8])
@pytest.mark.parametrize("blocks", [1, 1 << 20])
def test_levels_by_area(rule, dtype, turned, maps, blocks, monkeypatch):
    monkeypatch.setattr(cuda.kernels(), "most_blocks", blocks)
    scales = SCALES[:maps]
    least = by_area(rule, np.zeros((0, 4), dtype), scales).least
    boxes = at_the_borders(np.dtype(dtype), turned, least)
    numbers = boxes.shape[1]
    _, images, found = cuda.kernels().share_out(
        ndarray(boxes),
        ndarray(np.zeros(len(boxes), np.int64)),
        numbers,
        by_area(rule, boxes, scales),
        (maps, 1),
    )
    expected = levels_of(boxes, maps, rule, (224.0, 4, 2), None, np)
    if maps == 1 and rule != "openvino":
        expected = np.zeros(len(boxes), np.int32)
    finite = np.isfinite(boxes).all(axis=1)
    wanted = np.where((expected < 0) & ~finite, 0, expected)  # an invalid box of the first map
    np.testing.assert_array_equal(found._array, wanted)
    for level, own in enumerate(images):
        none = -3 if level == 0 else -2
        inside = np.where(finite, 0, -1)
        np.testing.assert_array_equal(
            own._array, np.where(wanted == -1, none, np.where(wanted == level, inside, -2))
        )


def test_more_maps_than_a_launch_has_areas_for():
    assert len(SCALES) > cuda.kernels().pyramids.most_maps
    check_maxima(at_the_borders(np.dtype(np.float32), False), SCALES, "torchvision")


@pytest.mark.parametrize("rule", RULES)
def test_boxes_of_float16(rule):
    boxes = np.random.default_rng(2).uniform(55, 57, (900, 2)).astype(np.float16)
    check_maxima(np.column_stack([np.zeros_like(boxes), boxes]), SCALES[:2], rule, ratio=2)


def check_maxima(boxes, scales, rule, ratio=1):
    """Of maps that hold their numbers."""
    maps = [np.full((1, 1, 3, 3), level + 1, np.float32) for level in range(len(scales))]
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    boxes[:, 2:] *= boxes.dtype.type(ratio)
    options = {"spatial_scales": scales, "levels": rule, "invalid": "nan"}
    wanted = roicy.multi_scale_roi_pool(maps, boxes, 1, **options)
    found = roicy.multi_scale_roi_pool([ndarray(array) for array in maps], ndarray(boxes), 1, **options)
    np.testing.assert_array_equal(found._array, wanted)
    assert len(np.unique(wanted)) > 1


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_wrong_levels_are_told_from_none(dtype):
    levels = np.array([0, -1, 1, 2, -2, -7, np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    if dtype == "int64":
        levels = np.append(levels, [1 << 32, -(1 << 32), (1 << 32) + 1])
    images = np.zeros(len(levels), np.int64)
    images[3] = 1  # of which there is none: the level is wrong, too
    boxes = ndarray(np.ones((len(levels), 4), np.float32))
    _, apart, found = cuda.kernels().share_out(boxes, ndarray(images), 4, ndarray(levels), (2, 1))
    wrong = len(levels) - 3
    np.testing.assert_array_equal(found._array, [0, -1, 1] + [-2] * wrong)
    np.testing.assert_array_equal(apart[0]._array, [0, -3, -2] + [-1] * wrong)
    np.testing.assert_array_equal(apart[1]._array, [-2, -2, 0] + [-2] * wrong)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "int16"])
@pytest.mark.parametrize("function", ["roi_align", "roi_align_rotated", "roi_pool"])
def test_levels_that_are_given(layout, dtype, function):
    """Rows of no level are zeros, those of a wrong one and invalid ones NaN; others as on the processor."""
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, 3, 12 >> level, 16 >> level)).astype(np.float32) for level in range(3)]
    if layout == "NHWC":
        maps = [np.ascontiguousarray(array.transpose(0, 2, 3, 1)) for array in maps]
    rois = np.tile(np.float32([[1, 8, 8, 40, 30, 20]]), (7, 1))[:, : 6 if "rotated" in function else 5]
    rois[6, 1] = np.nan
    levels = np.array([0, -1, 2, 3, -2, 1, -1], dtype)
    options = {"spatial_scales": SCALES[:3], "layout": layout, "invalid": "nan"}
    pool = getattr(roicy, f"multi_scale_{function}")
    wanted = pool(maps, rois, (2, 3), levels=levels, **options)
    for _ in range(3):
        own = [ndarray(array.copy()) for array in maps]
        found = pool(own, ndarray(rois), (2, 3), levels=ndarray(levels), **options)._array
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
        assert np.isnan(found[[3, 4, 6]]).all()
        assert found[1].tobytes() == bytes(found[1].nbytes)
        assert found[[0, 2, 5]].any()


@pytest.mark.parametrize("merge", ["assigned", "sum"])
@pytest.mark.parametrize("function", ["roi_align", "roi_align_rotated"])
def test_gradients_of_boxes(merge, function):
    """Each is the sum of what all maps have."""
    rng = np.random.default_rng(1)
    maps = [rng.standard_normal((1, 3, 12 >> level, 16 >> level)) for level in range(3)]
    sides = np.array([20, 80, 150, 300, 600])
    rois = np.column_stack([0 * sides, 0 * sides + 9, 0 * sides + 7, 9 + sides, 7 + sides, 30 + 0 * sides])
    rois = rois[:, : 6 if "rotated" in function else 5].astype(np.float64)
    grad = rng.standard_normal((len(rois), 3, 2, 2))
    options = {"spatial_scales": SCALES[:3], "merge": merge, "invalid": "nan", "sampling_ratio": 2}
    gradient = getattr(roicy, f"multi_scale_{function}_backward_rois")
    wanted = gradient(grad, maps, rois, **options)
    for _ in range(3):
        own = [ndarray(array.copy()) for array in maps]
        found = gradient(ndarray(grad), own, ndarray(rois), **options)._array
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
        assert found.any()
