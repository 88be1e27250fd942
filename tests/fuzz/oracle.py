"""What becomes of any call of a public function: which results, or that there can be none.

The same questions as in the package, asked again and as plainly as possible: `expected` looks at arguments
that the package has accepted, raises `Meaningless` if there is no way to understand them, and else says what
the references make of them, where the problem is small enough for these.
"""

import inspect
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import reference.average
import reference.maxima
import reference.pool
import reference.rotated
from closeness import assert_close, assert_same_bits, assert_sums_close
from strategies import result_dtype

from fuzz.arguments import (
    FLOATS,
    Meaningless,
    array_of,
    flag,
    input_shape_of,
    integer,
    map_of,
    nchw,
    rois_of,
    size_of,
    word,
)
from fuzz.calls import FUNCTIONS, PLANS, SYNONYMS


class Expected(NamedTuple):
    """An array that a call returns."""

    shape: tuple[int, ...]
    dtype: np.dtype
    hold: Callable[[np.ndarray], None] | None = None  # an assertion on it, where it is known what it holds


# Samples that the references look at, one by one and whole arrays at a time.
SLOW_SAMPLES, SAMPLES = 1500, 200_000


def expected(call):
    """A list of what a call returns; None for anything that is not looked at more closely."""
    name, given = _as_roicy(call)
    if name is None:
        return None
    if name in PLANS:
        name, given = _of_plan(name, given, call)
        if name is None:
            return None
    if name == "rmac_regions":
        return _regions(given)
    if name == "roi_align_argmax_positions":
        return _positions(given)
    if name.startswith("rmac"):
        return _descriptors(name, given)
    return _pooled(name, given)


def bound(function, arguments, *, first=()):
    """Arguments by their names, those that are not given included."""
    try:
        found = inspect.signature(function).bind(*first, **arguments)
    except TypeError as error:
        raise Meaningless(str(error)) from None
    found.apply_defaults()
    return SimpleNamespace(**found.arguments)


# ---------------------------------------------------------------- other systems and plans

# Those whose results are roicy's own, if the options that they treat in their own way are not used.
SAME_AS = {
    "caffe2.RoIAlign": "roi_align",
    "caffe2.RoIAlignGradient": "roi_align_backward",
    "caffe2.RoIAlignRotated": "roi_align_rotated",
    "caffe2.RoIAlignRotatedGradient": "roi_align_rotated_backward",
    "caffe2.RoIPool": "roi_pool",
    "onnx.MaxRoiPool": "roi_pool",
    "torchvision.roi_align": "roi_align",
    "torchvision.roi_align_backward": "roi_align_backward",
    "torchvision.roi_pool": "roi_pool",
    "torchvision.roi_pool_backward": "roi_pool_backward",
    "mxnet.ROIAlign": "roi_align",
    "mxnet.ROIAlign_backward": "roi_align_backward",
}


def _as_roicy(call):
    given = bound(FUNCTIONS[call.name], call.arguments)
    if "." not in call.name:
        return (None, None) if call.name == "set_num_threads" else (call.name, given)
    name = SAME_AS.get(call.name)
    if name is None or getattr(given, "aligned", False) or getattr(given, "position_sensitive", False):
        return None, None
    same = {SYNONYMS.get(key, key): value for key, value in vars(given).items()}
    for key in ("aligned", "position_sensitive"):
        same.pop(key, None)
    if "pooled_h" in same:
        same["output_size"] = same.pop("pooled_h"), same.pop("pooled_w")
    if "is_test" in same:
        same["return_argmax"] = not same.pop("is_test")
    held = not call.name.startswith("torchvision.")
    if held and isinstance(same.get("spatial_scale"), (float, np.floating)):
        same["spatial_scale"] = float(np.float32(same["spatial_scale"]))  # as those systems hold it
    rois = same["rois"]
    if call.name.startswith("torchvision.") and isinstance(rois, (list, tuple)):
        images = same["input_shape"][0] if "input_shape" in same else len(array_of(same["features"]))
        if images > 1000:
            return None, None
        same["rois"] = [*rois, *[np.empty((0, 4), np.float32)] * (images - len(rois))]  # of the first images
    if name.endswith("backward"):
        same.pop("output_size", None)
        if "features" in same:
            same["input_shape"] = array_of(same.pop("features")).shape
    if call.name.startswith("mxnet.") and (np.asarray(rois[:, 0]).astype(float) <= -1).any():
        return None, None  # boxes that are left out
    if (
        call.name.startswith("caffe2.")
        and rois.ndim == 2
        and rois.shape[1] == (5 if "rotated" in name else 4)
    ):
        return None, None  # boxes of image 0
    if not name.startswith("roi_pool"):
        same["aligned"] = False
    return name, bound(FUNCTIONS[name], same)


def _of_plan(name, given, call):
    # the function that a plan's method stands for, with the arguments of both
    both = {key: value for key, value in vars(given).items() if key not in ("input_shape", "output_size")}
    method = SimpleNamespace(**{"out": None, "argmax": None, "return_argmax": False, **call.method_arguments})
    function = name.removesuffix("_plan")
    layout = word(given.layout, "NCHW", "NHWC")
    shape, size = input_shape_of(given.input_shape), size_of(given.output_size)
    if call.method == "__call__":
        if array_of(method.features).shape != shape:
            raise Meaningless("features of another shape")
        more = {"features": method.features, "output_size": given.output_size}
        if "return_argmax" in inspect.signature(FUNCTIONS[function]).parameters:
            more["return_argmax"] = method.return_argmax
    else:
        bins = array_of(method.grad_output).shape
        if (bins[2:] if layout == "NCHW" else bins[1:3]) != size:
            raise Meaningless("grad_output of another size")
        more = {"grad_output": method.grad_output, "input_shape": shape}
        if call.method == "backward_rois":
            if array_of(method.features).shape != shape:
                raise Meaningless("features of another shape")
            more = {"grad_output": method.grad_output, "features": method.features}
        function += f"_{call.method}"
        parameters = inspect.signature(FUNCTIONS[function]).parameters
        if "argmax" in parameters:
            more["argmax"] = method.argmax
        if both.get("max_rule") == "onnx" and both["mode"] == "max":
            raise Meaningless("no gradient")
        both = {key: value for key, value in both.items() if key in parameters}
    return function, bound(FUNCTIONS[function], {**both, **more, "out": method.out})


# ---------------------------------------------------------------- pooling and its gradients


def _pooled(name, given):
    rotated, pool = "rotated" in name, name.startswith("roi_pool")
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
    rois = rois_of(given.rois, given.batch_indices, n, 5 if rotated else 4)
    size = size_of(given.output_size) if grads is None else grads.shape[2:]
    bins = (len(rois), c, *size)
    if min(size) < 1 or (grads is not None and grads.shape != bins):
        raise Meaningless("grad_output of another shape")
    if features is not None and grads is not None and grads.dtype != result_dtype(features.dtype):
        raise Meaningless("grad_output of another dtype")
    whole = np.array([reference.average.image_index(roi, n) is not None for roi in rois], bool)
    if invalid == "raise" and not whole.all():
        raise Meaningless("an invalid row")

    options = _options(name, given)
    mode = word(getattr(given, "mode", "avg"), "avg", "max")
    if pool:
        mode = "mean" if mode == "avg" else "pool"
    rule = word(getattr(given, "max_rule", "bilinear"), "bilinear", "onnx")
    argmax = getattr(given, "argmax", None)
    averages = mode in ("avg", "mean")
    if (argmax is not None) != (not averages and grads is not None):
        raise Meaningless("argmax given or missing")
    if argmax is not None:
        argmax = map_of(argmax, layout, [np.dtype(np.int32)])
        if argmax.shape != bins:
            raise Meaningless("argmax of another shape")
        counted = slice(None) if mode == "pool" else whole  # pixels are counted alike in all rows
        if not _in_range(argmax[counted], mode, rois[counted], shape, size, options):
            raise Meaningless("argmax out of range")
    with_argmax = flag(getattr(given, "return_argmax", False))
    if with_argmax and (averages or (mode == "max" and rule == "onnx")):
        raise Meaningless("no argmax")
    if with_argmax and mode == "max":
        counts = (_counts(roi, size, False, options) for roi in rois[whole])
        if any(min(pair) > 0 and math.prod(pair) > 2**31 - 1 for pair in counts):
            raise Meaningless("more samples than an argmax can count")

    work = _work(rois[whole], size, mode, rotated, options) if not pool else 0
    limit = SAMPLES if rotated or mode == "max" else SLOW_SAMPLES
    problem = SimpleNamespace(
        features=features, grads=grads, rois=rois, size=size, argmax=argmax, options=options,
        shape=shape, layout=layout, rule=rule, mode=mode, rotated=rotated, feasible=work <= limit,
    )  # fmt: skip
    order = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    if grads is None:
        out = Expected(tuple(bins[axis] for axis in order), result_dtype(features.dtype), _forward(problem))
        if not with_argmax:
            return [out]
        return [out, Expected(out.shape, np.dtype(np.int32), _argmax(problem))]
    if name.endswith("backward"):
        return [Expected(tuple(shape[axis] for axis in order), grads.dtype, _backward(problem))]
    return _backward_rois(problem, given.rois)


def _positions(given):
    layout = word(given.layout, "NCHW", "NHWC")
    argmax = map_of(given.argmax, layout, [np.dtype(np.int32)])
    images = len(given.rois) if isinstance(given.rois, (list, tuple)) else 1
    rois, size = rois_of(given.rois, None, images, 4), argmax.shape[2:]
    if len(rois) != len(argmax) or min(size) < 1:
        raise Meaningless("argmax of another shape")
    options = _options("roi_align", given)
    whole = np.isfinite(rois[:, 1:]).all(axis=1)
    if word(given.invalid, "raise", "nan") == "raise" and not whole.all():
        raise Meaningless("an invalid row")
    if not _in_range(argmax[whole], "max", rois[whole], None, size, options):
        raise Meaningless("argmax out of range")

    def hold_axis(axis):
        def hold(found):
            wanted = reference.maxima.positions(argmax, np.where(whole[:, None], rois, np.nan), **options)[
                axis
            ]
            assert_same_bits(nchw(found, layout), wanted)

        return hold

    shape = tuple(argmax.shape[axis] for axis in ((0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)))
    return [Expected(shape, rois.dtype, hold_axis(axis)) for axis in (0, 1)]


def _options(name, given):
    # those of the geometry
    options = {"spatial_scale": float(getattr(given, "spatial_scale", 1.0))}
    if name.startswith("roi_pool"):
        rounding = word(getattr(given, "rounding", "round"), "round", "none", "whole")
        return {**options, "rounding": rounding}
    ratio = integer(given.sampling_ratio)
    if ratio > (128 if "rotated" in name else 65536):
        raise Meaningless("sampling_ratio")
    options |= {"sampling_ratio": max(ratio, 0), "aligned": flag(given.aligned)}
    if "rotated" in name:
        options["angle_unit"] = word(given.angle_unit, "degrees", "radians")
        options["clockwise"] = flag(given.clockwise)
    return options


def _counts(roi, size, rotated, options):
    # samples of a bin along y and along x
    with np.errstate(all="ignore"):
        try:
            if rotated:
                return reference.rotated.turned(roi[1:], size, **options).counts
            x1, y1, x2, y2 = roi[1:]
            return tuple(
                reference.average.box_edge(*a, **options).count
                for a in ((y1, y2, size[0]), (x1, x2, size[1]))
            )
        except (OverflowError, ValueError):  # as many as an infinity or a NaN
            return math.inf, math.inf


def _work(rois, size, mode, rotated, options):
    total = 0
    for roi in rois:
        along_y, along_x = _counts(roi, size, rotated, options)
        total += size[0] * size[1] * max(along_y, 1) * max(along_x, 1)
    return total


def _in_range(argmax, mode, rois, shape, size, options):
    if mode == "pool":
        return ((argmax >= -1) & (argmax < shape[2] * shape[3])).all()
    limits = [math.prod(_counts(roi, size, False, options)) for roi in rois]
    return all((own >= -1).all() and (own < limit).all() for own, limit in zip(argmax, limits, strict=True))


def _clean(maps):
    # channels whose numbers are all finite and of a usual size
    values = maps.astype(np.float64)
    usual = np.isfinite(values) & (np.abs(values) < 1e4) & ((values == 0) | (np.abs(values) > 1e-4))
    return usual.all(axis=(0, 2, 3))


def _forward(problem):
    p = problem
    if not p.feasible:
        return None
    if p.mode == "pool":
        clean = slice(None)
        wanted, _ = reference.pool.roi_pool(p.features, p.rois, p.size, **p.options)
    else:
        clean = _clean(p.features)
        if (p.features[:, clean] < 0).any():
            return None
        maps = p.features[:, clean]
        if p.rotated:
            wanted = reference.rotated.roi_align_rotated(maps, p.rois, p.size, **p.options)
        elif p.mode == "mean":
            wanted = reference.pool.average(maps, p.rois, p.size, **p.options)
        elif p.mode == "max":
            wanted, _ = reference.maxima.roi_align_max(maps, p.rois, p.size, rule=p.rule, **p.options)
        else:
            wanted = reference.average.roi_align(maps, p.rois, p.size, **p.options)

    def hold(out):
        out = nchw(out, p.layout)[:, clean]
        if p.mode == "pool":
            with np.errstate(over="ignore"):  # the lowest float32 in half precision
                values = wanted.astype(out.dtype)
            # without an argmax nobody asks which of two zeros comes first
            assert_same_bits(out + out.dtype.type(0), values + out.dtype.type(0))
        else:
            assert_close(out, wanted)

    return hold


def _argmax(problem):
    p = problem
    if not p.feasible:
        return None

    def hold(argmax):
        argmax = nchw(argmax, p.layout)
        if p.mode == "pool":
            wanted = reference.pool.roi_pool(p.features, p.rois, p.size, **p.options)[1]
            np.testing.assert_array_equal(argmax, wanted)
        whole = np.array([reference.average.image_index(roi, p.shape[0]) is not None for roi in p.rois], bool)
        assert _in_range(argmax[whole], p.mode, p.rois[whole], p.shape, p.size, p.options)
        assert (argmax[~whole] == -1).all()

    return hold


def _backward(problem):
    p = problem
    clean = _clean(p.grads)
    if not p.feasible or (p.grads[:, clean] < 0).any():
        return None
    grads, shape = p.grads[:, clean], (p.shape[0], int(clean.sum()), *p.shape[2:])
    chosen = None if p.argmax is None else p.argmax[:, clean]

    def hold(grad):
        if p.rotated:
            wanted = reference.rotated.roi_align_rotated_backward(grads, p.rois, shape, **p.options)
        elif p.mode == "pool":
            wanted = reference.pool.roi_pool_backward(grads, chosen, p.rois, shape)
        elif p.mode == "mean":
            wanted = reference.pool.average_backward(grads, p.rois, shape, **p.options)
        elif p.mode == "max":
            wanted = reference.maxima.roi_align_max_backward(grads, chosen, p.rois, shape, **p.options)
        else:
            wanted = reference.average.roi_align_backward(grads, p.rois, shape, **p.options)
        assert_close(nchw(grad, p.layout)[:, clean], wanted)

    return hold


def _backward_rois(problem, rois):
    p = problem
    values, grads = p.features.astype(np.float64), p.grads.astype(np.float64)
    usual = _clean(p.features).all() and _clean(p.grads).all() and (grads >= 0).all()
    # slopes of one sign do not cancel
    usual = usual and all((np.diff(values, axis=axis) >= 0).all() for axis in (2, 3))
    double = p.features.dtype == np.float64 and p.rois.dtype == np.float64
    precision = np.dtype("float64" if double else "float32")
    columns = p.rois.shape[1] - 1
    wanted = terms = None
    if usual and p.feasible:
        if p.rotated:
            twin = reference.rotated.roi_align_rotated_backward_rois
            wanted, terms = twin(grads, p.features, p.rois, **p.options)
        elif p.mode == "max":
            twin = reference.maxima.roi_align_max_backward_rois
            wanted, terms = twin(grads, p.argmax, p.features, p.rois, **p.options)
        else:
            wanted = reference.average.roi_align_backward_rois(grads, p.features, p.rois, **p.options)

    def hold_part(rows):
        def hold(grad):
            assert not grad[:, :-columns].any()
            if terms is not None:
                own, sums = grad[:, -columns:].astype(np.float64), terms[rows, 1:]
                # pixels that are all equal: what the package adds up cancels, the reference has no terms; and
                # what is too small for the type of the sums becomes 0
                known = sums > np.finfo(precision).tiny
                assert_sums_close(own[known], wanted[rows, 1:][known], sums[known], precision.name)
            elif wanted is not None:
                assert_close(
                    grad[:, -columns:].astype(precision),
                    wanted[rows, 1:],
                    scale=np.abs(wanted).max(initial=0),
                )

        return hold

    if not isinstance(rois, (list, tuple)):
        return [Expected(array_of(rois).shape, p.rois.dtype, hold_part(slice(None)))]
    ends = np.cumsum([len(array) for array in rois])
    parts = [slice(end - len(array), end) for end, array in zip(ends, rois, strict=True)]
    return [Expected((part.stop - part.start, columns), p.rois.dtype, hold_part(part)) for part in parts]


# ---------------------------------------------------------------- R-MAC


def _regions(given):
    layout = word(given.layout, "NCHW", "NHWC")
    shape = input_shape_of(given.input_shape)
    n, h, w = (shape[0], *shape[2:]) if layout == "NCHW" else shape[:3]
    scales, overlap = integer(given.scales), float(given.overlap)
    if scales < 1 or not 0 <= overlap < 1:
        raise Meaningless("scales or overlap")
    scales = min(scales, 2 * min(h, w)) if h and w else 0
    wanted = reference.pool.rmac_regions(n, h, w, scales, overlap) if scales else np.empty((0, 5), np.float32)
    return [Expected(wanted.shape, wanted.dtype, lambda found: assert_same_bits(found, wanted))]


def _descriptors(name, given):
    layout = word(given.layout, "NCHW", "NHWC")
    features = map_of(given.features, layout)
    joined = word(given.aggregate, "sum", "concat") == "concat"
    if callable(given.whiten):
        return None
    n, c, h, w = features.shape
    scales = min(integer(given.scales), 2 * min(h, w) + 1)
    regions = len(reference.pool.rmac_regions(1, h, w, scales, float(given.overlap))) if h and w else 0
    length = c if given.whiten is None else len(given.whiten[1])
    shape = (n, regions * length if joined else length)
    dtype = result_dtype(features.dtype)
    if name == "rmac_backward":
        if array_of(given.grad_output).shape != shape or array_of(given.grad_output).dtype != dtype:
            raise Meaningless("grad_output")
        return [Expected(array_of(given.features).shape, dtype)]
    if given.whiten is not None or not regions or not _clean(features).all() or (features < 0).any():
        return [Expected(shape, dtype)]

    def hold(out):
        options = {"scales": scales, "overlap": float(given.overlap), "eps": float(given.eps)}
        assert_close(out, reference.pool.rmac(features, aggregate=given.aggregate, **options))

    return [Expected(shape, dtype, hold)]
