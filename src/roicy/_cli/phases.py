"""``roicy bench --phases``: the time of each part of a call, beside lower bounds.

Only a build with ``ROICY_BUILD=phases`` times the parts, and only on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

import roicy
from roicy import cpu
from roicy._cli import bench
from roicy._cli.calls import passes
from roicy._cli.race import Call
from roicy._cli.terminal import Lines
from roicy._cli.traffic import SUMMED, least_bytes, multiply_adds
from roicy._cli.workloads import Workload

COPIED = 1 << 26  # bytes of the array whose copy tells the speed of the memory
ROUNDS = 1 << 20  # of multiply-adds whose time tells the speed of arithmetic
#: Of the kernels, in the order of ``phases.h``.
PARTS = ("other", "load", "rows", "columns", "turn", "store")
COLUMNS = ("workload", "pass", "bytes", "sums", "call", "arguments", "tables", *PARTS[1:], PARTS[0])
ABOUT = """\
bytes, sums: what moving each byte once takes at the speed of a copy, and multiply-adds (of maxima,
comparisons) at their peak; call: all of it; load: maps or gradients to vectors of channels; rows, columns:
the two passes, or sums of pixels named one by one; turn: results transposed; store: results written, of
gradients also transposed; other: what is left of the kernels, tables filled as they are used among it"""


def bench_phases(workloads: Iterable[Workload], rounds: int = 7) -> int:
    """Time the parts of the passes of each workload, print each as it comes, and return the exit status."""
    if _kernels().phases() is None:
        print("roicy bench --phases: this build does not tell phases; ROICY_BUILD=phases makes one that does")
        return 1
    with roicy.num_threads(1):
        copied, added = speeds()
        bench.print_wrapped(
            f"milliseconds, one of the faster of {rounds} rounds; {bench.describe(1)}; "
            f"a copy moves {copied / 1e9:.1f} GB/s, {added / 1e9:.0f} multiply-adds a nanosecond are the peak"
        )
        print()
        lines = Lines([*COLUMNS[:2], *(f">{name}" for name in COLUMNS[2:])], [20, 12, *[6] * 11])
        lines.head()
        for workload in workloads:
            rng = np.random.default_rng(1)
            inputs = workload.features(rng), workload.boxes(rng), workload.grad_output(rng)
            for name, make in passes(workload).items():
                lines.begin(workload.name)
                parts = timed_parts(make(workload)(*inputs), rounds)
                least = least_bytes(workload, name, inputs[1]) / copied
                sums = (
                    multiply_adds(workload, name, inputs[1]) / added if workload.operator in SUMMED else None
                )
                seconds = [least, sums, *(parts[part] for part in COLUMNS[4:])]
                lines.end([name, *("" if one is None else f"{1e3 * one:.2f}" for one in seconds)])
    print()
    bench.print_wrapped(ABOUT.replace("\n", " "))
    return 0


def _kernels() -> Any:
    return cpu._kernels("float32")


def speeds() -> tuple[float, float]:
    """Return the bytes per second that a copy reads and writes, and the multiply-adds at their peak."""
    source, target = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8)
    peak = _kernels().peak
    copying = min(_seconds(partial(np.copyto, target, source)) for _ in range(9))
    adding = min(_seconds(partial(peak, ROUNDS)) for _ in range(9))
    return 2 * COPIED / copying, peak(ROUNDS) / adding


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def timed_parts(call: Call, rounds: int) -> dict[str, float]:
    """Return the seconds of each part of a call, and of all of it, in one of the faster rounds."""
    found = []
    call()
    for _ in range(rounds):
        spent = {"tables": 0.0, "kernels": 0.0}
        with _watched(spent):
            _kernels().phases()
            spent["call"] = _seconds(call)
            ticks = _kernels().phases()
        found.append((spent, ticks))
    spent, ticks = sorted(found, key=lambda one: one[0]["call"])[rounds // 4]
    outside = spent["call"] - spent["kernels"]
    # ticks are those of the whole call: what is not in a kernel counts as other
    tick = spent["call"] / sum(ticks)
    parts = {name: tick * number for name, number in zip(PARTS, ticks, strict=True)}
    parts["other"] -= outside
    return {**parts, "call": spent["call"], "tables": spent["tables"], "arguments": outside - spent["tables"]}


@contextmanager
def _watched(spent: dict[str, float]) -> Iterator[None]:
    # the backend's functions note what they take
    def noting(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent[kind] += time.perf_counter() - start

        return noted

    watched: list[tuple[Any, str, str]] = [
        (cpu.Together, name, "kernels") for name in ("_add", "take", "run")
    ]
    for name in cpu.__all__:
        if name.endswith("_table"):
            watched.append((cpu, name, "tables"))
        elif "_forward" in name or "_backward" in name:
            watched.append((cpu, name, "kernels"))
    of_cpu: dict[str, Any] = vars(cpu)
    again, of_cpu["crops_again"] = of_cpu["crops_again"], None  # its tables could not be timed
    before = [getattr(place, name) for place, name, _ in watched]
    for (place, name, kind), function in zip(watched, before, strict=True):
        setattr(place, name, noting(kind, function))
    try:
        yield
    finally:
        of_cpu["crops_again"] = again
        for (place, name, _), function in zip(watched, before, strict=True):
            setattr(place, name, function)
