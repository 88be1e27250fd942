"""What workers run. Everything here is found by its name: a task is pickled as names and arrays."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise, repeat
from typing import Any, NamedTuple

import dask.system
import numpy as np

import roicy
from roicy import _doubts
from roicy._arguments import library_of
from roicy._types import DType, Ndarray, NumPyArray
from roicy.cpu.runtime.rectangles import copy_rectangles


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
    """Call the function on the arrays and on the task's own data, which is moved to the arrays' memory."""
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
    places : list of int or None
        Of each tile, of which several groups have pieces, whose are the group's; None: it is given whole.
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
    places: Sequence[int | None]
    corners: NumPyArray
    windows: NumPyArray
    pieces: Sequence[NumPyArray]
    ends: NumPyArray


def run_on_tiles(
    call: Call, own: Mapping[str, Any], tiled: Tiled, tiles: Sequence[Any], *others: Ndarray
) -> Any:
    """Call the function on each part of a map, with its boxes and their rows of the other arrays."""
    given = [
        piece
        for tile, place in zip(tiles, tiled.places, strict=True)
        for piece in ([tile] if place is None else tile[place])
    ]
    _check_dtypes(call.names[1:], call.dtypes[1:], others)
    _check_dtypes(repeat(tiled.name), repeat(tiled.dtype), given)

    def of(number: int, rows: slice, **more: Any) -> Any:
        some = {name: value if value is None else value[rows] for name, value in own.items()}
        y, x, _, _ = tiled.windows[number].tolist()
        some["window"] = y, x, *tiled.size
        return _result(call, {**some, **more}, read[number], *(other[rows] for other in others))

    ends, read = tiled.ends.tolist(), parts(tiled, given)
    with roicy.num_threads(threads_at_hand(call.threads)), _doubts.silence():
        if len(ends) == 1:
            return of(0, slice(None))
        if call.function == "crop_and_resize" and len(read[0]) == 1:
            return _crops(call, own, tiled, read)
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


def _crops(call: Call, own: Mapping[str, Any], tiled: Tiled, read: Sequence[Ndarray]) -> Ndarray:
    # parts of one image as a list: other threads read while a call works, and wait for Python between calls
    boxes, images = own["boxes"], own["batch_indices"]
    numbers = np.repeat(np.arange(len(read)), np.diff(tiled.ends, prepend=0))
    numbers[(boxes[:, 0] if images is None else images) < 0] = -1
    windows = [(y, x, *tiled.size) for y, x, _, _ in tiled.windows.tolist()]
    xp = library_of(read[0])
    given: dict[str, Any] = {
        "images": [part[0] for part in read],
        "boxes": xp.asarray(boxes[:, -4:]),
        "batch_indices": xp.asarray(numbers),
        "window": windows,
    }
    return roicy.crop_and_resize(**given, **call.options)


def parts(tiled: Tiled, given: Sequence[Ndarray]) -> list[Ndarray]:
    """Return the parts of a map: of the piece that holds one, or put together; nobody reads the rest."""
    shapes = np.array([[piece.shape[axis] for axis in tiled.axes] for piece in given]).reshape(-1, 2)
    ends = tiled.corners + shapes
    found: list[Ndarray] = []
    copies = []
    for number, (window, pieces) in enumerate(zip(tiled.windows, tiled.pieces, strict=True)):
        if len(pieces) == 1:
            (y, x), (top, left, bottom, right) = tiled.corners[pieces[0]].tolist(), window.tolist()
            rectangle = _rectangle(tiled.axes, (top - y, bottom - y), (left - x, right - x))
            found.append(given[pieces[0]][rectangle])
            continue
        first = given[pieces[0] if len(pieces) else 0]
        shape = list(first.shape)
        shape[tiled.axes[0]], shape[tiled.axes[1]] = (window[2:] - window[:2]).tolist()
        found.append(library_of(first).zeros(tuple(shape), first.dtype))
        begin = np.maximum(window[:2], tiled.corners[pieces])
        size = np.minimum(window[2:], ends[pieces]) - begin
        copies.append(
            np.column_stack(
                [
                    pieces,
                    begin - tiled.corners[pieces],
                    np.full(len(pieces), number),
                    begin - window[:2],
                    size,
                ]
            )[(size > 0).all(axis=1)]
        )
    if copies:
        _copy(list(given), found, tiled.axes, np.concatenate(copies))
    return found


def cuts(tile: Ndarray, axes: tuple[int, int], rectangles: Sequence[NumPyArray]) -> list[list[Ndarray]]:
    """Cut rectangles of several groups of boxes out of a tile, which can then be freed."""
    every = np.concatenate(rectangles)
    begins, sizes = every[:, :2], every[:, 2:] - every[:, :2]
    xp, shape = library_of(tile), list(tile.shape)
    found = []
    for rows, columns in sizes.tolist():
        shape[axes[0]], shape[axes[1]] = rows, columns
        found.append(xp.empty(tuple(shape), tile.dtype))
    count = len(every)
    nothing = np.zeros((count, 1), np.int64)
    numbers = np.arange(count)[:, None]
    _copy([tile], found, axes, np.hstack([nothing, begins, numbers, nothing, nothing, sizes]))
    following = iter(found)
    return [list(islice(following, len(some))) for some in rectangles]


def _copy(sources: list[Ndarray], targets: list[Ndarray], axes: tuple[int, int], copies: NumPyArray) -> None:
    if all(type(array) is np.ndarray and not array.dtype.hasobject for array in (*sources, *targets)):
        copy_rectangles(sources, targets, axes, copies)
        return
    for source, y, x, target, top, left, rows, columns in copies.tolist():
        there = _rectangle(axes, (top, top + rows), (left, left + columns))
        targets[target][there] = sources[source][_rectangle(axes, (y, y + rows), (x, x + columns))]


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
    """Return how many threads a task may use, so that all tasks of a worker use no more than its cores."""
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
