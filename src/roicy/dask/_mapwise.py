"""Gradients with respect to maps: one task for each chunk of images and of channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from dask.array import Array
from dask.base import tokenize

from roicy import _arguments as settle
from roicy._types import DType, Shape
from roicy.dask import _graph as graph
from roicy.dask import _lazy, _maps, _tasks, _tiles
from roicy.dask._boxes import Known
from roicy.dask._given import Given
from roicy.dask._graph import Task
from roicy.dask._tiles import Tiles


def gradient(given: Given) -> Any:
    """Return the gradient with respect to the maps."""
    operator, axes, out = given.operator, given.axes, given.out_axes
    shape, single = _shape(given)
    if given.lazy or not given.in_order:
        return _of_lazy_boxes(given, shape, single)
    boxes = Known(operator, given.arguments, shape[axes.n])
    arrays = _maps.rows(operator, given.arguments, len(boxes), out)
    of_nothing = axes.ordered(0, shape[axes.c], shape[axes.h], shape[axes.w])
    (tried,) = given.tried(boxes.none(), arrays, input_shape=of_nothing)
    chunks = _chunks(given, shape, tried.dtype, single)
    bins = given.bins if operator.channels == "bins" else 1
    tiles = Tiles(chunks[axes.n], chunks[axes.h], chunks[axes.w])
    windows = None
    if len(tiles.rows) == len(tiles.columns) == 1:
        groups = boxes.groups(tiles.images, None)
    else:
        read = _tiles.read_by(operator, given.arguments, boxes, shape, given.size)
        groups, windows = tiles.readers(boxes, read)
    taken = {}
    for name, array in arrays.items():
        if _maps.has_channels(name):
            array = array.rechunk({out.c: tuple(length // bins for length in chunks[axes.c])})
        taken[name] = graph.taken(array, groups.order, groups.lengths)
    name = f"{operator.name}-{given.token(boxes, taken, groups, chunks)}"
    own = boxes.of_groups(groups, chunks[axes.n])
    calls = _Calls(given, taken)
    tasks: dict[Any, Any] = {}
    for g, some in enumerate(own):
        n, row, column = map(int, np.unravel_index(g, tuple(map(len, tiles[:3]))))
        for c, channels in enumerate(chunks[axes.c]):
            key = (name, *axes.ordered(n, c, row, column))
            blocks = given.blocks(taken, n, g, c)
            if windows is None:
                whole = axes.ordered(tiles.images[n], channels, shape[axes.h], shape[axes.w])
                tasks[key] = Task(key, _tasks.run, calls.of(whole), some, *blocks)
                continue
            top, left, bottom, right = windows[g]
            part = axes.ordered(tiles.images[n], channels, bottom - top, right - left)
            windowed = {**some, "window": (top, left, shape[axes.h], shape[axes.w])}
            y, x = tiles.corner(row, column)
            rows, columns = (y - top, y - top + tiles.rows[row]), (x - left, x - left + tiles.columns[column])
            run = Task(None, _tasks.run, calls.of(part), windowed, *blocks)
            tasks[key] = Task(key, _tasks.cut, run, (axes.h, axes.w), rows, columns)
    layer = graph.layer(name, tasks, list(taken.values()))
    found = graph.array(layer, name, chunks, graph.meta(taken["grad_output"], 4, tried.dtype))
    return found[0] if single else found


def _of_lazy_boxes(given: Given, shape: Shape, single: bool) -> Array:
    # rows of the gradient are those of the images, a chunk for each
    operator, axes, out = given.operator, given.axes, given.out_axes
    of_nothing = axes.ordered(0, shape[axes.c], shape[axes.h], shape[axes.w])
    (tried,) = given.tried(_lazy.nobody(given), _lazy.rows(given), input_shape=of_nothing)
    chunks = _chunks(given, shape, tried.dtype, single)
    bins = given.bins if operator.channels == "bins" else 1
    arrays = {
        name: array.rechunk({out.c: tuple(length // bins for length in chunks[axes.c])})
        for name, array in _lazy.rows(given, len(chunks[axes.n])).items()
    }
    boxes, calls = _lazy.shared(given, chunks[axes.n]), _Calls(given, arrays)
    names = [array.name for array in arrays.values()]
    name = f"{operator.name}-{tokenize(boxes.own.name, names, given.options, given.threads, chunks)}"
    tasks: dict[Any, Any] = {}
    for n, own in enumerate(boxes.refs()):
        for c, channels in enumerate(chunks[axes.c]):
            key = (name, *axes.ordered(n, c, 0, 0))
            call = calls.of(axes.ordered(chunks[axes.n][n], channels, shape[axes.h], shape[axes.w]))
            tasks[key] = Task(key, _tasks.run, call, own, *given.blocks(arrays, n, n, c))
    layer = graph.layer(name, tasks, [*arrays.values(), boxes.own])
    found = graph.array(layer, name, chunks, graph.meta(arrays["grad_output"], 4, tried.dtype))
    return found[0] if single else found


class _Calls:
    # what tasks whose maps have one shape have in common
    def __init__(self, given: Given, arrays: dict[str, Array]) -> None:
        self.given, self.arrays = given, arrays
        self.known: dict[Shape, _tasks.Call] = {}

    def of(self, shape: Shape) -> _tasks.Call:
        if shape not in self.known:
            self.known[shape] = self.given.call(self.arrays, input_shape=shape)
        return self.known[shape]


def _shape(given: Given) -> tuple[Shape, bool]:
    # that of the maps, and whether the caller has a single image
    value = given.arguments["input_shape"]
    single = given.operator.boxes == "boxes" and len(value) == 3
    return settle.input_shape((1, *value) if single else value, given.arguments["layout"]), single


def _chunks(given: Given, shape: Shape, dtype: DType, single: bool) -> tuple[tuple[int, ...], ...]:
    # those of the result: as the caller wants them, and so that channels that belong together are together
    axes, wanted = given.axes, given.own["chunks"]
    if isinstance(wanted, str) and wanted == "auto":
        wanted = axes.ordered("auto", -1, -1, -1)[single:]
    own = shape[single:]
    chunks = [
        *((1,),) * single,
        *_maps.chunks_of(wanted, own, dtype, f"those of an array of shape {own}", wanted),
    ]
    if not given.windows and (len(chunks[axes.h]) > 1 or len(chunks[axes.w]) > 1):
        raise ValueError(f"chunks must have all rows and columns of an image in one, got {tuple(chunks)}")
    if given.operator.channels == "bins":
        chunks[axes.c] = _maps.whole_bins(chunks[axes.c], given.bins)
    elif given.operator.channels == "together":
        chunks[axes.c] = (shape[axes.c],)
    return tuple(chunks)
