"""What a group of boxes is given of a map in tiles: whole tiles, or what it reads of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from roicy._types import NumPyArray

if TYPE_CHECKING:
    from roicy.dask._tiles import Tiles


class Parts(NamedTuple):
    """The parts of a map that a group of boxes reads, each of which is given to a call of its own.

    Attributes
    ----------
    tiles : list of (int, int)
        Which tiles hold what is read, by rows and by columns.
    cuts : list of array, (R, 4), int64, or None
        The pieces that are kept of each tile, in its own rows and columns; None: each tile is a piece.
    corners : array, (M, 2), int64
        The first row and column of each piece, tile by tile.
    windows : array, (P, 4), int64
        The first row and column of each part, and those after the last.
    pieces : list of P arrays
        Which pieces a part is made of.
    ends : array, (P,), int64
        How many boxes of the group come before the end of those of each part.
    """

    tiles: list[tuple[int, int]]
    cuts: list[NumPyArray] | None
    corners: NumPyArray
    windows: NumPyArray
    pieces: list[NumPyArray]
    ends: NumPyArray


def divided(
    grid: Tiles, chunk: int, tiles: list[tuple[int, int]], windows: NumPyArray
) -> tuple[NumPyArray, Parts]:
    """Return in which order a group takes its boxes, and their parts: what is least work.

    That is one part for all, put together of the tiles; or one for those that read the same tiles, which is
    the tile's own memory where they read one; or one for each, and of the tiles no more than that is kept.
    """
    count = len(windows)
    if not count:
        return np.arange(0), _made_of(grid, tiles, np.zeros((1, 4), np.int64), np.zeros(1, np.int64), False)
    reach = np.hstack(grid.reached(windows))
    by_tiles = np.lexsort(reach.T)
    along = reach[by_tiles]
    every, changes = np.arange(count), np.flatnonzero((along[1:] != along[:-1]).any(axis=1)) + 1
    pixel = float(grid.pixel * grid.images[chunk])
    held = pixel * sum(grid.rows[row] * grid.columns[column] for row, column in tiles)
    ways = []
    for order, begins, cut in (
        (every, every[:1], False),
        (by_tiles, np.append(0, changes), False),
        (by_tiles, every, True),
    ):
        parts = bounds(windows[order], begins)
        first, last = grid.reached(parts)
        read = pixel * (parts[:, 2:] - parts[:, :2]).prod(axis=1, dtype=np.float64)
        put_together = read[(first != last).any(axis=1)].sum()
        work = (read.sum() if cut else held) + put_together + grid.call * len(begins)
        ways.append((work, order, parts, np.append(begins[1:], count), cut))
    _, order, parts, ends, cut = min(ways, key=lambda way: way[0])
    return order, _made_of(grid, tiles, parts, ends, cut)


def _made_of(
    grid: Tiles, tiles: list[tuple[int, int]], windows: NumPyArray, ends: NumPyArray, cut: bool
) -> Parts:
    # which pieces of which tiles parts are made of: for each tile that a part reaches one
    first, last = grid.reached(windows)
    extent = last - first + 1
    part, number = counted(extent.prod(axis=1))
    place = (first[part] + np.column_stack(np.divmod(number, extent[part, 1]))) @ (len(grid.columns), 1)
    known = np.array(tiles) @ (len(grid.columns), 1)
    tile = np.minimum(np.searchsorted(known, place), len(known) - 1)
    part, tile = part[known[tile] == place], tile[known[tile] == place]  # nobody reads what is in no tile
    begins = np.array([grid.corner(row, column) for row, column in tiles])
    if not cut:
        return Parts(tiles, None, begins, windows, _runs(tile, part, len(windows)), ends)
    order = np.argsort(tile, kind="stable")
    part, tile = part[order], tile[order]
    sizes = np.array([(grid.rows[row], grid.columns[column]) for row, column in tiles])
    tops = np.maximum(windows[part, :2], begins[tile])
    bottoms = np.maximum(np.minimum(windows[part, 2:], begins[tile] + sizes[tile]), tops)
    cuts = _runs(np.hstack([tops, bottoms]) - np.tile(begins[tile], 2), tile, len(tiles))
    by_part = np.argsort(part, kind="stable")
    return Parts(tiles, cuts, tops, windows, _runs(by_part, part[by_part], len(windows)), ends)


def counted(counts: NumPyArray) -> tuple[NumPyArray, NumPyArray]:
    """Return 0, 0, 0, 1, 1 and 0, 1, 2, 0, 1 for 3, 2."""
    of = np.repeat(np.arange(len(counts)), counts)
    return of, np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)


def _runs(values: NumPyArray, of: NumPyArray, count: int) -> list[NumPyArray]:
    # values that are sorted by what they are of, for each of these
    return np.split(values, np.searchsorted(of, np.arange(1, count)))


def bounds(windows: NumPyArray, begins: NumPyArray) -> NumPyArray:
    """Return what holds all windows of each run, of which those without pixels say nothing."""
    empty = (windows[:, 2:] <= windows[:, :2]).any(axis=1, keepdims=True)
    most = np.iinfo(np.int64).max
    firsts = np.minimum.reduceat(np.where(empty, most, windows[:, :2]), begins, axis=0)
    ends = np.maximum.reduceat(np.where(empty, 0, windows[:, 2:]), begins, axis=0)
    return np.hstack([np.where(ends == 0, 0, firsts), ends])
