"""A fixed set of problems, chosen so that their shapes lead the kernels through every one of their paths.

How a result is computed may depend on the number of channels, of boxes and of bins, on the layout and on the
dtype; what is computed may not. The tests of threads, CPU levels and layouts run this battery too.
"""

import functools
from typing import NamedTuple

import numpy as np
import reference
import reference_max
import reference_pool
import reference_rotated
from strategies import Problem, contested_values, random_values, result_dtype, rising_values

import roicy


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


def build(case, values=random_values):
    """The arrays of a case, features as a view of shape NCHW over memory in the layout of the case."""
    rng = np.random.default_rng(len(case.name) * 1000 + case.boxes)
    n, _, height, width = case.shape
    corners = random_boxes(rng, case.boxes, height, width) / case.spatial_scale
    rois = np.column_stack([rng.integers(n, size=case.boxes), corners]).astype(case.box_dtype)
    features = values(rng, case.shape, np.dtype(case.dtype))
    features = from_layout(np.ascontiguousarray(to_layout(features, case.layout)), case.layout)
    options = {
        "spatial_scale": case.spatial_scale,
        "sampling_ratio": case.sampling_ratio,
        "aligned": case.aligned,
    }
    return Problem(features, rois, case.output_size, options)


def grad_dtype(case):
    return result_dtype(np.dtype(case.dtype))


def to_layout(array, layout):
    """A view of an NCHW array in the order of axes of a layout."""
    return array if layout == "NCHW" else array.transpose(0, 2, 3, 1)


def from_layout(array, layout):
    """The NCHW view of an array in a layout."""
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def forward(case):
    """The package's result of a case, as NCHW."""
    problem = build(case)
    out = roicy.roi_align(
        to_layout(problem.features, case.layout),
        problem.rois,
        case.output_size,
        layout=case.layout,
        **problem.options,
    )
    return from_layout(out, case.layout)


def backward(case):
    """The package's gradient of a case with respect to the features, as NCHW."""
    problem = build(case)
    grad = roicy.roi_align_backward(
        to_layout(problem.grad_output(), case.layout),
        problem.rois,
        to_layout(problem.features, case.layout).shape,
        layout=case.layout,
        **problem.options,
    )
    return from_layout(grad, case.layout)


def backward_rois(case):
    """The package's gradient of a case with respect to the boxes."""
    problem = build(case, rising_values)
    return roicy.roi_align_backward_rois(
        to_layout(problem.grad_output(), case.layout),
        to_layout(problem.features, case.layout),
        problem.rois,
        layout=case.layout,
        **problem.options,
    )


# ---------------------------------------------------------------- rotated boxes


def turned_boxes(rng, corners):
    """Middles, sizes and angles of boxes: the given ones, turned by any angle and by quarters."""
    low, high = corners[:, :2], corners[:, 2:]
    angle = np.where(rng.random(len(corners)) < 0.8, rng.uniform(-200, 200, len(corners)), 90.0)
    return np.column_stack([(low + high) / 2, high - low, angle])


def rotated_rois(case):
    rois = build(case).rois
    boxes = turned_boxes(np.random.default_rng(case.boxes), rois[:, 1:].astype(np.float64))
    return np.column_stack([rois[:, 0], boxes]).astype(case.box_dtype)


def rotated_forward(case):
    """The package's averages over turned boxes, as NCHW."""
    problem = build(case)
    out = roicy.roi_align_rotated(
        to_layout(problem.features, case.layout),
        rotated_rois(case),
        case.output_size,
        layout=case.layout,
        **problem.options,
    )
    return from_layout(out, case.layout)


def rotated_backward(case):
    """Their gradient with respect to the features, as NCHW."""
    problem = build(case)
    grad = roicy.roi_align_rotated_backward(
        to_layout(problem.grad_output(), case.layout),
        rotated_rois(case),
        to_layout(problem.features, case.layout).shape,
        layout=case.layout,
        **problem.options,
    )
    return from_layout(grad, case.layout)


def rotated_backward_rois(case):
    """Their gradient with respect to the boxes."""
    problem = build(case, rising_values)
    return roicy.roi_align_rotated_backward_rois(
        to_layout(problem.grad_output(), case.layout),
        to_layout(problem.features, case.layout),
        rotated_rois(case),
        layout=case.layout,
        **problem.options,
    )


@functools.cache
def expected_rotated_forward(case):
    problem = build(case)
    rois = rotated_rois(case)
    return reference_rotated.roi_align_rotated(problem.features, rois, case.output_size, **problem.options)


@functools.cache
def expected_rotated_backward(case):
    problem = build(case)
    return reference_rotated.roi_align_rotated_backward(
        problem.grad_output(), rotated_rois(case), problem.features.shape, **problem.options
    )


@functools.cache
def expected_rotated_backward_rois(case):
    """The gradient, and the sums of its absolute terms."""
    problem = build(case, rising_values)
    return reference_rotated.roi_align_rotated_backward_rois(
        problem.grad_output(), problem.features, rotated_rois(case), **problem.options
    )


# ---------------------------------------------------------------- maxima


def bins_shape(case):
    return (case.boxes, case.shape[1], *case.output_size)


def max_forward(case, *, return_argmax=False):
    """The package's largest samples, as NCHW; with their indices if asked for."""
    problem = build(case)
    found = roicy.roi_align(
        to_layout(problem.features, case.layout),
        problem.rois,
        case.output_size,
        mode="max",
        layout=case.layout,
        return_argmax=return_argmax,
        **problem.options,
    )
    if return_argmax:
        return tuple(from_layout(array, case.layout) for array in found)
    return from_layout(found, case.layout)


def max_argmax(case):
    return max_forward(case, return_argmax=True)[1]


@functools.cache
def samples_of_bins(case):
    """How many samples a bin of each box has, (K, 1, 1, 1)."""
    problem = build(case)
    counts = []
    for _, x1, y1, x2, y2 in problem.rois:
        ends = ((y1, y2, case.output_size[0]), (x1, x2, case.output_size[1]))
        y, x = (reference.box_edge(*end, **problem.options) for end in ends)
        counts.append(y.count * x.count)
    return np.array(counts).reshape(-1, 1, 1, 1)


def sample_argmax(case):
    """An argmax that names any sample of each bin, or none."""
    rng = np.random.default_rng(case.boxes)
    limits = np.broadcast_to(samples_of_bins(case), bins_shape(case))
    return rng.integers(-1, limits).astype(np.int32)


def max_backward(case):
    """Gradient of samples chosen at random with respect to the features, as NCHW."""
    problem = build(case)
    grad = roicy.roi_align_backward(
        to_layout(problem.grad_output(), case.layout),
        problem.rois,
        to_layout(problem.features, case.layout).shape,
        mode="max",
        argmax=to_layout(sample_argmax(case), case.layout),
        layout=case.layout,
        **problem.options,
    )
    return from_layout(grad, case.layout)


def max_backward_rois(case):
    """Gradient of samples chosen at random with respect to the boxes."""
    problem = build(case, rising_values)
    return roicy.roi_align_backward_rois(
        to_layout(problem.grad_output(), case.layout),
        to_layout(problem.features, case.layout),
        problem.rois,
        mode="max",
        argmax=to_layout(sample_argmax(case), case.layout),
        layout=case.layout,
        **problem.options,
    )


@functools.cache
def expected_max_forward(case):
    problem = build(case)
    call = (problem.features, problem.rois, case.output_size)
    return reference_max.roi_align_max(*call, **problem.options)[0]


@functools.cache
def expected_max_backward(case):
    problem = build(case)
    return reference_max.roi_align_max_backward(
        problem.grad_output(), sample_argmax(case), problem.rois, case.shape, **problem.options
    )


@functools.cache
def expected_max_backward_rois(case):
    """The gradient, and the sums of its absolute terms."""
    problem = build(case, rising_values)
    return reference_max.roi_align_max_backward_rois(
        problem.grad_output(), sample_argmax(case), problem.features, problem.rois, **problem.options
    )


# ---------------------------------------------------------------- maxima of pixels


def pool_forward(case, *, return_argmax=False):
    """The package's largest pixels, as NCHW; with their indices if asked for."""
    problem = build(case, contested_values)
    found = roicy.roi_pool(
        to_layout(problem.features, case.layout),
        problem.rois,
        case.output_size,
        spatial_scale=case.spatial_scale,
        layout=case.layout,
        return_argmax=return_argmax,
    )
    if return_argmax:
        return tuple(from_layout(array, case.layout) for array in found)
    return from_layout(found, case.layout)


def pool_argmax(case):
    return pool_forward(case, return_argmax=True)[1]


def pixel_argmax(case):
    """An argmax that names any pixels, or none for some bins."""
    rng = np.random.default_rng(case.boxes)
    return rng.integers(-1, case.shape[2] * case.shape[3], bins_shape(case)).astype(np.int32)


def pool_backward(case):
    """Gradient of pixels chosen at random, as NCHW."""
    problem = build(case)
    grad = roicy.roi_pool_backward(
        to_layout(problem.grad_output(), case.layout),
        to_layout(pixel_argmax(case), case.layout),
        problem.rois,
        to_layout(problem.features, case.layout).shape,
        layout=case.layout,
    )
    return from_layout(grad, case.layout)


@functools.cache
def expected_pool(case):
    """Values and argmax."""
    problem = build(case, contested_values)
    return reference_pool.roi_pool(
        problem.features, problem.rois, case.output_size, spatial_scale=case.spatial_scale
    )


@functools.cache
def expected_pool_backward(case):
    problem = build(case)
    return reference_pool.roi_pool_backward(
        problem.grad_output(), pixel_argmax(case), problem.rois, case.shape
    )


# ---------------------------------------------------------------- averages


@functools.cache
def expected_forward(case):
    problem = build(case)
    return reference.roi_align(problem.features, problem.rois, case.output_size, **problem.options)


@functools.cache
def expected_backward(case):
    problem = build(case)
    shape = problem.features.shape
    return reference.roi_align_backward(problem.grad_output(), problem.rois, shape, **problem.options)


@functools.cache
def expected_backward_rois(case):
    problem = build(case, rising_values)
    return reference.roi_align_backward_rois(
        problem.grad_output(), problem.features, problem.rois, **problem.options
    )
