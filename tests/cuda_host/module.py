"""Kernels' sources compiled for this machine's processor, with the call interface of `cupy.RawModule`.

    module = HostModule(code=text, options=("-DREAL=float",))
    module.get_function("scale")((blocks,), (threads,), (array, np.int32(3)), shared_mem=0)

A source is compiled by g++ behind `host.h`, which supplies what CUDA C++ has and C++ has not, and run by
`runtime.cpp`, one CUDA thread at a time. What a GPU would leave unsaid is an error here: an argument of
another type than the parameter, threads that wait for each other in vain, an access outside of an array.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cuda_host.arguments import ArgumentError, Described, Parameter
from cuda_host.fences import Fences

HERE = Path(__file__).parent
#: What names the lines of faults. Kernels are the same without it, and compiled again where one is at fault.
LINES = ("-g1", "-gdwarf-4")  # a later one names files in a way that addr2line may misread
#: Shared memory that a block may have, and how much of it without being asked for.
MOST_SHARED, USUAL_SHARED = 227 * 1024, 48 * 1024
#: Compiled libraries that were not used for this long are removed.
KEPT_DAYS = 14

#: How kernels are compiled, in two thirds of the time of -O2: tests that run them take a fifteenth longer.
LEVEL = "-O1"

# NVRTC's options that say nothing to a C++ compiler: they begin with two dashes, or with one of these.
_CUDA_ONLY = ("--", "-arch", "-lineinfo", "-ftz", "-use_fast_math", "-default-device")
_PAREN = r"\([^()]*\)"
for _ in range(5):  # levels of parentheses
    _PAREN = rf"\((?:[^()]|{_PAREN})*\)"
_KERNEL = re.compile(
    rf"__global__\s+void\s+(?:__launch_bounds__\s*(?P<bounds>{_PAREN})\s*)?(?P<name>\w+)\s*\("
)
_DYNAMIC = re.compile(
    r"extern\s+__shared__\s+(?:(?:__align__|alignas)\s*\([^)]*\)\s*)?"
    r"(?P<type>[\w:\s]+?)\s+(?P<name>\w+)\s*\[\s*\]\s*;"
)
_STRUCT = re.compile(r"\bstruct\s+(?:alignas\s*\([^)]*\)\s*)?(?P<name>\w+)\s*\{(?P<fields>[^{}()]*)\}\s*;")
_FIELD = re.compile(r"(\w+)\s*[,;]")

_MARKER = re.compile(r'^# (?P<line>\d+) "(?P<file>[^"]*)".*$', re.MULTILINE)

# Nothing is visible outside, so that templates' variables may be in the section of shared memory, too.
_WHOLE = """#include "host.h"
namespace {{
{text}
#line 1 "kernels"
}}
#define CUDA_HOST_FIRST(number, ...) (number)
{structs}extern "C" {{
extern char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));
char *cuda_host_static[2] = {{__start_cuda_shared, __stop_cuda_shared}};
cuda_host::Kernel cuda_host_kernels[] = {{
{kernels}{{}}}};
}}
"""

# One launch at a time: threads of a launch are counted and told apart in the runtime's variables.
_lock = threading.Lock()
# A library that another thread is building is waited for.
_building = {}


class CompileError(Exception):
    """A source that does not compile."""


class LaunchError(RuntimeError):
    """A launch that a GPU would refuse, or that went wrong."""


class _Kernel(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("one_thread", ctypes.c_void_p),
        ("most_threads", ctypes.c_int),
        ("parameters", ctypes.c_int),
        ("described", ctypes.POINTER(Described)),
    )


# ---------------------------------------------------------------- compiling


def compiler():
    """Return the path of a C++ compiler, or None where there is none or the system is not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")


@functools.cache
def _usual_flags(level="-O2"):
    # Nothing is contracted: numbers are to be those of the CPU backend, bit for bit.
    flags = [
        "-std=gnu++17",
        level,
        "-fPIC",
        "-ffp-contract=off",
        "-fno-strict-aliasing",
        "-Wno-unknown-pragmas",
    ]
    flags += os.environ.get("ROICY_HOST_FLAGS", "").split()
    asked = (compiler(), "-march=native", "-E", "-x", "c++", os.devnull)
    if subprocess.run(asked, capture_output=True).returncode == 0:
        flags.append("-march=native")
    return tuple(flags)


@functools.cache
def _cache():
    # Libraries are loaded from this folder, so no other user may own it.
    path = Path(tempfile.gettempdir(), f"roicy-cuda-host-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        path = Path(tempfile.mkdtemp(prefix="roicy-cuda-host-"))
    for folder in path.iterdir():
        with contextlib.suppress(OSError):
            if folder.stat().st_mtime < time.time() - KEPT_DAYS * 24 * 3600:
                shutil.rmtree(folder)
    return path


@functools.cache
def _headers():
    # and whatever else a library depends on beside its own source
    return b"".join(path.read_bytes() for path in sorted((*HERE.glob("*.h"), Path(__file__))))


def _run(command, folder=None):
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


def _library(key_parts, build):
    # the folder of a library, built unless it is there; complete once it has its final name
    digest = hashlib.sha256()
    for part in (compiler(), *_usual_flags(), *key_parts):
        digest.update(part if isinstance(part, bytes) else part.encode())
        digest.update(b"\0")
    folder = _cache() / digest.hexdigest()[:32]
    with _building.setdefault(folder, threading.Lock()):
        if (folder / "library.so").exists():
            os.utime(folder)  # in use
            return folder / "library.so"
        making = Path(tempfile.mkdtemp(dir=_cache()))
        try:
            build(making)
            # another process may have been quicker: its library is as good
            with contextlib.suppress(OSError):
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder / "library.so"


@functools.cache
def _runtime():
    source = (HERE / "runtime.cpp").read_bytes()

    def build(folder):
        target = folder / "library.so"
        run = _run((compiler(), *_usual_flags(), "-shared", str(HERE / "runtime.cpp"), "-o", str(target)))
        if run.returncode:
            raise CompileError(run.stderr)

    path = _library((_headers(), source), build)
    library = ctypes.CDLL(str(path))
    library.cuda_host_message.restype = ctypes.c_char_p
    library.cuda_host_fenced.restype = ctypes.c_void_p
    library.cuda_host_fenced.argtypes = (ctypes.c_size_t, ctypes.c_void_p)
    library.cuda_host_launch.argtypes = (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    return library, path


def _compile(code, options, lines=()):
    defines = [*(option for option in options if not option.startswith(_CUDA_ONLY)), *lines]
    _, runtime = _runtime()

    def build(folder):
        (folder / "kernel.cu").write_text(code)
        command = (compiler(), *_usual_flags(LEVEL), *defines, "-I", str(HERE))

        def run(*arguments):
            done = _run((*command, *arguments), folder)
            if done.returncode:
                raise CompileError(done.stderr)
            return done.stdout

        # First the preprocessor alone, to find the kernels that this specialisation has.
        words = ("-D__CUDACC__", "-D__CUDACC_RTC__", "-D__CUDA_ARCH__=750", "-DCUDA_HOST_PREPROCESSING")
        text = _MARKER.sub(_line_of_source, run(*words, "-E", "-x", "c++", "kernel.cu"))
        text = _DYNAMIC.sub(_dynamic_pointer, text)
        kernels = [
            f"CUDA_HOST_KERNEL({found['name']}, CUDA_HOST_FIRST{found['bounds'] or '(1024)'}),\n"
            for found in _KERNEL.finditer(text)
        ]
        if len(kernels) != text.count("__global__"):
            raise CompileError("a kernel does not read: __global__ void __launch_bounds__(...) name(")
        whole = _WHOLE.format(text=text, structs=_structs(text), kernels="".join(kernels))
        (folder / "whole.cpp").write_text(whole)
        # No standard libraries: what a kernel calls of them is in the process already, and linking them takes
        # longer than the kernel.
        run("-shared", "-nostdlib", "whole.cpp", str(runtime), "-lgcc", "-o", "library.so")

    return _library((_headers(), str(runtime), code, *defines), build)


def _structs(text):
    # those that kernels take by value, and what these hold before them, as in the source
    plain = {found["name"]: _FIELD.findall(found["fields"]) for found in _STRUCT.finditer(text)}
    words = {found["name"]: set(re.findall(r"\w+", found["fields"])) for found in _STRUCT.finditer(text)}
    taken = set()
    for found in _KERNEL.finditer(text):
        taken |= set(re.findall(r"\w+", text[found.end() : text.index("{", found.end())]))
    for name in reversed(plain):
        if name in taken:
            taken |= words[name]
    return "".join(
        f"CUDA_HOST_STRUCT({name}, {', '.join(f'CUDA_HOST_FIELD({name}, {field})' for field in fields)})\n"
        for name, fields in plain.items()
        if name in taken
    )


def _line_of_source(match):
    return f'#line {match["line"]} "kernel.cu"' if match["file"] == "kernel.cu" else ""


def _dynamic_pointer(match):
    lines = "\n" * match[0].count("\n")
    kind = match["type"].strip()
    return f"{kind} *const {match['name']} = reinterpret_cast<{kind} *>(cuda_host_shared);{lines}"


# ---------------------------------------------------------------- launching


class HostModule:
    """A source, compiled when first asked for a function.

    Attributes
    ----------
    fences : {"behind", "before", None}
        Where the arrays of all modules' launches lie: next to memory that nobody may touch, so that reading
        or writing on is an error; or where they are.
    """

    fences = os.environ.get("ROICY_HOST_FENCES", "behind")

    def __init__(self, *, code, options=()):
        self.code = code
        self.options = tuple(options)
        self._functions = None

    def compile(self):
        """Compile the source and load it."""
        if self._functions is None:
            path = _compile(self.code, self.options)
            library = ctypes.CDLL(str(path))
            first, end = (ctypes.c_void_p * 2).in_dll(library, "cuda_host_static")
            static = (first, (end or 0) - (first or 0))
            table = ctypes.cast(library.cuda_host_kernels, ctypes.POINTER(_Kernel))
            self._functions, index = {}, 0
            while table[index].name:
                name = table[index].name.decode()
                self._functions[name] = HostFunction(library, self, name, table[index], static)
                index += 1

    def get_function(self, name):
        """Return a kernel by its name."""
        self.compile()
        if name not in self._functions:
            raise ValueError(
                f"no kernel {name!r} in this source; it has {', '.join(self._functions) or 'none'}"
            )
        return self._functions[name]

    @staticmethod
    def set_order(order):
        """Run blocks and threads of all modules ascending (0) or descending (1)."""
        _runtime()[0].cuda_host_backwards(int(order))


class HostFunction:
    """A kernel; called as `cupy.RawKernel` is."""

    def __init__(self, library, module, name, kernel, static):
        self._library, self._source, self._static = library, (module.code, module.options), static
        self.name = name
        self.max_dynamic_shared_size_bytes = USUAL_SHARED
        self.max_threads_per_block = kernel.most_threads
        self._entry = kernel.one_thread
        self._parameters = [Parameter.of(kernel.described[k]) for k in range(kernel.parameters)]

    def __call__(self, grid, block, args, *, shared_mem=0):
        """Run a grid of blocks of threads with the arguments, and wait."""
        grid, block = self._three("grid", grid), self._three("block", block)
        self._check_limits(grid, block, shared_mem)
        if len(args) != len(self._parameters):
            raise ArgumentError(
                f"{self.name} has {len(self._parameters)} parameters, got {len(args)} arguments"
            )
        runtime = _runtime()[0]
        with _lock, Fences(HostModule.fences, runtime) as fences:
            values = [
                parameter.value(self.name, place, argument, fences)
                for place, (argument, parameter) in enumerate(zip(args, self._parameters, strict=True))
            ]
            addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
            wrong = runtime.cuda_host_launch(
                self._entry,
                (ctypes.c_uint * 3)(*grid),
                (ctypes.c_uint * 3)(*block),
                shared_mem,
                addresses,
                *self._static,
            )
            if wrong:
                raise LaunchError(f"{self.name}: {self._what_went_wrong(runtime, fences)}")
            if spoilt := fences.spoilt():
                raise LaunchError(f"{self.name} wrote {spoilt}")

    def _what_went_wrong(self, runtime, fences):
        message = runtime.cuda_host_message().decode()
        address, instruction = ctypes.c_void_p(), ctypes.c_void_p()
        number = runtime.cuda_host_fault(ctypes.byref(address), ctypes.byref(instruction))
        if not number:
            return message
        where = fences.near(address.value or 0) or f"at address {address.value or 0:#x}"
        return f"{signal.Signals(number).name} {where}, {message}{self._line_of(instruction.value)}"

    def _line_of(self, instruction):
        # as the debugging information has it, with the places that it was inlined to
        if instruction is None or not shutil.which("addr2line"):
            return ""
        path = _compile(*self._source, LINES)
        found = _run(("addr2line", "-i", "-e", str(path), hex(instruction))).stdout.split("\n")
        lines = [line.rpartition("/")[2].split()[0] for line in found if "kernel.cu:" in line]
        return f" ({' < '.join(lines)})" if lines else ""

    def _three(self, name, sizes):
        sizes = tuple(sizes)
        if not 1 <= len(sizes) <= 3:
            raise LaunchError(f"{self.name}: {name} must have one to three sizes, got {sizes}")
        return tuple(int(size) for size in sizes) + (1,) * (3 - len(sizes))

    def _check_limits(self, grid, block, shared):
        limits = [
            ("grid", grid, (2**31 - 1, 65535, 65535)),
            ("block", block, (1024, 1024, 64)),
            ("threads", (block[0] * block[1] * block[2],), (self.max_threads_per_block,)),
        ]
        for name, sizes, most in limits:
            if not all(1 <= size <= limit for size, limit in zip(sizes, most, strict=True)):
                raise LaunchError(f"{self.name}: {name} {sizes} is not within 1 ... {most}")
        most = min(self.max_dynamic_shared_size_bytes, MOST_SHARED)
        if not 0 <= shared <= most:
            raise LaunchError(f"{self.name}: {shared} bytes of shared memory are not within 0 ... {most}")
