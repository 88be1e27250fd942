"""Pooling from the maps of a pyramid, and its gradients: a task has all maps of a chunk of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dask.array import Array
from dask.base import tokenize

from roicy import _arguments as settle
from roicy._types import DType, NumPyArray, Shape
from roicy.dask import _graph as graph
from roicy.dask import _lazy, _maps, _tasks
from roicy.dask._boxes import Groups, Known
from roicy.dask._boxwise import in_order
from roicy.dask._given import Given
from roicy.dask._graph import Task, TaskRef


def pooled(given: Given) -> Any:
    """Return what is pooled from boxes, and with ``order="image"`` the order."""
    operator, axes = given.operator, given.axes
    in_rows, maps = given.in_order, _levels(given)
    images = maps[0].chunks[axes.n]
    arrays = _named(given, maps)
    boxes = _Boxes(given, images[:], len(maps))
    tried = given.tried(boxes.nobody, arrays)
    boxes.look_at(maps[0])
    most = _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], tried[0].shape[1:], tried[0].dtype)
    boxes.share(images, most)
    layer, name = _layer(given, boxes, arrays, {}, ndim=4)
    made = [
        (
            (boxes.lengths, *((length,) for length in array.shape[1:])),
            graph.meta(maps[0], array.ndim, array.dtype),
        )
        for array in tried
    ]
    found = graph.results(operator.name, layer, name, made)
    if in_rows and boxes.groups is not None:
        found = [in_order(operator.name, array, boxes.groups, most) for array in found]
    found = [array.swapaxes(0, 1) if array.ndim == 5 else array for array in found]
    if not in_rows:
        return *found, boxes.order
    return found[0] if len(found) == 1 else tuple(found)


def gradients(given: Given) -> list[Array]:
    """Return the gradients with respect to the maps, in chunks of whole images."""
    operator = given.operator
    shapes = settle.input_shapes(given.arguments["input_shapes"], given.arguments["layout"])
    total = shapes[0][0]
    boxes = _Boxes(given, (total,), len(shapes))
    of_nothing = [(0, *shape[1:]) for shape in shapes]
    tried = given.tried(boxes.nobody, boxes.rows(None), input_shapes=of_nothing)
    images = _images(given.own["chunks"], shapes, tried[0].dtype)
    boxes.share(images, None)
    arrays = boxes.rows(len(images))
    calls = {
        n: given.call(arrays, input_shapes=[(n, *shape[1:]) for shape in shapes])
        for n in dict.fromkeys(images)
    }
    layer, name = _layer(given, boxes, {}, arrays, ndim=4, calls=[calls[n] for n in images])
    like = arrays["grad_output"]
    made = [
        ((images, *((length,) for length in shape[1:])), graph.meta(like, 4, tried[0].dtype))
        for shape in shapes
    ]
    whole = graph.array(layer, name, *made[0])
    return [
        graph.part_of(whole, level, f"{operator.name}-{level}-{tokenize(name)}", *one)
        for level, one in enumerate(made)
    ]


def slopes(given: Given) -> Any:
    """Return the gradient with respect to the boxes."""
    operator, maps = given.operator, _levels(given)
    arrays = _named(given, maps)
    if given.lazy:
        _check_rule(given)
        return _lazy.slopes(given, arrays)
    images = maps[0].chunks[given.axes.n]
    boxes = _Boxes(given, images, len(maps))
    of_rows = boxes.rows(None)
    (tried,) = given.tried(boxes.nobody, {**arrays, **of_rows})
    row = of_rows["grad_output"].shape[1:]
    most = _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], row, tried.dtype)
    boxes.share(images, most)
    layer, name = _layer(given, boxes, arrays, boxes.rows(len(images)), ndim=2)
    chunks: Any = (boxes.lengths, (tried.shape[1],))
    found = graph.array(layer, name, chunks, graph.meta(maps[0], 2, tried.dtype))
    assert boxes.groups is not None
    return boxes.known.rois.as_given(in_order(operator.name, found, boxes.groups, most))


class _Boxes:
    # Boxes of chunks of images, known or not, as tasks take them once they are shared out.
    def __init__(self, given: Given, images: Sequence[int], maps: int) -> None:
        self.given = given
        self.groups: Groups | None = None
        self.levels: NumPyArray | None = None
        if given.lazy or not (given.in_order or given.operator.returns == "levels"):
            _check_rule(given)
            self.nobody = _lazy.nobody(given)
            return
        self.known = Known(given.operator, given.arguments, sum(images))
        self.levels = _levels_of_boxes(given, len(self.known), maps)
        self.nobody = self.known.none()
        if self.levels is not None:
            del given.options["levels"]
            self.nobody["levels"] = self.levels[:0]

    def look_at(self, finest: Array) -> None:
        if not self.given.lazy:
            shape = tuple(finest.shape[axis] for axis in self.given.axes)
            self.known.warn(shape, float(self.given.options["spatial_scales"][0]))

    def rows(self, count: int | None) -> dict[str, Array]:
        # what else has a row for each box; once they are shared out, a chunk for each of these
        given = self.given
        if given.lazy:
            found = _lazy.rows(given, count)
        else:
            found = _maps.rows(given.operator, given.arguments, len(self.known), given.out_axes)
        found = {name: _lazy.whole(array) for name, array in found.items()}
        if self.groups is None:
            return found
        order, lengths = self.groups.order, self.groups.lengths
        return {name: graph.taken(array, order, lengths) for name, array in found.items()}

    def share(self, images: Sequence[int], most: int | None) -> None:
        if self.given.lazy:
            lazy = _lazy.shared(self.given, images)
            self.order, self.lengths, self.needed = lazy.order, lazy.lengths(), [lazy.own]
            self.own: list[Any] = list(lazy.refs())
            self.chunks = list(range(len(images)))
            self.token = lazy.own.name
            return
        self.groups = groups = self.known.groups(images, most)
        self.order, self.lengths, self.needed = groups.order, tuple(groups.lengths.tolist()), []
        self.own = self.known.of_groups(groups, images)
        self.chunks = groups.chunks.tolist()
        if self.levels is not None:
            parts = np.split(self.levels[groups.order], np.cumsum(groups.lengths)[:-1])
            self.own = [{**own, "levels": part} for own, part in zip(self.own, parts, strict=True)]
        self.token = self.given.token(self.known, {}, groups, (tuple(images),))


def _layer(
    given: Given,
    boxes: _Boxes,
    maps: Mapping[str, Array],
    rows: Mapping[str, Array],
    *,
    ndim: int,
    calls: Sequence[_tasks.Call] | None = None,
) -> tuple[Any, str]:
    # a task for each group of boxes, with all maps of its chunk of images and its own rows
    arrays = {**maps, **rows}
    calls = calls or [given.call(arrays)] * len(boxes.own)
    names = [array.name for array in arrays.values()]
    options = [call.options for call in dict(zip(map(id, calls), calls, strict=True)).values()]
    token = tokenize(names, boxes.token, boxes.levels, options, given.threads, boxes.lengths)
    name = f"{given.operator.name}-{token}"
    tasks: dict[Any, Any] = {}
    for g, (chunk, own, call) in enumerate(zip(boxes.chunks, boxes.own, calls, strict=True)):
        refs = [TaskRef((array.name, chunk, *(0,) * 3)) for array in maps.values()]
        refs += [TaskRef((array.name, g, *(0,) * (array.ndim - 1))) for array in rows.values()]
        key = (name, g, *(0,) * (ndim - 1))
        tasks[key] = Task(key, _tasks.run, call, own, *refs)
    return graph.layer(name, tasks, [*arrays.values(), *boxes.needed]), name


def _named(given: Given, maps: Sequence[Array]) -> dict[str, Array]:
    return {f"{given.operator.maps}[{number}]": level for number, level in enumerate(maps)}


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


def _images(wanted: Any, shapes: Sequence[Shape], dtype: DType) -> tuple[int, ...]:
    # how many images the chunks of gradients have
    largest = max(shapes, key=lambda shape: int(np.prod(shape[1:])))
    auto = isinstance(wanted, str) and wanted == "auto"
    given = ("auto", -1, -1, -1) if auto else (wanted, -1, -1, -1)
    expected = f"those of {largest[0]} images, an int or a tuple of ints"
    return _maps.chunks_of(given, largest, dtype, expected, wanted)[0]


def _check_rule(given: Given) -> None:
    if not isinstance(given.arguments["levels"], str):
        raise TypeError(f"levels must be the name of a rule for {given.operator.boxes} that are a Dask array")


def _levels_of_boxes(given: Given, count: int, maps: int) -> NumPyArray | None:
    # one for each box, where no rule says which
    levels = given.arguments["levels"]
    if isinstance(levels, str):
        return None
    found = np.asarray(levels)
    if found.shape != (count,):
        raise ValueError(f"levels must have shape {(count,)}, one for each row of rois, got {found.shape}")
    if settle.invalid(given.options["invalid"]) == "raise":
        settle.check_levels(settle.level_array(found, count, maps, np), found, maps)
    return found
