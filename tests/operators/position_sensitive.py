"""`ps_roi_align` and `ps_roi_pool`: each bin from channels of its own."""

import math

import reference.position_sensitive
from hypothesis import strategies as st
from strategies import (
    BOX_DTYPES,
    FEATURE_DTYPES,
    OUTPUT_SIZES,
    PositionSensitiveProblem,
    feature_maps,
    problems,
    random_values,
)

from operators.average import AVERAGE
from operators.operator import Operator, Reference
from operators.precise import precise_problems


@st.composite
def of_bins(
    draw,
    *,
    dtypes=FEATURE_DTYPES,
    box_dtypes=BOX_DTYPES,
    output_sizes=OUTPUT_SIZES,
    most_channels=40,
    values=random_values,
    problems=problems,
):
    """Problems whose maps have channels for each bin."""
    given = draw(problems(box_dtypes=box_dtypes, output_sizes=output_sizes, most_channels=0))
    bins = math.prod(given.output_size)
    features = draw(
        feature_maps(dtypes, most_channels if bins < 9 else 3, values, bins, given.features.shape)
    )
    return PositionSensitiveProblem(features, given.rois, given.output_size, given.options)


PS_ALIGN = Operator(
    "position_sensitive",
    "ps_roi_align",
    problems=of_bins,
    reference=Reference(
        lambda *call, **options: (reference.position_sensitive.ps_roi_align(*call, **options), None),
        lambda grad_output, _, *call, **options: reference.position_sensitive.ps_roi_align_backward(
            grad_output, *call, **options
        ),
        lambda grad_output, _, *call, **options: (
            reference.position_sensitive.ps_roi_align_backward_rois(grad_output, *call, **options),
            None,
        ),
    ),
    position_sensitive=True,
    share=1 / 3,
    kinks=AVERAGE.kinks,
    step=AVERAGE.step,
    bound=AVERAGE.bound,
)


PS_POOL = Operator(
    "position_sensitive_pixels",
    "ps_roi_pool",
    problems=lambda **draws: of_bins(problems=precise_problems, **draws),
    reference=Reference(
        lambda *call, **options: (reference.position_sensitive.ps_roi_pool(*call, **options), None),
        lambda grad_output, _, *call, **options: reference.position_sensitive.ps_roi_pool_backward(
            grad_output, *call, **options
        ),
    ),
    position_sensitive=True,
)
