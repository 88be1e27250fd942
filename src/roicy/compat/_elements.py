"""The argmax arrays of other systems: checks of their dtype, shape and elements."""

from __future__ import annotations

import numpy as np

from roicy import _arguments as settle
from roicy._types import Ndarray


def check_kind(name: str, array: Ndarray, kinds: str, shape: tuple[int, ...]) -> None:
    """Raise an error where an array is none, of another kind of dtype or of another shape."""
    if array is None:
        raise TypeError(f"{name} must be a numpy.ndarray, got None")
    if array.dtype.kind not in kinds:
        raise TypeError(
            f"{name} must be {'integers' if kinds == 'iu' else 'real numbers'}, got {array.dtype}"
        )
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")


def check_elements(name: str, array: Ndarray, good: Ndarray, expected: str) -> None:
    """Raise an error that names the first element that is not good, if there is one."""
    if not bool(good.all()):
        index = tuple(map(int, np.argwhere(~settle.on_host(good))[0]))
        found = settle.on_host(array[index])
        raise ValueError(f"{name}[{', '.join(map(str, index))}] must be -1 or {expected}, got {found}")
