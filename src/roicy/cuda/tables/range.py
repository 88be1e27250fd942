"""Range tables: which pixels each bin of a RoI takes the maximum of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from roicy._types import Regions, Sampling, Size
from roicy.cuda.device import Device
from roicy.cuda.memory import Wanted
from roicy.cuda.structs import POINTER, Layout, Struct
from roicy.cuda.tables.rois import ROIS, RoiTable, of_rois, packed_sampling

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
    packed : Struct
        The table as an argument of kernels: a struct Ranges.
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
        self.keep(_wanted(self.rois, self.output_size))
        self.packed = self.memory.packed(_ranges, self.packed_rois)
        sampling = packed_sampling(Sampling(spatial_scale, 0, False, rule))
        arguments = self.packed_boxes(), sampling, self.packed
        self.launch_table("fill", -(-self.rois // _WARPS), 32 * _WARPS, arguments, "range")
        if self.begin is not None:
            reads = self.move()
            for axis, begin, length in zip("yx", self.begin, self.input_shape[2:], strict=True):
                start = self.memory.array(f"{axis}_start")
                start[...] = (start - np.int32(begin)).clip(0, length)
                self.memory.array(f"{axis}_length")[...] *= reads[:, None]


@functools.lru_cache(64)
def _wanted(rois: int, output_size: Size) -> Wanted:
    rows, columns = (((rois, bins), np.int32) for bins in output_size)
    return Wanted(**of_rois(rois), y_start=rows, y_length=rows, x_start=columns, x_length=columns)


def _ranges(parts: Mapping[str, Any], rois: Struct) -> Struct:
    return RANGES(rois=rois, **{name: parts[name] for name in ("y_start", "y_length", "x_start", "x_length")})
