"""Bad input: an error that names the argument, says what it was and what is expected, and nothing written."""

import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from closeness import assert_same_bits, bits
from strategies import random_values

import roicy

SHAPE = (2, 5, 12, 10)
BINS = (3, 5, 2, 4)  # the shape of the result: boxes, channels, bins
ROIS = np.array([[1, 0, 1, 5, 6], [0, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)
FEATURES = random_values(np.random.default_rng(0), SHAPE, np.dtype("float32"))
GRAD_OUTPUT = random_values(np.random.default_rng(1), BINS, np.dtype("float32"))

TYPE, VALUE = TypeError, ValueError
EITHER = (TypeError, ValueError)


class Bad(NamedTuple):
    """Keyword arguments that make a call fail, and what the error has to say."""

    name: str
    error: Any
    changes: dict[str, Any]
    says: tuple[str, ...]  # the argument at fault comes first; each of them a regular expression


def good_arguments(function):
    """Arguments for which a function of the package succeeds, by name."""
    arguments = {"rois": ROIS}
    if function is roicy.roi_align:
        arguments.update(features=FEATURES, output_size=BINS[2:])
    elif function is roicy.roi_align_backward:
        arguments.update(grad_output=GRAD_OUTPUT, input_shape=SHAPE)
    elif function is roicy.roi_align_backward_rois:
        arguments.update(grad_output=GRAD_OUTPUT, features=FEATURES)
    elif function is roicy.roi_align_plan:
        arguments.update(input_shape=SHAPE, output_size=BINS[2:])
    return arguments


FUNCTIONS = [
    roicy.roi_align,
    roicy.roi_align_backward,
    roicy.roi_align_backward_rois,
    roicy.roi_align_plan,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_good_arguments_are_good(function):
    """Without which the tests below would prove nothing."""
    function(**good_arguments(function))


def out_for(function, arguments):
    """An array that fits as `out`, where the arguments are good enough to say what fits; None without one."""
    if function is roicy.roi_align_plan:
        return None
    if function is roicy.roi_align_backward_rois:
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


@pytest.mark.parametrize("function", FUNCTIONS)
@cases(*BAD_ROIS)
def test_rois(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_first_of_many_invalid_rows_is_named(function):
    """Also where several threads look for it."""
    count = 20000
    rois = np.repeat(ROIS[:1], count, axis=0)
    rois[[11111, 12345, 19999], 2] = np.nan
    arguments = {**good_arguments(function), "rois": rois}
    if "grad_output" in arguments:
        arguments["grad_output"] = np.ones((count, *BINS[1:]), np.float32)
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
            (10**30, VALUE, "65536"),
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
    Bad("mode-max", NotImplementedError, {"mode": "max"}, (word("mode"), "max")),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@cases(*BAD_OPTIONS)
def test_options(function, bad):
    check(function, bad)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["max_rule", "argmax", "return_argmax", "scale", "output"])
def test_unknown_options(function, name):
    with pytest.raises(TypeError, match=name):
        function(**good_arguments(function), **{name: None})


def test_options_have_to_be_named():
    with pytest.raises(TypeError, match="positional"):
        roicy.roi_align(FEATURES, ROIS, 7, 0.25)


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_spatial_scales_beyond_the_dtype_of_the_boxes(scale):
    """As float32 these are infinite and zero: an error, or a result without NaN."""
    try:
        out = roicy.roi_align(FEATURES, ROIS, 2, spatial_scale=scale, sampling_ratio=2)
    except ValueError as error:
        assert "spatial_scale" in str(error)
    else:
        assert np.isfinite(out).all()


@pytest.mark.parametrize("function", [roicy.roi_align, roicy.roi_align_plan])
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


@pytest.mark.parametrize("function", [roicy.roi_align_backward, roicy.roi_align_plan])
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


# ---------------------------------------------------------------- features and grad_output

NOT_ARRAYS = [FEATURES.tolist(), None, 5, "features", memoryview(FEATURES)]
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


@pytest.mark.parametrize("function", [roicy.roi_align, roicy.roi_align_backward_rois])
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


@pytest.mark.parametrize("function", [roicy.roi_align_backward, roicy.roi_align_backward_rois])
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
        (word("grad_output"), r"\(3, 5, 2, 4\)"),
    ),
)
def test_grad_output(function, bad):
    check(function, bad)


@cases(
    Bad("float64-for-float32", EITHER, {"grad_output": GRAD_OUTPUT.astype(np.float64)}, ("float64",)),
    Bad("float32-for-float64", EITHER, {"features": FEATURES.astype(np.float64)}, ("float64",)),
    Bad("float32-for-float16", EITHER, {"features": FEATURES.astype(np.float16)}, ("float16",)),
)
def test_grad_output_has_the_dtype_of_the_result(bad):
    check(roicy.roi_align_backward_rois, bad._replace(says=(word("grad_output"), *bad.says)))


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
    with pytest.raises(TypeError, match="this build handles NumPy arrays"):
        roicy.roi_align(CudaArray(), CudaArray(), 7)


def test_masked_arrays():
    """Masked values would be pooled as if they were not."""
    with pytest.raises(TypeError, match=r"features.*mask"):
        roicy.roi_align(np.ma.masked_array(FEATURES, FEATURES > 0.5), ROIS, 7)
    with pytest.raises(TypeError, match=r"rois.*mask"):
        roicy.roi_align(FEATURES, np.ma.masked_array(ROIS), 7)


# ---------------------------------------------------------------- out


def result_of(function):
    return function(**good_arguments(function))


WRITERS = FUNCTIONS[:3]


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


def as_float32(memory, shape):
    """An array of a shape at the start of a piece of memory."""
    return memory[: int(np.prod(shape)) * 4].view(np.float32).reshape(shape)


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
    memory = np.zeros(4 * (arguments[argument].size + result.size), np.uint8)
    for offset in (0, 8, 4 * (arguments[argument].size - 1)):
        taken = as_float32(memory, arguments[argument].shape)
        taken[...] = arguments[argument]
        before = memory.copy()
        out = as_float32(memory[offset:], result.shape)
        with pytest.raises(ValueError, match=r"\bout\b"):
            function(**{**arguments, argument: taken}, out=out)
        assert_same_bits(memory, before)
    # The byte behind the last is not part of the input.
    taken = as_float32(memory, arguments[argument].shape)
    taken[...] = arguments[argument]
    out = as_float32(memory[taken.nbytes :], result.shape)
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
