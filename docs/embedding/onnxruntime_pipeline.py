"""A two-stage detector around roicy: a backbone session, the boxes pooled, a head session.

The models are made here, with random weights, so that the program needs nothing from outside. Their sizes are
those of a small detector: a map of stride 8 with 32 channels, 7 x 7 bins, 5 scores for each box.
"""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import roicy

STRIDE, CHANNELS, BINS, CLASSES = 8, 32, 7, 5


def main():
    """Score boxes of two images, and compare with a single model that does it all."""
    rng = np.random.default_rng(0)
    backbone, head, whole = models(rng)

    images = rng.random((2, 3, 240, 320), dtype=np.float32)
    boxes = np.array([[30, 40, 110, 130], [5, 8, 60, 200], [100, 20, 315, 238]], np.float32)
    image_of_box = np.array([0, 1, 1])

    (features,) = backbone.run(None, {"images": images})  # NumPy arrays, as roicy takes them
    pooled = roicy.roi_align(features, boxes, BINS, spatial_scale=1 / STRIDE, batch_indices=image_of_box)
    (scores,) = head.run(None, {"pooled": pooled})

    (expected,) = whole.run(None, {"images": images, "boxes": boxes, "image_of_box": image_of_box})
    difference = np.abs(scores - expected).max()
    print(f"scores of {len(boxes)} boxes, {difference:.1g} away from those of a RoiAlign node")
    assert difference < 1e-5


def models(rng):
    """Make three sessions: backbone, head, and both with a RoiAlign node between them."""
    constants = {
        "edges": rng.standard_normal((CHANNELS, 3, STRIDE, STRIDE)) / 14,
        "weights": rng.standard_normal((CLASSES, CHANNELS * BINS * BINS)) / 40,
        "bias": np.zeros(CLASSES),
    }
    convolution = helper.make_node("Conv", ["images", "edges"], ["raw"], strides=[STRIDE, STRIDE])
    backbone = [convolution, helper.make_node("Relu", ["raw"], ["features"])]
    pooling = helper.make_node(
        "RoiAlign",
        ["features", "boxes", "image_of_box"],
        ["pooled"],
        output_height=BINS,
        output_width=BINS,
        spatial_scale=1 / STRIDE,
        sampling_ratio=0,
    )
    head = [
        helper.make_node("Flatten", ["pooled"], ["rows"]),
        helper.make_node("Gemm", ["rows", "weights", "bias"], ["scores"], transB=1),
    ]
    shapes = {
        "images": ("N", 3, "height", "width"),
        "features": ("N", CHANNELS, "rows", "columns"),
        "boxes": ("K", 4),
        "image_of_box": ("K",),
        "pooled": ("K", CHANNELS, BINS, BINS),
        "scores": ("K", CLASSES),
    }

    def session(nodes, inputs, output):
        used = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            output,
            [_info(name, shapes[name]) for name in inputs],
            [_info(output, shapes[output])],
            [
                numpy_helper.from_array(np.float32(value), name)
                for name, value in constants.items()
                if name in used
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    return (
        session(backbone, ["images"], "features"),
        session(head, ["pooled"], "scores"),
        session([*backbone, pooling, *head], ["images", "boxes", "image_of_box"], "scores"),
    )


def _info(name, shape):
    kind = TensorProto.INT64 if name == "image_of_box" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)


if __name__ == "__main__":
    main()
