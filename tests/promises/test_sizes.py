"""Sizes that 32 bits cannot count, and some that 64 cannot: arrays of one number, whose strides are 0."""

import math

import numpy as np
import pytest
from closeness import assert_close

import roicy
from roicy import _backend
from roicy.compat import mxnet


def spread(value, shape, dtype=np.float32):
    """An array of one number in memory."""
    return np.broadcast_to(np.array(value, dtype), shape)


ONE_BOX = np.array([[0, 4, 4, 4, 4]], np.float32)
ONE_TURNED = np.array([[0, 4, 4, 4, 4, 30]], np.float32)
MANY_BINS = [(46341, 46341), (2**30, 2), (1, 2**30 + 1), (2**30, 2**30)]
SMALL = (1, 1, 8, 8)


@pytest.fixture(params=["cpu", "cuda"])
def either(request, monkeypatch):
    """On either backend."""
    if request.param == "cuda":
        monkeypatch.setattr(_backend, "cpu", request.getfixturevalue("host_kernels"))


def gradients(shape):
    # float16: NumPy counts bytes in 63 bits
    grad, argmax = (
        spread(1, shape, np.float16),
        spread(-1, shape, np.int32) if math.prod(shape) < 2**60 else None,
    )
    maps = spread(1, SMALL, np.float16)
    yield lambda: roicy.roi_align_backward(grad, ONE_BOX, SMALL)
    yield lambda: roicy.roi_align_backward_rois(grad, maps, ONE_BOX)
    yield lambda: roicy.roi_align_backward(grad, ONE_BOX, SMALL, mode="max", argmax=argmax)
    yield lambda: roicy.roi_align_backward_rois(grad, maps, ONE_BOX, mode="max", argmax=argmax)
    yield lambda: roicy.roi_align_rotated_backward(grad, ONE_TURNED, SMALL, sampling_ratio=64)
    yield lambda: roicy.roi_align_rotated_backward_rois(grad, maps, ONE_TURNED, sampling_ratio=64)
    yield lambda: roicy.roi_pool_backward(grad, argmax, ONE_BOX, SMALL)
    yield lambda: roicy.roi_pool_backward(grad, None, ONE_BOX, SMALL, mode="avg")
    yield lambda: roicy.prroi_pool_backward(grad, ONE_BOX, SMALL)
    yield lambda: roicy.prroi_pool_backward_rois(grad, maps, ONE_BOX)
    yield lambda: roicy.deform_roi_pool_backward(grad, ONE_BOX, None, SMALL, sampling_ratio=64)
    yield lambda: roicy.ps_roi_align_backward(grad, ONE_BOX, (1, math.prod(shape), 8, 8))
    yield lambda: roicy.ps_roi_pool_backward(grad, ONE_BOX, (1, math.prod(shape), 8, 8))
    yield lambda: roicy.multi_scale_roi_align_backward(grad, ONE_BOX, [SMALL], spatial_scales=(1,))
    yield lambda: roicy.multi_scale_roi_align_backward_rois(grad, [maps], ONE_BOX, spatial_scales=(1,))
    crops, images = np.moveaxis(grad, 1, 3), np.moveaxis(maps, 1, 3)
    yield lambda: roicy.crop_and_resize_backward(crops, ONE_BOX, images.shape)
    yield lambda: roicy.crop_and_resize_backward_boxes(crops, images, ONE_BOX)
    if math.prod(shape) < 2**60:
        offsets = spread(0, (1, 2, *shape[2:]))
        mask = spread(1, (1, 1, *shape[2:]))
        yield lambda: roicy.deform_roi_pool_backward_offsets(grad, maps, ONE_BOX, offsets)
        yield lambda: roicy.deform_roi_pool_backward_mask(grad, maps, ONE_BOX, None, mask)
    yield lambda: mxnet.ROIAlign_backward(grad, ONE_BOX, SMALL, 1.0)


@pytest.mark.parametrize("size", MANY_BINS)
def test_a_gradient_of_more_bins_than_a_call_can_hold(either, size):
    for call in gradients((1, 1, *size)):
        with pytest.raises(ValueError, match=rf"grad.* at most 1073741824 bins .* {size[0]} x "):
            call()


@pytest.mark.parametrize("size", MANY_BINS)
def test_rotated_and_moved_boxes_of_more_bins_than_a_call_can_hold(either, size):
    maps = spread(1, SMALL)
    for call in (
        lambda: roicy.deform_roi_pool(maps, ONE_BOX, None, size, sampling_ratio=64),
        lambda: roicy.deform_roi_pool_plan(ONE_BOX, None, SMALL, size, sampling_ratio=64),
        lambda: roicy.roi_align_rotated(maps, ONE_TURNED, size, sampling_ratio=64),
        lambda: roicy.roi_align_rotated_plan(ONE_TURNED, SMALL, size, sampling_ratio=64),
    ):
        with pytest.raises(ValueError, match=rf"output_size .* at most 1073741824 bins .* {size[0]} x "):
            call()


@pytest.mark.parametrize("images", [2**59, 2**61, 2**63 - 1])
def test_more_images_than_memory_can_hold_tables_for(images):
    """Bytes of a table that do not fit into 64 bits are no small table."""
    maps = spread(1, (images, 1, 1, 1), np.uint8)
    for call in (
        lambda: roicy.roi_align(maps, ONE_BOX, 1),
        lambda: roicy.roi_align(maps, ONE_BOX, 1, mode="max"),
        lambda: roicy.roi_pool(maps, ONE_BOX, 1),
        lambda: roicy.roi_align_rotated(maps, ONE_TURNED, 1),
        lambda: roicy.roi_align_backward_rois(spread(1, (1, 1, 1, 1)), maps, ONE_BOX),
    ):
        with pytest.raises(MemoryError, match=r"roicy: no memory for (tables of \d+|the tables)"):
            call()


def test_more_channels_than_a_kernel_on_a_gpu_counts(on_cuda):
    channels = (1, 2**31, 1, 1)
    grad, maps = spread(1, channels), spread(1, channels)
    with pytest.raises(ValueError, match="features must have at most 2147483647 channels on a GPU"):
        roicy.roi_align_backward_rois(grad, maps, ONE_BOX)
    with pytest.raises(ValueError, match="features must have at most 2147483647 channels on a GPU"):
        roicy.roi_align_rotated_backward_rois(grad, maps, ONE_TURNED)


def test_images_of_more_channels_than_numbers_can_be_kept_for(either):
    images = spread(1, (1, 4, 4, 2**56), np.uint8)
    corners = np.array([[[0, 0], [3, 0], [3, 3], [0, 3]]])
    for call in (
        lambda: roicy.crop_and_resize(images, ONE_BOX, 2, dtype="uint8"),
        lambda: roicy.crop_quads(images, corners, 2, batch_indices=[0], dtype="uint8"),
    ):
        with pytest.raises(MemoryError, match="no memory for fill of 72057594037927936 channels"):
            call()


@pytest.mark.parametrize("height, width", [(2**21, 2**11), (2**31 - 1, 3)])
def test_maps_of_more_pixels_than_int32_can_count(either, height, width):
    """All rows are the same, and so is what boxes at the map's end and at its beginning are pooled to."""
    row = np.random.default_rng(0).random((1, 2, 1, width)).astype(np.float32)
    maps = np.broadcast_to(row, (1, 2, height, width))
    small = np.ascontiguousarray(np.broadcast_to(row, (1, 2, 20, width)))
    boxes = np.array([[0, 0.25, 4.5, 2.5, 12], [0, 0, 8, 2, 16]])
    last = boxes + np.array([0, 0, 1, 0, 1]) * (height - 20.0)
    grad = np.random.default_rng(1).random((2, 2, 2, 2)).astype(np.float32)
    for pool in (
        lambda maps, boxes: roicy.roi_align(maps, boxes, 2),
        lambda maps, boxes: roicy.roi_align(maps, boxes, 2, mode="max"),
        lambda maps, boxes: roicy.roi_pool(maps, boxes, 2),
        lambda maps, boxes: roicy.roi_pool(maps, boxes, 2, mode="avg"),
        lambda maps, boxes: roicy.prroi_pool(maps, boxes, 2),
        lambda maps, boxes: roicy.crop_and_resize(maps, boxes, 2, layout="NCHW"),
        lambda maps, boxes: roicy.multi_scale_roi_align([maps], boxes, 2, spatial_scales=(1,)),
        lambda maps, boxes: roicy.roi_align_backward_rois(grad, maps, boxes),
        lambda maps, boxes: roicy.prroi_pool_backward_rois(grad, maps, boxes),
    ):
        assert_close(pool(maps, last), pool(small, boxes))
    with pytest.raises(ValueError, match="at most 2147483647 pixels"):
        roicy.roi_align_rotated(maps, ONE_TURNED, 2)
    with pytest.raises(ValueError, match="at most 2147483647 pixels"):
        roicy.deform_roi_pool(maps, ONE_BOX, None, 2)
    with pytest.raises(ValueError, match="at most 2147483647 pixels"):
        roicy.roi_pool(maps, last, 2, return_argmax=True)


def test_more_boxes_than_are_sorted_at_once():
    """Runs of sorted boxes are merged: each box is pooled, whatever the others are."""
    rng = np.random.default_rng(0)
    count, height, width = 200_000, 150, 20
    maps = rng.standard_normal((2, 1, height, width)).astype(np.float32)
    corners = rng.integers(0, (width, height), (count, 2))
    image = rng.integers(0, 2, (count, 1))
    boxes = np.hstack([image, corners, corners]).astype(np.float32)
    pooled = roicy.roi_pool(maps, boxes, 1)[:, 0, 0, 0]
    np.testing.assert_array_equal(pooled, maps[image[:, 0], 0, corners[:, 1], corners[:, 0]])
    total = np.zeros(maps.shape, np.int64)
    np.add.at(total, (image[:, 0], 0, corners[:, 1], corners[:, 0]), 1)
    chosen = (corners[:, 1] * width + corners[:, 0]).astype(np.int32)[:, None, None, None]
    grad = spread(1, chosen.shape)
    np.testing.assert_array_equal(roicy.roi_pool_backward(grad, chosen, boxes, maps.shape), total)
