"""A grid of threads that runs a kernel: all threads at one instruction together, the furthest back first."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from . import memory, warps
from .arithmetic import BITS, Array, dtype_of, operation
from .ptx import Instruction, Kernel, PtxError, constants, size_of
from .ptx import kernel as read_kernel
from .races import Races

#: Instructions that a grid may take, all of its threads together, before it hangs.
MOST_STEPS = 20_000_000
#: Bytes of shared memory that a kernel has without asking for more, and at the most.
SHARED, MOST_SHARED = 48 * 1024, 227 * 1024

Step = Callable[["Grid", Array], None]
Reader = Callable[["Grid", Array], Array]


class Module:
    """The kernels of a text, and its variables.

    Parameters
    ----------
    text : str
        PTX.
    place : callable
        ``place(bytes)`` copies them to device memory and returns the address.
    """

    def __init__(self, text: str, place: Callable[[bytes], int]) -> None:
        self._text = text
        self._addresses = {name: place(content) for name, content in constants(text).items()}

    def function(self, name: str) -> Function:
        """Return a kernel that can be launched."""
        return Function(read_kernel(self._text, name), self._addresses)


class Function:
    """A kernel whose instructions are ready to run."""

    def __init__(self, kernel: Kernel, addresses: dict[str, int]) -> None:
        self.kernel = kernel
        self.most_shared = SHARED
        self._names = {
            **addresses,
            **kernel.shared,
            **{name: parameter.begin for name, parameter in kernel.parameters.items()},
            kernel.local_name: 0,
        }
        self.joins = frozenset(kernel.labels.values())
        self.together: dict[int, tuple] = {}
        self.steps: list[Step | None] = [self._step(at, line) for at, line in enumerate(kernel.code)]

    def launch(
        self, device, grid: tuple[int, ...], block: tuple[int, ...], shared: int, parameters: bytes
    ) -> None:
        """Run it, and raise where a device would refuse it, or go wrong."""
        threads, most, room = int(np.prod(block)), self.kernel.most_threads, self.kernel.static + shared
        problem = ""
        if not 0 < threads <= most or block[2] > 64:
            problem = f"{threads} threads in a block, {most} at the most"
        elif not (0 < grid[0] < 2**31 and 0 < grid[1] < 2**16 and 0 < grid[2] < 2**16):
            problem = f"a grid of {grid} blocks"
        elif room > self.most_shared:
            problem = f"{room} bytes of shared memory, {self.most_shared} at the most"
        if problem:
            raise PtxError(f"{self.kernel.name}: {problem}")
        Grid(self, device, grid, block, shared, parameters).run()

    # ---------------------------------------------------------------- instructions made ready

    def reader(self, operand: str, kind: str) -> Reader:
        """Return what reads an operand, for all threads or for some."""
        dtype = dtype_of(kind)
        if operand[0] == "!":
            inner = self.reader(operand[1:], kind)
            return lambda grid, some: ~inner(grid, some)
        if operand[0] == "%":
            if operand in ("%clock", "%clock64", "%globaltimer"):
                return lambda grid, some: dtype.type(grid.count << 20)
            if operand.split(".")[0] in ("%tid", "%ntid", "%ctaid", "%nctaid", "%laneid", "%warpid"):
                return lambda grid, some: grid.special(operand)[some].astype(dtype)
            width = self.kernel.width(operand)
            as_wide = width == 8 * dtype.itemsize or dtype.kind == "b"
            bits = BITS[8 * dtype.itemsize] if dtype.kind != "b" else np.bool_

            def read(grid: Grid, some: Array) -> Array:
                values = grid.register(operand, width)[some]
                return (values if as_wide else values.astype(bits)).view(dtype)

            return read
        value = self._literal(operand, dtype)
        return lambda grid, some: value

    def _literal(self, operand: str, dtype: np.dtype) -> Array:
        if operand[:2] in ("0f", "0F"):
            return np.array(int(operand[2:], 16), np.uint32).view(np.float32)[()]
        if operand[:2] in ("0d", "0D"):
            return np.array(int(operand[2:], 16), np.uint64).view(np.float64)[()]
        if dtype.kind == "b":
            return np.bool_(int(operand, 0) != 0)
        if operand in self._names:
            number = self._names[operand]
        elif re.fullmatch(r"-?\d\w*", operand):
            number = int(operand.rstrip("U"), 0)
        else:
            raise PtxError(f"no variable {operand} is known here")
        width = 8 * dtype.itemsize
        return np.array(number & ((1 << width) - 1), BITS[width]).view(dtype)[()]

    def _writer(self, register: str) -> Callable[[Grid, Array, Array], None]:
        if register == "_":
            return lambda grid, some, values: None
        width = self.kernel.width(register)
        bits = BITS[width]

        def write(grid: Grid, some: Array, values: Array) -> None:
            values = np.asarray(values)
            if values.dtype.kind not in "iub":
                values = values.view(BITS[8 * values.dtype.itemsize])
            grid.register(register, width)[some] = values.astype(bits, copy=False)

        return write

    def _registers(self, operand: str) -> list[str]:
        return [register.strip() for register in operand.strip("{}").split(",")]

    def _step(self, at: int, line: Instruction) -> Step | None:
        name = line.words[0]
        try:
            if name in ("bra", "ret", "exit") or (name in ("bar", "barrier") and line.words[1] != "warp"):
                return None
            if met := warps.together(line):
                compute, taken = met
                readers = [self.reader(line.operands[place], kind) for place, kind in taken]
                results = (
                    [] if name == "bar" else [self._writer(part) for part in line.operands[0].split("|")]
                )
                self.together[at] = compute, readers, results, self.reader(warps.mask_operand(line), "u32")
                return None
            if name in ("ld", "st"):
                return self._access(line)
            if name in ("atom", "red"):
                return self._atomic(line)
            if name == "cvta":
                return self._address(line)
            if name in ("membar", "fence"):
                return lambda grid, some: None
            if name == "mov" and "{" in line.operands[0] + line.operands[1]:
                return self._pack(line)
            return self._compute(line)
        except PtxError as error:  # only where it is reached
            problem = str(error)

            def refuse(grid: Grid, some: Array) -> None:
                raise PtxError(problem)

            return refuse

    def _compute(self, line: Instruction) -> Step:
        compute, kinds = operation(line)
        given = line.operands[1:]
        combined = None
        if line.words[0] == "setp" and len(line.words) > 3 and line.words[2] in ("and", "or", "xor"):
            combined = getattr(np, f"bitwise_{line.words[2]}"), self.reader(given[-1], "pred")
            given = given[:-1]
        readers = [self.reader(operand, kind) for operand, kind in zip(given, kinds, strict=False)]
        results = [self._writer(part.strip()) for part in line.operands[0].split("|")]

        def step(grid: Grid, some: Array) -> None:
            found = compute(*(read(grid, some) for read in readers))
            others = [~found] if len(results) > 1 else []
            for write, values in zip(results, [found, *others], strict=True):
                write(grid, some, combined[0](values, combined[1](grid, some)) if combined else values)

        return step

    def _pack(self, line: Instruction) -> Step:
        size = size_of(line.words[-1])
        if line.operands[0].startswith("{"):
            registers = self._registers(line.operands[0])
            part = BITS[8 * size // len(registers)]
            read = self.reader(line.operands[1], line.words[-1])
            writers = [self._writer(register) for register in registers]

            def step(grid: Grid, some: Array) -> None:
                whole = np.broadcast_to(read(grid, some), grid.thread[some].shape)
                parts = np.ascontiguousarray(whole)[:, None].view(part)
                for place, write in enumerate(writers):
                    write(grid, some, parts[:, place])

            return step
        registers = self._registers(line.operands[1])
        readers = [self.reader(register, f"b{8 * size // len(registers)}") for register in registers]
        write_whole = self._writer(line.operands[0])

        def join(grid: Grid, some: Array) -> None:
            shape = grid.thread[some].shape
            parts = np.stack([np.broadcast_to(read(grid, some), shape) for read in readers], 1)
            write_whole(grid, some, parts.view(BITS[8 * size])[:, 0])

        return join

    def _address(self, line: Instruction) -> Step:
        space = next(word for word in line.words if word in memory.WINDOWS)
        read, write = self.reader(line.operands[1], "u64"), self._writer(line.operands[0])
        window = np.uint64(memory.WINDOWS[space])
        if "to" in line.words:
            return lambda grid, some: write(grid, some, read(grid, some) - window)
        return lambda grid, some: write(grid, some, read(grid, some) + window)

    def _place(self, line: Instruction, operand: str) -> tuple[str, Reader]:
        known = {"param", "shared", "local", "global", "const"} & set(line.words)
        space = known.pop() if known else "generic"
        name, offset = memory.place_of(operand)
        read = self.reader(name, "u32" if name[0] == "%" and self.kernel.width(name) == 32 else "u64")

        def places(grid: Grid, some: Array) -> Array:
            address = np.asarray(read(grid, some)).astype(np.uint64) + np.uint64(offset & (2**64 - 1))
            return np.broadcast_to(address, grid.thread[some].shape)

        return "global" if space == "const" else space, places

    def _access(self, line: Instruction) -> Step:
        kind, store = line.words[-1], line.words[0] == "st"
        size = size_of(kind)
        register, place = line.operands[::-1] if store else line.operands
        space, places = self._place(line, place)
        registers = self._registers(register)
        if store:
            readers = [self.reader(register, f"b{8 * size}") for register in registers]

            def write(grid: Grid, some: Array) -> None:
                addresses, thread = places(grid, some), grid.thread[some]
                grid.races.note(space, True, addresses, size * len(readers), thread)
                grid.spaces.store(space, addresses, thread, size, [read(grid, some) for read in readers])

            return write
        writers, dtype = [self._writer(register) for register in registers], dtype_of(kind)

        def load(grid: Grid, some: Array) -> None:
            addresses, thread = places(grid, some), grid.thread[some]
            grid.races.note(space, False, addresses, size * len(writers), thread)
            for write, values in zip(
                writers, grid.spaces.load(space, addresses, thread, size, len(writers)), strict=True
            ):
                write(grid, some, values.view(dtype))

        return load

    def _atomic(self, line: Instruction) -> Step:
        changes = {
            "add": np.add,
            "min": np.minimum,
            "max": np.maximum,
            "and": np.bitwise_and,
            "or": np.bitwise_or,
        }
        name = next((word for word in line.words if word in changes), None)
        if name is None:
            raise PtxError(f"not known here: {line.text}")
        result, place, value = line.operands if line.words[0] == "atom" else ("_", *line.operands)
        space, places = self._place(line, place)
        dtype = dtype_of(line.words[-1])
        read, write = self.reader(value, line.words[-1]), self._writer(result)

        def step(grid: Grid, some: Array) -> None:
            thread = grid.thread[some]
            cells, which = grid.spaces.cells(space, places(grid, some), thread, dtype)
            values = np.broadcast_to(read(grid, some), thread.shape)
            before = np.empty(thread.shape, dtype)
            for at, (cell, number) in enumerate(zip(which, values, strict=True)):
                before[at] = cells[cell]
                cells[cell] = changes[name](cells[cell], number)
            write(grid, some, before)

        return step


class Grid:
    """The threads of one launch: where each of them is, and what its registers hold."""

    def __init__(
        self, function: Function, device, grid: tuple, block: tuple, shared: int, parameters: bytes
    ) -> None:
        self._function, self._kernel = function, function.kernel
        blocks, threads = int(np.prod(grid)), int(np.prod(block))
        self.thread = np.arange(blocks * threads)
        self._block, self._place = self.thread // threads, self.thread % threads
        self._blocks, self._shape = (np.array(part) for part in (grid, block))
        self._registers: dict[str, Array] = {}
        self._specials: dict[str, Array] = {}
        self.spaces = memory.Spaces(device, self._kernel, blocks, threads, shared, parameters)
        self.races = Races(blocks, threads)
        self._warp, self._lane = self.races.warp_of(self.thread), self._place % 32
        self.count = 0
        self._end = len(self._kernel.code)
        self._at = np.zeros(len(self.thread), np.int64)
        self._at_barrier = np.zeros(len(self.thread), bool)
        self._at_meeting = np.zeros(len(self.thread), bool)

    def register(self, name: str, width: int) -> Array:
        """Return what a register holds in each thread."""
        found = self._registers.get(name)
        if found is None:
            unwritten = (
                True if width == 1 else int.from_bytes(bytes([memory.UNWRITTEN]) * (width // 8), "little")
            )
            found = self._registers[name] = np.full(len(self.thread), unwritten, BITS[width])
        return found

    def special(self, name: str) -> Array:
        """Return where each thread is in its block and its block in the grid, and the sizes of both."""
        found = self._specials.get(name)
        if found is None:
            kind, _, axis = name.partition(".")
            shape = self._shape if "tid" in kind else self._blocks
            index = self._place if kind == "%tid" else self._block
            if kind == "%laneid":
                found = self._lane
            elif kind == "%warpid":
                found = self._place // 32
            elif kind[1] == "n":
                found = np.full(len(self.thread), shape["xyz".index(axis)])
            else:
                found = index // np.prod(shape[: "xyz".index(axis)], dtype=int) % shape["xyz".index(axis)]
            self._specials[name] = found
        return found

    def run(self) -> None:
        """Run all threads to their end."""
        with np.errstate(all="ignore"):
            while (some := self._next()) is not None:
                self._go(some)
        if problem := self.races.found():
            raise PtxError(f"{self._kernel.name}: {problem}")

    def _next(self) -> Array | None:
        # the threads of the least instruction among those that can go on
        for _ in range(2):
            able = (self._at < self._end) & ~self._at_barrier & ~self._at_meeting
            if able.any():
                least = self._at[able].min()
                return np.flatnonzero(able & (self._at == least))
            if (self._at == self._end).all():
                return None
            self._release()
        waiting = {self._kernel.code[at].text for at in np.unique(self._at[self._at < self._end])}
        raise PtxError(f"{self._kernel.name}: threads wait without end at {sorted(waiting)}")

    def _release(self) -> None:
        # threads have ended that others waited for
        for at in np.unique(self._at[self._at_meeting]):
            self._meet(int(at))
        self._pass_barrier()

    def _go(self, some: Array) -> None:
        # straight on until threads part, wait, or may come together with others
        at = int(self._at[some[0]])
        everybody = len(some) == len(self.thread)
        while at < self._end:
            line, step = self._kernel.code[at], self._function.steps[at]
            self.count += 1
            if self.count > MOST_STEPS:
                raise PtxError(f"{self._kernel.name} does not end")
            chosen = slice(None) if everybody else some
            if line.guard:
                held = self.register(line.guard, 1)[some]
                chosen = some[~held if line.unless else held]
            if step is None:
                self._turn(at, line, some, some if isinstance(chosen, slice) else chosen)
                return
            if isinstance(chosen, slice) or len(chosen):
                try:
                    step(self, chosen)
                except PtxError as error:
                    raise PtxError(f"{self._kernel.name}: {error}: {line.text}") from None
            at += 1
            if at in self._function.joins:
                break
        self._at[some] = at

    def _turn(self, at: int, line: Instruction, some: Array, chosen: Array) -> None:
        self._at[some] = at + 1
        if line.words[0] == "bra":
            self._at[chosen] = self._kernel.labels[line.operands[0]]
        elif line.words[0] in ("ret", "exit"):
            self._at[chosen] = self._end
        elif at in self._function.together:
            self._at[chosen] = at
            self._at_meeting[chosen] = True
            self._meet(at)
        else:
            self._at[chosen] = at
            self._at_barrier[chosen] = True
            self._pass_barrier()

    def _meet(self, at: int) -> None:
        # lanes go on together once all are there that their masks name and that have not ended
        compute, readers, results, mask = self._function.together[at]
        (here,) = np.nonzero(self._at_meeting & (self._at == at))
        named = np.broadcast_to(mask(self, here), here.shape)
        if not ((named >> self._lane[here].astype(np.uint32)) & np.uint32(1)).all():
            raise PtxError(
                f"{self._kernel.name}: a lane is not in its own mask: {self._kernel.code[at].text}"
            )
        count = int(self._warp[-1]) + 1
        bit = np.uint32(1) << self._lane.astype(np.uint32)
        living, present = np.zeros(count, np.uint32), np.zeros(count, np.uint32)
        alive = self._at < self._end
        np.bitwise_or.at(living, self._warp[alive], bit[alive])
        np.bitwise_or.at(present, self._warp[here], bit[here])
        warp = self._warp[here]
        ready = (living[warp] & named & ~present[warp]) == 0
        some = here[ready]
        if not len(some):
            return
        lanes = warps.Lanes(self._warp[some], self._lane[some])
        try:
            found = compute(lanes, *(read(self, some) for read in readers))
        except PtxError as error:
            raise PtxError(f"{self._kernel.name}: {error}: {self._kernel.code[at].text}") from None
        for write, values in zip(results, found, strict=False):
            write(self, some, values)
        if self._kernel.code[at].words[0] == "bar":
            self.races.order_warp(np.unique(self._warp[some]))
        self._at_meeting[some] = False
        self._at[some] = at + 1

    def _pass_barrier(self) -> None:
        # blocks go on once all of their threads that have not ended are there
        alive, blocks = self._at < self._end, int(self._block[-1]) + 1
        missing = np.bincount(self._block[alive & ~self._at_barrier], minlength=blocks)
        waiting = np.bincount(self._block[self._at_barrier], minlength=blocks)
        (whole,) = np.nonzero((missing == 0) & (waiting > 0))
        if not len(whole):
            return
        some = np.flatnonzero(self._at_barrier & np.isin(self._block, whole))
        first, last = np.full(blocks, self._end), np.full(blocks, -1)
        np.minimum.at(first, self._block[some], self._at[some])
        np.maximum.at(last, self._block[some], self._at[some])
        if (first[whole] != last[whole]).any():
            raise PtxError(f"{self._kernel.name}: threads of a block wait at different barriers")
        self.races.order_block(whole)
        self._at_barrier[some] = False
        self._at[some] += 1
