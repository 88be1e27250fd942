"""Memory: bounded by tables and outputs; and arrays of more elements than 32 bits can count."""

import contextlib
import ctypes
import math
import mmap
import os
import sys

import numpy as np
import pytest
import reference.average
from closeness import assert_same_bits
from operators import of_all

import roicy
from roicy import cpu
from roicy._types import Regions, Sampling
from roicy.cpu.runtime import outputs
from roicy.cpu.tables import grid

PEAK = """
import sys
import numpy as np
import battery, roicy
from operators import OPERATORS

def peak():
    '''Bytes at the most; unlike getrusage, of this program alone, not of the process that it replaced.'''
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024

roicy.set_num_threads(1)
rng = np.random.default_rng(0)
corners = battery.random_boxes(rng, 3000, 60, 80)
maps = {operator.name: operator.map_shape((1, 16, 60, 80), (14, 14)) for operator in OPERATORS}
features = np.ones(maps.get(sys.argv[1], (1, 16, 60, 80)), np.float32)
rois = {operator.name: operator.rois(rng, np.zeros(3000), corners) for operator in OPERATORS}
for operator in OPERATORS:  # once, so that what is loaded late is loaded
    operator.forward(np.ones((*maps[operator.name][:2], 8, 8), np.float32), rois[operator.name][:1], 14)
out = np.ones((3000, 16, 14, 14), np.float32)
argmax = np.ones(out.shape, np.int32)
grad = np.ones(features.shape, np.float32)
before = peak()
if sys.argv[1] == "nothing":
    np.ones(2**25)
for operator in OPERATORS:
    if operator.name == sys.argv[1]:
        call, options = rois[operator.name], {"sampling_ratio": 3}
        pooled = (out, argmax) if operator.has_argmax else out
        chosen = pooled[1] if operator.has_argmax else None
        operator.both(features, call, 14, out=pooled, **options)
        operator.backward(out, call, features.shape, chosen, out=grad, **options)
        if operator.has_slopes:
            operator.backward_rois(out, features, call, chosen, **options)
print(peak() - before)
"""


@pytest.mark.plain_build("a sanitizer keeps what was freed")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of a Linux process")
@of_all
def test_memory_does_not_grow_with_the_boxes(operator, run_python):
    """3000 boxes of 14 x 14 x 9 samples, whose pixels and weights would fill 170 MB: at most 64 MB."""
    assert int(run_python(PEAK, operator.name)) < 64 * 2**20


def test_a_run_of_boxes_lists_as_many_samples_as_are_held():
    """The most that fit, and not one box more; a box that does not fit alone is a run."""
    boxes = np.tile(np.float32([1, 1, 9, 7]), (7, 1))
    regions = Regions(boxes, np.zeros(7, np.int64), (1, 4, 12, 10), (2, 3))

    def runs(samples):
        grid.hold(samples)
        table = cpu.grid_table(regions, Sampling(1.0, 2, True), "float32")
        return [run.stop - run.start for run, _ in table]

    try:
        listed = next(count for count in range(1, 1000) if runs(7 * count) == [7])
        assert runs(7 * listed - 1) == [6, 1]
        assert runs(2 * listed) == runs(3 * listed - 1) == [2, 2, 2, 1]
        assert runs(2 * listed - 1) == runs(listed) == runs(1) == [1] * 7
    finally:
        grid.hold(2**20)


AGAIN = """
import resource
import sys
import numpy as np
import battery, roicy
from operators import OPERATORS

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

(operator,) = [operator for operator in OPERATORS if operator.name == sys.argv[1]]
roicy.set_num_threads(1)
rng = np.random.default_rng(0)
features = np.ones(operator.map_shape((1, 8, 100, 136), (7, 7)), np.float32)
most = 0
for boxes in (150, 300, 500, 700):
    rois = operator.rois(rng, np.zeros(boxes), battery.random_boxes(rng, boxes, 100, 136))
    pooled, chosen = operator.both(features, rois, 7, sampling_ratio=2)
    def calls():
        operator.both(features, rois, 7, sampling_ratio=2)
        operator.backward(pooled, rois, features.shape, chosen, sampling_ratio=2)
        if operator.has_slopes:
            operator.backward_rois(pooled, features, rois, chosen, sampling_ratio=2)
    calls()
    calls()
    before = faults()
    calls()
    most = max(most, faults() - before)
print(most)
"""


@pytest.mark.plain_build("a sanitizer gives memory back")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts as a Linux process does")
@of_all
def test_the_next_call_finds_its_memory(operator, run_python):
    """Tables of up to 20 MB are not mapped anew: what is are the results, 1.1 MB each at the most."""
    assert int(run_python(AGAIN, operator.name)) < 1200


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of a Linux process")
def test_the_peak_is_seen(run_python):
    """Without which the test above would prove nothing: an array of 256 MB."""
    assert int(run_python(PEAK, "nothing")) > 200 * 2**20


@pytest.mark.plain_build("a sanitizer maps terabytes")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the memory of a Linux process")
def test_memory_does_not_grow_with_the_box(run_python):
    """Forward and backward with huge boxes and grids, in a process that may take 300 MB more than it has."""
    source = """
import resource
import numpy as np
import roicy

roicy.set_num_threads(1)
features = np.ones((1, 16, 50, 50), np.float32)
far = [1e3, 1e5, 1e7, 1e9, 1e15, 1e30, 3e38]
rois = np.array([[0, -a, -b, b, a] for a in far for b in far] * 4, np.float32)
with open("/proc/self/statm") as statm:
    taken = int(statm.read().split()[0]) * resource.getpagesize()
limit = taken + 300 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    np.ones(2**27)  # a gigabyte
except MemoryError:
    print("limited")
for ratio in (0, 2, 65536):
    out = roicy.roi_align(features, rois, 14, sampling_ratio=ratio)
    roicy.roi_align_backward(out, rois, features.shape, sampling_ratio=ratio)
    roicy.roi_align_backward_rois(out, features, rois, sampling_ratio=ratio)
    roicy.roi_align_plan(rois, features.shape, 14, sampling_ratio=ratio)(features)
    roicy.roi_align(features, rois, 14, sampling_ratio=ratio, mode="max")
roicy.roi_pool(features, rois, 14)
turned = np.array([[0, x, 20, a, b, 30] for x in (20, 1e9) for a in far for b in far] * 2, np.float32)
for ratio in (0, 2):
    out = roicy.roi_align_rotated(features, turned, 14, sampling_ratio=ratio)
    roicy.roi_align_rotated_backward(out, turned, features.shape, sampling_ratio=ratio)
    roicy.roi_align_rotated_backward_rois(out, features, turned, sampling_ratio=ratio)
print("done")
"""
    assert run_python(source, timeout=60).split() == ["limited", "done"]


@pytest.mark.plain_build("a sanitizer maps terabytes")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the memory of a Linux process")
def test_bins_without_memory_are_not_counted(run_python):
    """Memory for each bin is taken before what they need together is found out, bin by bin."""
    source = """
import resource, time
import numpy as np
import roicy

roicy.set_num_threads(1)
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
box, turned = np.array([[0, 4, 4, 9, 9]], np.float32), np.array([[0, 4, 4, 9, 9, 30]], np.float32)
maps, size = np.ones((1, 1, 20, 20), np.float32), (1, 4 * 10**8)
for make in (
    lambda: roicy.roi_align_plan(box, maps.shape, size),
    lambda: roicy.roi_align_plan(box, maps.shape, size, mode="max"),
    lambda: roicy.roi_align_rotated_plan(turned, maps.shape, size),
    lambda: roicy.roi_pool_plan(box, maps.shape, size)(maps),
):
    began = time.process_time()
    try:
        make()
    except MemoryError:
        print(time.process_time() - began < 0.4)
"""
    assert run_python(source).split() == ["True"] * 4


# ---------------------------------------------------------------- more than 2**31 elements


def need_memory(available, needed):
    if available < 1.2 * needed:
        pytest.skip(f"takes {needed / 2**30:.1f} GiB of memory, {available / 2**30:.1f} GiB are available")


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 3, 30000, 30000), (1, 60000, 200, 200), (60000, 1, 200, 200)])
def test_more_features_than_int32_can_count(shape, available_memory):
    """Only a few pages of the features are ever touched; the others are zeros that take no memory."""
    need_memory(available_memory, 2**31)
    n, c, height, width = shape
    features = np.zeros(shape, np.uint8)
    assert features.size > 2**31
    corner = np.random.default_rng(0).integers(1, 256, (12, 14), dtype=np.uint8)
    features[-1, -1, -12:, -14:] = corner
    rois = np.array([[n - 1, width - 14, height - 12, width, height], [0, 0, 0, 14, 12]], np.float64)
    if n > 1:
        rois = rois[:, 1:]
        images = {"batch_indices": np.array([n - 1, 0])}
    else:
        images = {}
    out = roicy.roi_align(features, rois, (12, 14), sampling_ratio=1, **images)
    assert (out[0, -1] == corner).all()
    assert not out[1].any()
    assert not out[0, :-1].any()

    grad_output = np.zeros((2, c, 1, 1), np.float32)
    grad_output[0, -1] = 1
    middle = rois[:1] + np.array([2, 2, -2, -2] if n > 1 else [0, 2, 2, -2, -2])
    grad = roicy.roi_align_backward_rois(
        grad_output[:1], features, middle, sampling_ratio=8, **{k: v[:1] for k, v in images.items()}
    )
    small = np.zeros((1, 1, 12, 14))
    small[0, 0] = corner
    expected = reference.average.roi_align_backward_rois(
        np.ones((1, 1, 1, 1)), small, np.array([[0.0, 2, 2, 12, 10]]), sampling_ratio=8
    )
    np.testing.assert_allclose(grad[:, -4:], expected[:, 1:], rtol=1e-4, atol=1e-4)


@contextlib.contextmanager
def folded(shape, dtype, rows, last):
    """An array of many rows in little memory: so many `rows` at a time lie on the first ones, but the last.

    Gigabytes that are touched for the first time take seconds each.
    """
    dtype, map_shared, map_fixed = np.dtype(dtype), mmap.MAP_SHARED, 0x10
    whole, own, folds = math.prod(shape), last * math.prod(shape[1:]), (shape[0] - last) // rows
    whole, own, fold = (count * dtype.itemsize for count in (whole, own, rows * math.prod(shape[1:])))
    assert whole == folds * fold + own
    assert fold % mmap.PAGESIZE == 0
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    file = os.memfd_create("folded")
    try:
        os.ftruncate(file, fold + own)
        start = libc.mmap(None, whole, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        places = [(k * fold, fold, 0) for k in range(folds)]
        for place, size, offset in [*places, (folds * fold, own, fold)]:
            found = libc.mmap(start + place, size, protection, map_shared | map_fixed, file, offset)
            assert found == start + place
        yield np.frombuffer((ctypes.c_char * whole).from_address(start), dtype).reshape(shape)
        libc.munmap(start, whole)
    finally:
        os.close(file)


by_folds = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps memory as Linux does")


@by_folds
@pytest.mark.parametrize("layout, dtype", [("NCHW", "float16"), ("NHWC", "float32")])
def test_more_results_than_int32_can_count(layout, dtype):
    """Many boxes with many channels; large crops, of which there need be fewer.

    The boxes are the same but the last, and those in the same memory, too; all behind 2**31 have their own.
    """
    count, c, bins, last = 1930, 1024, 33, 8
    features = np.random.default_rng(0).random((1, c, bins + 1, bins + 1)).astype(dtype)
    rois = np.repeat(np.array([[0, 0, 0, bins, bins]], np.float32), count, axis=0)
    rois[-1] = [0, 1, 0, bins + 1, bins]
    shape = (count, c, bins, bins)
    if layout == "NHWC":
        features, shape = np.ascontiguousarray(features.transpose(0, 2, 3, 1)), (count, bins, bins, c)
    # Samples at pixel centers: the results are crops of the map.
    window = (0, slice(None), slice(0, bins)) if layout == "NCHW" else (0, slice(0, bins))
    expected = features[(*window, slice(0, bins))]
    with folded(shape, dtype, 2, last) as out:
        assert out.size > 2**31 > out[:-last].size
        roicy.roi_align(features, rois, bins, sampling_ratio=1, layout=layout, out=out)
        assert_same_bits(out[-1], features[(*window, slice(1, bins + 1))])
        for k in (0, count // 2, *range(count - last, count - 1)):
            assert_same_bits(out[k], expected)


@by_folds
def test_one_plane_of_results_larger_than_int32():
    """A single box with more bins than int32 can count."""
    size, last = 46400, 128
    y, x = np.mgrid[:3, :4].astype(np.float16)
    features = (x + 4 * y)[None, None]
    with folded((size, size), "float16", 32, last) as plane:
        assert plane.size > 2**31 > plane[:-last].size
        box = np.array([[0, 0.5, 0.5, 3.5, 2.5]])
        roicy.roi_align(features, box, size, sampling_ratio=1, out=plane[None, None])
        # From pixel center to pixel center: along x the result rises from 0 to 3, along y from 0 to 8.
        columns, rows = np.array([0, 1, 12345, size // 2, size - 2, size - 1]), np.arange(size - last, size)
        expected = 3 * (columns + 0.5) / size + 8 * ((rows + 0.5) / size)[:, None]
        found = plane[np.ix_(rows, columns)].astype(float)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@by_folds
def test_a_gradient_with_more_elements_than_int32_can_count():
    shape, last = (1, 3, 27000, 27000), 1640
    top = shape[2] - last
    rois = np.array([[0, 26990, 26985, 27000, 27000], [0, 0, top, 10, top + 15]], np.float64)
    grad_output = np.random.default_rng(0).random((2, 3, 5, 5)).astype(np.float16)
    with folded((math.prod(shape[:3]), shape[3]), "float16", 256, last) as rows:
        assert rows.size > 2**31 > rows[:-last].size
        roicy.roi_align_backward(grad_output, rois, shape, sampling_ratio=3, out=rows.reshape(shape))
        found = rows[-last:].copy()  # of the last channel
    for k, y, x, own in [(0, 26980, 26980, np.s_[-20:, -20:]), (1, top, 0, np.s_[:20, :20])]:
        near = rois[k : k + 1] - [0, x, y, x, y]
        small = roicy.roi_align_backward(grad_output[k : k + 1], near, (1, 3, 20, 20), sampling_ratio=3)
        assert_same_bits(found[own].copy(), small[0, 2].copy())
        assert found[own].any()
        found[own] = 0
    assert not found.any()


@pytest.mark.parametrize("blank", [False, True])
def test_new_results_with_more_elements_than_int32_can_count(blank, available_memory):
    """All of it is there; what nobody touches takes no memory."""
    size = 46400
    need_memory(available_memory, 2 * size * size)
    out = outputs.new_array((1, 1, size, size), np.dtype("float16"), blank)
    assert out.nbytes == 2 * size * size > 2**32
    out[0, 0, :: size - 1, :: size - 1] = 1
    assert (out[0, 0, :: size - 1, :: size - 1] == 1).all()
