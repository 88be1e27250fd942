"""Boxes on the maps of a pyramid: what the operators on one map say of each level, row by row."""

import copy
import pickle
import tracemalloc
from typing import NamedTuple

import battery
import numpy as np
import pytest
from closeness import assert_close, assert_same_bits
from hypothesis import strategies as st
from strategies import BOX_DTYPES, CHANNELS, FEATURE_DTYPES, random_values, result_dtype

import roicy
from operators import those
from operators.average import AVERAGE
from operators.operator import Operator
from operators.roi_pool import MEAN, POOL
from operators.rotated import ROTATED
from operators.test_fpn_levels import RULES, slow_level

pytestmark = pytest.mark.usefixtures("backend")

of_all = those((AVERAGE, ROTATED, POOL, MEAN))
of_sloped = those((AVERAGE, ROTATED))
SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


class Pyramid(NamedTuple):
    """Maps NCHW, boxes with their images in front, and the level of each."""

    operator: Operator
    maps: list
    rois: np.ndarray
    levels: np.ndarray
    layout: str
    bins: tuple

    @property
    def shapes(self):
        return [battery.to_layout(features, self.layout).shape for features in self.maps]

    @property
    def scales(self):
        return SCALES[: len(self.maps)]

    def out(self, dtype=None, rows=None):
        """An array for the result, or for some rows of it, of neighbours that are none."""
        dtype = dtype or result_dtype(self.maps[0].dtype)
        rows = len(self.rois) if rows is None else rows
        shape = battery.to_layout(np.empty((rows, self.maps[0].shape[1], *self.bins)), self.layout).shape
        return np.full((*shape[:-1], 2 * shape[-1]), 7, dtype)[..., ::2]

    def given(self):
        """The maps as a caller has them, the second one flipped and the third one in steps."""
        found = [np.ascontiguousarray(battery.to_layout(features, self.layout)) for features in self.maps]
        if len(found) > 1:
            found[1] = found[1][:, ::-1].copy()[:, ::-1]
        if len(found) > 2:
            found[2] = np.repeat(found[2], 2, axis=3)[..., ::2]
        return found

    def call(self, ending="", **arguments):
        function = getattr(roicy, f"multi_scale_{self.operator.function}{ending}")
        options = {"spatial_scales": self.scales, "levels": self.levels, "layout": self.layout}
        if self.operator is MEAN and ending == "_backward":
            options["argmax"] = None
        return function(rois=self.rois, **{**options, **self.options(), **arguments})

    def options(self):
        if self.operator in (POOL, MEAN):
            return {"rounding": "none", **self.operator.options}
        return {"sampling_ratio": 2, "aligned": False}

    def one(self, level, ending="", chosen=None, **arguments):
        """The same of the rows of a level, by the operator on one map."""
        chosen = self.levels == level if chosen is None else chosen
        name = self.operator.function + ending
        if self.operator is MEAN and ending == "_backward":
            arguments["argmax"] = None
        options = {"layout": self.layout, "spatial_scale": SCALES[level], **self.options()}
        return getattr(roicy, name)(rois=self.rois[chosen], **options, **arguments)

    def pooled(self, **options):
        """Values and argmax; None for operators without."""
        found = self.call(features=self.given(), output_size=self.bins, **options)
        return found if isinstance(found, tuple) else (found, None)

    def argmax_wanted(self):
        return {"return_argmax": True} if self.operator.has_argmax else {}


def pyramid(
    operator,
    seed=0,
    *,
    dtype="float32",
    box_dtype="float32",
    layout="NCHW",
    channels=5,
    images=2,
    count=12,
    levels=3,
    bins=(3, 2),
):
    rng = np.random.default_rng(seed)
    maps = [
        random_values(rng, (images, channels, 40 >> level, 28 >> level), np.dtype(dtype))
        for level in range(levels)
    ]
    corners = np.sort(rng.uniform(-10, 140, (count, 2, 2)), axis=1).reshape(count, 4)
    rois = operator.rois(rng, rng.integers(images, size=count), corners, box_dtype)
    return Pyramid(operator, maps, rois, rng.integers(-1, levels, count).astype(np.int64), layout, bins)


@st.composite
def pyramids(draw, operator):
    return pyramid(
        operator,
        draw(st.integers(0, 2**32)),
        dtype=draw(st.sampled_from(FEATURE_DTYPES)),
        box_dtype=draw(st.sampled_from(BOX_DTYPES)),
        layout=draw(st.sampled_from(("NCHW", "NHWC"))),
        channels=draw(st.sampled_from(CHANNELS)),
        images=draw(st.integers(1, 3)),
        count=draw(st.integers(0, 30)),
        levels=draw(st.integers(1, 4)),
        bins=draw(st.sampled_from([(1, 1), (7, 7), (3, 5)])),
    )


# ---------------------------------------------------------------- rows, to the bit


@of_all
def test_each_row_is_that_of_its_map(operator, examples):
    def holds(case):
        out = case.out()
        wanted, argmax = case.argmax_wanted(), None
        if wanted:
            argmax = case.out(np.int32)
            case.pooled(out=(out, argmax), **wanted)
        else:
            case.pooled(out=out)
        features = case.given()
        for level in range(len(case.maps)):
            own = case.levels == level
            values, chosen = (
                case.out(rows=own.sum()),
                case.out(np.int32, own.sum()),
            )  # alike, as bits may follow it
            case.one(
                level,
                features=features[level],
                output_size=case.bins,
                out=(values, chosen) if wanted else values,
                **wanted,
            )
            assert_same_bits(out[own], values)
            if wanted:
                assert_same_bits(argmax[own], chosen)
        assert_same_bits(out[case.levels == -1], 0 * out[case.levels == -1])
        if wanted:
            assert (argmax[case.levels == -1] == -1).all()

    examples(pyramids(operator), share=operator.share)(holds)


@of_all
def test_gradients_are_those_of_each_map(operator, examples):
    def holds(case):
        gradient = random_values(np.random.default_rng(1), case.out().shape, case.out().dtype)
        wanted = case.argmax_wanted()
        chosen = {"argmax": case.pooled(**wanted)[1]} if wanted else {}
        found = case.call("_backward", grad_output=gradient, input_shapes=case.shapes, **chosen)
        given = [np.full(shape, 7, gradient.dtype) for shape in case.shapes]
        case.call("_backward", grad_output=gradient, input_shapes=case.shapes, out=given, **chosen)
        for level, (grad, again) in enumerate(zip(found, given, strict=True)):
            own = case.levels == level
            some = {name: array[own] for name, array in chosen.items()}
            expected = case.one(
                level, "_backward", grad_output=gradient[own], input_shape=case.shapes[level], **some
            )
            assert_same_bits(grad, expected)
            assert_same_bits(again, expected)

    examples(pyramids(operator), share=operator.share)(holds)


@of_sloped
def test_the_gradient_of_boxes_is_that_on_their_map(operator, examples):
    def holds(case):
        gradient = random_values(np.random.default_rng(1), case.out().shape, case.out().dtype)
        features = case.given()
        found = case.call("_backward_rois", grad_output=gradient, features=features)
        expected = np.zeros_like(case.rois)
        for level in range(len(case.maps)):
            own = case.levels == level
            expected[own] = case.one(
                level, "_backward_rois", grad_output=gradient[own], features=features[level]
            )
        assert_same_bits(found + 0, expected + 0)
        out = np.full_like(case.rois, 7)
        case.call("_backward_rois", grad_output=gradient, features=features, out=out)
        assert_same_bits(out, found)

    examples(pyramids(operator), share=operator.share)(holds)


@of_all
def test_against_the_reference(operator):
    case = pyramid(operator, 3, levels=3, count=20)
    values, _ = case.pooled()
    for k, level in enumerate(case.levels):
        if level == -1:
            assert not values[k].any()
            continue
        options = {"spatial_scale": SCALES[level], **case.options()}
        options.pop("mode", None)
        expected = operator.reference.forward(case.maps[level], case.rois[k : k + 1], case.bins, **options)[0]
        operator.hold(values[k : k + 1], expected)


# ---------------------------------------------------------------- the sum of all maps


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_sum_of_all_maps(operator, dtype, layout):
    """Each pooled in the type of sums; added in their order and rounded once."""
    case = pyramid(operator, 5, dtype=dtype, layout=layout, channels=18)
    options, wanted = {"levels": "torchvision", "merge": "sum"}, case.argmax_wanted()
    values, argmax = case.pooled(**options, **wanted)
    real = np.dtype("float64" if dtype == np.float64 else "float32")
    total, every = None, np.ones(len(case.rois), bool)
    for level, features in enumerate(case.given()):
        exact = features.astype(real, copy=False) if dtype != np.uint8 else features
        found = case.one(level, chosen=every, features=exact, output_size=case.bins, **wanted)
        part = found[0] if wanted else found
        total = part if total is None else total + part
        if wanted:
            assert_same_bits(argmax[level], found[1])
    assert_same_bits(values, total.astype(values.dtype))

    gradient = random_values(np.random.default_rng(1), values.shape, values.dtype)
    chosen = {"argmax": argmax} if wanted else {}
    grads = case.call("_backward", grad_output=gradient, input_shapes=case.shapes, **options, **chosen)
    slopes = np.zeros(case.rois.shape)
    for level, features in enumerate(case.given()):
        some = {"argmax": argmax[level]} if wanted else {}
        shape = case.shapes[level]
        grad = case.one(level, "_backward", every, grad_output=gradient, input_shape=shape, **some)
        assert_same_bits(grads[level], grad)
        if operator.has_slopes:
            slopes += case.one(level, "_backward_rois", every, grad_output=gradient, features=features)
    if operator.has_slopes:
        found = case.call("_backward_rois", grad_output=gradient, features=case.given(), **options)
        assert_close(found, slopes)


# ---------------------------------------------------------------- levels


@of_all
@pytest.mark.parametrize("rule", RULES)
def test_levels_by_a_rule(operator, rule):
    """Sides around those where levels change; by two of the rules strides are the numbers of levels."""
    sides = [*(112 * 2.0 ** np.arange(-1, 4)), 111.9999, 223.99985, 60, 500, 1e4]
    corners = np.array([[5, 5, 5 + side, 5 + side] for side in sides] + [[0, 0, 0, 50], [0, 0, 300, 300]])
    rng = np.random.default_rng(0)
    rois = operator.rois(rng, [0] * len(corners), corners)
    if operator is ROTATED:
        rois[:, 3:5] = [[x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
    for first in (0, 1):
        scales = SCALES[first:]
        maps = [np.full((1, 3, 9, 9), level + 1, np.float32) for level in range(len(scales))]
        options = {"sampling_ratio": 1} if operator in (AVERAGE, ROTATED) else operator.options
        function = getattr(roicy, f"multi_scale_{operator.function}")
        found = function(maps, rois, 1, spatial_scales=scales, levels=rule, **options)
        finest = 2 + (first if rule in ("torchvision", "detectron2") else 0)
        sides = rois[:, 3:5] - (0 if operator is ROTATED else rois[:, 1:3])
        levels = np.array([slow_level(*row, len(maps), rule, finest=finest) for row in sides])
        expected = function(maps, rois, 1, spatial_scales=scales, levels=levels, **options)
        assert_same_bits(found, expected)
        apart = function(maps, rois[:, 1:], 1, spatial_scales=scales, levels=rule, **options)
        assert_same_bits(apart, expected)


@of_all
@pytest.mark.parametrize("rule", RULES)
def test_a_single_map_is_that_of_all_boxes(operator, rule):
    """But by OpenVINO's rule, which leaves out boxes without area."""
    case = pyramid(operator, 2, levels=1)
    case = case._replace(levels=np.zeros(len(case.rois), np.int64))
    case.rois[0, 3] = -5 if operator is ROTATED else case.rois[0, 1] - 5
    values, _ = case.pooled()
    found, _ = case.pooled(levels=rule)
    assert_same_bits(found[1:], values[1:])
    assert_same_bits(found[0], (0 if rule == "openvino" else 1) * values[0])


def test_mmdet_computes_in_half_precision_where_boxes_are():
    boxes = np.array([[0, 0, 125.44, 100]], np.float16)  # whose area is rounded up to that of 112 x 112
    maps = [np.full((1, 1, 40, 40), level, np.float32) for level in (1, 2)]
    options = {"spatial_scales": SCALES[:2], "levels": "mmdet", "sampling_ratio": 1}
    levels = [roicy.fpn_levels(array, 2, rule="mmdet")[0] for array in (boxes, boxes.astype(np.float32))]
    assert levels[0] != levels[1]
    for array, level in zip((boxes, boxes.astype(np.float32)), levels, strict=True):
        assert roicy.multi_scale_roi_align(maps, array, 1, **options)[0, 0, 0, 0] == level + 1


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_levels_of_any_integers(dtype):
    case = pyramid(AVERAGE, 1)
    levels = np.abs(case.levels)
    values, _ = case.pooled(levels=levels)
    assert_same_bits(case.pooled(levels=levels.astype(dtype))[0], values)


# ---------------------------------------------------------------- rows that are wrong


@of_all
def test_invalid_rows(operator):
    """NaN, on whatever level they are or on none; the first one of all levels is named."""
    case = pyramid(operator, 6, count=14)
    good, _ = case.pooled()
    rois, levels, wrong = case.rois.copy(), case.levels.copy(), [3, 5, 8, 9]
    rois[3, 1], rois[5, 0], rois[8, 0], rois[9, 4] = np.nan, 7, -1, np.inf
    levels[wrong] = 2, 0, -1, -1
    says = ["is not finite", "has batch index 7", "has batch index -1", "is not finite"]
    for at, row in enumerate(wrong):
        mended = rois.copy()
        mended[wrong[:at]] = case.rois[wrong[:at]]
        with pytest.raises(ValueError, match=f"rois row {row}, .* {says[at]}"):
            case._replace(rois=mended).pooled(levels=levels)

    bad = case._replace(rois=rois, levels=levels)
    values, argmax = bad.pooled(invalid="nan", **case.argmax_wanted())
    assert np.isnan(values[wrong]).all()
    right = np.setdiff1d(np.arange(14), wrong)
    assert_same_bits(values[right], good[right])
    chosen = {} if argmax is None else {"argmax": argmax}
    options = {"grad_output": values, "invalid": "nan"}
    grads = bad.call("_backward", input_shapes=case.shapes, **options, **chosen)
    nowhere = levels.copy()
    nowhere[wrong] = -1
    expected = case.call("_backward", input_shapes=case.shapes, grad_output=values, levels=nowhere, **chosen)
    for grad, same in zip(grads, expected, strict=True):
        assert_same_bits(grad, same)
    if operator.has_slopes:
        slopes = bad.call("_backward_rois", features=case.given(), **options)
        assert not slopes[wrong].any()


@of_all
@pytest.mark.parametrize("wrong", [3, -2, 100, -(2**40)])
def test_levels_that_are_none(operator, wrong):
    case = pyramid(operator, 7)
    good, _ = case.pooled()
    levels = case.levels.copy()
    levels[[4, 6]] = wrong
    bad = case._replace(levels=levels)
    with pytest.raises(
        ValueError, match=rf"levels\[4\] must lie between -1 and 2, got {wrong}; -1 stands for"
    ):
        bad.pooled()
    values, argmax = bad.pooled(invalid="nan", **case.argmax_wanted())
    assert np.isnan(values[[4, 6]]).all()
    assert_same_bits(np.delete(values, [4, 6], axis=0), np.delete(good, [4, 6], axis=0))
    if argmax is not None:
        assert (argmax[[4, 6]] == -1).all()


def test_argmax_of_another_map():
    """A pixel of the first map that the box's own does not have; the limit is that of the row's map."""
    case = pyramid(POOL, 8, channels=3)
    values, argmax = case.pooled(return_argmax=True)
    row = int(np.flatnonzero(case.levels == 1)[-1])
    argmax[row, 2, 1, 0] = 20 * 14
    message = rf"argmax\[{row}, 2, 1, 0\] must lie between -1 and {20 * 14 - 1}, got {20 * 14}"
    with pytest.raises(ValueError, match=message):
        case.call("_backward", grad_output=values, input_shapes=case.shapes, argmax=argmax)
    argmax[case.levels == -1] = 10**6  # which nobody looks at
    argmax[row, 2, 1, 0] = -1
    case.call("_backward", grad_output=values, input_shapes=case.shapes, argmax=argmax)


# ---------------------------------------------------------------- plans


@of_all
@pytest.mark.parametrize("merge", ["assigned", "sum"])
def test_plans(operator, merge):
    """The same bits as the functions, also when the caller's arrays have changed."""
    case = pyramid(operator, 9, layout="NHWC")
    options = {"merge": merge, "levels": case.levels if merge == "assigned" else "torchvision"}
    wanted = case.argmax_wanted()
    values, argmax = case.pooled(**options, **wanted)
    chosen = {} if argmax is None else {"argmax": argmax}
    shapes = {"input_shapes": case.shapes}
    grads = case.call("_backward", grad_output=values, **shapes, **options, **chosen)
    rois, levels = case.rois.copy(), case.levels.copy()
    changing = case._replace(rois=rois, levels=levels)
    plan = changing.call(
        "_plan",
        output_size=case.bins,
        **shapes,
        **{**options, **({"levels": levels} if merge == "assigned" else {})},
    )
    rois[:], levels[:] = 0, 0
    assert (plan.input_shapes, plan.output_size) == (tuple(case.shapes), case.bins)
    assert (plan.output_shape, plan.layout) == (values.shape, "NHWC")
    for _ in range(2):
        found = plan(case.given(), **wanted)
        assert_same_bits(found[0] if wanted else found, values)
        for grad, expected in zip(plan.backward(values, **chosen), grads, strict=True):
            assert_same_bits(grad, expected)
        if operator.has_slopes:
            expected = case.call("_backward_rois", grad_output=values, features=case.given(), **options)
            assert_same_bits(plan.backward_rois(values, case.given()), expected)


@of_all
@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
@pytest.mark.parametrize("merge", ["assigned", "sum"])
@pytest.mark.parametrize("invalid", ["raise", "nan"])
def test_copies_of_plans(operator, merge, invalid):
    case = pyramid(operator, 10)
    levels = "torchvision" if merge == "sum" else case.levels
    if invalid == "nan":
        case.rois[3, 2] = np.nan
        case.levels[5] = 99
    options = {"levels": levels, "merge": merge, "invalid": invalid}
    plan = case.call("_plan", output_size=case.bins, input_shapes=case.shapes, **options)
    for twin in (copy.copy(plan), pickle.loads(pickle.dumps(plan))):
        assert repr(twin) == repr(plan)
        assert_same_bits(twin(case.given()), plan(case.given()))
    assert f"merge={merge!r}" in repr(plan)


@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
def test_damaged_pickles_say_so():
    case = pyramid(AVERAGE, 10)
    make, (kind, arguments) = case.call("_plan", output_size=2, input_shapes=case.shapes).__reduce__()
    with pytest.raises(ValueError, match="a stored MultiScalePlan must hold the arguments"):
        make(kind, {**arguments, "merge": "most"})


def test_boxes_as_lists():
    case = pyramid(AVERAGE, 11)
    order = np.argsort(case.rois[:, 0], kind="stable")
    lists = [case.rois[order][case.rois[order, 0] == image, 1:] for image in (0, 1)]
    values, _ = case.pooled()
    by_image = case._replace(rois=lists, levels=case.levels[order])
    assert_same_bits(by_image.pooled()[0], values[order])
    slopes = case.call("_backward_rois", grad_output=values, features=case.given())
    found = by_image.call("_backward_rois", grad_output=values[order], features=case.given())
    assert isinstance(found, list)
    assert_same_bits(np.concatenate(found), slopes[order, 1:])
    plan = by_image.call("_plan", output_size=case.bins, input_shapes=case.shapes)
    assert_same_bits(plan(case.given()), values[order])


# ---------------------------------------------------------------- arguments


@of_all
def test_nothing_to_do(operator):
    """No boxes, no channels, no images, maps of no pixels."""
    for options in ({"count": 0}, {"channels": 0}, {"images": 1, "count": 3}):
        case = pyramid(operator, 12, **options)
        values, _ = case.pooled()
        assert values.shape == case.out().shape
    case = pyramid(operator, 12)
    empty = case._replace(maps=[case.maps[0], case.maps[1][:, :, :0], case.maps[2][..., :0]])
    values, _ = empty.pooled()
    assert not values[empty.levels != 0].any()
    everywhere = case.call(
        "_backward", grad_output=values, input_shapes=case.shapes, levels=np.full(12, -1), **(
            {"argmax": np.full(values.shape, -1, np.int32)} if operator.has_argmax else {}
        )
    )  # fmt: skip
    assert not any(grad.any() for grad in everywhere)


MAPS = [np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 3, 4, 4), np.float32)]
ONE = np.array([[0, 0, 0, 4, 4]], np.float32)
BAD = {
    "features-array": ({"features": MAPS[0]}, TypeError, "features must be a list or tuple of arrays"),
    "features-none": ({"features": []}, ValueError, "features must be 1 to 64 arrays, one for .* got 0"),
    "feature": ({"features": [MAPS[0], "map"]}, TypeError, r"features\[1\] must be a NumPy or CuPy array"),
    "axes": ({"features": [MAPS[0], MAPS[1][0]]}, ValueError, r"features\[1\] must have 4 axes"),
    "channels": (
        {"features": [MAPS[0], MAPS[1][:, :2]]},
        ValueError,
        r"features\[1\] must have 3 channels, as features\[0\] has, got shape \(1, 2, 4, 4\)",
    ),
    "images": (
        {"features": [MAPS[0], np.zeros((2, 3, 4, 4), np.float32)]},
        ValueError,
        r"features\[1\] must have 1 images, as features\[0\] has",
    ),
    "dtype": (
        {"features": [MAPS[0], MAPS[1].astype(np.float64)]},
        TypeError,
        r"features\[1\] must be float32, the dtype of features\[0\], got float64",
    ),
    "integers": (
        {"features": [array.astype(np.int32) for array in MAPS]},
        TypeError,
        r"features\[0\] must be float16, bfloat16, float32, float64 or uint8, got int32",
    ),
    "scales": (
        {"spatial_scales": [0.25]},
        ValueError,
        "spatial_scales must have 2 items, one for each map, got 1",
    ),
    "scale": (
        {"spatial_scales": [0.25, -1]},
        ValueError,
        r"spatial_scales\[1\] must be finite and greater than 0",
    ),
    "scale-number": (
        {"spatial_scales": 0.25},
        TypeError,
        "spatial_scales must be a list or tuple of numbers",
    ),
    "scale-word": ({"spatial_scales": [0.25, "1"]}, TypeError, r"spatial_scales\[1\] must be a real number"),
    "odd-scales": (
        {"spatial_scales": [0.25, 0.1]},
        ValueError,
        "spatial_scales must be powers of two, each half of the one before, for levels='torchvision'",
    ),
    "odd-first": (
        {"spatial_scales": [0.3, 0.15], "levels": "detectron2"},
        ValueError,
        "must be powers of two",
    ),
    "rule": ({"levels": "fpn"}, ValueError, "levels must be 'torchvision' or .* got 'fpn'"),
    "scales-no-axis": (
        {"spatial_scales": np.array(0.25)},
        TypeError,
        "spatial_scales must be a list or tuple of numbers, one for each map, got ndarray",
    ),
    "levels-none": (
        {"levels": None},
        TypeError,
        "levels must be the name of a rule or an array of integers, got None",
    ),
    "levels-list": ({"levels": ["0"]}, TypeError, r"levels\[0\] must be a number"),
    "levels-float": ({"levels": np.zeros(1)}, TypeError, "levels must be the name of a rule or integers"),
    "levels-shape": (
        {"levels": np.zeros(2, int)},
        ValueError,
        r"levels must have shape \(1,\), one for each row",
    ),
    "merge": ({"merge": "max"}, ValueError, "merge must be 'assigned' or 'sum', got 'max'"),
    "sum": (
        {"merge": "sum", "levels": np.zeros(1, int)},
        ValueError,
        "levels must be the name of a rule for merge",
    ),
    "sum-rule": ({"merge": "sum", "levels": "fpn"}, ValueError, "levels must be 'torchvision' or"),
    "out": ({"out": np.zeros((1, 3, 2, 2))}, ValueError, "out must have dtype float32"),
    "overlap": (
        {"out": MAPS[1].reshape(-1)[:12].reshape(1, 3, 2, 2)},
        ValueError,
        "out must not overlap an input",
    ),
}


@of_all
def test_levels_are_an_input(operator):
    """What a result must not overlap, as boxes are; not of a plan, which has its own."""
    case = pyramid(operator, 15, channels=1, bins=(1, 1))
    memory = np.zeros(2 * case.levels.size, np.float32)
    levels = memory.view(np.int64)
    levels[:] = case.levels
    out = memory[: len(levels)].reshape(-1, 1, 1, 1)
    values, _ = case.pooled()
    again = {"levels": levels, "output_size": case.bins}
    with pytest.raises(ValueError, match="out must not overlap an input"):
        case.call(features=case.given(), out=out, **again)
    plan = case.call("_plan", input_shapes=case.shapes, **again)
    assert_same_bits(plan(case.given(), out=out), values)


@pytest.mark.parametrize("name", BAD)
def test_wrong_arguments(name):
    wrong, kind, message = BAD[name]
    call = {"features": MAPS, "rois": ONE, "output_size": 2, "spatial_scales": [0.25, 0.125], **wrong}
    with pytest.raises(kind, match=message):
        roicy.multi_scale_roi_align(**call)


BAD_BACKWARD = {
    "shapes": ({"input_shapes": (1, 3, 8, 8)}, TypeError, r"input_shapes\[0\] must be a tuple of 4 ints"),
    "shape": (
        {"input_shapes": [(1, 3, 8, 8), (1, 3, 4)]},
        ValueError,
        r"input_shapes\[1\] must be 4 ints >= 0",
    ),
    "channels": (
        {"input_shapes": [(1, 3, 8, 8), (1, 2, 4, 4)]},
        ValueError,
        r"input_shapes\[1\] must have 3 channels",
    ),
    "out-array": ({"out": MAPS[0]}, TypeError, "out must be a list or tuple of arrays, one for each map"),
    "out-few": ({"out": MAPS[:1]}, ValueError, "out must have 2 items, one for each map, got 1"),
    "out-shape": ({"out": [MAPS[0], MAPS[0]]}, ValueError, r"out\[1\] must have shape \(1, 3, 4, 4\)"),
    "out-twice": (
        {"input_shapes": [(1, 3, 4, 4)] * 2, "out": [MAPS[1], MAPS[1]]},
        ValueError,
        r"out\[0\] must not overlap out\[1\]",
    ),
}


@pytest.mark.parametrize("name", BAD_BACKWARD)
def test_wrong_arguments_of_gradients(name):
    wrong, kind, message = BAD_BACKWARD[name]
    call = {
        "rois": ONE,
        "input_shapes": [array.shape for array in MAPS],
        "spatial_scales": [0.25, 0.125],
        **wrong,
    }
    with pytest.raises(kind, match=message):
        roicy.multi_scale_roi_align_backward(np.zeros((1, 3, 2, 2), np.float32), **call)


@of_all
def test_the_number_of_threads_leaves_the_bits(operator):
    case = pyramid(operator, 13, channels=70, count=60)
    found = []
    for threads in (1, 2, 3):
        with roicy.num_threads(threads):
            found.append(case.pooled()[0])
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


@of_all
@pytest.mark.cpu_only(reason="NumPy says what it takes")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_results_are_written_in_place(operator, layout):
    """No copy of a level's rows, nor of an `out` that is there: what is taken is less than half of it."""
    case = pyramid(operator, 14, channels=64, count=400, bins=(7, 7), layout=layout)
    features, out = case.given(), np.empty_like(case.pooled()[0])
    chosen = {"argmax": case.pooled(return_argmax=True)[1]} if operator.has_argmax else {}
    grads = [np.empty(shape, np.float32) for shape in case.shapes]
    calls = {
        out.nbytes: lambda: case.call(features=features, output_size=case.bins, out=out),
        sum(grad.nbytes for grad in grads): lambda: case.call(
            "_backward", grad_output=out, input_shapes=case.shapes, out=grads, **chosen
        ),
    }
    for size, call in calls.items():
        call()
        tracemalloc.start()
        try:
            call()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < size / 2
