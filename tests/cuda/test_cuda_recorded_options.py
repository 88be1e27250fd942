"""Calls in turn that differ in one argument, or that are wrong in one, after calls that are repeated."""

import itertools
import shutil

import numpy as np
import pytest
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 255, (10, 12, 3), dtype=np.uint8)
BOXES = np.float32([[1, 1, 7, 8], [2, 3, 9, 9.5]])
QUADS = np.float32([[[1, 1], [8, 2], [9, 8], [2, 7]], [[2, 2], [7, 1], [8, 9], [1, 8]]])
MAPS = [RNG.standard_normal((2, 3, 16 >> level, 20 >> level)).astype(np.float32) for level in range(2)]
ROIS = np.float32([[0, 1, 1, 40, 50], [1, 3, 4, 150, 120], [1, 0, 0, 20, 20]])
SCALES = 1 / 4, 1 / 8


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """A module in the place of ``cupy``."""
    return arrays.install(monkeypatch, by_address=True)


def on_device(value):
    if isinstance(value, np.ndarray):
        return ndarray(value.copy())
    return [on_device(one) for one in value] if isinstance(value, list) else value


def results(found):
    found = found if isinstance(found, (tuple, list)) else [found]
    return [array._array if isinstance(array, ndarray) else array for array in found]


def call(name, *given, **options):
    return getattr(roicy, name)(*given, **{"invalid": "nan", **options})


def check(name, *given, **options):
    """Compare a call on the device with one on the processor."""
    found = call(name, *map(on_device, given), **{word: on_device(one) for word, one in options.items()})
    wanted = results(call(name, *given, **options))
    for one, other in zip(results(found), wanted, strict=True):
        assert one.shape == other.shape
        tolerance = 1 if one.dtype.kind == "u" else 2e-4
        np.testing.assert_allclose(one.astype(float), other.astype(float), rtol=0, atol=tolerance)


POOLED = "multi_scale_roi_pool", MAPS, ROIS
CROPPED = "crop_and_resize", IMAGE, BOXES
CUT = "crop_quads", IMAGE, QUADS


@pytest.mark.parametrize("given", [POOLED, CROPPED, CUT], ids=lambda given: given[0])
def test_sizes_in_turn(given):
    options = {"spatial_scales": SCALES} if given is POOLED else {}
    for _ in range(4):
        for size in (2, (2, 3), (3, 2)):
            check(*given, size, **options)


@pytest.mark.parametrize("given", [CROPPED, CUT], ids=lambda given: given[0])
def test_samples_in_turn(given):
    samples = [
        {"sampling_ratio": ratio, "border": border} for ratio in (1, 2) for border in ("edge", "reject")
    ]
    for _, options in itertools.product(range(4), [*samples, {"interpolation": "nearest"}]):
        check(*given, (4, 5), **options)


def test_argmax_in_turn():
    """A float is no flag, though it equals one."""
    for _ in range(4):
        for flag in (False, True):
            check(*POOLED, 2, spatial_scales=SCALES, return_argmax=flag)
    for flag in (0.0, 1.0):
        with pytest.raises(TypeError, match="return_argmax"):
            call(*map(on_device, POOLED), 2, spatial_scales=SCALES, return_argmax=flag)


def test_lists_of_boxes():
    lists = [ROIS[:1, 1:], ROIS[1:, 1:]]
    grad = RNG.standard_normal((3, 3, 2, 2)).astype(np.float32)
    shapes = [array.shape for array in MAPS]
    for _ in range(4):
        check("multi_scale_roi_align", MAPS, lists, 2, spatial_scales=SCALES)
        check("multi_scale_roi_align_backward", grad, lists, shapes, spatial_scales=SCALES)
        check("multi_scale_roi_align_backward_rois", grad, MAPS, lists, spatial_scales=SCALES)
        check("crop_and_resize", np.stack([IMAGE, IMAGE[::-1]]), [BOXES[:1], BOXES], 3)
        check("crop_quads", np.stack([IMAGE, IMAGE[::-1]]), [QUADS[:1], QUADS], 3)


def test_lists_of_images():
    """The second one is not that of the call before."""
    for seed in range(4):
        images = [IMAGE, IMAGE[seed:, ::-1].copy()]
        for name, boxes in (("crop_and_resize", BOXES), ("crop_quads", QUADS)):
            check(name, images, boxes, 3, batch_indices=np.array([1, 0]))


@pytest.mark.parametrize("given", [CROPPED, CUT], ids=lambda given: given[0])
def test_one_image_in_a_list(given):
    """It has three axes, other than an array of images."""
    name, image, boxes = given
    for _ in range(3):
        check(name, image[None], boxes, 3)
    with pytest.raises(ValueError, match="images"):
        call(name, [ndarray(image[None].copy())], ndarray(boxes.copy()), 3)


@pytest.mark.parametrize("of", ["offsets", "mask"])
def test_gradients_of_bins(of):
    """Batch indices are those of each call, and invalid rows are found where they are looked for."""
    name, features = f"deform_roi_pool_backward_{of}", MAPS[0]
    grad = RNG.standard_normal((3, 3, 2, 2)).astype(np.float32)
    offsets = RNG.uniform(-1, 1, (3, 2, 2, 2)).astype(np.float32)
    mask = RNG.uniform(0, 1, (3, 1, 2, 2)).astype(np.float32)
    boxes = ROIS[:, 1:] / 8
    for indices in ([0, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]):
        check(name, grad, features, boxes, offsets, mask=mask, batch_indices=np.array(indices))
    boxes = ROIS / np.float32([1, 8, 8, 8, 8])
    for _ in range(3):
        check(name, grad, features, boxes, offsets, mask=mask, invalid="raise")
    boxes[1, 2] = np.nan
    own = map(on_device, (grad, features, boxes, offsets))
    with pytest.raises(ValueError, match="row 1"):
        call(name, *own, mask=ndarray(mask), invalid="raise")


def test_scales_that_are_none():
    for wrong in (0.25, None):
        with pytest.raises((TypeError, ValueError), match="spatial_scales"):
            call(*map(on_device, POOLED), 2, spatial_scales=wrong)
