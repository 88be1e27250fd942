"""Range tables: which pixels each bin of a RoI takes the maximum of."""

from __future__ import annotations

import numpy as np

from roicy._types import DType, Ndarray, Shape, Size, Table
from roicy.cuda.argmax import argmax_view, channels_closer, first_wrong, survey
from roicy.cuda.device import Arguments, Device, packs, view
from roicy.cuda.roi_table import ImageTable, RoiTable

# As in range_max.cu: warps of a block, where lanes are pixels and where they are channels; rows of bins that
# are searched together.
_WARPS, _PIXEL_WARPS, _GROUP = 4, 8, 4
# Channels with which lanes are channels, where these are neighbours.
_MANY_CHANNELS = 16
# Channels whose planes are in use at a time, and blocks below which fewer are taken.
_CHUNK, _FEW_BLOCKS = 32, 2048
# As in owned.cuh: warps of a block; and the bytes that a warp's sums take.
_OWNERS, _OWNED = 8, 4096


class RangeTable(RoiTable):
    """Range tables of K RoIs, in both axes.

    Parameters
    ----------
    device : Device
        Where the table is.
    boxes : array, (K, 4) or (K, 5), float32 or float64, C-contiguous
        Corners x1, y1, x2, y2; with five columns the batch index comes first.
    images : array, (K,), int64, C-contiguous, or None with five columns
        Batch indices.
    input_shape : tuple of int
        N, C, H, W.
    output_size : tuple of int
        Output rows and columns.
    spatial_scale, rounding
        As in `roicy.roi_pool`.
    accumulate : {"float32", "float64"}
        Type that maxima are kept in.

    Attributes
    ----------
    y, x : tuple of (array, (K, bins), int32)
        Of each bin along an axis the first pixel and the number of pixels.
    """

    def __init__(
        self,
        device: Device,
        boxes: Ndarray,
        images: Ndarray | None,
        input_shape: Shape,
        output_size: Size,
        spatial_scale: float,
        rounding: str,
        accumulate: str,
    ) -> None:
        super().__init__(device, boxes, images, input_shape, output_size, accumulate)
        height, width = input_shape[2:]
        self.y, self.x = (
            tuple(device.xp.empty((self.rois, bins), np.int32) for _ in range(2)) for bins in output_size
        )
        arguments = (
            *self.rows(),
            np.float64(spatial_scale),
            np.int32(rounding == "round"),
            np.int32(height),
            np.int32(width),
            np.int32(output_size[0]),
            np.int32(output_size[1]),
            self.image,
            self.window,
            *self.y,
            *self.x,
        )
        self.launch_table("range_table", -(-self.rois // _WARPS), 32 * _WARPS, arguments, "range_table")


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

    def range_max(self, table: Table, features: Ndarray, out: Ndarray, argmax: Ndarray | None) -> None:
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
            *argmax_view(argmax, table.window)[:5],
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
            kernel, chunk = ("max_of_pixels_4", 128) if packed else ("max_of_pixels", 32)
            split = max(1, _PIXEL_WARPS >> (rows * columns - 1).bit_length())
            tasks = -(-channels // chunk) * table.rois
            arguments = (*arguments, np.int32(split), np.int64(tasks))
            self.launch("range_max", kernel, options, tasks, 32 * _PIXEL_WARPS, arguments)
            return
        run = min(columns, 32)
        group = min(rows, 32 // run, _GROUP)
        group = -(-rows // -(-rows // group))
        share = 1 << (32 // (group * run)).bit_length() - 1
        chunk = chunk_of(channels, table.rois)
        tasks = -(-channels // chunk) * table.rois
        arguments = (*arguments, *map(np.int32, (chunk, group, run, share)), np.int64(tasks))
        self.launch("range_max", "max_of_planes", options, tasks, 32 * _WARPS, arguments)

    def image_table(
        self, boxes: Ndarray, images: Ndarray | None, input_shape: Shape, output_size: Size
    ) -> Table:
        """Return which image each box belongs to; see `roicy.cuda.roi_table.ImageTable`."""
        return ImageTable(self, boxes, images, input_shape, output_size)

    def range_max_adjoint(
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
        self.launch("scatter", "scatter", options, owned.tasks, 32 * _OWNERS, arguments, owned.shared)

    def range_argmax_error(self, argmax: Ndarray, limit: int) -> tuple[tuple[int, int, int, int], int] | None:
        """Return ((k, c, p, q), value) of an index outside -1 ... limit - 1, or None; waits."""
        if not argmax.size:
            return None
        wrong = self.xp.empty(len(argmax), np.int64)
        survey(self, argmax, "survey", np.int64(limit), wrong)
        found = first_wrong(self, argmax, wrong, limit)
        return found and found[:2]


class Owned:
    """How the planes of a gradient are divided among the warps that own their pixels; see owned.cuh."""

    def __init__(self, gradient: Ndarray, accumulate: str) -> None:
        images, channels, height, width = gradient.shape
        plane, most = height * width, _OWNED // (8 if accumulate == "float64" else 4)
        ranges = -(-plane // most)
        self._gradient = gradient
        self._ranges = ranges
        self._size = -(-plane // ranges) if ranges else 0
        self.tasks = ranges * images * -(-channels // _OWNERS)
        self.shared = _OWNERS * self._size * (8 if accumulate == "float64" else 4)

    def arguments(self) -> Arguments:
        """Return (N, C, pixels of a plane, of a warp, ranges of a plane, by_channel, tasks)."""
        images, channels, height, width = self._gradient.shape
        return (
            np.int64(images),
            np.int32(channels),
            np.int64(height * width),
            np.int32(self._size),
            np.int64(self._ranges),
            np.int32(channels_closer(self._gradient)),
            np.int64(self.tasks),
        )


def chunk_of(channels: int, rois: int) -> int:
    """Return how many channels a block takes."""
    chunk = _CHUNK
    while chunk > 16 and -(-channels // chunk) * rois < _FEW_BLOCKS:
        chunk //= 2
    return chunk
