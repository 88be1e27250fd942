"""Data races: unordered accesses of threads to one byte, at least one of them a write."""

from __future__ import annotations

import numpy as np

from .arithmetic import Array

#: Accesses of a launch that are looked at; there is no memory for all of a large one.
MOST = 1 << 23


class Races:
    """What the threads of a grid access, and between which barriers.

    Barriers of a block order what its threads do, those of a warp what its lanes do; nothing orders blocks.
    Atomic accesses are left out.
    """

    def __init__(self, blocks: int, threads: int) -> None:
        self._threads = threads
        self._warps = -(-threads // 32)
        self._block_age = np.zeros(blocks, np.int64)
        self._warp_age = np.zeros(blocks * self._warps, np.int64)
        self._left = MOST
        self._seen: dict[str, list[tuple[Array, ...]]] = {"global": [], "shared": []}

    def warp_of(self, thread: Array) -> Array:
        """Return the warps that threads belong to."""
        return thread // self._threads * self._warps + thread % self._threads // 32

    def order_block(self, block: Array) -> None:
        """Note that the threads of blocks have met."""
        self._block_age[block] += 1

    def order_warp(self, warp: Array) -> None:
        """Note that the lanes of warps have met."""
        self._warp_age[warp] += 1

    def note(self, space: str, store: bool, addresses: Array, size: int, thread: Array) -> None:
        """Note that threads read or write so many bytes."""
        if space not in self._seen or self._left <= 0:
            return
        self._left -= len(thread)
        block, warp = thread // self._threads, self.warp_of(thread)
        ages = self._block_age[block], self._warp_age[warp]
        where = addresses.astype(np.int64)
        if space == "shared":  # each block has its own
            where = where + (block << 32)
        self._seen[space].append(
            (where, np.full(len(where), size), thread, *ages, np.full(len(where), store))
        )

    def found(self) -> str:
        """Return a sentence about one of them, or nothing."""
        for space, seen in self._seen.items():
            if seen and (words := self._search(space, *map(np.concatenate, zip(*seen, strict=True)))):
                return words
        return ""

    def _search(self, space: str, where: Array, size: Array, thread: Array, *rest: Array) -> str:
        # by cells that every access is made of; what is only read is in order
        cell_size = np.gcd.reduce(np.append(size, where))
        count = size // cell_size
        first = np.cumsum(count) - count
        cell = np.repeat(where // cell_size - first, count) + np.arange(count.sum())
        thread, block_age, warp_age, store = (np.repeat(values, count) for values in (thread, *rest))
        written = np.unique(cell[store])
        place = np.minimum(np.searchsorted(written, cell), len(written) - 1)
        (some,) = np.nonzero(written[place] == cell) if len(written) else ([],)
        if not len(some):
            return ""
        cell, thread, store = cell[some], thread[some], store[some]
        block, warp = thread // self._threads, self.warp_of(thread)
        keys = cell, block, block_age[some], warp, warp_age[some]
        order = np.lexsort(keys[::-1])
        cell, thread, store, block, warp = (values[order] for values in (cell, thread, store, block, warp))
        changes = np.logical_or.accumulate(np.stack([np.diff(key[order], prepend=-1) != 0 for key in keys]))
        # no two accesses of one group are ordered by what its owners have: all is well where it has one
        for owner, begins in ((block, changes[0]), (warp, changes[2]), (thread, changes[4])):
            starts = np.flatnonzero(begins)
            several = np.maximum.reduceat(owner, starts) != np.minimum.reduceat(owner, starts)
            bad = several & np.logical_or.reduceat(store, starts)
            if bad.any():
                begin = starts[np.argmax(bad)]
                ends = np.append(starts, len(owner))
                group = slice(begin, ends[np.argmax(bad) + 1])
                writer = begin + np.argmax(store[group])
                other = begin + np.argmax(owner[group] != owner[writer])
                deed = "writes" if store[other] else "reads"
                return (
                    f"race: thread {thread[writer]} writes {space} memory at {cell[writer] * cell_size:#x}, "
                    f"thread {thread[other]} {deed} it, and nothing orders them"
                )
        return ""
