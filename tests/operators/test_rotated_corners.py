"""Corners of rotated boxes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import roicy

pytestmark = pytest.mark.usefixtures("backend")

NUMBER = st.floats(-1e3, 1e3, width=32)


@given(rows=st.lists(st.tuples(*[NUMBER] * 5), max_size=4), clockwise=st.booleans(), degrees=st.booleans())
def test_equals_the_formula(rows, clockwise, degrees):
    rois = np.array(rows, np.float64).reshape(-1, 5)
    unit = "degrees" if degrees else "radians"
    found = roicy.rotated_corners(rois, angle_unit=unit, clockwise=clockwise)
    assert found.shape == (len(rows), 4, 2)
    for corners, (cx, cy, w, h, angle) in zip(found, rows, strict=True):
        turn = (math.radians(angle) if degrees else angle) * (-1 if clockwise else 1)
        for corner, (right, down) in zip(corners, [(-1, -1), (1, -1), (1, 1), (-1, 1)], strict=True):
            x, y = right * w / 2, down * h / 2
            wanted = (
                cx + x * math.cos(turn) + y * math.sin(turn),
                cy - x * math.sin(turn) + y * math.cos(turn),
            )
            np.testing.assert_allclose(corner, wanted, rtol=0, atol=1e-9)


def test_forms_and_dtypes():
    """A batch index is not looked at; corners have the dtype of the boxes."""
    rois = np.array([[3, 5, 6, 8, 4, 30], [0, 1, 2, 3, 4, -80]], np.float32)
    found = roicy.rotated_corners(rois)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, roicy.rotated_corners(rois[:, 1:]))
    np.testing.assert_array_equal(found, roicy.rotated_corners([rois[:1, 1:], rois[1:, 1:]]))
    assert roicy.rotated_corners(np.empty((0, 5))).shape == (0, 4, 2)


def test_what_a_crop_shows_there():
    """Pooled pixels of a ramp are what the map is along the edges between the corners."""
    y, x = np.mgrid[:60, :60].astype(np.float32) + 0.5
    box = np.array([[0, 30, 28, 20, 10, 33]], np.float32)
    pooled = roicy.roi_align_rotated(np.stack([x, y])[None], box, (5, 10), sampling_ratio=1)[0]
    top_left, top_right, bottom_right, bottom_left = roicy.rotated_corners(box)[0]
    for p, q in (0, 0), (4, 9), (2, 5):
        down, along = (p + 0.5) / 5, (q + 0.5) / 10
        upper = top_left + along * (top_right - top_left)
        lower = bottom_left + along * (bottom_right - bottom_left)
        np.testing.assert_allclose(pooled[:, p, q], upper + down * (lower - upper), atol=1e-4)


@pytest.mark.numpy_only(reason="OpenCV's arrays are NumPy's")
def test_rectangles_of_opencv():
    """`minAreaRect` and `boxPoints`, by the rule of the docstring."""
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.uniform(0, 100, (8, 2)).astype(np.float32)
        (cx, cy), (w, h), angle = rectangle = cv2.minAreaRect(points)
        theirs = cv2.boxPoints(rectangle)
        for row in ([cx + 0.5, cy + 0.5, w, h, angle], [cx + 0.5, cy + 0.5, h, w, angle + 90]):
            (ours,) = roicy.rotated_corners([row], clockwise=True) - 0.5
            apart = np.abs(ours[:, None] - theirs).max(axis=2)
            assert (apart.min(axis=1) < 1e-3).all() and (apart.min(axis=0) < 1e-3).all()


def test_errors():
    with pytest.raises(ValueError, match="rois must have shape"):
        roicy.rotated_corners(np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match="angle_unit must be"):
        roicy.rotated_corners(np.zeros((3, 5), np.float32), angle_unit="turns")
    with pytest.raises(TypeError, match="clockwise must be"):
        roicy.rotated_corners(np.zeros((3, 5), np.float32), clockwise="no")
