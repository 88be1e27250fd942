"""Maps, and other arrays of a call, as graphs take them: known chunks, and what belongs together in one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dask
import numpy as np
from dask import array as da
from dask.array import Array
from dask.array.core import normalize_chunks
from dask.utils import parse_bytes

from roicy import _arguments as settle
from roicy._types import DType, Layout, NumPyArray
from roicy.dask import _tasks
from roicy.dask._records import Operator

#: More rows than any array has; sums of it and of their number are whole in float64, too.
_MOST = 1 << 48


class Axes(NamedTuple):
    """Where images or boxes, channels, rows and columns are in an array."""

    n: int
    c: int
    h: int
    w: int

    @classmethod
    def of(cls, layout: Layout) -> Axes:
        """Return those of a layout."""
        return cls(0, 1, 2, 3) if settle.layout(layout) == "NCHW" else cls(0, 3, 1, 2)

    def ordered(self, n: Any, c: Any, h: Any, w: Any) -> tuple[Any, Any, Any, Any]:
        """Return one value for each axis, in the order of the axes."""
        values = [n] * 4
        values[self.c], values[self.h], values[self.w] = c, h, w
        return tuple(values)


def lazy(name: str, value: Any) -> Array:
    """Return a Dask array."""
    if not isinstance(value, Array):
        raise TypeError(
            f"{name} must be a dask.array.Array, got {type(value).__module__}.{type(value).__qualname__}: "
            f"dask.array.from_array({name}, chunks=...) makes one; of arrays that fit in memory, the "
            "functions of roicy need none"
        )
    return value


def known(name: str, value: Any) -> Array:
    """Return a Dask array all chunks of which are known."""
    value = lazy(name, value)
    if any(math.isnan(length) for length in value.shape):
        raise ValueError(
            f"{name} must have chunks of known sizes, got {value.chunks}: {name}.compute_chunk_sizes() "
            "computes the array to find them"
        )
    return value


def maps(operator: Operator, value: Any, layout: Layout, bins: int = 1, tiled: bool = False) -> Array:
    """Return maps as tasks can take them: chunked along images, channels that are apart, and `tiled`."""
    name, axes = operator.maps, Axes.of(layout)
    array = known(name, value)
    if array.ndim == 3 and name == "images":
        array = array[None]
    settle.features_shape(array, layout, name)
    whole = () if tiled else (axes.h, axes.w)
    merged: dict[int, Any] = {axis: -1 for axis in whole if len(array.chunks[axis]) > 1}
    if operator.channels == "together" or operator.returns == "slopes":
        merged[axes.c] = -1
    elif operator.channels == "bins":
        merged[axes.c] = whole_bins(array.chunks[axes.c], bins)
    return array.rechunk(merged) if merged else array


def whole_bins(lengths: Sequence[int], bins: int) -> tuple[int, ...]:
    """Return chunks of channels that hold all bins of each channel of the result."""
    ends = np.cumsum(lengths)
    if ends[-1] % bins:
        return tuple(lengths)  # that is the function's own error
    ends = np.unique(-(-ends // bins) * bins)
    return tuple(np.diff(ends, prepend=0).tolist())


def rows(operator: Operator, arguments: Mapping[str, Any], count: int, axes: Axes) -> dict[str, Array]:
    """Return the other arguments with a row for each box, as Dask arrays in one piece along bins."""
    found = {}
    for name in operator.rows:
        value = arguments[name]
        if value is None:
            continue
        if isinstance(value, np.ndarray):
            value = da.from_array(value, chunks=-1)
        array = _tasks.rows_first(known(name, value))
        if array.shape[:1] != (count,):
            raise ValueError(
                f"{name} must have a row for each of the {count} rows of {operator.boxes}, "
                f"got shape {array.shape}"
            )
        kept = {0, axes.c} if has_channels(name) else {0}
        merged = {axis: -1 for axis in range(array.ndim) if axis not in kept and len(array.chunks[axis]) > 1}
        found[name] = array.rechunk(merged) if merged else array
    return found


def has_channels(name: str) -> bool:
    """Return whether what has a row for each box has channels."""
    return name in ("grad_output", "argmax")


def nothing(shape: Sequence[int], dtype: DType) -> NumPyArray:
    """Return an array of a shape that takes no memory, for a call that reads none of it."""
    return np.broadcast_to(np.zeros((), dtype), tuple(shape))


def chunks_of(
    chunks: Any, shape: Sequence[int], dtype: DType, expected: str, wanted: Any
) -> tuple[tuple[int, ...], ...]:
    """Return chunks of an array of a shape, of what a caller `wanted`."""
    try:
        found: tuple[tuple[int, ...], ...] = normalize_chunks(chunks, shape, dtype=dtype)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"chunks must be {expected}, got {wanted!r}: {error}") from error
    if any(length < 0 for lengths in found for length in lengths):  # of which Dask makes other numbers
        raise ValueError(f"chunks must be {expected}, got {wanted!r}: they are negative")
    return found


def room() -> int:
    """Return the size of a chunk in bytes, from Dask's configuration."""
    found: int = parse_bytes(dask.config.get("array.chunk-size"))
    return found


def rows_of_a_chunk(given: Any, row: Sequence[int], dtype: DType) -> int:
    """Return how many rows a chunk has: what the caller says, or as many as Dask's chunks have bytes."""
    if isinstance(given, str):
        if given != "auto":
            raise ValueError(f"boxes_per_chunk must be 'auto' or an int of at least 1, got {given!r}")
        return max(1, room() // max(1, math.prod(row) * dtype.itemsize))
    most = settle.integer("boxes_per_chunk", given)
    if most < 1:
        raise ValueError(f"boxes_per_chunk must be 'auto' or an int of at least 1, got {most}")
    return min(most, _MOST)
