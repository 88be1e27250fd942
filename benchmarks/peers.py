"""The libraries that roicy is compared with, each called the fastest way it offers.

A peer is a function ``(workload, threads) -> prepare``. ``prepare(features, rois, grad_output)`` gets the
arrays of one round, converts them untimed to what the library wants, and returns the call that is timed; its
result is in NCHW. A peer that is not installed raises ImportError. Outputs are reused where it can be done.
"""

import numpy as np


def onnxruntime(workload, threads):
    """A model of a single RoiAlign node; input and output arrays are bound, not copied."""
    import onnxruntime as ort
    from onnx import TensorProto, helper

    node = helper.make_node(
        "RoiAlign",
        ["features", "rois", "images"],
        ["pooled"],
        mode="avg",
        output_height=workload.output_size,
        output_width=workload.output_size,
        sampling_ratio=workload.sampling_ratio,
        spatial_scale=1.0,
        coordinate_transformation_mode="half_pixel",
    )
    graph = helper.make_graph(
        [node],
        workload.name,
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, workload.input_shape),
            helper.make_tensor_value_info("rois", TensorProto.FLOAT, (workload.rois, 4)),
            helper.make_tensor_value_info("images", TensorProto.INT64, (workload.rois,)),
        ],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, workload.output_shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Its idle workers must not spin on the core that the next contestant runs on.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    out = np.empty(workload.output_shape, np.float32)
    bound = []  # a binding does not keep its arrays alive

    def prepare(features, rois, grad_output):
        bound[:] = features, *split(rois)
        binding = session.io_binding()
        for name, array in zip(("features", "rois", "images"), bound, strict=True):
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        binding.bind_ortvalue_output("pooled", ort.OrtValue.ortvalue_from_numpy(out))

        def call():
            session.run_with_iobinding(binding)
            return out

        return call

    return prepare


def torchvision(workload, threads):
    """``torchvision.ops.roi_align`` without autograd; it has no way to reuse an output."""
    import torch
    from torchvision.ops import roi_align

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        x, boxes = torch.from_numpy(features), torch.from_numpy(rois)

        def call():
            with torch.inference_mode():
                return roi_align(x, boxes, workload.output_size, 1.0, workload.sampling_ratio, True).numpy()

        return call

    return prepare


def torchvision_backward(workload, threads):
    """The backward pass alone: the graph is built untimed and kept."""
    import torch
    from torchvision.ops import roi_align

    torch.set_num_threads(threads)

    def prepare(features, rois, grad_output):
        x = torch.from_numpy(features).requires_grad_()
        pooled = roi_align(
            x, torch.from_numpy(rois), workload.output_size, 1.0, workload.sampling_ratio, True
        )
        grad = torch.from_numpy(grad_output)
        return lambda: torch.autograd.grad(pooled, x, grad, retain_graph=True)[0].numpy()

    return prepare


def openvino(workload, threads):
    """A model of a single ROIAlign-9 node; "half_pixel_for_nn" is what others call half pixel or aligned."""
    import openvino as ov
    from openvino import opset9

    features = opset9.parameter(workload.input_shape, np.float32)
    rois = opset9.parameter((workload.rois, 4), np.float32)
    images = opset9.parameter((workload.rois,), np.int64)
    size, ratio = workload.output_size, workload.sampling_ratio
    pooled = opset9.roi_align(features, rois, images, size, size, ratio, 1.0, "avg", "half_pixel_for_nn")
    options = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    model = ov.Core().compile_model(ov.Model([pooled], [features, rois, images]), "CPU", options)
    request = model.create_infer_request()
    bound = []  # a shared tensor does not keep its array alive

    def prepare(features, rois, grad_output):
        bound[:] = features, *split(rois)
        for index, array in enumerate(bound):
            request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))

        def call():
            request.infer()
            return request.get_output_tensor().data

        return call

    return prepare


def opencv(workload, threads):
    """``cv2.warpAffine`` per box on float32 images in its layout, HWC, at roi_align's sample positions."""
    import cv2

    cv2.setNumThreads(threads)
    size = workload.output_size
    out = np.empty((workload.rois, size, size, workload.input_shape[1]), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP

    def prepare(features, rois, grad_output):
        images = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        crops = []
        for target, (image, x1, y1, x2, y2) in zip(out, rois.astype(np.float64), strict=True):
            step_x, step_y = (x2 - x1) / size, (y2 - y1) / size
            matrix = np.array([[step_x, 0, x1 + 0.5 * step_x - 0.5], [0, step_y, y1 + 0.5 * step_y - 0.5]])
            crops.append((images[int(image)], matrix, target))

        def call():
            for image, matrix, target in crops:
                cv2.warpAffine(image, matrix, (size, size), target, flags, cv2.BORDER_REPLICATE)
            return out.transpose(0, 3, 1, 2)

        return call

    return prepare


def split(rois):
    """(K, 5) rows as boxes (K, 4) and image numbers (K,)."""
    return np.ascontiguousarray(rois[:, 1:]), rois[:, 0].astype(np.int64)


def forward(workload):
    """The peers that can do this workload's forward pass, by name."""
    peers = {"onnxruntime": onnxruntime, "torchvision": torchvision, "openvino": openvino}
    if workload.sampling_ratio == 1 and workload.input_shape[1] <= 4:  # one sample per bin is a plain warp
        peers["opencv"] = opencv
    return peers


def backward(workload):
    """The peers that have a backward pass, by name."""
    return {"torchvision": torchvision_backward}
