"""Objects of a call or a plan are freed with it: none waits for Python's garbage collector.

The collector comes by when there are many objects; of their memory on a device it knows nothing.
"""

import gc
import inspect
import weakref

import numpy as np
import pytest
from arrays.array_calls import CALLS, FEATURES, GRAD, ROIS, TURNED

import roicy
from roicy._types import Regions, Sampling
from roicy.cuda import device

pytestmark = pytest.mark.thread_unsafe(reason="the garbage collector is everybody's")


@pytest.fixture
def waiting():
    """Return what of roicy's waits for the garbage collector."""

    def find():
        gc.collect()
        found = [repr(found) for found in gc.garbage if is_roicys(found)]
        gc.garbage.clear()
        return found

    gc.collect()
    gc.disable()
    gc.freeze()  # of all that is there nothing is looked at again
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield find
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def is_roicys(found):
    """Whether it is an object, a function or a frame of the package."""
    module = found.f_globals.get("__name__") if inspect.isframe(found) else getattr(found, "__module__", None)
    return str(module).partition(".")[0] == "roicy"


def call(name, *arguments, **options):
    return getattr(roicy, name)(*arguments, **options)


@pytest.mark.usefixtures("backend")
def test_calls(waiting):
    left = {}
    for name, example in CALLS.items():
        example(call)
        left[name] = waiting()
    assert not any(left.values()), left


def test_sources_of_kernels(waiting):
    for name in ("axis", "grid_backward"):
        device.source_text.__wrapped__(name)
        assert not waiting()


@pytest.mark.usefixtures("backend")
def test_calls_that_go_wrong(waiting):
    """Where a row is invalid, which shows when there is a table already."""

    def go_wrong(function, *arguments, **options):
        if function.startswith("rmac"):  # which has no boxes of the caller's
            arguments = (arguments[0][0], *arguments[1:])
        with pytest.raises((TypeError, ValueError)):
            call(function, *map(without_meaning, arguments), **options)

    left = {}
    for name, example in CALLS.items():
        example(go_wrong)
        left[name] = waiting()
    assert not any(left.values()), left


def without_meaning(value):
    """The value, or where it is rows of boxes or corners, those with one that is not finite."""
    if isinstance(value, list):
        return list(map(without_meaning, value))
    if not isinstance(value, np.ndarray) or not (
        (value.ndim == 2 and value.shape[1] in (4, 5, 6)) or value.shape[1:] == (4, 2)
    ):
        return value
    rows = value.copy()
    rows[0, -1] = np.nan
    return rows


@pytest.mark.parametrize(
    ("make", "rois", "options"),
    [
        ("roi_align_plan", ROIS, {}),
        ("roi_align_plan", ROIS, {"mode": "max"}),
        ("roi_align_rotated_plan", TURNED, {}),
        ("roi_pool_plan", ROIS, {"rounding": "none"}),
    ],
    ids=["average", "max", "rotated", "pool"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.usefixtures("backend")
def test_plans(waiting, make, rois, options, dtype):
    """With the tables of all their gradients."""
    plan = call(make, rois, FEATURES.shape, (3, 2), **options)
    features, grad = FEATURES.astype(dtype), GRAD[: len(rois)].astype(dtype)
    more = {"argmax": plan(features, return_argmax=True)[1]} if options else {}
    plan(features)
    plan.backward(grad, **more)
    if make != "roi_pool_plan":
        plan.backward_rois(grad, features, **more)
    del plan
    assert waiting() == []


def test_kernels(waiting, host_kernels):
    """A device's, with all that was compiled."""
    from cuda_host.module import HostModule

    from roicy.cuda import Kernels

    kernels = Kernels(np, HostModule, lambda: 0)
    regions = Regions(ROIS, None, FEATURES.shape, (3, 2))
    table = kernels.axis_table(regions, Sampling(1.0, 0, True), "float32", "forward")
    kernels.axis_forward(table, FEATURES, np.empty((4, 5, 3, 2), np.float32))
    seen = weakref.ref(kernels)
    del kernels, table
    assert seen() is None
    assert waiting() == []
