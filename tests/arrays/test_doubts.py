"""Boxes in a wrong format: a warning at the line of the call, and nothing else."""

import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
from closeness import assert_same_bits, bits
from operators import OPERATORS

import roicy
from roicy.compat import onnx, tensorflow, torchvision

RNG = np.random.default_rng(0)
CORNER, SIZE = RNG.uniform(30, 40, (12, 2)), RNG.uniform(8, 20, (12, 2))
BOXES = np.hstack([CORNER, CORNER + SIZE]).astype(np.float32)
SHAPE = (1, 4, 64, 80)
LOOKS = {
    "normalised": BOXES / 100,
    "x, y, width, height": np.hstack([CORNER, SIZE]).astype(np.float32),
    "were of another": BOXES * 16,
    "reach far beyond": np.where(np.arange(4) < 2, BOXES / 4, BOXES * 16).astype(np.float32),
    "no batch index": np.hstack([BOXES / 100, RNG.random((12, 1))]).astype(np.float32),
}


def heard(function, *arguments, **options):
    """What a call returns, and the warnings of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*arguments, **options)
    assert all(warning.category is roicy.RoisWarning for warning in caught)
    return result, caught


def as_rows(boxes, operator):
    """Boxes of corners as those of an operator."""
    if operator.numbers == 4:
        return boxes
    turned = np.hstack(
        [(boxes[:, :2] + boxes[:, 2:4]) / 2, boxes[:, 2:4] - boxes[:, :2], boxes[:, :1] * 0 + 30]
    )
    return np.hstack([turned, boxes[:, 4:]])


def calls_of(operator, shape=SHAPE, **options):
    """Pooling, and a plan."""
    features = np.ones(operator.map_shape(shape, (2, 2)), np.float32)
    yield lambda boxes: operator.forward(features, boxes, (2, 2), **options)
    if operator.planned:
        yield lambda boxes: operator.plan(boxes, features.shape, (2, 2), **options)


@pytest.mark.parametrize(
    "operator, look",
    [
        (operator, look)
        for operator in OPERATORS
        for look in LOOKS
        if operator.numbers == 4 or look != "x, y, width, height"  # which rotated boxes have
    ],
    ids=str,
)
def test_what_boxes_look_like(operator, look):
    for dtype in (np.float32, np.float64):
        boxes = as_rows(LOOKS[look], operator).astype(dtype)
        for call in calls_of(operator):
            _, (warning,) = heard(call, boxes)
            assert look in str(warning.message)
            assert Path(warning.filename).parent.name == "operators"  # where it was called
            assert "RoisWarning" in str(warning.message)  # how to silence it


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_boxes_as_they_should_be(operator):
    some = BOXES.copy()
    some[:5] = LOOKS["were of another"][:5]
    few = BOXES.copy()
    few[:6, 2:] = 1  # half of them end before they begin
    invalid = np.where(np.arange(12)[:, None] < 11, np.nan, BOXES).astype(np.float32)
    one = BOXES[:1]
    for boxes in (BOXES, some, few if operator.numbers == 4 else BOXES, BOXES[:0], BOXES * 0, one):
        for call in calls_of(operator):
            assert heard(call, as_rows(boxes, operator))[1] == []
    for call in calls_of(operator, invalid="nan"):
        assert heard(call, as_rows(invalid, operator))[1] == []
    # normalised, and the scale says so; a map so small that a box of one pixel is nothing to wonder about
    for call in calls_of(operator, spatial_scale=80):
        assert heard(call, as_rows(LOOKS["normalised"], operator))[1] == []
    for call in calls_of(operator, (1, 4, 4, 4)):
        assert heard(call, as_rows(LOOKS["normalised"], operator))[1] == []


def test_the_scale_is_that_of_the_call():
    features, far = np.ones(SHAPE, np.float32), LOOKS["were of another"]
    assert heard(roicy.roi_align, features, far, 2, spatial_scale=1 / 16)[1] == []
    assert len(heard(roicy.roi_align, features, BOXES, 2, spatial_scale=16)[1]) == 1
    assert len(heard(roicy.roi_align, features.transpose(0, 2, 3, 1), BOXES, 2)[1]) == 1  # a forgotten layout
    assert heard(roicy.roi_align, features.transpose(0, 2, 3, 1), BOXES, 2, layout="NHWC")[1] == []


def test_lines_of_long_and_low_maps():
    """A turned box that lies along the map is none that reaches beyond it."""
    for angle in (0, 90):
        features = np.ones((1, 1, 20, 400) if angle == 0 else (1, 1, 400, 20), np.float32)
        line = np.array([[0, 200, 10, 300, 8, 0] if angle == 0 else [0, 10, 200, 300, 8, 90]], np.float32)
        assert heard(roicy.roi_align_rotated, features, line, 2)[1] == []
        assert len(heard(roicy.roi_align_rotated, features.transpose(0, 1, 3, 2), line, 2)[1]) == 1


@pytest.mark.parametrize("merge", ["assigned", "sum"])
@pytest.mark.parametrize("look", LOOKS)
def test_boxes_of_a_pyramid(look, merge):
    """Are looked at once, not for each map."""
    maps = [np.ones((1, 4, 64 >> level, 80 >> level), np.float32) for level in range(3)]
    for function in (roicy.multi_scale_roi_align, roicy.multi_scale_roi_pool):
        options = {"spatial_scales": (1, 1 / 2, 1 / 4), "merge": merge}
        _, (warning,) = heard(function, maps, LOOKS[look], 2, **options)
        assert look in str(warning.message)
        assert warning.filename == __file__
        assert heard(function, maps, BOXES, 2, **options)[1] == []


@pytest.mark.parametrize("look", LOOKS)
def test_boxes_of_crops(look):
    image = np.ones((64, 80, 3), np.uint8)
    for images, boxes in ((image, BOXES), (image[None], BOXES), ([image, image[:32]], [BOXES, BOXES[:0]])):
        assert heard(roicy.crop_and_resize, images, boxes, 4)[1] == []
        if look != "no batch index":
            boxes = [LOOKS[look], BOXES[:0]] if isinstance(boxes, list) else LOOKS[look]
            _, (warning,) = heard(roicy.crop_and_resize, images, boxes, 4)
            assert str(warning.message).startswith("boxes look")
            assert look in str(warning.message)
            assert warning.filename == __file__


def test_pictures_whose_channels_are_taken_for_rows():
    """Some boxes begin within the first rows, and most end far beyond the last one."""
    picture, quads = np.ones((64, 80, 3), np.uint8), BOXES[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    near = BOXES - [0, 33, 0, 0]
    for first in (np.ascontiguousarray(picture.transpose(2, 0, 1)), picture.transpose(2, 0, 1)[None]):
        for call in (
            lambda boxes, first=first: roicy.crop_and_resize(first, boxes, 4),
            lambda boxes, first=first: roicy.crop_and_resize_plan(boxes, first.shape, 4),
        ):
            _, (warning,) = heard(call, near)
            assert "channels come first are layout='NCHW'" in str(warning.message)
            assert "spatial_scale" not in str(warning.message)  # crops have none
        assert len(heard(roicy.crop_quads, first, quads, 4)[1]) == 1
        for call, boxes in ((roicy.crop_and_resize, near), (roicy.crop_quads, quads)):
            assert heard(call, first, boxes, 4, layout="NCHW")[1] == []
    # a map that is so flat, and boxes of it: a line, a signal
    line = np.ones((1, 4, 1, 80), np.float32)
    assert heard(roicy.roi_align, line, BOXES * [1, 0, 1, 0] + [0, 0, 0, 1], 2)[1] == []
    assert heard(roicy.roi_align, line, near * 16, 2, spatial_scale=1 / 16)[1] != []


@pytest.mark.parametrize("look", [look for look in LOOKS if look != "no batch index"])
@pytest.mark.parametrize("to", ["masks", "windows", "rle"])
def test_boxes_of_masks(look, to):
    masks = np.ones((12, 7, 7), np.float32)
    assert heard(roicy.paste_masks, masks, BOXES, (64, 80), to=to)[1] == []
    _, (warning,) = heard(roicy.paste_masks, masks, LOOKS[look], (64, 80), to=to)
    assert str(warning.message).startswith("boxes look")
    assert look in str(warning.message)
    assert warning.filename == __file__


def test_other_systems_operators():
    features, boxes = np.ones(SHAPE, np.float32), LOOKS["normalised"]
    images = np.zeros(len(boxes), int)
    for call in (
        lambda: torchvision.roi_align(features, [boxes], 2),
        lambda: torchvision.RoIPool(2, 1.0)(features, [boxes]),
        lambda: onnx.RoiAlign(features, boxes, images, output_height=2, output_width=2),
    ):
        _, (warning,) = heard(call)
        assert warning.filename == __file__


def test_tensorflows_boxes_are_normalised():
    """They are meant to be, and may be reversed: that mirrors a crop."""
    image = np.ones((1, 64, 80, 3), np.float32)
    for boxes in (LOOKS["normalised"], LOOKS["normalised"][:, [2, 3, 0, 1]]):
        assert heard(tensorflow.crop_and_resize, image, boxes, np.zeros(len(boxes), int), (4, 4))[1] == []


def test_a_line_warns_once():
    features = np.ones(SHAPE, np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for scale in (100, 200, 300):
            roicy.roi_align(features, BOXES / scale, 2)
        roicy.roi_align(features, BOXES / 100, 2)
        line = inspect.currentframe().f_lineno - 1
    assert [warning.lineno for warning in caught] == [line - 1, line]


def test_it_can_be_silenced_and_be_an_error():
    features, out = np.ones(SHAPE, np.float32), np.full((12, 4, 2, 2), 7, np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", category=roicy.RoisWarning)
        silent = roicy.roi_align(features, LOOKS["normalised"], 2)
    assert caught == []
    assert_same_bits(heard(roicy.roi_align, features, LOOKS["normalised"], 2)[0], silent)
    before = bits(out)
    with warnings.catch_warnings():
        warnings.simplefilter("error", roicy.RoisWarning)
        with pytest.raises(roicy.RoisWarning):
            roicy.roi_align(features, LOOKS["normalised"], 2, out=out)
        assert bits(out) == before
        # an error comes first
        with pytest.raises(ValueError, match="batch index"):
            roicy.roi_align(features, np.insert(LOOKS["normalised"], 0, 5.5, axis=1), 2)


def test_gradients_do_not_warn():
    """Their boxes have been pooled; those of roi_pool do not even know a scale."""
    boxes, grad = LOOKS["were of another"], np.ones((12, 4, 2, 2), np.float32)
    argmax = np.full(grad.shape, -1, np.int32)
    assert heard(roicy.roi_align_backward, grad, boxes, SHAPE)[1] == []
    assert heard(roicy.roi_align_backward_rois, grad, np.ones(SHAPE, np.float32), boxes)[1] == []
    assert heard(roicy.roi_pool_backward, grad, argmax, boxes, SHAPE)[1] == []
    plan, _ = heard(roicy.roi_align_plan, boxes, SHAPE, 2)
    assert heard(plan, np.ones(SHAPE, np.float32))[1] == []


def test_boxes_on_a_device_are_not_looked_at(on_cuda):
    """The call would have to wait for them."""
    assert heard(roicy.roi_align, np.ones(SHAPE, np.float32), LOOKS["normalised"], 2)[1] == []
