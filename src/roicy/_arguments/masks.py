"""Masks that are pasted into images."""

from __future__ import annotations

from reprlib import repr as short_repr
from typing import Any

import numpy as np

from roicy._arguments import instead
from roicy._arguments.arrays import aligned, is_bfloat16, on_host
from roicy._arguments.boxes import CORNERS, box_dtype, own
from roicy._arguments.numbers import FLOAT32, INT32_MAX, choice, real
from roicy._types import CENTRES, WHOLE_BOX, Ndarray, PastedAs

_DTYPES = [np.dtype(dtype) for dtype in (np.float16, np.float32, np.float64, np.uint8)]
_MOST_PIXELS = INT32_MAX - 4  # of a mask along an axis, with its frame


def masks(array: Ndarray) -> Ndarray:
    """Return masks as (K, rows, columns); those of bool as uint8."""
    shape = array.shape
    if len(shape) == 4 and shape[1] == 1:
        array = array[:, 0]
    elif len(shape) != 3:
        raise ValueError(
            f"masks must have shape (K, M, N) or (K, 1, M, N), got {shape}{instead.of_masks(shape)}"
        )
    if not (min(array.shape[1:]) >= 1 and max(array.shape[1:]) <= _MOST_PIXELS):
        raise ValueError(f"masks must have 1 to {_MOST_PIXELS} rows and columns, got shape {shape}")
    dtype = array.dtype
    if dtype == np.bool_:
        return array.view(np.uint8)
    if dtype not in _DTYPES and not is_bfloat16(dtype):
        raise TypeError(
            f"masks must be bool, uint8, float16, bfloat16, float32 or float64, got {dtype}"
            f"{instead.of_dtype('masks', dtype)}"
        )
    return aligned(array)


def mask_boxes(value: Any, count: int, xp: Any) -> Ndarray:
    """Return the boxes of the masks, in memory of their own."""
    if isinstance(value, tuple) and value:
        raise TypeError(f"boxes must be one array, a row for each mask, got {len(value)} arrays")
    array = xp.empty((0, 4), FLOAT32) if isinstance(value, tuple) else value
    if array.shape == (0,):  # what NumPy makes of an empty list
        array = array.reshape(0, 4)
    if array.shape != (count, 4):
        raise ValueError(
            f"boxes must have shape {(count, 4)}, a row [{', '.join(CORNERS)}] for each mask, "
            f"got {array.shape}{': pass boxes[:, :4]' if array.shape == (count, 5) else ''}"
        )
    return own(array, box_dtype("boxes", array.dtype), False)


def invalid_box(boxes: Ndarray, row: int) -> ValueError:
    """Return the error for an invalid box."""
    values = ", ".join(map(str, on_host(boxes[row])))
    return ValueError(
        f"boxes row {row}, [{values}], is not finite: expected finite numbers only; invalid='nan' accepts "
        "such rows"
    )


def paste_rule(value: object) -> int:
    """Return the number of the rule: whose results pasted masks equal."""
    known = choice("rule", value, ("detectron2", "torchvision"))
    return CENTRES if known == "detectron2" else WHOLE_BOX


def pasted_as(value: object) -> PastedAs:
    """Return what pasted masks are returned as."""
    return choice("to", value, ("masks", "windows", "rle"))


def threshold(value: Any, to: PastedAs) -> float | None:
    """Return the least value of a pixel of a mask; None if the result is the values themselves."""
    if value is None:
        if to == "rle":
            raise ValueError("threshold must be a number for to='rle', got None: values have no run lengths")
        return None
    level = real("threshold", value)
    with np.errstate(all="ignore"):
        single = float(FLOAT32.type(level))
    if not 0 < single < np.inf:
        raise ValueError(f"threshold must be finite and above 0 in float32, got {short_repr(value)}")
    return level
