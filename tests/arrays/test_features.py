"""Bad feature maps, gradients and argmax: an error that names the array, and nothing written."""

import re

import numpy as np
import pytest
from closeness import assert_same_bits
from strategies import random_values

import roicy
from arrays.bad_calls import (
    ARGMAX,
    BINS,
    EITHER,
    FEATURES,
    GRAD_OUTPUT,
    ROIS,
    SHAPE,
    SLOPES,
    TYPE,
    VALUE,
    Bad,
    as_array,
    cases,
    check,
    good_arguments,
    that_take,
    word,
)

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.numpy_only(reason="tables of functions, made before any fixture; arrays that no device has"),
]


NOT_ARRAYS = [FEATURES.tolist(), None, 5, "features", np.float32(5), FEATURES.flat]
SMALL_INTEGERS = ["uint8", "int8", "uint16", "int16", "bool"]  # which features may be
WRONG_DTYPES = [
    "int32",
    "int64",
    "uint64",
    "complex64",
    "complex128",
    "object",
    "longdouble",
]
WRONG_RANKS = [(), (5,), (12, 10), (5, 12, 10), (1, 2, 5, 12, 10)]


@pytest.mark.parametrize("function", that_take("features"))
@cases(
    *[
        Bad(type(value).__name__, TYPE, {"features": value}, (word("features"), type(value).__name__))
        for value in NOT_ARRAYS
    ],
    *[
        Bad(dtype, TYPE, {"features": np.zeros(SHAPE, dtype)}, (word("features"), np.dtype(dtype).name))
        for dtype in WRONG_DTYPES
    ],
    *[
        Bad(
            f"rank-{len(shape)}",
            VALUE,
            {"features": np.zeros(shape, np.float32)},
            (word("features"), re.escape(str(shape))),
        )
        for shape in WRONG_RANKS
    ],
    Bad(
        "too-many-rows",
        VALUE,
        {"features": np.broadcast_to(np.float32(1), (2, 5, 2**31, 1))},
        (word("features"), str(2**31)),
    ),
    Bad(
        "too-many-columns",
        VALUE,
        {"features": np.broadcast_to(np.float32(1), (2, 5, 1, 2**31))},
        (word("features"), str(2**31)),
    ),
)
def test_features(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", that_take("grad_output"))
@cases(
    *[
        Bad(type(value).__name__, TYPE, {"grad_output": value}, (word("grad_output"), type(value).__name__))
        for value in NOT_ARRAYS
    ],
    *[
        Bad(dtype, TYPE, {"grad_output": np.zeros(BINS, dtype)}, (word("grad_output"), np.dtype(dtype).name))
        for dtype in [*WRONG_DTYPES, *SMALL_INTEGERS]
    ],
    *[
        Bad(
            f"shape-{shape}",
            VALUE,
            {"grad_output": np.zeros(shape, np.float32)},
            (word("grad_output"), re.escape(str(shape))),
        )
        for shape in [*WRONG_RANKS, (2, 5, 2, 4), (4, 5, 2, 4), (3, 4, 2, 4), (3, 5, 0, 4), (3, 5, 2, 0)]
    ],
    Bad(
        "layout",
        VALUE,
        {"layout": "NHWC", "grad_output": GRAD_OUTPUT},
        # an argmax that goes with it is as wrong, and so are offsets
        (r"\b(grad_output|argmax|offsets)\b", r"\(3, [25], 2, 4\)"),
    ),
)
def test_grad_output(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", SLOPES)
@cases(
    Bad("float64-for-float32", EITHER, {"grad_output": GRAD_OUTPUT.astype(np.float64)}, ("float64",)),
    Bad("float32-for-float64", EITHER, {"features": FEATURES.astype(np.float64)}, ("float64",)),
    Bad("float32-for-float16", EITHER, {"features": FEATURES.astype(np.float16)}, ("float16",)),
)
def test_grad_output_has_the_dtype_of_the_result(function, bad):
    check(function, bad._replace(says=(word("grad_output"), *bad.says)))


def test_float32_gradients_for_uint8_features():
    features = random_values(np.random.default_rng(0), SHAPE, np.dtype("uint8"))
    roicy.roi_align_backward_rois(GRAD_OUTPUT, features, ROIS)
    with pytest.raises(EITHER, match="grad_output"):
        roicy.roi_align_backward_rois(GRAD_OUTPUT.astype(np.float16), features, ROIS)


class CudaArray:
    """Looks like an array on a device."""

    __module__ = "cupy"
    shape = SHAPE
    ndim = 4
    dtype = np.dtype("float32")
    __cuda_array_interface__ = {"shape": SHAPE, "typestr": "<f4", "data": (0, True), "version": 3}  # noqa: RUF012


def test_arrays_of_other_libraries():
    with pytest.raises(TypeError, match=r"features.*CudaArray.*rois.*numpy\.ndarray"):
        roicy.roi_align(CudaArray(), ROIS, 7)
    with pytest.raises(TypeError, match=r"features.*numpy\.ndarray.*rois.*CudaArray"):
        roicy.roi_align(FEATURES, CudaArray(), 7)
    with pytest.raises(TypeError, match=r"rois.*numpy\.ndarray.*out.*CudaArray"):
        roicy.roi_align(FEATURES, ROIS, 7, out=CudaArray())


def test_masked_arrays():
    """Masked values would be pooled as if they were not."""
    with pytest.raises(TypeError, match=r"features.*mask"):
        roicy.roi_align(np.ma.masked_array(FEATURES, FEATURES > 0.5), ROIS, 7)
    with pytest.raises(TypeError, match=r"rois.*mask"):
        roicy.roi_align(FEATURES, np.ma.masked_array(ROIS), 7)


# ---------------------------------------------------------------- maxima

MAX = {"mode": "max"}
WITH_ARGMAX = {"mode": "max", "argmax": ARGMAX}
GRADIENTS = [roicy.roi_align_backward, roicy.roi_align_backward_rois]


def test_an_average_has_no_argmax():
    check(roicy.roi_align, Bad("", VALUE, {"return_argmax": True}, (word("return_argmax"), "max")))
    plan = roicy.roi_align_plan(ROIS, SHAPE, BINS[2:])
    with pytest.raises(ValueError, match=r"\breturn_argmax\b"):
        plan(FEATURES, return_argmax=True)


def test_the_rule_of_onnx_has_no_argmax_and_no_gradient():
    changes = {**MAX, "max_rule": "onnx", "return_argmax": True}
    check(roicy.roi_align, Bad("", VALUE, changes, (word("return_argmax"), "onnx")))
    plan = roicy.roi_align_plan(ROIS, SHAPE, BINS[2:], mode="max", max_rule="onnx")
    assert_same_bits(plan(FEATURES), roicy.roi_align(FEATURES, ROIS, BINS[2:], mode="max", max_rule="onnx"))
    with pytest.raises(ValueError, match=r"onnx"):
        plan(FEATURES, return_argmax=True)
    with pytest.raises(ValueError, match=r"onnx"):
        plan.backward(GRAD_OUTPUT, argmax=ARGMAX)
    with pytest.raises(ValueError, match=r"onnx"):
        plan.backward_rois(GRAD_OUTPUT, FEATURES, argmax=ARGMAX)


@pytest.mark.parametrize("function", GRADIENTS)
def test_the_gradient_of_a_maximum_needs_an_argmax(function):
    check(function, Bad("missing", VALUE, MAX, (word("argmax"), "max")))
    check(function, Bad("not wanted", VALUE, {"argmax": ARGMAX}, (word("argmax"), "avg")))
    plan = roicy.roi_align_plan(ROIS, SHAPE, BINS[2:])
    maximum = roicy.roi_align_plan(ROIS, SHAPE, BINS[2:], mode="max")
    with pytest.raises(ValueError, match=r"\bargmax\b"):
        plan.backward(GRAD_OUTPUT, argmax=ARGMAX)
    with pytest.raises(ValueError, match=r"\bargmax\b"):
        plan.backward_rois(GRAD_OUTPUT, FEATURES, argmax=ARGMAX)
    with pytest.raises(ValueError, match=r"\bargmax\b"):
        maximum.backward(GRAD_OUTPUT)
    with pytest.raises(ValueError, match=r"\bargmax\b"):
        maximum.backward_rois(GRAD_OUTPUT, FEATURES)


@pytest.mark.parametrize("function", [*GRADIENTS, roicy.roi_pool_backward])
@cases(
    *[
        Bad(dtype, TYPE, {"argmax": np.zeros(BINS, dtype)}, (word("argmax"), dtype, "int32"))
        for dtype in ("int64", "uint32", "int16", "bool", "float32", "object")
    ],
    *[
        Bad(
            f"shape-{shape}",
            VALUE,
            {"argmax": np.zeros(shape, np.int32)},
            (word("argmax"), re.escape(str(shape)), re.escape(str(BINS))),
        )
        for shape in [(), (3,), (3, 5, 2), (3, 5, 2, 3), (4, 5, 2, 4), (3, 2, 4, 5), (1, 3, 5, 2, 4)]
    ],
    Bad("list", TYPE, {"argmax": ARGMAX.tolist()}, (word("argmax"), "list")),
    Bad("number", TYPE, {"argmax": 0}, (word("argmax"), "int")),
    Bad("masked", TYPE, {"argmax": np.ma.masked_array(ARGMAX)}, (word("argmax"), "mask")),
    Bad("below", VALUE, {"argmax": ARGMAX - 2}, (r"argmax\[[012], 0, 0, 0\]", "-2")),
    Bad("beyond", VALUE, {"argmax": ARGMAX + 120}, (r"argmax\[[012], 0, 0, 0\]", "120")),
)
def test_argmax(function, bad):
    mode = {} if function is roicy.roi_pool_backward else {"mode": "max"}
    check(function, bad._replace(changes={**mode, **bad.changes}))


def test_no_argmax_for_pooling():
    check(roicy.roi_pool_backward, Bad("none", VALUE, {"argmax": None}, (word("argmax"), "mode='max'")))


def test_an_argmax_for_means():
    check(
        roicy.roi_pool_backward, Bad("given", VALUE, {"mode": "avg"}, (word("argmax"), "None", "mode='avg'"))
    )


@pytest.mark.parametrize("function", [*GRADIENTS, roicy.roi_pool_backward])
def test_out_that_overlaps_the_argmax(function):
    mode = {} if function is roicy.roi_pool_backward else {"mode": "max"}
    arguments = {**good_arguments(function), **mode, "argmax": ARGMAX}
    result = function(**arguments)
    memory = np.zeros(4 * max(ARGMAX.size, result.size), np.uint8)
    arguments["argmax"] = as_array(memory, BINS, np.int32)
    with pytest.raises(ValueError, match=r"\bout\b"):
        function(**arguments, out=as_array(memory, result.shape, result.dtype))
    assert not memory.any()


POOLS = [
    pytest.param(
        lambda **more: roicy.roi_align(FEATURES, ROIS, BINS[2:], mode="max", **more), id="roi_align"
    ),
    pytest.param(lambda **more: roicy.roi_pool(FEATURES, ROIS, BINS[2:], **more), id="roi_pool"),
]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "error, out, says",
    [
        (VALUE, (np.zeros(BINS, np.float32),), "1"),
        (VALUE, (np.zeros(BINS, np.float32), np.zeros(BINS, np.int32), np.zeros(BINS, np.int32)), "3"),
        (EITHER, (np.zeros(BINS, np.float64), np.zeros(BINS, np.int32)), r"out\[0\].*float32"),
        (EITHER, (np.zeros(BINS, np.float32), np.zeros(BINS, np.int64)), r"out\[1\].*int32"),
        (VALUE, (np.zeros(BINS, np.float32), np.zeros(BINS[:3], np.int32)), r"out\[1\]"),
        (VALUE, (np.zeros(BINS[1:], np.float32), np.zeros(BINS, np.int32)), r"out\[0\]"),
        (TYPE, (np.zeros(BINS, np.float32), [1]), r"out\[1\].*list"),
        (VALUE, (np.zeros(BINS, np.float32), np.broadcast_to(np.int32(0), BINS)), r"out\[1\].*read-only"),
    ],
)
def test_pairs_that_do_not_fit(pool, error, out, says):
    with pytest.raises(error, match=says):
        pool(out=out, return_argmax=True)
    for array in out:
        assert not np.any(array) or isinstance(array, list)


@pytest.mark.parametrize("pool", POOLS)
def test_a_pair_only_where_two_are_returned(pool):
    pair = (np.zeros(BINS, np.float32), np.zeros(BINS, np.int32))
    with pytest.raises(EITHER, match=r"\bout\b"):
        pool(out=pair)
    memory = np.zeros(BINS, np.float32)
    with pytest.raises(ValueError, match=r"\bout\b.*overlap"):
        pool(out=(memory, memory.view(np.int32)), return_argmax=True)
    assert not memory.any()
    aliased = FEATURES.copy()
    with pytest.raises(ValueError, match=r"\bout\b|out\["):
        roicy.roi_pool(
            aliased,
            ROIS,
            (3, 4),
            return_argmax=True,
            out=(
                np.zeros((3, 5, 3, 4), np.float32),
                aliased.reshape(-1)[:180].view(np.int32).reshape(3, 5, 3, 4),
            ),
        )
    assert_same_bits(aliased, FEATURES)


def test_more_samples_than_an_argmax_can_count():
    """The row is named; without an argmax there is a result, and nobody counts."""
    rois = np.array([[0, 1, 1, 9, 9], [0, 0, 0, 2**16, 2**15], [0, 0, 0, 1e30, 1e30]], np.float32)
    call = (FEATURES[:1], rois, 1)
    assert np.isfinite(roicy.roi_align(*call, mode="max")).all()
    with pytest.raises(ValueError, match=r"\brois\b.*\b1\b"):
        roicy.roi_align(*call, mode="max", return_argmax=True)
    # 2**15 samples less, and all of them can be counted.
    rois[1, 3] = 2**16 - 1
    roicy.roi_align(FEATURES[:1], rois[:2], 1, mode="max", return_argmax=True)


def test_more_pixels_than_an_argmax_can_count():
    features = np.broadcast_to(np.float32(1), (1, 1, 2**16, 2**15))
    rois = np.array([[0, 0, 0, 5, 5]], np.float32)
    assert roicy.roi_pool(features, rois, 1).item() == 1
    with pytest.raises(ValueError, match=r"(?s)\bfeatures\b.*2147483647"):
        roicy.roi_pool(features, rois, 1, return_argmax=True)
    fewer = features[:, :, 1:]
    _, argmax = roicy.roi_pool(fewer, rois, 1, return_argmax=True)
    assert argmax.item() == 0


@pytest.mark.parametrize(("layout", "axes"), [("NCHW", "(K, C, PH, PW)"), ("NHWC", "(K, PH, PW, C)")])
def test_axes_are_named_in_the_order_of_the_layout(layout, axes):
    says = f"grad_output must have 4 axes {axes}, got shape (2, 3)"
    with pytest.raises(ValueError, match=re.escape(says)):
        roicy.roi_align_backward(np.zeros((2, 3), np.float32), ROIS, (1, 3, 8, 8), layout=layout)
