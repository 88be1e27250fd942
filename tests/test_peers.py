"""Other implementations of the operator, where they are installed: their numbers are ours."""

import importlib.util

import battery
import numpy as np
import pytest
import reference
from closeness import assert_close

import roicy

OUTPUT_SIZES = [(1, 1), (7, 7), (3, 5), (1, 9)]


def random_problem(seed, *, spatial_scales, reversed_edges=True):
    """Features and boxes of every kind in one dtype, as the other systems want them."""
    rng = np.random.default_rng(seed)
    dtype = [np.float32, np.float64][seed % 2]
    n, c, height, width = rng.integers(1, 4), rng.integers(1, 20), *rng.integers(4, 30, 2)
    options = {
        "spatial_scale": float(rng.choice(spatial_scales)),
        "sampling_ratio": int(rng.choice([0, 0, 1, 2, 3, 5])),
        "aligned": bool(rng.integers(2)),
    }
    # Where the number of samples follows the size, others take a negative size for a huge number.
    sensible = not (options["aligned"] and options["sampling_ratio"] == 0)
    corners = battery.random_boxes(rng, 30, height, width, reversed_edges=reversed_edges and sensible)
    corners /= options["spatial_scale"]
    rois = np.column_stack([rng.integers(n, size=30), corners]).astype(dtype)
    features = rng.random((n, c, height, width)).astype(dtype)
    return features, rois, OUTPUT_SIZES[rng.integers(len(OUTPUT_SIZES))], options


# ---------------------------------------------------------------- onnx


@pytest.mark.parametrize("name", ["aligned_false", "aligned_true"])
def test_onnx_node_tests(name, monkeypatch):
    """The onnx project's node tests of the operator, from the module that defines them."""
    pytest.importorskip("onnx", reason="onnx is not installed, nor are its node tests")
    from onnx import helper
    from onnx.backend.test.case.node import roialign

    cases = []
    monkeypatch.setattr(roialign, "expect", lambda *arguments, **named: cases.append((arguments, named)))
    getattr(roialign.RoiAlign, f"export_roialign_{name}")()
    (((node,), case),) = cases
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    assert attributes.get("mode", b"avg") == b"avg"
    convention = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    features, boxes, images = case["inputs"]
    out = roicy.roi_align(
        features,
        boxes,
        (attributes["output_height"], attributes["output_width"]),
        spatial_scale=attributes["spatial_scale"],
        sampling_ratio=attributes["sampling_ratio"],
        aligned={"half_pixel": True, "output_half_pixel": False}[convention],
        batch_indices=images,
    )
    (expected,) = case["outputs"]
    assert out.dtype == expected.dtype
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4)  # four digits were written down


def onnx_model(features, rois, output_size, *, spatial_scale, sampling_ratio, aligned):
    """A model of one RoiAlign node."""
    from onnx import helper

    real = helper.np_dtype_to_tensor_dtype(features.dtype)
    integer = helper.np_dtype_to_tensor_dtype(np.dtype("int64"))
    node = helper.make_node(
        "RoiAlign",
        ["features", "boxes", "images"],
        ["out"],
        output_height=output_size[0],
        output_width=output_size[1],
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )
    graph = helper.make_graph(
        [node],
        "roi_align",
        [
            helper.make_tensor_value_info("features", real, features.shape),
            helper.make_tensor_value_info("boxes", real, (len(rois), 4)),
            helper.make_tensor_value_info("images", integer, (len(rois),)),
        ],
        [helper.make_tensor_value_info("out", real, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    model.ir_version = 8
    inputs = {
        "features": features,
        "boxes": np.ascontiguousarray(rois[:, 1:]),
        "images": rois[:, 0].astype(np.int64),
    }
    return model, inputs


@pytest.mark.parametrize("seed", range(60))
def test_onnxruntime(seed):
    pytest.importorskip("onnx", reason="makes the models for onnxruntime")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    # It keeps the scale as float32: only scales that float32 has exactly are comparable in float64.
    features, rois, output_size, options = random_problem(seed, spatial_scales=[1, 0.5, 0.25, 1 / 16, 2])
    model, inputs = onnx_model(features, rois, output_size, **options)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(None, inputs)
    assert_close(roicy.roi_align(features, rois, output_size, **options), expected.astype(np.float64))


@pytest.mark.parametrize("seed", range(8))
def test_onnx_reference_evaluator(seed):
    pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx.reference import ReferenceEvaluator

    features, rois, output_size, options = random_problem(seed, spatial_scales=[1, 0.5, 0.25, 2])
    features, rois = features[:, :2], rois[:6]
    model, inputs = onnx_model(features, rois, output_size, **options)
    inputs["features"] = np.ascontiguousarray(features)
    (expected,) = ReferenceEvaluator(model).run(None, inputs)
    assert_close(roicy.roi_align(features, rois, output_size, **options), expected.astype(np.float64))


# ---------------------------------------------------------------- torchvision


HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None


@pytest.mark.skipif(not HAS_TORCHVISION, reason="torchvision is not installed")
@pytest.mark.parametrize("seed", range(60) if HAS_TORCHVISION else [0])
def test_torchvision(seed):
    import torch
    import torchvision

    torch.set_num_threads(1)
    features, rois, output_size, options = random_problem(
        seed, spatial_scales=[1, 0.5, 0.25, 1 / 16, 0.7, 1 / 3, 2]
    )
    tensor = torch.tensor(features, requires_grad=True)
    result = torchvision.ops.roi_align(tensor, torch.tensor(rois), output_size, **options)
    out = roicy.roi_align(features, rois, output_size, **options)
    assert_close(out, result.detach().numpy().astype(np.float64))

    grad_output = np.random.default_rng(seed).random(out.shape).astype(out.dtype)
    result.backward(torch.tensor(grad_output))
    grad = roicy.roi_align_backward(grad_output, rois, features.shape, **options)
    theirs = tensor.grad.numpy()
    if out.dtype == np.float32:
        # Its float32 sums run over single samples, hundreds on a pixel, and are off by more than the bound.
        # Which samples there are can still be compared: through the reference, whose sums are float64.
        exact = reference.roi_align_backward(grad_output, rois, features.shape, **options)
        assert np.abs(theirs - exact).max() <= 2e-5 * np.abs(exact).max()
        assert_close(grad, exact)
    else:
        assert_close(grad, theirs)
