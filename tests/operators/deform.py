"""`deform_roi_pool`: the average of bilinear samples of bins that are moved.

What the promises ask of an operator they ask of boxes. So offsets follow from the boxes here: bins of any
box are moved, each by another offset, and a row has the same offsets wherever it stands. What offsets and
mask may be, and their gradients, is asked in ``test_deform.py``.
"""

import math

import numpy as np
import reference.deform
from hypothesis import strategies as st
from strategies import (
    BOX_DTYPES,
    FEATURE_DTYPES,
    HUGE,
    OUTPUT_SIZES,
    SAMPLING_RATIOS,
    SPATIAL_SCALES,
    Problem,
    boxes,
    feature_maps,
    on_images,
    random_values,
)

from operators.operator import Operator, Reference


def offsets_of(rois, output_size):
    """Offsets (K, 2, PH, PW) for boxes in any form, of their dtype."""
    rows = (
        np.concatenate([array[:, -4:] for array in rois]) if isinstance(rois, (list, tuple)) else rois[:, -4:]
    )
    p, q = np.arange(output_size[0])[:, None], np.arange(output_size[1])
    whole = rows.dtype.kind in "iu" and rows.dtype.itemsize > 2
    offsets = np.empty(
        (len(rows), 2, *output_size), np.float64 if whole else np.result_type(rows, np.float32)
    )
    for k, (x1, y1, x2, y2) in enumerate(np.nan_to_num(rows.astype(np.float64))):  # no memory that is counted
        offsets[k, 0] = 2 * np.sin(x1 + 0.1 * y2 + 1.7 * p + 2.9 * q)
        offsets[k, 1] = 2 * np.sin(y1 - 0.1 * x2 + 2.3 * p - 1.1 * q)
    return offsets


@st.composite
def deform_problems(
    draw,
    *,
    dtypes=FEATURE_DTYPES,
    box_dtypes=BOX_DTYPES,
    output_sizes=OUTPUT_SIZES,
    most_channels=40,
    values=random_values,
):
    """Problems of `deform_roi_pool`."""
    features = draw(feature_maps(dtypes, most_channels, values))
    n, _, height, width = features.shape
    options = {
        "spatial_scale": draw(st.sampled_from(SPATIAL_SCALES)),
        "sampling_ratio": draw(st.sampled_from(SAMPLING_RATIOS)),
        "gamma": draw(st.sampled_from([0.1, 0.1, 0.25, -0.5, 0.0, 2.0])),
    }
    dtype, scale = draw(st.sampled_from(box_dtypes)), options["spatial_scale"]
    huge = HUGE if options["sampling_ratio"] > 0 else None
    corners = draw(boxes(draw(st.integers(0, 5)), height, width, dtype, spatial_scale=scale, huge=huge))
    return Problem(features, draw(on_images(corners, n)), draw(st.sampled_from(output_sizes)), options)


class DeformOperator(Operator):
    """Adds the offsets."""

    def call(self, ending, **arguments):
        size = arguments.get("output_size")
        if size is None:
            grad_output, layout = arguments["grad_output"], arguments.get("layout", "NCHW")
            size = grad_output.shape[2:] if layout == "NCHW" else grad_output.shape[1:3]
        size = (size, size) if isinstance(size, int) else size
        # no array has a number for each of more bins
        offsets = offsets_of(arguments["rois"], size) if math.prod(size) <= 2**50 else None
        return super().call(ending, offsets=offsets, **arguments)

    def windows(self, rois, input_shape, output_size, **options):
        offsets = offsets_of(rois, output_size)
        return super().windows(rois, input_shape, output_size, offsets=offsets, **options)


def forward(features, rois, output_size, **options):
    options.setdefault("offsets", offsets_of(rois, output_size))
    return reference.deform.deform_roi_pool(features, rois, output_size, **options), None


def backward(grad_output, _, rois, input_shape, **options):
    options.setdefault("offsets", offsets_of(rois, grad_output.shape[2:]))
    return reference.deform.deform_roi_pool_backward(grad_output, rois, input_shape, **options)


DEFORM = DeformOperator(
    "deform", "deform_roi_pool", problems=deform_problems, reference=Reference(forward, backward)
)
