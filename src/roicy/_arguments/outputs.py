"""Arrays of results: those that are given are checked, others are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from roicy._arguments.arrays import INT32, is_aligned, library_of
from roicy._types import DType, Ndarray, NumPyArray
from roicy.cpu.runtime.outputs import new_array

# How hard to look for a shared element in arrays whose memory interlocks, before they count as overlapping.
_OVERLAP_WORK: Any = 1_000_000  # NumPy's own types know its special values only


def out(value: Any, shape: tuple[int, ...], dtype: DType, *inputs: Ndarray, name: str = "out") -> Ndarray:
    """Return the array for the result: the caller's, after checks, or a new one."""
    xp = library_of(inputs[0])
    if value is None:
        return new(name, shape, dtype, xp)
    if not isinstance(value, xp.ndarray):
        raise TypeError(f"{name} must be one {xp.__name__}.ndarray, got a {type(value).__name__}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {value.shape}")
    if value.dtype != dtype:
        raise ValueError(f"{name} must have dtype {dtype} in native byte order, got {value.dtype}")
    if not (value.flags.carray if xp is np else value.flags.c_contiguous):
        if xp is np and not value.flags.writeable:
            raise ValueError(f"{name} must be writeable, got a read-only array")
        if _overlaps_itself(value):
            raise ValueError(
                f"{name} must not overlap itself, got strides {value.strides} for shape {shape} of {dtype}"
            )
    for array in inputs:
        check_apart(name, value, array)
    return value


def new(name: str, shape: tuple[int, ...], dtype: DType, xp: Any = np, *, blank: bool = False) -> Ndarray:
    """Return a new array of the library `xp` for what is called `name`, of zeros or with any values."""
    try:
        if xp is np:
            return new_array(shape, dtype, blank)
        return xp.zeros(shape, dtype) if blank else xp.empty(shape, dtype)
    except ValueError:
        raise ValueError(f"{name} would have shape {shape} of {dtype}, which no array can have") from None


def outs(
    value: Any, shape: tuple[int, ...], dtype: DType, *inputs: Ndarray, argmax: tuple[int, ...] | None = None
) -> tuple[Ndarray, Ndarray]:
    """Return the two arrays that are the result: pooled values and argmax, of their shape or its own."""
    argmax = argmax or shape
    if type(value) is not tuple:
        return out(value, shape, dtype, *inputs), new("argmax", argmax, INT32, library_of(inputs[0]))
    if len(value) != 2:
        raise ValueError(f"out must be an array or a tuple (values, argmax), got a tuple of {len(value)}")
    values = out(value[0], shape, dtype, *inputs, name="out[0]")
    chosen = out(value[1], argmax, INT32, *inputs, name="out[1]")
    _check_apart([values, chosen])
    return values, chosen


def out_of_each(
    value: Sequence[Any] | None, shapes: Sequence[tuple[int, ...]], dtype: DType, *inputs: Ndarray
) -> list[Ndarray]:
    """Return the arrays that are the result, one for each map."""
    if value is None:
        return [out(None, shape, dtype, *inputs) for shape in shapes]
    found = [
        out(value[level], shape, dtype, *inputs, name=f"out[{level}]") for level, shape in enumerate(shapes)
    ]
    _check_apart(found)
    return found


def check_apart(name: str, value: Ndarray, array: Ndarray) -> None:
    """Raise where an output, called `name`, overlaps an input."""
    if overlap(value, array):
        raise ValueError(f"{name} must not overlap an input array, got memory that both use")


def _check_apart(arrays: Sequence[Ndarray]) -> None:
    for second in range(len(arrays)):
        for first in range(second):
            if overlap(arrays[first], arrays[second]):
                raise ValueError(f"out[{first}] must not overlap out[{second}], got memory that both use")


def written_to(out: Ndarray, at_once: bool) -> Ndarray:
    """Return the array that the kernels fill: `out`, or one to copy from.

    The latter where the items of `out` are unaligned, or it must be written `at_once` when nothing can fail
    any more.
    """
    return out if is_aligned(out) and not at_once else new("out", out.shape, out.dtype, library_of(out))


def _overlaps_itself(array: Ndarray) -> bool:
    # Slices, transposes and fields of an array pass: each stride steps over all that the smaller ones reach.
    axes = zip(map(abs, array.strides), array.shape, strict=True)
    reach = array.itemsize
    for stride, length in sorted((stride, length) for stride, length in axes if length > 1):
        if stride < reach:
            return True
        reach += stride * (length - 1)
    return False


def overlap(first: Ndarray, second: Ndarray) -> bool:
    """Return whether some memory is in both arrays."""
    if not isinstance(first, np.ndarray):
        if not (first.size and second.size):
            return False
        if first.flags.c_contiguous and second.flags.c_contiguous:
            low, other = first.data.ptr, second.data.ptr
            return bool(low < other + second.nbytes and other < low + first.nbytes)
        first, second = _memory(first), _memory(second)
    if not np.may_share_memory(first, second):
        return False
    try:
        return np.shares_memory(first, second, max_work=_OVERLAP_WORK)
    except np.exceptions.TooHardError:
        return True


class _Memory:
    # What a device's array occupies, described as NumPy describes its own.

    def __init__(self, array: Ndarray) -> None:
        self.__array_interface__ = {
            "version": 3,
            "data": (array.data.ptr, False),
            "shape": array.shape,
            "strides": array.strides,
            "typestr": f"|V{array.itemsize}",
        }


def _memory(array: Ndarray) -> NumPyArray:
    # An array whose addresses can be compared, and only those: what it shows lies on a device.
    return np.asarray(_Memory(array))
