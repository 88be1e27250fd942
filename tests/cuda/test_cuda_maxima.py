"""Maxima and their gradients on the CUDA kernels: problems of many RoIs, which blocks go through by parts.

The kernels are compiled for the processor; what they are held against is the CPU backend.
"""

import shutil

import numpy as np
import pytest
from closeness import assert_same_bits, assert_same_sums
from cuda_host import arrays

import roicy
from roicy import _backend
from roicy.cuda.device import constants
from roicy.cuda.tuning import CONSTANTS

MAP = (2, 9, 60, 70)


@pytest.fixture
def launched(host_kernels, monkeypatch):
    """Sources that the CUDA kernels launched, in their order."""
    sources = []
    launch = type(host_kernels).launch

    def noted(self, source, *arguments, **options):
        sources.append(source)
        launch(self, source, *arguments, **options)

    monkeypatch.setattr(type(host_kernels), "launch", noted)
    return sources


@pytest.fixture
def cuda(host_kernels, monkeypatch):
    """Make a call on the CUDA kernels."""

    def run(call, blocks=None):
        with monkeypatch.context() as patch:
            patch.setattr(_backend, "cpu", host_kernels)
            if blocks:
                patch.setattr(host_kernels, "most_blocks", blocks)
            return call()

    return run


def boxes(rng, count, images, height, width, sides=(1, 40)):
    corners = rng.uniform(-2, (width, height), (count, 2))
    sizes = np.exp(rng.uniform(*np.log(sides), (count, 2)))
    image = rng.integers(0, images, count)
    return np.column_stack([image, corners, corners + sizes]).astype(np.float32)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("count", "size"),
    [(300, (7, 7)), (3, (40, 3)), (2, (2, 70)), (280, (1, 1))],
    ids=["many boxes", "many rows", "many columns", "many boxes of one bin"],
)
def test_gradients_of_pixels_have_the_bits_of_the_cpu(cuda, count, size, layout):
    """RoIs, and their bins, that do not fit into a block's list at once; planes in several ranges."""
    rng = np.random.default_rng(0)
    n, c, h, w = MAP
    features = rng.standard_normal(MAP if layout == "NCHW" else (n, h, w, c), dtype=np.float32)
    rois = boxes(rng, count, n, h, w)
    _, argmax = roicy.roi_pool(features, rois, size, return_argmax=True, layout=layout)
    grad = rng.standard_normal(argmax.shape, dtype=np.float32)

    def backward():
        return roicy.roi_pool_backward(grad, argmax, rois, features.shape, layout=layout)

    found = cuda(backward)
    assert_same_bits(found, backward())
    assert_same_bits(cuda(backward, blocks=2), found)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("warps", [1, 2, 8])
@pytest.mark.parametrize("source", ["range_backward", "grid_backward"])
def test_blocks_of_any_size_list_all_boxes(monkeypatch, source, warps):
    """With numbers of warps such as `benchmarks/gpu_tuning.py` races."""
    arrays.install(monkeypatch)
    rng = np.random.default_rng(4)
    rois = boxes(rng, 800, 1, 20, 30)
    features = rng.standard_normal((1, 9, 20, 30), dtype=np.float32)
    if source == "range_backward":
        _, argmax = roicy.roi_pool(features, rois, (2, 3), return_argmax=True)
    else:
        _, argmax = roicy.roi_align(features, rois, (2, 3), mode="max", return_argmax=True)
    grad = rng.standard_normal(argmax.shape, dtype=np.float32)

    def backward(array):
        if source == "range_backward":
            return roicy.roi_pool_backward(array(grad), array(argmax), array(rois), features.shape)
        given = array(grad), array(rois), features.shape
        return roicy.roi_align_backward(*given, argmax=array(argmax), mode="max")

    monkeypatch.setitem(CONSTANTS[source], "WARPS", warps)
    constants.cache_clear()
    try:
        assert_same_sums(backward(arrays.ndarray)._array, backward(np.asarray))
    finally:
        constants.cache_clear()


@pytest.mark.parametrize("columns", [3, 600])
def test_any_pixels_may_be_named(cuda, columns):
    rng = np.random.default_rng(1)
    argmax = rng.integers(-1, MAP[2] * MAP[3], (20, MAP[1], 5, columns)).astype(np.int32)
    argmax[::3] = -1
    grad = rng.integers(-8, 8, argmax.shape).astype(np.float32)
    rois = np.zeros((20, 5), np.float32)
    rois[:, 0] = rng.integers(0, 2, 20)
    expected = np.zeros((MAP[0], MAP[1], MAP[2] * MAP[3]), np.float32)
    for k, c, p, q in np.argwhere(argmax >= 0):
        expected[int(rois[k, 0]), c, argmax[k, c, p, q]] += grad[k, c, p, q]
    found = cuda(lambda: roicy.roi_pool_backward(grad, argmax, rois, MAP))
    np.testing.assert_array_equal(found, expected.reshape(MAP))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("sampling_ratio", [0, 2, 11])
@pytest.mark.parametrize(("count", "size"), [(700, (7, 7)), (40, (7, 7)), (5, (33, 2)), (9, (14, 14))])
def test_largest_samples_of_many_boxes(cuda, count, size, sampling_ratio, layout):
    """Along rows of pixels or bin by bin; of gradients, samples that are looked up and those that are not."""
    rng = np.random.default_rng(2)
    n, c, h, w = MAP
    features = rng.standard_normal(MAP if layout == "NCHW" else (n, h, w, c), dtype=np.float32)
    rois = boxes(rng, count, n, h, w, (0.5, 75))
    options = {"mode": "max", "sampling_ratio": sampling_ratio, "layout": layout}

    def forward():
        return roicy.roi_align(features, rois, size, return_argmax=True, **options)

    expected, argmax = forward()
    for found, wanted in zip(cuda(forward), (expected, argmax), strict=True):
        assert_same_bits(found, wanted)
    grad = rng.standard_normal(argmax.shape, dtype=np.float32)

    def backward():
        return roicy.roi_align_backward(grad, rois, features.shape, argmax=argmax, **options)

    found = cuda(backward)
    assert_same_sums(found, backward())
    assert_same_bits(cuda(backward, blocks=2), found)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("channels", [33, 34, 68])
def test_rotated_boxes_read_a_copy_of_the_maps(cuda, launched, channels, dtype):
    """Where they have many samples; it has the channels side by side, and the bits are the same."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((2, channels, 20, 30)).astype(dtype)
    rois = np.column_stack([np.arange(12) % 2, rng.uniform(5, 20, (12, 4)), rng.uniform(-180, 180, 12)])
    rois = rois.astype(np.float32)
    found = cuda(lambda: roicy.roi_align_rotated(features, rois, (7, 5)))
    assert ("channels_last" in launched) == (channels % 2 == 0)
    launched.clear()
    few = cuda(lambda: roicy.roi_align_rotated(features, rois[:2], (7, 5)))
    assert "channels_last" not in launched
    assert_same_bits(found[:2], few)
    side_by_side = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    pooled = cuda(lambda: roicy.roi_align_rotated(side_by_side, rois, (7, 5), layout="NHWC"))
    assert_same_bits(pooled.transpose(0, 3, 1, 2), found)
