"""RoIs sorted by image on a GPU, for the gradients of many on several images."""

import shutil

import numpy as np
import pytest
from arrays.array_calls import FEATURES, ROIS
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import Waits, ndarray
from cuda_host.module import HostModule

import roicy
from roicy import _once, cuda
from roicy._types import Regions
from roicy.cuda.tables import rois as tables

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture
def cupy(monkeypatch):
    """A module in the place of ``cupy``."""
    return arrays.install(monkeypatch)


@pytest.fixture(params=["kernel", "argsort"])
def way(request, monkeypatch):
    """How they are sorted: by a kernel, and where that would look at too many, by CuPy."""
    if request.param == "argsort":
        monkeypatch.setattr(tables, "LOOKED_AT", 0)
    return request.param


def table_of(image, images):
    """Return a table whose rows belong to these images, or to none."""
    boxes, image = ndarray(np.zeros((len(image), 4))), ndarray(image)
    levels = ndarray(np.zeros(len(image._array), np.int32))  # so that a row may belong to another table
    regions = Regions(boxes, image, (images, 1, 4, 4), (1, 1), levels=levels, apart=True)
    return tables.ImageTable(cuda.kernels(), regions)


@pytest.mark.parametrize("threads", [0, 1], ids=["ascending", "descending"])
@pytest.mark.parametrize("most_blocks", [1, 3, 65536])
@pytest.mark.parametrize(("rois", "images"), [(1025, 2), (2048, 3), (3000, 7), (1100, 2500)])
def test_each_image_has_its_rois(cupy, way, monkeypatch, rois, images, most_blocks, threads):
    """In their order, without those that are invalid or of another table; also images that have none."""
    monkeypatch.setattr(cuda.kernels(), "most_blocks", most_blocks)
    rng = np.random.default_rng(rois)
    image = rng.integers(-2, images, rois)
    image[image == 1] = 0
    HostModule.set_order(threads)
    try:
        table = table_of(image, images)
        packed = table.packed_by_image()
    finally:
        HostModule.set_order(0)
    assert table.packed_by_image() is packed
    order, start = (packed.arrays[name]._array for name in ("order", "start"))
    assert start.shape == (images + 1,)
    np.testing.assert_array_equal(np.diff(start), np.bincount(image[image >= 0], minlength=images))
    for n in range(images):
        np.testing.assert_array_equal(order[start[n] : start[n + 1]], np.flatnonzero(image == n))
    assert Waits.count == 0


def test_few_are_not_sorted(cupy):
    for image, images in ((np.zeros(3000, np.int64), 1), (np.arange(tables.UNSORTED), tables.UNSORTED)):
        packed = table_of(image, images).packed_by_image()
        assert not packed["order"]
        assert not packed["start"]


def many(seed):
    """Return what a gradient is given."""
    rng = np.random.default_rng(seed)
    rois = np.tile(ROIS, (1 + tables.UNSORTED // len(ROIS), 1))
    rois[:, 0] = rng.integers(0, FEATURES.shape[0], len(rois))
    rois[:, 1:] += rng.uniform(-1, 1, (len(rois), 4))
    return rng.standard_normal((len(rois), 5, 1, 1), np.float32), rois


def test_gradients_of_many(cupy, way):
    grad, rois = many(0)
    expected = roicy.roi_align_backward(grad, rois, FEATURES.shape)
    found = roicy.roi_align_backward(ndarray(grad), ndarray(rois), FEATURES.shape, invalid="nan")._array
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
    assert Waits.count == 0


def test_gradients_of_many_are_repeated(way, monkeypatch):
    """A kernel's order is an own launch of each call; calls with CuPy's are made anew."""
    arrays.install(monkeypatch, by_address=True)
    planned, plan = [], _once._plan
    monkeypatch.setattr(
        _once, "_plan", lambda *given, **options: (planned.append(1), plan(*given, **options))[1]
    )
    monkeypatch.setattr(_once, "_known", type(_once._known)(256, _once.Kind))
    for seed in range(4):
        grad, rois = many(seed)
        planned.clear()
        found = roicy.roi_align_backward(ndarray(grad), ndarray(rois), FEATURES.shape, invalid="nan")._array
        assert len(planned) == (way == "argsort" or seed < 2)
        assert_same_bits(found, anew(grad, rois))


def anew(grad, rois):
    """Return the gradient by a plan, which no other call is like."""
    plan = roicy.roi_align_plan(ndarray(rois), FEATURES.shape, 1, invalid="nan")
    return plan.backward(ndarray(grad))._array
