"""`roi_align`: the average of bilinear samples."""

import numpy as np
import reference.average
from strategies import problems

from operators.operator import Operator, Reference


def has_kink(problem, step):
    """Whether a small move of a box takes a sample over a pixel, or changes a count or a width."""
    margin = 4 * step  # the positions of samples move by twice as much at most
    for roi in problem.rois:
        for axis, length in enumerate(problem.features.shape[:1:-1]):  # width, height
            bins = problem.output_size[1 - axis]
            edge = reference.average.box_edge(roi[1 + axis], roi[3 + axis], bins, **problem.options)
            size = float(edge.bin_size) * bins
            raw = float(roi[3 + axis] - roi[1 + axis]) * problem.options["spatial_scale"]
            if not problem.options["aligned"] and abs(raw - 1) < margin:
                return True
            if problem.options["sampling_ratio"] <= 0 and abs(size / bins - round(size / bins)) < margin:
                return True
            positions = np.array([edge.position(p, i) for p in range(bins) for i in range(edge.count)])
            near = positions[(positions > -2) & (positions < length + 1)]
            if (abs(near - np.round(near)) < margin).any():
                return True
    return False


AVERAGE = Operator(
    "average",
    "roi_align",
    problems=problems,
    reference=Reference(
        lambda *call, **options: (reference.average.roi_align(*call, **options), None),
        lambda grad_output, _, *call, **options: reference.average.roi_align_backward(
            grad_output, *call, **options
        ),
        lambda grad_output, _, *call, **options: (
            reference.average.roi_align_backward_rois(grad_output, *call, **options),
            None,
        ),
    ),
    share=1,
    kinks=has_kink,
    # between kinks the result is a polynomial of the box's edges, linear in each: differences are exact
    step=2.0**-13,
    bound=1e-9,
)
