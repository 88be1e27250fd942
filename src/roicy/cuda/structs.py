"""Arguments that travel packed: structs that kernels take by value, filled here as the kernels declare them.

A `Layout` is the twin of a struct of a ``.cuh`` file, field by field, and makes `Struct` values: NumPy
scalars, whose bytes CuPy hands over. The tests compare both sides: names, types and offsets.
"""

from __future__ import annotations

import functools
import operator
import struct
from typing import Any

import numpy as np

from roicy._types import Ndarray

#: The type of a field that points to the first item of an array.
POINTER = np.uintp

_OF_SIZE = {1: "b", 2: "h", 4: "i", 8: "q"}


class Address(np.uintp):
    """Where an array is: its address on the device."""

    __slots__ = ()


class Struct(np.void):  # type: ignore[misc]  # NumPy's stubs say that nothing derives from it
    """A struct's value, which does not change.

    Attributes
    ----------
    arrays : dict of str, array or dict
        The arrays that its pointers point to, by field, and those of structs in it: they live as long as it.
    """

    arrays: dict[str, Any]

    __hash__ = object.__hash__  # by which one it is: those of one memory and the same values are one


class Layout:
    """The fields of a struct in their order, laid out as CUDA C++ does.

    Parameters
    ----------
    **fields : type or Layout
        The NumPy type of each field, `POINTER` for an array, or the layout of a struct in the struct.
    """

    def __init__(self, **fields: Any) -> None:
        inner = {name: kind for name, kind in fields.items() if isinstance(kind, Layout)}
        types = [(name, inner[name]._fields if name in inner else kind) for name, kind in fields.items()]
        self._fields: np.dtype[Any] = np.dtype(types, align=True)
        self.dtype = np.dtype((Struct, self._fields))
        self._in_order = operator.itemgetter(*fields) if len(fields) > 1 else dict.values
        self._pointers = tuple(name for name, kind in fields.items() if kind is POINTER)
        self._inner = tuple(inner)
        # no items of a type, which leave the gap that one would: a struct begins and ends aligned
        self._aligned = f"0{_OF_SIZE[self._fields.alignment]}"
        codes = (
            f"{kind._aligned}{kind.dtype.itemsize}s" if isinstance(kind, Layout) else np.dtype(kind).char
            for kind in fields.values()
        )
        self._pack = struct.Struct(f"@{''.join(codes)}{self._aligned}").pack

    def __call__(self, **values: Any) -> Struct:
        """Return a struct with these values: numbers, structs; for a pointer an array, an address or None."""
        arrays: dict[str, Any] = {}
        for name in self._pointers:
            array = values[name]
            if array is None:
                values[name] = 0
            elif type(array) is not Address:
                arrays[name] = array
                values[name] = address(array)
        for name in self._inner:
            inner = values[name]
            arrays[name] = inner.arrays
            values[name] = inner.tobytes()
        value: Struct = np.frombuffer(self._pack(*self._in_order(values)), self.dtype)[0]
        value.arrays = arrays
        return value


def address(array: Ndarray) -> int:
    """Return where the first item of an array is."""
    first: int = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    return first


#: From an item of an array shaped (image or RoI, channel, row, column) to the next one along each axis.
STRIDES = Layout(n=np.int64, c=np.int64, y=np.int64, x=np.int64)


def view(array: Ndarray) -> tuple[Ndarray, Struct]:
    """Return an array as the kernels take it: its first item and its strides, in items."""
    first = array if array.flags.c_contiguous else array[:1, :1, :1, :1]
    return first, strides_of(array.strides, array.itemsize)


@functools.lru_cache(256)
def strides_of(strides: tuple[int, ...], size: int) -> Struct:
    """Return strides in bytes as the kernels take them."""
    return STRIDES(**dict(zip("ncyx", (stride // size for stride in strides), strict=True)))
