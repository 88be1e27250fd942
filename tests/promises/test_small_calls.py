"""Small calls: cached options are right for the next call, and a call enters few Python functions."""

import gc
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import roicy
from roicy.cpu.runtime.calls import Known, are_plain

FEATURES = np.random.default_rng(0).standard_normal((1, 8, 16, 16)).astype(np.float32)
ROIS = np.array([[0, 2, 2, 9, 9]], np.float32)
POOLED, ARGMAX = roicy.roi_pool(FEATURES, ROIS, 7, return_argmax=True)
PLAN = roicy.roi_align_plan(ROIS, FEATURES.shape, 7)
TURNED = np.array([[0, 8, 8, 6, 9, 30]], np.float32)
OFFSETS = np.zeros((1, 2, 7, 7), np.float32)
SHAPE = FEATURES.shape
PACKAGE = str(Path(roicy.__file__).parent)
PICTURE = np.full((16, 16, 3), 7, np.uint8)

#: A call, and how many of the package's Python functions it may enter; each costs some fifty nanoseconds.
CALLS = {
    "roi_align": (lambda: roicy.roi_align(FEATURES, ROIS, 7), 24),
    "roi_align, maximum": (lambda: roicy.roi_align(FEATURES, ROIS, 7, mode="max"), 26),
    "plan": (lambda: PLAN(FEATURES), 11),
    "roi_pool": (lambda: roicy.roi_pool(FEATURES, ROIS, 7), 26),
    "roi_pool, into two": (
        lambda: roicy.roi_pool(FEATURES, ROIS, 7, return_argmax=True, out=(POOLED.copy(), ARGMAX.copy())),
        46,
    ),
    "roi_align_rotated": (lambda: roicy.roi_align_rotated(FEATURES, TURNED, 7), 25),
    "deform_roi_pool": (lambda: roicy.deform_roi_pool(FEATURES, ROIS, OFFSETS, 7), 30),
    "ps_roi_align": (lambda: roicy.ps_roi_align(FEATURES, ROIS, 2), 23),
    "backward": (lambda: roicy.roi_align_backward(POOLED, ROIS, SHAPE), 36),
    "backward_rois": (lambda: roicy.roi_align_backward_rois(POOLED, FEATURES, ROIS), 43),
    "crop_and_resize": (lambda: roicy.crop_and_resize(PICTURE, ROIS[:, 1:], 7, mean=1.0), 1),
    "crop_and_resize, of a part": (
        lambda: roicy.crop_and_resize(PICTURE, ROIS[:, 1:], 7, mean=1.0, window=(0, 0, 16, 16)),
        61,
    ),
    "roi_pool_backward": (lambda: roicy.roi_pool_backward(POOLED, ARGMAX, ROIS, SHAPE), 46),
}


@pytest.mark.parametrize("name", CALLS)
def test_few_functions_are_entered(name):
    call, most = CALLS[name]
    entered = entered_by(call)
    assert len(entered) <= most, entered


def test_another_number_of_boxes_is_known():
    call, most = CALLS["roi_align"]
    call()
    for count in (2, 3, 40):
        rois = ROIS.repeat(count, axis=0)
        assert len(entered_by(lambda rois=rois: roicy.roi_align(FEATURES, rois, 7), warm=False)) <= most


def entered_by(call, warm=True):
    """The functions that a call enters, its second one."""
    entered = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            entered.append(frame.f_code.co_name)

    if warm:
        call()
    gc.disable()  # which may run what others left
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
        gc.enable()
    return entered


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ({"aligned": True}, {"aligned": 1.0}),
        ({"sampling_ratio": 1}, {"sampling_ratio": True}),
        ({"spatial_scale": 1.0}, {"spatial_scale": True}),
        ({"output_size": (1, 7)}, {"output_size": (True, 7)}),
        ({"output_size": 1}, {"output_size": True}),
    ],
)
def test_what_equals_a_right_argument_is_wrong_as_ever(right, wrong):
    options = {"features": FEATURES, "rois": ROIS, "output_size": 7}
    roicy.roi_align(**(options | right))
    for _ in range(2):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            roicy.roi_align(**(options | wrong))


def test_a_shape_that_equals_a_right_one_is_wrong_as_ever():
    roicy.roi_align_backward(POOLED, ROIS, (1, 8, 16, 16))
    with pytest.raises(TypeError, match="input_shape"):
        roicy.roi_align_backward(POOLED, ROIS, (True, 8, 16, 16))


def test_what_is_known_is_of_these_boxes():
    # a scale that float32 does not hold is right for boxes in float64 alone, or with offsets that are
    for boxes, offsets in ((np.float64, np.float32), (np.float32, np.float64)):
        options = {"spatial_scale": 1e-300, "sampling_ratio": 1}
        roicy.deform_roi_pool(FEATURES, ROIS.astype(boxes), OFFSETS.astype(offsets), 7, **options)
    with pytest.raises(ValueError, match="spatial_scale"):
        roicy.deform_roi_pool(FEATURES, ROIS, OFFSETS, 7, **options)


def test_calls_of_other_numbers_of_boxes_have_their_own_results():
    for count in (1, 3, 0, 2, 1):
        assert roicy.roi_align(FEATURES, np.repeat(ROIS, count, axis=0), 7).shape == (count, 8, 7, 7)
        boxes = [ROIS[:, 1:].repeat(count, axis=0)]
        assert roicy.roi_align(FEATURES, boxes, 7).shape == (count, 8, 7, 7)


def test_little_is_known():
    known = Known(3)
    for number in range(10):
        known.put((number, "a"), number)
        assert known.get((number, "a")) == number and known.get((number, "b")) is None
    assert sum(known.get((number, "a")) is not None for number in range(10)) <= 3


def test_what_cannot_be_hashed_is_not_known():
    known = Known(3)
    known.put(([],), 1)
    assert known.get(([],)) is None


class Unhashable:
    def __hash__(self):
        raise RuntimeError("not this one")


@pytest.mark.parametrize(
    "word", [[], memoryview(bytearray(3)), Unhashable()], ids=lambda word: type(word).__name__
)
@pytest.mark.parametrize("name", ["mode", "max_rule"])
def test_words_that_cannot_be_hashed_are_named(name, word):
    with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
        roicy.roi_align(FEATURES, ROIS, 7, **{name: word})
    assert caught.value.__context__ is None


@pytest.mark.parametrize("dtype", [[("a",)], ("f4", -1), "i8;"])
def test_what_is_no_dtype_is_named(dtype):
    with pytest.raises(TypeError, match=r"^dtype must be a dtype or its name"):
        roicy.crop_and_resize(np.ones((1, 8, 8, 3), np.uint8), ROIS, 7, dtype=dtype)


def test_types_count():
    known = Known(3)
    known.put((1, (2, 3)), "found")
    assert known.get((1, (2, 3))) == "found"
    for other in ((1.0, (2, 3)), (True, (2, 3)), (1, (2.0, 3)), (np.int64(1), (2, 3))):
        assert other == (1, (2, 3)) and known.get(other) is None


class Alike(tuple):
    """Tuples that all count as equal."""

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 7


def test_lengths_count():
    known = Known(3)
    known.put((Alike((4, 4)),), "found")
    assert known.get((Alike((4, 4)),)) == "found"
    for other in ((4,), (4, 4, 4), (4, 4, *range(10_000))):  # of which no more is read than both have
        assert known.get((Alike(other),)) is None


def test_metadata_of_dtypes_counts():
    plain, noted = np.dtype("u1"), np.dtype("u1", metadata={"by": "me"})
    for first, second in ((plain, noted), (noted, plain), (noted, np.dtype("u1", metadata={"by": "you"}))):
        known = Known(3)
        known.put((first,), "found")
        assert first == second and known.get((second,)) is None
        assert known.get((first,)) == "found"


def test_signs_of_zeros_count():
    known = Known(3)
    for zero in (0.0, np.float64(0), np.float32(0)):
        for arguments, other in (((zero,), (-zero,)), (((1, zero),), ((1, -zero),))):
            known.put(arguments, "found")
            assert other == arguments and known.get(other) is None
    known.put((0.0,), "found")
    assert known.get((0.0,)) == "found"
    picture = np.full((8, 8, 1), -0.0, np.float32)
    for mean in (0.0, -0.0, 0.0):
        found = roicy.crop_and_resize(picture, np.array([[1, 1, 3, 3]], np.float32), 1, mean=mean, fill=1)
        assert np.signbit(found).item() == np.signbit(np.float32(-0.0) - np.float32(mean))


class Size(NamedTuple):
    rows: int
    columns: int


def test_types_in_tuples_of_a_class_count():
    for _ in range(2):
        assert roicy.roi_align(FEATURES, ROIS, Size(1, 7)).shape == (1, 8, 1, 7)
        with pytest.raises(TypeError, match="output_size"):
            roicy.roi_align(FEATURES, ROIS, Size(True, 7))


class Changing:
    """A number that may be another one later, as a tensor may: it is hashed by what it is."""

    ndim = 0

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value


class Row:
    ndim = 1

    def __init__(self, *values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)


def test_numbers_that_change_are_read_again():
    scale, size, mean = Changing(1.0), Changing(3), Row(1.0, 2.0, 3.0)
    for number, length, means in ((1.0, 3, (1.0, 2.0, 3.0)), (0.5, 2, (4.0, 5.0, 6.0))):
        scale.value, size.value, mean.values = number, length, means
        np.testing.assert_array_equal(
            roicy.roi_align(FEATURES, ROIS, size, spatial_scale=scale),
            roicy.roi_align(FEATURES, ROIS, length, spatial_scale=number),
        )
        np.testing.assert_array_equal(
            roicy.roi_align_backward(POOLED, ROIS, SHAPE, spatial_scale=scale),
            roicy.roi_align_backward(POOLED, ROIS, SHAPE, spatial_scale=number),
        )
        np.testing.assert_array_equal(
            roicy.crop_and_resize(PICTURE, ROIS[:, 1:], 4, mean=mean),
            roicy.crop_and_resize(PICTURE, ROIS[:, 1:], 4, mean=list(means)),
        )


def test_plain_arrays():
    class Own(np.ndarray):
        pass

    names, optional = ("features", "out"), frozenset(("out",))
    for array in (FEATURES, FEATURES[0, ::2], ARGMAX):
        assert are_plain(names, optional, array, array) and are_plain(names, optional, array, None)
    for other in (None, FEATURES.view(Own), FEATURES.astype(">f4"), [1.0], np.float32(1)):
        assert not are_plain(names, optional, other, FEATURES)
        assert other is None or not are_plain(names, optional, FEATURES, other)
        assert not are_plain(names, optional, FEATURES, (FEATURES, other))
        assert not are_plain(names, optional, (FEATURES, ARGMAX), other)
    assert are_plain(names, optional, FEATURES, (FEATURES, ARGMAX))
