"""`make bench ARGS=--check`: its verdict on given ratios of times; nothing is timed here."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside the tests")

MACHINE = {
    "processor": "A processor",
    "second-level cache": "512K",
    "cores": 2,
    "versions": {"openvino": "2.0", "numpy": "2.4"},
    "roicy": {"CPU": {"level": "v3"}},
}
OPTIONS = {"threads": 1, "fresh": False, "quick": False, "rounds": 9, "only": None}
FORWARD, POOL, ITSELF = (
    ("forward box", "roicy", "openvino"),
    ("forward pool", "roicy", "openvino"),
    ("itself, NHWC box", "NHWC", "NCHW"),
)


@pytest.fixture
def baseline(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import baseline

    return baseline


def result(name, **seconds):
    return {"name": name, "seconds": seconds}


def kept(**spreads):
    """A baseline's ratios: 0.1 against a peer, 0.8 against itself."""
    return {
        FORWARD: {"ratio": 0.1, "spread": spreads.get("forward", 0.02)},
        ITSELF: {"ratio": 0.8, "spread": spreads.get("itself", 0.02)},
    }


def test_ratios_are_the_subjects_time_over_that_of_the_others(baseline):
    results = [
        result("forward box", roicy=0.02, openvino=0.2, torchvision=0.1),
        result("itself, NHWC box", NHWC=0.03, NCHW=0.02),
        result("forward alone", roicy=0.01),
    ]
    assert baseline.ratios(results) == pytest.approx(
        {FORWARD: 0.1, ("forward box", "roicy", "torchvision"): 0.2, ITSELF: 1.5}
    )


def test_a_summary_is_the_median_and_the_run_that_is_furthest_from_it(baseline):
    runs = [{FORWARD: 0.1, ITSELF: 1.0}, {FORWARD: 0.12}, {FORWARD: 0.08, ITSELF: 1.0}]
    found = baseline.summary(runs)
    assert found[FORWARD] == pytest.approx({"ratio": 0.1, "spread": 0.25})  # 0.1 / 0.08 - 1
    assert found[ITSELF] == {"ratio": 1.0, "spread": 0.0}


@pytest.mark.parametrize(
    "factor, spread, verdict",
    [
        (1.0, 0.0, ""),
        (1.24, 0.0, ""),
        (1.26, 0.0, "slower"),
        (1.26, 0.08, "slower"),
        (1.26, 0.09, ""),
        (1.5, 0.15, "slower"),
        (1.5, 0.2, ""),
        (1 / 1.24, 0.0, ""),
        (1 / 1.26, 0.0, "faster"),
        (1 / 1.26, 0.09, ""),
    ],
)
def test_verdicts(factor, spread, verdict, baseline):
    (change,) = baseline.changes(kept(forward=spread), {FORWARD: 0.1 * factor})
    assert change.factor == pytest.approx(factor)
    assert change.tolerance == pytest.approx(max(0.25, 3 * spread))
    ((*_, said),) = baseline.rows([change])
    assert said == verdict
    assert (change.slower, change.faster) == (verdict == "slower", verdict == "faster")


def test_changes_are_those_of_ratios_that_both_have_worst_first(baseline):
    found = baseline.changes(kept(), {FORWARD: 0.1, ITSELF: 1.2, POOL: 1.0})
    assert [(change.name, change.slower) for change in found] == [
        ("itself, NHWC box", True),
        ("forward box", False),
    ]
    assert next(iter(baseline.rows(found))) == [
        "itself, NHWC box",
        "NHWC / NCHW",
        "0.8",
        "1.2",
        "+50 %",
        "25 %",
        "slower",
    ]


def test_what_was_slow_once_counts_only_if_it_is_so_again(baseline):
    first, second = {FORWARD: 0.2, ITSELF: 0.8}, {FORWARD: 0.11, POOL: 1.0}
    assert baseline.better(first, second) == {FORWARD: 0.11, ITSELF: 0.8}


def test_a_baseline_of_a_busy_machine_says_so(baseline):
    measured = {
        name: {"ratio": 1.0, "spread": spread} for name, spread in zip("abc", (0.0, 0.08, 0.09), strict=True)
    }
    assert baseline.restless(measured) == 1


def test_a_baseline_is_for_one_kind_of_machine_and_run(baseline):
    wanted = baseline.kind(MACHINE, OPTIONS)
    stored = baseline.updated([], wanted, kept(), "2026-01-01", {"openvino": "2.0"})
    assert baseline.find(stored, wanted) is stored[0]
    assert baseline.find(stored, baseline.kind(MACHINE, {**OPTIONS, "rounds": 3, "only": "box"})) is stored[0]
    other_machines = [
        {**MACHINE, "processor": "Another"},
        {**MACHINE, "second-level cache": "1024K"},
        {**MACHINE, "roicy": {"CPU": {"level": "v4"}}},
    ]
    for machine in other_machines:
        assert baseline.find(stored, baseline.kind(machine, OPTIONS)) is None
    for options in ({"threads": 2}, {"fresh": True}, {"quick": True}):
        other = baseline.kind(MACHINE, {**OPTIONS, **options})
        assert baseline.find(stored, other) is None
        said = "\n".join(baseline.missing(stored, other))
        assert baseline.describe(other) in said
        assert baseline.describe(wanted) in said


def test_an_update_replaces_what_was_measured_and_leaves_the_rest(baseline):
    wanted, other = baseline.kind(MACHINE, OPTIONS), baseline.kind(MACHINE, {**OPTIONS, "threads": 2})
    stored = baseline.updated([], other, kept(), "2026-01-01", {})
    stored = baseline.updated(stored, wanted, kept(), "2026-01-01", {"openvino": "2.0"})
    measured = {FORWARD: {"ratio": 0.123456, "spread": 0.1}, POOL: {"ratio": 0.5, "spread": 0.0}}
    stored = baseline.updated(stored, wanted, measured, "2026-02-02", {"openvino": "2.1"})
    assert [it["kind"] for it in stored] == [other, wanted]
    entries = baseline.kept(stored[1])
    assert list(entries) == [FORWARD, ITSELF, POOL]
    assert entries[FORWARD]["ratio"] == 0.123
    assert [entries[key]["date"] for key in entries] == ["2026-02-02", "2026-01-01", "2026-02-02"]
    assert [entries[key]["version"] for key in entries] == ["2.1", "", "2.1"]
    assert baseline.kept(stored[0])[FORWARD]["ratio"] == 0.1


def test_the_file(baseline, tmp_path):
    path = tmp_path / "baseline.json"
    assert baseline.load(path) == []
    stored = baseline.updated([], baseline.kind(MACHINE, OPTIONS), kept(), "2026-01-01", {})
    stored = baseline.updated(
        stored, baseline.kind(MACHINE, {**OPTIONS, "fresh": True}), kept(), "2026-01-01", {}
    )
    baseline.save(path, stored)
    assert baseline.load(path) == stored
    assert sum("spread" in line for line in path.read_text().splitlines()) == 4


def test_remarks(baseline):
    stored = baseline.updated([], baseline.kind(MACHINE, OPTIONS), kept(), "2026-01-01", {"openvino": "2.0"})
    entries, now = baseline.kept(stored[0]), {FORWARD: 0.2, POOL: 1.0}
    changes = baseline.changes(entries, now)
    counts, new, version, slower = baseline.remarks(changes, entries, now, {"openvino": "2.1"})
    assert counts.startswith("1 of the 2 ratios of the baseline compared: 1 slower, 0 faster")
    assert new == "not in the baseline: 1 ratio"
    assert version.startswith("openvino was 2.0 and is 2.1")
    assert slower.startswith("slower: forward box, roicy against openvino: 2.00 times what it was")
    assert len(list(baseline.remarks([], entries, {}, {"openvino": "2.0"}))) == 1


def test_the_stored_baseline_can_be_read(baseline):
    for stored in baseline.load(baseline.FILE):
        assert set(stored["kind"]) == {*baseline.MACHINE, *baseline.CONDITIONS}
        for entry in baseline.kept(stored).values():
            assert entry["ratio"] > 0
            assert entry["spread"] >= 0


# ---------------------------------------------------------------- the command


@pytest.fixture
def compare(monkeypatch, tmp_path, baseline):
    """The module that is the command, with runs that only pretend: each takes the next of `runs`."""
    pytest.importorskip("rich", reason="the tables of the benchmarks need rich")
    pytest.importorskip("matplotlib", reason="the chart of the benchmarks needs matplotlib")
    import compare

    compare.runs, compare.raced = [], []

    def run_all(entries, rounds):
        compare.raced.append([contest.name for contest in entries])
        seconds = compare.runs.pop(0)
        return [
            {
                "name": contest.name,
                "kind": contest.kind,
                "workload": contest.workload.name,
                "remark": "",
                "seconds": {"roicy": seconds, "openvino": 1.0},
                "differences": {"openvino": 0.0},
                "instead": {},
                "missing": [],
            }
            for contest in entries
        ]

    monkeypatch.setattr(compare, "run_all", run_all)
    monkeypatch.setattr(compare.report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(compare.baseline, "FILE", tmp_path / "baseline.json")

    def command(*arguments, runs):
        compare.runs[:], compare.raced[:] = runs, []
        monkeypatch.setattr("sys.argv", ["compare.py", "--only", "one_box", "--forward", *arguments])
        return compare.main()

    return command, compare


def test_the_command_keeps_a_baseline_and_finds_what_is_slower(compare, capsys):
    command, module = compare
    assert command("--check", runs=[]) == 2
    assert "no baseline for this kind of machine" in capsys.readouterr().out
    assert command("--update-baseline", "--runs", "3", runs=[0.1, 0.101, 0.102]) == 0
    stored = json.loads(module.baseline.FILE.read_text())
    assert [(entry["ratio"], entry["spread"]) for entry in stored[0]["ratios"]] == [(0.101, 0.01)]

    assert command("--check", runs=[0.12]) == 0
    assert "0 slower" in capsys.readouterr().out
    assert command("--check", runs=[0.15, 0.12]) == 0  # by chance
    assert module.raced == [["forward one_box"]] * 2
    assert command("--check", runs=[0.15, 0.16]) == 1
    assert "slower: forward one_box, roicy against openvino: 1.49 times" in capsys.readouterr().out
    assert command("--check", "--threads", "2", runs=[]) == 2
    assert json.loads(module.baseline.FILE.read_text()) == stored


def test_a_check_still_fails_where_results_differ(compare, monkeypatch):
    command, module = compare
    command("--update-baseline", "--runs", "1", runs=[0.1])
    before = module.baseline.FILE.read_text()
    monkeypatch.setattr(module.report, "TOLERANCE", -1)
    assert command("--check", runs=[0.1]) == 1
    assert command("--update-baseline", "--runs", "1", runs=[0.3]) == 1
    assert module.baseline.FILE.read_text() == before


def test_check_and_update_exclude_each_other(compare, capsys):
    command, _ = compare
    with pytest.raises(SystemExit):
        command("--check", "--update-baseline", runs=[])
    assert "exclude each other" in capsys.readouterr().err


# ---------------------------------------------------------------- beside busy processes


@pytest.mark.thread_unsafe(reason="starts processes")
def test_two_threads_beside_busy_processes(capfd, monkeypatch):
    """A race of tiny calls for a moment; what comes of it is the machine's business."""
    pytest.importorskip("rich", reason="the tables of the benchmarks need rich")
    pytest.importorskip("matplotlib", reason="the chart of the benchmarks needs matplotlib")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import busy
    import compare

    monkeypatch.setattr(busy, "find_spec", lambda name: None)
    monkeypatch.setattr(
        sys, "argv", ["compare.py", "--busy", "--quick", "--rounds", "1", "--only", "pool_7x7"]
    )
    assert compare.main() in (0, 1)
    said = capfd.readouterr().out
    assert all(f"{name} pool_7x7, small" in said for name in ("forward", "backward"))
    assert all(f"beside {count}, nice {nice}" in said for count, nice in busy.OTHERS if count)
