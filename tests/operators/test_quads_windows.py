"""Quadrangles on parts of images: the bits of whole ones."""

import numpy as np
import pytest
from closeness import assert_same_bits
from hypothesis import given
from hypothesis import strategies as st

import roicy
from operators.quads import IMAGE, QUADS, quads, smooth

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.filterwarnings("ignore::roicy.RoisWarning"),  # quadrangles beside the image
]


@given(
    data=st.data(),
    border=st.sampled_from(["constant", "edge", "reject"]),
    channels=st.integers(1, 6),
    how=st.sampled_from([("bilinear", 1), ("bilinear", 2), ("bilinear", 0), ("nearest", 1)]),
    dtype=st.sampled_from(["float32", "uint8", "uint8", "float64", "int64"]),
)
def test_a_part_of_an_image_gives_the_same_bits(data, border, channels, how, dtype):
    """And one that is smaller by a pixel is an error, before anything is written."""
    height, width = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    size = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 40))
    image = smooth(channels, height, width, channels).transpose(1, 2, 0).astype(dtype)
    layout = data.draw(st.sampled_from(["NCHW", "NHWC"]))
    corners = np.stack([data.draw(quads(height, width)) for _ in range(data.draw(st.integers(1, 3)))])
    places = {"border": border, "interpolation": how[0], "sampling_ratio": how[1]}
    if dtype == "int64":
        places.update(interpolation="nearest", sampling_ratio=1)
    whole = image[None] if layout == "NHWC" else np.ascontiguousarray(image.transpose(2, 0, 1))[None]
    options = {"layout": layout, "fill": 7, **places}
    rows = roicy.rois_windows(corners, whole.shape, size, operator="crop_quads", layout=layout, **places)
    assert rows.shape == (len(corners), 4) and rows.dtype == np.int64
    part = roicy.rois_window(corners, whole.shape, size, operator="crop_quads", layout=layout, **places)
    expected = roicy.crop_quads(whole, corners, size, **options)
    more = data.draw(st.sampled_from([0, 0, 1, 99]))
    wider = max(0, part[0] - more), max(0, part[1] - more), min(height, part[2] + more), part[3]
    for top, left, bottom, right in (part, wider):
        axes = np.s_[:, top:bottom, left:right] if layout == "NHWC" else np.s_[:, :, top:bottom, left:right]
        given_part, window = whole[axes].copy(), (top, left, height, width)
        out = np.full_like(expected, 7)
        roicy.crop_quads(given_part, corners, size, window=window, out=out, **options)
        assert_same_bits(out, expected)
    if not any(part):
        return
    for step in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, -1, 0), (0, 0, 0, -1)):
        top, left, bottom, right = np.add(part, step)
        axes = np.s_[:, top:bottom, left:right] if layout == "NHWC" else np.s_[:, :, top:bottom, left:right]
        out = np.full_like(expected, 7)
        with pytest.raises(
            ValueError, match=r"^window must hold all that corners read: corners row \d, .* reads rows "
        ):
            roicy.crop_quads(
                whole[axes], corners, size, window=(top, left, height, width), out=out, **options
            )
        assert (out == 7).all()


def test_a_part_of_images_that_no_memory_holds():
    side = 300_000
    row = np.random.default_rng(0).integers(0, 256, (1, side, 1, 3), dtype=np.uint8)
    slide = np.broadcast_to(row, (1, side, side, 3))
    corners = QUADS + side - 500
    options = {"border": "edge", "sampling_ratio": 2}
    top, left, bottom, right = roicy.rois_window(
        corners, slide.shape, (9, 33), operator="crop_quads", layout="NHWC", **options
    )
    assert bottom - top < 50 and right - left < 60
    part = slide[:, top:bottom, left:right].copy()
    found = roicy.crop_quads(part, corners, (9, 33), window=(top, left, side, side), **options)
    near = slide[:, side - 700 :, side - 700 :].copy()
    expected = roicy.crop_quads(
        near, corners, (9, 33), window=(side - 700, side - 700, side, side), **options
    )
    assert_same_bits(found, expected)
    assert found.any()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [2**31 - 1, 2**31 - 64, 2**31 - 65])
def test_the_last_pixel_of_the_longest_images(side, channels, dtype):
    """Which as a float is 2**31, and no int."""
    beyond = [[[side, 0], [1.5 * side, 0], [1.5 * side, 4], [side, 4]]]
    options = {"layout": "NHWC", "border": "edge"}
    part = roicy.rois_window(beyond, (1, 4, side, channels), (4, 40), operator="crop_quads", **options)
    assert part[0] == 0 and side - 200 < part[1] < part[3] <= side and part[2] == 4
    image = np.full((1, 4, 300, channels), 9, dtype)
    crops = roicy.crop_quads(image, beyond, (4, 40), window=(0, side - 300, 4, side), **options)
    np.testing.assert_array_equal(crops, 9)


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        ([IMAGE], {"window": (0, 0, 20, 31)}, "window must be None for a list of images"),
        (IMAGE, {"window": (0, 1, 20, 31)}, "window must lie on the map"),
        (IMAGE, {"window": (0, 31)}, "window must be 4 ints >= 0"),
        (IMAGE[:0], {}, "images must have at least one pixel"),
    ],
)
def test_what_a_window_may_be(images, options, words):
    corners = [QUADS] if isinstance(images, list) else QUADS
    with pytest.raises(ValueError, match=f"^{words}"):
        roicy.crop_quads(images, corners, 3, **options)


def test_what_is_asked_of_quadrangles():
    shape = (1, 20, 31, 3)
    with pytest.raises(
        TypeError, match="crop_quads has the options 'interpolation', 'sampling_ratio', 'border'"
    ):
        roicy.rois_window(QUADS, shape, 3, operator="crop_quads", layout="NHWC", spatial_scale=1)
    with pytest.raises(ValueError, match="corners must have shape"):
        roicy.rois_window(QUADS[0], shape, 3, operator="crop_quads", layout="NHWC")
    wrong = QUADS.copy()
    wrong[1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="corners row 1"):
        roicy.rois_windows(wrong, shape, 3, operator="crop_quads", layout="NHWC")
    rows = roicy.rois_windows(wrong, shape, 3, operator="crop_quads", layout="NHWC", invalid="nan")
    assert not rows[1].any() and rows[0].any()
