"""Kernels that apply range tables: their launches."""

from __future__ import annotations

import numpy as np

from roicy._types import DType, Ndarray, Shape, Size, Table
from roicy.cuda.apply.argmax import argmax_view, channels_closer, first_wrong, survey
from roicy.cuda.apply.owned import OWNERS, Owned, chunk_of
from roicy.cuda.device import Device, packs
from roicy.cuda.structs import view
from roicy.cuda.tables.range import _GROUP, _PIXEL_WARPS, _WARPS, RangeTable
from roicy.cuda.tables.rois import ImageTable

# Channels with which lanes are channels, where these are neighbours.
_MANY_CHANNELS = 16


class RangeKernels(Device):
    """What `roicy.cpu` has for range tables."""

    def range_table(
        self,
        boxes: Ndarray,
        images: Ndarray | None,
        input_shape: Shape,
        output_size: Size,
        spatial_scale: float,
        rounding: str,
        accumulate: str,
    ) -> Table:
        """Return the range tables of the boxes; see `RangeTable`."""
        return RangeTable(self, boxes, images, input_shape, output_size, spatial_scale, rounding, accumulate)

    def range_forward(self, table: Table, features: Ndarray, out: Ndarray, argmax: Ndarray | None) -> None:
        """Fill `out` with the largest features of each bin and `argmax`, unless None, with where they are."""
        channels, width = features.shape[1], features.shape[3]
        rows, columns = table.output_size
        placed = argmax is not None
        arrays = (features, out, argmax) if placed else (features, out)
        options = self.feature_options(features.dtype, table.accumulate, *arrays)
        if placed:
            options += ("-DPLACES",)
        arguments = (
            *view(features),
            *view(out),
            *argmax_view(argmax, table.window)[:2],
            table.image,
            table.window,
            *table.y,
            np.int32(rows),
            *table.x,
            np.int32(columns),
            np.int64(table.rois),
            np.int32(channels),
            np.int32(width),
        )
        if channels_closer(features) and channels >= _MANY_CHANNELS:
            packed = all(packs(array, 4) for array in arrays)
            kernel, chunk = ("range_forward_pixels_4", 128) if packed else ("range_forward_pixels", 32)
            split = max(1, _PIXEL_WARPS >> (rows * columns - 1).bit_length())
            tasks = -(-channels // chunk) * table.rois
            arguments = (*arguments, np.int32(split), np.int64(tasks))
            self.launch("range_forward", kernel, options, tasks, 32 * _PIXEL_WARPS, arguments)
            return
        run = min(columns, 32)
        group = min(rows, 32 // run, _GROUP)
        group = -(-rows // -(-rows // group))
        share = 1 << (32 // (group * run)).bit_length() - 1
        chunk = chunk_of(channels, table.rois)
        tasks = -(-channels // chunk) * table.rois
        arguments = (*arguments, *map(np.int32, (chunk, group, run, share)), np.int64(tasks))
        self.launch("range_forward", "range_forward", options, tasks, 32 * _WARPS, arguments)

    def image_table(
        self, boxes: Ndarray, images: Ndarray | None, input_shape: Shape, output_size: Size
    ) -> Table:
        """Return which image each box belongs to; see `roicy.cuda.tables.rois.ImageTable`."""
        return ImageTable(self, boxes, images, input_shape, output_size)

    def range_backward(
        self, table: Table, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray
    ) -> None:
        """Fill `grad_features` with `grad_output` at the pixels `argmax`; the table is an `image_table`."""
        height, width = grad_features.shape[2:]
        dtype: DType = grad_features.dtype
        accumulate = "float64" if dtype == "float64" else "float32"
        bounds = self.xp.empty((len(argmax), 1 + argmax.shape[2], 2), np.int32)
        survey(self, argmax, "reach", np.int64(height * width), bounds)
        owned = Owned(grad_features, accumulate)
        options = self.feature_options(dtype, accumulate, grad_output, argmax, grad_features)
        arguments = (
            *view(grad_output),
            *view(argmax),
            *view(grad_features),
            bounds,
            *map(np.int32, (*argmax.shape[2:], width)),
            *table.by_image(),
            *owned.arguments(),
        )
        self.launch(
            "range_backward", "range_backward", options, owned.tasks, 32 * OWNERS, arguments, owned.shared
        )

    def range_argmax_error(self, argmax: Ndarray, limit: int) -> tuple[tuple[int, int, int, int], int] | None:
        """Return ((k, c, p, q), value) of an index outside -1 ... limit - 1, or None; waits."""
        if not argmax.size:
            return None
        wrong = self.xp.empty(len(argmax), np.int64)
        survey(self, argmax, "survey", np.int64(limit), wrong)
        found = first_wrong(self, argmax, wrong, limit)
        return found and found[:2]
