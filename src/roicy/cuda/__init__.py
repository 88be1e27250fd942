"""The CUDA backend: the functions that plans call with CuPy arrays, the twin of `roicy.cpu`.

Its kernels are the ``.cu`` texts of this folder, compiled by CuPy for the device in use when they are first
needed. Importing this package imports no CuPy.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Self

from roicy._types import DType, Ndarray, Purpose, Regions
from roicy.cuda import state
from roicy.cuda.again import Again
from roicy.cuda.apply.axis import AxisKernels
from roicy.cuda.apply.grid import GridKernels
from roicy.cuda.apply.mask import MaskKernels
from roicy.cuda.apply.quad import QuadKernels
from roicy.cuda.apply.range import RangeKernels
from roicy.cuda.apply.rows import RowKernels
from roicy.cuda.apply.sample import SampleKernels
from roicy.cuda.tables.levels import LevelKernels
from roicy.cuda.tables.rois import ImageTable, RoiTable


class Kernels(
    AxisKernels,
    GridKernels,
    LevelKernels,
    MaskKernels,
    QuadKernels,
    RangeKernels,
    RowKernels,
    SampleKernels,
):
    """All kernels on one kind of device; its methods are the functions of `roicy.cpu`.

    Parameters
    ----------
    xp : module
        The array library: `cupy`.
    module : callable
        ``module(code=, options=)`` compiles a source, as `cupy.RawModule` does.
    current_device : callable
        Returns the number of the device in use.
    current_stream : callable, optional
        Returns the stream in use, which is a `cupy.cuda.Stream`; without it there is one stream only.
    allocate : callable, optional
        ``allocate(bytes)`` returns memory, which is a `cupy.cuda.MemoryPointer`; without it a table keeps
        arrays of `xp`.
    """

    @property
    def streams(self) -> Self:
        """What orders work that is not waited for: this object itself."""
        return self

    @functools.cached_property
    def again(self) -> Again | None:
        """Calls that are like an earlier one; None where tables keep arrays, whose addresses are not all."""
        return None if self.allocate is None else Again(self, self._current_device)

    @property
    def pyramids(self) -> Self:
        """What assigns boxes to the maps of a pyramid: this object itself."""
        return self

    @property
    def crops_again(self) -> None:
        """What repeats earlier crops: nothing on a device."""
        return None

    def serves(self, table: RoiTable, purpose: Purpose) -> bool:
        """Return whether a table has all that the kernels of a purpose will ask for."""
        return table.serves(purpose)

    def serve(self, table: RoiTable, purpose: Purpose) -> None:
        """Make what the kernels of a purpose will ask of a table."""
        table.serve(purpose)

    def together(self, tables: Sequence[RoiTable], purpose: Purpose, channels: int) -> Self | None:
        """Return this object, whose calls then take no memory; None where they would, and might fail."""
        if any(isinstance(table, ImageTable) for table in tables):
            return None
        for table in tables:
            table.serve(purpose)
        return self

    def take(self) -> None:
        """Do nothing: the stream has the calls already."""

    def run(self) -> None:
        """Do nothing more, either."""

    def doubts(self, regions: Regions, scale: float) -> None:
        """Return None: to look at boxes of a device would be to wait for them."""

    def in_pieces(self, table: RoiTable, purpose: Purpose, dtype: DType) -> bool:
        """Return whether a kernel takes memory between writes to an array of this dtype: none does."""
        return False

    def check_arrays(self, arrays: Iterable[tuple[str, Ndarray]]) -> None:
        """Check that named arrays of a call are on the device in use, and their items where items can be.

        Parameters
        ----------
        arrays : iterable of (str, array)
            The arrays with what to call them.

        Raises
        ------
        ValueError
            Where an array is on another device, or not aligned to the size of its items.
        """
        current = self._current_device()
        for name, array in arrays:
            memory, size = array.data, array.itemsize
            if array.device.id != current:
                raise ValueError(
                    f"{name} must be on the device in use, {current}, as all arrays of a call, got one on "
                    f"device {array.device.id}: choose that with cupy.cuda.Device({array.device.id})"
                )
            if memory.ptr % size or not _are_multiples(array.strides, size):
                raise ValueError(
                    f"{name} must have items at multiples of their size of {size} bytes, got address "
                    f"{memory.ptr:#x} and strides {array.strides}"
                )


@functools.lru_cache(256)
def _are_multiples(strides: tuple[int, ...], size: int) -> bool:
    return not any(stride % size for stride in strides)


@functools.cache
def kernels() -> Kernels:
    """Return the kernels for CuPy arrays.

    Raises
    ------
    ImportError, RuntimeError
        Where CuPy cannot be imported, finds no device or cannot compile; the message says what to do.
    """
    state.check()
    import cupy

    get_device, get_stream = cupy.cuda.runtime.getDevice, cupy.cuda.get_current_stream
    return Kernels(cupy, cupy.RawModule, get_device, get_stream, cupy.cuda.alloc)
