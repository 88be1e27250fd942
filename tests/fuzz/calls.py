"""Calls of the public functions as plain descriptions, those that once failed among them.

A description is what a line of JSON can hold: a call that once failed can be kept (`seeds.jsonl`) and
made again whatever the versions of libraries are. `build` makes a `Call` of it.
"""

import fractions
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import strategies
from closeness import finfo

import roicy
from roicy.compat import caffe2, mxnet, onnx, torchvision

#: Calls that once failed, one in a line: they are made again in every run of the tests.
SEEDS = Path(__file__).with_name("seeds.jsonl")

#: All but those that say or set how roicy runs; `set_num_threads` is one of those, with an argument.
_OTHERS = "get_num_threads", "num_threads", "show_config", "set_output_cache", "empty_output_cache"
#: What takes the options of any operator: ``promises/test_windows.py`` asks it.
_OF_ANY = "rois_window", "rois_windows"
_OWN = [name for name in roicy.__all__ if name.islower() and name not in (*_OTHERS, *_OF_ANY)]
FUNCTIONS = {
    **{name: getattr(roicy, name) for name in _OWN},
    **{f"caffe2.{name}": getattr(caffe2, name) for name in caffe2.__all__ if name != "gradient_operator"},
    **{f"mxnet.{name}": getattr(mxnet, name) for name in mxnet.__all__},
    **{f"onnx.{name}": getattr(onnx, name) for name in onnx.__all__},
    **{f"torchvision.{name}": getattr(torchvision, name) for name in torchvision.__all__ if name.islower()},
}
PLANS = [name for name in FUNCTIONS if name.endswith("_plan")]

#: What others call the arguments of roicy.
SYNONYMS = {
    "X": "features",
    "data": "features",
    "input": "features",
    "boxes": "rois",
    "pooled_shape": "output_size",
    "dY": "grad_output",
    "out_grad": "grad_output",
    "argmaxes": "argmax",
    "order": "layout",
    "pooled_size": "output_size",
    "data_shape": "input_shape",
    "sample_ratio": "sampling_ratio",
}


def kept_seeds():
    """The descriptions of calls that once failed."""
    return [json.loads(line) for line in SEEDS.read_text().splitlines() if line.startswith("{")]


# ---------------------------------------------------------------- descriptions to calls

FENCE, FILL = 64, 0x7B  # bytes around an array's items, and what they and the gaps between items hold


class Call(NamedTuple):
    """A call that is about to be made."""

    name: str
    arguments: dict[str, Any]
    good: bool  # whether nothing hostile was put in: there is no error but about the values of arrays
    method: str | None  # of the plan that the function returns
    method_arguments: dict[str, Any]


def build(description):
    """The call of a description."""
    arguments, method_arguments = {}, {}
    for name, value in description["arguments"].items():
        arguments[name] = _value(value, arguments)
    if "forward" in description:
        arguments |= _chosen(description, arguments)
    for name, value in description.get("method_arguments", {}).items():
        method_arguments[name] = _value(value, method_arguments)
    method = description.get("method")
    return Call(description["function"], arguments, description["good"], method, method_arguments)


def _chosen(description, arguments):
    # What an operator returns beside its values, for the arguments of its gradient; none where it fails.
    names = description["forward"]["results"]
    forward = FUNCTIONS[description["function"].removesuffix("_backward")]
    shape = getattr(as_numpy(arguments.get("out_grad")), "shape", ())
    more = {"return_argmax": True} if names == ["argmax"] else {}
    features = _value(description["forward"]["features"], {})
    try:
        found = forward(features, arguments["rois"], shape[2:], arguments.get("spatial_scale", 1.0), **more)
    except (KeyError, TypeError, ValueError):
        return {}
    return dict(zip(names, found[1:], strict=True))


class Own(np.ndarray):
    """A kind of array that is none of NumPy's."""


class Shared:
    """An array of another library, of which nothing is known but how it shares its memory."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def as_numpy(value):
    """The array in NumPy's form, if it is one of another."""
    if isinstance(value, Shared):
        return value.array
    return np.asarray(value) if isinstance(value, memoryview) else value


ODD = {
    "object": object,
    "function": lambda: lambda rows: rows,
    "set": lambda: {1},
    "dict": dict,
    "bytes": lambda: b"NCHW",
    "complex": lambda: 2 + 0j,
    "fraction": lambda: fractions.Fraction(1, 2),
    "class": lambda: int,
    "objects": lambda: np.array([None, 1], object),
    "words": lambda: np.array(["a"]),
    "dates": lambda: np.array(["2020-01-01"], "datetime64[D]"),
    "records": lambda: np.zeros(3, [("x", "f4"), ("y", "i4")]),
    "masked": lambda: np.ma.masked_array(np.zeros((1, 5), np.float32), mask=True),
    "own": lambda: np.zeros((1, 5), np.float32).view(Own),
    "memory": lambda: memoryview(np.zeros((1, 5), np.float32)),
}


def _value(value, arguments):
    # Lists and tuples of descriptions; arrays; and what stands for itself.
    if isinstance(value, list):
        return [_value(item, arguments) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_value(item, arguments) for item in content)
    if kind == "odd":
        return ODD[content]()
    if kind == "scalar":
        return np.dtype(content[0]).type(content[1])
    if kind == "shared":
        return {"dlpack": Shared, "buffer": memoryview}[content["by"]](array(**content["array"]))
    if kind == "over":
        return _over(arguments, **content)
    return array(**content)


def array(
    dtype, shape, values="fill", rows=None, seed=0, layout="NCHW", memory=None, writeable=True, foreign=False
):
    """An array in memory of its own, between fences; shapes of feature maps are NCHW whatever the layout."""
    dtype = named_dtype(dtype)
    if rows is not None:
        with np.errstate(all="ignore"):
            numbers = np.array(rows, np.float64).reshape(shape).astype(dtype)
    else:
        wanted = ["fill", "numbered", "random"]
        if dtype.name in ("float16", "bfloat16", "float32", "float64", "uint8"):
            wanted += ["contested", "poisoned"] + ["rising"] * (len(shape) == 4)
        values = values if values in wanted else "random"
        numbers = VALUES[values](np.random.default_rng(seed), tuple(shape), dtype)
    if layout == "NHWC" and numbers.ndim == 4:
        numbers = numbers.transpose(0, 2, 3, 1)
    if foreign:
        numbers = numbers.astype(dtype.newbyteorder())
    placed = _place(numbers, **(memory or {}))
    placed.flags.writeable = writeable
    return placed


def named_dtype(name):
    if name == "bfloat16":
        return strategies.BFLOAT16[0] if strategies.BFLOAT16 else np.dtype(np.float32)
    return np.dtype(name)


def _place(numbers, order="C", step=1, flip=False, shift=0, pad=0, repeat=False):
    # `step` and `pad` leave gaps between items, `shift` moves all by some bytes, `repeat` has one row for all
    axes = list(range(numbers.ndim))
    axes = {"C": axes, "F": axes[::-1], "mixed": axes[1:] + axes[:1]}[order]
    strides, offset = [0] * numbers.ndim, FENCE + shift
    reach = numbers.itemsize + pad
    for axis in reversed(axes):
        if not (repeat and axis == axes[0]):
            strides[axis] = reach * step
            reach *= step * max(numbers.shape[axis], 1)
    if flip:
        offset += sum(abs(s) * max(n - 1, 0) for s, n in zip(strides, numbers.shape, strict=True))
        strides = [-stride for stride in strides]
    arena = np.full(reach + 2 * FENCE + shift, FILL, np.uint8)
    placed = np.ndarray(numbers.shape, numbers.dtype, arena, offset, strides)
    placed[...] = numbers
    return placed


def _over(arguments, name, dtype, shape, shift):
    # an array that begins so many bytes after another argument does, which moves into the same memory
    given = arguments.get(name)
    dtype, other = named_dtype(dtype), as_numpy(given[0] if isinstance(given, list) and given else given)
    size = math.prod(shape) * dtype.itemsize
    if not isinstance(other, np.ndarray) or other.dtype.kind not in "fiuV":
        return np.zeros(shape, dtype)
    arena = np.full(2 * FENCE + max(other.nbytes, shift + size), FILL, np.uint8)
    moved = np.ndarray(other.shape, other.dtype, arena, FENCE)
    moved[...] = other
    arguments[name] = [moved, *given[1:]] if isinstance(given, list) else moved
    return np.ndarray(shape, dtype, arena, FENCE + shift)


def poisoned(rng, shape, dtype):
    """Random values but for some channels of NaN, infinities, and the largest and the smallest numbers."""
    values = strategies.random_values(rng, shape, dtype)
    if dtype.kind not in "iub" and len(shape) == 4:
        info = finfo(dtype)
        worst = [np.nan, np.inf, -np.inf, float(info.max), -float(info.max), float(info.smallest_subnormal)]
        for channel in np.flatnonzero(rng.random(shape[1]) < 0.3):
            where = rng.random(values[:, channel].shape) < 0.5
            values[:, channel][where] = rng.choice(worst)
    return values


VALUES = {
    "fill": lambda rng, shape, dtype: np.full(shape, 7).astype(dtype),
    "numbered": lambda rng, shape, dtype: rng.integers(-1, 4, shape).astype(dtype),
    "random": strategies.random_values,
    "contested": strategies.contested_values,
    "rising": strategies.rising_values,
    "poisoned": poisoned,
}
