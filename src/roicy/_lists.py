"""Lists and tuples of numbers instead of arrays: their nesting depth says what they are.

Boxes are one array, ``[[x1, y1, x2, y2], ...]``, or one for each image, ``[[[x1, y1, x2, y2], ...], ...]``,
of which some may be empty or arrays already.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from roicy._arguments.numbers import shown
from roicy._types import NumPyArray

_IN_A_ROW = "write all numbers of a box in a row"


class Numbers:
    """An array made from a list; it will be moved to the memory where the other arrays of the call are."""

    __slots__ = ("array",)

    def __init__(self, array: NumPyArray) -> None:
        self.array = array


def boxes(name: str, value: list[Any] | tuple[Any, ...]) -> Any:
    """Return boxes as `Numbers`, or as a tuple of arrays and `Numbers`, one for each image."""
    items = tuple(value)  # the caller's may change while this looks at its items
    if any(map(_is_number, items)):
        raise ValueError(
            f"{name} must be a list of boxes, each a list of numbers, got a list of numbers: "
            f"write [[...]] for one box{', its numbers in a row' if any(map(_is_row, items)) else ''}"
        )
    if items and all(map(_is_row, items)):
        return _array(name, items)
    return tuple(
        _array(f"{name}[{index}]", item) if isinstance(item, (list, tuple)) else item
        for index, item in enumerate(items)
    )


def quads(name: str, value: list[Any] | tuple[Any, ...]) -> Any:
    """Return quadrangles as `Numbers`, or as a tuple of arrays and `Numbers`, one for each image."""
    items = tuple(value)
    if any(_is_number(item) or _is_row(item) for item in items):
        wrong = next(item for item in items if _is_number(item) or _is_row(item))
        eight = f"np.reshape({name}, (-1, 4, 2)) takes them in pairs"
        one = "write [[[x, y], ...]] for one quadrangle"
        raise ValueError(
            f"{name} must be a list of quadrangles, each a list of four corners [x, y], "
            f"got a list of numbers or corners: {eight if _is_row(wrong) and len(wrong) == 8 else one}"
        )
    if items and all(map(_is_quad, items)):
        return _corners(name, items)
    return tuple(
        _corners(f"{name}[{index}]", item) if isinstance(item, (list, tuple)) else item
        for index, item in enumerate(items)
    )


def _is_quad(item: Any) -> bool:
    if isinstance(item, (list, tuple)):
        return len(item) > 0 and all(map(_is_row, item))
    return isinstance(item, np.ndarray) and item.ndim == 2


def _corners(name: str, value: list[Any] | tuple[Any, ...]) -> Numbers:
    if not value:
        return Numbers(np.empty((0, 4, 2), np.float32))
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        for number, quad in enumerate(value):
            if isinstance(quad, (list, tuple)) and len(quad) != 4:
                others = ": cv2.minAreaRect finds a box around other polygons" if len(quad) > 4 else ""
                raise ValueError(
                    f"{name}[{number}] must be four corners [x, y], got {len(quad)}{others}"
                ) from error
        raise ValueError(f"{name} must be four corners [x, y] each, of numbers: {error}") from error
    if found.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be four corners [x, y] each, of numbers, got {found.dtype}")
    return Numbers(found)


def indices(name: str, value: list[Any] | tuple[Any, ...]) -> Numbers:
    """Return whole numbers, one for each box."""
    return _array(name, value) if value else Numbers(np.empty(0, np.int64))


def _is_number(item: Any) -> bool:
    return isinstance(item, (Real, np.generic)) or getattr(item, "ndim", None) == 0


def _is_row(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and len(item) > 0 and _is_number(item[0])


def _array(name: str, value: list[Any] | tuple[Any, ...]) -> Numbers:
    # with the dtype that np.asarray finds: it is as if the caller had called that
    if not value:
        return Numbers(np.empty(0, np.float32))
    try:
        found = np.asarray(value)
        if found.dtype == object and all(map(_is_number, found.flat)):
            found = found.astype(np.float64)  # whole numbers beyond int64, and fractions
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise _not_numbers(name, value, error) from error
    if found.dtype.kind not in "iuf":
        raise _not_numbers(name, value, None)
    return Numbers(found)


def _not_numbers(name: str, value: list[Any] | tuple[Any, ...], error: Exception | None) -> Exception:
    first = value[0]
    for row, item in enumerate(value):
        if not isinstance(item, (list, tuple)):
            if not _is_plain(item):
                return TypeError(f"{name}[{row}] must be a number, got {shown(item)}")
            if isinstance(first, (list, tuple)):
                return TypeError(f"{name} must be boxes, got numbers among lists: {_IN_A_ROW}")
            continue
        if isinstance(first, (list, tuple)) and len(item) != len(first):
            return ValueError(
                f"{name}[{row}] must have {len(first)} numbers, as {name}[0] has, got {len(item)}"
            )
        for column, number in enumerate(item):
            if not _is_plain(number):
                flat = f": {_IN_A_ROW}" if isinstance(number, (list, tuple)) else ""
                return TypeError(f"{name}[{row}][{column}] must be a number, got {shown(number)}{flat}")
    return TypeError(f"{name} must be numbers that an array can hold, got {error or 'others'}")


def _is_plain(item: Any) -> bool:
    return _is_number(item) and not isinstance(item, (bool, np.bool_, np.character))
