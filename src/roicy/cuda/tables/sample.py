"""Sample tables on the device: those of rotated boxes, and of upright ones whose bins are moved."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from roicy._types import Moving, Regions, Sampling, Turn
from roicy.cuda.device import Arguments, Device
from roicy.cuda.memory import Wanted
from roicy.cuda.structs import POINTER, Layout, Struct
from roicy.cuda.tables.rois import ROIS, RoiTable, of_rois, packed_sampling

#: As in sample.cuh.
ROTATED = Layout(rois=ROIS, boxes=POINTER, bases=POINTER, factors=POINTER)
#: As in rotated.h.
TURN = Layout(degrees=np.int32, clockwise=np.int32)

#: As in sample.cu.
MOVING = Layout(
    offsets=POINTER,
    mask=POINTER,
    bases=POINTER,
    factors=POINTER,
    gamma=np.float64,
    double_mask=np.int32,
)

#: Numbers that are kept of a box, as BOX_NUMBERS in tables/sample.cuh.
BOX_NUMBERS = 16
_MOST_PIXELS = 2**31 - 1


class SampleTable(RoiTable):
    """The geometry of K rotated RoIs; the parameters are those of `roicy.cpu.tables.sample`.

    Attributes
    ----------
    packed : Struct
        The table as an argument of kernels: a struct Rotated.
    unit, turn : float
        What a unit of the boxes is in feature pixels, and in radians one of the angle, with its sign; of
        bins that are moved, by what part of the box an offset of 1 does it.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        sampling: Sampling,
        how: Turn | Moving,
        accumulate: str,
    ) -> None:
        height, width = regions.input_shape[2:]
        if height * width > _MOST_PIXELS:
            raise ValueError(
                f"features must have at most {_MOST_PIXELS} pixels a plane, got {height} x {width}"
            )
        super().__init__(device, regions, accumulate)
        rows, columns = self.output_size
        mask = regions.mask
        bins = rows * columns if isinstance(how, Moving) else 0
        factors = "" if mask is None else accumulate
        self.keep(_wanted(self.rois, self.boxes.dtype.type, bins, factors))
        parts = self.memory.parts
        self.packed = self.memory.packed(_rotated, self.packed_rois)
        self.unit, self.turn = sampling.spatial_scale, 0.0
        self.sampling_ratio = sampling.sampling_ratio
        self.box_options = self._options[:1]
        arguments: Arguments = self.packed_boxes(), packed_sampling(sampling)
        if isinstance(how, Moving):
            self.unit = how.gamma
            moving = MOVING(
                offsets=regions.offsets,
                mask=mask,
                bases=parts["bases"],
                factors=parts.get("factors"),
                gamma=how.gamma,
                double_mask=mask is not None and mask.dtype == "float64",
            )
            kernel, arguments = "fill_moved", (*arguments, moving)
        else:
            self.turn = (-1 if how.clockwise else 1) * (np.pi / 180 if how.degrees else 1)
            kernel, arguments = "fill", (*arguments, _turn(how))
        arguments = (*arguments, self.packed_rois, parts["rotated"])
        self.launch_table(kernel, -(-self.rois // 4), 128, arguments, "sample")
        if self.begin is not None:
            self.launch_table("find_read", -(-self.rois // 4), 128, (self.packed,), "sample")
            self.move()


@functools.lru_cache(64)
def _wanted(rois: int, dtype: Any, bins: int, factors: str) -> Wanted:
    arrays: dict[str, tuple[tuple[int, ...], Any]] = {"rotated": ((rois, BOX_NUMBERS), dtype)}
    if bins:
        arrays["bases"] = ((rois, bins, 2), dtype)
    if factors:
        arrays["factors"] = ((rois, bins), np.dtype(factors))
    return Wanted(**of_rois(rois), **arrays)


def _rotated(parts: Mapping[str, Any], rois: Struct) -> Struct:
    return ROTATED(rois=rois, boxes=parts["rotated"], bases=parts.get("bases"), factors=parts.get("factors"))


@functools.lru_cache(4)
def _turn(turn: Turn) -> Struct:
    return TURN(**turn._asdict())
