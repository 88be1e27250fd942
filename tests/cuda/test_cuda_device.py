"""What only a CUDA device can show: streams, waiting, memory; and its results against the CPU's.

Where there is a device, the tests that use the fixture `backend` run on it, too.
"""

import gc

import numpy as np
import on_device
import pytest
from closeness import assert_same_bits, assert_same_sums
from operators import of_all
from operators import operator as operator_module
from strategies import LAYOUTS, random_values
from test_cuda_twins import WORK, WORK_IDS, agree, outputs, that_agree

import roicy
from roicy import cuda

SHAPE = (2, 40, 60, 70)
ROIS = np.array(
    [[0, 1, 2, 50, 40], [1, -3, 10, 69, 59], [1, 30, 30, 30.5, 31], [0, 0, 0, 69, 59]], np.float32
)
TURNED = np.array([[0, 30, 30, 50, 20, 35], [1, 10, 40, 25, 60, -100]], np.float32)


@pytest.fixture
def features():
    return random_values(np.random.default_rng(0), SHAPE, np.dtype("float32"))


def moved_to(monkeypatch, xp):
    """Make the calls of `outputs` on the device."""
    moved = on_device.OnDevice(on_device.Cupy(xp), roicy)
    monkeypatch.setattr(operator_module, "roicy", moved)


works = pytest.mark.parametrize("work", WORK, ids=WORK_IDS)


@works
@of_all
def test_results_are_the_cpus(xp, monkeypatch, operator, work):
    expected = outputs(operator, work)
    with monkeypatch.context() as patch:
        moved_to(patch, xp)
        found = outputs(operator, work)
    precision = "float64" if work.dtype == "float64" else "float32"
    agree(that_agree(operator, found), that_agree(operator, expected), precision)


@works
@of_all
def test_two_runs_are_equal(xp, monkeypatch, operator, work):
    moved_to(monkeypatch, xp)
    for one, other in zip(outputs(operator, work), outputs(operator, work), strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("blocks", [1, 2**31 - 1])
def test_bins_beside_the_map(xp, monkeypatch, blocks):
    """Some bins of a RoI have fewer taps; a warp that takes one RoI after another waits for its lanes."""
    monkeypatch.setattr(cuda.kernels(), "most_blocks", blocks)
    features = random_values(np.random.default_rng(0), (2, 17, 7, 60), np.dtype("float32"))
    corners = [[0, 2, 1, 74, 5], [1, 2, 1, 90, 5], [0, 30, 2, 50, 20], [1, -40, -9, 80, 20]]
    rois = np.array(corners, np.float32)
    there = xp.asarray(features), xp.asarray(rois)
    assert_same_sums(xp.asnumpy(roicy.roi_align(*there, (2, 4))), roicy.roi_align(features, rois, (2, 4)))
    largest = roicy.roi_pool(features, rois, (2, 4), return_argmax=True)
    found = roicy.roi_pool(*there, (2, 4), return_argmax=True)
    for array, expected in zip(found, largest, strict=True):
        assert_same_bits(xp.asnumpy(array), expected)


def test_descriptors(xp, monkeypatch):
    """Of more channels than a block has threads, by one block: its threads wait for each other."""
    monkeypatch.setattr(cuda.kernels(), "most_blocks", 1)
    features = random_values(np.random.default_rng(0), (2, 300, 5, 3), np.dtype("float32"))
    assert_same_sums(xp.asnumpy(roicy.rmac(xp.asarray(features))), roicy.rmac(features))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_strides(xp, features, layout):
    there = on_device.OnDevice(on_device.Cupy(xp), roicy)
    out = layout(np.full((4, 40, 7, 7), np.nan, np.float32))
    there.roi_align(layout(features), ROIS, 7, out=out)
    assert_same_sums(out, roicy.roi_align(features, ROIS, 7))
    gradient = layout(np.full(SHAPE, np.nan, np.float32))
    there.roi_align_backward(layout(out), ROIS, SHAPE, out=gradient)
    assert_same_sums(gradient, roicy.roi_align_backward(out, ROIS, SHAPE))


# ---------------------------------------------------------------- streams


SPIN = r"""
extern "C" __global__ void spin(long long cycles) {
    const long long start = clock64();
    while (clock64() - start < cycles)
        ;
}
"""


def busy(xp, stream):
    """Keep the stream from going on for some 50 milliseconds."""
    spin = xp.RawKernel(SPIN, "spin")
    with stream:
        spin((1,), (1,), (np.int64(10**8),))


CALLS = {
    "average": lambda f, r, t, **o: roicy.roi_align(f, r, 7, **o),
    "maximum": lambda f, r, t, **o: roicy.roi_align(f, r, 7, mode="max", **o),
    "pool": lambda f, r, t, **o: roicy.roi_pool(f, r, 7, **o),
    "rotated": lambda f, r, t, **o: roicy.roi_align_rotated(f, t, 7, **o),
    "backward": lambda f, r, t, **o: roicy.roi_align_backward(f[:1, :, :4, :4].repeat(4, 0), r, SHAPE, **o),
    "backward, boxes sorted by image": lambda f, r, t, **o: roicy.roi_align_backward(
        f[:1, :, :2, :2].repeat(1200, 0), with_others(r, 300), SHAPE, **o
    ),
}


def with_others(rois, number):
    """The boxes, with others off the map between them: more boxes, but no more terms in a pixel's sum."""
    rows = rois.repeat(number, 0)
    rows.reshape(len(rois), number, 5)[:, 1:, 1:] += 1000
    return rows


@pytest.mark.parametrize("name", CALLS)
def test_on_a_stream_of_its_own(xp, features, name):
    """The work is in line on the current stream, behind what fills its inputs."""
    there = [xp.asarray(array) for array in (np.zeros_like(features), ROIS, TURNED)]
    whole = xp.asarray(features)
    stream = xp.cuda.Stream(non_blocking=True)
    xp.cuda.Device().synchronize()
    busy(xp, stream)
    with stream:
        there[0][...] = whole
        found = CALLS[name](*there)
        there[0][...] = 0
    stream.synchronize()
    assert_same_sums(xp.asnumpy(found), CALLS[name](features, ROIS, TURNED))


@pytest.mark.parametrize("name", CALLS)
def test_nothing_waits_that_need_not(xp, features, name):
    """With invalid="nan" a call comes back while the device is still busy with what was before it."""
    there = [xp.asarray(array) for array in (features, ROIS, TURNED)]
    stream = xp.cuda.Stream(non_blocking=True)
    with stream:
        CALLS[name](*there, invalid="nan")  # compiles
    stream.synchronize()
    busy(xp, stream)  # compiles
    stream.synchronize()
    busy(xp, stream)
    assert not stream.done
    with stream:
        CALLS[name](*there, invalid="nan")
    assert not stream.done, "the call waited for the device, or took longer than the device was busy"
    stream.synchronize()


def test_a_plan_on_several_streams(xp, features):
    """Streams that do not wait for each other: a plan's tables are there before they are used."""
    rois = np.tile(ROIS, (400, 1))
    expected = roicy.roi_align_plan(rois, SHAPE, 2)
    grad = random_values(np.random.default_rng(1), (len(rois), SHAPE[1], 2, 2), np.dtype("float32"))
    there = [xp.asarray(array) for array in (features, grad)]
    streams = [xp.cuda.Stream(non_blocking=True) for _ in range(2)]
    busy(xp, streams[0])
    xp.cuda.Device().synchronize()
    busy(xp, streams[0])
    with streams[0]:
        plan = roicy.roi_align_plan(xp.asarray(rois), SHAPE, 2, invalid="nan")
    with streams[1]:
        pooled = plan(there[0])
    busy(xp, streams[0])
    with streams[0]:
        plan.backward(there[1])
    with streams[1]:
        gradient = plan.backward(there[1])
    xp.cuda.Device().synchronize()
    assert_same_sums(xp.asnumpy(pooled), expected(features))
    assert_same_sums(xp.asnumpy(gradient), expected.backward(grad))


def test_a_plan_in_a_graph(xp, features):
    """Its calls are recorded, and run again on what is in their inputs by then."""
    grad = random_values(np.random.default_rng(1), (len(ROIS), SHAPE[1], 7, 7), np.dtype("float32"))
    expected = roicy.roi_align_plan(ROIS, SHAPE, 7)
    inputs = [xp.asarray(array) for array in (features, grad)]
    outputs = [xp.zeros(shape, np.float32) for shape in (grad.shape, SHAPE, SHAPE)]
    plan = roicy.roi_align_plan(xp.asarray(ROIS), SHAPE, 7, invalid="nan")

    def calls():
        plan(inputs[0], out=outputs[0])
        for out in outputs[1:]:
            plan.backward(inputs[1], out=out)

    stream = xp.cuda.Stream(non_blocking=True)
    xp.cuda.Device().synchronize()
    with stream:
        calls()
        stream.synchronize()
        stream.begin_capture()
        calls()
        graph = stream.end_capture()
        for array in inputs:
            array *= 2
        graph.launch()
    stream.synchronize()
    assert_same_sums(xp.asnumpy(outputs[0]), expected(2 * features))
    for out in outputs[1:]:
        assert_same_sums(xp.asnumpy(out), expected.backward(2 * grad))


def test_plain_calls_in_a_graph(xp, features):
    """What they take beside their outputs is the graph's, by CuPy's allocator. Boxes may change, too."""
    grad = random_values(np.random.default_rng(1), (len(ROIS), SHAPE[1], 7, 7), np.dtype("float32"))
    inputs = [xp.asarray(array) for array in (features, grad, ROIS, TURNED)]
    shapes = grad.shape, SHAPE, ROIS.shape, (len(TURNED), SHAPE[1], 7, 7), TURNED.shape
    outputs = [xp.zeros(shape, np.float32) for shape in shapes]

    def results(features, grad, rois, turned, outputs):
        options = {"invalid": "nan"}
        return (
            roicy.roi_align(features, rois, 7, out=outputs[0], **options),
            roicy.roi_align_backward(grad, rois, SHAPE, out=outputs[1], **options),
            roicy.roi_align_backward_rois(grad, features, rois, out=outputs[2], **options),
            roicy.roi_align_rotated(features, turned, 7, out=outputs[3], **options),
            roicy.roi_align_rotated_backward_rois(
                grad[: len(turned)], features, turned, out=outputs[4], **options
            ),
        )

    stream = xp.cuda.Stream(non_blocking=True)
    xp.cuda.Device().synchronize()
    with stream, xp.cuda.using_allocator(xp.cuda.malloc_async):
        results(*inputs, outputs)
        stream.synchronize()
        stream.begin_capture()
        results(*inputs, outputs)
        graph = stream.end_capture()
        inputs[0] *= 2
        inputs[2] += 0.25
        graph.launch()
        others = [xp.full(5000, np.nan) for _ in range(50)]
        graph.launch()
        stream.synchronize()
    assert all(xp.isnan(other).all() for other in others)
    expected = results(2 * features, grad, ROIS + np.float32(0.25), TURNED, [None] * 5)
    for found, wanted in zip(outputs, expected, strict=True):
        assert_same_sums(xp.asnumpy(found), wanted)


# ---------------------------------------------------------------- memory


@pytest.fixture
def no_collector():
    """Python's garbage collector does not come by."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_all_memory_comes_from_the_pool_and_goes_back(xp, features):
    there = [xp.asarray(array) for array in (features, ROIS, TURNED)]
    pool = xp.get_default_memory_pool()
    for call in CALLS.values():
        call(*there)
        before = pool.used_bytes()
        call(*there)
        assert pool.used_bytes() == before


def test_memory_is_bounded_by_tables_and_output(xp):
    """Huge boxes have no more samples in memory than small ones."""
    features = xp.ones((1, 8, 50, 50), np.float32)
    small = xp.asarray(np.tile(np.float32([0, 10, 10, 20, 20]), (1000, 1)))
    huge = xp.asarray(np.tile(np.float32([0, -1e6, -1e6, 1e6, 1e6]), (1000, 1)))
    pool, most = xp.get_default_memory_pool(), []
    for rois in (small, huge):
        pool.free_all_blocks()
        roicy.roi_align(features, rois, 7)
        most.append(pool.total_bytes())
    assert most[1] <= 2 * most[0] + 2**20


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_more_items_than_32_bits_count(xp, layout):
    """The last of 2**31 + something pixels."""
    xp.get_default_memory_pool().free_all_blocks()
    free, _ = xp.cuda.runtime.memGetInfo()
    shape = (3, 9, 8192, 9728) if layout == "NCHW" else (3, 8192, 9728, 9)
    assert np.prod(shape) > 2**31
    if free < 4 * np.prod(shape) + 2**30:  # features and gradient
        pytest.skip("not enough memory on the device")
    features = xp.zeros(shape, np.float16)
    last = (2, slice(None), slice(-4, None), slice(-4, None))
    last = last if layout == "NCHW" else (2, slice(-4, None), slice(-4, None), slice(None))
    features[last] = 3
    rois = xp.asarray(np.array([[2, 9724.5, 8188.5, 9727.5, 8191.5], [0, 0, 0, 3, 3]], np.float32))
    for call in (roicy.roi_align, roicy.roi_pool):
        found = xp.asnumpy(call(features, rois, 2, layout=layout))
        assert (found[0] == 3).all()
        assert (found[1] == 0).all()
    grad = roicy.roi_align_backward(call(features, rois, 2, layout=layout), rois, shape, layout=layout)
    assert float(grad[last].sum(dtype=np.float32)) == pytest.approx(9 * 4 * 3, rel=1e-2)


def test_tables_that_ask_for_their_room(xp, features, monkeypatch):
    """The sizes of large tables are read from the device."""
    from roicy.cuda.tables import axis

    monkeypatch.setattr(axis, "UNASKED_BYTES", 0)
    there = [xp.asarray(array) for array in (features, ROIS)]
    pooled = roicy.roi_align(*there, 7)
    assert_same_sums(xp.asnumpy(pooled), roicy.roi_align(features, ROIS, 7))
    gradient = roicy.roi_align_backward(pooled, there[1], SHAPE)
    assert_same_sums(xp.asnumpy(gradient), roicy.roi_align_backward(xp.asnumpy(pooled), ROIS, SHAPE))


# ---------------------------------------------------------------- errors


def test_libraries_are_not_mixed(xp, features):
    with pytest.raises(TypeError, match=r"features \(cupy.ndarray\), rois \(numpy.ndarray\)"):
        roicy.roi_align(xp.asarray(features), ROIS, 7)
    with pytest.raises(TypeError, match=r"out \(numpy.ndarray\)"):
        roicy.roi_align(xp.asarray(features), xp.asarray(ROIS), 7, out=np.zeros((4, 40, 7, 7), np.float32))


def test_arrays_of_two_devices(xp, features):
    if xp.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device only")
    with xp.cuda.Device(1):
        elsewhere = xp.asarray(ROIS)
    with pytest.raises(ValueError, match="rois must be on the device in use"):
        roicy.roi_align(xp.asarray(features), elsewhere, 7)


def test_invalid_rows_are_named(xp, features):
    rois = ROIS.copy()
    rois[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"rois row 2.*not finite"):
        roicy.roi_align(xp.asarray(features), xp.asarray(rois), 7)
    found = xp.asnumpy(roicy.roi_align(xp.asarray(features), xp.asarray(rois), 7, invalid="nan"))
    assert np.isnan(found[2]).all()
    assert not np.isnan(found[[0, 1, 3]]).any()
