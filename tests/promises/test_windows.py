"""A part of a map gives the bits of the whole map, if it holds all that the boxes read."""

import pickle
from functools import partial

import battery
import numpy as np
import pytest
from closeness import assert_same_bits, assert_same_sums
from hypothesis import strategies as st
from operators import BATTERY, of_all, of_battery
from operators.roi_pool import POOL
from operators.test_crop import INTEGERS, SIZES, WIDE, boxes_of, geometries, in_layout, pictures
from strategies import FLOAT_DTYPES, given_some, random_values, rising_values

import roicy
from roicy import _backend

pytestmark = pytest.mark.usefixtures("backend")


def smallest(windows):
    """The part that holds all of these, as `roicy.rois_window` has it."""
    reading = windows[windows[:, 2] > windows[:, 0]]
    if not len(reading):
        return 0, 0, 0, 0
    return *reading[:, :2].min(axis=0).tolist(), *reading[:, 2:].max(axis=0).tolist()


def widened(part, margins, height, width):
    """A part that is larger on each side by as much as there is room for."""
    top, left, bottom, right = part
    up, before, down, behind = margins
    return max(0, top - up), max(0, left - before), min(height, bottom + down), min(width, right + behind)


def cut(array, part, layout="NCHW"):
    top, left, bottom, right = part
    return array[:, :, top:bottom, left:right] if layout == "NCHW" else array[:, top:bottom, left:right]


def assert_same_terms(found, expected):
    """On a GPU the order of a sum's terms depends on the layout, a gradient's on where its tile begins."""
    if _backend.cpu is roicy.cpu:
        assert_same_bits(found, expected)
    else:
        assert_same_sums(found, expected)


def assert_same_in_part(operator, problem, margins, layout, rising=None, seed=0):
    """Compare the results of the part that the boxes read, with a margin, with those of the whole maps."""
    features, rois, size, options = problem
    _, _, height, width = features.shape
    windows = operator.windows(rois, features.shape, size, **options)
    part = widened(smallest(windows), margins, height, width)
    window = (*part[:2], height, width)
    options = {"layout": layout, **options}
    whole = battery.to_layout(features, layout)
    values, argmax = operator.both(whole, rois, size, **options)
    given = cut(whole, part, layout)
    found, chosen = operator.both(given, rois, size, window=window, **options)
    assert_same_bits(found, values)
    if argmax is not None:
        assert_same_bits(chosen, argmax)
        out = np.full_like(values, 7), np.full_like(argmax, 7)
        operator.forward(given, rois, size, window=window, return_argmax=True, out=out, **options)
        assert_same_bits(out[0], values)
        assert_same_bits(out[1], argmax)
        values = operator.forward(whole, rois, size, **options)  # the sign of a zero is free
    assert_same_terms(operator.forward(given.copy(), rois, size, window=window, **options), values)

    grad_output = battery.to_layout(problem.grad_output(), layout)
    expected = operator.backward(grad_output, rois, whole.shape, argmax, **options)
    grad = operator.backward(grad_output, rois, given.shape, argmax, window=window, **options)
    assert_same_terms(grad, cut(expected, part, layout))
    rest = expected.astype(np.float64)
    cut(rest, part, layout)[...] = 0
    assert not rest.any()
    if operator.has_slopes:
        maps = whole if rising is None else battery.to_layout(rising, layout)
        expected = operator.backward_rois(grad_output, maps, rois, argmax, **options)
        given = cut(maps, part, layout)
        assert_same_bits(
            operator.backward_rois(grad_output, given, rois, argmax, window=window, **options), expected
        )
    if operator.planned:
        plan = operator.plan(rois, given.shape, size, window=window, **options)
        given = cut(whole, part, layout)
        assert_same_bits(plan(given), values)
        chosen = {} if argmax is None else {"argmax": argmax}
        assert_same_bits(plan.backward(grad_output, **chosen), grad)


@of_all
def test_a_part_of_the_map_gives_the_same_bits(operator, examples):
    margin = st.one_of(st.just(0), st.integers(0, 3), st.just(99))

    @examples(
        operator.problems(),
        st.tuples(margin, margin, margin, margin),
        st.sampled_from(["NCHW", "NHWC"]),
        share=operator.share,
    )
    def hold(problem, margins, layout):
        assert_same_in_part(operator, problem, margins, layout)


@of_battery([(o, case) for o, case in BATTERY if o.boxed and case in battery.SELECTION])
def test_battery(operator, case):
    problem = battery.build(operator, case)
    # towards the middle of the map, that there is something around the part
    boxes = problem.rois[:, 1:] * 0.4 + 0.3 * np.mean(case.shape[2:]) / case.spatial_scale
    problem = problem._replace(rois=np.column_stack([problem.rois[:, :1], boxes]).astype(case.box_dtype))
    rising = battery.build(operator, case, rising_values).features
    assert_same_in_part(operator, problem, (0, 1, 0, 2), case.layout, rising, case.boxes)


@of_all
@pytest.mark.parametrize("begin", [1, 31, 40])
def test_parts_begin_in_any_row(operator, begin):
    """Boxes are gone through by bands of rows of the whole map, wherever the part begins."""
    rng, size = np.random.default_rng(begin), (2, 2)
    features = rising_values(rng, operator.map_shape((1, 5, 170, 30), size), np.dtype("float32"))
    middle = rng.uniform([8, begin + 10], [22, 150], (40, 2))
    half = rng.uniform(1, 5, (40, 2))
    corners = np.column_stack([middle - half, middle + half])
    rois = operator.rois(rng, np.zeros(40), corners)
    for some in (slice(None), slice(12), slice(3)):
        problem = operator.problem(features, rois[some], size, {"sampling_ratio": 1})
        assert_same_in_part(operator, problem, (0, 0, 0, 0), "NCHW")


@of_all
def test_a_part_that_is_smaller_by_a_pixel_is_an_error(operator, examples):
    """Before anything is written; and each box has its own part."""

    @examples(operator.problems(), share=operator.share / 2)
    def hold(problem):
        features, rois, size, options = problem
        _, _, height, width = features.shape
        windows = operator.windows(rois, features.shape, size, **options)
        assert windows.shape == (len(rois), 4)
        assert windows.dtype == np.int64
        for k, own in enumerate(windows.tolist()):
            alone = rois[[k]]
            expected, argmax = operator.both(features, alone, size, **options)
            found = operator.forward(
                cut(features, own), alone, size, window=(*own[:2], height, width), **options
            )
            assert_same_bits(found + 0, expected + 0)
            if own == [0, 0, 0, 0]:
                continue
            grad_output = np.ones_like(expected)
            for part in shrunk(own):
                window = (*part[:2], height, width)
                if operator is POOL:  # whose gradient looks at the argmax alone
                    lost = list(part[:2]) != own[:2]
                    argmax = np.full_like(
                        argmax, named(own[:2] if lost else [end - 1 for end in own[2:]], width)
                    )
                given = cut(features, part)
                out = np.full_like(expected, 7)
                with pytest.raises(
                    ValueError,
                    match=r"^window must hold all that (rois read: rois|boxes read: boxes) row 0, ",
                ):
                    operator.forward(given, alone, size, out=out, window=window, **options)
                assert (out == 7).all()
                out = np.full(given.shape, 7, expected.dtype)
                if operator is not POOL or argmax.size:
                    with pytest.raises(ValueError, match=r"^window must hold all that"):
                        operator.backward(
                            grad_output, alone, given.shape, argmax, out=out, window=window, **options
                        )
                    assert (out == 7).all()
                if operator.has_slopes:
                    with pytest.raises(
                        ValueError,
                        match=r"^window must hold all that (rois read: rois|boxes read: boxes) row 0, ",
                    ):
                        operator.backward_rois(grad_output, given, alone, argmax, window=window, **options)


@given_some(st.data())
def test_a_part_of_an_image_gives_the_same_crops(data):
    image = data.draw(pictures([*FLOAT_DTYPES, *INTEGERS, *WIDE]))[0]
    options = data.draw(geometries())
    rows, size = data.draw(boxes_of([image], options)), data.draw(st.sampled_from(SIZES))
    if image.dtype in WIDE:
        options = {**options, "interpolation": "nearest", "sampling_ratio": 1}
    fill = {} if image.dtype in WIDE else {"fill": 7, "mean": 3}
    layout = data.draw(st.sampled_from(["NHWC", "NCHW"]))
    whole, (height, width) = image[None], image.shape[:2]
    windows = roicy.rois_windows(
        rows, whole.shape, size, operator="crop_and_resize", layout="NHWC", **options
    )
    part = widened(
        smallest(windows), data.draw(st.tuples(*[st.sampled_from([0, 0, 1, 99])] * 4)), height, width
    )
    window = {"window": (*part[:2], height, width)}
    whole, own = (in_layout(array[0], layout)[None] for array in (whole, cut(whole, part, "NHWC")))
    options = {"layout": layout, **options}
    expected = roicy.crop_and_resize(whole, rows, size, **options, **fill)
    assert_same_bits(roicy.crop_and_resize(own, rows, size, **window, **options, **fill), expected)
    if image.dtype not in WIDE:
        grad_output = random_values(np.random.default_rng(1), expected.shape, np.dtype("float32"))
        expected = roicy.crop_and_resize_backward(grad_output, rows, whole.shape, **options)
        found = roicy.crop_and_resize_backward(grad_output, rows, own.shape, **window, **options)
        assert_same_terms(found, cut(expected, part, layout))
    if image.dtype.kind != "V" and image.dtype not in WIDE and options["interpolation"] == "bilinear":
        expected = roicy.crop_and_resize_backward_boxes(grad_output, whole, rows, fill=7, **options)
        found = roicy.crop_and_resize_backward_boxes(grad_output, own, rows, fill=7, **window, **options)
        assert_same_bits(found, expected)
    for k, alone in enumerate(windows.tolist()):
        for smaller in shrunk(alone) if any(alone) else ():
            wrong = cut(in_layout(image, layout)[None], smaller, layout)
            with pytest.raises(ValueError, match=r"^window must hold all that boxes read: boxes row 0, "):
                roicy.crop_and_resize(
                    wrong, rows[[k]], size, window=(*smaller[:2], height, width), **options, **fill
                )


@of_all
@pytest.mark.parametrize("side", [45_000, 300_000])
@pytest.mark.parametrize("channels", [1, 6])
def test_maps_that_no_memory_holds(operator, side, channels):
    """Rows of which each is one number, again and again, take the place of the whole map."""
    size, rng = (2, 3), np.random.default_rng(3)
    rows = random_values(rng, (1, channels * 6, side, 1), np.dtype("float32"))
    _, channels, *_ = shape = operator.map_shape((1, channels, side, side), size)
    whole = np.broadcast_to(rows[:, :channels], shape)
    corners = side - np.array([[900.25, 950.5, 850.0, 920.75], [880, 960, 879, 958.5]])
    rois = operator.rois(rng, [0, 0], corners, np.float64)
    options = {"sampling_ratio": 2}
    top, left, bottom, right = smallest(operator.windows(rois, shape, size, **options))
    assert bottom - top < 100
    assert right - left < 100
    part = cut(whole, (top, left, bottom, right)).copy()
    found = operator.forward(part, rois, size, window=(top, left, side, side), **options)
    assert found.any()
    if operator.name in ("rotated", "deform") and side**2 >= 2**31:
        # a wider part of the map is the whole map that they know
        window = (side - 2000, side - 2000, side, side)
        expected = operator.forward(
            cut(whole, (*window[:2], side, side)), rois, size, window=window, **options
        )
    else:
        expected = operator.forward(whole, rois, size, **options)
    assert_same_bits(found, expected)


def test_images_of_a_list_have_windows_of_their_own():
    rng = np.random.default_rng(8)
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    boxes = np.array([[1.25, 2, 9, 12], [30, 20.5, 44, 37], [50, 1, 70, 12], [2, 3, 12, 9]], np.float32)
    read = roicy.rois_windows(boxes, (1, *image.shape), 5, operator="crop_and_resize", layout="NHWC").tolist()
    arrays = [image[top:bottom, left:right].copy() for top, left, bottom, right in read[:3]]
    arrays.append(image)
    windows = [(top, left, 40, 60) for top, left, _, _ in read[:3]] + [None]
    options = {"batch_indices": np.arange(4), "window": windows}
    expected = roicy.crop_and_resize(image, boxes, 5)
    assert_same_bits(roicy.crop_and_resize(arrays, boxes, 5, **options), expected)
    shapes = [array.shape for array in arrays]
    plan = roicy.crop_and_resize_plan(boxes, shapes, 5, **options)
    assert_same_bits(pickle.loads(pickle.dumps(plan))(arrays), expected)
    assert f"window={windows}" in repr(plan)
    grad = rng.random((4, 5, 5, 3), np.float32)
    assert_same_bits(
        roicy.crop_and_resize_backward_boxes(grad, arrays, boxes, **options),
        roicy.crop_and_resize_backward_boxes(grad, image, boxes),
    )
    for number, found in enumerate(roicy.crop_and_resize_backward(grad, boxes, shapes, **options)):
        window = windows[number] or (0, 0)
        (y, x), (rows, columns, _) = window[:2], shapes[number]
        alone = slice(number, number + 1)
        of_whole = roicy.crop_and_resize_backward(grad[alone], boxes[alone], image.shape)
        assert_same_bits(found, of_whole[y : y + rows, x : x + columns])


@pytest.mark.parametrize(
    ("window", "error", "words"),
    [
        ((0, 0, 4, 4), ValueError, "window must have 1 items for a list of so many images, got 4"),
        (5, TypeError, "window must be a list of windows, one for each image of a list, got int"),
        ([5], TypeError, r"window\[0\] must be a tuple of 4 ints"),
        ([(1, 0, 4, 4)], ValueError, r"window\[0\] must lie on the map"),
        ([(2, 0, 9, 9)], ValueError, r"window\[0\] must hold all that boxes read: boxes row 0"),
    ],
)
def test_what_windows_of_a_list_may_be(window, error, words):
    image = np.zeros((4, 4, 1), np.float32)
    with pytest.raises(error, match=words):
        roicy.crop_and_resize([image], np.array([[0, 0, 0, 4, 4]], np.float32), 2, window=window)


@pytest.mark.parametrize(
    ("window", "error", "words"),
    [
        (5, TypeError, r"window must be a tuple of 4 ints \(y, x, height, width\), got 5 of type int"),
        ((0, 0, 9), ValueError, "window must be 4 ints >= 0"),
        ((0, -1, 9, 9), ValueError, "window must be 4 ints >= 0"),
        ((0, 0.5, 9, 9), TypeError, r"window\[1\] must be an int, got 0.5"),
        ((0, 0, 2**31, 9), ValueError, "window must be of a map with at most 2147483647 rows and columns"),
        (
            (3, 0, 6, 9),
            ValueError,
            "window must lie on the map: of 6 rows and 9 columns it cannot have rows 3 to 7",
        ),
        ((0, 6, 9, 9), ValueError, "window must lie on the map: .* and columns 6 to 10"),
    ],
)
def test_what_a_window_may_be(window, error, words):
    rois = np.zeros((1, 5), np.float32)
    with pytest.raises(error, match=f"^{words}"):
        roicy.roi_align(np.zeros((1, 1, 4, 4), np.float32), rois, 1, window=window)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"operator": "rmac"}, ValueError, "operator must be 'roi_align' or "),
        ({"rounding": "none"}, TypeError, "roi_align has the options 'mode', 'max_rule', 'spatial_scale', "),
        ({"spatial_scale": 0}, ValueError, "spatial_scale must be finite and greater than 0"),
        ({"mode": "min"}, ValueError, "mode must be 'avg' or 'max'"),
        ({"offsets": np.zeros((1, 2, 1, 1))}, ValueError, "offsets must be None for roi_align"),
    ],
)
def test_what_is_asked_of_boxes(options, error, words):
    rois = np.zeros((1, 5), np.float32)
    for function in (roicy.rois_window, roicy.rois_windows):
        with pytest.raises(error, match=f"^{words}"):
            function(rois, (1, 1, 4, 4), 1, **options)


def test_rows_that_are_invalid_read_nothing():
    rois = np.array([[0, np.nan, 0, 4, 4], [7, 0, 0, 4, 4], [0, 5, 5, 7, 7]], np.float32)
    features = np.arange(100, dtype=np.float32).reshape(1, 1, 10, 10)
    windows = roicy.rois_windows(rois, features.shape, 1, invalid="nan")
    assert windows.tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [5, 5, 8, 8]]
    assert roicy.rois_window(rois, features.shape, 1, invalid="nan") == (5, 5, 8, 8)
    part = features[:, :, 5:8, 5:8]
    found = roicy.roi_align(part, rois, 1, window=(5, 5, 10, 10), invalid="nan")
    assert_same_bits(found, roicy.roi_align(features, rois, 1, invalid="nan"))
    with pytest.raises(ValueError, match=r"^rois row 0, "):
        roicy.rois_windows(rois, features.shape, 1)
    with pytest.raises(ValueError, match=r"^rois row 1, "):
        roicy.roi_align(part, rois[[2, 1]], 1, window=(5, 5, 10, 10))


def test_of_several_rows_that_read_beyond_the_first_one_is_named():
    rois = np.array([[0, 5, 5, 7, 7], [0, 0, 0, 4, 4], [0, 5, 4, 7, 7]], np.float32)
    part = np.zeros((1, 1, 3, 3), np.float32)
    for mode in ("avg", "max"):
        with pytest.raises(
            ValueError, match=r"rois row 1, .* reads rows 0 to 5 and columns 0 to 5 of the map"
        ):
            roicy.roi_align(part, rois, 1, window=(5, 5, 10, 10), mode=mode)
    with pytest.raises(ValueError, match=r"^window must hold all that rois read: rois\[0\] row 1, "):
        roicy.roi_align(part, [rois[:, 1:]], 1, window=(5, 5, 10, 10), invalid="nan")


def test_a_plan_of_a_part_is_stored_with_it():
    rois = np.array([[0, 5, 5, 7, 7]], np.float32)
    part = np.ones((1, 1, 3, 3), np.float32)
    for make in (roicy.roi_align_plan, partial(roicy.crop_and_resize_plan, layout="NCHW")):
        plan = pickle.loads(pickle.dumps(make(rois, part.shape, 1, window=(5, 5, 10, 10))))
        assert plan(part)[0, 0, 0, 0] == 1
        assert repr(plan).endswith("window=(5, 5, 10, 10))")


def test_out_stays_where_there_is_no_memory_for_indices_of_the_map(monkeypatch):
    def none(*arguments):
        raise MemoryError

    monkeypatch.setattr("roicy._arguments.argmax_of_map", none)
    part = np.ones((1, 1, 3, 3), np.float32)
    out = np.full((1, 1, 1, 1), 7, np.float32), np.full((1, 1, 1, 1), 7, np.int32)
    with pytest.raises(MemoryError):
        roicy.roi_pool(part, [[0, 5, 5, 7, 7]], 1, return_argmax=True, out=out, window=(5, 5, 10, 10))
    assert out[0] == 7
    assert out[1] == 7


def shrunk(part):
    """A part that lacks the first row, the first column, the last row, the last column."""
    steps = (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, -1, 0), (0, 0, 0, -1)
    return [tuple(edge + step for edge, step in zip(part, each, strict=True)) for each in steps]


def named(pixel, width):
    """A pixel as an argmax has it."""
    return pixel[0] * width + pixel[1]


def test_a_map_of_too_many_pixels_for_argmax():
    """It is the map that is too large, and not the part."""
    part, rois = np.ones((1, 1, 3, 3), np.float32), np.array([[0, 5, 5, 7, 7]], np.float32)
    window = (5, 5, 2**16, 2**15)
    with pytest.raises(
        ValueError, match=r"^window must be of a map with at most 2147483647 pixels for argmax"
    ):
        roicy.roi_pool(part, rois, 1, window=window, return_argmax=True)
    assert roicy.roi_pool(part, rois, 1, window=window)[0, 0, 0, 0] == 1
