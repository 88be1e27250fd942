"""One plan in several threads, and calls in several processes: the same bits everywhere."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np

import roicy

SHAPE = (1, 64, 50, 68)
ROIS = np.array([[0, 40, 60, 360, 300], [0, 8, 8, 500, 420]], np.float32)
OPTIONS = {"spatial_scale": 1 / 8, "sampling_ratio": 2}


def pool(seed):
    """Pool a map, in whatever process this is."""
    features = np.random.default_rng(seed).random(SHAPE, dtype=np.float32)
    with roicy.num_threads(1):  # as many calls run side by side as there are processors
        return roicy.roi_align(features, ROIS, 7, **OPTIONS)


def main():
    """Pool eight maps three times."""
    expected = [pool(seed) for seed in range(8)]

    plan = roicy.roi_align_plan(ROIS, SHAPE, 7, **OPTIONS)  # shared: a call leaves it as it is

    def pool_by_plan(seed):
        features = np.random.default_rng(seed).random(SHAPE, dtype=np.float32)
        with roicy.num_threads(1):  # of this thread: the others keep theirs
            return plan(features)

    with ThreadPoolExecutor(4) as threads:
        from_threads = list(threads.map(pool_by_plan, range(8)))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        from_processes = list(processes.map(pool, range(8)))

    for results in from_threads, from_processes:
        assert all(map(np.array_equal, results, expected))
    print("eight maps, the same bits from four threads and from two processes")


if __name__ == "__main__":
    main()
