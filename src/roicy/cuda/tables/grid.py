"""Grid tables: where the samples of each bin lie, one by one, along either axis of a RoI."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray, Regions, Sampling
from roicy.cuda.device import Arguments, Device, name_of, table_options
from roicy.cuda.structs import POINTER, Layout
from roicy.cuda.tables.rois import ROIS, RoiTable

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
    bins : array, (K, PH + PW, 4), float64
        Of each bin along y, then along x: where it begins, the first and the last of its samples that hit the
        map, and how many it has.
    steps : array, (K, 2, 2), float64
        Along y and x: how far bins are apart, and whether the RoI's size was raised to 1.
    listed, total : array, (K, PH + PW), int32
        How many samples of each bin are listed, all that hit the map or the few that a maximum over many
        needs; how many there are, 2**31 - 1 where they are more.
    bin_rows : array, (K, PH, 2), int32
        The pixel rows, [low, high), that the samples of each row of bins touch.
    packed : Struct
        What the kernels are told of the table: a struct Grid.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        sampling: Sampling,
        accumulate: str,
    ) -> None:
        super().__init__(device, regions, accumulate)
        spatial_scale, sampling_ratio, aligned, rule = sampling
        height, width = self.input_shape[2:]
        rows, columns = self.output_size
        self.bins = device.xp.empty((self.rois, rows + columns, 4), np.float64)
        self.steps = device.xp.empty((self.rois, 2, 2), np.float64)
        self.listed = device.xp.empty((self.rois, rows + columns), np.int32)
        self.total = device.xp.empty((self.rois, rows + columns), np.int32)
        self.bin_rows = device.xp.empty((self.rois, rows, 2), np.int32)
        self._first_bad: list[int] | None = None
        self._box_option = table_options(name_of(self.boxes.dtype), accumulate)[:1]
        self.packed = GRID(
            rois=self.packed_rois,
            bins=self.bins,
            listed=self.listed,
            total=self.total,
            steps=self.steps,
            bin_rows=self.bin_rows,
            spatial_scale=spatial_scale,
            rule=rule,
        )
        arguments = (
            *self.rows(),
            np.float64(spatial_scale),
            *map(np.int32, (sampling_ratio, aligned, rule, height, width, rows, columns)),
            self.image,
            self.window,
            self.bins,
            self.listed,
            self.total,
            self.steps,
            self.bin_rows,
        )
        self.launch_table("fill", -(-self.rois // _WARPS), 32 * _WARPS, arguments, "grid")

    @property
    def first_invalid(self) -> int:
        """First row that no pooling can be done for, -1 where there is none; waits for the device."""
        return self._first()[0]

    @property
    def first_too_fine(self) -> int:
        """First row with more than 2**31 - 1 samples in a bin, -1 where there is none; waits likewise."""
        return self._first()[1]

    def _first(self) -> list[int]:
        # both together, as each time to wait counts
        if self._first_bad is None:
            first = self.device.xp.empty(2, np.int64)
            arguments = (self.image, self.bins, np.int64(self.rois), *map(np.int32, self.output_size), first)
            self.launch_table("first_bad", 1, 256, arguments, "grid")
            self._first_bad = [-1 if found == self.rois else found for found in first.tolist()]
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
        shared: int = 0,
    ) -> None:
        """Run a kernel that is specialised for feature maps like `features`, too; it accesses `arrays`."""
        options = self.device.feature_options(features.dtype, self.accumulate, *arrays)
        self.device.launch(source, kernel, options + self._box_option, blocks, threads, arguments, shared)
