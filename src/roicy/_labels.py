"""Labels of more than 16 bits do not fit float32, so they are cropped as parts of 16 bits each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from roicy import _arguments as settle
from roicy._types import DType, Ndarray, NumPyArray


def runs(
    images: Sequence[Ndarray], target: Ndarray, finish: settle.Finish, bordered: bool
) -> Iterator[tuple[list[Ndarray], Ndarray, NumPyArray | None]]:
    """Yield images and the target (image, channel, row, column) as maps of parts, and the numbers of these.

    A run has channels whose parts are evenly spaced. All fills are checked before the first one is yielded.
    """
    found = _runs([*images, target])
    numbers = [_fill(finish, run, target.dtype, bordered) for run in found]
    for run, fill in zip(found, numbers, strict=True):
        yield [_in_parts(image[:, run]) for image in images], _in_parts(target[:, run]), fill


def _runs(arrays: Sequence[Ndarray]) -> list[slice]:
    channels = arrays[0].shape[1]
    if all(array.strides[1] == array.itemsize for array in arrays):
        return [slice(channels)]
    return [slice(first, first + 1) for first in range(channels)]


def _fill(finish: settle.Finish, run: slice, dtype: DType, bordered: bool) -> NumPyArray | None:
    # the parts of what some channels are filled with, as numbers that the kernels finish values with
    fill = finish.fill[run]
    with np.errstate(invalid="ignore"):
        whole = fill.astype(dtype)
    if not (whole == fill).all():
        raise ValueError(f"fill must be whole numbers of {dtype} for images of it, got {fill.tolist()}")
    if not (bordered and whole.any()):
        return None
    numbers = whole.view(np.uint16).astype(np.float64)
    parts = settle.Finish(numbers, None, None, False, None, "NHWC", False, bool(numbers.any()))
    return parts.numbers("float32", True)


def _in_parts(array: Ndarray) -> Ndarray:
    # (n, c, y, x) of wide integers as (n, parts of all c, y, x) of 16 bits
    last = array.transpose(0, 2, 3, 1)
    library = settle.library_of(array)
    strides = (*last.strides[:3], last.itemsize)
    return (
        library.lib.stride_tricks.as_strided(last, last.shape, strides).view(np.uint16).transpose(0, 3, 1, 2)
    )
