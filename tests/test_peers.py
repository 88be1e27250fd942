"""Other implementations of the operator, where they are installed: their numbers are ours."""

import importlib
import warnings

import battery
import numpy as np
import pytest
import reference
import reference_pool
from closeness import assert_close, assert_same_bits

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


@pytest.mark.parametrize("name", ["aligned_false", "aligned_true", "mode_max"])
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
    mode = attributes.get("mode", b"avg").decode()
    assert mode == ("max" if name == "mode_max" else "avg")
    convention = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    features, boxes, images = case["inputs"]
    out = roicy.roi_align(
        features,
        boxes,
        (attributes["output_height"], attributes["output_width"]),
        spatial_scale=attributes["spatial_scale"],
        sampling_ratio=attributes["sampling_ratio"],
        aligned={"half_pixel": True, "output_half_pixel": False}[convention],
        mode=mode,
        max_rule="onnx",
        batch_indices=images,
    )
    (expected,) = case["outputs"]
    assert out.dtype == expected.dtype
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-4)  # four digits were written down


def onnx_model(features, rois, output_size, *, spatial_scale, sampling_ratio, aligned, mode="avg"):
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
        mode=mode,
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


def run_onnxruntime(model, inputs):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


@pytest.mark.parametrize("seed", range(60))
def test_onnxruntime(seed):
    pytest.importorskip("onnx", reason="makes the models for onnxruntime")
    # It keeps the scale as float32: only scales that float32 has exactly are comparable in float64.
    features, rois, output_size, options = random_problem(seed, spatial_scales=[1, 0.5, 0.25, 1 / 16, 2])
    model, inputs = onnx_model(features, rois, output_size, **options)
    (expected,) = run_onnxruntime(model, inputs)
    assert_close(roicy.roi_align(features, rois, output_size, **options), expected.astype(np.float64))


@pytest.mark.parametrize("seed", range(40))
def test_onnxruntime_takes_the_largest_corner(seed):
    """Its maximum is that of single weighted pixels, as in the specification."""
    pytest.importorskip("onnx", reason="makes the models for onnxruntime")
    features, rois, output_size, options = random_problem(seed, spatial_scales=[1, 0.5, 0.25, 1 / 16, 2])
    features = (features - 0.3).astype(features.dtype)
    model, inputs = onnx_model(features, rois, output_size, mode="max", **options)
    (expected,) = run_onnxruntime(model, inputs)
    out = roicy.roi_align(features, rois, output_size, mode="max", max_rule="onnx", **options)
    assert_close(out, expected.astype(np.float64))
    bilinear = roicy.roi_align(features, rois, output_size, mode="max", **options)
    assert not np.allclose(bilinear, expected)


@pytest.mark.parametrize("seed", range(20))
def test_onnxruntime_max_roi_pool(seed):
    """On maps without negative numbers: it starts from the smallest positive one."""
    pytest.importorskip("onnx", reason="makes the models for onnxruntime")
    from onnx import TensorProto, helper

    features, rois, output_size, options = random_problem(2 * seed, spatial_scales=[1, 0.5, 0.25, 1 / 16])
    rois = rois[(rois[:, 1:] >= 0).all(axis=1)]  # it rounds by adding a half and cutting off
    node = helper.make_node(
        "MaxRoiPool",
        ["features", "rois"],
        ["out"],
        pooled_shape=output_size,
        spatial_scale=options["spatial_scale"],
    )
    graph = helper.make_graph(
        [node],
        "max_roi_pool",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, features.shape),
            helper.make_tensor_value_info("rois", TensorProto.FLOAT, rois.shape),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)])
    model.ir_version = 8
    (expected,) = run_onnxruntime(model, {"features": features, "rois": rois})
    out = roicy.roi_pool(features, rois, output_size, spatial_scale=options["spatial_scale"])
    np.testing.assert_array_equal(out, expected)


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


# ---------------------------------------------------------------- openvino


def openvino():
    """OpenVINO, or the test skips itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("openvino", reason="openvino is not installed")


def run_openvino(operator, *arrays, **attributes):
    """The result of one of its operators, by opset and name, in float32."""
    openvino()
    opset, name = operator.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from openvino import Core, Model

        operators = importlib.import_module(f"openvino.{opset}")
        parameters = [operators.parameter(array.shape, array.dtype) for array in arrays]
        result = getattr(operators, name)(*parameters, **attributes)
        compiled = Core().compile_model(
            Model([result], parameters), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        return compiled(list(arrays))[0]


@pytest.mark.parametrize("seed", range(6))
def test_openvino_roi_pooling(seed):
    """On maps of positive numbers: an empty bin is 0 for both."""
    features, rois, output_size, options = random_problem(2 * seed, spatial_scales=[1, 0.5, 0.25, 1 / 16])
    rois = rois[(rois[:, 1:] >= 0).all(axis=1) & (rois[:, 3:] >= rois[:, 1:3]).all(axis=1)]
    scale = options["spatial_scale"]
    expected = run_openvino(
        "opset2.roi_pooling",
        features,
        rois,
        output_roi=list(output_size),
        spatial_scale=scale,
        method="max",
    )
    np.testing.assert_array_equal(roicy.roi_pool(features, rois, output_size, spatial_scale=scale), expected)


def test_openvino_roi_align_with_maxima():
    """Bilinear samples, as here; on maps of positive numbers, for its maximum is at least 0."""
    features, rois, output_size, _ = random_problem(4, spatial_scales=[1])
    rois = rois[(rois[:, 3:] > rois[:, 1:3]).all(axis=1)]
    expected = run_openvino(
        "opset9.roi_align",
        features,
        np.ascontiguousarray(rois[:, 1:]),
        rois[:, 0].astype(np.int32),
        pooled_h=output_size[0],
        pooled_w=output_size[1],
        sampling_ratio=2,
        spatial_scale=1.0,
        mode="max",
        aligned_mode="asymmetric",
    )
    out = roicy.roi_align(features, rois, output_size, sampling_ratio=2, mode="max", aligned=False)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clockwise", [False, True])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_openvino_roi_align_rotated(sampling_ratio, clockwise):
    """Boxes whose samples lie inside the map, in radians."""
    rng = np.random.default_rng(5)
    features = rng.random((2, 4, 30, 40)).astype(np.float32)
    middle = np.column_stack([rng.uniform(14, 26, 20), rng.uniform(13, 17, 20)])
    size, angle = rng.uniform(2, 15, (20, 2)), rng.uniform(-4, 4, 20)
    boxes = (np.column_stack([middle, size, angle]) / [0.5, 0.5, 0.5, 0.5, 1]).astype(np.float32)
    images = rng.integers(2, size=20)
    expected = run_openvino(
        "opset15.roi_align_rotated",
        features,
        boxes,
        images.astype(np.int32),
        pooled_h=3,
        pooled_w=5,
        sampling_ratio=sampling_ratio,
        spatial_scale=0.5,
        clockwise_mode=clockwise,
    )
    out = roicy.roi_align_rotated(
        features,
        boxes,
        (3, 5),
        spatial_scale=0.5,
        sampling_ratio=sampling_ratio,
        angle_unit="radians",
        clockwise=clockwise,
        batch_indices=images,
    )
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- torchvision


@pytest.fixture(scope="module")
def torchvision():
    """torchvision, where it can be imported with its operators."""
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"torchvision cannot be imported: {error}")


@pytest.mark.parametrize("seed", range(60))
def test_torchvision(seed, torchvision):
    import torch

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


@pytest.mark.parametrize("seed", range(60))
def test_torchvision_roi_pool(seed, torchvision):
    """Values, argmax and gradients, to the bit."""
    import torch

    torch.set_num_threads(1)
    features, rois, output_size, options = random_problem(
        seed, spatial_scales=[1, 0.5, 0.25, 1 / 16, 0.7, 1 / 3, 2]
    )
    features = (features - 0.5).astype(features.dtype)
    scale = options["spatial_scale"]
    tensor = torch.tensor(features, requires_grad=True)
    result = torch.ops.torchvision.roi_pool(tensor, torch.tensor(rois), scale, *output_size)
    values, argmax = roicy.roi_pool(features, rois, output_size, spatial_scale=scale, return_argmax=True)
    assert_same_bits(values, result[0].detach().numpy())
    assert_same_bits(argmax, result[1].numpy())

    grad_output = np.random.default_rng(seed).standard_normal(values.shape).astype(values.dtype)
    result[0].backward(torch.tensor(grad_output))
    grad = roicy.roi_pool_backward(grad_output, argmax, rois, features.shape)
    np.testing.assert_array_equal(grad, tensor.grad.numpy())
    exact = reference_pool.roi_pool_backward(grad_output, argmax, rois, features.shape)
    assert np.abs(grad - exact).max(initial=0) <= 1e-4
