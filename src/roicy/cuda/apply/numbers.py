"""What crops are finished with, as kernels take it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from roicy._types import NumPyArray
from roicy.cuda.structs import POINTER, Layout, Struct

_CHANNELS = 4

#: As in numbers.cuh.
FEW = Layout(
    **{f"{name}{channel}": np.float64 for name in ("fill", "mean", "scale") for channel in range(_CHANNELS)}
)
FINISHING = Layout(rows=POINTER, step=np.int64, few=FEW, any=np.int32)


def finishing(numbers: NumPyArray | None, channels: int, xp: Any) -> Struct:
    """Return rows of fill, mean and scale of each channel, in host memory, as a struct Finishing."""
    if numbers is None:
        return _of_few(())
    if channels <= _CHANNELS:
        return _of_few(tuple(numbers[:, :channels].ravel().tolist()))
    return FINISHING(rows=xp.asarray(numbers), step=numbers.shape[1], few=_few(()), any=1)


@functools.lru_cache(64)
def _of_few(numbers: tuple[float, ...]) -> Struct:
    return FINISHING(rows=None, step=0, few=_few(numbers), any=bool(numbers))


def _few(numbers: tuple[float, ...]) -> Struct:
    channels = len(numbers) // 3
    values = {f"{name}{channel}": 0.0 for name in ("fill", "mean", "scale") for channel in range(_CHANNELS)}
    for row, name in enumerate(("fill", "mean", "scale")):
        values |= {f"{name}{channel}": numbers[row * channels + channel] for channel in range(channels)}
    return FEW(**values)
