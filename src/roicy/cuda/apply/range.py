"""Kernels that apply range tables: their launches."""

from __future__ import annotations

import functools

import numpy as np

from roicy._types import Accumulate, Cover, DType, Ndarray, Regions
from roicy.cuda.apply.argmax import argmax_view, channels_closer, first_wrong, survey
from roicy.cuda.apply.owned import Owned, chunk_of
from roicy.cuda.device import COUNT, WITH_ARGMAX, Device, packs
from roicy.cuda.structs import POINTER, Layout, Struct, view
from roicy.cuda.tables.range import RangeTable
from roicy.cuda.tables.rois import ROIS, ImageTable, cover_boxes
from roicy.cuda.tuning import CONSTANTS

#: As in range_forward.cu, range_forward_pixels.cu and range_backward.cu.
DIVISION = Layout(
    tasks=np.int64, channels=np.int32, chunk=np.int32, group=np.int32, run=np.int32, share=np.int32
)
DIVISION_OF_PIXELS = Layout(tasks=np.int64, channels=np.int32, split=np.int32)
NAMED = Layout(rois=ROIS, bounds=POINTER)
# Channels with which lanes are channels, where these are neighbours.
_MANY_CHANNELS = 16
# RoIs, or bins of one, above which sums of a pixel are long.
_MANY_TERMS = 320


class RangeKernels(Device):
    """What `roicy.cpu` has for range tables."""

    def cover_boxes(self, cover: Cover, images: int) -> Ndarray:
        """Return the regions of R-MAC, rows [batch index, x1, y1, x2, y2] of float64, image after image."""
        return cover_boxes(self, cover, images)

    def range_table(
        self, regions: Regions, spatial_scale: float, rule: int, accumulate: Accumulate
    ) -> RangeTable:
        """Return the range tables of the boxes; see `RangeTable`."""
        return RangeTable(self, regions, spatial_scale, rule, accumulate)

    def range_forward(
        self, table: RangeTable, features: Ndarray, out: Ndarray, argmax: Ndarray | None
    ) -> None:
        """Fill `out` with the largest features of each bin and `argmax`, unless None, with where they are."""
        features = self.readable(features)
        channels = features.shape[1]
        rows, columns = table.output_size
        arrays = (features, out) if argmax is None else (features, out, argmax)
        options = self.feature_options(features.dtype, table.accumulate, *arrays)
        options += WITH_ARGMAX[argmax is not None]
        arguments = (
            *view(features),
            *view(out),
            *argmax_view(argmax, table.memory.parts["window"]),
            table.packed,
        )
        if channels_closer(features) and channels >= _MANY_CHANNELS:
            source = "range_forward_pixels"
            warps = CONSTANTS[source]["WARPS"]
            packed = all(packs(array, 4) for array in arrays)
            split = max(1, warps >> (rows * columns - 1).bit_length())
            tasks = -(-channels // (128 if packed else 32)) * table.rois
            division = DIVISION_OF_PIXELS(tasks=tasks, channels=channels, split=split)
            self.launch(source, source, options + COUNT[packed], tasks, 32 * warps, (*arguments, division))
            return
        tasks, division = _division(table.rois, channels, rows, columns)
        threads = 32 * CONSTANTS["range_forward"]["WARPS"]
        self.launch("range_forward", "range_forward", options, tasks, threads, (*arguments, division))

    def image_table(self, regions: Regions) -> ImageTable:
        """Return which image each box belongs to; see `roicy.cuda.tables.rois.ImageTable`."""
        return ImageTable(self, regions)

    def range_backward(
        self, table: ImageTable, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray
    ) -> None:
        """Fill `grad_features` with `grad_output` at the pixels `argmax`; the table is an `image_table`."""
        height, width = grad_features.shape[2:]
        dtype: DType = grad_features.dtype
        accumulate = "float64" if dtype == "float64" else "float32"
        bounds = self.empty((len(argmax), 1 + argmax.shape[2], 2), np.int32)
        survey(self, argmax, "reach", np.int64(height * width), bounds)
        long = max(len(argmax), argmax.shape[2] * argmax.shape[3]) > _MANY_TERMS
        owned = Owned("range_backward", grad_features, long, accumulate, table.packed_by_image())
        options = self.feature_options(dtype, accumulate, grad_output, argmax, grad_features)
        arguments = (
            *view(grad_output),
            *view(argmax),
            *view(grad_features),
            NAMED(rois=table.packed_rois, bounds=bounds),
            owned.packed,
        )
        self.launch(
            "range_backward",
            "range_backward",
            options + owned.options,
            owned.tasks,
            owned.threads,
            arguments,
            owned.shared,
        )

    def range_argmax_error(
        self, table: ImageTable, argmax: Ndarray, limit: int
    ) -> tuple[tuple[int, int, int, int], int] | None:
        """Return ((k, c, p, q), value) of an index of the table's outside -1 ... limit - 1; waits."""
        if not argmax.size:
            return None
        wrong = self.empty(len(argmax), np.int64)
        survey(self, argmax, "survey", np.int64(limit), table.memory.parts["image"], wrong)
        found = first_wrong(self, argmax, wrong, limit)
        return found and found[:2]


@functools.lru_cache(64)
def _division(rois: int, channels: int, rows: int, columns: int) -> tuple[int, Struct]:
    # how maxima are divided among blocks: tasks, and a struct Division
    run = min(columns, 32)
    group = min(rows, 32 // run, CONSTANTS["range_forward"]["GROUP"])
    group = -(-rows // -(-rows // group))
    share = 1 << (32 // (group * run)).bit_length() - 1
    chunk = chunk_of(channels, rois)
    tasks = -(-channels // chunk) * rois
    return tasks, DIVISION(tasks=tasks, channels=channels, chunk=chunk, group=group, run=run, share=share)
