"""Bad input: an error that names the argument, says what it was and what is expected, and nothing written."""

import inspect
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from closeness import assert_same_bits, bits
from strategies import random_values

import roicy

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.numpy_only(reason="tables of functions, made before any fixture; arrays that no device has"),
]

SHAPE = (2, 5, 12, 10)
BINS = (3, 5, 2, 4)  # the shape of the result: boxes, channels, bins
ROIS = np.array([[1, 0, 1, 5, 6], [0, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)
TURNED = np.array([[1, 3, 4, 5, 6, 30], [0, 5, 6, 9, 3, -80], [1, 3, 2, 4, 12, 200]], np.float32)
FEATURES = random_values(np.random.default_rng(0), SHAPE, np.dtype("float32"))
GRAD_OUTPUT = random_values(np.random.default_rng(1), BINS, np.dtype("float32"))
ARGMAX = np.zeros(BINS, np.int32)

TYPE, VALUE = TypeError, ValueError
EITHER = (TypeError, ValueError)


class Bad(NamedTuple):
    """Keyword arguments that make a call fail, and what the error has to say."""

    name: str
    error: Any
    changes: dict[str, Any]
    says: tuple[str, ...]  # the argument at fault comes first; each of them a regular expression


GOOD = {
    "features": FEATURES,
    "grad_output": GRAD_OUTPUT,
    "argmax": ARGMAX,
    "input_shape": SHAPE,
    "output_size": BINS[2:],
}


def good_arguments(function):
    """Arguments for which a function of the package succeeds, by name: those that have to be given."""
    parameters = inspect.signature(function).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty]
    return {name: rois_of(function) if name == "rois" else GOOD[name] for name in needed}


ALONG_AXES = [
    roicy.roi_align,
    roicy.roi_align_backward,
    roicy.roi_align_backward_rois,
    roicy.roi_align_plan,
    roicy.roi_pool,
    roicy.roi_pool_backward,
]
ROTATED = [
    roicy.roi_align_rotated,
    roicy.roi_align_rotated_backward,
    roicy.roi_align_rotated_backward_rois,
    roicy.roi_align_rotated_plan,
]
FUNCTIONS = [*ALONG_AXES, *ROTATED]
PLANS = [roicy.roi_align_plan, roicy.roi_align_rotated_plan]
WRITERS = [function for function in FUNCTIONS if function not in PLANS]


def rois_of(function):
    return TURNED if function in ROTATED else ROIS


def that_take(name):
    """The functions that have a parameter."""
    return [function for function in FUNCTIONS if name in inspect.signature(function).parameters]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_good_arguments_are_good(function):
    """Without which the tests below would prove nothing."""
    function(**good_arguments(function))


def out_for(function, arguments):
    """An array that fits as `out`, where the arguments are good enough to say what fits; None without one."""
    if function in PLANS:
        return None
    if function in (roicy.roi_align_backward_rois, roicy.roi_align_rotated_backward_rois):
        rois = arguments["rois"]
        if isinstance(rois, list):
            return None  # the result is a list, and an `out` would be the first error
        if isinstance(rois, np.ndarray) and rois.dtype.kind == "f":
            return np.full(rois.shape, 7, np.promote_types(rois.dtype, np.float32))
    return np.full_like(function(**good_arguments(function)), 7)


def check(function, bad):
    """Call with the bad arguments; expect the error, and `out` and the inputs untouched."""
    arguments = {**good_arguments(function), **bad.changes}
    if "out" not in arguments:
        out = out_for(function, arguments)
        if out is not None:
            arguments["out"] = out
    arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
    before = {name: bits(array) for name, array in arrays.items() if array.size < 10**6}
    with pytest.raises(bad.error) as caught:
        function(**arguments)
    for part in bad.says:
        assert re.search(part, str(caught.value)), f"{part!r} is not in: {caught.value}"
    for name, content in before.items():
        assert bits(arrays[name]) == content, f"{name} was written to"


def cases(*bad):
    return pytest.mark.parametrize("bad", bad, ids=[case.name for case in bad])


def word(name):
    return rf"\b{name}\b"


# ---------------------------------------------------------------- rois and batch_indices

FOUR = ROIS[:, 1:].copy()
INDICES = ROIS[:, 0].astype(np.int64)


def row(column, value, dtype=np.float32):
    """The good boxes with one number of row 1 replaced."""
    rois = ROIS.astype(dtype)
    rois[1, column] = value
    return rois


def index(value, dtype=np.int64):
    """Four columns and good batch indices but for that of row 1."""
    indices = INDICES.astype(dtype)
    indices[1] = value
    return {"rois": FOUR, "batch_indices": indices}


ROW = (word("rois"), r"(?i)\brow 1\b|\[1\b")  # the first invalid row is named

BAD_ROIS = [
    Bad("rank-1", VALUE, {"rois": ROIS[0]}, (word("rois"), r"\(5,\)")),
    Bad("rank-3", VALUE, {"rois": ROIS[None]}, (word("rois"), r"\(1, 3, 5\)")),
    Bad("rank-0", VALUE, {"rois": np.array(1.0, np.float32)}, (word("rois"),)),
    Bad("3-columns", VALUE, {"rois": ROIS[:, :3].copy()}, (word("rois"), r"\(3, 3\)")),
    Bad("6-columns", VALUE, {"rois": np.zeros((3, 6), np.float32)}, (word("rois"), r"\(3, 6\)")),
    Bad("0-columns", VALUE, {"rois": np.zeros((3, 0), np.float32)}, (word("rois"), r"\(3, 0\)")),
    Bad("complex", TYPE, {"rois": ROIS.astype(np.complex64)}, (word("rois"), "complex64")),
    Bad("object", TYPE, {"rois": ROIS.astype(object)}, (word("rois"), "object")),
    Bad("bool", TYPE, {"rois": ROIS.astype(bool)}, (word("rois"), "bool")),
    Bad("longdouble", TYPE, {"rois": ROIS.astype(np.longdouble)}, (word("rois"), "longdouble|float128")),
    Bad("text", TYPE, {"rois": ROIS.astype(str)}, (word("rois"),)),
    Bad("time", TYPE, {"rois": ROIS.astype("m8[s]")}, (word("rois"), "timedelta")),
    Bad("none", TYPE, {"rois": None}, (word("rois"), "None")),
    Bad("number", TYPE, {"rois": 5}, (word("rois"), "int")),
    Bad("string", TYPE, {"rois": "boxes"}, (word("rois"), "str")),
    Bad("dict", TYPE, {"rois": {0: FOUR, 1: FOUR}}, (word("rois"), "dict")),
    Bad("short-list", VALUE, {"rois": [FOUR]}, (word("rois"), r"\b1\b", r"\b2\b")),
    Bad("long-list", VALUE, {"rois": [FOUR[:1]] * 3}, (word("rois"), r"\b3\b", r"\b2\b")),
    Bad("empty-list", VALUE, {"rois": []}, (word("rois"), r"\b0\b", r"\b2\b")),
    Bad("list-of-lists", TYPE, {"rois": ROIS[:2].tolist()}, (word("rois"), "list")),
    Bad("list-with-none", TYPE, {"rois": [FOUR, None]}, (word("rois"), "None")),
    Bad("list-of-five-columns", VALUE, {"rois": [ROIS[:1], ROIS[1:]]}, (word("rois"), r"\(1, 5\)")),
    Bad("list-of-vectors", VALUE, {"rois": [FOUR[0], FOUR[1]]}, (word("rois"), r"\(4,\)")),
    Bad("list-of-complex", TYPE, {"rois": [FOUR[:1], FOUR[1:].astype(complex)]}, (word("rois"), "complex")),
    Bad("four-columns-two-images", VALUE, {"rois": FOUR}, (word("rois"), word("batch_indices"), r"\(K, 5\)")),
    Bad(
        "five-columns-and-indices", VALUE, {"rois": ROIS, "batch_indices": INDICES}, (word("batch_indices"),)
    ),
    Bad(
        "list-and-indices",
        VALUE,
        {"rois": [FOUR[:1], FOUR[1:]], "batch_indices": INDICES},
        (word("batch_indices"),),
    ),
    Bad(
        "too-few-indices",
        VALUE,
        {"rois": FOUR, "batch_indices": INDICES[:2]},
        (word("batch_indices"), r"\(2,\)"),
    ),
    Bad("scalar-index", EITHER, {"rois": FOUR, "batch_indices": 0}, (word("batch_indices"),)),
    Bad(
        "column-of-indices",
        VALUE,
        {"rois": FOUR, "batch_indices": INDICES[:, None]},
        (word("batch_indices"), r"\(3, 1\)"),
    ),
    Bad(
        "float-indices",
        TYPE,
        {"rois": FOUR, "batch_indices": INDICES.astype(np.float32)},
        (word("batch_indices"), "float32"),
    ),
    Bad(
        "bool-indices",
        TYPE,
        {"rois": FOUR, "batch_indices": INDICES.astype(bool)},
        (word("batch_indices"), "bool"),
    ),
    Bad(
        "object-indices",
        TYPE,
        {"rois": FOUR, "batch_indices": INDICES.astype(object)},
        (word("batch_indices"), "object"),
    ),
    Bad("negative-index", VALUE, index(-1), (*ROW, "-1")),
    Bad("index-too-large", VALUE, index(2), (*ROW, r"\b2\b")),
    Bad("index-uint8", VALUE, index(255, np.uint8), (*ROW, r"\b255\b")),
    Bad("index-beyond-int32", VALUE, index(2**32), (*ROW, str(2**32))),
    Bad("index-beyond-int64", VALUE, index(2**63, np.uint64), (*ROW, str(2**63))),
    Bad("largest-index", VALUE, index(2**64 - 1, np.uint64), (*ROW, str(2**64 - 1))),
    Bad("smallest-index", VALUE, index(-(2**63)), (*ROW, str(-(2**63)))),
    Bad("image-minus-one", VALUE, {"rois": row(0, -1)}, (*ROW, r"-1\b")),
    Bad("image-two", VALUE, {"rois": row(0, 2)}, (*ROW, r"\b2\b")),
    Bad("image-huge", VALUE, {"rois": row(0, 1e30)}, (*ROW, r"1e\+30")),
    Bad("image-beyond-int64", VALUE, {"rois": row(0, 2.0**64, np.float64)}, ROW),
    Bad("image-nan", VALUE, {"rois": row(0, np.nan)}, (*ROW, "nan")),
    Bad("image-inf", VALUE, {"rois": row(0, np.inf)}, (*ROW, "inf")),
    *[
        Bad(f"{label}-{value}", VALUE, {"rois": row(column, value)}, (*ROW, str(value)))
        for column, label in enumerate(["x1", "y1", "x2", "y2"], start=1)
        for value in (np.nan, np.inf, -np.inf)
    ],
    Bad("float64-nan", VALUE, {"rois": row(3, np.nan, np.float64)}, (*ROW, "nan")),
    Bad("float16-inf", VALUE, {"rois": row(2, np.inf, np.float16)}, (*ROW, "inf")),
    Bad("nan-among-four", VALUE, {"rois": row(3, np.nan)[:, 1:], "batch_indices": INDICES}, (*ROW, "nan")),
    Bad("nan-in-list", VALUE, {"rois": [FOUR[:1], row(3, np.nan)[1:, 1:]]}, (word("rois"), "nan")),
]


@pytest.mark.parametrize("function", ALONG_AXES)
@cases(*BAD_ROIS)
def test_rois(function, bad):
    check(function, bad)


FIVE = TURNED[:, 1:].copy()


def turned_row(column, value, dtype=np.float32):
    """The good rotated boxes with one number of row 1 replaced."""
    rois = TURNED.astype(dtype)
    rois[1, column] = value
    return rois


BAD_TURNED = [
    Bad("rank-1", VALUE, {"rois": TURNED[0]}, (word("rois"), r"\(6,\)")),
    Bad("rank-3", VALUE, {"rois": TURNED[None]}, (word("rois"), r"\(1, 3, 6\)")),
    Bad("4-columns", VALUE, {"rois": ROIS[:, 1:].copy()}, (word("rois"), r"\(3, 4\)")),
    Bad("7-columns", VALUE, {"rois": np.zeros((3, 7), np.float32)}, (word("rois"), r"\(3, 7\)", "angle")),
    Bad("complex", TYPE, {"rois": TURNED.astype(np.complex64)}, (word("rois"), "complex64")),
    Bad("none", TYPE, {"rois": None}, (word("rois"), "None")),
    Bad("short-list", VALUE, {"rois": [FIVE]}, (word("rois"), r"\b1\b", r"\b2\b")),
    Bad("list-of-six-columns", VALUE, {"rois": [TURNED[:1], TURNED[1:]]}, (word("rois"), r"\(1, 6\)")),
    Bad("list-of-four-columns", VALUE, {"rois": [FIVE[:1, :4], FIVE[1:, :4]]}, (word("rois"), r"\(1, 4\)")),
    Bad("five-columns-two-images", VALUE, {"rois": FIVE}, (word("rois"), word("batch_indices"), r"\(K, 6\)")),
    Bad(
        "six-columns-and-indices", VALUE, {"rois": TURNED, "batch_indices": INDICES}, (word("batch_indices"),)
    ),
    Bad("index-too-large", VALUE, {"rois": FIVE, "batch_indices": np.array([0, 2, 1])}, (*ROW, r"\b2\b")),
    Bad("image-minus-one", VALUE, {"rois": turned_row(0, -1)}, (*ROW, r"-1\b")),
    Bad("image-nan", VALUE, {"rois": turned_row(0, np.nan)}, (*ROW, "nan")),
    *[
        Bad(f"{label}-{value}", VALUE, {"rois": turned_row(column, value)}, (*ROW, str(value)))
        for column, label in enumerate(["cx", "cy", "w", "h", "angle"], start=1)
        for value in (np.nan, np.inf, -np.inf)
    ],
    Bad("float64-nan", VALUE, {"rois": turned_row(5, np.nan, np.float64)}, (*ROW, "nan")),
]


@pytest.mark.parametrize("function", ROTATED)
@cases(*BAD_TURNED)
def test_rotated_rois(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_first_of_many_invalid_rows_is_named(function):
    """Also where several threads look for it."""
    count = 20000
    rois = np.repeat(rois_of(function)[:1], count, axis=0)
    rois[[11111, 12345, 19999], 2] = np.nan
    arguments = {**good_arguments(function), "rois": rois}
    for name in ("grad_output", "argmax"):
        if name in arguments:
            arguments[name] = np.ones((count, *BINS[1:]), arguments[name].dtype)
    for threads in (1, 4):
        with roicy.num_threads(threads), pytest.raises(ValueError, match=r"rois.*11111"):
            function(**arguments)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_image_at_all(function):
    """Every row names an image that is not there."""
    arguments = good_arguments(function)
    if "features" in arguments:
        arguments["features"] = np.empty((0, *SHAPE[1:]), np.float32)
    if "input_shape" in arguments:
        arguments["input_shape"] = (0, *SHAPE[1:])
    with pytest.raises(ValueError, match=r"rois"):
        function(**arguments)


# ---------------------------------------------------------------- options of all functions

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
            (2.0, TYPE, "float"),
            (np.float32(2), TYPE, "float"),
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
            ("rounding", ("round", "none"), ("nearest", "ROUND", "")),
        ]
        for value, error in [*[(value, VALUE) for value in values], (None, EITHER), (1, EITHER)]
    ],
    *[
        Bad(f"{name}={value!r}", TYPE, {name: value}, (word(name), type(value).__name__))
        for name in ("aligned", "clockwise", "return_argmax")
        for value in (None, 1, "yes", 0.0)
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
    """As float32 these are infinite and zero: an error, or a result without NaN."""
    try:
        out = roicy.roi_align(FEATURES, ROIS, 2, spatial_scale=scale, sampling_ratio=2)
    except ValueError as error:
        assert "spatial_scale" in str(error)
    else:
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
            (7.0, TYPE, "float"),
            ((7, 7.5), TYPE, "float"),
            (np.float64(7), TYPE, "float"),
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
            ((2, 5, 12.0, 10), TYPE, "float"),
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


# ---------------------------------------------------------------- features and grad_output

NOT_ARRAYS = [FEATURES.tolist(), None, 5, "features", np.float32(5), FEATURES.flat]
WRONG_DTYPES = [
    "int8",
    "int16",
    "int32",
    "int64",
    "uint16",
    "uint64",
    "bool",
    "complex64",
    "complex128",
    "object",
    "longdouble",
]
WRONG_RANKS = [(), (5,), (12, 10), (5, 12, 10), (1, 2, 5, 12, 10)]


def other_byte_order(array):
    return array.astype(array.dtype.newbyteorder())


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
    Bad("byte-order", TYPE, {"features": other_byte_order(FEATURES)}, (word("features"),)),
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
        for dtype in [*WRONG_DTYPES, "uint8"]
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
    Bad("byte-order", TYPE, {"grad_output": other_byte_order(GRAD_OUTPUT)}, (word("grad_output"),)),
    Bad(
        "layout",
        VALUE,
        {"layout": "NHWC", "grad_output": GRAD_OUTPUT},
        (r"\b(grad_output|argmax)\b", r"\(3, 5, 2, 4\)"),  # an argmax that goes with it is as wrong
    ),
)
def test_grad_output(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", [roicy.roi_align_backward_rois, roicy.roi_align_rotated_backward_rois])
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


# ---------------------------------------------------------------- out


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


def as_array(memory, shape, dtype):
    """An array of a shape and of four bytes per item at the start of a piece of memory."""
    return memory[: int(np.prod(shape)) * 4].view(dtype).reshape(shape)


@pytest.mark.parametrize(
    "function, argument",
    [
        (function, name)
        for function in WRITERS
        for name, value in good_arguments(function).items()
        if isinstance(value, np.ndarray)
    ],
)
def test_out_that_overlaps_an_input(function, argument):
    arguments = good_arguments(function)
    result = result_of(function)
    given = arguments[argument]
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
        roicy.roi_align(FEATURES, FOUR, BINS[2:], batch_indices=indices, out=memory)
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
    Bad("byte-order", TYPE, {"argmax": other_byte_order(ARGMAX)}, (word("argmax"),)),
    Bad("masked", TYPE, {"argmax": np.ma.masked_array(ARGMAX)}, (word("argmax"), "mask")),
    Bad("below", VALUE, {"argmax": ARGMAX - 2}, (r"argmax\[[012], 0, 0, 0\]", "-2")),
    Bad("beyond", VALUE, {"argmax": ARGMAX + 120}, (r"argmax\[[012], 0, 0, 0\]", "120")),
)
def test_argmax(function, bad):
    mode = {} if function is roicy.roi_pool_backward else {"mode": "max"}
    check(function, bad._replace(changes={**mode, **bad.changes}))


def test_no_argmax_for_pooling():
    check(roicy.roi_pool_backward, Bad("none", TYPE, {"argmax": None}, (word("argmax"), "None")))


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
@pytest.mark.parametrize("n", [1.0, 2.5, True, "2", None, [2]], ids=repr)
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
