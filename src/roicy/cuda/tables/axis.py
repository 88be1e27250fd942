"""Axis tables on the device, and the kernels that apply them.

The lists of taps have room for as many as any box could have on a map of that size: then nothing has to be
waited for. Where that would be too much memory the device is asked what the boxes need.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy._types import DType, Ndarray, Regions, Sampling
from roicy.cuda.device import Arguments, Device, rule_options
from roicy.cuda.structs import POINTER, Layout, Struct
from roicy.cuda.tables.rois import ROIS, RoiTable

#: Bytes of tables that are set aside without asking what the boxes need.
UNASKED_BYTES = 1 << 28


#: As in axis.cuh.
AXIS = Layout(start=POINTER, count=POINTER, taps=POINTER, first=POINTER, room=np.int64)
AXES = Layout(rois=ROIS, y=AXIS, x=AXIS)
TURNED = Layout(start=POINTER, taps=POINTER, first=POINTER, line=POINTER, room=np.int64, pixels=np.int64)
TURNED_AXES = Layout(rois=ROIS, y=TURNED, x=TURNED)


class _Axis:
    """Lists of taps of every RoI along one axis.

    It does not know its table: of a circle of references only Python's garbage collector gets rid, and that
    knows nothing of memory on a device.
    """

    def __init__(
        self, xp: Any, image: Ndarray, real: DType, bins: int, length: int, sampling_ratio: int
    ) -> None:
        self._xp = xp
        self._rois = len(image)
        self._real = real
        self._unused = image  # stands where a kernel wants an array and reads none
        self.bins = bins
        self.length = length
        #: taps that a RoI has at the most: a bin has no more than it spans pixels, and neighbours share a few
        self.room = max(1, min(bins * length, length + (length * bins >> 20) + 4 * bins + 2))
        if sampling_ratio:
            self.room = min(self.room, 2 * sampling_ratio * bins)
        self.pixels = length + 1
        self.first = self.line = None

    def bytes(self, sloped: bool, turned: bool) -> int:
        """Return how much memory the lists take."""
        taps = 2 * self._real.itemsize * (1 + sloped + turned)
        return self._rois * (8 * self.bins + self.room * taps + 4 * self.pixels * turned)

    def fit(self, room: Ndarray, pixels: Ndarray) -> None:
        """Give each RoI the room it needs: (K,) taps and pixels."""
        xp = self._xp
        starts = xp.zeros((2, len(room) + 1), np.int64)
        xp.cumsum(room, out=starts[0, 1:])
        xp.cumsum(pixels, out=starts[1, 1:])
        self.first, self.line = starts
        self.room = self.pixels = 0

    def reserve(self, sloped: bool, turned: bool) -> None:
        xp, k, real = self._xp, self._rois, self._real
        taps = max(1, self.room * k if self.first is None else int(self.first[-1]))
        pixels = max(1, self.pixels * k if self.line is None else int(self.line[-1]))
        self.start = xp.empty((k, self.bins), np.int32)
        self.count = xp.empty((k, self.bins), np.int32)
        self.taps = xp.empty((taps, 2), real)
        self.slopes = xp.empty((taps, 2), real) if sloped else self.taps
        self.turned_start = xp.empty(pixels, np.int32) if turned else self.start
        self.turned = xp.empty((taps, 2), real) if turned else self.taps

    def _room(self) -> Arguments:
        return np.int64(self.room), self._unused if self.first is None else self.first

    def _pixels(self) -> Arguments:
        return np.int64(self.pixels), self._unused if self.line is None else self.line

    def filled(self) -> Arguments:
        """Return the arguments that the macro FILLED stands for."""
        return (
            np.int32(self.length),
            np.int32(self.bins),
            *self._room(),
            *self._pixels(),
            self.start,
            self.count,
            self.taps,
            self.slopes,
            self.turned_start,
            self.turned,
        )

    def lists(self) -> Struct:
        """Return what the kernels are told of the lists: a struct Axis."""
        return AXIS(start=self.start, count=self.count, taps=self.taps, first=self.first, room=self.room)

    def transpose(self) -> Struct:
        """Return what they are told of the transposed lists: a struct Turned."""
        return TURNED(
            start=self.turned_start,
            taps=self.turned,
            first=self.first,
            line=self.line,
            room=self.room,
            pixels=self.pixels,
        )


class AxisTable(RoiTable):
    """Axis tables of K RoIs, in both axes; the parameters are those of `roicy.cpu.tables.axis`.

    Attributes
    ----------
    y, x : _Axis
        Lists of taps along either axis.
    packed : Struct
        What the kernels are told of the table: a struct Axes, or TurnedAxes for the features' gradient.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        sampling: Sampling,
        accumulate: str,
        purpose: str,
    ) -> None:
        super().__init__(device, regions, accumulate)
        geometry = (
            np.float64(sampling.spatial_scale),
            np.int32(sampling.sampling_ratio),
            np.int32(sampling.aligned),
        )
        self._rule = rule_options(sampling.rule)
        sloped, turned = purpose == "backward_rois", purpose == "backward"
        shared = device.xp, self.image, np.dtype(accumulate)
        (_, _, height, width), (rows, columns) = self.input_shape, self.output_size
        self.y = _Axis(*shared, rows, height, sampling.sampling_ratio)
        self.x = _Axis(*shared, columns, width, sampling.sampling_ratio)
        if self.y.bytes(sloped, turned) + self.x.bytes(sloped, turned) > UNASKED_BYTES:
            self._measure(geometry)
        self.y.reserve(sloped, turned)
        self.x.reserve(sloped, turned)
        arguments = (
            *self.rows(),
            *self.y.filled(),
            *self.x.filled(),
            *geometry,
            np.int32(sloped),
            np.int32(turned),
            self.image,
            self.window,
        )
        self._launch("fill", arguments)
        if turned:
            self.packed = TURNED_AXES(rois=self.packed_rois, y=self.y.transpose(), x=self.x.transpose())
        else:
            self.packed = AXES(rois=self.packed_rois, y=self.y.lists(), x=self.x.lists())

    def _measure(self, geometry: Arguments) -> None:
        room, pixels = self.device.xp.empty((2, 2, self.rois), np.int64)
        sizes = map(np.int32, (*self.input_shape[2:], *self.output_size))
        arguments = (*self.rows(), *sizes, *geometry, room, pixels)
        self._launch("measure", arguments)
        self.y.fit(room[0], pixels[0])
        self.x.fit(room[1], pixels[1])

    def _launch(self, kernel: str, arguments: Arguments) -> None:
        self.device.launch("axis", kernel, self._options + self._rule, -(-self.rois // 2), 128, arguments)
