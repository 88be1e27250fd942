"""Repeated crops have the same bits, errors and warnings as a first call."""

import gc
import itertools
import threading
import weakref

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy
from roicy import _backend
from roicy.cpu import crops_again

pytestmark = pytest.mark.numpy_only(reason="the cache of the CPU backend")

BOXES = np.array([[0, 1.5, 2, 9.25, 11], [1, -3, -2, 5, 30], [0, 12, 9, 4, 3]], np.float32)
SHAPES = {"NHWC": (2, 13, 17, 3), "NCHW": (2, 3, 13, 17)}
NORMALISED = {"mean": (100.0, 90.0, 80.0), "std": 57.0, "reverse_channels": True}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    known = crops_again.found
    monkeypatch.setattr(crops_again, "found", type(known)(64))


def drawn(shape, dtype="uint8"):
    values = np.random.default_rng(0).integers(0, 128, shape)
    return values.astype(dtype) if dtype != "bool" else values > 60


@pytest.fixture
def again(monkeypatch):
    """``again(*arguments, **options)`` makes a call twice; fails unless the second one repeats the first."""

    def call(*arguments, **options):
        roicy.crop_and_resize(*arguments, **{**options, "out": None})
        with monkeypatch.context() as patch:
            patch.setattr(roicy.crop, "crop", lambda *_: pytest.fail("is not known"))
            return roicy.crop_and_resize(*arguments, **options)

    return call


def usual(images, boxes, size, layout="NHWC", **options):
    """Crops on the usual path: a call with a window, here all of the image, is never repeated."""
    rows, columns = images.shape[-2:] if layout == "NCHW" else images.shape[-3:-1]
    window = 0, 0, rows, columns
    return roicy.crop_and_resize(images, boxes, size, layout=layout, window=window, **options)


OPTIONS = [
    {},
    {**NORMALISED, "out_layout": "NCHW"},
    {**NORMALISED, "fill": 7, "border": "reject", "out_layout": "NHWC"},
    {"sampling": "corners", "border": "edge", "sampling_ratio": 0, "mean": [1, 2, 3.5]},
    {"interpolation": "nearest", "std": np.array([1, 2, 4.0]), "fill": [1, 2, 3]},
    {"interpolation": "nearest", "reverse_channels": True},
    {"dtype": "uint8", "fill": 3},
    {"dtype": np.float16, "out_layout": "NCHW"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=map(str, range(len(OPTIONS))))
@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "int16", "bool"])
def test_known_crops_have_the_same_bits(again, dtype, layout, options):
    images = drawn(SHAPES[layout], dtype)
    options = {**options, "layout": layout}
    for size in (5, (20, 3), [2, 40], np.array([7, 7])):
        expected = usual(images, BOXES, size, **options)
        assert_same_bits(again(images, BOXES, size, **options), expected)
        assert_same_bits(again(images, BOXES, size, **options, out=np.empty_like(expected)), expected)


def test_known_crops_whose_lists_are_made_box_by_box(again):
    """Such tables have a cost, too: without any, boxes would look as if they read nothing."""
    inside = np.array([[0, 1.5, 2, 9.25, 11], [1, 3, 2, 12, 11]], np.float32)
    assert_same_bits(again(IMAGES, inside, (40, 33)), usual(IMAGES, inside, (40, 33)))


def test_labels_go_the_usual_way():
    images = drawn((2, 13, 17, 3), "int64")
    for _ in range(3):
        found = roicy.crop_and_resize(images, BOXES, 4, interpolation="nearest")
        assert found.dtype == np.int64
        assert_same_bits(found, usual(images, BOXES, 4, interpolation="nearest"))


def test_images_of_any_place_and_size(again):
    image = drawn((40, 50, 3))
    boxes = BOXES[:, 1:]
    views = [
        *(image, image[3:20, 5:30], image[::-1, ::2], image[:, :, ::-1], image.transpose(1, 0, 2)),
        *(np.asfortranarray(image), image[None], np.broadcast_to(image[:1], image.shape), drawn((9, 8, 3))),
    ]
    for view in views:
        assert_same_bits(again(view, boxes, 6, **NORMALISED), usual(view, boxes, 6, **NORMALISED))


def test_images_in_turn_have_their_own_crops():
    gray, colour = drawn((13, 17, 1)), drawn((13, 17, 3))
    many = [gray, colour, gray.astype("f4"), colour.astype("f8"), gray[None], colour.transpose(2, 0, 1)]
    expected = [usual(image, BOXES[:, 1:], 5, mean=3, std=2) for image in many]
    for _, (image, wanted) in itertools.product(range(3), zip(many, expected, strict=True)):
        assert_same_bits(roicy.crop_and_resize(image, BOXES[:, 1:], 5, mean=3, std=2), wanted)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i4", "i8", "u8"])
def test_boxes_of_any_dtype(again, dtype):
    images, boxes = drawn((2, 13, 17, 3)), BOXES[[0, 2]].astype(dtype)
    assert_same_bits(again(images, boxes, 4), usual(images, boxes, 4))
    assert_same_bits(again(images, boxes[::-1], 4), usual(images, boxes[::-1], 4))
    fortran, indices = np.asfortranarray(boxes[:, 1:]), np.array([1, 0], dtype)
    assert_same_bits(again(images[:1], fortran, 4), usual(images[:1], fortran, 4))
    if indices.dtype.kind in "iu":
        options = {"batch_indices": indices}
        assert_same_bits(again(images, fortran, 4, **options), usual(images, fortran, 4, **options))


def test_boxes_of_wide_integers(again):
    # numbers that float32 does not hold
    boxes = np.array([[-(2**24) - 1, 0, 2**24 + 3, 11], [1, 2, 9, 8]], np.int32)
    assert_same_bits(again(IMAGES[0], boxes, 1), usual(IMAGES[0], boxes, 1))


def test_unaligned_arrays(again):
    def shifted(array):
        memory = np.zeros(array.nbytes + 1, np.uint8)
        view = memory[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view

    images, boxes = drawn((2, 13, 17, 3), "float32"), shifted(BOXES)
    expected = usual(images, BOXES, 4)
    assert_same_bits(again(images, boxes, 4), expected)
    with pytest.raises(pytest.fail.Exception, match="is not known"):  # the usual path makes a copy
        again(shifted(images), boxes, 4)
    assert_same_bits(roicy.crop_and_resize(shifted(images), boxes, 4), expected)
    out = shifted(np.zeros_like(expected))
    roicy.crop_and_resize(images, boxes, 4, out=out)
    assert_same_bits(out.copy(), expected)


IMAGES = drawn((2, 13, 17, 3))
RIGHT = {"images": IMAGES, "boxes": BOXES, "output_size": 4}
#: Wrong arguments of calls that are otherwise like a known one.
WRONG = {
    "a batch index": {"boxes": BOXES + np.float32([2, 0, 0, 0, 0])},
    "one batch index": {"boxes": BOXES + np.float32([[0], [9], [0]]) * np.float32([1, 0, 0, 0, 0])},
    "one not finite": {"boxes": np.where(np.arange(15).reshape(3, 5) == 7, np.float32("inf"), BOXES)},
    "not finite": {"boxes": np.full_like(BOXES, np.nan)},
    "columns": {"boxes": BOXES[:, :3]},
    "no batch index": {"boxes": BOXES[:, 1:]},
    "boxes of bools": {"boxes": BOXES > 1},
    "boxes of complex": {"boxes": BOXES.astype("c8")},
    "an axis of boxes": {"boxes": BOXES[0]},
    "batch_indices": {"batch_indices": np.zeros(3, int)},
    "fewer batch_indices": {"boxes": BOXES[:, 1:], "batch_indices": np.zeros(2, int)},
    "more batch_indices": {"boxes": BOXES[:, 1:], "batch_indices": np.zeros(4, int)},
    "batch_indices of two axes": {"boxes": BOXES[:, 1:], "batch_indices": np.zeros((3, 1), int)},
    "batch_indices of floats": {"boxes": BOXES[:, 1:], "batch_indices": np.zeros(3)},
    "axes of images": {"images": IMAGES[0, 0]},
    "axes beyond": {"images": IMAGES[None]},
    "rows beyond int32": {"images": np.broadcast_to(IMAGES[:, :1], (2, 2**31, 17, 3))},
    "images of complex": {"images": IMAGES.astype("c8")},
    "out of a shape": {"out": np.empty((3, 4, 4, 2), np.float32)},
    "out of axes": {"out": np.empty((3, 4, 12), np.float32)},
    "out of a dtype": {"out": np.empty((3, 4, 4, 3))},
    "out in another order of bytes": {"out": np.empty((3, 4, 4, 3), ">f4")},
    "out overlaps itself": {"out": np.broadcast_to(np.float32(0), (3, 4, 4, 3))},
    "a tuple": {"out": (np.empty((3, 4, 4, 3), np.float32),)},
    "True as a size": {"output_size": True},
    "a flag": {"reverse_channels": 0.0},
    "a flag in a tuple": {"mean": (True, 1.0, 1.0)},
    "a std of 0": {"std": [1, 0, 1]},
    "two means": {"mean": [1, 2]},
    "dates as means": {"mean": np.array([1, 1, 1], "M8[ns]")},
    "spans of time as a size": {"output_size": np.array([4, 4], "m8[ns]")},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_wrong_as_ever(wrong):
    call = {**RIGHT, **wrong}
    with pytest.raises((TypeError, ValueError)) as first:
        roicy.crop_and_resize(**call)
    means = {"mean": (1, 1.0, 1.0)}, {"mean": (1, 1, 1)}
    for more in ({}, {"reverse_channels": False}, *means, {"output_size": 1}, {"output_size": (4, 4)}):
        for _ in range(2):
            roicy.crop_and_resize(**RIGHT, **more) if "output_size" not in more else None
            roicy.crop_and_resize(**{**RIGHT, **more})
    with pytest.raises(first.type) as second:
        roicy.crop_and_resize(**call)
    assert str(second.value) == str(first.value)


def test_results_that_overlap_an_input(again):
    memory = np.zeros(20000, np.float32)
    images = memory[:2652].reshape(2, 13, 17, 6)[..., ::2]
    images[...] = IMAGES
    expected = again(images, BOXES, 4)
    for begin in (0, 1000, 2600, 2650):  # the last one shares the last pixel alone
        for view in (images, images[:, ::-1, ::-1]):
            with pytest.raises(ValueError, match="out must not overlap"):
                roicy.crop_and_resize(view, BOXES, 4, out=memory[begin : begin + 144].reshape(3, 4, 4, 3))
    between = memory[1:2653].reshape(2, 13, 17, 6)[..., ::2]  # spans the same memory, but shares no pixel
    assert np.may_share_memory(between, images) and not np.shares_memory(between, images)
    out = memory[2652 : 2652 + 144].reshape(3, 4, 4, 3)
    assert again(images, BOXES, 4, out=out) is out
    assert_same_bits(out, expected)
    boxes = memory[5000:5015].reshape(3, 5)
    boxes[...] = BOXES
    with pytest.raises(ValueError, match="out must not overlap"):
        roicy.crop_and_resize(images, boxes, 4, out=memory[4990 : 4990 + 144].reshape(3, 4, 4, 3))
    indices, plain = memory[6000:6006].view(np.int64), np.ascontiguousarray(BOXES[:, 1:])
    with pytest.raises(ValueError, match="out must not overlap"):
        roicy.crop_and_resize(
            images, plain, 4, batch_indices=indices, out=memory[6000:6144].reshape(3, 4, 4, 3)
        )


def test_strided_results(again):
    expected = usual(IMAGES, BOXES, 4, **NORMALISED)
    again(IMAGES, BOXES, 4, **NORMALISED)
    for out in (np.zeros((3, 4, 4, 6), np.float32)[..., ::2], np.zeros((3, 4, 4, 3), "f4", order="F")):
        assert roicy.crop_and_resize(IMAGES, BOXES, 4, **NORMALISED, out=out) is out
        assert_same_bits(out.copy(), expected)
    read_only = np.zeros((3, 4, 4, 3), np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="writeable"):
        roicy.crop_and_resize(IMAGES, BOXES, 4, **NORMALISED, out=read_only)


def test_no_boxes_and_no_pixels():
    for _ in range(3):
        assert roicy.crop_and_resize(IMAGES, BOXES[:0], 4).shape == (0, 4, 4, 3)
        assert_same_bits(roicy.crop_and_resize(IMAGES, BOXES, 4), usual(IMAGES, BOXES, 4))
        empty = roicy.crop_and_resize(IMAGES[:, :0], BOXES[:1], 4, fill=7)
        assert (empty == 7).all()


def test_invalid_rows_are_nan_again(again):
    boxes = np.concatenate([BOXES, [[5, 0, 0, 4, 4], [0, np.nan, 0, 4, 4]]]).astype(np.float32)
    found = again(IMAGES, boxes, 4, invalid="nan")
    assert_same_bits(found, usual(IMAGES, boxes, 4, invalid="nan"))
    assert np.isnan(found[3:]).all() and not np.isnan(found[:3]).any()


def test_doubts_are_said_again():
    sizes = np.array([[0, 30, 30, 5, 5], [0, 10, 10, 3, 2]], np.float32)
    roicy.crop_and_resize(IMAGES, BOXES, 4)
    for _ in range(2):
        with pytest.warns(roicy.RoisWarning, match="x, y, width, height"):
            roicy.crop_and_resize(IMAGES, sizes, 4)


def test_lists_and_arrays_of_numbers_are_read_again():
    mean, std, size = [1.0, 2.0, 3.0], np.array([1.0, 2.0, 4.0]), [3, 4]
    for number in (0.0, 5.0, -0.0):
        mean[1], std[2], size[0] = number, 8 + number, 3 + int(number)
        expected = usual(IMAGES, BOXES, tuple(size), mean=tuple(mean), std=tuple(std))
        for _ in range(3):
            assert_same_bits(roicy.crop_and_resize(IMAGES, BOXES, size, mean=mean, std=std), expected)


class Own(str):
    """A word of a class of its own."""


def test_words_of_other_classes():
    for _ in range(3):
        found = roicy.crop_and_resize(IMAGES, BOXES, 4, layout=Own("NHWC"), invalid=Own("raise"))
        assert_same_bits(found, usual(IMAGES, BOXES, 4))
    planes = IMAGES.transpose(0, 3, 1, 2)
    for layout in ("NCHW", Own("NCHW"), "NCHW"):
        found = roicy.crop_and_resize(planes, BOXES, 4, layout=layout, out_layout="NHWC")
        assert_same_bits(found, usual(IMAGES, BOXES, 4))


def test_dtypes_that_hold_more_are_not_given_to_others(again):
    noted = np.dtype("uint8", metadata={"by": "me"})
    options = {"interpolation": "nearest"}
    for _ in range(3):
        assert roicy.crop_and_resize(IMAGES.view(noted), BOXES, 4, **options).dtype.metadata
        assert again(IMAGES, BOXES, 4, **options).dtype.metadata is None
    for _ in range(2):
        for dtype in (noted, np.dtype("uint8")):
            for _ in range(2):
                found = roicy.crop_and_resize(IMAGES, BOXES, 4, dtype=dtype)
                assert found.dtype.metadata == dtype.metadata


def test_arrays_of_classes_go_the_usual_way(again):
    class Marked(np.ndarray):
        pass

    expected = again(IMAGES, BOXES, 4)
    for images, boxes in (
        (IMAGES.view(Marked), BOXES),
        (IMAGES, BOXES.view(Marked)),
        (IMAGES, BOXES.tolist()),
    ):
        assert_same_bits(roicy.crop_and_resize(images, boxes, 4), expected)
    assert_same_bits(roicy.crop_and_resize(list(IMAGES), BOXES, 4), expected)
    assert_same_bits(roicy.crop_and_resize(IMAGES.astype("f4").astype(">f4"), BOXES, 4), expected)


def test_nothing_of_a_call_is_kept():
    images, boxes, out, mean = IMAGES.copy(), BOXES.copy(), np.empty((3, 4, 4, 3), np.float32), np.ones(3)
    gone = [weakref.ref(array) for array in (images, boxes, out, mean)]
    gc.disable()
    try:
        for _ in range(3):
            assert roicy.crop_and_resize(images, boxes, 4, mean=mean, out=out) is out
        del images, boxes, out, mean
        assert [array() for array in gone] == [None] * 4
    finally:
        gc.enable()


def test_many_channels_and_settings_are_not_kept():
    wide = drawn((6, 6, 300))
    for _ in range(2):
        assert roicy.crop_and_resize(wide, np.array([[0, 0, 4, 4]]), 2).shape == (1, 2, 2, 300)
    assert crops_again.like((2, (), 0.0, None, None, False, "NHWC", None, None, "raise"), wide) is None
    for number in range(200):
        roicy.crop_and_resize(IMAGES, BOXES, 2, mean=float(number))
    settings = [
        (2, ("half_pixel", "bilinear", 1, "constant"), 0.0, float(number), *rest)
        for number in range(200)
        for rest in [(None, False, "NHWC", None, None, "raise")]
    ]
    assert 1 <= sum(crops_again.like(each, IMAGES) is None for each in settings) <= 64


@pytest.mark.parametrize("fill", [np.float64(0), np.array(3.0), Own("x")])
def test_settings_that_cannot_be_kept_are_not_looked_at(fill):
    """A call pays for checking its options once more only if later calls can find them."""
    rest = None, None, False, "NHWC", None, None, "raise"
    assert crops_again.like((2, (), 0.0, *rest), IMAGES) is not None
    assert crops_again.like((2, (), fill, *rest), IMAGES) is None


def test_the_number_of_threads_is_asked_for(again, monkeypatch):
    asked = []
    monkeypatch.setattr(crops_again, "for_call", lambda: asked.append(1) or 2)
    assert_same_bits(again(IMAGES, BOXES, 4), usual(IMAGES, BOXES, 4))
    assert asked == [1]


def test_another_backend_is_asked(monkeypatch):
    roicy.crop_and_resize(IMAGES, BOXES, 4)

    class Other:
        crops_again = None

        def __getattr__(self, name):
            raise ZeroDivisionError(name)

    monkeypatch.setattr(_backend, "cpu", Other())
    with pytest.raises(ZeroDivisionError):
        roicy.crop_and_resize(IMAGES, BOXES, 4)


def test_boxes_are_read_once(again, monkeypatch):
    expected = again(IMAGES, BOXES[:, 1:].copy(), 4, batch_indices=np.array([0, 1, 0]))
    boxes, indices, regions = BOXES[:, 1:].copy(), np.array([0, 1, 0]), crops_again.Regions

    def meddled(*arguments):
        boxes[...], indices[...] = 1e6, 77
        boxes.shape = 12
        return regions(*arguments)

    monkeypatch.setattr(crops_again, "Regions", meddled)
    assert_same_bits(roicy.crop_and_resize(IMAGES, boxes, 4, batch_indices=indices), expected)
    assert boxes.max() == 1e6


def test_images_of_another_dtype_meanwhile(monkeypatch):
    """Crops that are made are returned, whatever happens to the images while the options are kept."""
    images, like = IMAGES.copy(), crops_again.like

    def meddled(settings, given):
        found = like(settings, given)
        images.dtype = "S1"
        return found

    monkeypatch.setattr(crops_again, "like", meddled)
    assert_same_bits(roicy.crop_and_resize(images, BOXES, 4), usual(IMAGES, BOXES, 4))
    assert_same_bits(roicy.crop_and_resize(IMAGES, BOXES, 4), usual(IMAGES, BOXES, 4))


def test_results_of_another_shape_meanwhile(again, monkeypatch):
    expected, out = again(IMAGES, BOXES, 4), np.empty((3, 4, 4, 3), np.float32)
    regions = crops_again.Regions

    def meddled(*arguments):
        out.shape = 144, 1, 1, 1
        return regions(*arguments)

    monkeypatch.setattr(crops_again, "Regions", meddled)
    roicy.crop_and_resize(IMAGES, BOXES, 4, out=out)
    assert_same_bits(out.reshape(3, 4, 4, 3), expected)


def test_threads_have_their_own_crops():
    sizes = range(1, 9)
    expected = {size: usual(IMAGES, BOXES, size, **NORMALISED) for size in sizes}
    wrong = []

    def work(first):
        for number in range(200):
            size = 1 + (first + number) % len(sizes)
            if not np.array_equal(roicy.crop_and_resize(IMAGES, BOXES, size, **NORMALISED), expected[size]):
                wrong.append(size)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
