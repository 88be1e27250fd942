"""What is raced against what: roicy against its peers, and roicy against itself."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import peers
from peers import Peer

import roicy
from roicy import cpu
from roicy._cli import calls
from roicy._cli.race import race
from roicy._cli.workloads import Workload

BOX, SR2, MASK, C4, CROPS = (
    "box_7x7_adaptive",
    "box_7x7_sr2",
    "mask_14x14_sr2",
    "c4_14x14_adaptive",
    "crops_224_sr1",
)
MAX, ROTATED_SR2, ROTATED, DEFORM, POOL, POOL_BOX, PS, PYRAMID, PYRAMID_SR2, RMAC = (
    "max_7x7_sr2",
    "rotated_7x7_sr2",
    "rotated_7x7_adaptive",
    "deform_7x7",
    "pool_7x7",
    "pool_box_7x7",
    "ps_7x7",
    "pyramid_7x7_adaptive",
    "pyramid_7x7_sr2",
    "rmac",
)


@dataclass(frozen=True)
class Contest:
    """Contestants on one workload. The first one is the subject, the others are what it is compared with."""

    name: str
    kind: str  # "peers", or "variant": against another call of roicy
    workload: Workload
    contestants: dict  # of name to Peer
    remark: str = ""  # what else the tables say beside the workload
    threads: int = 1
    alone: bool = False  # needs a process of its own
    environment: dict = field(default_factory=dict)  # more variables for that process


def run(contest, rounds, progress=None):
    """Race one contest in this process: median seconds and largest relative difference by contestant."""
    workload, missing, makers = contest.workload, [], {}
    for name, contestant in contest.contestants.items():
        try:
            makers[name] = contestant.make(workload, contest.threads)
        except ImportError:
            missing.append(name)
    subject, differences = [], {}

    def inspect(name, result):
        if not subject:
            subject.append(result)
        elif contest.contestants[name].alike:
            differences[name] = difference(subject[0], result)

    def make_inputs(number):
        rng = np.random.default_rng(number)
        return workload.features(rng), workload.boxes(rng), workload.grad_output(rng)

    seconds = race(makers, make_inputs, rounds, inspect, progress, alike=contest.kind == "variant")
    return {
        "name": contest.name,
        "kind": contest.kind,
        "workload": workload.name,
        "remark": contest.remark,
        "seconds": seconds,
        "differences": differences,
        "instead": {
            name: it.instead for name, it in contest.contestants.items() if it.instead and name in makers
        },
        "missing": missing,
    }


def difference(one, other):
    """The largest difference of two results over the largest value; of pairs, of what both have."""
    ones, others = (result if isinstance(result, tuple) else (result,) for result in (one, other))
    return max(apart(a, b) for a, b in zip(ones, others, strict=False))


def apart(one, other):
    """The largest difference of two arrays over the largest value of the other one."""
    largest = np.abs(other).max() or 1  # a map of a pyramid may have no boxes
    return float(np.abs(np.subtract(one, other, dtype=np.float64)).max() / largest)


def against_peers(workloads, threads, fresh, backward):
    """roicy's forward or backward passes against everyone's; ``fresh``: into a new output at each call."""
    for workload in workloads:
        own = {name: make for name, make in calls.passes(workload).items() if " gradient" not in name}
        if workload.mode == "max":
            own["onnx's rule"] = partial(calls.forward, max_rule="onnx")
            del own["with argmax"]  # which no peer has
        for name, make in own.items():
            others = peers.of(workload, name)
            if others and (name == "backward") == backward:
                contestants = {"roicy": of_roicy(partial(make, fresh=fresh)), **others}
                remark = "" if name == "forward" else name
                yield Contest(f"{name} {workload.name}", "peers", workload, contestants, remark, threads)


def lower_levels(workloads, threads):
    """The CPU levels below this machine's best, each in a process of its own, against the peers."""
    for workload in workloads:
        for level in cpu.levels()[:-1]:
            if workload.name == BOX:
                contestants = {"roicy": of_roicy(calls.forward), **peers.of(workload, "forward")}
                process = {"alone": True, "environment": {"ROICY_CPU_LEVEL": level}}
                name, remark = f"{level} {workload.name}", f"level {level}"
                yield Contest(name, "peers", workload, contestants, remark, threads, **process)


def against_itself(workloads, threads):
    """What layouts, dtypes, new outputs, an argmax, gradients and a second thread cost or bring."""
    forward, with_argmax = calls.forward, calls.with_argmax
    backward, box_gradient = calls.backward, calls.box_gradient
    gradients = (
        BOX,
        SR2,
        MASK,
        C4,
        MAX,
        ROTATED_SR2,
        ROTATED,
        DEFORM,
        POOL,
        POOL_BOX,
        PS,
        PYRAMID,
        PYRAMID_SR2,
        RMAC,
    )
    comparisons = (
        ("new output", partial(forward, fresh=True), "reused output", (BOX, C4, POOL_BOX)),
        ("new gradient", partial(backward, fresh=True), "reused gradient", (BOX, C4, POOL_BOX)),
        ("NHWC", partial(forward, layout="NHWC"), "NCHW", (BOX, CROPS, PS)),
        ("level by level", calls.level_by_level, "one call", (PYRAMID, PYRAMID_SR2)),
        ("float16", partial(forward, dtype="float16"), "float32", (BOX, C4)),
        ("with argmax", with_argmax, "without", (MAX, POOL, POOL_BOX)),
        ("backward", backward, "forward", gradients),
        ("offset gradient", calls.offset_gradient, "forward", (DEFORM,)),
        ("box gradient", box_gradient, "forward", (BOX, C4, MAX, ROTATED_SR2, ROTATED, PS, PYRAMID)),
    )
    for label, make, reference, names in comparisons:
        base = backward if reference == "reused gradient" else forward
        pair = {label: of_roicy(make), reference: of_roicy(base, alike=reference != "forward")}
        for workload in workloads:
            if workload.name in names:
                name = f"itself, {label} {workload.name}"
                yield Contest(name, "variant", workload, pair, threads=threads)

    moved = {"moved bins": of_roicy(forward), "rotated boxes": of_roicy(calls.as_rotated, alike=False)}
    for workload in workloads:
        if workload.name == DEFORM:
            yield Contest(f"itself, moved bins {DEFORM}", "variant", workload, moved, threads=threads)

    # Alone: a peer's idle threads would spin on the core that the second thread needs.
    pair = {"two threads": of_roicy(forward, threads=2), "one thread": of_roicy(forward, threads=1)}
    for workload in workloads:
        if workload.name in (*gradients, CROPS):
            yield Contest(f"two threads {workload.name}", "variant", workload, pair, alone=True)


def of_roicy(make, threads=None, alike=True):
    """Return a pass of roicy as a contestant, with as many threads as the others or with its own number."""

    def make_with_threads(workload, of_all):
        prepare = make(workload)

        def prepare_with_threads(*inputs):
            roicy.set_num_threads(threads or of_all)
            return prepare(*inputs)

        return prepare_with_threads

    return Peer(make_with_threads, alike=alike)
