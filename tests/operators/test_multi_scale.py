"""Boxes on the maps of a pyramid: each row equals the result of the operator on one map."""

import tracemalloc

import numpy as np
import pytest
from closeness import assert_close, assert_same_bits
from strategies import FEATURE_DTYPES, random_values

import roicy
from operators.average import AVERAGE
from operators.pyramids import SCALES, of_all, of_sloped, pyramid, pyramids
from operators.rotated import ROTATED
from operators.test_fpn_levels import RULES, slow_level

pytestmark = pytest.mark.usefixtures("backend")


# ---------------------------------------------------------------- rows, to the bit


@of_all
def test_each_row_is_that_of_its_map(operator, examples):
    def holds(case):
        out = case.out()
        wanted, argmax = case.argmax_wanted(), None
        if wanted:
            argmax = case.out(np.int32)
            case.pooled(out=(out, argmax), **wanted)
        else:
            case.pooled(out=out)
        features = case.given()
        for level in range(len(case.maps)):
            own = case.levels == level
            values, chosen = (
                case.out(rows=own.sum()),
                case.out(np.int32, own.sum()),
            )  # alike, as bits may follow it
            case.one(
                level,
                features=features[level],
                output_size=case.bins,
                out=(values, chosen) if wanted else values,
                **wanted,
            )
            assert_same_bits(out[own], values)
            if wanted:
                assert_same_bits(argmax[own], chosen)
        assert_same_bits(out[case.levels == -1], 0 * out[case.levels == -1])
        if wanted:
            assert (argmax[case.levels == -1] == -1).all()

    examples(pyramids(operator), share=operator.share)(holds)


@of_all
def test_gradients_are_those_of_each_map(operator, examples):
    def holds(case):
        gradient = random_values(np.random.default_rng(1), case.out().shape, case.out().dtype)
        wanted = case.argmax_wanted()
        chosen = {"argmax": case.pooled(**wanted)[1]} if wanted else {}
        found = case.call("_backward", grad_output=gradient, input_shapes=case.shapes, **chosen)
        given = [np.full(shape, 7, gradient.dtype) for shape in case.shapes]
        case.call("_backward", grad_output=gradient, input_shapes=case.shapes, out=given, **chosen)
        for level, (grad, again) in enumerate(zip(found, given, strict=True)):
            own = case.levels == level
            some = {name: array[own] for name, array in chosen.items()}
            expected = case.one(
                level, "_backward", grad_output=gradient[own], input_shape=case.shapes[level], **some
            )
            assert_same_bits(grad, expected)
            assert_same_bits(again, expected)

    examples(pyramids(operator), share=operator.share)(holds)


@of_sloped
def test_the_gradient_of_boxes_is_that_on_their_map(operator, examples):
    def holds(case):
        gradient = random_values(np.random.default_rng(1), case.out().shape, case.out().dtype)
        features = case.given()
        found = case.call("_backward_rois", grad_output=gradient, features=features)
        expected = np.zeros_like(case.rois)
        for level in range(len(case.maps)):
            own = case.levels == level
            expected[own] = case.one(
                level, "_backward_rois", grad_output=gradient[own], features=features[level]
            )
        assert_same_bits(found + 0, expected + 0)
        out = np.full_like(case.rois, 7)
        case.call("_backward_rois", grad_output=gradient, features=features, out=out)
        assert_same_bits(out, found)

    examples(pyramids(operator), share=operator.share)(holds)


@of_all
def test_against_the_reference(operator):
    case = pyramid(operator, 3, levels=3, count=20)
    values, _ = case.pooled()
    for k, level in enumerate(case.levels):
        if level == -1:
            assert not values[k].any()
            continue
        options = {"spatial_scale": SCALES[level], **case.options()}
        options.pop("mode", None)
        expected = operator.reference.forward(case.maps[level], case.rois[k : k + 1], case.bins, **options)[0]
        operator.hold(values[k : k + 1], expected)


# ---------------------------------------------------------------- the sum of all maps


@of_all
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_sum_of_all_maps(operator, dtype, layout):
    """Each pooled in the type of sums; added in their order and rounded once."""
    case = pyramid(operator, 5, dtype=dtype, layout=layout, channels=18)
    options, wanted = {"levels": "torchvision", "merge": "sum"}, case.argmax_wanted()
    values, argmax = case.pooled(**options, **wanted)
    real = np.dtype("float64" if dtype == np.float64 else "float32")
    total, every = None, np.ones(len(case.rois), bool)
    for level, features in enumerate(case.given()):
        exact = features.astype(real, copy=False) if dtype != np.uint8 else features
        found = case.one(level, chosen=every, features=exact, output_size=case.bins, **wanted)
        part = found[0] if wanted else found
        total = part if total is None else total + part
        if wanted:
            assert_same_bits(argmax[level], found[1])
    assert_same_bits(values, total.astype(values.dtype))

    gradient = random_values(np.random.default_rng(1), values.shape, values.dtype)
    chosen = {"argmax": argmax} if wanted else {}
    grads = case.call("_backward", grad_output=gradient, input_shapes=case.shapes, **options, **chosen)
    slopes = np.zeros(case.rois.shape)
    for level, features in enumerate(case.given()):
        some = {"argmax": argmax[level]} if wanted else {}
        shape = case.shapes[level]
        grad = case.one(level, "_backward", every, grad_output=gradient, input_shape=shape, **some)
        assert_same_bits(grads[level], grad)
        if operator.has_slopes:
            slopes += case.one(level, "_backward_rois", every, grad_output=gradient, features=features)
    if operator.has_slopes:
        found = case.call("_backward_rois", grad_output=gradient, features=case.given(), **options)
        assert_close(found, slopes)


# ---------------------------------------------------------------- levels


@of_all
@pytest.mark.parametrize("rule", RULES)
def test_levels_by_a_rule(operator, rule):
    """Sides around those where levels change; by two of the rules strides are the numbers of levels."""
    sides = [*(112 * 2.0 ** np.arange(-1, 4)), 111.9999, 223.99985, 60, 500, 1e4]
    corners = np.array([[5, 5, 5 + side, 5 + side] for side in sides] + [[0, 0, 0, 50], [0, 0, 300, 300]])
    rng = np.random.default_rng(0)
    rois = operator.rois(rng, [0] * len(corners), corners)
    if operator is ROTATED:
        rois[:, 3:5] = [[x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
    for first in (0, 1):
        scales = SCALES[first:]
        maps = [np.full((1, 3, 9, 9), level + 1, np.float32) for level in range(len(scales))]
        options = {"sampling_ratio": 1} if operator in (AVERAGE, ROTATED) else operator.options
        function = getattr(roicy, f"multi_scale_{operator.function}")
        found = function(maps, rois, 1, spatial_scales=scales, levels=rule, **options)
        finest = 2 + (first if rule in ("torchvision", "detectron2") else 0)
        sides = rois[:, 3:5] - (0 if operator is ROTATED else rois[:, 1:3])
        levels = np.array([slow_level(*row, len(maps), rule, finest=finest) for row in sides])
        expected = function(maps, rois, 1, spatial_scales=scales, levels=levels, **options)
        assert_same_bits(found, expected)
        apart = function(maps, rois[:, 1:], 1, spatial_scales=scales, levels=rule, **options)
        assert_same_bits(apart, expected)


@of_all
@pytest.mark.parametrize("rule", RULES)
def test_a_single_map_is_that_of_all_boxes(operator, rule):
    """But by OpenVINO's rule, which leaves out boxes without area."""
    case = pyramid(operator, 2, levels=1)
    case = case._replace(levels=np.zeros(len(case.rois), np.int64))
    case.rois[0, 3] = -5 if operator is ROTATED else case.rois[0, 1] - 5
    values, _ = case.pooled()
    found, _ = case.pooled(levels=rule)
    assert_same_bits(found[1:], values[1:])
    assert_same_bits(found[0], (0 if rule == "openvino" else 1) * values[0])


def test_mmdet_computes_in_half_precision_where_boxes_are():
    boxes = np.array([[0, 0, 125.44, 100]], np.float16)  # whose area is rounded up to that of 112 x 112
    maps = [np.full((1, 1, 40, 40), level, np.float32) for level in (1, 2)]
    options = {"spatial_scales": SCALES[:2], "levels": "mmdet", "sampling_ratio": 1}
    levels = [roicy.fpn_levels(array, 2, rule="mmdet")[0] for array in (boxes, boxes.astype(np.float32))]
    assert levels[0] != levels[1]
    for array, level in zip((boxes, boxes.astype(np.float32)), levels, strict=True):
        assert roicy.multi_scale_roi_align(maps, array, 1, **options)[0, 0, 0, 0] == level + 1


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_levels_of_any_integers(dtype):
    case = pyramid(AVERAGE, 1)
    levels = np.abs(case.levels)
    values, _ = case.pooled(levels=levels)
    assert_same_bits(case.pooled(levels=levels.astype(dtype))[0], values)


@of_all
def test_the_number_of_threads_leaves_the_bits(operator):
    case = pyramid(operator, 13, channels=70, count=60)
    found = []
    for threads in (1, 2, 3):
        with roicy.num_threads(threads):
            found.append(case.pooled()[0])
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


@of_all
@pytest.mark.cpu_only(reason="NumPy says what it takes")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_results_are_written_in_place(operator, layout):
    """No copy of a level's rows, nor of an `out` that is there: what is taken is less than half of it."""
    case = pyramid(operator, 14, channels=64, count=400, bins=(7, 7), layout=layout)
    features, out = case.given(), np.empty_like(case.pooled()[0])
    chosen = {"argmax": case.pooled(return_argmax=True)[1]} if operator.has_argmax else {}
    grads = [np.empty(shape, np.float32) for shape in case.shapes]
    calls = {
        out.nbytes: lambda: case.call(features=features, output_size=case.bins, out=out),
        sum(grad.nbytes for grad in grads): lambda: case.call(
            "_backward", grad_output=out, input_shapes=case.shapes, out=grads, **chosen
        ),
    }
    for size, call in calls.items():
        call()
        tracemalloc.start()
        try:
            call()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < size / 2
