"""Gradients with respect to maps: one task for each chunk of images and of channels."""

from __future__ import annotations

from typing import Any

from dask.array.core import normalize_chunks

from roicy import _arguments as settle
from roicy._types import DType, Shape
from roicy.dask import _graph as graph
from roicy.dask import _maps, _tasks
from roicy.dask._boxes import Known
from roicy.dask._given import Given
from roicy.dask._graph import Task


def gradient(given: Given) -> Any:
    """Return the gradient with respect to the maps."""
    operator, axes, out = given.operator, given.axes, given.out_axes
    shape, single = _shape(given)
    boxes = Known(operator, given.arguments, shape[axes.n])
    arrays = _maps.rows(operator, given.arguments, len(boxes), out)
    of_nothing = axes.ordered(0, shape[axes.c], shape[axes.h], shape[axes.w])
    (tried,) = given.tried(boxes, arrays, input_shape=of_nothing)
    chunks = _chunks(given, shape, tried.dtype)
    bins = given.bins if operator.channels == "bins" else 1
    groups = boxes.groups(chunks[axes.n], None)
    taken = {}
    for name, array in arrays.items():
        if _maps.has_channels(name):
            array = array.rechunk({out.c: tuple(length // bins for length in chunks[axes.c])})
        taken[name] = graph.taken(array, groups.order, groups.lengths)
    name = f"{operator.name}-{given.token(boxes, taken, groups)}"
    tasks: dict[Any, Any] = {}
    calls: dict[Shape, _tasks.Call] = {}
    own = boxes.of_groups(groups, chunks[axes.n])
    for n, (images, some) in enumerate(zip(chunks[axes.n], own, strict=True)):
        for c, channels in enumerate(chunks[axes.c]):
            part = axes.ordered(images, channels, shape[axes.h], shape[axes.w])
            if part not in calls:
                calls[part] = given.call(taken, input_shape=part)
            key = (name, *axes.ordered(n, c, 0, 0))
            tasks[key] = Task(key, _tasks.run, calls[part], some, *given.blocks(taken, n, n, c))
    layer = graph.layer(name, tasks, list(taken.values()))
    found = graph.array(layer, name, chunks, graph.meta(taken["grad_output"], 4, tried.dtype))
    return found[0] if single else found


def _shape(given: Given) -> tuple[Shape, bool]:
    # that of the maps, and whether the caller has a single image
    value = given.arguments["input_shape"]
    single = given.operator.boxes == "boxes" and len(value) == 3
    return settle.input_shape((1, *value) if single else value, given.arguments["layout"]), single


def _chunks(given: Given, shape: Shape, dtype: DType) -> tuple[tuple[int, ...], ...]:
    # those of the result: as the caller wants them, and so that channels that belong together are together
    axes, wanted = given.axes, given.own["chunks"]
    if isinstance(wanted, str) and wanted == "auto":
        wanted = axes.ordered("auto", -1, -1, -1)
    try:
        chunks = list(normalize_chunks(wanted, shape, dtype=dtype))
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"chunks must be those of an array of shape {shape}, got {wanted!r}: {error}"
        ) from error
    if len(chunks[axes.h]) > 1 or len(chunks[axes.w]) > 1:
        raise ValueError(f"chunks must have all rows and columns of an image in one, got {tuple(chunks)}")
    if given.operator.channels == "bins":
        chunks[axes.c] = _maps.whole_bins(chunks[axes.c], given.bins)
    elif given.operator.channels == "together":
        chunks[axes.c] = (shape[axes.c],)
    return tuple(chunks)
