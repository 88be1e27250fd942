"""Boxes that are known when the graph is built, and the groups that tasks take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.array import Array

from roicy import _arguments as settle
from roicy import _doubts, cpu, quads
from roicy._backend import adopt
from roicy._types import NumPyArray, Regions
from roicy.dask._records import Operator


class Groups(NamedTuple):
    """Boxes in the order of the chunks that they are of, in runs.

    Attributes
    ----------
    order : array, (K,), int64
        Which box comes where.
    lengths : array, (G,), int64
        How many boxes a group has.
    chunks : array, (G,), int64
        The chunk of images that a group is of.
    """

    order: NumPyArray
    lengths: NumPyArray
    chunks: NumPyArray

    @property
    def is_sorted(self) -> bool:
        """Whether the boxes come as the caller has them."""
        return bool((self.order[1:] > self.order[:-1]).all())

    @property
    def inverse(self) -> NumPyArray:
        """Where each box comes."""
        places = np.empty_like(self.order)
        places[self.order] = np.arange(len(places))
        return places


class Known:
    """Boxes in host memory, checked: an error is raised where a call of eager functions would raise it."""

    def __init__(self, operator: Operator, arguments: Mapping[str, Any], images: int) -> None:
        if isinstance(arguments[operator.boxes], Array):
            raise TypeError(
                f"{operator.boxes} must be known when this graph is made, got a Dask array: "
                f"pass what {operator.boxes}.compute() returns"
            )
        kernels, boxes, batch_indices = adopt(
            **{operator.boxes: arguments[operator.boxes]}, batch_indices=arguments["batch_indices"]
        )
        if kernels is not cpu:
            raise TypeError(
                f"{operator.boxes} must be in host memory, also where chunks are on a GPU: "
                f"cupy.asnumpy({operator.boxes})"
            )
        self.name = operator.boxes
        if operator.boxes == "corners":
            self.rois = quads.settled(cpu, boxes, batch_indices, images)
        else:
            self.rois = settle.rois(boxes, batch_indices, images, np, operator.numbers, name=operator.boxes)
        self.numbered = self.rois.images is None
        values = self.rois.boxes
        if self.numbered:
            with np.errstate(invalid="ignore"):
                self.images = np.trunc(values[:, 0])
            self.images[~np.isfinite(self.images)] = -1
            self.images = np.clip(self.images, -1, images).astype(np.int64)
        else:
            self.images = self.rois.images.copy()
        self.images[(self.images < 0) | (self.images >= images)] = -1
        wrong = (self.images < 0) | ~np.isfinite(values).all(axis=1)
        if settle.invalid(arguments["invalid"]) == "raise" and wrong.any():
            raise self.rois.invalid_row(int(np.argmax(wrong)), images)

    def __len__(self) -> int:
        return len(self.images)

    def warn(self, shape: tuple[int, int, int, int], scale: float) -> None:
        """Warn if boxes on maps of a shape (N, C, H, W) are probably in a wrong format."""
        if self.name == "corners":
            found = cpu.quad_table(
                self.rois.boxes.astype(np.float64), self.images, *shape[:1], shape[2:], (1, 1), 1
            )
            _doubts.warn(found.look, self.name)
        else:
            regions = Regions(self.rois.boxes, self.rois.images, shape, (1, 1))
            _doubts.warn(cpu.doubts(regions, scale), self.name)

    def chunk(self, lengths: Sequence[int]) -> NumPyArray:
        """Return the chunk of images that each box is of; the first one for an invalid batch index."""
        found: NumPyArray = np.searchsorted(np.cumsum(lengths), self.images, side="right")
        found = np.minimum(found, len(lengths) - 1)
        return found

    def groups(self, lengths: Sequence[int], most: int | None) -> Groups:
        """Return the boxes by chunk of images, in runs of at most `most` boxes, or one run for each chunk."""
        chunk = self.chunk(lengths)
        order = np.argsort(chunk, kind="stable")
        counts = np.bincount(chunk, minlength=len(lengths))
        if most is None:
            return Groups(order, counts, np.arange(len(lengths)))
        if not len(order):
            return Groups(order, np.zeros(1, np.int64), np.zeros(1, np.int64))
        runs = -(-counts // most)
        chunks = np.repeat(np.arange(len(lengths)), runs)
        before = np.arange(len(chunks)) - np.repeat(np.cumsum(runs) - runs, runs)
        return Groups(order, np.minimum(counts[chunks] - before * most, most), chunks)

    def of_groups(self, groups: Groups, lengths: Sequence[int]) -> list[dict[str, Any]]:
        """Return the arguments that say each group's boxes; images are counted from its chunk's first."""
        begins = np.repeat((np.cumsum(lengths) - lengths)[groups.chunks], groups.lengths)
        images = self.images[groups.order]
        images = np.where(images < 0, -1, images - begins)
        boxes = self.rois.boxes[groups.order]
        if self.numbered:
            boxes[:, 0] = images
        ends = np.cumsum(groups.lengths)
        return [
            {
                self.name: self.shaped(boxes[end - length : end]),
                "batch_indices": None if self.numbered else images[end - length : end],
            }
            for end, length in zip(ends.tolist(), groups.lengths.tolist(), strict=True)
        ]

    def of_image(self, rows: NumPyArray) -> dict[str, Any]:
        """Return the arguments that say some boxes, of one image; invalid ones stay invalid."""
        boxes = self.rois.boxes[rows][:, -self.rois.columns :]
        return {self.name: self.shaped(boxes), "batch_indices": np.where(self.images[rows] < 0, -1, 0)}

    def shaped(self, boxes: NumPyArray) -> NumPyArray:
        """Return rows of numbers as the function takes them."""
        return boxes.reshape(-1, 4, 2) if self.name == "corners" else boxes

    def none(self) -> dict[str, Any]:
        """Return the arguments that say no boxes, of the same kind."""
        return {
            self.name: self.shaped(self.rois.boxes[:0]),
            "batch_indices": None if self.numbered else self.rois.images[:0],
        }
