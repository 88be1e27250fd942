"""Compile every CUDA kernel, with no GPU at hand: ``make cuda-check``.

    python tests/cuda/cuda_check.py 75 80 90 100        # compute capabilities, 10 * major + minor
    python tests/cuda/cuda_check.py 90 --all            # a row for each specialisation, not for each kernel
    python tests/cuda/cuda_check.py 90 --only axis_forward
    python tests/cuda/cuda_check.py 75 80 90 100 --common
    python tests/cuda/cuda_check.py 75 80 90 100 --in-turn 70 75 80 90 100

It takes CuPy, NVRTC and the CUDA headers, as the extra ``cuda13`` installs them. The compiler gets what CuPy
would hand it on a device. An error, a warning or a spilled register fails; registers and memory are listed.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from roicy._cli.terminal import print_table
from roicy.cuda import device, state

# What CuPy adds for a device, besides what `assemble_cupy_compiler_options` returns.
ADDED = ("-ftz=true", "--device-as-default-execution-space")
REPORT = "--ptxas-options=-v"

# What --common leaves out; and what --in-turn compiles for one capability, not for each.
UNCOMMON = {"-DINDEX=int64", "-DBOX=double"}
RARER = {*UNCOMMON, "-DREAL=double", *(f"-DSTORED={it}" for it in ("float16", "bfloat16", "double", "uint8"))}


@dataclass(frozen=True)
class Kernel:
    """A kernel as ptxas reports it, in one specialisation and for one architecture."""

    name: str
    registers: int
    shared: int  # bytes, the dynamic ones aside
    stack: int  # bytes of local memory: arrays of a thread, and spills
    spilled: int  # bytes of registers written to local memory and read from it


@dataclass(frozen=True)
class Compiled:
    """What became of one source, specialisation and architecture."""

    source: str
    options: tuple
    architecture: int
    kernels: tuple = ()
    complaints: tuple = ()  # of the compiler

    @property
    def title(self):
        return f"{self.source} {' '.join(self.options)} sm_{self.architecture}"


def compile_source(source, options, architecture):
    """Compile one specialisation to machine code, as CuPy would, and read what the compiler says."""
    from cupy._core import core

    every = core.assemble_cupy_compiler_options((*device.OPTIONS, *options))
    every = (*every, *ADDED, f"-arch=sm_{architecture}", REPORT)
    done, log = remembered(compiler_log, f"{source}.cu", device.source_text(source), every)
    if not done:
        return Compiled(source, options, architecture, (), (log.strip(),))
    kernels, complaints = read_log(log)
    if not kernels:
        complaints = (*complaints, "no kernel in this source")
    return Compiled(source, options, architecture, kernels, complaints)


def compiler_log(name, text, options):
    """Return whether NVRTC compiles a text, and all that it has to say."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text, name, (), ())
    try:
        nvrtc.compileProgram(program, options)
        return True, nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError as error:
        return False, nvrtc.getProgramLog(program) or str(error)
    finally:
        nvrtc.destroyProgram(program)


def remembered(function, *arguments):
    """Return what a function returns, from an earlier run in this environment if it had the same compiler."""
    if sys.prefix == sys.base_prefix:
        return function(*arguments)
    from cupy.cuda import nvrtc

    key = repr((nvrtc.getVersion(), *arguments)).encode()
    path = Path(sys.prefix) / "cuda-check" / hashlib.sha256(key).hexdigest()
    with suppress(OSError, ValueError):
        return json.loads(path.read_text())
    result = function(*arguments)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result))
    return result


def read_log(log):
    """Return the kernels that a compiler's log reports, and what else it says."""
    _, *parts = re.split(r"^ptxas info\s*: Compiling entry function", log, flags=re.MULTILINE)
    kernels = []
    for part in parts:
        frames = re.findall(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        )
        shared = re.search(r"(\d+) bytes smem", part)
        kernels.append(
            Kernel(
                name=re.match(r"\s*'(\w+)'", part)[1],
                registers=int(re.search(r"Used (\d+) registers", part)[1]),
                shared=int(shared[1]) if shared else 0,
                stack=sum(int(stack) for stack, _, _ in frames),
                spilled=sum(int(stores) + int(loads) for _, stores, loads in frames),
            )
        )
    # That NVRTC will drop the oldest architectures one day is no fault of a kernel.
    warnings = [line for line in log.splitlines() if re.search(r"\bwarning\s*[:#]", line)]
    complaints = [line for line in warnings if not line.startswith("nvrtc: warning: Architectures prior to")]
    return tuple(kernels), tuple(complaints)


def compile_all(tasks, workers):
    """Compile the tasks, (source, options, architecture) each, in so many processes."""
    if workers == 1:
        return [compile_source(*task) for task in tasks]
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(compile_source, *zip(*tasks, strict=True), chunksize=1))


def faults(results):
    """Return a line for each reason to fail: a kernel that spills, or a complaint of the compiler."""
    spills, complaints = defaultdict(list), defaultdict(list)
    for result in results:
        for complaint in result.complaints:
            complaints[f"{result.source}: {complaint}"].append(result)
        for kernel in result.kernels:
            if kernel.spilled:
                spills[result.source, kernel.name].append((kernel.spilled, result))
    lines = []
    for (source, name), found in spills.items():
        most, result = max(found, key=lambda pair: pair[0])
        lines.append(f"{source}: {name} spills up to {most} bytes\n    in {places(result, len(found))}")
    for complaint, found in complaints.items():
        lines.append(f"{complaint}\n    in {places(found[0], len(found))}")
    return lines


def places(result, number):
    """Say which result it is, and of how many."""
    return result.title + (f" and {number - 1} more" if number > 1 else "")


def kernel_rows(results):
    """Return a row per kernel: the most that any specialisation takes, registers by architecture."""
    architectures = sorted({result.architecture for result in results})
    found = defaultdict(list)
    for result in results:
        for kernel in result.kernels:
            found[result.source, kernel.name].append((result, kernel))
    rows = []
    for (source, name), pairs in found.items():
        registers = [
            max(
                (kernel.registers for result, kernel in pairs if result.architecture == architecture),
                default=0,
            )
            for architecture in architectures
        ]
        most = [
            max(getattr(kernel, field) for _, kernel in pairs) for field in ("shared", "stack", "spilled")
        ]
        specialisations = len({result.options for result, _ in pairs})
        rows.append([f"{source}.cu", name, *map(str, (specialisations, *registers, *most))])
    columns = ["source", "kernel", ">specialised", *(f">sm_{number}" for number in architectures)]
    return [*columns, ">shared", ">stack", ">spilled"], rows


def specialisation_rows(results):
    """Return a row per kernel, specialisation and architecture."""
    rows = []
    for result in results:
        options = " ".join(option.removeprefix("-D") for option in result.options)
        for it in result.kernels:
            numbers = (result.architecture, it.registers, it.shared, it.stack, it.spilled)
            rows.append([f"{result.source}.cu", it.name, options, *map(str, numbers)])
    columns = ["source", "kernel", "specialised", ">sm", ">registers", ">shared", ">stack", ">spilled"]
    return columns, rows


def tasks_of(specialisations, chosen):
    """Return what is to be compiled, (source, options, architecture) each, as the command line has it."""
    rarer = defaultdict(int)
    tasks = []
    for source, options in specialisations:
        architectures = chosen.architectures
        if chosen.common and UNCOMMON.intersection(options):
            continue
        if chosen.in_turn and RARER.intersection(options):
            turn = chosen.in_turn[rarer[source] % len(chosen.in_turn)]
            architectures = [turn] if turn in architectures else []
            rarer[source] += 1
        tasks += [(source, options, architecture) for architecture in architectures]
    return tasks


def parse(arguments):
    parser = argparse.ArgumentParser(
        description="Compile every CUDA kernel in every specialisation, without a GPU."
    )
    add = parser.add_argument
    add("architectures", nargs="+", type=int, metavar="SM", help="compute capabilities: 75 80 90")
    add("--only", metavar="NAME[,NAME]", help="only these sources")
    add("--common", action="store_true", help="only what most calls ask for: a third of the specialisations")
    add(
        "--in-turn",
        nargs="+",
        type=int,
        metavar="SM",
        help="for each what most calls ask for: float32, 32-bit offsets; anything else for one of these",
    )
    add("--all", action="store_true", help="list every specialisation, not one row per kernel")
    add("--workers", type=int, default=os.cpu_count(), metavar="N", help="processes [%(default)s]")
    return parser.parse_args(arguments)


def main(arguments=None):
    chosen = parse(arguments)
    found = state.find()
    if found.name in (state.NO_CUPY, state.BROKEN_CUPY) or not found.nvrtc:
        print(f"cuda-check needs CuPy and NVRTC: {found.problem or 'NVRTC is not found'}", file=sys.stderr)
        return 2
    only = chosen.only.split(",") if chosen.only else None
    specialisations = [it for it in device.specialisations() if only is None or it[0] in only]
    tasks = tasks_of(specialisations, chosen)
    if not tasks:
        print(f"no source is called {chosen.only}", file=sys.stderr)
        return 2

    start = time.perf_counter()
    results = compile_all(tasks, chosen.workers)
    seconds = time.perf_counter() - start
    columns, rows = (specialisation_rows if chosen.all else kernel_rows)(results)
    how = f"CuPy {found.cupy}, NVRTC {found.nvrtc}; {len(tasks)} compilations in {seconds:.0f} s"
    what = "each" if chosen.all else "the most of any specialisation"
    print_table(f"CUDA kernels, registers and bytes, {what}: {how}", columns, rows)
    wrong = faults(results)
    for line in wrong:
        print(line)
    print(f"{len(wrong)} faults" if wrong else "every kernel compiles, none spills")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
