"""Parts of a pyramid's maps give the bits of whole maps, where they hold all that the boxes read."""

import pickle

import numpy as np
import pytest
from closeness import assert_same_bits
from hypothesis import strategies as st
from operators.pyramids import of_all, pyramid, pyramids
from strategies import random_values

import roicy
from promises.test_windows import assert_same_terms, cut, shrunk, widened

pytestmark = pytest.mark.usefixtures("backend")
MARGIN = st.tuples(*[st.sampled_from([0, 0, 1, 99])] * 4)
SHARINGS = st.sampled_from([{}, {}, {"levels": "detectron2"}, {"levels": "torchvision", "merge": "sum"}])


def windows_of(case, function=roicy.rois_window, **options):
    """What the boxes read of each map."""
    sharing = {"spatial_scales": case.scales, "levels": case.levels, "layout": case.layout}
    return function(
        case.rois,
        case.shapes,
        case.bins,
        operator=f"multi_scale_{case.operator.function}",
        **{**sharing, **case.options(), **options},
    )


def parts_of(case, windows, margins):
    """Maps cut to the windows, widened, and where they lie on the maps."""
    found = []
    for features, window in zip(case.given(), windows, strict=True):
        height, width = features.shape[2:] if case.layout == "NCHW" else features.shape[1:3]
        found.append((widened(window, margins, height, width), height, width))
    return [part for part, _, _ in found], [(*part[:2], height, width) for part, height, width in found]


@of_all
def test_parts_of_the_maps_give_the_same_bits(operator, examples):
    def hold(case, margins, sharing, whole):
        parts, windows = parts_of(case, windows_of(case, **sharing), margins)
        if whole is not None and whole < len(parts):  # None is for a whole map
            height, width = windows[whole][2:]
            parts[whole], windows[whole] = (0, 0, height, width), None
        given = [cut(array, part, case.layout) for array, part in zip(case.given(), parts, strict=True)]
        shapes = [array.shape for array in given]
        wanted = case.argmax_wanted()
        expected, argmax = case.pooled(**sharing, **wanted)
        options = {"windows": windows, **sharing}
        found = case.call(features=given, output_size=case.bins, **options, **wanted)
        assert_same_bits(found[0] if wanted else found, expected)
        chosen = {}
        if wanted:
            assert_same_bits(found[1], argmax)
            chosen = {"argmax": argmax}
            out = np.full_like(expected, 7), np.full_like(argmax, 7)
            case.call(features=given, output_size=case.bins, out=out, **options, **wanted)
            assert_same_bits(out[0], expected)
            assert_same_bits(out[1], argmax)

        gradient = random_values(np.random.default_rng(1), expected.shape, expected.dtype)
        wholes = case.call("_backward", grad_output=gradient, input_shapes=case.shapes, **chosen, **sharing)
        grads = case.call("_backward", grad_output=gradient, input_shapes=shapes, **chosen, **options)
        for whole_map, grad, part in zip(wholes, grads, parts, strict=True):
            assert_same_terms(grad, cut(whole_map, part, case.layout))
            rest = whole_map.astype(np.float64)
            cut(rest, part, case.layout)[...] = 0
            assert not rest.any()
        if operator.has_slopes:
            slopes = case.call("_backward_rois", grad_output=gradient, features=case.given(), **sharing)
            found = case.call("_backward_rois", grad_output=gradient, features=given, **options)
            assert_same_bits(found + 0, slopes + 0)
        plan = case.call("_plan", input_shapes=shapes, output_size=case.bins, **options)
        for same in (plan, pickle.loads(pickle.dumps(plan))):
            assert repr(tuple(windows)) in repr(same) or not any(windows)
            assert_same_terms(same(given), case.pooled(**sharing)[0])
            for one, other in zip(same.backward(gradient, **chosen), grads, strict=True):
                assert_same_bits(one, other)

    which = st.one_of(st.none(), st.integers(0, 2))
    examples(pyramids(operator), MARGIN, SHARINGS, which, share=operator.share / 2)(hold)


@of_all
def test_what_is_read_of_each_map(operator):
    """Rows of other maps are zeros; each box alone needs just its own part."""
    case = pyramid(operator, 4, count=9)
    windows = windows_of(case, roicy.rois_windows)
    assert [array.shape for array in windows] == [(9, 4)] * 3
    for level, own in enumerate(windows):
        on_map = case.levels == level
        assert not own[~on_map].any()
        expected = roicy.rois_windows(
            case.rois[on_map],
            case.shapes[level],
            case.bins,
            operator=operator.function,
            spatial_scale=case.scales[level],
            **case.options(),
        )
        np.testing.assert_array_equal(own[on_map], expected)


@of_all
def test_a_part_that_is_smaller_by_a_pixel_is_an_error(operator):
    """Before anything is written; it names the map, and the box as the caller gave it."""
    case = pyramid(operator, 6, count=20)
    case = case._replace(rois=case.rois[np.argsort(case.rois[:, 0], kind="stable")])
    lists = [case.rois[case.rois[:, 0] == image, 1:] for image in (0, 1)]
    expected, argmax = case.pooled(**case.argmax_wanted())
    gradient = np.ones_like(expected)
    for level, part in enumerate(windows_of(case)):
        assert any(part)
        for smaller in shrunk(part):
            parts, windows = parts_of(case, windows_of(case), (0, 0, 0, 0))
            parts[level], windows[level] = smaller, (*smaller[:2], *windows[level][2:])
            given = [cut(array, own, case.layout) for array, own in zip(case.given(), parts, strict=True)]
            for rois, named in ((case.rois, r"rois row \d+, "), (lists, r"rois\[[01]\] row \d+, ")):
                out = np.full_like(expected, 7)
                function = getattr(roicy, f"multi_scale_{operator.function}")
                options = {"spatial_scales": case.scales, "levels": case.levels, **case.options()}
                words = rf"^windows\[{level}\] must hold all that rois read: {named}"
                with pytest.raises(ValueError, match=words):
                    function(given, rois, case.bins, windows=windows, out=out, **options)
                assert (out == 7).all()
            outs = [np.full(array.shape, 7, expected.dtype) for array in given]
            shapes = [array.shape for array in given]
            some = {}
            if argmax is not None:
                own = (case.levels == level)[:, None, None, None]
                beyond = np.where(own, pixel_of(smaller, part, level), -1)
                some["argmax"] = np.broadcast_to(beyond, argmax.shape).astype(np.int32)
            with pytest.raises(ValueError, match=rf"^windows\[{level}\] must hold all that"):
                case.call(
                    "_backward", grad_output=gradient, input_shapes=shapes, windows=windows, out=outs, **some
                )
            assert all((array == 7).all() for array in outs)


def pixel_of(smaller, part, level):
    """A pixel of the part that is not in the smaller one."""
    lost = list(smaller[:2]) != list(part[:2])
    row, column = part[:2] if lost else (part[2] - 1, part[3] - 1)
    return row * (28 >> level) + column


@pytest.mark.parametrize(
    ("windows", "error", "words"),
    [
        ([None], ValueError, "windows must have 2 items, one for each map, got 1"),
        ((0, 0, 8, 8), ValueError, "windows must have 2 items, one for each map, got 4"),
        (7, TypeError, "windows must be a list or tuple of windows, one for each map, got int"),
        ([None, 5], TypeError, r"windows\[1\] must be a tuple of 4 ints \(y, x, height, width\), got 5"),
        ([None, (0, 0.5, 8, 8)], TypeError, r"windows\[1\]\[1\] must be an int, got 0.5"),
        ([(0, 0, 8, 8), (3, 0, 6, 9)], ValueError, r"windows\[1\] must lie on the map: of 6 rows"),
    ],
)
def test_what_windows_may_be(windows, error, words):
    maps = [np.zeros((1, 1, 8, 8), np.float32), np.zeros((1, 1, 4, 4), np.float32)]
    with pytest.raises(error, match=f"^{words}"):
        roicy.multi_scale_roi_align(
            maps, np.zeros((0, 4), np.float32), 1, spatial_scales=[1, 1 / 2], windows=windows
        )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"spatial_scale": 1},
            TypeError,
            "multi_scale_roi_align has the options 'spatial_scales', 'levels', ",
        ),
        (
            {"spatial_scales": [1]},
            ValueError,
            "input_shape and spatial_scales must have one item for each map",
        ),
        ({"levels": np.zeros(2, int)}, ValueError, r"levels must have shape \(1,\)"),
        ({"levels": np.array([5])}, ValueError, r"levels\[0\] must lie between -1 and 1"),
    ],
)
def test_what_is_asked_of_pyramids(options, error, words):
    rois, shapes = np.zeros((1, 5), np.float32), [(1, 1, 8, 8), (1, 1, 4, 4)]
    for function in (roicy.rois_window, roicy.rois_windows):
        with pytest.raises(error, match=f"^{words}"):
            function(
                rois, shapes, 1, operator="multi_scale_roi_align", **{"spatial_scales": [1, 1 / 2], **options}
            )


def test_maps_that_no_memory_holds():
    """Of a pyramid over 300 000 x 300 000 pixels."""
    rng, sides = np.random.default_rng(0), [75_000, 37_500, 18_750]
    rows = [random_values(rng, (1, 3, side, 1), np.dtype("float32")) for side in sides]
    maps = [np.broadcast_to(row, (1, 3, side, side)) for row, side in zip(rows, sides, strict=True)]
    corners = rng.uniform(250_000, 250_500, (12, 2))
    rois = np.column_stack([corners, corners + rng.uniform(10, 800, (12, 2))])
    options = {"spatial_scales": [1 / 4, 1 / 8, 1 / 16], "sampling_ratio": 2}
    shapes = [array.shape for array in maps]
    parts = roicy.rois_window(rois, shapes, 7, operator="multi_scale_roi_align", **options)
    windows = [(*part[:2], side, side) for part, side in zip(parts, sides, strict=True)]
    given = [cut(array, part).copy() for array, part in zip(maps, parts, strict=True)]
    found = roicy.multi_scale_roi_align(given, rois, 7, windows=windows, **options)
    assert sum(array.nbytes for array in given) < 2**24 and found.any()
    assert_same_bits(found, roicy.multi_scale_roi_align(maps, rois, 7, **options))
