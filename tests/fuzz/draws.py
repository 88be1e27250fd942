"""Calls of the public functions, good ones and hostile ones: what `test_fuzz` and `fuzz` draw."""

import functools
import inspect
import math
from typing import NamedTuple

import numpy as np
import strategies
from hypothesis import strategies as st
from operators import rotated
from strategies import FEATURE_DTYPES, FLOAT_DTYPES, HUGE, OUTPUT_SIZES, SPATIAL_SCALES, result_dtype

from fuzz.calls import FUNCTIONS, PLANS, SYNONYMS, named_dtype
from fuzz.hostile import BEYOND_MEMORY, HOSTILE, INPUT_MEMORY, MEMORY, SHAPES, SIZES, STRANGE_DTYPES
from roicy.compat import caffe2

# ---------------------------------------------------------------- what calls are made of


class Scene(NamedTuple):
    """What the arguments of a call have to agree on."""

    shape: tuple[int, int, int, int]  # N, C, H, W
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

    @property
    def columns(self):
        return 5 if self.rotated else 4

    @property
    def bins(self):
        return (self.boxes, self.shape[1], *self.output_size)


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
    parameters = inspect.signature(FUNCTIONS[name]).parameters
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
    height, width = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    free_layout = "layout" in parameters or ("order" in parameters and "Pool" not in name)
    onnx = maxima and "max_rule" in parameters and draw(st.integers(0, 3)) == 0
    return Scene(
        (images, channels, height, width),
        draw(st.integers(0, 4)) if images else 0,
        draw(st.sampled_from(OUTPUT_SIZES)),
        str(draw(st.sampled_from(FEATURE_DTYPES))),
        draw(st.sampled_from(["NCHW", "NHWC"])) if free_layout else "NCHW",
        "rotated" in name.lower(),
        "max" if maxima else "avg",
        "onnx" if onnx else "bilinear",
        "return_argmax" in parameters
        and (maxima or "mode" not in parameters)
        and not onnx
        and draw(st.booleans()),
        form,
        "sum" if name == "rmac_backward" else draw(st.sampled_from(["sum", "concat"])),
        draw(st.none() | st.integers(0, 5)) if "whiten" in parameters else None,
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


# Work grows with the square of the samples where a bin's maximum is looked for, or the box is turned.
RATIOS = [0, 0, -1, -(2**70), 1, 2, 3, 5]


@st.composite
def calls(draw):
    """Descriptions of calls."""
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    if name == "set_num_threads":
        count = draw(st.one_of(st.integers(1, 4), HOSTILE))
        return {"function": name, "arguments": {"n": count}, "good": type(count) is int and 0 < count < 5}
    if name == "caffe2.run_operator":
        return draw(by_name())
    scene = draw(scenes(name))
    arguments, more = draw(good_arguments(name, scene))
    description = {"function": name, "arguments": arguments, "good": "." not in name, **more}
    if name in PLANS:
        draw(used(scene, description))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        draw(spoiled(name, scene, description))
    return description


@st.composite
def good_arguments(draw, name, scene):
    """Arguments of a function that agree with each other."""
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    scale = draw(st.sampled_from(SPATIAL_SCALES))
    mild = scene.rotated or scene.mode == "max"
    ratio = draw(st.sampled_from(RATIOS if mild or scene.boxes > 2 else [*RATIOS, 17, 1000, 65536]))
    rois, batch_indices = draw(described_boxes(scene, scale, ratio))
    real = str(result_dtype(named_dtype(scene.dtype)))
    usual = "rising" if "backward_rois" in name else "contested" if "pool" in name.lower() else "random"
    kinds = [usual, usual, "poisoned"]
    order = [0, 1, 2, 3] if scene.layout == "NCHW" else [0, 2, 3, 1]
    in_layout = [scene.shape[axis] for axis in order]
    rows, columns = size = scene.output_size
    bins, layout = scene.bins, scene.layout
    if "rmac" in name:
        length = scene.shape[1] if scene.dimensions is None else scene.dimensions
        bins, layout = (scene.shape[0], length), "NCHW"
    known = "features" in parameters or "X" in parameters
    grad_dtype = real if known else str(draw(st.sampled_from(FLOAT_DTYPES)))
    gradients = ["random", "random", "poisoned"]

    arguments = {}

    def any_of(*values):
        return lambda: draw(st.sampled_from(values))

    def whiten():
        if scene.dimensions is None:
            return None
        dtype = draw(st.sampled_from(["float32", "float64"]))
        shape = scene.dimensions, scene.shape[1]
        return {"tuple": [arrays(draw, dtype, shape[1:], ["random"]), arrays(draw, dtype, shape, ["random"])]}

    def argmax():
        if scene.mode == "avg" and "mode" in parameters:
            return None
        return arrays(draw, "int32", scene.bins, ["numbered"], layout=scene.layout)

    def out():
        if "." in name or draw(st.integers(0, 2)) or (scene.form == "listed" and "backward_rois" in name):
            return None
        dtype, shape = _fitting(name, scene, None, arguments)
        content = {"array": {"dtype": dtype, "shape": shape, "memory": draw(MEMORY)}}
        if not scene.return_argmax or draw(st.booleans()):
            return content
        return {"tuple": [content, {"array": {**content["array"], "dtype": "int32"}}]}

    choices = {
        "features": lambda: arrays(draw, scene.dtype, scene.shape, kinds, layout=scene.layout),
        "grad_output": lambda: arrays(draw, grad_dtype, bins, gradients, layout=layout),
        "rois": lambda: rois,
        "batch_indices": lambda: batch_indices,
        "output_size": any_of(
            [rows, columns], {"tuple": [rows, columns]}, rows if rows == columns else list(size)
        ),
        "pooled_h": lambda: rows,
        "pooled_w": lambda: columns,
        "output_height": lambda: rows,
        "output_width": lambda: columns,
        "opset": any_of(10, 16, 22),
        "coordinate_transformation_mode": any_of(None, "half_pixel", "output_half_pixel"),
        "input_shape": any_of(in_layout, {"tuple": in_layout}),
        "argmax": argmax,
        "spatial_scale": any_of(scale, {"scalar": ["float64", scale]}, {"scalar": ["float32", scale]}),
        "sampling_ratio": any_of(ratio, ratio if abs(ratio) > 9 else {"scalar": ["int8", ratio]}),
        "aligned": any_of(False, True),
        "mode": lambda: scene.mode,
        "max_rule": lambda: scene.max_rule,
        "layout": lambda: scene.layout,
        "return_argmax": lambda: scene.return_argmax,
        "invalid": any_of("raise", "nan"),
        "angle_unit": any_of("degrees", "radians"),
        "clockwise": any_of(False, True),
        "rounding": any_of("round", "none", "whole"),
        "scales": any_of(1, 2, 3, 5, 40),
        "overlap": any_of(0, 0.25, 0.4, 0.9),
        "whiten": whiten,
        "aggregate": lambda: scene.aggregate,
        "eps": any_of(1e-12, 1e-30, 1.0),
        "is_test": any_of(0, 1, True, False),
        "position_sensitive": any_of(False, False, True),
        "max_idx_x": lambda: arrays(draw, "float32", scene.bins, ["numbered"]),
        "max_idx_y": lambda: arrays(draw, "float32", scene.bins, ["numbered"]),
        "out": out,
    }
    more = {}
    for parameter in parameters.values():
        value = choices[SYNONYMS.get(parameter.name, parameter.name)]()
        default = parameter.default
        if type(value) is not type(default) or value != default or draw(st.booleans()):
            arguments[parameter.name] = value
    if name in ("mxnet.ROIPooling_backward", "mxnet.MaxROIAlign_backward") and draw(st.booleans()):
        results = ["argmax"] if "Pooling" in name else ["max_idx_x", "max_idx_y"]
        more["forward"] = {"features": choices["features"](), "results": results}
    return arguments, more


def _fitting(name, scene, method, arguments):
    # dtype and shape of what fits as `out`
    grad, boxes = (_array_of(arguments.get(argument)) for argument in ("grad_output", "rois"))
    real = str(result_dtype(named_dtype(scene.dtype)))
    k, c, rows, columns = scene.bins
    n, _, height, width = scene.shape
    if "backward_rois" in (method or name):
        wide = boxes.get("dtype") in ("float64", "int32", "uint32", "int64")
        return "float64" if wide else "float32", boxes.get("shape", [k, scene.columns])
    if "backward" in (method or name):
        in_layout = [n, c, height, width] if scene.layout == "NCHW" else [n, height, width, c]
        return grad.get("dtype", real), in_layout
    return real, [k, c, rows, columns] if scene.layout == "NCHW" else [k, rows, columns, c]


def _array_of(description):
    # what is said about an array; nothing, where it is none
    while isinstance(description, dict) and description.keys() & {"array", "shared"}:
        description = description.get("shared") or description["array"]
    return description if isinstance(description, dict) else {}


@st.composite
def used(draw, scene, description):
    """A method of the plan that a function makes, called after its boxes have been overwritten."""
    real = str(result_dtype(named_dtype(scene.dtype)))
    function = description["function"].removesuffix("_plan")
    gradients = [name for name in ("backward", "backward_rois") if f"{function}_{name}" in FUNCTIONS]
    method = draw(st.sampled_from(["__call__", *gradients]))
    features = arrays(draw, scene.dtype, scene.shape, ["rising"], layout=scene.layout)
    gradient = arrays(draw, real, scene.bins, ["random"], layout=scene.layout)
    arguments = {"__call__": {"features": features}, "backward": {"grad_output": gradient}}.get(
        method, {"grad_output": gradient, "features": features}
    )
    if method != "__call__" and scene.mode == "max":
        arguments["argmax"] = arrays(draw, "int32", scene.bins, ["numbered"], layout=scene.layout)
    if method == "__call__" and scene.return_argmax:
        arguments["return_argmax"] = True
    description["method"] = method
    description["method_arguments"] = arguments
    if scene.max_rule == "onnx" and method != "__call__":
        description["good"] = False


@st.composite
def by_name(draw):
    """A call of an operator of Caffe2 by its name."""
    name = draw(
        st.sampled_from([name for name in caffe2.__all__ if name[:2] == "Ro" or name == "RMACRegions"])
    )
    function = f"caffe2.{name}"
    arguments, _ = draw(good_arguments(function, draw(scenes(function))))
    parameters = inspect.signature(FUNCTIONS[function]).parameters.values()
    inputs = [arguments.pop(p.name) for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    arguments = {"name": name, "inputs": inputs, **arguments}
    description = {"function": "caffe2.run_operator", "arguments": arguments, "good": False}
    if draw(st.booleans()):
        arguments[draw(st.sampled_from(["name", "inputs", "device", "order"]))] = draw(HOSTILE)
    return description


# ---------------------------------------------------------------- what does not belong in a call


@st.composite
def spoiled(draw, name, scene, description):
    """One argument of a call replaced, changed, added or left out."""
    where = (
        draw(st.sampled_from(["arguments", "method_arguments"])) if "method" in description else "arguments"
    )
    arguments = description[where] = dict(description[where])
    description["good"] = False
    parameters = (
        list(inspect.signature(FUNCTIONS[name]).parameters) if where == "arguments" else [*arguments, "out"]
    )
    victim = draw(st.sampled_from(parameters))
    meaning = SYNONYMS.get(victim, victim)
    kind = draw(st.integers(0, 9))
    if kind == 0:
        arguments.pop(victim, None)
    elif kind == 1:
        arguments["nothing"] = 1
    elif meaning in ("output_size", "pooled_h", "pooled_w"):
        most_absurd = [] if name in PLANS else [2**31 - 1] if meaning == "output_size" else []
        arguments[victim] = draw(st.sampled_from([*SIZES, *most_absurd]))
    elif meaning == "input_shape":
        arguments[victim] = draw(st.sampled_from(SHAPES if name in PLANS else [*SHAPES, *BEYOND_MEMORY]))
    elif meaning == "sampling_ratio":
        arguments[victim] = draw(st.sampled_from([-1, -(2**70), 2, 65537, 2**70, 2.0, True, None, "2", [2]]))
    elif meaning == "out" and kind < 7:
        arrays_here = {"features", "grad_output", "rois", "argmax", "batch_indices"} & arguments.keys()
        if arrays_here:
            dtype, shape = _fitting(name, scene, description.get("method"), arguments)
            content = {"name": draw(st.sampled_from(sorted(arrays_here))), "dtype": dtype, "shape": shape}
            arguments[victim] = {"over": {**content, "shift": 8 * draw(st.sampled_from([0, 1, 2, 5, 10**4]))}}
    elif isinstance(arguments.get(victim), dict) and "array" in arguments[victim] and kind < 7:
        content = dict(arguments[victim]["array"])
        change = draw(
            st.sampled_from(["dtype", "shape", "foreign", "writeable", "values", "repeat", "layout"])
        )
        if change == "dtype":
            content["dtype"] = draw(st.sampled_from(STRANGE_DTYPES))
        elif change == "shape" and "rows" not in content:
            content["shape"] = draw(st.permutations(content["shape"]) | st.just(content["shape"][1:]))
        elif change == "foreign":
            content["foreign"] = content["dtype"] != "bfloat16"
        elif change == "writeable":
            content["writeable"] = False
        elif change == "values" and "rows" not in content:
            content["values"] = "fill"
        elif change == "layout":
            content["layout"] = "NHWC"
        else:
            content["memory"] = {"repeat": True}
        arguments[victim] = {"array": content}
    else:
        arguments[victim] = draw(HOSTILE)
