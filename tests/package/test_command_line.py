"""The command line: what it prints, on wide and narrow terminals, and how it ends where it cannot go on."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import roicy
from roicy import _cli, cpu
from roicy._cli import bench, calls, phases, race, terminal
from roicy._cli.workloads import select

ROOT = Path(__file__).parents[2]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def on_terminal(monkeypatch):
    """Standard output is a terminal of so many columns; returned is what it shows."""

    def of(columns):
        shown = Terminal()
        monkeypatch.setattr(sys, "stdout", shown)
        monkeypatch.setenv("COLUMNS", str(columns))
        return shown

    return of


@pytest.fixture
def timed(monkeypatch):
    """Workloads take no time; one may be where somebody presses Ctrl-C."""
    interrupted = set()

    def race(contestants, make_inputs, rounds):
        if make_inputs.args[0].name in interrupted:
            raise KeyboardInterrupt
        return dict.fromkeys(contestants, 0.0123)

    monkeypatch.setattr(bench, "race", race)
    return interrupted


def test_version(capsys):
    with pytest.raises(SystemExit) as done:
        _cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"roicy {roicy.__version__}\n"


def test_info_for_programs(capsys):
    assert _cli.main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == roicy.show_config("dicts")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_the_bench_fits_the_terminal(columns, on_terminal, timed):
    shown = on_terminal(columns)
    assert _cli.main(["bench"]) == 0
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    assert sum("12.300" in line for line in lines) >= 16
    assert any(line.split() == ["box_7x7_adaptive", *["12.300"] * 3] for line in lines) == (columns > 40)


@pytest.mark.parametrize("columns", [40, 80])
def test_the_bench_keeps_what_it_has(columns, on_terminal, timed):
    """And shows it as it comes."""
    timed.add("pool_7x7")
    shown = on_terminal(columns)
    assert _cli.main(["bench", "--only", "one_box,pool_7x7,rmac"]) == 130
    printed = shown.getvalue()
    assert printed.index("one_box") < printed.index("12.300") < printed.index("pool_7x7")
    assert "interrupted: 1 of 3 workloads" in printed
    assert max(map(len, printed.splitlines())) < columns


class TellingKernels:
    """What kernels of a build that tells phases have, without their kernels."""

    def __init__(self):
        self.asked = time.perf_counter()

    def phases(self):
        since, self.asked = self.asked, time.perf_counter()
        elapsed = self.asked - since
        return [0.5 * elapsed, 0.25 * elapsed, 0, 0, 0, 0.25 * elapsed]

    def peak(self, rounds):
        return rounds


def test_the_parts_of_a_call_are_all_of_it(monkeypatch, capsys):
    kernels = TellingKernels()
    monkeypatch.setattr(phases, "_kernels", lambda: kernels)
    functions = {name: getattr(cpu, name) for name in cpu.__all__}
    assert _cli.main(["bench", "--phases", "--only", "one_box,pyramid_7x7_sr2", "--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if " forward " in line or " backward " in line]
    assert len(rows) == 4
    for _, _, *numbers in rows:
        _, _, call, *parts = map(float, numbers)
        assert sum(parts) == pytest.approx(call, abs=0.05)
        assert parts[0] > 0 and parts[2] == pytest.approx(call / 4, abs=0.02)
    assert functions == {name: getattr(cpu, name) for name in cpu.__all__}


@pytest.mark.skipif(os.environ.get("ROICY_BUILD") == "phases", reason="of builds that do not tell")
def test_a_release_tells_no_phases(capsys):
    assert _cli.main(["bench", "--phases", "--only", "one_box"]) == 1
    assert "ROICY_BUILD=phases" in capsys.readouterr().out


def test_phases_of_several_threads_are_an_error(capsys):
    with pytest.raises(SystemExit) as ended:
        _cli.main(["bench", "--phases", "--only", "one_box", "--threads", "2"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("roicy bench: argument --phases: ") and "--threads 2" in error


@pytest.mark.skipif(os.environ.get("ROICY_BUILD") != "phases", reason="for ROICY_BUILD=phases")
def test_kernels_tell_their_phases(monkeypatch):
    workload = next(iter(select(["pyramid_7x7_sr2"])))
    rng = np.random.default_rng(1)
    for make in calls.passes(workload).values():
        call = make(workload)(workload.features(rng), workload.boxes(rng), workload.grad_output(rng))
        parts = phases.timed_parts(call, 1)
        assert all(parts[name] > 0 for name in ("arguments", "tables", "load", "rows", "columns"))


def test_a_slow_first_call_is_no_slow_contestant(monkeypatch):
    """It may be the one that new memory was mapped for."""
    now, calls_of = [0.0], {"new": 0, "slow": 0}
    monkeypatch.setattr(race.time, "perf_counter", lambda: now[0])

    def contestant(name, first, others):
        def call():
            now[0] += others if calls_of[name] else first
            calls_of[name] += 1

        return lambda *_: call

    contestants = {"new": contestant("new", 0.6, 0.01), "slow": contestant("slow", 2, 2)}
    medians = race.race(contestants, lambda number: (), 9)
    assert medians == {"new": pytest.approx(0.01), "slow": pytest.approx(2)}
    assert calls_of == {"new": 11, "slow": 4}


def test_calls_of_passes_are_as_many(monkeypatch):
    """Else a short pass is timed with its arrays in the caches, and a long one is not."""
    now, calls_of = [0.0], {"forward": 0, "backward": 0}
    monkeypatch.setattr(race.time, "perf_counter", lambda: now[0])

    def contestant(name, first, others):
        def prepare():
            new = [True]

            def call():
                now[0] += first if new.pop() else others
                new.append(False)
                calls_of[name] += 1

            return call

        return prepare

    contestants = {
        "forward": contestant("forward", 0.002, 0.001),
        "backward": contestant("backward", 0.006, 0.003),
    }
    medians = race.race(contestants, lambda number: (), 9, alike=True)
    assert medians["backward"] / medians["forward"] == pytest.approx(3)
    assert calls_of["forward"] == calls_of["backward"] == 2 + 9 * 5
    medians = race.race(contestants, lambda number: (), 9)
    assert medians["backward"] / medians["forward"] > 3.5


def test_a_row_is_begun_before_it_is_known(capsys):
    lines = terminal.Lines(["call", ">ms"], [9, 6])
    lines.begin("align")
    assert "align" in capsys.readouterr().out
    lines.end(["1.5"])
    assert capsys.readouterr().out.strip() == "1.5"


def test_tables_fit_a_narrow_terminal(on_terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    shown = on_terminal(40)
    terminal.print_table("times", ["call", "features", ">best"], [["a" * 30, "b" * 24, "1 ms"]])
    assert max(map(len, shown.getvalue().splitlines())) <= 40
    assert "1 ms" in shown.getvalue()


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["bench", "--threads", "x"], "--threads: expected a whole number of at least 1, got 'x'"),
        (["bench", "--threads", "100000"], "--threads: expected fewer threads, got 100000"),
        (["bench", "--rounds", "0"], "--rounds: expected a whole number of at least 1, got '0'"),
        (["bench", "--only", "boxes"], "--only: no workload is called 'boxes'"),
        (["pool"], "pool"),
        ([], "command"),
    ],
    ids=str,
)
def test_mistakes_end_in_one_line(arguments, says, capsys):
    with pytest.raises(SystemExit) as done:
        _cli.main(arguments)
    assert done.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_folder_that_pictures_cannot_go_to(tmp_path, capsys):
    for module in ("matplotlib", "skimage", "PIL"):
        pytest.importorskip(module)
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "pictures"):
        assert _cli.main(["demo", "--output", str(folder)]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert str(folder) in printed.err
        assert printed.err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed otherwise")
@pytest.mark.parametrize("arguments", [["info"], ["bench", "--only", "one_box", "--rounds", "1"]], ids=str)
def test_a_reader_that_has_enough(arguments):
    """`roicy info | head -0`: nothing is said about the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "roicy", *arguments], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no disk that is full")
@pytest.mark.parametrize("arguments", [["info"], ["bench", "--only", "one_box", "--rounds", "1"]], ids=str)
def test_nowhere_to_write(arguments):
    """`roicy info > /dev/full` ends in one line, `roicy info >&-` says nothing."""
    command = [sys.executable, "-m", "roicy", *arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("roicy: ")
    assert done.stderr.count("\n") == 1
    closed = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", closed, *command[1:]], stderr=subprocess.PIPE, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "seconds, words",
    [
        (3.21e-5, "32.1 µs"),
        (9.999e-4, "1.00 ms"),
        (0.0010416, "1.04 ms"),
        (0.234, "234 ms"),
        (12.3456, "12.3 s"),
    ],
)
def test_durations_of_the_demo_read(seconds, words):
    pytest.importorskip("matplotlib")
    pytest.importorskip("skimage")
    from roicy._cli.demo import stopwatch

    assert stopwatch.in_words(seconds) == words


# ---------------------------------------------------------------- make


@pytest.fixture
def make(tmp_path):
    """Run a target of the Makefile in a folder that holds nothing else."""
    if not (ROOT / "Makefile").is_file() or shutil.which("make") is None:
        pytest.skip("there is no Makefile, or no make")
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "src").mkdir()
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}

    def run(*arguments, **environment):
        done = subprocess.run(
            ["make", *arguments],
            cwd=tmp_path,
            env=alone | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert not list(tmp_path.glob(".venv*")), "something was made"
        assert done.stdout == ""
        said, *rest = done.stderr.splitlines()
        assert all(line.startswith("make") for line in rest)
        return said

    return run


def test_make_says_which_python_it_takes(make, tmp_path):
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\ncase "$1" in --version) echo Python 3.10.12;; *) exit 1;; esac\n')
    old.chmod(0o755)
    assert make("demo", f"PYTHON={old}").startswith("roicy needs Python 3.11 or later")
    assert "no-such-python" in make("test", "PYTHON=no-such-python")


def test_make_says_that_there_is_no_compiler(make):
    said = make("demo", f"PYTHON={sys.executable}", CC="no-such-compiler -m64")
    assert said.startswith("roicy is compiled, and no no-such-compiler is found")


def test_an_install_says_that_there_is_no_compiler(tmp_path):
    if not (ROOT / "setup.py").is_file():
        pytest.skip("the sources are not beside the tests")
    pytest.importorskip("Cython")
    build = ["build_ext", "--build-temp", tmp_path / "temp", "--build-lib", tmp_path / "lib"]
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", *build],
        cwd=ROOT,
        env=os.environ | {"CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("roicy is compiled, and no no-such-compiler is found")
