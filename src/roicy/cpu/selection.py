"""Which compilation of the kernels runs: chosen once, at import, by what the processor has."""

from __future__ import annotations

import os
from importlib.util import find_spec

from roicy.cpu import processor

#: From the least to the most that a processor must have.
LEVELS = ("baseline", "v3", "v4")
VARIABLE = "ROICY_CPU_LEVEL"


def available() -> tuple[str, ...]:
    """Return the levels that were built and that this processor can run, least first."""
    runs = processor.level()
    return tuple(
        level
        for number, level in enumerate(LEVELS)
        if number <= runs and find_spec(f"roicy.cpu._kernels_f32_{level}")
    )


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
