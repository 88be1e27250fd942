"""Calls on a cluster of two processes, run by themselves: ``python cluster_calls.py CALL FOLDER``."""

import os
import signal
import sys
import threading
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import roicy
import roicy.dask

RNG = np.random.default_rng(0)


def same_bits(client, folder):
    """Pool, and find gradients, of chunks that other processes hold."""
    features = RNG.random((12, 8, 30, 28), np.float32)
    corners = RNG.random((60, 2)) * 20
    rois = np.column_stack([RNG.integers(0, 12, 60), corners, corners + 9]).astype(np.float32)
    maps = da.from_array(features, chunks=(3, 4, 11, 28))
    pooled = roicy.dask.roi_align(maps, rois, 3)
    expected = roicy.roi_align(features, rois, 3)
    np.testing.assert_array_equal(pooled.compute(), expected)
    gradient = roicy.dask.roi_align_backward(pooled, rois, features.shape, chunks=maps.chunks)
    np.testing.assert_array_equal(
        gradient.compute(), roicy.roi_align_backward(expected, rois, features.shape)
    )
    found = roicy.dask.roi_align(maps, da.from_array(rois, chunks=20), 3, order="image")
    found, order = dask.compute(*found)
    np.testing.assert_array_equal(found, expected[order])
    np.testing.assert_array_equal(roicy.dask.rmac(maps).compute(), roicy.rmac(features))
    plan = roicy.roi_align_plan(rois, features.shape, 3)
    np.testing.assert_array_equal(client.submit(plan, features).result(), expected)
    function = client.submit(roicy.dask.roi_align, maps, rois, 3)
    np.testing.assert_array_equal(function.result().compute(), expected)


def threads(client, folder):
    """A worker's threads times those of a task are never more than its cores."""
    used = client.run(lambda: 1)
    assert len(used) == 2

    def most():
        from distributed import get_worker

        from roicy.dask import _tasks

        return _tasks.threads_at_hand(10**6) * get_worker().state.nthreads, dask.system.CPU_COUNT

    for total, cores in (client.submit(most, pure=False).result() for _ in range(4)):
        assert total <= cores


def killed(client, folder):
    """A worker is killed in the middle: the result still comes."""
    images = RNG.random((16, 4, 40, 40), np.float32)
    rois = np.column_stack([np.arange(16), np.tile([3, 5, 31, 29], (16, 1))]).astype(np.float32)

    def slow(block):
        time.sleep(0.3)
        return block

    maps = da.from_array(images, chunks=(1, 4, 40, 40)).map_blocks(slow, dtype=np.float32)
    pids = list(client.run(os.getpid).values())
    threading.Timer(1.2, os.kill, (pids[0], signal.SIGKILL)).start()
    found = roicy.dask.roi_align(maps, rois, 7).compute()
    np.testing.assert_array_equal(found, roicy.roi_align(images, rois, 7))
    time.sleep(0.5)
    assert pids[0] not in client.run(os.getpid).values()


def bounded(client, folder):
    """Boxes of a map on disk, ten times larger than what a process may use."""
    import zarr

    side, limit = 28_000, 235_000_000  # 2.4 GB
    store = zarr.create_array(
        os.path.join(folder, "slide.zarr"), shape=(side, side, 3), chunks=(1000, 1000, 3), dtype="uint8"
    )
    tile = np.add.outer(np.arange(1000), 3 * np.arange(1000))[..., None] + np.arange(3)
    for row in range(0, side, 1000):  # all of it is there, the half of it alike
        for column in range(0, side, 1000):
            store[row : row + 1000, column : column + 1000] = (tile + row // 7 + column // 3).astype(np.uint8)
    assert side * side * 3 > 10 * limit
    corners = RNG.integers(0, side - 200, (1000, 2))
    boxes = np.column_stack([corners, corners + 200]).astype(np.float32)
    slide = da.from_zarr(store)
    roicy.dask.crop_and_resize(slide, boxes[:1], 64, dtype="uint8").compute()  # all is imported
    before = client.run(_most_memory)
    with dask.config.set({"array.chunk-size": "12 MiB"}):
        crops, order = roicy.dask.crop_and_resize(slide, boxes, 64, dtype="uint8", order="image")
        total = crops.astype("u8").sum(axis=(1, 2, 3)).compute()
    after = client.run(_most_memory)
    grown = max(after[worker] - before[worker] for worker in before)
    print("grown by", grown >> 20, "MiB")
    assert grown < limit
    for place in range(0, 1000, 97):
        left, top = corners[order[place]]
        part = np.asarray(store[top : top + 200, left : left + 200])
        one = roicy.crop_and_resize(part, np.array([[0, 0, 200, 200]], np.float32), 64, dtype="uint8")
        assert abs(int(one.sum(dtype="u8")) - int(total[place])) < 64 * 64 * 3


def _most_memory():
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


if __name__ == "__main__":
    call, folder = sys.argv[1:]
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=folder
        ) as cluster,
        Client(cluster) as client,
    ):
        globals()[call](client, folder)
    print("done")
