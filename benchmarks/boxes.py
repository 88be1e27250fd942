"""Boxes as peers take them."""

import numpy as np


def upright(rois):
    """Rows [image, x1, y1, x2, y2]: of rotated boxes [image, cx, cy, w, h, angle], those at angle 0."""
    if rois.shape[1] == 5:
        return rois
    half = rois[:, 3:5] / 2
    return np.concatenate([rois[:, :1], rois[:, 1:3] - half, rois[:, 1:3] + half], axis=1)


def split(rois):
    """Upright boxes (K, 4) and image numbers (K,)."""
    return np.ascontiguousarray(upright(rois)[:, 1:]), rois[:, 0].astype(np.int64)
