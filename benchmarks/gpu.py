"""Race roicy on CuPy arrays against torchvision: ``make bench-cuda``, ``ARGS="--only one_box"``.

Both work on the same memory, on input sets that take turns and together exceed the device's cache. A call has
two times: that on the device, by CUDA events, without Python's share (see clocks.py), and that of Python to
hand it over. The first is also given as a multiple of what a plain copy takes for the bytes that must move.
"""

import argparse
import json
import os
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from statistics import median

import numpy as np
from boxes import upright
from clocks import Cpu, Gpu, Waits, bandwidth, handing_over
from peers_torch import torchvision_pooler

from roicy._cli import calls, traffic
from roicy._cli.terminal import print_table
from roicy._cli.workloads import select
from roicy.cuda import state

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("roicy", "numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "torchvision")
PASSES = ("forward", "with argmax", "backward", "box gradient", "offset gradient")
#: How far torchvision's results may lie from ours. Its kernels contract a sample's position to a fused
#: multiply-add, ours round as the CPU does: 200 pixels from the edge positions lie 1.5e-5 apart, and the
#: values that far times the difference of two pixels.
TOLERANCE = 2e-4
#: Contestants that wait for the device in each call, so they have no time on the device alone.
WAITS = "roicy, raise"
COLUMNS = (
    "workload",
    "pass",
    "contestant",
    ">µs",
    ">ratio",
    ">GB/s",
    ">copies",
    ">call, µs",
    ">call ratio",
    ">difference",
)


def is_missing(program):
    """Return whether there is no usable GPU; if so, print that the program needs one."""
    found = state.find()
    if found.name == state.READY:
        return False
    print(f"{program} needs a GPU and CuPy. {found.problem}", file=sys.stderr)
    return True


def main(arguments=None):
    chosen = parse(arguments)
    if not chosen.dry and is_missing("bench-cuda"):
        return 2
    clock = Cpu() if chosen.dry else Gpu()
    end = time.monotonic() + (chosen.seconds or float("inf"))
    speed = None if chosen.once else bandwidth(clock)
    results, missing_time = [], []
    for workload in chosen.workloads:
        names = [name for name in calls.passes(workload) if name in chosen.passes]
        taken, inputs = shrunk(workload) if chosen.dry else workload, None
        for name in names:
            if time.monotonic() > end:
                missing_time.append(f"{workload.name}, {name}")
                continue
            try:
                inputs = inputs or draw_sets(clock, taken, 1 if chosen.once else chosen.sets)
                if chosen.once:
                    once(clock, taken, name, inputs)
                    print(f"{workload.name}, {name}", flush=True)
                    continue
                result = run(clock, taken, name, inputs, chosen.rounds)
                print(summary(result), flush=True)
            except Exception as error:  # a failed pass does not end the others
                result = {
                    "workload": workload.name,
                    "pass": name,
                    "error": f"{type(error).__name__}: {error}",
                }
                print(f"{workload.name}, {name} failed: {result['error']}", flush=True)
            results.append(result)
            write(clock, results, speed, chosen)
    if missing_time:
        print(f"no time was left for: {'; '.join(missing_time)}")
    return 0 if chosen.once else report(clock, results, speed, chosen)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description="Race roicy on a GPU against torchvision's CUDA operators.")
    add = parser.add_argument
    add("--only", metavar="NAME[,NAME]", help="only these workloads")
    add("--passes", metavar="NAME[,NAME]", help=f"of {', '.join(PASSES)} [all]")
    add("--rounds", type=int, default=15, metavar="N", help="rounds over all input sets [%(default)s]")
    add("--sets", type=int, metavar="N", help="input sets [enough to exceed the device's cache four times]")
    add("--seconds", type=float, metavar="S", help="begin with no pass after so many seconds")
    add("--output", type=Path, metavar="FILE", help="where results go, after each pass [results/cuda.json]")
    add("--once", action="store_true", help="one call of roicy's for each pass, for a profiler")
    add("--dry", action="store_true", help="tiny workloads on the CPU: does the program run?")
    chosen = parser.parse_args(arguments)
    try:
        chosen.workloads = select(chosen.only.split(",") if chosen.only else None)
    except ValueError as error:
        parser.error(str(error))
    chosen.passes = chosen.passes.split(",") if chosen.passes else list(PASSES)
    if set(chosen.passes) - set(PASSES):
        parser.error(f"--passes takes {', '.join(PASSES)}, got {','.join(chosen.passes)}")
    chosen.output = chosen.output or RESULTS / ("cuda-dry.json" if chosen.dry else "cuda.json")
    return chosen


def shrunk(workload):
    """Return a small version of a workload, for a CPU."""
    images, channels, height, width = workload.input_shape
    return workload.smaller((images, min(channels, 8), height // 8, width // 8), 20, 7)


# ---------------------------------------------------------------- contestants


def contestants(clock, workload, name):
    """Return the contestants of a pass, {name: (prepare, what it does instead)}, and those not installed."""
    own, missing = calls.passes(workload)[name], []
    if workload.operator == "rmac":  # it checks nothing on the device
        found = {"roicy": (own(workload, xp=clock.xp), "")}
    else:
        found = {
            who: (own(workload, xp=clock.xp, invalid=invalid), "")
            for who, invalid in (("roicy", "nan"), (WAITS, "raise"))
        }
    peer, instead = torchvision_pass(workload, name)
    if peer:
        try:
            clock.check_torch()
            found["torchvision"] = (peer, instead)
        except ImportError as error:
            missing.append(f"torchvision ({error})")
    return found, missing


def torchvision_pass(workload, name):
    """Return torchvision's call for a pass, below autograd, and what it does instead; None if it has none."""
    instead = "upright boxes of the same sizes" if workload.operator == "roi_align_rotated" else ""
    if workload.mode == "max" or workload.dtype == "uint8":
        return None, ""
    if workload.operator in ("roi_align", "roi_align_rotated"):
        peers = {"forward": torchvision_align, "backward": torchvision_align_backward}
    elif workload.operator == "ps_roi_align":
        peers = {"forward": torchvision_ps_align, "backward": torchvision_ps_align_backward}
    elif workload.operator == "multi_scale_roi_align":
        peers = {"forward": torchvision_pyramid}
    elif workload.operator == "roi_pool":
        instead = "finds the argmax, too" if name == "forward" else ""
        peers = {"backward": torchvision_pool_backward}
        peers |= dict.fromkeys(("forward", "with argmax"), torchvision_pool)
    else:
        peers = {}
    if name not in peers:
        return None, ""
    return lambda *arrays: peers[name](workload, *map(tensor, arrays)), instead


def tensor(array):
    """The array's memory as a tensor, on its device."""
    import torch

    return torch.from_dlpack(array)


def torchvision_align(workload, features, rois, grad_output):
    import torch
    from torchvision.ops import roi_align

    boxes = upright_tensor(rois)

    def call():
        with torch.inference_mode():
            return roi_align(features, boxes, workload.output_size, 1.0, workload.sampling_ratio, True)

    return call


def torchvision_align_backward(workload, features, rois, grad_output):
    import torch

    size, ratio = workload.output_size, workload.sampling_ratio
    boxes, shape = upright_tensor(rois), workload.input_shape
    backward = torch.ops.torchvision._roi_align_backward
    return lambda: backward(grad_output, boxes, 1.0, size, size, *shape, ratio, True)


def torchvision_ps_align(workload, features, rois, grad_output):
    import torch
    from torchvision.ops import ps_roi_align

    def call():
        with torch.inference_mode():
            return ps_roi_align(features, rois, workload.output_size, 1.0, workload.sampling_ratio)

    return call


def torchvision_ps_align_backward(workload, features, rois, grad_output):
    import torch

    size, ratio = workload.output_size, workload.sampling_ratio
    align, backward = torch.ops.torchvision.ps_roi_align, torch.ops.torchvision._ps_roi_align_backward
    _, channels = align(features, rois, 1.0, size, size, ratio)
    return lambda: backward(grad_output, rois, channels, 1.0, size, size, ratio, *workload.input_shape)


def torchvision_pool(workload, features, rois, grad_output):
    import torch

    size, pool = workload.output_size, torch.ops.torchvision.roi_pool

    def call():
        with torch.inference_mode():
            return pool(features, rois, 1.0, size, size)

    return call


def torchvision_pool_backward(workload, features, rois, grad_output):
    import torch

    size, shape = workload.output_size, workload.input_shape
    _, argmax = torch.ops.torchvision.roi_pool(features, rois, 1.0, size, size)
    backward = torch.ops.torchvision._roi_pool_backward
    return lambda: backward(grad_output, rois, argmax, 1.0, size, size, *shape)


def torchvision_pyramid(workload, features, rois, grad_output):
    import torch

    pool = torchvision_pooler(workload, workload.maps(features), rois)

    def call():
        with torch.inference_mode():
            return pool()

    return call


def upright_tensor(rois):
    import torch

    return torch.from_numpy(upright(rois.cpu().numpy())).to(rois.device)


# ---------------------------------------------------------------- one race


def run(clock, workload, name, inputs, rounds):
    """Race a pass: seconds on the device and in Python, bytes, differences, by contestant."""
    makers, missing = contestants(clock, workload, name)
    calls = {who: [prepare(*arrays) for arrays in inputs] for who, (prepare, _) in makers.items()}
    # at once: roicy's calls all write to the same array
    alike = {who: calls[who][0]() for who in calls if not makers[who][1].startswith("upright")}
    differences = compare(clock, alike)
    del alike
    seconds = race(clock, {who: calls[who] for who in calls if who != WAITS}, rounds)
    boxes = inputs[0][1]
    return {
        "workload": workload.name,
        "pass": name,
        "sets": len(inputs),
        "bytes": traffic.least_bytes(workload, name, boxes if boxes is None else clock.to_host(boxes)),
        "seconds": seconds,
        "python": {who: handing_over(clock, calls[who], min(rounds, 5)) for who in calls},
        "differences": differences,
        "instead": {who: instead for who, (_, instead) in makers.items() if instead},
        "missing": missing,
    }


def once(clock, workload, name, inputs):
    """Call a pass once for a profiler, after everything is compiled."""
    call = contestants(clock, workload, name)[0]["roicy"][0](*inputs[0])
    call()
    clock.profile(call)


def draw_sets(clock, workload, number=None):
    """Return input sets on the device: a given number, or as many as exceed its cache."""
    first = draw(workload, 0)
    number = number or clock.input_sets(sum(array.nbytes for array in first if array is not None))
    sets = [first, *(draw(workload, seed) for seed in range(1, number))]
    return [[array if array is None else clock.xp.asarray(array) for array in arrays] for arrays in sets]


def draw(workload, number):
    rng = np.random.default_rng(number)
    return workload.features(rng), workload.boxes(rng), workload.grad_output(rng)


def race(clock, calls, rounds):
    """Return the median seconds of a call for each contestant; contestants take turns in each round.

    A peer whose calls wait for the device has none.
    """
    names, timings = list(calls), {who: [] for who in calls}
    for who in names:  # compiles, fills the memory pools
        for call in calls[who]:
            call()
    for number in range(rounds):
        shift = number % len(names)
        for who in names[shift:] + names[:shift]:
            try:
                timings[who] += clock.times(calls[who])
            except Waits:
                if who == "roicy":
                    raise
                names.remove(who)
    return {who: median(timings[who]) for who in names}


def compare(clock, results):
    """The largest difference from roicy's result over the largest value; of pairs, of the first results."""
    first = {
        who: clock.to_host(to_array(clock, result[0] if isinstance(result, tuple) else result))
        for who, result in results.items()
    }
    own = first.pop("roicy").astype(np.float32, copy=False)
    return {who: float(np.abs(own - other).max() / np.abs(other).max()) for who, other in first.items()}


def to_array(clock, result):
    return result if isinstance(result, clock.xp.ndarray) else clock.xp.from_dlpack(result.detach())


# ---------------------------------------------------------------- what came of it


def summary(result):
    """Return the line that is printed for a pass."""
    seconds, parts = result["seconds"], []
    for who, python in result["python"].items():
        device = _microseconds(seconds[who]) if who in seconds else "waits"
        parts.append(f"{who} {device}, call {_microseconds(python)}")
    others = [f"{seconds[who] / seconds['roicy']:.2f} x" for who in seconds if who != "roicy"]
    return f"{result['workload']}, {result['pass']}: {'; '.join(parts)} µs; {' '.join(others) or 'alone'}"


def report(clock, results, speed, chosen):
    """Print the table; return the exit status: 1 if results do not agree or a pass failed."""
    raced = [result for result in results if "error" not in result]
    title = f"{clock.describe()['device']}, copying {speed / 1e9:.0f} GB/s, median of {chosen.rounds} rounds"
    print_table(title, COLUMNS, [row for result in raced for row in rows(result, speed)])
    print("µs: time on the device; copies: that over the time of copying the bytes that must move")
    print("call, µs: time of the Python call, which hands the work over; ratios: times over roicy's")
    for who, instead in sorted({pair for result in raced for pair in result["instead"].items()}):
        print(f"† {who}: {instead}")
    if any(WAITS in result["python"] for result in raced):
        print(f'roicy: invalid="nan", which waits for nothing; {WAITS}: invalid="raise", the default')
    missing = sorted({who for result in raced for who in result["missing"]})
    if missing:
        print(f"left out: {', '.join(missing)}")
    print(f"results: {chosen.output}")
    status = 0
    for result in results:
        title = f"{result['workload']}, {result['pass']}"
        if "error" in result:
            print(f"failed: {title}: {result['error']}")
            status = 1
        for who, difference in result.get("differences", {}).items():
            if not difference <= TOLERANCE:
                print(f"results differ: {title}, {who}, by {difference:.1e}")
                status = 1
    return status


def write(clock, results, speed, chosen):
    """Write all results so far; a process that is stopped meanwhile leaves the file as it was."""
    options = {name: value for name, value in vars(chosen).items() if name not in ("workloads", "output")}
    record = {
        "machine": {**clock.describe(), "bytes per second of a copy": speed, "versions": versions()},
        "options": options,
        "results": results,
    }
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = chosen.output.with_suffix(".part")
    unfinished.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(unfinished, chosen.output)


def rows(result, speed):
    """Return a row for each contestant, with the ratios of its times to roicy's."""
    seconds, python, size = result["seconds"], result["python"], result["bytes"]
    for who, call in python.items():
        first, mark, device = who == "roicy", " †" if who in result["instead"] else "", seconds.get(who)
        difference = result["differences"].get(who)
        yield [
            result["workload"] if first else "",
            result["pass"] if first else "",
            who,
            _microseconds(device) if device else "waits",
            f"{device / seconds['roicy']:.2f} x{mark}" if device and not first else "",
            f"{size / device / 1e9:.0f}" if device else "",
            f"{device * speed / size:.1f} x" if device else "",
            _microseconds(call),
            "" if first else f"{call / python['roicy']:.2f} x{mark}",
            "" if difference is None else f"{difference:.0e}",
        ]


def _microseconds(seconds):
    return f"{1e6 * seconds:.3g}" if seconds < 1e-3 else f"{1e6 * seconds:.0f}"


def versions():
    found = {}
    for package in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


if __name__ == "__main__":
    sys.exit(main())
