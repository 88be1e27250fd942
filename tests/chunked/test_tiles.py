"""What tasks hold of a map in tiles: how groups of boxes are divided into calls, what is kept of tiles."""

import tracemalloc
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("dask.array", reason="dask[array] is not installed")

import dask
import dask.array as da
from closeness import assert_same_bits

import roicy
import roicy.dask
from roicy.cpu.runtime.rectangles import copy_rectangles
from roicy.dask import _tasks

SIDE, TILES = 512, 8
RNG = np.random.default_rng(0)


def painted(block_info=None):
    """A tile of a map of 48 MiB, painted by its place."""
    (top, bottom), (left, right), _ = block_info[None]["array-location"]
    rows, columns = np.arange(top, bottom).astype(np.uint8), np.arange(left, right).astype(np.uint8)
    return (3 * rows[:, None] + 7 * columns)[..., None] + np.arange(3, dtype=np.uint8)


MAP = da.map_blocks(painted, chunks=((SIDE,) * TILES, (SIDE,) * TILES, (3,)), dtype=np.uint8)


def most_memory(array):
    MAP[:1, :1].compute(scheduler="synchronous")  # all is imported
    tracemalloc.start()
    array.compute(scheduler="synchronous")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def boxes_of_side(count, side):
    corners = RNG.random((count, 2)) * (SIDE * TILES - side)
    return np.column_stack([corners, corners + side]).astype(np.float32)


def test_of_tiles_no_more_is_kept_than_a_few_boxes_read():
    boxes = boxes_of_side(128, 60)
    crops = roicy.dask.crop_and_resize(MAP, boxes, 8)
    assert crops.numblocks[0] == 1
    assert most_memory(crops) < MAP.nbytes / 8


def test_boxes_of_one_tile_are_pooled_from_it_where_it_is():
    per_tile = RNG.random((TILES, TILES, 60, 2)) * (SIDE - 110)
    corners = per_tile + SIDE * np.stack(np.meshgrid(*[np.arange(TILES)] * 2), axis=2)[:, :, None]
    corners = corners.reshape(-1, 2)
    crops = roicy.dask.crop_and_resize(MAP, np.column_stack([corners, corners + 100]), 4)
    assert crops.numblocks[0] == 1
    found, own = [], _tasks.parts

    def parts(tiled, tiles):
        read = own(tiled, tiles)
        found.extend(any(np.shares_memory(part, tile) for tile in tiles) for part in read)
        return read

    with mock.patch.object(_tasks, "parts", parts):
        assert most_memory(crops) < 1.3 * MAP.nbytes  # all tiles, and no copy of them
    assert len(found) >= TILES**2 and sum(found) >= TILES**2


@pytest.mark.parametrize(("count", "side"), [(1, 700), (40, 60), (40, 600), (400, 60)])
def test_bits_of_real_sizes(count, side):
    boxes, whole = boxes_of_side(count, side), MAP.compute()
    maps = da.from_array(whole, chunks=MAP.chunks)
    expected = roicy.crop_and_resize(whole, boxes, 6)
    with dask.config.set(scheduler="synchronous"):
        assert_same_bits(roicy.dask.crop_and_resize(maps, boxes, 6).compute(), expected)
        grad = RNG.random(expected.shape, np.float32)
        found = roicy.dask.crop_and_resize_backward_boxes(da.from_array(grad), maps, boxes)
        assert_same_bits(found.compute(), roicy.crop_and_resize_backward_boxes(grad, whole, boxes))


@pytest.mark.parametrize("axes", [(1, 2), (2, 3), (3, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_rectangles_are_copied_as_slices_are(axes, dtype):
    maps = [RNG.integers(0, 256, (7, 6, 8, 9)).astype(dtype) for _ in range(2)]
    sources = [maps[0], maps[1][::-1].transpose(0, 3, 2, 1).copy().transpose(0, 3, 2, 1)]
    targets = [np.zeros((7, 6, 8, 9), dtype), np.zeros((7, 6, 8, 18), dtype)[..., ::2]]
    copies = np.array(
        [
            [0, 1, 2, 1, 2, 1, 3, 4],
            [1, 0, 0, 0, 0, 0, 5, 1],
            [1, 3, 2, 0, 0, 1, 1, 3],
            [0, 0, 0, 1, 5, 5, 0, 1],
        ]
    )
    expected = [target.copy() for target in targets]
    for source, y, x, target, top, left, rows, columns in copies.tolist():
        there, here = [slice(None)] * 4, [slice(None)] * 4
        there[axes[0]], there[axes[1]] = slice(top, top + rows), slice(left, left + columns)
        here[axes[0]], here[axes[1]] = slice(y, y + rows), slice(x, x + columns)
        expected[target][tuple(there)] = sources[source][tuple(here)]
    copy_rectangles(sources, targets, axes, copies)
    for found, wanted in zip(targets, expected, strict=True):
        assert_same_bits(found, wanted)


@pytest.mark.parametrize("at", [1, 2, 4, 5, 6, 7])
@pytest.mark.parametrize("number", [-1, 4])
def test_rectangles_lie_on_their_maps(at, number):
    copies = np.array([[0, 0, 0, 0, 0, 0, 1, 1]])
    copies[0, at] = number
    maps = [np.zeros((1, 3, 3, 2)) for _ in range(2)]
    with pytest.raises(ValueError, match="a rectangle must lie on its maps"):
        copy_rectangles(maps[:1], maps[1:], (1, 2), copies)


@pytest.mark.parametrize(
    "wrong", [np.zeros((3, 3, 2)), np.zeros((1, 3, 3, 2), np.float32), np.zeros((1, 3, 3, 1))]
)
def test_rectangles_are_of_maps_alike(wrong):
    copies = np.array([[0, 0, 0, 0, 0, 0, 1, 1]])
    with pytest.raises(ValueError, match="map"):
        copy_rectangles([wrong], [np.zeros((1, 3, 3, 2))], (1, 2), copies)


def test_a_tile_is_cut_once_for_all_groups():
    boxes = boxes_of_side(300, 60)
    crops, _ = roicy.dask.crop_and_resize(MAP, boxes, 8, order="image", boxes_per_chunk=10)
    tasks = [key for key in crops.dask if str(key[0]).startswith("cut")]
    assert crops.numblocks[0] >= 30
    assert len(tasks) <= TILES**2


def test_parts_of_several_images_of_a_chunk_are_pooled_alike():
    whole = RNG.integers(0, 256, (3, 90, 120, 3), dtype=np.uint8)
    boxes = np.column_stack([RNG.integers(0, 3, 60), RNG.random((60, 2)) * 60, RNG.random((60, 2)) * 60 + 20])
    boxes = boxes.astype(np.float32)
    boxes[7, 0] = -1
    expected = roicy.crop_and_resize(whole, boxes, 5, invalid="nan")
    for images in (1, 3):
        maps = da.from_array(whole, chunks=(images, 40, 50, 3))
        assert_same_bits(roicy.dask.crop_and_resize(maps, boxes, 5, invalid="nan").compute(), expected)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("images", [1, 2])
def test_parts_of_one_image_are_one_call_and_rows_without_an_image_stay_so(images, apart):
    one = MAP.compute()
    whole, boxes = np.stack([one, ~one]), boxes_of_side(60, 60)
    image = RNG.integers(0, 2, len(boxes))
    image[7] = -1
    given = {"batch_indices": image, "invalid": "nan"} if apart else {"invalid": "nan"}
    rows = boxes if apart else np.column_stack([image, boxes]).astype(np.float32)
    maps = da.from_array(whole, chunks=(images, SIDE, SIDE, 3))
    crops = mock.patch.object(_tasks, "_crops", wraps=_tasks._crops)
    with crops as called, dask.config.set(scheduler="synchronous"):
        found = roicy.dask.crop_and_resize(maps, rows, 5, **given).compute()
    assert_same_bits(found, roicy.crop_and_resize(whole, rows, 5, **given))
    assert any(len(call.args[3]) > 1 for call in called.call_args_list) == (images == 1)


def test_a_graph_of_many_boxes_on_tiles_has_few_tasks():
    boxes = boxes_of_side(20_000, 60)
    crops, order = roicy.dask.crop_and_resize(MAP, boxes, 8, order="image")
    assert len(crops.dask) < 2 * TILES**2 + 10
    assert sorted(order.tolist()) == list(range(20_000))
