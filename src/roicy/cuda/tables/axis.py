"""Axis tables on the device, and the kernels that apply them.

The lists of taps have room for the most taps that any box could have on a map of that size, so the host need
not wait. If that is too much memory, the host reads from the device how many taps the boxes have.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from roicy._types import EDGE, Accumulate, Ndarray, Purpose, Regions, Sampling, Size
from roicy.cuda.device import Device, rule_options
from roicy.cuda.memory import Memory, Wanted
from roicy.cuda.structs import POINTER, Layout, Struct
from roicy.cuda.tables.rois import ROIS, RoiTable, of_rois, packed_numbers, packed_sampling
from roicy.cuda.tuning import CONSTANTS

#: Up to this many bytes of a table are allocated without asking the device what the boxes need.
UNASKED_BYTES = 1 << 28
#: Warps up to which an axis of a RoI is divided among several, where its lists are transposed.
BUSY_WARPS = 2048

#: As in axis.cuh and axis.cu.
AXIS = Layout(start=POINTER, count=POINTER, taps=POINTER, first=POINTER, room=np.int64)
AXES = Layout(rois=ROIS, y=AXIS, x=AXIS)
TURNED = Layout(
    start=POINTER,
    taps=POINTER,
    first=POINTER,
    first_pixel=POINTER,
    room=np.int64,
    pixels=np.int64,
    bin_start=POINTER,
    bin_count=POINTER,
    bin_taps=POINTER,
)
TURNED_AXES = Layout(rois=ROIS, y=TURNED, x=TURNED)
FILLED = Layout(
    room=np.int64,
    pixels=np.int64,
    first=POINTER,
    first_pixel=POINTER,
    start=POINTER,
    count=POINTER,
    taps=POINTER,
    slopes=POINTER,
    outside=POINTER,
    turned_start=POINTER,
    turned=POINTER,
)
FILLED_AXES = Layout(rois=ROIS, warps=np.int32, y=FILLED, x=FILLED)


#: Taps and pixels of either axis, of each RoI or of all.
_Rooms: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
#: Whether slopes, lists of pixels and weights outside are kept.
_Purposes: TypeAlias = tuple[bool, bool, bool]
#: Arrays of where the lists of either axis begin, or None where each RoI has the same room.
_Begins: TypeAlias = tuple[tuple[Any, Any], tuple[Any, Any]]
#: Each RoI has its own, as the arrays say.
_OWN_ROOMS: _Rooms = (0, 0), (0, 0)


class AxisTable(RoiTable):
    """Axis tables of K RoIs, in both axes; the parameters are those of `roicy.cpu.tables.axis`.

    Attributes
    ----------
    packed : Struct
        The table as an argument of kernels: a struct Axes, or TurnedAxes for the features' gradient.
    outside : tuple of array or None
        For rows and for columns of bins (K, bins), the weight of what lies outside of the map.
    """

    def __init__(
        self,
        device: Device,
        regions: Regions,
        sampling: Sampling,
        accumulate: Accumulate,
        purpose: Purpose,
    ) -> None:
        super().__init__(device, regions, accumulate)
        bordered = purpose == "forward" and sampling.border != EDGE
        purposes = purpose == "backward_rois", purpose == "backward", bordered
        settled = _settled(self._shapes(), sampling, accumulate, purposes)
        self._specialised = self._options + settled.rule
        self._sampling = settled.sampling
        if settled.wanted.size <= UNASKED_BYTES:
            self.memory = Memory(device, settled.wanted)
            self.packed_rois, filled, self.packed = self.memory.packed(_all_structs, settled)
        else:
            begins, totals = self._measured()
            self.keep(_wanted(self.rois, self.output_size, totals, accumulate, *purposes))
            filled, self.packed = _structs(self.memory.parts, self.packed_rois, _OWN_ROOMS, *purposes, begins)
        self.outside = self.memory.parts.get("y_outside"), self.memory.parts.get("x_outside")
        self._launch("fill", int(filled["warps"]), self.packed_boxes(), self._sampling, filled)
        if self.begin is not None:
            self._move_taps(self.move())

    def _move_taps(self, reads: Ndarray) -> None:
        # count pixels from the beginning of the part; unused room behind a list must name pixels, too
        for axis, begin, length in zip("yx", self.begin or (), self.input_shape[2:], strict=True):
            taps = self.memory.array(f"{axis}_taps").view(np.int32)
            pixels = taps.reshape(-1, 2 if self.accumulate == "float32" else 4)
            pixels = pixels[:, 1 if self.accumulate == "float32" else 2]
            pixels[...] = (pixels - np.int32(begin)).clip(0, max(0, length - 1))
            self.memory.array(f"{axis}_count")[...] *= reads[:, None]

    def _measured(self) -> tuple[_Begins, _Rooms]:
        # where the lists of each RoI begin, and their total length; waits for the device
        xp, k = self.device.xp, self.rois
        self.boxes = self.boxes.copy()  # read twice (measured, then used): the caller may change them
        sizes = xp.empty((2, 2, k), np.int64)  # of taps and pixels, along y and x
        self._launch("measure", 1, self.packed_boxes(), self._sampling, self.numbers(), sizes[0], sizes[1])
        begins = xp.zeros((2, 2, k + 1), np.int64)
        xp.cumsum(sizes, axis=2, out=begins[:, :, 1:])
        (y_taps, x_taps), (y_pixels, x_pixels) = begins[:, :, -1].tolist()
        (y_first, x_first), (y_pixel, x_pixel) = begins
        return ((y_first, y_pixel), (x_first, x_pixel)), ((y_taps, y_pixels), (x_taps, x_pixels))

    def _launch(self, kernel: str, warps: int, *arguments: Any) -> None:
        # a task is an axis of a RoI
        blocks = -(-2 * self.rois * warps // CONSTANTS["axis"]["WARPS"])
        threads = 32 * CONSTANTS["axis"]["WARPS"]
        self.device.launch("axis", kernel, self._specialised, blocks, threads, arguments)


@functools.lru_cache(64)
def _rooms(rois: int, lengths: Size, bins: Size, sampling_ratio: int) -> _Rooms:
    # Bounds on the taps of a RoI: a bin has at most as many as it spans pixels, and neighbouring bins share a
    # few pixels.
    def room(length: int, bins: int) -> int:
        most = max(1, min(bins * length, length + (length * bins >> 20) + 4 * bins + 2))
        return min(most, 2 * sampling_ratio * bins) if sampling_ratio else most

    (height, width), (rows, columns) = lengths, bins
    return (room(height, rows), height + 1), (room(width, columns), width + 1)


class _Settled:
    # The common data of tables with equally many boxes on maps of the same size: all but addresses.
    def __init__(
        self, shapes: tuple[Any, ...], sampling: Sampling, accumulate: Accumulate, purposes: _Purposes
    ) -> None:
        rois, _, map_size, _, output_size = self.shapes = shapes
        self.purposes = purposes
        self.rule = rule_options(sampling.rule)
        self.sampling = packed_sampling(sampling)
        self.rooms = _rooms(rois, map_size, output_size, sampling.sampling_ratio)
        totals = _totals(rois, self.rooms)
        self.wanted = _wanted(rois, output_size, totals, accumulate, *purposes)


_settled = functools.lru_cache(256)(_Settled)


def _all_structs(parts: Mapping[str, Any], settled: _Settled) -> tuple[Struct, Struct, Struct]:
    # structs for all kernels (the RoIs), for the kernel that fills the table, and for kernels that apply it
    rois = packed_numbers(parts, *settled.shapes)
    return rois, *_structs(parts, rois, settled.rooms, *settled.purposes)


def _totals(rois: int, rooms: _Rooms) -> _Rooms:
    (y_taps, y_pixels), (x_taps, x_pixels) = rooms
    return (rois * y_taps, rois * y_pixels), (rois * x_taps, rois * x_pixels)


@functools.lru_cache(64)
def _wanted(
    rois: int,
    output_size: Size,
    totals: _Rooms,
    accumulate: Accumulate,
    sloped: bool,
    turned: bool,
    bordered: bool,
) -> Wanted:
    arrays = of_rois(rois)
    real = np.float64 if accumulate == "float64" else np.float32
    for axis, bins, (taps, pixels) in zip("yx", output_size, totals, strict=True):
        arrays[f"{axis}_start"] = arrays[f"{axis}_count"] = (rois, bins), np.int32
        for name in ("taps", *("slopes",) * sloped, *("turned",) * turned):
            arrays[f"{axis}_{name}"] = (max(1, taps), 2), real
        if bordered:
            arrays[f"{axis}_outside"] = (rois, bins), real
        if turned:
            arrays[f"{axis}_turned_start"] = (max(1, pixels),), np.int32
    return Wanted(**arrays)


def _structs(
    parts: Mapping[str, Any],
    rois: Struct,
    rooms: _Rooms,
    sloped: bool,
    turned: bool,
    _bordered: bool,
    begins: _Begins = ((None, None), (None, None)),
) -> tuple[Struct, Struct]:
    # structs for the kernel that fills the table, and for kernels that apply it
    filled, applied = {}, {}
    for axis, (room, pixels), (first, first_pixel) in zip("yx", rooms, begins, strict=True):
        start, count, taps, slopes, outside, turned_taps, turned_start = (
            parts.get(f"{axis}_{name}")
            for name in ("start", "count", "taps", "slopes", "outside", "turned", "turned_start")
        )
        filled[axis] = FILLED(
            room=room,
            pixels=pixels,
            first=first,
            first_pixel=first_pixel,
            start=start,
            count=count,
            taps=taps,
            slopes=slopes,
            outside=outside,
            turned_start=turned_start,
            turned=turned_taps,
        )
        if turned:
            applied[axis] = TURNED(
                start=turned_start,
                taps=turned_taps,
                first=first,
                first_pixel=first_pixel,
                room=room,
                pixels=pixels,
                bin_start=start,
                bin_count=count,
                bin_taps=taps,
            )
        else:
            applied[axis] = AXIS(start=start, count=count, taps=taps, first=first, room=room)
    most = CONSTANTS["axis"]["WARPS"]
    warps = most if turned and 2 * int(rois["count"]) * most <= BUSY_WARPS else 1
    return FILLED_AXES(rois=rois, warps=warps, **filled), (TURNED_AXES if turned else AXES)(
        rois=rois, **applied
    )
