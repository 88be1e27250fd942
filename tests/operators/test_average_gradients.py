"""The gradients of `roi_align`: its adjoint, and the slopes of boxes with the rule of each kink."""

import battery
import numpy as np
import pytest
from closeness import RELATIVE_BOUND, assert_same_bits
from strategies import random_values

import roicy

pytestmark = pytest.mark.usefixtures("backend")


ROIS = np.array([[2, 0, 1, 5, 6], [0, 2, 2, 9, 11], [2, 3, 0, 4, 12], [1, 1, 1, 2, 2]], np.float32)
FEATURES = random_values(np.random.default_rng(3), (3, 5, 12, 10), np.dtype("float32"))
GRAD_OUTPUT = random_values(np.random.default_rng(4), (4, 5, 2, 3), np.dtype("float32"))
SHAPE = (3, 5, 12, 10)


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


def test_float16_gradients_that_are_too_large_become_infinite():
    rois = np.repeat(np.array([[0, 1, 1, 2, 2]], np.float32), 2, axis=0)
    grad_output = np.full((2, 3, 1, 1), 60000, np.float16)
    grad = roicy.roi_align_backward(grad_output, rois, (1, 3, 4, 4), sampling_ratio=1)
    assert np.isposinf(grad[0, :, 1, 1]).all()
    assert np.isfinite(np.delete(grad.reshape(3, 16), 5, axis=1)).all()


# ---------------------------------------------------------------- gradients of boxes


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_moving_a_box_over_a_ramp(aligned, sampling_ratio):
    """On a ramp of slope 3 to the right and 5 downwards each edge of the box carries its share."""
    y, x = np.mgrid[:20, :20].astype(np.float64)
    ramp = (3 * x + 5 * y)[None, None]
    rois = np.array([[0, 8.0, 12.0, 24.0, 30.0]])
    options = {"spatial_scale": 0.5, "sampling_ratio": sampling_ratio, "aligned": aligned}
    grad = roicy.roi_align_backward_rois(np.ones((1, 1, 1, 1)), ramp, rois, **options)
    np.testing.assert_allclose(grad, [[0, 0.75, 1.25, 0.75, 1.25]], rtol=1e-14)
    # The left of two columns lies a quarter of the way from x1 to x2.
    left = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    grad = roicy.roi_align_backward_rois(left, ramp, rois, **options)
    np.testing.assert_allclose(grad, [[0, 1.5 * 0.75, 1.25, 1.5 * 0.25, 1.25]], rtol=1e-14)


# ---------------------------------------------------------------- kinks, each with its rule


def one_sample(box, features, **options):
    """Gradient of a single sample in the middle of a box, in pixel coordinates (not aligned)."""
    grad_output = np.ones((1, features.shape[1], 1, 1), features.dtype)
    rois = np.array([[0, *box]], np.float64)
    options = {"sampling_ratio": 1, "aligned": False, **options}
    return roicy.roi_align_backward_rois(grad_output, features, rois, **options)[0, 1:].tolist()


def steps(*values):
    """A map of one row with the given differences between neighbours."""
    return np.cumsum([0.0, *values]).reshape(1, 1, 1, -1)


def test_whole_numbers_take_the_slope_to_the_right():
    features = steps(1, 10, 100)
    for position, slope in [(0.5, 1), (1.0, 10), (1.5, 10), (2.0, 100), (0.0, 1)]:
        gradient = one_sample((position - 2, 0, position + 2, 1), features)
        assert gradient == [slope / 2, 0, slope / 2, 0]


def test_clamped_positions_are_flat():
    """At the left border positions below 0, at the right border everything from the last pixel on."""
    features = steps(1, 10, 100)
    for position in (-1.0, -0.5, -1e-9, 3.0, 3.5, 4.0):
        assert one_sample((position - 2, 0, position + 2, 1), features) == [0, 0, 0, 0]


def test_samples_off_the_map_are_flat():
    features = steps(1, 10, 100)
    for position in (-1.001, 4.001, 1e9, -1e30):
        assert one_sample((position - 2, 0, position + 2, 1), features) == [0, 0, 0, 0]
    # Off the map in y, though x is inside.
    assert one_sample((0, 50, 3, 52), features) == [0, 0, 0, 0]


def test_a_single_row_has_no_slope_in_y():
    gradient = one_sample((0, 0, 3, 1), steps(1, 10, 100))
    assert gradient == [5, 0, 5, 0]


def test_boxes_widened_to_one_pixel_only_move():
    """Not aligned, a width below 1 counts as 1 from x1 on: x2 has no say."""
    features = steps(1, 10, 100)
    assert one_sample((0.75, 0, 1.5, 1), features) == [10, 0, 0, 0]
    assert one_sample((0.75, 0, -7.0, 1), features) == [10, 0, 0, 0]
    assert one_sample((0.75, 0, 1.75, 1), features) == [5, 0, 5, 0]  # a width of exactly 1 is no less
    assert one_sample((1.5, 0, 3.0, 2), features, spatial_scale=0.5) == [5, 0, 0, 0]


def test_aligned_boxes_without_size():
    features = steps(1, 10, 100)
    assert one_sample((2, 0, 2, 1), features, aligned=True) == [5, 0, 5, 0]
    assert one_sample((2, 0, 2, 1), features, aligned=True, sampling_ratio=0) == [0, 0, 0, 0]
    assert one_sample((3, 0, 2, 1), features, aligned=True, sampling_ratio=0) == [0, 0, 0, 0]


def test_mirrored_boxes():
    """Aligned with a given number of samples, a reversed box samples from right to left."""
    features = steps(1, 10, 100)
    rois = np.array([[0, 3.0, 0.5, 1.0, 0.5]])
    first_bin = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    grad = roicy.roi_align_backward_rois(first_bin, features, rois, sampling_ratio=1)
    # Its sample lies at 3 - 0.5 - 0.5 = 2, a quarter of the way along the box; the slope to the right is 100.
    assert grad.tolist() == [[0, 75, 0, 25, 0]]


@pytest.mark.parametrize(
    "box_dtype, dtype",
    [("float16", "float32"), ("int16", "float32"), ("int32", "float64"), ("float64", "float64")],
)
def test_dtype_of_the_gradient(box_dtype, dtype):
    grad = roicy.roi_align_backward_rois(GRAD_OUTPUT, FEATURES, ROIS.astype(box_dtype))
    assert grad.dtype == dtype


@pytest.mark.parametrize("channels", [8, 9, 16, 17])
def test_a_gradient_of_boxes_is_the_sum_of_all_channels(channels):
    rng = np.random.default_rng(channels)
    features = rng.random((1, channels, 9, 9)).astype(np.float32)
    grad, rois = rng.random((1, channels, 2, 2)).astype(np.float32), np.array([[0, 1, 2, 6, 7]], np.float32)
    total = roicy.roi_align_backward_rois(grad, features, rois)
    each = [slice(c, c + 1) for c in range(channels)]
    parts = sum(roicy.roi_align_backward_rois(grad[:, c], features[:, c], rois) for c in each)
    np.testing.assert_allclose(total, parts, rtol=1e-4, atol=1e-4)
