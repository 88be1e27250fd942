"""Guard pages before and after the arrays of a launch."""

import ctypes
import dataclasses
import os
from typing import ClassVar

import numpy as np

#: Arrays of up to this many bytes are copied between guard pages for a launch.
MOST_FENCED = 1 << 24


class Fences:
    """Copies of a launch's arrays, each in its own pages between guard pages.

    A view is copied with all of the array that it is of, whose strides the kernel may know. Its place modulo
    16 bytes stays, on which the widest loads depend. What is left of the pages has a pattern that must be
    there afterwards.
    """

    _PATTERN = 0xA5
    _PAGE = os.sysconf("SC_PAGE_SIZE")
    _UNSPOILT = bytes([_PATTERN]) * (_PAGE + 16)  # as many bytes as an array can leave of its pages
    _idle: ClassVar = {}  # by size: pages that a launch is done with
    _fence = ctypes.c_size_t()  # how far the fences reach

    def __init__(self, where, runtime):
        self._where, self._runtime = where, runtime
        self._copies = {}

    @property
    def in_place(self):
        """Whether arrays stay where they are, and addresses alone say where that is."""
        return not self._where

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for copy in self._copies.values():
            if copy.written and not error[0]:
                ctypes.memmove(copy.original, copy.first, copy.size)
            self._idle.setdefault(copy.pages_size, []).append(copy.pages)

    def address(self, place, array, written):
        """Return where the kernel finds the array that is the argument of this place."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        low, high = np.lib.array_utils.byte_bounds(owner) if owner.size else (owner.ctypes.data,) * 2
        if not self._where or high - low > MOST_FENCED:
            return array.ctypes.data
        copy = self._copies.get(low)
        if copy is None:
            copy = self._copies[low] = self._copy(low, high - low)
        copy.written |= written
        copy.places.append(place)
        return copy.first + (array.ctypes.data - low)

    def _copy(self, low, size):
        pages_size = -(-(size + 15) // self._PAGE) * self._PAGE  # it is moved by up to 15 bytes
        idle = self._idle.get(pages_size)
        pages = idle.pop() if idle else self._runtime.cuda_host_fenced(pages_size, ctypes.byref(self._fence))
        if not pages:
            raise MemoryError(f"no {pages_size} bytes between fences")
        if self._where == "before":
            first = pages + low % 16
        else:
            first = pages + pages_size - size
            first -= (first - low) % 16
        copy = _Copy(low, first, size, pages, pages_size)
        ctypes.memset(pages, self._PATTERN, first - pages)
        ctypes.memmove(first, low, size)
        ctypes.memset(first + size, self._PATTERN, pages + pages_size - first - size)
        return copy

    def spoilt(self):
        """Return where something was written next to an array, or None."""
        for copy in self._copies.values():
            rest = {
                "before": (copy.pages, copy.first),
                "behind": (copy.first + copy.size, copy.pages + copy.pages_size),
            }
            for side, (low, high) in rest.items():
                if ctypes.string_at(low, high - low) != self._UNSPOILT[: high - low]:
                    return f"{side} {copy}"
        return None

    def near(self, address):
        """Return by which array an address is, or None."""
        for copy in self._copies.values():
            end, fence = copy.pages + copy.pages_size, self._fence.value
            if copy.pages - fence <= address < copy.pages:
                return f"{copy.first - address} bytes before {copy}"
            if end <= address < end + fence:
                return f"{address - copy.first - copy.size} bytes behind {copy}"
        return None


@dataclasses.dataclass
class _Copy:
    original: int
    first: int
    size: int
    pages: int
    pages_size: int
    written: bool = False
    places: list[int] = dataclasses.field(default_factory=list)

    def __str__(self):
        return f"the {self.size} bytes of argument {', '.join(map(str, self.places))}"
