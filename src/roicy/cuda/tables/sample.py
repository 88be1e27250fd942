"""Sample tables on the device, and the kernels that apply them: RoIAlign of rotated boxes."""

from __future__ import annotations

import numpy as np

from roicy._types import Regions, Sampling, Turn
from roicy.cuda.device import Device
from roicy.cuda.structs import POINTER, Layout
from roicy.cuda.tables.rois import ROIS, RoiTable

#: As in sample.cuh.
ROTATED = Layout(rois=ROIS, boxes=POINTER)

#: Numbers that are kept of a box, as BOX_NUMBERS in tables/sample.cuh.
BOX_NUMBERS = 16
_MOST_PIXELS = 2**31 - 1


class SampleTable(RoiTable):
    """The geometry of K rotated RoIs; the parameters are those of `roicy.cpu.tables.sample`.

    Attributes
    ----------
    rotated : array, (K, 16), of the dtype of the boxes
        What tables/sample.cuh keeps of each box.
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
        super().__init__(device, regions, accumulate)
        spatial_scale, sampling_ratio, aligned, _ = sampling
        degrees, clockwise = turn
        height, width = self.input_shape[2:]
        if height * width > _MOST_PIXELS:
            raise ValueError(
                f"features must have at most {_MOST_PIXELS} pixels a plane, got {height} x {width}"
            )
        self.rotated = device.xp.empty((self.rois, BOX_NUMBERS), self.boxes.dtype)
        self.packed = ROTATED(rois=self.packed_rois, boxes=self.rotated)
        self.spatial_scale = spatial_scale
        self.turn = (-1 if clockwise else 1) * (np.pi / 180 if degrees else 1)
        self.box_options = self._options[:1]
        arguments = (
            *self.rows(),
            *map(np.int32, (height, width, *self.output_size)),
            np.float64(spatial_scale),
            *map(np.int32, (sampling_ratio, aligned, degrees, clockwise)),
            self.rotated,
            self.image,
            self.window,
        )
        self.launch_table("fill", -(-self.rois // 4), 128, arguments, "sample")
