"""Boxes that are computed with the rest: a chunk of the result for each of images, of unknown length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from dask.array import Array
from dask.base import tokenize

from roicy import _arguments as settle
from roicy._types import Ndarray, NumPyArray
from roicy.dask import _graph as graph
from roicy.dask import _tasks
from roicy.dask._boxes import Known
from roicy.dask._given import Given
from roicy.dask._graph import List, Task, TaskRef
from roicy.dask._records import OPERATORS

#: What Dask says of a length that nobody knows yet.
_UNKNOWN = float("nan")


def pooled(given: Given, maps: Array) -> tuple[Array, ...]:
    """Return what is pooled from boxes that are a Dask array, in the order of the images, and that order."""
    operator, axes = given.operator, given.axes
    rois, indices = given.arguments[operator.boxes], given.arguments["batch_indices"]
    if given.own["order"] != "image":
        raise ValueError(
            f"order must be 'image' for {operator.boxes} that are a Dask array, of which nobody knows yet "
            f"how many are of which image, got {given.own['order']!r}"
        )
    for name in operator.rows:
        if name not in given.nones:
            raise TypeError(f"{name} must be None for {operator.boxes} that are a Dask array")
    if rois.ndim != 2 or math.isnan(rois.shape[1]):
        raise ValueError(f"{operator.boxes} must have 2 axes and a known number of columns, got {rois.shape}")
    if indices is not None and not isinstance(indices, Array):
        raise TypeError(f"batch_indices must be a Dask array, as {operator.boxes} are")
    nobody = {
        operator.boxes: np.empty((0, rois.shape[1]), rois.dtype),
        "batch_indices": None if indices is None else np.empty(0, indices.dtype),
    }
    tried = given.tried(nobody, {operator.maps: maps})
    images = maps.chunks[axes.n]
    own, order = _own(given, images)
    call = given.call({operator.maps: maps})
    name = f"{operator.name}-{tokenize(own.name, maps.name, given.options, given.threads)}"
    along = given.channels(maps, tried[0])
    tasks: dict[Any, Any] = {}
    for n in range(len(images)):
        for c in range(len(maps.chunks[axes.c])):
            key = (name, *given.out_axes.ordered(n, c, 0, 0))
            tasks[key] = Task(
                key, _tasks.run, call, TaskRef((own.name, n)), *given.blocks({operator.maps: maps}, n, n, c)
            )
    layer = graph.layer(name, tasks, [maps, own])
    unknown = (_UNKNOWN,) * len(images)
    made = []
    for array in tried:
        chunks: list[Any] = [unknown, *((length,) for length in array.shape[1:])]
        chunks[given.out_axes.c] = along
        made.append((tuple(chunks), graph.meta(maps, array.ndim, array.dtype)))
    whole = graph.array(layer, name, *made[0])
    if len(made) == 1:
        return whole, order
    parts = [
        graph.part_of(whole, number, f"{operator.name}-{number}-{tokenize(name)}", *one)
        for number, one in enumerate(made)
    ]
    return *parts, order


def _own(given: Given, images: Sequence[int]) -> tuple[Array, Array]:
    # for each chunk of images what its task is told of boxes, and which boxes these are
    operator = given.operator
    rois, indices = given.arguments[operator.boxes], given.arguments["batch_indices"]
    rois = rois.rechunk({1: -1})
    arrays = [rois] if indices is None else [rois, indices]
    names = [array.name for array in arrays]
    base = tokenize(names, operator.name, images, given.options["invalid"])
    shared, name, ordered = f"boxes-{base}", f"boxes-of-images-{base}", f"order-{base}"
    pieces = [
        List(*(TaskRef((array.name, i, *(0,) * (array.ndim - 1))) for i in range(array.numblocks[0])))
        for array in arrays
    ]
    whole = graph.array(
        graph.layer(
            shared,
            {
                (shared, 0): Task(
                    (shared, 0), by_image, operator.name, images, given.options["invalid"], *pieces
                )
            },
            arrays,
        ),
        shared,
        ((1,),),
        np.empty(0, object),
    )
    return _chunks(whole, name, 0, len(images)), _chunks(whole, ordered, 1, len(images))


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
    """Share boxes out among chunks of images: the arguments that say those of each, and which they are."""
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
