"""Statements of the docstrings and pages that no other test checks, sentence by sentence.

Each test has its sentence, and numbers that can be checked by hand.
"""

import itertools
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import roicy
from roicy import _backend
from roicy.compat import caffe2

pytestmark = pytest.mark.usefixtures("backend")
LOWEST = float(np.finfo(np.float32).min)


def ramps(height, width):
    """Two channels: the column and the row of every pixel."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y])[None].astype(np.float64)


# ---------------------------------------------------------------- small boxes


@pytest.mark.parametrize("wide, high", [(0.25, 6.0), (5.0, 0.5), (0.5, 0.25), (0.0, 3.0), (-2.0, 4.0)])
def test_unaligned_boxes_grow_along_their_short_sides_alone(wide, high):
    """... boxes that are less than one feature pixel wide or high are enlarged to one, from x1 or y1 on."""
    box = np.array([[4.0, 5.0, 4 + wide, 5 + high]])
    grown = np.array([[4.0, 5.0, 4 + max(wide, 1), 5 + max(high, 1)]])
    features = np.random.default_rng(0).random((1, 2, 14, 14))
    for options in {}, {"sampling_ratio": 2}, {"mode": "max"}:
        found = [roicy.roi_align(features, each, 3, aligned=False, **options) for each in (box, grown)]
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("angle", [0.0, 30.0])
@pytest.mark.parametrize("wide, high", [(0.25, 6.0), (5.0, 0.5), (0.5, 0.25), (0.0, 3.0), (-2.0, 4.0)])
def test_unaligned_rotated_boxes_grow_about_their_centre(wide, high, angle):
    """... and rotated ones about their centre: not what roi_align does with the same box."""
    box = np.array([[6.0, 7.0, wide, high, angle]])
    grown = np.array([[6.0, 7.0, max(wide, 1), max(high, 1), angle]])
    features = np.random.default_rng(0).random((1, 2, 14, 14))
    for ratio in 0, 2:
        options = {"aligned": False, "sampling_ratio": ratio}
        found = [roicy.roi_align_rotated(features, each, 3, **options) for each in (box, grown)]
        np.testing.assert_array_equal(*found)
        if angle == 0:
            corners = np.array([[6 - wide / 2, 7 - high / 2, 6 + wide / 2, 7 + high / 2]])
            upright = roicy.roi_align(features, corners, 3, **options)
            assert np.abs(upright - found[0]).max() > 1e-3
            corners = np.array([[6 - max(wide, 1) / 2, 7 - max(high, 1) / 2] * 2])
            corners[:, 2:] += [max(wide, 1), max(high, 1)]
            np.testing.assert_allclose(roicy.roi_align(features, corners, 3, **options), found[0], atol=1e-12)


def test_rotated_boxes_that_grow_have_no_gradient_of_their_size():
    """... where a box that is not aligned has been enlarged to one pixel its size has no gradient."""
    features, grad = ramps(9, 9), np.ones((1, 2, 2, 3))
    box = np.array([[4.25, 4.5, 0.25, 3.0, 20.0]])
    gradient = roicy.roi_align_rotated_backward_rois(grad, features, box, aligned=False, sampling_ratio=2)
    assert gradient[0, 2] == 0
    assert (np.abs(gradient[0, [0, 1]]) > 1).all()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(
    "low, high", [((3.3, 2.1), (9.8, 11.4)), ((-2.0, 4.0), (5.0, 20.0)), ((8.0, 9.0), (2.0, 3.0))]
)
def test_an_angle_of_zero_is_an_upright_box(low, high, aligned):
    """All other boxes with an angle of 0 have the positions that they have in roi_align, up to rounding."""
    if not aligned and low > high:
        low, high = high, low  # reversed ones grow
    (x1, y1), (x2, y2) = low, high
    features = np.random.default_rng(0).random((1, 3, 14, 12))
    upright, rotated = (
        np.array([[x1, y1, x2, y2]]),
        np.array([[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0]]),
    )
    for ratio in (0, 1, 3):
        options = {"aligned": aligned, "sampling_ratio": ratio}
        np.testing.assert_allclose(
            roicy.roi_align_rotated(features, rotated, (3, 2), **options),
            roicy.roi_align(features, upright, (3, 2), **options),
            atol=1e-12,
        )


def test_rounding_may_add_a_sample():
    """Where a size is a whole number of samples, rounding may add one to an adaptive grid."""
    features = ramps(8, 8) ** 2
    one = np.float32(1)
    x1 = next(x for x in np.arange(0.1, 5, 0.1, np.float32) if (x + 2 * one) - x > 2)
    box = np.array([[x1, 1, x1 + 2 * one, 3]], np.float32)
    adaptive = roicy.roi_align(features, box, 1)[0, 0, 0, 0]
    two, three = (roicy.roi_align(features, box, 1, sampling_ratio=ratio)[0, 0, 0, 0] for ratio in (2, 3))
    assert abs(two - three) > 1e-2
    np.testing.assert_allclose(adaptive, three, rtol=1e-6)
    rotated = np.array([[x1 + one, 2, 2, 2, 0]], np.float32)
    np.testing.assert_allclose(roicy.roi_align_rotated(features, rotated, 1)[0, 0, 0, 0], two, rtol=1e-6)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_boxes_without_a_side_are_lines(mode):
    """The samples of a box without width lie in a column, those of one without height in a row."""
    features = ramps(12, 12)
    options = {"sampling_ratio": 2, "mode": mode}
    out = roicy.roi_align(features, np.array([[3.75, 2, 3.75, 10], [2, 5.5, 8, 5.5]]), 2, **options)
    assert (out[0, 0] == 3.25).all()
    assert (out[0, 1, 0] < out[0, 1, 1]).all()
    assert (out[1, 1] == 5.0).all()
    assert (out[1, 0, :, 0] < out[1, 0, :, 1]).all()


def test_adaptive_grids_miss_no_pixel():
    """A fixed number skips pixels in large boxes. The adaptive one misses none."""
    rng = np.random.default_rng(0)
    skipped = 0
    for _ in range(40):
        x1, y1 = rng.uniform(0, 10, 2)
        x2, y2 = rng.uniform(11, 30, 2)
        box = np.array([[x1, y1, x2, y2]])
        inside = np.s_[..., int(np.ceil(y1)) : int(y2), int(np.ceil(x1)) : int(x2)]
        bins = tuple(rng.integers(1, 5, 2).tolist())
        grad = np.ones((1, 1, *bins))
        assert (roicy.roi_align_backward(grad, box, (1, 1, 30, 30))[inside] > 0).all()
        fixed = roicy.roi_align_backward(grad, box, (1, 1, 30, 30), sampling_ratio=2)
        skipped += not (fixed[inside] > 0).all()
    assert skipped > 20


# ---------------------------------------------------------------- slopes and gradients


def test_rotated_samples_on_centres_take_the_slope_towards_larger_coordinates():
    """... on a pixel's centre that towards larger coordinates; zero where the border is replicated."""
    x = np.array([0.0, 1, 4, 9, 16])
    features = np.broadcast_to(x, (1, 1, 5, 5)) + 100 * x[:, None]
    grad = np.ones((1, 1, 1, 1))
    for position, slope in [(0, 1), (1, 3), (2, 5), (3, 7), (4, 0), (-0.5, 0), (4.5, 0)]:
        box = np.array([[position + 0.5, 2.75, 1, 1, 0.0]])
        found = roicy.roi_align_rotated_backward_rois(grad, features, box, sampling_ratio=1)
        np.testing.assert_allclose(found[0, 0], slope, atol=1e-12)
        box = np.array([[2.75, position + 0.5, 1, 1, 0.0]])
        found = roicy.roi_align_rotated_backward_rois(grad, features, box, sampling_ratio=1)
        np.testing.assert_allclose(found[0, 1], 100 * slope, atol=1e-12)


# Boxes 120 pixels high in a map one pixel wide, a bin and a sample for each row: all weights are 1. Their
# last rows are in bands of their own, of 32 rows each, which is what counts for their order.
ROWS, TALL, STARTS = 200, 120, np.array([50, 0, 75, 15])
SUMMED = {
    "average": lambda grad, y: roicy.roi_align_backward(
        grad, columns(0, y, 1, y + TALL), (1, 1, ROWS, 1), sampling_ratio=1
    ),
    "maximum": lambda grad, y: roicy.roi_align_backward(
        grad,
        columns(0, y, 1, y + TALL),
        (1, 1, ROWS, 1),
        sampling_ratio=1,
        mode="max",
        argmax=np.zeros(grad.shape, np.int32),
    ),
    "rotated": lambda grad, y: roicy.roi_align_rotated_backward(
        grad, columns(0.5, y + TALL / 2, 1, TALL, 0), (1, 1, ROWS, 1), sampling_ratio=1
    ),
    "pooled": lambda grad, y: roicy.roi_pool_backward(
        grad,
        (y[:, None] + np.arange(TALL)).astype(np.int32).reshape(grad.shape),
        columns(0, y, 0, y + TALL - 1),
        (1, 1, ROWS, 1),
    ),
}


def columns(*values):
    return np.stack(np.broadcast_arrays(*values), axis=1).astype(np.float32)


def gradients_that_do_not_commute(seed):
    values = np.array([1e8, -1e8, 5e7, 1, 3, 1e-3, 7], np.float32)
    return np.random.default_rng(seed).choice(values, (len(STARTS), 1, TALL, 1))


def summed_in_turn(grad, order):
    sums = np.zeros((1, 1, ROWS, 1), grad.dtype)
    for k in order:
        sums[0, 0, STARTS[k] : STARTS[k] + TALL] += grad[k, 0]
    return sums


def summed_exactly(grad):
    fractions = np.vectorize(Fraction, otypes=[object])(grad)
    return summed_in_turn(fractions, range(len(STARTS))).astype(np.float64).astype(np.float32)


@pytest.mark.parametrize("operator", ["average", "maximum", "rotated"])
def test_sums_follow_the_places_of_boxes(operator, backend):
    """... over the boxes of an image in a fixed order, on the CPU that of their places on the map.

    On a GPU sums of maxima of so many samples keep what an addition rounds away.
    """
    for seed in range(5):
        grad = gradients_that_do_not_commute(seed)
        by_place = summed_in_turn(grad, np.argsort(STARTS))
        assert not np.array_equal(summed_in_turn(grad, range(len(STARTS))), by_place)
        for order in map(list, itertools.permutations(range(len(STARTS)))):
            found = SUMMED[operator](grad[order], STARTS[order])
            expected = by_place
            if backend != "cpu":
                expected = summed_exactly(grad) if operator == "maximum" else summed_in_turn(grad, order)
            np.testing.assert_array_equal(found, expected)


def test_sums_of_roi_pool_follow_the_rows():
    """... over the boxes of an image in ascending order."""
    for seed in range(5):
        grad = gradients_that_do_not_commute(seed)
        for order in map(list, itertools.permutations(range(len(STARTS)))):
            found = SUMMED["pooled"](grad[order], STARTS[order])
            np.testing.assert_array_equal(found, summed_in_turn(grad, order))


# ---------------------------------------------------------------- maxima of nothing


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float32", "float64"])
def test_where_nothing_is_largest(dtype):
    """... has that value, which is -inf in float16 and bfloat16, and argmax -1."""
    features = np.full((1, 2, 4, 4), np.nan).astype(dtype)
    for pooled, argmax in [
        roicy.roi_pool(features, np.array([[0.0, 0, 3, 3]]), 1, return_argmax=True),
        roicy.roi_align(features, np.array([[0.0, 0, 4, 4]]), 1, mode="max", return_argmax=True),
    ]:
        lowest = LOWEST if dtype in ("float32", "float64") else -np.inf
        assert (pooled.astype(np.float64) == lowest).all()
        assert (argmax == -1).all()


def test_a_nan_is_not_chosen_by_the_rule_of_onnx():
    """With max_rule="onnx" a NaN may hide other pixels of its samples: one of them, or nothing, is found."""
    box = np.array([[0.0, 0, 2, 2]])
    for place in range(4):
        pixels = np.array([1.0, 2, 3, 4])
        pixels[place] = np.nan
        out = roicy.roi_align(
            pixels.reshape(1, 1, 2, 2), box, 1, mode="max", max_rule="onnx", sampling_ratio=1
        )
        assert out.item() in [*(np.delete(pixels, place) / 4), LOWEST]


def test_weights_of_zero_count():
    """A NaN or an infinity goes where its pixel has a part in a sample, one of weight zero included."""
    upright, rotated = np.array([[2.0, 2, 3, 3]]), np.array([[2.5, 2.5, 1, 1, 0]])
    for row, column in itertools.product(range(5), repeat=2):
        features = np.ones((1, 1, 5, 5))
        features[0, 0, row, column] = np.inf
        part = row in (2, 3) and column in (2, 3)
        for out in (
            roicy.roi_align(features, upright, 1, sampling_ratio=1),
            roicy.roi_align_rotated(features, rotated, 1, sampling_ratio=1),
        ):
            assert np.isfinite(out).all() == (not part)
            assert np.isnan(out).all() == (part and (row, column) != (2, 2))


@pytest.mark.cpu_only(reason="runs both")
def test_maxima_are_the_same_numbers_on_a_gpu(host_kernels, monkeypatch):
    """RoIPool and its argmax ..., and so are the largest samples, if the CPU has fused multiply-adds."""
    rng = np.random.default_rng(0)
    level = roicy.cpu.level()
    for seed in range(6):
        # values that are all but equal: whose sample is largest the last bit decides
        features = (1 + [1, 1e-6][seed % 2] * rng.random((2, 8, 12, 12))).astype(np.float32)
        corners = rng.uniform(-2, 8, (6, 2))
        rois = np.column_stack([rng.integers(2, size=6), corners, corners + rng.uniform(1, 9, (6, 2))])
        rois = rois.astype(np.float32)

        def maxima(features=features, rois=rois):
            yield from roicy.roi_pool(features, rois, 3, return_argmax=True)
            if level != "baseline":
                yield from roicy.roi_align(features, rois, 3, mode="max", return_argmax=True)

        on_cpu = list(maxima())
        with monkeypatch.context() as patch:
            patch.setattr(_backend, "cpu", host_kernels)
            on_gpu = list(maxima())
        for ours, theirs in zip(on_cpu, on_gpu, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_rotated_boxes_have_the_same_bits_in_both_layouts():
    """Results do not depend on ... the layout or the strides, to the last bit: on a GPU, too."""
    rng = np.random.default_rng(0)
    features = rng.random((2, 9, 15, 12), dtype=np.float32)
    channels_last = np.ascontiguousarray(np.moveaxis(features, 1, 3))
    rois = np.column_stack([[0, 1, 1], rng.uniform(2, 10, (3, 2)), rng.uniform(1, 14, (3, 2)), [0, 31, -77]])
    for ratio in (0, 2, 5):
        first = roicy.roi_align_rotated(features, rois, (2, 3), sampling_ratio=ratio)
        last = roicy.roi_align_rotated(channels_last, rois, (2, 3), sampling_ratio=ratio, layout="NHWC")
        np.testing.assert_array_equal(np.moveaxis(last, 3, 1), first)


# ---------------------------------------------------------------- R-MAC


@pytest.mark.numpy_only(reason="of regions alone, which are NumPy's")
def test_regions_of_scale_one_cover_maps_that_are_not_too_long():
    """... up to seven times its width or height, with an overlap of a quarter or more."""
    for overlap, height in itertools.product((0.25, 0.4, 0.7), (1, 3, 4, 10, 17)):
        for width in range(height, 7 * height + 1):
            starts = roicy.rmac_regions((1, 1, height, width), scales=1, overlap=overlap)[:, 1]
            assert starts[0] == 0
            assert starts[-1] == width - height
            assert (np.diff(starts) <= height).all()
    starts = roicy.rmac_regions((1, 1, 4, 29), scales=1)[:, 1]
    assert (np.diff(starts) > 4).any()
    starts = roicy.rmac_regions((1, 1, 4, 9), scales=1, overlap=0)[:, 1]
    assert (np.diff(starts) > 4).any()


@pytest.mark.numpy_only(reason="of regions alone, which are NumPy's")
def test_smaller_regions_may_leave_gaps_and_end_before_the_border():
    """... some end a pixel before the border; smaller ones may leave gaps between them."""
    regions = roicy.rmac_regions((1, 1, 3, 5))
    smallest = regions[regions[:, 3] == regions[:, 1]]
    assert len(np.unique(smallest[:, 1:], axis=0)) < 15
    regions = roicy.rmac_regions((1, 1, 3, 33))
    sizes = regions[:, 3] - regions[:, 1]
    assert {regions[sizes == size, 3].max() for size in (0, 1, 2)} == {31, 32}


@pytest.mark.numpy_only(reason="of regions alone, which are NumPy's")
def test_scales_without_pixels_are_left_out():
    for height, width in itertools.product((1, 2, 5), (3, 8)):
        most = 2 * min(height, width) - 1
        regions = [roicy.rmac_regions((1, 1, height, width), scales=scales) for scales in (most, most + 9)]
        np.testing.assert_array_equal(*regions)


def test_a_whitening_function_is_called_once():
    """... with the vectors of all regions of all images, (N * R, C), of length 1."""
    seen = []
    features = np.random.default_rng(0).random((3, 5, 8, 11))
    out = roicy.rmac(features, whiten=lambda rows: seen.append(rows) or rows[:, :4])
    (rows,) = seen
    assert rows.shape == (len(roicy.rmac_regions(features.shape)), 5)
    assert rows.dtype == np.float64
    assert abs((rows**2).sum(axis=1) - 1).max() < 1e-7
    assert out.shape == (3, 4)


# ---------------------------------------------------------------- plans, outputs, Caffe2


@pytest.mark.numpy_only(reason="looks into a plan")
def test_when_a_plan_makes_its_tables():
    """... with the plan, those for float64 maps and for the gradients when they are first asked for."""
    rois = np.array([[0.0, 1, 1, 6, 7]], np.float32)
    for make, boxes in [
        (roicy.roi_align_plan, rois),
        (roicy.roi_align_rotated_plan, np.array([[0, 4, 4, 5, 3, 20]], np.float32)),
    ]:
        plan = make(boxes, (1, 2, 9, 9), 3)
        assert list(plan._tables) == [("float32", "forward")]
        for dtype in "float16", "float32", "uint8":
            plan(np.ones((1, 2, 9, 9), dtype))
        assert len(plan._tables) == 1
        plan(np.ones((1, 2, 9, 9)))
        plan.backward(np.ones(plan.output_shape))
        assert list(plan._tables)[1:] == [("float64", "forward"), ("float64", "backward")]
    features = np.ones((1, 2, 9, 9), np.float32)
    plan = roicy.roi_pool_plan(rois, (1, 2, 9, 9), 3)
    pooled, argmax = plan(features, return_argmax=True)
    plan.backward(pooled, argmax=argmax)
    assert list(plan._tables) == [("float32", "forward"), ("float32", "backward")]
    plan = roicy.roi_align_plan(rois, (1, 2, 9, 9), 3, mode="max")
    pooled, argmax = plan(features, return_argmax=True)
    plan.backward(pooled, argmax=argmax)
    plan.backward_rois(pooled, features, argmax=argmax)
    assert list(plan._tables) == [("float32", "forward")]


def test_one_array_for_out_is_for_the_values():
    """With return_argmax=True ... an array is for the values alone."""
    features = np.random.default_rng(0).random((1, 2, 8, 8), dtype=np.float32)
    rois = np.array([[0, 0, 0, 7, 7]], np.float32)
    for function, options in (roicy.roi_pool, {}), (roicy.roi_align, {"mode": "max"}):
        expected = function(features, rois, 2, return_argmax=True, **options)
        out = np.empty_like(expected[0])
        values, argmax = function(features, rois, 2, return_argmax=True, out=out, **options)
        assert values is out
        for ours, theirs in zip((values, argmax), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (0, 7), (3, 0)])
@pytest.mark.parametrize("name", ["RoIAlign", "RoIAlignRotated"])
def test_no_boxes_of_caffe2_have_any_shape_of_size_zero(name, shape):
    """... and no gradient, for which boxes are as in the operator."""
    X, rois = np.ones((1, 2, 4, 4), np.float32), np.empty(shape, np.float32)
    pooled = getattr(caffe2, name)(X, rois)
    assert pooled.shape == (0, 2, 1, 1)
    gradient = getattr(caffe2, f"{name}Gradient")(X, rois, pooled)
    np.testing.assert_array_equal(gradient, np.zeros_like(X))


@pytest.mark.numpy_only(reason="of processes, whose threads are those of the CPU")
@pytest.mark.cpu_only(reason="of processes, whose threads are those of the CPU")
def test_a_forked_process_has_as_many_threads(run_python):
    """A process that is forked after a call that used several threads starts its own."""
    source = """
import os
import numpy as np
import roicy

roicy.set_num_threads(2)
rois = np.tile(np.array([[0, 0, 0, 90, 90]], np.float32), (200, 1))
roicy.roi_align(np.ones((1, 256, 100, 100), np.float32), rois, 7)
child = os.fork()
if child == 0:
    os._exit(roicy.get_num_threads())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
assert roicy.get_num_threads() == 2
"""
    run_python(source)
