"""Maps that are chunked along rows and columns, too: which of their tiles each group of boxes reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.array import Array

from roicy import windows as eager
from roicy._types import NumPyArray
from roicy.dask._boxes import Groups, Known
from roicy.dask._maps import Axes

#: How many times as large as what its chunks hold the part of a map may be that a group of boxes reads from:
#: most of it may be read by nobody.
_SPARSE = 2


class Part(NamedTuple):
    """The part of a map that a group of boxes reads.

    Attributes
    ----------
    window : tuple of int
        Its first row and column, and those after the last.
    tiles : list of (int, int)
        Which tiles hold what is read of it, by rows and by columns.
    """

    window: tuple[int, int, int, int]
    tiles: list[tuple[int, int]]


class Tiles(NamedTuple):
    """Lengths of chunks along images, rows and columns, and the bytes of a pixel in a chunk's channels."""

    images: Sequence[int]
    rows: Sequence[int]
    columns: Sequence[int]
    pixel: int

    @classmethod
    def of(cls, maps: Array, axes: Axes) -> Tiles:
        """Return those of an array of maps."""
        images, channels, rows, columns = (maps.chunks[axis] for axis in axes)
        return cls(images, rows, columns, max(channels, default=0) * maps.dtype.itemsize)

    def corner(self, row: Any, column: Any) -> tuple[int, int]:
        """Return the first row and column of a tile."""
        return sum(self.rows[:row]), sum(self.columns[:column])

    def reached(self, windows: NumPyArray) -> tuple[NumPyArray, NumPyArray]:
        """Return the first and the last tile, (K, 2), that boxes read; where there is none, the first."""
        found = []
        for axis, lengths in enumerate((self.rows, self.columns)):
            ends = np.cumsum(lengths)
            low, high = windows[:, axis], np.maximum(windows[:, axis + 2] - 1, 0)
            places = np.searchsorted(ends, (low, high), side="right")
            found.append(np.minimum(places, len(lengths) - 1))  # where the maps have no rows, say
        (top, bottom), (left, right) = found
        return np.column_stack([top, left]), np.column_stack([bottom, right])

    def groups(self, boxes: Known, windows: NumPyArray, most: int, room: int) -> tuple[Groups, list[Part]]:
        """Return groups of at most so many boxes that lie together, of one chunk of images.

        They read at most so many bytes, but for one box that reads more. Boxes follow a Hilbert curve through
        the tiles in which what they read begins.
        """
        first, last = self.reached(windows)
        chunk = boxes.chunk(self.images)
        curve = hilbert(first, max(len(self.rows), len(self.columns)))
        order = np.lexsort((curve, chunk))
        steps = np.diff(chunk[order], prepend=-1), np.diff(curve[order], prepend=-1)
        cells = np.flatnonzero((steps[0] != 0) | (steps[1] != 0))
        growing = _Growing(self, most, room)
        ends = np.append(cells[1:], len(order)) if len(order) else cells
        for begin, end in zip(cells.tolist(), ends.tolist(), strict=True):
            for start in range(begin, end, most):
                some = order[start : min(start + most, end)]
                growing.add(int(chunk[some[0]]), windows[some], np.hstack([first[some], last[some]]))
        growing.close()
        if not growing.parts:
            growing.add(0, np.zeros((0, 4), np.int64), np.zeros((1, 4), np.int64))
            growing.close()
        return Groups(order, np.array(growing.lengths), np.array(growing.chunks)), growing.parts

    def readers(self, boxes: Known, windows: NumPyArray) -> tuple[Groups, list[Part]]:
        """Return for each tile of each chunk of images the boxes that read it, and all that these read.

        That is more than the tile where boxes reach beyond it. Boxes are in their order.
        """
        first, last = self.reached(windows)
        extent = (last - first + 1) * (windows[:, 2:] > windows[:, :2]).all(axis=1, keepdims=True)
        counts = extent.prod(axis=1)
        box = np.repeat(np.arange(len(windows)), counts)
        number = np.arange(len(box)) - np.repeat(np.cumsum(counts) - counts, counts)
        tile = first[box] + np.column_stack(np.divmod(number, np.maximum(extent[box, 1], 1)))
        filled = (np.array(self.rows)[tile[:, 0]] > 0) & (np.array(self.columns)[tile[:, 1]] > 0)
        box, tile = box[filled], tile[filled]
        grid = len(self.images), len(self.rows), len(self.columns)
        place = np.ravel_multi_index((boxes.chunk(self.images)[box], *tile.T), grid)
        order = np.argsort(place, kind="stable")
        lengths = np.bincount(place, minlength=int(np.prod(grid)))
        groups = Groups(box[order], lengths, np.repeat(np.arange(grid[0]), grid[1] * grid[2]))
        parts, begin = [], 0
        for number, length in enumerate(lengths.tolist()):
            _, row, column = np.unravel_index(number, grid)
            (top, left), rows, columns = (
                self.corner(row, column),
                self.rows[int(row)],
                self.columns[int(column)],
            )
            own = np.array([[top, left, top + rows, left + columns]])
            read = np.concatenate([own, windows[groups.order[begin : begin + length]]])
            window = _bounds(read) if rows and columns else (top, left, top + rows, left + columns)
            parts.append(Part(window, [(int(row), int(column))]))
            begin += length
        return groups, parts


class _Growing:
    # A group that grows while it has room, and those before it.
    def __init__(self, tiles: Tiles, most: int, room: int) -> None:
        self.of, self.most, self.room = tiles, most, room
        self.lengths: list[int] = []
        self.chunks: list[int] = []
        self.parts: list[Part] = []
        self.open: tuple[int, int, NumPyArray, set[tuple[int, int]]] | None = None

    def add(self, chunk: int, windows: NumPyArray, reach: NumPyArray) -> None:
        read = windows[(windows[:, 2:] > windows[:, :2]).all(axis=1)]
        needed = {
            (row, column)
            for top, left, bottom, right in np.unique(reach, axis=0).tolist()
            for row in range(top, bottom + 1)
            for column in range(left, right + 1)
        }
        count = len(windows)
        if self.open is not None:
            old, length, before, tiles = self.open
            joined = np.concatenate([before, read])
            if old == chunk and length + count <= self.most and self._fits(chunk, joined, tiles | needed):
                self.open = chunk, length + count, np.array([_bounds(joined)]), tiles | needed
                return
        self.close()
        self.open = chunk, count, read, needed

    def close(self) -> None:
        if self.open is not None:
            chunk, length, read, tiles = self.open
            self.chunks.append(chunk)
            self.lengths.append(length)
            self.parts.append(Part(_bounds(read), sorted(tiles)))
            self.open = None

    def _fits(self, chunk: int, windows: NumPyArray, tiles: set[tuple[int, int]]) -> bool:
        pixel = self.of.pixel * self.of.images[chunk]
        held = sum(self.of.rows[row] * self.of.columns[column] for row, column in tiles)
        top, left, bottom, right = _bounds(windows)
        return pixel * held <= self.room and pixel * (bottom - top) * (right - left) <= _SPARSE * self.room


def _bounds(windows: NumPyArray) -> tuple[int, int, int, int]:
    # the part that holds all of these, of which those without pixels say nothing
    windows = windows[(windows[:, 2:] > windows[:, :2]).all(axis=1)]
    if not len(windows):
        return 0, 0, 0, 0
    top, left = windows[:, :2].min(axis=0).tolist()
    bottom, right = windows[:, 2:].max(axis=0).tolist()
    return top, left, bottom, right


def read_by(operator: Any, arguments: Mapping[str, Any], boxes: Known, shape: Any, size: Any) -> NumPyArray:
    """Return what each box reads of its map, (K, 4), as `roicy.rois_windows` does."""
    _, places = eager.options_of(operator.pools, arguments)
    found: NumPyArray = eager.rois_windows(
        boxes.shaped(boxes.rois.boxes),
        shape,
        size,
        operator=operator.pools,
        offsets=arguments.get("offsets"),
        batch_indices=boxes.rois.images,
        layout=arguments["layout"],
        invalid="nan",
        **places,
    )
    return found


def hilbert(places: NumPyArray, side: int) -> NumPyArray:
    """Return how far along a Hilbert curve through a square of tiles these, (K, 2), lie."""
    x, y = places[:, 1].copy(), places[:, 0].copy()
    found = np.zeros(len(places), np.int64)
    step = 1 << max(side - 1, 0).bit_length()
    while step > 1:
        step //= 2
        right, low = (x & step) > 0, (y & step) > 0
        found += step * step * ((3 * right) ^ low)
        # the quarter as the curve runs through it
        flipped = ~low & right
        x[flipped], y[flipped] = step - 1 - (x[flipped] & (step - 1)), step - 1 - (y[flipped] & (step - 1))
        x, y = x & (step - 1), y & (step - 1)
        turned = ~low
        x[turned], y[turned] = y[turned], x[turned].copy()
    return found
