"""Choose the CPU level of the kernels, once at import, by the instructions that the processor has."""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from types import ModuleType

from roicy.cpu import processor

#: In ascending order of what a processor must have.
LEVELS = ("baseline", "v3", "v4")
VARIABLE = "ROICY_CPU_LEVEL"


#: The module of the kernels; there is a file of it for each accumulation type and level.
_MODULE = "roicy.cpu.apply.kernels"

#: One thread loads at a time, as in an import; a child whose parent is loading gets a lock of its own.
_loading = threading.Lock()


def _unlock_in_child() -> None:
    global _loading
    _loading = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_in_child)


def _file_of(precision: str, level: str) -> str | None:
    found = find_spec(f"roicy.cpu._kernels_{precision}_{level}")
    return None if found is None else found.origin


def load(precision: str, level: str) -> ModuleType:
    """Return the kernels of a type of accumulation, "f32" or "f64", compiled for a level."""
    spec = spec_from_file_location(_MODULE, _file_of(precision, level))
    if spec is None or spec.loader is None:
        raise ImportError(f"roicy was built without the {precision} kernels of level {level}")
    with _loading:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def available() -> tuple[str, ...]:
    """Return the levels that were built and that this processor can run, least first."""
    runs = processor.level()
    return tuple(level for number, level in enumerate(LEVELS) if number <= runs and _file_of("f32", level))


def choose() -> str:
    """Return the level to use: the one that ROICY_CPU_LEVEL names, else the best available."""
    levels = available()
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        return levels[-1]
    if wanted not in LEVELS:
        raise RuntimeError(f"{VARIABLE}={wanted!r} is no CPU level; known are {', '.join(LEVELS)}")
    if wanted not in levels:
        raise RuntimeError(f"{VARIABLE}={wanted!r} is not available here; available are {', '.join(levels)}")
    return wanted
