"""Images of different sizes, which the workers read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dask.base import tokenize

from roicy import _arguments as settle
from roicy import cpu
from roicy._backend import adopt
from roicy._types import Boxes, Ndarray, NumPyArray, OutputSize
from roicy.dask import _graph as graph
from roicy.dask import _maps, _tasks
from roicy.dask._boxes import Known
from roicy.dask._boxwise import in_order
from roicy.dask._given import Given
from roicy.dask._graph import Task
from roicy.dask._maps import Axes
from roicy.dask._public import signature_of
from roicy.dask._records import OPERATORS


def from_images(
    read: Callable[[Any], Ndarray],
    rois: Boxes,
    output_size: OutputSize,
    *,
    images: Sequence[Any] | None = None,
    like: Any = None,
    operator: str = "crop_and_resize",
    images_per_chunk: int = 8,
    **options: Any,
) -> Any:
    """Pool boxes of images of different sizes that the workers read: no image is in two tasks' memory.

    Parameters
    ----------
    read : callable
        ``read(item)`` returns an image as an array of three axes in the order of ``layout``, (H, W, C) unless
        that is "NCHW". It is pickled: a function of a module, say.
    rois : sequence of N ndarrays, shape (L_i, 4), or ndarray, shape (K, 5) or (K, 4)
        Boxes, as the operator takes them of N images.
    output_size : int or (int, int)
        As in the operator.
    images : sequence of N items, optional
        What is handed to `read`: paths, say. Where it is not given, the numbers 0, 1, ... of the arrays in
        `rois`.
    like : ndarray, optional
        An array with the dtype and with as many channels as all images have, of any size; bytes in
        three colours unless it is given.
    operator : str, optional
        Name of the function that pools; its `offsets` and `mask`, if it has any, are in host memory.
    images_per_chunk : int, optional
        So many images are read by a task, one after the other.
    **options
        Those of the operator in `roicy.dask`.

    Returns
    -------
    dask.array.Array
        What the operator returns, for all boxes; with ``order="image"`` also the order.

    Raises
    ------
    TypeError, ValueError
        As the operator does, and where `images` is needed.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy.dask
    >>> def read(size):
    ...     return np.full((size, size, 3), size, np.uint8)
    >>> boxes = [np.array([[0, 0, 8, 8]]), np.array([[2, 2, 20, 12], [0, 0, 5, 5]])]
    >>> crops = roicy.dask.from_images(read, boxes, 4, images=[8, 24])
    >>> crops.shape
    (3, 4, 4, 3)
    >>> crops.compute()[:, 0, 0, 0]
    array([ 8., 24., 24.], dtype=float32)
    """
    operator = settle.choice("operator", operator, _OPERATORS)
    if images is None:
        if not isinstance(rois, (list, tuple)):
            raise TypeError("images must be given for rois that are one array: how many images there are")
        images = range(len(rois))
    record = OPERATORS[operator]
    order = settle.choice("order", options.get("order", "rois"), ("rois", "image"))
    given = Given(record, _bound(operator, rois, output_size, options))
    axes = given.axes
    like = np.empty(axes.ordered(0, 3, 0, 0)[1:], np.uint8) if like is None else like
    if like.ndim != 3:
        raise ValueError(f"like must be an image, of 3 axes, got shape {like.shape}")
    every = settle.integer("images_per_chunk", images_per_chunk)
    if every < 1:
        raise ValueError(f"images_per_chunk must be at least 1, got {every}")
    boxes = Known(record, given.arguments, len(images))
    of_rows = _rows(given, len(boxes))
    pixel = np.zeros(axes.ordered(1, like.shape[axes.c - 1], 1, 1), like.dtype)
    maps = _maps.nothing((len(images), *pixel.shape[1:]), like.dtype)
    tried = given.tried(boxes.none(), {record.maps: maps, **of_rows})
    lengths = [len(images[begin : begin + every]) for begin in range(0, len(images), every)] or [0]
    most = _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], tried[0].shape[1:], tried[0].dtype)
    groups = boxes.groups(lengths, most)
    own_rows = {
        name: np.split(array[groups.order], np.cumsum(groups.lengths)[:-1]) for name, array in of_rows.items()
    }
    options = {**given.options, **given.nones}
    call = _tasks.Call(operator, options, (record.maps,), (like.dtype,), given.threads)
    token = given.token(boxes, {}, groups)
    name = f"{operator}-{tokenize(read, list(images), token, like.shape, like.dtype, of_rows)}"
    others = (0,) * (tried[0].ndim - 1)
    tasks = {}
    for g, (chunk, own) in enumerate(zip(groups.chunks, boxes.of_groups(groups, lengths), strict=True)):
        items = list(images[int(chunk) * every : (int(chunk) + 1) * every])
        key = (name, g, *others)
        some = {**own, **{name: parts[g] for name, parts in own_rows.items()}}
        tasks[key] = Task(key, read_and_run, call, read, items, some, pixel, tried)
    rows = tuple(groups.lengths.tolist())
    made = [((rows, *((length,) for length in array.shape[1:])), array) for array in tried]
    found = graph.results(operator, graph.layer(name, tasks, []), name, made)
    if order == "image":
        return *found, groups.order
    found = [in_order(operator, array, groups, most) for array in found]
    return found[0] if len(found) == 1 else tuple(found)


_OPERATORS = tuple(name for name, record in OPERATORS.items() if record.returns == "boxes")


def _bound(operator: str, rois: Boxes, output_size: OutputSize, options: dict[str, Any]) -> dict[str, Any]:
    record = OPERATORS[operator]
    named = {record.maps: None, record.boxes: rois, "output_size": output_size}
    bound = signature_of(operator).bind(**named, **options)
    bound.apply_defaults()
    return dict(bound.arguments)


def _rows(given: Given, count: int) -> dict[str, NumPyArray]:
    # what else has a row for each box, in host memory
    found = {}
    for name in given.operator.rows:
        if name not in given.nones:
            kernels, array = adopt(**{name: given.arguments[name]})
            if kernels is not cpu or array.shape[:1] != (count,):
                raise ValueError(
                    f"{name} must be an array in host memory with a row for each of the {count} rows of "
                    f"{given.operator.boxes}, got shape {array.shape}"
                )
            found[name] = array
    return found


def read_and_run(
    call: _tasks.Call,
    read: Callable[[Any], Ndarray],
    items: Sequence[Any],
    own: dict[str, Any],
    pixel: Ndarray,
    empty: tuple[Ndarray, ...],
) -> Any:
    """Read images that have boxes, one after the other, and pool these; without any image, from a pixel."""
    boxes_name = OPERATORS[call.function].boxes
    boxes = own[boxes_name]
    numbers = boxes[:, 0].astype(np.int64) if own["batch_indices"] is None else own["batch_indices"]
    parts: list[tuple[Ndarray, ...]] = []
    places = []
    for number in np.unique(np.maximum(numbers, 0)).tolist():  # rows of no image are NaN of the first
        chosen = np.flatnonzero(np.maximum(numbers, 0) == number)
        image = _read(read, items[number], call, pixel) if items else pixel
        some = boxes[chosen]
        images = None
        if own["batch_indices"] is None:
            some = some.copy()
            some[:, 0] = np.where(some[:, 0] == number, 0, -1)
        else:
            images = np.where(numbers[chosen] == number, 0, -1)
        rows = {
            name: value[chosen] for name, value in own.items() if name not in (boxes_name, "batch_indices")
        }
        pooled = _tasks.run(call, {boxes_name: some, "batch_indices": images, **rows}, image)
        parts.append(pooled if isinstance(pooled, tuple) else (pooled,))
        places.append(chosen)
    found = [_in_places(of_result, places, len(boxes)) for of_result in zip(*parts, strict=True)] or empty
    return found[0] if len(found) == 1 else tuple(found)


def _in_places(parts: Sequence[Ndarray], places: Sequence[NumPyArray], count: int) -> Ndarray:
    # rows of several arrays, each where it belongs
    xp = settle.library_of(parts[0])
    found = xp.empty((count, *parts[0].shape[1:]), parts[0].dtype)
    for part, chosen in zip(parts, places, strict=True):
        found[xp.asarray(chosen)] = part
    return found


def _read(read: Callable[[Any], Ndarray], item: Any, call: _tasks.Call, pixel: Ndarray) -> Ndarray:
    # as a map of one image, with as many channels as was said
    image, c = read(item), Axes.of(call.options["layout"]).c
    if image.ndim != 3 or image.shape[c - 1] != pixel.shape[c]:
        raise ValueError(
            f"read must return images of 3 axes with {pixel.shape[c]} channels, as like has them, "
            f"got shape {image.shape} for {item!r}"
        )
    return image[None]
