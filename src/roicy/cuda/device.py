"""Kernels on one kind of device: their sources, specialised and compiled when first used, and their launches.

A source is ``tables/NAME.cu`` or ``apply/NAME.cu``. Each ``#include "FOLDER/NAME.cuh"`` in it, and each
``#include "geometry/NAME.h"`` (shared with the CPU), is replaced by the text of that file. So CuPy compiles,
and caches on disk, one complete text. Only ``-D`` options specialise it.
"""

from __future__ import annotations

import functools
import operator
import re
import threading
from collections.abc import Callable, Iterator
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from roicy._types import (
    ALIGN,
    CORNERS,
    EXACT,
    HALF_PIXEL,
    OPEN,
    PRECISE,
    ROUNDED,
    SCALED,
    SHORT,
    UNIT_CORNERS,
    UNIT_SLOPES,
    WHOLE,
    DType,
    Ndarray,
)
from roicy.cuda.structs import address
from roicy.cuda.tuning import CONSTANTS

if TYPE_CHECKING:
    from roicy.cuda.recording import Recording

#: What a kernel is called with: arrays, NumPy scalars and structs.
Arguments: TypeAlias = tuple[Any, ...]
#: A stream, and an event there that others may wait for.
StreamEvent: TypeAlias = tuple[Any, Any]
#: What a source is specialised by.
Options: TypeAlias = tuple[str, ...]

#: The options of every source. Without contraction, each operation rounds once, as on the CPU.
OPTIONS = ("--std=c++17", "--fmad=false")
#: Blocks that a launch may have.
MOST_BLOCKS = 2**31 - 1

_INCLUDE = re.compile(r'^#include "((?:geometry/\w+\.h)|(?:\w+/\w+\.cuh))"\n', re.MULTILINE)
#: Arrays of up to this many items have 32-bit offsets.
INT32_ITEMS = 2**31 - 1

_AXIS_RULES = (
    *(ALIGN, PRECISE, ROUNDED, EXACT, WHOLE, SCALED, OPEN, SHORT),
    *(HALF_PIXEL, CORNERS, UNIT_CORNERS, UNIT_SLOPES),
)

#: The sources that fill tables; all others apply them.
TABLES = ("rois", "levels", "axis", "sample", "range", "grid", "quad")

_STORED = {
    "float16": "float16",
    "bfloat16": "bfloat16",
    "float32": "float",
    "float64": "double",
    "uint8": "uint8",
}
_REAL = {"float32": "float", "float64": "double"}
#: Integers that crops may be of: the type, and its least and its largest number.
_INTEGERS = {
    "uint8": ("uint8", 0, 255),
    "int8": ("int8", -128, 127),
    "uint16": ("uint16", 0, 65535),
    "int16": ("int16", -32768, 32767),
    "bool": ("bool", 0, 1),
}
#: Those that are read as float32: no kernel is compiled for them.
_RARE = frozenset(np.dtype(name) for name in _INTEGERS if name != "uint8")

#: Whether an argmax is written, no or yes.
WITH_ARGMAX: tuple[Options, Options] = ("-DWITH_ARGMAX=0",), ("-DWITH_ARGMAX=1",)
#: Whether the sums of a gradient's pixels may have many terms, no or yes.
LONG: tuple[Options, Options] = ("-DLONG=0",), ("-DLONG=1",)
#: How many channels a lane reads and writes at once, one or, where they lie on multiples of that, four.
COUNT: tuple[Options, Options] = ("-DCOUNT=1",), ("-DCOUNT=4",)
#: Whether lanes lie across the channels, no or yes.
ACROSS: tuple[Options, Options] = ("-DACROSS=0",), ("-DACROSS=1",)
#: How many channels a lane has at once where lanes lie across the channels, else none.
SEVERAL: dict[int, Options] = {count: (f"-DACROSS={count}",) for count in (0, 2, 4)}
#: Whether pasted masks are values, no or yes.
SOFT: tuple[Options, Options] = ("-DSOFT=0",), ("-DSOFT=1",)
#: How many pixels a thread has: one, or this many where lanes lie across the channels.
PIXELS_ACROSS = 4
PIXELS: tuple[Options, Options] = ("-DPIXELS=1",), (f"-DPIXELS={PIXELS_ACROSS}",)


class Device:
    """A kind of device: where its arrays come from and how its kernels are compiled.

    Parameters
    ----------
    xp : module
        The array library, `cupy`, or another one that makes arrays which `module` accepts.
    module : callable
        ``module(code=, options=)`` compiles a source, as `cupy.RawModule` does.
    current_device : callable
        Returns the number of the device in use.
    current_stream : callable, optional
        Returns the stream in use, which is a `cupy.cuda.Stream`; without it there is one stream only.
    allocate : callable, optional
        ``allocate(bytes)`` returns memory, which is a `cupy.cuda.MemoryPointer`; without it a table keeps
        arrays of `xp`.
    """

    def __init__(
        self,
        xp: Any,
        module: Callable[..., Any],
        current_device: Callable[[], int],
        current_stream: Callable[[], Any] | None = None,
        allocate: Callable[[int], Any] | None = None,
    ) -> None:
        self.xp = xp
        self.allocate = allocate
        self.most_blocks = MOST_BLOCKS
        self.index: str | None = None  # a type of INDEX for all launches, where it is not to be chosen
        self.recording: Recording | None = None  # of the call that is made at this moment
        self.records = threading.Lock()  # held while there is one, by whoever keeps calls
        self._module = module
        self._current_device = current_device
        self._current_stream = current_stream
        self._modules: dict[tuple[int, str, Options], Any] = {}
        self._functions: dict[tuple[int, str, str, Options], Any] = {}

    def launch(
        self,
        source: str,
        kernel: str,
        options: Options,
        blocks: int,
        threads: int,
        arguments: Arguments,
        shared: int = 0,
    ) -> None:
        """Run a kernel on at most this many blocks, which share the work; do nothing for 0 blocks."""
        if blocks <= 0:
            return
        device = self._current_device()
        key = device, source, kernel, options
        function = self._functions.get(key)
        if function is None:
            module = self._modules.get((device, source, options))
            if module is None:
                module = self._module(code=source_text(source), options=OPTIONS + options + constants(source))
                self._modules[device, source, options] = module
            function = self._functions[key] = module.get_function(kernel)
        grid = (min(blocks, self.most_blocks),)
        recording = self.recording  # read once: it may end in another thread at any moment
        if recording is not None:
            recording.launched(function, grid, (threads,), arguments, shared)
        if shared:
            function(grid, (threads,), arguments, shared_mem=shared)
        else:  # a small call feels even the word
            function(grid, (threads,), arguments)

    def room(self, size: int) -> Any:
        """Return memory of this many bytes, which is a `cupy.cuda.MemoryPointer`; None for arrays of `xp`."""
        if self.allocate is None:
            return None
        memory, recording = self.allocate(size), self.recording
        if recording is not None:
            recording.took(memory.ptr, size, memory)
        return memory

    def empty(self, shape: int | tuple[int, ...], dtype: Any = np.float64) -> Ndarray:
        """Return an array for what a kernel hands to another one."""
        array, recording = self.xp.empty(shape, dtype), self.recording
        if recording is not None:
            recording.took(address(array), array.nbytes, array)
        return array

    def answer(self, numbers: Ndarray, good: tuple[int, ...]) -> list[int]:
        """Return the numbers that a kernel has left in an array of this call, int64; waits for the device.

        With `good` as the first ones the call goes on, as calls like it do.
        """
        recording = self.recording
        if recording is not None:
            self.captures()  # nobody can wait for a stream that records a graph
            recording.asks(address(numbers), good)
        found: list[int] = numbers.tolist()
        return found

    def gives(self, memory: Any, begin: int, good: tuple[int, ...]) -> bool:
        """Return whether a kernel has left these numbers at byte `begin` of `memory`; waits."""
        found: list[int] = self.xp.ndarray(len(good), np.int64, memory + begin).tolist()
        return found == list(good)

    def gradient_rows(self, shape: tuple[int, ...]) -> Ndarray:
        """Return an array for a gradient of boxes, with any numbers: the kernels write to all rows."""
        return self.empty(shape)

    def note(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Return the events, and one after all work that the current stream has now."""
        if self._current_stream is None:
            return events
        stream = self._current_stream()
        return [*(event for event in events if event[0] != stream), (stream, stream.record())]

    def wait_for(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Make the current stream wait for these events; return the unfinished ones."""
        if not events or self._current_stream is None:
            return []
        stream = self._current_stream()
        if stream.is_capturing():  # a graph must not ask for, or wait for, events from outside
            return events
        left = [(other, event) for other, event in events if not event.done]
        for other, event in left:
            if other != stream:
                stream.wait_event(event)
        return left

    def captures(self) -> bool:
        """Return whether the current stream records a graph and does nothing of it yet."""
        found = self._current_stream is not None and bool(self._current_stream().is_capturing())
        recording = self.recording
        if recording is not None:
            recording.asked_for_graph(found)
        return found

    def readable(self, features: Ndarray) -> Ndarray:
        """Return feature maps of a dtype that the kernels read: rare integers as float32."""
        return features.astype(np.float32) if features.dtype in _RARE else features

    def feature_options(self, dtype: DType, accumulate: str, *arrays: Ndarray) -> Options:
        """Return the options of a source that accesses `arrays`, the items of the maps being of `dtype`."""
        return feature_options(name_of(dtype), accumulate, self.index or index_type(*arrays))


@functools.cache
def source_text(name: str) -> str:
    """Return the text of a source with what it includes."""
    return _with_includes(f"{'tables' if name in TABLES else 'apply'}/{name}.cu", set())


def _with_includes(path: str, seen: set[str]) -> str:
    def included(match: re.Match[str]) -> str:
        if match[1] in seen:
            return ""
        seen.add(match[1])
        return _with_includes(match[1], seen).replace("#pragma once\n", "")

    package = resources.files("roicy")
    place = package if path.startswith("geometry/") else package / "cuda"
    return _INCLUDE.sub(included, place.joinpath(path).read_text(encoding="utf-8"))


@functools.cache
def constants(source: str) -> Options:
    """Return the options that every specialisation of a source has."""
    return tuple(f"-D{name}={value}" for name, value in CONSTANTS.get(source, {}).items())


@functools.cache
def feature_options(stored: str, accumulate: str, index: str) -> Options:
    """Return the options of a source for feature maps of a dtype, sums in a type and offsets of a type."""
    result = "float" if stored == "uint8" else _STORED[stored]
    half = (f"-D{stored.upper()}",) if stored in ("float16", "bfloat16") else ()
    return (
        *half,
        f"-DSTORED={_STORED[stored]}",
        f"-DRESULT={result}",
        f"-DREAL={_REAL[accumulate]}",
        f"-DINDEX={index}",
    )


@functools.cache
def finish_options(result: str, accumulate: str, index: str) -> Options:
    """Return the options of the source that finishes averages as items of a dtype."""
    kind: Options
    if result in _INTEGERS:
        name, least, most = _INTEGERS[result]
        kind = ("-DINTEGER", f"-DINTEGER_LEAST={least}", f"-DINTEGER_MOST={most}")
    else:
        name = _STORED[result]
        kind = (f"-D{result.upper()}",) if result in ("float16", "bfloat16") else ()
    return (*kind, f"-DRESULT={name}", f"-DREAL={_REAL[accumulate]}", f"-DINDEX={index}")


@functools.cache
def quad_options(stored: str, result: str, index: str) -> Options:
    """Return the options of the source that cuts quadrangles out of images, and into items of a dtype."""
    half = (f"-D{result.upper()}",) if result in ("float16", "bfloat16") and result != stored else ()
    return (*half, *feature_options(stored, "float32", index))


@functools.cache
def table_options(boxes: str, accumulate: str) -> Options:
    """Return the options of a source for boxes of a dtype and weights of a type."""
    return (f"-DBOX={_REAL[boxes]}", f"-DREAL={_REAL[accumulate]}")


@functools.cache
def box_options(boxes: str) -> Options:
    """Return the options of a source for boxes of a dtype, and no weights."""
    return (f"-DBOX={_REAL[boxes]}",)


@functools.cache
def row_options(stored: str, result: str) -> Options:
    """Return the options of the source that makes rows of a dtype of those of another, or of the same."""
    half = (f"-D{name.upper()}" for name in (stored, result) if name in ("float16", "bfloat16"))
    real = _REAL["float64" if stored == "float64" else "float32"]
    return (*half, f"-DSTORED={_STORED[stored]}", f"-DRESULT={_STORED[result]}", f"-DREAL={real}")


def rule_options(rule: int) -> Options:
    """Return the option that an axis table is specialised by, beside `table_options`."""
    return (f"-DRULE={rule}",)


#: The name of a dtype, which NumPy puts together anew each time.
name_of = functools.lru_cache(64)(operator.attrgetter("name"))


def index_type(*arrays: Ndarray) -> str:
    """Return the type in which every offset into the arrays fits."""
    for array in arrays:
        if array.flags.c_contiguous and array.size <= INT32_ITEMS:
            continue
        pairs = zip(array.shape, array.strides, strict=True)
        reach = sum((length - 1) * abs(stride) for length, stride in pairs if length > 1)
        if reach // array.itemsize > INT32_ITEMS:
            return "int64"
    return "int"


def channels_last(array: Ndarray) -> bool:
    """Return whether the channels of a pixel lie side by side."""
    side_by_side: bool = array.shape[1] > 1 and array.strides[1] == array.itemsize
    return side_by_side


def packs(array: Ndarray, count: int) -> bool:
    """Return whether the channels of a pixel can be accessed in packs of this size."""
    size = count * array.itemsize
    return (
        channels_last(array)
        and array.shape[1] % count == 0
        and address(array) % min(size, 16) == 0
        and all(stride % size == 0 for axis, stride in enumerate(array.strides) if axis != 1)
    )


def specialisations() -> Iterator[tuple[str, Options]]:
    """Yield (source, options) for all that the launches can ask for.

    The options are those that stand beside `OPTIONS`.
    """
    return ((source, options + constants(source)) for source, options in _specialised())


def _specialised() -> Iterator[tuple[str, Options]]:
    # (source, options) as launches name them
    yield "argmax", ()
    yield "quad", ()
    yield "rows", row_options("float64", "float64")
    for name in ("float32", "float16", "bfloat16"):
        for pair in dict.fromkeys(((name, "float32"), ("float32", name))):
            yield "rows", row_options(*pair)
    for boxes in _REAL:
        yield "levels", box_options(boxes)
        for accumulate in _REAL:
            for source in TABLES:
                if source in ("levels", "quad"):  # which know no weights
                    continue
                options = table_options(boxes, accumulate)
                if source != "axis":
                    yield source, options
                    continue
                for rule in _AXIS_RULES:
                    yield source, options + rule_options(rule)
    for index in ("int", "int64"):
        for accumulate in _REAL:
            for result in {**_STORED, **_INTEGERS}:
                yield "finish", finish_options(result, accumulate, index)
        for stored in _STORED:
            of_results = (
                quad_options(stored, result, index) for result in ("float32", "float16", "bfloat16")
            )
            for options in dict.fromkeys(of_results):
                yield "quad_forward", options
    pairs = [(stored, "float64" if stored == "float64" else "float32") for stored in _STORED]
    for index in ("int", "int64"):
        for stored, accumulate in pairs:
            options = feature_options(stored, accumulate, index)
            for source in ("axis_forward", "axis_backward_rois", "channels_last"):
                yield source, options
            for count in COUNT:
                yield "axis_forward_pixels", options + count
            for with_argmax in WITH_ARGMAX:
                yield "range_forward", options + with_argmax
                for count in COUNT:
                    yield "range_forward_pixels", options + with_argmax + count
            for boxes in _REAL:
                boxed = options + table_options(boxes, accumulate)[:1]
                for source in ("grid_forward", "grid_backward_rois"):
                    yield source, boxed
                for soft in SOFT:
                    yield "mask", boxed + soft
                for across in SEVERAL.values():
                    yield "sample_forward", boxed + across
                for across in ACROSS:
                    yield "sample_backward_rois", boxed + across
                if stored != "uint8":
                    for long in LONG[: 2 if accumulate == "float32" else 1]:
                        yield "grid_backward", boxed + long
                    for pixels in PIXELS:
                        yield "sample_backward", boxed + pixels
            if stored != "uint8":
                for source in ("axis_backward", "axis_backward_pixels"):
                    yield source, options
                for long in LONG[: 2 if accumulate == "float32" else 1]:
                    yield "range_backward", options + long
