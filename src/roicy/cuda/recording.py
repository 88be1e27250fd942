"""Recordings: the launches of a call, which other arrays can repeat.

The arguments of a launch are addresses, and what the host computes from options, shapes, strides and dtypes.
So calls in which these are equal differ only in addresses. An address belongs to an array of the call, to
memory that the call has taken for itself, or to a table of a plan, which is the same in all calls of the
plan: a recording finds out which, and at which byte.
"""

from __future__ import annotations

import functools
import struct
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from roicy._types import Ndarray, Size
from roicy.cuda.structs import POINTER, Address, Struct, address

#: Most structs that are kept for an argument, by the addresses in them; one more, and all are forgotten.
_MOST = 64
#: Parts of the memory of a call begin at multiples of this: any vector access is aligned there.
_ALIGNMENT = 256
_POINTER = struct.Struct("@P")

#: What an address means: the number of an array, 0 for the call's own memory, and the byte from its first on.
#: The array with number 1 begins at address 0: bytes of it are the addresses of what stays where it is.
Place: TypeAlias = tuple[int, int]

#: What the host asks: after how many launches, at which byte of the call's own memory the answer is, and
#: with which first numbers of it, int64, the call goes on.
Question: TypeAlias = tuple[int, int, tuple[int, ...]]


class NotAlike(Exception):
    """The call cannot be repeated."""


class Recording:
    """The launches of a call while it runs, in this thread."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._steps: list[tuple[Any, ...]] = []
        self._questions: list[tuple[int, int, tuple[int, ...]]] = []
        self._memory: list[tuple[int, int]] = []
        # references, so that no memory is given back and taken again during the call
        self._alive: list[Any] = []
        self._lasting: list[tuple[int, int]] = []
        #: What the memory belongs to that the call shares with others, and what waits until that is filled.
        self.held: list[Any] = []
        self.wait: Callable[[], None] | None = None
        #: Whether the call depends on whether the stream records a graph, and whether it does.
        self.asked = self.is_graph = False

    def launched(
        self, function: Any, grid: tuple[int], threads: tuple[int], arguments: tuple[Any, ...], shared: int
    ) -> None:
        """Note a launch."""
        if threading.get_ident() == self._thread:
            self._steps.append((function, grid, threads, arguments, shared))

    def asks(self, begin: int, good: tuple[int, ...]) -> None:
        """Note that the host now waits for numbers that the last launch left, and with which it goes on."""
        if threading.get_ident() == self._thread:
            self._questions.append((len(self._steps), begin, good))

    def took(self, begin: int, size: int, memory: Any) -> None:
        """Note memory that the call has taken for itself."""
        if threading.get_ident() == self._thread:
            self._memory.append((begin, size))
            self._alive.append(memory)

    def shares(self, begin: int, size: int, owner: Any, wait: Callable[[], None]) -> None:
        """Note memory that the call shares with others: it stays where it is as long as `owner` is there."""
        if threading.get_ident() == self._thread:
            self._lasting.append((begin, size))
            self.held.append(owner)
            self.wait = wait

    def asked_for_graph(self, found: bool) -> None:
        """Note that the call has asked whether its stream records a graph, and the answer."""
        if threading.get_ident() == self._thread:
            self.asked, self.is_graph = True, self.is_graph or found

    def steps(self, arrays: Sequence[Ndarray]) -> tuple[int, list[Step], list[Question]]:
        """Return the bytes of memory that the call needs, its launches, and what it asks between them.

        Raises
        ------
        NotAlike
            If an address belongs neither to one of `arrays` nor to such memory, or to several of these.
        """
        places = _Places(arrays, self._memory, self._lasting)
        done: list[Step] = []
        for function, grid, threads, arguments, shared in self._steps:
            done.append(_launch(function, grid, threads, arguments, shared, places))
        if places.unseen:  # of an array that no kernel accesses: the host may have read it
            raise NotAlike
        questions = [(after, places.own(begin), good) for after, begin, good in self._questions]
        return places.size, done, questions


class _Places:
    # What addresses mean.
    def __init__(
        self,
        arrays: Sequence[Ndarray],
        memory: Sequence[tuple[int, int]],
        lasting: Sequence[tuple[int, int]] = (),
    ) -> None:
        self._arrays = {address(array): number for number, array in enumerate(arrays, 2)}
        if len(self._arrays) < len(arrays):  # two begin at one address
            raise NotAlike
        extents = zip(self._arrays, map(extent, arrays), strict=True)
        self._reach = [(begin + low, begin + high, begin) for begin, (low, high) in extents]
        self.unseen = set(self._arrays)
        self._memory, self._lasting = sorted(memory), lasting
        self._begins: list[int] = []
        self.size = 0
        for _, size in self._memory:
            self._begins.append(self.size)
            self.size += -(-size // _ALIGNMENT) * _ALIGNMENT

    def own(self, pointer: int) -> int:
        """Return which byte of the call's own memory that is."""
        number, begin = self.of(pointer)
        if number:
            raise NotAlike
        return begin

    def of(self, pointer: int) -> Place:
        number = self._arrays.get(pointer)
        if number is not None:
            self.unseen.discard(pointer)
            return number, 0
        index = bisect_right(self._memory, pointer, key=lambda it: it[0]) - 1
        if index >= 0 and pointer < self._memory[index][0] + self._memory[index][1]:
            return 0, self._begins[index] + pointer - self._memory[index][0]
        if any(begin <= pointer < begin + size for begin, size in self._lasting):
            return 1, pointer
        # an item of an array, as of the last channel where their order is reversed
        found = [begin for first, end, begin in self._reach if first <= pointer < end]
        if len(found) != 1:
            raise NotAlike
        self.unseen.discard(found[0])
        return self._arrays[found[0]], pointer - found[0]


def extent(array: Ndarray) -> Size:
    """Return the first byte of an array and the one behind its last, counted from its first item."""
    steps = [stride * (length - 1) for stride, length in zip(array.strides, array.shape, strict=True)]
    return sum(step for step in steps if step < 0), sum(step for step in steps if step > 0) + array.itemsize


class _Packed:
    # A struct with pointers.
    def __init__(self, value: Struct, pointers: list[tuple[int, Place]]) -> None:
        self._bytes, self._pointers = value.tobytes(), pointers
        self._arrays = sorted({number for _, (number, _) in pointers})
        self._kept: dict[Any, np.void] = {}

    def of(self, addresses: Sequence[int]) -> np.void:
        numbers = self._arrays
        key: Any = addresses[numbers[0]]
        if len(numbers) > 1:
            key = tuple(addresses[number] for number in numbers)
        value = self._kept.get(key)
        if value is None:
            packed = bytearray(self._bytes)
            for offset, (number, begin) in self._pointers:
                _POINTER.pack_into(packed, offset, addresses[number] + begin)
            value = _plain(packed)
            if len(self._kept) >= _MOST:
                self._kept.clear()
            self._kept[key] = value
        return value


#: A launch: the kernel, its grid and block, all arguments that stay, those that are addresses and those that
#: are structs, each with its index, and shared memory.
Step: TypeAlias = tuple[
    Callable[..., None],
    tuple[int],
    tuple[int],
    list[Any],
    list[tuple[int, int, int]],
    list[tuple[int, _Packed]],
    dict[str, int],
]


def _launch(
    function: Callable[..., None],
    grid: tuple[int],
    threads: tuple[int],
    arguments: tuple[Any, ...],
    shared: int,
    places: _Places,
) -> Step:
    staying: list[Any] = []
    pointers: list[tuple[int, int, int]] = []
    structs: list[tuple[int, _Packed]] = []
    for index, argument in enumerate(arguments):
        staying.append(None)
        if isinstance(argument, Struct):
            packed = argument.tobytes()
            found = ((offset, *_POINTER.unpack_from(packed, offset)) for offset in _pointers(argument.dtype))
            own = [(offset, places.of(pointer)) for offset, pointer in found if pointer]
            if own:
                structs.append((index, _Packed(argument, own)))
            else:
                staying[-1] = _plain(packed)
        elif type(argument) is Address:
            pointers.append((index, *places.of(int(argument))))
        elif isinstance(argument, np.generic):
            staying[-1] = argument
        else:
            pointers.append((index, *places.of(address(argument))))
    return function, grid, threads, staying, pointers, structs, {"shared_mem": shared} if shared else {}


def _plain(packed: bytes | bytearray) -> np.void:
    # a struct without its fields, which CuPy takes faster than one with them
    value: np.void = np.frombuffer(packed, f"V{len(packed)}")[0]
    return value


@functools.lru_cache(256)
def _pointers(dtype: np.dtype[Any]) -> tuple[int, ...]:
    # the offsets of all pointers in a struct and in those in it
    found: list[int] = []
    for kind, offset, *_ in (dtype.fields or {}).values():
        if kind.fields:
            found += (offset + inner for inner in _pointers(kind))
        elif kind == POINTER:
            found.append(offset)
    return tuple(found)


def do(steps: Sequence[Step], addresses: Sequence[int]) -> None:
    """Do what was recorded, with these addresses: of the call's own memory, 0, and those of its arrays."""
    for function, grid, threads, staying, pointers, structs, shared in steps:
        arguments = staying.copy()
        for index, number, begin in pointers:
            arguments[index] = addresses[number] + begin
        for index, packed in structs:
            arguments[index] = packed.of(addresses)
        if shared:
            function(grid, threads, arguments, **shared)
        else:
            function(grid, threads, arguments)
