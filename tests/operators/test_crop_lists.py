"""Crops of boxes inside the picture: lists made box by box give the same bits as lists of all boxes."""

import numpy as np
import pytest
from closeness import assert_same_bits
from hypothesis import strategies as st
from strategies import BOX_DTYPES, by_lists, given_some, largest_values, random_values

import roicy

pytestmark = pytest.mark.usefixtures("backend")

#: With at least 32 bins along both axes, lists are made box by box, 32 bins at a time: whole groups, and a
#: part. The last size has fewer bins along one axis.
SIZES = [(32, 32), (33, 64), (71, 35), (40, 100), (31, 33)]
DTYPES = [np.dtype(name) for name in ("uint8", "float32", "float64", "float16", "int16")]


@st.composite
def insides(draw, height, width):
    """Boxes (K, 4) inside a picture: up to its edges, with whole and other corners, empty and equal ones."""
    rng, count = np.random.default_rng(draw(st.integers(0, 2**16))), draw(st.integers(1, 9))
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1)
    corners[rng.random((count, 2, 2)) < 0.2] *= 0
    corners[:, 1][rng.random((count, 2)) < 0.2] = 1
    corners[rng.random(count) < 0.1, 1] = corners[0, 0]
    corners = np.sort(corners * (width, height), axis=1)
    if draw(st.booleans()):
        corners = np.rint(corners)
    if draw(st.booleans()) and min(height, width) > 2:  # a sample beyond the outer centres asks for all lists
        corners = np.clip(corners, 1, (width - 1, height - 1))
    return corners.reshape(count, 4).astype(draw(st.sampled_from(BOX_DTYPES)))


@given_some(st.data())
def test_crops_have_the_bits_of_lists(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    layout = data.draw(st.sampled_from(["NHWC", "NCHW"]))
    channels, images = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 2))
    height, width = data.draw(st.sampled_from([(1, 1), (1, 40), (2, 200), (37, 2), (50, 90), (300, 21)]))
    shape = (images, height, width, channels) if layout == "NHWC" else (images, channels, height, width)
    values = data.draw(st.sampled_from([random_values, largest_values]))
    pictures = values(rng, shape, data.draw(st.sampled_from(DTYPES)))
    gap, columns = data.draw(st.sampled_from([1, 2, 5])), 2 if layout == "NHWC" else 3
    pictures = np.repeat(pictures, gap, axis=columns)
    pictures = pictures[:, :, ::gap] if columns == 2 else pictures[..., ::gap]
    boxes = data.draw(insides(height, width))
    options = {
        "batch_indices": rng.integers(0, images, len(boxes)),
        "sampling": data.draw(st.sampled_from(["half_pixel", "corners"])),
        "border": data.draw(st.sampled_from(["constant", "edge"])),
        "out_layout": data.draw(st.sampled_from(["NHWC", "NCHW"])),
        "reverse_channels": data.draw(st.booleans()),
        "sampling_ratio": data.draw(st.sampled_from([1, 1, 0, 2])),
        **data.draw(st.sampled_from([{}, {"mean": 3, "std": 7, "dtype": "float32"}, {"fill": 9}])),
    }
    if data.draw(st.booleans()):  # a row without a crop
        boxes[data.draw(st.integers(0, len(boxes) - 1)), data.draw(st.integers(0, 3))] = np.nan
        options["invalid"] = "nan"
    size = data.draw(st.sampled_from(SIZES))
    crops = roicy.crop_and_resize(pictures, boxes, size, layout=layout, **options)
    assert_same_bits(crops, by_lists(roicy.crop_and_resize, pictures, boxes, size, layout=layout, **options))


def test_rows_with_gaps_are_gathered():
    """All rows of a box are gathered, into memory that they fill to the last column."""
    picture = np.random.default_rng(4).random((1, 1, 2, 1000), np.float32)[..., ::5]
    call = picture, np.array([[1, 0.6, 199, 1.4]], np.float32), (40, 100)
    options = {"layout": "NCHW", "border": "edge"}
    listed = by_lists(roicy.crop_and_resize, *call, **options)
    assert_same_bits(roicy.crop_and_resize(*call, **options), listed)


@pytest.mark.parametrize("ratio", [0, 2, 3])
def test_bins_of_more_samples(ratio):
    picture, boxes = np.random.default_rng(3).random((1, 60, 170, 3)), np.array([[3.0, 5, 160, 50]])
    call = picture, boxes, (40, 33)
    options = {"layout": "NHWC", "sampling_ratio": ratio}
    assert_same_bits(
        roicy.crop_and_resize(*call, **options), by_lists(roicy.crop_and_resize, *call, **options)
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_threads_make_the_same_lists(dtype, threads):
    """With several threads, each box has several bands of rows, and each band makes the lists."""
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (300, 400, 3)).astype(dtype)
    corners = np.sort(rng.uniform(0, 1, (40, 2, 2)), axis=1) * (400, 300)
    call = picture, corners.reshape(40, 4), (130, 77)
    with roicy.num_threads(threads):
        crops, plan = (
            roicy.crop_and_resize(*call),
            roicy.crop_and_resize_plan(call[1], picture.shape, call[2]),
        )
        again = [plan(picture), plan(picture[::-1])]
    listed = by_lists(roicy.crop_and_resize, picture[None], *call[1:], layout="NHWC")
    assert_same_bits(crops, listed)
    assert_same_bits(again[0], listed)
    assert_same_bits(again[1], roicy.crop_and_resize(np.ascontiguousarray(picture[::-1]), *call[1:]))
