"""Memory of tables: one allocation for all arrays of a table, and the structs that describe it to kernels."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from roicy._types import Ndarray
from roicy.cuda.structs import Address

if TYPE_CHECKING:
    from roicy.cuda.device import Device

Packed = TypeVar("Packed")

#: Where an array of a table may begin: any vector access is aligned there.
_ALIGNMENT = 256


class Wanted:
    """The arrays of a table, and their offsets in its memory.

    Parameters
    ----------
    **arrays : tuple
        The shape and the dtype of each array.

    Attributes
    ----------
    arrays : dict of str
        The same.
    begin : dict of str
        At which byte each of them begins.
    size : int
        Bytes of all.
    """

    def __init__(self, **arrays: tuple[tuple[int, ...], Any]) -> None:
        self.arrays = arrays
        self.begin: dict[str, int] = {}
        self.size = 0
        for name, (shape, dtype) in arrays.items():
            self.begin[name] = self.size
            self.size += -(-math.prod(shape) * np.dtype(dtype).itemsize // _ALIGNMENT) * _ALIGNMENT


class Memory:
    """The arrays of a table; only kernels read and write them.

    Parameters
    ----------
    device : Device
        Where they are.
    wanted : Wanted
        The arrays. Tables of one size have the same object.

    Attributes
    ----------
    parts : mapping of str
        The arrays, or where they are; structs take both.
    """

    def __init__(self, device: Device, wanted: Wanted) -> None:
        self._xp = device.xp
        self._wanted = wanted
        self._block = device.room(wanted.size)
        self.parts: Mapping[str, Any]
        if self._block is None:
            self.parts = {name: device.empty(*array) for name, array in wanted.arrays.items()}
        else:
            self.parts = _addresses(wanted, self._block.ptr)

    @property
    def extent(self) -> tuple[int, int]:
        """Where it begins, and how many bytes it has; of memory that is no arrays."""
        return self._block.ptr, self._wanted.size

    def packed(self, pack: Callable[..., Packed], *values: Any) -> Packed:
        """Return ``pack(parts, *values)``: what that was before, for the same memory and the same values.

        The values are hashable: numbers, and where arrays are.
        """
        if self._block is None:
            return pack(self.parts, *values)
        again: Packed = _packed(pack, self._wanted, self._block.ptr, *values)
        return again

    def array(self, name: str) -> Ndarray:
        """Return one of the arrays as one of the library's."""
        if self._block is None:
            return self.parts[name]
        return self._xp.ndarray(*self._wanted.arrays[name], self._block + self._wanted.begin[name])


# Memory that is given back is soon taken again: calls of one size find theirs at a few addresses.


@functools.lru_cache(256)
def _addresses(wanted: Wanted, address: int) -> Mapping[str, Address]:
    return {name: Address(address + begin) for name, begin in wanted.begin.items()}


@functools.lru_cache(512)
def _packed(pack: Callable[..., Any], wanted: Wanted, address: int, *values: Any) -> Any:
    return pack(_addresses(wanted, address), *values)
