"""`roi_pool`: the largest pixel, and the mean of pixels."""

import numpy as np
import reference.pool
from hypothesis import strategies as st
from strategies import (
    BOX_DTYPES,
    FEATURE_DTYPES,
    OUTPUT_SIZES,
    SPATIAL_SCALES,
    Problem,
    boxes,
    contested_values,
    feature_maps,
    on_images,
    random_values,
)

from operators.operator import Operator, Reference


@st.composite
def pool_problems(
    draw,
    *,
    dtypes=FEATURE_DTYPES,
    box_dtypes=BOX_DTYPES,
    output_sizes=OUTPUT_SIZES,
    most_channels=40,
    values=contested_values,
    roundings=("round", "none", "whole"),
):
    """Problems of `roi_pool`, with features among which many are equal."""
    features = draw(feature_maps(dtypes, most_channels, values))
    n, _, height, width = features.shape
    options = {
        "spatial_scale": draw(st.sampled_from(SPATIAL_SCALES)),
        "rounding": draw(st.sampled_from(roundings)),
    }
    scale, dtype = options["spatial_scale"], draw(st.sampled_from(box_dtypes))
    huge = [0.0, 1e9, -1e9, 1e30, -1e30]
    corners = draw(boxes(draw(st.integers(0, 5)), height, width, dtype, spatial_scale=scale, huge=huge))
    return Problem(features, draw(on_images(corners, n)), draw(st.sampled_from(output_sizes)), options)


def any_pixel(problem, seed):
    """An argmax that names any pixels, and none for some bins."""
    shape = (len(problem.rois), problem.features.shape[1], *problem.output_size)
    _, _, height, width = problem.features.shape
    return np.random.default_rng(seed).integers(-1, height * width, shape).astype(np.int32)


POOL = Operator(
    "pool",
    "roi_pool",
    problems=pool_problems,
    reference=Reference(
        reference.pool.roi_pool,
        lambda *call, **_: reference.pool.roi_pool_backward(*call),  # an argmax says it all
    ),
    any_argmax=any_pixel,
    exact=True,
    linear=False,
    values=contested_values,
)

MEAN = Operator(
    "mean",
    "roi_pool",
    options={"mode": "avg"},
    problems=lambda *, values=random_values, **draws: pool_problems(values=values, **draws),
    reference=Reference(
        lambda *call, **options: (reference.pool.average(*call, **options), None),
        lambda grad_output, _, *call, **options: reference.pool.average_backward(
            grad_output, *call, **options
        ),
    ),
)
