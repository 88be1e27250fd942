"""Crops of many files on the cores of one machine: joblib's processes, one thread each."""

import numpy as np
from joblib import Parallel, delayed

import roicy


def crops_of(read, path, boxes, size):
    """What one process does with one image."""
    with roicy.num_threads(1):  # as many processes as cores: no more threads than that
        return roicy.crop_and_resize(read(path), boxes, size, dtype="uint8")


def crops(read, paths, boxes, size, jobs=-1):
    """Crops of all boxes, an array of these for each path."""
    parts = Parallel(n_jobs=jobs)(
        delayed(crops_of)(read, path, some, size) for path, some in zip(paths, boxes, strict=True)
    )
    return np.concatenate(parts)
