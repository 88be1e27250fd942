"""Few bins of one sample each: the path without lists of taps gives the same bits as the path with them."""

import battery
import numpy as np
import pytest
from closeness import assert_same_bits
from hypothesis import assume
from hypothesis import strategies as st
from strategies import (
    FEATURE_DTYPES,
    by_lists,
    contested_values,
    given_some,
    largest_values,
    problems,
    random_values,
)

import roicy
from roicy import _backend

pytestmark = pytest.mark.usefixtures("backend")

SIZES = [(1, 1), (2, 2), (3, 5), (1, 3), (4, 1)]


def one_nan(values):
    """Values with one NaN for all: of two in a sum, the compiler's order of an addition chooses."""
    values[np.isnan(values)] = np.nan
    return values


def lone(**options):
    """Problems of boxes with one sample a bin."""
    drawn = problems(output_sizes=SIZES, most_channels=9, **options)
    return drawn.map(lambda problem: problem._replace(options={**problem.options, "sampling_ratio": 1}))


@given_some(
    st.one_of(
        lone(dtypes=[*FEATURE_DTYPES, np.dtype("int16"), np.dtype("bool")]),
        lone(dtypes=[np.dtype("float32"), np.dtype("float64"), np.dtype("float16")], values=contested_values),
        lone(dtypes=[np.dtype("float32"), np.dtype("float64"), np.dtype("float16")], values=largest_values),
    ),
    st.sampled_from(["NCHW", "NHWC"]),
    st.sampled_from([np.nan, np.inf, None]),
)
def test_the_bits_of_lists(problem, layout, wrong):
    features, rois, size, options = problem
    assume(features.size)
    features = battery.to_layout(features, layout)
    if wrong is not None and len(rois):
        rois = np.concatenate([rois, rois[:1], rois])
        rois[len(rois) // 2, 1 + len(rois) % 4] = wrong
    options = {**options, "layout": layout, "invalid": "nan"}
    assert_same_bits(
        one_nan(roicy.roi_align(features, rois, size, **options)),
        one_nan(by_lists(roicy.roi_align, features, rois, size, **options)),
    )


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40, 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("aligned", [True, False])
def test_any_number_of_boxes(count, dtype, aligned):
    """Of several images, in rows of the array and beside it; into an array of any steps."""
    rng = np.random.default_rng(count)
    features = rng.standard_normal((3, 2, 9, 14)).astype(np.float32)
    corners = np.sort(rng.uniform(-3, 16, (count, 2, 2)), axis=1).reshape(count, 4)
    images = rng.integers(0, 3, count)
    rois = np.column_stack([images, corners]).astype(dtype)
    options = {"sampling_ratio": 1, "aligned": aligned}
    expected = by_lists(roicy.roi_align, features, rois, (2, 3), **options)
    assert_same_bits(roicy.roi_align(features, rois, (2, 3), **options), expected)
    out = np.zeros((2, 3, 2, count), np.float32).transpose(3, 2, 0, 1)[::-1]
    beside = {"batch_indices": images.astype(np.int16), **options}
    assert roicy.roi_align(features, rois[:, 1:], (2, 3), out=out, **beside) is out
    assert_same_bits(np.ascontiguousarray(out), expected)
    plan = roicy.roi_align_plan(rois, features.shape, (2, 3), **options)
    rois[:] = 0
    for maps in (features, features.astype(np.float64), features.astype(np.uint8)):
        assert_same_bits(plan(maps), by_lists(roicy.roi_align, maps, plan._rois.boxes, (2, 3), **options))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 3)])
def test_a_channel_for_each_bin(size, layout):
    """So few channels that the boxes are lone ones."""
    rng = np.random.default_rng(5)
    shape = (2, size[0] * size[1], 8, 11)
    features = battery.to_layout(random_values(rng, shape, np.float32), layout)
    rois = np.column_stack(
        [rng.integers(0, 2, 50), np.sort(rng.uniform(-2, 12, (50, 2, 2)), 1).reshape(50, 4)]
    )
    call = rois, size
    options = {"sampling_ratio": 1, "layout": layout}
    found = roicy.ps_roi_align(features, *call, **options)
    assert_same_bits(found, by_lists(roicy.ps_roi_align, features, *call, **options))


def test_levels_of_a_pyramid():
    rng = np.random.default_rng(3)
    maps = [random_values(rng, (2, 2, 64 >> i, 80 >> i), np.float32) for i in range(3)]
    corners = rng.uniform(0, 60, (200, 2))
    rois = np.column_stack([rng.integers(0, 2, 200), corners, corners + rng.uniform(1, 9, (200, 2))])
    levels = rng.integers(0, 3, 200)
    scales = [1, 1 / 2, 1 / 4]
    options = {"spatial_scales": scales, "levels": levels, "sampling_ratio": 1}
    pooled = roicy.multi_scale_roi_align(maps, rois, 2, **options)
    for level, scale in enumerate(scales):
        own = levels == level
        expected = by_lists(roicy.roi_align, maps[level], rois[own], 2, spatial_scale=scale, sampling_ratio=1)
        assert_same_bits(pooled[own], expected)


@pytest.mark.parametrize("numbered", [True, False])
def test_invalid_rows(numbered):
    features = np.ones((2, 1, 5, 5), np.float32)
    rois = np.full((40, 5), 1, np.float32)
    rois[17, 3], rois[30, 0] = np.nan, 2
    given = {} if numbered else {"batch_indices": rois[:, 0].astype(int)}
    call = features, rois if numbered else rois[:, 1:], 1
    with pytest.raises(ValueError, match="rois row 17"):
        roicy.roi_align(*call, sampling_ratio=1, **given)
    if _backend.cpu is roicy.cpu:
        out = np.full((40, 1, 1, 1), 7, np.float32)
        with pytest.raises(ValueError, match="rois row 17"):
            roicy.roi_align(*call, sampling_ratio=1, out=out, **given)
        assert (out == 7).all()
    pooled = roicy.roi_align(*call, sampling_ratio=1, invalid="nan", **given)
    assert np.isnan(pooled[:, 0, 0, 0]).nonzero()[0].tolist() == [17, 30]


@pytest.mark.cpu_only(reason="a device is not asked whether boxes miss the map")
def test_boxes_beside_the_map_are_doubted():
    features = np.ones((1, 1, 8, 8), np.float32)
    rois = np.array([[20, 20, 24, 24]] * 20, np.float32)
    with pytest.warns(roicy.RoisWarning, match="were of another"):
        assert not roicy.roi_align(features, rois, 2, sampling_ratio=1).any()
