"""Checks of boxes that the operators of other systems make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from roicy import _arguments as settle
from roicy._types import Ndarray, Real


def scale_in_float32(value: Real) -> float:
    """Return `spatial_scale` as these systems hold it, in float32 whatever the boxes are."""
    return float(np.float32(settle.spatial_scale(value, np.dtype(np.float32))))


@np.errstate(all="ignore")
def aligned_sizes(boxes: Ndarray, scale: float, names: Sequence[str] = settle.CORNERS) -> Ndarray:
    """Return width and height in feature pixels of boxes (K, columns), with the roundings of the kernels."""
    scaled = boxes * boxes.dtype.type(scale)
    if names is settle.ROTATED:
        return scaled[:, 2:4]
    half = boxes.dtype.type(0.5)
    return (scaled[:, 2:] - half) - (scaled[:, :2] - half)


def check_batch_column(rois: Ndarray) -> None:
    """Check that boxes have a batch index."""
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(f"rois must have shape (R, 5), rows [batch index, x1, y1, x2, y2], got {rois.shape}")


def check_rows(good: Ndarray, rois: Ndarray, expected: str) -> None:
    """Raise an error that names the first row of `rois` that is not good, if there is one."""
    good = settle.on_host(good)
    if not good.all():
        row = int(good.argmin())
        values = ", ".join(map(str, settle.on_host(rois[row])))
        raise ValueError(f"rois row {row}, [{values}]: expected {expected}")
