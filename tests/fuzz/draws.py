"""Calls of the public functions, good ones and hostile ones: what `test_fuzz` and `fuzz` draw."""

import inspect

import numpy as np
from hypothesis import strategies as st
from operators.test_fpn_levels import RULES
from strategies import FLOAT_DTYPES, SPATIAL_SCALES, result_dtype

from fuzz.calls import FUNCTIONS, PLANS, SYNONYMS, named_dtype
from fuzz.crops import crops
from fuzz.hostile import BEYOND_MEMORY, HOSTILE, MEMORY, SHAPES, SIZES, STRANGE_DTYPES
from fuzz.pastes import pastes
from fuzz.quads import quads
from fuzz.scenes import INDEX_DTYPES, arrays, described_boxes, maps_of, numbered, scenes, usual_values
from roicy.compat import caffe2

# Work grows with the square of the samples where a bin's maximum is looked for, or boxes turn or bins move.
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
    if name == "paste_masks":
        return draw(pastes())
    if name.startswith("crop_and_resize"):
        return draw(crops(name))
    if name == "crop_quads":
        return draw(quads())
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
    mild = scene.rotated or scene.mode == "max" or name.startswith("deform")
    ratio = draw(st.sampled_from(RATIOS if mild or scene.boxes > 2 else [*RATIOS, 17, 1000, 65536]))
    rois, batch_indices = draw(described_boxes(scene, scale, ratio))
    real = str(result_dtype(named_dtype(scene.dtype)))
    kinds = [usual_values(name, scene)] * 2 + ["poisoned"]
    in_layout = [scene.in_layout(shape) for shape in scene.maps]
    rows, columns = size = scene.output_size
    bins, layout = scene.result(name)
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
        return None if scene.mode == "avg" and "mode" in parameters else numbered(draw, scene)

    def of_bins(what, *shapes):
        # what moves or weights bins, or None, but for its own gradient
        if not name.endswith(f"_backward_{what}") and draw(st.integers(0, 3)) == 0:
            return None
        dtype = draw(st.sampled_from(["float32", "float32", "float64", "float16", "bfloat16", "int8"]))
        kinds = ["random", "random", "fill", "numbered", "poisoned"]
        return arrays(draw, dtype, [scene.boxes, *draw(st.sampled_from(shapes)), *size], kinds)

    def levels():
        rule = draw(st.sampled_from(RULES))
        if scene.merge == "sum" or draw(st.booleans()):
            return rule
        dtype = draw(st.sampled_from(INDEX_DTYPES))
        count, unusual = len(scene.maps), draw(st.integers(0, 7)) == 0
        level = st.sampled_from([-2, count, 2**31]) if unusual else st.integers(-1, count - 1)
        info = np.iinfo(dtype)
        found = [min(max(draw(level), int(info.min)), int(info.max)) for _ in range(scene.boxes)]
        return {"array": {"dtype": dtype, "shape": [scene.boxes], "rows": found, "memory": draw(MEMORY)}}

    def out():
        if "." in name or draw(st.integers(0, 2)):
            return None
        return fitting_out(draw, name, scene, arguments)

    choices = {
        "features": lambda: maps_of(draw, scene, kinds),
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
        "input_shape": any_of(in_layout[0], {"tuple": in_layout[0]}),
        "input_shapes": any_of(in_layout, {"tuple": in_layout}),
        "argmax": argmax,
        "spatial_scales": lambda: [scale / 2**level for level in range(len(scene.maps))],
        "levels": levels,
        "merge": lambda: scene.merge,
        "rule": any_of(*RULES),
        "num_levels": any_of(1, 2, 4, 64),
        "canonical_size": any_of(224, 4, 1.0, 37.5),
        "canonical_level": any_of(4, 0, -2, 60, -60),
        "finest_level": any_of(2, 0, -1),
        "image_size": any_of(None, None, {"tuple": [rows, 10]}),
        "rotated": lambda: scene.rotated,
        "spatial_scale": any_of(scale, {"scalar": ["float64", scale]}, {"scalar": ["float32", scale]}),
        "sampling_ratio": any_of(ratio, ratio if abs(ratio) > 9 else {"scalar": ["int8", ratio]}),
        "aligned": any_of(False, True),
        "mode": lambda: scene.mode,
        "max_rule": lambda: scene.max_rule,
        "layout": lambda: scene.layout,
        "return_argmax": lambda: scene.return_argmax,
        "invalid": any_of("raise", "nan"),
        "window": any_of(None, None, {"tuple": [0, 0, *scene.shape[2:]]}),  # the whole map
        "windows": lambda: draw(
            st.one_of(
                st.none(),
                st.tuples(
                    *(st.sampled_from([None, {"tuple": [0, 0, *shape[2:]]}]) for shape in scene.maps)
                ).map(list),
            )
        ),
        "angle_unit": any_of("degrees", "radians"),
        "clockwise": any_of(False, True),
        "rounding": any_of("round", "none", "whole"),
        "offsets": lambda: of_bins("offsets", [2]),
        "mask": lambda: of_bins("mask", [1], []),
        "gamma": any_of(0.1, 0, -0.5, 3.0, {"scalar": ["float32", 0.25]}),
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


def fitting_out(draw, name, scene, arguments):
    """What fits as `out` of a function; None where nothing does."""
    if scene.form == "listed" and ("backward_rois" in name or "backward_offsets" in name):
        return None

    def placed(dtype, shape):
        return {"array": {"dtype": dtype, "shape": shape, "memory": draw(MEMORY)}}

    dtype, shape = _fitting(name, scene, arguments)
    if scene.more_maps is not None and name.endswith("_backward"):
        return [placed(dtype, scene.in_layout(shape)) for shape in scene.maps]
    if not scene.return_argmax or "backward" in name or draw(st.booleans()):
        return placed(dtype, shape)
    summed = scene.more_maps is not None and scene.merge == "sum"
    chosen = placed("int32", [len(scene.maps), *shape] if summed else shape)
    return {"tuple": [placed(dtype, shape), chosen]}


def _fitting(name, scene, arguments):
    # dtype and shape of what fits as `out`, the first one of several
    grad, boxes = (_array_of(arguments.get(argument)) for argument in ("grad_output", "rois"))
    real = str(result_dtype(named_dtype(scene.dtype)))
    if "backward_rois" in name:
        wide = boxes.get("dtype") in ("float64", "int32", "uint32", "int64")
        return "float64" if wide else "float32", boxes.get("shape", [scene.boxes, scene.columns])
    if "backward_offsets" in name or "backward_mask" in name:
        of_bins = _array_of(arguments.get(name.rpartition("_")[2]))
        dtypes = {of_bins.get("dtype")} | ({boxes.get("dtype")} if "offsets" in name else set())
        wide = dtypes & {"float64", "int32", "uint32", "int64"}
        return "float64" if wide else "float32", of_bins.get("shape", [scene.boxes, 2, *scene.output_size])
    if "backward" in name:
        return grad.get("dtype", real), scene.in_layout(scene.shape)
    return real, scene.in_layout(scene.bins)


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
    names = "backward", "backward_rois", "backward_offsets", "backward_mask"
    gradients = [name for name in names if f"{function}_{name}" in FUNCTIONS]
    method = draw(st.sampled_from(["__call__", *gradients]))
    meant = function if method == "__call__" else f"{function}_{method}"
    parameters = inspect.signature(FUNCTIONS[meant]).parameters
    bins, layout = scene.result(function)
    arguments = {}
    choices = {
        "features": lambda: maps_of(draw, scene, [usual_values(meant, scene)]),
        "grad_output": lambda: arrays(draw, real, bins, ["random"], layout=layout),
        "argmax": lambda: numbered(draw, scene),
        "return_argmax": lambda: True,
        "out": lambda: fitting_out(draw, meant, scene, {**description["arguments"], **arguments}),
    }
    if scene.mode == "avg" and "mode" in parameters:
        del choices["argmax"]
    if not scene.return_argmax:
        del choices["return_argmax"]
    if draw(st.integers(0, 2)):
        del choices["out"]
    for name, choice in choices.items():
        if name in parameters:
            arguments[name] = choice()
    description["method"] = method
    description["method_arguments"] = arguments
    if scene.max_rule == "onnx" and method != "__call__":
        description["good"] = False
    if description["arguments"].get(method.removeprefix("backward_"), 0) is None:
        description["good"] = False  # there is nothing to have a gradient


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
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters)
    meant = name
    if where == "method_arguments":
        parameters = [*arguments, "out"]
        meant = f"{name.removesuffix('_plan')}_{description['method']}"
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
        arrays_here = {
            "features",
            "grad_output",
            "rois",
            "argmax",
            "batch_indices",
            "levels",
        } & arguments.keys()
        if arrays_here:
            dtype, shape = _fitting(meant, scene, arguments)
            content = {"name": draw(st.sampled_from(sorted(arrays_here))), "dtype": dtype, "shape": shape}
            over = {"over": {**content, "shift": 8 * draw(st.sampled_from([0, 1, 2, 5, 10**4]))}}
            fitting = fitting_out(draw, meant, scene, arguments)
            arguments[victim] = [over, *fitting[1:]] if isinstance(fitting, list) else over
    elif kind < 7 and _items(arguments.get(victim)):
        items = _items(arguments[victim])
        place = draw(st.integers(0, len(items) - 1))
        if meaning == "input_shapes":
            other = draw(st.sampled_from([*SHAPES, *BEYOND_MEMORY]))
        else:
            other = draw(changed(items[place]))
        some = [items[:place] + items[place + 1 :], [*items, items[place]]]
        arguments[victim] = draw(st.sampled_from([*some, [*items[:place], other, *items[place + 1 :]]]))
    elif kind < 7:
        arguments[victim] = draw(changed(arguments.get(victim)))
    else:
        arguments[victim] = draw(HOSTILE)


def _items(value):
    # of the description of a list or tuple
    return value.get("tuple") if isinstance(value, dict) else value if isinstance(value, list) else None


@st.composite
def changed(draw, value):
    """Something else in the place of a value, of an array another one that is like it."""
    if not isinstance(value, dict) or "array" not in value:
        return draw(HOSTILE)
    content = dict(value["array"])
    change = draw(st.sampled_from(["dtype", "shape", "foreign", "writeable", "values", "repeat", "layout"]))
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
    return {"array": content}
