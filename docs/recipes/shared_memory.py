"""One map in shared memory, pooled by several processes that write into one result: nothing is copied."""

from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory

import numpy as np

import roicy


def shared(shape, dtype):
    """An array in shared memory, and the memory, which is to be unlinked in the end."""
    memory = SharedMemory(create=True, size=int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.ndarray(shape, dtype, memory.buf), memory


def seen(description):
    """The same array in another process."""
    name, shape, dtype = description
    memory = SharedMemory(name)
    return np.ndarray(shape, dtype, memory.buf), memory


def pool_rows(features, rois, out, first, last):
    """What one process does: its rows of the result."""
    (maps, kept), (result, also_kept) = seen(features), seen(out)
    with roicy.num_threads(1):
        size = result.shape[2:]
        roicy.roi_align(maps, rois[first:last], size, out=result[first:last])
    del maps, result
    kept.close()
    also_kept.close()


def pool(features, rois, out, processes):
    """Pool boxes of a shared map into a shared result; both are (name, shape, dtype)."""
    ends = np.linspace(0, len(rois), processes + 1).astype(int)
    with get_context("spawn").Pool(processes) as pool:
        jobs = [(features, rois, out, a, b) for a, b in pairwise(ends)]
        pool.starmap(pool_rows, jobs)
