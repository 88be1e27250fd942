"""Small calls of every operator on a CUDA device, held against the CPU's: for tools that slow a device down.

    python tests/cuda/device_calls.py warm    # compile what tests and benchmark need, in parallel
    compute-sanitizer --tool memcheck python tests/cuda/device_calls.py
    compute-sanitizer --tool racecheck python tests/cuda/device_calls.py --seconds 100

The calls are those of the tests: each public function once, all operators in several layouts and dtypes, and
each pass of the benchmark's workloads, made small. Every array has memory of its own, with no pool behind it:
an access beside it shows.
"""

import argparse
import contextlib
import os
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import numpy as np
import on_device
import test_cuda_twins
from arrays import array_calls
from closeness import assert_same_sums
from operators import OPERATORS
from operators import operator as operator_module

import roicy
from roicy._cli import calls as measured
from roicy._cli.workloads import select
from roicy.cuda import device, state

#: Of a number that is a sum, what it may be off by: gradients of boxes are sums that cancel.
CANCELLING = 1e-4


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Call every operator on a device, or compile what it needs.")
    parser.add_argument("what", nargs="?", choices=["calls", "warm"], default="calls")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin with no call after so many"
    )
    chosen = parser.parse_args(arguments)
    found = state.find()
    if found.name != state.READY:
        print(f"device_calls needs a GPU and CuPy. {found.problem}", file=sys.stderr)
        return 2
    return warm() if chosen.what == "warm" else call_all(time.monotonic() + chosen.seconds)


# ---------------------------------------------------------------- compiling


def warm():
    """Have CuPy keep every source that works with 32-bit offsets, compiled on all processors."""
    tasks = [(source, options) for source, options in device.specialisations() if wanted(options)]
    wrong = 0
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        running = {pool.submit(compile_source, *task): task for task in tasks}
        for done in as_completed(running):
            if done.exception() is not None:
                wrong += 1
                print(*running[done], done.exception(), sep="\n  ")
    print(f"{len(tasks) - wrong} sources compiled, {wrong} failed")
    return 1 if wrong else 0


def wanted(options):
    return "-DINDEX=int64" not in options


def compile_source(source, options):
    import cupy

    cupy.RawModule(code=device.source_text(source), options=(*device.OPTIONS, *options)).compile()


# ---------------------------------------------------------------- calls


def call_all(end):
    """Make the calls until then; return 1 if a result is not the CPU's."""
    import cupy

    cupy.cuda.set_allocator(None)
    library = on_device.Cupy(cupy)
    wrong = left_out = made = 0
    for title, make in calls():
        if time.monotonic() > end:
            left_out += 1
            continue
        made += 1
        try:
            expected = flat(make(roicy))
            found = flat(make(on_device.OnDevice(library, roicy)))
            worst = max(map(apart, found, expected), default=0.0)
            print(f"{title}: {worst:.0e}", flush=True)
        except Exception as error:
            wrong += 1
            words = " ".join(str(error).split())[:200]
            print(f"{title}: WRONG: {type(error).__name__}: {words}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc(limit=-3)
    print(f"{made} calls, {wrong} wrong, {left_out} left out for want of time")
    return 1 if wrong else 0


def calls():
    """Yield titles and calls, each a function of the package or what stands for it."""
    for name, example in array_calls.CALLS.items():
        yield name, with_functions(example)
    for operator in OPERATORS:
        for work in test_cuda_twins.WORK:
            yield f"{operator}, {work.dtype} {work.layout}", all_results(operator, work)
    for workload in select(None):
        small = workload.smaller((2, 33, 40, 54), 12, 7)
        for name, prepare in measured.passes(small).items():
            yield f"{workload.name}, {name}", one_pass(small, prepare)


def with_functions(example):
    def call(package):
        return example(lambda name, *given, **options: getattr(package, name)(*given, **options))

    return call


def all_results(operator, work):
    def call(package):
        with replaced((operator_module,), package):
            return test_cuda_twins.outputs(operator, work)

    return call


def one_pass(workload, prepare):
    def call(package):
        rng = np.random.default_rng(3)
        arrays = workload.features(rng), workload.boxes(rng), workload.grad_output(rng)
        with replaced((measured,), package):
            return prepare(workload)(*arrays)()

    return call


@contextlib.contextmanager
def replaced(modules, package):
    """What these modules know as roicy is another one."""
    for module in modules:
        module.roicy = package
    try:
        yield
    finally:
        for module in modules:
            module.roicy = roicy


def flat(results):
    if isinstance(results, dict):
        return flat(list(results.values()))
    if isinstance(results, (list, tuple)):
        return [array for result in results for array in flat(result)]
    return [np.asarray(results)]


def apart(found, expected):
    """The largest difference over the largest value; an AssertionError where it is no matter of rounding."""
    if (
        expected.dtype == found.dtype and expected.ndim == 2 and expected.dtype.kind == "f"
    ):  # boxes' gradients
        scale = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=CANCELLING * scale)
    else:
        assert_same_sums(found, expected)
    wide, wanted = found.astype(np.float64), expected.astype(np.float64)
    known = np.isfinite(wanted)
    scale = np.abs(wanted[known]).max(initial=0.0)
    return float(np.abs(wide - wanted)[known].max(initial=0.0) / scale) if scale else 0.0


if __name__ == "__main__":
    sys.exit(main())
