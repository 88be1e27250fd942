"""Bad boxes and batch indices: an error that names the row or the argument, and nothing written."""

import numpy as np
import pytest

import roicy
from arrays.bad_calls import (
    ALONG_AXES,
    BINS,
    EITHER,
    FUNCTIONS,
    ROIS,
    ROTATED,
    SHAPE,
    TURNED,
    TYPE,
    VALUE,
    Bad,
    cases,
    check,
    good_arguments,
    rois_of,
    word,
)

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.numpy_only(reason="tables of functions, made before any fixture; arrays that no device has"),
]


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
    Bad("list-of-numbers", VALUE, {"rois": ROIS[0].tolist()}, (word("rois"), r"\[\[\.\.\.\]\]")),
    Bad(
        "rows-of-other-lengths", VALUE, {"rois": [*ROIS.tolist(), [1, 2]]}, (r"rois\[3\]", r"\b5\b", r"\b2\b")
    ),
    Bad("rows-with-none", TYPE, {"rois": [[0, 1, 2, 3, None]] * 3}, (r"rois\[0\]\[4\]", "None")),
    Bad("rows-with-words", TYPE, {"rois": [[0, 1, 2, 3, "4"]] * 3}, (r"rois\[0\]\[4\]", "str")),
    Bad("rows-of-switches", TYPE, {"rois": (ROIS > 3).tolist()}, (r"rois\[0\]\[0\]", "bool")),
    Bad("rows-of-complex", TYPE, {"rois": ROIS.astype(complex).tolist()}, (word("rois"), "complex")),
    Bad("rows-beyond-float64", TYPE, {"rois": [[10**400] * 5] * 3}, (word("rois"),)),
    Bad("rows-of-an-image", VALUE, {"rois": [FOUR.tolist(), [[1, 2, 3]]]}, (r"rois\[1\]", r"\(1, 3\)")),
    Bad(
        "rows-in-a-list-of-an-image",
        TYPE,
        {"rois": [FOUR, [[1, 2, 3, "4"]]]},
        (r"rois\[1\]\[0\]\[3\]", "str"),
    ),
    Bad("one-list-too-few", VALUE, {"rois": [FOUR.tolist()]}, (word("rois"), r"\b1\b", r"\b2\b")),
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
        "words-as-indices", TYPE, {"rois": FOUR, "batch_indices": ["0", 1, 1]}, (r"batch_indices\[0\]", "str")
    ),
    Bad(
        "halves-as-indices",
        TYPE,
        {"rois": FOUR, "batch_indices": [0, 1, 0.5]},
        (word("batch_indices"), "float64"),
    ),
    Bad(
        "list-of-too-few-indices",
        VALUE,
        {"rois": FOUR, "batch_indices": [0, 1]},
        (word("batch_indices"), r"\(2,\)"),
    ),
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
def test_the_first_of_many_invalid_rows_is_named(function, backend):
    """Also where several threads look for it."""
    count = 20000 if backend == "cpu" else 3000  # a block of CUDA looks at 256 at a time
    first = count * 5 // 9
    rois = np.repeat(rois_of(function)[:1], count, axis=0)
    rois[[first, first + 1024, count - 1], 2] = np.nan
    arguments = {**good_arguments(function), "rois": rois}
    for name in ("grad_output", "argmax"):
        if name in arguments:
            arguments[name] = np.ones((count, *BINS[1:]), arguments[name].dtype)
    if "offsets" in arguments:
        arguments["offsets"] = np.zeros((count, 2, *BINS[2:]), np.float32)
    for threads in (1, 4):
        with roicy.num_threads(threads), pytest.raises(ValueError, match=rf"rois.*\b{first}\b"):
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
