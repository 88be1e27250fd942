"""`prroi_pool`: the exact mean of the bilinear map."""

import numpy as np
import reference.precise
from hypothesis import strategies as st
from strategies import (
    BOX_DTYPES,
    FEATURE_DTYPES,
    HUGE,
    OUTPUT_SIZES,
    SPATIAL_SCALES,
    Problem,
    boxes,
    feature_maps,
    on_images,
    random_values,
)

from operators.operator import Operator, Reference


@st.composite
def precise_problems(
    draw,
    *,
    dtypes=FEATURE_DTYPES,
    box_dtypes=BOX_DTYPES,
    output_sizes=OUTPUT_SIZES,
    most_channels=40,
    values=random_values,
):
    """Problems of `prroi_pool`."""
    features = draw(feature_maps(dtypes, most_channels, values))
    n, _, height, width = features.shape
    scale, dtype = draw(st.sampled_from(SPATIAL_SCALES)), draw(st.sampled_from(box_dtypes))
    corners = draw(boxes(draw(st.integers(0, 5)), height, width, dtype, spatial_scale=scale, huge=HUGE))
    options = {"spatial_scale": scale}
    return Problem(features, draw(on_images(corners, n)), draw(st.sampled_from(output_sizes)), options)


def has_kink(problem, step):
    """Whether a box is so small that it may turn around. Pixels and the border are no kinks of its mean."""
    size = np.abs(problem.rois[:, 3:] - problem.rois[:, 1:3])
    return bool((size * problem.options["spatial_scale"] < 0.05).any())


PRECISE = Operator(
    "precise",
    "prroi_pool",
    problems=precise_problems,
    reference=Reference(
        lambda *call, **options: (reference.precise.prroi_pool(*call, **options), None),
        lambda grad_output, _, *call, **options: reference.precise.prroi_pool_backward(
            grad_output, *call, **options
        ),
        lambda grad_output, _, *call, **options: reference.precise.prroi_pool_backward_rois(
            grad_output, *call, **options
        ),
    ),
    share=1 / 2,
    kinks=has_kink,
    # from one pixel to the next the result has another curvature, which a difference sees within its step
    step=2.0**-24,
    bound=1e-5,
)
