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
    found, own = [], _tasks.part

    def part(tiled, number, tiles):
        read = own(tiled, number, tiles)
        found.append(any(np.shares_memory(read, tile) for tile in tiles))
        return read

    with mock.patch.object(_tasks, "part", part):
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


def test_a_graph_of_many_boxes_on_tiles_has_few_tasks():
    boxes = boxes_of_side(20_000, 60)
    crops, order = roicy.dask.crop_and_resize(MAP, boxes, 8, order="image")
    assert len(crops.dask) < 2 * TILES**2 + 10
    assert sorted(order.tolist()) == list(range(20_000))
