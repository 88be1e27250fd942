"""Repeated calls on a GPU: which calls use what an earlier one kept, and which do not."""

import shutil

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import _backend, _once, cuda
from roicy.cuda import again

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

SHAPE = (2, 3, 12, 14)
OPTIONS = {"sampling_ratio": 2, "invalid": "nan"}


@pytest.fixture
def cupy(monkeypatch):
    """A module in the place of ``cupy``."""
    return arrays.install(monkeypatch, by_address=True)


@pytest.fixture
def plans(monkeypatch):
    """Plans that functions made of arrays on the device."""
    made = []

    class Plan(_once.Plan):
        __slots__ = ()

        def __init__(self, *arguments, **options):
            if arguments[1] is not _backend.cpu:
                made.append(self)
            super().__init__(*arguments, **options)

    settled = _once._plan
    monkeypatch.setattr(_once, "_plan", lambda *arguments, **_: settled(*arguments, made=Plan))
    monkeypatch.setattr(_once, "_known", type(_once._known)(256, _once.Kind))
    return made


def drawn(seed, count=4, dtype="float32"):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal(SHAPE).astype(dtype)
    corners = rng.uniform(0, 8, (count, 2))
    rois = np.column_stack([rng.integers(0, 2, count), corners, corners + rng.uniform(1, 5, (count, 2))])
    return features, rois.astype(np.float32)


def on_device(features, rois, **options):
    """Averages on the stand-in for a device."""
    found = roicy.roi_align(ndarray(features.copy()), ndarray(rois.copy()), (3, 2), **{**OPTIONS, **options})
    return found._array


def both(features, rois, **options):
    """The same and those on the processor."""
    return on_device(features, rois, **options), roicy.roi_align(
        features, rois, (3, 2), **{**OPTIONS, **options}
    )


def test_the_third_call_makes_no_plan(cupy, plans):
    for seed in range(5):
        found, expected = both(*drawn(seed))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        assert len(plans) == min(seed + 1, 2)


def test_rows_that_are_invalid(cupy, plans):
    for seed in range(3):
        features, rois = drawn(seed)
        rois[1, 0], rois[2, 1] = 7, np.nan
        found, _ = both(features, rois)
        assert np.isnan(found[1:3]).all()
        assert np.isfinite(found[[0, 3]]).all()
    assert len(plans) == 2
    for _ in range(4):
        with pytest.raises(ValueError, match="row 1"):
            on_device(features, rois, invalid="raise")


@pytest.mark.parametrize(
    "changed",
    [
        {"sampling_ratio": 1},
        {"aligned": False},
        {"spatial_scale": 0.5},
        {"layout": "NHWC"},
        {"mode": "max"},
        {"dtype": "float64"},
        {"count": 5},
    ],
    ids=str,
)
def test_other_calls_are_not_alike(cupy, plans, changed):
    for seed in range(3):
        both(*drawn(seed))
    options = {name: value for name, value in changed.items() if name not in ("dtype", "count")}
    features, rois = drawn(9, changed.get("count", 4), changed.get("dtype", "float32"))
    if changed.get("layout") == "NHWC":
        features = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    found, expected = both(features, rois, **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert len(plans) == 3


def test_options_that_equal_others_are_refused(cupy, plans):
    for seed in range(3):
        both(*drawn(seed), sampling_ratio=1)
    for wrong in ({"sampling_ratio": True}, {"aligned": 1.0}):
        with pytest.raises(TypeError):
            on_device(*drawn(0), **wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"return_argmax": True}, {"batch_indices": ndarray(np.zeros(4, int))}],
    ids=lambda it: next(iter(it)),
)
def test_arguments_beside_those_of_an_earlier_call_are_checked(cupy, plans, wrong):
    for seed in range(3):
        both(*drawn(seed))
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        on_device(*drawn(0), **wrong)


def test_maps_of_a_dtype_that_none_may_have(cupy, plans):
    for seed in range(3):
        both(*drawn(seed))
    features, rois = drawn(0)
    with pytest.raises(TypeError, match="features"):
        on_device(features.view(np.int32), rois)


def test_maps_of_one_shape_in_both_layouts(cupy, plans):
    features, rois = drawn(0)
    features = np.ascontiguousarray(features[:, :, :3, :3])
    for layout in ("NCHW", "NHWC"):
        for _ in range(3):
            found, expected = both(features, rois - [0, 1, 1, 1, 1], layout=layout)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_parts_of_maps(cupy, plans):
    """Boxes lie on the whole maps; the part that is passed has the shape of other calls' maps."""
    window = (2, 3, SHAPE[2] + 4, SHAPE[3] + 6)
    for seed in range(4):
        features, rois = drawn(seed)
        rois[:, 1:] = rois[:, 1:].clip(1, 10)  # boxes that read only the part
        expected, _ = both(features, rois)
        found = on_device(features, rois + np.float32([0, 3, 2, 3, 2]), window=window)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_boxes_without_an_image(cupy, plans):
    """Each call makes the images of the boxes itself."""
    for seed in range(4):
        features, rois = drawn(seed)
        found, expected = both(features[:1], rois[:, 1:])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_few_calls_are_kept(cupy, plans, monkeypatch):
    monkeypatch.setattr(again, "_MOST", 2)
    for ratio in (1, 2, 3, 4, 5):
        for seed in range(4):
            found, expected = both(*drawn(seed), sampling_ratio=ratio)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert 1 <= len(cuda.kernels().again._calls) <= 2


def test_offsets_whose_type_is_chosen(cupy, plans, monkeypatch):
    for seed in range(3):
        both(*drawn(seed))
    made = len(plans)
    monkeypatch.setattr(cuda.kernels(), "index", "int64")
    found, expected = both(*drawn(3))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert len(plans) == made + 1


@pytest.mark.parametrize(
    "computed, given", [("float64", "int64"), ("float64", "int32"), ("float32", "float16")]
)
def test_boxes_that_are_converted(cupy, plans, computed, given):
    """Boxes that are converted may have the same options and strides as boxes that need not be."""
    features, rois = drawn(0)
    rois = np.rint(rois).astype(computed)
    expected = roicy.roi_align(features, rois, (3, 2), **OPTIONS)  # from here on its options are kept
    every = np.dtype(computed).itemsize // np.dtype(given).itemsize
    converted = np.repeat(rois.astype(given), every, axis=1)
    for dtype in (computed, given):
        for _ in range(3):
            boxes = ndarray(rois) if dtype == computed else ndarray(converted)[:, ::every]
            assert boxes.strides == rois.strides
            found = roicy.roi_align(ndarray(features), boxes, (3, 2), **OPTIONS)
            np.testing.assert_allclose(found._array, expected, rtol=0, atol=1e-6)
    assert len(plans) == 2 + 3


def test_maps_and_boxes_with_other_strides(cupy, plans):
    for seed in range(4):
        features, rois = drawn(seed)
        expected, _ = both(features, rois)
        wide = np.zeros((*SHAPE[:3], 2 * SHAPE[3]), np.float32)
        wide[..., ::2] = features
        twice = np.repeat(rois, 2, axis=0)
        maps, boxes = ndarray(wide)[..., ::2], ndarray(twice)[::2]
        assert_same_bits(roicy.roi_align(maps, ndarray(rois), (3, 2), **OPTIONS)._array, expected)
        assert_same_bits(roicy.roi_align(ndarray(features), boxes, (3, 2), **OPTIONS)._array, expected)


def test_outputs(cupy, plans):
    for seed in range(4):
        features, rois = drawn(seed)
        expected, _ = both(features, rois)
        out = ndarray(np.zeros_like(expected))
        made = len(plans)
        found = roicy.roi_align(ndarray(features), ndarray(rois), (3, 2), **OPTIONS, out=out)
        assert found is out
        assert_same_bits(out._array, expected)
        assert len(plans) == made + (seed < 2)
    features = ndarray(features)
    room = ndarray(np.zeros(100, np.float32))
    boxes = room[40:60].reshape(4, 5)
    boxes[...] = ndarray(rois)
    for wrong in (
        ndarray(np.zeros((4, 3, 2, 3), np.float32)),
        ndarray(np.zeros((4, 3, 3, 2), np.float64)),
        ndarray(np.zeros((4, 3, 3, 2), np.int32)),
        ndarray(np.zeros((5, 3, 3, 2), np.float32)),
        features.reshape(-1)[:72].reshape(4, 3, 3, 2),
        features.reshape(-1)[-72:].reshape(4, 3, 3, 2),
        room[:72].reshape(4, 3, 3, 2),
        room[28:].reshape(4, 3, 3, 2),
    ):
        with pytest.raises(ValueError, match="out"):
            roicy.roi_align(features, boxes, (3, 2), **OPTIONS, out=wrong)
    several = ndarray(np.zeros_like(expected)), ndarray(np.zeros_like(expected))
    with pytest.raises(TypeError, match="out"):
        roicy.roi_align(features, boxes, (3, 2), **OPTIONS, out=several)
    wide = ndarray(np.zeros((4, 3, 3, 4), np.float32))
    roicy.roi_align(features, ndarray(rois), (3, 2), **OPTIONS, out=wide[..., ::2])
    assert_same_bits(wide._array[..., ::2], expected)
    assert not wide._array[..., 1::2].any()


def test_a_flag_of_any_type(cupy):
    """What is no flag is refused by its name, also what cannot be hashed; an array without axes is a flag."""
    features, rois = drawn(0)
    features, rois, bins = [ndarray(features)], ndarray(rois), (3, 2)
    options = {"spatial_scales": [1.0], "invalid": "nan"}
    for wrong in ([True], {}, np.ones(1, bool), 2, 1.0, "True"):
        with pytest.raises(TypeError, match="return_argmax must be True or False"):
            roicy.multi_scale_roi_pool(features, rois, bins, **options, return_argmax=wrong)
    for right in (np.array(True), np.True_, True, 1):
        for _ in range(3):
            found = roicy.multi_scale_roi_pool(features, rois, bins, **options, return_argmax=right)
            assert len(found) == 2


@pytest.mark.parametrize("rule", ["torchvision", "detectron2", "mmdet", "openvino", "tensorrt"])
def test_boxes_just_beside_a_level(rule, cupy):
    """A rule that computes in float32 rounds boxes of float64 first."""
    maps = [np.full((1, 1, 50, 50), value, np.float32) for value in (1, 2)]
    sides = 112 + np.array([-1e-3, -1e-9, 0, 1e-9, 1e-3])
    rois = np.column_stack([np.zeros((5, 3)), sides, sides])
    options = {"spatial_scales": (1 / 4, 1 / 8), "levels": rule, "invalid": "nan"}
    expected = roicy.multi_scale_roi_align(maps, rois, 1, **options)
    for _ in range(3):
        found = roicy.multi_scale_roi_align([ndarray(one) for one in maps], ndarray(rois), 1, **options)
        assert_same_bits(found._array, expected)
