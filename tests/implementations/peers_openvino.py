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


def psroi_pooling(features, rois, group_size, *, spatial_scale):
    """PSROIPooling of averages, with as many rows as columns of bins."""
    return run(
        "opset1.psroi_pooling",
        features,
        rois,
        output_dim=features.shape[1] // group_size**2,
        group_size=group_size,
        spatial_scale=spatial_scale,
        spatial_bins_x=1,
        spatial_bins_y=1,
        mode="average",
    )


def deformable_psroi_pooling(features, rois, offsets, group_size, *, samples, spatial_scale, gamma):
    """DeformablePSROIPooling of one class, whose bins are as many as the parts that offsets are of."""
    return run(
        "opset1.deformable_psroi_pooling",
        features,
        rois,
        offsets=offsets,
        output_dim=features.shape[1] // group_size**2,
        group_size=group_size,
        part_size=group_size,
        spatial_scale=spatial_scale,
        spatial_bins_x=samples,
        spatial_bins_y=samples,
        trans_std=gamma,
    )


def run(operator, *arrays, offsets=None, **attributes):
    """The result of one of its operators, by opset and name, some of which take offsets last."""
    opset, name = operator.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from openvino import Core, Model

        operators = importlib.import_module(f"openvino.{opset}")
        parameters = [operators.parameter(array.shape, array.dtype) for array in arrays]
        if offsets is not None:
            attributes["offsets"] = operators.parameter(offsets.shape, offsets.dtype)
        result = getattr(operators, name)(*parameters, **attributes)
        if offsets is not None:
            parameters, arrays = [*parameters, attributes["offsets"]], (*arrays, offsets)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        compiled = Core().compile_model(Model([result], parameters), "CPU", settings)
        return compiled(list(arrays))[0]


def fpn_levels(boxes, num_levels):
    """Levels of boxes about the point (1, 1), by ExperimentalDetectronROIFeatureExtractor: -1 for none.

    Level i's map holds i + 1 throughout, and one sample is taken at the centre of a box.
    """
    maps = [np.full((1, 1, 4, 4), i + 1, np.float32) for i in range(num_levels)]
    found = feature_extractor(boxes, maps, 1, sampling_ratio=1, aligned=False)
    return np.round(found.ravel()).astype(int) - 1


def feature_extractor(boxes, maps, output_size, *, sampling_ratio, aligned):
    """What ExperimentalDetectronROIFeatureExtractor pools from maps of strides 4, 8, ... of one image."""
    from openvino import Core

    shapes = [boxes.shape, *(features.shape for features in maps)]
    last, pooled = len(shapes), (len(boxes), maps[0].shape[1], output_size, output_size)
    layers = [
        _layer(i, "Parameter", {"shape": ",".join(map(str, shape)), "element_type": "f32"}, [], [(0, shape)])
        for i, shape in enumerate(shapes)
    ]
    attributes = {
        "output_size": output_size,
        "sampling_ratio": sampling_ratio,
        "pyramid_scales": ",".join(str(4 * 2**i) for i in range(len(maps))),
        "aligned": str(aligned).lower(),
    }
    outputs = [(last, pooled), (last + 1, boxes.shape)]
    extractor = "ExperimentalDetectronROIFeatureExtractor"
    layers.append(_layer(last, extractor, attributes, list(enumerate(shapes)), outputs))
    layers.append(_layer(last + 1, "Result", {}, [(0, pooled)], []))
    arrows = [(i, 0, last, i) for i in range(last)] + [(last, last, last + 1, 0)]
    edges = "".join(
        f'<edge from-layer="{a}" from-port="{b}" to-layer="{c}" to-port="{d}"/>' for a, b, c, d in arrows
    )
    network = f'<net name="n" version="11"><layers>{"".join(layers)}</layers><edges>{edges}</edges></net>'
    core = Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(network.encode(), b""), "CPU", settings)
    return compiled([boxes, *maps])[0]


def _layer(number, kind, attributes, inputs, outputs):
    opset = "opset6" if kind.startswith("Experimental") else "opset1"
    data = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    ends = [
        "".join(
            f'<port id="{port}" precision="FP32">{"".join(f"<dim>{n}</dim>" for n in shape)}</port>'
            for port, shape in ports
        )
        for ports in (inputs, outputs)
    ]
    return (
        f'<layer id="{number}" name="{number}" type="{kind}" version="{opset}"><data {data}/>'
        f"<input>{ends[0]}</input><output>{ends[1]}</output></layer>"
    )
