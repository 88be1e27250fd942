"""The benchmark on GPUs as far as it goes without one: bytes, statistics, table, a trial run on the CPU."""

import dataclasses
import importlib
import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from reference.samples import places, samples

import roicy
from roicy._cli.workloads import Workload
from roicy.cuda import state

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside the tests")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """The module that is the command; it writes to a folder of the test's."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu

    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "results")
    return gpu


def workload(operator="roi_align", **changes):
    fields = {
        "input_shape": (2, 3, 20, 30),
        "rois": 1,
        "output_size": 2,
        "sampling_ratio": 1,
        "side": (4.0, 8.0),
    }
    return Workload("w", "", operator, **{**fields, **changes})


# ---------------------------------------------------------------- bytes


def rows(*values):
    return np.array(values, np.float32)


def test_pixels_that_samples_touch(gpu):
    """A box from 4 to 12 in two bins of one sample: samples at 5.5 and 9.5, each between two pixels."""
    from roicy._cli.traffic import touched_pixels

    assert touched_pixels(workload(), rows([0, 4, 4, 12, 12])) == 4 * 4
    assert touched_pixels(workload(), rows([0, 4, 4, 12, 12], [0, 4, 4, 12, 12])) == 16
    assert touched_pixels(workload(), rows([0, 4, 4, 12, 12], [1, 4, 4, 12, 12])) == 32
    adaptive = workload(sampling_ratio=0)  # four samples a bin and axis, at 4, 5 ... 11
    assert touched_pixels(adaptive, rows([0, 4, 4, 12, 12])) == 9 * 9


def test_pixels_at_the_border(gpu):
    from roicy._cli.traffic import touched_pixels

    assert touched_pixels(workload(), rows([0, 26, 16, 30, 20])) == 4 * 4
    assert touched_pixels(workload(operator="roi_pool"), rows([0, 28, 18, 40, 40])) == 2 * 2


def test_pixels_of_bins_that_have_maps_of_their_own(gpu):
    """Four bins of 2 x 2 pixels each; of whole pixels 4 to 12, each of 5 x 5, some of them shared."""
    from roicy._cli.traffic import least_bytes, touched_pixels

    box = rows([0, 4, 4, 12, 12])
    align = workload(operator="ps_roi_align", input_shape=(2, 12, 20, 30))
    assert touched_pixels(align, box) == 4 * 2 * 2
    pool = workload(operator="ps_roi_pool", input_shape=(2, 12, 20, 30))
    assert touched_pixels(pool, box) == 4 * 5 * 5
    assert least_bytes(align, "forward", box) == box.nbytes + 16 * 3 * 4 + 3 * 2 * 2 * 4


def test_pixels_of_a_pyramid(gpu):
    """A box on each map, at 4.5 to 12.5 and at 0.5 to 15.5, which reaches beyond the ten rows of that."""
    from roicy._cli.traffic import least_bytes, touched_pixels

    pyramid = workload(operator="multi_scale_roi_align", levels=2)
    boxes = rows([0, 18, 18, 50, 50], [1, 4, 4, 124, 124])
    assert touched_pixels(pyramid, boxes[:1]) == 4 * 4
    assert touched_pixels(pyramid, boxes) == 4 * 4 + 3 * 4
    out, maps = 3 * 2 * 2 * 4, 2 * 3 * (20 * 30 + 10 * 15) * 4
    assert least_bytes(pyramid, "backward", boxes[:1]) == boxes[:1].nbytes + out + maps


def test_maps_of_a_pyramid_are_parts_of_one_row():
    pyramid = workload(operator="multi_scale_roi_align", levels=3)
    features = pyramid.features(np.random.default_rng(0))
    maps = pyramid.maps(features)
    assert [each.shape for each in maps] == [(2, 3, 20, 30), (2, 3, 10, 15), (2, 3, 5, 7)]
    np.testing.assert_array_equal(np.concatenate([each.ravel() for each in maps]), features)


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
def test_rotated_boxes_at_right_angles_touch_as_many_as_upright_ones(gpu, angle):
    from roicy._cli.traffic import touched_pixels

    upright = touched_pixels(workload(), rows([0, 4, 4, 12, 12]))
    rotated = workload(operator="roi_align_rotated")
    assert touched_pixels(rotated, rows([0, 8, 8, 8, 8, angle + 1e-4])) == upright


@pytest.mark.parametrize("output_size", [2, (2, 4)], ids=str)
@pytest.mark.parametrize(
    "operator, box",
    [("roi_align_rotated", [0, 12, 12, 4, 4, 0]), ("deform_roi_pool", [0, 10, 10, 14, 14])],
    ids=["rotated", "deform"],
)
def test_sums_of_the_pixels_of_bins(operator, box, output_size):
    """Bins of one sample each, between four pixels, wherever the box lies and however many a row has."""
    from roicy._cli.traffic import multiply_adds

    bins = workload(operator=operator, output_size=output_size)
    channels_and_bins = 3 * math.prod(bins.bins)
    assert multiply_adds(bins, "forward", rows(box)) == 4 * channels_and_bins
    assert multiply_adds(bins, "box gradient", rows(box)) == 3 * 4 * channels_and_bins


def test_bytes_of_passes(gpu):
    from roicy._cli.traffic import least_bytes

    boxes, touched, maps, out = rows([0, 4, 4, 12, 12]), 16 * 3 * 4, 2 * 3 * 20 * 30 * 4, 3 * 2 * 2 * 4
    align, pool = workload(), workload(operator="roi_pool")
    assert least_bytes(align, "forward", boxes) == boxes.nbytes + touched + out
    assert least_bytes(align, "backward", boxes) == boxes.nbytes + out + maps
    assert least_bytes(align, "box gradient", boxes) == 2 * boxes.nbytes + out + touched
    pooled = 9 * 9 * 3 * 4
    assert least_bytes(pool, "with argmax", boxes) == boxes.nbytes + pooled + 2 * out
    assert least_bytes(pool, "backward", boxes) == boxes.nbytes + 2 * out + maps
    vectors = workload(operator="rmac", rois=0)
    assert least_bytes(vectors, "forward", None) == maps + 2 * 3 * 4
    assert least_bytes(vectors, "backward", None) == 2 * maps + 2 * 3 * 4


# ---------------------------------------------------------------- times


class Planned:
    """A clock whose calls take what they return."""

    copied = 1000
    xp = np

    def __init__(self):
        self.turns = []

    def times(self, calls):
        seconds = [call() or 0.5 for call in calls]
        self.turns.append(seconds[0])
        return seconds

    def copy(self, target, source):
        np.copyto(target, source)


def test_medians_and_turns(gpu):
    clock = Planned()
    calls = {
        "roicy": [lambda: 1.0, lambda: 3.0, lambda: 8.0],
        "other": [lambda: 2.0, lambda: 2.0, lambda: 9.0],
    }
    assert gpu.race(clock, calls, 4) == {"roicy": 3.0, "other": 2.0}
    assert clock.turns == [1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 1.0]


def test_a_peer_that_waits_has_no_time(gpu):
    from clocks import Waits

    def times(calls):
        if calls == ["waits"]:
            raise Waits
        return [2.0]

    clock, nothing = types.SimpleNamespace(times=times), "".strip
    assert gpu.race(clock, {"roicy": [nothing], "other": [nothing]}, 3) == {"roicy": 2.0, "other": 2.0}

    class Call(str):
        def __call__(self):
            pass

    assert gpu.race(clock, {"roicy": [nothing], "other": [Call("waits")]}, 3) == {"roicy": 2.0}
    with pytest.raises(Waits):
        gpu.race(clock, {"roicy": [Call("waits")]}, 3)


def test_bandwidth_counts_reading_and_writing(gpu):
    from clocks import bandwidth

    assert bandwidth(Planned()) == 2 * 1000 / 0.5


def test_rows(gpu):
    result = {
        "workload": "pool_7x7",
        "pass": "forward",
        "bytes": 2_000_000,
        "seconds": {"roicy": 2e-5, "torchvision": 5e-5},
        "python": {"roicy": 1.1e-5, "roicy, raise": 4.4e-5, "torchvision": 2.2e-5},
        "differences": {"torchvision": 0.0},
        "instead": {"torchvision": "finds the argmax, too"},
    }
    assert list(gpu.rows(result, speed=4e11)) == [
        ["pool_7x7", "forward", "roicy", "20", "", "100", "4.0 x", "11", "", ""],
        ["", "", "roicy, raise", "waits", "", "", "", "44", "4.00 x", ""],
        ["", "", "torchvision", "50", "2.50 x †", "40", "10.0 x", "22", "2.00 x †", "0e+00"],
    ]


class Device:
    """CuPy's part in a clock: a device that works through its line while Python goes on."""

    def __init__(self):
        self.now = self.free = 0.0  # Python's time; when the device is through with its line
        device = self

        class Event:
            def record(self):
                self.at = max(device.now, device.free)

        self.Event = Event
        self.Device = lambda: None
        self.runtime = types.SimpleNamespace(deviceSynchronize=self.synchronize)
        self.cuda = self

    def RawKernel(self, code, name):
        per_second = 0.9e9  # another speed than is assumed at first
        return lambda grid, block, arguments: self.work(float(arguments[0]) / per_second)

    def get_elapsed_time(self, before, after):
        return 1e3 * (after.at - before.at)

    def work(self, seconds):
        self.free = max(self.now, self.free) + seconds

    def synchronize(self):
        self.now = max(self.now, self.free)

    def call(self, device, python, waits=False):
        def run():
            self.now += python / 2
            self.work(device)
            self.now += python / 2
            if waits:
                self.synchronize()

        return run


@pytest.fixture
def device(gpu, monkeypatch):
    import clocks

    found = Device()
    monkeypatch.setitem(sys.modules, "cupy", found)
    monkeypatch.setattr(clocks.time, "perf_counter", lambda: found.now)
    return found


@pytest.mark.parametrize("python", [1e-6, 1e-4, 2e-2])
def test_time_on_the_device_has_nothing_of_pythons(device, python):
    """However long that takes to hand a call over, and however many calls there are."""
    from clocks import Gpu

    clock, wanted = Gpu(), [3e-6, 5e-5, 7e-6] * 9
    for _ in range(2):
        assert clock.times([device.call(seconds, python) for seconds in wanted]) == pytest.approx(wanted)


def test_calls_that_wait_have_no_time_on_the_device(device):
    from clocks import Gpu

    with pytest.raises(RuntimeError, match="waits for the device"):
        Gpu().times([device.call(1e-5, 1e-5, waits=True)])


def test_differences(gpu):
    from clocks import Cpu

    ones = np.ones(3)
    results = {"roicy": (ones, None), "same": ones, "other": np.array([1, 1, 2.0])}
    assert gpu.compare(Cpu(), results) == {"same": 0.0, "other": 0.5}


def test_contracted_positions_make_no_difference(gpu):
    """Averages at positions that were rounded once, not twice, as a kernel of torchvision's has them."""
    from roicy._cli.workloads import select

    (box,) = select(["box_7x7_sr2"])
    box = dataclasses.replace(box, input_shape=(1, 32, *box.input_shape[2:]), rois=200)
    features, rois, _ = gpu.draw(box, 0)
    image = features[0].transpose(1, 2, 0).astype(np.float64)
    bins, ratio = box.output_size, box.sampling_ratio
    p, i = np.divmod(np.arange(bins * ratio), ratio)

    def positions(low, high):
        size = (high - low) / np.float32(bins)
        start = (p * size.astype(np.float64) + (low - np.float32(0.5))).astype(np.float32)
        return start + (i + np.float32(0.5)) * size / np.float32(ratio)

    found = []
    for _, x1, y1, x2, y2 in rois:
        y, x = places(positions(y1, y2), len(image)), places(positions(x1, x2), image.shape[1])
        grid = [type(y)(*(part[:, None] for part in y)), type(x)(*(part[None, :] for part in x))]
        found.append(samples(image, *grid).reshape(bins, ratio, bins, ratio, -1).mean((1, 3)))
    own = roicy.roi_align(features, rois, bins, sampling_ratio=ratio)
    difference = np.abs(own.transpose(0, 2, 3, 1) - found).max() / np.abs(found).max()
    assert 1e-5 < difference < gpu.TOLERANCE / 5


# ---------------------------------------------------------------- the command


def test_trial_run(gpu, capsys):
    """Every pass of every workload, in NumPy; torchvision takes part where it is installed."""
    from roicy._cli.calls import passes
    from roicy._cli.workloads import WORKLOADS

    assert gpu.main(["--dry", "--rounds", "1", "--sets", "2"]) == 0
    shown = capsys.readouterr().out
    for part in (*WORKLOADS, "box gradient", "with argmax", "trial run", "one_box, forward: roicy "):
        assert part in shown
    record = json.loads((gpu.RESULTS / "cuda-dry.json").read_text())
    asked = [name for workload in WORKLOADS.values() for name in passes(workload) if name in gpu.PASSES]
    assert len(record["results"]) == len(asked)
    assert all(result["seconds"]["roicy"] > 0 for result in record["results"])


def test_results_are_written_as_they_come(gpu, monkeypatch, tmp_path, capsys):
    """A run that is killed, or that fails in one pass, leaves all others."""
    path, seen = tmp_path / "a" / "b.json", []
    run = gpu.run

    def watched(clock, workload, name, *rest):
        seen.append([result["pass"] for result in json.loads(path.read_text())["results"]] if seen else [])
        if name == "backward":
            raise MemoryError("all is full")
        return run(clock, workload, name, *rest)

    monkeypatch.setattr(gpu, "run", watched)
    arguments = ["--dry", "--rounds", "1", "--sets", "1", "--only", "one_box", "--output", str(path)]
    assert gpu.main(arguments) == 1
    assert seen == [[], ["forward"], ["forward", "backward"]]
    found = json.loads(path.read_text())["results"]
    assert [result.get("error") for result in found] == [None, "MemoryError: all is full", None]
    assert "failed: one_box, backward: MemoryError: all is full" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == ["b.json"]


def test_a_limit_of_time(gpu, monkeypatch, capsys):
    """No pass begins after it; the table has those before."""
    times = iter(range(100))
    monkeypatch.setattr(gpu.time, "monotonic", lambda: next(times))
    arguments = ["--dry", "--rounds", "1", "--sets", "1", "--only", "one_box,rmac", "--seconds", "2"]
    assert gpu.main(arguments) == 0
    assert [
        result["pass"] for result in json.loads((gpu.RESULTS / "cuda-dry.json").read_text())["results"]
    ] == [
        "forward",
        "backward",
    ]
    left = "no time was left for: one_box, box gradient; rmac, forward; rmac, backward"
    assert left in capsys.readouterr().out


def test_one_call_each_for_a_profiler(gpu, monkeypatch, capsys):
    from clocks import Cpu

    profiled = []
    monkeypatch.setattr(Cpu, "profile", lambda clock, call: profiled.append(call()))
    assert gpu.main(["--dry", "--once", "--only", "one_box,rmac"]) == 0
    assert len(profiled) == 3 + 2
    assert "rmac, backward" in capsys.readouterr().out
    assert not gpu.RESULTS.exists()


def test_without_a_device(gpu, monkeypatch, capsys):
    found = state.State(state.NO_DEVICE, "There is none, and this is why.")
    monkeypatch.setattr(state, "find", lambda: found)
    assert gpu.main([]) == 2
    assert "bench-cuda needs a GPU and CuPy. There is none, and this is why." in capsys.readouterr().err
    assert importlib.import_module("gpu_tuning").main([]) == 2
    assert "gpu_tuning needs a GPU and CuPy. There is none, and this is why." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--only", "one_bo"], "one_bo"), (["--passes", "upward"], "upward")]
)
def test_wrong_names(gpu, arguments, words, capsys):
    with pytest.raises(SystemExit):
        gpu.main(arguments)
    assert words in capsys.readouterr().err


def test_help_needs_no_gpu(run_python):
    source = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import gpu
assert "cupy" not in sys.modules and "torch" not in sys.modules
sys.argv = ["gpu.py", "--help"]
gpu.main()
"""
    assert "--dry" in run_python(source)


def test_multiply_adds_of_passes(gpu):
    """Two rows and two columns of two taps each: four rows of four pixels, then two rows of four taps."""
    from roicy._cli.traffic import multiply_adds

    box = rows([0, 4, 4, 12, 12])
    assert multiply_adds(workload(), "forward", box) == 3 * (4 * 4 + 2 * 4)
    assert multiply_adds(workload(), "box gradient", box) == 3 * 3 * (4 * 4 + 2 * 4)
    assert multiply_adds(workload(sampling_ratio=0), "forward", box) == 3 * (10 * 9 + 2 * 10)
    pool = workload(operator="roi_pool")
    assert multiply_adds(pool, "forward", box) == 3 * (10 * 9 + 2 * 10)
    assert multiply_adds(pool, "backward", box) == 3 * 2 * 2
    turned = workload(operator="roi_align_rotated")
    assert multiply_adds(turned, "forward", rows([0, 8, 8, 8, 8, 1e-4])) == 3 * 4 * 4
    pyramid = workload(operator="multi_scale_roi_align", levels=2)
    assert multiply_adds(pyramid, "forward", rows([0, 18, 18, 50, 50])) == 3 * (4 * 4 + 2 * 4)
