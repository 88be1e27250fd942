"""`crop_and_resize`: its record, as an operator on boxes of maps.

Its maps are images, with channels last unless it is told otherwise, and it has no scale: boxes are scaled
here. Of what it makes of values the channels are reversed, which is linear.
"""

import copy

import numpy as np
import reference.crop
from hypothesis import strategies as st
from strategies import (
    BOX_DTYPES,
    FEATURE_DTYPES,
    HUGE,
    OUTPUT_SIZES,
    SAMPLING_RATIOS,
    Problem,
    boxes,
    feature_maps,
    on_images,
    random_values,
    result_dtype,
)

import roicy
from operators import average
from operators.operator import Operator, Reference

FINISH = {"reverse_channels": True}


@st.composite
def crop_problems(
    draw,
    *,
    dtypes=FEATURE_DTYPES,
    box_dtypes=BOX_DTYPES,
    output_sizes=OUTPUT_SIZES,
    most_channels=40,
    values=random_values,
):
    """Problems of `crop_and_resize`."""
    features = draw(feature_maps(dtypes, most_channels, values))
    n, _, height, width = features.shape
    ratio, dtype = draw(st.sampled_from(SAMPLING_RATIOS)), draw(st.sampled_from(box_dtypes))
    huge = HUGE if ratio > 0 else None
    corners = draw(boxes(draw(st.integers(0, 5)), height, width, dtype, spatial_scale=1.0, huge=huge))
    rows, size = draw(on_images(corners, n)), draw(st.sampled_from(output_sizes))
    return Problem(features, rows, size, {"sampling_ratio": ratio})


def scaled(rois, scale):
    """Boxes in pixels of the map, in whatever form."""
    if scale == 1:
        return rois
    if isinstance(rois, (list, tuple)):
        return [scaled(array, scale) for array in rois]
    found = rois.copy()
    found[:, -4:] *= found.dtype.type(scale)
    return found


def has_kink(problem, step):
    """Where the average of the same samples has one."""
    return average.has_kink(
        problem._replace(options={"spatial_scale": 1.0, "aligned": True, **problem.options}), step
    )


class Planned:
    """A plan for each dtype of results, called as those of feature maps are."""

    def __init__(self, make, rois, options):
        self.make, self.kept = make, copy.deepcopy((rois, options))  # the caller's may change
        self.plans = {np.dtype("float32"): make(rois, dtype="float32", **options)}

    def of(self, dtype):
        dtype = np.dtype(result_dtype(dtype))
        if dtype not in self.plans:
            rois, options = self.kept
            self.plans[dtype] = self.make(rois, dtype=dtype, **options)
        return self.plans[dtype]

    @property
    def output_shape(self):
        return self.plans[np.dtype("float32")].output_shape

    def __call__(self, features, out=None):
        return self.of(features.dtype)(features, out)

    def backward(self, grad_output, out=None):
        return self.of(grad_output.dtype).backward(grad_output, out)

    def backward_rois(self, grad_output, features, out=None):
        return self.of(features.dtype).backward_boxes(grad_output, features, out)


class CropOperator(Operator):
    """Calls it by the names that its arguments have."""

    def call(self, ending, **arguments):
        rois, scale = arguments.pop("rois"), arguments.pop("spatial_scale", 1)
        given = {"layout": "NCHW", **arguments, "boxes": scaled(rois, scale)}
        if "features" in given:
            given["images"] = given.pop("features")
        if not ending:
            given.setdefault("dtype", result_dtype(given["images"].dtype))
        return super().call(ending, **given)

    def plan(self, rois, input_shape, output_size, **options):
        def make(rois, **options):
            return super(CropOperator, self).plan(rois, input_shape, output_size, **options)

        return Planned(make, rois, options)

    def windows(self, rois, input_shape, output_size, **options):
        boxes, ratio = scaled(rois, options.get("spatial_scale", 1)), options.get("sampling_ratio", 1)
        return roicy.rois_windows(
            boxes, input_shape, output_size, operator="crop_and_resize", sampling_ratio=ratio
        )

    def _in_pixels(self, problem):
        return problem._replace(rois=scaled(problem.rois, problem.options.get("spatial_scale", 1)))

    def expected(self, problem):
        return super().expected(self._in_pixels(problem))

    def expected_backward(self, problem, grad_output, argmax):
        return super().expected_backward(self._in_pixels(problem), grad_output, argmax)

    def expected_backward_rois(self, problem, grad_output, argmax):
        return super().expected_backward_rois(self._in_pixels(problem), grad_output, argmax)


def images_of(features):
    return [image.transpose(1, 2, 0) for image in features]


def forward(features, rois, output_size, **options):
    crops = reference.crop.crop_and_resize(images_of(features), rois, output_size, **FINISH, **options)
    return crops.transpose(0, 3, 1, 2), None


def backward(grad_output, _, rois, input_shape, **options):
    n, c, height, width = input_shape
    grad = grad_output.astype(np.float64).transpose(0, 2, 3, 1)
    shapes = [(height, width, c)] * n
    grads = reference.crop.crop_and_resize_backward(grad, rois, shapes, **FINISH, **options)
    return np.array(grads).reshape(n, height, width, c).transpose(0, 3, 1, 2)


def backward_rois(grad_output, _, features, rois, **options):
    grad = grad_output.astype(np.float64).transpose(0, 2, 3, 1)
    return reference.crop.crop_and_resize_backward_boxes(grad, images_of(features), rois, **FINISH, **options)


CROP = CropOperator(
    "crop",
    "crop_and_resize",
    problems=crop_problems,
    reference=Reference(forward, backward, backward_rois),
    options=FINISH,
    slopes="_backward_boxes",
    share=1 / 2,
    kinks=has_kink,
    step=2.0**-13,
    bound=1e-9,
)
