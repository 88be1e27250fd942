"""The CPU backend: the functions that plans call after the arguments are checked.

It is a `roicy._protocols.Backend`. A layout of arrays is just strides.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from roicy._types import (
    TERMS,
    Accumulate,
    ArgmaxError,
    Cover,
    DType,
    Moving,
    Ndarray,
    NumPyArray,
    Pasting,
    Purpose,
    Regions,
    Sampling,
    Size,
    Turn,
)
from roicy.cpu import crops_again, selection, threads
from roicy.cpu.runtime.outputs import new_array
from roicy.cpu.runtime.work import Team
from roicy.cpu.tables.axis import AxisTable
from roicy.cpu.tables.cover import boxes_of_images
from roicy.cpu.tables.grid import GridTables
from roicy.cpu.tables.mask import MaskTable
from roicy.cpu.tables.quad import QuadTable
from roicy.cpu.tables.range import RangeTable
from roicy.cpu.tables.rois import ImageTable, RoiTable, doubts
from roicy.cpu.tables.sample import SampleTable
from roicy.cpu.threads import compiler, get_num_threads, openmp, set_num_threads

__all__ = [
    "add_part",
    "again",
    "axis_backward",
    "axis_backward_rois",
    "axis_forward",
    "axis_table",
    "compiler",
    "cover_boxes",
    "crops_again",
    "doubts",
    "empty",
    "get_num_threads",
    "gradient_rows",
    "grid_argmax_error",
    "grid_backward",
    "grid_backward_rois",
    "grid_forward",
    "grid_table",
    "image_table",
    "in_pieces",
    "level",
    "levels",
    "mask_paste",
    "mask_runs",
    "mask_windows",
    "openmp",
    "product",
    "put_rows",
    "pyramids",
    "quad_forward",
    "quad_table",
    "range_argmax_error",
    "range_backward",
    "range_forward",
    "range_table",
    "sample_backward",
    "sample_backward_bins",
    "sample_backward_rois",
    "sample_forward",
    "sample_table",
    "set_num_threads",
    "streams",
    "threads",
    "together",
    "unit_rows",
    "unit_rows_backward",
    "xp",
]


class Together:
    """Calls of kernels that wait for each other, and then run as one; see `roicy.cpu.runtime.work.Team`."""

    def __init__(self) -> None:
        self._team = Team()
        self._threads = threads.for_call()
        self._given: list[Any] = []  # tables and arrays, which must live as long

    def axis_forward(
        self, table: AxisTable, features: Ndarray, out: Ndarray, finish: Ndarray | None = None
    ) -> None:
        """As `roicy.cpu.axis_forward`."""
        self._add(_kernels(table.accumulate).axis_forward, table, (features, out, finish))

    def axis_backward(self, table: AxisTable, *arrays: Ndarray) -> None:
        """As `roicy.cpu.axis_backward`."""
        self._add(_kernels(table.accumulate).axis_backward, table, arrays)

    def sample_forward(self, table: SampleTable, *arrays: Ndarray) -> None:
        """As `roicy.cpu.sample_forward`."""
        self._add(_kernels(table.accumulate).sample_forward, table, arrays)

    def sample_backward(self, table: SampleTable, *arrays: Ndarray) -> None:
        """As `roicy.cpu.sample_backward`."""
        self._add(_kernels(table.accumulate).sample_backward, table, arrays)

    def range_forward(self, table: RangeTable, *arrays: Ndarray | None) -> None:
        """As `roicy.cpu.range_forward`."""
        self._add(_kernels(table.accumulate).range_forward, table, arrays)

    def range_backward(self, table: ImageTable, *arrays: Ndarray) -> None:
        """As `roicy.cpu.range_backward`."""
        accumulate = "float64" if arrays[-1].dtype == "float64" else "float32"
        self._add(_kernels(accumulate).range_backward, table, arrays)

    def _add(self, kernel: Any, table: RoiTable, arrays: tuple[Ndarray | None, ...]) -> None:
        self._given.append((table, arrays))
        kernel(table, *arrays, self._threads, self._team)

    def take(self) -> None:
        """Take what memory all of it needs together."""
        self._team.take()

    def run(self) -> None:
        """Do all of it: tasks of all calls are shared among the threads at once."""
        self._team.run()


#: The library whose arrays these kernels take.
xp = np
#: Nothing is left to do when a call returns.
streams = None
#: NumPy assigns boxes to the maps of a pyramid.
pyramids = None
#: No calls but crops (`crops_again`) repeat earlier ones: Python's share is too small to gain anything.
again = None

_level = selection.choose()
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@functools.cache
def _kernels(accumulate: str) -> Any:
    # the kernels for a type of accumulation, compiled for the level in use; loaded when first asked for
    return selection.load(f"f{accumulate.removeprefix('float')}", _level)


def level() -> str:
    """Return the name of the CPU level in use."""
    return _level


def levels() -> tuple[str, ...]:
    """Return the names of the CPU levels that could be used here."""
    return selection.available()


def axis_table(regions: Regions, sampling: Sampling, accumulate: Accumulate, purpose: Purpose) -> AxisTable:
    """Return the axis tables of the boxes; see `roicy.cpu.tables.axis.AxisTable`."""
    return AxisTable(regions, sampling, accumulate, purpose, threads.for_call())


def axis_forward(table: AxisTable, features: Ndarray, out: Ndarray, finish: Ndarray | None = None) -> None:
    """Fill `out` with the features pooled under the table.

    `finish` has rows of numbers for each channel of `out`, and 16 more, in the type of the sums: what lies
    outside of the map, what is taken from a value, and what it is multiplied by.
    """
    _kernels(table.accumulate).axis_forward(table, features, out, finish, threads.for_call())


def in_pieces(table: RoiTable | GridTables, purpose: Purpose, dtype: DType) -> bool:
    """Return whether a kernel takes memory between writes to an array of this dtype; see `RoiTable`."""
    pieces: bool = table.in_pieces(purpose, dtype)
    return pieces


def together(tables: Sequence[Any], purpose: Purpose, channels: int) -> Together | None:
    """Return what has calls with these tables run as one; None where one cannot wait for others."""
    return Together() if all(table.joins(purpose, channels) for table in tables) else None


def axis_backward(table: AxisTable, grad_output: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with the adjoint of the table applied to `grad_output`."""
    _kernels(table.accumulate).axis_backward(table, grad_output, grad_features, threads.for_call())


def axis_backward_rois(
    table: AxisTable, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
) -> None:
    """Fill `grad_boxes` (K, 4) with the gradient with respect to x1, y1, x2, y2."""
    _kernels(table.accumulate).axis_backward_rois(
        table, grad_output, features, grad_boxes, threads.for_call()
    )


def product(left: Ndarray, right: Ndarray) -> Ndarray:
    """Return ``left @ right`` of two matrices of one dtype, float32 or float64."""
    return left @ right


def gradient_rows(shape: tuple[int, ...]) -> Ndarray:
    """Return an array for a gradient of boxes, with zeros."""
    return np.zeros(shape)


def empty(shape: tuple[int, ...], dtype: DType | str) -> Ndarray:
    """Return an array for what a kernel hands to another one."""
    return np.empty(shape, dtype)


def add_part(total: Ndarray, part: Ndarray | None, out: Ndarray) -> None:
    """Fill `out` with sums and what is added to them, unless None, rounded to its dtype."""
    with np.errstate(all="ignore"):  # what float16 cannot hold becomes infinite, never an error half-way
        if part is not None:
            total += part
        if out is not total:
            out[...] = total


def put_rows(rows: Ndarray, out: Ndarray) -> None:
    """Write float64 rows to the last columns of those of `out`, and zeros to the columns before.

    Rows of three axes are several for each row, which are added to zeros.
    """
    columns = rows.shape[-1]
    with np.errstate(all="ignore"):  # what float32 cannot hold becomes infinite, never an error half-way
        if rows.ndim == 3:
            total = np.zeros(rows.shape[1:])
            for part in rows:
                total += part
            rows = total
        out[:, -columns:] = rows
    out[:, :-columns] = 0


def unit_rows(
    rows: Ndarray, eps: float, sums: int | None = None, dtype: DType | None = None
) -> tuple[Ndarray, Ndarray]:
    """Return rows over their lengths, at least `eps`, and the lengths, (rows, 1), in float64.

    Unless `sums` is None, as many sums of rows that follow each other stand for the rows. `dtype` is that
    of a result; without it units are for other functions, and of the type that sums have.
    """
    # in which squares of float32 do not overflow
    real = _FLOAT64 if rows.dtype == _FLOAT64 else _FLOAT32
    rows = np.ascontiguousarray(rows, real)
    if sums:
        rows = _in_pieces(rows.reshape(sums, len(rows) // sums, rows.shape[1]))
    units, lengths = new_array(rows.shape, real, False), np.empty((len(rows), 1))
    _kernels(real.name).unit_rows(None, rows, lengths, eps, units, threads.for_call())
    return (units if dtype is None else units.astype(dtype, copy=False)), lengths


def _in_pieces(rows: Ndarray) -> Ndarray:
    # The sum over the second axis: one after the other, very many rows would lose digits.
    n, count, d = rows.shape
    if count <= TERMS:
        return rows.sum(axis=1)
    whole = count // TERMS * TERMS
    sums = rows[:, :whole].reshape(n, whole // TERMS, TERMS, d).sum(axis=2)
    return _in_pieces(sums) + rows[:, whole:].sum(axis=1)


def unit_rows_backward(
    grad_units: Ndarray, units: Ndarray, lengths: Ndarray, eps: float, dtype: DType | None = None
) -> Ndarray:
    """Return the gradient with respect to the rows that were made `units`, which may share gradients.

    It is of a dtype, or else of that of the units.
    """
    gradient = new_array(units.shape, units.dtype, False)
    grad_units = np.ascontiguousarray(grad_units, units.dtype)
    kernel = _kernels(units.dtype.name).unit_rows
    kernel(grad_units, units, lengths, eps, gradient, threads.for_call())
    return gradient if dtype is None else gradient.astype(dtype, copy=False)


def cover_boxes(cover: Cover, images: int) -> Ndarray:
    """Return the regions of R-MAC, rows [batch index, x1, y1, x2, y2] of float64, image after image."""
    return boxes_of_images(cover, images)


def range_table(regions: Regions, spatial_scale: float, rule: int, accumulate: Accumulate) -> RangeTable:
    """Return the range tables of the boxes; see `roicy.cpu.tables.range.RangeTable`."""
    return RangeTable(regions, spatial_scale, rule, accumulate)


def range_forward(table: RangeTable, features: Ndarray, out: Ndarray, argmax: Ndarray | None) -> None:
    """Fill `out` with the largest features of each bin and `argmax`, unless None, with where they are."""
    _kernels(table.accumulate).range_forward(table, features, out, argmax, threads.for_call())


def image_table(regions: Regions) -> ImageTable:
    """Return which image each box belongs to; see `roicy.cpu.tables.rois.ImageTable`."""
    return ImageTable(regions)


def range_backward(table: ImageTable, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with `grad_output` at the pixels `argmax`; the table is an `image_table`."""
    accumulate = "float64" if grad_features.dtype == "float64" else "float32"
    _kernels(accumulate).range_backward(table, grad_output, argmax, grad_features, threads.for_call())


def range_argmax_error(
    table: ImageTable, argmax: Ndarray, limit: int
) -> tuple[tuple[int, int, int, int], int] | None:
    """Return ((k, c, p, q), value) of an index of the table's outside -1 ... limit - 1, or None."""
    if argmax.size == 0:
        return None
    largest, rows = _kernels("float32").range_survey(table, argmax)
    if largest <= limit:
        return None
    # of which index it was one look must do
    argmax = argmax.copy() if rows is None else argmax[rows]
    wrong = np.argwhere((argmax < -1) | (argmax >= limit))
    if not len(wrong):  # it has changed, and the kernel bounds what it reads
        return None
    k, c, p, q = wrong[0].tolist()
    return (k if rows is None else int(rows[k]), c, p, q), int(argmax[k, c, p, q])


def sample_table(
    regions: Regions, sampling: Sampling, how: Turn | Moving, accumulate: Accumulate, purpose: Purpose
) -> SampleTable:
    """Return the tables of rotated boxes or of moved bins; see `roicy.cpu.tables.sample.SampleTable`."""
    return SampleTable(regions, sampling, how, accumulate, purpose, threads.for_call())


def sample_forward(table: SampleTable, features: Ndarray, out: Ndarray) -> None:
    """Fill `out` with the features pooled under the sample table."""
    _kernels(table.accumulate).sample_forward(table, features, out, threads.for_call())


def sample_backward(table: SampleTable, grad_output: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with the adjoint of the sample table applied to `grad_output`."""
    _kernels(table.accumulate).sample_backward(table, grad_output, grad_features, threads.for_call())


def sample_backward_rois(
    table: SampleTable, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray
) -> None:
    """Fill `grad_boxes` (K, 5) with the gradient with respect to cx, cy, w, h and the angle."""
    _kernels(table.accumulate).sample_backward_rois(
        table, grad_output, features, grad_boxes, threads.for_call()
    )


def sample_backward_bins(
    table: SampleTable, grad_output: Ndarray, features: Ndarray, gradient: Ndarray
) -> None:
    """Fill `gradient` (K, 2, PH, PW) with that of offsets, or (K, 1, PH, PW) with that of a mask.

    It is zeros so far, and the table was made for the one or the other.
    """
    _kernels(table.accumulate).sample_backward_bins(
        table, grad_output, features, gradient, threads.for_call()
    )


def grid_table(regions: Regions, sampling: Sampling, accumulate: Accumulate) -> GridTables:
    """Return the grid tables of the boxes; see `roicy.cpu.tables.grid.GridTables`."""
    return GridTables(regions, sampling, accumulate)


def grid_forward(
    tables: GridTables, features: Ndarray, out: Ndarray, argmax: Ndarray | None, rule: str
) -> None:
    """Fill `out` with the largest sample of each bin and `argmax`, unless it is None, with its number.

    `rule` is "bilinear", or "onnx" for the largest of the samples' weighted corners.
    """
    _kernels(tables.accumulate).grid_forward(
        tables, features, out, argmax, rule == "onnx", threads.for_call()
    )


def grid_backward(tables: GridTables, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with `grad_output` at the samples `argmax`."""
    _kernels(tables.accumulate).grid_backward(tables, grad_output, argmax, grad_features, threads.for_call())


def grid_backward_rois(
    tables: GridTables, grad_output: Ndarray, argmax: Ndarray, features: Ndarray, grad_boxes: Ndarray
) -> None:
    """Fill `grad_boxes` (K, 4), zeros so far, with the gradient with respect to x1, y1, x2, y2."""
    _kernels(tables.accumulate).grid_backward_rois(
        tables, grad_output, argmax, features, grad_boxes, threads.for_call()
    )


def grid_argmax_error(tables: GridTables, argmax: Ndarray) -> ArgmaxError | None:
    """Return ((k, c, p, q), value, limit) of an index outside -1 ... limit - 1, or None."""
    survey = _kernels(tables.accumulate).grid_survey
    for run, table in tables:
        found = survey(table, argmax[run])
        if found is None:
            continue
        k, c, limits = found
        values = argmax[run][k, c].copy()  # of which index it was one look must do
        limits = limits.reshape(values.shape).astype(np.int64)
        wrong = np.argwhere((values < -1) | (values >= limits))
        if len(wrong):  # else it has changed, and the kernel bounds what it reads
            p, q = wrong[0].tolist()
            return (run.start + k, c, p, q), int(values[p, q]), int(limits[p, q])
    return None


def mask_windows(boxes: Ndarray, mask_size: Size, pasting: Pasting) -> NumPyArray:
    """Return the part of the image that each mask reaches, (K, 4), int32: top, left, bottom, right."""
    found: NumPyArray = MaskTable(boxes, mask_size, pasting, "float32").windows()
    return found


def mask_paste(
    masks: Ndarray,
    boxes: Ndarray,
    pasting: Pasting,
    out: Ndarray,
    starts: NumPyArray | None = None,
    *,
    blank: bool = False,
) -> None:
    """Fill `out` (K, H, W) with masks (K, M, N), or (items,) with their windows from their starts on.

    Images that are `blank` hold zeros already.
    """
    table = _mask_table(masks, boxes, pasting)
    images = out[:, None] if starts is None else out[None, None, None]
    arguments = masks[:, None], images, starts, pasting.threshold, blank
    _kernels(table.accumulate).mask_paste(table, *arguments, threads.for_call())


def mask_runs(masks: Ndarray, boxes: Ndarray, pasting: Pasting) -> list[list[int]]:
    """Return how long runs of equal pixels are in each pasted mask, down its columns; first of zeros."""
    table = _mask_table(masks, boxes, pasting)
    given = masks[:, None], pasting.threshold, threads.for_call()
    lengths: list[list[int]] = _kernels(table.accumulate).mask_lengths(table, *given)
    return lengths


def _mask_table(masks: Ndarray, boxes: Ndarray, pasting: Pasting) -> MaskTable:
    accumulate: Accumulate = "float64" if masks.dtype == "float64" else "float32"
    return MaskTable(boxes, masks.shape[1:], pasting, accumulate)


def quad_table(
    corners: NumPyArray,
    images: NumPyArray,
    count: int,
    image_size: Size,
    output_size: Size,
    sampling_ratio: int,
) -> QuadTable:
    """Return the views of quadrangles (K, 8) on this many images; see `roicy.cpu.tables.quad.QuadTable`."""
    corners = corners.astype(np.float64, copy=False)
    return QuadTable(corners, images, count, image_size, output_size, sampling_ratio)


def quad_forward(
    table: QuadTable,
    images: tuple[Ndarray, ...],
    out: Ndarray,
    numbers: NumPyArray | None,
    rule: tuple[int, bool],
    window: tuple[int, int, int, int] | None = None,
) -> None:
    """Fill `out` (K, C, PH, PW) with what the views show of arrays of images (N, C, H, W), each of as many.

    `numbers` are rows of fill, mean and scale of each channel, None for nothing; `rule` is what lies outside,
    and whether a sample is the nearest pixel. Images are whole, or the part of larger ones in a `window`.
    """
    if numbers is None:
        numbers = np.zeros((3, out.shape[1] + 16), np.float32)
        numbers[2] = 1
    _kernels("float32").quad_forward(table, images, out, numbers, rule, window, threads.for_call())
