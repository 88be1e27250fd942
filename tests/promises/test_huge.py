"""Boxes that are far larger than the map, and arrays of more elements than 32 bits can count.

The reference walks over every sample of a box; for these boxes it is told which few can hit the map.
"""

import math

import numpy as np
import pytest
import reference.average
import reference.maxima
import reference.pool
import reference.rotated
from closeness import assert_close, assert_same_bits, assert_sums_close

import roicy

SIZE = 50
MAP = np.random.default_rng(0).random((1, 5, SIZE, SIZE))


def near_the_map(edge, p):
    """Indices of the samples of a bin that can hit the map, and a few around them.

    Where the map begins and ends among the samples is known up to the rounding of a position. On the map a
    position is what is left of two numbers as large as the distance from there to the start of the bin, or of
    the box: a few units in their last place.
    """
    distance = float(edge.bin_size) / edge.count
    base = float(edge.start) + p * float(edge.bin_size)
    first, last = (-1.0 - base) / distance, (SIZE - base) / distance
    slack = 8 + 8 * float(np.spacing(max(abs(type(edge.start)(base)), abs(edge.start)))) / distance
    low, high = max(0, math.floor(first - slack)), min(edge.count, math.ceil(last + slack))
    assert high - low < 10**5, "the rounding of this box is too coarse to tell which samples hit"
    for outside in (low - 1, max(low, high)):  # positions only grow with the index
        if 0 <= outside < edge.count:
            assert not -1 <= edge.position(p, outside) <= SIZE
    return range(low, high)


def axes_of(roi, output_size, **options):
    x1, y1, x2, y2 = roi[1:]
    ys = reference.average.axis(y1, y2, SIZE, output_size[0], indices=near_the_map, **options)
    xs = reference.average.axis(x1, x2, SIZE, output_size[1], indices=near_the_map, **options)
    return ys, xs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("edges", [(-3, 1e5), (-7e4, 9e4), (-1e5, 25.3), (25.3, 1e5), (1e4, 1e5)])
def test_the_reference_is_told_of_all_samples_that_hit(edges, dtype):
    """For boxes that are just small enough to look at every sample."""
    low, high = np.array(edges, dtype)
    options = {"spatial_scale": 0.7, "sampling_ratio": 0, "aligned": True}
    told = reference.average.axis(low, high, SIZE, 3, indices=near_the_map, **options)
    assert told == reference.average.axis(low, high, SIZE, 3, **options)


BOXES = {
    "wide": (-3.0, 10.0, 1e9, 30.0),
    "high": (20.0, -1e9, 31.0, 40.0),
    "wide and high": (0.0, 0.0, 1e9, 1e9),
    "around the map": (-5e8, -5e8, 5e8, 5e8),
    "off center": (-1e9, -3.4e8, 2.3e8, 1e9),
    "ends inside": (-1e9, -1e9, 25.3, 13.7),
    "begins inside": (25.3, 13.7, 1e9, 1e9),
    "more samples than int32": (0.0, 10.0, 1e10, 30.0),
    "more samples than int64": (0.0, 10.0, 1e20, 30.0),
    "thirty zeros wide": (0.0, 10.0, 1e30, 30.0),
    "thirty zeros high": (10.0, 0.0, 30.0, 1e30),
    "far right": (1e9, 1e9, 2e9, 2e9),
    "far left": (-2e9, -2e9, -1e9, -1e9),
    "thirty zeros away": (1e30, 0.0, 2e30, 50.0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("output_size", [(1, 1), (7, 7)])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_adaptive_grids(box, output_size, aligned, dtype):
    features = MAP.astype(dtype)
    rois = np.array([[0, *box]], dtype)
    options = {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": aligned}
    axes = axes_of(rois[0], output_size, **options)
    image = reference.average.images_of(features)[0]
    out = roicy.roi_align(features, rois, output_size, **options)
    expected = reference.average.average(image, *axes)[None]
    assert_close(out, expected)

    grad_output = np.random.default_rng(1).random(out.shape).astype(dtype)
    grad = roicy.roi_align_backward(grad_output, rois, features.shape, **options)
    expected = np.zeros_like(image)
    reference.average.spread(expected, grad_output[0].astype(np.float64), *axes)
    assert_close(grad, expected.transpose(2, 0, 1)[None])

    # A slope upwards, so that the terms of the gradient do not cancel.
    features = (np.mgrid[:SIZE, :SIZE].sum(axis=0) + MAP).astype(dtype)
    grad = roicy.roi_align_backward_rois(grad_output, features, rois, **options)
    image = reference.average.images_of(features)[0]
    expected = reference.average.box_gradient(image, grad_output[0].astype(np.float64), *axes)
    assert_close(grad[:, 1:], expected[None])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("half", [1e25, 1e30])
@pytest.mark.parametrize("bins", [1, 2, 3, 7])
def test_boxes_in_which_the_map_is_a_point(dtype, half, bins):
    """Positions are so coarse that the map is hit at no more than one of them.

    Of the samples of a bin only those that round onto the map count: a few units in its last place.
    """
    rois = np.array([[0, -half, 10, half, 30]], dtype)
    out = roicy.roi_align(MAP.astype(dtype), rois, bins)
    assert (out >= 0).all()
    assert out.max() <= 64 * np.finfo(dtype).eps
    grad = roicy.roi_align_backward(np.ones_like(out), rois, MAP.shape)
    assert (grad >= 0).all()
    assert grad.max() <= 64 * np.finfo(dtype).eps * out[0, 0].size
    grad = roicy.roi_align_backward_rois(np.ones_like(out), MAP.astype(dtype), rois)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sampling_ratio", [0, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(
    "columns",
    [(-1, 1), (1, -1), (-1, -1), (1, 1), (-1, 0), (0, 1)],
    ids=["both", "reversed", "left", "right", "low", "high"],
)
def test_the_largest_finite_boxes(columns, aligned, sampling_ratio, dtype):
    """A size that overflows to infinity leaves no sample at a finite position: zeros, and no NaN."""
    largest = np.finfo(dtype).max
    low, high = (largest * np.array(columns, dtype)).tolist()
    rois = np.array([[0, low, low, high, high], [0, low, 0, high, 9], [0, 0, low, 9, high]], dtype)
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}
    features = MAP.astype(dtype)
    out = roicy.roi_align(features, rois, (2, 3), **options)
    assert np.isfinite(out).all()
    if sampling_ratio:
        assert_close(out, reference.average.roi_align(features, rois, (2, 3), **options))
    grad = roicy.roi_align_backward(np.ones_like(out), rois, features.shape, **options)
    assert np.isfinite(grad).all()
    grad = roicy.roi_align_backward_rois(np.ones_like(out), features, rois, **options)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("aligned", [True, False])
def test_boxes_that_miss_give_exact_zeros(aligned):
    rng = np.random.default_rng(0)
    away = rng.choice([1e3, 1e9, 1e15, 1e30], (40, 2)) * rng.choice([-1, 1], (40, 2))
    low = np.where(away > 0, away, 2 * away)
    high = np.where(away > 0, 2 * away, away)
    rois = np.column_stack([np.zeros(40), low, high]).astype(np.float32)
    features = MAP.astype(np.float32)
    for ratio in (0, 1, 5):
        options = {"sampling_ratio": ratio, "aligned": aligned}
        out = roicy.roi_align(features, rois, 7, **options)
        assert not out.any()
        assert not roicy.roi_align_backward(np.ones_like(out), rois, features.shape, **options).any()
        assert not roicy.roi_align_backward_rois(np.ones_like(out), features, rois, **options).any()


def test_many_huge_boxes_among_small_ones():
    """The rows of small boxes do not depend on what lies between them."""
    small = np.array([[0, 3, 4, 20, 30], [0, -5, 10, 60, 40], [0, 1, 1, 2, 2]], np.float32)
    huge = np.array([[0, *box] for box in BOXES.values()], np.float32)
    mixed = np.vstack([huge, small[:1], huge, small[1:], huge])
    out = roicy.roi_align(MAP.astype(np.float32), mixed, 7)
    picked = out[[len(huge), 2 * len(huge) + 1, 2 * len(huge) + 2]]
    assert_close(picked, reference.average.roi_align(MAP.astype(np.float32), small, (7, 7)))


@pytest.mark.parametrize("sampling_ratio", [1000, 65535, 65536])
def test_many_samples(sampling_ratio):
    """A ramp's average over a bin is its value in the middle, however many samples there are."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    ramp = (3 * x + 5 * y)[None, None]
    rois = np.array([[0, 5.0, 7.0, 33.0, 42.0]])
    out = roicy.roi_align(ramp, rois, (2, 4), sampling_ratio=sampling_ratio)
    middle_y, middle_x = 7 + 35 * (np.arange(2) + 0.5) / 2 - 0.5, 5 + 28 * (np.arange(4) + 0.5) / 4 - 0.5
    expected = 3 * middle_x[None, :] + 5 * middle_y[:, None]
    np.testing.assert_allclose(out[0, 0], expected, rtol=1e-12)
    grad = roicy.roi_align_backward(np.ones((1, 1, 2, 4)), rois, ramp.shape, sampling_ratio=sampling_ratio)
    assert abs(grad.sum() - 8) < 1e-12


# ---------------------------------------------------------------- maxima


def with_the_first(edge, p):
    """Indices near the map, and the first one of all: off the map, it may be the zero that is chosen."""
    return sorted({0, *near_the_map(edge, p)} if edge.count else set())


def maxima_of(features, roi, output_size, **options):
    y, x = reference.maxima.axes(
        reference.maxima.usual_axis, roi, (SIZE, SIZE), output_size, indices=with_the_first, **options
    )
    return reference.maxima.maxima(reference.average.images_of(features)[0], y, x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output_size", [(1, 1), (3, 2)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
def test_maxima(box, sign, output_size, dtype):
    """Where every number is negative, the zero of a sample off the map is the maximum."""
    features = (sign * (MAP[:, :2] + 0.1)).astype(dtype)
    rois = np.array([[0, *box]], dtype)
    options = {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": True}
    out = roicy.roi_align(features, rois, output_size, mode="max", **options)
    expected, _ = maxima_of(features, rois[0], output_size, **options)
    assert_close(out, expected[None])


LONG_BOXES = {
    "wide": (-3.0, 10.0, 1e8, 12.0),
    "high": (20.0, -1e8, 21.5, 40.0),
    "wide, from afar": (-1e8, 3.5, 30.0, 7.5),
    "on both sides": (-5e7, -1.0, 4e7, 4.0),
    "square": (-2e4, -1.5e4, 1e4, 2e4),
    "off the map": (1e8, 0.0, 2e8, 3.0),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output_size", [(1, 1), (3, 2)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("box", LONG_BOXES.values(), ids=LONG_BOXES)
def test_which_sample_is_the_maximum(box, sign, output_size, dtype):
    rng = np.random.default_rng(2)
    features = (sign * (rng.permutation(2 * SIZE * SIZE).reshape(1, 2, SIZE, SIZE) + 1)).astype(dtype)
    rois = np.array([[0, *box]], dtype)
    options = {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": True}
    values, argmax = roicy.roi_align(features, rois, output_size, mode="max", return_argmax=True, **options)
    expected, expected_argmax = maxima_of(features, rois[0], output_size, **options)
    assert_close(values, expected[None])
    np.testing.assert_array_equal(argmax[0], expected_argmax)

    grad_output = rng.random(values.shape).astype(dtype)
    call = {"mode": "max", "argmax": argmax, **options}
    y, x = reference.maxima.axes(
        reference.maxima.usual_axis, rois[0], (SIZE, SIZE), output_size, indices=with_the_first, **options
    )
    image, gradient = np.zeros((SIZE, SIZE, 2)), grad_output[0].astype(np.float64)
    reference.maxima.spread_to_chosen(image, gradient, expected_argmax, y, x)
    grad = roicy.roi_align_backward(grad_output, rois, features.shape, **call)
    assert_close(grad, image.transpose(2, 0, 1)[None])
    grad = roicy.roi_align_backward_rois(grad_output, features, rois, **call)
    image = reference.average.images_of(features)[0]
    expected, terms = reference.maxima.box_gradient(image, gradient, expected_argmax, y, x)
    assert_sums_close(grad[0, 1:], np.array(expected), np.array(terms), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rounding", ["round", "none", "whole"])
@pytest.mark.parametrize("output_size", [(1, 1), (7, 7)])
def test_pooling(rounding, output_size, dtype):
    rois = np.array([[0, *box] for box in BOXES.values()], dtype)
    features = MAP.astype(dtype)
    values, argmax = roicy.roi_pool(features, rois, output_size, rounding=rounding, return_argmax=True)
    expected, expected_argmax = reference.pool.roi_pool(features, rois, output_size, rounding=rounding)
    assert_same_bits(values, expected.astype(dtype))
    assert_same_bits(argmax, expected_argmax.astype(np.int32))
    means = roicy.roi_pool(features, rois, output_size, rounding=rounding, mode="avg")
    assert_close(means, reference.pool.average(features, rois, output_size, rounding=rounding))


# ---------------------------------------------------------------- rotated boxes


def turned_near_the_map(output_size):
    """What names the samples of a rotated box that can hit the map, and a few around them."""

    def indices(box):
        cos, sin = float(box.cos), float(box.sin)
        y, x = (np.array([-1.0, -1.0, SIZE, SIZE]), np.array([-1.0, SIZE, -1.0, SIZE]))
        y, x = y - float(box.center_y), x - float(box.center_x)
        # The corners of the map in the axes of the box, and how far a position may be rounded away.
        along = (y * cos + x * sin, x * cos - y * sin)
        sizes, real = (float(box.height), float(box.width)), type(box.height)
        far = sum(map(abs, sizes)) + abs(float(box.center_y)) + abs(float(box.center_x)) + SIZE
        slack = 3 + 8 * float(np.finfo(real).eps) * far
        found = []
        for corners, size, bins, count in zip(along, sizes, output_size, box.counts, strict=True):
            step = size / bins / max(count, 1)
            base = -size / 2 + np.arange(bins) * (size / bins)
            low = np.floor((corners.min() - slack - base) / step) - 2
            high = np.ceil((corners.max() + slack - base) / step) + 2
            ranges = [
                range(int(min(max(a, 0), count)), int(min(max(b, 0), count)))
                for a, b in zip(low, high, strict=True)
            ]
            found.append([(p, i) for p, inside in enumerate(ranges) for i in inside])
        assert math.prod(map(len, found)) < 10**6, "the rounding of this box is too coarse"
        (p, iy), (q, ix) = (np.array(pairs, np.int64).reshape(-1, 2).T for pairs in found)
        grid = np.broadcast_arrays(p[:, None], q[None], iy[:, None], ix[None])
        return [array.reshape(-1) for array in grid]

    return indices


TURNED_OPTIONS = {"spatial_scale": 1.0, "sampling_ratio": 0, "angle_unit": "degrees", "clockwise": False}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("angle", [0, 30, 90, -121.7])
def test_the_rotated_reference_is_told_of_all_samples_that_hit(angle, dtype):
    """For a box that is just small enough to look at every sample."""
    row = np.array([80, -90, 500, 400, angle], dtype)
    options = {"aligned": True, **TURNED_OPTIONS}
    image = reference.average.images_of(MAP)[0]
    whole = reference.rotated.sampled(row, (SIZE, SIZE), (3, 2), **options)
    told = reference.rotated.sampled(
        row, (SIZE, SIZE), (3, 2), indices=turned_near_the_map((3, 2)), **options
    )
    assert len(told.bin[0]) < len(whole.bin[0]) / 10
    expected = reference.rotated.average(image, whole, (3, 2))
    assert expected.any()
    np.testing.assert_allclose(reference.rotated.average(image, told, (3, 2)), expected, rtol=1e-13)


TURNED_BOXES = {
    "around the map": (25.0, 25.0, 1e6, 1e6),
    "long": (20.0, 30.0, 1e7, 20.0),
    "high": (20.0, 30.0, 15.0, 1e7),
    "off center": (-3e5, 2e5, 2e6, 1e6),
    "elsewhere": (1e7, 1e7, 1e6, 1e6),
}
FARTHER = {
    "far around": (25.0, 25.0, 1e12, 1e12),
    "far off center": (-3e11, 2e11, 2e12, 1e12),
    "far and long": (20.0, 30.0, 1e14, 20.0),
    "far away": (1e15, 25.0, 1e9, 1e9),
}
TURNED_CASES = [(name, box, "float32") for name, box in TURNED_BOXES.items()]
TURNED_CASES += [(name, box, "float64") for name, box in {**TURNED_BOXES, **FARTHER}.items()]


@pytest.mark.parametrize("output_size", [(1, 1), (3, 2)])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("angle", [0, 30, 90, -121.7])
@pytest.mark.parametrize(
    "box, dtype", [case[1:] for case in TURNED_CASES], ids=[f"{c[0]}-{c[2]}" for c in TURNED_CASES]
)
def test_rotated_boxes(box, dtype, angle, aligned, output_size):
    features = MAP.astype(dtype)
    rois = np.array([[0, *box, angle]], dtype)
    options = {"aligned": aligned, **TURNED_OPTIONS}
    found = reference.rotated.sampled(
        rois[0, 1:], (SIZE, SIZE), output_size, indices=turned_near_the_map(output_size), **options
    )
    image = reference.average.images_of(features)[0]
    out = roicy.roi_align_rotated(features, rois, output_size, **options)
    assert_close(out, reference.rotated.average(image, found, output_size)[None])

    grad_output = np.random.default_rng(1).random(out.shape).astype(dtype)
    grad = roicy.roi_align_rotated_backward(grad_output, rois, features.shape, **options)
    expected = np.zeros_like(image)
    reference.rotated.add_gradient(expected, grad_output[0].astype(np.float64), found)
    assert_close(grad, expected.transpose(2, 0, 1)[None])

    grad = roicy.roi_align_rotated_backward_rois(grad_output, features, rois, **options)
    expected, terms = reference.rotated.box_gradient(image, grad_output[0].astype(np.float64), found)
    assert_sums_close(grad[0, 1:], np.array(expected), np.array(terms), dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("angle", [0, 33, 90])
@pytest.mark.parametrize("size", [1e20, 1e25, 1e30])
def test_rotated_boxes_in_which_the_map_is_a_point(size, angle, dtype):
    """Of the samples of a bin only those that round onto the map count: a few units in its last place."""
    features = MAP.astype(dtype)
    for middle in ((25, 25), (1e30, 25), (0, -1e30)):
        for w, h in ((size, size), (size, 20), (20, size)):
            rois = np.array([[0, *middle, w, h, angle]], dtype)
            out = roicy.roi_align_rotated(features, rois, 3)
            assert (out >= 0).all()
            assert out.max() <= 64 * np.finfo(dtype).eps
            grad = roicy.roi_align_rotated_backward(np.ones_like(out), rois, MAP.shape)
            assert (grad >= 0).all()
            assert grad.max() <= 64 * np.finfo(dtype).eps * out[0, 0].size
            grad = roicy.roi_align_rotated_backward_rois(np.ones_like(out), features, rois)
            assert np.isfinite(grad).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sampling_ratio", [0, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_the_largest_finite_rotated_boxes(aligned, sampling_ratio, dtype):
    """Zeros, and no NaN, where positions overflow."""
    largest = float(np.finfo(dtype).max)
    edges = [largest, -largest, 20.0]
    rows = [
        (x, y, w, h, a) for x in edges for y in edges for w in edges for h in edges for a in (0, 77, largest)
    ]
    rois = np.column_stack([np.zeros(len(rows)), rows]).astype(dtype)
    features = MAP.astype(dtype)
    for unit in ("degrees", "radians"):
        options = {"sampling_ratio": sampling_ratio, "aligned": aligned, "angle_unit": unit}
        out = roicy.roi_align_rotated(features, rois, (2, 3), **options)
        assert np.isfinite(out).all()
        if sampling_ratio:
            assert_close(out, reference.rotated.roi_align_rotated(features, rois, (2, 3), **options))
        grad = roicy.roi_align_rotated_backward(np.ones_like(out), rois, features.shape, **options)
        assert np.isfinite(grad).all()
        grad = roicy.roi_align_rotated_backward_rois(np.ones_like(out), features, rois, **options)
        assert not np.isnan(grad).any()
