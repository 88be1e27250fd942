"""``roicy bench``: how fast this installation is on this machine."""

import numpy as np

import roicy
from roicy._race import race
from roicy._table import print_table


def bench(workloads, threads=1, rounds=7):
    """Time each workload forward, backward and for the box gradient, and print a table."""
    rows = []
    with roicy.num_threads(threads):
        for workload in workloads:
            print(f"{workload.name}: {workload.about} ...", flush=True)
            seconds = race(_contestants(workload), lambda number, w=workload: _inputs(w, number), rounds)
            rows.append([workload.name, *(f"{1e3 * value:.3f}" for value in seconds.values())])
    print_table(
        f"milliseconds per call, median of {rounds}; {describe(threads)}",
        ["workload", ">forward", ">backward", ">box gradient"],
        rows,
    )


def describe(threads):
    """Return the thread count and the CPU level in words."""
    from roicy import cpu

    return f"{threads} thread{'s' if threads > 1 else ''}, CPU level {cpu.level()}"


def _inputs(workload, number):
    rng = np.random.default_rng(number)
    return workload.features(rng), workload.boxes(rng), workload.grad_output(rng)


def _contestants(workload):
    size, shape = workload.output_size, workload.input_shape
    options = {"sampling_ratio": workload.sampling_ratio}
    out = np.empty(workload.output_shape, np.float32)
    grad = np.empty(shape, np.float32)
    return {
        "forward": lambda x, rois, g: lambda: roicy.roi_align(x, rois, size, out=out, **options),
        "backward": lambda x, rois, g: lambda: roicy.roi_align_backward(g, rois, shape, out=grad, **options),
        "box gradient": lambda x, rois, g: lambda: roicy.roi_align_backward_rois(g, x, rois, **options),
    }
