"""The libraries that roicy is compared with, each called the fastest way it offers.

A peer is a function ``(workload, threads) -> prepare``. ``prepare(features, rois, grad_output)`` gets the
arrays of one round, converts them untimed to what the library wants, and returns the call that is timed; its
result is in NCHW. A peer that is not installed raises ImportError. Outputs are reused where it can be done.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from boxes import split
from peers_dali import dali
from peers_mnn import mnn, mnn_pool, mnn_pyramid
from peers_opencv import (
    opencv,
    opencv_blobs,
    opencv_lines,
    opencv_normalised,
    opencv_quads,
    opencv_quads_normalised,
    opencv_resize,
)
from peers_openvino import openvino, openvino_pool, openvino_ps_pool, openvino_pyramid
from peers_tensorflow import tensorflow
from peers_torch import (
    detectron2_paste,
    torchvision,
    torchvision_backward,
    torchvision_paste,
    torchvision_pool,
    torchvision_pool_backward,
    torchvision_ps_align,
    torchvision_ps_align_backward,
    torchvision_ps_pool,
    torchvision_pyramid,
    torchvision_pyramid_backward,
)

import roicy


@dataclass(frozen=True)
class Peer:
    """A contestant, and what it does instead where it does not do the same."""

    make: Callable  # (workload, threads) -> prepare
    instead: str = ""  # a stand-in: the nearest thing that the library has
    alike: bool = True  # its result is to be compared: the same numbers, or the first of roicy's two results


def of(workload, name):
    """The peers for a pass of this workload, by name."""
    if name == "backward":
        return _for_backward(workload)
    return {
        "roi_align": _for_align,
        "roi_align_rotated": _for_rotated,
        "roi_pool": _for_pool,
        "deform_roi_pool": _for_deform,
        "ps_roi_align": _for_ps_align,
        "ps_roi_pool": _for_ps_pool,
        "multi_scale_roi_align": _for_pyramid,
        "crop_and_resize": _for_crops,
        "crop_quads": _for_quads,
        "paste_masks": _for_paste,
        "rmac": _for_rmac,
    }[workload.operator](workload, name)


def _for_align(workload, name):
    if name == "onnx's rule":
        return {"onnxruntime": Peer(onnxruntime)}
    if workload.mode == "max":
        own_rule = Peer(onnxruntime, "the largest of a sample's four weighted corners", alike=False)
        return {"onnxruntime": own_rule, "openvino": Peer(openvino), "MNN": Peer(mnn)}
    peers = {
        "onnxruntime": Peer(onnxruntime),
        "torchvision": Peer(torchvision),
        "openvino": Peer(openvino),
        "MNN": Peer(mnn),
    }
    if workload.sampling_ratio == 1 and workload.input_shape[1] <= 4:  # one sample per bin is a plain warp
        peers["opencv"] = Peer(opencv)
    return peers


def _for_rotated(workload, name):
    if workload.dtype == "uint8":
        return {"opencv": Peer(opencv_lines, "bytes")}
    return {"onnxruntime": Peer(onnxruntime, "upright boxes of the same sizes", alike=False)}


def _for_deform(workload, name):
    return {}  # mmcv's runs on a GPU only, and torchvision's deform_conv2d is another operator


def _for_pool(workload, name):
    if name == "with argmax":
        without = Peer(onnxruntime_pool, "no argmax")
        return {"onnxruntime": without, "torchvision": Peer(torchvision_pool)}
    whole = "edges of bins in whole numbers: a few bins have a pixel more or less"
    return {
        "onnxruntime": Peer(onnxruntime_pool),
        "torchvision": Peer(torchvision_pool, "finds the argmax, too"),
        "openvino": Peer(openvino_pool, whole, alike=False),
        "MNN": Peer(mnn_pool, "edges of bins in another order of operations", alike=False),
    }


def _for_ps_align(workload, name):
    return {"torchvision": Peer(torchvision_ps_align)}


def _for_ps_pool(workload, name):
    other = Peer(torchvision_ps_pool, "boxes without their last row and column of pixels", alike=False)
    return {"torchvision": other, "openvino": Peer(openvino_ps_pool)}


def _for_pyramid(workload, name):
    chosen = "boxes are assigned to maps beforehand"
    return {
        "torchvision": Peer(torchvision_pyramid),
        "openvino": Peer(openvino_pyramid, "a call for each image"),
        "MNN": Peer(mnn_pyramid, chosen),
    }


def _for_crops(workload, name):
    if workload.dtype != "uint8":
        return {"tensorflow": Peer(tensorflow)}
    whole = "boxes of whole pixels, each crop by itself"
    if name == "to bytes":
        return {"opencv": Peer(opencv_resize, whole, alike=False)}
    return {
        "opencv": Peer(opencv_normalised, whole, alike=False),
        "opencv's blobs": Peer(opencv_blobs, whole, alike=False),
        "DALI": Peer(dali),
    }


def _for_quads(workload, name):
    return {"opencv": Peer(opencv_quads if name == "to bytes" else opencv_quads_normalised)}


def _for_paste(workload, name):
    instead = "" if name == "forward" else "whole masks"
    return {
        "detectron2's": Peer(detectron2_paste, instead, alike=False),
        "torchvision": Peer(torchvision_paste, "values, of another rule", alike=False),
    }


def _for_rmac(workload, name):
    return {"numpy": Peer(numpy_rmac)}


def _for_backward(workload):
    if workload.operator == "roi_pool":
        return {"torchvision": Peer(torchvision_pool_backward)}
    if workload.operator == "roi_align_rotated":
        upright = Peer(torchvision_backward, "upright boxes of the same sizes", alike=False)
        return {"torchvision": upright}
    if workload.operator == "roi_align" and workload.mode == "avg":
        return {"torchvision": Peer(torchvision_backward)}
    if workload.operator == "ps_roi_align":
        return {"torchvision": Peer(torchvision_ps_align_backward)}
    if workload.operator == "multi_scale_roi_align":
        return {"torchvision": Peer(torchvision_pyramid_backward)}
    return {}


# ---------------------------------------------------------------- onnxruntime


def onnxruntime(workload, threads):
    """A model of a single RoiAlign node."""
    from onnx import TensorProto, helper

    size, rois = workload.output_size, workload.rois
    node = helper.make_node(
        "RoiAlign",
        ["features", "rois", "images"],
        ["pooled"],
        mode=workload.mode,
        output_height=size,
        output_width=size,
        sampling_ratio=workload.sampling_ratio,
        spatial_scale=1.0,
        coordinate_transformation_mode="half_pixel",
    )
    inputs = {"rois": (TensorProto.FLOAT, (rois, 4)), "images": (TensorProto.INT64, (rois,))}
    bind = _onnxruntime_binder(workload, threads, node, inputs)
    return lambda features, rois, grad_output: bind(features, *split(rois))


def onnxruntime_pool(workload, threads):
    """A model of a single MaxRoiPool node."""
    from onnx import TensorProto, helper

    node = helper.make_node(
        "MaxRoiPool", ["features", "rois"], ["pooled"], pooled_shape=[workload.output_size] * 2
    )
    bind = _onnxruntime_binder(workload, threads, node, {"rois": (TensorProto.FLOAT, (workload.rois, 5))})
    return lambda features, rois, grad_output: bind(features, rois)


def _onnxruntime_binder(workload, threads, node, inputs):
    """Make a session for the node; input and output arrays are bound to it, not copied."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    inputs = {"features": (TensorProto.FLOAT, workload.input_shape), **inputs}
    graph = helper.make_graph(
        [node],
        workload.name,
        [helper.make_tensor_value_info(name, *of_what) for name, of_what in inputs.items()],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, workload.output_shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    ort.set_default_logger_severity(3)  # it warns that its maximum is not the bilinear one
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Its idle workers must not spin on the core that the next contestant runs on.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    out = np.empty(workload.output_shape, np.float32)
    bound = []  # a binding does not keep its arrays alive

    def bind(*arrays):
        bound[:] = arrays
        binding = session.io_binding()
        for name, array in zip(inputs, arrays, strict=True):
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_output("pooled", ort.OrtValue.ortvalue_from_numpy(out))

        def call():
            session.run_with_iobinding(binding)
            return out

        return call

    return bind


# ---------------------------------------------------------------- NumPy


def numpy_rmac(workload, threads):
    """R-MAC as one writes it in NumPy, one slice per region; where the regions are is known beforehand."""
    one_image = (1, *workload.input_shape[1:])
    regions = [
        (slice(y1, y2 + 1), slice(x1, x2 + 1))
        for _, x1, y1, x2, y2 in roicy.rmac_regions(one_image).astype(int).tolist()
    ]

    def normalised(vectors):
        return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)

    def prepare(features, rois, grad_output):
        def call():
            maxima = np.stack([features[:, :, y, x].max(axis=(2, 3)) for y, x in regions])
            return normalised(normalised(maxima).sum(axis=0))

        return call

    return prepare
