"""Boxes: arrays or a list of arrays, their batch indices, and the errors about invalid rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from roicy._arguments import instead
from roicy._arguments.arrays import FLOAT64, is_bfloat16, library_of, on_host
from roicy._arguments.numbers import FLOAT32, INT32_MAX
from roicy._types import DType, Ndarray, Size

#: What a row of boxes holds after the batch index.
CORNERS = ("x1", "y1", "x2", "y2")
ROTATED = ("cx", "cy", "w", "h", "angle")


class Rois:
    """Boxes as the kernels want them, in memory of their own, and how the caller gave them.

    Tables are measured from the boxes and then filled from them: what another thread writes into the caller's
    arrays in between must not show.

    Attributes
    ----------
    boxes : array, (K, columns) or (K, columns + 1), float32 or float64, C-contiguous
        The numbers of each box: `CORNERS` or `ROTATED`. With one column more the batch index comes first.
    columns : int
        How many numbers a box has.
    images : array, (K,), int64, C-contiguous, or None where the batch index is a column
        Batch indices, in range or not.
    lengths : list of int or None
        How many boxes each image has, where the caller gave one array per image.
    given : tuple of array
        The caller's own arrays, which an output must not overlap; batch indices are the last one.
    name : str
        What the argument is called, for errors.
    alone : bool
        Whether all batch indices are 0, because the caller gave none.
    offsets, mask : array or None
        What belongs to each bin, as `roicy._types.Regions` has it.
    """

    __slots__ = ("alone", "boxes", "columns", "given", "images", "lengths", "mask", "name", "offsets")

    def __init__(
        self,
        boxes: Ndarray,
        columns: int,
        images: Ndarray,
        lengths: list[int] | None,
        given: tuple[Ndarray, ...],
        name: str = "rois",
    ) -> None:
        self.boxes = boxes
        self.columns = columns
        self.images = images
        self.lengths = lengths
        self.given = given
        self.name = name
        self.alone = False
        self.offsets: Ndarray | None = None
        self.mask: Ndarray | None = None

    def put_bins(self, offsets: Ndarray, mask: Ndarray, size: Size, lent: bool = False) -> None:
        """Take what belongs to each bin, as the caller gave it; None where there is nothing.

        Positions are computed in float64 where boxes or offsets are, else in float32.
        """
        k = len(self.boxes)
        if offsets is not None:
            if offsets.shape != (k, 2, *size):
                raise ValueError(
                    f"offsets must have shape {(k, 2, *size)}, along x and along y of each bin of each row "
                    f"of rois, got {offsets.shape}"
                )
            dtype = max(box_dtype("offsets", offsets.dtype), self.boxes.dtype, key=lambda it: it.itemsize)
            if dtype != self.boxes.dtype:
                self.boxes = self.boxes.astype(dtype)
            self.offsets = own(offsets, dtype, lent)
            self.given = (offsets, *self.given)
        if mask is not None:
            if mask.shape not in ((k, 1, *size), (k, *size)):
                raise ValueError(
                    f"mask must have shape {(k, 1, *size)} or {(k, *size)}, a number for each bin of each "
                    f"row of rois, got {mask.shape}"
                )
            self.mask = own(mask, box_dtype("mask", mask.dtype), lent)
            self.given = (mask, *self.given)

    def as_given(self, rows: Ndarray) -> Any:
        """Return rows that belong to the boxes, in one array or in a list, as the caller gave the boxes."""
        lengths = self.lengths
        if lengths is None:
            return rows
        return [rows[end - length : end] for end, length in zip(np.cumsum(lengths), lengths, strict=True)]

    def check_out(self, out: Ndarray) -> None:
        """Check that a gradient of the boxes can go where the caller wants it."""
        if out is not None and self.lengths is not None:
            raise ValueError(
                f"out must be None for {self.name} that are one array per image: the result is a list"
            )

    def invalid_row(self, row: int, images: int) -> ValueError:
        """Return the error for an invalid row."""
        values = on_host(self.boxes[row])
        of_bins = self._not_finite(row)
        if not np.isfinite(values).all():
            found, expected = "is not finite", "finite numbers only"
        elif of_bins:
            return ValueError(
                f"{of_bins}: expected finite numbers only for each row of rois; invalid='nan' accepts such "
                "rows"
            )
        else:
            if self.images is None:
                found = f"has batch index {values[0]!s}"
            else:  # as the caller gave it: one beyond int64 has not survived the conversion
                found = f"has batch_indices[{row}] = {self.given[-1][row]}"
            expected = f"a batch index of at least 0 and below N = {images}"
            if self.images is None and images == 1:
                boxes = f"rois[:, :{self.columns}]"
                expected += f", before the {self.columns} numbers of a box; without it, pass {boxes}"
        return ValueError(f"{self.place(row)} {found}: expected {expected}; invalid='nan' accepts such rows")

    def _not_finite(self, row: int) -> str:
        # the first number of a row's bins that is not finite, if there is one
        for name, array in (("offsets", self.offsets), ("mask", self.mask)):
            if array is not None:
                values = on_host(array[row])
                wrong = np.argwhere(~np.isfinite(values))
                if len(wrong):
                    place = tuple(map(int, wrong[0]))
                    return f"{name}[{', '.join(map(str, (row, *place)))}] is {values[place]!s}"
        return ""

    def too_fine_row(self, row: int) -> ValueError:
        """Return the error for a row with more samples in a bin than argmax can count."""
        return ValueError(
            f"{self.place(row)} has more than {INT32_MAX} samples in a bin, which argmax cannot count: "
            "expected a smaller box, or a sampling_ratio"
        )

    def place(self, row: int) -> str:
        """Return a row as errors name it."""
        if self.lengths is None:
            place = f"{self.name} row {row}"
        else:
            image = int(self.images[row])
            place = f"{self.name}[{image}] row {row - sum(self.lengths[:image])}"
        return f"{place}, [{', '.join(map(str, on_host(self.boxes[row])))}],"


def rois(
    value: Any,
    batch_indices: Ndarray,
    images: int,
    xp: Any = np,
    names: Sequence[str] = CORNERS,
    lent: bool = False,
    name: str = "rois",
) -> Rois:
    """Return the boxes of a call on N images as `Rois`; `names` are the numbers of each box.

    `xp` is the library of the call's arrays. Arrays of a device may be `lent`, that is, those of the caller:
    to a call that makes one table, whose kernel reads each number once.
    """
    columns = len(names)
    if isinstance(value, (list, tuple)):
        if value or not images:
            return _rois_per_image(value, batch_indices, images, xp, names, name)
        value = xp.empty(0, FLOAT32)
    if value.shape == (0,):  # an empty list, or what NumPy makes of one
        value = value.reshape(0, columns + (batch_indices is None and images != 1))
    shape = value.shape
    if len(shape) != 2 or not columns <= shape[1] <= columns + 1:
        row = ", ".join(names)
        raise ValueError(
            f"{name} must have shape (K, {columns + 1}), rows [batch index, {row}], "
            f"or (K, {columns}), rows [{row}], got {shape}{instead.of_boxes(name, value, columns)}"
        )
    boxes = own(value, box_dtype(name, value.dtype), lent)
    if batch_indices is None:
        if shape[1] != columns:
            return Rois(boxes, columns, None, None, (value,), name)
        if images != 1:
            raise ValueError(
                f"{name} of shape {shape} say no batch index and N is {images}, not 1: "
                f"pass batch_indices, or {name} of shape (K, {columns + 1}) with the batch index in column 0"
            )
        found = Rois(boxes, columns, xp.zeros(len(boxes), np.int64), None, (value,), name)
        found.alone = True
        return found
    if shape[1] != columns:
        raise ValueError(
            f"batch_indices must be None for {name} of shape {shape}, which have the batch index in column 0"
        )
    if batch_indices.dtype.kind not in "iu":
        whole = ": pass batch_indices.astype(int)" if batch_indices.dtype.kind in "fb" else ""
        raise TypeError(f"batch_indices must have an integer dtype, got {batch_indices.dtype}{whole}")
    if batch_indices.shape != shape[:1]:
        column = ": pass batch_indices[:, 0]" if batch_indices.shape == (*shape[:1], 1) else ""
        raise ValueError(
            f"batch_indices must have shape {shape[:1]}, one for each row of {name}, "
            f"got {batch_indices.shape}{column}"
        )
    # Unsigned numbers beyond int64 become negative ones: out of range as well.
    images = own(batch_indices, np.dtype(np.int64), lent)
    return Rois(boxes, columns, images, None, (value, batch_indices), name)


def _rois_per_image(
    arrays: Sequence[Ndarray],
    batch_indices: Ndarray,
    images: int,
    xp: Any,
    names: Sequence[str],
    name: str,
) -> Rois:
    columns = len(names)
    if batch_indices is not None:
        raise ValueError(
            f"batch_indices must be None for {name} that are one array of boxes per image"
            f"{instead.of_rows(name, arrays, columns)}"
        )
    if len(arrays) != images:
        raise ValueError(
            f"{name} must be one array for each of N = {images} images, got {len(arrays)} arrays"
            f"{instead.of_rows(name, arrays, columns)}"
        )
    dtype = FLOAT32
    arrays = [array.reshape(0, columns) if array.shape == (0,) else array for array in arrays]
    for image, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != columns:
            row, item = ", ".join(names), f"{name}[{image}]"
            write = instead.of_rows(name, arrays, columns) or instead.of_boxes(item, array, columns)
            raise ValueError(f"{item} must have shape (L, {columns}), rows [{row}], got {array.shape}{write}")
        if box_dtype(f"{name}[{image}]", array.dtype) == FLOAT64:
            dtype = FLOAT64
    lengths = [len(array) for array in arrays]
    boxes = xp.concatenate([xp.empty((0, columns), dtype), *(array.astype(dtype) for array in arrays)])
    indices = xp.asarray(np.repeat(np.arange(images, dtype=np.int64), lengths))
    return Rois(boxes, columns, indices, lengths, tuple(arrays), name)


def box_dtype(name: str, dtype: DType) -> DType:
    """Return the dtype that boxes of a dtype are computed in."""
    # float32 and float64 stay, other real numbers are converted up: float32 holds 16 bits, float64 the rest
    if dtype in (FLOAT32, FLOAT64):
        return dtype
    if dtype.kind == "f" and dtype.itemsize in (4, 8):  # in foreign byte order
        return dtype.newbyteorder("=")
    if dtype.kind in "iu":
        return FLOAT32 if dtype.itemsize <= 2 else FLOAT64
    if (dtype.kind == "f" and dtype.itemsize == 2) or is_bfloat16(dtype):
        return FLOAT32
    raise TypeError(
        f"{name} must be float32 or float64, or integers or smaller floats, got {dtype}"
        f"{instead.of_dtype(name, dtype, 'float64')}"
    )


def own(array: Ndarray, dtype: DType, lent: bool) -> Ndarray:
    """Return a plain C-contiguous copy of an array, or the array itself if it is lent and is one."""
    if type(array) is np.ndarray:
        return array.copy() if array.dtype is dtype else array.astype(dtype, "C")
    if not isinstance(array, np.ndarray) and array.dtype == dtype and array.flags.c_contiguous:
        return array if lent else array.copy()  # by the device, without a kernel
    return library_of(array).array(array, dtype, order="C")
