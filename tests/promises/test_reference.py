"""What is pooled, against the reference: boxes of all kinds, any number of them and of channels."""

import battery
import numpy as np
import pytest
from closeness import assert_close, assert_same_bits, assert_sums_close
from operators import AVERAGE, BATTERY, MAX, OPERATORS, of_all, of_battery, those
from strategies import CHANNELS, FEATURE_DTYPES, random_values, result_dtype

pytestmark = pytest.mark.usefixtures("backend")


@of_all
def test_values(operator, examples):
    """... and an argmax changes none but the sign of a zero."""

    @examples(operator.problems(), share=operator.share)
    def hold(problem):
        call = problem.features, problem.rois, problem.output_size
        values, argmax = operator.both(*call, **problem.options)
        expected, expected_argmax = operator.expected(problem)
        assert values.dtype == result_dtype(problem.features.dtype)
        operator.hold(values, expected)
        if argmax is not None:
            assert argmax.dtype == np.int32
            assert argmax.shape == values.shape
            alone = operator.forward(*call, **problem.options)
            assert alone.dtype == values.dtype
            operator.hold(alone, expected, signs_of_zeros=False)
            if not operator.exact:
                assert_same_bits(alone, values)
        if operator.exact:
            assert_same_bits(argmax, expected_argmax.astype(np.int32))


@of_battery(BATTERY)
def test_battery(operator, case):
    values, argmax = battery.both(operator, case)
    expected, expected_argmax = battery.expected(operator, case)
    operator.hold(values, expected)
    if argmax is not None:
        operator.hold(battery.forward(operator, case), expected, signs_of_zeros=False)
    if operator.exact:
        assert_same_bits(argmax, expected_argmax.astype(np.int32))


def boxes_on(operator, rng, shape, count):
    """So many boxes on a map, whatever they are."""
    corners = battery.random_boxes(rng, count, *shape[2:])
    images = rng.integers(shape[0], size=count)
    return operator.rois(rng, images, corners)


CORNERS = [[-1, 2, 7, 8], [3.5, 0.25, 12, 9]]
NUMBERS = [
    (operator, channels)
    for operator in OPERATORS
    for channels in (sorted({*range(1, 41), *CHANNELS}) if operator is AVERAGE else CHANNELS)
]


@pytest.mark.parametrize("operator, channels", NUMBERS, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_any_number_of_channels(operator, channels, layout):
    """Forward and backward."""
    rng = np.random.default_rng(channels)
    shape = operator.map_shape((1, channels, 9, 11), (3, 5))
    if (
        operator is MAX
    ):  # random numbers that are closer than float32 can tell are hardly ever among the largest
        features = rng.standard_normal(shape).astype(np.float32)
    else:
        features = operator.values(rng, shape, np.dtype("float32"))
    problem = operator.problem(features, operator.rois(rng, [0, 0], CORNERS), (3, 5), {"sampling_ratio": 2})
    arranged = np.ascontiguousarray(battery.to_layout(features, layout))
    options = {"sampling_ratio": 2, "layout": layout}
    values, argmax = operator.both(arranged, problem.rois, (3, 5), **options)
    expected, expected_argmax = operator.expected(problem)
    operator.hold(battery.from_layout(values, layout), expected)
    if argmax is not None:
        alone = operator.forward(arranged, problem.rois, (3, 5), **options)
        operator.hold(battery.from_layout(alone, layout), expected, signs_of_zeros=False)
        np.testing.assert_array_equal(battery.from_layout(argmax, layout), expected_argmax)

    plain = random_values(rng, problem.grad_output().shape, np.dtype("float32"))
    grad_output = np.ascontiguousarray(battery.to_layout(plain, layout))
    grad = operator.backward(grad_output, problem.rois, arranged.shape, argmax, **options)
    expected = operator.expected_backward(problem, plain, expected_argmax)
    assert_close(battery.from_layout(grad, layout), expected)
    if operator.has_slopes and (operator is MAX or operator.linear):
        grad = operator.backward_rois(grad_output, arranged, problem.rois, argmax, **options)
        expected, terms = operator.expected_backward_rois(problem, plain, expected_argmax)
        if terms is None:
            return  # of maps that rise nowhere in particular the terms cancel
        assert_sums_close(grad, expected, 4 * terms, "float32")


@of_all
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 17, 64, 300, 500])
@pytest.mark.parametrize(
    "shape", [(1, 3, 1, 1), (1, 20, 1, 40), (2, 20, 40, 1), (1, 7, 2, 3), (3, 1, 25, 31)]
)
def test_any_number_of_boxes_on_any_map(operator, count, shape):
    rng = np.random.default_rng(count)
    features = operator.values(rng, operator.map_shape(shape, (2, 3)), np.dtype("float32"))
    rois = boxes_on(operator, rng, shape, count)
    problem = operator.problem(features, rois, (2, 3), {"sampling_ratio": 2})
    values, argmax = operator.both(features, rois, (2, 3), sampling_ratio=2)
    expected, expected_argmax = operator.expected(problem)
    operator.hold(values, expected)
    if operator.exact:
        assert_same_bits(argmax, expected_argmax.astype(np.int32))


@those([operator for operator in OPERATORS if not operator.slow])
@pytest.mark.parametrize("output_size", [1, 2, 7, 14, (3, 5), (1, 33), (33, 1), (57, 2), (64, 80)])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3, 5])
def test_output_sizes_and_sampling_ratios(operator, output_size, sampling_ratio):
    rng = np.random.default_rng(5)
    pair = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    channels = 1 if operator.position_sensitive else 6  # times the bins
    features = operator.values(rng, operator.map_shape((1, channels, 20, 24), pair), np.dtype("float32"))
    corners = [[1.25, 2.5, 19.75, 15], [-2, 10, 30, 21]]
    rois = operator.rois(rng, [0, 0], corners)
    out = operator.forward(features, rois, output_size, sampling_ratio=sampling_ratio)
    problem = operator.problem(features, rois, pair, {"sampling_ratio": sampling_ratio})
    operator.hold(out, operator.expected(problem)[0], signs_of_zeros=False)


# ---------------------------------------------------------------- dtypes and sizes of zero


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("box_dtype", ["float32", "float64"])
def test_dtype_of_the_result(operator, dtype, box_dtype):
    rng = np.random.default_rng(0)
    features = random_values(rng, operator.map_shape((1, 18, 10, 10), (7, 7)), dtype)
    rois = operator.rois(rng, [0], [[0.3, 0.7, 8.1, 9.2]], box_dtype)
    out = operator.forward(features, rois, 7)
    assert out.dtype == result_dtype(dtype)
    assert out.flags.c_contiguous
    operator.hold(out, operator.expected(operator.problem(features, rois, (7, 7), {}))[0])


@of_all
@pytest.mark.parametrize("shape", [(1, 0, 8, 8), (1, 3, 0, 8), (1, 3, 8, 0), (1, 0, 0, 0), (2, 40, 0, 0)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_maps_without_pixels_or_channels(operator, shape, layout):
    """A map without pixels is missed by every sample: zeros, and so are gradients."""
    wide = operator.map_shape(shape, (2, 3))
    features = np.ones(battery.to_layout(np.empty(wide), layout).shape, np.float32)
    rois = operator.rois(np.random.default_rng(0), [0, 0], [[-1, -1, 3, 3], [0, 0, 0, 0]])
    for ratio in (0, 2):
        options = {"sampling_ratio": ratio, "layout": layout}
        values, argmax = operator.both(features, rois, (2, 3), **options)
        assert values.shape == battery.to_layout(np.empty((2, shape[1], 2, 3)), layout).shape
        assert not values.any()
        if argmax is not None:
            assert argmax.shape == values.shape
            # samples that miss the map are zeros that count, and the first is chosen; of no pixels none is
            none = -1 if operator.exact or ratio == 0 else 0
            assert set(np.unique(argmax)) <= {none, 0 if argmax.size and not operator.exact else none}
        grad = operator.backward(np.ones_like(values), rois, features.shape, argmax, **options)
        assert grad.shape == features.shape
        if operator.has_slopes:
            slopes = operator.backward_rois(np.ones_like(values), features, rois, argmax, **options)
            assert slopes.shape == rois.shape
            assert not slopes.any()


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 33, 9, 0)])
def test_no_boxes(operator, dtype, layout, shape):
    channels = shape[1]
    shape = battery.to_layout(np.empty(operator.map_shape(shape, (2, 5))), layout).shape
    features, rois = np.zeros(shape, dtype), np.empty((0, 1 + operator.numbers), np.float32)
    values, argmax = operator.both(features, rois, (2, 5), layout=layout)
    assert values.shape == ((0, channels, 2, 5) if layout == "NCHW" else (0, 2, 5, channels))
    assert values.dtype == result_dtype(dtype)
    out = np.full(shape, np.nan, values.dtype)
    assert operator.backward(values, rois, shape, argmax, layout=layout, out=out) is out
    assert not out.any()
    if operator.has_slopes:
        slopes = operator.backward_rois(values, features, rois, argmax, layout=layout)
        assert slopes.shape == rois.shape
