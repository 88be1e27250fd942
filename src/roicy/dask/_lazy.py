"""Boxes that are a Dask array: the result has a chunk for each chunk of images, of unknown length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.array import Array
from dask.base import tokenize

from roicy import _arguments as settle
from roicy._types import Ndarray, NumPyArray
from roicy.dask import _graph as graph
from roicy.dask import _maps, _tasks
from roicy.dask._boxes import Known
from roicy.dask._given import Given
from roicy.dask._graph import List, Task, TaskRef
from roicy.dask._records import OPERATORS

#: An unknown length in Dask.
_UNKNOWN = float("nan")


class Lazy(NamedTuple):
    """Boxes that are a Dask array, shared out among chunks of images.

    Attributes
    ----------
    own : Array
        For each chunk of images, the arguments of its task that describe its boxes.
    order : Array
        Which boxes these are.
    """

    own: Array
    order: Array

    def refs(self) -> list[Any]:
        """Return for each chunk of images the arguments of its task that describe its boxes."""
        return [TaskRef((self.own.name, n)) for n in range(self.own.numblocks[0])]

    def lengths(self) -> tuple[float, ...]:
        """Return how many boxes a chunk has, as Dask says it."""
        found: tuple[float, ...] = self.own.chunks[0]
        return found


def nobody(given: Given) -> dict[str, Any]:
    """Return arguments without boxes, after checks that boxes may be a Dask array here."""
    operator = given.operator
    rois, indices = given.arguments[operator.boxes], given.arguments["batch_indices"]
    if given.in_order:
        raise ValueError(
            f"order must be 'image' for {operator.boxes} that are a Dask array, of which nobody knows yet "
            "how many are of which image, got 'rois'"
        )
    axes, columns = (
        (3, "shape (K, 4, 2)") if operator.boxes == "corners" else (2, "a known number of columns")
    )
    if rois.ndim != axes or any(map(math.isnan, rois.shape[1:])):
        raise ValueError(f"{operator.boxes} must have {axes} axes and {columns}, got {rois.shape}")
    if indices is not None and not isinstance(indices, Array):
        raise TypeError(f"batch_indices must be a Dask array, as {operator.boxes} are")
    return {
        operator.boxes: np.empty((0, *rois.shape[1:]), rois.dtype),
        "batch_indices": None if indices is None else np.empty(0, indices.dtype),
    }


def rows(given: Given, count: int | None = None) -> dict[str, Array]:
    """Return the other arguments with a row for each box, in the order of this many chunks of images."""
    found = {}
    for name in given.operator.rows:
        if name in given.nones:
            continue
        if name not in ("grad_output", "argmax"):
            raise TypeError(f"{name} must be None for {given.operator.boxes} that are a Dask array")
        array = _tasks.rows_first(_maps.lazy(name, given.arguments[name]))
        if count is not None and array.numblocks[0] != count:
            raise ValueError(
                f"{name} must have a chunk of rows for each of the {count} chunks of images, as "
                f"what is pooled with order='image' has, got {array.numblocks[0]}"
            )
        apart = {0, given.out_axes.c} if array.ndim == 4 else {0}
        merged = {axis: -1 for axis in range(1, array.ndim) if axis not in apart}
        found[name] = array.rechunk(merged)
    return found


def pooled(given: Given, maps: Array) -> tuple[Array, ...]:
    """Return what is pooled from boxes that are a Dask array, in the order of the images, and that order."""
    operator, axes = given.operator, given.axes
    none = nobody(given)
    rows(given)
    arrays = {operator.maps: maps}
    tried = given.tried(none, arrays)
    images = maps.chunks[axes.n]
    boxes = shared(given, images)
    call = given.call(arrays)
    name = f"{operator.name}-{tokenize(boxes.own.name, maps.name, given.options, given.threads)}"
    along = given.channels(maps, tried[0])
    tasks: dict[Any, Any] = {}
    for n, own in enumerate(boxes.refs()):
        for c in range(len(maps.chunks[axes.c])):
            key = (name, *given.out_axes.ordered(n, c, 0, 0))
            tasks[key] = Task(key, _tasks.run, call, own, *given.blocks(arrays, n, n, c))
    layer = graph.layer(name, tasks, [maps, boxes.own])
    made = []
    for array in tried:
        chunks: list[Any] = [boxes.lengths(), *((length,) for length in array.shape[1:])]
        chunks[given.out_axes.c] = along
        made.append((tuple(chunks), graph.meta(maps, array.ndim, array.dtype)))
    return *graph.results(operator.name, layer, name, made), boxes.order


def slopes(given: Given, maps: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the gradient with respect to boxes that are a Dask array, by image, and their order."""
    operator = given.operator
    none = nobody(given)
    first = next(iter(maps.values()))
    images = first.chunks[given.axes.n]
    of_rows = {name: whole(array) for name, array in rows(given, len(images)).items()}
    arrays = {**maps, **of_rows}
    (tried,) = given.tried(none, arrays)
    boxes = shared(given, images)
    call = given.call(arrays)
    names = [array.name for array in arrays.values()]
    name = f"{operator.name}-{tokenize(boxes.own.name, names, given.options, given.threads)}"
    tasks: dict[Any, Any] = {}
    for n, own in enumerate(boxes.refs()):
        refs = [TaskRef((array.name, n, *(0,) * (array.ndim - 1))) for array in arrays.values()]
        tasks[(name, n, 0)] = Task((name, n, 0), _tasks.run, call, own, *refs)
    layer = graph.layer(name, tasks, [*arrays.values(), boxes.own])
    chunks: Any = (boxes.lengths(), (tried.shape[1],))
    return graph.array(layer, name, chunks, graph.meta(first, 2, tried.dtype)), boxes.order


def whole(array: Array) -> Array:
    """Return an array in one piece along all axes but that of its rows."""
    merged = {axis: -1 for axis in range(1, array.ndim) if len(array.chunks[axis]) > 1}
    return array.rechunk(merged) if merged else array


def shared(given: Given, images: Sequence[int]) -> Lazy:
    """Assign boxes to chunks of images; `images` has the number of images in each."""
    operator = given.operator
    rois, indices = given.arguments[operator.boxes], given.arguments["batch_indices"]
    rois = whole(rois)
    arrays = [rois] if indices is None else [rois, indices]
    names = [array.name for array in arrays]
    base = tokenize(names, operator.name, images, given.options["invalid"])
    shared, name, ordered = f"boxes-{base}", f"boxes-of-images-{base}", f"order-{base}"
    pieces = [
        List(*(TaskRef((array.name, i, *(0,) * (array.ndim - 1))) for i in range(array.numblocks[0])))
        for array in arrays
    ]
    key = (shared, 0)
    task = Task(key, by_image, operator.name, images, given.options["invalid"], *pieces)
    found = graph.array(graph.layer(shared, {key: task}, arrays), shared, ((1,),), np.empty(0, object))
    return Lazy(_chunks(found, name, 0, len(images)), _chunks(found, ordered, 1, len(images)))


def _chunks(shared: Array, name: str, which: int, count: int) -> Array:
    # an array of chunks of unknown length, that are the items of a list
    tasks = {(name, n): Task((name, n), _of_chunk, TaskRef((shared.name, 0)), which, n) for n in range(count)}
    unknown: Any = ((_UNKNOWN,) * count,)
    return graph.array(graph.layer(name, tasks, [shared]), name, unknown, np.empty(0, np.int64))


def by_image(
    operator: str,
    images: Sequence[int],
    invalid: str,
    rois: Sequence[Ndarray],
    indices: Sequence[Ndarray] | None = None,
) -> tuple[list[dict[str, Any]], list[NumPyArray]]:
    """Assign boxes to chunks of images: return the arguments for each chunk, and which boxes they have."""
    record = OPERATORS[operator]
    arguments = {
        record.boxes: np.concatenate(list(map(settle.on_host, rois))),
        "batch_indices": None if indices is None else np.concatenate(list(map(settle.on_host, indices))),
        "invalid": invalid,
    }
    boxes = Known(record, arguments, sum(images))
    groups = boxes.groups(images, None)
    return boxes.of_groups(groups, images), np.split(groups.order, np.cumsum(groups.lengths)[:-1])


def _of_chunk(shared: tuple[list[Any], list[Any]], which: int, number: int) -> Any:
    return shared[which][number]
