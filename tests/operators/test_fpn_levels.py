"""Levels of boxes in a feature pyramid: each rule's formula, box by box, and where the levels change."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import roicy

RULES = ("torchvision", "detectron2", "mmdet", "openvino", "tensorrt")
#: A side, and its level in a pyramid of four by each rule.
SIDES = {
    1e-3: (0, 0, 0, 0, 0),
    111.9998: (0, 0, 0, 1, 0),
    111.9999: (0, 0, 0, 1, 0),
    112: (1, 1, 1, 1, 0),
    112.00001: (1, 1, 1, 1, 1),
    223.9998: (1, 1, 1, 2, 1),
    223.9999: (2, 1, 1, 2, 1),
    224: (2, 2, 2, 2, 1),
    224.00002: (2, 2, 2, 2, 2),
    448: (3, 3, 3, 3, 2),
    1e6: (3, 3, 3, 3, 3),
}


def square(side, dtype=np.float32):
    return np.array([[0, 0, 0, side, side]], dtype)


def slow_level(width, height, levels, rule, size=224, level=4, finest=2):
    """One box's level by the formula as it stands, in the dtype of the sides; None for none."""
    real = type(width)
    with np.errstate(all="ignore"):
        area = width * height
        if rule == "tensorrt":
            bound = np.float32(size / 2.0 ** (level - finest - 1)) ** 2
            return sum(area > bound * np.float32(4**step) for step in range(levels - 1))
        if not area >= 0 or (rule == "openvino" and area == 0):
            return -1
        root = np.sqrt(area)
        if rule == "torchvision":
            value = real(level) + log2(root / real(size)) + real(1e-6) - finest
        elif rule == "detectron2":
            value = real(level) + log2(root / real(size) + real(1e-8)) - finest
        elif rule == "mmdet":
            value = log2(root / real(size / 2 ** (level - finest)) + real(1e-6))
        else:
            value = log2(root / real(size) + real(1e-6)) + real(level - finest)
        return int(min(max(np.floor(value), 0), levels - 1))


def log2(value):
    """The logarithm, rounded once to the dtype of the value."""
    if not 0 < value < math.inf:
        return np.log2(value)
    return type(value)(math.log2(float(value)))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("side", SIDES)
def test_sides_where_levels_change(rule, side):
    assert roicy.fpn_levels(square(side), 4, rule=rule)[0] == SIDES[side][RULES.index(rule)]


@pytest.mark.parametrize("rule", RULES)
def test_areas_of_zero_and_less(rule):
    rois = np.array([[0, 0, 0, 9], [9, 9, 4, 20], [20, 20, 5, 5], [0, 0, np.nan, 9]], np.float32)
    zero, reversed_once, reversed_twice, nan = roicy.fpn_levels(rois, 3, rule=rule)
    none = 0 if rule == "tensorrt" else -1
    assert (zero, reversed_once) == (-1 if rule == "openvino" else 0, none)
    assert reversed_twice == 0
    assert nan == none


@st.composite
def boxes(draw):
    """Boxes near the sizes at which a level changes, and others."""
    dtype = draw(st.sampled_from((np.float32, np.float64)))
    sides = st.one_of(
        st.builds(lambda step, off: 224 * 2.0**step * (1 + off), st.integers(-5, 5), st.floats(-3e-6, 3e-6)),
        st.floats(-100, 5000, width=32),
    )
    rows = draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=20))
    return np.array([(0, 0, *row) for row in rows], dtype)


@pytest.mark.parametrize("rule", RULES)
@given(rois=boxes(), levels=st.integers(1, 6), level=st.integers(-2, 6), finest=st.integers(-1, 3))
def test_equals_the_formula(rule, rois, levels, level, finest):
    dtype = rois.dtype if rule in ("torchvision", "mmdet") else np.dtype(np.float32)
    options = {"canonical_level": level, "finest_level": finest}
    found = roicy.fpn_levels(rois, levels, rule=rule, canonical_size=200, **options)
    sides = rois[:, 2:].astype(dtype)
    if rule == "tensorrt":
        sides = abs(sides)
    expected = [slow_level(*row, levels, rule, 200, level, finest) for row in sides]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [1e-6, 224, 1e9])
@pytest.mark.parametrize("image_size", [None, (1, 1)])
def test_levels_beyond_all_numbers(rule, size, image_size):
    """No warning where the square of a size is none of float32."""
    options = {"rule": rule, "canonical_size": size, "image_size": image_size if rule == "tensorrt" else None}
    rois = np.array([[0, 0, 0, 1, 1]], np.float32)
    for level, expected in ((-64, 0), (64, 63)):
        found = roicy.fpn_levels(rois, 64, canonical_level=level, finest_level=-level, **options)
        assert found == expected


@pytest.mark.parametrize("rule", RULES)
def test_boxes_beyond_the_numbers_of_a_rule(rule):
    """Computed in float32 a side is infinite, in float64 it is not."""
    found = roicy.fpn_levels(np.array([[0, -4.8e39, 0, 4.8e39, 16]]), 4, rule=rule)
    assert found == 3


def test_boxes_of_half_precision():
    """mmdet computes in the dtype of the boxes, the others in float32: all areas of float16."""
    sides = np.arange(np.float16(1).view(np.int16), np.float16(np.inf).view(np.int16), 7, dtype=np.int16)
    rois = np.zeros((len(sides), 4), np.float16)
    rois[:, 2:] = sides.view(np.float16)[:, None]
    found = roicy.fpn_levels(rois, 5, rule="mmdet")
    np.testing.assert_array_equal(found, [slow_level(*row, 5, "mmdet") for row in rois[:, 2:]])
    assert (found != roicy.fpn_levels(rois.astype(np.float32), 5, rule="mmdet")).any()
    for rule in set(RULES) - {"mmdet"}:
        np.testing.assert_array_equal(
            roicy.fpn_levels(rois, 5, rule=rule), roicy.fpn_levels(rois.astype(np.float32), 5, rule=rule)
        )


@settings(max_examples=30)
@given(rois=boxes(), rows=st.integers(1, 3000), columns=st.integers(1, 3000))
def test_parts_of_the_image(rois, rows, columns):
    """TensorRT clamps boxes to the image and compares areas as parts of it."""
    found = roicy.fpn_levels(rois, 4, rule="tensorrt", image_size=(rows, columns))
    real = np.float32
    part = np.sqrt(real(224 * 224) / real(rows * columns))
    bound = part * part / real(4)
    for (x1, y1, x2, y2), level in zip(rois.astype(real), found, strict=True):
        width, height = (
            (min(max(high, real(0)), length) / length) - (min(max(low, real(0)), length) / length)
            for low, high, length in (
                (min(x1, x2), max(x1, x2), real(columns)),
                (min(y1, y2), max(y1, y2), real(rows)),
            )
        )
        assert level == sum(width * height > bound * real(4**step) for step in range(3))


def test_all_forms_of_boxes():
    rois = np.array([[0, 0, 0, 300, 300], [1, 0, 0, 20, 500], [1, 5, 5, 6, 6]], np.float32)
    expected = roicy.fpn_levels(rois, 4)
    assert expected.tolist() == [2, 0, 0]
    np.testing.assert_array_equal(roicy.fpn_levels(rois[:, 1:], 4), expected)
    np.testing.assert_array_equal(roicy.fpn_levels([rois[:1, 1:], rois[1:, 1:]], 4), expected)
    turned = np.array([[0, 50, 50, 300, 300, 30], [1, 9, 9, 20, 500, -10], [1, 5, 5, 1, 1, 0]], np.float32)
    np.testing.assert_array_equal(roicy.fpn_levels(turned, 4, rotated=True), expected)
    assert roicy.fpn_levels(np.empty((0, 5), np.float32), 4).shape == (0,)
    assert roicy.fpn_levels(rois, 1).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_levels": 0}, ValueError, "num_levels must lie between 1 and 64, got 0"),
        ({"num_levels": 2.5}, TypeError, "num_levels must be an int"),
        ({"rule": "fpn"}, ValueError, "rule must be 'torchvision' or"),
        ({"canonical_size": 0}, ValueError, "canonical_size must lie between"),
        ({"canonical_size": "224"}, TypeError, "canonical_size must be a real number"),
        ({"canonical_level": 100}, ValueError, "canonical_level must lie between -64 and 64"),
        ({"finest_level": None}, TypeError, "finest_level must be an int"),
        ({"image_size": (4, 4)}, ValueError, "image_size must be None for torchvision"),
        ({"image_size": 4, "rule": "tensorrt"}, TypeError, "image_size must be a pair of ints"),
        ({"image_size": (0, 4), "rule": "tensorrt"}, ValueError, "image_size must lie between"),
        ({"image_size": (4, 4), "rule": "tensorrt", "rotated": True}, ValueError, "None for rotated boxes"),
        ({"rotated": 2}, TypeError, "rotated must be True or False"),
    ],
)
def test_what_is_refused(options, error, message):
    options = {"num_levels": 4} | options
    with pytest.raises(error, match=message):
        roicy.fpn_levels(np.zeros((1, 6 if options.get("rotated") is True else 5), np.float32), **options)


def test_shapes_that_are_refused():
    with pytest.raises(ValueError, match="rois must have shape"):
        roicy.fpn_levels(np.zeros((3, 6), np.float32), 4)
    with pytest.raises(ValueError, match="rois must be a list of boxes"):
        roicy.fpn_levels([0, 0, 1, 1], 4)


def sides_of_all_kinds(rng):
    """Sides around those at which a level changes."""
    return 112 * 2.0 ** rng.integers(-1, 5, (20000, 2)) * (1 + rng.uniform(-6e-6, 6e-6, (20000, 2)))


def test_torchvision():
    pytest.importorskip("torchvision")
    from implementations import peers_torch

    sides = sides_of_all_kinds(np.random.default_rng(0))
    for dtype in (np.float16, np.float32, np.float64):
        rois = np.zeros((len(sides), 4), dtype)
        rois[:, 2:] = sides
        rois[::50, 2] *= -1
        theirs = peers_torch.fpn_levels(rois, 4, 2)
        # PyTorch's square root may be one rounding off: so may the area at which a level changes
        around = [roicy.fpn_levels(rois * np.array(1 + off, dtype), 4) for off in (-2e-7, 0, 2e-7)]
        assert ((theirs == around[0]) | (theirs == around[1]) | (theirs == around[2])).all()
        assert np.mean(theirs == around[1]) > 0.999


def test_openvino():
    pytest.importorskip("openvino")
    from implementations import peers_openvino

    sides = sides_of_all_kinds(np.random.default_rng(1))
    rois = np.concatenate([1 - sides / 2, 1 + sides / 2], axis=1).astype(np.float32)
    rois[::50, 2] = rois[::50, 0]
    rois[::77, 3] = rois[::77, 1] - 5
    np.testing.assert_array_equal(
        roicy.fpn_levels(rois, 4, rule="openvino"), peers_openvino.fpn_levels(rois, 4)
    )
