"""Make calls of the public functions, good and hostile ones, for as long as one likes: `make fuzz`.

Each round runs in a process of its own, which writes every call down before it makes it: one that ends or
hangs the process is known, too. Calls that fail are added to `seeds.jsonl`, the shortest of each kind;
`test_fuzz.py` makes these again in every run of the tests.
"""

import argparse
import collections
import faulthandler
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

MEMORY = 16 << 30  # bytes of addresses for a round: a result that is too large is an error at once
SECONDS_OF_A_CALL = 60


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2, help="how long to go on (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=2000, help="calls in a round (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="of the first round (default: any)")
    parser.add_argument("--round", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.round:
        play(arguments.seed, arguments.calls, arguments.round)
    else:
        sys.exit(bool(go_on(arguments)))


def go_on(arguments):
    """Play round after round, tell about each, keep what failed and return it."""
    seed = random.randrange(10**6) if arguments.seed is None else arguments.seed
    end = time.monotonic() + 60 * arguments.minutes
    outcomes, failures = collections.Counter(), {}
    while True:
        begin = time.monotonic()
        found = round_of(seed, arguments.calls)
        outcomes.update(found["outcomes"])
        new = {kind: failure for kind, failure in found["failures"].items() if kind not in failures}
        failures |= new
        seconds, calls = time.monotonic() - begin, sum(found["outcomes"].values())
        print(f"seed {seed}: {calls} calls in {seconds:.0f} s, {len(new)} new failures", flush=True)
        for failure in new.values():
            print(f"{failure['error']}\n  {json.dumps(failure['description'])}", flush=True)
            keep(failure["description"])
        if time.monotonic() >= end:
            break
        seed += 1
    tell(outcomes)
    return failures


def round_of(seed, calls):
    """Outcomes and failures of a round in another process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "fuzz", "--seed", seed, "--calls", calls, "--round", folder]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        current, result = Path(folder, "current.json"), Path(folder, "result.json")
        if result.exists():
            return json.loads(result.read_text())
        if not current.exists() or not current.stat().st_size:
            raise SystemExit(done.stderr)
        error = f"the process ended with status {done.returncode}\n{done.stderr}"
        description = json.loads(current.read_text())
        failure = {"error": error, "description": description}
        return {"outcomes": {}, "failures": {f"end {description['function']}": failure}}


def play(seed, calls, folder):
    """One round: make calls, and leave the outcomes and the failures in a folder."""
    import hypothesis

    import roicy
    from fuzz.draws import calls as descriptions
    from fuzz.test_fuzz import check

    faulthandler.enable()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=roicy.RoisWarning)  # random boxes look like anything
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    outcomes, failures = collections.Counter(), {}
    current = os.open(folder / "current.json", os.O_RDWR | os.O_CREAT)

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=calls,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(descriptions())
    def one(description):
        text = json.dumps(description)
        os.pwrite(current, text.encode(), 0)
        os.ftruncate(current, len(text))
        faulthandler.dump_traceback_later(SECONDS_OF_A_CALL, exit=True)
        try:
            outcome = check(description)
        except Exception as error:
            outcome = "failure"
            frames = traceback.extract_tb(error.__traceback__)
            kind = f"{type(error).__name__} {[(Path(f.filename).name, f.lineno) for f in frames[-2:]]}"
            known = failures.get(kind)
            if known is None or len(text) < len(json.dumps(known["description"])):
                lines = traceback.format_exception(error, limit=-4)
                failures[kind] = {"error": "".join(lines), "description": description}
        faulthandler.cancel_dump_traceback_later()
        outcomes[f"{description['function']}: {outcome}"] += 1

    one()
    (folder / "result.json").write_text(json.dumps({"outcomes": outcomes, "failures": failures}))


def keep(description):
    """Add a call to those that the tests make."""
    from fuzz.calls import SEEDS

    with SEEDS.open("a") as file:
        file.write(json.dumps(description) + "\n")


def tell(outcomes):
    """Print how many calls of each function there were, and what came of them."""
    table = collections.defaultdict(collections.Counter)
    for key, count in outcomes.items():
        function, _, outcome = key.partition(": ")
        table[function][outcome] += count
    print(f"{sum(outcomes.values())} calls:")
    for function, counts in sorted(table.items()):
        print(f"  {function:34}" + ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))


if __name__ == "__main__":
    main()
