"""Sample tables on the device, and the kernels that apply them: RoIAlign of rotated boxes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from roicy._types import Regions, Sampling, Turn
from roicy.cuda.device import Device
from roicy.cuda.memory import Wanted
from roicy.cuda.structs import POINTER, Layout, Struct
from roicy.cuda.tables.rois import ROIS, RoiTable, of_rois, packed_sampling

#: As in sample.cuh.
ROTATED = Layout(rois=ROIS, boxes=POINTER)
#: As in rotated.h.
TURN = Layout(degrees=np.int32, clockwise=np.int32)

#: Numbers that are kept of a box, as BOX_NUMBERS in tables/sample.cuh.
BOX_NUMBERS = 16
_MOST_PIXELS = 2**31 - 1


class SampleTable(RoiTable):
    """The geometry of K rotated RoIs; the parameters are those of `roicy.cpu.tables.sample`.

    Attributes
    ----------
    packed : Struct
        What the kernels are told of the table: a struct Rotated.
    turn : float
        Radians per unit of the angle, with its sign.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        sampling: Sampling,
        turn: Turn,
        accumulate: str,
    ) -> None:
        height, width = regions.input_shape[2:]
        if height * width > _MOST_PIXELS:
            raise ValueError(
                f"features must have at most {_MOST_PIXELS} pixels a plane, got {height} x {width}"
            )
        super().__init__(device, regions, accumulate)
        self.keep(_wanted(self.rois, self.boxes.dtype.type))
        rotated = self.memory.parts["rotated"]
        self.packed = self.memory.packed(_rotated, self.packed_rois)
        self.spatial_scale = sampling.spatial_scale
        self.sampling_ratio = sampling.sampling_ratio
        self.turn = (-1 if turn.clockwise else 1) * (np.pi / 180 if turn.degrees else 1)
        self.box_options = self._options[:1]
        boxes, how = self.packed_boxes(), (packed_sampling(sampling), _turn(turn))
        self.launch_table("fill", -(-self.rois // 4), 128, (boxes, *how, self.packed_rois, rotated), "sample")


@functools.lru_cache(64)
def _wanted(rois: int, dtype: Any) -> Wanted:
    return Wanted(**of_rois(rois), rotated=((rois, BOX_NUMBERS), dtype))


def _rotated(parts: Mapping[str, Any], rois: Struct) -> Struct:
    return ROTATED(rois=rois, boxes=parts["rotated"])


@functools.lru_cache(4)
def _turn(turn: Turn) -> Struct:
    return TURN(**turn._asdict())
