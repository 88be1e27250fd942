"""`roi_pool` and `roi_pool_backward` against the reference: every value and every argmax to the bit."""

import battery
import numpy as np
import pytest
import reference.pool
from closeness import assert_close, assert_same_bits
from hypothesis import strategies as st
from strategies import (
    FEATURE_DTYPES,
    FLOAT_DTYPES,
    LAYOUTS,
    given_some,
    random_values,
    result_dtype,
)

import roicy
from operators import MEAN, POOL
from operators.roi_pool import pool_problems
from roicy import cpu
from roicy._types import ROUNDED, Regions

pytestmark = pytest.mark.usefixtures("backend")


def expected_of(problem):
    """What the reference says, in the dtypes of the package."""
    values, argmax = reference.pool.roi_pool(
        problem.features, problem.rois, problem.output_size, **problem.options
    )
    with np.errstate(over="ignore"):  # the lowest float32 in half precision
        return values.astype(result_dtype(problem.features.dtype)), argmax.astype(np.int32)


def assert_same_numbers(values, expected):
    """Without an argmax, the sign of a zero is free."""
    assert values.dtype == expected.dtype
    assert_same_bits(values + values.dtype.type(0), expected + expected.dtype.type(0))


def pool(problem, **more):
    return roicy.roi_pool(problem.features, problem.rois, problem.output_size, **problem.options, **more)


@pytest.mark.parametrize("case", battery.SELECTION, ids=battery.SELECTION_IDS)
@pytest.mark.parametrize("rounding", ["none", "whole"])
def test_battery_of_other_roundings(case, rounding):
    problem = battery.build(POOL, case)
    problem = problem._replace(options={"spatial_scale": case.spatial_scale, "rounding": rounding})
    values, argmax = pool(problem, return_argmax=True)
    expected, expected_argmax = expected_of(problem)
    assert_same_bits(values, expected)
    assert_same_bits(argmax, expected_argmax)


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_number_survives(dtype, layout):
    """Bins of one pixel hold the pixel: subnormal and large numbers, and both zeros."""
    patterns = np.random.default_rng(3).integers(0, 2**64, 2**14, dtype=np.uint64).view(f"u{dtype.itemsize}")
    if dtype.itemsize == 2:
        patterns = np.arange(2**16, dtype=np.uint16)
    numbers = patterns[: 2**14 * (4 if dtype.itemsize == 2 else 1)].view(dtype).reshape(1, -1, 32, 32)
    with np.errstate(invalid="ignore"):
        wide = numbers.astype(np.float64)
    above = (wide > reference.pool.LOWEST) & ~np.isnan(wide)
    numbers = np.where(above, numbers, np.zeros(1, dtype))
    features = np.ascontiguousarray(battery.to_layout(numbers, layout))
    rois = np.array([[0, 0, 0, 31, 31]], np.float32)
    values, argmax = roicy.roi_pool(features, rois, 32, layout=layout, return_argmax=True)
    assert_same_bits(np.ascontiguousarray(battery.from_layout(values, layout)), numbers)
    pixels = np.broadcast_to(np.arange(1024, dtype=np.int32).reshape(32, 32), numbers.shape)
    assert_same_bits(battery.from_layout(argmax, layout), pixels)


# ---------------------------------------------------------------- which pixels a bin has


def bins_of(low, high, *, bins=1, length=12, dtype="float32", **options):
    """First and last pixel of each bin along x, seen through the largest and the smallest of a ramp."""
    ramp = np.arange(1, length + 1, dtype=np.float64).reshape(1, 1, 1, -1)
    rois = np.array([[0, low, 0, high, 0]], dtype)
    last = roicy.roi_pool(ramp, rois, (1, bins), **options)[0, 0, 0]
    first = roicy.roi_pool(100 - ramp, rois, (1, bins), **options)[0, 0, 0]
    return [(int(99 - a), int(b - 1)) if b else None for a, b in zip(first, last, strict=True)]


def test_both_corners_are_inside():
    assert bins_of(2, 5) == [(2, 5)]
    assert bins_of(2, 5, bins=2) == [(2, 3), (4, 5)]
    assert bins_of(2, 6, bins=2) == [(2, 4), (4, 6)]  # the middle pixel is in both
    assert bins_of(3, 3, bins=3) == [(3, 3)] * 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "corner, pixel", [(2.5, 3), (3.5, 4), (2.4999, 2), (0.5, 1), (0.49999997, 0), (-0.4, 0)]
)
def test_halves_are_rounded_away_from_zero(corner, pixel, dtype):
    """Not to even, and without the error of adding a half before cutting off."""
    assert bins_of(corner, 9, dtype=dtype) == [(pixel, 9)]
    assert bins_of(0, corner, dtype=dtype) == [(0, pixel)]


def test_negative_halves_are_rounded_away_from_zero():
    """-1.5 is -2: the box has four columns, two of them off the map."""
    assert bins_of(-1.5, 1, bins=2) == [None, (0, 1)]
    assert bins_of(-2.5, 0, bins=2) == [None, (0, 0)]  # five columns from -3
    assert bins_of(-0.5, 2, bins=4) == [None, (0, 0), (1, 1), (2, 2)]


def test_the_corner_is_scaled_then_rounded():
    assert bins_of(5, 14, spatial_scale=0.5) == [(3, 7)]
    assert bins_of(1, 1, spatial_scale=0.5) == [(1, 1)]


@pytest.mark.parametrize("low, high", [(5, 2), (5, 4), (5, -100), (5.4, 4.6)])
def test_malformed_boxes_have_one_pixel(low, high):
    assert bins_of(low, high, bins=2) == [(5, 5), (5, 5)]


def test_bins_off_the_map_are_empty():
    for low, high in [(-9, -2), (12, 20), (-1e9, -1e8), (1e30, 2e30), (-0.5, -0.5)]:
        rois = np.array([[0, low, 0, high, 3]], np.float32)
        features = np.full((1, 2, 5, 12), -7, np.float32)
        values, argmax = roicy.roi_pool(features, rois, 2, return_argmax=True)
        assert (values == 0).all()
        assert (argmax == -1).all()
        assert not np.signbit(values).any()


@pytest.mark.parametrize("dtype, width, bins", [("float32", 3, 21), ("float64", 7, 25)])
def test_the_last_bit_of_a_product_can_add_a_pixel(dtype, width, bins):
    """Where `bins` times the size of a bin is rounded to more than the width, the last bin has one more."""
    real = np.dtype(dtype).type
    assert real(bins) * (real(width) / real(bins)) > width  # else this test would prove nothing
    assert bins_of(0, width - 1, bins=bins, dtype=dtype)[-1] == (width - 1, width)
    other = {"float32": "float64", "float64": "float32"}[dtype]
    assert bins_of(0, width - 1, bins=bins, dtype=other)[-1] == (width - 1, width - 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_edges_in_whole_numbers(backend, dtype):
    """Those of adaptive pooling, whatever the numbers of pixels and of bins."""
    other = 0
    for width in (1, 3, 7, 12, 30, 39, 57, 96):
        for bins in range(1, 61, 1 if backend == "cpu" else 7):
            exact = [(p * width // bins, -(-(p + 1) * width // bins) - 1) for p in range(bins)]
            call = {"bins": bins, "length": width + 1, "dtype": dtype}
            assert bins_of(0, width - 1, rounding="whole", **call) == exact
            other += bins_of(0, width - 1, **call) != exact
    assert other  # else this test would prove nothing


@pytest.mark.parametrize(
    "low, high, scale, pixels",
    [
        (0.4, 3.0, 1.0, (0, 3)),
        (0.6, 3.0, 1.0, (0, 3)),  # [0.6, 4)
        (1.0, 3.5, 1.0, (1, 4)),  # [1, 4.5)
        (2.0, 4.0, 0.5, (1, 2)),  # [1, 2.5): the pixel added to x2 is scaled
        (2.0, 5.0, 0.5, (1, 2)),  # [1, 3)
        (-3.0, 1.0, 1.0, (0, 1)),
    ],
)
def test_without_rounding_a_bin_has_all_pixels_that_it_touches(low, high, scale, pixels):
    assert bins_of(low, high, spatial_scale=scale, rounding="none") == [pixels]


@pytest.mark.parametrize(("low", "high"), [(3, 2.0), (2.5, 1.5), (3, 1.9), (3, 1.0), (3, -50.0)])
def test_without_rounding_boxes_may_have_no_size(low, high):
    """x2 + 1 is not beyond x1: zeros, whichever bin."""
    rois = np.array([[0, low, 0, high, 3], [0, 0, low, 3, high]], np.float32)
    features = np.full((1, 2, 5, 12), -7, np.float32)
    values, argmax = roicy.roi_pool(features, rois, 2, rounding="none", return_argmax=True)
    assert (values == 0).all()
    assert (argmax == -1).all()


@given_some(pool_problems(roundings=("round",)), st.integers(0, 2**16))
def test_without_rounding_whole_boxes_are_the_same(problem, seed):
    """Boxes of whole pixels, in bins whose size is exact: there is nothing to round."""
    rng = np.random.default_rng(seed)
    rois = problem.rois.copy()
    rois[:, 1:3] = rng.integers(-5, 12, (len(rois), 2))
    rois[:, 3:] = rois[:, 1:3] + rng.integers(0, 12, (len(rois), 2))
    for output_size in [(1, 1), (2, 4), (1, 8)]:
        plain = roicy.roi_pool(problem.features, rois, output_size, return_argmax=True)
        exact = roicy.roi_pool(problem.features, rois, output_size, rounding="none", return_argmax=True)
        for one, other in zip(plain, exact, strict=True):
            assert_same_bits(one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rounding", ["round", "none", "whole"])
@pytest.mark.parametrize("spatial_scale", [1.0, 2.0])
def test_the_largest_finite_boxes(rounding, spatial_scale, dtype):
    """Sizes that overflow: something on the map or nothing, and an argmax on the map."""
    largest = float(np.finfo(dtype).max)
    edges = [-largest, largest, 0.0, 1e30]
    rois = np.array([[0, a, b, c, d] for a in edges for b in edges for c in edges for d in edges], dtype)
    features = np.arange(1.0, 31.0).reshape(1, 1, 5, 6)
    options = {"rounding": rounding, "spatial_scale": spatial_scale}
    values, argmax = roicy.roi_pool(features, rois, (3, 2), return_argmax=True, **options)
    assert_same_bits(argmax, (values - 1).astype(np.int32))  # 0 where there is none, else the pixel's number
    grad = roicy.roi_pool_backward(np.ones_like(values), argmax, rois, features.shape)
    assert grad.sum() == (argmax >= 0).sum()


# ---------------------------------------------------------------- which pixel is chosen


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3, 16, 40])
def test_of_equal_pixels_the_first_wins(dtype, layout, channels):
    """Row by row: the first pixel of the bin, on a map where all are equal."""
    features = np.full(battery.to_layout(np.empty((1, channels, 9, 8)), layout).shape, 3, dtype)
    rois = np.array([[0, 1, 2, 6, 7]], np.float32)
    _, argmax = roicy.roi_pool(features, rois, (2, 3), layout=layout, return_argmax=True)
    expected = np.array([[2 * 8 + 1, 2 * 8 + 3, 2 * 8 + 5], [5 * 8 + 1, 5 * 8 + 3, 5 * 8 + 5]])
    argmax = battery.from_layout(argmax, layout)
    assert argmax.dtype == np.int32
    np.testing.assert_array_equal(argmax, np.broadcast_to(expected, argmax.shape))


@pytest.mark.parametrize("places", [[(0, 3), (1, 0)], [(0, 1), (0, 2)], [(1, 3), (2, 0)]])
def test_rows_come_before_columns(places):
    features = np.zeros((1, 1, 3, 4), np.float32)
    for y, x in places:
        features[0, 0, y, x] = 1
    _, argmax = roicy.roi_pool(features, np.array([[0, 0, 0, 3, 2]], np.float32), 1, return_argmax=True)
    y, x = places[0]
    assert argmax.item() == 4 * y + x


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("nothing", [np.nan, -np.inf])
def test_a_bin_in_which_nothing_can_be_chosen(dtype, nothing):
    """NaN and -inf are not above the lowest float32, from which the maximum starts."""
    features = np.full((1, 20, 4, 4), nothing, dtype)
    features[0, 7, 3, 3] = -5
    rois = np.array([[0, 0, 0, 3, 3]], np.float32)
    values, argmax = roicy.roi_pool(features, rois, (1, 2), return_argmax=True)
    with np.errstate(over="ignore"):
        lowest = np.float32(np.finfo(np.float32).min).astype(dtype)
    expected = np.full((1, 20, 1, 2), lowest)
    expected[0, 7, 0, 1] = -5
    assert_same_bits(values, expected)
    assert argmax[0, 7, 0].tolist() == [-1, 15]
    assert (np.delete(argmax, 7, axis=1) == -1).all()


def test_float64_below_the_lowest_float32():
    """Others start there in float64 too."""
    features = np.array([-1e300, -1e200]).reshape(1, 1, 1, 2)
    values, argmax = roicy.roi_pool(features, np.array([[0.0, 0, 0, 1, 0]]), 1, return_argmax=True)
    assert values.item() == float(np.finfo(np.float32).min)
    assert argmax.item() == -1


def test_nan_is_passed_over():
    features = np.array([np.nan, 1, np.nan, 5, np.nan, 5], np.float32).reshape(1, 1, 2, 3)
    values, argmax = roicy.roi_pool(features, np.array([[0, 0, 0, 2, 1]], np.float32), 1, return_argmax=True)
    assert values.item() == 5
    assert argmax.item() == 3


# ---------------------------------------------------------------- means


@pytest.mark.parametrize("case", battery.SELECTION, ids=battery.SELECTION_IDS)
@pytest.mark.parametrize("rounding", ["none", "whole"])
def test_battery_of_means(case, rounding):
    problem = battery.build(MEAN, case)
    problem = problem._replace(options={"spatial_scale": case.spatial_scale, "rounding": rounding})
    assert_close(pool(problem, mode="avg"), MEAN.expected(problem)[0])


@given_some(pool_problems(values=random_values), st.integers(0, 2**16))
def test_means_are_over_the_bins_of_the_maxima(problem, seed):
    """Of a map that is 0 but for one pixel: where a maximum is that pixel, a mean has some of it."""
    n, c, height, width = problem.features.shape
    features = np.zeros((n, c, height * width), np.float32)
    if features.size:
        features[..., np.random.default_rng(seed).integers(height * width)] = 1
    problem = problem._replace(features=features.reshape(n, c, height, width))
    assert_same_bits(pool(problem) > 0, pool(problem, mode="avg") > 0)


def test_a_mean_of_pixels():
    features = np.arange(48, dtype=np.float32).reshape(1, 1, 6, 8)
    rois = np.array([[0, 1, 1, 5, 3]], np.float32)
    found = roicy.roi_pool(features, rois, (1, 2), mode="avg")[0, 0, 0]
    assert found.tolist() == [features[0, 0, 1:4, 1:4].mean(), features[0, 0, 1:4, 3:6].mean()]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [3, 20])
def test_bins_without_pixels_are_zero(layout, channels):
    features = np.full(battery.to_layout(np.empty((1, channels, 5, 12)), layout).shape, 7, np.float32)
    rois = np.array([[0, -9, 0, -2, 3], [0, 12, 0, 20, 3], [0, 3, -1e30, 4, -1e29]], np.float32)
    out = roicy.roi_pool(features, rois, 2, mode="avg", layout=layout)
    assert not out.any()
    grad = roicy.roi_pool_backward(np.ones_like(out), None, rois, features.shape, mode="avg", layout=layout)
    assert not grad.any()


def test_means_have_no_argmax_and_boxes_no_gradient():
    with pytest.raises(ValueError, match="return_argmax must be False for mode='avg'"):
        roicy.roi_pool(FEATURES, ROIS, 2, mode="avg", return_argmax=True)
    plan = roicy.roi_pool_plan(ROIS, SHAPE, 2, mode="avg")
    assert "mode='avg'" in repr(plan)
    out = plan(FEATURES)
    with pytest.raises(ValueError, match="argmax must be None for mode='avg'"):
        plan.backward(out, argmax=np.zeros(out.shape, np.int32))
    with pytest.raises(ValueError, match="no gradient with respect to boxes: it rounds them"):
        plan.backward_rois(out, FEATURES)


# ---------------------------------------------------------------- ranges of rows that boxes share


def boxes_on_few_rows(rng, images, width):
    """Six ranges of rows, one of them off the map, and any columns."""
    ranges = [[0, 20], [3, 30], [8, 31], [10, 24], [36, 39], [90, 95]]
    top, bottom = np.array(ranges)[rng.integers(0, 6, 80)].T
    left = rng.integers(-4, width + 2, 80)
    right = left + rng.integers(0, width, 80)
    return np.stack([rng.integers(0, images, 80), left, top, right, bottom], axis=1).astype(np.float32)


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("memory", LAYOUTS, ids=lambda layout: layout.__name__)
@pytest.mark.parametrize("width, output_size", [(3, (1, 1)), (37, (1, 1)), (70, (1, 2))])
def test_boxes_that_share_their_rows(dtype, memory, width, output_size):
    rng = np.random.default_rng(width)
    features = random_values(rng, (2, 19, 40, width), dtype)
    if dtype != "uint8":
        for value in (np.nan, -np.inf, np.inf):
            features[rng.random(features.shape) < 0.2] = value
    rois = boxes_on_few_rows(rng, 2, width)
    rois[::25, 0] = 2
    values = roicy.roi_pool(memory(features), rois, output_size, invalid="nan")
    assert np.isnan(values[::25]).all()
    values, rois = np.delete(values, np.s_[::25], axis=0), np.delete(rois, np.s_[::25], axis=0)
    expected, _ = reference.pool.roi_pool(features, rois, output_size)
    with np.errstate(over="ignore"):  # the lowest float32 in half precision
        assert_same_numbers(values, expected.astype(values.dtype))


@pytest.mark.cpu_only(reason="only there are shared rows looked for")
def test_where_rows_are_shared():
    def shared(boxes, shape, output_size):
        images = np.zeros(len(boxes), np.int64)
        table = cpu.range_table(Regions(boxes, images, shape, output_size), 1.0, ROUNDED, "float32")
        return table.shared

    rng = np.random.default_rng(0)
    assert shared(roicy.rmac_regions((1, 64, 24, 32))[:, 1:].copy(), (1, 64, 24, 32), (1, 1))
    assert shared(boxes_on_few_rows(rng, 1, 70)[:, 1:].copy(), (1, 19, 40, 70), (1, 2))
    anywhere = np.sort(rng.uniform(0, 60, (500, 2, 2)), axis=1).reshape(500, 4).astype(np.float32)
    assert not shared(anywhere, (1, 64, 64, 64), (7, 7))
    assert not shared(np.array([[3, 3, 5, 5]], np.float32), (1, 64, 64, 64), (1, 1))
    assert not shared(np.empty((0, 4), np.float32), (1, 64, 64, 64), (1, 1))
    assert not shared(np.array([[0, 0, 99999, 99]], np.float32), (1, 64, 100, 100000), (1, 1))


# ---------------------------------------------------------------- rows, outputs


ROIS = np.array([[2, 0, 1, 5, 6], [0, 2, 2, 9, 11], [2, 3, 0, 4, 12], [1, 1, 1, 2, 2]], np.float32)
SHAPE = (3, 5, 12, 10)
FEATURES = random_values(np.random.default_rng(7), SHAPE, np.dtype("float32"))


# ---------------------------------------------------------------- backward


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3, 16, 33])
def test_gradients_are_added_box_by_box_and_bin_by_bin(dtype, layout, channels):
    """In the order of the rows and then of the bins: the same roundings as in a plain loop."""
    rng = np.random.default_rng(channels)
    shape, bins = (2, channels, 3, 4), (100, channels, 3, 5)
    rois = np.column_stack([rng.integers(2, size=100), np.zeros((100, 4))]).astype(np.float32)
    grad_output = rng.standard_normal(bins).astype(dtype)
    argmax = rng.integers(-1, 12, bins).astype(np.int32)  # any pixels, and none for some bins
    expected = np.zeros(shape, dtype)
    for k, c, p, q in np.argwhere(argmax >= 0):
        row, column = divmod(argmax[k, c, p, q], 4)
        expected[int(rois[k, 0]), c, row, column] += grad_output[k, c, p, q]
    arranged = [np.ascontiguousarray(battery.to_layout(array, layout)) for array in (grad_output, argmax)]
    input_shape = battery.to_layout(expected, layout).shape
    grad = roicy.roi_pool_backward(*arranged, rois, input_shape, layout=layout)
    assert_same_bits(battery.from_layout(grad, layout), expected)


@pytest.mark.cpu_only(reason="no planes pass by a cache elsewhere")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [31, 32])
def test_large_gradients_of_single_bins(dtype, width):
    # planes of a large result are stored past the cache, wherever they begin in a cache line
    rng = np.random.default_rng(width)
    shape, bins = (4, 1001, 17, width), (24, 1001, 1, 1)
    rois = np.column_stack([rng.integers(3, size=24), np.zeros((24, 4))]).astype(np.float32)
    grad_output = rng.standard_normal(bins).astype(dtype)
    pixels = np.array([-1, 0, 1, 200, 300, 17 * width - 1], np.int32)
    argmax = rng.choice(pixels, bins)
    expected = np.zeros((4, 1001, 17 * width), dtype)
    for k, image in enumerate(rois[:, 0].astype(int)):
        (channel,) = np.nonzero(argmax[k, :, 0, 0] >= 0)
        expected[image, channel, argmax[k, channel, 0, 0]] += grad_output[k, channel, 0, 0]
    for begin, threads in ((0, 1), (3, 1), (5, 2)):
        room = np.full(expected.size + 32, -1, dtype)
        out = room[begin : begin + expected.size].reshape(shape)
        with roicy.num_threads(threads):
            roicy.roi_pool_backward(grad_output, argmax, rois, shape, out=out)
        assert_same_bits(out.reshape(expected.shape), expected)
        assert (room[:begin] == -1).all() and (room[begin + expected.size :] == -1).all()


@pytest.mark.parametrize("count", [32, 33, 70])  # boxes of one image; 32 are handled together
def test_large_gradients_of_many_single_bins(count):
    rng = np.random.default_rng(count)
    grad_output = rng.standard_normal((count, 1024, 1, 1)).astype(np.float32)
    argmax = rng.integers(-1, 4, grad_output.shape).astype(np.int32)
    expected = np.zeros((2, 1024, 32 * 33), np.float32)
    for k in range(count):
        (channel,) = np.nonzero(argmax[k, :, 0, 0] >= 0)
        expected[1, channel, argmax[k, channel, 0, 0]] += grad_output[k, channel, 0, 0]
    rois = np.tile(np.array([1, 0, 0, 9, 9], np.float32), (count, 1))
    grad = roicy.roi_pool_backward(grad_output, argmax, rois, (2, 1024, 32, 33))
    assert_same_bits(grad.reshape(expected.shape), expected)


def test_large_gradients_of_lone_rows():
    # planes are one row of a larger array: the other rows of that stay as they are
    bins = (1, 8192, 1, 1)
    rooms = np.full((1, 8192, 2, 256), 7, np.float32)
    roicy.roi_pool_backward(
        np.full(bins, 2, np.float32),
        np.full(bins, 3, np.int32),
        [[0, 0, 0, 9, 0]],
        (1, 8192, 1, 256),
        out=rooms[:, :, ::2],
    )
    expected = np.full((2, 256), 7, np.float32)
    expected[0] = 0
    expected[0, 3] = 2
    assert (rooms == expected).all()


@given_some(pool_problems(dtypes=[np.dtype("float64")], roundings=("round",)), st.integers(0, 99))
def test_the_gradient_is_that_of_the_maximum(problem, seed):
    """Moving the features a little moves each maximum as its own pixel moves."""
    rng = np.random.default_rng(seed)
    features = rng.permutation(problem.features.size).reshape(problem.features.shape).astype(np.float64)
    step = rng.uniform(-0.4, 0.4, features.shape)  # less than half of what values differ by
    call = (problem.rois, problem.output_size)
    values, argmax = roicy.roi_pool(features, *call, **problem.options, return_argmax=True)
    moved = roicy.roi_pool(features + step, *call, **problem.options)
    grad_output = rng.standard_normal(values.shape)
    grad = roicy.roi_pool_backward(grad_output, argmax, problem.rois, features.shape)
    difference = ((moved - values) * grad_output).sum()
    scale = np.abs(grad_output).sum() * max(1.0, np.abs(features).max(initial=0))
    assert abs(difference - (grad * step).sum()) <= 1e-13 * scale
