"""Images of different sizes, which the workers read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dask.base import tokenize

from roicy import _arguments as settle
from roicy._types import Boxes, Ndarray, OutputSize
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
        Name of the function that pools.
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
    pixel = np.zeros(axes.ordered(1, like.shape[axes.c - 1], 1, 1), like.dtype)
    maps = _maps.nothing((len(images), *pixel.shape[1:]), like.dtype)
    tried = given.tried(boxes.none(), {record.maps: maps})
    if len(tried) != 1:
        raise ValueError("return_argmax must be False: of images of different sizes there is no argmax")
    lengths = [len(images[begin : begin + every]) for begin in range(0, len(images), every)] or [0]
    most = _maps.rows_of_a_chunk(given.own["boxes_per_chunk"], tried[0].shape[1:], tried[0].dtype)
    groups = boxes.groups(lengths, most)
    call = _tasks.Call(operator, given.options, (record.maps,), (like.dtype,), given.threads)
    name = (
        f"{operator}-{tokenize(read, list(images), given.token(boxes, {}, groups), like.shape, like.dtype)}"
    )
    others = (0,) * (tried[0].ndim - 1)
    tasks = {}
    for g, (chunk, own) in enumerate(zip(groups.chunks, boxes.of_groups(groups, lengths), strict=True)):
        items = list(images[int(chunk) * every : (int(chunk) + 1) * every])
        key = (name, g, *others)
        tasks[key] = Task(key, read_and_run, call, read, items, own, pixel, tried[0])
    chunks = (tuple(groups.lengths.tolist()), *((length,) for length in tried[0].shape[1:]))
    found = graph.array(graph.layer(name, tasks, []), name, chunks, tried[0])
    if order == "image":
        return found, groups.order
    return in_order(operator, found, groups, most)


_OPERATORS = tuple(
    name for name, record in OPERATORS.items() if record.returns == "boxes" and not record.rows
)


def _bound(operator: str, rois: Boxes, output_size: OutputSize, options: dict[str, Any]) -> dict[str, Any]:
    bound = signature_of(operator).bind(None, rois, output_size, **options)
    bound.apply_defaults()
    return dict(bound.arguments)


def read_and_run(
    call: _tasks.Call,
    read: Callable[[Any], Ndarray],
    items: Sequence[Any],
    own: dict[str, Any],
    pixel: Ndarray,
    empty: Ndarray,
) -> Ndarray:
    """Read images that have boxes, one after the other, and pool these; without any image, from a pixel."""
    boxes_name = OPERATORS[call.function].boxes
    boxes = own[boxes_name]
    numbers = boxes[:, 0].astype(np.int64) if own["batch_indices"] is None else own["batch_indices"]
    parts, places = [], []
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
        parts.append(_tasks.run(call, {boxes_name: some, "batch_indices": images}, image))
        places.append(chosen)
    if not parts:
        return empty
    xp = settle.library_of(parts[0])
    found = xp.empty((len(boxes), *parts[0].shape[1:]), parts[0].dtype)
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
