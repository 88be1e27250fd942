"""Crops by the CUDA kernels, compiled for the processor, against the CPU backend."""

import numpy as np
import pytest
from closeness import assert_same_bits, assert_same_sums

import roicy
from roicy import _backend
from roicy.compat import tensorflow


@pytest.fixture(scope="module")
def both(host_kernels):
    """Make a call on the CUDA kernels and on the CPU backend, and return both results."""

    def run(call):
        expected = call()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_backend, "cpu", host_kernels)
            return call(), expected

    return run


BOXES = [
    np.array([[1.3, 2.1, 8.7, 6.5], [-3, -2, 6, 4.5], [9, 7, 2, 1]], np.float32),
    np.array([[0, 0, 5, 6], [40, 40, 50, 50]], np.float32),
]


def pictures(dtype, channels=3, seed=0):
    """Two images of different sizes."""
    rng = np.random.default_rng(seed)
    numbers = [rng.random((9, 11, channels)), rng.random((6, 5, channels))]
    return [(200 * array - 60 * (np.dtype(dtype).kind == "i")).astype(dtype) for array in numbers]


@pytest.mark.parametrize("sampling", ["half_pixel", "corners"])
@pytest.mark.parametrize("border", ["constant", "edge", "reject"])
def test_borders(sampling, border, both):
    images, options = pictures("uint8"), {"sampling": sampling, "border": border, "fill": (7, 8, 9)}
    for ratio in (1, 0):
        found, expected = both(
            lambda ratio=ratio: roicy.crop_and_resize(images, BOXES, (4, 7), sampling_ratio=ratio, **options)
        )
        assert_same_sums(found, expected)


@pytest.mark.parametrize("out_layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_values(dtype, out_layout, both):
    images = pictures("uint8", 5)
    options = {"mean": 50, "std": 3, "fill": 20, "reverse_channels": True, "out_layout": out_layout}
    found, expected = both(lambda: roicy.crop_and_resize(images, BOXES, 5, dtype=dtype, **options))
    if dtype == "uint8":  # where a value is close to the middle of two
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
        assert np.mean(found != expected) < 0.01
    else:
        assert_same_sums(found, expected)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "uint16", "int32", "int64", "float64"])
def test_labels(dtype, both):
    images = pictures(dtype, 2)
    found, expected = both(lambda: roicy.crop_and_resize(images, BOXES, 6, interpolation="nearest", fill=1))
    assert_same_bits(found, expected)


def test_gradients(both):
    images, grad = pictures("float32"), np.random.default_rng(1).random((5, 4, 7, 3)).astype(np.float32)
    shapes = [image.shape for image in images]

    def call():
        options = {"std": (2, 3, 4), "reverse_channels": True}
        return (
            *roicy.crop_and_resize_backward(grad, BOXES, shapes, **options),
            *roicy.crop_and_resize_backward_boxes(grad, images, BOXES, fill=30, **options),
        )

    for found, expected in zip(*both(call), strict=True):
        assert_same_sums(found, expected)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "bool"])
def test_maps_of_rare_integers(dtype, both):
    features = np.stack([image[:6, :5] for image in pictures(dtype)])
    rois = np.array([[0, 1, 1, 4, 5], [1, 0, 2, 5, 3]], np.float32)

    def call():
        options = {"layout": "NHWC"}
        return (
            roicy.roi_align(features, rois, 2, **options),
            roicy.roi_pool(features, rois, 2, **options),
            roicy.roi_align(features, rois, 2, mode="max", **options),
        )

    for found, expected in zip(*both(call), strict=True):
        assert found.dtype == np.float32
        assert_same_sums(found, expected)


def test_tensorflow(both):
    image = np.stack([image[:6, :5] for image in pictures("float32")])
    boxes = np.array([[0, 0, 1, 1], [0.2, -0.1, 0.9, 0.8], [0.9, 0.1, 0.3, 0.6]])
    indices, grad = np.array([0, 1, 1]), np.ones((3, 4, 7, 3), np.float32)

    def call():
        return (
            tensorflow.crop_and_resize(image, boxes, indices, (4, 7), extrapolation_value=-3),
            tensorflow.crop_and_resize_gradient_image(grad, boxes, indices, image.shape),
            tensorflow.crop_and_resize_gradient_boxes(grad, image, boxes, indices),
        )

    for found, expected in zip(*both(call), strict=True):
        assert_same_sums(found, expected)
