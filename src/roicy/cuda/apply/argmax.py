"""Where maxima were found: as the kernels write it, and looked at when a caller hands it back."""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy._types import ArgmaxError, Ndarray
from roicy.cuda.device import Arguments, Device
from roicy.cuda.structs import STRIDES, view

# As in argmax.cuh: threads of a block.
SURVEYORS = 256
NOWHERE = STRIDES(n=0, c=0, y=0, x=0)


def argmax_view(argmax: Ndarray | None, instead: Ndarray) -> Arguments:
    """Return the arguments for an argmax, or for none with another array `instead`; at last, which it is."""
    if argmax is None:
        return instead, NOWHERE, np.int32(False)
    return *view(argmax), np.int32(True)


def channels_closer(array: Ndarray) -> bool:
    """Whether the channels of an array are closer in memory than its columns."""
    closer: bool = array.shape[1] > 1 and abs(array.strides[1]) < abs(array.strides[3])
    return closer


def survey(device: Device, argmax: Ndarray, kernel: str, *arguments: Any) -> None:
    """Run a kernel of argmax.cu that looks at all numbers of each RoI."""
    rois, channels, rows, columns = argmax.shape
    sizes = map(np.int32, (channels, rows, columns, channels_closer(argmax)))
    arguments = (*view(argmax), np.int64(rois), *sizes, *arguments)
    device.launch("argmax", kernel, (), rois, SURVEYORS, arguments)


def first_wrong(
    device: Device, argmax: Ndarray, wrong: Ndarray, limit: int = 0, total: Ndarray | None = None
) -> ArgmaxError | None:
    """Return ((k, c, p, q), value, limit) of the first wrong number, or None; waits.

    `wrong` holds, for each RoI, which of its numbers is the first one that is out of range, -1 ... limit - 1;
    `total` is that of a grid table, whose bins each have a limit of their own.
    """
    rois, _, rows, columns = argmax.shape
    found = device.xp.empty(4, np.int64)
    of_samples = total is not None
    arguments = (
        *view(argmax),
        np.int64(rois),
        np.int32(rows),
        np.int32(columns),
        total if of_samples else argmax[:1, :1, :1, :1],
        np.int32(of_samples),
        wrong,
        found,
    )
    device.launch("argmax", "first_wrong", (), 1, SURVEYORS, arguments)
    k, number, value, samples = found.tolist()
    if of_samples:
        limit = samples
    if k == rois or -1 <= value < limit:  # it may have changed since, and kernels bound what they read
        return None
    c, b = divmod(number, rows * columns)
    return (k, c, *divmod(b, columns)), value, limit
