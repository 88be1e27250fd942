"""Arrays that are parts of larger maps: where they begin, and errors about boxes that read beyond them."""

from __future__ import annotations

from reprlib import repr as short_repr
from typing import Any

import numpy as np

from roicy._arguments.arrays import INT32, library_of, on_host
from roicy._arguments.boxes import Rois
from roicy._arguments.numbers import INT32_MAX, integer, is_row, shown
from roicy._types import Layout, Ndarray, Shape, Size

_WINDOW = "(y, x, height, width)"


def window(value: Any, shape: Shape, layout: Layout) -> tuple[int, int, int, int] | None:
    """Return where arrays of a shape begin on their maps, and how large these are; None for whole maps."""
    if value is None:
        return None
    if not is_row(value):
        raise TypeError(f"window must be a tuple of 4 ints {_WINDOW}, got {shown(value)}")
    numbers = tuple([integer(f"window[{at}]", number) for at, number in enumerate(value)])
    if len(numbers) != 4 or min(numbers) < 0:
        raise ValueError(f"window must be 4 ints >= 0 {_WINDOW}, got {short_repr(value)}")
    y, x, height, width = numbers
    if height > INT32_MAX or width > INT32_MAX:
        raise ValueError(f"window must be of a map with at most {INT32_MAX} rows and columns, got {numbers}")
    rows, columns = shape[2:] if layout == "NCHW" else shape[1:3]
    if y + rows > height or x + columns > width:
        raise ValueError(
            f"window must lie on the map: of {height} rows and {width} columns it cannot have rows {y} to "
            f"{y + rows} and columns {x} to {x + columns}, as many as the features have"
        )
    return y, x, height, width


def outside_error(
    rois: Rois, found: tuple[int, tuple[int, int, int, int]], window: tuple[int, int, int, int], size: Size
) -> ValueError:
    """Return the error for the first row that reads beyond the part of the maps that is there."""
    row, (top, left, bottom, right) = found
    y, x, _, _ = window
    rows, columns = size
    return ValueError(
        f"window must hold all that {rois.name} read: {rois.place(row)} reads rows {top} to {bottom} and "
        f"columns {left} to {right} of the map, and the part that is given is rows {y} to {y + rows} and "
        f"columns {x} to {x + columns}; roicy.rois_window finds what boxes read"
    )


def argmax_of_map(argmax: Ndarray, window: tuple[int, int, int, int], columns: int) -> Ndarray:
    """Return indices of pixels of a part, with so many columns, as those of the map."""
    y, x, _, width = window
    row, column = argmax // max(1, columns), argmax % max(1, columns)
    return library_of(argmax).where(argmax < 0, argmax, (row + y) * width + column + x).astype(INT32)


def argmax_of_part(
    argmax: Ndarray, window: tuple[int, int, int, int], size: Size, layout: Layout, may_wait: bool
) -> Ndarray:
    """Return indices of pixels of the map, (K, C, PH, PW), as those of a part; -1 for what is not on it.

    Where one `may_wait` for the values, an index of a pixel beyond the part is an error.
    """
    y, x, _, width = window
    rows, columns = size
    row, column = argmax // max(1, width) - y, argmax % max(1, width) - x
    there = (argmax >= 0) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if may_wait and not (there | (argmax < 0)).all():
        k, c, p, q = map(int, np.argwhere(on_host(~there & (argmax >= 0)))[0])
        index = (k, c, p, q) if layout == "NCHW" else (k, p, q, c)
        named = int(argmax[k, c, p, q])
        raise ValueError(
            f"window must hold all that argmax names: argmax[{', '.join(map(str, index))}] is {named}, row "
            f"{named // width} and column {named % width} of the map, and the part that is given is rows {y} "
            f"to {y + rows} and columns {x} to {x + columns}"
        )
    return library_of(argmax).where(there, row * columns + column, -1).astype(INT32)
