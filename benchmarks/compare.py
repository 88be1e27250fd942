"""Race roicy against its peers and against itself: ``make bench``, ``make bench ARGS="--only one_box"``.

Every contest runs all its contestants in turn, in one process, on the same fresh random arrays; before that
their results are compared. Tables go to the terminal; they, JSON and a bar chart to ``benchmarks/results/``.
``--check`` compares the ratios of their times with those in ``baseline.json``.
"""

import argparse
import dataclasses
import json
import math
import os
import subprocess
import sys
from datetime import date

import baseline
import busy
import contests
import report
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from roicy._cli.terminal import print_table
from roicy._cli.workloads import select

console = Console()


def main():
    chosen = parse()
    if chosen.busy:
        return busy.report(chosen)
    workloads = select(chosen.only.split(",") if chosen.only else None)
    if chosen.quick:
        chosen.rounds = min(chosen.rounds, 2)
        workloads = [dataclasses.replace(w, rois=math.ceil(w.rois / 10)) for w in workloads]
    entries = list(program(chosen, workloads))
    if chosen.child:
        (contest,) = [contest for contest in entries if contest.name == chosen.child]
        print(json.dumps(contests.run(contest, chosen.rounds)))
        return 0
    if chosen.check:
        return check(entries, chosen)
    if chosen.update_baseline:
        return update(entries, chosen)
    return report.write(run_all(entries, chosen.rounds), chosen)


def check(entries, chosen):
    """Race, then say what has become slower than the baseline has it; return 1 if anything has."""
    machine = report.describe_machine()
    baselines, wanted = baseline.load(baseline.FILE), baseline.kind(machine, vars(chosen))
    stored = baseline.find(baselines, wanted)
    if stored is None:
        print(*baseline.missing(baselines, wanted), sep="\n")
        return 2
    results, kept = run_all(entries, chosen.rounds), baseline.kept(stored)
    status, now = report.write(results, chosen), baseline.ratios(results)
    suspects = {change.name for change in baseline.changes(kept, now) if change.slower}
    if suspects:
        print(f"slower, so raced once more: {', '.join(sorted(suspects))}")
        again = run_all([contest for contest in entries if contest.name in suspects], chosen.rounds)
        now = baseline.better(now, baseline.ratios(again))
    changes = baseline.changes(kept, now)
    print_table(
        f"ratios of times, and what they were: {baseline.describe(wanted)}",
        ["contest", "ratio", ">before", ">now", ">change", ">tolerance", ""],
        list(baseline.rows(changes)),
    )
    print(*baseline.remarks(changes, kept, now, report.versions_of_peers(machine)), sep="\n")
    return 1 if any(change.slower for change in changes) else status


def update(entries, chosen):
    """Race several times, and keep the ratios and how far the runs lie apart."""
    machine, runs, status = report.describe_machine(), [], 0
    for number in range(chosen.runs):
        print(f"run {number + 1} of {chosen.runs}", flush=True)
        results = run_all(entries, chosen.rounds)
        runs.append(baseline.ratios(results))
        status = max(status, report.write(results, chosen))
    if status:
        print("results do not agree, so the baseline is left as it is")
        return status
    wanted, measured = baseline.kind(machine, vars(chosen)), baseline.summary(runs)
    stored = baseline.updated(
        baseline.load(baseline.FILE),
        wanted,
        measured,
        date.today().isoformat(),
        report.versions_of_peers(machine),
    )
    baseline.save(baseline.FILE, stored)
    print(f"{len(measured)} ratios of {chosen.runs} runs: {baseline.FILE}")
    print(
        f"apart by more than usual between the runs: {baseline.restless(measured)}; best is an idle machine"
    )
    return 0


def parse(arguments=None):
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
    add("--check", action="store_true", help="say what is slower than the baseline of this kind of machine")
    add("--update-baseline", action="store_true", help="keep the ratios as the baseline")
    add("--busy", action="store_true", help="only two threads against one beside processes that compute")
    add("--runs", type=int, default=5, metavar="N", help="runs for a baseline [%(default)s]")
    add("--child", help=argparse.SUPPRESS)  # the one contest that this process, started by another, is to run
    chosen = parser.parse_args(arguments)
    if chosen.check and chosen.update_baseline:
        parser.error("--check and --update-baseline exclude each other")
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
