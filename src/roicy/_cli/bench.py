"""``roicy bench``: how fast this installation is on this machine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from functools import partial
from shutil import get_terminal_size
from typing import Any

import numpy as np

import roicy
from roicy._cli.calls import passes
from roicy._cli.race import race
from roicy._cli.terminal import Lines
from roicy._cli.workloads import Workload

COLUMNS = ("forward", "with argmax", "backward", "box gradient")


def bench(workloads: Iterable[Workload], threads: int = 1, rounds: int = 7) -> int:
    """Time the passes of each workload, print each as it comes, and return the exit status."""
    workloads = list(workloads)
    print_wrapped(f"milliseconds per call, median of {rounds}; {describe(threads)}")
    print()
    names = [workload.name for workload in workloads]
    lines = Lines(["workload", *(f">{name}" for name in COLUMNS)], [max(map(len, names)), 7, 7, 7, 7])
    lines.head()
    done: list[Workload] = []
    try:
        with roicy.num_threads(threads):
            for workload in workloads:
                lines.begin(workload.name)
                contestants = {
                    name: make(workload) for name, make in passes(workload).items() if name in COLUMNS
                }
                seconds = race(contestants, partial(_inputs, workload), rounds)
                timings = {name: f"{1e3 * value:.3f}" for name, value in seconds.items()}
                lines.end([timings.get(name, "") for name in COLUMNS])
                done.append(workload)
    except KeyboardInterrupt:
        print("\n")
        print_wrapped(f"interrupted: {len(done)} of {len(workloads)} workloads were timed")
    print()
    for workload in done:
        print_wrapped(f"{workload.name}: {workload.about}")
    return 0 if len(done) == len(workloads) else 130


def describe(threads: int) -> str:
    """Return the thread count and the CPU level in words."""
    from roicy import cpu

    return f"{threads} thread{'s' if threads > 1 else ''}, CPU level {cpu.level()}"


def print_wrapped(text: str) -> None:
    """Print lines no longer than the terminal."""
    print(*textwrap.wrap(text, get_terminal_size().columns - 1, subsequent_indent="  "), sep="\n", flush=True)


def _inputs(workload: Workload, number: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(number)
    return workload.features(rng), workload.boxes(rng), workload.grad_output(rng)
