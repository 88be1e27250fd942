"""`roi_align_rotated` and its gradients: against the reference, against `roi_align`, and by hand."""

import battery
import numpy as np
import pytest
import reference.rotated
from closeness import RELATIVE_BOUND, assert_close, assert_same_bits
from strategies import (
    given_some,
    random_values,
)

import roicy
from operators import ROTATED
from operators.rotated import rotated_problems, turned_boxes

pytestmark = pytest.mark.usefixtures("backend")


def align(problem, **more):
    return roicy.roi_align_rotated(
        problem.features, problem.rois, problem.output_size, **problem.options, **more
    )


def test_float32_is_close_to_float64():
    case = battery.CASES[battery.CASE_IDS.index("many-boxes")]
    problem = battery.build(ROTATED, case)
    single = align(problem)
    double = align(problem._replace(features=problem.features.astype(np.float64)))
    assert double.dtype == np.float64
    assert_close(single, double)
    assert (single != double).any()


# ---------------------------------------------------------------- the angle


def exact_boxes(rng, count, length):
    """Corners, middles and sizes that are whole multiples of an eighth: no position is ever rounded."""
    low = rng.integers(-16, 8 * length, (count, 2)) / 8
    size = rng.integers(4, 8 * length, (count, 2)) / 4
    corners = np.column_stack([np.zeros(count), low, low + size])
    return corners, np.column_stack([np.zeros(count), low + size / 2, size, np.zeros(count)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 4])
def test_boxes_that_are_not_turned(sampling_ratio, aligned, dtype):
    """An angle of 0 is `roi_align`, at and over the borders as well."""
    rng = np.random.default_rng(0)
    features = rng.random((1, 5, 16, 16)).astype(dtype)
    corners, middles = (boxes.astype(dtype) for boxes in exact_boxes(rng, 60, 16))
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}
    if sampling_ratio == 0:  # a count that is no power of two would round
        corners[:, 3:] = corners[:, 1:3] + 8
        middles[:, 1:5] = np.column_stack([corners[:, 1:3] + 4, np.full((60, 2), 8)])
    expected = roicy.roi_align(features, corners, (2, 4), **options)
    assert_close(roicy.roi_align_rotated(features, middles, (2, 4), **options), expected.astype(np.float64))

    grad_output = rng.random(expected.shape).astype(dtype)
    expected = roicy.roi_align_backward(grad_output, corners, features.shape, **options)
    grad = roicy.roi_align_rotated_backward(grad_output, middles, features.shape, **options)
    assert_close(grad, expected.astype(np.float64))

    by_edges = roicy.roi_align_backward_rois(grad_output, features, corners, **options).astype(np.float64)
    grad = roicy.roi_align_rotated_backward_rois(grad_output, features, middles, **options)
    # Edges lie at middle -+ half the size: cx moves both, w each by half.
    bound = 100 * RELATIVE_BOUND[dtype]
    np.testing.assert_allclose(grad[:, 1:3], by_edges[:, 1:3] + by_edges[:, 3:], rtol=bound, atol=bound)
    halves = (by_edges[:, 3:] - by_edges[:, 1:3]) / 2
    np.testing.assert_allclose(grad[:, 3:5], halves, rtol=bound, atol=bound)


@pytest.mark.parametrize("turns", [-3, -1, 0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 3])
def test_quarter_turns(sampling_ratio, aligned, turns):
    """A box turned by quarters pools what `roi_align` pools from the map turned back, with the box."""
    rng = np.random.default_rng(turns % 16)
    height, width = 24, 30
    features = rng.random((1, 4, height, width))
    middle = np.column_stack([rng.uniform(11, 19, 20), rng.uniform(11, 13, 20)])
    size = rng.uniform(1.5, 15, (20, 2))
    rois = np.column_stack([np.zeros(20), middle, size, np.full(20, 90.0 * turns)])
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}
    out = roicy.roi_align_rotated(features, rois, (3, 4), **options)

    x, y = middle.T + (0.0 if aligned else 0.5)  # from the corner of the map
    for _ in range(turns % 4):  # clockwise, as displayed
        x, y, height, width = height - y, x, width, height
    x, y = (a - (0.0 if aligned else 0.5) for a in (x, y))
    upright = np.rot90(features, -turns, axes=(2, 3))
    w, h = size.T
    corners = np.column_stack([np.zeros(20), x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    np.testing.assert_allclose(out, roicy.roi_align(upright, corners, (3, 4), **options), rtol=1e-11)


def test_the_angle_turns_counter_clockwise():
    """As displayed, with the first row on top: a row of bins turned by 90 degrees reads upwards."""
    picture = np.array(
        [
            [0, 0, 3, 0, 0],
            [0, 0, 2, 0, 0],
            [4, 5, 1, 7, 8],
            [0, 0, 0, 0, 0],
            [0, 0, 6, 0, 0],
        ],
        np.float64,
    )[None, None]

    def read(angle, **options):
        rois = np.array([[0, 2.5, 2.5, 5, 1, angle]])
        return roicy.roi_align_rotated(picture, rois, (1, 5), sampling_ratio=1, **options)[0, 0, 0].round(9)

    assert read(0).tolist() == [4, 5, 1, 7, 8]
    assert read(90).tolist() == [6, 0, 1, 2, 3]
    assert read(180).tolist() == [8, 7, 1, 5, 4]
    assert read(-90).tolist() == [3, 2, 1, 0, 6]
    assert read(90, clockwise=True).tolist() == [3, 2, 1, 0, 6]
    assert read(np.pi / 2, angle_unit="radians").tolist() == [6, 0, 1, 2, 3]
    assert read(-np.pi / 2, angle_unit="radians", clockwise=True).tolist() == [6, 0, 1, 2, 3]


def test_a_diagonal():
    """At 45 degrees bins as far apart as diagonal neighbours read the diagonal that rises to the right."""
    picture = np.fliplr(np.diag([5.0, 4, 3, 2, 1]))[None, None]
    rois = np.array([[0, 2.5, 2.5, 5 * 2**0.5, 1, 45]])
    out = roicy.roi_align_rotated(picture, rois, (1, 5), sampling_ratio=1)
    np.testing.assert_allclose(out[0, 0, 0], [1, 2, 3, 4, 5], atol=1e-12)


@given_some(rotated_problems(most_channels=20))
def test_units_and_directions(problem):
    """The same angle said in another way gives the same bits."""
    degrees = problem.rois
    options = {**problem.options, "angle_unit": "degrees", "clockwise": False}
    expected = align(problem._replace(options=options))
    radians = degrees.copy()
    radians[:, 5] = (degrees[:, 5].astype(np.float64) * np.pi / 180).astype(degrees.dtype)
    said = problem._replace(rois=radians, options={**options, "angle_unit": "radians"})
    assert_same_bits(align(said), expected)
    mirrored = degrees * np.array([1, 1, 1, 1, 1, -1], degrees.dtype)
    assert_same_bits(align(problem._replace(rois=mirrored, options={**options, "clockwise": True})), expected)


@pytest.mark.parametrize("box_dtype", ["float32", "float64"])
def test_the_last_bit_of_sine_and_cosine(box_dtype):
    """Both are rounded once, from the sine and cosine of the rounded angle, and so are the positions."""
    rng = np.random.default_rng(3)
    width = 4096
    ramp = np.broadcast_to(np.arange(width, dtype=np.float64), (1, 1, 64, width))
    rois = np.zeros((200, 6), box_dtype)
    rois[:, 1], rois[:, 2] = rng.uniform(1000, 3000, 200), rng.uniform(20, 40, 200)
    rois[:, 3], rois[:, 4], rois[:, 5] = 1500, 0.01, rng.uniform(-0.5, 0.5, 200)
    out = roicy.roi_align_rotated(ramp, rois, (1, 3), sampling_ratio=1)
    expected = reference.rotated.roi_align_rotated(ramp, rois, (1, 3), sampling_ratio=1)
    np.testing.assert_allclose(out, expected, rtol=1e-14)


# ---------------------------------------------------------------- boxes


def test_unaligned_boxes_have_at_least_one_pixel():
    """Around their middle, which stays."""
    y, x = np.mgrid[:10, :10]
    ramps = np.stack([x, y])[None].astype(np.float64)
    for w, h in [(0, 0), (0.5, 1), (-3, -8), (1, 1)]:
        rois = np.array([[0, 4.25, 5.5, w, h, 0]])
        out = roicy.roi_align_rotated(ramps, rois, (1, 2), aligned=False)
        assert out[0].ravel().tolist() == [4, 4.5, 5.5, 5.5]
        assert_same_bits(
            roicy.roi_align_rotated(ramps, rois * 4, (1, 2), aligned=False, spatial_scale=0.25), out
        )


@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0), (-2, 3), (3, -2), (-2, -2)])
def test_aligned_boxes_without_size_have_no_samples(size):
    rois = np.array([[0, 4, 4, *size, 30]], np.float64)
    features = np.ones((1, 2, 9, 9))
    assert not roicy.roi_align_rotated(features, rois, (2, 3)).any()
    grad_output = np.ones((1, 2, 2, 3))
    assert not roicy.roi_align_rotated_backward(grad_output, rois, features.shape).any()
    assert not roicy.roi_align_rotated_backward_rois(grad_output, features, rois).any()


def test_negative_sizes_are_mirrored():
    """With a given number of samples, as for `roi_align`."""
    features = np.random.default_rng(0).random((1, 3, 12, 12))
    rois = np.array([[0, 6, 5.5, 7, 4, 25.0]])
    out = roicy.roi_align_rotated(features, rois, 4, sampling_ratio=2)
    for signs, axes in [((-1, 1), 3), ((1, -1), 2), ((-1, -1), (2, 3))]:
        mirrored = rois * np.array([1, 1, 1, *signs, 1])
        again = roicy.roi_align_rotated(features, mirrored, 4, sampling_ratio=2)
        np.testing.assert_allclose(np.flip(again, axes), out, atol=1e-14)


def test_samples_outside_count_in_the_average():
    """Eight rows of samples at -4.75 ... 2.25, upside down: half of them miss the map."""
    rois = np.array([[0, 10, -0.75, 8, 8, 180.0]])
    out = roicy.roi_align_rotated(np.ones((1, 1, 20, 20)), rois, 1)
    assert abs(out.item() - 4 / 8) < 1e-15


def test_nan_stays_where_it_is_sampled():
    features = np.ones((1, 21, 30, 30), np.float32)
    features[0, 5, 4, 25] = np.nan
    features[0, 6, 15, 15] = np.nan
    features[0, :, 0, 0] = np.where(np.arange(21) == 7, np.nan, 1)
    rois = np.array([[0, 15.2, 15.3, 6, 4, 33], [0, 200, 200, 9, 9, 7]], np.float32)
    out = roicy.roi_align_rotated(features, rois, (1, 1))
    assert np.isnan(out[0]).sum() == 1
    assert np.isnan(out[0, 6])
    assert not out[1].any()  # off the map: not even the first pixel times zero


# ---------------------------------------------------------------- many boxes


def crowd(count, dtype="float32"):
    rng = np.random.default_rng(0)
    boxes = turned_boxes(rng, battery.random_boxes(rng, count, 30, 40))
    return np.column_stack([rng.integers(2, size=count), boxes]).astype(dtype)


@pytest.mark.cpu_only(reason="takes half a minute there")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_many_boxes_are_as_good_as_few(layout):
    """More samples than are tabled at once: the same bits as in parts."""
    rois = crowd(1500)
    features = random_values(np.random.default_rng(1), (2, 9, 30, 40), np.dtype("float32"))
    features = np.ascontiguousarray(battery.to_layout(features, layout))
    options = {"sampling_ratio": 3, "layout": layout}
    out = roicy.roi_align_rotated(features, rois, 14, **options)
    parts = [slice(start, start + 250) for start in range(0, 1500, 250)]
    for part in parts:
        assert_same_bits(out[part], roicy.roi_align_rotated(features, rois[part], 14, **options))

    grad_output = random_values(np.random.default_rng(2), out.shape, np.dtype("float32"))
    grad = roicy.roi_align_rotated_backward(grad_output, rois, features.shape, **options)
    assert_same_bits(grad, roicy.roi_align_rotated_backward(grad_output, rois, features.shape, **options))
    added = np.zeros(features.shape)
    for part in parts:
        added += roicy.roi_align_rotated_backward(
            grad_output[part].astype(np.float64), rois[part], features.shape, **options
        )
    assert_close(grad, added)

    grad = roicy.roi_align_rotated_backward_rois(grad_output, features, rois, **options)
    for part in parts:
        some = roicy.roi_align_rotated_backward_rois(grad_output[part], features, rois[part], **options)
        assert_same_bits(grad[part], some)


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("unit, radians", [("degrees", np.pi / 180), ("radians", 1.0)])
@pytest.mark.parametrize("clockwise", [False, True])
def test_turning_a_box_over_a_ramp(unit, radians, clockwise):
    """The right one of two bins lies 2 to the right of the middle: turned to the left, it goes up."""
    y, x = np.mgrid[:20, :20].astype(np.float64)
    ramp = (3 * x + 5 * y)[None, None]
    right = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    rois = np.array([[0, 10.0, 9.0, 8.0, 4.0, 0.0]])
    options = {"angle_unit": unit, "clockwise": clockwise}
    grad = roicy.roi_align_rotated_backward_rois(right, ramp, rois, **options)
    turn = -2 * 5 * radians * (-1 if clockwise else 1)
    np.testing.assert_allclose(grad, [[0, 3, 5, 3 / 4, 0, turn]], atol=1e-13)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("out_order", ["C", "other"])
@pytest.mark.parametrize("sampling_ratio", [1, 2])
def test_few_channels_go_where_they_belong(channels, layout, out_order, sampling_ratio):
    """Results in either layout, in memory of either, of maps in either: the same as of each channel alone."""
    rng = np.random.default_rng(channels)
    features = rng.random((2, channels, 13, 17)).astype(np.float32)
    rois = np.array([[1, 8, 6, 9, 5, 30], [0, 2, 3, 12, 8, -70]], np.float32)
    options = {"sampling_ratio": sampling_ratio}
    wanted = np.concatenate(
        [roicy.roi_align_rotated(features[:, c : c + 1], rois, (3, 5), **options) for c in range(channels)],
        axis=1,
    )
    axes = (0, 1, 2, 3) if layout == "NCHW" else (0, 2, 3, 1)
    given = np.ascontiguousarray(features.transpose(axes))
    out = np.empty(tuple(wanted.shape[axis] for axis in axes), np.float32)
    if out_order == "other":
        other = (0, 3, 1, 2) if layout == "NHWC" else (0, 2, 3, 1)
        back = np.argsort(other)
        out = np.empty(tuple(out.shape[axis] for axis in other), np.float32).transpose(back)
    roicy.roi_align_rotated(given, rois, (3, 5), layout=layout, out=out, **options)
    np.testing.assert_allclose(out, wanted.transpose(axes), rtol=1e-6, atol=1e-6)


@pytest.mark.cpu_only(reason="a device has one way for all layouts")
@pytest.mark.parametrize("shape", [(90, 140), (300, 11), (12, 200)])
def test_planes_of_bytes_pool_what_pixels_do(shape):
    """To the bit, in boxes of any size and angle, wherever they lie."""
    rng = np.random.default_rng(0)
    height, width = shape
    image = rng.integers(0, 256, (1, *shape, 3), dtype=np.uint8)
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    boxes = rng.uniform([0, 0, 0, 1, 1, -180], [0, width, height, 60, 25, 180], (150, 6))
    boxes[::3, 5] = rng.choice([0, 90, 180, -90, 1e-4, 89.999, 0.3], 50)
    boxes[::4, 3:5] = 0.5 + boxes[::4, 3:5] * 0.1
    boxes[1::4, 1:3] = np.array([width, height]) / 2
    for size in ((40, 50), (9, 33)):
        found, wanted = (
            roicy.roi_align_rotated(features, boxes.astype(np.float32), size, sampling_ratio=1, layout=layout)
            for features, layout in ((planes, "NCHW"), (image, "NHWC"))
        )
        assert_same_bits(found, np.ascontiguousarray(wanted.transpose(0, 3, 1, 2)))


@pytest.mark.cpu_only(reason="a device has one way for all layouts")
def test_planes_of_bytes_where_an_edge_is_rounded_past_its_corner():
    """Its left corner is all but 1/8 pixel behind one, and its right one a row above."""
    image = np.random.default_rng(0).integers(0, 256, (1, 200, 1720, 3), dtype=np.uint8)
    box = np.array([[0, 933.4968872, 14.3141003, 1520.2770996, 1.7371203, 0.027559796]], np.float32)
    pixels = roicy.roi_align_rotated(image, box, (3, 600), sampling_ratio=1, layout="NHWC")
    planes = roicy.roi_align_rotated(
        np.ascontiguousarray(image.transpose(0, 3, 1, 2)), box, (3, 600), sampling_ratio=1
    )
    assert_same_bits(planes, np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    "channels, layout", [(1, "NHWC"), (3, "NHWC"), (4, "NHWC"), (3, "NCHW"), (2, "NCHW")]
)
@pytest.mark.parametrize("size", [(9, 16), (7, 41)])
def test_where_a_map_of_bytes_ends_changes_no_bit(channels, layout, size):
    """Boxes inside of a map pool what they do where it is cut off behind them: no more of it can be read."""
    rng = np.random.default_rng(channels)
    image = rng.integers(0, 256, (60, 90, channels), dtype=np.uint8)
    for box in rng.uniform([0, 30, 25, 2, 2, -180], [0, 50, 35, 34, 34, 180], (20, 6)).astype(np.float32):
        right, bottom = np.ceil(roicy.rotated_corners(box[None])[0].max(axis=0)).astype(int)
        pooled = [
            roicy.roi_align_rotated(
                (each if layout == "NHWC" else np.ascontiguousarray(each.transpose(2, 0, 1)))[None],
                box[None],
                size,
                sampling_ratio=1,
                layout=layout,
            )
            for each in (image, image[: bottom + 1, : right + 1].copy())
        ]
        assert_same_bits(*pooled)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_bytes_of_boxes_that_leave_the_map(channels, layout):
    """Of a row some samples lie outside, and have nothing of the row before."""
    rng = np.random.default_rng(channels)
    images = rng.integers(1, 255, (1, channels, 40, 50)).astype(np.uint8)
    rois = np.column_stack(
        [np.zeros(12), rng.uniform(-10, 60, (12, 2)), rng.uniform(5, 60, (12, 2)), rng.uniform(-180, 180, 12)]
    ).astype(np.float32)
    options = {"sampling_ratio": 1}
    wanted = reference.rotated.roi_align_rotated(images, rois, (9, 37), **options)
    assert (wanted == 0).any()
    assert (wanted != 0).any()
    given = np.ascontiguousarray(battery.to_layout(images, layout))
    pooled = roicy.roi_align_rotated(given, rois, (9, 37), layout=layout, **options)
    assert_close(battery.from_layout(pooled, layout), wanted)
