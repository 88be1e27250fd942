"""`roi_align_argmax_positions`: where the samples lie that an argmax names."""

import math

import numpy as np
import pytest
import reference.average
import reference.maxima
from closeness import RELATIVE_BOUND, assert_same_bits
from hypothesis import strategies as st
from reference.samples import places, samples
from strategies import distinct_values, given_some, problems

import roicy

pytestmark = pytest.mark.usefixtures("backend")


REAL_DTYPES = [np.dtype("float32"), np.dtype("float64")]
ORDERS = {"NCHW": ((0, 1, 2, 3),) * 2, "NHWC": ((0, 2, 3, 1), (0, 3, 1, 2))}


def counts(problem, k):
    """Samples of a bin of a box along y and x."""
    x1, y1, x2, y2 = problem.rois[k, 1:]
    edges = ((y1, y2), problem.output_size[0]), ((x1, x2), problem.output_size[1])
    with np.errstate(all="ignore"):
        return tuple(reference.average.box_edge(*ends, bins, **problem.options).count for ends, bins in edges)


@given_some(problems(most_channels=5), st.sampled_from(sorted(ORDERS)), st.integers(0, 99))
def test_any_sample_of_a_bin(problem, layout, seed):
    """To the last bit, and a NaN for each -1."""
    rng = np.random.default_rng(seed)
    rois, channels = problem.rois, problem.features.shape[1]
    argmax = np.empty((len(rois), channels, *problem.output_size), np.int32)
    for k in range(len(rois)):
        limit = min(math.prod(counts(problem, k)), 2**31 - 1)
        argmax[k] = rng.integers(-1, limit, argmax[k].shape)
    expected = reference.maxima.positions(argmax, rois, **problem.options)
    order, back = ORDERS[layout]
    found = roicy.roi_align_argmax_positions(argmax.transpose(order), rois, layout=layout, **problem.options)
    assert len(found) == 2
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == rois.dtype
        assert_same_bits(one.transpose(back), other)
        np.testing.assert_array_equal(np.isnan(other), argmax < 0)


@given_some(problems(dtypes=REAL_DTYPES, values=distinct_values, most_channels=3))
def test_the_maximum_is_there(problem):
    """The map has at the position what was pooled."""
    features, rois, output_size, options = problem
    pooled, argmax = roicy.roi_align(features, rois, output_size, mode="max", return_argmax=True, **options)
    y, x = roicy.roi_align_argmax_positions(argmax, rois, **options)
    maps = reference.average.images_of(features)
    height, width = maps.shape[1:3]
    bound = RELATIVE_BOUND[pooled.dtype.name] * np.abs(maps).max(initial=0)
    for k, image in enumerate(rois[:, 0].astype(int)):
        values = samples(maps[image], places(y[k], height), places(x[k], width))  # (C, PH, PW, C)
        for c in range(features.shape[1]):
            chosen = argmax[k, c] >= 0
            wrong = np.abs(values[c, ..., c] - pooled[k, c].astype(np.float64))[chosen]
            assert (wrong <= bound).all()


ROIS = np.array([[1, 0, 1, 5, 6], [0, 2, 2, 9, 11], [1, 3, 0, 4, 12]], np.float32)
ARGMAX = np.array([[0, -1], [1, 3], [2, 0]], np.int32).reshape(3, 2, 1, 1)
OPTIONS = {"spatial_scale": 0.5, "sampling_ratio": 2, "aligned": False}


def test_forms_of_rois():
    """The batch index is not looked at, and is not needed."""
    expected = reference.maxima.positions(ARGMAX, ROIS, **OPTIONS)
    elsewhere = ROIS + np.array([100, 0, 0, 0, 0], np.float32)
    for rois in (ROIS, elsewhere, ROIS[:, 1:], [ROIS[:1, 1:], ROIS[:0, 1:], ROIS[1:, 1:]]):
        for one, other in zip(
            roicy.roi_align_argmax_positions(ARGMAX, rois, **OPTIONS), expected, strict=True
        ):
            assert_same_bits(one, other)
    y, x = roicy.roi_align_argmax_positions(ARGMAX[:0], ROIS[:0].astype(np.float64))
    assert (y.shape, y.dtype, x.shape) == ((0, 2, 1, 1), np.float64, (0, 2, 1, 1))
    y, _ = roicy.roi_align_argmax_positions(ARGMAX, ROIS.astype(np.int64), **OPTIONS)
    assert y.dtype == np.float64
    y, _ = roicy.roi_align_argmax_positions(ARGMAX[::-1, ::-1], ROIS[::-1], **OPTIONS)
    assert_same_bits(np.ascontiguousarray(y[::-1, ::-1]), expected[0])


def test_invalid_rows():
    rois = ROIS.copy()
    rois[1, 3] = np.inf
    with pytest.raises(ValueError, match=r"rois row 1, .* is not finite"):
        roicy.roi_align_argmax_positions(ARGMAX, rois, **OPTIONS)
    with pytest.raises(ValueError, match=r"rois\[1\] row 0, .* is not finite"):
        roicy.roi_align_argmax_positions(ARGMAX, [rois[:1, 1:], rois[1:, 1:]], **OPTIONS)
    y, x = roicy.roi_align_argmax_positions(ARGMAX, rois, invalid="nan", **OPTIONS)
    expected = reference.maxima.positions(ARGMAX, rois, **OPTIONS)
    assert_same_bits(y, expected[0])
    assert_same_bits(x, expected[1])
    assert np.isnan(y[1]).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("value", [4, -2, 2**31 - 1, -(2**31)])
def test_numbers_of_no_sample(value, layout):
    argmax = np.zeros((3, 2, 2, 3), np.int32)
    argmax[2, 1, 0, 2] = value
    index = "2, 1, 0, 2"
    if layout == "NHWC":
        argmax, index = argmax.transpose(0, 2, 3, 1), "2, 0, 2, 1"
    with pytest.raises(ValueError, match=rf"argmax\[{index}\] must lie between -1 and 3, got {value};"):
        roicy.roi_align_argmax_positions(argmax, ROIS, layout=layout, **OPTIONS)


@pytest.mark.parametrize(
    "error, name, changed",
    [
        (TypeError, "argmax", {"argmax": None}),
        (TypeError, "argmax", {"argmax": ARGMAX.astype(np.int64)}),
        (TypeError, "argmax", {"argmax": ARGMAX.tolist()}),
        (ValueError, "argmax", {"argmax": ARGMAX[0]}),
        (ValueError, "argmax", {"argmax": ARGMAX[:2]}),
        (ValueError, "argmax", {"argmax": ARGMAX[..., :0]}),
        (TypeError, "rois", {"rois": None}),
        (TypeError, "rois", {"rois": ROIS > 0}),
        (ValueError, "rois", {"rois": ROIS[:, :3]}),
        (ValueError, "spatial_scale", {"spatial_scale": 0}),
        (ValueError, "sampling_ratio", {"sampling_ratio": 65537}),
        (TypeError, "aligned", {"aligned": 2}),
        (ValueError, "layout", {"layout": "HW"}),
        (ValueError, "invalid", {"invalid": None}),
    ],
)
def test_errors_name_the_argument(error, name, changed):
    with pytest.raises(error, match=rf"\b{name}\b"):
        roicy.roi_align_argmax_positions(**{"argmax": ARGMAX, "rois": ROIS, **OPTIONS, **changed})
