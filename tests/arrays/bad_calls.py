"""Calls that are wrong in one thing: an error that names the argument, and nothing is written."""

import inspect
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from closeness import bits
from operators import OPERATORS
from strategies import random_values

import roicy

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
    "offsets": np.zeros((BINS[0], 2, *BINS[2:]), np.float32),
    "mask": np.ones((BINS[0], 1, *BINS[2:]), np.float32),
}


def good_arguments(function):
    """Arguments for which a function of the package succeeds, by name: those that have to be given."""
    parameters = inspect.signature(function).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty]
    return {name: rois_of(function) if name == "rois" else GOOD[name] for name in needed}


#: Every function of a record, and its operator. Position-sensitive ones take other maps, crops take images.
OPERATOR_OF = {
    getattr(roicy, name): operator
    for operator in OPERATORS
    if not operator.position_sensitive
    for name in operator.functions
    if "rois" in inspect.signature(getattr(roicy, name)).parameters
}
FUNCTIONS = list(OPERATOR_OF)
ALONG_AXES = [function for function in FUNCTIONS if OPERATOR_OF[function].numbers == 4]
ROTATED = [function for function in FUNCTIONS if OPERATOR_OF[function].numbers == 5]
PLANS = [function for function in FUNCTIONS if function.__name__.endswith("_plan")]
WRITERS = [function for function in FUNCTIONS if function not in PLANS]
SLOPES = [function for function in FUNCTIONS if function.__name__.endswith("_backward_rois")]


def rois_of(function):
    return TURNED if function in ROTATED else ROIS


def that_take(name):
    """The functions that have a parameter."""
    return [function for function in FUNCTIONS if name in inspect.signature(function).parameters]


def out_for(function, arguments):
    """An array that fits as `out`, where the arguments are good enough to say what fits; None without one."""
    if function in PLANS:
        return None
    if function in SLOPES:
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


def other_byte_order(array):
    return array.astype(array.dtype.newbyteorder())


def as_array(memory, shape, dtype):
    """An array of a shape and of four bytes per item at the start of a piece of memory."""
    return memory[: int(np.prod(shape)) * 4].view(dtype).reshape(shape)
