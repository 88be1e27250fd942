"""Memory layouts: strides and axes' order change where values lie, not what comes out.

On the CPU to the bit. The CUDA kernels have a loop for each of two ways in which pixels may be neighbours.
"""

import battery
import numpy as np
import operators
import pytest
from closeness import assert_same_bits, assert_same_sums
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    FEATURE_DTYPES,
    FLOAT_DTYPES,
    LAYOUTS,
    problems,
    random_values,
    result_dtype,
    rising_values,
)

import roicy
from roicy import _backend

pytestmark = pytest.mark.usefixtures("backend")

LAYOUT_IDS = [layout.__name__ for layout in LAYOUTS]


def assert_same(actual, expected):
    if _backend.cpu is roicy.cpu:
        assert_same_bits(actual, expected)
    else:
        assert_same_sums(actual, expected)


def empty_like_in(layout, shape, dtype):
    """An array of a shape in a memory layout, with NaN in every place, to be used as `out`."""
    out = layout(np.full(shape, np.nan, dtype))
    assert out.shape == tuple(shape)
    return out


@given(problems(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_any_layout_gives_the_same_bits(problem, layout_in, layout_out):
    features, rois, output_size, options = problem
    plain = np.ascontiguousarray(features)
    expected = roicy.roi_align(plain, rois, output_size, **options)
    out = empty_like_in(layout_out, expected.shape, expected.dtype)
    roicy.roi_align(layout_in(plain), rois, output_size, out=out, **options)
    assert_same(out, expected)

    grad_output = problem.grad_output()
    expected = roicy.roi_align_backward(grad_output, rois, plain.shape, **options)
    out = empty_like_in(layout_out, plain.shape, grad_output.dtype)
    roicy.roi_align_backward(layout_in(grad_output), rois, plain.shape, out=out, **options)
    assert_same(out, expected)

    expected = roicy.roi_align_backward_rois(grad_output, plain, rois, **options)
    grad = roicy.roi_align_backward_rois(layout_in(grad_output), layout_out(plain), rois, **options)
    assert_same(grad, expected)


@pytest.mark.parametrize("case", battery.CASES, ids=battery.CASE_IDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_battery(case, layout):
    problem = battery.build(case)
    shape = (case.boxes, case.shape[1], *case.output_size)
    out = empty_like_in(layout, shape, battery.grad_dtype(case))
    roicy.roi_align(layout(problem.features), problem.rois, case.output_size, out=out, **problem.options)
    assert_same(out, battery.forward(case))


@pytest.mark.parametrize("case", battery.SELECTION, ids=battery.SELECTION_IDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_battery_of_gradients(case, layout):
    problem = battery.build(case)
    grad_output = problem.grad_output()
    out = empty_like_in(layout, case.shape, grad_output.dtype)
    roicy.roi_align_backward(layout(grad_output), problem.rois, case.shape, out=out, **problem.options)
    assert_same(out, battery.backward(case))
    rising = battery.build(case, rising_values).features
    grad = roicy.roi_align_backward_rois(layout(grad_output), layout(rising), problem.rois, **problem.options)
    assert_same(grad, battery.backward_rois(case))


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 8, 16, 17, 40])
@pytest.mark.parametrize("boxes", [2, 150])
def test_nhwc_equals_nchw(dtype, channels, boxes):
    rng = np.random.default_rng(channels)
    features = random_values(rng, (2, channels, 25, 30), dtype)
    corners = battery.random_boxes(rng, boxes, 25, 30)
    rois = np.column_stack([rng.integers(2, size=boxes), corners]).astype(np.float32)
    last = np.ascontiguousarray(features.transpose(0, 2, 3, 1))

    expected = roicy.roi_align(features, rois, (3, 5), sampling_ratio=2)
    out = roicy.roi_align(last, rois, (3, 5), sampling_ratio=2, layout="NHWC")
    assert out.shape == (boxes, 3, 5, channels)
    assert out.flags.c_contiguous
    assert_same(out.transpose(0, 3, 1, 2), expected)

    grad_output = random_values(rng, expected.shape, result_dtype(dtype))
    grad_last = np.ascontiguousarray(grad_output.transpose(0, 2, 3, 1))
    expected = roicy.roi_align_backward(grad_output, rois, features.shape, sampling_ratio=2)
    grad = roicy.roi_align_backward(grad_last, rois, last.shape, sampling_ratio=2, layout="NHWC")
    assert grad.shape == last.shape
    assert grad.flags.c_contiguous
    assert_same(grad.transpose(0, 3, 1, 2), expected)

    expected = roicy.roi_align_backward_rois(grad_output, features, rois, sampling_ratio=2)
    grad = roicy.roi_align_backward_rois(grad_last, last, rois, sampling_ratio=2, layout="NHWC")
    assert_same(grad, expected)


# Views of the pixels of an image, rows x columns x channels, as image libraries keep them.
PIXELS = {
    "gray of gray and alpha": (2, np.s_[:1]),
    "RGB": (3, np.s_[:]),
    "BGR": (3, np.s_[::-1]),
    "green of RGB": (3, np.s_[1:2]),
    "RGB of RGBA": (4, np.s_[:3]),
    "BGR of RGBA": (4, np.s_[2::-1]),
    "RGBA": (4, np.s_[:]),
    "two of RGBA": (4, np.s_[1:3]),
    "two apart of RGBA": (4, np.s_[::2]),
    "RGB of five": (5, np.s_[:3]),
}


@pytest.mark.parametrize("sampling_ratio", [0, 1])
@pytest.mark.parametrize("columns", [3, 31, 64, 200, 301])
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize(("elements", "channels"), PIXELS.values(), ids=PIXELS)
def test_pixels_of_images(elements, channels, dtype, columns, sampling_ratio):
    """Crops of images: the columns of a vector may lie close together or far apart."""
    rng = np.random.default_rng(columns)
    image = random_values(rng, (2, 11, 301, elements), dtype)[..., channels]
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    rois = [
        [1, 0, 0, 301, 11],
        [0, -20, 2, 250, 8],
        [1, 150.5, 1, 170, 10],
        [0, 290, -3, 330, 15],
        [0, 400, 3, 410, 5],
    ]
    rois = np.array(rois, np.float32)
    size, options = (5, columns), {"sampling_ratio": sampling_ratio}
    # as many channels as an image hardly has
    wide = np.concatenate([planes, *[planes[:, :1]] * 5], axis=1)
    expected = roicy.roi_align(wide, rois, size, **options)[:, : planes.shape[1]]

    assert_same(roicy.roi_align(planes, rois, size, **options), expected)
    for flip in (np.s_[:], np.s_[..., ::-1]):  # outputs joined like the pixels, and backwards
        out = empty_like_in(np.asarray, (len(rois), *size, planes.shape[1]), expected.dtype)
        roicy.roi_align(image, rois, size, layout="NHWC", out=out[flip], **options)
        assert_same(out[flip].transpose(0, 3, 1, 2), expected)
    out = empty_like_in(np.asarray, expected.shape, expected.dtype)
    roicy.roi_align(image.transpose(0, 3, 1, 2), rois, size, out=out, **options)
    assert_same(out, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [160, 164])
@pytest.mark.parametrize("turned", [False, True], ids=["upright", "rotated"])
def test_gradients_that_are_large_enough_to_pass_by_the_cache(turned, columns, dtype):
    rng = np.random.default_rng(columns)
    shape = (1, 19, 96, columns)
    assert np.prod(shape) * 4 > 2**20
    x1, y1, x2, y2 = battery.random_boxes(rng, 60, 96, columns).T
    backward, boxes = roicy.roi_align_backward, [x1, y1, x2, y2]
    if turned:
        width, height = np.abs(x2 - x1), np.abs(y2 - y1)
        backward = roicy.roi_align_rotated_backward
        boxes = [(x1 + x2) / 2, (y1 + y2) / 2, width, height, rng.uniform(-180, 180, 60)]
    rois = np.stack([np.zeros(60), *boxes], axis=1).astype(dtype)
    grad_output = random_values(rng, (60, 19, 3, 2), dtype)
    last = np.full((1, 96, columns, 19), np.nan, dtype)
    backward(grad_output, rois, shape, sampling_ratio=2, out=last.transpose(0, 3, 1, 2))
    # from any place in a cache line on
    for start in (0, 1, 5, 16):
        memory = np.full(np.prod(shape) + 16, np.nan, dtype)
        out = memory[start : start + np.prod(shape)].reshape(shape)
        backward(grad_output, rois, shape, sampling_ratio=2, out=out)
        assert_same(out, last.transpose(0, 3, 1, 2))


ROIS = np.array([[0, 1, 1, 5, 6], [1, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
def test_repeated_values(axis, dtype):
    """Strides of zero, as numpy.broadcast_to makes them."""
    shape = (2, 18, 12, 10)
    once = list(shape)
    once[axis] = 1
    repeated = np.broadcast_to(random_values(np.random.default_rng(0), once, dtype), shape)
    assert_same(roicy.roi_align(repeated, ROIS, 3), roicy.roi_align(repeated.copy(), ROIS, 3))

    grad_shape = (3, 18, 3, 3)
    once = list(grad_shape)
    once[axis] = 1
    real = result_dtype(dtype)
    repeated_grad = np.broadcast_to(random_values(np.random.default_rng(0), once, real), grad_shape)
    assert_same(
        roicy.roi_align_backward(repeated_grad, ROIS, shape),
        roicy.roi_align_backward(repeated_grad.copy(), ROIS, shape),
    )
    assert_same(
        roicy.roi_align_backward_rois(repeated_grad, repeated, ROIS),
        roicy.roi_align_backward_rois(repeated_grad.copy(), repeated.copy(), ROIS),
    )


def shifted(array):
    """The same values from an odd address on."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    odd = memory[1:].view(array.dtype).reshape(array.shape)
    odd[...] = array
    return odd


@pytest.mark.cpu_only(reason="CUDA arrays are aligned")
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_unaligned_memory(dtype, layout):
    """Arrays that start at an odd address, as slices of a file in memory do."""
    features = battery.to_layout(random_values(np.random.default_rng(0), (2, 40, 12, 10), dtype), layout)
    features = np.ascontiguousarray(features)
    expected = roicy.roi_align(features, ROIS, 3, layout=layout)
    out = shifted(np.zeros_like(expected))
    roicy.roi_align(shifted(features), shifted(ROIS), 3, layout=layout, out=out)
    assert_same(out, expected)
    grad = shifted(np.zeros_like(features))
    roicy.roi_align_backward(out, shifted(ROIS), features.shape, layout=layout, out=grad)
    assert_same(grad, roicy.roi_align_backward(expected, ROIS, features.shape, layout=layout))
    assert_same(
        roicy.roi_align_backward_rois(out, shifted(features), shifted(ROIS), layout=layout),
        roicy.roi_align_backward_rois(expected, features, ROIS, layout=layout),
    )


def test_strided_out_leaves_its_neighbours_alone():
    """Only the elements of `out` are written, not those between and around them."""
    features = random_values(np.random.default_rng(0), (2, 21, 12, 10), np.dtype("float32"))
    expected = roicy.roi_align(features, ROIS, (3, 5))
    for step in (1, 2, 3):
        whole = np.full([step * n + 5 for n in expected.shape], 7, np.float32)
        inner = tuple(slice(2, 2 + step * n, step) for n in expected.shape)
        roicy.roi_align(features, ROIS, (3, 5), out=whole[inner])
        assert_same(whole[inner], expected)
        whole[inner] = 7
        assert (whole == 7).all()
    grad = roicy.roi_align_backward(expected, ROIS, features.shape)
    for step in (1, 2, 3):
        whole = np.full([step * n + 5 for n in grad.shape], 7, np.float32)
        inner = tuple(slice(2, 2 + step * n, step) for n in grad.shape)
        roicy.roi_align_backward(expected, ROIS, features.shape, out=whole[inner])
        assert_same(whole[inner], grad)
        whole[inner] = 7
        assert (whole == 7).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_crop_of_a_larger_map(layout):
    """A window of an array is a map of its own: what lies around it is not sampled."""
    rng = np.random.default_rng(0)
    shape = (1, 34, 50, 60) if layout == "NCHW" else (1, 50, 60, 34)
    whole = np.full(shape, np.nan, np.float32)
    rows, columns = slice(10, 30), slice(15, 45)
    inner = whole[:, 1:33, rows, columns] if layout == "NCHW" else whole[:, rows, columns, 1:33]
    inner[...] = rng.random(inner.shape)
    rois = np.array([[0, -5, -5, 60, 60], [0, 0, 0, 30, 20], [0, 28, 18, 33, 22]], np.float32)
    out = roicy.roi_align(inner, rois, 7, layout=layout)
    assert_same(out, roicy.roi_align(inner.copy(), rois, 7, layout=layout))
    assert np.isfinite(out).all()


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


@pytest.mark.parametrize("stride", [0, -1, 1, 2, 3, -7, 10**6])
@pytest.mark.parametrize("channels, output_size, map_size", SMALL_SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_axes_of_length_one_may_have_any_stride(channels, output_size, map_size, stride, dtype):
    """Nobody takes a step along them, so the step may be anything: NumPy itself leaves odd ones behind."""

    def odd(array):
        return with_odd_steps(array, stride)

    features = random_values(np.random.default_rng(0), (1, channels, *map_size), np.dtype(dtype))
    rois = np.array([[0, 0, 0, map_size[1], map_size[0]], [0, 0.5, 0.25, 3, 3]], np.float32)
    for count in (1, 2):
        expected = roicy.roi_align(features, rois[:count], output_size)
        for out in (np.zeros_like(expected), spaced(np.zeros_like(expected))):
            roicy.roi_align(odd(spaced(features)), rois[:count], output_size, out=odd(out))
            assert_same(out, expected)
        grad = roicy.roi_align_backward(expected, rois[:count], features.shape)
        for out in (np.zeros_like(grad), spaced(np.zeros_like(grad))):
            roicy.roi_align_backward(odd(spaced(expected)), rois[:count], features.shape, out=odd(out))
            assert_same(out, grad)
        assert_same(
            roicy.roi_align_backward_rois(odd(spaced(expected)), odd(spaced(features)), rois[:count]),
            roicy.roi_align_backward_rois(expected, features, rois[:count]),
        )


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
@pytest.mark.parametrize("axis, channels", [(0, 2), (0, 20), (1, 2), (2, 2), (2, 20), (3, 2), (3, 20)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_steps_beyond_32_bits(axis, dtype, channels):
    """Neighbours more than 2**32 bytes apart, with nothing between them but pages that are never touched."""

    def stretched(array):
        return with_wide_steps(array, axis)

    shape = [2, channels, 9, 10]
    if axis > 1:
        shape[axis] = 2
    features = random_values(np.random.default_rng(0), shape, np.dtype(dtype))
    rois = np.array([[0, 0, 0, shape[3], shape[2]], [1, 0.5, 0.25, 3, 3]], np.float32)
    output_size = [2 if axis == 2 else 5, 2 if axis == 3 else 4]
    expected = roicy.roi_align(features, rois, output_size)
    far = stretched(features)
    out = stretched(np.zeros_like(expected))
    roicy.roi_align(far, rois, output_size, out=out)
    assert_same(out, expected)
    grad = roicy.roi_align_backward(expected, rois, features.shape)
    grad_out = stretched(np.zeros_like(grad))
    roicy.roi_align_backward(out, rois, features.shape, out=grad_out)
    assert_same(grad_out, grad)
    assert_same(
        roicy.roi_align_backward_rois(out, far, rois),
        roicy.roi_align_backward_rois(expected, features, rois),
    )


@pytest.mark.numpy_only(reason="about the memory of this machine")
def test_memory_mapped_files(tmp_path):
    """Features from a file, results into another: subclasses of ndarray with memory of their own kind."""
    features = random_values(np.random.default_rng(0), (2, 18, 12, 10), np.dtype("float32"))
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(3, 18, 7, 7))
    assert roicy.roi_align(mapped, ROIS, 7, out=out) is out
    out.flush()
    assert_same(np.load(tmp_path / "out.npy"), roicy.roi_align(features, ROIS, 7))


# ---------------------------------------------------------------- the same of all other operators


of_all = pytest.mark.parametrize("operator", operators.NAMES)


def assert_same_outputs(found, expected, layout="NCHW"):
    for array, wanted in zip(found, expected, strict=True):
        assert_same(battery.from_layout(array, layout) if array.ndim == 4 else array, wanted)


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 8, 17, 40])
@pytest.mark.parametrize("boxes", [2, 60])
def test_nhwc_equals_nchw_for_all(operator, dtype, channels, boxes):
    rng = np.random.default_rng(channels)
    features = random_values(rng, (2, channels, 25, 30), dtype)
    corners = battery.random_boxes(rng, boxes, 25, 30)
    rois = np.column_stack([rng.integers(2, size=boxes), corners]).astype(np.float32)
    expected = operators.outputs(operator, features, rois, (3, 5))
    assert_same_outputs(operators.outputs(operator, features, rois, (3, 5), layout="NHWC"), expected, "NHWC")


@of_all
@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
def test_repeated_values_for_all(operator, axis, dtype):
    def repeated(array):
        return np.broadcast_to(np.take(array, [0], axis), array.shape)

    features = random_values(np.random.default_rng(0), (2, 18, 12, 10), dtype)
    expected = operators.outputs(operator, features, ROIS, (3, 2), take=lambda array: repeated(array).copy())
    assert_same_outputs(operators.outputs(operator, features, ROIS, (3, 2), take=repeated), expected)


@pytest.mark.cpu_only(reason="CUDA arrays are aligned")
@of_all
@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_unaligned_memory_for_all(operator, dtype, layout):
    features = random_values(np.random.default_rng(0), (2, 40, 12, 10), dtype)
    expected = operators.outputs(operator, features, ROIS, (3, 2), layout=layout)
    found = operators.outputs(
        operator,
        features,
        ROIS,
        (3, 2),
        layout=layout,
        take=shifted,
        give=lambda shape, dtype: shifted(np.full(shape, 7, dtype)),
    )
    assert_same_outputs(found, expected)


@of_all
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_strided_outputs_leave_their_neighbours_alone(operator, layout):
    features = random_values(np.random.default_rng(0), (2, 21, 12, 10), np.dtype("float32"))
    expected = operators.outputs(operator, features, ROIS, (3, 5), layout=layout)
    for step in (1, 2, 3):
        wholes = []

        def window(shape, dtype, step=step, wholes=wholes):
            whole = np.full([step * n + 5 for n in shape], 7, dtype)
            inner = whole[tuple(slice(2, 2 + step * n, step) for n in shape)]
            wholes.append((whole, inner))
            return inner

        found = operators.outputs(operator, features, ROIS, (3, 5), layout=layout, give=window)
        assert_same_outputs(found, expected)
        for whole, inner in wholes:
            inner[...] = 7
            assert (whole == 7).all()


@of_all
@pytest.mark.parametrize("stride", [0, -7, 10**6])
@pytest.mark.parametrize("channels, output_size, map_size", SMALL_SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_axes_of_length_one_for_all(operator, channels, output_size, map_size, stride, dtype):
    features = random_values(np.random.default_rng(0), (1, channels, *map_size), np.dtype(dtype))
    rois = np.array([[0, 0, 0, map_size[1], map_size[0]], [0, 0.5, 0.25, 3, 3]], np.float32)
    for count in (1, 2):
        expected = operators.outputs(operator, features, rois[:count], output_size)
        for memory in (spaced, np.copy):
            found = operators.outputs(
                operator,
                features,
                rois[:count],
                output_size,
                take=lambda array, memory=memory: with_odd_steps(memory(array), stride),
                give=lambda shape, dtype, memory=memory: with_odd_steps(
                    memory(np.full(shape, 7, dtype)), stride
                ),
            )
            assert_same_outputs(found, expected)


@pytest.mark.numpy_only(reason="about the memory of this machine")
@of_all
@pytest.mark.parametrize("axis, channels", [(0, 2), (0, 20), (1, 2), (2, 2), (2, 20), (3, 2), (3, 20)])
def test_steps_beyond_32_bits_for_all(operator, axis, channels):
    shape = [2, channels, 9, 10]
    if axis > 1:
        shape[axis] = 2
    features = random_values(np.random.default_rng(0), shape, np.dtype("float16"))
    rois = np.array([[0, 0, 0, shape[3], shape[2]], [1, 0.5, 0.25, 3, 3]], np.float32)
    output_size = (2 if axis == 2 else 5, 2 if axis == 3 else 4)
    expected = operators.outputs(operator, features, rois, output_size)
    found = operators.outputs(
        operator,
        features,
        rois,
        output_size,
        take=lambda array: with_wide_steps(array, axis),
        give=lambda shape, dtype: with_wide_steps(np.full(shape, 7, dtype), axis),
    )
    assert_same_outputs(found, expected)


@of_all
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_crop_of_a_larger_map_for_all(operator, layout):
    """What lies around a window of an array is not looked at."""
    features = np.random.default_rng(0).random((1, 32, 20, 30)).astype(np.float32)
    rois = np.array([[0, -5, -5, 60, 60], [0, 0, 0, 30, 20], [0, 28, 18, 33, 22]], np.float32)

    def window(array):
        if array.dtype.kind != "f":
            return array
        whole = np.full([n + 9 for n in array.shape], np.nan, array.dtype)
        inner = whole[tuple(slice(4, 4 + n) for n in array.shape)]
        inner[...] = array
        return inner

    expected = operators.outputs(operator, features, rois, (7, 7), layout=layout)
    assert_same_outputs(
        operators.outputs(operator, features, rois, (7, 7), layout=layout, take=window), expected
    )
