"""A fixed set of problems, chosen so that their shapes lead the kernels through every one of their paths.

How a result is computed may depend on the number of channels, of boxes and of bins, on the layout and on the
dtype; what is computed may not. The tests of threads, CPU levels and layouts run this battery too.
"""

import functools
import hashlib
import math
import os
import pickle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from closeness import assert_close
from strategies import result_dtype, rising_values


class Case(NamedTuple):
    name: str
    shape: tuple[int, int, int, int]  # N, C, H, W
    boxes: int
    output_size: tuple[int, int]
    sampling_ratio: int
    layout: str = "NCHW"
    dtype: str = "float32"
    box_dtype: str = "float32"
    aligned: bool = True
    spatial_scale: float = 0.25


CASES = [
    # A few boxes on a large map: reading the whole map would cost more than the boxes.
    Case("one-box", (1, 32, 50, 60), 1, (7, 7), 0),
    Case("two-boxes-odd-channels", (2, 17, 50, 60), 2, (14, 14), 2, aligned=False),
    Case("three-boxes-float16", (1, 256, 40, 40), 3, (7, 7), 2, dtype="float16"),
    Case("three-boxes-float64", (1, 40, 50, 60), 3, (3, 5), 3, dtype="float64", box_dtype="float64"),
    Case("one-box-mixed-precision", (1, 20, 30, 40), 1, (7, 7), 5, dtype="float64"),
    # Many boxes that cover the map many times.
    Case("many-boxes", (1, 24, 30, 40), 200, (7, 7), 2),
    Case("many-boxes-adaptive", (2, 16, 30, 40), 220, (7, 7), 0, aligned=False, spatial_scale=0.7),
    Case("many-boxes-one-bin", (1, 5, 30, 40), 250, (1, 1), 0),
    Case("many-boxes-flat-bins", (3, 33, 30, 40), 200, (1, 33), 1),
    Case("many-boxes-mask", (1, 16, 30, 40), 200, (14, 14), 1, box_dtype="float64"),
    Case("many-boxes-float64", (1, 9, 30, 40), 200, (3, 5), 2, dtype="float64", box_dtype="float64"),
    Case("many-boxes-uint8", (1, 19, 30, 40), 200, (3, 5), 2, dtype="uint8"),
    # Few channels and large crops, as from photos.
    Case("gray-crops", (1, 1, 70, 90), 3, (64, 80), 1),
    Case("two-channel-crops", (1, 2, 70, 90), 3, (64, 80), 1, aligned=False),
    Case("photo-crops", (2, 3, 70, 90), 4, (64, 80), 0, dtype="uint8"),
    Case("photo-crops-nhwc", (1, 3, 70, 90), 3, (64, 80), 1, layout="NHWC", dtype="uint8"),
    Case("photo-crops-float-nhwc", (1, 3, 70, 90), 3, (64, 80), 2, layout="NHWC"),
    Case("four-channel-crops", (1, 4, 70, 90), 2, (80, 64), 2, dtype="float16"),
    # Channels last: whole blocks of channels, blocks that are not full, and both.
    Case("nhwc-8", (1, 8, 30, 40), 60, (7, 7), 2, layout="NHWC"),
    Case("nhwc-16", (2, 16, 30, 40), 60, (7, 7), 0, layout="NHWC", aligned=False),
    Case("nhwc-17", (1, 17, 30, 40), 60, (14, 14), 1, layout="NHWC"),
    Case("nhwc-40", (1, 40, 30, 40), 40, (3, 5), 5, layout="NHWC", dtype="float16"),
    Case("nhwc-256", (1, 256, 30, 40), 3, (7, 7), 2, layout="NHWC"),
    Case("nhwc-float64", (1, 17, 30, 40), 40, (7, 7), 2, layout="NHWC", dtype="float64", box_dtype="float64"),
]
CASE_IDS = [case.name for case in CASES]

# One case of each kind, for tests that repeat the work several times.
SELECTION = [
    case
    for case in CASES
    if case.name
    in (
        "one-box",
        "three-boxes-float16",
        "many-boxes",
        "many-boxes-float64",
        "photo-crops",
        "photo-crops-float-nhwc",
        "nhwc-17",
        "nhwc-256",
    )
]
SELECTION_IDS = [case.name for case in SELECTION]


#: Of cases that differ in their boxes alone the first, for operators that have none.
MAPS = list({(case.shape, case.layout, case.dtype): case for case in reversed(CASES)}.values())


def takes(operator, case, most=2**21):
    """Whether the maps of a case have a size for the operator: so many pixels for all bins."""
    if not operator.boxed:  # gradients of half precision are rounded between their steps
        return case.dtype != "float16" and (case in MAPS or case not in CASES)
    return (
        math.prod(operator.map_shape(case.shape, case.output_size)) <= most or not operator.position_sensitive
    )


def random_boxes(rng, count, height, width, *, reversed_edges=True):
    """Boxes of all kinds in feature pixels: most of them inside, the others at, over and off the borders."""
    out = np.empty((count, 4))
    for k in range(count):
        for axis, length in enumerate((width, height)):
            low, high = np.sort(rng.uniform(0, length, 2))
            kind = rng.integers(18)
            if kind == 0:
                low, high = rng.uniform(-4, length / 2), rng.uniform(length / 2, length + 4)
            elif kind == 1:
                low, high = np.sort(rng.uniform(length + 1.5, length + 20, 2))
            elif kind == 2:
                low, high = np.sort(rng.uniform(-20, -1.5, 2))
            elif kind == 3:
                high = low
            elif kind == 4 and reversed_edges:
                low, high = high, low
            elif kind == 5:
                low, high = 0, length
            elif kind == 6:
                low, high = np.sort(rng.integers(-2, length + 3, 2))
            elif kind == 7:
                low, high = np.sort(rng.integers(-2, length + 3, 2)) + 0.5
            elif kind == 8:
                high = low + 1e-3
            out[k, axis], out[k, axis + 2] = low, high
    return out


def build(operator, case, values=None):
    """The arrays of a case, features as a view of shape NCHW over memory in the layout of the case."""
    rng = np.random.default_rng(len(case.name) * 1000 + case.boxes)
    n, _, height, width = case.shape
    corners = random_boxes(rng, case.boxes, height, width) / case.spatial_scale
    images = rng.integers(n, size=case.boxes)
    # corners are what the dtype of the boxes makes of them, also where boxes are said otherwise
    corners = corners.astype(case.box_dtype)
    rois = operator.rois(np.random.default_rng(case.boxes), images, corners, case.box_dtype)
    shape = operator.map_shape(case.shape, case.output_size)
    features = (values or operator.values)(rng, shape, np.dtype(case.dtype))
    features = from_layout(np.ascontiguousarray(to_layout(features, case.layout)), case.layout)
    options = {
        "spatial_scale": case.spatial_scale,
        "sampling_ratio": case.sampling_ratio,
        "aligned": case.aligned,
    }
    return operator.problem(features, rois, case.output_size, options)


def grad_dtype(case):
    return result_dtype(np.dtype(case.dtype))


def to_layout(array, layout):
    """A view of an NCHW array in the order of axes of a layout."""
    return array if layout == "NCHW" else array.transpose(0, 2, 3, 1)


def from_layout(array, layout):
    """The NCHW view of an array in a layout."""
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


# ---------------------------------------------------------------- the package's results, as NCHW


def forward(operator, case):
    """What is pooled."""
    problem = build(operator, case)
    features = to_layout(problem.features, case.layout)
    out = operator.forward(features, problem.rois, case.output_size, layout=case.layout, **problem.options)
    return from_layout(out, case.layout)


def both(operator, case):
    """What is pooled, and the argmax that comes with it."""
    problem = build(operator, case)
    features = to_layout(problem.features, case.layout)
    found = operator.both(features, problem.rois, case.output_size, layout=case.layout, **problem.options)
    return tuple(array if array is None else from_layout(array, case.layout) for array in found)


def argmax(operator, case):
    return both(operator, case)[1]


def backward(operator, case):
    """The gradient with respect to the features; of maxima, of any samples or pixels."""
    problem = build(operator, case)
    chosen = operator.chosen(problem, case.boxes)
    grad = operator.gradient(
        to_layout(problem.grad_output(), case.layout),
        to_layout(problem.features, case.layout),
        problem.rois,
        chosen if chosen is None else to_layout(chosen, case.layout),
        layout=case.layout,
        **problem.options,
    )
    return from_layout(grad, case.layout)


def backward_rois(operator, case):
    """The gradient with respect to the boxes; of maxima, of any samples."""
    problem = build(operator, case, rising_values)
    chosen = operator.chosen(problem, case.boxes)
    return operator.backward_rois(
        to_layout(problem.grad_output(), case.layout),
        to_layout(problem.features, case.layout),
        problem.rois,
        chosen if chosen is None else to_layout(chosen, case.layout),
        layout=case.layout,
        **problem.options,
    )


def functions(operator):
    """All of these that an operator has."""
    names = [forward, backward, *[backward_rois] * operator.has_slopes, *[argmax] * operator.has_argmax]
    return [functools.partial(function, operator) for function in names]


# ---------------------------------------------------------------- what they should be

#: The environment variable that names a folder for what the references say, which processes of a run share.
SHARED = "ROICY_TEST_SHARED"


def once(reference):
    """Compute each case of a reference once; the first process that needs it stores it for the others."""

    @functools.cache
    def answer(operator, case):
        if SHARED not in os.environ:
            return reference(operator, case)
        key = hashlib.sha256(repr((reference.__name__, operator, case)).encode()).hexdigest()
        path = Path(os.environ[SHARED], key)
        if path.exists():
            return pickle.loads(path.read_bytes())
        found = reference(operator, case)
        writing = path.with_suffix(f".{os.getpid()}")
        writing.write_bytes(pickle.dumps(found))
        writing.replace(path)
        return found

    return answer


@once
def expected(operator, case):
    """Values and argmax, or None."""
    return operator.expected(build(operator, case))


@once
def expected_backward(operator, case):
    problem = build(operator, case)
    return operator.expected_backward(problem, problem.grad_output(), operator.chosen(problem, case.boxes))


@once
def expected_backward_rois(operator, case):
    """The gradient, and the sums of its absolute terms or None."""
    problem = build(operator, case, rising_values)
    chosen = operator.chosen(problem, case.boxes)
    return operator.expected_backward_rois(problem, problem.grad_output(), chosen)


def check(operator, case, name, result):
    """Hold the result of a function of these against the reference."""
    if name == "forward":
        operator.hold(result, expected(operator, case)[0], signs_of_zeros=not operator.has_argmax)
    elif name == "argmax":
        if operator.exact:  # else samples may be as good as equal
            np.testing.assert_array_equal(result, expected(operator, case)[1])
    elif name == "backward":
        assert_close(result, expected_backward(operator, case))
    else:
        operator.hold_slopes(result, expected_backward_rois(operator, case), np.dtype(case.dtype))
