"""What pooling boxes from one map, and its gradients, return: by the references of the operators."""

import inspect
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import reference.average
import reference.maxima
import reference.rotated
from closeness import assert_close, assert_sums_close
from operators import DEFORM, MAX, OPERATORS, POOL, ROTATED
from strategies import result_dtype

from fuzz.arguments import (
    FLOATS,
    Meaningless,
    array_of,
    box_dtype,
    flag,
    input_shape_of,
    integer,
    map_of,
    nchw,
    rois_of,
    size_of,
    word,
)
from fuzz.calls import FUNCTIONS


class Expected(NamedTuple):
    """An array that a call returns."""

    shape: tuple[int, ...]
    dtype: np.dtype
    hold: Callable[[np.ndarray], None] | None = None  # an assertion on it, where it is known what it holds


# Samples that the references look at, one by one and whole arrays at a time.
SLOW_SAMPLES, SAMPLES = 1500, 200_000
#: Where the axes of NCHW are in a layout.
AXES = {"NCHW": (0, 1, 2, 3), "NHWC": (0, 2, 3, 1)}


def pooled(name, given):
    """What a function of one map returns, or one of its gradients."""
    problem = settled(name, given)
    if name.endswith("_backward"):
        return [gradient(problem)]
    if name.endswith("_backward_rois"):
        return of_rois(given.rois, problem, slopes(problem))
    if name.endswith(("_backward_offsets", "_backward_mask")):
        return of_bins(name.rpartition("_")[2], problem)
    return forward(problem)


# ---------------------------------------------------------------- what a call is about


def operator_of(function, given):
    """The record of a function and its mode."""
    own = [operator for operator in OPERATORS if operator.function == function]
    if hasattr(given, "mode"):
        mode, usual = word(given.mode, "avg", "max"), FUNCTIONS[function]
        usual = inspect.signature(usual).parameters["mode"].default
        own = [operator for operator in own if operator.options.get("mode", usual) == mode]
    return own[0]


def settled(name, given):
    """The arguments of a call, seen as NCHW."""
    function = name.partition("_backward")[0]
    operator = operator_of(function, given)
    layout = word(given.layout, "NCHW", "NHWC")
    invalid = word(given.invalid, "raise", "nan")
    features = map_of(given.features, layout) if hasattr(given, "features") else None
    grads = map_of(given.grad_output, layout, FLOATS) if hasattr(given, "grad_output") else None
    if features is not None:
        shape = features.shape
    else:
        shape = input_shape_of(given.input_shape)
        shape = shape if layout == "NCHW" else tuple(shape[axis] for axis in (0, 3, 1, 2))
    n, c = shape[:2]
    rois = rois_of(given.rois, given.batch_indices, n, operator.numbers)
    size = size_of(given.output_size) if grads is None else grads.shape[2:]
    if min(size) < 1:
        raise Meaningless("no bins")
    parts = math.prod(size) if operator.position_sensitive else 1  # of the maps for a channel of the bins
    bins = (len(rois), c // parts, *size)
    if c % parts:
        raise Meaningless("no channel for each bin")
    if grads is not None and grads.shape != bins:
        raise Meaningless("grad_output of another shape")
    if features is not None and grads is not None and grads.dtype != result_dtype(features.dtype):
        raise Meaningless("grad_output of another dtype")
    whole, moves = whole_rows(rois, n), {}
    if hasattr(given, "offsets"):
        rois, moves = moved(given, rois, size)
        for array in moves.values():
            if array is not None:
                whole &= np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if invalid == "raise" and not whole.all():
        raise Meaningless("an invalid row")

    options = options_of(function, given)
    rule = word(getattr(given, "max_rule", "bilinear"), "bilinear", "onnx")
    argmax = getattr(given, "argmax", None)
    if (argmax is not None) != (operator.has_argmax and grads is not None):
        raise Meaningless("argmax given or missing")
    if argmax is not None:
        argmax = map_of(argmax, layout, [np.dtype(np.int32)])
        if argmax.shape != bins:
            raise Meaningless("argmax of another shape")
        counted = slice(None) if operator is POOL else whole  # pixels are counted alike in all rows
        if not in_range(operator, argmax[counted], rois[counted], shape, size, options):
            raise Meaningless("argmax out of range")
    with_argmax = flag(getattr(given, "return_argmax", False))
    if with_argmax and (not operator.has_argmax or (operator is MAX and rule == "onnx")):
        raise Meaningless("no argmax")
    if with_argmax and operator is MAX:
        counts = (_counts(operator, roi, size, options) for roi in rois[whole])
        if any(min(pair) > 0 and math.prod(pair) > 2**31 - 1 for pair in counts):
            raise Meaningless("more samples than an argmax can count")
    limit = SAMPLES if operator in (MAX, ROTATED, DEFORM) else SLOW_SAMPLES
    return SimpleNamespace(
        operator=operator, features=features, grads=grads, rois=rois, whole=whole, size=size, bins=bins,
        parts=parts, argmax=argmax, options=options, shape=shape, layout=layout, with_argmax=with_argmax,
        rule={"rule": rule} if operator is MAX else moves, moves=moves,
        feasible=_work(operator, rois[whole], size, options) <= limit and usual_mask(moves.get("mask")),
    )  # fmt: skip


def moved(given, rois, size):
    """Boxes in the type that positions are computed in, and what moves and weights their bins."""
    found = {}
    for name, shapes in (("offsets", [(2, *size)]), ("mask", [(1, *size), size])):
        value = getattr(given, name)
        if value is not None:
            array = array_of(value)
            if array.shape not in [(len(rois), *shape) for shape in shapes]:
                raise Meaningless(f"{name} of another shape")
            value = array.astype(box_dtype(array))
        found[name] = value
    if found["offsets"] is not None:
        rois = rois.astype(np.result_type(rois, found["offsets"]))
        found["offsets"] = found["offsets"].astype(rois.dtype)
    if not abs(float(given.gamma)) <= np.finfo(rois.dtype).max:
        raise Meaningless("gamma")
    return rois, found


def usual_mask(mask):
    """Whether nothing overflows by a mask, and nothing cancels."""
    return mask is None or ((mask >= 0) & (mask < 1e4)).all()


def of_bins(what, problem):
    """The gradient with respect to offsets or mask."""
    like = problem.moves[what]
    if like is None:
        raise Meaningless("no gradient")
    return [Expected(like.shape, like.dtype)]


def whole_rows(rois, images):
    """Which rows are those of an image, and finite."""
    return np.array([reference.average.image_index(roi, images) is not None for roi in rois], bool)


def options_of(function, given):
    """The options of the geometry."""
    parameters = inspect.signature(FUNCTIONS[function]).parameters
    options = {"spatial_scale": float(getattr(given, "spatial_scale", 1.0))}
    if "rounding" in parameters:
        options["rounding"] = word(getattr(given, "rounding", "round"), "round", "none", "whole")
    if "sampling_ratio" in parameters:
        ratio = integer(given.sampling_ratio)
        if ratio > (128 if "rotated" in function or "deform" in function else 65536):
            raise Meaningless("sampling_ratio")
        options["sampling_ratio"] = max(ratio, 0)
    if "aligned" in parameters:
        options["aligned"] = flag(given.aligned)
    if "gamma" in parameters:
        options["gamma"] = float(given.gamma)
    if "angle_unit" in parameters:
        options["angle_unit"] = word(given.angle_unit, "degrees", "radians")
        options["clockwise"] = flag(given.clockwise)
    return options


def _counts(operator, roi, size, options):
    # samples of a bin along y and along x
    with np.errstate(all="ignore"):
        try:
            if operator is ROTATED:
                return reference.rotated.turned(roi[1:], size, **options).counts
            x1, y1, x2, y2 = roi[1:]
            if operator is DEFORM:
                options = {name: options[name] for name in ("spatial_scale", "sampling_ratio")} | {
                    "aligned": True
                }
            return tuple(
                reference.average.box_edge(*a, **options).count
                for a in ((y1, y2, size[0]), (x1, x2, size[1]))
            )
        except (OverflowError, ValueError):  # as many as an infinity or a NaN
            return math.inf, math.inf


def _work(operator, rois, size, options):
    total = 0
    for roi in rois if "sampling_ratio" in options else ():
        along_y, along_x = _counts(operator, roi, size, options)
        total += size[0] * size[1] * max(along_y, 1) * max(along_x, 1)
    return total


def in_range(operator, argmax, rois, shape, size, options):
    """Whether an argmax names what there is, or nothing."""
    if operator is POOL:
        return ((argmax >= -1) & (argmax < shape[2] * shape[3])).all()
    limits = [math.prod(_counts(operator, roi, size, options)) for roi in rois]
    return all((own >= -1).all() and (own < limit).all() for own, limit in zip(argmax, limits, strict=True))


# ---------------------------------------------------------------- what it returns


def clean(maps, parts=1):
    """Channels, of so many parts each, whose numbers are all finite and of a usual size."""
    values = maps.astype(np.float64)
    usual = np.isfinite(values) & (np.abs(values) < 1e4) & ((values == 0) | (np.abs(values) > 1e-4))
    return usual.all(axis=(0, 2, 3)).reshape(-1, parts).all(axis=1)


def _geometry(problem, ending=""):
    return problem.operator.geometry(problem, ending)


def values(problem, channels):
    """Values and argmax of some of the bins' channels; None where the reference cannot follow."""
    p = problem
    maps = p.features[:, np.repeat(channels, p.parts)]
    if not p.feasible or (not p.operator.exact and (maps < 0).any()):
        return None
    return p.operator.reference.forward(maps, p.rois, p.size, **_geometry(p), **p.rule)


def forward(problem):
    """Values and, where it is wanted, the argmax."""
    p = problem
    channels = np.ones(p.bins[1], bool) if p.operator.exact else clean(p.features, p.parts)
    wanted = values(p, channels)

    def hold(out):
        # without an argmax, the sign of a zero is free
        p.operator.hold(nchw(out, p.layout)[:, channels], wanted[0], signs_of_zeros=False)

    def hold_argmax(argmax):
        argmax = nchw(argmax, p.layout)
        if p.operator is POOL:
            np.testing.assert_array_equal(argmax, wanted[1])
        assert in_range(p.operator, argmax[p.whole], p.rois[p.whole], p.shape, p.size, p.options)
        assert (argmax[~p.whole] == -1).all()

    shape = tuple(p.bins[axis] for axis in AXES[p.layout])
    out = Expected(shape, result_dtype(p.features.dtype), hold if wanted else None)
    if not p.with_argmax:
        return [out]
    return [out, Expected(shape, np.dtype(np.int32), hold_argmax if p.feasible else None)]


def gradient(problem):
    """The gradient with respect to the features."""
    p = problem
    channels = clean(p.grads)
    maps = np.repeat(channels, p.parts)

    def hold(grad):
        grads, shape = p.grads[:, channels], (p.shape[0], int(maps.sum()), *p.shape[2:])
        argmax = None if p.argmax is None else p.argmax[:, channels]
        wanted = p.operator.reference.backward(
            grads, argmax, p.rois, shape, **_geometry(p, "_backward"), **p.moves
        )
        assert_close(nchw(grad, p.layout)[:, maps], wanted)

    known = p.feasible and not (p.grads[:, channels] < 0).any()
    return Expected(tuple(p.shape[axis] for axis in AXES[p.layout]), p.grads.dtype, hold if known else None)


def slopes(problem):
    """The gradient of boxes, and the sums of its absolute terms or None; None where it is not known."""
    p = problem
    maps, grads = p.features.astype(np.float64), p.grads.astype(np.float64)
    usual = clean(p.features).all() and clean(p.grads).all() and (grads >= 0).all()
    # slopes of one sign do not cancel; those of a level map are what the package's sums leave
    usual = usual and all((np.diff(maps, axis=axis) >= 0).all() for axis in (2, 3))
    usual = usual and (maps[:, :, -1:, -1:] > maps[:, :, :1, :1]).all()
    if not usual or not p.feasible:
        return None
    call = grads, p.argmax, p.features, p.rois
    return p.operator.reference.backward_rois(*call, **_geometry(p, "_backward_rois"))


def of_rois(rois, problem, known):
    """The gradient of boxes, as they were given, where it is known."""
    dtype, columns = problem.rois.dtype, problem.operator.numbers
    double = problem.features.dtype == np.float64 and dtype == np.float64
    precision = np.dtype("float64" if double else "float32")
    wanted, terms = known or (None, None)

    def hold_part(rows):
        def hold(grad):
            assert not grad[:, :-columns].any()
            if terms is not None:
                own, sums = grad[:, -columns:].astype(np.float64), terms[rows, 1:]
                # pixels that are all equal: what the package adds up cancels, the reference has no terms; and
                # what is too small for the type of the sums becomes 0
                usual = sums > np.finfo(precision).tiny
                assert_sums_close(own[usual], wanted[rows, 1:][usual], sums[usual], precision.name)
            elif wanted is not None:
                scale = np.abs(wanted).max(initial=0)
                assert_close(grad[:, -columns:].astype(precision), wanted[rows, 1:], scale=scale)

        return hold

    images = len(problem.features)
    if isinstance(rois, (list, tuple)) and not rois and images:  # no boxes; no list of arrays
        return [Expected((0, columns + (images > 1)), dtype, hold_part(slice(None)))]
    if not isinstance(rois, (list, tuple)):
        return [Expected(array_of(rois).shape, dtype, hold_part(slice(None)))]
    ends = np.cumsum([len(array) for array in rois])
    parts = [slice(end - len(array), end) for end, array in zip(ends, rois, strict=True)]
    return [Expected((part.stop - part.start, columns), dtype, hold_part(part)) for part in parts]
