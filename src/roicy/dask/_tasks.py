"""What workers run. Everything here is found by its name: a task is pickled as names and arrays."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dask.system

import roicy
from roicy import _doubts
from roicy._arguments import library_of
from roicy._types import DType, Ndarray, NumPyArray


class Call(NamedTuple):
    """A call of one of roicy's functions, less its arrays.

    Attributes
    ----------
    function : str
    options : dict
        What is the same in all tasks.
    names : tuple of str
        What the arrays of a task are to the function.
    dtypes : tuple of dtype
        What they were said to be.
    threads : int
        How many to use, where the worker has cores for them.
    """

    function: str
    options: Mapping[str, Any]
    names: tuple[str, ...]
    dtypes: tuple[DType, ...]
    threads: int


def run(call: Call, own: Mapping[str, Any], *arrays: Ndarray) -> Any:
    """Call the function on the arrays and on what is this task's own, which moves to where the arrays are."""
    for name, array, dtype in zip(call.names, arrays, call.dtypes, strict=True):
        if array.dtype != dtype:
            raise _wrong_dtype(name, dtype, array)
    xp = library_of(arrays[0])
    given = {**own, **gathered(dict(zip(call.names, arrays, strict=True)))}
    if not all(isinstance(value, type(arrays[0])) for value in given.values() if hasattr(value, "dtype")):
        given = {
            name: xp.asarray(value) if hasattr(value, "dtype") else value for name, value in given.items()
        }
    with roicy.num_threads(threads_at_hand(call.threads)), _doubts.silence():
        found = getattr(roicy, call.function)(**given, **call.options)
    return tuple(map(rows_first, found)) if isinstance(found, tuple) else found


def gathered(arrays: Mapping[str, Ndarray]) -> dict[str, Any]:
    """Return arrays as a function takes them: those of a pyramid, such as ``features[1]``, are a list."""
    found: dict[str, Any] = {}
    for name, array in arrays.items():
        of, _, level = name.partition("[")
        if level:
            found.setdefault(of, []).append(array)
        else:
            found[name] = rows_first(array) if name == "argmax" else array
    return found


def rows_first(array: Ndarray) -> Ndarray:
    """Return the argmax of summed maps, which has an axis of these before the rows, rows first, and back."""
    return array.swapaxes(0, 1) if array.ndim == 5 else array


class Source(NamedTuple):
    """What tiles are of: the argument, its dtype, and its axes of rows and columns."""

    name: str
    dtype: DType
    axes: tuple[int, int]


def part(
    source: Source,
    window: tuple[int, int, int, int],
    corners: Sequence[tuple[int, int]],
    tiles: Sequence[Ndarray],
) -> Ndarray:
    """Put the part of a map together that lies in a window: what no tile is given of is read by nobody."""
    top, left, bottom, right = window
    first = tiles[0]
    if len(tiles) == 1:
        y, x = corners[0]
        return first[_rectangle(source.axes, (top - y, bottom - y), (left - x, right - x))]
    shape = list(first.shape)
    shape[source.axes[0]], shape[source.axes[1]] = bottom - top, right - left
    found = library_of(first).zeros(tuple(shape), first.dtype)
    for (y, x), tile in zip(corners, tiles, strict=True):
        if tile.dtype != source.dtype:
            raise _wrong_dtype(source.name, source.dtype, tile)
        height, width = (tile.shape[axis] for axis in source.axes)
        rows = max(top, y), min(bottom, y + height)
        columns = max(left, x), min(right, x + width)
        if rows[0] < rows[1] and columns[0] < columns[1]:
            there = _rectangle(source.axes, _less(rows, top), _less(columns, left))
            found[there] = tile[_rectangle(source.axes, _less(rows, y), _less(columns, x))]
    return found


def cut(whole: Ndarray, axes: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Ndarray:
    """Cut a rectangle out of maps, in memory of its own."""
    return whole[_rectangle(axes, rows, columns)].copy()


def _rectangle(axes: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, ...]:
    found = [slice(None)] * 4
    found[axes[0]], found[axes[1]] = slice(*rows), slice(*columns)
    return tuple(found)


def _less(ends: tuple[int, int], begin: int) -> tuple[int, int]:
    return ends[0] - begin, ends[1] - begin


def _wrong_dtype(name: str, dtype: DType, found: Ndarray) -> TypeError:
    return TypeError(f"{name} must have chunks of {dtype}, as it says itself, got one of {found.dtype}")


def rows(pieces: Sequence[Ndarray], numbers: NumPyArray, places: NumPyArray, ends: Sequence[int]) -> Ndarray:
    """Gather rows: from each piece the next ``numbers``, to ``places``, up to its end."""
    first, xp = pieces[0], library_of(pieces[0])
    found = xp.empty((len(numbers), *first.shape[1:]), first.dtype)
    begin = 0
    for piece, end in zip(pieces, ends, strict=True):
        found[xp.asarray(places[begin:end])] = piece[xp.asarray(numbers[begin:end])]
        begin = end
    return found


def threads_at_hand(wanted: int) -> int:
    """Return how many threads a task may use: the worker's tasks together no more than there are cores."""
    cores: int = dask.system.CPU_COUNT
    return max(1, min(wanted, cores // _tasks_at_once()))


def _tasks_at_once() -> int:
    if "distributed" in sys.modules:
        from distributed import get_worker

        try:
            return int(get_worker().state.nthreads)
        except ValueError:  # no worker of a cluster
            pass
    if threading.current_thread() is threading.main_thread() and multiprocessing.parent_process() is None:
        return 1
    return int(dask.config.get("num_workers", None) or dask.system.CPU_COUNT)
