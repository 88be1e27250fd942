"""Which parts of CUDA are there: CuPy, the compiler that it uses and its headers, a device.

Kernels are compiled by NVRTC when they are first used, so a device alone is not enough. `find` never raises;
for what is missing, it has a sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")

READY = "ready"
NO_CUPY, BROKEN_CUPY = "no CuPy", "broken CuPy"
NO_DEVICE, NO_NVRTC, NO_HEADERS = "no device", "no NVRTC", "no headers"

#: The headers that half types need.
HEADERS = ("cuda_fp16.h", "cuda_bf16.h")


@dataclass(frozen=True)
class State:
    """What was found; an empty string or tuple stands for what was not."""

    name: str  # one of the states above
    problem: str = ""  # what is wrong and what helps, unless all is there
    cupy: str = ""  # version
    nvrtc: str = ""  # version
    driver: str = ""  # the CUDA version that it is made for
    devices: tuple[str, ...] = ()  # "name (compute capability 9.0)" of each


def find() -> State:
    """Return the `State` of this process; imports CuPy if it is installed."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            return State(NO_CUPY, f"CuPy, which CUDA kernels need, is not installed: {_install()}")
        return _broken(error)
    except Exception as error:  # a library of another version, a clash of two CuPys: whatever it is, say it
        return _broken(error)

    version = str(getattr(cupy, "__version__", ""))
    devices, no_device = _ask(_devices, cupy)
    nvrtc, no_nvrtc = _ask(_nvrtc, cupy)
    driver, _ = _ask(_driver, cupy)
    missing, no_headers = _ask(_missing_headers, cupy)
    line, _ = _ask(_cuda_line, cupy)

    name, problem = READY, ""
    if not devices:
        name = NO_DEVICE
        problem = (
            f"CuPy finds no CUDA device ({no_device or 'there is none'}): it takes an NVIDIA GPU, its driver "
            "(nvidia-smi shows both) and, where CUDA_VISIBLE_DEVICES is set, a device in it"
        )
    elif not nvrtc:
        name = NO_NVRTC
        problem = f"CuPy finds no NVRTC, which compiles the kernels ({no_nvrtc}): {_install(line)}"
    elif missing or no_headers:
        name = NO_HEADERS
        problem = f"CuPy finds no CUDA headers ({no_headers or missing}): {_install(line)}"
    return State(name, problem, version, nvrtc or "", driver or "", devices or ())


def check() -> None:
    """Raise where kernels cannot be compiled and run.

    Raises
    ------
    ImportError
        Where CuPy is not installed, or does not load.
    RuntimeError
        Where there is no device, no NVRTC, or no headers.
    """
    state = find()
    if state.name in (NO_CUPY, BROKEN_CUPY):
        raise ImportError(state.problem)
    if state.name != READY:
        raise RuntimeError(state.problem)


def _broken(error: Exception) -> State:
    words = f"CuPy is installed, but does not load ({_in_words(error)}): install it anew, one only"
    return State(BROKEN_CUPY, f"{words}, {_install()}")


def _install(line: int | None = None) -> str:
    # From the source: there is no release, and what an index has by that name would be a stranger's. The
    # extra must fit the CuPy that is there; without one, the newer line is the better guess.
    extra = f'".[cuda{line if line in (12, 13) else 13}]"'
    other = "" if line in (12, 13) else ' (".[cuda12]" where nvidia-smi says CUDA 12)'
    return f"python -m pip install {extra}{other} in the folder of roicy's source"


def _ask(question: Callable[[Any], Found], cupy: Any) -> tuple[Found | None, str]:
    # the answer, or None and why there is none
    try:
        return question(cupy), ""
    except Exception as error:  # CUDARuntimeError, DynamicLibNotFoundError, what older versions raise
        return None, _in_words(error)


def _in_words(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _devices(cupy: Any) -> tuple[str, ...]:
    runtime = cupy.cuda.runtime
    found = []
    for number in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(number)
        capability = f"{properties['major']}.{properties['minor']}"
        found.append(f"{properties['name'].decode()} (compute capability {capability})")
    return tuple(found)


def _nvrtc(cupy: Any) -> str:
    return "{}.{}".format(*cupy.cuda.nvrtc.getVersion())


def _driver(cupy: Any) -> str:
    version = cupy.cuda.runtime.driverGetVersion()
    return f"CUDA {version // 1000}.{version % 1000 // 10}" if version else ""


def _cuda_line(cupy: Any) -> int:
    return int(cupy.cuda.runtime.runtimeGetVersion()) // 1000


def _missing_headers(cupy: Any) -> str:
    # Looked for where the compiler will look. Which folders those are, CuPy does not say publicly: where this
    # function of its is gone, the compiler will say what it misses.
    core = cupy._core.core
    if not hasattr(core, "assemble_cupy_compiler_options"):
        return ""
    options = core.assemble_cupy_compiler_options(("--std=c++17",))
    folders = [Path(option.removeprefix("-I")) for option in options if option.startswith("-I")]
    missing = [name for name in HEADERS if not any((folder / name).is_file() for folder in folders)]
    return ", ".join(missing)
