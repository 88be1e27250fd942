"""The script of ``make device``, without a GPU: the results that remain if steps fail or it is cut off."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "cuda" / "device_session.sh"
pytestmark = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and shutil.which("bash")), reason="a script for bash on Linux"
)

SANITIZERS = ["memcheck", "racecheck", "synccheck", "initcheck"]
PYTHON = r"""#!/bin/bash
case "$*" in
    *device_calls.py\ warm) echo "3 sources compiled, 0 failed" ;;
    *device_calls.py*)
        echo "pool: WRONG: AssertionError: 1 value is off"
        [[ $TOOL != racecheck ]]; exit ;;
    *-m\ pytest*test_cuda_device.py*)
        echo "FAILED tests/cuda/test_cuda_device.py::test_it - assert"; exit 1 ;;
    *benchmarks/gpu.py\ --rounds*)
        echo "one_box, forward: roicy 12, call 30; torchvision 5, call 15 µs; 0.42 x"
        echo '{"results": [1]}' >"${@: -1}"
        exec sleep 15 ;;
    *import\ xdist | *import\ pytest_timeout) exit 1 ;;
    *) echo "as asked: $*" ;;
esac
"""
SANITIZER = r"""#!/bin/bash
export TOOL=$2
while [[ $1 != */python ]]; do shift; done
exec "$@"
"""


@pytest.fixture
def begin(tmp_path):
    """Start the script with programs that only pretend; it leaves its files in a folder."""
    programs, out = tmp_path / "bin", tmp_path / "out"
    programs.mkdir()
    for name, text in (("python", PYTHON), ("compute-sanitizer", SANITIZER)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def start(limit):
        environment = {
            "PATH": f"{programs}:/usr/bin:/bin",
            "PY": str(programs / "python"),
            "OUT": str(out),
            "LIMIT": str(limit),
            "TMPDIR": str(tmp_path),
        }
        with (tmp_path / "shown").open("w") as shown:
            process = subprocess.Popen(["bash", str(SCRIPT)], env=environment, stdout=shown, stderr=shown)
        return process, out, tmp_path / "shown"

    return start


def steps(out):
    """How each step ended, and what its last words were."""
    lines = (out / "steps").read_text().splitlines()
    return {line[:18].strip(): (line[19:31].strip(), line[40:]) for line in lines}


def test_one_step_after_the_other_whatever_becomes_of_them(begin):
    start = time.monotonic()
    process, out, shown = begin(limit=9)
    process.wait(timeout=60)
    shown = shown.read_text()
    assert time.monotonic() - start < 30
    assert process.returncode == 1
    found = steps(out)
    assert found.pop("about")[0] == "done"
    assert found.pop("build")[0] == "done"
    assert found == {
        "compile": ("done", "3 sources compiled, 0 failed"),
        "memcheck": ("done", "pool: WRONG: AssertionError: 1 value is off"),
        "racecheck": ("failed, 1", "pool: WRONG: AssertionError: 1 value is off"),
        "synccheck": ("done", "pool: WRONG: AssertionError: 1 value is off"),
        "initcheck": ("done", "pool: WRONG: AssertionError: 1 value is off"),
        "device tests": ("failed, 1", "FAILED tests/cuda/test_cuda_device.py::test_it - assert"),
        "bench": ("cut off", "one_box, forward: roicy 12, call 30; torchvision 5, call 15 µs; 0.42 x"),
        "profile": ("left out", found["profile"][1]),
        "tests of backends": ("left out", "no time is left"),
    }
    assert shown.count("pool: WRONG") == 4 + 1 + 4  # as the steps end, once, in the table
    assert "\nFAILED tests/cuda/test_cuda_device.py::test_it - assert\n" in shown
    assert shown.endswith((out / "steps").read_text())
    assert "==== bench: " in (out / "session.log").read_text()
    assert json.loads((out / "bench.json").read_text()) == {"results": [1]}
    assert len(list(out.iterdir())) <= 8  # so many a machine that is lent may give back


def test_what_is_there_when_the_machine_is_taken_away(begin):
    process, out, _ = begin(limit=60)
    try:
        for _ in range(300):
            time.sleep(0.1)
            if (out / "bench.json").exists():
                break
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert set(steps(out)) == {"about", "build", "compile", "device tests", *SANITIZERS}
    assert "one_box, forward: roicy 12" in (out / "session.log").read_text()
    assert json.loads((out / "bench.json").read_text()) == {"results": [1]}


def test_a_new_stay_begins_anew(begin):
    """Nothing of an earlier one is taken for its own."""
    for _ in range(2):
        process, out, _ = begin(limit=1)
        process.wait(timeout=60)
    assert {how for how, _ in steps(out).values()} == {"left out"}
    assert len((out / "steps").read_text().splitlines()) == len(steps(out))
    assert not (out / "bench.json").exists()
    assert os.listdir(out) == ["steps"]
