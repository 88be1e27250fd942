"""Race numbers of ``tuning.py`` on a GPU: ``python benchmarks/gpu_tuning.py axis_forward.RESIDENT=6,8``.

A variant is one value, or several numbers at once: ``axis_forward.WARPS=2+axis_forward.RESIDENT=14``. It runs
in each pass of ``benchmarks/gpu.py`` that launches its source, in turn with the numbers as they are, in one
process. Times are those on the device alone; results must have the same bits.
"""

import argparse
import itertools
import json
import math
import os
import sys
import time
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import gpu
import numpy as np
from clocks import Cpu, Gpu

import roicy.cuda
from roicy._cli import calls
from roicy._cli.terminal import print_table
from roicy._cli.workloads import select
from roicy.cuda.tuning import CONSTANTS

#: The variants that are raced by default: each leaves registers or shared memory for more warps, or has more
#: loads in flight.
PROPOSED = (
    "axis_forward.RESIDENT=12,16",
    "axis_forward.WARPS=1,4+axis_forward.RESIDENT=28,7",
    "axis_forward.TOGETHER=2,6,8",
    "axis_forward.SPREAD=3",
    "axis_forward.SPREAD=2,8+axis_forward.RESIDENT=16,8",
    "axis_forward.GROUP=4,16",
    "range_forward.TOGETHER=2,3",
    "range_forward.WARPS=2,8",
    "range_backward.WARPS=2+range_backward.RESIDENT=8",
    "grid_forward.THREADS=64,256",
    "axis_backward_rois.RESIDENT=10,14",
)
#: The numbers as they are, as a variant.
PRESENT = ()
#: Modules that may cache what they derive from the numbers.
DERIVED = ("roicy.cuda.apply.", "roicy.cuda.tables.", "roicy.cuda.device", "roicy.cuda.memory")


def main(arguments=None):
    chosen = parse(arguments)
    if not chosen.dry and gpu.is_missing("gpu_tuning"):
        return 2
    clock, numbers, results = Cpu() if chosen.dry else Gpu(), Numbers(), []
    end, late = time.monotonic() + (chosen.seconds or float("inf")), []
    with numbers.in_use():
        for workload in chosen.workloads:
            taken, inputs = gpu.shrunk(workload) if chosen.dry else workload, None
            for name in (name for name in calls.passes(workload) if name in chosen.passes):
                if time.monotonic() > end:
                    late.append(f"{workload.name}, {name}")
                    continue
                inputs = inputs or gpu.draw_sets(clock, taken, chosen.sets)
                for result in race(clock, numbers, taken, name, inputs, chosen, end):
                    results.append({"workload": workload.name, "pass": name, **result})
                    print(line(results[-1]), flush=True)
                    write(clock, results, chosen.output)
    if late:
        print(f"no time was left for: {'; '.join(late)}")
    return report(results, chosen.output)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description="Race numbers of roicy/cuda/tuning.py on a GPU.")
    add = parser.add_argument
    add("variants", nargs="*", metavar="SOURCE.NAME=VALUE[,VALUE][+...]", help="[a list of proposals]")
    add("--only", metavar="NAME[,NAME]", help="only these workloads")
    add("--passes", metavar="NAME[,NAME]", help=f"of {', '.join(gpu.PASSES)} [all]")
    add("--rounds", type=int, default=9, metavar="N", help="rounds over all input sets [%(default)s]")
    add("--sets", type=int, metavar="N", help="input sets [enough to exceed the device's cache four times]")
    add("--seconds", type=float, metavar="S", help="begin with no variant after so many seconds")
    add("--output", type=Path, metavar="FILE", help="where results go [results/cuda-tuning.json]")
    add("--dry", action="store_true", help="tiny workloads on the CPU: does the program run?")
    chosen = parser.parse_args(arguments)
    try:
        chosen.workloads = select(chosen.only.split(",") if chosen.only else None)
        chosen.variants = [it for text in chosen.variants or PROPOSED for it in variants(text)]
    except ValueError as error:
        parser.error(str(error))
    chosen.passes = chosen.passes.split(",") if chosen.passes else list(gpu.PASSES)
    chosen.output = chosen.output or gpu.RESULTS / "cuda-tuning.json"
    return chosen


def variants(text):
    """Return the variants that a text describes, each as ((source, name, value), ...).

    >>> variants("axis_forward.WARPS=2,8+axis_forward.RESIDENT=14,3")[1]
    (('axis_forward', 'WARPS', 8), ('axis_forward', 'RESIDENT', 3))
    """
    columns = []
    for part in text.split("+"):
        place, _, values = part.partition("=")
        source, _, name = place.partition(".")
        if name not in CONSTANTS.get(source, ()):
            known = ", ".join(f"{source}.{name}" for source, names in CONSTANTS.items() for name in names)
            raise ValueError(f"{place!r} is no number of tuning.py: expected one of {known}")
        if not all(value.isdecimal() and int(value) for value in values.split(",")):
            raise ValueError(f"{part!r} must give {place} whole numbers above 0, as {place}=2,4")
        columns.append([(source, name, int(value)) for value in values.split(",")])
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"{text!r} must give each number as many values")
    return list(zip(*columns, strict=True))


def title(variant):
    return " ".join(f"{source}.{name}={value}" for source, name, value in variant) or "as they are"


class Numbers:
    """The numbers in use. Each variant has kernels of its own, which are compiled once."""

    def __init__(self):
        self._present = {source: dict(names) for source, names in CONSTANTS.items()}
        self._kernels = {}
        self._chosen = PRESENT

    @contextmanager
    def in_use(self):
        """Within this context, calls use the kernels of the chosen variant."""
        every = roicy.cuda.kernels
        make = getattr(every, "__wrapped__", every)

        def kernels():
            if self._chosen not in self._kernels:
                self._kernels[self._chosen] = make()
            return self._kernels[self._chosen]

        roicy.cuda.kernels = kernels
        try:
            yield
        finally:
            self.choose(PRESENT)
            roicy.cuda.kernels = every

    def choose(self, variant):
        """Choose the variant whose numbers the next calls use."""
        for source, names in self._present.items():
            CONSTANTS[source].update(names)
        for source, name, value in variant:
            CONSTANTS[source][name] = value
        for module in [it for name, it in sys.modules.items() if name.startswith(DERIVED)]:
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()
        self._chosen = variant

    def sources(self, call):
        """Return the sources that a call launches."""
        found, own = set(), roicy.cuda.kernels()
        launch = own.launch

        def noted(source, *arguments, **options):
            found.add(source)
            launch(source, *arguments, **options)

        own.launch = noted
        try:
            call()
        finally:
            del own.launch
        return found


def race(clock, numbers, workload, name, inputs, chosen, end):
    """Race the variants of a pass against the present numbers, one after the other."""
    invalid = {} if workload.operator == "rmac" else {"invalid": "nan"}
    prepare = calls.passes(workload)[name](workload, xp=clock.xp, **invalid)
    own = [prepare(*arrays) for arrays in inputs]
    numbers.choose(PRESENT)
    sources = None if chosen.dry else numbers.sources(own[0])
    expected = bits(clock, own[0]())
    for variant in chosen.variants:
        if time.monotonic() > end:
            return
        if sources is not None and not any(source in sources for source, _, _ in variant):
            continue
        try:
            numbers.choose(variant)
            same = bits(clock, own[0]()) == expected
            seconds = in_turn(clock, numbers, own, (PRESENT, variant), chosen.rounds)
        except Exception as error:  # a variant that does not compile, or has too large blocks
            yield {"variant": title(variant), "error": f"{type(error).__name__}: {error}"[:300]}
        else:
            yield {
                "variant": title(variant),
                "present": seconds[PRESENT],
                "seconds": seconds[variant],
                "same": same,
            }
        finally:
            numbers.choose(PRESENT)


def in_turn(clock, numbers, own, racing, rounds):
    """Return the median seconds of a call for each variant; variants take turns in each round."""
    timings = defaultdict(list)
    for number in range(rounds):
        for variant in racing[:: 1 if number % 2 else -1]:
            numbers.choose(variant)
            for call in own:  # fill caches and memory pools
                call()
            timings[variant] += clock.times(own)
    return {variant: median(timings[variant]) for variant in racing}


def bits(clock, result):
    """The bytes of a result, or of several."""
    several = result if isinstance(result, (tuple, list)) else [result]
    return [np.ascontiguousarray(clock.to_host(array)).tobytes() for array in several]


def line(result):
    """Return the line that is printed for a variant in a pass."""
    head = f"{result['workload']}, {result['pass']}, {result['variant']}: "
    if "error" in result:
        return f"{head}failed: {result['error']}"
    present, seconds = result["present"], result["seconds"]
    words = "" if result["same"] else ", other bits"
    return f"{head}{1e6 * seconds:.1f} µs, now {1e6 * present:.1f}, {present / seconds:.3f} x{words}"


def write(clock, results, output):
    """Write all results so far; a process that is stopped meanwhile leaves the file as it was."""
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(".part")
    unfinished.write_text(json.dumps({"machine": clock.describe(), "results": results}, indent=2) + "\n")
    os.replace(unfinished, output)


def report(results, output):
    """Print what each variant gains; return the exit status: 1 if a variant failed or has other bits."""
    by_variant = sorted(results, key=lambda result: result["variant"])
    table, status = [], 0
    for variant, found in itertools.groupby(by_variant, key=lambda result: result["variant"]):
        found = list(found)
        gains = {
            f"{it['workload']}, {it['pass']}": it["present"] / it["seconds"]
            for it in found
            if "error" not in it
        }
        wrong = len(found) - sum(it.get("same", False) for it in found)
        status = status or int(wrong > 0)
        if gains:
            mean = math.exp(sum(map(math.log, gains.values())) / len(gains))
            ends = [
                f"{gains[name]:.2f} x {name}"
                for name in (min(gains, key=gains.get), max(gains, key=gains.get))
            ]
            table.append([variant, str(len(gains)), f"{mean:.3f} x", *ends, str(wrong or "")])
        else:
            table.append([variant, "0", "", "", "", str(wrong)])
    columns = ["variant", ">passes", ">gain", "the least", "the most", ">wrong"]
    print_table("present time over the variant's, on the device", columns, table)
    print(f"wrong: passes that failed or have other bits\nresults: {output}")
    return status


if __name__ == "__main__":
    sys.exit(main())
