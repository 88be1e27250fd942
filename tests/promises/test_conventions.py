"""What the numbers mean: where pixels are, what a box's edges are, and what happens at the border of the map.

Each test states one rule and uses values that can be checked by hand, not the reference.
"""

import numpy as np
import pytest
from strategies import FEATURE_DTYPES, random_values

import roicy

pytestmark = pytest.mark.usefixtures("backend")


def ramps(height, width, dtype=np.float64):
    """Two channels: the column and the row of every pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y])[None].astype(dtype)


def bin_centers(low, high, bins):
    return low + (np.arange(bins) + 0.5) * (high - low) / bins


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_identity_crop(dtype, layout):
    """Aligned, pixels are unit squares: the rectangle (0, 0, W, H) pooled to W x H bins is the map itself."""
    shape = (1, 19, 14, 23) if layout == "NCHW" else (1, 14, 23, 19)
    features = random_values(np.random.default_rng(0), shape, dtype)
    rois = np.array([[0, 0, 0, 23, 14]], np.float32)
    for ratio in (0, 1):
        out = roicy.roi_align(features, rois, (14, 23), sampling_ratio=ratio, layout=layout)
        np.testing.assert_array_equal(out.astype(np.float64), features.astype(np.float64))


def test_identity_crop_of_a_window():
    features = random_values(np.random.default_rng(0), (2, 3, 14, 23), np.dtype("float32"))
    out = roicy.roi_align(features, np.array([[1, 5, 2, 18, 11]], np.float32), (9, 13), sampling_ratio=1)
    np.testing.assert_array_equal(out[0], features[1, :, 2:11, 5:18])


def test_identity_crop_without_alignment():
    """Not aligned, pixel centers lie at whole numbers, so the crop begins half a pixel earlier."""
    features = random_values(np.random.default_rng(0), (1, 3, 14, 23), np.dtype("float32"))
    rois = np.array([[0, 4.5, 1.5, 17.5, 10.5]], np.float32)
    out = roicy.roi_align(features, rois, (9, 13), sampling_ratio=1, aligned=False)
    np.testing.assert_array_equal(out[0], features[0, :, 2:11, 5:18])


@pytest.mark.parametrize("aligned, offset", [(True, 0.5), (False, 0.0)])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 5])
@pytest.mark.parametrize("output_size", [(1, 1), (7, 7), (3, 5), (1, 33)])
def test_ramps(aligned, offset, sampling_ratio, output_size):
    """Inside the map, the average of a ramp over a bin is the ramp's value at the center of the bin."""
    x1, y1, x2, y2 = 3.25, 5.5, 41.75, 29.125
    rois = np.array([[0, x1, y1, x2, y2]])
    out = roicy.roi_align(ramps(40, 50), rois, output_size, sampling_ratio=sampling_ratio, aligned=aligned)
    x, y = bin_centers(x1, x2, output_size[1]) - offset, bin_centers(y1, y2, output_size[0]) - offset
    np.testing.assert_allclose(out[0, 0], np.broadcast_to(x, output_size), rtol=0, atol=1e-12)
    np.testing.assert_allclose(out[0, 1], np.broadcast_to(y[:, None], output_size), rtol=0, atol=1e-12)


@pytest.mark.parametrize("aligned, offset", [(True, 0.5), (False, 0.0)])
def test_spatial_scale(aligned, offset):
    """Boxes are in the coordinates of an image that is 1 / spatial_scale times as large as the map."""
    rois = np.array([[0, 64.0, 32.0, 400.0, 288.0]])
    out = roicy.roi_align(ramps(40, 50), rois, 4, spatial_scale=1 / 16, aligned=aligned)
    np.testing.assert_allclose(out[0, 0, 0], bin_centers(4, 25, 4) - offset, atol=1e-12)
    np.testing.assert_allclose(out[0, 1, :, 0], bin_centers(2, 18, 4) - offset, atol=1e-12)


def test_half_the_resolution_with_half_the_box():
    """Aligned, pooling a map of 2 x 2 averages at half the scale gives what the full map gives."""
    full = ramps(40, 50)
    half = full.reshape(1, 2, 20, 2, 25, 2).mean(axis=(3, 5))
    rois = np.array([[0, 4.0, 6.0, 40.0, 36.0]])
    np.testing.assert_allclose(
        roicy.roi_align(half, rois, 3, spatial_scale=0.5), roicy.roi_align(full, rois, 3), atol=1e-12
    )


def test_columns_are_x_and_rows_are_y():
    features = np.zeros((1, 1, 6, 8), np.float32)
    features[0, 0, 2, 5] = 1  # row 2, column 5
    out = roicy.roi_align(features, np.array([[0, 0, 0, 8, 6]], np.float32), (6, 8), sampling_ratio=1)
    assert np.argwhere(out[0, 0]).tolist() == [[2, 5]]


def test_flipping_the_map_and_the_box_flips_the_result():
    """Aligned, the convention has no side: x to width - x."""
    features = np.random.default_rng(0).random((1, 3, 20, 30))
    rois = np.array([[0, 3.3, 4.4, 17.2, 16.6], [0, -2, -3, 11, 5], [0, 25, 15, 36, 27]])
    mirrored = rois.copy()
    mirrored[:, 1], mirrored[:, 3] = 30 - rois[:, 3], 30 - rois[:, 1]
    for ratio in (0, 2, 3):
        out = roicy.roi_align(features, rois, 5, sampling_ratio=ratio)
        flipped = roicy.roi_align(features[..., ::-1], mirrored, 5, sampling_ratio=ratio)
        np.testing.assert_allclose(flipped[..., ::-1], out, atol=1e-14)


def test_the_values_of_other_systems():
    """detectron2's example of both conventions: a 5 x 5 map of 0 to 24 and the box (1, 1, 3, 3)."""
    features = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    rois = np.array([[0, 1, 1, 3, 3]], np.float32)
    row = np.array([0, 0.5, 1, 1.5])
    expected = 4.5 + row + 5 * row[:, None]
    assert roicy.roi_align(features, rois, 4)[0, 0].tolist() == expected.tolist()
    assert roicy.roi_align(features, rois, 4, aligned=False)[0, 0].tolist() == (expected + 3).tolist()


# ---------------------------------------------------------------- samples


def test_a_bin_averages_its_samples():
    """Two samples per axis at a quarter and three quarters of the bin, here all between different pixels."""
    values = np.array([0.0, 1, 10, 100, 1000])
    features = np.broadcast_to(values, (1, 1, 5, 5))
    rois = np.array([[0, 0.0, 0.0, 4.0, 4.0]])
    out = roicy.roi_align(features, rois, 1, sampling_ratio=2, aligned=False)
    assert out.item() == (1 + 100) / 2  # at 1 and 3
    out = roicy.roi_align(features, rois, 1, sampling_ratio=4, aligned=False)
    assert out.item() == (0.5 + 5.5 + 55 + 550) / 4  # at 0.5, 1.5, 2.5, 3.5


@pytest.mark.parametrize("width, samples", [(3.0, 3), (3.01, 4), (4.0, 4), (0.2, 1), (1.0, 1), (2.5, 3)])
def test_adaptive_grids_have_a_sample_per_pixel(width, samples):
    """As many samples as pixels in a bin, rounded up, in each axis on its own."""
    features = np.random.default_rng(0).random((1, 1, 9, 40))
    rois = np.array([[0, 2.0, 1.0, 2.0 + 3 * width, 5.0]])
    adaptive = roicy.roi_align(features, rois, (2, 3))
    # The height of a bin is 2: if the same number is used for both axes, two of them are used.
    rows = np.array([1.0, 2.0, 3.0, 4.0])
    columns = 2 + (np.arange(3 * samples) + 0.5) * width / samples - 0.5
    by_hand = np.array([[np.interp(columns, np.arange(40), features[0, 0, int(r)]) for r in rows]])
    by_hand = by_hand.reshape(2, 2, 3, samples).mean(axis=(1, 3))
    np.testing.assert_allclose(adaptive[0, 0], by_hand, atol=1e-14)


# ---------------------------------------------------------------- the border


def sample_at(x, y=0.0, *, features=None, **options):
    """The value at one position, in pixel coordinates: pixel centers at whole numbers."""
    if features is None:
        features = np.array([[2.0, 3, 5, 7]])[None, None]
    rois = np.array([[0, x - 0.5, y - 0.5, x + 0.5, y + 0.5]])
    return roicy.roi_align(features, rois, 1, sampling_ratio=1, aligned=False, **options).item()


def test_between_pixels_values_are_interpolated():
    assert sample_at(0.25) == 2.25
    assert sample_at(2.5) == 6


@pytest.mark.parametrize("x, value", [(-0.25, 2), (-1.0, 2), (0.0, 2), (3.0, 7), (3.5, 7), (4.0, 7)])
def test_up_to_a_pixel_outside_the_border_is_repeated(x, value):
    assert sample_at(x) == value


@pytest.mark.parametrize("x", [np.nextafter(-1, -2), np.nextafter(4, 5), -1.5, 4.5, 1e9, -1e9])
def test_further_outside_everything_is_zero(x):
    assert sample_at(x) == 0


@pytest.mark.parametrize("y", [-1.0, -0.5, 0.5, 1.0])
def test_the_same_in_y(y):
    assert sample_at(1.0, y) == 3
    assert sample_at(1.0, np.copysign(1.5, y)) == 0


def test_samples_outside_count_in_the_average():
    """Of a box whose left half is off the map only half of the samples have a value."""
    features = np.ones((1, 1, 20, 20))
    rois = np.array(
        [[0, -13.0, 4.0, 11.0, 12.0]]
    )  # its 24 samples lie at -13, ..., 10: eleven of them inside
    out = roicy.roi_align(features, rois, 1)
    assert abs(out.item() - 12 / 24) < 1e-15  # and one at -1, where the border is repeated


def test_maps_of_one_pixel():
    features = np.full((1, 1, 1, 1), 3.0)
    for x in (-1.0, -0.5, 0.0, 0.5, 1.0):
        assert sample_at(x, features=features) == 3
    assert sample_at(1.01, features=features) == 0


# ---------------------------------------------------------------- boxes without an inside


def test_unaligned_boxes_have_at_least_one_pixel():
    """A width below 1, also a negative one, becomes 1 from x1 on: in the pixels of the map."""
    features = ramps(10, 10)
    for x2 in (2.0, 2.3, 3.0, 1.0, -50.0):
        out = roicy.roi_align(features, np.array([[0, 2.0, 5.0, x2, 5.0]]), 1, aligned=False)
        assert out.ravel().tolist() == [2.5, 5.5]
    out = roicy.roi_align(
        features, np.array([[0, 8.0, 20.0, 9.0, 20.0]]), 1, spatial_scale=0.25, aligned=False
    )
    assert out.ravel().tolist() == [2.5, 5.5]


@pytest.mark.parametrize(
    "box", [(2, 5, 2, 8), (2, 5, 4, 5), (2, 5, 2, 5), (4, 5, 2, 8), (2, 8, 4, 5), (4, 8, 2, 5)]
)
def test_aligned_boxes_without_size_have_no_samples(box):
    """If the number of samples follows the size, there are none: zeros."""
    rois = np.array([[0, *box]], float)
    assert not roicy.roi_align(ramps(10, 10) + 1, rois, (2, 3)).any()
    assert not roicy.roi_align_backward(np.ones((1, 2, 2, 3)), rois, (1, 2, 10, 10)).any()


def test_aligned_boxes_of_size_zero_are_points():
    """With a given number of samples all of them lie on the point."""
    out = roicy.roi_align(ramps(10, 10), np.array([[0, 2.75, 5.5, 2.75, 5.5]]), 2, sampling_ratio=3)
    np.testing.assert_allclose(out[0, 0], 2.25, atol=1e-15)
    np.testing.assert_allclose(out[0, 1], 5.0, atol=1e-15)


def test_aligned_boxes_of_negative_size_are_mirrored():
    features = np.random.default_rng(0).random((1, 3, 12, 12))
    box = np.array([[0, 2.5, 3.5, 10.5, 9.5]])
    out = roicy.roi_align(features, box, 4, sampling_ratio=2)
    for swap, axes in [([0, 3, 2, 1, 4], (3,)), ([0, 1, 4, 3, 2], (2,)), ([0, 3, 4, 1, 2], (2, 3))]:
        mirrored = roicy.roi_align(features, box[:, swap], 4, sampling_ratio=2)
        np.testing.assert_allclose(np.flip(mirrored, axes), out, atol=1e-14)


# ---------------------------------------------------------------- gradients


def test_the_gradient_of_an_inner_box_adds_up_to_what_came_in():
    """Inside the map the weights of each bin add up to one."""
    rng = np.random.default_rng(0)
    grad_output = rng.random((3, 4, 5, 5))
    rois = np.array([[0, 3.0, 4.0, 21.0, 17.0], [1, 0.5, 0.5, 9.5, 9.5], [0, 10.0, 10.0, 10.5, 11.0]])
    grad = roicy.roi_align_backward(grad_output, rois, (2, 4, 20, 24))
    np.testing.assert_allclose(grad[0].sum(axis=(1, 2)), grad_output[[0, 2]].sum(axis=(0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(grad[1].sum(axis=(1, 2)), grad_output[1].sum(axis=(1, 2)), rtol=1e-13)


def test_the_gradient_of_one_sample():
    """A sample a quarter of a pixel to the right of column 2 gives it three quarters."""
    grad = roicy.roi_align_backward(
        np.full((1, 1, 1, 1), 16.0), np.array([[0, 2.25, 3.0, 3.25, 4.0]]), (1, 1, 6, 6), sampling_ratio=1
    )
    expected = np.zeros((6, 6))
    expected[3, 2], expected[3, 3] = 12, 4
    assert grad[0, 0].tolist() == expected.tolist()
