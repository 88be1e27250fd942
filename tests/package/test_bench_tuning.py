"""The race of numbers of tuning.py as far as it goes without a GPU: on arrays that stand in for CuPy's."""

import copy
import json
import shutil
from pathlib import Path

import pytest
from cuda_host import arrays

from roicy import cuda
from roicy.cuda import state
from roicy.cuda.tuning import CONSTANTS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside the tests")


@pytest.fixture
def tuning(monkeypatch):
    """The module that is the command."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_tuning

    return gpu_tuning


def test_variants(tuning):
    both = tuning.variants("axis_forward.WARPS=2,8+axis_forward.RESIDENT=14,3")
    assert both == [
        (("axis_forward", "WARPS", 2), ("axis_forward", "RESIDENT", 14)),
        (("axis_forward", "WARPS", 8), ("axis_forward", "RESIDENT", 3)),
    ]
    assert tuning.title(both[0]) == "axis_forward.WARPS=2 axis_forward.RESIDENT=14"
    assert all(tuning.variants(text) for text in tuning.PROPOSED)


@pytest.mark.parametrize(
    "text, words",
    [
        ("axis_forward.WARP=2", "no number"),
        ("axis.forward.WARPS=2", "no number"),
        ("axis_forward.WARPS=", "whole numbers"),
        ("axis_forward.WARPS=2,-1", "whole numbers"),
        ("axis_forward.WARPS=2,4+axis.WARPS=2", "as many values"),
    ],
)
def test_wrong_variants(tuning, text, words, capsys):
    with pytest.raises(SystemExit):
        tuning.main([text])
    assert words in capsys.readouterr().err


def test_without_a_device(tuning, monkeypatch, capsys):
    monkeypatch.setattr(
        state, "find", lambda: state.State(state.NO_DEVICE, "There is none, and this is why.")
    )
    assert tuning.main([]) == 2
    assert "this is why" in capsys.readouterr().err


def test_a_trial_run(tuning, tmp_path, capsys):
    output = tmp_path / "tuning.json"
    arguments = ["axis_forward.WARPS=2", "--only", "one_box", "--rounds", "1", "--sets", "1"]
    assert tuning.main([*arguments, "--dry", "--output", str(output)]) == 0
    assert "one_box, backward, axis_forward.WARPS=2: " in capsys.readouterr().out
    assert {result["pass"] for result in json.loads(output.read_text())["results"]} >= {"forward", "backward"}
    assert tuning.main([*arguments, "--dry", "--output", str(output), "--seconds", "1e-9"]) == 0
    assert "no time was left for: one_box, forward" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_a_race(tuning, monkeypatch, tmp_path, capsys):
    """Variants run where their source is launched; what fails is told, and the rest runs."""
    cupy, present, every = arrays.install(monkeypatch), copy.deepcopy(CONSTANTS), cuda.kernels
    started = []

    class Clock(tuning.Cpu):
        xp = cupy

        def times(self, calls):
            if CONSTANTS["axis_forward"]["ROOM"] == 63:
                raise RuntimeError("too large")
            started.append(CONSTANTS["axis_forward"]["WARPS"])
            return super().times(calls)

        def to_host(self, array):
            return cupy.asnumpy(array)

    monkeypatch.setattr(tuning, "Gpu", Clock)
    monkeypatch.setattr(state, "find", lambda: state.State(state.READY))
    output = tmp_path / "tuning.json"
    wanted = [
        "axis_forward.WARPS=4",
        "axis_forward.ROOM=63",
        "range_backward.WARPS=2",
        "--passes",
        "forward",
    ]
    arguments = ["--only", "one_box", "--rounds", "2", "--sets", "1", "--output", str(output)]
    assert tuning.main([*wanted, *arguments]) == 1
    assert sorted(started) == [2, 2, 4, 4]
    first, second = json.loads(output.read_text())["results"]
    assert first["variant"] == "axis_forward.WARPS=4"
    assert first["same"]
    assert second["variant"] == "axis_forward.ROOM=63"
    assert second["error"] == "RuntimeError: too large"
    assert present == CONSTANTS
    assert cuda.kernels is every
    assert ", other bits" not in capsys.readouterr().out
