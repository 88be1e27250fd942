"""The simulated device in the place of the CUDA driver and runtime: `begin` before CuPy is imported."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from .machine import MOST_SHARED, Function, Module
from .memory import DeviceMemory
from .ptx import PtxError

#: Addresses that allocations may take in all.
ADDRESSES = 256 << 30
LAUNCH_FAILED, MAX_DYNAMIC_SHARED = 719, 8


class Device:
    """What CuPy takes for the only device.

    Attributes
    ----------
    launches : Counter of str
        How often each kernel ran.
    """

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self._library = _library()
        self._modules: dict[int, Module] = {}
        self._functions: dict[int, Function] = {}
        self._known: dict[tuple[int, str], int] = {}
        self._lock = threading.Lock()
        self._keep: list[object] = []
        if self._library.memory_begin(ctypes.c_size_t(ADDRESSES)):
            raise MemoryError("no room for the addresses of a simulated device")
        self._base = ctypes.c_void_p.in_dll(self._library, "memory_base").value
        whole = (ctypes.c_uint8 * ADDRESSES).from_address(self._base)
        self._whole = np.frombuffer(whole, np.uint8)
        pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
        self._hook("module_hook", self._load, pointer, pointer)
        self._hook("function_hook", self._find, pointer, pointer, text)
        self._hook(
            "launch_hook", self._launch, integer, pointer, *[ctypes.c_uint] * 7, ctypes.POINTER(pointer)
        )
        self._hook("attribute_hook", self._set, integer, pointer, integer, integer)
        _replace_runtime(self._library)

    def _hook(self, name: str, method, *types) -> None:
        called = ctypes.CFUNCTYPE(*types)(method)
        self._keep.append(called)
        ctypes.c_void_p.in_dll(self._library, name).value = ctypes.cast(called, ctypes.c_void_p).value

    def _load(self, image: int) -> int:
        text = ctypes.string_at(image)
        if b".version" not in text[:1000]:
            print("a module that is no PTX", file=sys.stderr)
            return 0
        self._modules[len(self._modules) + 1] = Module(text.decode(), self._placed)
        return len(self._modules)

    def _placed(self, content: bytes) -> int:
        address = ctypes.c_void_p()
        if self._library.runtime_cudaMalloc(ctypes.byref(address), ctypes.c_size_t(len(content))):
            raise MemoryError
        ctypes.memmove(address, content, len(content))
        return address.value

    def _find(self, module: int, name: bytes) -> int:
        key = module, name.decode()
        try:
            if key not in self._known:
                number = len(self._functions) + 1
                self._functions[number] = self._modules[module].function(key[1])
                self._known[key] = number
            return self._known[key]
        except Exception:
            traceback.print_exc()
            return 0

    def _set(self, function: int, attribute: int, value: int) -> int:
        if attribute == MAX_DYNAMIC_SHARED:
            kernel = self._functions[function]
            if kernel.kernel.static + value > MOST_SHARED:
                return 1
            kernel.most_shared = max(kernel.most_shared, kernel.kernel.static + value)
        return 0

    def _launch(self, number: int, *numbers) -> int:
        *sizes, shared, addresses = numbers
        function = self._functions[number]
        try:
            with self._lock:
                self.launches[function.kernel.name] += 1
                parameters = bytearray()
                for address, parameter in zip(addresses, function.kernel.parameters.values(), strict=False):
                    parameters = parameters.ljust(parameter.begin, b"\0")
                    parameters += ctypes.string_at(address, parameter.size)
                function.launch(self._memory(), tuple(sizes[:3]), tuple(sizes[3:]), shared, bytes(parameters))
            return 0
        except PtxError as error:
            print(f"simulated device: {error}", file=sys.stderr)
        except Exception:
            traceback.print_exc()
        return LAUNCH_FAILED

    def _memory(self) -> DeviceMemory:
        count = ctypes.c_long.in_dll(self._library, "allocations").value
        starts, ends = (
            np.frombuffer((ctypes.c_uint64 * count).in_dll(self._library, name), np.uint64)
            for name in ("allocation_start", "allocation_end")
        )
        return DeviceMemory(self._base, self._whole, starts, ends)


def begin() -> Device:
    """Give this process, which has not imported CuPy yet, a simulated device."""
    if "cupy" in sys.modules:
        raise RuntimeError("CuPy has been imported, with the device that it found, or none")
    os.environ["CUPY_COMPILE_WITH_PTX"] = "1"
    os.environ["CUPY_ACCELERATORS"] = ""
    os.environ.setdefault("CUPY_CACHE_DIR", str(Path(tempfile.gettempdir()) / "roicy-simulated-cupy"))
    return Device()


def _library() -> ctypes.CDLL:
    # by its name, libcuda.so.1, it is what CuPy's extensions are linked to when they are loaded after it
    source = Path(__file__).with_name("driver.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "libcuda.so.1"
        command = [
            os.environ.get("CC", "gcc").split()[-1],
            "-shared",
            "-fPIC",
            "-O1",
            "-w",
            "-Wl,-soname,libcuda.so.1",
        ]
        subprocess.run([*command, "-o", str(library), str(source)], check=True)
        return ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def _replace_runtime(library: ctypes.CDLL) -> None:
    # CuPy has the runtime in its own extension: the code of each of its functions becomes a jump to ours
    from cupy_backends.cuda.api import runtime

    names = subprocess.run(["nm", runtime.__file__], capture_output=True, text=True, check=True).stdout
    symbols = re.findall(r"^(\w+) [tT] (cuda[A-Z]\w*)$", names, re.MULTILINE)
    maps = Path("/proc/self/maps").read_text()
    loaded = min(int(line.split("-")[0], 16) for line in maps.splitlines() if runtime.__file__ in line)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    nothing = b"\x31\xc0\xc3"  # xor eax, eax; ret
    for offset, name in symbols:
        plain = re.sub(r"_pt[sd][sz]$|_v\d+$", "", name)
        code = nothing
        if hasattr(library, f"runtime_{plain}"):
            target = ctypes.cast(getattr(library, f"runtime_{plain}"), ctypes.c_void_p).value
            code = b"\x48\xb8" + target.to_bytes(8, "little") + b"\xff\xe0"  # mov rax, target; jmp rax
        place = loaded + int(offset, 16)
        if protect(place & -4096, 8192, 7):
            raise OSError(f"the code of {name} cannot be replaced")
        ctypes.memmove(place, code, len(code))
