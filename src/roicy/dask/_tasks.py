"""What workers run. Everything here is found by its name: a task is pickled as names and arrays."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, repeat
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
    _check_dtypes(call.names, call.dtypes, arrays)
    with roicy.num_threads(threads_at_hand(call.threads)), _doubts.silence():
        return _result(call, own, *arrays)


def _result(call: Call, own: Mapping[str, Any], *arrays: Ndarray) -> Any:
    xp = library_of(arrays[0])
    given = {**own, **gathered(dict(zip(call.names, arrays, strict=True)))}
    if not all(isinstance(value, type(arrays[0])) for value in given.values() if hasattr(value, "dtype")):
        given = {
            name: xp.asarray(value) if hasattr(value, "dtype") else value for name, value in given.items()
        }
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


class Tiled(NamedTuple):
    """How the boxes of a group read a map that is in tiles.

    Attributes
    ----------
    name : str
        The argument.
    dtype : dtype
    axes : (int, int)
        Those of rows and columns.
    size : (int, int)
        Rows and columns of the map.
    corners : array, (M, 2), int64
        The first row and column of each piece of the map that is given.
    windows : array, (P, 4), int64
        The parts that are read: the first row and column of each, and those after the last.
    pieces : list of P arrays
        Which pieces a part is made of.
    ends : array, (P,), int64
        How many boxes come before the end of those of each part.
    """

    name: str
    dtype: DType
    axes: tuple[int, int]
    size: tuple[int, int]
    corners: NumPyArray
    windows: NumPyArray
    pieces: Sequence[NumPyArray]
    ends: NumPyArray


def run_on_tiles(
    call: Call, own: Mapping[str, Any], tiled: Tiled, tiles: Sequence[Any], *others: Ndarray
) -> Any:
    """Call the function on each part of a map, with its boxes and their rows of the other arrays."""
    given = [piece for some in tiles for piece in (some if isinstance(some, list) else [some])]
    _check_dtypes(call.names[1:], call.dtypes[1:], others)
    _check_dtypes(repeat(tiled.name), repeat(tiled.dtype), given)

    def of(number: int, rows: slice, **more: Any) -> Any:
        some = {name: value if value is None else value[rows] for name, value in own.items()}
        y, x, _, _ = tiled.windows[number].tolist()
        some["window"] = y, x, *tiled.size
        return _result(call, {**some, **more}, part(tiled, number, given), *(other[rows] for other in others))

    ends = tiled.ends.tolist()
    with roicy.num_threads(threads_at_hand(call.threads)), _doubts.silence():
        if len(ends) == 1:
            return of(0, slice(None))
        nothing = of(0, slice(0))
        several = isinstance(nothing, tuple)
        found = [
            library_of(array).empty((ends[-1], *array.shape[1:]), array.dtype)
            for array in (nothing if several else (nothing,))
        ]
        for number, (begin, end) in enumerate(pairwise([0, *ends])):
            out = tuple(array[begin:end] for array in found)
            of(number, slice(begin, end), out=out if several else out[0])
    return tuple(found) if several else found[0]


def part(tiled: Tiled, number: int, given: Sequence[Ndarray]) -> Ndarray:
    """Return a part of a map: of the piece that holds it, or put together; what is in none nobody reads."""
    top, left, bottom, right = tiled.windows[number].tolist()
    pieces = tiled.pieces[number].tolist()
    axes, first = tiled.axes, given[pieces[0] if pieces else 0]
    if len(pieces) == 1:
        y, x = tiled.corners[pieces[0]].tolist()
        return first[_rectangle(axes, (top - y, bottom - y), (left - x, right - x))]
    shape = list(first.shape)
    shape[axes[0]], shape[axes[1]] = bottom - top, right - left
    found = library_of(first).zeros(tuple(shape), first.dtype)
    for piece in pieces:
        array, (y, x) = given[piece], tiled.corners[piece].tolist()
        height, width = (array.shape[axis] for axis in axes)
        rows, columns = (max(top, y), min(bottom, y + height)), (max(left, x), min(right, x + width))
        if rows[0] < rows[1] and columns[0] < columns[1]:
            there = _rectangle(axes, _less(rows, top), _less(columns, left))
            found[there] = array[_rectangle(axes, _less(rows, y), _less(columns, x))]
    return found


def cuts(tile: Ndarray, axes: tuple[int, int], rectangles: NumPyArray) -> list[Ndarray]:
    """Cut rectangles out of a tile, which then nobody needs."""
    return [cut(tile, axes, (top, bottom), (left, right)) for top, left, bottom, right in rectangles.tolist()]


def cut(whole: Ndarray, axes: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Ndarray:
    """Cut a rectangle out of maps, in memory of its own."""
    return whole[_rectangle(axes, rows, columns)].copy()


def _rectangle(axes: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> tuple[slice, ...]:
    found = [slice(None)] * 4
    found[axes[0]], found[axes[1]] = slice(*rows), slice(*columns)
    return tuple(found)


def _less(ends: tuple[int, int], begin: int) -> tuple[int, int]:
    return ends[0] - begin, ends[1] - begin


def _check_dtypes(names: Iterable[str], dtypes: Iterable[DType], arrays: Iterable[Ndarray]) -> None:
    for array, name, dtype in zip(arrays, names, dtypes, strict=False):
        if array.dtype != dtype:
            raise TypeError(
                f"{name} must have chunks of {dtype}, as it says itself, got one of {array.dtype}"
            )


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
