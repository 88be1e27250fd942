"""What is raced against what: roicy against its peers, and roicy against itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import peers

import roicy
from roicy import cpu
from roicy._race import race
from roicy._workloads import Workload

BOX, SR2, MASK, C4, CROPS = (
    "box_7x7_adaptive",
    "box_7x7_sr2",
    "mask_14x14_sr2",
    "c4_14x14_adaptive",
    "crops_224_sr1",
)


@dataclass(frozen=True)
class Contest:
    """Contestants on one workload. The first one is the subject, the others are what it is compared with."""

    name: str
    kind: str  # "forward", "backward" or "level": against peers; "variant": against another call of roicy
    workload: Workload
    contestants: Callable  # (missing) -> dict of name to prepare; appends the peers not installed to missing
    alike: bool = True  # all contestants compute the same numbers
    alone: bool = False  # needs a process of its own
    environment: dict = field(default_factory=dict)  # more variables for that process


def run(contest, rounds, progress=None):
    """Race one contest in this process: median seconds and largest relative difference by contestant."""
    missing, subject, differences = [], [], {}

    def inspect(name, result):
        if not subject:
            subject.append(result)
        elif contest.alike:
            differences[name] = float(np.abs(subject[0] - result).max() / np.abs(result).max())

    def make_inputs(number):
        rng = np.random.default_rng(number)
        workload = contest.workload
        return workload.features(rng), workload.boxes(rng), workload.grad_output(rng)

    seconds = race(contest.contestants(missing), make_inputs, rounds, inspect, progress)
    return {
        "name": contest.name,
        "kind": contest.kind,
        "workload": contest.workload.name,
        "seconds": seconds,
        "differences": differences,
        "missing": missing,
    }


def against_peers(kind, workloads, threads, fresh):
    """roicy's forward or backward pass against everyone's; ``fresh``: into a new output at each call."""
    make, others = (_forward, peers.forward) if kind == "forward" else (_backward, peers.backward)
    own = partial(make, threads=threads, fresh=fresh)
    for workload in workloads:
        entrants = partial(_with_peers, workload, threads, own, others)
        yield Contest(f"{kind} {workload.name}", kind, workload, entrants)


def lower_levels(workloads, threads):
    """The CPU levels below this machine's best, each in a process of its own, against the peers."""
    own = partial(_forward, threads=threads)
    for workload in workloads:
        for level in cpu.levels()[:-1]:
            if workload.name == BOX:
                entrants = partial(_with_peers, workload, threads, own, peers.forward)
                process = {"alone": True, "environment": {"ROICY_CPU_LEVEL": level}}
                yield Contest(f"{level} {workload.name}", "level", workload, entrants, **process)


def against_itself(workloads, threads):
    """What layouts, dtypes, new outputs, gradients and a second thread cost or bring."""
    forward = partial(_forward, threads=threads)
    backward = partial(_backward, threads=threads)
    box_gradient = partial(_box_gradient, threads=threads)
    one, two = partial(_forward, threads=1), partial(_forward, threads=2)
    pairs = (
        ("new output", partial(forward, fresh=True), "reused output", forward, (BOX, C4), {}),
        ("NHWC", partial(forward, layout="NHWC"), "NCHW", forward, (BOX, CROPS), {}),
        ("float16", partial(forward, dtype="float16"), "float32", forward, (BOX, C4), {}),
        ("backward", backward, "forward", forward, (BOX, SR2, MASK, C4), {"alike": False}),
        ("box gradient", box_gradient, "forward", forward, (BOX, C4), {"alike": False}),
        # Alone: a peer's idle threads would spin on the core that the second thread needs.
        ("two threads", two, "one thread", one, (BOX, SR2, MASK, C4, CROPS), {"alone": True}),
    )
    for label, make, reference, make_reference, names, options in pairs:
        for workload in workloads:
            if workload.name in names:
                entrants = partial(_pair, workload, {label: make, reference: make_reference})
                yield Contest(f"{label} {workload.name}", "variant", workload, entrants, **options)


def _with_peers(workload, threads, own, others, missing):
    found = {"roicy": own(workload)}
    for name, make in others(workload).items():
        try:
            found[name] = make(workload, threads)
        except ImportError:
            missing.append(name)
    return found


def _pair(workload, makers, missing):
    return {name: make(workload) for name, make in makers.items()}


def _forward(workload, threads, layout="NCHW", dtype="float32", fresh=False):
    axes, back = ((0, 1, 2, 3), (0, 1, 2, 3)) if layout == "NCHW" else ((0, 2, 3, 1), (0, 3, 1, 2))
    out = None if fresh else np.empty([workload.output_shape[axis] for axis in axes], dtype)
    options = {"sampling_ratio": workload.sampling_ratio, "layout": layout, "out": out}

    def prepare(features, rois, grad_output):
        roicy.set_num_threads(threads)
        x = np.ascontiguousarray(features.astype(dtype, copy=False).transpose(axes))
        return lambda: roicy.roi_align(x, rois, workload.output_size, **options).transpose(back)

    return prepare


def _backward(workload, threads, fresh=False):
    out = None if fresh else np.empty(workload.input_shape, np.float32)
    options = {"sampling_ratio": workload.sampling_ratio, "out": out}

    def prepare(features, rois, grad_output):
        roicy.set_num_threads(threads)
        return lambda: roicy.roi_align_backward(grad_output, rois, workload.input_shape, **options)

    return prepare


def _box_gradient(workload, threads):
    options = {"sampling_ratio": workload.sampling_ratio}

    def prepare(features, rois, grad_output):
        roicy.set_num_threads(threads)
        return lambda: roicy.roi_align_backward_rois(grad_output, features, rois, **options)

    return prepare
