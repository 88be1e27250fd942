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
            raise TypeError(
                f"{name} must have chunks of {dtype}, as it says itself, got one of {array.dtype}"
            )
    xp = library_of(arrays[0])
    given = {**own, **dict(zip(call.names, arrays, strict=True))}
    if any(not isinstance(array, type(arrays[0])) for array in given.values() if hasattr(array, "dtype")):
        given = {
            name: xp.asarray(value) if hasattr(value, "dtype") else value for name, value in given.items()
        }
    with roicy.num_threads(threads_at_hand(call.threads)), _doubts.silence():
        return getattr(roicy, call.function)(**given, **call.options)


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
