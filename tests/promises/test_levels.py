"""CPU levels: what each computes, and how one is chosen."""

import time
from concurrent.futures import ThreadPoolExecutor

import battery
import numpy as np
import pytest
import reference.average
import reference.maxima
import reference.rotated
from closeness import assert_close
from operators import BATTERY
from strategies import Problem

import roicy
from roicy.cpu import selection

# Computes the battery in a process of its own, where another level can be chosen.
COMPUTE = """
import sys
import numpy as np
import battery, roicy
from promises import test_levels

assert roicy.cpu.level() == sys.argv[1], roicy.cpu.level()
calls = test_levels.calls()
np.savez(sys.argv[2], *[call(case) for call, case in calls])
"""

ALL_LEVELS = ("baseline", "v3", "v4")


def calls():
    """The battery: all cases of most operators, a selection for those whose reference is slow."""
    return [(call, case) for operator, case in BATTERY for call in battery.functions(operator)]


@pytest.mark.parametrize("level", ALL_LEVELS)
def test_each_level_matches_the_reference(level, cpu_levels, run_python, tmp_path):
    if level not in cpu_levels:
        pytest.skip(f"not available here: {level}")
    path = tmp_path / "results.npz"
    run_python(COMPUTE, level, path, ROICY_CPU_LEVEL=level)
    with np.load(path) as results:
        for index, (call, case) in enumerate(calls()):
            battery.check(*call.args, case, call.func.__name__, results[f"arr_{index}"])


SHOW_LEVEL = "import roicy; print(roicy.cpu.level())"


def test_the_best_level_is_the_default(cpu_levels, run_python):
    assert cpu_levels == tuple(level for level in ALL_LEVELS if level in cpu_levels)
    assert cpu_levels[0] == "baseline"
    assert run_python(SHOW_LEVEL, ROICY_CPU_LEVEL="").strip() == cpu_levels[-1]


def test_the_level_is_shown(cpu_levels, run_python):
    for level in cpu_levels:
        shown = run_python("import roicy; roicy.show_config()", ROICY_CPU_LEVEL=level)
        assert level in shown


@pytest.mark.parametrize("level", ["v9", "avx2", "V3", "baseline ", "0"])
def test_an_unknown_level_is_an_error(level, run_python):
    done = run_python(SHOW_LEVEL, ROICY_CPU_LEVEL=level, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(("RuntimeError", "ImportError"))
    assert "ROICY_CPU_LEVEL" in last
    assert level in last
    for known in ("baseline", "v3"):
        assert known in last


def test_a_level_that_is_not_available_is_an_error(cpu_levels, run_python):
    missing = [level for level in ALL_LEVELS if level not in cpu_levels]
    if not missing:
        pytest.skip("this machine has all levels")
    done = run_python(SHOW_LEVEL, ROICY_CPU_LEVEL=missing[-1], check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ROICY_CPU_LEVEL" in last
    assert missing[-1] in last


def border_problems():
    """Boxes whose middle lies on the very border of the map, as far as rounding allows.

    Bins and samples are odd in number, so that one sample lies in the middle of the box: on the map or off
    it, which the last bit of its position decides.
    """
    for dtype in (np.float32, np.float64):
        for aligned in (True, False):
            for ratio in (1, 3):
                rng = np.random.default_rng(5)
                scale = rng.uniform(0.1, 2)
                middle = rng.choice([-1, 10], (100, 2)) + (0.5 if aligned else 0.0)
                half = rng.uniform(0.6, 6, (100, 2))
                rois = np.column_stack([np.zeros(100), (middle - half) / scale, (middle + half) / scale])
                options = {"spatial_scale": scale, "aligned": aligned, "sampling_ratio": ratio}
                yield Problem(np.ones((1, 1, 10, 10), dtype), rois.astype(dtype), (7, 7), options)


def turned_border_problems():
    """Rotated boxes of one sample, or of some around one, in the same place; and bins that end on pixels."""
    for problem in border_problems():
        rois, real = problem.rois, problem.rois.dtype.type
        angle = np.random.default_rng(7).choice([0, 30, 45, 90, 180, 211.5], len(rois))
        middle, size = (rois[:, 1:3] + rois[:, 3:]) / real(2), rois[:, 3:] - rois[:, 1:3]
        yield problem._replace(rois=np.column_stack([rois[:, 0], middle, size, angle]).astype(real))


POOL_AT_THE_BORDER = """
import sys
import numpy as np
import roicy
from roicy.cpu import selection
from promises import test_levels

assert roicy.cpu.level() == sys.argv[1]
found = [roicy.roi_align(*p[:3], **p.options) for p in test_levels.border_problems()]
found += [roicy.roi_align(*p[:3], mode="max", **p.options) for p in test_levels.border_problems()]
found += [roicy.roi_align_rotated(*p[:3], **p.options) for p in test_levels.turned_border_problems()]
np.savez(sys.argv[2], *found)
"""


def test_levels_agree_on_geometry(cpu_levels, run_python, tmp_path):
    """With fused multiply-adds in the positions of one level, samples would be in there, out here."""
    expected = [reference.average.roi_align(*p[:3], **p.options) for p in border_problems()]
    expected += [reference.maxima.roi_align_max(*p[:3], **p.options)[0] for p in border_problems()]
    expected += [reference.rotated.roi_align_rotated(*p[:3], **p.options) for p in turned_border_problems()]
    for level in cpu_levels:
        path = tmp_path / f"{level}.npz"
        run_python(POOL_AT_THE_BORDER, level, path, ROICY_CPU_LEVEL=level)
        with np.load(path) as results:
            for index, wanted in enumerate(expected):
                assert_close(results[f"arr_{index}"], wanted)


def test_the_level_in_use_is_one_of_those_available(cpu_levels):
    assert roicy.cpu.level() in cpu_levels


def test_one_thread_loads_the_kernels(monkeypatch):
    """Others wait: what another one is loading has no functions yet."""
    loading, most = [], []
    make = selection.module_from_spec

    def slowly(spec):
        loading.append(spec)
        time.sleep(0.02)
        most.append(len(loading))
        module = make(spec)
        loading.pop()
        return module

    monkeypatch.setattr(selection, "module_from_spec", slowly)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: selection.load("f32", roicy.cpu.level()), range(4)))
    assert most == [1] * 4
    assert all(module.axis_forward is found[0].axis_forward for module in found)
