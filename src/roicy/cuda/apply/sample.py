"""Kernels that apply sample tables: their launches."""

from __future__ import annotations

import functools

import numpy as np

from roicy._types import Accumulate, Moving, Ndarray, Purpose, Regions, Sampling, Turn
from roicy.cuda.apply.argmax import channels_closer
from roicy.cuda.apply.channels_last import copy_with_channels_last
from roicy.cuda.device import ACROSS, PIXELS, PIXELS_ACROSS, SEVERAL, Arguments, Device, channels_last, packs
from roicy.cuda.structs import POINTER, Layout, Struct, view
from roicy.cuda.tables.sample import SampleTable
from roicy.cuda.tuning import CONSTANTS

#: As in sample_forward.cu, sample_backward.cu and sample_backward_rois.cu.
BINS_OF_TASK = Layout(
    tasks=np.int64,
    groups=np.int64,
    channels=np.int32,
    bins_at_once=np.int32,
    channels_at_once=np.int32,
    packed=np.int32,
)
PIXELS_OF_BLOCK = Layout(channels=np.int32, rows=np.int32, columns=np.int32)
SLOPES = Layout(unit=np.float64, angle_unit=np.float64, partial=POINTER, channels=np.int32, of=np.int32)
#: Bins and channels of a block in sample_forward.cu: the most, and the least that work is divided into.
MOST_BINS, LEAST_BINS, LEAST_CHANNELS = 64, 8, 16
#: Blocks below which work is divided further.
FEW_BLOCKS = 1024
WARP = 32
# Assumed number of samples of a bin with adaptive sampling.
_SAMPLES = 16
# Bytes of maps that are copied at the most.
_MOST_COPIED = 2**28


class SampleKernels(Device):
    """RoIAlign of rotated boxes."""

    def sample_table(
        self,
        regions: Regions,
        sampling: Sampling,
        how: Turn | Moving,
        accumulate: Accumulate,
        purpose: Purpose,
    ) -> SampleTable:
        """Return the sample table of rotated boxes or of moved bins; see `SampleTable`."""
        return SampleTable(self, regions, sampling, how, accumulate)

    def sample_forward(self, table: SampleTable, features: Ndarray, out: Ndarray) -> None:
        """Fill `out` with the features pooled under the sample table."""
        features = self.readable(features)
        channels = features.shape[1]
        rows, columns = table.output_size
        if _repays_copy(table, features) and not self.captures():  # a graph would not keep it
            features = copy_with_channels_last(self, features)
        across = next(
            (count for count in (4, 2) if channels >= count * WARP // 2 and packs(features, count)), 0
        )
        packed = across > 0 and packs(out, across)
        tasks, division = _bins_of_task(channels, rows * columns, table.rois, across, packed)
        tasks = tasks if out.size else 0
        arguments = *view(features), *view(out), table.packed, division
        options = self.feature_options(features.dtype, table.accumulate, features, out) + table.box_options
        source = "sample_forward"
        threads = CONSTANTS[source]["THREADS"]
        self.launch(source, source, options + SEVERAL[across], tasks, threads, arguments)

    def sample_backward(self, table: SampleTable, grad_output: Ndarray, grad_features: Ndarray) -> None:
        """Fill `grad_features` with the adjoint of the sample table applied to `grad_output`."""
        n, c, h, w = grad_features.shape
        across = c >= WARP and channels_last(grad_features)
        rows, columns, channels = _tile(c, across, np.dtype(table.accumulate).itemsize)
        arguments = (
            *view(grad_output),
            *view(grad_features),
            table.packed,
            table.packed_by_image(),
            PIXELS_OF_BLOCK(channels=c, rows=rows, columns=columns),
        )
        options = self.feature_options(grad_features.dtype, table.accumulate, grad_output, grad_features)
        options += table.box_options + PIXELS[across]
        blocks = -(-c // channels) * n * -(-h // rows) * -(-w // columns)
        source = "sample_backward"
        self.launch(source, source, options, blocks, CONSTANTS[source]["THREADS"], arguments)

    def sample_backward_bins(
        self, table: SampleTable, grad_output: Ndarray, features: Ndarray, gradient: Ndarray
    ) -> None:
        """Fill `gradient` (K, 2, PH, PW) with that of offsets, or (K, 1, PH, PW) with that of a mask."""
        rows, columns = table.output_size
        groups = -(-rows * columns // CONSTANTS["sample_backward_rois"]["BINS"])
        self._gather_slopes(table, grad_output, features, gradient, gradient.shape[1], groups)

    def sample_backward_rois(
        self, table: SampleTable, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
    ) -> None:
        """Fill `grad_boxes` (K, 5) with the gradient with respect to cx, cy, w, h and the angle."""
        self._gather_slopes(table, grad_output, features, grad_boxes, 0, 1)

    def _gather_slopes(
        self,
        table: SampleTable,
        grad_output: Ndarray,
        features: Ndarray,
        gradient: Ndarray,
        of: int,
        groups: int,
    ) -> None:
        # `of` numbers of each bin, whose groups are not summed; with 0, numbers of each box
        features = self.readable(features)
        channels = features.shape[1]
        rows, columns = table.output_size
        source, constants = "sample_backward_rois", CONSTANTS["sample_backward_rois"]
        blocks = max(1, -(-channels // constants["PART"]) * -(-rows * columns // constants["BINS"]))
        parts = blocks // groups
        partial = self.empty((parts, *gradient.shape)) if parts > 1 else gradient
        slopes = SLOPES(unit=table.unit, angle_unit=table.turn, partial=partial, channels=channels, of=of)
        arguments: Arguments = (*view(grad_output), *view(features), table.packed, slopes)
        options = self.feature_options(features.dtype, table.accumulate, features, grad_output)
        options += table.box_options + ACROSS[channels_last(features)]
        threads = constants["THREADS"]
        self.launch(source, source, options, table.rois * blocks, threads, arguments)
        if parts > 1:
            numbers = gradient.size
            arguments = partial, np.int64(numbers), np.int64(parts), gradient
            self.launch(source, "add_parts", options, -(-numbers // threads), threads, arguments)


def _repays_copy(table: SampleTable, features: Ndarray) -> bool:
    # whether a copy of the maps, which takes as long as to read and to write them, is worth it
    images, channels, height, width = features.shape
    if channels < WARP or channels % 2 or channels_closer(features) or features.nbytes > _MOST_COPIED:
        return False
    samples = table.sampling_ratio**2 if table.sampling_ratio > 0 else _SAMPLES
    rows, columns = table.output_size
    return bool(table.rois * rows * columns * samples >= 4 * images * height * width)


@functools.lru_cache(64)
def _bins_of_task(channels: int, bins: int, rois: int, across: int, packed: bool) -> tuple[int, Struct]:
    # how bins and channels are divided among blocks: tasks, and a struct BinsOfTask
    part, run = _divided(channels, bins, rois, across)
    groups = -(-bins // run)
    tasks = -(-channels // part) * rois * groups
    return tasks, BINS_OF_TASK(
        tasks=tasks,
        groups=groups,
        channels=channels,
        bins_at_once=run,
        channels_at_once=part,
        packed=packed,
    )


def _divided(channels: int, bins: int, rois: int, across: int) -> tuple[int, int]:
    # channels and bins of a block, fewer where there are few boxes
    part, run = CONSTANTS["sample_forward"]["PART"], max(1, min(bins, MOST_BINS))
    least = WARP if across else LEAST_CHANNELS
    if across == 4:
        part *= 2

    def blocks() -> int:
        return -(-channels // part) * -(-bins // run) * rois

    while blocks() < FEW_BLOCKS and run > LEAST_BINS:
        run = -(-run // 2)
    while blocks() < FEW_BLOCKS and part > least:
        part //= 2
    return part, run


def _tile(channels: int, across: bool, size: int) -> tuple[int, int, int]:
    # rows, columns and channels of a block in sample_backward.cu, by the bytes that their sums take
    threads = CONSTANTS["sample_backward"]["THREADS"]
    own = CONSTANTS["sample_backward"]["OWN_BYTES"] // size
    if across:
        return 4, 8, WARP * own // PIXELS_ACROSS
    warps = 1
    while warps < threads // WARP and warps * own < channels:
        warps *= 2
    pixels = threads // warps
    columns = 8 if pixels <= 64 else 16
    return pixels // columns, columns, warps * own
