"""Range tables: which pixels each bin of a RoI takes the maximum of."""

from __future__ import annotations

import numpy as np

from roicy._types import Regions
from roicy.cuda.device import Device
from roicy.cuda.structs import POINTER, Layout
from roicy.cuda.tables.rois import ROIS, RoiTable

#: As in range.cuh.
RANGES = Layout(rois=ROIS, y_start=POINTER, y_length=POINTER, x_start=POINTER, x_length=POINTER)
_WARPS = 4


class RangeTable(RoiTable):
    """Range tables of K RoIs, in both axes.

    Parameters
    ----------
    device : Device
        Where the table is.
    regions : Regions
        Boxes (K, 4) or (K, 5): corners x1, y1, x2, y2; maps and bins.
    spatial_scale : float
        As in `roicy.roi_pool`.
    rule : int
        Of `roicy._types`: ROUNDED, EXACT or WHOLE.
    accumulate : {"float32", "float64"}
        Type that maxima are kept in.

    Attributes
    ----------
    y, x : tuple of (array, (K, bins), int32)
        Of each bin along an axis the first pixel and the number of pixels.
    packed : Struct
        What the kernels are told of the table: a struct Ranges.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        spatial_scale: float,
        rule: int,
        accumulate: str,
    ) -> None:
        super().__init__(device, regions, accumulate)
        output_size = self.output_size
        height, width = self.input_shape[2:]
        self.y, self.x = (
            tuple(device.xp.empty((self.rois, bins), np.int32) for _ in range(2)) for bins in output_size
        )
        (y_start, y_length), (x_start, x_length) = self.y, self.x
        self.packed = RANGES(
            rois=self.packed_rois, y_start=y_start, y_length=y_length, x_start=x_start, x_length=x_length
        )
        arguments = (
            *self.rows(),
            np.float64(spatial_scale),
            np.int32(rule),
            np.int32(height),
            np.int32(width),
            np.int32(output_size[0]),
            np.int32(output_size[1]),
            self.image,
            self.window,
            *self.y,
            *self.x,
        )
        self.launch_table("fill", -(-self.rois // _WARPS), 32 * _WARPS, arguments, "range")
