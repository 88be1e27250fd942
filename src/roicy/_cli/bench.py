"""``roicy bench``: how fast this installation is on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

import roicy
from roicy._cli.calls import passes
from roicy._cli.race import race
from roicy._cli.terminal import print_table
from roicy._cli.workloads import Workload

COLUMNS = ("forward", "with argmax", "backward", "box gradient")


def bench(workloads: Iterable[Workload], threads: int = 1, rounds: int = 7) -> None:
    """Time the passes of each workload and print a table."""
    rows = []
    with roicy.num_threads(threads):
        for workload in workloads:
            print(f"{workload.name}: {workload.about} ...", flush=True)
            contestants = {name: make(workload) for name, make in passes(workload).items()}
            seconds = race(contestants, partial(_inputs, workload), rounds)
            timings = {name: f"{1e3 * value:.3f}" for name, value in seconds.items()}
            rows.append([workload.name, *(timings.get(name, "") for name in COLUMNS)])
    print_table(
        f"milliseconds per call, median of {rounds}; {describe(threads)}",
        ["workload", *(f">{name}" for name in COLUMNS)],
        rows,
    )


def describe(threads: int) -> str:
    """Return the thread count and the CPU level in words."""
    from roicy import cpu

    return f"{threads} thread{'s' if threads > 1 else ''}, CPU level {cpu.level()}"


def _inputs(workload: Workload, number: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(number)
    return workload.features(rng), workload.boxes(rng), workload.grad_output(rng)
