"""Kernels that apply axis tables: their launches."""

from __future__ import annotations

import functools

import numpy as np

from roicy._types import Accumulate, DType, Ndarray, NumPyArray, Purpose, Regions, Sampling, Shape
from roicy.cuda.apply.numbers import FINISHING, finishing
from roicy.cuda.device import (
    COUNT,
    INT32_ITEMS,
    Arguments,
    Device,
    Options,
    channels_last,
    feature_options,
    finish_options,
    index_type,
    name_of,
    packs,
)
from roicy.cuda.structs import POINTER, Layout, Struct, strides_of, view
from roicy.cuda.tables.axis import AxisTable
from roicy.cuda.tuning import CONSTANTS

#: As in finish.cu.
FINISH = Layout(down=POINTER, across=POINTER, channels=np.int64, numbers=FINISHING)
#: As in axis_forward.cu, axis_backward.cu and axis_backward_rois.cu.
DIVISION = Layout(apart=np.int64, channels=np.int32, group=np.int32, rows=np.int32, columns=np.int32)
TILES = Layout(
    tasks=np.int64,
    of_map=np.int64,
    of_row=np.int64,
    apart=np.int64,
    bins=np.int64,
    channels=np.int32,
    planes=np.int32,
    rows=np.int32,
    columns=np.int32,
    abreast=np.int32,
    room=np.int32,
)
SLOPES = Layout(
    y=POINTER,
    x=POINTER,
    partial=POINTER,
    across=np.int32,
)
#: Warps below which the rows of bins of a RoI are divided among several.
BUSY_WARPS = 6144
#: Warps below which a warp has fewer channels.
FEW_WARPS = 1024
WARP = 32
FLOAT32 = np.dtype(np.float32)


def by_bins(features: Ndarray, bins: Ndarray) -> tuple[Ndarray, int, int]:
    """Return the map that the first bin takes from, the items to the next one's, and how many bins differ.

    Position-sensitive maps have a channel for each bin of each channel of the output; other maps are that of
    all bins.
    """
    channels = bins.shape[1]
    if features.shape[1] == channels:
        return features, 0, 1
    count = features.shape[1] // channels
    return features[:, ::count], features.strides[1] // features.itemsize, count


class AxisKernels(Device):
    """Averages: sums over a bin, weighted along either axis."""

    def axis_table(
        self, regions: Regions, sampling: Sampling, accumulate: Accumulate, purpose: Purpose
    ) -> AxisTable:
        """Return the axis tables of the boxes; see `AxisTable`."""
        return AxisTable(self, regions, sampling, accumulate, purpose)

    def axis_forward(
        self, table: AxisTable, features: Ndarray, out: Ndarray, finish: NumPyArray | None = None
    ) -> None:
        """Fill `out` with the features pooled under the table."""
        threads = WARP * CONSTANTS["axis_forward"]["WARPS"]
        if finish is None and self.index is None:
            maps = features.shape, features.strides, features.dtype
            plain = _plain(*maps, out.shape, out.strides, out.dtype, table.accumulate)
            if plain is not None:
                options, of_maps, of_out, blocks, division = plain
                given: Arguments = features, of_maps, out, of_out, table.packed, division
                self.launch("axis_forward", "axis_forward", options, blocks, threads, given)
                return
        features = self.readable(features)
        direct = FLOAT32 if features.dtype.kind == "u" else features.dtype
        if finish is not None or out.dtype != direct:
            self._finish(table, features, out, finish)
            return
        channels = out.shape[1]
        rows, columns = table.output_size
        options = self.feature_options(features.dtype, table.accumulate, features, out)
        features, apart, _ = by_bins(features, out)
        arguments: Arguments = (*view(features), *view(out), table.packed)
        if not apart and channels_last(features) and channels_last(out):
            source = "axis_forward_pixels"
            packed = packs(features, 4) and packs(out, 4)
            warps = -(-channels // (4 * WARP if packed else WARP)) * table.rois * rows * columns
            warps_of_block = CONSTANTS[source]["WARPS"]
            blocks, threads = -(-warps // warps_of_block), WARP * warps_of_block
            arguments = *arguments, np.int32(channels)
            self.launch(source, source, options + COUNT[packed], blocks, threads, arguments)
            return
        blocks, division = _division(table.rois, channels, rows, columns, apart)
        self.launch("axis_forward", "axis_forward", options, blocks, threads, (*arguments, division))

    def _finish(self, table: AxisTable, features: Ndarray, out: Ndarray, numbers: NumPyArray | None) -> None:
        # the averages in the type of sums first, in the order of axes that they are wanted in
        k, c, rows, columns = out.shape
        if features.dtype.itemsize == 2:
            features = features.astype(table.accumulate)
        if channels_last(out):
            sums = self.empty((k, rows, columns, c), table.accumulate).transpose(0, 3, 1, 2)
        else:
            sums = self.empty(out.shape, table.accumulate)
        self.axis_forward(table, features, sums)
        down, across = table.outside if numbers is not None else (None, None)
        given = FINISH(
            down=down,
            across=across,
            channels=c,
            numbers=finishing(numbers, c, self.xp),
        )
        index = self.index or index_type(sums, out)
        options = finish_options(name_of(out.dtype), table.accumulate, index)
        threads = CONSTANTS["finish"]["THREADS"]
        arguments: Arguments = (*view(sums), *view(out), table.packed, given)
        self.launch("finish", "finish", options, -(-out.size // threads), threads, arguments)

    def add_part(self, total: Ndarray, part: Ndarray | None, out: Ndarray) -> None:
        """Fill `out` with sums and what is added to them, unless None, rounded to its dtype."""
        if part is None and out is total:
            return
        sizes = (np.int32(size) for size in total.shape[1:])
        index = self.index or index_type(total, out)
        options = finish_options(name_of(out.dtype), name_of(total.dtype), index)
        threads = CONSTANTS["finish"]["THREADS"]
        arguments: Arguments = (
            total,
            total if part is None else part,
            np.int64(total.size),
            *view(out),
            *sizes,
        )
        self.launch("finish", "add_part", options, -(-total.size // threads), threads, arguments)

    def axis_backward(self, table: AxisTable, grad_output: Ndarray, grad_features: Ndarray) -> None:
        """Fill `grad_features` with the adjoint of the table applied to `grad_output`."""
        options = self.feature_options(grad_features.dtype, table.accumulate, grad_output, grad_features)
        grad_features, apart, bins = by_bins(grad_features, grad_output)
        n, c, h, w = grad_features.shape
        arguments: Arguments = (
            *view(grad_output),
            *view(grad_features),
            table.packed,
            table.packed_by_image(),
        )
        if not apart and channels_last(grad_features):
            source = "axis_backward_pixels"
            constants = CONSTANTS[source]
            warps, rows, channels = constants["WARPS"], constants["ROWS"], WARP * constants["CHANNELS"]
            blocks = -(-c // channels) * n * -(-h // rows) * -(-w // (warps // rows))
            self.launch(source, source, options, blocks, WARP * warps, (*arguments, np.int32(c)))
            return
        tiles = _tiles(grad_features.shape, apart, bins, table.accumulate)
        blocks, threads = int(tiles["tasks"]), WARP * CONSTANTS["axis_backward"]["WARPS"]
        self.launch("axis_backward", "axis_backward", options, blocks, threads, (*arguments, tiles))

    def axis_backward_rois(
        self, table: AxisTable, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 4) with the gradient with respect to x1, y1, x2, y2."""
        features = self.readable(features)
        options = self.feature_options(features.dtype, table.accumulate, features, grad_output)
        features, apart, _ = by_bins(features, grad_output)
        channels, across = features.shape[1], channels_last(features)
        source, constants = "axis_backward_rois", CONSTANTS["axis_backward_rois"]
        # the parts of a sum, the same on any device and for any boxes
        groups, parts, division = _parts(channels, *table.output_size, apart, across)
        several = groups * parts > 1
        partial = self.empty((groups, table.rois, parts, 4)) if several else grad_boxes
        slopes = SLOPES(
            y=table.memory.parts["y_slopes"],
            x=table.memory.parts["x_slopes"],
            partial=partial,
            across=across,
        )
        arguments: Arguments = (*view(grad_output), *view(features), table.packed, division, slopes)
        blocks, threads = -(-groups * table.rois * parts // constants["WARPS"]), constants["THREADS"]
        self.launch(source, source, options, blocks, WARP * constants["WARPS"], arguments)
        if several:
            arguments = partial, np.int64(table.rois), np.int32(groups), np.int32(parts), grad_boxes
            self.launch(source, "add_parts", options, -(-4 * table.rois // threads), threads, arguments)


@functools.lru_cache(64)
def _division(rois: int, channels: int, rows: int, columns: int, apart: int) -> tuple[int, Struct]:
    # how averages are divided among warps: how many blocks these make, and a struct Division
    constants = CONSTANTS["axis_forward"]
    columns_at_once = 1 if apart else min(columns, WARP)
    most_rows = 1 if apart else -(-rows // -(-rows // constants["ROWS"]))
    tasks = rois * -(-columns // columns_at_once)
    # few RoIs are divided further: a sum is the same, whichever warp makes it
    group = constants["GROUP"]
    if -(-channels // group) * tasks * -(-rows // most_rows) < FEW_WARPS:
        group //= 2
    tasks *= -(-channels // group)
    rows_at_once = min(most_rows, 1 + tasks * rows // BUSY_WARPS)
    rows_at_once = -(-rows // -(-rows // rows_at_once))  # alike in all parts
    blocks = -(-tasks * -(-rows // rows_at_once) // constants["WARPS"])
    return blocks, DIVISION(
        apart=apart, channels=channels, group=group, rows=rows_at_once, columns=columns_at_once
    )


@functools.lru_cache(256)
def _plain(
    shape: Shape,
    strides: Shape,
    dtype: DType,
    out_shape: Shape,
    out_strides: Shape,
    out_dtype: DType,
    accumulate: Accumulate,
) -> tuple[Options, Struct, Struct, int, Struct] | None:
    # Arguments of a launch on C-contiguous maps and averages of one dtype: all but their addresses.
    # None for others, and for maps of a pixel, whose channels lie side by side.
    item, (k, channels, rows, columns) = dtype.itemsize, out_shape
    if out_dtype != dtype or dtype.kind in "uib" or shape[1] != channels:
        return None
    for lengths, steps in ((shape, strides), (out_shape, out_strides)):
        n, c, h, w = lengths
        if steps != (c * h * w * item, h * w * item, w * item, item) or n * c * h * w > INT32_ITEMS:
            return None
    if shape[2] * shape[3] <= 1 or rows * columns <= 1:
        return None
    blocks, division = _division(k, channels, rows, columns, 0)
    options = feature_options(name_of(dtype), accumulate, "int")
    return options, strides_of(strides, item), strides_of(out_strides, item), blocks, division


@functools.lru_cache(64)
def _parts(channels: int, rows: int, columns: int, apart: int, across: bool) -> tuple[int, int, Struct]:
    # how sums over bins and channels are divided: groups of channels, parts of the bins, a struct Division
    constants = CONSTANTS["axis_backward_rois"]
    group = max(constants["ACROSS" if across else "GROUP"], -(-channels // constants["GROUPS"]))
    columns_at_once = min(columns, WARP)
    rows_at_once = 1 if apart else -(-rows // -(-rows // constants["ROWS"]))
    division = DIVISION(
        apart=apart, channels=channels, group=group, rows=rows_at_once, columns=columns_at_once
    )
    return -(-channels // group), -(-rows // rows_at_once) * -(-columns // columns_at_once), division


@functools.lru_cache(64)
def _tiles(shape: tuple[int, int, int, int], apart: int, bins: int, accumulate: Accumulate) -> Struct:
    # how a gradient is divided among the blocks of axis_backward.cu: a struct Tiles
    n, c, h, w = shape
    constants = CONSTANTS["axis_backward"]
    warps, group = constants["WARPS"], 16 // np.dtype(accumulate).itemsize
    # of few channels tiles are wide, that all lanes have pixels
    columns = next((columns for columns in (32, 16) if c * columns <= group * WARP), 8)
    sets = WARP // columns
    abreast = next((some for some in (1, 2, 4) if some <= warps and c <= some * sets * group), warps)
    planes, rows = abreast * sets * group, warps // abreast * constants["ROWS"]
    of_row = -(-w // columns)
    of_map = -(-h // rows) * of_row
    return TILES(
        tasks=-(-c // planes) * bins * n * of_map,
        of_map=of_map,
        of_row=of_row,
        apart=apart,
        bins=bins,
        channels=c,
        planes=planes,
        rows=rows,
        columns=columns,
        abreast=abreast,
        room=constants["STAGED"] // (sets | 1),
    )
