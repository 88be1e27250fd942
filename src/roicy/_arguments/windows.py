"""Arrays that are parts of larger maps: their position, and errors about boxes that read beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from roicy._arguments.arrays import INT32, library_of, on_host
from roicy._arguments.boxes import Rois
from roicy._arguments.numbers import INT32_MAX, integer, is_row, shown
from roicy._arguments.pyramids import as_many, sequence
from roicy._types import Layout, Ndarray, Regions, Shape

_WINDOW = "(y, x, height, width)"


def window(
    value: Any, shape: Shape, layout: Layout, name: str = "window"
) -> tuple[int, int, int, int] | None:
    """Return where arrays of a shape begin on their maps, and how large these are; None for whole maps."""
    if value is None:
        return None
    if not is_row(value):
        raise TypeError(f"{name} must be a tuple of 4 ints {_WINDOW}, got {shown(value)}")
    numbers = tuple([integer(f"{name}[{at}]", number) for at, number in enumerate(value)])
    if len(numbers) != 4 or min(numbers) < 0:
        raise ValueError(f"{name} must be 4 ints >= 0 {_WINDOW}, got {short_repr(value)}")
    y, x, height, width = numbers
    if height > INT32_MAX or width > INT32_MAX:
        raise ValueError(f"{name} must be of a map with at most {INT32_MAX} rows and columns, got {numbers}")
    rows, columns = shape[2:] if layout == "NCHW" else shape[1:3]
    if y + rows > height or x + columns > width:
        raise ValueError(
            f"{name} must lie on the map: of {height} rows and {width} columns it cannot have rows {y} to "
            f"{y + rows} and columns {x} to {x + columns}, as many as the features have"
        )
    return y, x, height, width


def windows(value: Any, shapes: Sequence[Shape], layout: Layout) -> tuple[Any, ...]:
    """As `window`, for each map of a pyramid."""
    if value is None:
        return (None,) * len(shapes)
    given = sequence("windows", value, "windows, one for each map")
    as_many("windows", given, len(shapes))
    return tuple(
        window(each, shape, layout, f"windows[{level}]")
        for level, (each, shape) in enumerate(zip(given, shapes, strict=True))
    )


def outside_error(
    rois: Rois, found: tuple[int, tuple[int, int, int, int]], regions: Regions, name: str
) -> ValueError:
    """Return the error for the first row that reads beyond the part of the maps that is there."""
    row, (top, left, bottom, right) = found
    y, x, rows, columns = _part(regions)
    return ValueError(
        f"{name} must hold all that {rois.name} read: {rois.place(row)} reads rows {top} to {bottom} and "
        f"columns {left} to {right} of the map, and the part that is given is rows {y} to {y + rows} and "
        f"columns {x} to {x + columns}; roicy.rois_window finds what boxes read"
    )


def _part(regions: Regions) -> tuple[int, int, int, int]:
    # where the arrays lie on the maps: the first row and column, how many rows and columns
    y, x = regions.window[:2] if regions.window is not None else (0, 0)
    return y, x, *regions.input_shape[2:]


def argmax_of_map(argmax: Ndarray, regions: Regions) -> Ndarray:
    """Return indices of pixels of a part as those of the map."""
    y, x, _, columns = _part(regions)
    row, column = argmax // max(1, columns), argmax % max(1, columns)
    moved = (row + y) * regions.map_size[1] + column + x
    return library_of(argmax).where(argmax < 0, argmax, moved).astype(INT32)


def argmax_of_maps(argmax: Ndarray, levels: Sequence[Regions]) -> Ndarray:
    """Return indices of pixels of the parts of a pyramid's maps as those of the maps.

    There is one of each box, on the map of its level, or of each map one of all boxes.
    """
    xp = library_of(argmax)
    if levels[0].levels is None:
        return xp.stack([argmax_of_map(own, regions) for own, regions in zip(argmax, levels, strict=True)])
    for regions in levels:
        if regions.window is not None:
            argmax = xp.where(_rows_of(regions), argmax_of_map(argmax, regions), argmax)
    return argmax


def _rows_of(regions: Regions) -> Ndarray:
    # those of the level, as a mask for arrays with bins and channels
    levels: Any = regions.levels
    return (levels == regions.level)[:, None, None, None]


def argmax_of_part(
    argmax: Ndarray, regions: Regions, layout: Layout, may_wait: bool, name: str = "window"
) -> Ndarray:
    """Return indices of pixels of the map, (K, C, PH, PW), as those of a part; -1 for what is not on it.

    Where one `may_wait` for the values, an index of a pixel beyond the part is an error.
    """
    if regions.window is None:
        return argmax
    y, x, rows, columns = _part(regions)
    width = regions.map_size[1]
    if regions.levels is not None:
        argmax = library_of(argmax).where(_rows_of(regions), argmax, -1)
    row, column = argmax // max(1, width) - y, argmax % max(1, width) - x
    there = (argmax >= 0) & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if may_wait and not (there | (argmax < 0)).all():
        k, c, p, q = map(int, np.argwhere(on_host(~there & (argmax >= 0)))[0])
        index = (k, c, p, q) if layout == "NCHW" else (k, p, q, c)
        named = int(argmax[k, c, p, q])
        raise ValueError(
            f"{name} must hold all that argmax names: argmax[{', '.join(map(str, index))}] is {named}, row "
            f"{named // width} and column {named % width} of the map, and the part that is given is rows {y} "
            f"to {y + rows} and columns {x} to {x + columns}"
        )
    return library_of(argmax).where(there, row * columns + column, -1).astype(INT32)
