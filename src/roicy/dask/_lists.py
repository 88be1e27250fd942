"""Lists of images, each a Dask array of its own size: a call for each, and their rows put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from dask import array as da
from dask.array import Array

from roicy import _arguments as settle
from roicy import _doubts, quads
from roicy._images import Images, check_alike, settled_images, settled_shapes
from roicy._types import NumPyArray
from roicy.dask import _graph as graph
from roicy.dask import _maps
from roicy.dask._boxes import Groups, Known
from roicy.dask._boxwise import in_order
from roicy.dask._given import Given
from roicy.dask._records import Operator

Build = Callable[[Given], Any]


def is_list(operator: Operator, arguments: Mapping[str, Any]) -> bool:
    """Return whether a call is of a list of images."""
    if operator.pools not in ("crop_and_resize", "crop_quads"):
        return False
    given = arguments[operator.maps]
    if operator.returns == "maps":
        return isinstance(given, list) and all(isinstance(shape, (list, tuple)) for shape in given)
    return isinstance(given, (list, tuple))


class _Listed:
    # A call: its images, and which rows of boxes each has.
    def __init__(self, operator: Operator, arguments: Mapping[str, Any]) -> None:
        self.operator, self.arguments = operator, arguments
        layout = settle.layout(arguments["layout"])
        given = arguments[operator.maps]
        if operator.returns == "maps":
            self.images, self.shapes = list(given), settled_shapes(given, layout)
        else:
            if not given:
                raise ValueError("images must be an array or a list of at least one array, got an empty list")
            self.images = [_maps.known(f"images[{number}]", array) for number, array in enumerate(given)]
            nothing = tuple(_maps.nothing(array.shape, array.dtype) for array in self.images)
            check_alike(nothing)
            self.shapes, whole = settled_images(nothing, layout)
            if operator.boxes == "corners":
                quads.check_pixels(tuple(settle.nchw(array, layout) for array in whole), True)
        self.boxes = Known(operator, arguments, len(self.images))
        numbers = np.maximum(self.boxes.images, 0)  # invalid rows are the first image's
        self.order = np.argsort(numbers, kind="stable")
        counts = np.bincount(numbers, minlength=len(self.images))
        self.rows = np.split(self.order, np.cumsum(counts)[:-1])

    def of(self, number: int, build: Build, **more: Any) -> Any:
        """Return what comes of the boxes of an image."""
        some = {self.operator.maps: self.images[number], **self.boxes.of_image(self.rows[number]), **more}
        for name in self.operator.rows:
            value = _maps.known(name, self.arguments[name])
            if value.shape[:1] != (len(self.boxes),):
                raise ValueError(
                    f"{name} must have a row for each of the {len(self.boxes)} rows of {self.boxes.name}, "
                    f"got shape {value.shape}"
                )
            some[name] = graph.taken(value, self.rows[number], [len(self.rows[number])])
        with _doubts.silence():
            return build(Given(self.operator, {**self.arguments, **some}))

    def reading(self) -> list[int]:
        """Return the images that have boxes, or one."""
        return [number for number, rows in enumerate(self.rows) if len(rows)] or [0]

    def look_at(self, images: Images) -> None:
        sizes = [shape[2:] if self.arguments["layout"] == "NCHW" else shape[1:3] for shape in images.shapes]
        height, width = map(max, zip(*sizes, strict=True))
        self.boxes.warn((len(self.images), 1, height, width), 1.0)

    def in_rows(self, parts: list[Array], order: NumPyArray) -> Array:
        """Return rows of images in the order of the boxes."""
        array = da.concatenate(parts)
        lengths = np.array(array.chunks[0])
        groups = Groups(order, lengths, np.zeros(len(lengths), np.int64))
        return in_order(self.operator.name, array, groups, max(1, int(lengths.max())))


def _pooled(operator: Operator, arguments: Mapping[str, Any], build: Build) -> Any:
    listed = _Listed(operator, arguments)
    in_rows = settle.choice("order", arguments["order"], ("rois", "image")) == "rois"
    parts, order = [], []
    for number in listed.reading():
        crops, own = listed.of(number, build, order="image")
        parts.append(crops)
        order.append(listed.rows[number][own])
    listed.look_at(listed.shapes)
    found, places = da.concatenate(parts), np.concatenate(order)
    return listed.in_rows(parts, places) if in_rows else (found, places)


def _gradients(operator: Operator, arguments: Mapping[str, Any], build: Build) -> list[Array]:
    listed = _Listed(operator, arguments)
    return [listed.of(number, build) for number in range(len(listed.images))]


def _slopes(operator: Operator, arguments: Mapping[str, Any], build: Build) -> Any:
    listed = _Listed(operator, arguments)
    reading = listed.reading()
    parts = [listed.of(number, build) for number in reading]
    found = listed.in_rows(parts, np.concatenate([listed.rows[number] for number in reading]))
    if listed.boxes.numbered:
        found = da.concatenate([da.zeros_like(found[:, :1]), found], axis=1).rechunk({1: -1})
    return listed.boxes.rois.as_given(found)


#: By what a function's rows are.
BUILD: dict[str, Callable[[Operator, Mapping[str, Any], Build], Any]] = {
    "boxes": _pooled,
    "maps": _gradients,
    "slopes": _slopes,
}
