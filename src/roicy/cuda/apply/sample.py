"""Kernels that apply sample tables: their launches."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray, Regions, Sampling, Table, Turn
from roicy.cuda.device import Device, channels_last, packs
from roicy.cuda.structs import view
from roicy.cuda.tables.sample import SampleTable

#: Threads of a block of the kernels that apply tables.
THREADS = 256
#: Bins and channels of a block in sample_forward.cu, at the most and at the least; as many channels as PART
#: there.
MOST_BINS, LEAST_BINS = 64, 8
MOST_CHANNELS, LEAST_CHANNELS = 64, 16
#: Sums of a thread in sample_backward.cu, and its pixels where lanes lie across channels.
OWN = {"float32": 16, "float64": 8}
PIXELS_ACROSS = 4
WARP = 32
#: Blocks below which work is divided further.
FEW_BLOCKS = 1024
#: Channels and bins of a block in sample_backward_rois.cu: the parts of a sum, the same on any device.
GRADIENT_CHANNELS, GRADIENT_BINS = 64, 64


class SampleKernels(Device):
    """RoIAlign of rotated boxes."""

    def sample_table(
        self, regions: Regions, sampling: Sampling, turn: Turn, accumulate: str, purpose: str
    ) -> Table:
        """Return the sample table of rotated boxes, the same for any purpose; see `SampleTable`."""
        return SampleTable(self, regions, sampling, turn, accumulate)

    def sample_forward(self, table: Table, features: Ndarray, out: Ndarray) -> None:
        """Fill `out` with the features pooled under the sample table."""
        _, channels, height, width = features.shape
        rows, columns = table.output_size
        across = channels >= WARP and packs(features, 2) and packs(out, 2)
        part, run = _divided(channels, rows * columns, table.rois, WARP if across else LEAST_CHANNELS)
        arguments = (
            *view(features),
            *view(out),
            table.rotated,
            table.image,
            table.window,
            np.int64(table.rois),
            *map(np.int32, (channels, height, width, rows, columns, run, part)),
        )
        options = self.feature_options(features.dtype, table.accumulate, features, out) + table.box_options
        blocks = -(-channels // part) * table.rois * -(-rows * columns // run) if out.size else 0
        kernel = "sample_forward_across" if across else "sample_forward"
        self.launch("sample_forward", kernel, options, blocks, THREADS, arguments)

    def sample_backward(self, table: Table, grad_output: Ndarray, grad_features: Ndarray) -> None:
        """Fill `grad_features` with the adjoint of the sample table applied to `grad_output`."""
        n, c, h, w = grad_features.shape
        across = c >= WARP and channels_last(grad_features)
        rows, columns, channels = _tile(c, across, OWN[table.accumulate])
        arguments = (
            *view(grad_output),
            *view(grad_features),
            table.rotated,
            *table.by_image(),
            table.window,
            np.int64(n),
            *map(np.int32, (c, h, w, *table.output_size, rows, columns)),
        )
        options = self.feature_options(grad_features.dtype, table.accumulate, grad_output, grad_features)
        blocks = -(-c // channels) * n * -(-h // rows) * -(-w // columns)
        kernel = "sample_backward_across" if across else "sample_backward"
        self.launch("sample_backward", kernel, options + table.box_options, blocks, THREADS, arguments)

    def sample_backward_rois(
        self, table: Table, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 5) with the gradient with respect to cx, cy, w, h and the angle."""
        _, channels, height, width = features.shape
        rows, columns = table.output_size
        parts = max(1, -(-channels // GRADIENT_CHANNELS) * -(-rows * columns // GRADIENT_BINS))
        partial = self.xp.empty((parts, table.rois, 5)) if parts > 1 else grad_boxes
        kernel = "sample_backward_rois_across" if channels_last(features) else "sample_backward_rois"
        arguments = (
            *view(grad_output),
            *view(features),
            table.rotated,
            table.image,
            table.window,
            np.int64(table.rois),
            *map(np.int32, (channels, height, width, rows, columns, GRADIENT_BINS)),
            np.float64(table.spatial_scale),
            np.float64(table.turn),
            partial,
        )
        options = self.feature_options(features.dtype, table.accumulate, features, grad_output)
        options += table.box_options
        blocks = table.rois * parts
        self.launch("sample_backward_rois", kernel, options, blocks, THREADS, arguments)
        if parts > 1:
            numbers = 5 * table.rois
            arguments = partial, np.int64(numbers), np.int64(parts), grad_boxes
            blocks = -(-numbers // THREADS)
            self.launch("sample_backward_rois", "add_parts", options, blocks, THREADS, arguments)


def _divided(channels: int, bins: int, rois: int, least: int) -> tuple[int, int]:
    # channels and bins of a block, fewer where there are few boxes
    part, run = MOST_CHANNELS, max(1, min(bins, MOST_BINS))

    def blocks() -> int:
        return -(-channels // part) * -(-bins // run) * rois

    while blocks() < FEW_BLOCKS and run > LEAST_BINS:
        run = -(-run // 2)
    while blocks() < FEW_BLOCKS and part > least:
        part //= 2
    return part, run


def _tile(channels: int, across: bool, own: int) -> tuple[int, int, int]:
    # rows, columns and channels of a block in sample_backward.cu
    if across:
        return 4, 8, WARP * own // PIXELS_ACROSS
    warps = 1
    while warps < THREADS // WARP and warps * own < channels:
        warps *= 2
    pixels = THREADS // warps
    columns = 8 if pixels <= 64 else 16
    return pixels // columns, columns, warps * own
