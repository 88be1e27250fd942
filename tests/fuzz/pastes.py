"""Calls of `paste_masks`, and their expected results."""

import numpy as np
import reference.masks
from hypothesis import strategies as st
from strategies import FEATURE_DTYPES

from fuzz.arguments import Meaningless, array_of, box_dtype, in_a_row, integer, word
from fuzz.hostile import HOSTILE, MEMORY, STRANGE_DTYPES
from fuzz.pooling import Expected
from fuzz.scenes import EXTREME, SMALL_BOX_DTYPES, arrays

FORMS, RULES = ("masks", "windows", "rle"), ("detectron2", "torchvision")
MASK_DTYPES = [*map(str, FEATURE_DTYPES), "bool"]
# none of them is an image that the machine could have or not
SIZES = [
    5,
    None,
    "7",
    [3],
    [3, 4, 5],
    [0, 4],
    [4, -1],
    [2.0, 3],
    [True, 3],
    [2**31, 4],
    {"tuple": [10**30, 2]},
]
THRESHOLDS = [0.5, 0.5, 0.25, 1, 2.0, None]


@st.composite
def pastes(draw):
    """Descriptions of calls, good and hostile ones."""
    size = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    count = draw(st.integers(0, 3))
    shape = [count, *[1] * draw(st.integers(0, 1)), draw(st.integers(1, 6)), draw(st.integers(1, 20))]
    form = draw(st.sampled_from(FORMS))
    rows = [[draw(st.floats(-8, 28, width=16)) for _ in range(4)] for _ in range(count)]
    for row in rows:
        row[2:] = [abs(row[2] - row[0]) + row[0], abs(row[3] - row[1]) + row[1]]
        if draw(st.integers(0, 7)) == 0:
            row[draw(st.integers(0, 3))] = float(draw(st.sampled_from(EXTREME)))
    dtype = draw(st.sampled_from(["float32", "float64"] * 4 + SMALL_BOX_DTYPES))
    if "int" in dtype:
        rows = [[float(np.clip(np.nan_to_num(number), 0, 100)) for number in row] for row in rows]
    threshold = draw(st.sampled_from(THRESHOLDS[:-1] if form == "rle" else THRESHOLDS))
    arguments = {
        "masks": arrays(draw, draw(st.sampled_from(MASK_DTYPES)), shape, ["random", "fill", "numbered"]),
        "boxes": {
            "array": {"dtype": dtype, "shape": [count, 4], "rows": rows, "memory": draw(MEMORY)},
        },
        "image_size": draw(st.sampled_from([list(size), {"tuple": list(size)}])),
        "threshold": threshold,
        "rule": draw(st.sampled_from(RULES)),
        "to": form,
        "invalid": draw(st.sampled_from(["raise", "nan"])),
    }
    if form == "masks" and draw(st.booleans()):
        out = {"dtype": "float32" if threshold is None else "bool", "shape": [count, *size]}
        arguments["out"] = {"array": {**out, "memory": draw(MEMORY)}}
    description = {"function": "paste_masks", "arguments": arguments, "good": True}
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        description["good"] = False
        victim = draw(st.sampled_from(sorted({*arguments, "out"})))
        value = arguments.get(victim)
        if victim == "image_size":
            arguments[victim] = draw(st.sampled_from(SIZES))
        elif isinstance(value, dict) and "array" in value and draw(st.booleans()):
            content = {"dtype": draw(st.sampled_from(STRANGE_DTYPES))}
            arguments[victim] = {"array": {**value["array"], **content}}
        else:
            arguments[victim] = draw(HOSTILE)
    return description


def pasted(given):
    """What a call returns; None for what is no array."""
    listed = isinstance(given.boxes, (list, tuple)) and not given.boxes
    masks, boxes = array_of(given.masks), np.empty((0, 4)) if listed else array_of(given.boxes)
    if boxes.shape == (0,):
        boxes = boxes.reshape(0, 4)
    known = masks.dtype == np.bool_ or (masks.dtype in FEATURE_DTYPES and masks.dtype.isnative)
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3 or not known or min(masks.shape[1:]) < 1:
        raise Meaningless("no masks")
    dtype = box_dtype(boxes)
    if boxes.shape != (len(masks), 4):
        raise Meaningless("no boxes of these masks")
    size = given.image_size
    if not in_a_row(size) or len(size) != 2 or not all(map(_whole, size)):
        raise Meaningless("no size")
    form, rule = word(given.to, *FORMS), word(given.rule, *RULES)
    soft = given.threshold is None
    if not soft and not 0 < np.float32(given.threshold) < np.inf:
        raise Meaningless("no threshold")
    boxes = boxes.astype(dtype)
    if word(given.invalid, "raise", "nan") == "raise" and not np.isfinite(boxes).all():
        raise Meaningless("an invalid box")
    if (form == "rle" and soft) or (form != "masks" and given.out is not None):
        raise Meaningless("no such form")
    if form != "masks":
        return None
    shape = len(masks), *map(integer, size)
    if np.prod(shape) > 4000:
        return [Expected(shape, np.dtype("float32" if soft else "bool"))]
    values = masks.astype(np.float64)
    if not np.isfinite(values).all() or np.abs(values).max(initial=0) > 100:
        return [Expected(shape, np.dtype("float32" if soft else "bool"))]
    wanted = reference.masks.paste(values, boxes, shape[1:], rule)
    bound = 3e-6 * np.abs(values).max(initial=1)

    def hold(found):
        if soft:
            np.testing.assert_allclose(found, wanted, rtol=0, atol=bound)
            return
        decided = ~(np.abs(wanted - given.threshold) <= bound)
        np.testing.assert_array_equal(found[decided], (wanted >= given.threshold)[decided])

    return [Expected(shape, np.dtype("float32" if soft else "bool"), hold)]


def _whole(value):
    return 1 <= integer(value) < 2**31
