"""Where the corners of rotated boxes are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import AngleUnit, Boxes, Flag


def rotated_corners(rois: Boxes, *, angle_unit: AngleUnit = "degrees", clockwise: Flag = False) -> Any:
    """Corners of rotated boxes, in the order in which a crop of the box shows them.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 6), or sequence of ndarrays, shape (L_i, 5)
        Rotated boxes cx, cy, w, h and angle, as in `roi_align_rotated`; the batch index is not looked at.
    angle_unit : {"degrees", "radians"}, optional
        Unit of the angles.
    clockwise : bool, optional
        Whether a positive angle turns a box clockwise as displayed, and not counter-clockwise.

    Returns
    -------
    ndarray, shape (K, 4, 2), float32 or float64
        x and y of the corners that are top left, top right, bottom right and bottom left of what is in the
        box when it is turned back, in the dtype of the boxes.

    Raises
    ------
    TypeError, ValueError
        If an argument is not an array or a word as listed, or `rois` has the wrong shape.

    Notes
    -----
    ``cv2.minAreaRect`` gives ``((cx, cy), (w, h), angle)``, with angles in degrees that turn clockwise and
    pixels that are centred at whole numbers, where they are at i + 0.5 here: its rectangle is
    ``rotated_corners([[cx + 0.5, cy + 0.5, w, h, angle]], clockwise=True)``, and less 0.5 those are the
    corners of ``cv2.boxPoints``, which has another one first. Which of its sides is the width depends on the
    angle, which is from -90 to 0 in OpenCV 5 and from 0 to 90 in OpenCV 4. A line of text is wider than high:
    where ``h > w``, its box is ``[cx + 0.5, cy + 0.5, h, w, angle + 90]``, and 180 is to be subtracted from
    an angle of 90 or more, or the text is upside down.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> roicy.rotated_corners(np.array([[10, 10, 8, 4, 90]], np.float32)).round(3)
    array([[[ 8., 14.],
            [ 8.,  6.],
            [12.,  6.],
            [12., 14.]]], dtype=float32)
    """
    kernels, rois = adopt(rois=rois)
    xp: Any = kernels.xp
    given: Any = rois if isinstance(rois, tuple) else (rois,)
    degrees = settle.angle_unit(angle_unit) == "degrees"
    turned_back = settle.flag("clockwise", clockwise)
    settled = settle.rois(rois, None, len(given), xp, settle.ROTATED)
    boxes = settled.boxes[:, -5:].astype(np.float64)
    with np.errstate(all="ignore"):
        angles = boxes[:, 4] * (math.pi / 180 if degrees else 1.0)
        angles = -angles if turned_back else angles
        cos, sin = xp.cos(angles)[:, None], xp.sin(angles)[:, None]
        along = boxes[:, 2:3] * xp.asarray([-0.5, 0.5, 0.5, -0.5])
        down = boxes[:, 3:4] * xp.asarray([-0.5, -0.5, 0.5, 0.5])
        x = boxes[:, 0:1] + along * cos + down * sin
        y = boxes[:, 1:2] - along * sin + down * cos
        corners: Any = xp.stack([x, y], axis=2).astype(settled.boxes.dtype)
    return corners
