"""Which kernels an array belongs to: the array's type says it, no flag does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from roicy import cpu
from roicy._types import Kernels

_OPTIONAL = frozenset(("argmax", "batch_indices", "out"))


def kernels_for(**arrays: Any) -> Kernels:
    """Return the kernels for a call's array arguments, each passed under its public name.

    Parameters
    ----------
    **arrays
        The arrays of one call. ``argmax``, ``batch_indices`` and ``out`` may be None, ``rois`` may be a list
        or tuple of arrays, ``out`` a tuple.

    Returns
    -------
    module or roicy.cuda.Kernels
        What holds the kernels for arrays of this type: `roicy.cpu`, or an object with the same functions.

    Raises
    ------
    TypeError
        Where an argument is no array, or an array of another library, or the arguments are mixed.
    ValueError
        Where CuPy arrays are not all on the device in use.
    ImportError, RuntimeError
        Where CuPy arrays cannot be handled by this installation or on this machine.
    """
    for name, array in arrays.items():
        if type(array) is not np.ndarray and (array is not None or name not in _OPTIONAL):
            return _kernels_of(arrays)
    return cpu


def _kernels_of(arrays: dict[str, Any]) -> Kernels:
    # Sorts the arguments by the library that their arrays come from, so that a mixture can be told apart.
    libraries, found = set(), []
    for name, array in _each(arrays):
        if type(array).__module__.partition(".")[0] == "cupy":
            libraries.add("CuPy")
        elif not isinstance(array, np.ndarray):
            raise TypeError(f"{name} must be a numpy.ndarray or cupy.ndarray, got {_type_name(array)}")
        elif type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
            raise TypeError(f"{name} must be a numpy.ndarray without a mask, got a masked array")
        else:
            libraries.add("NumPy")
        found.append(f"{name} ({_type_name(array)})")
    if len(libraries) == 2:
        raise TypeError(f"all arrays of a call must come from one library, got {', '.join(found)}")
    if "CuPy" not in libraries:
        return cpu
    from roicy import cuda  # a CuPy array has arrived

    kernels = cuda.kernels()
    kernels.check_arrays(_each(arrays))
    return kernels


def _each(arrays: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, array in arrays.items():
        if (name == "rois" and isinstance(array, (list, tuple))) or (name == "out" and type(array) is tuple):
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(array))
        elif array is not None or name not in _OPTIONAL:
            yield name, array


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
