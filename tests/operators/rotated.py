"""`roi_align_rotated`: the average of bilinear samples of boxes that are turned."""

import functools

import numpy as np
import reference.rotated
from hypothesis import strategies as st
from strategies import (
    BOX_DTYPES,
    FEATURE_DTYPES,
    OUTPUT_SIZES,
    SAMPLING_RATIOS,
    SPATIAL_SCALES,
    Problem,
    feature_maps,
    on_images,
    random_values,
)

from operators.operator import Operator, Reference

DEGREES = st.one_of(
    st.sampled_from([0.0, 90.0, -90.0, 180.0, 270.0, -360.0, 45.0, 30.0, 1e-3, 1e6]),
    st.floats(-720, 720, width=32),
)


@functools.cache
def middles(length):
    """Strategies for the middle of a box along an axis of `length` pixels."""
    return st.one_of(
        st.floats(0, length, width=32),
        st.integers(-1, length + 1).map(float),
        st.floats(-5, length + 5, width=32),
        st.sampled_from([-30.0, length + 30.0, 1e9, -1e30]),
    )


@functools.cache
def sizes(length, *, huge):
    """Strategies for a side of a box in pixels, one for which a middle on the axis is drawn."""
    return st.one_of(
        st.floats(0, length, width=32),
        st.integers(0, 2 * length).map(float),
        st.sampled_from([0.0, 1e-3, 1.0, -1.0, -2.5, 2.5 * length, *huge]),
    )


@st.composite
def rotated_problems(
    draw,
    *,
    dtypes=FEATURE_DTYPES,
    box_dtypes=BOX_DTYPES,
    output_sizes=OUTPUT_SIZES,
    most_channels=40,
    values=random_values,
):
    """Problems of `roi_align_rotated`: rois of shape (K, 6)."""
    features = draw(feature_maps(dtypes, most_channels, values))
    n, _, height, width = features.shape
    options = {
        "spatial_scale": draw(st.sampled_from(SPATIAL_SCALES)),
        "sampling_ratio": draw(st.sampled_from(SAMPLING_RATIOS)),
        "aligned": draw(st.booleans()),
        "angle_unit": draw(st.sampled_from(["degrees", "radians"])),
        "clockwise": draw(st.booleans()),
    }
    dtype = draw(st.sampled_from(box_dtypes))
    boxes = np.empty((draw(st.integers(0, 5)), 5), dtype)
    huge = (1e9, 1e30, -1e30) if options["sampling_ratio"] > 0 else ()
    for box in boxes:
        for axis, length in enumerate((width, height)):
            box[axis] = draw(middles(length)) / options["spatial_scale"]
            box[axis + 2] = draw(sizes(length, huge=huge)) / options["spatial_scale"]
        box[4] = draw(DEGREES) * (1 if options["angle_unit"] == "degrees" else np.pi / 180)
    return Problem(features, draw(on_images(boxes, n)), draw(st.sampled_from(output_sizes)), options)


def turned_boxes(rng, corners):
    """Middles, sizes and angles of boxes: the given ones, turned by any angle and by quarters."""
    low, high = corners[:, :2], corners[:, 2:]
    angle = np.where(rng.random(len(corners)) < 0.8, rng.uniform(-200, 200, len(corners)), 90.0)
    return np.column_stack([(low + high) / 2, high - low, angle])


def has_kink(problem, step):
    """Whether a small move of a box takes a sample over a pixel, or changes a count or a size."""
    margin = 64 * step
    for roi in problem.rois:
        box = reference.rotated.turned(roi[1:], problem.output_size, **problem.options)
        for size, bins, raw in zip(
            (box.height, box.width),
            problem.output_size,
            roi[[4, 3]] * problem.options["spatial_scale"],
            strict=True,
        ):
            if not problem.options["aligned"] and abs(raw - 1) < margin:
                return True
            if problem.options["sampling_ratio"] <= 0 and abs(size / bins - round(size / bins)) < margin:
                return True
        found = reference.rotated.sampled(
            roi[1:], problem.features.shape[2:], problem.output_size, **problem.options
        )
        for positions, length in zip(found.positions, problem.features.shape[2:], strict=True):
            near = positions[(positions > -2) & (positions < length + 1)]
            if (abs(near - np.round(near)) < margin).any():
                return True
    return False


ROTATED = Operator(
    "rotated",
    "roi_align_rotated",
    problems=rotated_problems,
    reference=Reference(
        lambda *call, **options: (reference.rotated.roi_align_rotated(*call, **options), None),
        lambda grad_output, _, *call, **options: reference.rotated.roi_align_rotated_backward(
            grad_output, *call, **options
        ),
        lambda grad_output, _, *call, **options: reference.rotated.roi_align_rotated_backward_rois(
            grad_output, *call, **options
        ),
    ),
    boxes=turned_boxes,
    numbers=5,
    kinks=has_kink,
)
