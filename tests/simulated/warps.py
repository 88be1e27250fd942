"""Instructions that lanes of a warp carry out together: shuffles, votes, matches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arithmetic import Array
from .ptx import Instruction, PtxError

_REDUCE = {"min": np.minimum, "max": np.maximum, "add": np.add, "and": np.bitwise_and, "or": np.bitwise_or}


class Lanes:
    """The lanes that are there: of each warp one row of 32.

    Parameters
    ----------
    warp, lane : arrays of int
        Of each thread that takes part.
    """

    def __init__(self, warp: Array, lane: Array) -> None:
        known, self.row = np.unique(warp, return_inverse=True)
        self.lane = lane
        self.there = np.zeros((len(known), 32), bool)
        self.there[self.row, lane] = True

    def spread(self, values: Array) -> Array:
        """Return values of the threads by warp and lane."""
        found = np.zeros(self.there.shape, values.dtype)
        found[self.row, self.lane] = values
        return found

    def bits(self, chosen: Array) -> Array:
        """Return for each thread the mask of the lanes of its warp of which something holds."""
        weights = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return (self.spread(chosen) * weights).sum(1, dtype=np.uint32)[self.row]


def shuffle(lanes: Lanes, mode: str, values: Array, by: Array, bounds: Array) -> tuple[Array, Array]:
    """Return what each thread gets from another lane, and whether that lane is in its segment."""
    lane = lanes.lane.astype(np.int64)
    by, bounds = (np.broadcast_to(number, lane.shape).astype(np.int64) for number in (by, bounds))
    segment, clamp = bounds >> 8 & 31, bounds & 31
    first = lane & segment
    last = first | (clamp & ~segment)
    by = by & 31
    source = {"up": lane - by, "down": lane + by, "bfly": lane ^ by, "idx": first | (by & ~segment)}[mode]
    inside = source >= last if mode == "up" else source <= last
    source = np.where(inside, source, lane)
    if not lanes.there[lanes.row, source].all():
        raise PtxError("a lane takes a value from one that does not take part in the shuffle")
    return lanes.spread(np.broadcast_to(values, lane.shape))[lanes.row, source], inside


def vote(lanes: Lanes, mode: str, chosen: Array) -> Array:
    """Return what the lanes of a warp decide."""
    chosen = np.broadcast_to(chosen, lanes.lane.shape)
    yes, all_there = lanes.bits(chosen), lanes.bits(np.ones(lanes.lane.shape, bool))
    return {"ballot": yes, "any": yes != 0, "all": yes == all_there, "uni": (yes == 0) | (yes == all_there)}[
        mode
    ]


def match(lanes: Lanes, values: Array) -> Array:
    """Return the mask of the lanes of a warp that have the same value."""
    by_lane = lanes.spread(np.broadcast_to(values, lanes.lane.shape))
    same = (by_lane[:, :, None] == by_lane[:, None, :]) & lanes.there[:, None, :]
    weights = np.uint32(1) << np.arange(32, dtype=np.uint32)
    return (same * weights).sum(2, dtype=np.uint32)[lanes.row, lanes.lane]


def reduce(lanes: Lanes, mode: str, values: Array) -> Array:
    """Return the sum, or another reduction, of the values of a warp's lanes."""
    found = np.empty(len(lanes.there), np.asarray(values).dtype)
    values = np.broadcast_to(values, lanes.lane.shape)
    order = np.argsort(lanes.row, kind="stable")
    starts = np.flatnonzero(np.diff(lanes.row[order], prepend=-1))
    found[:] = _REDUCE[mode].reduceat(values[order], starts)
    return found[lanes.row]


def together(
    instruction: Instruction,
) -> tuple[Callable[..., tuple[Array, ...]], list[tuple[int, str]]] | None:
    """Return what lanes compute together, and what it takes: (operand, type); None where they do not."""
    words = instruction.words
    kind, mode = words[-1], words[2] if len(words) > 2 else ""
    if words[0] == "shfl":
        return (lambda lanes, *taken: shuffle(lanes, mode, *taken)), [(1, kind), (2, "s32"), (3, "u32")]
    if words[0] == "vote":
        return (lambda lanes, chosen: (vote(lanes, mode, chosen),)), [(1, "pred")]
    if words[0] == "match":
        if words[1] != "any":
            raise PtxError(f"not known here: {instruction.text}")
        return (lambda lanes, values: (match(lanes, values),)), [(1, kind)]
    if words[0] == "redux":
        return (lambda lanes, values: (reduce(lanes, mode, values),)), [(1, kind)]
    if words[:2] == ("bar", "warp"):
        return (lambda lanes: ()), []
    return None


def mask_operand(instruction: Instruction) -> str:
    """Return the operand that says which lanes take part."""
    return instruction.operands[0 if instruction.words[0] == "bar" else -1]
