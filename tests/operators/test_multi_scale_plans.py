"""Plans of boxes on the maps of a pyramid."""

import copy
import pickle

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy
from operators.average import AVERAGE
from operators.pyramids import of_all, pyramid

pytestmark = pytest.mark.usefixtures("backend")


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
        make(kind, {**arguments, "sharing": arguments["sharing"]._replace(merge="most")})
    with pytest.raises(ValueError, match="a stored MultiScalePlan must hold the arguments"):
        make(kind, {**arguments, "given": None})


@pytest.mark.parametrize("merge", ["assigned", "sum"])
def test_a_batch_index_out_of_range_is_named(merge):
    rois, images = np.array([[1, 1, 9, 9], [2, 2, 8, 8]], np.float32), np.array([0, -1])
    for function in (roicy.multi_scale_roi_align_plan, roicy.multi_scale_roi_pool_plan):
        with pytest.raises(ValueError, match=r"rois row 1, .*, has batch_indices\[1\] = -1: expected"):
            function(rois, [(1, 3, 9, 9)] * 2, 2, batch_indices=images, spatial_scales=[1, 0.5], merge=merge)


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
    twin = copy.copy(plan)
    assert_same_bits(twin(case.given()), values[order])
    assert isinstance(twin.backward_rois(values[order], case.given()), list)
