"""Grid tables: where the samples of each bin lie, one by one, along either axis of a RoI."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from roicy._types import Ndarray, Regions, Sampling, Size
from roicy.cuda.device import Arguments, Device
from roicy.cuda.memory import Wanted
from roicy.cuda.structs import POINTER, Layout, Struct
from roicy.cuda.tables.rois import ROIS, RoiTable, of_rois, packed_sampling

#: As in grid.cuh.
GRID = Layout(
    rois=ROIS,
    bins=POINTER,
    listed=POINTER,
    total=POINTER,
    steps=POINTER,
    bin_rows=POINTER,
    spatial_scale=np.float64,
    rule=np.int32,
)
_WARPS = 4
# Samples of a bin along an axis that are worth to be kept, where many bins may have fewer.
_MOST_KEPT = 8


class GridTable(RoiTable):
    """Grid tables of K RoIs, in both axes.

    Parameters
    ----------
    device : Device
        Where the table is.
    regions : Regions
        Boxes (K, 4) or (K, 5): corners x1, y1, x2, y2; maps and bins.
    sampling : Sampling
        Where samples lie in them.
    accumulate : {"float32", "float64"}
        Type of the weights.

    Attributes
    ----------
    samples_kept : int
        How many samples of a bin along an axis are worth to be kept.
    packed : Struct
        The table as an argument of kernels: a struct Grid.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        sampling: Sampling,
        accumulate: str,
    ) -> None:
        super().__init__(device, regions, accumulate)
        self.keep(_wanted(self.rois, self.output_size))
        ratio = sampling.sampling_ratio
        self.samples_kept = ratio if 0 < ratio <= _MOST_KEPT else _MOST_KEPT
        self._first_bad: list[int] | None = None
        self.box_options = self._options[:1]
        self.packed = self.memory.packed(_grid, self.packed_rois, sampling.spatial_scale, sampling.rule)
        arguments = self.packed_boxes(), packed_sampling(sampling), self.packed
        self.launch_table("fill", -(-self.rois // _WARPS), 32 * _WARPS, arguments, "grid")
        if self.begin is not None:
            self.move()
            self.memory.array("bin_rows")[...] -= np.int32(self.begin[0])

    @property
    def first_invalid(self) -> int:
        """First invalid row, -1 if all are valid; waits for the device."""
        return self._first()[0]

    @property
    def first_too_fine(self) -> int:
        """First row with more than 2**31 - 1 samples in a bin, or -1; waits for the device."""
        return self._first()[1]

    def _first(self) -> list[int]:
        # both together, as each time to wait counts
        if self._first_bad is None:
            first = self.device.empty(2, np.int64)
            self.launch_table("first_bad", 1, 256, (self.packed, first), "grid")
            answer = self.device.answer(first, (self.rois, self.rois))
            self._first_bad = [-1 if found == self.rois else found for found in answer]
        return self._first_bad

    def launch(
        self,
        source: str,
        kernel: str,
        features: Ndarray,
        arrays: tuple[Ndarray, ...],
        blocks: int,
        threads: int,
        arguments: Arguments,
    ) -> None:
        """Run a kernel that is specialised for feature maps like `features`, too; it accesses `arrays`."""
        options = self.device.feature_options(features.dtype, self.accumulate, *arrays)
        self.device.launch(source, kernel, options + self.box_options, blocks, threads, arguments)


@functools.lru_cache(64)
def _wanted(rois: int, output_size: Size) -> Wanted:
    # what the fields of struct Grid are, (K, PH + PW) or of each axis, or each row of bins
    rows, columns = output_size
    numbers = (rois, rows + columns), np.int32
    return Wanted(
        **of_rois(rois),
        bins=((rois, rows + columns, 4), np.float64),
        steps=((rois, 2, 2), np.float64),
        listed=numbers,
        total=numbers,
        bin_rows=((rois, rows, 2), np.int32),
    )


def _grid(parts: Mapping[str, Any], rois: Struct, spatial_scale: float, rule: int) -> Struct:
    arrays = {name: parts[name] for name in ("bins", "steps", "listed", "total", "bin_rows")}
    return GRID(rois=rois, spatial_scale=spatial_scale, rule=rule, **arrays)
