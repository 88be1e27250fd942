"""How the pixels of a gradient are divided among warps; each warp owns some."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray
from roicy.cuda.apply.argmax import channels_closer
from roicy.cuda.device import LONG, Options
from roicy.cuda.structs import Layout, Struct
from roicy.cuda.tables.rois import BY_IMAGE
from roicy.cuda.tuning import CONSTANTS

#: As in owned.cuh.
TARGET = Layout(
    by_image=BY_IMAGE,
    images=np.int64,
    plane=np.int64,
    ranges=np.int64,
    tasks=np.int64,
    channels=np.int32,
    width=np.int32,
    size=np.int32,
    by_channel=np.int32,
)
# Bytes that the sums of a warp take: beside the rest a block's then fit into 48 kB.
_OWNED = {"float32": 7600, "float64": 7040}
# With fewer blocks than this, ranges become smaller, down to the least number of pixels.
_FEW_TASKS, _LEAST = 512, 512
# Channels whose planes are in use at a time, and blocks below which fewer are taken.
_CHUNK, _FEW_BLOCKS = 32, 2048


class Owned:
    """How the planes of a gradient are divided among the warps that own their pixels; see owned.cuh.

    Attributes
    ----------
    packed : Struct
        The target as an argument of kernels: a struct Target.
    options : tuple of str
        What its source is specialised by.
    tasks, threads, shared : int
        How many there are, threads of a block and its bytes of shared memory.
    """

    def __init__(self, source: str, gradient: Ndarray, long: bool, accumulate: str, by_image: Struct) -> None:
        images, channels, height, width = gradient.shape
        warps = CONSTANTS[source]["WARPS"]
        long = long and accumulate == "float32"
        real = 4 if accumulate == "float32" and not long else 8
        self.options: Options = LONG[long]
        plane = height * width
        ranges = -(-plane // (_OWNED[accumulate] // real))
        blocks = images * -(-channels // warps)
        if blocks and ranges * blocks < _FEW_TASKS:
            ranges = min(-(-_FEW_TASKS // blocks), max(ranges, plane // _LEAST))
        size = -(-plane // ranges) if ranges else 0
        self.tasks = ranges * blocks
        self.threads = 32 * warps
        self.shared = warps * size * real
        self.packed = TARGET(
            by_image=by_image,
            images=images,
            plane=plane,
            ranges=ranges,
            tasks=self.tasks,
            channels=channels,
            width=width,
            size=size,
            by_channel=channels_closer(gradient),
        )


def chunk_of(channels: int, rois: int) -> int:
    """Return how many channels a block takes."""
    chunk = _CHUNK
    while chunk > 16 and -(-channels // chunk) * rois < _FEW_BLOCKS:
        chunk //= 2
    return chunk
