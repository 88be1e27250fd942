"""Repeated calls: passes with all but addresses from an earlier call.

A small call takes more time in Python than on the device. Calls with equal options, shapes, strides and
dtypes differ only in the addresses of their arrays. So the launches of such a call are kept, and later ones
repeat them. The second call of a kind is the one that is recorded: most calls are not repeated at all. Where
the host waits for the device, to see whether boxes and argmax are valid, repeated calls do, too: if they are
not, the usual path says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from roicy._types import Ndarray
from roicy.cuda.recording import NotAlike, Recording, do, extent
from roicy.cuda.structs import address

if TYPE_CHECKING:
    from roicy.cuda.device import Device
    from roicy.cuda.tables.rois import RoiTable

#: Most calls that are kept, and most that were seen once; one more, and all of these are forgotten.
_MOST = 256
#: Bits of addresses that decide in which units memory is read and written.
_ALIGNED = 15


class Again:
    """The calls that were made on a kind of device.

    Parameters
    ----------
    device : Device
        The device with the arrays of these calls.
    current_device : callable
        Returns the number of the device in use.
    """

    def __init__(self, device: Device, current_device: Callable[[], int]) -> None:
        self._device, self._current_device = device, current_device
        self._calls: dict[Any, _Call | None] = {}  # None: it cannot be repeated
        self._seen: set[Any] = set()

    def run(
        self,
        settled: Any,
        how: Hashable,
        inputs: tuple[Ndarray | None, ...],
        out: Any,
        fresh: Callable[[], tuple[Any, Any]],
    ) -> Any:
        """Return the result of a pass: repeat an earlier call, or make this one with ``fresh()``.

        `settled` holds the checked options of the call, or is None if they are not known yet. Calls with
        equal options have the same object. `fresh` returns it, and the result. `how` names the pass.
        """
        device, given = self._device, out if type(out) is tuple else (out,)
        addresses: list[int] = [0, 0]  # the first one is replaced by that of the call's own memory
        outs: list[int] = []
        like: Any = [id(settled), how, self._current_device(), device.index, device.most_blocks, type(out)]
        for arrays, pointers in ((inputs, addresses), (given, outs)):
            for array in arrays:
                if array is None:
                    like.append(None)
                else:
                    pointer = array.data.ptr
                    pointers.append(pointer)
                    like.append((array.shape, array.strides, array.dtype, pointer & _ALIGNED))
        like = tuple(like)
        call = self._calls.get(like)
        if call is not None:
            result = call(device, addresses, given, outs)
            if result is not None:
                return result
        elif like in self._seen and like not in self._calls and device.records.acquire(blocking=False):
            try:
                return self._recorded(settled, like, inputs, fresh)
            finally:
                device.records.release()
        settled, result = fresh()
        if len(self._seen) >= _MOST:
            self._seen.clear()
        self._seen.add((id(settled), *like[1:]))
        return result

    def took(self, *arrays: Ndarray) -> None:
        """Note arrays that a call has made for its own kernels alone."""
        recording = self._device.recording
        if recording is not None:
            for array in arrays:
                recording.took(address(array), array.nbytes, array)

    def shares(self, tables: Iterable[RoiTable], wait: Callable[[], None]) -> None:
        """Note tables that a call shares with others; repeated calls `wait`, on the device, for these."""
        recording = self._device.recording
        if recording is not None:
            for table in tuple(tables):  # another thread may be adding one
                for begin, size in table.extents:
                    recording.shares(begin, size, table, wait)

    def apart(self) -> Again:
        """Return one for calls that are kept as long as that is: those of a plan."""
        return Again(self._device, self._current_device)

    def _recorded(
        self,
        settled: Any,
        like: tuple[Any, ...],
        inputs: Sequence[Ndarray | None],
        fresh: Callable[[], tuple[Any, Any]],
    ) -> Any:
        self._device.recording = recording = Recording()
        try:
            _, result = fresh()  # options that another thread made the cache forget are settled anew
        finally:
            self._device.recording = None
        if recording.is_graph:
            return result
        if len(self._calls) >= _MOST:
            self._calls.clear()
        try:
            self._calls[like] = _Call(settled, recording, inputs, result)
        except NotAlike:
            self._calls[like] = None
        return result


class _Call:
    # The launches of a call: all but the addresses of its arrays.
    def __init__(
        self, settled: Any, recording: Recording, inputs: Sequence[Ndarray | None], result: Any
    ) -> None:
        self._settled = settled  # a reference, so that no other object gets its id
        self._several = type(result) is tuple
        results = result if self._several else (result,)
        arrays = *(array for array in inputs if array is not None), *results
        self._size, self._steps, self._questions = recording.steps(arrays)
        self._asked, self._held, self._wait = recording.asked, recording.held, recording.wait
        self._extents = [(0, 0), (0, 0), *map(extent, arrays)]
        self._results = [
            (array.shape, array.dtype, *ends)
            for array, ends in zip(results, self._extents[-len(results) :], strict=True)
        ]

    def __call__(
        self, device: Device, addresses: list[int], given: Sequence[Ndarray | None], outs: Sequence[int]
    ) -> Any:
        """Repeat the call and return its result; return None if it must take the usual path."""
        if self._asked and device.captures():
            return None
        results = []
        for number, (shape, dtype, low, high) in enumerate(self._results):
            if number < len(outs):
                array, out = given[number], outs[number]
                low, high = out + low, out + high
                for begin, (first, end) in zip(addresses, self._extents, strict=False):
                    if begin + first < high and low < begin + end:
                        return None  # the usual path finds out whether they share memory
            else:
                array = device.xp.empty(shape, dtype)
                out = array.data.ptr
            addresses.append(out)
            results.append(array)
        if self._wait is not None:
            self._wait()
        memory = None
        if self._size:
            memory = device.room(self._size)
            addresses[0] = memory.ptr
        done = 0
        for after, begin, good in self._questions:
            do(self._steps[done:after], addresses)
            if not device.gives(memory, begin, good):
                return None  # the usual path says what is wrong
            done = after
        do(self._steps[done:] if done else self._steps, addresses)
        del memory  # the launches are in the stream: their memory may be used again
        return tuple(results) if self._several else results[0]
