"""What pooling boxes from the maps of a pyramid returns: of each map what its own rows are there."""

import math
from types import SimpleNamespace

import numpy as np
from closeness import assert_close
from operators.test_fpn_levels import RULES, slow_level
from strategies import result_dtype

from fuzz import pooling
from fuzz.arguments import (
    FLOATS,
    Meaningless,
    array_of,
    flag,
    indices_of,
    input_shape_of,
    integer,
    map_of,
    nchw,
    rois_of,
    word,
)
from fuzz.pooling import Expected

OF_ALL_MAPS = (
    "features",
    "input_shapes",
    "spatial_scales",
    "levels",
    "merge",
    "batch_indices",
    "windows",
    "out",
)
FLOAT32_RULES = "detectron2", "openvino", "tensorrt"


def levels(given):
    """What `fpn_levels` returns."""
    turned, rule = flag(given.rotated), word(given.rule, *RULES)
    images = len(given.rois) if isinstance(given.rois, (list, tuple)) else 1
    rois = rois_of(given.rois, None, images, 5 if turned else 4)
    count, level, finest = (
        integer(value) for value in (given.num_levels, given.canonical_level, given.finest_level)
    )
    size = float(given.canonical_size)
    if not 1 <= count <= 64:
        raise Meaningless("num_levels")
    shape = (len(rois),)
    if given.image_size is not None:
        if rule != "tensorrt" or turned:
            raise Meaningless("image_size for another rule")
        return [Expected(shape, np.dtype(np.int32))]
    known = 1e-2 < size < 1e4 and abs(level - finest) < 8
    wanted = by_rule(rule, given.rois, rois, count, size, level, finest) if known else None
    hold = None if wanted is None else lambda found: np.testing.assert_array_equal(found, wanted)
    return [Expected(shape, np.dtype(np.int32), hold)]


def by_rule(rule, given, rois, count, *canonical):
    """Levels of rows with a batch index in front, by a rule."""
    arrays = [array_of(item) for item in given] if isinstance(given, (list, tuple)) else [array_of(given)]
    boxes = rois[:, 1:]
    if rule == "mmdet" and arrays and all(array.dtype == np.float16 for array in arrays):
        boxes = boxes.astype(np.float16)
    with np.errstate(all="ignore"):
        boxes = boxes.astype(np.float32) if rule in FLOAT32_RULES else boxes
        sides = boxes[:, 2:4] - (0 if boxes.shape[1] == 5 else boxes[:, :2])
    if rule == "tensorrt" and boxes.shape[1] == 4:
        sides = abs(sides)
    found = [slow_level(*row, count, rule, *canonical) for row in sides]
    return np.array(found, np.int64).reshape(len(rois))


def pooled(name, given):
    """What a function of a pyramid returns, or one of its gradients."""
    function = name.removeprefix("multi_scale_")
    layout, invalid = word(given.layout, "NCHW", "NHWC"), word(given.invalid, "raise", "nan")
    summed = word(given.merge, "assigned", "sum") == "sum"
    maps, shapes = _maps(given, layout)
    count, n = len(shapes), shapes[0][0]
    scales = _scales(given.spatial_scales, count)
    rois = rois_of(given.rois, given.batch_indices, n, 5 if "rotated" in name else 4)
    whole = pooling.whole_rows(rois, n)
    if invalid == "raise" and not whole.all():
        raise Meaningless("an invalid row")
    level_of = _levels(given, rois, scales, summed, invalid)
    rois = rois.copy()
    rois[level_of == NO_SUCH_LEVEL, 1:] = np.nan
    nowhere = (level_of == -1) & whole
    level_of[(level_of < 0) & ~nowhere] = 0  # which rows are invalid is found on any map
    grads = map_of(given.grad_output, layout, FLOATS) if hasattr(given, "grad_output") else None
    if grads is not None and len(grads) != len(rois):
        raise Meaningless("grad_output of other boxes")
    argmax = getattr(given, "argmax", None)
    if argmax is not None and array_of(argmax).shape[:1] != (count if summed else len(rois),):
        raise Meaningless("argmax of another shape")

    common = {key: value for key, value in vars(given).items() if key not in OF_ALL_MAPS}
    common |= {"batch_indices": None, "invalid": "nan"}
    problems, rows = [], []
    for level, scale in enumerate(scales):
        own = np.ones(len(rois), bool) if summed else level_of == level
        one = SimpleNamespace(**{**common, "rois": rois[own], "spatial_scale": scale})
        if maps is not None:
            one.features = maps[level]
        else:
            one.input_shape = _in_layout(shapes[level], layout)
        if grads is not None:
            one.grad_output = array_of(given.grad_output)[own]
        if argmax is not None:
            one.argmax = array_of(argmax)[level] if summed else array_of(argmax)[own]
        problems.append(pooling.settled(function, one))
        rows.append(own)
    if name.endswith("_backward"):
        return [pooling.gradient(problem) for problem in problems]
    if name.endswith("_backward_rois"):
        return pooling.of_rois(given.rois, problems[0], _slopes(problems, rows, len(rois)))
    return (_sum if summed else _assigned)(problems, rows, nowhere)


# ---------------------------------------------------------------- what a call is about

NO_SUCH_LEVEL = -2


def _in_layout(shape, layout):
    return tuple(shape[axis] for axis in pooling.AXES[layout])


def _scales(value, count):
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != count:
        raise Meaningless("not one for each map")
    return [float(scale) for scale in value]


def _maps(given, layout):
    # the maps as they are, None where only shapes are known, and shapes (N, C, H, W)
    whats = getattr(given, "features", None)
    whats = given.input_shapes if whats is None else whats
    if not isinstance(whats, (list, tuple)) or not 1 <= len(whats) <= 64:
        raise Meaningless("no pyramid")
    if hasattr(given, "features"):
        maps = [map_of(array, layout) for array in whats]
        if len({array.dtype for array in maps}) > 1:
            raise Meaningless("maps of different dtypes")
        shapes = [array.shape for array in maps]
    else:
        shapes = [input_shape_of(shape) for shape in whats]
        order = (0, 1, 2, 3) if layout == "NCHW" else (0, 3, 1, 2)
        shapes = [tuple(shape[axis] for axis in order) for shape in shapes]
    if len({shape[:2] for shape in shapes}) > 1:
        raise Meaningless("maps of different images or channels")
    return ([array_of(array) for array in whats] if hasattr(given, "features") else None), shapes


def _levels(given, rois, scales, summed, invalid):
    count = len(scales)
    if isinstance(given.levels, str):
        rule = word(given.levels, *RULES)
        if summed or (count == 1 and rule != "openvino"):
            return np.zeros(len(rois), int)
        finest = 2
        if rule in ("torchvision", "detectron2"):  # which number maps by their stride
            fraction, exponent = math.frexp(scales[0])
            finest = 1 - exponent
            if fraction != 0.5 or scales != [math.ldexp(0.5, exponent - step) for step in range(count)]:
                raise Meaningless("spatial_scales")
        return by_rule(rule, given.rois, rois, count, 224, 4, finest)
    found = indices_of(given.levels)
    if summed or found.dtype.kind not in "iu" or found.shape != (len(rois),):
        raise Meaningless("levels")
    known = np.array([level if -1 <= level < count else NO_SUCH_LEVEL for level in found.tolist()], int)
    if invalid == "raise" and (known == NO_SUCH_LEVEL).any():
        raise Meaningless("a level of no map")
    return known


# ---------------------------------------------------------------- what it returns


def _assigned(problems, rows, nowhere):
    parts = [pooling.forward(problem) for problem in problems]

    def hold_of(which, nothing):
        def hold(found):
            assert (found[nowhere] == nothing).all()
            for own, part in zip(rows, parts, strict=True):
                if part[which].hold is not None:
                    part[which].hold(found[own])

        return hold

    return [
        Expected((len(nowhere), *one.shape[1:]), one.dtype, hold_of(which, -1 if which else 0))
        for which, one in enumerate(parts[0])
    ]


def _sum(problems, *_):
    first = problems[0]
    channels = np.all([pooling.clean(p.features, p.parts) for p in problems], axis=0)
    parts = [pooling.values(problem, channels) for problem in problems]

    def hold(out):
        assert_close(nchw(out, first.layout)[:, channels], sum(wanted for wanted, _ in parts))

    def hold_argmax(found):
        for problem, own in zip(problems, found, strict=True):
            argmax = pooling.forward(problem)[1]
            if argmax.hold is not None:
                argmax.hold(own)

    shape = _in_layout(first.bins, first.layout)
    known = all(part is not None for part in parts)
    out = Expected(shape, result_dtype(first.features.dtype), hold if known else None)
    if not first.with_argmax:
        return [out]
    return [out, Expected((len(problems), *shape), np.dtype(np.int32), hold_argmax)]


def _slopes(problems, rows, boxes):
    # the sum of those on all maps, each at its rows
    parts = [pooling.slopes(problem) for problem in problems]
    if any(part is None for part in parts):
        return None
    wanted, terms = np.zeros((2, boxes, problems[0].operator.numbers + 1))
    for own, (slope, sums) in zip(rows, parts, strict=True):
        wanted[own] += slope
        terms[own] += 0 if sums is None else sums
    return wanted, terms if parts[0][1] is not None else None
