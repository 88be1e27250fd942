"""Precise RoI pooling, in cases with known results."""

import numpy as np
import pytest
import reference.precise
from closeness import assert_close, assert_sums_close

import roicy

pytestmark = pytest.mark.usefixtures("backend")

RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((1, 3, 7, 9))


def box(*corners):
    return np.array([[0, *corners]], np.float64)


def test_bins_of_a_pixel_are_means_of_four():
    """From centre to centre: average pooling of 2 x 2 pixels with a stride of 1."""
    x = FEATURES
    means = (x[..., :-1, :-1] + x[..., :-1, 1:] + x[..., 1:, :-1] + x[..., 1:, 1:]) / 4
    np.testing.assert_allclose(roicy.prroi_pool(x, box(0, 0, 8, 6), (6, 8)), means, rtol=1e-13)


def test_outside_are_zeros():
    """The border falls to zero over one pixel, and a bin there has the mean of that."""
    ones = np.ones((1, 1, 4, 4))
    found = roicy.prroi_pool(ones, box(-3, 0, 7, 3), (1, 10))[0, 0, 0]
    np.testing.assert_allclose(found, [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0, 0], atol=1e-15)
    corner = roicy.prroi_pool(ones, box(-1, -1, 0, 0), 1)[0, 0, 0, 0]
    assert corner == 0.25


@pytest.mark.parametrize(
    "corners", [(2, 2, 2, 5), (2, 5, 4, 5), (5, 2, 3, 4), (5, 5, 2, 2), (-9, -9, -1, -1)]
)
def test_boxes_of_no_area_and_boxes_elsewhere(corners):
    rois = box(*corners)
    out = roicy.prroi_pool(FEATURES, rois, 2)
    assert not out.any()
    assert not roicy.prroi_pool_backward(np.ones_like(out), rois, FEATURES.shape).any()
    assert not roicy.prroi_pool_backward_rois(np.ones_like(out), FEATURES, rois).any()


def test_bins_add_up():
    """The integral over a box is the sum of those over its bins."""
    rois = box(-1.7, 0.3, 9.4, 5.8)
    whole = roicy.prroi_pool(FEATURES, rois, 1)
    parts = roicy.prroi_pool(FEATURES, rois, (5, 7))
    np.testing.assert_allclose(parts.mean(axis=(2, 3)), whole[:, :, 0, 0], rtol=1e-12)


@pytest.mark.parametrize("corner", [1.0, 2.5, 3.999999])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-6, 1e-9])
def test_small_boxes(corner, size):
    """Nothing cancels: a small box has the value of the map, and the map's slope as its gradient."""
    rois = box(corner, corner, corner + size, corner + 2 * size)
    grad_output = RNG.standard_normal((1, 3, 2, 2))
    out = roicy.prroi_pool(FEATURES, rois, 2)
    np.testing.assert_allclose(out, reference.precise.prroi_pool(FEATURES, rois, (2, 2)), rtol=1e-12)
    found = roicy.prroi_pool_backward_rois(grad_output, FEATURES, rois)
    expected, _ = reference.precise.prroi_pool_backward_rois(grad_output, FEATURES, rois)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "corners",
    [
        (-0.6, 1.3, 4.4, 5.2),
        (3.3, 2.1, 9.5, 7.4),
        (-2.2, -1.6, 10.1, 8.3),
        (0.0, 0.0, 8.0, 6.0),
        (-1.0, -1.0, 9.0, 7.0),
    ],
)
def test_gradient_of_boxes_over_the_border(corners):
    """By differences: it is exact where bins cross the border, and where edges lie on pixels."""
    rois, step = box(*corners), 2.0**-17
    grad_output = RNG.standard_normal((1, 3, 3, 2))
    found = roicy.prroi_pool_backward_rois(grad_output, FEATURES, rois)
    for column in range(1, 5):
        move = np.eye(5)[[column]] * step
        above, below = (roicy.prroi_pool(FEATURES, rois + each, (3, 2)) for each in (move, -move))
        difference = ((above - below) * grad_output).sum() / (2 * step)
        np.testing.assert_allclose(found[0, column], difference, rtol=1e-4, atol=1e-4)


def test_words_of_a_plan():
    plan = roicy.prroi_pool_plan(box(1, 1, 3, 3), FEATURES.shape, 7, spatial_scale=0.5)
    for part in ("prroi_pool", "1 rois", "(1, 3, 7, 9)", "(7, 7)", "spatial_scale=0.5"):
        assert part in repr(plan)
    with pytest.raises(ValueError, match="return_argmax must be False for an average"):
        plan(FEATURES, return_argmax=True)


def test_scale():
    """Boxes in image pixels."""
    rois = box(2.6, 1.2, 13.0, 9.8)
    scaled = rois * [1, 0.5, 0.5, 0.5, 0.5]
    assert_close(
        roicy.prroi_pool(FEATURES, rois, 3, spatial_scale=0.5), roicy.prroi_pool(FEATURES, scaled, 3)
    )


@pytest.mark.parametrize("pieces", [1, 3, 14])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (-3e38, 1.5),
        (-1e30, -1.0),
        (-1e30, 1.25),
        (-13.7, 2.0**31),
        (2.5, 1e9),
        (-2.61, -1.0),
        (-(2.0**31), 8.999999),
        (1.0, 1.0 + 2.0**-52),
        (-5e5, 5e5),
        (-3e38, 3e38),
    ],
)
def test_enormous_boxes_and_boxes_that_end_at_the_border(low, high, pieces):
    """Values and slopes are right to the last digits, however little of the box is on the map; else 0."""
    rising = np.arange(1.0, 64).reshape(1, 1, 7, 9)
    grad_output = RNG.random((1, 1, pieces, pieces))
    for rois in (box(low, 1.3, high, 4.4), box(1.3, low, 4.4, high), box(low, low, high, high)):
        out = roicy.prroi_pool(rising, rois, pieces)
        assert_close(out, reference.precise.prroi_pool(rising, rois, (pieces, pieces)))
        grad = roicy.prroi_pool_backward(grad_output, rois, rising.shape)
        assert_close(grad, reference.precise.prroi_pool_backward(grad_output, rois, rising.shape))
        found = roicy.prroi_pool_backward_rois(grad_output, rising, rois)
        expected, terms = reference.precise.prroi_pool_backward_rois(grad_output, rising, rois)
        assert_sums_close(found, expected, terms, "float64")
