"""Calls of `crop_quads`, and their expected results."""

import numpy as np
from hypothesis import strategies as st

from fuzz.arguments import (
    Meaningless,
    array_of,
    box_dtype,
    flag,
    in_a_row,
    indices_of,
    integer,
    size_of,
    word,
)
from fuzz.hostile import HOSTILE, MEMORY, SIZES
from fuzz.pooling import Expected
from fuzz.scenes import EXTREME, arrays

DTYPES = ["uint8", "float32", "float64", "float16", "int8", "int16", "uint16", "bool"]


@st.composite
def quads(draw):
    """Descriptions of calls, good and hostile ones."""
    images = draw(st.integers(1, 2))
    shape = [images, draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(0, 6))]
    layout = draw(st.sampled_from(["NHWC", "NCHW"]))
    whole = shape[1:3]
    if layout == "NCHW":
        shape = [shape[0], shape[3], *whole]
    count = draw(st.integers(0, 3))
    numbers = st.one_of(st.floats(-5, 15, width=16), st.integers(-2, 10).map(float))
    rows = [draw(numbers) for _ in range(8 * count)]
    if count and draw(st.integers(0, 5)) == 0:
        rows[draw(st.integers(0, 8 * count - 1))] = float(draw(st.sampled_from(EXTREME)))
    indices = [draw(st.sampled_from([0, images - 1])) for _ in range(count)]
    size = draw(st.sampled_from([1, 3, {"tuple": [2, 17]}, [5, 1]]))
    arguments = {
        "images": arrays(draw, draw(st.sampled_from(DTYPES)), shape, ["random", "fill", "numbered"]),
        "corners": {
            "array": {
                "dtype": draw(st.sampled_from(["float32", "float64"])),
                "shape": [count, 4, 2],
                "rows": rows,
                "memory": draw(MEMORY),
            }
        },
        "output_size": size,
        "batch_indices": {"array": {"dtype": "int64", "shape": [count], "rows": indices}},
        "interpolation": draw(st.sampled_from(["bilinear", "nearest"])),
        "sampling_ratio": draw(st.sampled_from([1, 1, 2, 0, 3])),
        "border": draw(st.sampled_from(["constant", "edge", "reject"])),
        "fill": draw(st.sampled_from([0.0, 3.0, -1])),
        "reverse_channels": draw(st.booleans()),
        "layout": layout,
        "out_layout": draw(st.sampled_from([None, "NHWC", "NCHW"])),
        "dtype": draw(st.sampled_from([None, "float32", "float16", "uint8"])),
        "invalid": draw(st.sampled_from(["raise", "nan"])),
        "window": draw(st.sampled_from([None, {"tuple": [0, 0, *whole]}])),
    }
    if arguments["interpolation"] == "nearest":
        arguments["sampling_ratio"] = 1
    description = {"function": "crop_quads", "arguments": arguments, "good": True}
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        description["good"] = False
        victim = draw(st.sampled_from(sorted({*arguments, "out", "mean", "std"})))
        arguments[victim] = draw(st.sampled_from(SIZES) if victim == "output_size" else HOSTILE)
    return description


def cut(given):
    """What a call returns."""
    images = array_of(given.images)
    none = isinstance(given.corners, (list, tuple)) and not given.corners
    corners = np.empty((0, 4, 2), np.float32) if none else array_of(given.corners)
    layout = word(given.layout, "NHWC", "NCHW")
    out_layout = layout if given.out_layout is None else word(given.out_layout, "NHWC", "NCHW")
    word(given.border, "constant", "edge", "reject")
    nearest = word(given.interpolation, "bilinear", "nearest") == "nearest"
    ratio = max(integer(given.sampling_ratio), 0)
    if ratio > 128 or (nearest and ratio != 1):
        raise Meaningless("sampling_ratio")
    flag(given.reverse_channels)
    images = images[None] if images.ndim == 3 else images
    if images.ndim != 4 or corners.ndim != 3 or corners.shape[1:] != (4, 2):
        raise Meaningless("no images or corners")
    real = box_dtype(corners)
    channels = images.shape[3 if layout == "NHWC" else 1]
    if given.batch_indices is None:
        indices = np.zeros(len(corners), int)
    else:
        indices = indices_of(given.batch_indices)
        if indices.dtype.kind not in "iu" or indices.shape != (len(corners),):
            raise Meaningless("batch indices")
    known = np.isfinite(corners.astype(real)).all(axis=(1, 2)) & (indices >= 0) & (indices < len(images))
    if word(given.invalid, "raise", "nan") == "raise" and not known.all():
        raise Meaningless("an invalid row")
    for value in (given.fill, given.mean, given.std):
        if in_a_row(value) and len(value) != channels:
            raise Meaningless("numbers of other channels")
    size = size_of(given.output_size)
    shape = (len(corners), *size, channels) if out_layout == "NHWC" else (len(corners), channels, *size)
    plain = given.mean is None and given.std is None
    own = images.dtype if nearest and plain else np.dtype(np.float32)
    return [Expected(shape, own if given.dtype is None else np.dtype(given.dtype))]
