"""`roi_align_backward`: the adjoint of `roi_align`."""

import battery
import numpy as np
import pytest
from closeness import RELATIVE_BOUND, assert_same_bits
from strategies import random_values

import roicy

pytestmark = pytest.mark.usefixtures("backend")

REAL_DTYPES = [np.dtype("float32"), np.dtype("float64")]


def backward(problem, grad_output, **more):
    return roicy.roi_align_backward(
        grad_output, problem.rois, problem.features.shape, **problem.options, **more
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_the_whole_matrix(dtype, sampling_ratio, aligned):
    """With a channel for each pixel, then for each bin, the results are columns and rows of the matrix."""
    height, width, output_size = 5, 6, (2, 3)
    rng = np.random.default_rng(11)
    boxes = battery.random_boxes(rng, 12, height, width)
    rois = np.column_stack([np.zeros(12), boxes]).astype(dtype)
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}

    pixels = np.eye(height * width, dtype=dtype).reshape(1, height * width, height, width)
    by_columns = roicy.roi_align(pixels, rois, output_size, **options)  # (box, pixel, p, q)
    by_columns = by_columns.transpose(0, 2, 3, 1).reshape(-1, height * width)

    bins = 12 * 6
    grad_output = np.eye(bins, dtype=dtype).reshape(bins, 12, *output_size).transpose(1, 0, 2, 3)
    by_rows = roicy.roi_align_backward(grad_output, rois, (1, bins, height, width), **options)
    by_rows = by_rows[0].reshape(bins, height * width)

    np.testing.assert_allclose(by_rows, by_columns, rtol=0, atol=RELATIVE_BOUND[dtype])
    assert by_columns.any()


# ---------------------------------------------------------------- forms of arguments

ROIS = np.array([[2, 0, 1, 5, 6], [0, 2, 2, 9, 11], [2, 3, 0, 4, 12], [1, 1, 1, 2, 2]], np.float32)
GRAD_OUTPUT = random_values(np.random.default_rng(3), (4, 5, 2, 3), np.dtype("float32"))
SHAPE = (3, 5, 12, 10)


@pytest.mark.parametrize("shape_type", [tuple, list, lambda shape: tuple(np.array(shape))])
def test_forms_of_input_shape(shape_type):
    grad = roicy.roi_align_backward(GRAD_OUTPUT, ROIS, shape_type(SHAPE))
    assert_same_bits(grad, roicy.roi_align_backward(GRAD_OUTPUT, ROIS, SHAPE))


def test_images_without_boxes_get_zeros():
    grad = roicy.roi_align_backward(
        GRAD_OUTPUT,
        ROIS * np.array([0, 1, 1, 1, 1], np.float32),
        SHAPE,
        out=np.full(SHAPE, np.nan, np.float32),
    )
    assert grad[0].any()
    assert not grad[1:].any()


def test_nan_gradients_reach_only_sampled_pixels():
    rois = np.array([[0, 4, 4, 8, 8]], np.float32)
    grad_output = np.full((1, 20, 1, 1), 1.0, np.float32)
    grad_output[0, 7] = np.nan
    grad = roicy.roi_align_backward(grad_output, rois, (1, 20, 12, 12), sampling_ratio=1)
    touched = np.isnan(grad[0, 7])
    assert touched[5:7, 5:7].all()  # the one sample lies at 5.5, between pixels 5 and 6
    assert touched.sum() == 4
    assert np.isfinite(np.delete(grad, 7, axis=1)).all()


def test_float16_gradients_accumulate_in_float32():
    """A thousand boxes on one pixel: summed in float16 they would stop growing at 2048 times the first."""
    rois = np.repeat(np.array([[0, 1, 1, 2, 2]], np.float32), 4000, axis=0)
    grad_output = np.full((4000, 3, 1, 1), 0.25, np.float16)
    grad = roicy.roi_align_backward(grad_output, rois, (1, 3, 4, 4), sampling_ratio=1)
    assert (grad[0, :, 1, 1] == 1000).all()
    assert grad.sum() == 3000


def test_float16_gradients_that_are_too_large_become_infinite():
    rois = np.repeat(np.array([[0, 1, 1, 2, 2]], np.float32), 2, axis=0)
    grad_output = np.full((2, 3, 1, 1), 60000, np.float16)
    grad = roicy.roi_align_backward(grad_output, rois, (1, 3, 4, 4), sampling_ratio=1)
    assert np.isposinf(grad[0, :, 1, 1]).all()
    assert np.isfinite(np.delete(grad.reshape(3, 16), 5, axis=1)).all()
