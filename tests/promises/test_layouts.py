"""Memory layouts: strides and axes' order change where values lie, not what comes out.

On the CPU to the bit. The CUDA kernels have a loop for each of two ways in which pixels may be neighbours.
"""

import functools

import battery
import numpy as np
import pytest
from closeness import assert_same_bits, assert_same_sums
from hypothesis import strategies as st
from operators import AVERAGE, BATTERY, OPERATORS, of_all, of_battery, those
from strategies import FEATURE_DTYPES, FLOAT_DTYPES, LAYOUTS, random_values, rising_values

import roicy
from roicy import _backend

pytestmark = pytest.mark.usefixtures("backend")

LAYOUT_IDS = [layout.__name__ for layout in LAYOUTS]
CORNERS = [[1, 1, 5, 6], [2, 2, 9, 11], [3, 0, 4, 12]]


def assert_same(actual, expected):
    if _backend.cpu is roicy.cpu:
        assert_same_bits(actual, expected)
    else:
        assert_same_sums(actual, expected)


def assert_same_outputs(found, expected, layout="NCHW"):
    for array, wanted in zip(found, expected, strict=True):
        assert_same(battery.from_layout(array, layout) if array.ndim == 4 else array, wanted)


def empty_in(layout, shape, dtype):
    """An array of a shape in a memory layout, with numbers in every place that no result has, for `out`."""
    out = layout(np.full(shape, 99 if np.dtype(dtype).kind == "i" else np.nan, dtype))
    assert out.shape == tuple(shape)
    return out


def assert_same_in(operator, layout_in, layout_out, problem, rising, seed=0):
    """Compare results of arrays in all layouts, and `out` in all layouts, with results of plain arrays."""
    features, rois, size, options = problem
    call = rois, size
    values, argmax = operator.both(features, *call, **options)
    out = empty_in(layout_out, values.shape, values.dtype)
    operator.forward(layout_in(features), *call, out=out, **options)
    assert_same(out, operator.forward(features, *call, **options))
    chosen = operator.chosen(problem, seed)
    moved = None if chosen is None else layout_in(chosen)
    if argmax is not None:
        pair = empty_in(layout_out, values.shape, values.dtype), empty_in(layout_out, values.shape, np.int32)
        operator.forward(layout_in(features), *call, return_argmax=True, out=pair, **options)
        assert_same_outputs(pair, (values, argmax))

    grad_output = problem.grad_output()
    out = empty_in(layout_out, features.shape, grad_output.dtype)
    operator.gradient(layout_in(grad_output), layout_in(features), rois, moved, out=out, **options)
    assert_same(out, operator.gradient(grad_output, features, rois, chosen, **options))
    if operator.has_slopes:
        grad = operator.backward_rois(layout_in(grad_output), layout_out(rising), rois, moved, **options)
        assert_same(grad, operator.backward_rois(grad_output, rising, rois, chosen, **options))


@of_all
def test_any_layout_gives_the_same_bits(operator, examples):
    @examples(operator.problems(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), share=operator.share)
    def hold(problem, layout_in, layout_out):
        plain = problem._replace(features=np.ascontiguousarray(problem.features))
        assert_same_in(operator, layout_in, layout_out, plain, plain.features)


@of_battery([(o, case) for o, case in BATTERY if o is AVERAGE or case in battery.SELECTION])
@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_battery(operator, case, layout):
    if _backend.cpu is not roicy.cpu:
        case = case._replace(boxes=min(case.boxes, 40))  # the others are as good
    problem = battery.build(operator, case)
    rising = battery.build(operator, case, rising_values).features
    assert_same_in(operator, layout, layout, problem, rising, case.boxes)


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 8, 16, 17, 40])
@pytest.mark.parametrize("boxes", [2, 150])
def test_nhwc_equals_nchw(operator, dtype, channels, boxes):
    if _backend.cpu is not roicy.cpu:
        boxes = min(boxes, 40)  # beyond a block's already
    rng = np.random.default_rng(channels)
    size = (2, 3) if operator.position_sensitive else (3, 5)  # channels of the maps are as many times more
    features = random_values(rng, operator.map_shape((2, channels, 13, 17), size), dtype)
    corners = battery.random_boxes(rng, boxes, 13, 17)
    rois = operator.rois(rng, rng.integers(2, size=boxes), corners)
    expected = operator.outputs(features, rois, size)
    found = operator.outputs(features, rois, size, layout="NHWC")
    assert_same_outputs(found, expected, "NHWC")
    last = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    out, argmax = operator.both(last, rois, size, sampling_ratio=2, layout="NHWC")
    assert out.flags.c_contiguous
    assert_same(out.transpose(0, 3, 1, 2), expected[0])
    grad = operator.backward(out, rois, last.shape, argmax, sampling_ratio=2, layout="NHWC")
    assert grad.shape == last.shape
    assert grad.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [160, 164])
@those([operator for operator in OPERATORS if operator.linear])
def test_gradients_that_are_large_enough_to_pass_by_the_cache(operator, columns, dtype):
    rng = np.random.default_rng(columns)
    shape = operator.map_shape((1, 19, 96, columns), (3, 2))
    assert np.prod(shape) * 4 > 2**20
    rois = operator.rois(rng, np.zeros(60), battery.random_boxes(rng, 60, 96, columns), dtype)
    grad_output = random_values(rng, (60, 19, 3, 2), dtype)
    last = np.full((1, 96, columns, shape[1]), np.nan, dtype)
    operator.backward(grad_output, rois, shape, sampling_ratio=2, out=last.transpose(0, 3, 1, 2))
    # from any place in a cache line on
    for start in (0, 1, 5, 16):
        memory = np.full(np.prod(shape) + 16, np.nan, dtype)
        out = memory[start : start + np.prod(shape)].reshape(shape)
        operator.backward(grad_output, rois, shape, sampling_ratio=2, out=out)
        assert_same(out, last.transpose(0, 3, 1, 2))


@of_all
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
def test_repeated_values(operator, axis, dtype):
    """Strides of zero, as numpy.broadcast_to makes them."""

    def repeated(array):
        return np.broadcast_to(np.take(array, [0], axis), array.shape)

    rng = np.random.default_rng(0)
    features = random_values(rng, operator.map_shape((2, 18, 12, 10), (3, 2)), dtype)
    rois = operator.rois(rng, [0, 1, 1], CORNERS)
    expected = operator.outputs(features, rois, (3, 2), take=lambda array: repeated(array).copy())
    assert_same_outputs(operator.outputs(features, rois, (3, 2), take=repeated), expected)


def shifted(array):
    """The same values from an odd address on."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    odd = memory[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    return odd


@pytest.mark.cpu_only(reason="CUDA arrays are aligned")
@of_all
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_unaligned_memory(operator, dtype, layout):
    """Arrays that start at an odd address, as slices of a file in memory do."""
    rng = np.random.default_rng(0)
    features = random_values(rng, operator.map_shape((2, 40, 12, 10), (3, 2)), dtype)
    rois = operator.rois(rng, [0, 1, 1], CORNERS)
    expected = operator.outputs(features, rois, (3, 2), layout=layout)
    found = operator.outputs(
        features,
        shifted(rois),
        (3, 2),
        layout=layout,
        take=shifted,
        give=lambda shape, dtype: shifted(np.full(shape, 7, dtype)),
    )
    assert_same_outputs(found, expected)


@of_all
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_strided_outputs_leave_their_neighbours_alone(operator, layout):
    """Only the elements of `out` are written, not those between and around them."""
    rng = np.random.default_rng(0)
    features = random_values(rng, operator.map_shape((2, 21, 12, 10), (3, 5)), np.dtype("float32"))
    rois = operator.rois(rng, [0, 1, 1], CORNERS)
    expected = operator.outputs(features, rois, (3, 5), layout=layout)
    for step in (1, 2, 3):
        wholes = []

        def window(shape, dtype, step=step, wholes=wholes):
            whole = np.full([step * n + 5 for n in shape], 7, dtype)
            inner = whole[tuple(slice(2, 2 + step * n, step) for n in shape)]
            wholes.append((whole, inner))
            return inner

        found = operator.outputs(features, rois, (3, 5), layout=layout, give=window)
        assert_same_outputs(found, expected)
        for whole, inner in wholes:
            inner[...] = 7
            assert (whole == 7).all()


@of_all
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_crop_of_a_larger_map(operator, layout):
    """A window of an array is a map of its own: what lies around it is not sampled."""
    rng = np.random.default_rng(0)
    features = rng.random(operator.map_shape((1, 32, 20, 30), (7, 7))).astype(np.float32)
    rois = operator.rois(rng, [0, 0, 0], [[-5, -5, 60, 60], [0, 0, 30, 20], [28, 18, 33, 22]])

    def window(array):
        if array.dtype.kind != "f":
            return array
        whole = np.full([n + 9 for n in array.shape], np.nan, array.dtype)
        inner = whole[tuple(slice(4, 4 + n) for n in array.shape)]
        inner[...] = array
        return inner

    expected = operator.outputs(features, rois, (7, 7), layout=layout)
    found = operator.outputs(features, rois, (7, 7), layout=layout, take=window)
    assert_same_outputs(found, expected)
    assert all(np.isfinite(array).all() for array in found)


def with_odd_steps(array, stride):
    """The same array with other strides of its axes of length one, in items."""
    strides = [
        stride * array.itemsize if n == 1 else s for n, s in zip(array.shape, array.strides, strict=True)
    ]
    return np.lib.stride_tricks.as_strided(array, array.shape, strides)


def spaced(array):
    """Every second channel of a larger array: a step that a stride of an axis of length one may equal."""
    return np.repeat(array, 2, axis=1)[:, ::2]


SMALL_SIZES = [
    (18, (1, 1), (1, 1)),
    (1, (1, 1), (1, 1)),
    (1, (3, 1), (12, 1)),
    (18, (1, 5), (1, 10)),
    (3, (4, 1), (5, 1)),
]


def problem_of_small_size(operator, dtype, channels, output_size, map_size):
    rng = np.random.default_rng(0)
    shape = operator.map_shape((1, channels, *map_size), output_size)
    features = random_values(rng, shape, np.dtype(dtype))
    return features, operator.rois(rng, [0, 0], [[0, 0, *map_size[::-1]], [0.5, 0.25, 3, 3]])


@functools.cache
def plain_outputs(backend, count, output_size, *problem):
    """What comes of arrays as NumPy makes them, whatever the steps of the others."""
    operator, dtype, channels, map_size = problem
    features, rois = problem_of_small_size(operator, dtype, channels, output_size, map_size)
    return operator.outputs(features, rois[:count], output_size)


@of_all
@pytest.mark.parametrize("stride", [0, -1, 1, 2, 3, -7, 10**6])
@pytest.mark.parametrize("channels, output_size, map_size", SMALL_SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_axes_of_length_one_may_have_any_stride(
    operator, channels, output_size, map_size, stride, dtype, backend
):
    """Nobody takes a step along them, so the step may be anything: NumPy itself leaves odd ones behind."""
    features, rois = problem_of_small_size(operator, dtype, channels, output_size, map_size)
    for count in (1, 2):
        expected = plain_outputs(backend, count, output_size, operator, dtype, channels, map_size)
        for memory in (spaced, np.copy):
            found = operator.outputs(
                features,
                rois[:count],
                output_size,
                take=lambda array, memory=memory: with_odd_steps(memory(array), stride),
                give=lambda shape, dtype, memory=memory: with_odd_steps(
                    memory(np.full(shape, 7, dtype)), stride
                ),
            )
            assert_same_outputs(found, expected)


def with_wide_steps(array, axis):
    """The same values more than 2**32 bytes apart along an axis."""
    step = 2**32 + 4096
    try:
        memory = np.zeros(step * (array.shape[axis] - 1) + array.nbytes, np.uint8)
    except MemoryError:
        pytest.skip("no address space for gigabytes that are not used")
    strides = list(array.strides)
    strides[axis] = step
    view = np.lib.stride_tricks.as_strided(memory.view(array.dtype), array.shape, strides)
    view[...] = array
    return view


@pytest.mark.numpy_only(reason="about the memory of this machine")
@of_all
@pytest.mark.parametrize("axis, channels", [(0, 2), (0, 20), (1, 2), (2, 2), (2, 20), (3, 2), (3, 20)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_steps_beyond_32_bits(operator, axis, dtype, channels):
    """Neighbours more than 2**32 bytes apart, with nothing between them but pages that are never touched."""
    shape = [2, channels, 9, 10]
    if axis > 1:
        shape[axis] = 2
    rng = np.random.default_rng(0)
    output_size = (2 if axis == 2 else 5, 2 if axis == 3 else 4)
    if operator.position_sensitive and axis == 1:
        output_size = (1, 2)
    features = random_values(rng, operator.map_shape(shape, output_size), np.dtype(dtype))
    rois = operator.rois(rng, [0, 1], [[0, 0, shape[3], shape[2]], [0.5, 0.25, 3, 3]])
    expected = operator.outputs(features, rois, output_size)
    found = operator.outputs(
        features,
        rois,
        output_size,
        take=lambda array: with_wide_steps(array, axis),
        give=lambda shape, dtype: with_wide_steps(np.full(shape, 7, dtype), axis),
    )
    assert_same_outputs(found, expected)
