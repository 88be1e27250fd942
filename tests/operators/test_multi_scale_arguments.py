"""Boxes on the maps of a pyramid: invalid rows and wrong arguments."""

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy
from operators.pyramids import of_all, pyramid
from operators.roi_pool import POOL

pytestmark = pytest.mark.usefixtures("backend")


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
    row = int(np.flatnonzero(case.levels == 1)[0])
    argmax[row, 2, 1, 0] = 20 * 14
    message = rf"argmax\[{row}, 2, 1, 0\] must lie between -1 and {20 * 14 - 1}, got {20 * 14}"
    with pytest.raises(ValueError, match=message):
        case.call("_backward", grad_output=values, input_shapes=case.shapes, argmax=argmax)
    later = np.flatnonzero(case.levels != 1)  # of the wrong ones on several maps the first row is named
    argmax[later[later > row], 0, 0, 0] = 10**6
    with pytest.raises(ValueError, match=message):
        case.call("_backward", grad_output=values, input_shapes=case.shapes, argmax=argmax)
    argmax[later[later > row], 0, 0, 0] = -1
    argmax[case.levels == -1] = 10**6  # which are not looked at
    argmax[row, 2, 1, 0] = -1
    case.call("_backward", grad_output=values, input_shapes=case.shapes, argmax=argmax)


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
        r"features\[0\] must be float16, .* float64, uint8, int8, uint16, int16 or bool, got int32",
    ),
    "scales": (
        {"spatial_scales": [0.25]},
        ValueError,
        "features and spatial_scales must have one item for each map, got 2 and 1",
    ),
    "few-features": (
        {"features": MAPS[:1]},
        ValueError,
        "features and spatial_scales must have one item for each map, got 1 and 2",
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


SPREAD = np.zeros((1, 5, 4, 4), np.float32)
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
    "few-shapes": (
        {"input_shapes": [(1, 3, 8, 8)]},
        ValueError,
        "input_shapes and spatial_scales must have one item for each map, got 1 and 2",
    ),
    "out-array": ({"out": MAPS[0]}, TypeError, "out must be a list or tuple of arrays, one for each map"),
    "out-few": ({"out": MAPS[:1]}, ValueError, "out must have 2 items, one for each map, got 1"),
    "out-shape": ({"out": [MAPS[0], MAPS[0]]}, ValueError, r"out\[1\] must have shape \(1, 3, 4, 4\)"),
    "out-twice": (
        {"input_shapes": [(1, 3, 4, 4)] * 2, "out": [MAPS[1], MAPS[1]]},
        ValueError,
        r"out\[0\] must not overlap out\[1\]",
    ),
    "out-parts": (
        {"input_shapes": [(1, 3, 4, 4)] * 2, "out": [SPREAD[:, :3], SPREAD[:, 2:]]},
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


def test_few_maps_of_the_gradient_of_boxes_and_of_plans():
    grad, scales = np.zeros((1, 3, 2, 2), np.float32), [0.25, 0.125]
    with pytest.raises(
        ValueError, match=r"^features and spatial_scales must have one item for each map, got 1 and 2"
    ):
        roicy.multi_scale_roi_align_backward_rois(grad, MAPS[:1], ONE, spatial_scales=scales)
    with pytest.raises(
        ValueError, match=r"^input_shapes and spatial_scales must have one item for each map, got 1"
    ):
        roicy.multi_scale_roi_align_plan(ONE, [MAPS[0].shape], 2, spatial_scales=scales)


def test_the_function_that_returns_an_argmax_is_named():
    grad, shapes, options = np.zeros((1, 3, 2, 2), np.float32), [(1, 3, 8, 8)], {"spatial_scales": [0.25]}
    says = "^argmax must be given for mode='max': multi_scale_roi_pool returns it with return_argmax=True"
    with pytest.raises(ValueError, match=says):
        roicy.multi_scale_roi_pool_backward(grad, None, ONE, shapes, **options)
    with pytest.raises(ValueError, match=says):
        roicy.multi_scale_roi_pool_plan(ONE, shapes, 2, **options).backward(grad)
