"""Crops of quadrangles."""

import warnings

import numpy as np
import pytest
import reference.quads as reference
from closeness import assert_same_bits
from hypothesis import given
from hypothesis import strategies as st

import roicy
from operators.quads import IMAGE, QUADS, quads, smooth

pytestmark = [
    pytest.mark.usefixtures("backend"),
    pytest.mark.filterwarnings("ignore::roicy.RoisWarning"),  # quadrangles beside the image
]

OPTIONS = {"fill": 7.0, "mean": (90, 100, 110), "std": (50, 60, 70)}
RNG = np.random.default_rng(0)


@given(
    data=st.data(),
    border=st.sampled_from(["constant", "edge", "reject"]),
    channels=st.integers(1, 6),
    ratio=st.sampled_from([1, 1, 2, 3, 0]),
    dtype=st.sampled_from(["float32", "uint8"]),
)
def test_equals_the_reference(data, border, channels, ratio, dtype):
    height, width = data.draw(st.integers(1, 24)), data.draw(st.integers(1, 24))
    size = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 40))
    image = smooth(channels, height, width, channels).astype(dtype)
    corners = data.draw(quads(height, width))
    layout = data.draw(st.sampled_from(["NCHW", "NHWC"]))
    given = image if layout == "NCHW" else np.ascontiguousarray(image.transpose(1, 2, 0))
    options = {"sampling_ratio": ratio, "border": border, "fill": 100.0}
    found = roicy.crop_quads(given, corners[None], size, layout=layout, out_layout="NCHW", **options)
    wanted = reference.crop(image, corners, size, border=border, fill=100.0, ratio=ratio)
    apart = np.abs(found[0] - wanted)
    if border == "reject":  # where a sample lies on the border's very edge, either is right
        assert (apart > 0.05).mean() < 0.2
    else:
        assert apart.max() < 0.05


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("border", ["constant", "edge"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_over_each_side(channels, border, dtype):
    """Half of a sample may lie beside the image: its pixel there counts as much as it should."""
    image = smooth(channels, 12, 30, 5).astype(dtype)
    for x, y in (-0.7, 2), (22.6, 2), (5, -0.6), (5, 7.7), (-0.6, -0.7), (22.6, 7.7):
        corners = np.array([[x, y], [x + 8, y], [x + 8, y + 5], [x, y + 5]])
        for own, layout in (image, "NCHW"), (np.ascontiguousarray(image.transpose(1, 2, 0)), "NHWC"):
            options = {"layout": layout, "out_layout": "NCHW", "border": border, "fill": 100.0}
            found = roicy.crop_quads(own, corners[None], (5, 8), **options)[0]
            wanted = reference.crop(image, corners, (5, 8), border=border, fill=100.0)
            np.testing.assert_allclose(found, wanted, atol=0.01)


@pytest.mark.parametrize("border", ["constant", "edge", "reject"])
@pytest.mark.parametrize("ratio", [1, 2])
def test_over_each_side_of_the_largest_values(border, ratio):
    """Less the mean they overflow, and by std they do not: samples are weighed once more, one by one."""
    image = smooth(3, 12, 30, 5).astype(np.float32) * np.float32(2.0**120)
    finish = {"fill": 100 * 2.0**120, "mean": -200 * 2.0**120, "std": 4.0}
    for x, y in (-0.7, 2), (22.6, 2), (5, -0.6), (5, 7.7), (-0.6, -0.7), (22.6, 7.7):
        corners = np.array([[x, y], [x + 8, y], [x + 8, y + 5], [x, y + 5]])
        options = {"layout": "NCHW", "border": border, "sampling_ratio": ratio}
        found = roicy.crop_quads(image, corners[None], (5, 8), **options, **finish)[0]
        wanted = reference.crop(image, corners, (5, 8), border=border, fill=finish["fill"], ratio=ratio)
        assert wanted.max() - finish["mean"] > np.finfo(np.float32).max
        wanted = (wanted - finish["mean"]) / finish["std"]
        np.testing.assert_allclose(found / 2.0**120, wanted / 2.0**120, rtol=0, atol=0.01)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("out_layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("reverse", [False, True])
def test_what_becomes_of_values(layout, out_layout, dtype, reverse):
    """Fill, mean, std, the order of channels and of axes, the dtype: as done one after the other."""
    images = IMAGE if layout == "NHWC" else np.ascontiguousarray(IMAGE.transpose(2, 0, 1))
    options = OPTIONS if dtype != "uint8" else {"fill": 7.0}
    found = roicy.crop_quads(
        images,
        QUADS,
        (9, 33),
        layout=layout,
        out_layout=out_layout,
        dtype=dtype,
        reverse_channels=reverse,
        **options,
    )
    plain = roicy.crop_quads(IMAGE, QUADS, (9, 33), fill=7.0)
    wanted = plain[..., ::-1] if reverse else plain
    if dtype == "uint8":
        wanted = np.rint(wanted)
    else:
        wanted = (wanted - np.float32(OPTIONS["mean"])) / np.float32(OPTIONS["std"])
    if out_layout == "NCHW":
        wanted = wanted.transpose(0, 3, 1, 2)
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found.astype(np.float32),
        wanted,
        rtol={"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 1e-5),
        atol=2e-5 if dtype != "uint8" else 1,
    )


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int16", "bool"])
def test_layouts_and_dtypes(channels, dtype):
    """Any strides, and images whose last pixel is the end of the memory."""
    values = RNG.integers(0, 2 if dtype == "bool" else 100, (2, 14, 15, channels)).astype(dtype)
    corners = np.array([[[0, 0], [15, 0], [15, 14], [0, 14]], [[1, 2], [9, 1], [12, 9], [3, 13]]], np.float64)
    indices = np.array([1, 0])
    wanted = roicy.crop_quads(values.astype(np.float32), corners, (14, 15), batch_indices=indices)
    np.testing.assert_array_equal(wanted[0], values[1].astype(np.float32))  # the whole image, as it is
    for images in (
        values,
        values[:, ::-1][:, ::-1],
        np.asfortranarray(values),
        np.repeat(values, 2, axis=2)[:, :, ::2],
    ):
        found = roicy.crop_quads(images, corners, (14, 15), batch_indices=indices)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("ratio", [1, 2, 0])
@pytest.mark.parametrize("size", [(16, 40), (5, 7), (40, 90)])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_rotated_boxes(size, ratio, dtype):
    """Of the corners of a rotated box, inside of the image, the crop is that of `roi_align_rotated`."""
    image = smooth(3, 60, 80, 0).transpose(1, 2, 0).astype(dtype)
    boxes = np.array([[0, 40, 30, 40, 16, 25], [0, 35.5, 28.25, 16, 33, -130]], np.float32)
    wanted = roicy.roi_align_rotated(image[None], boxes, size, sampling_ratio=ratio, layout="NHWC")
    found = roicy.crop_quads(image, roicy.rotated_corners(boxes), size, sampling_ratio=ratio)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=0.01)


@pytest.mark.parametrize("channels, layout", [(1, "NHWC"), (3, "NHWC"), (4, "NHWC"), (3, "NCHW")])
@pytest.mark.parametrize("size", [(9, 16), (7, 41)])
def test_where_an_image_ends_changes_no_bit(channels, layout, size):
    """Crops that lie inside are those of the image cut off behind them, of which nothing more can be read."""
    rng = np.random.default_rng(channels)
    image = rng.integers(0, 256, (60, 90, channels), dtype=np.uint8)
    around = np.array([[12, 9], [50, 14], [47, 33], [15, 27]]) + rng.uniform(-4, 4, (20, 4, 2))
    for corners in around:
        right, bottom = np.ceil(corners.max(axis=0)).astype(int)
        cut = image[: bottom + 1, : right + 1].copy()
        for options in (
            {},
            {"mean": 3.0, "std": 2.0, "fill": 9.0},
            {"dtype": "uint8", "reverse_channels": True},
        ):
            crops = [
                roicy.crop_quads(
                    each if layout == "NHWC" else np.ascontiguousarray(each.transpose(2, 0, 1)),
                    corners[None],
                    size,
                    layout=layout,
                    **options,
                )
                for each in (image, cut)
            ]
            assert_same_bits(*crops)


def test_a_shrunken_crop_is_the_mean_of_what_it_covers():
    """Of an upright quadrangle, what `crop_and_resize` makes of the box; stripes of one pixel vanish."""
    stripes = np.zeros((48, 64, 1), np.float32)
    stripes[:, ::2] = 200
    box = np.array([[8.0, 4.0, 56.0, 40.0]])
    corners = box[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    found = roicy.crop_quads(stripes, corners, (6, 8), sampling_ratio=0)
    np.testing.assert_allclose(found, 100, rtol=0, atol=1e-4)
    image = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for ratio in (0, 3):
        wanted = roicy.crop_and_resize(image, box, (6, 8), sampling_ratio=ratio)
        found = roicy.crop_quads(image, corners, (6, 8), sampling_ratio=ratio)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3)


def test_nearest():
    """Labels keep their dtype, and no value is between two of them."""
    labels = RNG.integers(0, 60000, (20, 31), dtype=np.uint16)[..., None]
    found = roicy.crop_quads(labels, QUADS[:1], (11, 12), interpolation="nearest")
    assert found.dtype == np.uint16
    wanted = reference.crop(labels.transpose(2, 0, 1), QUADS[0], (11, 12), nearest=True)
    assert (found[0, ..., 0] == wanted[0]).mean() > 0.98  # a sample may lie on the border of two pixels
    assert np.isin(found, labels).all()


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_labels_keep_every_bit(dtype, layout):
    """Whatever lies beside them, and whatever they are filled with, reversed or not."""
    if np.dtype(dtype).kind == "f":
        labels = RNG.choice([np.inf, -np.inf, np.nan, 0.5], (20, 31, 3)).astype(dtype)
    else:
        info = np.iinfo(dtype) if dtype != "bool" else np.iinfo(np.uint8)
        labels = RNG.integers(info.min, info.max, (20, 31, 3), dtype=info.dtype, endpoint=True).astype(dtype)
    given = labels if layout == "NHWC" else np.ascontiguousarray(labels.transpose(2, 0, 1))
    whole = np.array(
        [[[0, 0], [31, 0], [31, 20], [0, 20]], [[-31, 0], [0, 0], [0, 20], [-31, 20]]], np.float32
    )
    fill = (1, 0, 1)
    options = {"interpolation": "nearest", "fill": fill, "layout": layout, "out_layout": "NHWC"}
    for reverse in (False, True):
        found = roicy.crop_quads(given, whole, (20, 31), reverse_channels=reverse, **options)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found[0], labels[..., ::-1] if reverse else labels)
        np.testing.assert_array_equal(found[1], np.broadcast_to(np.array(fill, dtype), labels.shape))


def test_errors_about_labels():
    labels = np.zeros((4, 4, 1), np.int64)
    with pytest.raises(ValueError, match="fill must be whole numbers of int64"):
        roicy.crop_quads(labels, QUADS, 3, interpolation="nearest", fill=0.5)
    with pytest.raises(ValueError, match="sampling_ratio must be 1 for interpolation='nearest'"):
        roicy.crop_quads(labels, QUADS, 3, interpolation="nearest", sampling_ratio=0)
    with pytest.raises(TypeError, match="interpolation='nearest', which keeps every bit"):
        roicy.crop_quads(labels, QUADS, 3)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "int64"])
def test_images_of_different_sizes(layout, dtype):
    """Are cut as each by itself, whatever says which image a quadrangle is of."""
    images = [
        RNG.integers(0, 255, (height, width, 3)).astype(dtype)
        for height, width in ((20, 31), (9, 7), (5, 40))
    ]
    if layout == "NCHW":
        images = [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in images]
    options = {"layout": layout, "interpolation": "nearest" if dtype == "int64" else "bilinear", "fill": 3}
    lists = [QUADS[:2], QUADS[:0], QUADS[1:]]
    wanted = np.concatenate(
        [
            roicy.crop_quads(image, quads, (4, 9), **options)
            for image, quads in zip(images, lists, strict=True)
        ]
    )
    assert_same_bits(roicy.crop_quads(images, lists, (4, 9), **options), wanted)
    rows, indices = QUADS[[0, 1, 1, 2]], np.array([0, 0, 2, 2])
    order = [2, 0, 3, 1]
    found = roicy.crop_quads(tuple(images), rows[order], (4, 9), batch_indices=indices[order], **options)
    assert_same_bits(found, wanted[order])
    batch = np.stack([images[0], images[0][::-1]])
    found = roicy.crop_quads(batch, [QUADS[:1], QUADS], (4, 9), **options)
    wanted = [
        roicy.crop_quads(batch[0], QUADS[:1], (4, 9), **options),
        roicy.crop_quads(batch[1], QUADS, (4, 9), **options),
    ]
    assert_same_bits(found, np.concatenate(wanted))


@pytest.mark.numpy_only(reason="lists of numbers are the host's")
def test_lists_of_numbers():
    wanted = roicy.crop_quads(IMAGE, QUADS, 5)
    for corners in (QUADS.tolist(), list(QUADS), tuple(map(tuple, QUADS.tolist()))):
        np.testing.assert_array_equal(roicy.crop_quads(IMAGE, corners, 5), wanted)
    found = roicy.crop_quads([IMAGE, IMAGE], [QUADS.tolist(), []], 5)
    np.testing.assert_array_equal(found, wanted)
    for images in (IMAGE, np.stack([IMAGE, IMAGE]), [IMAGE, IMAGE], IMAGE[None][:0]):
        for none in ([], (), np.array([])):
            assert roicy.crop_quads(images, none, 5).shape == (0, 5, 5, 3)
            assert roicy.crop_and_resize(images, none, 5).shape == (0, 5, 5, 3)
    for corners, error, says in (
        (QUADS[0].tolist(), ValueError, "one quadrangle"),
        ([1, 2], ValueError, "one quadrangle"),
        ([[[1, 2], [3, 4], [5, 6]]], ValueError, r"corners must have shape \(K, 4, 2\)"),
        ([[[1, 2], [3, 4], [5, 6], [7]]], ValueError, "four corners"),
        ([[[1, 2], [3, "x"], [5, 6], [7, 8]]], TypeError, "four corners"),
        ([QUADS[None]], ValueError, r"corners\[0\] must have shape"),
    ):
        with pytest.raises(error, match=says):
            roicy.crop_quads(IMAGE, corners, 5)


def test_lists_and_errors():
    others = [IMAGE, IMAGE[:9]]
    for images, corners, changes, error, says in (
        ([], [], {}, ValueError, "images must be an array or a list of at least one array"),
        (others, [QUADS], {}, ValueError, "corners must be one array for each of N = 2 images"),
        (others, QUADS, {}, ValueError, "batch_indices must say"),
        (others, [QUADS, QUADS[0]], {}, ValueError, r"corners\[1\] must have shape \(L, 4, 2\)"),
        ([IMAGE, IMAGE[:, :, :2]], [QUADS, QUADS], {}, ValueError, r"images\[1\] must have 3 channels"),
        ([IMAGE, IMAGE.astype(np.float32)], [QUADS, QUADS], {}, TypeError, r"images\[1\] must be uint8"),
        ([IMAGE, IMAGE[:0]], [QUADS, QUADS], {}, ValueError, r"images\[1\] must have at least one pixel"),
        (others, [QUADS, QUADS * np.nan], {}, ValueError, r"corners\[1\] row 0"),
        (
            IMAGE,
            QUADS,
            {"sampling_ratio": 129},
            ValueError,
            "sampling_ratio must be at most 128 for quadrangles",
        ),
    ):
        with pytest.raises(error, match=says):
            roicy.crop_quads(images, corners, 5, **changes)


@pytest.mark.cpu_only(reason="nobody waits for a device to look at boxes")
@pytest.mark.filterwarnings("error::roicy.RoisWarning")
def test_what_quadrangles_look_like():
    """Of corners that are divided by the size of the image, or of another one, a warning says so."""
    large, images = np.zeros((64, 80, 3), np.uint8), [IMAGE, IMAGE]
    roicy.crop_quads(IMAGE, QUADS, 4)
    roicy.crop_quads(IMAGE, QUADS * 0, 4)
    roicy.crop_quads(large[:4, :4], QUADS / 100, 4)
    for corners, look in ((QUADS / 100 + 0.1, "normalised"), (QUADS + 500, "were of another")):
        for pictures, of in ((large, corners), (images, [corners, corners])):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                roicy.crop_quads(pictures, of, 4)
            (warning,) = caught
            assert look in str(warning.message) and str(warning.message).startswith("corners look")
            assert warning.filename == __file__


def test_behind_the_horizon_and_without_area():
    """What is to be seen nowhere is fill, with each border."""
    crossed = np.array([[[2, 2], [20, 2], [4, 10], [18, 10]]], np.float32)
    line = np.array([[[2, 2], [8, 2], [14, 2], [3, 9]]], np.float32)
    for border in ("constant", "edge", "reject"):
        for corners in (crossed, line):
            found = roicy.crop_quads(IMAGE, corners, (8, 8), border=border, fill=-1.0)
            assert np.isfinite(found).all()


def test_opencv():
    """`warpPerspective` with corners as the docstring says."""
    cv2 = pytest.importorskip("cv2")
    rows, columns = 16, 40
    ends = np.float32([(0, 0), (columns, 0), (columns, rows), (0, rows)]) - 0.5
    for corners in QUADS[:2]:
        matrix = cv2.getPerspectiveTransform(np.float32(corners) - np.float32(0.5), ends)
        theirs = cv2.warpPerspective(
            IMAGE.astype(np.float32), matrix, (columns, rows), flags=cv2.INTER_LINEAR
        )
        (ours,) = roicy.crop_quads(IMAGE, corners[None], (rows, columns))
        assert np.abs(ours - theirs).mean() < 2
        inside = roicy.crop_quads(np.ones_like(IMAGE), corners[None], (rows, columns))[0] == 1
        assert np.abs(ours - theirs)[inside].max() < 16  # its positions are whole 32nds of a pixel


def test_invalid_rows_and_errors():
    bad = QUADS.copy()
    bad[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match="corners row 1"):
        roicy.crop_quads(IMAGE, bad, 5)
    found = roicy.crop_quads(IMAGE, bad, 5, invalid="nan")
    assert np.isnan(found[1]).all() and np.isfinite(found[[0, 2]]).all()
    assert (roicy.crop_quads(IMAGE, bad, 5, invalid="nan", dtype="uint8")[1] == 0).all()
    with pytest.raises(ValueError, match="corners row 2"):
        roicy.crop_quads(IMAGE[None], QUADS, 5, batch_indices=np.array([0, 0, 1]))
    for changes, error, says in (
        ({"corners": QUADS[:, :3]}, ValueError, "corners must have shape"),
        ({"images": IMAGE[:0]}, ValueError, "images must have at least one pixel"),
        ({"images": IMAGE.astype(np.int64)}, TypeError, "images"),
        ({"images": np.stack([IMAGE, IMAGE])}, ValueError, "batch_indices must"),
        ({"border": "wrap"}, ValueError, "border must be"),
        ({"std": 0.0}, ValueError, "std must be"),
        ({"mean": 1e300}, ValueError, "mean must be a number that is finite in float32"),
        ({"dtype": np.dtype(np.float16).newbyteorder()}, TypeError, "dtype must be in native byte order"),
        ({"out": np.zeros((3, 5, 5, 2), np.float32)}, ValueError, "out must have shape"),
    ):
        arguments = {"images": IMAGE, "corners": QUADS, "output_size": 5, **changes}
        with pytest.raises(error, match=says):
            roicy.crop_quads(**arguments)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_no_images(layout):
    """Rows of none are invalid ones."""
    images = np.zeros((0, 4, 5, 3) if layout == "NHWC" else (0, 3, 4, 5), np.uint8)
    options = {"batch_indices": np.array([0, -1, 1]), "layout": layout}
    with pytest.raises(ValueError, match="corners row 0"):
        roicy.crop_quads(images, QUADS, 2, **options)
    assert np.isnan(roicy.crop_quads(images, QUADS, 2, invalid="nan", **options)).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("border", ["edge", "reject"])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_end_of_an_axis_that_no_float_counts(axis, border, interpolation):
    """Is its last pixel, not one behind it: the next float is."""
    for length in (2**24 + 3, 2**24 + 4):
        memory = np.full(length + 8, 9, np.uint8)
        image = memory[:length].reshape((length, 1, 1) if axis == 0 else (1, length, 1))
        memory[:length] = 7
        low, high = length - 8, length + 8
        corners = np.array([[[low, 0], [high, 0], [high, 1], [low, 1]]], np.float64)
        if axis == 0:
            corners = corners[:, [0, 3, 2, 1], ::-1].copy()
        size = (16, 1) if axis == 0 else (1, 16)
        crop = roicy.crop_quads(image, corners, size, border=border, interpolation=interpolation).ravel()
        assert (crop[:7] == 7).all() and np.isin(crop, [7] if border == "edge" else [0, 7]).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_out(threads):
    with roicy.num_threads(1):
        wanted = roicy.crop_quads(IMAGE, QUADS, (150, 90))
    out = np.empty((3, 150, 180, 3), np.float32)[:, :, ::2]
    with roicy.num_threads(threads):
        assert roicy.crop_quads(IMAGE, QUADS, (150, 90), out=out) is out
    assert_same_bits(np.ascontiguousarray(out), wanted)


def test_no_quads():
    assert roicy.crop_quads(IMAGE, QUADS[:0], (4, 5)).shape == (0, 4, 5, 3)


@pytest.mark.parametrize("border", ["constant", "reject"])
@pytest.mark.parametrize("mean", [None, 3.0])
@pytest.mark.parametrize("channels", [3, 5])
def test_what_is_not_in_a_quadrangle_does_not_count(border, mean, channels):
    """Not even the first pixel, where it is no number."""
    image = np.ones((8, 9, channels), np.float32)
    image[0, 0] = np.nan
    image[0, 1] = np.inf
    beside = np.array([[[100, 100], [110, 100], [110, 110], [100, 110]]], np.float32)
    crops = roicy.crop_quads(image, beside, 4, border=border, fill=5, mean=mean)
    np.testing.assert_array_equal(crops, np.full((1, 4, 4, channels), 5 - (mean or 0)))


# ---------------------------------------------------------------- parts of images
