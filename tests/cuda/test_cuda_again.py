"""Calls on a GPU that are like an earlier one: what is taken from that one, and what is not."""

import shutil

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host import arrays
from cuda_host.arrays import ndarray

import roicy
from roicy import _backend, _once

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")

SHAPE = (2, 3, 12, 14)
OPTIONS = {"sampling_ratio": 2, "invalid": "nan"}


@pytest.fixture
def cupy(monkeypatch):
    """A module in the place of ``cupy``."""
    return arrays.install(monkeypatch)


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
    monkeypatch.setattr(_once, "_plan", lambda *arguments: settled(*arguments, made=Plan))
    monkeypatch.setattr(_once, "_known", type(_once._known)(256, _once.Kind))
    return made


def drawn(seed, count=4, dtype="float32"):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal(SHAPE).astype(dtype)
    corners = rng.uniform(0, 8, (count, 2))
    rois = np.column_stack([rng.integers(0, 2, count), corners, corners + rng.uniform(1, 5, (count, 2))])
    return features, rois.astype(np.float32)


def both(features, rois, **options):
    """Averages on the stand-in for a device and on the processor."""
    options = {**OPTIONS, **options}
    found = roicy.roi_align(ndarray(features.copy()), ndarray(rois.copy()), (3, 2), **options)
    return found._array, roicy.roi_align(features, rois, (3, 2), **options)


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
            both(features, rois, invalid="raise")


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
            both(*drawn(0), **wrong)


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
        assert len(plans) == made + (seed < 1)
    features = ndarray(features)
    for wrong in (
        ndarray(np.zeros((4, 3, 2, 3), np.float32)),
        ndarray(np.zeros((4, 3, 3, 2), np.float64)),
        features.reshape(-1)[:72].reshape(4, 3, 3, 2),
    ):
        with pytest.raises(ValueError, match="out"):
            roicy.roi_align(features, ndarray(rois), (3, 2), **OPTIONS, out=wrong)
    wide = ndarray(np.zeros((4, 3, 3, 4), np.float32))
    roicy.roi_align(features, ndarray(rois), (3, 2), **OPTIONS, out=wide[..., ::2])
    assert_same_bits(wide._array[..., ::2], expected)
    assert not wide._array[..., 1::2].any()
