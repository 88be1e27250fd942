"""Outputs that do not fit, or overlap what is read; and what a plan is given."""

import re

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy
from arrays.bad_calls import (
    BINS,
    EITHER,
    FEATURES,
    GRAD_OUTPUT,
    ROIS,
    SHAPE,
    TYPE,
    VALUE,
    WRITERS,
    Bad,
    as_array,
    check,
    good_arguments,
    other_byte_order,
    word,
)

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.numpy_only(reason="tables of functions, made before any fixture; arrays that no device has"),
]


def result_of(function):
    return function(**good_arguments(function))


@pytest.mark.parametrize("function", WRITERS)
@pytest.mark.parametrize("kind", ["list", "number", "string"])
def test_out_is_no_array(function, kind):
    result = result_of(function)
    out = {"list": result.tolist(), "number": 5, "string": "out"}[kind]
    check(function, Bad(kind, TYPE, {"out": out}, (word("out"), type(out).__name__)))


@pytest.mark.parametrize("function", WRITERS)
@pytest.mark.parametrize("change", ["longer", "shorter", "flat", "transposed", "one axis more", "empty"])
def test_out_of_the_wrong_shape(function, change):
    result = result_of(function)
    shape = result.shape
    shape = {
        "longer": (shape[0] + 1, *shape[1:]),
        "shorter": (*shape[:-1], shape[-1] - 1),
        "flat": (result.size,),
        "transposed": shape[::-1],
        "one axis more": (1, *shape),
        "empty": (0,) * len(shape),
    }[change]
    out = np.zeros(shape, result.dtype)
    check(function, Bad(change, VALUE, {"out": out}, (word("out"), re.escape(str(result.shape)))))


@pytest.mark.parametrize("function", WRITERS)
@pytest.mark.parametrize("dtype", ["float64", "float16", "int32", "uint8", "complex64", "object"])
def test_out_of_the_wrong_dtype(function, dtype):
    out = np.zeros(result_of(function).shape, dtype)
    check(function, Bad(dtype, EITHER, {"out": out}, (word("out"), np.dtype(dtype).name, "float32")))


@pytest.mark.parametrize("function", WRITERS)
def test_out_of_the_other_byte_order(function):
    out = other_byte_order(np.zeros_like(result_of(function)))
    check(function, Bad("byte-order", EITHER, {"out": out}, (word("out"),)))


@pytest.mark.parametrize("function", WRITERS)
def test_out_that_cannot_be_written(function):
    out = np.zeros_like(result_of(function))
    out.flags.writeable = False
    check(function, Bad("read-only", VALUE, {"out": out}, (word("out"), "read-only|writ")))


@pytest.mark.parametrize("function", WRITERS)
@pytest.mark.parametrize("kind", ["repeated", "sliding"])
def test_out_that_overlaps_itself(function, kind):
    """Several elements in one place: the result could not be held."""
    result = result_of(function)
    base = np.zeros(result.size + 100, result.dtype)
    strides = list(result.strides)
    if kind == "repeated":
        strides[0] = 0
    else:
        strides[0] = strides[1]
    out = np.lib.stride_tricks.as_strided(base, result.shape, strides)
    with pytest.raises(ValueError, match=r"\bout\b.*overlap"):
        function(**good_arguments(function), out=out)
    assert not base.any()


@pytest.mark.parametrize(
    "function, argument",
    [
        (function, name)
        for function in WRITERS
        for name, value in good_arguments(function).items()
        if isinstance(value, np.ndarray)
    ],
)
@pytest.mark.parametrize("order", ["=", "S"], ids=["native", "foreign"])
def test_out_that_overlaps_an_input(function, argument, order):
    arguments = good_arguments(function)
    result = result_of(function)
    given = arguments[argument].astype(arguments[argument].dtype.newbyteorder(order))
    memory = np.zeros(4 * (given.size + result.size), np.uint8)
    for offset in (0, 8, 4 * (given.size - 1)):
        taken = as_array(memory, given.shape, given.dtype)
        taken[...] = given
        before = memory.copy()
        out = as_array(memory[offset:], result.shape, result.dtype)
        with pytest.raises(ValueError, match=r"\bout\b"):
            function(**{**arguments, argument: taken}, out=out)
        assert_same_bits(memory, before)
    # The byte behind the last is not part of the input.
    taken = as_array(memory, given.shape, given.dtype)
    taken[...] = given
    out = as_array(memory[taken.nbytes :], result.shape, result.dtype)
    function(**{**arguments, argument: taken}, out=out)
    assert_same_bits(out, result)


def test_out_that_overlaps_the_batch_indices():
    memory = np.zeros(BINS, np.float32)
    indices = memory.reshape(-1)[:6].view(np.int64)
    with pytest.raises(ValueError, match=r"\bout\b"):
        roicy.roi_align(FEATURES, ROIS[:, 1:], BINS[2:], batch_indices=indices, out=memory)
    assert not memory.any()


def test_out_between_the_elements_of_an_input():
    """Interleaved memory that shares no element is fine: every second column."""
    memory = np.zeros((*SHAPE[:3], 2 * SHAPE[3]), np.float32)
    features, out = memory[..., ::2], memory[..., 1::2]
    features[...] = FEATURES
    rois = np.array([[0, 0, 0, 10, 12], [1, 1, 2, 9, 9]], np.float32)
    expected = roicy.roi_align(FEATURES, rois, SHAPE[2:])
    roicy.roi_align(features, rois, SHAPE[2:], out=out)
    assert_same_bits(out, expected)
    assert_same_bits(features, FEATURES)


def test_out_for_a_list_of_boxes():
    """The gradients of a list of boxes are a list; there is no one array to write to."""
    per_image = [ROIS[[1], 1:], ROIS[[0, 2], 1:]]
    out = np.full((3, 4), 7, np.float32)
    with pytest.raises(ValueError, match=r"\bout\b"):
        roicy.roi_align_backward_rois(GRAD_OUTPUT, FEATURES, per_image, out=out)
    assert (out == 7).all()


# ---------------------------------------------------------------- plans


@pytest.fixture
def plan():
    return roicy.roi_align_plan(ROIS, SHAPE, BINS[2:])


@pytest.mark.parametrize(
    "shape", [(1, 5, 12, 10), (2, 4, 12, 10), (2, 5, 12, 11), (2, 12, 10, 5), (5, 12, 10), ()]
)
def test_a_plan_wants_features_of_its_shape(plan, shape):
    out = np.full(BINS, 7, np.float32)
    with pytest.raises(ValueError, match=r"\bfeatures\b") as caught:
        plan(np.zeros(shape, np.float32), out=out)
    assert str(shape) in str(caught.value)
    assert str(SHAPE) in str(caught.value)
    with pytest.raises(ValueError, match=r"\bfeatures\b"):
        plan.backward_rois(GRAD_OUTPUT, np.zeros(shape, np.float32))
    assert (out == 7).all()


@pytest.mark.parametrize("shape", [(2, 5, 2, 4), (3, 4, 2, 4), (3, 5, 4, 2), (3, 5, 8), (3, 2, 4, 5)])
def test_a_plan_wants_gradients_of_its_shape(plan, shape):
    out = np.full(SHAPE, 7, np.float32)
    with pytest.raises(ValueError, match=r"\bgrad_output\b") as caught:
        plan.backward(np.zeros(shape, np.float32), out=out)
    assert str(shape) in str(caught.value)
    assert str(BINS) in str(caught.value)
    with pytest.raises(ValueError, match=r"\bgrad_output\b"):
        plan.backward_rois(np.zeros(shape, np.float32), FEATURES)
    assert (out == 7).all()


def test_a_plan_checks_dtypes(plan):
    with pytest.raises(TypeError, match=r"features.*int32"):
        plan(FEATURES.astype(np.int32))
    with pytest.raises(TypeError, match=r"features.*list"):
        plan(FEATURES.tolist())
    with pytest.raises(TypeError, match=r"grad_output.*uint8"):
        plan.backward(GRAD_OUTPUT.astype(np.uint8))
    with pytest.raises(EITHER, match=r"grad_output"):
        plan.backward_rois(GRAD_OUTPUT.astype(np.float64), FEATURES)


def test_a_plan_checks_out(plan):
    for bad in (np.zeros(BINS), np.zeros(SHAPE, np.float32), np.broadcast_to(np.float32(0), BINS), [1]):
        with pytest.raises(EITHER, match=r"\bout\b"):
            plan(FEATURES, out=bad)
    for bad in (np.zeros(SHAPE), np.zeros(BINS, np.float32), np.broadcast_to(np.float32(0), SHAPE), [1]):
        with pytest.raises(EITHER, match=r"\bout\b"):
            plan.backward(GRAD_OUTPUT, out=bad)
    for bad in (np.zeros((3, 5)), np.zeros((3, 4), np.float32), np.broadcast_to(np.float32(0), (3, 5)), [1]):
        with pytest.raises(EITHER, match=r"\bout\b"):
            plan.backward_rois(GRAD_OUTPUT, FEATURES, out=bad)
    square = roicy.roi_align_plan(np.array([[0, 0, 0, 4, 4]], np.float32), (1, 3, 4, 4), 4)
    features = np.ones((1, 3, 4, 4), np.float32)
    with pytest.raises(ValueError, match=r"\bout\b"):
        square(features, out=features)
