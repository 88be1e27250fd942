"""Results with a row for each box: pooled values, and gradients with respect to boxes, offsets and masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.array import Array

from roicy._types import DType
from roicy.dask import _graph as graph
from roicy.dask import _lazy, _maps, _tasks, _tiles
from roicy.dask._boxes import Groups, Known
from roicy.dask._cuts import Cuts
from roicy.dask._given import Given
from roicy.dask._graph import List, Task, TaskRef
from roicy.dask._parts import Parts
from roicy.dask._tiles import Tiles


class Result(NamedTuple):
    """One of the arrays that a function returns: a row's shape, the dtype, and which axis has channels."""

    row: tuple[int, ...]
    dtype: DType
    channels: int | None


def pooled(given: Given) -> Any:
    """Return what is pooled from boxes, and with ``order="image"`` the order."""
    axes = given.axes
    operator, maps = given.operator, given.maps()
    in_rows = given.in_order
    if given.lazy:
        return _lazy.pooled(given, maps)
    boxes = Known(operator, given.arguments, maps.shape[0])
    arrays = {operator.maps: maps, **_maps.rows(operator, given.arguments, len(boxes), given.out_axes)}
    tried = given.tried(boxes.none(), arrays)
    results = [Result(found.shape[1:], found.dtype, given.out_axes.c) for found in tried]
    boxes.warn(tuple(maps.shape[axis] for axis in axes), given.options.get("spatial_scale", 1.0))
    channels = given.channels(maps, tried[0])
    most = _rows_of_a_chunk(given, results[0], max(channels, default=0))
    groups, parts = _grouped(given, boxes, maps, most)
    found = _computed(given, boxes, (groups, parts), arrays, [(result, channels) for result in results])
    if not in_rows:
        return *found, groups.order
    found = [in_order(operator.name, array, groups, most) for array in found]
    return found[0] if len(found) == 1 else tuple(found)


def slopes(given: Given) -> Any:
    """Return the gradient with respect to what belongs to each box."""
    operator, maps = given.operator, given.maps()
    if given.lazy or not given.in_order:
        return _lazy.slopes(given, {operator.maps: maps})
    boxes = Known(operator, given.arguments, maps.shape[0])
    arrays = _maps.rows(operator, given.arguments, len(boxes), given.out_axes)
    if "grad_output" in arrays:
        arrays["grad_output"] = _all_channels(arrays["grad_output"], given.out_axes.c)
    if "argmax" in arrays:
        arrays["argmax"] = _all_channels(arrays["argmax"], given.out_axes.c)
    arrays = {operator.maps: maps, **arrays}
    (tried,) = given.tried(boxes.none(), arrays)
    result = Result(tried.shape[1:], tried.dtype, None)
    row = arrays["grad_output"].shape[1:]
    most = _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], row, result.dtype)
    groups, parts = _grouped(given, boxes, maps, most)
    (found,) = _computed(given, boxes, (groups, parts), arrays, [(result, ())])
    found = in_order(operator.name, found, groups, most)
    return boxes.rois.as_given(found)


def _grouped(given: Given, boxes: Known, maps: Array, most: int) -> tuple[Groups, list[Parts] | None]:
    # groups of boxes, and which parts of a map each reads where maps are in tiles
    axes = given.axes
    if len(maps.chunks[axes.h]) == len(maps.chunks[axes.w]) == 1:
        return boxes.groups(maps.chunks[axes.n], most), None
    read = _tiles.read_by(given.operator, given.arguments, boxes, maps.shape, given.size)
    return Tiles.of(maps, axes).groups(boxes, read, most, _maps.room())


def _all_channels(array: Array, axis: int) -> Array:
    return array.rechunk({axis: -1}) if len(array.chunks[axis]) > 1 else array


def _rows_of_a_chunk(given: Given, result: Result, channels: int) -> int:
    row = list(result.row)
    if result.channels is not None:
        row[result.channels - 1] = channels
    return _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], row, result.dtype)


def _computed(
    given: Given,
    boxes: Known,
    grouped: tuple[Groups, list[Parts] | None],
    arrays: dict[str, Array],
    results: Sequence[tuple[Result, Sequence[int]]],
) -> list[Array]:
    """Return the results of groups of boxes, in their order: a task for each group and chunk of channels."""
    operator, axes = given.operator, given.axes
    groups, parts = grouped
    maps = arrays[operator.maps]
    arrays = {
        name: array if name == operator.maps else graph.taken(array, groups.order, groups.lengths)
        for name, array in arrays.items()
    }
    call = given.call(arrays)
    first = results[0][0]
    name = f"{operator.name}-{given.token(boxes, arrays, groups)}"
    lengths = tuple(groups.lengths.tolist())
    own = boxes.of_groups(groups, maps.chunks[axes.n])
    tasks: dict[Any, Any] = {}
    cuts = Cuts(f"cut-{name}", (axes.h, axes.w))
    others = (0,) * (len(first.row))
    for g, (chunk, some) in enumerate(zip(groups.chunks.tolist(), own, strict=True)):
        for c in range(len(maps.chunks[axes.c])):
            key = (name, g, *_at(others, first.channels, c))
            blocks = given.blocks(arrays, chunk, g, c)
            if parts is None:
                tasks[key] = Task(key, _tasks.run, call, some, *blocks)
            else:
                tiles, places = given.tiles(maps, chunk, c, parts[g], cuts)
                refs, tiled = List(*map(TaskRef, tiles)), given.tiled(maps, parts[g], places)
                tasks[key] = Task(key, _tasks.run_on_tiles, call, some, tiled, refs, *blocks[1:])
    tasks |= cuts.tasks()
    layer = graph.layer(name, tasks, list(arrays.values()))
    made = []
    for result, along in results:
        chunks: list[tuple[int, ...]] = [lengths, *((length,) for length in result.row)]
        if result.channels is not None:
            chunks[result.channels] = tuple(along)
        made.append((tuple(chunks), graph.meta(maps, len(chunks), result.dtype)))
    return graph.results(operator.name, layer, name, made)


def _at(others: tuple[int, ...], axis: int | None, number: int) -> tuple[int, ...]:
    # the numbers of chunks along all axes but the first
    return others if axis is None else (*others[: axis - 1], number, *others[axis:])


def in_order(name: str, array: Array, groups: Groups, most: int) -> Array:
    """Return the rows of groups in the order of the boxes, at most `most` of them in a chunk."""
    if groups.is_sorted:
        return array
    count = len(groups.order)
    lengths = np.diff(np.minimum(np.arange(0, count + most, most), count))
    return graph.taken(array, groups.inverse, lengths, name)
