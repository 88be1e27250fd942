"""Likely mistakes: what is said tells what to write instead."""

import re
import sys
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest

import roicy

FEATURES = np.random.default_rng(0).random((1, 8, 60, 80)).astype(np.float32)
IMAGE = np.zeros((480, 640, 3), np.uint8)
BOXES = np.array([[30, 20, 50, 45], [10, 12, 40, 30], [35, 30, 60, 55]], np.float32)
SCORES = np.array([[0.9], [0.8], [0.4]], np.float32)
ROWS = np.insert(BOXES, 0, 0, axis=1)
GRAD = np.ones((3, 8, 7, 7), np.float32)
MAPS = [FEATURES, FEATURES[:, :, ::2, ::2]]
#: The first two numbers larger than the others.
XYWH = np.array([[50, 50, 10, 8], [40, 45, 12, 6], [60, 50, 7, 7]], np.float32)


class Picture:
    """A picture of PIL's, a frame of pandas': NumPy makes an array of it."""

    def __init__(self, array):
        self.__array_interface__ = array.__array_interface__
        self._kept = array


class Tensor:
    """A tensor of another library; `problem` is what that says when its memory is asked for."""

    def __init__(self, problem="", device=(1, 0)):
        self._problem, self._device = problem, device

    def __dlpack_device__(self):
        return self._device

    def __dlpack__(self, **options):
        raise BufferError(self._problem)


class Mistake(NamedTuple):
    """A call, what it is answered with, and what that says."""

    name: str
    call: Any
    kind: Any
    says: str


T, V, W = TypeError, ValueError, roicy.RoisWarning
align, backward, slopes = roicy.roi_align, roicy.roi_align_backward, roicy.roi_align_backward_rois
MISTAKES = [
    # boxes
    Mistake(
        "xywh", lambda: align(FEATURES, XYWH, 7), W, "x1, y1, x2, y2: add the first two numbers to the others"
    ),
    Mistake(
        "normalised", lambda: align(FEATURES, BOXES / 100, 7), W, r"rois \* \[width, height, width, height\]"
    ),
    Mistake(
        "no scale", lambda: align(FEATURES, BOXES * 16, 7), W, "spatial_scale is .* 1 / 16 for a stride of 16"
    ),
    Mistake("inverted scale", lambda: align(FEATURES, BOXES, 7, spatial_scale=16), W, "1 / 16"),
    Mistake(
        "normalised with scores",
        lambda: align(FEATURES, np.hstack([BOXES / 100, SCORES]), 7),
        W,
        r"rois\[:, :4\]",
    ),
    Mistake("with scores", lambda: align(FEATURES, np.hstack([BOXES, SCORES]), 7), V, r"pass rois\[:, :4\]"),
    Mistake(
        "with index and scores",
        lambda: align(FEATURES, np.hstack([ROWS, SCORES]), 7),
        V,
        r"\(K, 5\), rows \[batch",
    ),
    Mistake(
        "turned boxes", lambda: align(FEATURES, np.hstack([BOXES, SCORES * 30]), 7), V, "before the 4 numbers"
    ),
    Mistake("a single box", lambda: align(FEATURES, [30, 20, 50, 45], 7), V, r"\[\[\.\.\.\]\] for one box"),
    Mistake(
        "a single box's array", lambda: align(FEATURES, BOXES[0], 7), V, r"\(K, 4\), rows \[x1, y1, x2, y2\]"
    ),
    Mistake("which image", lambda: align(np.repeat(FEATURES, 2, 0), BOXES, 7), V, "pass batch_indices"),
    Mistake(
        "not enough lists",
        lambda: align(np.repeat(FEATURES, 2, 0), [BOXES], 7),
        V,
        "one array for each of N = 2",
    ),
    Mistake(
        "rows of two lengths",
        lambda: align(FEATURES, [[1, 2, 3, 4], [1, 2, 3]], 7),
        V,
        r"rois\[1\] must have 4",
    ),
    Mistake(
        "a word", lambda: align(FEATURES, [[1, 2, 3, "4"]], 7), T, r"rois\[0\]\[3\] must be a number, got '4'"
    ),
    Mistake("nan", lambda: align(FEATURES, BOXES * np.nan, 7), V, "invalid='nan' accepts such rows"),
    Mistake("a frame", lambda: align(FEATURES, Picture(BOXES), 7), T, r"np\.asarray\(rois\)"),
    Mistake(
        "float indices",
        lambda: align(FEATURES, BOXES, 7, batch_indices=np.zeros(3)),
        T,
        r"batch_indices\.astype\(int\)",
    ),
    # maps
    Mistake("swapped", lambda: align(BOXES, FEATURES, 7), V, "boxes come after the maps"),
    Mistake("no batch", lambda: align(FEATURES[0], BOXES, 7), V, r"features\[None\] is a batch of one"),
    Mistake("HWC", lambda: align(IMAGE, BOXES, 7), V, r"features\[None\] .* layout='NHWC'"),
    Mistake("no layout", lambda: align(IMAGE[None], BOXES, 7), W, "layout='NHWC'"),
    Mistake("layout", lambda: align(IMAGE[None], BOXES, 7, layout="HWC"), V, "'NCHW' or 'NHWC'"),
    Mistake("int32", lambda: align(FEATURES.astype(np.int32), BOXES, 7), T, r"features\.astype\('float32'\)"),
    Mistake(
        "a picture", lambda: align(Picture(IMAGE), BOXES, 7, layout="NHWC"), T, r"np\.asarray\(features\)"
    ),
    Mistake(
        "nested lists", lambda: align([[[[1.0, 2.0]]]], BOXES, 7), T, r"np\.array\(features, np\.float32\)"
    ),
    Mistake("several maps", lambda: align(MAPS, BOXES, 7), T, "multi_scale_roi_align"),
    Mistake(
        "one map",
        lambda: roicy.multi_scale_roi_align(FEATURES, BOXES, 7, spatial_scales=[1]),
        T,
        "features must be a list or tuple of arrays, one for each map",
    ),
    Mistake(
        "a tensor that needs gradients",
        lambda: align(Tensor("Can't export tensors that require gradient, use tensor.detach()"), BOXES, 7),
        T,
        r"features must share its memory.* use tensor\.detach\(\)",
    ),
    Mistake(
        "a tensor elsewhere", lambda: align(Tensor(device=(8, 0)), BOXES, 7), T, "in host memory or on a CUDA"
    ),
    Mistake("two places", lambda: align(Tensor(device=(2, 0)), BOXES, 7), T, r"cupy\.asarray\(array\)"),
    # options
    Mistake("two scales", lambda: align(FEATURES, BOXES, 7, spatial_scale=(0.5, 0.25)), T, "scale the boxes"),
    Mistake("no ratio", lambda: align(FEATURES, BOXES, 7, sampling_ratio=None), T, "0 for adaptive"),
    Mistake("mean", lambda: align(FEATURES, BOXES, 7, mode="mean"), V, "'avg' or 'max'"),
    Mistake("aligned", lambda: align(FEATURES, BOXES, 7, aligned="no"), T, "aligned must be True or False"),
    Mistake(
        "three sizes",
        lambda: align(FEATURES, BOXES, (3, 7, 7)),
        V,
        r"an int or a pair of ints \(height, width\)",
    ),
    Mistake(
        "argmax of a mean",
        lambda: align(FEATURES, BOXES, 7, return_argmax=True),
        V,
        "return_argmax must be False",
    ),
    Mistake(
        "out",
        lambda: align(FEATURES, BOXES, 7, out=GRAD.astype(np.float64)),
        V,
        "out must have dtype float32",
    ),
    # gradients
    Mistake("map for its shape", lambda: backward(GRAD, BOXES, FEATURES), T, "input_shape .* pass its shape"),
    Mistake(
        "dtypes",
        lambda: slopes(GRAD.astype(np.float64), FEATURES, BOXES),
        T,
        r"grad_output\.astype\('float32'\)",
    ),
    Mistake("no argmax", lambda: backward(GRAD, BOXES, FEATURES.shape, mode="max"), V, "return_argmax=True"),
    Mistake(
        "argmax",
        lambda: roicy.roi_pool_backward(GRAD, GRAD, BOXES, FEATURES.shape),
        T,
        "argmax must be int32",
    ),
]


def test_there_are_thirty():
    assert len(MISTAKES) >= 30
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_mistakes_are_answered(mistake):
    if mistake.kind is W:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            mistake.call()
        (said,) = [warning.message for warning in caught]
    else:
        with pytest.raises(mistake.kind) as raised:
            mistake.call()
        said = raised.value
    assert isinstance(said, mistake.kind)
    assert re.search(mistake.says, str(said)), str(said)


def test_arrays_on_a_gpu_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    from roicy import cuda

    cuda.kernels.cache_clear()
    with pytest.raises(ImportError, match=r"python -m pip install .*cuda13"):
        align(Tensor(device=(2, 0)), Tensor(device=(2, 0)), 7)


def test_bfloat16_without_its_dtype(monkeypatch):
    """As PyTorch has it: an array of 16 bits that only ml_dtypes has a name for."""
    from arrays.test_shared_arrays import Bfloat16

    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(TypeError, match="python -m pip install ml_dtypes"):
        align(Bfloat16(np.zeros((1, 8, 60, 80), np.uint16)), BOXES, 7)
