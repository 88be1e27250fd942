"""Kernels' sources compiled for this machine's processor, with the call interface of `cupy.RawModule`.

    module = HostModule(code=text, options=("-DREAL=float",))
    module.get_function("scale")((blocks,), (threads,), (array, np.int32(3)), shared_mem=0)

A source is compiled by g++ behind `host.h`, which supplies what CUDA C++ has and C++ has not, and run by
`runtime.cpp`, one CUDA thread at a time. What a GPU would leave unsaid is an error here: an argument of
another type than the parameter, threads that wait for each other in vain, an access outside of an array.
"""

import contextlib
import ctypes
import dataclasses
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
from typing import ClassVar

import numpy as np

HERE = Path(__file__).parent
#: Shared memory that a block may have, and how much of it without being asked for.
MOST_SHARED, USUAL_SHARED = 227 * 1024, 48 * 1024
#: Libraries that nobody has used for so long are removed.
KEPT_DAYS = 14
#: Up to so many bytes, arrays are copied to between fences for a launch.
MOST_FENCED = 1 << 24

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

_MARKER = re.compile(r'^# (?P<line>\d+) "(?P<file>[^"]*)".*$', re.MULTILINE)

# Nothing is visible outside, so that templates' variables may be in the section of shared memory, too.
_WHOLE = """#include "host.h"
namespace {{
{text}
#line 1 "kernels"
}}
#define CUDA_HOST_FIRST(number, ...) (number)
extern "C" {{
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


class ArgumentError(TypeError):
    """An argument that a GPU would take for something else than it is."""


class _Parameter(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("size", ctypes.c_int),
        ("is_array", ctypes.c_bool),
        ("is_const", ctypes.c_bool),
    )


class _Kernel(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("one_thread", ctypes.c_void_p),
        ("most_threads", ctypes.c_int),
        ("parameters", ctypes.c_int),
        ("described", ctypes.POINTER(_Parameter)),
    )


# ---------------------------------------------------------------- compiling


def compiler():
    """Return the path of a C++ compiler, or None where there is none or the system is not Linux."""
    if not sys.platform.startswith("linux"):
        return None
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")


@functools.cache
def _usual_flags():
    # Nothing is contracted: numbers are to be those of the CPU backend, bit for bit.
    flags = [
        "-std=gnu++17",
        "-O2",
        "-g1",
        "-gdwarf-4",  # a later one names files in a way that addr2line may misread
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
    # Libraries are loaded from here: a folder that is nobody else's.
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


def _compile(code, options):
    defines = [option for option in options if not option.startswith(_CUDA_ONLY)]
    _, runtime = _runtime()

    def build(folder):
        (folder / "kernel.cu").write_text(code)
        command = (compiler(), *_usual_flags(), *defines, "-I", str(HERE))

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
        (folder / "whole.cpp").write_text(_WHOLE.format(text=text, kernels="".join(kernels)))
        run("-shared", "whole.cpp", str(runtime), "-o", "library.so")

    return _library((_headers(), str(runtime), code, *defines), build)


def _line_of_source(match):
    return f'#line {match["line"]} "kernel.cu"' if match["file"] == "kernel.cu" else ""


def _dynamic_pointer(match):
    lines = "\n" * match[0].count("\n")
    kind = match["type"].strip()
    return f"{kind} *const {match['name']} = reinterpret_cast<{kind} *>(cuda_host_shared);{lines}"


# ---------------------------------------------------------------- launching


class Fences:
    """Copies of a launch's arrays, each in pages of its own between fences that nobody may touch.

    A view is copied with all of the array that it is of, whose strides the kernel may know. Its place modulo
    16 bytes stays, on which the widest loads depend. What is left of the pages has a pattern that must be
    there afterwards.
    """

    _PATTERN = 0xA5
    _PAGE = os.sysconf("SC_PAGE_SIZE")
    _idle: ClassVar = {}  # by size: pages that a launch is done with
    _fence = ctypes.c_size_t()  # how far the fences reach

    def __init__(self, where, runtime):
        self._where, self._runtime = where, runtime
        self._copies = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for copy in self._copies.values():
            if copy.written and not error[0]:
                ctypes.memmove(copy.original, copy.first, copy.size)
            self._idle.setdefault(copy.pages_size, []).append(copy.pages)

    def address(self, place, array, written):
        """Return where the kernel finds the array that is the argument of this place."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        low, high = np.lib.array_utils.byte_bounds(owner) if owner.size else (owner.ctypes.data,) * 2
        if not self._where or high - low > MOST_FENCED:
            return array.ctypes.data
        copy = self._copies.get(low)
        if copy is None:
            copy = self._copies[low] = self._copy(low, high - low)
        copy.written |= written
        copy.places.append(place)
        return copy.first + (array.ctypes.data - low)

    def _copy(self, low, size):
        pages_size = max(-(-size // self._PAGE), 1) * self._PAGE
        idle = self._idle.get(pages_size)
        pages = idle.pop() if idle else self._runtime.cuda_host_fenced(pages_size, ctypes.byref(self._fence))
        if not pages:
            raise MemoryError(f"no {pages_size} bytes between fences")
        if self._where == "before":
            first = pages + low % 16
        else:
            first = pages + pages_size - size
            first -= (first - low) % 16
        copy = _Copy(low, first, size, pages, pages_size)
        ctypes.memset(pages, self._PATTERN, first - pages)
        ctypes.memmove(first, low, size)
        ctypes.memset(first + size, self._PATTERN, pages + pages_size - first - size)
        return copy

    def spoilt(self):
        """Return where something was written next to an array, or None."""
        for copy in self._copies.values():
            rest = {
                "before": (copy.pages, copy.first),
                "behind": (copy.first + copy.size, copy.pages + copy.pages_size),
            }
            for side, (low, high) in rest.items():
                if ctypes.string_at(low, high - low).strip(bytes([self._PATTERN])):
                    return f"{side} {copy}"
        return None

    def near(self, address):
        """Return by which array an address is, or None."""
        for copy in self._copies.values():
            end, fence = copy.pages + copy.pages_size, self._fence.value
            if copy.pages - fence <= address < copy.pages:
                return f"{copy.first - address} bytes before {copy}"
            if end <= address < end + fence:
                return f"{address - copy.first - copy.size} bytes behind {copy}"
        return None


@dataclasses.dataclass
class _Copy:
    original: int
    first: int
    size: int
    pages: int
    pages_size: int
    written: bool = False
    places: list[int] = dataclasses.field(default_factory=list)

    def __str__(self):
        return f"the {self.size} bytes of argument {', '.join(map(str, self.places))}"


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
                self._functions[name] = HostFunction(library, path, name, table[index], static)
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

    def __init__(self, library, path, name, kernel, static):
        self._library, self._path, self._static = library, path, static
        self.name = name
        self.max_dynamic_shared_size_bytes = USUAL_SHARED
        self.max_threads_per_block = kernel.most_threads
        self._entry = kernel.one_thread
        self._parameters = []
        for k in range(kernel.parameters):
            parameter = kernel.described[k]
            kind = (parameter.type or b"").decode()
            self._parameters.append((kind, parameter.size, parameter.is_array, parameter.is_const))

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
                self._value(fences, place, argument, *parameter)
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
        found = _run(("addr2line", "-i", "-e", str(self._path), hex(instruction))).stdout.split("\n")
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

    def _value(self, fences, place, argument, kind, size, is_array, is_const):
        # the argument's bytes as the launch hands them over: an array's are its address
        said = f"{self.name}, argument {place}: "
        if is_array:
            if argument is None:
                return ctypes.c_void_p(0)
            if not isinstance(argument, np.ndarray):
                raise ArgumentError(f"{said}expected an array, got {type(argument).__name__}")
            self._check_array(said, argument, kind, size, is_const)
            return ctypes.c_void_p(fences.address(place, argument, not is_const))
        if not isinstance(argument, np.generic):
            raise ArgumentError(f"{said}expected a NumPy scalar ({kind}), got {type(argument).__name__}")
        if _kind(argument.dtype) != kind and (kind or argument.dtype.itemsize != size):
            raise ArgumentError(f"{said}expected {kind or f'{size} bytes'}, got {argument.dtype}")
        return ctypes.create_string_buffer(argument.tobytes(), size)

    @staticmethod
    def _check_array(said, array, kind, size, is_const):
        item, _, _ = kind.partition("x")
        if item and item != "any" and _kind(array.dtype) != item:
            raise ArgumentError(f"{said}expected items of {item}, got {array.dtype}")
        if not array.flags.c_contiguous:
            raise ArgumentError(f"{said}the array is not C-contiguous")
        if not is_const and not array.flags.writeable:
            raise ArgumentError(f"{said}the array is read-only, the kernel writes to it")


@functools.cache
def _kind(dtype):
    if dtype.name == "bfloat16":
        return "bfloat16"
    return f"{dtype.kind}{dtype.itemsize}"
