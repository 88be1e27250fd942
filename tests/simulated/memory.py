"""The memories of a grid: the device's, shared, each thread's own, parameters; every access is checked."""

from __future__ import annotations

import re

import numpy as np

from .arithmetic import BITS, Array
from .ptx import Kernel, PtxError

#: Where the memories begin among the generic addresses; the device's own are the host's.
WINDOWS = {"global": 0, "shared": 1 << 60, "local": 1 << 61, "param": 1 << 62}
#: What memory holds before it is written.
UNWRITTEN = 0xA5


class DeviceMemory:
    """All that is allocated, out of one piece of the host's memory.

    Parameters
    ----------
    base : int
        Where the piece begins.
    whole : array of bytes
        The piece.
    starts, ends : arrays of uint64
        The first byte of each allocation, in ascending order, and the one behind its last.
    """

    def __init__(self, base: int, whole: Array, starts: Array, ends: Array) -> None:
        self.base = base
        self.whole = whole
        self.starts, self.ends = starts, ends

    def outside(self, addresses: Array, size: int) -> Array:
        """Return which accesses of `size` bytes are not within one allocation."""
        place = np.searchsorted(self.starts, addresses, "right") - 1
        return (place < 0) | (addresses + np.uint64(size) > self.ends[np.maximum(place, 0)])


class Spaces:
    """What a grid of threads can access, `threads` in each of its `blocks`."""

    def __init__(
        self, device: DeviceMemory, kernel: Kernel, blocks: int, threads: int, shared: int, parameters: bytes
    ):
        self._device = device
        self._shared = np.full((blocks, kernel.static + -(-shared // 16) * 16), UNWRITTEN, np.uint8)
        self._local = np.full((blocks * threads, -(-kernel.local // 16) * 16), UNWRITTEN, np.uint8)
        self._parameters = np.frombuffer(parameters.ljust(-(-len(parameters) // 16) * 16, b"\0"), np.uint8)
        self._threads = threads

    def load(self, space: str, addresses: Array, thread: Array, size: int, count: int) -> list[Array]:
        """Return `count` numbers of `size` bytes that lie at the addresses of threads, in turn."""
        found = [np.zeros(addresses.shape, BITS[8 * size]) for _ in range(count)]
        for some, memory, offset in self._places(space, addresses, thread, size * count):
            numbers = memory.view(BITS[8 * size])
            for place, values in enumerate(found):
                values[some] = numbers[offset // size + place]
        return found

    def store(self, space: str, addresses: Array, thread: Array, size: int, values: list[Array]) -> None:
        """Write numbers of `size` bytes to the addresses of threads."""
        for some, memory, offset in self._places(space, addresses, thread, size * len(values)):
            numbers = memory.view(BITS[8 * size])
            for place, value in enumerate(values):
                numbers[offset // size + place] = value[some] if np.ndim(value) else value

    def cells(self, space: str, addresses: Array, thread: Array, dtype: np.dtype) -> tuple[Array, Array]:
        """Return a memory as numbers, and which of these the threads read and write at once."""
        ((_, memory, offset),) = self._places(space, addresses, thread, dtype.itemsize)
        return memory.view(dtype), offset // dtype.itemsize

    def _places(self, space: str, addresses: Array, thread: Array, size: int):
        # (which threads, memory, offsets in it) for each of the memories that they access
        if space != "generic":
            yield slice(None), *self._place(space, addresses, thread, size)
            return
        tops = addresses >> np.uint64(60)
        for name, window in WINDOWS.items():
            (some,) = np.nonzero(tops == window >> 60)
            if len(some):
                yield some, *self._place(name, addresses[some] - np.uint64(window), thread[some], size)

    def _place(self, space: str, addresses: Array, thread: Array, size: int) -> tuple[Array, Array]:
        if (addresses & np.uint64(size - 1)).any():
            bad = np.argmax(addresses & np.uint64(size - 1) != 0)
            raise PtxError(
                f"thread {thread[bad]} accesses {size} bytes of {space} memory at {addresses[bad]:#x}"
            )
        if space == "global":
            outside = self._device.outside(addresses, size)
            memory, offset = self._device.whole, addresses - np.uint64(self._device.base)
        else:
            owner = {"shared": thread // self._threads, "local": thread, "param": 0}[space]
            memory = {"shared": self._shared, "local": self._local, "param": self._parameters[None]}[space]
            outside = addresses + np.uint64(size) > memory.shape[1]
            offset = addresses + np.asarray(owner * memory.shape[1], np.uint64)
            memory = memory.reshape(-1)
        if outside.any():
            bad = np.argmax(outside)
            raise PtxError(
                f"thread {thread[bad]} accesses {size} bytes outside {space} memory at {addresses[bad]:#x}"
            )
        return memory, offset.astype(np.int64)


def place_of(operand: str) -> tuple[str, int]:
    """Return the register, or name, and the bytes that ``[name + bytes]`` adds up."""
    name, offset = re.fullmatch(r"\[\s*([%\w$.]+)\s*(?:\+\s*(-?\w+))?\s*\]", operand).groups()
    return name, int(offset or "0", 0)
