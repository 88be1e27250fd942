"""`roicy.compat.mxnet`: MXNet's names, arguments, defaults and results."""

import inspect

import numpy as np
import pytest
import reference.average
import reference.maxima
import reference.pool
from closeness import RELATIVE_BOUND, assert_close, assert_same_bits
from hypothesis import strategies as st
from operators.roi_pool import pool_problems
from strategies import OUTPUT_SIZES, contested_values, given_some, problems, random_values

from roicy.compat import _pixels, mxnet

pytestmark = pytest.mark.usefixtures("backend")

REAL_DTYPES = [np.dtype("float32"), np.dtype("float64")]
TYPE, VALUE = TypeError, ValueError
EITHER = (TypeError, ValueError)

SIGNATURES = {
    "ROIPooling": ["data", "rois", "pooled_size", "spatial_scale", ("return_argmax", False)],
    "ROIPooling_backward": ["out_grad", "rois", "argmax", "data_shape"],
    "ROIAlign": [
        *["data", "rois", "pooled_size", "spatial_scale"],
        *[("sample_ratio", -1), ("position_sensitive", False), ("aligned", False)],
    ],
    "ROIAlign_backward": [
        *["out_grad", "rois", "data_shape", "spatial_scale"],
        *[("sample_ratio", -1), ("position_sensitive", False), ("aligned", False)],
    ],
    "MaxROIAlign": ["data", "rois", "pooled_size", "spatial_scale"],
    "MaxROIAlign_backward": ["out_grad", "rois", "max_idx_x", "max_idx_y", "data_shape", "spatial_scale"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_arguments_and_defaults(name):
    parameters = inspect.signature(getattr(mxnet, name)).parameters.values()
    shown = [p.name if p.default is p.empty else (p.name, p.default) for p in parameters]
    assert shown == SIGNATURES[name]


DATA = random_values(np.random.default_rng(0), (2, 5, 12, 10), np.dtype("float32"))
ROIS = np.array([[1, 0, 1, 5, 6], [0, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)


def held(scale):
    """What MXNet keeps of a scale."""
    return float(np.float32(scale))


# ---------------------------------------------------------------- ROIPooling


def out_of_range(rois, images):
    """The same rows between rows of images that do not exist, and which rows those are."""
    mixed = np.repeat(rois, 2, axis=0)
    mixed[::2, 0] = np.resize([-1, images, -1e9, 1e9], len(rois))
    return mixed, np.arange(len(mixed)) % 2 == 0


@given_some(pool_problems(dtypes=REAL_DTYPES, most_channels=9, roundings=("round",)))
def test_pooling(problem):
    """Its argmax counts through the whole array: the element that it names is the maximum."""
    data = problem.features
    n, c, h, w = data.shape
    scale = problem.options["spatial_scale"]
    rois, skipped = out_of_range(problem.rois, n)
    expected, pixels = reference.pool.roi_pool(
        data, problem.rois, problem.output_size, spatial_scale=held(scale)
    )
    out, argmax = mxnet.ROIPooling(data, rois, problem.output_size, scale, return_argmax=True)
    assert_same_bits(out[~skipped], expected.astype(data.dtype))
    assert not out[skipped].any()
    assert argmax.dtype == np.int64
    assert (argmax[skipped] == -1).all()
    planes = problem.rois[:, :1].astype(int) * c + np.arange(c)
    wanted = np.where(pixels < 0, -1, pixels + planes[:, :, None, None] * h * w)
    np.testing.assert_array_equal(argmax[~skipped], wanted)
    elements = np.ascontiguousarray(data).reshape(-1)
    chosen = argmax >= 0
    assert_same_bits(elements[argmax[chosen]], out[chosen])
    alone = mxnet.ROIPooling(data, rois, problem.output_size, scale)
    np.testing.assert_array_equal(alone, out)

    out_grad = np.repeat(problem.grad_output(), 2, axis=0)
    grad = mxnet.ROIPooling_backward(out_grad, rois, argmax, data.shape)
    exact = np.zeros(data.size)
    np.add.at(exact, argmax[chosen], out_grad[chosen].astype(np.float64))
    assert_close(grad, exact.reshape(data.shape))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint64"])
def test_forms_of_the_argmax(dtype):
    out, argmax = mxnet.ROIPooling(DATA, ROIS, 2, 1.0, return_argmax=True)
    expected = mxnet.ROIPooling_backward(out, ROIS, argmax, DATA.shape)
    assert expected.any()
    assert_same_bits(mxnet.ROIPooling_backward(out, ROIS, argmax.astype(dtype), DATA.shape), expected)


@pytest.mark.parametrize("value", [-2, 599, 1200, 2**40, -(2**40)])
def test_an_argmax_in_another_plane(value):
    """Box 0 is on image 1: its first channel has the elements 600 to 719."""
    out, argmax = mxnet.ROIPooling(DATA, ROIS, 2, 1.0, return_argmax=True)
    argmax[0, 0, 1, 0] = value
    with pytest.raises(VALUE, match=r"argmax\[0, 0, 1, 0\]") as caught:
        mxnet.ROIPooling_backward(out, ROIS, argmax, DATA.shape)
    assert str(value) in str(caught.value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_scale_is_rounded_to_float32(dtype):
    """5 * 0.7 is 3.5 and rounds up to 4, but what float32 makes of 0.7 is less than that."""
    data = np.arange(5, dtype=dtype).reshape(1, 1, 1, 5)
    rois = np.array([[0, 5, 0, 5, 0]], np.float64)
    assert mxnet.ROIPooling(data, rois, 1, 0.7) == 3
    assert mxnet.ROIPooling(data, rois, 1, 0.7, return_argmax=True)[1] == 3

    # a sample that would lie beyond the map by a ten-millionth
    rois = np.array([[0, 14.5000001 / 0.7, 0, 14.5000001 / 0.7, 0]], np.float64)
    assert mxnet.ROIAlign(np.ones((1, 1, 1, 15), dtype), rois, 1, 0.7, 1) == 1
    assert mxnet.ROIAlign_backward(np.ones((1, 1, 1, 1), dtype), rois, (1, 1, 1, 15), 0.7, 1).sum() == 1
    rois[:, 1::2] = 10
    _, x, _ = mxnet.MaxROIAlign(np.ones((1, 1, 1, 15), dtype), rois, 1, 0.7)
    assert x == 10 * held(0.7)
    position = np.full((1, 1, 1, 1), 10 * held(0.7))
    ones = np.ones((1, 1, 1, 1), dtype)
    grad = mxnet.MaxROIAlign_backward(ones, rois, position, 0 * position, (1, 1, 1, 15), 0.7)
    assert grad[0, 0, 0, 6] == np.dtype(dtype).type(7 - 10 * held(0.7))
    for name in ("ROIPooling", "ROIAlign", "MaxROIAlign"):
        with pytest.raises(VALUE, match=r"\bspatial_scale\b.*float32"):
            getattr(mxnet, name)(data, rois, 1, 1e-60)


@given_some(pool_problems(dtypes=REAL_DTYPES, most_channels=5, roundings=("round",)), st.integers(1, 40))
def test_maps_of_more_pixels_than_are_counted(problem, most):
    """As if so few were the most: bins are searched in parts, and maps of gradients filled in parts."""
    data, scale = problem.features, problem.options["spatial_scale"]
    rois, _ = out_of_range(problem.rois, len(data))
    out_grad = np.repeat(problem.grad_output(), 2, axis=0)
    expected = mxnet.ROIPooling(data, rois, problem.output_size, scale, return_argmax=True)
    expected_grad = mxnet.ROIPooling_backward(out_grad, rois, expected[1], data.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pixels, "MOST_PIXELS", most)
        found = mxnet.ROIPooling(data, rois, problem.output_size, scale, return_argmax=True)
        grad = mxnet.ROIPooling_backward(out_grad, rois, found[1], data.shape)
    for one, other in zip(found, expected, strict=True):
        assert_same_bits(one, other)
    assert_same_bits(grad, expected_grad)


@pytest.mark.numpy_only(reason="an array with strides of 0 would be copied to the device whole")
@pytest.mark.parametrize("shape", [(2, 3, 2**16, 2**16), (2, 3, 3, 2**31 - 1), (2, 3, 2**31 - 1, 2)])
def test_maps_of_billions_of_pixels(shape):
    """Of equal pixels the first is chosen: the upper left corner of the box."""
    _, c, h, w = shape
    data = np.broadcast_to(np.ones((1, 1, 1, 1), np.float32), shape)  # one pixel, for all of them
    corners = [[0, 1, 1], [1, w - 2, h - 2], [1, w - 1, h - 1], [7, 0, 0]]
    rois = np.array([[image, x, y, x + 3, y + 3] for image, x, y in corners], np.float64)
    out, argmax = mxnet.ROIPooling(data, rois, 1, 1.0, return_argmax=True)
    assert argmax.dtype == np.int64
    assert (out[:, :, 0, 0] == [[1], [1], [1], [0]]).all()
    expected = [[((image * c + i) * h + y) * w + x for i in range(c)] for image, x, y in corners[:3]]
    assert argmax[:, :, 0, 0].tolist() == [*expected, [-1] * c]
    assert_same_bits(mxnet.ROIPooling(data, rois, 1, 1.0), out)


# ---------------------------------------------------------------- ROIAlign


def sizes_are_positive(problem):
    """Whether every box has a width and a height, rounded as the operator rounds them."""
    boxes = problem.rois[:, 1:] * problem.rois.dtype.type(held(problem.options["spatial_scale"]))
    boxes = boxes - boxes.dtype.type(0.5)
    with np.errstate(over="ignore"):
        return (boxes[:, 2:] - boxes[:, :2] > 0).all()


@given_some(problems(dtypes=REAL_DTYPES, most_channels=9))
def test_align(problem):
    scale, ratio, aligned = (problem.options[name] for name in ("spatial_scale", "sampling_ratio", "aligned"))
    call = {"sample_ratio": ratio, "aligned": aligned}
    options = {**problem.options, "spatial_scale": held(scale)}
    shape = problem.features.shape
    out_grad = problem.grad_output()
    if aligned and not sizes_are_positive(problem):
        with pytest.raises(VALUE, match=r"\brois\b.*aligned"):
            mxnet.ROIAlign(problem.features, problem.rois, problem.output_size, scale, **call)
        with pytest.raises(VALUE, match=r"\brois\b.*aligned"):
            mxnet.ROIAlign_backward(out_grad, problem.rois, shape, scale, **call)
        return
    rois = np.repeat(problem.rois, 2, axis=0)
    rois[::2, 0] = -1
    expected = reference.average.roi_align(problem.features, problem.rois, problem.output_size, **options)
    out = mxnet.ROIAlign(problem.features, rois, problem.output_size, scale, **call)
    assert_close(out[1::2], expected)
    assert not out[::2].any()
    grad = mxnet.ROIAlign_backward(np.repeat(out_grad, 2, axis=0), rois, shape, scale, **call)
    assert_close(grad, reference.average.roi_align_backward(out_grad, problem.rois, shape, **options))


@pytest.mark.parametrize("pooled_size", [(1, 1), (2, 2), (2, 3), 2])
@pytest.mark.parametrize("channels", [0, 1, 3, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_position_sensitive(pooled_size, channels, dtype):
    """Bin (p, q) of output channel c pools channel (c * PH + p) * PW + q, and only that."""
    rows, columns = (pooled_size, pooled_size) if isinstance(pooled_size, int) else pooled_size
    rng = np.random.default_rng(channels)
    data = random_values(rng, (2, channels * rows * columns, 12, 10), np.dtype(dtype))
    rois = np.vstack([ROIS, ROIS[:1] * [-1, 1, 1, 1, 1]]).astype(np.float32)
    out = mxnet.ROIAlign(data, rois, pooled_size, 0.7, 2, True)
    assert out.shape == (4, channels, rows, columns)
    assert out.dtype == dtype
    assert not out[3].any()
    full = reference.average.roi_align(
        data, ROIS, (rows, columns), spatial_scale=0.7, sampling_ratio=2, aligned=False
    )
    full = full.reshape(3, channels, rows, columns, rows, columns)
    p, q = np.ogrid[:rows, :columns]
    expected = full[:, :, p, q, p, q]
    assert_close(out[:3], expected)

    out_grad = random_values(rng, out.shape, np.dtype(dtype))
    grad = mxnet.ROIAlign_backward(out_grad, rois, data.shape, 0.7, 2, True)
    spread = np.zeros((3, channels, rows, columns, rows, columns))
    spread[:, :, p, q, p, q] = out_grad[:3].astype(np.float64)
    spread = spread.reshape(3, -1, rows, columns)
    expected = reference.average.roi_align_backward(
        spread, ROIS, data.shape, spatial_scale=0.7, sampling_ratio=2, aligned=False
    )
    assert_close(grad, expected)


def test_channels_that_cannot_be_divided():
    with pytest.raises(VALUE, match=r"\bdata\b.*channels.*\b5\b"):
        mxnet.ROIAlign(DATA, ROIS, (2, 2), 1.0, position_sensitive=True)
    with pytest.raises(VALUE, match=r"channels.*\b5\b"):
        mxnet.ROIAlign_backward(
            np.ones((3, 1, 2, 2), np.float32), ROIS, DATA.shape, 1.0, position_sensitive=True
        )


# ---------------------------------------------------------------- MaxROIAlign


@given_some(problems(dtypes=REAL_DTYPES, most_channels=9), st.sampled_from(OUTPUT_SIZES))
def test_max_align(problem, output_size):
    scale = problem.options["spatial_scale"]
    rois = np.clip(problem.rois, -1e4, 1e4)
    data, shape = problem.features, problem.features.shape
    out, x, y = mxnet.MaxROIAlign(data, rois, output_size, scale)
    expected, argmax = reference.maxima.max_roi_align(data, rois, output_size, spatial_scale=held(scale))
    assert out.dtype == data.dtype
    assert x.dtype == y.dtype == rois.dtype
    assert_close(out, expected)
    np.testing.assert_array_equal(x < 0, argmax < 0)
    np.testing.assert_array_equal(y < 0, argmax < 0)
    assert (x[argmax < 0] == -1).all()
    assert (y[argmax < 0] == -1).all()
    # The position is one whose value is the maximum, as far as it can be told; often it is the very same.
    bound = RELATIVE_BOUND[data.dtype.name] * np.abs(expected).max(initial=0)
    faded = np.pad(np.asarray(data, np.float64), ((0, 0), (0, 0), (0, 1), (0, 1)))
    for k, c, p, q in np.argwhere(argmax >= 0):
        plane, row, column = faded[int(rois[k, 0]), c], float(y[k, c, p, q]), float(x[k, c, p, q])
        top, left = int(row), int(column)
        fy, fx = row - top, column - left
        corners = [
            (1 - fy) * (1 - fx) * plane[top, left],
            (1 - fy) * fx * plane[top, left + 1],
            fy * (1 - fx) * plane[top + 1, left],
            fy * fx * plane[top + 1, left + 1],
        ]
        assert abs(sum(corners) - expected[k, c, p, q]) <= bound

    ours = np.where(argmax < 0, -1, argmax)
    x, y = reference.maxima.max_roi_align_positions(ours, rois, shape[2:], spatial_scale=held(scale))
    x, y = x.astype(rois.dtype), y.astype(rois.dtype)
    out_grad = random_values(np.random.default_rng(1), out.shape, data.dtype)
    grad = mxnet.MaxROIAlign_backward(out_grad, rois, x, y, shape, scale)
    expected = reference.maxima.max_roi_align_backward(out_grad, ours, rois, shape, spatial_scale=held(scale))
    assert_close(grad, expected)


def test_max_align_where_the_maximum_is_clear():
    """Whole numbers at halves of pixels are exact: the first of equal samples, and its position."""
    rng = np.random.default_rng(0)
    data = contested_values(rng, (2, 9, 12, 10), np.dtype("float32"))
    data[~np.isfinite(data)] = -4
    low = rng.integers(-4, 24, (200, 2)) / 2
    rois = np.column_stack([rng.integers(2, size=200), low, low + rng.integers(-2, 20, (200, 2)) / 2])
    rois = rois.astype(np.float32)
    for output_size in [(1, 1), (2, 2), (1, 4)]:
        out, x, y = mxnet.MaxROIAlign(data, rois, output_size, 1.0)
        expected, argmax = reference.maxima.max_roi_align(data, rois, output_size)
        expected_x, expected_y = reference.maxima.max_roi_align_positions(argmax, rois, (12, 10))
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


def test_max_align_steps_by_one_pixel_from_the_edge():
    """A bin from 0.25 to 2.75 has samples at 0.25, 1.25 and 2.25; the box is a pixel larger than x2 - x1."""
    data = np.array([0, 1, 10, 100, 1000], np.float64).reshape(1, 1, 1, 5)
    rois = np.array([[0, 0.25, 0, 1.75, 0]])
    out, x, y = mxnet.MaxROIAlign(data, rois, 1, 1.0)
    assert out.item() == 10 + 0.25 * 90
    assert (x.item(), y.item()) == (2.25, 0)
    # Beyond the last pixel values fade into zeros: at 4.5 half of the last pixel is left.
    out, x, _ = mxnet.MaxROIAlign(data, np.array([[0, 4.5, 0, 4.5, 0]]), 1, 1.0)
    assert (out.item(), x.item()) == (500, 4.5)
    # Off the map there is nothing.
    out, x, y = mxnet.MaxROIAlign(data, np.array([[0, 5.0, 0, 9, 0], [0, -9, 0, -1, 0]]), 1, 1.0)
    assert not out.any()
    assert (x == -1).all()
    assert (y == -1).all()


@pytest.mark.parametrize(
    ("rois", "scale"),
    [([[0, 8, 1, 0, 5]], 1.0), ([[0, 8, 9, 0, 1], [0, 7, 7, 1, 1]], 1.0), ([[0, -24, 32, -24, -24]], 1 / 16)],
)
def test_max_align_where_every_box_is_reversed(rois, scale):
    """Such a box has no samples."""
    data, rois = np.ones((1, 2, 10, 9), np.float32), np.array(rois, np.float32)
    out, x, y = mxnet.MaxROIAlign(data, rois, 2, scale)
    assert not out.any()
    assert (x == -1).all()
    assert (y == -1).all()
    assert not mxnet.MaxROIAlign_backward(np.ones_like(out), rois, x, y, data.shape, scale).any()


def test_max_align_adjoint():
    """The sum of maxima times gradients is that of elements times theirs."""
    rng = np.random.default_rng(0)
    data = rng.random((2, 6, 12, 10))
    corners = rng.uniform(-3, 13, (50, 4))
    rois = np.column_stack([rng.integers(2, size=50), corners])
    out, x, y = mxnet.MaxROIAlign(data, rois, (2, 3), 0.9)
    out_grad = rng.standard_normal(out.shape)
    grad = mxnet.MaxROIAlign_backward(out_grad, rois, x, y, data.shape, 0.9)
    np.testing.assert_allclose((grad * data).sum(), (out * out_grad).sum(), rtol=1e-12)
    assert grad.any()


@pytest.mark.parametrize("value", [0.125, -0.5, 50.0, np.nan, np.inf])
@pytest.mark.parametrize("which", ["max_idx_x", "max_idx_y"])
def test_positions_of_no_sample(which, value):
    out, x, y = mxnet.MaxROIAlign(DATA, ROIS, 2, 1.0)
    positions = {"max_idx_x": x, "max_idx_y": y}
    positions[which][1, 2, 0, 1] = value
    with pytest.raises(VALUE, match=rf"{which}\[1, 2, 0, 1\]"):
        mxnet.MaxROIAlign_backward(out, ROIS, x, y, DATA.shape, 1.0)


# ---------------------------------------------------------------- errors name MXNet's arguments


def row(column, value):
    rois = ROIS.copy()
    rois[1, column] = value
    return rois


@pytest.mark.parametrize("name", ["ROIPooling", "ROIAlign", "MaxROIAlign"])
@pytest.mark.parametrize(
    "error, argument, changes",
    [
        (TYPE, "data", {"data": DATA.tolist()}),
        (TYPE, "data", {"data": DATA.astype(int)}),
        (VALUE, "data", {"data": DATA[0]}),
        (TYPE, "rois", {"rois": [ROIS]}),
        (VALUE, "rois", {"rois": ROIS[:, 1:].copy()}),
        (VALUE, "rois", {"rois": ROIS[0]}),
        (VALUE, "rois", {"rois": row(2, np.nan)}),
        (VALUE, "rois", {"rois": row(3, np.inf)}),
        (VALUE, "rois", {"rois": row(0, np.nan)}),
        (VALUE, "pooled_size", {"pooled_size": 0}),
        (TYPE, "pooled_size", {"pooled_size": 2.5}),
        (EITHER, "pooled_size", {"pooled_size": (2, 2, 2)}),
        (VALUE, "spatial_scale", {"spatial_scale": 0}),
        (TYPE, "spatial_scale", {"spatial_scale": None}),
    ],
)
def test_bad_arguments(name, error, argument, changes):
    function = getattr(mxnet, name)
    good = {"data": DATA, "rois": ROIS, "pooled_size": 2, "spatial_scale": 1.0}
    function(**good)
    with pytest.raises(error, match=rf"\b{argument}\b") as caught:
        function(**{**good, **changes})
    for foreign in ("features", "output_size", "invalid="):
        assert foreign not in str(caught.value)


def test_batch_indices_that_are_not_skipped():
    for function in (mxnet.ROIAlign, mxnet.MaxROIAlign):
        with pytest.raises(VALUE, match=r"\brois\b.*\b1\b"):
            function(DATA, row(0, 2), 2, 1.0)
    with pytest.raises(VALUE, match=r"\brois\b.*\b1\b"):
        mxnet.MaxROIAlign(DATA, row(0, -1), 2, 1.0)


@pytest.mark.parametrize(
    "error, argument, changes",
    [
        (VALUE, "out_grad", {"out_grad": np.ones((3, 5, 2), np.float32)}),
        (VALUE, "out_grad|argmax|max_idx_x", {"out_grad": np.ones((2, 5, 2, 2), np.float32)}),
        (TYPE, "out_grad", {"out_grad": np.ones((3, 5, 2, 2), int)}),
        (TYPE, "out_grad", {"out_grad": None}),
        (VALUE, "data_shape", {"data_shape": (2, 5, 12)}),
        (TYPE, "data_shape", {"data_shape": None}),
    ],
)
def test_bad_arguments_of_gradients(error, argument, changes):
    out, argmax = mxnet.ROIPooling(DATA, ROIS, 2, 1.0, return_argmax=True)
    out, x, y = mxnet.MaxROIAlign(DATA, ROIS, 2, 1.0)
    good = {"out_grad": out, "rois": ROIS, "data_shape": DATA.shape}
    for function, more in [
        (mxnet.ROIPooling_backward, {"argmax": argmax}),
        (mxnet.ROIAlign_backward, {"spatial_scale": 1.0}),
        (mxnet.MaxROIAlign_backward, {"spatial_scale": 1.0, "max_idx_x": x, "max_idx_y": y}),
    ]:
        function(**good, **more)
        with pytest.raises(error, match=rf"\b({argument})\b") as caught:
            function(**{**good, **more, **changes})
        for foreign in ("grad_output", "input_shape", "invalid="):
            assert foreign not in str(caught.value)
    for name, array in [("argmax", argmax), ("max_idx_x", x), ("max_idx_y", y)]:
        for bad in (array[:2], array.astype(bool), array.astype(complex), array.tolist(), None):
            with pytest.raises(EITHER, match=rf"\b{name}\b"):
                if name == "argmax":
                    mxnet.ROIPooling_backward(**good, argmax=bad)
                else:
                    positions = {"max_idx_x": x, "max_idx_y": y, name: bad}
                    mxnet.MaxROIAlign_backward(**good, **positions, spatial_scale=1.0)
