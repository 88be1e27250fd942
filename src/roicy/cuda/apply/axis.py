"""Kernels that apply axis tables: their launches."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray, Regions, Sampling, Table
from roicy.cuda.device import Device, channels_last, packs
from roicy.cuda.structs import view
from roicy.cuda.tables.axis import AxisTable

#: Bins that a warp pools at a time, rows of them, and threads of a block: as in axis_forward.cu.
WARP_BINS, WARP_ROWS, WARP_CHANNELS, WARP_CHUNK, WARPS = 64, 8, 4, 8, 4
#: Warps below which the rows of bins of a RoI are divided among several.
BUSY_WARPS = 8192
#: Warps of a block in axis_forward_pixels.cu.
CHANNELS_LAST_WARPS = 8
#: Tile and channels of a block in axis_backward.cu, with lanes along rows and across channels.
TILES = {False: (8, 32, 8), True: (2, 4, 256)}
#: Channels of a block in axis_backward_rois.cu.
GRADIENT_CHANNELS = 64
_NONE = np.int64(0)


class AxisKernels(Device):
    """RoIAlign by the average of the samples of a bin."""

    def axis_table(self, regions: Regions, sampling: Sampling, accumulate: str, purpose: str) -> Table:
        """Return the axis tables of the boxes; see `AxisTable`."""
        return AxisTable(self, regions, sampling, accumulate, purpose)

    def axis_forward(self, table: Table, features: Ndarray, out: Ndarray) -> None:
        """Fill `out` with the features pooled under the table."""
        channels = features.shape[1]
        rows, columns = table.output_size
        lists = *table.y.lists(), *table.x.lists(), table.image, table.window, np.int64(table.rois)
        arguments = (*view(features), *view(out), *lists, np.int32(channels))
        options = self.feature_options(features.dtype, table.accumulate, features, out)
        if channels_last(features) and channels_last(out):
            packed = packs(features, 4) and packs(out, 4)
            chunks = -(-channels // (128 if packed else 32))
            warps = chunks * table.rois * rows * columns
            kernel = "axis_forward_pixels_4" if packed else "axis_forward_pixels"
            blocks = -(-warps // CHANNELS_LAST_WARPS)
            self.launch("axis_forward_pixels", kernel, options, blocks, 32 * CHANNELS_LAST_WARPS, arguments)
            return
        columns_at_once = min(columns, WARP_BINS)
        groups = -(-channels // (WARP_CHANNELS * WARP_CHUNK)) * table.rois * WARP_CHUNK
        groups *= -(-columns // columns_at_once)
        # few RoIs are divided further: a sum is the same, whichever warp makes it
        rows_at_once = min(rows, WARP_ROWS, WARP_BINS // columns_at_once, 1 + groups * rows // BUSY_WARPS)
        warps = groups * -(-rows // rows_at_once)
        arguments += np.int32(rows_at_once), np.int32(columns_at_once)
        self.launch("axis_forward", "axis_forward", options, -(-warps // WARPS), 32 * WARPS, arguments)

    def axis_backward(self, table: Table, grad_output: Ndarray, grad_features: Ndarray) -> None:
        """Fill `grad_features` with the adjoint of the table applied to `grad_output`."""
        n, c, h, w = grad_features.shape
        across = channels_last(grad_features)
        rows, columns, channels = TILES[across]
        blocks = -(-c // channels) * n * -(-h // rows) * -(-w // columns)
        arguments = (
            *view(grad_output),
            *view(grad_features),
            *table.y.transpose(),
            *table.x.transpose(),
            table.packed_rois,
            table.packed_by_image(),
            np.int32(c),
            np.int32(across),
        )
        options = self.feature_options(grad_features.dtype, table.accumulate, grad_output, grad_features)
        self.launch("axis_backward", "axis_backward", options, blocks, 256, arguments)

    def axis_backward_rois(
        self, table: Table, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 4) with the gradient with respect to x1, y1, x2, y2."""
        channels = features.shape[1]
        parts = -(-channels // GRADIENT_CHANNELS)
        partial = self.xp.empty((parts, table.rois, 4)) if parts > 1 else grad_boxes
        y, x = table.y, table.x
        arguments = (
            *view(grad_output),
            *view(features),
            *y.lists(),
            y.slopes,
            *x.lists(),
            x.slopes,
            table.image,
            np.int64(table.rois),
            *map(np.int32, (channels, GRADIENT_CHANNELS, parts, channels_last(features))),
            partial,
        )
        options = self.feature_options(features.dtype, table.accumulate, features, grad_output)
        self.launch("axis_backward_rois", "axis_backward_rois", options, table.rois * parts, 128, arguments)
        if parts > 1:
            arguments = partial, np.int64(4 * table.rois), np.int32(parts), grad_boxes
            self.launch("axis_backward_rois", "add_parts", options, -(-table.rois // 32), 128, arguments)
