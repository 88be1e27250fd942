"""Bad options: an error that names the option, what it was and what is expected."""

import inspect
import re

import numpy as np
import pytest

import roicy
from arrays.bad_calls import (
    EITHER,
    FEATURES,
    FUNCTIONS,
    GRAD_OUTPUT,
    ROIS,
    TYPE,
    VALUE,
    Bad,
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


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_good_arguments_are_good(function):
    """Without which the tests below would prove nothing."""
    function(**good_arguments(function))


BAD_OPTIONS = [
    *[
        Bad(f"spatial_scale={value!r}", error, {"spatial_scale": value}, (word("spatial_scale"), says))
        for value, error, says in [
            (0.0, VALUE, "0"),
            (-0.25, VALUE, r"-0\.25"),
            (float("nan"), VALUE, "nan"),
            (float("inf"), VALUE, "inf"),
            (np.float32("nan"), VALUE, "nan"),
            (10**400, EITHER, ""),
            ("0.25", TYPE, "str"),
            (None, TYPE, "None"),
            (0.5j, TYPE, "complex"),
            ((0.25, 0.5), TYPE, "tuple"),
        ]
    ],
    *[
        Bad(f"sampling_ratio={value!r}", error, {"sampling_ratio": value}, (word("sampling_ratio"), says))
        for value, error, says in [
            (65537, VALUE, "65537"),
            (2**31, VALUE, str(2**31)),
            (10**30, VALUE, "at most"),
            (2.5, TYPE, "float"),
            (np.float32(0.5), TYPE, "float"),
            (float("inf"), TYPE, "float"),
            (True, TYPE, "bool"),
            (None, TYPE, "None"),
            ("2", TYPE, "str"),
            ((2, 2), TYPE, "tuple"),
        ]
    ],
    *[
        Bad(f"layout={value!r}", error, {"layout": value}, (word("layout"), "NCHW", "NHWC"))
        for value, error in [("NCWH", VALUE), ("nchw", VALUE), ("", VALUE), (None, EITHER), (1, EITHER)]
    ],
    *[
        Bad(f"mode={value!r}", error, {"mode": value}, (word("mode"), "avg"))
        for value, error in [("sum", VALUE), ("AVG", VALUE), ("", VALUE), (None, EITHER), (0, EITHER)]
    ],
    *[
        Bad(f"invalid={value!r}", error, {"invalid": value}, (word("invalid"), "raise", "nan"))
        for value, error in [("ignore", VALUE), ("NaN", VALUE), (None, EITHER), (float("nan"), EITHER)]
    ],
    *[
        Bad(f"{name}={value!r}", error, {name: value}, (word(name), *allowed))
        for name, allowed, values in [
            ("max_rule", ("bilinear", "onnx"), ("max", "ONNX", "")),
            ("angle_unit", ("degrees", "radians"), ("degree", "rad", "")),
            ("rounding", ("round", "none", "whole"), ("nearest", "ROUND", "")),
        ]
        for value, error in [*[(value, VALUE) for value in values], (None, EITHER), (1, EITHER)]
    ],
    *[
        Bad(f"{name}={value!r}", TYPE, {name: value}, (word(name), type(value).__name__))
        for name in ("aligned", "clockwise", "return_argmax")
        for value in (None, 2, -1, "yes", 0.0)
    ],
]


@pytest.mark.parametrize(
    "function, bad",
    [(function, bad) for bad in BAD_OPTIONS for function in that_take(next(iter(bad.changes)))],
    ids=lambda value: value.name if isinstance(value, Bad) else value.__name__,
)
def test_options(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_unknown_options(function):
    names = ["scale", "output", "max_rule", "argmax", "return_argmax", "rounding", "angle_unit", "clockwise"]
    for name in set(names) - set(inspect.signature(function).parameters):
        with pytest.raises(TypeError, match=name):
            function(**good_arguments(function), **{name: None})


@pytest.mark.parametrize("function", FUNCTIONS)
def test_options_have_to_be_named(function):
    with pytest.raises(TypeError, match="positional"):
        function(*good_arguments(function).values(), 0.25)


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_spatial_scales_beyond_the_dtype_of_the_boxes(scale):
    """As float32 these are infinite and zero; boxes of float64 have them."""
    says = f"spatial_scale must be finite and above 0 in float32, in which it is used, got {scale}"
    with pytest.raises(ValueError, match=re.escape(says)):
        roicy.roi_align(FEATURES, ROIS.astype(np.float32), 2, spatial_scale=scale, sampling_ratio=2)
    out = roicy.roi_align(FEATURES, ROIS.astype(np.float64), 2, spatial_scale=scale, sampling_ratio=2)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("function", that_take("output_size"))
@cases(
    *[
        Bad(f"output_size={value!r}", error, {"output_size": value}, (word("output_size"), says))
        for value, error, says in [
            (0, VALUE, "0"),
            (-7, VALUE, "-7"),
            ((0, 7), VALUE, r"\(0, 7\)"),
            ((7, -1), VALUE, r"\(7, -1\)"),
            (7.5, TYPE, "float"),
            (float("nan"), TYPE, "float"),
            ((7, 7.5), TYPE, "float"),
            (np.float64(7.5), TYPE, "float"),
            (True, TYPE, "bool"),
            ((7, False), TYPE, "bool"),
            ("7", TYPE, "str"),
            ("77", TYPE, "str"),
            (None, TYPE, "None"),
            ((7,), EITHER, r"\(7,\)"),
            ((7, 7, 7), EITHER, r"\(7, 7, 7\)"),
            ((), EITHER, r"\(\)"),
            (((7, 7), 7), TYPE, "tuple"),
            (10**30, VALUE, ""),
            ((1, 2**63), VALUE, ""),
        ]
    ]
)
def test_output_size(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", that_take("input_shape"))
@cases(
    *[
        Bad(f"input_shape={value!r}", error, {"input_shape": value}, (word("input_shape"), says))
        for value, error, says in [
            ((2, 5, 12), VALUE, r"\(2, 5, 12\)"),
            ((1, 2, 5, 12, 10), VALUE, r"\(1, 2, 5, 12, 10\)"),
            ((), VALUE, r"\(\)"),
            ((2, 5, -12, 10), VALUE, "-12"),
            ((-2, 5, 12, 10), VALUE, "-2"),
            ((2, 5, 12.5, 10), TYPE, "float"),
            ((2, 5, 12, None), TYPE, "None"),
            ((2, 5, True, 10), TYPE, "bool"),
            ((2, 5, "12", 10), TYPE, "str"),
            (12, TYPE, "int"),
            (None, TYPE, "None"),
            ((2, 5, 2**31, 1), VALUE, str(2**31)),
            ((2, 5, 1, 2**31), VALUE, str(2**31)),
            ((2, 5, 10**30, 1), VALUE, ""),
        ]
    ]
)
def test_input_shape(function, bad):
    check(function, bad)


def test_an_input_shape_too_large_for_any_memory():
    """More elements than an array can have."""
    shape = (2, 5, 2**31 - 1, 2**31 - 1)
    with pytest.raises((ValueError, MemoryError)):
        roicy.roi_align_backward(GRAD_OUTPUT, ROIS, shape)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: roicy.roi_align(FEATURES, ROIS, (2**31 - 1, 2**31 - 1)), "out would have shape"),
        (lambda: roicy.roi_align(FEATURES, ROIS[:0], (2**31 - 1, 2**31 - 1)), "out would have shape"),
        (lambda: roicy.roi_align_backward(GRAD_OUTPUT, ROIS, (2**63, 5, 3, 3)), "input_shape must have axes"),
        (lambda: roicy.roi_align_plan(ROIS, (1, 2**70, 3, 3), 2), "input_shape must have axes"),
        (lambda: roicy.rmac_regions((2**63, 1, 3, 3)), "input_shape must have axes"),
        (lambda: roicy.rmac_regions((2**60, 1, 3, 3)), "the result for input_shape would have shape"),
    ],
)
def test_shapes_that_no_array_can_have(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# ---------------------------------------------------------------- numbers of threads


@pytest.mark.parametrize("setter", [roicy.set_num_threads, roicy.num_threads])
@pytest.mark.parametrize("n, error", [(0, VALUE), (-1, VALUE), (-(10**30), VALUE), (10**30, VALUE)])
def test_thread_counts_out_of_range(setter, n, error):
    before = roicy.get_num_threads()
    with pytest.raises(error, match=r"\bn\b") as caught:
        enter(setter, n)
    assert str(n) in str(caught.value)
    assert roicy.get_num_threads() == before


@pytest.mark.parametrize("setter", [roicy.set_num_threads, roicy.num_threads])
@pytest.mark.parametrize("n", [1.5, float("inf"), True, "2", None, [2]], ids=repr)
def test_thread_counts_of_the_wrong_type(setter, n):
    before = roicy.get_num_threads()
    with pytest.raises(TypeError, match=r"\bn\b") as caught:
        enter(setter, n)
    assert type(n).__name__ in str(caught.value)
    assert roicy.get_num_threads() == before


def enter(setter, n):
    """Set a number of threads; the error of a context manager may come when it is made or entered."""
    made = setter(n)
    if made is not None:
        with made:
            pass


@pytest.mark.parametrize("mode", ["json", "", None, 5])
def test_show_config_mode(mode):
    with pytest.raises(EITHER, match=r"\bmode\b"):
        roicy.show_config(mode=mode)
