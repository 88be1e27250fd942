"""The arguments of a call, from which its graph is made."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from typing import Any

from dask.array import Array
from dask.base import tokenize

import roicy
from roicy import _arguments as settle
from roicy import _doubts
from roicy._types import Ndarray
from roicy.dask import _maps, _tasks
from roicy.dask._boxes import Groups, Known
from roicy.dask._cuts import Cuts
from roicy.dask._graph import Chunks, TaskRef
from roicy.dask._maps import Axes
from roicy.dask._parts import Parts
from roicy.dask._records import Operator

#: Arguments that the functions here have and those of `roicy` do not.
OWN = ("order", "boxes_per_chunk", "num_threads", "chunks")


class Given:
    """The arguments of a call: arrays, options of the function of `roicy`, and what the graph is to be."""

    def __init__(self, operator: Operator, arguments: Mapping[str, Any]) -> None:
        self.operator = operator
        self.arguments = arguments
        self.own = {name: arguments[name] for name in OWN if name in arguments}
        self.threads = settle.integer("num_threads", self.own["num_threads"])
        if self.threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {self.threads}")
        others = {operator.maps, operator.boxes, "batch_indices", *operator.rows, *OWN}
        # a list that the caller changes before anything is computed changes nothing of that
        self.options = {name: copy.copy(value) for name, value in arguments.items() if name not in others}
        for name, value in self.options.items():
            if isinstance(value, Array):
                raise TypeError(f"{name} must not be a dask.array.Array: pass what {name}.compute() returns")
        self.nones = {name: None for name in operator.rows if arguments[name] is None}
        layout = arguments.get("layout", "NCHW")
        self.axes = Axes.of(layout)
        self.out_axes = Axes.of(arguments.get("out_layout") or layout)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of bins of a box."""
        if "output_size" in self.options:
            return settle.output_size(self.options["output_size"])
        grad_output = self.arguments["grad_output"]
        if getattr(grad_output, "ndim", 0) != 4:
            return 1, 1  # that is the function's own error
        return grad_output.shape[self.out_axes.h], grad_output.shape[self.out_axes.w]

    @property
    def bins(self) -> int:
        """How many bins a box has."""
        return math.prod(self.size)

    @property
    def windows(self) -> bool:
        """Whether the function takes parts of maps, and what boxes read is known."""
        taken = inspect.signature(getattr(roicy, self.operator.name)).parameters
        known = not any(
            isinstance(self.arguments.get(name), Array) for name in (self.operator.boxes, "offsets")
        )
        return "window" in taken and known

    @property
    def lazy(self) -> bool:
        """Whether boxes are computed with the rest."""
        return isinstance(self.arguments[self.operator.boxes], Array)

    @property
    def in_order(self) -> bool:
        """Whether rows are in the order of the boxes, and not in that of the images."""
        order = settle.choice("order", self.own["order"], ("rois", "image"))
        if order == "image" and not self.lazy and self.operator.returns not in ("boxes", "levels"):
            raise ValueError(
                f"order must be 'rois' for {self.operator.boxes} that are known, as the rows of grad_output "
                "are, got 'image': it is for boxes that are a Dask array"
            )
        return order == "rois"

    def maps(self) -> Array:
        """Return the maps, chunked as tasks take them."""
        bins = self.bins if self.operator.channels == "bins" else 1
        return _maps.maps(
            self.operator, self.arguments[self.operator.maps], self.arguments["layout"], bins, self.windows
        )

    def tried(self, nobody: Mapping[str, Any], arrays: Mapping[str, Array], **more: Any) -> tuple[Any, ...]:
        """Return what the function makes of no boxes: it checks all arguments, and says shapes and dtypes."""
        nothing = {
            name: _maps.nothing(array.shape if self._is_map(name) else (0, *array.shape[1:]), array.dtype)
            for name, array in arrays.items()
        }
        with _doubts.silence():
            found = getattr(roicy, self.operator.name)(
                **_tasks.gathered(nothing), **nobody, **self.options, **self.nones, **more
            )
        return tuple(map(_tasks.rows_first, found)) if isinstance(found, (tuple, list)) else (found,)

    def _is_map(self, name: str) -> bool:
        return name.partition("[")[0] == self.operator.maps

    def channels(self, maps: Array, result: Ndarray) -> tuple[int, ...]:
        """Return the chunks of channels of what is pooled from maps."""
        lengths: tuple[int, ...] = maps.chunks[self.axes.c]
        if self.operator.channels == "together":
            return (result.shape[self.out_axes.c],)
        return (
            tuple(length // self.bins for length in lengths) if self.operator.channels == "bins" else lengths
        )

    def call(self, arrays: Mapping[str, Array], **options: Any) -> _tasks.Call:
        """Return what all tasks have in common."""
        return _tasks.Call(
            self.operator.name,
            {**self.options, **self.nones, **options},
            tuple(arrays),
            tuple(array.dtype for array in arrays.values()),
            self.threads,
        )

    def blocks(self, arrays: Mapping[str, Array], chunk: int, group: int, c: int) -> list[Any]:
        """Return which chunks belong to a chunk of images, a group of boxes and a chunk of channels."""
        found = []
        for name, array in arrays.items():
            if name == self.operator.maps:
                block = self.axes.ordered(chunk, c, 0, 0)
            elif _maps.has_channels(name):
                block = self.out_axes.ordered(group, c, 0, 0)
            else:
                block = (group, *(0,) * (array.ndim - 1))
            found.append(TaskRef((array.name, *block)))
        return found

    def tiled(self, maps: Array, parts: Parts, places: list[int | None]) -> _tasks.Tiled:
        """Return how a group of boxes reads a map in tiles, and where these are in its task's input."""
        h, w = self.axes.h, self.axes.w
        size = maps.shape[h], maps.shape[w]
        made_of = parts.corners, parts.windows, parts.pieces, parts.ends
        return _tasks.Tiled(self.operator.maps, maps.dtype, (h, w), size, places, *made_of)

    def tiles(
        self, maps: Array, chunk: int, c: int, parts: Parts, cuts: Cuts
    ) -> tuple[list[Any], list[int | None]]:
        """Return the input of a group's task from the tiles of a chunk of images and of channels.

        The keys are those of tiles, or of tasks that cut rectangles out of tiles; the places say where this
        group's rectangles are in the result of such a task (None for a tile).
        """
        keys: list[Any] = []
        places: list[int | None] = []
        for number, (row, column) in enumerate(parts.tiles):
            key, place = (maps.name, *self.axes.ordered(chunk, c, row, column)), None
            if parts.cuts is not None:
                key, place = cuts.ask(key, parts.cuts[number])
            keys.append(key)
            places.append(place)
        return keys, places

    def token(
        self, boxes: Known, arrays: Mapping[str, Array], groups: Groups, chunks: Chunks | None = None
    ) -> str:
        """Return a name for all that a result depends on; its chunks where no array has them."""
        names = [array.name for array in arrays.values()]
        found: str = tokenize(
            names, boxes.rois.boxes, boxes.images, groups, self.options, self.threads, chunks
        )
        return found
