"""Memory layouts: strides and axes' order change where values lie, not what comes out, to the bit."""

import battery
import numpy as np
import pytest
from closeness import assert_same_bits
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEATURE_DTYPES, FLOAT_DTYPES, LAYOUTS, problems, random_values, result_dtype

import roicy

LAYOUT_IDS = [layout.__name__ for layout in LAYOUTS]


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
    assert_same_bits(out, expected)

    grad_output = problem.grad_output()
    expected = roicy.roi_align_backward(grad_output, rois, plain.shape, **options)
    out = empty_like_in(layout_out, plain.shape, grad_output.dtype)
    roicy.roi_align_backward(layout_in(grad_output), rois, plain.shape, out=out, **options)
    assert_same_bits(out, expected)

    expected = roicy.roi_align_backward_rois(grad_output, plain, rois, **options)
    grad = roicy.roi_align_backward_rois(layout_in(grad_output), layout_out(plain), rois, **options)
    assert_same_bits(grad, expected)


@pytest.mark.parametrize("case", battery.CASES, ids=battery.CASE_IDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_battery(case, layout):
    problem = battery.build(case)
    shape = (case.boxes, case.shape[1], *case.output_size)
    out = empty_like_in(layout, shape, battery.grad_dtype(case))
    roicy.roi_align(layout(problem.features), problem.rois, case.output_size, out=out, **problem.options)
    assert_same_bits(out, battery.forward(case))


@pytest.mark.parametrize("case", battery.SELECTION, ids=battery.SELECTION_IDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=LAYOUT_IDS)
def test_battery_of_gradients(case, layout):
    problem = battery.build(case)
    grad_output = problem.grad_output()
    out = empty_like_in(layout, case.shape, grad_output.dtype)
    roicy.roi_align_backward(layout(grad_output), problem.rois, case.shape, out=out, **problem.options)
    assert_same_bits(out, battery.backward(case))
    grad = roicy.roi_align_backward_rois(
        layout(grad_output), layout(problem.features), problem.rois, **problem.options
    )
    assert_same_bits(grad, battery.backward_rois(case))


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
    assert_same_bits(out.transpose(0, 3, 1, 2), expected)

    grad_output = random_values(rng, expected.shape, result_dtype(dtype))
    grad_last = np.ascontiguousarray(grad_output.transpose(0, 2, 3, 1))
    expected = roicy.roi_align_backward(grad_output, rois, features.shape, sampling_ratio=2)
    grad = roicy.roi_align_backward(grad_last, rois, last.shape, sampling_ratio=2, layout="NHWC")
    assert grad.shape == last.shape
    assert grad.flags.c_contiguous
    assert_same_bits(grad.transpose(0, 3, 1, 2), expected)

    expected = roicy.roi_align_backward_rois(grad_output, features, rois, sampling_ratio=2)
    grad = roicy.roi_align_backward_rois(grad_last, last, rois, sampling_ratio=2, layout="NHWC")
    assert_same_bits(grad, expected)


ROIS = np.array([[0, 1, 1, 5, 6], [1, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
def test_repeated_values(axis, dtype):
    """Strides of zero, as numpy.broadcast_to makes them."""
    shape = (2, 18, 12, 10)
    once = list(shape)
    once[axis] = 1
    repeated = np.broadcast_to(random_values(np.random.default_rng(0), once, dtype), shape)
    assert_same_bits(roicy.roi_align(repeated, ROIS, 3), roicy.roi_align(repeated.copy(), ROIS, 3))

    grad_shape = (3, 18, 3, 3)
    once = list(grad_shape)
    once[axis] = 1
    real = result_dtype(dtype)
    repeated_grad = np.broadcast_to(random_values(np.random.default_rng(0), once, real), grad_shape)
    assert_same_bits(
        roicy.roi_align_backward(repeated_grad, ROIS, shape),
        roicy.roi_align_backward(repeated_grad.copy(), ROIS, shape),
    )
    assert_same_bits(
        roicy.roi_align_backward_rois(repeated_grad, repeated, ROIS),
        roicy.roi_align_backward_rois(repeated_grad.copy(), repeated.copy(), ROIS),
    )


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_unaligned_memory(dtype, layout):
    """Arrays that start at an odd address, as slices of a file in memory do."""

    def shifted(array):
        memory = np.zeros(array.nbytes + 1, np.uint8)
        odd = memory[1:].view(array.dtype).reshape(array.shape)
        odd[...] = array
        return odd

    features = battery.to_layout(random_values(np.random.default_rng(0), (2, 40, 12, 10), dtype), layout)
    features = np.ascontiguousarray(features)
    expected = roicy.roi_align(features, ROIS, 3, layout=layout)
    out = shifted(np.zeros_like(expected))
    roicy.roi_align(shifted(features), shifted(ROIS), 3, layout=layout, out=out)
    assert_same_bits(out, expected)
    grad = shifted(np.zeros_like(features))
    roicy.roi_align_backward(out, shifted(ROIS), features.shape, layout=layout, out=grad)
    assert_same_bits(grad, roicy.roi_align_backward(expected, ROIS, features.shape, layout=layout))
    assert_same_bits(
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
        assert_same_bits(whole[inner], expected)
        whole[inner] = 7
        assert (whole == 7).all()
    grad = roicy.roi_align_backward(expected, ROIS, features.shape)
    for step in (1, 2, 3):
        whole = np.full([step * n + 5 for n in grad.shape], 7, np.float32)
        inner = tuple(slice(2, 2 + step * n, step) for n in grad.shape)
        roicy.roi_align_backward(expected, ROIS, features.shape, out=whole[inner])
        assert_same_bits(whole[inner], grad)
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
    assert_same_bits(out, roicy.roi_align(inner.copy(), rois, 7, layout=layout))
    assert np.isfinite(out).all()


def test_memory_mapped_files(tmp_path):
    """Features from a file, results into another: subclasses of ndarray with memory of their own kind."""
    features = random_values(np.random.default_rng(0), (2, 18, 12, 10), np.dtype("float32"))
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(3, 18, 7, 7))
    assert roicy.roi_align(mapped, ROIS, 7, out=out) is out
    out.flush()
    assert_same_bits(np.load(tmp_path / "out.npy"), roicy.roi_align(features, ROIS, 7))
