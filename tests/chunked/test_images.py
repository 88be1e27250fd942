"""Images of different sizes that the workers read."""

import doctest
import pickle

import numpy as np
import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")

from closeness import assert_same_bits

import roicy
import roicy.dask
from roicy.dask import _images

SIZES = [(30, 20), (9, 14), (25, 25), (12, 40), (7, 7)]
BOXES = [
    np.array([[1, 2, 15, 18], [0, 0, 20, 30]], np.float32),
    np.empty((0, 4), np.float32),
    np.array([[3.5, 2, 30, 20]], np.float32),
    np.array([[0, 0, 5, 5], [10, 1, 38, 12], [2, 2, 3, 3]], np.float32),
    np.array([[1, 1, 6, 6]], np.float32),
]


def read(number):
    height, width = SIZES[number]
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


IMAGES = list(map(read, range(len(SIZES))))


@pytest.mark.parametrize("images_per_chunk", [1, 2, 8])
@pytest.mark.parametrize("boxes_per_chunk", ["auto", 2])
def test_crops_of_images_that_are_read(images_per_chunk, boxes_per_chunk):
    expected = roicy.crop_and_resize(IMAGES, BOXES, (5, 6), mean=3, out_layout="NCHW")
    more = {"images_per_chunk": images_per_chunk, "boxes_per_chunk": boxes_per_chunk}
    found = roicy.dask.from_images(read, BOXES, (5, 6), mean=3, out_layout="NCHW", **more)
    assert found.dtype == expected.dtype
    assert_same_bits(pickle.loads(pickle.dumps(found)).compute(), expected)
    images = np.repeat(np.arange(5), [len(boxes) for boxes in BOXES])
    rows = np.column_stack([images, np.concatenate(BOXES)])[::-1].astype(np.float32)
    expected = expected[::-1]
    items = range(5)
    found = roicy.dask.from_images(read, rows, (5, 6), images=items, mean=3, out_layout="NCHW", **more)
    assert_same_bits(found.compute(), expected)
    found, order = roicy.dask.from_images(
        read, rows[:, 1:], (5, 6), images=items, batch_indices=images[::-1], order="image", mean=3,
        out_layout="NCHW", **more
    )  # fmt: skip
    assert_same_bits(found.compute(), expected[order])


def test_other_operators_and_invalid_rows():
    rows = np.array([[7, 0, 0, 4, 4], [3, 0, 0, 4, 4], [0, 1, np.nan, 3, 3], [0, 1, 2, 9, 9]])
    more = {"layout": "NHWC", "invalid": "nan"}
    found = roicy.dask.from_images(read, rows, 3, images=range(5), operator="roi_align", **more).compute()
    assert np.isnan(found[[0, 2]]).all()
    for place, number in ((1, 3), (3, 0)):
        wanted = roicy.roi_align(IMAGES[number][None], rows[[place], 1:], 3, layout="NHWC")
        assert_same_bits(found[[place]], wanted)


def test_argmax_offsets_and_corners():
    rows = np.column_stack([[3, 0, 2, 0], np.concatenate(BOXES)[:4]]).astype(np.float32)
    offsets = np.random.default_rng(1).standard_normal((4, 2, 2, 2)).astype(np.float32)
    more = {"images": range(5), "layout": "NHWC", "images_per_chunk": 2}
    pooled, argmax = roicy.dask.from_images(read, rows, 2, operator="roi_pool", return_argmax=True, **more)
    by_image = roicy.dask.from_images(
        read, rows, 2, operator="roi_pool", return_argmax=True, order="image", **more
    )
    moved = roicy.dask.from_images(read, rows, 2, operator="deform_roi_pool", offsets=offsets, **more)
    corners = rows[:, [1, 2, 3, 2, 3, 4, 1, 4]].reshape(-1, 4, 2)
    quads = roicy.dask.from_images(
        read, corners, 2, operator="crop_quads", batch_indices=[3, 0, 2, 0], **more
    )
    assert argmax.dtype == np.int32
    for array, place in zip(by_image[:2], (pooled, argmax), strict=True):
        assert_same_bits(array.compute(), place.compute()[by_image[2]])
    for k, number in enumerate([3, 0, 2, 0]):
        image, own = IMAGES[number][None], rows[[k], 1:]
        wanted = roicy.roi_pool(image, own, 2, layout="NHWC", return_argmax=True)
        assert_same_bits(pooled[k : k + 1].compute(), wanted[0])
        assert_same_bits(argmax[k : k + 1].compute(), wanted[1])
        wanted = roicy.deform_roi_pool(image, own, offsets[[k]], 2, layout="NHWC")
        assert_same_bits(moved[k : k + 1].compute(), wanted)
        assert_same_bits(quads[k : k + 1].compute(), roicy.crop_quads(image, corners[[k]], 2))
    with pytest.raises(
        ValueError, match="offsets must be an array in host memory with a row for each of the 4"
    ):
        roicy.dask.from_images(read, rows, 2, operator="deform_roi_pool", offsets=offsets[:2], **more)


def test_invalid_rows_without_an_image():
    rows = np.zeros((2, 5), np.float32)
    expected = roicy.crop_and_resize(np.zeros((0, 8, 8, 3), np.uint8), rows, 3, invalid="nan")
    found = roicy.dask.from_images(read, rows, 3, images=[], invalid="nan")
    assert_same_bits(found.compute(), expected)


def test_mistakes():
    with pytest.raises(TypeError, match="images must be given"):
        roicy.dask.from_images(read, np.zeros((1, 5)), 3)
    with pytest.raises(ValueError, match=r"boxes row 0, .* has batch index 9"):
        roicy.dask.from_images(read, np.full((1, 5), 9.0), 3, images=range(2))
    with pytest.raises(ValueError, match="images_per_chunk must be at least 1"):
        roicy.dask.from_images(read, BOXES, 3, images_per_chunk=0)
    with pytest.raises(ValueError, match="order must be 'rois' or 'image', got 'images'"):
        roicy.dask.from_images(read, BOXES, 3, order="images")
    for channels in (np.s_[:, :, :1], np.s_[:, :3, 0]):
        grey = roicy.dask.from_images(lambda number, some=channels: read(number)[some], BOXES, 3)
        with pytest.raises(ValueError, match="read must return images of 3 axes with 3 channels"):
            grey.compute()
    with pytest.raises(ValueError, match="like must be an image"):
        roicy.dask.from_images(read, BOXES, 3, like=np.zeros(3))
    with pytest.raises(
        TypeError, match="images must have chunks of uint8, as it says itself, got one of float32"
    ):
        roicy.dask.from_images(lambda number: read(number).astype("f4"), BOXES, 3).compute()


def test_the_example():
    assert not doctest.testmod(_images).failed
