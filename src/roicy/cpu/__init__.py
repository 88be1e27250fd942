"""The CPU backend: what the public functions call once their arguments are settled.

Arrays come shaped (image or RoI, channel, row, column) with any strides: a layout is just strides. Whoever
adds a backend writes a package with the same functions.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from roicy._types import ArgmaxError, DType, Ndarray, Shape, Size, Table
from roicy.cpu import selection, threads
from roicy.cpu.tables.axis import AxisTable
from roicy.cpu.tables.grid import GridTable, entries
from roicy.cpu.tables.range import RangeTable
from roicy.cpu.tables.rois import ImageTable
from roicy.cpu.tables.sample import SampleTable
from roicy.cpu.threads import compiler, get_num_threads, openmp, set_num_threads

__all__ = [
    "asynchronous",
    "axis_backward",
    "axis_backward_rois",
    "axis_forward",
    "axis_table",
    "compiler",
    "edge_grid_table",
    "get_num_threads",
    "grid_argmax_error",
    "grid_backward",
    "grid_backward_rois",
    "grid_forward",
    "grid_table",
    "image_table",
    "in_pieces",
    "level",
    "levels",
    "openmp",
    "product",
    "range_argmax_error",
    "range_backward",
    "range_forward",
    "range_table",
    "row_dots",
    "row_quotients",
    "sample_backward",
    "sample_backward_rois",
    "sample_forward",
    "sample_table",
    "set_num_threads",
    "threads",
    "xp",
]

#: The library whose arrays these kernels take.
xp = np
#: Whether results are written after a call has returned.
asynchronous = False

#: Up to so many channels, lanes run along rows instead.
FEW_CHANNELS = 4
#: Samples that grid tables list at a time, of some 24 bytes each.
GRID_SAMPLES = 1 << 20
#: Channels whose gradient is kept in the accumulation type before it is rounded to a shorter one.
ADJOINT_CHANNELS = 32

#: Terms of a sum that are added one to the other.
DOT_TERMS = 256

_level = selection.choose()

# input_shape, output_size, spatial_scale, sampling_ratio, aligned, and whether samples begin at a bin's edge
Geometry: TypeAlias = tuple[Shape, Size, float, int, bool, bool]


@functools.cache
def _kernels(accumulate: str) -> Any:
    # the kernels for a type of accumulation, compiled for the level in use; loaded when first asked for
    return importlib.import_module(f"roicy.cpu._kernels_f{accumulate.removeprefix('float')}_{_level}")


def level() -> str:
    """Return the name of the CPU level in use."""
    return _level


def levels() -> tuple[str, ...]:
    """Return the names of the CPU levels that could be used here."""
    return selection.available()


def axis_table(
    boxes: Ndarray,
    images: Ndarray | None,
    input_shape: Shape,
    output_size: Size,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    accumulate: str,
    purpose: str,
) -> Table:
    """Return the axis tables of the boxes; see `roicy.cpu.tables.axis.AxisTable`."""
    return AxisTable(
        boxes,
        images,
        input_shape,
        output_size,
        spatial_scale,
        sampling_ratio,
        aligned,
        accumulate,
        purpose,
        threads.for_call(),
    )


def axis_forward(table: Table, features: Ndarray, out: Ndarray) -> None:
    """Fill `out` with the features pooled under the table."""
    channels = features.shape[1]
    kernels = _kernels(table.accumulate)
    if channels <= FEW_CHANNELS:
        pool = kernels.axis_forward_crops
    elif _channels_last_as(table, features):
        pool = kernels.axis_forward_pixels
    else:
        pool = kernels.axis_forward
    pool(table, features, out, threads.for_call())


def in_pieces(table: Table, purpose: str, dtype: DType) -> bool:
    """Return whether a kernel takes memory between writes to an array of this dtype.

    Where it may run out of that, an array of the caller's is written when the last piece is done.
    """
    if isinstance(table, _GridTables):
        return len(table) > 1
    return purpose == "backward" and isinstance(table, SampleTable) and _adds_up(table, dtype)


def _channels_last_as(table: Table, features: Ndarray) -> bool:
    # whether the map's memory already is a tile
    whole: bool = features.strides[1] == features.itemsize and features.dtype == table.accumulate
    return whole


def axis_backward(table: Table, grad_output: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with the adjoint of the table applied to `grad_output`."""
    _kernels(table.accumulate).axis_backward(table, grad_output, grad_features, threads.for_call())


def axis_backward_rois(table: Table, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray) -> None:
    """Fill `grad_boxes` (K, 4) with the gradient with respect to x1, y1, x2, y2."""
    _kernels(table.accumulate).axis_backward_rois(
        table, grad_output, features, grad_boxes, threads.for_call()
    )


def product(left: Ndarray, right: Ndarray) -> Ndarray:
    """Return ``left @ right`` of two matrices of one dtype, float32 or float64."""
    return left @ right


def row_dots(rows: Ndarray, others: Ndarray) -> Ndarray:
    """Return the product of each row with the other, (rows, 1), in float64."""
    # without a copy in float64, which would take longer than the sum; a long sum in pieces: rounding adds up
    pieces = rows.shape[1] // DOT_TERMS
    if pieces < 8:
        return np.einsum("ij,ij->i", rows, others, dtype=np.float64)[:, None]
    whole, shape = pieces * DOT_TERMS, (len(rows), pieces, DOT_TERMS)
    split = rows[:, :whole].reshape(shape), others[:, :whole].reshape(shape)
    rest = np.einsum("ij,ij->i", rows[:, whole:], others[:, whole:], dtype=np.float64)
    return (np.einsum("ijk,ijk->ij", *split, dtype=np.float64).sum(axis=1) + rest)[:, None]


def row_quotients(rows: Ndarray, divisors: Ndarray) -> Ndarray:
    """Return the rows divided by float64 numbers (rows, 1), in the dtype of the rows."""
    return np.divide(rows, divisors, np.empty_like(rows), dtype=np.float64, casting="same_kind")


def range_table(
    boxes: Ndarray,
    images: Ndarray | None,
    input_shape: Shape,
    output_size: Size,
    spatial_scale: float,
    rounding: str,
    accumulate: str,
) -> Table:
    """Return the range tables of the boxes; see `roicy.cpu.tables.range.RangeTable`."""
    return RangeTable(boxes, images, input_shape, output_size, spatial_scale, rounding, accumulate)


def range_forward(table: Table, features: Ndarray, out: Ndarray, argmax: Ndarray | None) -> None:
    """Fill `out` with the largest features of each bin and `argmax`, unless None, with where they are."""
    kernels = _kernels(table.accumulate)
    if argmax is None and table.shared and features.strides[3] == features.itemsize:
        kernels.range_forward_shared(table, features, out, threads.for_call())
    else:
        kernels.range_forward(table, features, out, argmax, threads.for_call())


def image_table(boxes: Ndarray, images: Ndarray | None, input_shape: Shape, output_size: Size) -> Table:
    """Return which image each box belongs to; see `roicy.cpu.tables.rois.ImageTable`."""
    return ImageTable(boxes, images, input_shape, output_size)


def range_backward(table: Table, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with `grad_output` at the pixels `argmax`; the table is an `image_table`."""
    accumulate = "float64" if grad_features.dtype == "float64" else "float32"
    _kernels(accumulate).range_backward(table, grad_output, argmax, grad_features, threads.for_call())


def range_argmax_error(argmax: Ndarray, limit: int) -> tuple[tuple[int, int, int, int], int] | None:
    """Return ((k, c, p, q), value) of an index outside -1 ... limit - 1, or None."""
    kernels = _kernels("float32")
    found: tuple[tuple[int, int, int, int], int] | None = kernels.range_argmax_error(argmax, limit)
    return found


def sample_table(
    boxes: Ndarray,
    images: Ndarray | None,
    input_shape: Shape,
    output_size: Size,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    degrees: bool,
    clockwise: bool,
    accumulate: str,
    purpose: str,
) -> Table:
    """Return the sample tables of rotated boxes; see `roicy.cpu.tables.sample.SampleTable`."""
    return SampleTable(
        boxes,
        images,
        input_shape,
        output_size,
        spatial_scale,
        sampling_ratio,
        aligned,
        degrees,
        clockwise,
        accumulate,
        purpose,
        threads.for_call(),
    )


def sample_forward(table: Table, features: Ndarray, out: Ndarray) -> None:
    """Fill `out` with the features pooled under the sample table."""
    whole = _channels_last_as(table, features)
    _kernels(table.accumulate).sample_forward(table, features, out, whole, threads.for_call())


def sample_backward(table: Table, grad_output: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with the adjoint of the sample table applied to `grad_output`."""
    kernel = _kernels(table.accumulate).sample_backward
    enter = threads.for_call()
    if not _adds_up(table, grad_features.dtype):
        kernel(table, grad_output, grad_features, enter)
        return
    # In the accumulation type, and to a few channels at a time.
    for first in range(0, grad_features.shape[1], ADJOINT_CHANNELS):
        part = np.s_[:, first : first + ADJOINT_CHANNELS]
        wide = np.empty(grad_features[part].shape, table.accumulate)
        kernel(table, grad_output[part], wide, enter)
        grad_features[part] = wide


def _adds_up(table: SampleTable, dtype: DType) -> bool:
    # whether chunk after chunk adds to a gradient that has not the type for it
    return bool(table.chunks > 1 and dtype != table.accumulate)


def sample_backward_rois(table: Table, grad_output: Ndarray, features: Ndarray, grad_boxes: Ndarray) -> None:
    """Fill `grad_boxes` (K, 5) with the gradient with respect to cx, cy, w, h and the angle."""
    _kernels(table.accumulate).sample_backward_rois(
        table, grad_output, features, grad_boxes, threads.for_call()
    )


class _GridTables:
    """Grid tables of runs of RoIs, each small enough to be held; made anew where there are several."""

    def __init__(self, boxes: Ndarray, images: Ndarray | None, accumulate: str, geometry: Geometry) -> None:
        self.accumulate = accumulate
        self._boxes, self._images, self._geometry = boxes, images, geometry
        listed = np.cumsum(entries(boxes, images, *geometry))
        self._runs, first = [], 0
        while first < len(boxes):
            before = listed[first - 1] if first else 0
            last = max(int(np.searchsorted(listed, before + GRID_SAMPLES, side="right")), first + 1)
            self._runs.append(slice(first, last))
            first = last
        self._only = self._make(self._runs[0]) if len(self._runs) == 1 else None
        self.first_invalid = self._first("first_invalid")
        self.first_too_fine = self._first("first_too_fine")

    def _make(self, run: slice) -> GridTable:
        images = None if self._images is None else self._images[run]
        return GridTable(self._boxes[run], images, *self._geometry, self.accumulate)

    def _first(self, attribute: str) -> int:
        for run, table in self:
            found: int = getattr(table, attribute)
            if found >= 0:
                return int(run.start) + found
        return -1

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[tuple[slice, GridTable]]:
        if self._only is not None:
            yield self._runs[0], self._only
            return
        for run in self._runs:
            yield run, self._make(run)


def grid_table(
    boxes: Ndarray,
    images: Ndarray | None,
    input_shape: Shape,
    output_size: Size,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
    accumulate: str,
) -> Table:
    """Return the grid tables of the boxes; see `roicy.cpu.tables.grid.GridTable`."""
    geometry = (input_shape, output_size, spatial_scale, sampling_ratio, aligned, False)
    return _GridTables(boxes, images, accumulate, geometry)


def edge_grid_table(
    boxes: Ndarray,
    images: Ndarray | None,
    input_shape: Shape,
    output_size: Size,
    spatial_scale: float,
    accumulate: str,
) -> Table:
    """Return grid tables with samples in steps of one pixel from the edge of each bin."""
    geometry = (input_shape, output_size, spatial_scale, 0, False, True)
    return _GridTables(boxes, images, accumulate, geometry)


def grid_forward(tables: Table, features: Ndarray, out: Ndarray, argmax: Ndarray | None, rule: str) -> None:
    """Fill `out` with the largest sample of each bin and `argmax`, unless it is None, with its number.

    `rule` is "bilinear", or "onnx" for the largest of the samples' weighted corners.
    """
    pool = _kernels(tables.accumulate).grid_forward
    for run, table in tables:
        indices = None if argmax is None else argmax[run]
        pool(table, features, out[run], indices, rule == "onnx", threads.for_call())


def grid_backward(tables: Table, grad_output: Ndarray, argmax: Ndarray, grad_features: Ndarray) -> None:
    """Fill `grad_features` with `grad_output` at the samples `argmax`."""
    backward = _kernels(tables.accumulate).grid_backward
    channels = grad_features.shape[1]
    step = channels if len(tables) == 1 else ADJOINT_CHANNELS
    for first in range(0, channels, step):
        part = np.s_[:, first : first + step]
        total = None
        for run, table in tables:
            # the first run's share where it belongs, if it is the only one
            share = grad_features
            if len(tables) > 1:
                share = np.empty(grad_features[part].shape, tables.accumulate)
            backward(table, grad_output[run][part], argmax[run][part], share, threads.for_call())
            total = share if total is None else np.add(total, share, out=total)
        if len(tables) > 1:
            grad_features[part] = total


def grid_backward_rois(
    tables: Table, grad_output: Ndarray, argmax: Ndarray, features: Ndarray, grad_boxes: Ndarray
) -> None:
    """Fill `grad_boxes` (K, 4), zeros so far, with the gradient with respect to x1, y1, x2, y2."""
    backward_rois = _kernels(tables.accumulate).grid_backward_rois
    for run, table in tables:
        backward_rois(table, grad_output[run], argmax[run], features, grad_boxes[run], threads.for_call())


def grid_argmax_error(tables: Table, argmax: Ndarray) -> ArgmaxError | None:
    """Return ((k, c, p, q), value, limit) of an index outside -1 ... limit - 1, or None."""
    for run, table in tables:
        wrong = _kernels(tables.accumulate).grid_argmax_error(table, argmax[run])
        if wrong:
            (k, *place), value, limit = wrong
            return (run.start + k, *place), value, limit
    return None
