"""The operators of ONNX: by onnxruntime, by onnx's own reference, and the cases that onnx publishes."""

import numpy as np

CONVENTIONS = {"half_pixel": True, "output_half_pixel": False}  # what is aligned here
#: onnxruntime has no kernel for a newer one on the CPU.
OPSETS = (10, 16)


def roi_align(run, problem, *, mode="avg", opset=16):
    """A model of one RoiAlign node, run by `onnxruntime` or `reference`."""
    from onnx import helper

    features, rois, output_size, options = problem
    attributes = {name: options[name] for name in ("spatial_scale", "sampling_ratio")}
    if opset >= 16:
        (convention,) = (name for name, aligned in CONVENTIONS.items() if aligned == options["aligned"])
        attributes["coordinate_transformation_mode"] = convention
    else:
        assert not options["aligned"]  # the only convention there was
    node = helper.make_node(
        "RoiAlign",
        ["features", "boxes", "images"],
        ["out"],
        output_height=output_size[0],
        output_width=output_size[1],
        mode=mode,
        **attributes,
    )
    inputs = {
        "features": features,
        "boxes": np.ascontiguousarray(rois[:, 1:]),
        "images": rois[:, 0].astype(np.int64),
    }
    return run(model(node, inputs, opset), inputs)


def max_roi_pool(problem):
    """A model of one MaxRoiPool node, run by onnxruntime."""
    from onnx import helper

    features, rois, output_size, options = problem
    node = helper.make_node(
        "MaxRoiPool",
        ["features", "rois"],
        ["out"],
        pooled_shape=output_size,
        spatial_scale=options["spatial_scale"],
    )
    inputs = {"features": features, "rois": rois}
    return onnxruntime(model(node, inputs), inputs)


def crop_and_resize(features, boxes, images, crop_size, extrapolation_value):
    """onnxruntime's own CropAndResize, TensorFlow's in NCHW."""
    from onnx import helper

    inputs = {
        "features": features,
        "boxes": boxes,
        "images": images.astype(np.int32),
        "crop_size": np.array(crop_size, np.int32),
    }
    node = helper.make_node(
        "CropAndResize",
        list(inputs),
        ["out"],
        domain="com.microsoft",
        mode="bilinear",
        extrapolation_value=extrapolation_value,
    )
    return onnxruntime(model(node, inputs), inputs)


def model(node, inputs, opset=16):
    """A model of one node, with all of its inputs and an output in the dtype of the first."""
    from onnx import helper

    dtypes = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    graph = helper.make_graph(
        [node],
        node.op_type,
        [helper.make_tensor_value_info(name, dtypes[name], array.shape) for name, array in inputs.items()],
        [helper.make_tensor_value_info("out", dtypes["features"], None)],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def onnxruntime(model, inputs):
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 4  # else it writes what it refuses to stderr, beside raising
    session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, inputs)
    return out


def reference(model, inputs):
    from onnx.reference import ReferenceEvaluator

    (out,) = ReferenceEvaluator(model).run(None, inputs)
    return out


def node_test(name, monkeypatch):
    """One of onnx's published cases of RoiAlign, from the module that defines them.

    Returns features, boxes, images, the node's attributes and the output that is expected.
    """
    from onnx import helper
    from onnx.backend.test.case.node import roialign

    cases = []
    monkeypatch.setattr(roialign, "expect", lambda *arguments, **named: cases.append((arguments, named)))
    getattr(roialign.RoiAlign, f"export_roialign_{name}")()
    (((node,), case),) = cases
    (expected,) = case["outputs"]
    return *case["inputs"], {a.name: helper.get_attribute_value(a) for a in node.attribute}, expected
