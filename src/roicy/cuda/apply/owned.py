"""Pixels that warps own: how the planes of a gradient are divided among them."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray
from roicy.cuda.apply.argmax import channels_closer
from roicy.cuda.device import Arguments

# As in owned.cuh: warps of a block; and the bytes that a warp's sums take.
OWNERS, _OWNED = 8, 4096
# Channels whose planes are in use at a time, and blocks below which fewer are taken.
_CHUNK, _FEW_BLOCKS = 32, 2048


class Owned:
    """How the planes of a gradient are divided among the warps that own their pixels; see owned.cuh."""

    def __init__(self, gradient: Ndarray, accumulate: str) -> None:
        images, channels, height, width = gradient.shape
        plane, most = height * width, _OWNED // (8 if accumulate == "float64" else 4)
        ranges = -(-plane // most)
        self._gradient = gradient
        self._ranges = ranges
        self._size = -(-plane // ranges) if ranges else 0
        self.tasks = ranges * images * -(-channels // OWNERS)
        self.shared = OWNERS * self._size * (8 if accumulate == "float64" else 4)

    def arguments(self) -> Arguments:
        """Return (N, C, pixels of a plane, of a warp, ranges of a plane, by_channel, tasks)."""
        images, channels, height, width = self._gradient.shape
        return (
            np.int64(images),
            np.int32(channels),
            np.int64(height * width),
            np.int32(self._size),
            np.int64(self._ranges),
            np.int32(channels_closer(self._gradient)),
            np.int64(self.tasks),
        )


def chunk_of(channels: int, rois: int) -> int:
    """Return how many channels a block takes."""
    chunk = _CHUNK
    while chunk > 16 and -(-channels // chunk) * rois < _FEW_BLOCKS:
        chunk //= 2
    return chunk
