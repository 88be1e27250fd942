"""`roi_align` with ``mode="max"``: the largest bilinear sample."""

import numpy as np
import reference.average
import reference.maxima
from strategies import problems

from operators.operator import Operator, Reference


def grids(problem):
    """Samples along y and x of a bin of each box: two arrays (K,)."""
    counts = np.zeros((2, len(problem.rois)), np.int64)
    with np.errstate(all="ignore"):
        for k, (_, x1, y1, x2, y2) in enumerate(problem.rois):
            for axis, (low, high) in enumerate(((y1, y2), (x1, x2))):
                edge = reference.average.box_edge(low, high, problem.output_size[axis], **problem.options)
                counts[axis, k] = edge.count
    return counts


def any_sample(problem, seed):
    """An argmax that names any sample of each bin, or none."""
    rng = np.random.default_rng(seed)
    shape = (len(problem.rois), problem.features.shape[1], *problem.output_size)
    limits = grids(problem).prod(axis=0).reshape(-1, 1, 1, 1)
    return np.minimum(rng.integers(-1, np.broadcast_to(limits, shape)), 2**31 - 2).astype(np.int32)


MAX = Operator(
    "max",
    "roi_align",
    options={"mode": "max"},
    problems=problems,
    reference=Reference(
        reference.maxima.roi_align_max,
        reference.maxima.roi_align_max_backward,
        reference.maxima.roi_align_max_backward_rois,
    ),
    any_argmax=any_sample,
    linear=False,
    slow=True,
)
