"""Race roicy against its peers and against itself: ``make bench``, ``make bench ARGS="--only one_box"``.

Every contest runs all its contestants in turn, in one process, on the same fresh random arrays; before that
their results are compared. Tables go to the terminal; they, JSON and a bar chart to ``benchmarks/results/``.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys

import contests
import report
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from roicy._workloads import select

console = Console()


def main():
    chosen = parse()
    workloads = select(chosen.only.split(",") if chosen.only else None)
    if chosen.quick:
        chosen.rounds = min(chosen.rounds, 2)
        workloads = [dataclasses.replace(w, rois=math.ceil(w.rois / 10)) for w in workloads]
    entries = list(program(chosen, workloads))
    if chosen.child:
        (contest,) = [contest for contest in entries if contest.name == chosen.child]
        print(json.dumps(contests.run(contest, chosen.rounds)))
        return 0
    return report.write(run_all(entries, chosen.rounds), chosen)


def parse():
    parser = argparse.ArgumentParser(description="Race roicy against its peers and against itself.")
    add = parser.add_argument
    add("--forward", action="store_true", help="only forward passes against the peers")
    add("--backward", action="store_true", help="only backward passes against the peers")
    add("--variants", action="store_true", help="only roicy's other CPU levels and roicy against itself")
    add("--threads", type=int, default=1, metavar="N", help="threads of every contestant [%(default)s]")
    add("--only", metavar="NAME[,NAME]", help="only these workloads")
    add("--fresh", action="store_true", help="a new output at each call of roicy, not a reused one")
    add("--rounds", type=int, default=9, metavar="N", help="timed rounds; three for slow peers [%(default)s]")
    add("--quick", action="store_true", help="a tenth of the boxes, at most two rounds: a trial run")
    add("--child", help=argparse.SUPPRESS)  # the one contest that this process, started by another, is to run
    chosen = parser.parse_args()
    if not (chosen.forward or chosen.backward or chosen.variants):
        chosen.forward = chosen.backward = chosen.variants = True
    return chosen


def program(chosen, workloads):
    """The contests that were asked for."""
    if chosen.forward:
        yield from contests.against_peers(workloads, chosen.threads, chosen.fresh, backward=False)
    if chosen.backward:
        yield from contests.against_peers(workloads, chosen.threads, chosen.fresh, backward=True)
    if chosen.variants:
        yield from contests.lower_levels(workloads, chosen.threads)
        yield from contests.against_itself(workloads, chosen.threads)


def run_all(entries, rounds):
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    results = []
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=len(entries))
        for number, contest in enumerate(entries):

            def show(contestant, step, steps, number=number, contest=contest):
                words = f"{contest.name}: {contestant}"
                progress.update(task, description=f"{words:<48}", completed=number + step / steps)

            if contest.alone:
                show("in its own process", 0, 1)
                results.append(run_alone(contest))
            else:
                results.append(contests.run(contest, rounds, show))
    return results


def run_alone(contest):
    """Run one contest in a new process: this command again, with one option and some variables more."""
    command = [sys.executable, *sys.argv, "--child", contest.name]
    finished = subprocess.run(
        command, env={**os.environ, **contest.environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(finished.stdout)


if __name__ == "__main__":
    sys.exit(main())
