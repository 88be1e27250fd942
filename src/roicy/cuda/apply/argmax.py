"""The argmax of maxima: the argument of kernels, and its check when a caller passes it to a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy._types import ArgmaxError, Ndarray
from roicy.cuda.device import Arguments, Device
from roicy.cuda.structs import STRIDES, Layout, Struct, view
from roicy.cuda.tuning import CONSTANTS

_THREADS = CONSTANTS["argmax"]["THREADS"]
_NOWHERE = STRIDES(n=0, c=0, y=0, x=0)

#: As in argmax.cuh.
NUMBERS = Layout(rois=np.int64, channels=np.int32, rows=np.int32, columns=np.int32, by_channel=np.int32)


def argmax_view(argmax: Ndarray | None, instead: Any) -> Arguments:
    """Return the kernel arguments of an optional argmax: its view, or the array or address `instead`."""
    return (instead, _NOWHERE) if argmax is None else view(argmax)


def channels_closer(array: Ndarray) -> bool:
    """Whether the channels of an array are closer in memory than its columns."""
    closer: bool = array.shape[1] > 1 and abs(array.strides[1]) < abs(array.strides[3])
    return closer


def numbers(array: Ndarray) -> Struct:
    """Return an array shaped (RoI, channel, row, column) as an argument of kernels: a struct Numbers."""
    rois, channels, rows, columns = array.shape
    return NUMBERS(
        rois=rois, channels=channels, rows=rows, columns=columns, by_channel=channels_closer(array)
    )


def survey(device: Device, argmax: Ndarray, kernel: str, *arguments: Any) -> None:
    """Run a kernel of argmax.cu that looks at all numbers of each RoI."""
    arguments = (*view(argmax), numbers(argmax), *arguments)
    device.launch("argmax", kernel, (), len(argmax), _THREADS, arguments)


def first_wrong(
    device: Device, argmax: Ndarray, wrong: Ndarray, limit: int = 0, total: Any = None
) -> ArgmaxError | None:
    """Return ((k, c, p, q), value, limit) of the first wrong number, or None; waits.

    `wrong` holds, for each RoI, which of its numbers is the first one that is out of range, -1 ... limit - 1;
    `total` is that of a grid table, whose bins each have a limit of their own.
    """
    rois, _, rows, columns = argmax.shape
    found = device.empty(4, np.int64)
    of_samples = total is not None
    arguments = (
        *view(argmax),
        numbers(argmax),
        total if of_samples else argmax[:1, :1, :1, :1],
        np.int32(of_samples),
        wrong,
        found,
    )
    device.launch("argmax", "first_wrong", (), 1, _THREADS, arguments)
    k, number, value, samples = device.answer(found, (rois,))
    if of_samples:
        limit = samples
    if k == rois or -1 <= value < limit:  # it may have changed since, and kernels bound what they read
        return None
    c, b = divmod(number, rows * columns)
    return (k, c, *divmod(b, columns)), value, limit
