"""Pooling from the maps of a pyramid: a task has all maps of a chunk of images."""

from __future__ import annotations

from typing import Any

import numpy as np
from dask.array import Array
from dask.base import tokenize

from roicy import _arguments as settle
from roicy._types import NumPyArray
from roicy.dask import _graph as graph
from roicy.dask import _maps, _tasks
from roicy.dask._boxes import Known
from roicy.dask._boxwise import in_order
from roicy.dask._given import Given
from roicy.dask._graph import Task, TaskRef


def pooled(given: Given) -> Any:
    """Return what is pooled from boxes, and with ``order="image"`` the order."""
    operator, axes = given.operator, given.axes
    order = settle.choice("order", given.own["order"], ("rois", "image"))
    maps = _levels(given)
    boxes = Known(operator, given.arguments, maps[0].shape[axes.n])
    levels = _levels_of_boxes(given, len(boxes), len(maps))
    none = {} if levels is None else {"levels": levels[:0]}
    if levels is not None:
        del given.options["levels"]
    nothing = [_maps.nothing(level.shape, level.dtype) for level in maps]
    tried = tuple(map(_tasks.rows_first, given.tried({operator.maps: nothing, **boxes.none(), **none}, {})))
    most = _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], tried[0].shape[1:], tried[0].dtype)
    lengths = maps[0].chunks[axes.n]
    groups = boxes.groups(lengths, most)
    own = boxes.of_groups(groups, lengths)
    if levels is not None:
        parts = np.split(levels[groups.order], np.cumsum(groups.lengths)[:-1])
        own = [{**some, "levels": part} for some, part in zip(own, parts, strict=True)]
    call = _tasks.Call(
        operator.name,
        given.options,
        tuple(f"{operator.maps}[{number}]" for number in range(len(maps))),
        tuple(level.dtype for level in maps),
        given.threads,
    )
    name = (
        f"{operator.name}-{tokenize([level.name for level in maps], given.token(boxes, {}, groups), levels)}"
    )
    tasks: dict[Any, Any] = {}
    for g, (chunk, some) in enumerate(zip(groups.chunks.tolist(), own, strict=True)):
        refs = [TaskRef((level.name, *axes.ordered(chunk, 0, 0, 0))) for level in maps]
        tasks[(name, g, 0, 0, 0)] = Task((name, g, 0, 0, 0), _tasks.run_levels, call, some, *refs)
    layer = graph.layer(name, tasks, maps)
    made = [
        (
            (tuple(groups.lengths.tolist()), *((length,) for length in array.shape[1:])),
            graph.meta(maps[0], array.ndim, array.dtype),
        )
        for array in tried
    ]
    found = [graph.array(layer, name, *made[0])]
    if len(made) > 1:
        found = [
            graph.part_of(found[0], number, f"{operator.name}-{number}-{tokenize(name)}", *one)
            for number, one in enumerate(made)
        ]
    if order == "rois":
        found = [in_order(operator.name, array, groups, most) for array in found]
    found = [array.swapaxes(0, 1) if array.ndim == 5 else array for array in found]
    if order == "image":
        return *found, groups.order
    return found[0] if len(found) == 1 else tuple(found)


def _levels(given: Given) -> list[Array]:
    # the maps, in chunks of whole images as the first ones have them
    name, axes = given.operator.maps, given.axes
    value = given.arguments[name]
    if not isinstance(value, (list, tuple)) or not value:
        raise TypeError(f"{name} must be a list of Dask arrays, the maps of a pyramid, finest first")
    maps = [_maps.known(f"{name}[{number}]", level) for number, level in enumerate(value)]
    for number, level in enumerate(maps):
        settle.features_shape(level, given.arguments["layout"], f"{name}[{number}]")
    chunks = maps[0].chunks[axes.n]
    if any(level.shape[axes.n] != maps[0].shape[axes.n] for level in maps):
        return [level.rechunk(-1) for level in maps]  # that is the function's own error
    return [level.rechunk(axes.ordered(chunks, -1, -1, -1)) for level in maps]


def _levels_of_boxes(given: Given, count: int, maps: int) -> NumPyArray | None:
    # one for each box, where no rule says which
    levels = given.arguments["levels"]
    if isinstance(levels, str):
        return None
    found = np.asarray(levels)
    if found.shape != (count,):
        raise ValueError(f"levels must have shape {(count,)}, one for each row of rois, got {found.shape}")
    if settle.invalid(given.options["invalid"]) == "raise":
        settle.check_levels(settle.level_array(found, count, maps), found, maps)
    return found
