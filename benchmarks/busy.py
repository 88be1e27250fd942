"""Two threads of roicy against one beside processes that compute: ``make bench ARGS=--busy``.

A second thread is to gain where there is a processor for it, and to cost next to nothing where there is
none: the ratio of the times is to be no more than `BOUND`. Everything is raced twice, the second time in a
process that has imported PyTorch, and its OpenMP runtime, before roicy.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

BOUND = 1.1
#: How many processes compute beside the race, and how nice they are to it.
OTHERS = [(0, 0), (1, 0), (1, 10), (2, 0), (2, 10)]
WORKLOADS = ("box_7x7_adaptive", "c4_14x14_adaptive", "max_7x7_sr2", "rotated_7x7_sr2", "pool_7x7")
#: Large calls have all boxes of a workload, small ones this part of them.
SMALL = 1 / 50
#: Seconds that the rounds of a cell take at the least: medians of a few short calls beside others are noise.
FILLED = 1.0
SPIN = "while True: pass"


def main(arguments=None):
    """Race in this process and print a line of JSON for each call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", required=True)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args(arguments)
    from roicy._cli import calls
    from roicy._cli.workloads import select

    for workload in select(chosen.only.split(",")):
        for size, share in {"large": 1, "small": SMALL}.items():
            if chosen.quick and size == "large":
                continue
            of_size = dataclasses.replace(workload, rois=math.ceil(workload.rois * share))
            for name, make in calls.passes(of_size).items():
                if name != "with argmax":
                    found = against_one(of_size, make, chosen.rounds, 0 if chosen.quick else FILLED)
                    print(json.dumps([f"{name} {workload.name}, {size}", *found]), flush=True)


def against_one(workload, make, rounds, filled):
    """Return one thread's milliseconds, two threads' time over one's beside the others, and the rounds.

    Of these there are as many as take `filled` seconds on an idle machine, and no fewer than `rounds`.
    """
    import contests
    import numpy as np

    from roicy._cli.race import SHORTEST, race

    rng = np.random.default_rng(0)
    inputs = workload.features(rng), workload.boxes(rng), workload.grad_output(rng)
    pair = {n: contests.of_roicy(make, threads=n).make(workload, n) for n in (1, 2)}
    alone, ratios = None, []
    trial = race(pair, lambda number: inputs, 3)
    rounds = max(rounds, math.ceil(filled / sum(max(SHORTEST, seconds) for seconds in trial.values())))
    for count, nice in OTHERS:
        with beside(count, nice):
            seconds = race(pair, lambda number: inputs, rounds)
        alone = alone or 1e3 * seconds[1]
        ratios.append(seconds[2] / seconds[1])
    return alone, ratios, rounds


@contextlib.contextmanager
def beside(count, nice):
    """Have so many processes compute until the block is left."""
    command = ["nice", "-n", str(nice), sys.executable, "-c", SPIN]
    others = [subprocess.Popen(command) for _ in range(count)]
    try:
        time.sleep(0.3 if others else 0)  # until they have started
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def report(chosen):
    """Race in processes of their own and print tables; return 1 where a ratio is beyond the bound."""
    from roicy._cli.terminal import print_table

    titles = {"": "roicy alone"}
    if find_spec("torch"):
        titles["import torch; "] = "PyTorch imported before roicy"
    columns = [f">beside {count}, nice {nice}" if count else ">idle" for count, nice in OTHERS]
    worst = 0.0
    for before, title in titles.items():
        arguments = ["--only", chosen.only or ",".join(WORKLOADS), "--rounds", str(chosen.rounds)]
        arguments += ["--quick"] if chosen.quick else []
        here = str(Path(__file__).parent)
        program = f"{before}import sys; sys.path.insert(0, {here!r}); import busy; busy.main()"
        finished = subprocess.run(
            [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, check=True
        )
        rows = []
        for line in finished.stdout.splitlines():
            name, alone, ratios, rounds = json.loads(line)
            worst = max(worst, *ratios)
            rows.append(
                [name, str(rounds), f"{alone:.3g}", *(f"{r:.2f}{' !' if r > BOUND else ''}" for r in ratios)]
            )
        print_table(
            f"two threads over one, {title}: medians of as many rounds as take {FILLED:g} s or more, "
            f"at most {BOUND}",
            ["call", ">rounds", ">one thread, ms", *columns],
            rows,
        )
    print(f"the worst is {worst:.2f}")
    return 1 if worst > BOUND else 0
