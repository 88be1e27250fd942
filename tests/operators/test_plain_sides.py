"""Axis tables of boxes as most are, which are filled a side at a time, and of all others, bin by bin."""

import numpy as np
import pytest
import reference.average
from closeness import assert_close, assert_same_bits

import roicy
from roicy.compat import torchvision

pytestmark = pytest.mark.cpu_only(reason="about tables that CPUs fill")

TALLEST = 1 << 20  #: rows of a map on which sides are filled at once


def boxes_at(rng, row, count, sides, dtype):
    """Boxes of a map eight pixels wide, around a row."""
    heights = np.exp(rng.uniform(*np.log(sides), count))
    middles = row + rng.uniform(-3, 3, count)
    left, width = rng.uniform(-1, 7, (2, count))
    rows = [np.zeros(count), left, middles - heights / 2, left + width, middles + heights / 2]
    return np.stack(rows, axis=1).astype(dtype)


@pytest.mark.parametrize("sides", [(1e-3, 0.5), (0.5, 60)])
@pytest.mark.parametrize("ratio", [1, 2, 3, 0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(7, 3), (71, 33)])  # a side with many bins is filled by itself
def test_both_ways_have_the_same_numbers(size, sides, ratio, dtype):
    """Also where positions are so coarse that a bin may begin before the last one ends."""
    rng = np.random.default_rng(7)
    tall = rng.integers(0, 255, (1, 1, TALLEST + 1, 8)).astype(np.uint8)
    rows = 40, TALLEST // 2, TALLEST - 70  # in the middle, floats are a sixteenth apart
    call = np.concatenate([boxes_at(rng, row, 300, sides, dtype) for row in rows]), size
    options = {"sampling_ratio": ratio}
    plain = roicy.roi_align(tall[:, :, :-1], *call, **options)
    assert_same_bits(plain, roicy.roi_align(tall, *call, **options))


@pytest.mark.parametrize("sides", [(1e-3, 0.5), (0.5, 60)])
@pytest.mark.parametrize("ratio", [1, 2, 0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(7, 3), (32, 40)])
def test_crops_have_the_same_numbers_both_ways(size, sides, ratio, dtype):
    """What lies outside is filled up, or it is the edge's, or there is no crop of it."""
    rng = np.random.default_rng(8)
    tall = rng.integers(0, 255, (TALLEST + 1, 8, 1)).astype(np.uint8)
    rows = 2, 40, TALLEST // 2, TALLEST - 70
    boxes = np.concatenate([boxes_at(rng, row, 200, sides, dtype) for row in rows])[:, 1:]
    for border in ("constant", "edge", "reject"):
        options = {"sampling_ratio": ratio, "border": border, "fill": 9}
        plain = roicy.crop_and_resize(tall[:-1], boxes, size, **options)
        assert_same_bits(plain, roicy.crop_and_resize(tall, boxes, size, **options))


@pytest.mark.parametrize("sides", [(1e-3, 0.5), (0.5, 60), (60, 2e3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_pixels_have_the_same_numbers_both_ways(sides, dtype):
    """By each of the rules of RoIPool; boxes end far outside of the map, too."""
    rng = np.random.default_rng(9)
    tall = rng.integers(0, 255, (1, 2, TALLEST + 1, 8)).astype(np.uint8)
    rows = 2, 40, TALLEST // 2, TALLEST - 2000
    rois = np.concatenate([boxes_at(rng, row, 20, sides, dtype) for row in rows])
    rois[:2, 2] -= np.float32(2**21)
    maps = tall[:, :, :-1], tall
    for rounding in ("round", "none", "whole"):
        options = {"mode": "avg", "rounding": rounding}
        plain, other = (roicy.roi_pool(features, rois, (7, 3), **options) for features in maps)
        assert_same_bits(plain, other)
    plain, other = (roicy.ps_roi_pool(features, rois, (2, 1), spatial_scale=0.7) for features in maps)
    assert_same_bits(plain, other)
    plain, other = (torchvision.ps_roi_pool(features.astype(np.float32), rois, (2, 1)) for features in maps)
    assert_same_bits(plain, other)


@pytest.mark.parametrize("ratio", [1, 2, 3, 0])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 33])
@pytest.mark.parametrize("size", [(19, 3), (3, 95)])  # more bins than are computed together
def test_boxes_of_all_kinds_have_the_same_numbers_both_ways(size, count, ratio):
    """In pieces that are full or not, some boxes not finite, reversed, empty, or partly outside of it."""
    rng = np.random.default_rng(count)
    tall = rng.integers(0, 255, (1, 1, TALLEST + 1, 8)).astype(np.uint8)
    rois = boxes_at(rng, 20, count, (0.5, 60), "float32")
    for i in rng.permutation(count)[: (count + 1) // 2]:
        kind = rng.integers(5)
        if kind == 0:
            rois[i, rng.integers(5)] = np.nan
        elif kind == 1:
            rois[i, 1:] = rois[i, [3, 4, 1, 2]]
        elif kind == 2:
            rois[i, 3:] = rois[i, 1:3]
        elif kind == 3:
            rois[i, [2, 4]] -= 30
        else:
            rois[i, 0] = 1  # no image
    call = rois, size
    options = {"sampling_ratio": ratio, "invalid": "nan"}
    plain = roicy.roi_align(tall[:, :, :-1], *call, **options)
    assert_same_bits(plain, roicy.roi_align(tall, *call, **options))
    grad_output = rng.standard_normal(plain.shape).astype(np.float32)
    plain, other = (
        roicy.roi_align_backward(grad_output, rois, (1, 1, rows, 8), **options)[:, :, :99]
        for rows in (TALLEST, TALLEST + 1)
    )
    assert_same_bits(plain, other)


@pytest.mark.parametrize("ratio", [1, 2, 3, 0])
@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_edges(length, ratio):
    """Sides that reach just as far as the map does, or just not."""
    rng = np.random.default_rng(length)
    features = rng.standard_normal((1, 2, length, length), np.float32)
    past = np.array([-1, -0.5, 0, 0.5, 1, 1.5], np.float32)
    ends = np.concatenate([past - 0.5, length + past - 0.5])
    for first, last in [(a, b) for a in ends for b in ends if b >= a]:
        rois = np.array([[0, first, 0, last, length], [0, 0, first, length, last]], np.float32)
        for aligned in (True, False):
            options = {"sampling_ratio": ratio, "aligned": aligned}
            expected = reference.average.roi_align(features, rois, (2, 3), **options)
            assert_close(roicy.roi_align(features, rois, (2, 3), **options), expected, scale=4)


@pytest.mark.parametrize("count", [30, 3000, 9000])
def test_order_of_many_boxes(count):
    """A gradient adds up by image, band of rows, column and row of the array."""
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 90, (count, 2))
    sides = rng.integers(1, 9, (count, 2))
    rois = np.concatenate([rng.integers(0, 3, (count, 1)), corners, corners + sides], axis=1)
    grad_output = rng.standard_normal((count, 2, 1, 1)).astype(np.float32)
    columns, rows = (corners + sides // 2).T  # where the samples lie
    rows //= 32
    columns = np.where(rows % 2, -columns, columns)
    order = np.lexsort((np.arange(count), columns, rows, rois[:, 0]))
    call = (3, 2, 100, 100), {"sampling_ratio": 1, "aligned": False}
    given = roicy.roi_align_backward(grad_output, rois.astype(np.float32), call[0], **call[1])
    sorted_ = roicy.roi_align_backward(grad_output[order], rois[order].astype(np.float32), call[0], **call[1])
    assert_same_bits(given, sorted_)


@pytest.mark.parametrize("count", [30, 3000])
def test_order_of_boxes_all_over_the_largest_map(count):
    """Of many images: their places are too many for one number to sort by."""
    rng = np.random.default_rng(6)
    limit, images = 2**31 - 1, 2**12
    corners = rng.integers(0, 37, (count, 2)).astype(np.float64)  # in two bands of rows
    rois = np.concatenate([rng.choice([0, images - 1], (count, 1)), corners, corners + 3], axis=1)
    rois[count // 2, 1:] -= 99  # misses the map, and its place is the other end of it
    grad_output = rng.standard_normal((count, 1, 2, 2)).astype(np.float32)
    call, options = (images, 1, 40, 40), {"window": (0, 0, limit, limit), "sampling_ratio": 2}
    given = roicy.roi_align_backward(grad_output, rois, call, **options)
    others = np.arange(count) != count // 2
    assert_same_bits(given, roicy.roi_align_backward(grad_output[others], rois[others], call, **options))
    rois[:, 0] = rois[:, 0] > 0
    one_number = roicy.roi_align_backward(grad_output[others], rois[others], (2, *call[1:]), **options)
    assert_same_bits(given[[0, -1]], one_number)


def test_boxes_all_over_the_largest_map():
    """Of many images, whose places are too many for one number to sort by."""
    rng = np.random.default_rng(5)
    limit, images = 2**31 - 1, 2**12
    corners = rng.uniform(0, limit - 9, (99, 2))
    rois = np.concatenate([rng.integers(0, images, (99, 1)), corners, corners + 4], axis=1)
    with pytest.raises(ValueError, match="window must hold"):
        roicy.roi_align(np.zeros((images, 1, 4, 4), np.uint8), rois, 2, window=(0, 0, limit, limit))
