"""Far more samples than pixels: results are right, and calls end."""

import math

import numpy as np
import pytest
import reference.maxima
import reference.rotated
from closeness import RELATIVE_BOUND, assert_close, assert_same_bits, assert_sums_close
from hypothesis import strategies as st
from operators import AVERAGE, DEFORM, MAX, MEAN, POOL, ROTATED, those
from strategies import FLOAT_DTYPES, Problem, given_some, problems, random_values, rising_values

import roicy
from roicy.compat import caffe2

pytestmark = pytest.mark.usefixtures("backend")

#: Samples of a bin along an axis: up to 16 all are looked at, then where the bin is a few pixels.
RATIOS = [15, 16, 17, 33, 64, 250]
RULES = ["bilinear", "onnx"]


def pool(problem, **more):
    return roicy.roi_align(*problem[:3], mode="max", **problem.options, **more)


def axes_of(problem, roi):
    size = problem.features.shape[2:]
    return reference.maxima.axes(
        reference.maxima.usual_axis,
        roi,
        size,
        problem.output_size,
        **reference.maxima.settled(problem.options),
    )


def value_at(problem, argmax):
    """Values of the samples that an argmax names; 0 where it names none."""
    values = np.zeros(argmax.shape)
    images = problem.features.transpose(0, 2, 3, 1).astype(np.float64)
    for k, roi in enumerate(problem.rois):
        found = reference.maxima.chosen(argmax[k], *axes_of(problem, roi))
        of_all = reference.maxima.samples(images[int(roi[0])], found.y, found.x)
        values[k][found.bin] = of_all[np.arange(len(of_all)), found.bin[0]]
    return values


def dense(problem, rule="bilinear"):
    """The largest of all samples, of which none is left out."""
    images = problem.features.transpose(0, 2, 3, 1).astype(np.float64)
    found = np.zeros((len(problem.rois), problem.features.shape[1], *problem.output_size))
    for k, roi in enumerate(problem.rois):
        every = [axis._replace(looked_at=np.ones(len(axis.bin), bool)) for axis in axes_of(problem, roi)]
        found[k] = reference.maxima.maxima(images[int(roi[0])], *every, rule)[0]
    return found


some_problems = problems(
    dtypes=FLOAT_DTYPES, output_sizes=[(1, 1), (2, 2), (3, 5)], most_channels=20, values=rising_values
)


@given_some(some_problems, st.sampled_from(RATIOS), st.sampled_from(RULES), st.booleans())
def test_maxima_match_the_reference(problem, ratio, rule, negative):
    """The value, which is that of all samples as far as can be told, and the sample that has it."""
    if negative:
        problem = problem._replace(features=-problem.features)
    problem = problem._replace(options={**problem.options, "sampling_ratio": ratio})
    out = pool(problem, max_rule=rule)
    expected, _ = reference.maxima.roi_align_max(*problem[:3], rule=rule, **problem.options)
    assert_close(out, expected)
    assert_close(out, dense(problem, rule))
    if rule == "onnx":
        return
    values, argmax = pool(problem, return_argmax=True)
    assert_same_bits(values, out)
    assert ((argmax >= 0) & (argmax < ratio**2)).all()
    precision = "float64" if problem.features.dtype == np.float64 else "float32"
    scale = np.abs(expected).max(initial=0)
    assert (np.abs(value_at(problem, argmax) - expected) <= RELATIVE_BOUND[precision] * scale).all()


@pytest.mark.parametrize("ratio", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("output_size", [(1, 1), (2, 4)])
def test_the_argmax_where_it_is_clear(ratio, output_size, dtype):
    """Whole numbers, and samples at binary fractions of pixels: every value is exact, ties are real ties."""
    rng = np.random.default_rng(ratio)
    features = rng.integers(-9, 9, (1, 20, 6, 9)).astype(dtype)
    low = rng.integers(-3, 8, (40, 2)) / 2
    rois = np.column_stack([np.zeros(40), low, low + rng.integers(-6, 9, (40, 2)) / 2]).astype(dtype)
    call = features, rois, output_size
    values, argmax = roicy.roi_align(*call, sampling_ratio=ratio, mode="max", return_argmax=True)
    expected, expected_argmax = reference.maxima.roi_align_max(*call, sampling_ratio=ratio)
    assert_same_bits(values, (expected + 0.0).astype(dtype))
    np.testing.assert_array_equal(argmax, expected_argmax)


def test_ends_of_cells_by_hand():
    """Positions 0, 1/32, ...: of each pixel's 32 the first and the last; 31 that reach two pixels are few."""
    place = np.arange(64) / 32
    ends = reference.maxima.ends_of_cells(place, 9)
    assert np.flatnonzero(ends).tolist() == [0, 31, 32, 63]
    assert np.flatnonzero(reference.maxima.ends_of_cells(place[::-1], 9)).tolist() == [0, 31, 32, 63]
    assert reference.maxima.ends_of_cells(place[16:47], 9).all()
    missing = np.concatenate([np.full(3, -7.0), place, np.full(3, 70.0)])
    assert np.flatnonzero(reference.maxima.ends_of_cells(missing, 9)).tolist() == [0, 3, 34, 35, 66]
    repeated = np.repeat(place, 2)
    assert np.flatnonzero(reference.maxima.ends_of_cells(repeated, 9)).tolist() == [0, 62, 64, 126]


@pytest.mark.parametrize(
    "nothing, rule",
    [(np.nan, "bilinear"), *((value, rule) for value in (np.inf, -np.inf) for rule in RULES)],
)
@pytest.mark.parametrize("where", [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_what_is_not_finite(nothing, rule, where):
    """As if all samples were looked at: a NaN spoils those that it weighs in, an infinity takes them."""
    features = np.random.default_rng(0).standard_normal((1, 3, 6, 6))
    features[0, :2, where[0], where[1]] = nothing
    rois = np.array(
        [[0, 2.5, 2.5, 3.5, 3.5], [0, 2.75, 2.75, 3.25, 3.25], [0, 5, 5, 1, 1], [0, 1, 2.5, 6, 4]]
    )
    options = {"sampling_ratio": 60}
    for bins in (1, 2):
        problem = Problem(features, rois, (bins, bins), options)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(pool(problem, max_rule=rule), dense(problem, rule), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ratio", [17, 60, 1000, 46340])
def test_the_gradient_of_any_sample(ratio, dtype):
    """Of those that a maximum does not look at, too."""
    rng = np.random.default_rng(ratio)
    features = random_values(rng, (1, 19, 6, 7), dtype)
    rois = np.array([[0, 1.07, 1.13, 6.9, 4.7], [0, 3.317, 2.231, 3.4, 2.3], [0, 5, 4.5, 2, 1.5]], dtype)
    shape = (3, 19, 2, 1)
    argmax = rng.integers(-1, ratio**2, shape).astype(np.int32)
    gradient = random_values(rng, shape, dtype)
    options = {"sampling_ratio": ratio}
    call = {"mode": "max", "argmax": argmax, **options}
    grad = roicy.roi_align_backward(gradient, rois, features.shape, **call)
    assert_close(
        grad, reference.maxima.roi_align_max_backward(gradient, argmax, rois, features.shape, **options)
    )
    grad = roicy.roi_align_backward_rois(gradient, features, rois, **call)
    expected = reference.maxima.roi_align_max_backward_rois(gradient, argmax, features, rois, **options)
    assert_sums_close(grad, *expected, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_the_most_samples(rule, dtype):
    rng = np.random.default_rng(2)
    features = rng.standard_normal((1, 5, 9, 9)).astype(dtype)
    rois = np.array(
        [[0, 1, 1.5, 7.25, 8], [0, 3.125, 4, 3.25, 4.5], [0, 6, 7, -2, 3], [0, 2, 2, 2, 2]], dtype
    )
    for sampling_ratio in (46340, 65536):
        options = {"sampling_ratio": sampling_ratio}
        out = roicy.roi_align(features, rois, (2, 1), mode="max", max_rule=rule, **options)
        expected, chosen = reference.maxima.roi_align_max(features, rois, (2, 1), rule=rule, **options)
        assert_close(out, expected)
        if sampling_ratio == 65536 and rule == "bilinear":
            with pytest.raises(ValueError, match=r"\brow 0\b.*2147483647 samples in a bin"):
                roicy.roi_align(features, rois, (2, 1), mode="max", return_argmax=True, **options)
        elif rule == "bilinear":
            _, argmax = roicy.roi_align(features, rois, (2, 1), mode="max", return_argmax=True, **options)
            assert (argmax[3] == chosen[3]).all()  # all samples at one point
            assert (argmax >= 0).all()


def averaging(axis, length):
    """Weights of the pixels, and how they follow the two edges of the box: three matrices (bins, length)."""
    weights = np.zeros((3, len(axis.counts), length), np.longdouble)  # sums of very many
    place = axis.places
    for pixel, weight, sign in ((place.lower, 1 - place.fraction, -1), (place.upper, place.fraction, 1)):
        slope = sign * place.sloped
        parts = place.hit * weight, slope * axis.by_low, slope * axis.by_high
        for matrix, part in zip(weights, parts, strict=True):
            np.add.at(matrix, (axis.bin, pixel), part)
    weights /= axis.counts[:, None]
    return weights.astype(np.float64)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ratio", [256, 257, 4000])
def test_averages(ratio, dtype, aligned):
    """An average is separable: rows and columns of all samples, one axis at a time."""
    rng = np.random.default_rng(ratio)
    features = rng.random((1, 19, 6, 7)).astype(dtype)
    boxes = [(1, 1.1, 6.9, 4.7), (5, 4.5, 2, 1.5), (2.3, 2.2, 2.3001, 2.9), (-4, -1.5, 0.2, 9), (3, 3, 3, 3)]
    rois = np.array([[0, *box] for box in boxes], dtype)
    options = {"sampling_ratio": ratio, "aligned": aligned}
    gradient = rng.random((len(rois), 19, 2, 1)).astype(dtype)
    out, by_box = np.zeros(gradient.shape), np.zeros((len(rois), 5))
    to_features = np.zeros(features.shape)
    problem = Problem(features, rois, (2, 1), options)
    for k, roi in enumerate(rois):
        ys, xs = axes_of(problem, roi)
        (y, y_low, y_high), (x, x_low, x_high) = averaging(ys, 6), averaging(xs, 7)
        out[k] = y @ features[0] @ x.T
        to_features[0] += y.T @ gradient[k] @ x
        for column, rows, columns in ((1, y, x_low), (2, y_low, x), (3, y, x_high), (4, y_high, x)):
            by_box[k, column] = (gradient[k] * (rows @ features[0] @ columns.T)).sum()
    assert_close(roicy.roi_align(features, rois, (2, 1), **options), out)
    assert_close(roicy.roi_align_backward(gradient, rois, features.shape, **options), to_features)
    assert_close(roicy.roi_align_backward_rois(gradient, features, rois, **options), by_box)


@those([AVERAGE, MAX, ROTATED, POOL, MEAN, DEFORM])
def test_gradients_of_boxes_at_one_point(operator):
    """78 400 samples of equal bins fall on few pixels: neither result nor reference loses what bins hold."""
    corners = np.array([[3.2, 3.7, 3.2, 3.7]])
    rois = np.column_stack([[0.0], operator.boxes(np.random.default_rng(0), corners)])
    problem = Problem(np.ones((1, 2, 6, 7)), rois, (14, 14), {"sampling_ratio": 20})
    argmax = operator.both(*problem[:3], **problem.options)[1]
    gradient = np.full((1, 2, 14, 14), 0.1)
    call = rois, problem.features.shape
    options = operator.geometry(problem, "_backward")
    expected = operator.reference.backward(gradient, argmax, *call, **options)
    whole = math.fsum(gradient[0, 0].ravel())
    np.testing.assert_allclose([math.fsum(plane.ravel()) for plane in expected[0]], whole, rtol=4e-16)
    assert_close(operator.backward(gradient, *call, argmax=argmax, **options), expected)


def test_rotated_boxes_have_fewer():
    """Their samples share neither rows nor columns: 65536 x 65536 of them would each be visited."""
    rng = np.random.default_rng(3)
    features = rng.random((1, 3, 6, 7), np.float32)
    rois = np.array([[0, 3, 2, 2.5, 1.5, 30], [0, 4, 4, 0, 1, 200]], np.float32)
    gradient = rng.random((2, 3, 2, 1), np.float32)
    out = roicy.roi_align_rotated(features, rois, (2, 1), sampling_ratio=128)
    assert_close(out, reference.rotated.roi_align_rotated(features, rois, (2, 1), sampling_ratio=128))
    for ratio in (129, 65536):
        options = {"sampling_ratio": ratio}
        bins = {"pooled_h": 2, "pooled_w": 1, **options}
        for call in (
            lambda options=options: roicy.roi_align_rotated(features, rois, (2, 1), **options),
            lambda options=options: roicy.roi_align_rotated_plan(rois, features.shape, (2, 1), **options),
            lambda options=options: roicy.roi_align_rotated_backward(
                gradient, rois, features.shape, **options
            ),
            lambda options=options: roicy.roi_align_rotated_backward_rois(
                gradient, features, rois, **options
            ),
            lambda bins=bins: caffe2.RoIAlignRotated(features, rois, **bins),
            lambda bins=bins: caffe2.RoIAlignRotatedGradient(features, rois, gradient, **bins),
        ):
            with pytest.raises(ValueError, match=rf"\bsampling_ratio must be at most 128\b.*\b{ratio}$"):
                call()


@pytest.mark.cpu_only(reason="nothing is kept for each image there")
@pytest.mark.parametrize("images", [2**60, 2**61, 2**62, 2**63 - 1])
def test_more_images_than_any_memory_has(images):
    rois = np.array([[0, 1, 1, 4, 4]], np.float32)
    turned = np.array([[0, 1, 1, 4, 4, 30]], np.float32)
    for call in (
        lambda: roicy.roi_align_plan(rois, (images, 1, 9, 9), 2),
        lambda: roicy.roi_align_plan(rois, (images, 1, 9, 9), 2, mode="max"),
        lambda: roicy.roi_align_rotated_plan(turned, (images, 1, 9, 9), 2),
    ):
        with pytest.raises(MemoryError, match="roicy: no memory"):
            call()


EVERY_CALL = """
import sys
import numpy as np
import roicy
from roicy.compat import caffe2, mxnet

ratio, size, dtype = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
np.seterr(all="ignore")
features = np.random.default_rng(0).random((1, 4, 9, 9), np.float32)
half = size / 2
rois = np.array([[0, 2, 2, 2 + size, 2 + size], [0, 4 - half, 4 - half, 4 + half, 4 + half]], dtype)
turned = np.array([[0, 4, 4, size, size, 30], [0, size / 3, 4, size, 5, 90]], dtype)
gradient = np.ones((2, 4, 7, 7), np.float32)
argmax = np.zeros((2, 4, 7, 7), np.int32)
options = {"sampling_ratio": ratio}
largest = {"mode": "max", **options}
roicy.roi_align(features, rois, 7, **options)
roicy.roi_align_backward(gradient, rois, features.shape, **options)
roicy.roi_align_backward_rois(gradient, features, rois, **options)
try:
    _, argmax = roicy.roi_align(features, rois, 7, return_argmax=True, **largest)
except ValueError as error:
    assert "samples in a bin" in str(error)
roicy.roi_align(features, rois, 7, **largest)
roicy.roi_align(features, rois, 7, max_rule="onnx", **largest)
roicy.roi_align_backward(gradient, rois, features.shape, argmax=argmax, **largest)
roicy.roi_align_backward_rois(gradient, features, rois, argmax=argmax, **largest)
roicy.roi_align_plan(rois, features.shape, 7, **largest)(features)
_, argmax = roicy.roi_pool(features, rois, 7, return_argmax=True)
roicy.roi_pool_backward(gradient, argmax, rois, features.shape)
caffe2.RoIAlign(features, rois, pooled_h=7, pooled_w=7, **options)
mxnet.ROIAlign(features, rois, pooled_size=(7, 7), spatial_scale=1.0, sample_ratio=ratio)
print("done")
"""


@pytest.mark.cpu_only(reason="runs in a process of its own")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-40, 1e-5, 3.0, 1e6, 1e9, 1e30])
@pytest.mark.parametrize("ratio", [0, 65536])
def test_every_call_ends(ratio, size, dtype, run_python):
    """A test against calls that hang: minutes once, hundredths of a second now."""
    assert run_python(EVERY_CALL, ratio, size, dtype, timeout=20).strip() == "done"
