"""hypothesis strategies: feature maps in every shape, dtype and memory layout, and boxes of every kind."""

import functools
import math
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import roicy
from roicy import _backend

try:
    import ml_dtypes

    BFLOAT16 = [np.dtype(ml_dtypes.bfloat16)]
except ImportError:
    BFLOAT16 = []


def given_some(*arguments):
    """`hypothesis.given` with a third of the examples, for the many tests that hold operators like others."""
    return lambda test: settings(max_examples=settings.default.max_examples // 3)(given(*arguments)(test))


FLOAT_DTYPES = [np.dtype(t) for t in ("float32", "float64", "float16")] + BFLOAT16
FEATURE_DTYPES = [*FLOAT_DTYPES, np.dtype("uint8")]
BOX_DTYPES = [np.dtype("float32"), np.dtype("float64")]

# Numbers of channels around those that kernels take at a time.
CHANNELS = [*range(1, 18), 31, 32, 33, 48, 63, 64, 65, 100]

OUTPUT_SIZES = [(1, 1), (7, 7), (2, 2), (3, 5), (1, 33), (14, 14), (9, 1)]
SAMPLING_RATIOS = [0, 1, 2, 3, 5, -1]
SPATIAL_SCALES = [1.0, 0.5, 0.25, 1 / 16, 0.7, 2.0]


def result_dtype(dtype):
    """The dtype of a result for features of a dtype."""
    return np.dtype("float32") if np.dtype(dtype).kind in "bui" else dtype


def random_values(rng, shape, dtype):
    """Values without a sign, so that no sum cancels and bounds relative to the largest one are fair."""
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if np.dtype(dtype).kind in "bui":
        return rng.integers(0, 2 if dtype == np.bool_ else 100, shape).astype(dtype)
    return rng.random(shape).astype(dtype)


def contested_values(rng, shape, dtype):
    """A handful of numbers, so that a maximum is often taken by several; NaN, infinities and both zeros."""
    if dtype == np.uint8:
        return rng.integers(0, 4, shape, dtype=np.uint8)
    numbers = [-2.0, -0.5, -0.0, 0.0, 1.0, 1.0, 3.0, np.nan, np.inf, -np.inf]
    weights = np.array([8, 8, 8, 8, 8, 8, 8, 4, 1, 4]) / 65
    # Maps of mostly NaN and -inf too: what is chosen where nothing can be?
    if rng.integers(4) == 0:
        weights = np.array([1, 0, 0, 0, 0, 0, 0, 20, 0, 20]) / 41
    return rng.choice(numbers, size=shape, p=weights).astype(dtype)


def distinct_values(rng, shape, dtype):
    """Whole numbers of both signs, no two of an image's channel alike as far as the dtype has enough."""
    n, c, height, width = shape
    count = height * width
    values = np.argsort(rng.random((n, c, count)), axis=2).reshape(shape)
    if dtype == np.uint8:
        return (values % 256).astype(np.uint8)
    return (values - count // 2).astype(dtype)


def rising_values(rng, shape, dtype):
    """Maps (N, C, H, W) that rise to the right and downwards by one to three per pixel, in uint8 by one.

    The gradient of a box is a sum of slopes; where they have the same sign it does not cancel. All values are
    whole numbers that the dtype holds, and lie around zero where it has a sign: a slope is a difference of
    values and inherits their rounding.
    """
    height, width = shape[2:]
    level = 2 * (np.arange(height)[:, None] + np.arange(width)) + rng.integers(0, 2, shape)
    if dtype == np.uint8:
        level = np.minimum(level // 2, 255)
    else:
        level -= height + width
    return level.astype(dtype)


# ---------------------------------------------------------------- memory layouts


def contiguous(array):
    return np.ascontiguousarray(array)


def reordered(array):
    """The same values with the axes in another order in memory: NHWC for an array of shape NCHW."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def column_major(array):
    return np.asfortranarray(array)


def flipped(array):
    return np.ascontiguousarray(array[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1]


def sliced(array):
    """A window with gaps in a larger array whose other elements are huge."""
    outer = [2 * n + 3 for n in array.shape]
    whole = np.full(outer, 251 if array.dtype == np.uint8 else 6e4, dtype=array.dtype)
    view = whole[tuple(slice(1, 1 + 2 * n, 2) for n in array.shape)]
    view[...] = array
    return view


def interleaved(array):
    """One field of an array of records: strides that are no multiple of the item size, unaligned items.

    Arrays on a CUDA device have no such items: there the other field is as large.
    """
    other = np.uint8 if _backend.cpu is roicy.cpu else array.dtype
    records = np.zeros(array.shape, dtype=[("other", other), ("values", array.dtype)])
    records["values"] = array
    return records["values"]


LAYOUTS = [contiguous, reordered, column_major, flipped, sliced, interleaved]


# ---------------------------------------------------------------- boxes


HUGE = [0.0, 1e9, -1e9, 1e30, -1e30, 3e38, -3e38]


def interval_kinds(length, *, huge):
    """Strategies for the two edges of a box along an axis of `length` pixels, by name.

    `huge`: edges far beyond the map, for which the reference may have more samples than it can look at.
    """
    whole = st.integers(-2, length + 2).map(float)
    borders = [-1.5, -1, -0.5, 0, 0.5, *(length + d for d in (-1.5, -1, -0.5, 0, 0.5, 1))]
    inside = st.floats(0, length, width=32)
    kinds = {
        "inside": st.tuples(inside, inside).map(sorted),
        "straddling": st.tuples(st.floats(-3, length / 2), st.floats(length / 2, length + 3)),
        "far right": st.tuples(*[st.floats(length + 1.5, length + 40)] * 2).map(sorted),
        "far left": st.tuples(*[st.floats(-40, -1.5)] * 2).map(sorted),
        "empty": inside.map(lambda a: (a, a)),
        "reversed": st.tuples(inside, inside).map(lambda ends: sorted(ends, reverse=True)),
        "whole map": st.just((0.0, float(length))),
        "whole numbers": st.tuples(whole, whole).map(sorted),
        "half pixels": st.tuples(whole, whole).map(lambda ends: sorted(a + 0.5 for a in ends)),
        "borders": st.tuples(*[st.sampled_from(borders)] * 2),
        "tiny": inside.map(lambda a: (a, a + 1e-3)),
    }
    if huge:
        kinds["huge"] = st.tuples(*[st.sampled_from(huge)] * 2)
    return kinds


@functools.cache
def _edges(length, huge):
    # made once: a strategy takes ten times as long to make as to draw from
    kinds = interval_kinds(length, huge=huge)
    return st.sampled_from(sorted(kinds)), kinds


@st.composite
def boxes(draw, count, height, width, dtype, *, spatial_scale=1.0, huge=()):
    """An array (count, 4) of boxes ``x1, y1, x2, y2`` that matter to a map of height x width pixels."""
    out = np.empty((count, 4), dtype)
    for k in range(count):
        for axis, length in enumerate((width, height)):
            names, kinds = _edges(length, tuple(huge or ()))
            low, high = draw(kinds[draw(names)])
            limit = float(np.finfo(dtype).max)
            out[k, axis] = np.clip(low / spatial_scale, -limit, limit)
            out[k, axis + 2] = np.clip(high / spatial_scale, -limit, limit)
    return out


# ---------------------------------------------------------------- whole problems


class Problem(NamedTuple):
    """A call of `roi_align`: features of shape NCHW, rois of shape (K, 5), an output size and options."""

    features: np.ndarray
    rois: np.ndarray
    output_size: tuple[int, int]
    options: dict

    @property
    def channels(self):
        """Those of the result."""
        return self.features.shape[1]

    def grad_output(self, seed=1):
        """Random gradients of the result."""
        shape = (len(self.rois), self.channels, *self.output_size)
        return random_values(np.random.default_rng(seed), shape, result_dtype(self.features.dtype))


class PositionSensitiveProblem(Problem):
    """One whose maps have a channel for each bin of each channel of the result."""

    @property
    def channels(self):
        return self.features.shape[1] // math.prod(self.output_size)


@st.composite
def feature_maps(draw, dtypes, most_channels, values, bins=1, like=None):
    """Feature maps of shape NCHW in any memory layout, sizes of zero included.

    With so many times as many channels for `bins`; with N, H and W as `like` has them, where that is given.
    """
    dtype = draw(st.sampled_from(dtypes))
    n, _, height, width = like or (
        draw(st.integers(1, 3)),
        0,
        draw(st.integers(0, 12)),
        draw(st.integers(0, 12)),
    )
    c = draw(st.integers(0, most_channels)) * bins
    seed = draw(st.integers(0, 2**16))
    features = values(np.random.default_rng(seed), (n, c, height, width), dtype)
    return draw(st.sampled_from(LAYOUTS))(features)


@st.composite
def on_images(draw, boxes, images):
    """Rows of `boxes` behind batch indices below `images`."""
    indices = draw(st.lists(st.integers(0, images - 1), min_size=len(boxes), max_size=len(boxes)))
    return np.column_stack([np.array(indices, boxes.dtype), boxes])


@st.composite
def problems(
    draw,
    *,
    dtypes=FEATURE_DTYPES,
    box_dtypes=BOX_DTYPES,
    output_sizes=OUTPUT_SIZES,
    most_channels=40,
    values=random_values,
):
    """Problems that are small enough for the reference."""
    features = draw(feature_maps(dtypes, most_channels, values))
    n, _, height, width = features.shape
    options = {
        "spatial_scale": draw(st.sampled_from(SPATIAL_SCALES)),
        "sampling_ratio": draw(st.sampled_from(SAMPLING_RATIOS)),
        "aligned": draw(st.booleans()),
    }
    count = draw(st.integers(0, 5))
    corners = draw(
        boxes(
            count,
            height,
            width,
            draw(st.sampled_from(box_dtypes)),
            spatial_scale=options["spatial_scale"],
            huge=HUGE if options["sampling_ratio"] > 0 else (),
        )
    )
    rois = draw(on_images(corners, n))
    return Problem(features, rois, draw(st.sampled_from(output_sizes)), options)


def largest_values(rng, shape, dtype):
    """The largest numbers of a dtype, whose averages may overflow on the way."""
    numbers = [1] if np.dtype(dtype).kind in "bui" else [float(np.finfo(dtype).max), -1.5, 1e-3]
    return rng.choice(np.array(numbers, dtype) if dtype != "bfloat16" else np.ones(1, dtype), shape)


def by_lists(function, features, *arguments, layout="NCHW", **options):
    """What tables with lists of taps give: those of parts of maps are, and this part is all of them."""
    height, width = features.shape[2:] if layout == "NCHW" else features.shape[1:3]
    return function(features, *arguments, window=(0, 0, height, width), layout=layout, **options)
