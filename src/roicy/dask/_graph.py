"""Arrays of tasks, by Dask's own means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from dask.array import Array
from dask.array.utils import meta_from_array
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from roicy._types import DType, NumPyArray
from roicy.dask import _tasks

try:
    from dask import task_spec
except ImportError:
    from dask import _task_spec as task_spec

Alias, List, Task, TaskRef = task_spec.Alias, task_spec.List, task_spec.Task, task_spec.TaskRef

Chunks = tuple[tuple[int, ...], ...]


def layer(name: str, tasks: Mapping[Any, Any], needed: Sequence[Array]) -> HighLevelGraph:
    """Return a graph of tasks that need these arrays."""
    return HighLevelGraph.from_collections(name, tasks, dependencies=needed)


def meta(like: Array, axes: int, dtype: DType) -> Any:
    """Return an empty array of the library that an array's chunks come from."""
    return meta_from_array(like, ndim=axes, dtype=dtype)


def array(graph: HighLevelGraph, name: str, chunks: Chunks, empty: Any) -> Array:
    """Return an array whose chunks are the tasks (name, i, j, ...) of a graph."""
    return Array(graph, name, chunks, meta=empty)


def results(operator: str, graph: HighLevelGraph, name: str, made: Sequence[tuple[Any, Any]]) -> list[Array]:
    """Return an array of tasks, or where these have several items one for each ``(chunks, empty)``."""
    whole = array(graph, name, *made[0])
    if len(made) == 1:
        return [whole]
    return [
        part_of(whole, number, f"{operator}-{number}-{tokenize(name)}", *one)
        for number, one in enumerate(made)
    ]


def part_of(whole: Array, number: int, name: str, chunks: Chunks, empty: Any) -> Array:
    """Return the array of the items of a number in chunks that are tuples.

    Items with more axes than the first ones have are in one chunk along all but the first axis.
    """
    tasks = {
        (name, *index): Task((name, *index), _item, TaskRef((whole.name, *index[: whole.ndim])), number)
        for index in product(*(range(len(lengths)) for lengths in chunks))
    }
    return array(layer(name, tasks, [whole]), name, chunks, empty)


def _item(items: Sequence[Any], number: int) -> Any:
    return items[number]


def taken(source: Array, order: NumPyArray, lengths: Iterable[int], prefix: str = "rows") -> Array:
    """Return rows of an array in an order, in chunks of these lengths: one task for each chunk."""
    lengths = tuple(map(int, lengths))
    if len(order) == source.shape[0] and bool((order == np.arange(len(order))).all()):
        same: Array = source.rechunk({0: lengths or (0,)})
        return same
    name = f"{prefix}-{tokenize(source.name, order, lengths)}"
    ends = np.cumsum(source.chunks[0])
    others = list(product(*(range(len(chunks)) for chunks in source.chunks[1:])))
    tasks: dict[Any, Any] = {}
    last = 0
    for number, length in enumerate(lengths):
        wanted = order[last : last + length]
        last += length
        places, pieces, limits = _by_chunk(np.searchsorted(ends, wanted, side="right"))
        numbers = wanted[places]
        numbers -= np.repeat(ends[pieces] - np.array(source.chunks[0])[pieces], np.diff([0, *limits]))
        whole = len(pieces) == 1 and length == source.chunks[0][pieces[0]]
        whole = whole and bool((numbers == np.arange(length)).all())
        for other in others:
            key = (name, number, *other)
            refs = [TaskRef((source.name, int(piece), *other)) for piece in pieces]
            if whole:
                tasks[key] = Alias(key, refs[0].key)
            else:
                tasks[key] = Task(key, _tasks.rows, List(*refs), numbers, places, limits)
    return array(layer(name, tasks, [source]), name, (lengths, *source.chunks[1:]), source._meta)


def _by_chunk(chunk: NumPyArray) -> tuple[NumPyArray, NumPyArray, list[int]]:
    # The places of rows by the chunk that they come from, these chunks, and where the places of each end;
    # without rows the first chunk, which says what they would be.
    if not len(chunk):
        return np.empty(0, np.int64), np.zeros(1, np.int64), [0]
    places = np.argsort(chunk, kind="stable")
    found = chunk[places]
    limits = np.append(np.flatnonzero(np.diff(found)) + 1, len(found))
    return places, found[limits - 1], limits.tolist()
