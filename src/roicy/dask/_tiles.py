"""Maps that are also chunked along rows and columns: which tiles each group of boxes reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.array import Array

from roicy import windows as eager
from roicy._types import NumPyArray
from roicy.dask._boxes import Groups, Known
from roicy.dask._maps import Axes
from roicy.dask._parts import Parts, bounds, counted, divided

#: How many times as large as what its chunks hold the part of a map may be that a group of boxes reads from:
#: most of it may be read by nobody.
_SPARSE = 2

#: Overhead of a call, as the bytes that are copied in the same time: in host memory, on a device.
_CALL, _DEVICE_CALL = 1 << 18, 1 << 27

#: The first row and column, and those after the last.
Rectangle = tuple[int, int, int, int]


class Tiles(NamedTuple):
    """Lengths of chunks along images, rows and columns.

    And the bytes of a pixel in a chunk's channels, and those that are copied while a call begins.
    """

    images: Sequence[int]
    rows: Sequence[int]
    columns: Sequence[int]
    pixel: int = 0
    call: int = 0

    @classmethod
    def of(cls, maps: Array, axes: Axes) -> Tiles:
        """Return those of an array of maps."""
        images, channels, rows, columns = (maps.chunks[axis] for axis in axes)
        call = _CALL if isinstance(maps._meta, np.ndarray) else _DEVICE_CALL
        return cls(images, rows, columns, max(channels, default=0) * maps.dtype.itemsize, call)

    def corner(self, row: Any, column: Any) -> tuple[int, int]:
        """Return the first row and column of a tile."""
        return sum(self.rows[:row]), sum(self.columns[:column])

    def reached(self, windows: NumPyArray) -> tuple[NumPyArray, NumPyArray]:
        """Return the first and the last tile, (K, 2), that boxes read; the first one where they read none."""
        found = []
        for axis, lengths in enumerate((self.rows, self.columns)):
            ends = np.cumsum(lengths)
            low, high = windows[:, axis], np.maximum(windows[:, axis + 2] - 1, 0)
            places = np.searchsorted(ends, (low, high), side="right")
            found.append(np.minimum(places, len(lengths) - 1))  # where the maps have no rows, say
        (top, bottom), (left, right) = found
        return np.column_stack([top, left]), np.column_stack([bottom, right])

    def groups(self, boxes: Known, windows: NumPyArray, most: int, room: int) -> tuple[Groups, list[Parts]]:
        """Return groups of at most `most` boxes that lie together, each of one chunk of images.

        A group reads at most `room` bytes, or is a single box that reads more. Boxes are sorted along a
        Hilbert curve through the tiles, by the first tile that each reads.
        """
        first, last = self.reached(windows)
        chunk = boxes.chunk(self.images)
        curve = hilbert(first, max(len(self.rows), len(self.columns)))
        order = np.lexsort((curve, chunk))
        growing = _Growing(self, most, room)
        for cell in self._cells(order, chunk, curve, most, windows, np.hstack([first, last])):
            growing.add(*cell)
        growing.close()
        if not growing.tiles:
            growing.add(0, 0, (0, 0, 0, 0), [(0, 0, 0, 0)])
            growing.close()
        found, begin = [], 0
        for of_images, length, tiles in zip(growing.chunks, growing.lengths, growing.tiles, strict=True):
            some = order[begin : begin + length]
            places, parts = divided(self, of_images, tiles, windows[some])
            order[begin : begin + length] = some[places]
            found.append(parts)
            begin += length
        return Groups(order, np.array(growing.lengths), np.array(growing.chunks)), found

    def _cells(
        self,
        order: NumPyArray,
        chunk: NumPyArray,
        curve: NumPyArray,
        most: int,
        windows: NumPyArray,
        reach: NumPyArray,
    ) -> Iterator[tuple[int, int, Rectangle, list[Rectangle]]]:
        # at most `most` boxes that begin in the same tile: their chunk, their number, what they read, and of
        # which tiles
        if not len(order):
            return
        changes = (np.diff(chunk[order]) != 0) | (np.diff(curve[order]) != 0)
        lengths = np.diff(np.flatnonzero(changes) + 1, prepend=0, append=len(order))
        cell, number = counted(-(-lengths // most))
        begins = (np.cumsum(lengths) - lengths)[cell] + number * most
        counts = np.diff(begins, append=len(order))
        read = bounds(windows[order], begins).tolist()
        of, columns = np.repeat(np.arange(len(begins)), counts), len(self.columns)
        # all begin in the same tile, and a few end in another one than most
        of, ends = np.divmod(
            np.unique(of * len(self.rows) * columns + reach[order, 2] * columns + reach[order, 3]),
            len(self.rows) * columns,
        )
        reached = np.column_stack([reach[order[begins[of]], :2], *np.divmod(ends, columns)]).tolist()
        limits = np.searchsorted(of, np.arange(len(begins) + 1)).tolist()
        for c, (count, begin) in enumerate(zip(counts.tolist(), begins.tolist(), strict=True)):
            yield int(chunk[order[begin]]), count, tuple(read[c]), reached[limits[c] : limits[c + 1]]

    def readers(self, boxes: Known, windows: NumPyArray) -> tuple[Groups, list[tuple[int, int, int, int]]]:
        """Return for each tile of each chunk of images the boxes that read it, and all that these read.

        That is more than the tile where boxes reach beyond it. Boxes are in their order.
        """
        first, last = self.reached(windows)
        extent = (last - first + 1) * (windows[:, 2:] > windows[:, :2]).all(axis=1, keepdims=True)
        box, number = counted(extent.prod(axis=1))
        tile = first[box] + np.column_stack(np.divmod(number, np.maximum(extent[box, 1], 1)))
        filled = (np.array(self.rows)[tile[:, 0]] > 0) & (np.array(self.columns)[tile[:, 1]] > 0)
        box, tile = box[filled], tile[filled]
        grid = len(self.images), len(self.rows), len(self.columns)
        place = np.ravel_multi_index((boxes.chunk(self.images)[box], *tile.T), grid)
        order = np.argsort(place, kind="stable")
        lengths = np.bincount(place, minlength=int(np.prod(grid)))
        groups = Groups(box[order], lengths, np.repeat(np.arange(grid[0]), grid[1] * grid[2]))
        found, begin = [], 0
        for at, length in enumerate(lengths.tolist()):
            _, row, column = np.unravel_index(at, grid)
            (top, left), rows, columns = (
                self.corner(row, column),
                self.rows[int(row)],
                self.columns[int(column)],
            )
            own = np.array([[top, left, top + rows, left + columns]])
            read = np.concatenate([own, windows[groups.order[begin : begin + length]]])
            window = bounds(read, np.zeros(1, np.int64))[0].tolist() if rows and columns else own[0].tolist()
            found.append(window)
            begin += length
        return groups, found


class _Growing:
    # A group that grows while it has room, and those before it.
    def __init__(self, tiles: Tiles, most: int, room: int) -> None:
        self.of, self.most, self.room = tiles, most, room
        self.lengths: list[int] = []
        self.chunks: list[int] = []
        self.tiles: list[list[tuple[int, int]]] = []
        self.open: tuple[int, int, Rectangle, set[tuple[int, int]], int] | None = None

    def add(self, chunk: int, count: int, read: Rectangle, reach: Iterable[Rectangle]) -> None:
        needed = {
            (row, column)
            for top, left, bottom, right in reach
            for row in range(top, bottom + 1)
            for column in range(left, right + 1)
        }
        if self.open is not None and self.open[0] == chunk:
            _, length, before, tiles, held = self.open
            joined, held = _joined(before, read), held + self._pixels(needed - tiles)
            if length + count <= self.most and self._fits(chunk, joined, held):
                self.open = chunk, length + count, joined, tiles | needed, held
                return
        self.close()
        self.open = chunk, count, read, needed, self._pixels(needed)

    def close(self) -> None:
        if self.open is not None:
            chunk, length, _, tiles, _ = self.open
            self.chunks.append(chunk)
            self.lengths.append(length)
            self.tiles.append(sorted(tiles))
            self.open = None

    def _pixels(self, tiles: Iterable[tuple[int, int]]) -> int:
        return sum(self.of.rows[row] * self.of.columns[column] for row, column in tiles)

    def _fits(self, chunk: int, read: Rectangle, held: int) -> bool:
        pixel = self.of.pixel * self.of.images[chunk]
        top, left, bottom, right = read
        return pixel * held <= self.room and pixel * (bottom - top) * (right - left) <= _SPARSE * self.room


def _joined(one: Rectangle, other: Rectangle) -> Rectangle:
    # what holds both, of which one without pixels says nothing
    if one[2] <= one[0] or other[2] <= other[0]:
        return other if one[2] <= one[0] else one
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


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
