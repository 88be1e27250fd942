"""``roicy bench``: how fast this installation is on this machine."""

import numpy as np

import roicy
from roicy._passes import passes
from roicy._race import race
from roicy._table import print_table

COLUMNS = ("forward", "with argmax", "backward", "box gradient")


def bench(workloads, threads=1, rounds=7):
    """Time the passes of each workload and print a table."""
    rows = []
    with roicy.num_threads(threads):
        for workload in workloads:
            print(f"{workload.name}: {workload.about} ...", flush=True)
            contestants = {name: make(workload) for name, make in passes(workload).items()}
            seconds = race(contestants, lambda number, w=workload: _inputs(w, number), rounds)
            timings = {name: f"{1e3 * value:.3f}" for name, value in seconds.items()}
            rows.append([workload.name, *(timings.get(name, "") for name in COLUMNS)])
    print_table(
        f"milliseconds per call, median of {rounds}; {describe(threads)}",
        ["workload", *(f">{name}" for name in COLUMNS)],
        rows,
    )


def describe(threads):
    """Return the thread count and the CPU level in words."""
    from roicy import cpu

    return f"{threads} thread{'s' if threads > 1 else ''}, CPU level {cpu.level()}"


def _inputs(workload, number):
    rng = np.random.default_rng(number)
    return workload.features(rng), workload.boxes(rng), workload.grad_output(rng)
