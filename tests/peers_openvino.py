"""The operators of OpenVINO on the CPU, in float32."""

import importlib
import warnings

import numpy as np

#: What its conventions are here: aligned, and what is to be added to the boxes before they are scaled.
CONVENTIONS = {"asymmetric": (False, 0), "half_pixel_for_nn": (True, 0), "half_pixel": (True, 0.5)}


def roi_align(problem, *, convention, mode="avg"):
    """ROIAlign-9 on a problem; what it says of alignment gives way to the convention."""
    features, rois, output_size, options = problem
    return run(
        "opset9.roi_align",
        features,
        np.ascontiguousarray(rois[:, 1:]),
        rois[:, 0].astype(np.int32),
        pooled_h=output_size[0],
        pooled_w=output_size[1],
        sampling_ratio=options["sampling_ratio"],
        spatial_scale=options["spatial_scale"],
        mode=mode,
        aligned_mode=convention,
    )


def roi_align_before(problem):
    """ROIAlign-3, of averages that are not aligned."""
    features, rois, output_size, options = problem
    return run(
        "opset3.roi_align",
        features,
        np.ascontiguousarray(rois[:, 1:]),
        rois[:, 0].astype(np.int32),
        pooled_h=output_size[0],
        pooled_w=output_size[1],
        sampling_ratio=options["sampling_ratio"],
        spatial_scale=options["spatial_scale"],
        mode="avg",
    )


def roi_align_rotated(features, boxes, images, output_size, *, sampling_ratio, spatial_scale, clockwise):
    """ROIAlignRotated-15; angles are radians."""
    return run(
        "opset15.roi_align_rotated",
        features,
        boxes,
        images.astype(np.int32),
        pooled_h=output_size[0],
        pooled_w=output_size[1],
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
        clockwise_mode=clockwise,
    )


def roi_pooling(features, rois, output_size, *, spatial_scale=1.0, method="max"):
    """ROIPooling; with the method "bilinear" boxes are fractions of the image, as TensorFlow has them."""
    return run(
        "opset2.roi_pooling",
        features,
        rois,
        output_roi=list(output_size),
        spatial_scale=spatial_scale,
        method=method,
    )


def run(operator, *arrays, **attributes):
    """The result of one of its operators, by opset and name."""
    opset, name = operator.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from openvino import Core, Model

        operators = importlib.import_module(f"openvino.{opset}")
        parameters = [operators.parameter(array.shape, array.dtype) for array in arrays]
        result = getattr(operators, name)(*parameters, **attributes)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        compiled = Core().compile_model(Model([result], parameters), "CPU", settings)
        return compiled(list(arrays))[0]
