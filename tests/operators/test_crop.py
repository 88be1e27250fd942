"""`crop_and_resize`: its options, images of different sizes, labels, and both gradients."""

import copy
import math
import pickle

import numpy as np
import pytest
import reference.crop
from closeness import assert_close, assert_same_bits, assert_sums_close
from hypothesis import given
from hypothesis import strategies as st
from strategies import BFLOAT16, BOX_DTYPES, FLOAT_DTYPES, HUGE, LAYOUTS, boxes, given_some, random_values

import roicy

INTEGERS = [np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "bool")]
WIDE = [np.dtype(name) for name in ("int32", "uint32", "int64", "uint64")]
#: Few channels, those of the kernels for many, and more of these than a vector has.
CHANNELS = [1, 2, 3, 4, 5, 16, 19, 33]
SIZES = [(1, 1), (7, 7), (3, 5), (1, 33), (2, 19), (9, 1)]


def values(rng, shape, dtype):
    """Values of a dtype, of integers over all of its range."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    return rng.random(shape) < 0.5 if dtype.kind == "b" else random_values(rng, shape, dtype)


@st.composite
def geometries(draw, bilinear=False):
    """Options that say where samples lie and what is outside."""
    chosen = not bilinear and draw(st.booleans())
    return {
        "sampling": draw(st.sampled_from(["half_pixel", "corners"])),
        "interpolation": "nearest" if chosen else "bilinear",
        "sampling_ratio": 1 if chosen else draw(st.sampled_from([1, 0, 2, 3])),
        "border": draw(st.sampled_from(["constant", "edge", "reject"])),
    }


@st.composite
def pictures(draw, dtypes, channels=CHANNELS):
    """A list of images (H, W, C) of different sizes."""
    dtype, count = draw(st.sampled_from(dtypes)), draw(st.integers(1, 3))
    depth, rng = draw(st.sampled_from(channels)), np.random.default_rng(draw(st.integers(0, 2**16)))
    sizes = [(draw(st.integers(0, 12)), draw(st.integers(0, 12))) for _ in range(count)]
    return [values(rng, (*size, depth), dtype) for size in sizes]


@st.composite
def boxes_of(draw, images, options):
    """Rows of boxes of a list of images."""
    huge = HUGE if options["sampling_ratio"] else ()
    rows, dtype = [], draw(st.sampled_from(BOX_DTYPES))
    for number, image in enumerate(images):
        found = draw(boxes(draw(st.integers(0, 2)), *image.shape[:2], dtype, huge=huge))
        rows.append(np.column_stack([np.full(len(found), number, dtype), found]))
    return np.concatenate(rows)


@st.composite
def finishes(draw, channels):
    """Options about what becomes of values."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    options = {"reverse_channels": draw(st.booleans())}
    for name, least in (("fill", 0), ("mean", 0), ("std", 0.5)):
        numbers = rng.random(channels) + least
        if draw(st.booleans()):
            options[name] = tuple(numbers) if draw(st.booleans()) else float(numbers[0])
    return options


def in_layout(image, layout):
    return image if layout == "NHWC" else image.transpose(2, 0, 1)


def as_nhwc(crops, layout):
    return crops if layout == "NHWC" else crops.transpose(0, 2, 3, 1)


def as_arrays(finish, *names):
    """Options about values as the reference takes them, of some names or all."""
    taken = names or tuple(finish)
    return {
        key: np.asarray(value) if isinstance(value, tuple) else value
        for key, value in finish.items()
        if key in taken
    }


def scale_of(images, finish):
    """What rounding errors of a result are relative to."""
    largest = max(float(np.abs(image.astype(np.float64)).max(initial=0)) for image in images)
    largest += sum(np.abs(finish.get(name, 0)).max() for name in ("fill", "mean"))
    return largest / np.min(finish.get("std", 1))


@given(st.data())
def test_reference(data):
    images = data.draw(pictures([*FLOAT_DTYPES, *INTEGERS]))
    options, finish = data.draw(geometries()), data.draw(finishes(images[0].shape[2]))
    rows, size = data.draw(boxes_of(images, options)), data.draw(st.sampled_from(SIZES))
    layout, out_layout = (data.draw(st.sampled_from(["NHWC", "NCHW"])) for _ in range(2))
    options_here = {"layout": layout, "out_layout": out_layout, "dtype": "float32", **options, **finish}
    laid = [data.draw(st.sampled_from(LAYOUTS))(in_layout(image, layout)[None])[0] for image in images]
    crops = roicy.crop_and_resize(laid, rows, size, **options_here)
    assert crops.dtype == np.float32
    expected = reference.crop.crop_and_resize(images, rows, size, **options, **as_arrays(finish))
    assert_close(as_nhwc(crops, out_layout), expected, scale=scale_of(images, finish))
    if len({image.shape for image in images}) == 1:  # an array of them is the same as a list
        joined = np.stack([in_layout(image, layout) for image in images])
        assert_same_bits(roicy.crop_and_resize(joined, rows, size, **options_here), crops)


@given_some(st.data())
def test_gradient_of_images(data):
    images = data.draw(pictures([np.dtype("float32")]))
    options, finish = data.draw(geometries()), data.draw(finishes(images[0].shape[2]))
    rows, size = data.draw(boxes_of(images, options)), data.draw(st.sampled_from(SIZES))
    layout, out_layout = (data.draw(st.sampled_from(["NHWC", "NCHW"])) for _ in range(2))
    finish = {key: value for key, value in finish.items() if key in ("std", "reverse_channels")}
    rng, dtype = np.random.default_rng(1), data.draw(st.sampled_from(FLOAT_DTYPES))
    grad_output = random_values(rng, (len(rows), *size, images[0].shape[2]), dtype)
    given_grad = grad_output if out_layout == "NHWC" else grad_output.transpose(0, 3, 1, 2)
    shapes = [in_layout(image, layout).shape for image in images]
    grads = roicy.crop_and_resize_backward(
        given_grad, rows, shapes, layout=layout, out_layout=out_layout, **options, **finish
    )
    expected = reference.crop.crop_and_resize_backward(
        grad_output.astype(np.float64),
        rows,
        [image.shape for image in images],
        **options,
        **as_arrays(finish),
    )
    for grad, wanted, shape in zip(grads, expected, shapes, strict=True):
        assert grad.shape == shape
        assert grad.dtype == dtype
        assert_close(as_nhwc(grad[None], layout)[0], wanted)


@given_some(st.data())
def test_gradient_of_boxes(data):
    images = data.draw(pictures([*FLOAT_DTYPES, *INTEGERS]))
    options, finish = data.draw(geometries(bilinear=True)), data.draw(finishes(images[0].shape[2]))
    rows, size = data.draw(boxes_of(images, options)), data.draw(st.sampled_from(SIZES[:5]))
    finish = {key: value for key, value in finish.items() if key != "mean"}
    rng = np.random.default_rng(1)
    grad_output = random_values(rng, (len(rows), *size, images[0].shape[2]), np.dtype("float32"))
    grads = roicy.crop_and_resize_backward_boxes(grad_output, images, rows, **options, **finish)
    expected, terms = reference.crop.crop_and_resize_backward_boxes(
        grad_output.astype(np.float64), images, rows, **options, **as_arrays(finish)
    )
    assert grads.dtype == rows.dtype
    assert_sums_close(grads, expected, terms, "float32")


@given_some(st.data())
def test_integer_results(data):
    images = data.draw(pictures([*FLOAT_DTYPES[:2], *INTEGERS], channels=[1, 3, 5, 19]))
    options = data.draw(geometries())
    rows, size = data.draw(boxes_of(images, options)), data.draw(st.sampled_from(SIZES))
    own = data.draw(st.booleans()) and images[0].dtype in INTEGERS
    dtype = images[0].dtype if own else np.dtype("uint8")
    std = 0.004 if images[0].dtype.kind == "f" else 1
    out_layout = data.draw(st.sampled_from(["NHWC", "NCHW"]))
    crops = roicy.crop_and_resize(
        images, rows, size, dtype=dtype, fill=0.4, std=std, out_layout=out_layout, **options
    )
    expected = reference.crop.crop_and_resize(images, rows, size, fill=0.4, std=std, **options)
    assert crops.dtype == dtype
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    error = as_nhwc(crops, out_layout).astype(np.float64) - np.clip(expected, least, most)
    assert (np.abs(error) <= 0.5 + 2e-2).all()


def test_rounding_to_the_even_number():
    image = np.array([[0, 1], [1, 2], [254, 255]], np.uint8)[:, :, None]
    boxes = np.array([[0, 0, 2, 3]])
    np.testing.assert_array_equal(
        roicy.crop_and_resize(image, boxes, (3, 1), dtype="uint8")[0, :, 0, 0], [0, 2, 254]
    )
    numbers = np.array([-3.0, np.nan, 1e30, -np.inf, 254.6, 255.4], np.float32).reshape(1, 6, 1)
    whole = roicy.crop_and_resize(
        numbers, np.array([[0, 0, 6, 1]]), (1, 6), interpolation="nearest", dtype="uint8"
    )
    np.testing.assert_array_equal(whole.ravel(), [0, 0, 255, 0, 255, 255])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("columns", [1, 5, 16, 37])
def test_bytes_of_pixels_are_those_of_planes(columns, reverse):
    """Also of values that no integer holds, and of those that are no numbers."""
    image = np.random.default_rng(4).integers(0, 256, (9, 40, 3), np.uint8)
    boxes = np.array([[0.3, 1, 39, 8], [-20, -3, 12, 4]], np.float32)
    for mean, std in [(0, 1), (128, 0.25), (100, 1e-9), (100, 1e-36), (0, 1e-37)]:
        options = {"mean": mean, "std": std, "reverse_channels": reverse, "dtype": "uint8", "fill": 7}
        joined, planes = (
            roicy.crop_and_resize(image, boxes, (6, columns), out_layout=layout, **options)
            for layout in ("NHWC", "NCHW")
        )
        np.testing.assert_array_equal(joined, planes.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("stretch", [0.3, 1, 1.9, 2.6, 4.9, 7.3])
def test_bytes_have_the_sums_of_floats(stretch, channels):
    """However far columns are from each other: those that are near are picked from few vectors."""
    image = np.random.default_rng(5).integers(0, 256, (6, 300, channels), np.uint8)
    side = 37 * stretch
    boxes = np.array(
        [[9.3, 0.2, 9.3 + side, 5], [300 - side, -1, 300, 6], [-5, 1, side - 5, 9], [side, 5, 0.4, 1]]
    )
    for options in ({}, {"mean": 100, "std": 50, "fill": 7, "reverse_channels": True}):
        for layout in ("NHWC", "NCHW"):
            crops = (
                roicy.crop_and_resize(x, boxes, (5, 37), out_layout=layout, dtype="float32", **options)
                for x in (image, image.astype(np.float32))
            )
            assert_same_bits(*crops)


@pytest.mark.parametrize("offset", [0, 16])
@pytest.mark.parametrize("side", [3.0, 9.5, 27.0])
@pytest.mark.parametrize("channels", [48, 64, 70])
def test_large_results_of_many_channels_are_those_of_planes(channels, side, offset):
    """Wherever in a cache line they begin; boxes of few pixels share columns, others have none in common."""
    rng = np.random.default_rng(6)
    image = random_values(rng, (40, 50, channels), np.dtype("float32"))
    apart = np.ascontiguousarray(image.transpose(2, 0, 1))
    first = rng.uniform(-2, [52 - side, 42 - side], (40, 2))
    boxes = np.concatenate([first, first + side], 1)
    for options in ({}, {"mean": 0.5, "std": 0.3, "fill": 7}, {"dtype": "float16"}, {"sampling_ratio": 2}):
        planes = roicy.crop_and_resize(apart, boxes, (11, 14), layout="NCHW", **options)
        memory = np.empty(planes.nbytes + 64 + offset, np.uint8)
        begin = -memory.ctypes.data % 64 + offset
        out = memory[begin : begin + planes.nbytes].view(planes.dtype).reshape(40, 11, 14, channels)
        roicy.crop_and_resize(image, boxes, (11, 14), out=out, **options)
        assert_same_bits(out, planes.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", [*INTEGERS, *WIDE, *FLOAT_DTYPES], ids=str)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_labels_keep_every_bit(dtype, layout, channels):
    rng = np.random.default_rng(3)
    images = [values(rng, (9, 11, channels), dtype), values(rng, (5, 4, channels), dtype)]
    boxes = [np.array([[1, 2, 9, 8], [-3, -2, 6, 4]]), np.array([[0, 0, 4, 5]])]
    fill = (
        1 if dtype.kind == "b" else np.iinfo(dtype).max if dtype.kind in "iu" and dtype.itemsize < 4 else 77
    )
    if dtype.itemsize > 2:
        fill = [fill + channel for channel in range(channels)]
    laid = [in_layout(image, layout) for image in images]
    crops = roicy.crop_and_resize(laid, boxes, (6, 8), interpolation="nearest", fill=fill, layout=layout)
    assert crops.dtype == dtype
    rows = np.column_stack([[0, 0, 1], np.concatenate(boxes)]).astype(np.float64)
    for k, (number, x1, y1, x2, y2) in enumerate(rows):
        image = images[int(number)]
        y = np.floor(y1 + (np.arange(6) + 0.5) * (y2 - y1) / 6).astype(int)
        x = np.floor(x1 + (np.arange(8) + 0.5) * (x2 - x1) / 8).astype(int)
        whole = np.full((30, 30, channels), fill, dtype)
        whole[10 : 10 + image.shape[0], 10 : 10 + image.shape[1]] = image
        assert_same_bits(as_nhwc(crops, layout)[k], whole[10 + y][:, 10 + x])


def test_crops_inside_are_those_of_roi_align():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    rois = np.array([[0, 3.3, 2.1, 30.7, 33.3], [1, 7, 6, 40, 31.5]], np.float32)
    pooled = roicy.roi_align(images, rois, 14, sampling_ratio=1, layout="NHWC")
    for border in ("constant", "edge", "reject"):
        assert_same_bits(roicy.crop_and_resize(images, rois, 14, border=border, fill=99), pooled)


def test_borders():
    image = np.array([10, 20, 30], np.float32).reshape(1, 3, 1)
    box = np.array([[-2.5, 0, 5.5, 1]])

    def row(**options):
        return roicy.crop_and_resize(image, box, (1, 8), fill=2, **options)[0, 0, :, 0].tolist()

    assert row(border="constant") == [2, 2, 6, 15, 25, 16, 2, 2]
    assert row(border="edge") == [10, 10, 10, 15, 25, 30, 30, 30]
    assert row(border="reject") == [2, 2, 2, 15, 25, 2, 2, 2]


@pytest.mark.parametrize("dtype", ["float16", *BFLOAT16], ids=str)
def test_results_of_half_precision_are_rounded_once(dtype):
    rng = np.random.default_rng(2)
    image, boxes = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), np.array([[1, 2, 20.5, 17]])
    options = {"mean": 100, "std": 50, "out_layout": "NCHW"}
    wide = roicy.crop_and_resize(image, boxes, 9, **options)
    assert_same_bits(roicy.crop_and_resize(image, boxes, 9, dtype=dtype, **options), wide.astype(dtype))


def test_many_images_at_once():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (4 + n % 5, 3 + n % 7, 3), dtype=np.uint8) for n in range(100)]
    boxes = [np.array([[0, 0, image.shape[1], image.shape[0]]]) for image in images]
    crops = roicy.crop_and_resize(images, boxes, 5)
    for image, box, crop in zip(images, boxes, crops, strict=True):
        assert_same_bits(roicy.crop_and_resize(image, box, 5)[0], crop)


@pytest.mark.parametrize("listed", [False, True])
def test_invalid_rows(listed):
    images = np.ones((2, 4, 5, 3), np.float32)
    rows = np.array([[0, 0, 0, 4, 4], [2, 0, 0, 4, 4], [1, np.nan, 0, 4, 4], [1, 0, 0, 4, 4]])
    pictures = list(images) if listed else images
    with pytest.raises(ValueError, match=r"boxes row 1, .* batch index 2"):
        roicy.crop_and_resize(pictures, rows, 2)
    crops = roicy.crop_and_resize(pictures, rows, 2, invalid="nan")
    assert np.isnan(crops[1:3]).all()
    assert (crops[[0, 3]] == 1).all()
    assert (roicy.crop_and_resize(pictures, rows, 2, invalid="nan", dtype="uint8")[1:3] == 0).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"std": 0}, ValueError, "std must be greater than 0, got 0"),
        ({"std": [1, 1e-39, 1]}, ValueError, r"std must be at least 2.9e-39, got \[1, 1e-39, 1\]"),
        ({"mean": (1, 2)}, ValueError, "mean must be a number or 3 numbers, one for each channel, got 2"),
        ({"fill": np.nan}, ValueError, "fill must be a number that is finite in float32"),
        ({"fill": "black"}, TypeError, "fill must be a number or 3 numbers"),
        ({"border": "mirror"}, ValueError, "border must be 'constant' or 'edge' or 'reject', got 'mirror'"),
        ({"sampling": "centre"}, ValueError, "sampling must be 'half_pixel' or 'corners'"),
        ({"interpolation": "cubic"}, ValueError, "interpolation must be 'bilinear' or 'nearest'"),
        ({"interpolation": "nearest", "sampling_ratio": 0}, ValueError, "sampling_ratio must be 1"),
        (
            {"dtype": "int16"},
            TypeError,
            "dtype must be float32, float16, bfloat16, uint8 or that of the images",
        ),
        ({"dtype": "colour"}, TypeError, "dtype must be a dtype or its name"),
        (
            {"dtype": np.dtype(np.float32).newbyteorder()},
            TypeError,
            "dtype must be in native byte order",
        ),
        ({"out_layout": "CHW"}, ValueError, "out_layout must be 'NCHW' or 'NHWC'"),
        ({"reverse_channels": "yes"}, TypeError, "reverse_channels must be True or False"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        roicy.crop_and_resize(np.zeros((4, 5, 3), np.uint8), np.zeros((1, 4)), 2, **options)


def test_wrong_images():
    boxes = np.zeros((1, 4))
    with pytest.raises(ValueError, match=r"images must have 3 axes \(H, W, C\) or 4 axes \(N, H, W, C\)"):
        roicy.crop_and_resize(np.zeros((4, 5)), boxes, 2)
    with pytest.raises(ValueError, match=r"images\[1\] must have 3 channels, as images\[0\] has, got 4"):
        roicy.crop_and_resize([np.zeros((4, 5, 3)), np.zeros((4, 5, 4))], boxes, 2)
    with pytest.raises(TypeError, match=r"images\[1\] must be uint8, the dtype of images\[0\]"):
        roicy.crop_and_resize([np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 3))], [boxes, boxes], 2)
    with pytest.raises(TypeError, match="images of int64 must be cut with interpolation='nearest'"):
        roicy.crop_and_resize(np.zeros((4, 5, 3), np.int64), boxes, 2)
    with pytest.raises(ValueError, match="boxes must be one array for each of N = 2 images, got 1"):
        roicy.crop_and_resize(np.zeros((2, 4, 5, 3)), [boxes], 2)


def test_labels_have_a_fill_of_their_own_kind():
    """An error comes before any channel is written."""
    images = np.ones((2, 6, 7), np.int32)
    out = np.full((1, 2, 4, 4), -7, np.int32)
    options = {"layout": "NCHW", "interpolation": "nearest", "out": out}
    for fill in ((3, 0.5), (3, 1e20)):
        with pytest.raises(ValueError, match=r"\bfill\b.*whole numbers of int32"):
            roicy.crop_and_resize(images, np.array([[-3, -3, 5, 5]]), 4, fill=fill, **options)
    assert (out == -7).all()


@pytest.mark.parametrize("of", ["an array", "one image", "a list", "labels"])
def test_plans(of):
    """Of every form of images, also once copied, and with whatever becomes of values."""
    rng = np.random.default_rng(2)
    images = [
        rng.integers(0, 255, (9, 11, 3), dtype=np.uint8),
        rng.integers(0, 255, (5, 8, 3), dtype=np.uint8),
    ]
    boxes = np.array([[0, 1, 2, 9, 8], [1, -3, -2, 6, 4]], np.float32)
    options = {"sampling_ratio": 0, "fill": (1, 2, 3), "mean": 5.0, "std": (2, 3, 4), "out_layout": "NCHW"}
    if of == "labels":
        images = [image.astype(np.int64) << 40 for image in images]
        options = {"interpolation": "nearest", "fill": -1, "reverse_channels": True}
    elif of == "an array":
        images = np.stack([images[0], images[0][::-1]])
    elif of == "one image":
        images, boxes = images[0], boxes[:, 1:]
    listed = isinstance(images, list)
    shape = [image.shape for image in images] if listed else images.shape
    plan = roicy.crop_and_resize_plan(boxes, shape, (4, 6), **options)
    expected = roicy.crop_and_resize(images, boxes, (4, 6), **options)
    for made in (plan, pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert repr(made) == repr(plan) and "2 boxes" in repr(made)
        assert made.input_shape == shape and made.output_size == (4, 6)
        assert made.output_shape == expected.shape
        assert_same_bits(made(images), expected)
        out = np.empty_like(expected)
        assert made(images, out) is out
        assert_same_bits(out, expected)
    boxes_before = boxes.copy()
    boxes += 3
    assert_same_bits(plan(images), expected)
    with pytest.raises(ValueError, match="images must have shape"):
        plan([image[:4] for image in images] if listed else images[..., :4, :])
    if of == "labels":
        return
    grad_output = random_values(rng, expected.shape, np.dtype("float32"))
    spread = {key: value for key, value in options.items() if key not in ("fill", "mean")}
    grads = roicy.crop_and_resize_backward(grad_output, boxes_before, shape, **spread)
    found = plan.backward(grad_output)
    for one, wanted in zip(found, grads, strict=True) if listed else [(found, grads)]:
        assert_same_bits(one, wanted)
    moved = {key: value for key, value in options.items() if key != "mean"}
    wanted = roicy.crop_and_resize_backward_boxes(grad_output, images, boxes_before, **moved)
    assert_same_bits(plan.backward_boxes(grad_output, images), wanted)


def test_errors_of_plans():
    plan = roicy.crop_and_resize_plan(np.array([[1, 2, 3, 4]]), (9, 9, 3), 4)
    with pytest.raises(TypeError, match="out must be an array, as input_shape is, got list"):
        plan.backward(np.zeros((1, 4, 4, 3), np.float32), [])
    with pytest.raises(ValueError, match="boxes row 0"):
        roicy.crop_and_resize_plan(np.array([[1, 2, np.nan, 4]]), (9, 9, 3), 4)
    with pytest.raises(ValueError, match=r"boxes\[1\] row 0"):
        roicy.crop_and_resize_plan([np.ones((1, 4)), np.full((1, 4), np.inf)], [(9, 9, 3), (4, 4, 3)], 4)


@pytest.mark.parametrize("border", ["constant", "edge", "reject"])
def test_the_last_column_has_nothing_of_the_next_row(border):
    """Behind the last pixel of a row of floats lies the first one of the next row."""
    image = random_values(np.random.default_rng(0), (6, 8, 3), np.dtype("float32"))
    image[:, 0] = np.nan
    pooled = roicy.crop_and_resize(image, np.array([[0, 0, 8, 6]], np.float32), (6, 8), border=border)
    assert_same_bits(pooled[0, :, 1:], image[:, 1:])


@pytest.mark.parametrize("out_layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("columns", [224, 230])
def test_large_results_are_those_of_single_crops(columns, out_layout):
    # rows of large results pass by the cache, wherever they begin, and what output rows share is kept
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (1, 300, 400, 3), dtype=np.uint8)
    side = rng.uniform(50, 250, (16, 2))
    corner = rng.uniform(0, 50, (16, 2))
    boxes = np.column_stack([np.zeros(16), corner, corner + side])
    options = {"layout": "NHWC", "out_layout": out_layout, "mean": 118.0, "std": [57.0, 58.0, 59.0]}
    shape = (16, 224, columns, 3) if out_layout == "NHWC" else (16, 3, 224, columns)
    for begin in (0, 5):
        room = np.full(math.prod(shape) + 32, -1.0, np.float32)
        out = room[begin : begin + math.prod(shape)].reshape(shape)
        roicy.crop_and_resize(image, boxes, (224, columns), out=out, **options)
        for box, crop in zip(boxes, out, strict=True):
            assert_same_bits(roicy.crop_and_resize(image, box[None], (224, columns), **options)[0], crop)
        assert (room[:begin] == -1).all() and (room[begin + math.prod(shape) :] == -1).all()


@pytest.mark.parametrize("out_layout", ["NCHW", "NHWC"])
def test_large_results_that_overflow_are_those_of_single_crops(out_layout):
    # such rows are all in the result before they are settled, and nothing of them is streamed once more
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (1, 64, 400, 3), dtype=np.uint8)
    boxes = np.repeat([[0.0, 0.0, 0.0, 390.0, 60.0]], 39, axis=0)
    options = {"layout": "NHWC", "out_layout": out_layout, "mean": 118.0, "std": [1e-37, 58.0, 1e-37]}
    shape = (39, 63, 301, 3) if out_layout == "NHWC" else (39, 3, 63, 301)
    expected = roicy.crop_and_resize(image, boxes[:1], (63, 301), **options)[0]
    for begin in range(0, 16, 3):
        room = np.full(math.prod(shape) + 32, -1.0, np.float32)
        out = room[begin : begin + math.prod(shape)].reshape(shape)
        roicy.crop_and_resize(image, boxes, (63, 301), out=out, **options)
        for crop in out:
            assert_same_bits(crop, expected)
        assert (room[:begin] == -1).all() and (room[begin + math.prod(shape) :] == -1).all()
