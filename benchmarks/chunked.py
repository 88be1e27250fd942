"""`roicy.dask`: crops of a slide beside reading it, R-MAC on processes, and the overhead of graphs.

    python benchmarks/chunked.py slide --side 60000 --crops 20000 --folder /large/disk
    python benchmarks/chunked.py rmac --maps 5000
    python benchmarks/chunked.py graph

Needs ``dask[array]``, ``distributed``, ``zarr`` and OpenCV. A slide of 60 000 x 60 000 pixels takes 10 GB.
"""

import argparse
import math
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

import roicy
import roicy.dask

CHUNK, SIZE = 1024, 224


def seconds(call):
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def most_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


# ---------------------------------------------------------------- crops of a slide


def slide_on_disk(folder, side):
    """A slide of noise over a gradient, chunk by chunk; made once."""
    import zarr

    path = Path(folder) / f"slide-{side}.zarr"
    if path.exists():
        return zarr.open_array(path, mode="r")
    made = path.with_suffix(".part")
    slide = zarr.create_array(made, shape=(side, side, 3), chunks=(CHUNK, CHUNK, 3), dtype="uint8")
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 24, (CHUNK, CHUNK, 3), dtype=np.uint8)
    for top in range(0, side, CHUNK):
        for left in range(0, side, CHUNK):
            height, width = min(CHUNK, side - top), min(CHUNK, side - left)
            slide[top : top + height, left : left + width] = (
                np.roll(noise, top + 3 * left, axis=1)[:height, :width] + (top + left) // CHUNK
            )
    made.rename(path)
    return zarr.open_array(path, mode="r")


def slide(arguments):
    import cv2

    cv2.setNumThreads(1)
    store = slide_on_disk(arguments.folder or tempfile.gettempdir(), arguments.side)
    rng = np.random.default_rng(1)
    corners = rng.integers(0, arguments.side - SIZE, (arguments.crops, 2)) + 0.25
    boxes = np.column_stack([corners, corners + SIZE]).astype(np.float32)
    maps = da.from_zarr(store)
    read = roicy.rois_windows(boxes, (1, *store.shape), SIZE, operator="crop_and_resize", layout="NHWC")
    tiles = {
        (row, column)
        for top, left, bottom, right in read.tolist()
        for row in range(top // CHUNK, (bottom - 1) // CHUNK + 1)
        for column in range(left // CHUNK, (right - 1) // CHUNK + 1)
    }
    blocks = maps.map_blocks(
        lambda block: block[:1, :1].copy(),
        dtype=maps.dtype,
        chunks=((1,) * maps.numblocks[0], (1,) * maps.numblocks[1], (3,)),
    )
    keys = [(blocks.name, row, column, 0) for row, column in sorted(tiles)]

    def read_once():
        graph = dask.optimization.cull(dict(blocks.__dask_graph__()), keys)[0]
        return dask.threaded.get(graph, keys)

    def crop():
        crops, _ = roicy.dask.crop_and_resize(maps, boxes, SIZE, dtype="uint8", order="image")
        return crops.map_blocks(
            lambda block: block[:, :1, :1].copy(), dtype=crops.dtype, chunks=(crops.chunks[0], 1, 1, 3)
        ).compute()

    def loop():
        for left, top, right, bottom in boxes.astype(int):
            cv2.resize(store[top:bottom, left:right], (SIZE, SIZE))

    gigabytes = len(tiles) * CHUNK * CHUNK * 3 / 2**30
    print(
        f"{arguments.crops} crops of {SIZE} x {SIZE}, {len(tiles)} of {np.prod(maps.numblocks)} chunks, "
        f"{gigabytes:.1f} GiB"
    )
    read_time = min(seconds(read_once)[0] for _ in range(arguments.repeat))
    before = most_memory()
    crop_time = min(seconds(crop)[0] for _ in range(arguments.repeat))
    after = most_memory()
    print(f"reading the chunks once    {read_time:8.2f} s")
    print(
        f"roicy.dask.crop_and_resize {crop_time:8.2f} s, {crop_time / read_time:.2f} of reading; "
        f"peak memory {before:.0f} -> {after:.0f} MiB"
    )
    if arguments.loop:
        some = max(1, arguments.crops // arguments.loop)
        boxes = boxes[:some]
        print(
            f"slices and cv2.resize      {seconds(loop)[0] * arguments.crops / some:8.2f} s (of {some} crops)"
        )


# ---------------------------------------------------------------- R-MAC on processes


def plain(maps, count, start, found):
    """R-MAC of maps in a process of its own, which begins with the others."""
    roicy.set_num_threads(1)
    features = np.random.default_rng(0).random((maps, 512, 24, 32), dtype="f4")
    roicy.rmac(features[:10])
    times = []
    for _ in range(4):
        start.wait()
        times.append(seconds(lambda: [roicy.rmac(features) for _ in range(count)])[0])
    found.put(min(times))


def limit():
    """What two processes without Dask reach that share the machine's memory, of two that share nothing."""
    times = {}
    for processes in (1, 2):
        start, found = multiprocessing.Barrier(processes), multiprocessing.Queue()
        workers = [
            multiprocessing.Process(target=plain, args=(250, 4, start, found)) for _ in range(processes)
        ]
        for worker in workers:
            worker.start()
        times[processes] = max(found.get() for _ in workers)
        for worker in workers:
            worker.join()
    return times[1] / times[2]


def some_maps(block_info=None):
    """Maps of which ten differ."""
    count, *shape = block_info[None]["chunk-shape"]
    ten = np.random.default_rng(0).random((10, *shape), dtype="f4")
    return np.concatenate([ten] * (count // 10 + 1))[:count].copy()


def maps_on(client, arguments):
    """Maps in chunks, as many on each worker: those in its memory, half a gigabyte, stand for all it has."""
    workers = list(client.scheduler_info()["workers"])
    shape = arguments.maps_per_chunk, arguments.channels, 24, 32
    several = max(1, 2**29 // (4 * math.prod(shape)))
    held = [
        client.persist(
            da.map_blocks(some_maps, chunks=((shape[0],) * several, *shape[1:]), dtype="f4", name=worker),
            workers=[worker],
        )
        for worker in workers
    ]
    wait(held)
    parts = [maps.blocks[i] for i in range(several) for maps in held]
    return da.concatenate([parts[i % len(parts)] for i in range(arguments.maps // shape[0])])


def rmac(arguments):
    print(f"two processes without Dask: efficiency {limit():.2f}")
    times = {}
    for workers in (1, 2):
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            maps = maps_on(client, arguments)
            vectors = roicy.dask.rmac(maps)
            vectors.compute()  # before the clock: a worker's first call loads kernels and gets memory
            times[workers] = sorted(seconds(vectors.compute)[0] for _ in range(3 * arguments.repeat))
            print(
                f"{workers} processes: {times[workers][0]:.2f} s, median {np.median(times[workers]):.2f}, "
                f"{len(maps) / times[workers][0]:.0f} maps a second"
            )
    print(
        f"efficiency {times[1][0] / times[2][0] / 2:.2f}, "
        f"of medians {np.median(times[1]) / np.median(times[2]) / 2:.2f}"
    )


# ---------------------------------------------------------------- graphs


def graph(arguments):
    rng = np.random.default_rng(0)
    maps = da.zeros((10_000, 256, 50, 50), chunks=(1, 256, 50, 50), dtype=np.float32)
    for images in (np.sort(rng.integers(0, 10_000, 10**6)), rng.integers(0, 10_000, 10**6)):
        corners = rng.random((10**6, 2)) * 20
        rois = np.column_stack([images, corners, corners + 9]).astype(np.float32)
        for order in ("image", "rois"):
            took, found = seconds(lambda: roicy.dask.roi_align(maps, rois, 7, order=order))  # noqa: B023
            found = found[0] if order == "image" else found
            print(f"10^6 boxes on 10^4 chunks, order={order!r}: {took:.2f} s, {len(found.dask)} tasks")
    small = da.zeros((1000, 1, 8, 8), chunks=(1, 1, 8, 8), dtype=np.float32)
    rois = np.column_stack([np.arange(1000), np.tile([1, 1, 5, 5], (1000, 1))]).astype(np.float32)
    found = roicy.dask.roi_align(small, rois, 2)
    with dask.config.set(scheduler="synchronous"):
        nothing = small.map_blocks(lambda block: block, dtype=small.dtype)
        base = min(seconds(nothing.compute)[0] for _ in range(5))
        took = min(seconds(found.compute)[0] for _ in range(5))
    print(
        f"a group of boxes: {took * 1e3:.0f} us, of which {base * 1e3:.0f} us are Dask's for a task that "
        "does nothing"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["slide", "rmac", "graph"])
    parser.add_argument("--side", type=int, default=12_000)
    parser.add_argument("--crops", type=int, default=800, help="as densely as 20 000 on the large one")
    parser.add_argument("--maps", type=int, default=500)
    parser.add_argument("--maps-per-chunk", type=int, default=80, help="1.6 MB each")
    parser.add_argument("--channels", type=int, default=512, help="of a map; 2048 as a ResNet has them")
    parser.add_argument("--folder")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--loop", type=int, default=10, help="time one of so many crops as a loop; 0: none")
    arguments = parser.parse_args()
    {"slide": slide, "rmac": rmac, "graph": graph}[arguments.what](arguments)
