"""Likely mistakes: what is said tells what to write instead."""

import re
import sys
import warnings
from collections import deque
from pathlib import Path
from types import SimpleNamespace
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
TURNED = np.hstack([BOXES, 30 * SCORES])
QUADS = BOXES[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
MASKS = np.ones((3, 28, 28), np.float32)
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


class DynamicJaxprTracer(Picture):
    """What stands for an array of JAX's while a function is compiled."""


def array_of(items):
    """An array whose items are objects."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


class Mistake(NamedTuple):
    """A call, what it is answered with, and what that says."""

    name: str
    call: Any
    kind: Any
    says: str


T, V, W = TypeError, ValueError, roicy.RoisWarning
align, backward, slopes = roicy.roi_align, roicy.roi_align_backward, roicy.roi_align_backward_rois
turned, crop, quads = roicy.roi_align_rotated, roicy.crop_and_resize, roicy.crop_quads
paste, pyramid = roicy.paste_masks, roicy.multi_scale_roi_align
SCALES = [1, 1 / 2]
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
    # boxes as other programs have them
    Mistake("a model's output", lambda: align(FEATURES, {"boxes": BOXES}, 7), T, r"rois\[\.\.\.\]"),
    Mistake("outputs of a batch", lambda: align(FEATURES, [{"boxes": BOXES}], 7), T, r"rois\[0\]\[\.\.\.\]"),
    Mistake("no detections", lambda: align(FEATURES, None, 7), T, r"\[\] says that there are none"),
    Mistake("a generator", lambda: align(FEATURES, (box for box in BOXES), 7), T, r"pass list\(rois\)"),
    Mistake("a set", lambda: align(FEATURES, {(1, 2, 30, 40)}, 7), T, r"got set: pass list\(rois\)"),
    Mistake("a deque", lambda: crop(IMAGE, deque(BOXES.tolist()), 7), T, r"pass list\(boxes\)"),
    Mistake("objects", lambda: align(FEATURES, BOXES.astype(object), 7), T, r"rois\.astype\('float64'\)"),
    Mistake("text", lambda: paste(MASKS, BOXES.astype(str), (60, 80)), T, r"boxes\.astype\('float64'\)"),
    Mistake(
        "lists in an array", lambda: align(FEATURES, array_of(BOXES.tolist()), 7), V, r"rois\.tolist\(\)"
    ),
    Mistake("complex", lambda: align(FEATURES, BOXES.astype(complex), 7), T, r"pass rois\.real"),
    Mistake("which to keep", lambda: align(FEATURES, BOXES > 20, 7), T, r"rois\.astype\('float64'\)"),
    Mistake(
        "a mask", lambda: align(FEATURES, np.ma.array(BOXES, mask=BOXES < 20), 7), T, r"rois\.filled\(value\)"
    ),
    Mistake(
        "records", lambda: align(FEATURES, np.ones(3, "f4, f4, f4, f4"), 7), V, "structured_to_unstructured"
    ),
    Mistake("one number", lambda: align(FEATURES, 7, BOXES), T, r"got int: \[\[\.\.\.\]\] is one box"),
    Mistake("one box", lambda: align(FEATURES, BOXES[0], 7), V, r"rois\[None\] is one box"),
    Mistake("flat", lambda: align(FEATURES, BOXES.ravel(), 7), V, r"np\.reshape\(rois, \(-1, 4\)\)"),
    Mistake(
        "two corners", lambda: align(FEATURES, BOXES.reshape(-1, 2, 2), 7), V, r"reshape\(rois, \(-1, 4\)\)"
    ),
    Mistake("columns", lambda: align(FEATURES, BOXES[:2].T, 7), V, r"got \(4, 2\): pass rois\.T"),
    Mistake("with a batch", lambda: align(FEATURES, BOXES[None], 7), V, r"pass rois\[0\]"),
    Mistake(
        "of each image",
        lambda: align(np.repeat(FEATURES, 2, 0), np.stack([BOXES, BOXES]), 7),
        V,
        r"list\(rois\)",
    ),
    Mistake("a list of arrays", lambda: align(FEATURES, list(BOXES), 7), V, r"np\.stack\(rois\)"),
    Mistake("as many as images", lambda: roicy.fpn_levels(list(BOXES), 4), V, r"np\.stack\(rois\)"),
    Mistake(
        "score and class", lambda: align(FEATURES, np.hstack([BOXES, SCORES, SCORES]), 7), V, r"rois\[:, :4\]"
    ),
    Mistake("upright", lambda: turned(FEATURES, BOXES, 7), V, "roi_align and its like"),
    Mistake(
        "minAreaRect",
        lambda: turned(FEATURES, [((30, 20), (9, 8), 10)], 7),
        T,
        "all numbers of a box in a row",
    ),
    Mistake("a minAreaRect", lambda: turned(FEATURES, ((30, 20), (9, 8), 10), 7), V, "its numbers in a row"),
    Mistake(
        "one image's index",
        lambda: align(FEATURES, BOXES, 7, batch_indices=0),
        T,
        r"np\.full\(K, 0\) for K boxes",
    ),
    Mistake(
        "indices in a column",
        lambda: align(FEATURES, BOXES, 7, batch_indices=np.zeros((3, 1), int)),
        V,
        r"batch_indices\[:, 0\]",
    ),
    # quadrangles
    Mistake("one quadrangle", lambda: quads(IMAGE, QUADS[0], 7), V, r"corners\[None\] is one quadrangle"),
    Mistake("eight numbers", lambda: quads(IMAGE, QUADS.reshape(-1, 8), 7), V, r"\(corners, \(-1, 4, 2\)\)"),
    Mistake("eight in lists", lambda: quads(IMAGE, [list(range(8))], 7), V, r"\(corners, \(-1, 4, 2\)\)"),
    Mistake("OpenCV's points", lambda: quads(IMAGE, QUADS[0][:, None], 7), V, r"\(corners, \(-1, 4, 2\)\)"),
    Mistake("a ring", lambda: quads(IMAGE, QUADS[:, [0, 1, 2, 3, 0]], 7), V, r"corners\[:, :4\]"),
    Mistake("polygons", lambda: quads(IMAGE, [[[1, 2]] * 6, [[1, 2]] * 7], 7), V, "cv2.minAreaRect"),
    Mistake("boxes", lambda: quads(IMAGE, BOXES, 7), V, "crop_and_resize"),
    Mistake("rotated boxes", lambda: quads(IMAGE, TURNED, 7), V, r"rotated_corners\(corners\)"),
    # images and maps of other kinds
    Mistake("a path", lambda: crop(Path("photo.jpg"), BOXES, 7), T, "read the file first"),
    Mistake("no file", lambda: crop(None, BOXES, 7), T, "cv2.imread returns None"),
    Mistake("inside of jit", lambda: align(DynamicJaxprTracer(FEATURES), BOXES, 7), T, "jax.pure_callback"),
    Mistake("grey", lambda: align(IMAGE[..., 0], BOXES, 7), V, r"features\[None, None\]"),
    Mistake(
        "grey, NHWC", lambda: crop(IMAGE[..., 0], BOXES, 7), V, r"images\[\.\.\., None\] has one channel"
    ),
    Mistake("five axes", lambda: align(FEATURES[None], BOXES, 7), V, r"features\[0\]"),
    Mistake("channels first", lambda: crop(IMAGE.transpose(2, 0, 1), BOXES, 7), W, "layout='NCHW'"),
    Mistake("quads of such", lambda: quads(IMAGE.transpose(2, 0, 1), QUADS, 7), W, "layout='NCHW'"),
    Mistake("some within", lambda: align(IMAGE[None], BOXES - [35, 0, 0, 0], 7), W, "layout='NHWC'"),
    Mistake(
        "a dict of maps",
        lambda: pyramid({"0": FEATURES}, BOXES, 7, spatial_scales=[1]),
        T,
        r"list\(feat.*values",
    ),
    Mistake(
        "maps of it",
        lambda: pyramid(dict(enumerate(MAPS)).values(), BOXES, 7, spatial_scales=SCALES),
        T,
        "list",
    ),
    Mistake("strides", lambda: pyramid(MAPS, BOXES, 7, spatial_scales=[4, 8]), V, "1 / stride for each map"),
    Mistake(
        "one scale", lambda: pyramid(MAPS, BOXES, 7, spatial_scales=0.25), T, r"\[spatial_scales\] for one"
    ),
    Mistake("how many maps", lambda: roicy.fpn_levels(BOXES, MAPS), T, r"len\(num_levels\)"),
    Mistake(
        "levels",
        lambda: pyramid(MAPS, BOXES, 7, spatial_scales=SCALES, levels=np.zeros(3)),
        T,
        r"astype\(int\)",
    ),
    # masks
    Mistake("one mask", lambda: paste(MASKS[0], BOXES[:1], (60, 80)), V, r"masks\[None\] is one mask"),
    Mistake(
        "of all classes",
        lambda: paste(np.ones((3, 5, 7, 7)), BOXES, (60, 80)),
        V,
        r"np\.arange\(K\), classes",
    ),
    Mistake("boxes first", lambda: paste(BOXES, MASKS, (60, 80)), V, "masks come before their boxes"),
    Mistake("labels", lambda: paste(MASKS.astype(int), BOXES, (60, 80)), T, r"masks\.astype\('float32'\)"),
    Mistake("an image", lambda: paste(MASKS, BOXES, IMAGE), T, "pass its shape, rows and columns"),
    Mistake("an image's shape", lambda: paste(MASKS, BOXES, IMAGE.shape), T, r"image_size\[:2\]"),
    Mistake("scored", lambda: paste(MASKS, np.hstack([BOXES, SCORES]), (60, 80)), V, r"boxes\[:, :4\]"),
    # options
    Mistake("two scales", lambda: align(FEATURES, BOXES, 7, spatial_scale=(0.5, 0.25)), T, "scale the boxes"),
    Mistake("no ratio", lambda: align(FEATURES, BOXES, 7, sampling_ratio=None), T, "0 for adaptive"),
    Mistake("means", lambda: crop(IMAGE, BOXES, 7, mean="imagenet"), T, "a number or 3 numbers"),
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
    Mistake("boxes before", lambda: backward(BOXES, GRAD, FEATURES.shape), V, "boxes come after it"),
    Mistake(
        "bytes", lambda: backward(GRAD.astype(np.uint8), BOXES, FEATURES.shape), T, r"astype\('float32'\)"
    ),
    Mistake(
        "a shape for its map", lambda: slopes(GRAD, FEATURES.shape, BOXES), T, "pass the map, not its shape"
    ),
    Mistake(
        "both results",
        lambda: roicy.roi_pool_backward(GRAD, (GRAD, GRAD), BOXES, FEATURES.shape),
        T,
        "the second of what",
    ),
    Mistake(
        "a wide argmax",
        lambda: roicy.roi_pool_backward(GRAD, GRAD.astype(int), BOXES, FEATURES.shape),
        T,
        r"argmax\.astype\('int32'\)",
    ),
    Mistake("no argmax", lambda: backward(GRAD, BOXES, FEATURES.shape, mode="max"), V, "return_argmax=True"),
    Mistake(
        "argmax",
        lambda: roicy.roi_pool_backward(GRAD, GRAD, BOXES, FEATURES.shape),
        T,
        "argmax must be int32",
    ),
]


def test_there_are_a_hundred():
    assert len(MISTAKES) >= 100
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


def test_the_memory_of_what_is_no_number_is_not_asked_for():
    """TensorFlow ends the process where a tensor of strings is asked for it."""
    strings = Tensor("it was asked for")
    strings.dtype = SimpleNamespace(name="string")
    with pytest.raises(
        TypeError, match=r"rois must share its memory, .*: its dtype string is none of numbers"
    ):
        roicy.roi_align(FEATURES, strings, 7)
