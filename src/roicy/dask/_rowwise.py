"""What is made of each row of its arguments by itself: vectors of images, masks laid over images."""

from __future__ import annotations

from typing import Any

import numpy as np
from dask import array as da
from dask.array import Array
from dask.base import tokenize

from roicy import _arguments as settle
from roicy import _doubts
from roicy._backend import adopt
from roicy._types import Regions
from roicy.dask import _graph as graph
from roicy.dask import _maps, _tasks
from roicy.dask._given import Given
from roicy.dask._graph import Task, TaskRef


def made(given: Given) -> Array:
    """Return the result, in chunks of rows as the first argument that is a Dask array has them."""
    operator = given.operator
    if given.options.get("to", "masks") != "masks":
        raise ValueError(f"to must be 'masks': the others have no shape, got {given.options['to']!r}")
    arrays = {name: _in_rows(name, given.arguments[name]) for name in operator.rows}
    first = next(iter(arrays.values()))
    for name, array in arrays.items():
        if array.shape[:1] != first.shape[:1]:
            raise ValueError(
                f"{name} must have as many rows as {operator.rows[0]}, {first.shape[0]}, "
                f"got shape {array.shape}"
            )
    (tried,) = given.tried({}, arrays)
    if operator.returns == "masks" and not isinstance(given.arguments["boxes"], Array):
        _check_boxes(given, first.shape[0])
    lengths = first.chunks[0]
    if "boxes_per_chunk" in given.own:
        most = _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], tried.shape[1:], tried.dtype)
        lengths = tuple(part for length in lengths for part in _divided(length, most))
    arrays = {name: array.rechunk({0: lengths}) for name, array in arrays.items()}
    call = given.call(arrays)
    names = [array.name for array in arrays.values()]
    name = f"{operator.name}-{tokenize(names, given.options, given.threads)}"
    others = (0,) * (tried.ndim - 1)
    tasks: dict[Any, Any] = {}
    for number in range(len(lengths)):
        refs = [TaskRef((array.name, number, *(0,) * (array.ndim - 1))) for array in arrays.values()]
        tasks[(name, number, *others)] = Task((name, number, *others), _tasks.run, call, {}, *refs)
    chunks = (lengths, *((length,) for length in tried.shape[1:]))
    layer = graph.layer(name, tasks, list(arrays.values()))
    return graph.array(layer, name, chunks, graph.meta(first, tried.ndim, tried.dtype))


def _in_rows(name: str, value: Any) -> Array:
    # chunked along rows alone
    if name == "boxes" and not isinstance(value, Array):
        value = da.from_array(adopt(boxes=value)[1], chunks=-1)
    array = _maps.known(name, value)
    merged = {axis: -1 for axis in range(1, array.ndim) if len(array.chunks[axis]) > 1}
    return array.rechunk(merged) if merged else array


def _check_boxes(given: Given, count: int) -> None:
    # known boxes of masks: an error, and a warning, of all of them and now, as the function itself would
    kernels, boxes = adopt(boxes=given.arguments["boxes"])
    corners = settle.mask_boxes(boxes, count, kernels.xp)
    finite = settle.on_host(kernels.xp.isfinite(corners).all(axis=1))
    if settle.invalid(given.options["invalid"]) == "raise" and not finite.all():
        raise settle.invalid_box(corners, int(finite.argmin()))
    rows, columns = settle.image_size(given.options["image_size"])
    of_one = kernels.xp.zeros(count, np.int64)
    _doubts.warn(kernels.doubts(Regions(corners, of_one, (1, 1, rows, columns), (1, 1)), 1.0), "boxes")


def _divided(length: int, most: int) -> list[int]:
    return [min(most, length - begin) for begin in range(0, length, most)] or [0]
