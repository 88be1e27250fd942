"""`roi_align` with ``mode="max"`` and its gradients: values, which sample is chosen, and where that goes."""

import battery
import numpy as np
import pytest
import reference.average
import reference.maxima
from closeness import RELATIVE_BOUND, assert_close, assert_same_bits
from hypothesis import assume
from hypothesis import strategies as st
from strategies import (
    FEATURE_DTYPES,
    FLOAT_DTYPES,
    distinct_values,
    given_some,
    problems,
    random_values,
)

import roicy
from operators import MAX
from operators.largest_sample import grids

pytestmark = pytest.mark.usefixtures("backend")

LOWEST = float(np.finfo(np.float32).min)


def pool(problem, **more):
    call = (problem.features, problem.rois, problem.output_size)
    return roicy.roi_align(*call, mode="max", **problem.options, **more)


def value_at(problem, argmax):
    """What the reference says about the samples that an argmax names; 0 where it names none."""
    values = np.zeros(argmax.shape)
    images = reference.average.images_of(problem.features)
    for k, roi in enumerate(problem.rois):
        size = images.shape[1:3]
        ys, xs = reference.maxima.axes(
            reference.maxima.usual_axis, roi, size, problem.output_size, **problem.options
        )
        found = reference.maxima.chosen(argmax[k], ys, xs)
        of_all = reference.maxima.samples(images[int(roi[0])], found.y, found.x)
        values[k][found.bin] = of_all[np.arange(len(of_all)), found.bin[0]]
    return values


@given_some(problems(output_sizes=[(1, 1), (7, 7), (2, 2), (3, 5), (1, 33)]))
def test_an_argmax_names_a_sample_of_that_value(problem):
    """As far as it can be told; and none where there is no sample."""
    _, argmax = pool(problem, return_argmax=True)
    samples = grids(problem).prod(axis=0)[:, None, None, None]
    np.testing.assert_array_equal(argmax >= 0, np.broadcast_to(samples > 0, argmax.shape))
    assert (argmax < np.maximum(samples, 1)).all()
    expected, _ = MAX.expected(problem)
    precision = "float64" if problem.features.dtype == np.float64 else "float32"
    scale = np.abs(expected).max(initial=0)
    assert (np.abs(value_at(problem, argmax) - expected) <= RELATIVE_BOUND[precision] * scale).all()


@given_some(
    problems(dtypes=[np.dtype(t) for t in ("float32", "float64", "float16", "uint8")], values=distinct_values)
)
def test_the_argmax_where_it_is_clear(problem):
    """Samples at quarters of pixels of whole numbers: every value is exact, and ties are real ties."""
    options = {"spatial_scale": 1.0, "sampling_ratio": 2, "aligned": problem.options["aligned"]}
    rng = np.random.default_rng(len(problem.rois))
    rois = problem.rois.copy()
    height, width = problem.features.shape[2:]
    low = rng.integers(-4, max(height, width) + 2, (len(rois), 2))
    rois[:, 1:] = np.column_stack([low, low + rng.integers(-2, 8, (len(rois), 2))])
    for output_size in [(1, 1), (2, 4)]:
        exact = problem._replace(rois=rois, options=options, output_size=output_size)
        values, argmax = pool(exact, return_argmax=True)
        expected, expected_argmax = reference.maxima.roi_align_max(
            problem.features, rois, output_size, **options
        )
        np.testing.assert_array_equal(values.astype(np.float64), expected.astype(values.dtype))
        np.testing.assert_array_equal(argmax, expected_argmax)


# ---------------------------------------------------------------- which sample is chosen


BOX = np.array([[0, 1, 1, 7, 7]], np.float32)


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3, 16, 40])
def test_of_equal_samples_the_first_wins(dtype, layout, channels):
    features = np.full(battery.to_layout(np.empty((1, channels, 9, 8)), layout).shape, 3, dtype)
    for ratio in (0, 1, 3):
        options = {"layout": layout, "sampling_ratio": ratio}
        values, argmax = roicy.roi_align(features, BOX, 2, mode="max", return_argmax=True, **options)
        assert (values == 3).all()
        assert (argmax == 0).all()


def test_samples_are_counted_row_by_row():
    """Three by two samples in a bin of six by four pixels, at the pixels themselves."""
    rois = np.array([[0, 0, 0, 2, 3]], np.float32)
    for index in range(6):
        features = np.zeros((1, 1, 3, 2), np.float32)
        features[0, 0, index // 2, index % 2] = 1
        values, argmax = roicy.roi_align(features, rois, 1, mode="max", return_argmax=True)
        assert values.item() == 1
        assert argmax.item() == index


def test_of_two_the_one_in_the_earlier_row_wins():
    features = np.zeros((1, 1, 2, 3), np.float32)
    features[0, 0, 0, 2] = features[0, 0, 1, 0] = 1
    _, argmax = roicy.roi_align(
        features, np.array([[0, 0, 0, 3, 2]], np.float32), 1, mode="max", return_argmax=True
    )
    assert argmax.item() == 2


def test_samples_off_the_map_are_zeros_that_count():
    """On a map of negative numbers a zero is the largest; the first one is chosen."""
    features = np.full((1, 3, 4, 4), -5, np.float32)
    rois = np.array([[0, 0, 0, 8, 4], [0, 0, 0, 4, 8], [0, -8, 0, 4, 4], [0, 20, 20, 24, 24]], np.float32)
    values, argmax = roicy.roi_align(features, rois, 1, mode="max", return_argmax=True)
    assert not values.any()
    # Columns of samples lie at 0, 1, ... and at -8, -7, ...: five of the first box are on the map, and five
    # rows of four samples of the second one.
    assert argmax[:, 0].ravel().tolist() == [5, 5 * 4, 0, 0]
    positive, argmax = roicy.roi_align(-features, rois, 1, mode="max", return_argmax=True)
    assert positive[:, 0].ravel().tolist() == [5, 5, 5, 0]
    # At -1 the first pixel is repeated; that is sample 7 of the third box, at -8 + 7.
    assert argmax[:, 0].ravel().tolist() == [0, 0, 7, 0]


def test_without_samples_there_is_no_maximum():
    rois = np.array([[0, 2, 2, 2, 5], [0, 5, 2, 2, 5], [0, 2, 2, 2, 2]], np.float32)
    features = np.full((1, 20, 8, 8), -3, np.float32)
    values, argmax = roicy.roi_align(features, rois, (2, 3), mode="max", return_argmax=True)
    assert not values.any()
    assert (argmax == -1).all()
    grad = roicy.roi_align_backward(np.ones_like(values), rois, features.shape, mode="max", argmax=argmax)
    assert not grad.any()


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
@pytest.mark.parametrize("nothing", [np.nan, -np.inf])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_nan_and_minus_infinity_are_never_chosen(dtype, nothing, layout):
    """Where nothing else is, the value is the lowest float32, from which the maximum starts."""
    features = np.full((1, 20, 8, 8), nothing, dtype)
    features[0, 7, 5:, 5:] = -2
    features = np.ascontiguousarray(battery.to_layout(features, layout))
    rois = np.array([[0, 0, 0, 8, 8]], np.float32)
    values, argmax = roicy.roi_align(
        features, rois, (1, 2), sampling_ratio=8, mode="max", return_argmax=True, layout=layout
    )
    values, argmax = (battery.from_layout(array, layout) for array in (values, argmax))
    with np.errstate(over="ignore"):
        lowest = np.float32(LOWEST).astype(dtype)
    assert values[0, 7, 0, 1] == -2
    # Samples lie at -0.5 + 4 + 0.25 + i / 2: the first at 5 or beyond with all its pixels is number 3.
    assert argmax[0, 7, 0].tolist() == [-1, 5 * 8 + 3]
    others = np.delete(values, 7, axis=1)
    assert (others == lowest).all()
    assert (np.delete(argmax, 7, axis=1) == -1).all()


def test_nan_spoils_its_own_samples_only():
    features = np.ones((1, 4, 20, 20), np.float32)
    features[0, :, 10, 10] = np.nan
    features[0, :, 3, 3] = 9
    values, argmax = roicy.roi_align(
        features, np.array([[0, 0, 0, 20, 20]], np.float32), 1, mode="max", return_argmax=True
    )
    assert (values == 9).all()
    assert (argmax == 3 * 20 + 3).all()


# ---------------------------------------------------------------- the rule of ONNX


@given_some(problems(output_sizes=[(1, 1), (2, 2), (3, 5)]), st.integers(0, 99))
def test_the_rule_of_onnx(problem, seed):
    """The largest of a sample's four pixels, each times its own weight."""
    features = problem.features
    if features.dtype != np.uint8:
        signs = np.random.default_rng(seed).choice([-1, 1], features.shape)
        features = (features * signs.astype(features.dtype)).astype(features.dtype)
    problem = problem._replace(features=features)
    out = pool(problem, max_rule="onnx")
    expected, _ = reference.maxima.roi_align_max(
        features, problem.rois, problem.output_size, rule="onnx", **problem.options
    )
    assert_close(out, expected)


@given_some(problems(dtypes=[np.float32, np.float64], output_sizes=[(1, 1), (2, 3)]), st.integers(0, 99))
def test_the_rule_of_onnx_where_pixels_are_nan(problem, seed):
    """No bin is NaN: a NaN counts for nothing, or for its sample."""
    features = problem.features.copy()
    features[np.random.default_rng(seed).random(features.shape) < 0.2] = np.nan
    out = pool(problem._replace(features=features), max_rule="onnx")
    expected, _ = reference.maxima.roi_align_max(
        features, problem.rois, problem.output_size, rule="onnx", **problem.options
    )
    assert_close(out, expected)


def test_the_rule_of_onnx_by_hand():
    """One sample at (0.25, 0.5) of four pixels: 0.375 * 8 is more than the others' 0.375 * 4, 0.125 * 16."""
    features = np.array([[8, 4], [16, 16]], np.float32)[None, None]
    rois = np.array([[0, 0.5, 0.25, 1.5, 1.25]], np.float32)
    options = {"sampling_ratio": 1, "mode": "max"}
    assert roicy.roi_align(features, rois, 1, max_rule="onnx", **options).item() == 3
    assert roicy.roi_align(features, rois, 1, **options).item() == 0.375 * 12 + 0.125 * 32


# ---------------------------------------------------------------- outputs


@pytest.mark.parametrize("shape", [(1, 0, 8, 8), (1, 3, 0, 8), (1, 3, 8, 0), (1, 0, 0, 0)])
@pytest.mark.parametrize("rule", ["bilinear", "onnx"])
def test_maps_without_pixels_or_channels(shape, rule):
    """A map without pixels is missed by every sample: zeros, of which the first is chosen."""
    features = np.ones(shape, np.float32)
    rois = np.array([[0, -1, -1, 3, 3], [0, 0, 0, 0, 0]], np.float32)
    options = {"sampling_ratio": 2, "mode": "max"}
    assert not roicy.roi_align(features, rois, (2, 3), max_rule=rule, **options).any()
    values, argmax = roicy.roi_align(features, rois, (2, 3), return_argmax=True, **options)
    assert values.shape == argmax.shape == (2, shape[1], 2, 3)
    if features.size == 0 and shape[1]:
        assert not argmax.any()
    grad = roicy.roi_align_backward(values, rois, shape, argmax=argmax, **options)
    assert grad.shape == shape
    assert not roicy.roi_align_backward_rois(values, features, rois, argmax=argmax, **options).any()


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("sampling_ratio", [2, 4, 5, 7])
@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_knows_nothing_of_other_samples(sampling_ratio, nothing, dtype):
    """Neither the pixels of samples that were not chosen nor the other channels spoil it."""
    rng = np.random.default_rng(sampling_ratio)
    features = random_values(rng, (1, 19, 20, 30), dtype)
    rois = np.array([[0, 1.07, 1.13, 28.9, 18.7], [0, 3.317, 2.231, 20.173, 9.719]], dtype)
    options = {"mode": "max", "sampling_ratio": sampling_ratio}
    shape = (2, 19, 3, 2)
    # between pixels, so that what a value there depends on is what it has a weight for
    argmax = rng.integers(0, sampling_ratio**2, shape).astype(np.int32)
    grad_output = random_values(rng, shape, dtype)
    touched = roicy.roi_align_backward(
        np.ones_like(grad_output), rois, features.shape, argmax=argmax, **options
    )
    expected = roicy.roi_align_backward_rois(grad_output, features, rois, argmax=argmax, **options)
    features[touched == 0] = nothing
    assert (touched == 0).any(axis=(2, 3)).all()
    grad = roicy.roi_align_backward_rois(grad_output, features, rois, argmax=argmax, **options)
    assert_same_bits(grad, expected)

    grad_output[:, 7] = nothing  # and what is sent to the pixels stays in its channel
    grad = roicy.roi_align_backward(grad_output, rois, features.shape, argmax=argmax, **options)
    assert np.isfinite(np.delete(grad, 7, axis=1)).all()
    assert np.isfinite(grad[0, 7][touched[0, 7] == 0]).all()


STEP = 2.0**-20


@given_some(
    problems(
        dtypes=[np.dtype("float64")],
        box_dtypes=[np.dtype("float64")],
        output_sizes=[(1, 1), (2, 3), (3, 2)],
        most_channels=3,
    ),
    st.integers(0, 99),
)
def test_central_differences(problem, seed):
    """Between kinks a maximum is a polynomial of the box's edges, as long as it is that of one sample."""
    assume(problem.rois.size and problem.features.size)
    assume((abs(problem.rois) < 1e3).all())
    rng = np.random.default_rng(seed)
    rois = problem.rois.copy()
    rois[:, 1:] += rng.uniform(-0.3, 0.3, (len(rois), 4))
    problem = problem._replace(rois=rois, features=rng.standard_normal(problem.features.shape))
    values, argmax = pool(problem, return_argmax=True)
    grad_output = rng.standard_normal(values.shape)
    grad = roicy.roi_align_backward_rois(
        grad_output, problem.features, rois, mode="max", argmax=argmax, **problem.options
    )
    assert not grad[:, 0].any()
    smooth = np.ones(values.shape, bool)  # bins whose maximum moves evenly, and stays with its sample
    losses = {}
    for column in range(1, 5):
        moved = []
        for step in (-STEP, STEP):
            shifted = rois.copy()
            shifted[:, column] += step
            out, other = pool(problem._replace(rois=shifted), return_argmax=True)
            smooth &= other == argmax
            moved.append(out)
        smooth &= abs(moved[0] + moved[1] - 2 * values) < 1e-10
        losses[column] = (moved[1] - moved[0]) / (2 * STEP)
    whole = smooth.all(axis=(1, 2, 3))
    assume(whole.any())
    for column, slope in losses.items():
        expected = (slope * grad_output).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(grad[whole, column], expected[whole], rtol=1e-6, atol=1e-6)


def test_the_gradient_of_a_sample_off_the_map_is_nothing():
    features = np.full((1, 1, 4, 4), -5.0)
    rois = np.array([[0, 0, 0, 8, 4.0]])
    _, argmax = roicy.roi_align(features, rois, 1, mode="max", return_argmax=True)
    options = {"mode": "max", "argmax": argmax}
    assert not roicy.roi_align_backward(np.ones((1, 1, 1, 1)), rois, features.shape, **options).any()
    assert not roicy.roi_align_backward_rois(np.ones((1, 1, 1, 1)), features, rois, **options).any()


def test_the_gradient_of_a_clamped_sample_goes_to_the_border():
    features = np.zeros((1, 1, 4, 4))
    features[0, 0, 0, 0] = 1
    rois = np.array([[0, -0.75, -0.75, 0.25, 0.25]])  # its one sample lies at -0.75: the pixel in the corner
    values, argmax = roicy.roi_align(features, rois, 1, mode="max", return_argmax=True)
    assert values.item() == 1
    options = {"mode": "max", "argmax": argmax}
    grad = roicy.roi_align_backward(np.full((1, 1, 1, 1), 3.0), rois, features.shape, **options)
    assert np.argwhere(grad[0, 0]).tolist() == [[0, 0]]
    assert grad.sum() == 3
    assert not roicy.roi_align_backward_rois(np.full((1, 1, 1, 1), 3.0), features, rois, **options).any()


def test_the_number_of_samples_is_that_of_the_box():
    """Two boxes: what is a sample of the large one is none of the small one."""
    rois = np.array([[0, 0, 0, 8, 8], [0, 0, 0, 2, 2]], np.float32)
    gradient = np.ones((2, 1, 1, 1), np.float32)
    argmax = np.array([63, 3], np.int32).reshape(2, 1, 1, 1)
    roicy.roi_align_backward(gradient, rois, (1, 1, 9, 9), mode="max", argmax=argmax)
    argmax[1] = 4
    with pytest.raises(ValueError, match=r"argmax\[1, 0, 0, 0\].*\b3\b") as caught:
        roicy.roi_align_backward(gradient, rois, (1, 1, 9, 9), mode="max", argmax=argmax)
    assert "4" in str(caught.value)
