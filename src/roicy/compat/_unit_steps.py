"""Samples one pixel apart from the edge of each bin on: from their numbers to their positions, and back.

The argmax of the kernels counts the samples of a bin row by row; MXNet's operator returns positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy._types import Ndarray, Shape, Size
from roicy.compat._elements import check_elements, check_kind


class UnitSteps:
    """The samples of boxes on maps of a shape.

    Parameters
    ----------
    xp : module
        The library of the arrays.
    boxes : array, (R, 4), float32 or float64
        Corners x1, y1, x2, y2.
    input_shape, output_size : tuple of int
        N, C, H, W; rows and columns of bins.
    scale : float
        Feature pixels per unit of the boxes.
    """

    def __init__(self, xp: Any, boxes: Ndarray, input_shape: Shape, output_size: Size, scale: float) -> None:
        self._xp = xp
        self._boxes = boxes
        self._lengths = input_shape[2:]
        self._size = output_size
        self._scale = scale
        self._output_shape = len(boxes), input_shape[1], *output_size

    def positions(self, argmax: Ndarray) -> tuple[Ndarray, Ndarray]:
        """Return x and y of the samples that were chosen, -1 where none was."""
        xp = self._xp
        (xs, nx), (ys, _) = self._samples(1), self._samples(0)
        k, p, q = self._numbers()
        none = argmax < 0
        iy, ix = xp.divmod(xp.where(none, 0, argmax), xp.maximum(nx, 1)[:, None, None, :])
        return xp.where(none, -1, xs[k, q, ix]), xp.where(none, -1, ys[k, p, iy])

    def argmax(self, max_idx_x: Ndarray, max_idx_y: Ndarray) -> Ndarray:
        """Return the numbers of the samples that are at these positions."""
        check_kind("max_idx_x", max_idx_x, "fiu", self._output_shape)
        check_kind("max_idx_y", max_idx_y, "fiu", self._output_shape)
        nothing = (max_idx_x == -1) & (max_idx_y == -1)
        ix, nx = self._indices(1, "max_idx_x", max_idx_x, nothing)
        iy, _ = self._indices(0, "max_idx_y", max_idx_y, nothing)
        return self._xp.where(nothing, -1, iy * nx[:, None, None, :] + ix).astype(np.int32)

    def _indices(self, axis: int, name: str, given: Ndarray, nothing: Ndarray) -> tuple[Ndarray, Ndarray]:
        # which sample along an axis each position is, and how many samples the bins have
        xp = self._xp
        positions, counts = self._samples(axis)
        k, p, q = self._numbers()
        bins = (k, p if axis == 0 else q)
        with np.errstate(all="ignore"):  # what is NaN or far away is no sample's position
            index = xp.clip(xp.rint(given - positions[*bins, 0]), 0, positions.shape[-1] - 1)
            index = xp.nan_to_num(index).astype(np.int64)
        good = (index < counts[bins]) & (positions[*bins, index] == given)
        check_elements(name, given, good | nothing, "the position of a sample of its bin")
        return index, counts

    def _numbers(self) -> tuple[Ndarray, Ndarray, Ndarray]:
        # those of boxes, of rows and of columns of bins, as they go with the outputs
        rois, _, rows, columns = map(self._xp.arange, self._output_shape)
        return rois[:, None, None, None], rows[:, None], columns

    def _samples(self, axis: int) -> tuple[Ndarray, Ndarray]:
        # The positions of the samples of each bin along an axis, (K, bins, samples of the longest), and how
        # many each bin has. They are summed up by ones, in the precision of the boxes.
        xp, boxes = self._xp, self._boxes
        real = boxes.dtype.type
        length, bins = self._lengths[axis], self._size[axis]
        with np.errstate(all="ignore"):
            start, end = (boxes[:, corner] * real(self._scale) for corner in (1 - axis, 3 - axis))
            step = ((end - start + real(1)) / real(bins))[:, None]
            edges = xp.arange(bins + 1, dtype=boxes.dtype) * step + start[:, None]
        edges = xp.nan_to_num(xp.clip(edges, 0, length))  # NaN where a box is beyond the precision
        first, end = edges[:, :-1], edges[:, 1:]
        # reversed boxes have none: there the end comes first
        longest = max(int((end - first).max()), 0) + 2 if len(boxes) else 1
        positions = xp.empty((*first.shape, longest), boxes.dtype)
        positions[:, :, 0] = first
        for i in range(1, longest):
            positions[:, :, i] = positions[:, :, i - 1] + real(1)
        return positions, (positions < end[:, :, None]).sum(axis=-1)
