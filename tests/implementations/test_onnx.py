"""`roicy.compat.onnx`: ONNX's names, inputs, attributes, defaults and results, beside ONNX Runtime's."""

import inspect

import numpy as np
import pytest
from closeness import assert_same_bits
from strategies import random_values

import roicy
from implementations import peers_onnx
from implementations.peers_problems import ANY, random_problem
from roicy.compat import onnx

TYPE, VALUE = TypeError, ValueError
OPERATORS = {
    "RoiAlign": (
        ["X", "rois", "batch_indices"],
        {
            "coordinate_transformation_mode": None,
            "mode": "avg",
            "output_height": 1,
            "output_width": 1,
            "sampling_ratio": 0,
            "spatial_scale": 1.0,
            "opset": 22,
        },
    ),
    "MaxRoiPool": (["X", "rois"], {"pooled_shape": inspect.Parameter.empty, "spatial_scale": 1.0}),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_inputs_attributes_and_defaults(name):
    parameters = inspect.signature(getattr(onnx, name)).parameters.values()
    inputs, attributes = OPERATORS[name]
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD] == inputs
    assert {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} == attributes


@pytest.mark.parametrize("name, opset", [("RoiAlign", 22), ("MaxRoiPool", 22)])
def test_attributes_and_defaults_are_theirs(name, opset, parity):
    """But that the convention depends on the version of the operator, and height and width are required."""
    parity.needs("onnx")
    from onnx import defs, helper

    schema = defs.get_schema(name, opset)
    inputs, attributes = OPERATORS[name]
    assert [each.name for each in schema.inputs] == inputs
    theirs = {
        attribute.name: None if attribute.required else helper.get_attribute_value(attribute.default_value)
        for attribute in schema.attributes.values()
    }
    assert set(theirs) == set(attributes) - {"opset"}
    for key, value in theirs.items():
        if value is not None and key != "coordinate_transformation_mode":
            assert attributes[key] == (value.decode() if isinstance(value, bytes) else value)


X = random_values(np.random.default_rng(0), (3, 5, 12, 10), np.dtype("float32"))
ROIS = np.array([[0, 1, 5, 6], [2, 2, 9, 11], [3, 0, 4.3, 12]], np.float32)
IMAGES = np.array([1, 0, 2])
INDEXED = np.column_stack([IMAGES, ROIS]).astype(np.float32)
SIZE = {"output_height": 3, "output_width": 2}


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize(
    "opset, convention, aligned",
    [
        (10, None, False),
        (15, None, False),
        (16, None, True),
        (22, None, True),
        (16, "half_pixel", True),
        (17, "output_half_pixel", False),
        (22, "output_half_pixel", False),
    ],
)
def test_the_convention_of_an_opset(opset, convention, aligned, mode):
    chosen = {} if convention is None else {"coordinate_transformation_mode": convention}
    out = onnx.RoiAlign(X, ROIS, IMAGES, mode=mode, spatial_scale=0.7, opset=opset, **chosen, **SIZE)
    scale = float(np.float32(0.7))
    expected = roicy.roi_align(
        X, INDEXED, (3, 2), spatial_scale=scale, aligned=aligned, mode=mode, max_rule="onnx"
    )
    assert_same_bits(out, expected)


def test_the_scale_is_rounded_to_float32():
    """5 * 0.7 is 3.5 and rounds up to 4, but what float32 makes of 0.7 is less than that."""
    row = np.arange(5, dtype=np.float64).reshape(1, 1, 1, 5)
    rois = np.array([[0, 5, 0, 5, 0]], np.float64)
    assert onnx.MaxRoiPool(row, rois, pooled_shape=(1, 1), spatial_scale=0.7) == 3


def test_the_defaults_are_one_bin():
    assert_same_bits(onnx.RoiAlign(X, ROIS, IMAGES), roicy.roi_align(X, INDEXED, 1))
    assert_same_bits(onnx.MaxRoiPool(X, INDEXED, pooled_shape=[2, 3]), roicy.roi_pool(X, INDEXED, (2, 3)))


ERRORS = [
    (lambda: onnx.RoiAlign(X, ROIS, None), TYPE, "batch_indices must be an array of integers"),
    (lambda: onnx.RoiAlign(X, INDEXED, IMAGES), VALUE, r"rois must have shape \(R, 4\)"),
    (lambda: onnx.RoiAlign(X, ROIS, IMAGES[:2]), VALUE, r"batch_indices must have shape \(3,\)"),
    (lambda: onnx.RoiAlign(X, ROIS, IMAGES + 1), VALUE, r"rois row 2, .* has batch_indices\[2\] = 3"),
    (lambda: onnx.RoiAlign(X, ROIS, IMAGES, sampling_ratio=-1), VALUE, "sampling_ratio must be at least 0"),
    (lambda: onnx.RoiAlign(X, ROIS, IMAGES, opset=9), VALUE, "opset must be at least 10"),
    (
        lambda: onnx.RoiAlign(X, ROIS, IMAGES, opset=10, coordinate_transformation_mode="half_pixel"),
        VALUE,
        "coordinate_transformation_mode must be None for opset 10",
    ),
    (
        lambda: onnx.RoiAlign(X, ROIS, IMAGES, coordinate_transformation_mode="asymmetric"),
        VALUE,
        "coordinate_transformation_mode must be 'half_pixel' or 'output_half_pixel'",
    ),
    (lambda: onnx.RoiAlign(X, ROIS, IMAGES, output_width=0), VALUE, r"\(output_height, output_width\) must"),
    (lambda: onnx.RoiAlign(X[0], ROIS, IMAGES), VALUE, "X must have 4 axes"),
    (lambda: onnx.RoiAlign(X, ROIS / 0, IMAGES), VALUE, "rois row 0, .* is not finite"),
    (lambda: onnx.MaxRoiPool(X, ROIS, pooled_shape=2), VALUE, r"rois must have shape \(R, 5\)"),
    (lambda: onnx.MaxRoiPool(X, INDEXED, pooled_shape=0), VALUE, "pooled_shape must lie between 1 and"),
]


@pytest.mark.parametrize("call, error, message", ERRORS)
def test_errors_are_in_its_words(call, error, message):
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------- beside ONNX Runtime


@pytest.mark.parametrize("opset", peers_onnx.OPSETS)
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("seed", range(15))
def test_roi_align(seed, mode, opset, parity):
    """Of any scale: here and there it is held in float32."""
    parity.needs("onnxruntime", "onnx")
    problem = random_problem(seed, scales=ANY, aligned=False if opset == 10 else None)
    features, rois, size, options = problem
    theirs = peers_onnx.roi_align(peers_onnx.onnxruntime, problem, mode=mode, opset=opset)
    convention = {}
    if opset >= 16:
        (name,) = (key for key, aligned in peers_onnx.CONVENTIONS.items() if aligned == options["aligned"])
        convention["coordinate_transformation_mode"] = name
    out = onnx.RoiAlign(
        features,
        np.ascontiguousarray(rois[:, 1:]),
        rois[:, 0].astype(np.int64),
        mode=mode,
        output_height=size[0],
        output_width=size[1],
        sampling_ratio=options["sampling_ratio"],
        spatial_scale=options["spatial_scale"],
        opset=opset,
        **convention,
    )
    parity.close(f"compat RoiAlign {mode}: forward", "onnxruntime", out, theirs)


@pytest.mark.parametrize("seed", range(15))
def test_max_roi_pool(seed, parity):
    parity.needs("onnxruntime", "onnx")
    problem = random_problem(seed, dtype="float32")
    features, rois, size, options = problem
    features = features - np.float32(0.5)
    out = onnx.MaxRoiPool(features, rois, pooled_shape=size, spatial_scale=options["spatial_scale"])
    theirs = peers_onnx.max_roi_pool(problem._replace(features=features))
    parity.same("compat MaxRoiPool: forward", "onnxruntime", out, theirs)
