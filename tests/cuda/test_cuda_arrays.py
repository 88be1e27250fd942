"""CuPy arrays through the public functions, on a machine without a GPU.

The arrays are those of `cuda_host.arrays`: what the library does with CuPy's is run, on the processor.
"""

import copy
import pickle
import shutil
import weakref

import numpy as np
import pytest
from arrays.array_calls import CALLS, FEATURES, GRAD, ROIS, TURNED, argmax_of
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import Waits, ndarray

import roicy
from roicy.cuda.tables.rois import UNSORTED, RoiTable

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture
def cupy(monkeypatch):
    """A module in the place of ``cupy``."""
    return arrays.install(monkeypatch)


def on_device(value):
    return ndarray(value.copy()) if isinstance(value, np.ndarray) else value


def on_host(value):
    if isinstance(value, ndarray):
        return value._array
    return type(value)(map(on_host, value)) if isinstance(value, (list, tuple)) else value


def close(found, expected):
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            close(one, other)
        return
    assert isinstance(found, ndarray)
    found = on_host(found)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    scale = np.nanmax(np.abs(expected), initial=1e-30)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * scale)


def call(name, *arguments, **options):
    return getattr(roicy, name)(*arguments, **options)


def call_on_device(name, *arguments, **options):
    def moved(value):
        return type(value)(map(on_device, value)) if isinstance(value, (list, tuple)) else on_device(value)

    return call(name, *map(moved, arguments), **{key: moved(value) for key, value in options.items()})


@pytest.mark.parametrize("name", CALLS)
def test_results_are_arrays_of_the_library_that_was_given(cupy, name):
    close(CALLS[name](call_on_device), CALLS[name](call))


@pytest.mark.parametrize("name", CALLS)
def test_only_looking_for_invalid_rows_waits(cupy, name):
    asked = {}

    def asking(function, *arguments, **options):
        if function.startswith("rmac"):  # whose boxes are its own
            return call_on_device(function, *arguments, **options)
        return call_on_device(function, *arguments, **options, **asked)

    CALLS[name](asking)
    most = 0 if name.startswith("rmac") else 3
    assert Waits.count <= most
    Waits.count = 0
    asked["invalid"] = "nan"
    CALLS[name](asking)
    assert Waits.count == 0


@pytest.mark.parametrize("rule", ["torchvision", "detectron2", "mmdet", "openvino", "tensorrt"])
def test_levels_are_found_without_waiting(cupy, rule):
    rois = np.random.default_rng(0).uniform(0, 900, (200, 4)).astype(np.float32)
    size = {"image_size": (800, 700)} if rule == "tensorrt" else {}
    found = roicy.fpn_levels(on_device(rois), 4, rule=rule, **size)
    assert isinstance(found, ndarray)
    assert Waits.count == 0
    np.testing.assert_array_equal(on_host(found), roicy.fpn_levels(rois, 4, rule=rule, **size))


def test_plans(cupy):
    for rois, make in ((ROIS, roicy.roi_align_plan), (TURNED, roicy.roi_align_rotated_plan)):
        grad = GRAD[: len(rois)]
        host, device = make(rois, FEATURES.shape, (3, 2)), make(on_device(rois), FEATURES.shape, (3, 2))
        for _ in range(2):
            close(device(on_device(FEATURES)), host(FEATURES))
            close(device.backward(on_device(grad)), host.backward(grad))
            close(
                device.backward_rois(on_device(grad), on_device(FEATURES)), host.backward_rois(grad, FEATURES)
            )


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda plan: pickle.loads(pickle.dumps(plan))])
@pytest.mark.parametrize("make, rois", [(roicy.roi_align_plan, ROIS), (roicy.roi_align_rotated_plan, TURNED)])
def test_copies_of_a_plan(cupy, make, rois, duplicate):
    """They are on the device, as the boxes are, and know nothing of the streams of the original."""
    features = on_device(FEATURES)
    for given in (rois, [rois[:1, 1:], rois[1:2, 1:]]):
        moved = [on_device(array) for array in given] if isinstance(given, list) else on_device(given)
        plan = make(moved, FEATURES.shape, (3, 2))
        grad = on_device(GRAD[: plan.output_shape[0]])
        plan.backward(grad)
        twin = duplicate(plan)
        for one, other in zip(
            (twin(features), twin.backward(grad), *twin.backward_rois(grad, features)),
            (plan(features), plan.backward(grad), *plan.backward_rois(grad, features)),
            strict=True,
        ):
            assert isinstance(one, ndarray)
            assert_same_bits(on_host(one), on_host(other))


@pytest.mark.parametrize("make, rois", [(roicy.roi_align_plan, ROIS), (roicy.roi_align_rotated_plan, TURNED)])
def test_a_plan_on_several_streams(cupy, make, rois):
    """A stream waits for tables of a plan that another stream fills, and not for finished ones."""
    features, grad = on_device(FEATURES), on_device(GRAD[: len(rois)])
    here, there = cupy.cuda.Stream(), cupy.cuda.Stream()
    with here:
        plan = make(on_device(rois), FEATURES.shape, (3, 2), invalid="nan")
        plan(features)
    with there:
        plan(features)
    assert not here.waits_for
    assert [event.stream for event in there.waits_for] == [here]
    with there:
        plan.backward(grad)
    with here:
        plan.backward(grad)
    assert here.waits_for
    assert {event.stream for event in here.waits_for} == {there}
    for event in here.waits_for + there.waits_for + [event for _, event in plan._events]:
        event.done = True
    here.waits_for.clear()
    there.waits_for.clear()
    for stream in (here, there):
        with stream:
            plan(features)
    assert not here.waits_for + there.waits_for


PLANS = {
    "average": (roicy.roi_align_plan, ROIS, {}),
    "maximum": (roicy.roi_align_plan, ROIS, {"mode": "max"}),
    "rotated": (roicy.roi_align_rotated_plan, TURNED, {}),
}


@pytest.fixture(params=PLANS)
def many_boxes(request, cupy):
    """What makes a plan, of boxes that a gradient has to sort by image, and calls of it."""
    make, rois, options = PLANS[request.param]
    rois = np.tile(rois, (1 + UNSORTED // len(rois), 1))
    features = on_device(FEATURES)
    grad = on_device(np.random.default_rng(0).standard_normal((len(rois), 5, 1, 1), np.float32))
    given = on_device(rois)
    more = {}
    if options:
        _, more["argmax"] = roicy.roi_align(features, given, 1, return_argmax=True, **options)
    return (
        lambda: make(given, FEATURES.shape, 1, invalid="nan", **options),
        lambda plan: plan(features),
        lambda plan: plan.backward(grad, **more),
        lambda plan: plan.backward_rois(grad, features, **more),
    )


def when_sorted(monkeypatch, then):
    """Do so where boxes are sorted by image."""
    launch = RoiTable.launch_table

    def launched(table, kernel, *arguments):
        if kernel == "order_by_image":
            then()
        launch(table, kernel, *arguments)

    monkeypatch.setattr(RoiTable, "launch_table", launched)


def test_what_a_gradient_adds_to_a_plan_is_noted(cupy, monkeypatch, many_boxes):
    """The boxes are sorted by image with the first gradient, and that once."""
    log, record = [], cupy.cuda.Stream.record
    when_sorted(monkeypatch, lambda: log.append("sorted"))
    monkeypatch.setattr(cupy.cuda.Stream, "record", lambda stream: (log.append("noted"), record(stream))[1])
    make, _, backward, _ = many_boxes
    plan = make()
    log.clear()
    for _ in range(2):
        backward(plan)
    assert log == ["sorted", "noted"]


def test_a_plan_in_a_graph(cupy, many_boxes):
    """While a stream records a graph, it queries no event and waits for none; older events come later."""
    make, *calls = many_boxes
    here, there = cupy.cuda.Stream(), cupy.cuda.Stream()
    with there:
        plan = make()
        expected = [call(plan) for call in calls]
    with here:
        here.begin_capture()
        found = [call(plan) for call in (*calls, *calls)]
        here.end_capture()
        assert not here.waits_for
        for one, other in zip(found, expected * 2, strict=True):
            assert_same_bits(on_host(one), on_host(other))
        calls[0](plan)
    assert {event.stream for event in here.waits_for} == {there}


def test_what_a_graph_makes_of_a_plan_is_the_graphs(cupy, monkeypatch, many_boxes):
    """It is there when the graph has run: other calls make their own. Its memory stays with the plan."""
    make, forward, *gradients = many_boxes
    tables, sorts, init = [], [], RoiTable.__init__
    monkeypatch.setattr(
        RoiTable, "__init__", lambda self, *given: (init(self, *given), tables.append(weakref.ref(self)))[0]
    )
    stream = cupy.cuda.Stream()
    when_sorted(monkeypatch, lambda: sorts.append(stream.capturing))
    with stream:
        plan = make()
        stream.begin_capture()
        for gradient in gradients:
            gradient(plan)
        stream.end_capture()
        for _ in range(2):
            for call in (forward, *gradients):
                call(plan)
    assert sorts == [True, False]
    assert all(table() is not None for table in tables)
    del plan
    assert all(table() is None for table in tables)


def test_out_is_written_and_returned(cupy):
    out = ndarray(np.full((4, 2, 3, 5), 7, np.float32)).transpose(0, 3, 2, 1)
    found = roicy.roi_align(on_device(FEATURES), on_device(ROIS), (3, 2), out=out)
    assert found is out
    close(out, roicy.roi_align(FEATURES, ROIS, (3, 2)))


def test_libraries_are_not_mixed(cupy):
    with pytest.raises(TypeError, match=r"or all on a GPU, got features \(cupy.ndarray\), rois \(numpy"):
        roicy.roi_align(on_device(FEATURES), ROIS, 3)
    with pytest.raises(TypeError, match=r"out \(numpy.ndarray\)"):
        roicy.roi_align(on_device(FEATURES), on_device(ROIS), 3, out=np.zeros((4, 5, 3, 3), np.float32))
    with pytest.raises(TypeError, match=r"or all on a GPU, .* out \(cupy.ndarray\)"):
        roicy.roi_align(FEATURES, ROIS, 3, out=on_device(np.zeros((4, 5, 3, 3), np.float32)))


def test_lists_go_where_the_arrays_are(cupy):
    boxes, images = ROIS[:, 1:].tolist(), ROIS[:, 0].astype(int).tolist()
    wanted = roicy.roi_align(FEATURES, boxes, 3, batch_indices=images)
    found = roicy.roi_align(on_device(FEATURES), boxes, 3, batch_indices=images)
    assert isinstance(found, cupy.ndarray)
    close(found, wanted)
    of_each = [[boxes[0]], on_device(ROIS[1:2, 1:])]
    close(
        roicy.roi_align(on_device(FEATURES), of_each, 3)[:1], roicy.roi_align(FEATURES, [[boxes[0]], []], 3)
    )


def test_a_plan_takes_arrays_of_its_own_library_only(cupy):
    with pytest.raises(TypeError, match="or all on a GPU"):
        roicy.roi_align_plan(on_device(ROIS), FEATURES.shape, 3)(FEATURES)
    with pytest.raises(TypeError, match="or all on a GPU"):
        roicy.roi_align_plan(ROIS, FEATURES.shape, 3)(on_device(FEATURES))


def test_arrays_of_another_device(cupy):
    elsewhere = ndarray(ROIS, device=1)
    with pytest.raises(ValueError, match=r"rois must be on the device in use, 0, .* device 1: .*Device\(1\)"):
        roicy.roi_align(on_device(FEATURES), elsewhere, 3)


def test_items_at_odd_addresses(cupy):
    odd = np.frombuffer(bytearray(FEATURES.nbytes + 1), np.uint8)[1:].view(np.float32).reshape(FEATURES.shape)
    with pytest.raises(ValueError, match="features must have items at multiples of their size of 4 bytes"):
        roicy.roi_align(ndarray(odd), on_device(ROIS), 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([2, 0, 0, 1, 1], r"rois row 2, \[2.0, 0.0, 0.0, 1.0, 1.0\], has batch index 2.0"),
        ([0, 0, np.nan, 1, 1], r"rois row 2, .* is not finite"),
    ],
)
def test_invalid_rows_are_named(cupy, row, message):
    rois = ROIS.copy()
    rois[2] = row
    out = on_device(np.full((4, 5, 3, 3), 7, np.float32))
    with pytest.raises(ValueError, match=message):
        roicy.roi_align(on_device(FEATURES), on_device(rois), 3, out=out)
    assert (out._array == 7).all()
    found = roicy.roi_align(on_device(FEATURES), on_device(rois), 3, out=out, invalid="nan")
    assert np.isnan(on_host(found)[2]).all()
    assert not np.isnan(on_host(found)[[0, 1, 3]]).any()


@pytest.mark.parametrize("pool", ["pool", "max"])
def test_wrong_argmax_is_found_or_ignored(cupy, pool):
    argmax = argmax_of(pool)
    argmax[1, 2, 0, 1] = 1_000_000

    def backward(**options):
        if pool == "pool":
            given = map(on_device, (GRAD, argmax, ROIS))
            return roicy.roi_pool_backward(*given, FEATURES.shape, **options)
        options |= {"mode": "max", "argmax": on_device(argmax)}
        return roicy.roi_align_backward(on_device(GRAD), on_device(ROIS), FEATURES.shape, **options)

    with pytest.raises(ValueError, match=r"argmax\[1, 2, 0, 1\] must lie between -1 and .*, got 1000000"):
        backward()
    assert np.isfinite(on_host(backward(invalid="nan"))).all()


def test_out_must_not_overlap_an_input(cupy):
    both = np.zeros((4, 5, 12, 17), np.float32)
    features, out = ndarray(both[:2]), ndarray(both[:, :, :3, :2])
    with pytest.raises(ValueError, match="out must not overlap an input array"):
        roicy.roi_align(features, on_device(ROIS), (3, 2), out=out)
    with pytest.raises(ValueError, match="out must not overlap itself"):
        twice = np.broadcast_to(np.zeros((1, 5, 3, 2), np.float32), (4, 5, 3, 2))
        roicy.roi_align(on_device(FEATURES), on_device(ROIS), (3, 2), out=ndarray(twice))


def test_a_wrong_out_is_named(cupy):
    out = on_device(np.zeros((4, 5, 3, 2), np.float64))
    with pytest.raises(ValueError, match="out must have dtype float32"):
        roicy.roi_align(on_device(FEATURES), on_device(ROIS), (3, 2), out=out)


def test_nothing_to_do(cupy):
    for features, rois in ((FEATURES, ROIS[:0]), (FEATURES[:, :0], ROIS), (FEATURES[:0], ROIS[:0])):
        found = roicy.roi_align(on_device(features), on_device(rois), 3)
        assert found.shape == (len(rois), features.shape[1], 3, 3)
        grad = roicy.roi_align_backward(found, on_device(rois), features.shape)
        assert grad.shape == features.shape
        assert not on_host(grad).any()
