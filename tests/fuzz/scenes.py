"""What the arguments of a call have to agree on, and arrays and boxes that do."""

import functools
import inspect
import math
from typing import NamedTuple

import numpy as np
import strategies
from hypothesis import strategies as st
from operators import rotated
from strategies import FEATURE_DTYPES, HUGE, OUTPUT_SIZES

from fuzz.arguments import MAP_DTYPES
from fuzz.calls import FUNCTIONS
from fuzz.hostile import INPUT_MEMORY, MEMORY


class Scene(NamedTuple):
    """What the arguments of a call have to agree on."""

    shape: tuple[int, int, int, int]  # N, C, H, W, of the first map
    more_maps: list[tuple[int, int]] | None  # H, W of the other maps of a pyramid; None without one
    boxes: int
    output_size: tuple[int, int]
    dtype: str  # of the features
    layout: str
    rotated: bool
    mode: str
    max_rule: str
    return_argmax: bool
    form: str  # of the boxes: "indexed", "apart", "one image", "listed"
    aggregate: str
    dimensions: int | None  # of whitened vectors
    merge: str
    parts: int  # channels of the maps for one of the bins

    @property
    def columns(self):
        return 5 if self.rotated else 4

    @property
    def bins(self):
        return (self.boxes, self.shape[1] // self.parts, *self.output_size)

    @property
    def maps(self):
        return [self.shape, *((*self.shape[:2], *size) for size in self.more_maps or ())]

    def result(self, name):
        """Shape, as NCHW, and layout of what a function returns."""
        if "rmac" not in name:
            return self.bins, self.layout
        return (self.shape[0], self.shape[1] if self.dimensions is None else self.dimensions), "NCHW"

    def in_layout(self, shape):
        if self.layout == "NCHW":
            return list(shape)
        return [*shape[:-3], *shape[-2:], shape[-3]]


def arrays(draw, dtype, shape, values, *, layout="NCHW", memory=INPUT_MEMORY):
    """The description of an array."""
    content = {"dtype": str(dtype), "shape": list(shape), "layout": layout}
    content |= {"values": draw(st.sampled_from(values)), "seed": draw(st.integers(0, 99))}
    if content["dtype"] != "bfloat16" and draw(st.integers(0, 9)) == 0:
        return {"shared": {"by": draw(st.sampled_from(["dlpack", "buffer"])), "array": content}}
    return {"array": {**content, "memory": draw(memory)}}


@st.composite
def scenes(draw, name):
    """What a call of a function is about."""
    parameters = inspect.signature(FUNCTIONS[name.removesuffix("_plan")]).parameters  # a plan is called, too
    compat = "." in name
    maxima = "mode" in parameters and draw(st.booleans())
    forms = ["indexed"] if compat else ["indexed", "indexed", "apart", "one image", "listed"]
    if name.startswith("torchvision."):
        forms = ["indexed", "listed"]
    elif name == "onnx.RoiAlign":
        forms = ["apart"]
    form = draw(st.sampled_from(forms))
    images = 1 if form == "one image" else draw(st.integers(0 if form == "listed" else 1, 3))
    channels = draw(st.one_of(st.integers(0, 20), st.sampled_from([31, 32, 33, 40])))
    side, size = st.integers(0, 12), draw(st.sampled_from(OUTPUT_SIZES))
    parts = math.prod(size) if name.startswith("ps_") else 1
    channels = channels * parts if parts < 9 else channels % 4 * parts
    pyramid = draw(st.lists(st.tuples(side, side), max_size=3)) if "multi_scale" in name else None
    free_layout = "layout" in parameters or ("order" in parameters and "Pool" not in name)
    onnx = maxima and "max_rule" in parameters and draw(st.integers(0, 3)) == 0
    return Scene(
        (images, channels, draw(side), draw(side)),
        pyramid,
        draw(st.integers(0, 4)) if images else 0,
        size,
        str(draw(st.sampled_from(FEATURE_DTYPES if compat else [*FEATURE_DTYPES, *MAP_DTYPES]))),
        draw(st.sampled_from(["NCHW", "NHWC"])) if free_layout else "NCHW",
        "rotated" in name.lower() or ("rotated" in parameters and draw(st.booleans())),
        "max" if maxima else "avg",
        "onnx" if onnx else "bilinear",
        "return_argmax" in parameters
        and (maxima or "mode" not in parameters)
        and not onnx
        and draw(st.booleans()),
        form,
        "sum" if name == "rmac_backward" else draw(st.sampled_from(["sum", "concat"])),
        draw(st.none() | st.integers(0, 5)) if "whiten" in parameters else None,
        draw(st.sampled_from(["assigned", "assigned", "sum"])),
        parts,
    )


EXTREME = [*HUGE, 1e5, -1e5, 1e38, 1e-38, 1e-45, 5e-324, 1e300, math.nan, math.inf, -math.inf]


@functools.cache
def _edges(length, huge):
    kinds = strategies.interval_kinds(length, huge=huge)
    return st.sampled_from(sorted(kinds)).flatmap(kinds.get)


@functools.cache
def _middles_and_sizes(length, huge):
    return rotated.middles(length), rotated.sizes(length, huge=huge)


@st.composite
def coordinates(draw, scene, scale, ratio):
    """The numbers of one box."""
    _, _, height, width = scene.shape
    huge = HUGE if ratio > 0 else ()
    numbers = []
    if scene.rotated:
        sides = [_middles_and_sizes(length, tuple(huge)) for length in (width, height)]
        numbers += [draw(both[part]) / scale for part in (0, 1) for both in sides]
        numbers.append(draw(rotated.DEGREES))
    else:
        ends = []
        for length in (width, height):
            ends.append(draw(_edges(length, tuple(huge))))
        numbers = [ends[axis][end] / scale for end in (0, 1) for axis in (0, 1)]
    if draw(st.integers(0, 11)) == 0:
        numbers[draw(st.integers(0, len(numbers) - 1))] = draw(st.sampled_from(EXTREME))
    return [float(number) for number in numbers]


SMALL_BOX_DTYPES = ["float16", "bfloat16", "int8", "uint8", "int16", "int32", "uint32", "int64"]
BOX_DTYPES = ["float32", "float64"] * 4 + SMALL_BOX_DTYPES
INDEX_DTYPES = ["int64"] * 4 + ["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"]


@st.composite
def described_boxes(draw, scene, scale, ratio):
    """rois and batch_indices."""
    rows = [draw(coordinates(scene, scale, ratio)) for _ in range(scene.boxes)]
    images = scene.shape[0]
    inside = st.integers(0, max(images - 1, 0))
    beyond = st.sampled_from([-1, images, 100, -(2**31), 2**31, 2**53])
    unusual = draw(st.integers(0, 7)) == 0
    index = st.one_of(inside, beyond) if unusual else inside
    dtype = draw(st.sampled_from(BOX_DTYPES))
    if "int" in dtype:  # numbers that it holds
        info = np.iinfo(dtype)
        least, most = float(max(info.min, -(2**31))), float(min(info.max, 2**31))
        rows = [[float(np.clip(np.nan_to_num(number), least, most)) for number in row] for row in rows]
        index = inside
    fraction = st.sampled_from([0.0, 0.5, 0.99]) if unusual else st.just(0.0)

    def described(dtype, rows, columns):
        content = {"dtype": dtype, "shape": [len(rows), columns], "rows": rows}
        content["memory"] = draw(MEMORY)
        content["foreign"] = draw(st.integers(0, 9)) == 0 and dtype != "bfloat16"
        content["writeable"] = draw(st.booleans())
        return {"array": content}

    columns = scene.columns
    if scene.form == "indexed":
        rows = [[draw(index) + draw(fraction), *row] for row in rows]
        return described(dtype, rows, columns + 1), None
    if scene.form == "listed":
        owner = [draw(inside) for _ in rows]
        per_image = [
            [row for k, row in zip(owner, rows, strict=True) if k == image] for image in range(images)
        ]
        listed = [
            described(draw(st.sampled_from([dtype, dtype, "float64"])), own, columns) for own in per_image
        ]
        return (listed if draw(st.booleans()) else {"tuple": listed}), None
    rois = described(dtype, rows, columns)
    if scene.form == "one image":
        return rois, None
    dtype = draw(st.sampled_from(INDEX_DTYPES))
    info = np.iinfo(dtype)
    indices = [min(max(draw(index), int(info.min)), int(info.max)) for _ in rows]
    content = {"dtype": dtype, "shape": [len(rows)], "rows": indices, "memory": draw(MEMORY)}
    return rois, {"array": content}


def usual_values(name, scene):
    """The maps that the results of a function can be held against a reference on."""
    if "backward_rois" in name or "backward_offsets" in name:
        return "rising"
    mean = name.startswith(("prroi", "ps_", "deform")) or (
        name.startswith("roi_pool") and scene.mode == "avg"
    )
    return "contested" if "pool" in name.lower() and not mean else "random"


def maps_of(draw, scene, kinds):
    """A feature map, or those of a pyramid."""
    found = [arrays(draw, scene.dtype, shape, kinds, layout=scene.layout) for shape in scene.maps]
    return found[0] if scene.more_maps is None else draw(st.sampled_from([found, {"tuple": found}]))


def numbered(draw, scene):
    """An argmax."""
    if scene.more_maps is None or scene.merge == "assigned":
        return arrays(draw, "int32", scene.bins, ["numbered"], layout=scene.layout)
    return arrays(draw, "int32", [len(scene.maps), *scene.in_layout(scene.bins)], ["numbered"])
