"""Masks laid back over images, in every form that they are returned in."""

import numpy as np
import pytest
import reference.masks as reference
from closeness import assert_same_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import BFLOAT16

import roicy
from roicy._arguments.masks import masks as settled_masks

pytestmark = pytest.mark.usefixtures("backend")

RULES = ["detectron2", "torchvision"]
DTYPES = ["float32", "float64", "float16", "uint8", "bool", *map(str, BFLOAT16)]
RNG = np.random.default_rng(0)
MASKS = RNG.random((4, 6, 6), np.float32)
BOXES = np.array([[2, 1, 15, 9], [-3.5, 2.2, 6.1, 30], [25, 25, 40, 40], [4, 4, 4.5, 20]], np.float32)
SIZE = (17, 21)
INVALID = np.array([[2, 1, 15, 9], [np.nan, 1, 5, 6], [3, 4, np.inf, 9], [4, 4, 9, 20]], np.float32)


def drawn(seed, dtype, shape):
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype == "uint8":
        return rng.integers(0, 3, shape, dtype=np.uint8)
    # some in the middle of the threshold: of neighbours that are equal no rounding takes a pixel away
    values = np.where(rng.random(shape) < 0.2, 0.5, rng.random(shape))
    return values.astype(BFLOAT16[0] if dtype == "bfloat16" else dtype)


@st.composite
def edges(draw, length):
    """Both ends of a box along an axis of so many pixels."""
    near = st.one_of(st.floats(-12, length + 12, width=32), st.integers(-3, length + 3).map(float))
    start = draw(near)
    size = draw(
        st.one_of(
            st.floats(0, 2 * length, width=32),
            st.integers(1, length + 8).map(float),
            st.sampled_from([0.0, 1e-3, -0.5, -1.5, -3.0, 1e4, 1e9, 1e30]),
        )
    )
    return start, start + size


@st.composite
def problems(draw):
    """Masks, boxes, the image's size."""
    size = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    shape = draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 5, 14, 17, 28, 33]))
    count = draw(st.integers(0, 3))
    masks = drawn(draw(st.integers(0, 99)), draw(st.sampled_from(DTYPES)), (count, *shape))
    if draw(st.booleans()):
        masks = masks[:, ::-1].transpose(0, 2, 1)
    boxes = np.empty((count, 4), draw(st.sampled_from(["float32", "float64"])))
    for box in boxes:
        box[::2], box[1::2] = draw(edges(size[1])), draw(edges(size[0]))
    if count and draw(st.integers(0, 9)) == 0:
        boxes[0, draw(st.integers(0, 3))] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return masks, boxes, size


def hold_values(found, wanted, masks, boxes):
    """Positions and values are rounded to float32, unless boxes and masks are of float64."""
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    scale = np.nan_to_num(np.abs(masks.astype(np.float64))).max(initial=1)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * scale)


def laid(windows, shape, dtype):
    """Windows laid into images of zeros."""
    images = np.zeros(shape, dtype)
    for image, (y, x, part) in zip(images, windows, strict=True):
        assert part.dtype == dtype
        image[y : y + part.shape[0], x : x + part.shape[1]] = part
    return images


@pytest.mark.parametrize("rule", RULES)
@given(problem=problems())
def test_equals_the_reference(rule, problem):
    """Values, decisions away from the threshold, and the same decisions in every form."""
    masks, boxes, size = problem
    options = {"rule": rule, "invalid": "nan"}
    wanted = reference.paste(masks, boxes, size, rule)
    values = roicy.paste_masks(masks, boxes, size, threshold=None, **options)
    hold_values(values, wanted, masks, boxes)
    pasted = roicy.paste_masks(masks, boxes, size, **options)
    assert pasted.dtype == np.bool_
    decided = ~(np.abs(wanted - 0.5) <= 3e-6)
    np.testing.assert_array_equal(pasted[decided], (wanted >= 0.5)[decided])
    if masks.dtype != np.float64:
        np.testing.assert_array_equal(pasted, values >= np.float32(0.5))

    parts = roicy.paste_masks(masks, boxes, size, to="windows", **options)
    assert_same_bits(laid(parts, pasted.shape, np.bool_), pasted)
    parts = roicy.paste_masks(masks, boxes, size, to="windows", threshold=None, **options)
    assert_same_bits(laid(parts, pasted.shape, np.float32), values)
    runs = roicy.paste_masks(masks, boxes, size, to="rle", **options)
    assert len(runs) == len(masks)
    for run, image in zip(runs, pasted, strict=True):
        assert run == {"size": list(size), "counts": reference.run_lengths(image)}
        assert all(type(count) is int for count in run["counts"])


@settings(max_examples=60)
@given(problem=problems(), rule=st.sampled_from(RULES), seed=st.integers(0, 99), threshold=st.booleans())
def test_out(problem, rule, seed, threshold):
    """Any strides, any values before."""
    masks, boxes, size = problem
    options = {"rule": rule, "invalid": "nan", "threshold": 0.5 if threshold else None}
    wanted = roicy.paste_masks(masks, boxes, size, **options)
    memory = np.random.default_rng(seed).integers(0, 2, (*size[::-1], 2 * len(masks))).astype(wanted.dtype)
    for out in (memory.transpose(2, 1, 0)[::2], np.ascontiguousarray(memory[..., ::2].transpose(2, 1, 0))):
        beside = memory[..., 1::2].copy()
        assert roicy.paste_masks(masks, boxes, size, out=out, **options) is out
        assert_same_bits(np.ascontiguousarray(out), wanted)
        np.testing.assert_array_equal(memory[..., 1::2], beside)


def test_a_frame_of_one():
    """Masks (K, 1, M, N), as heads predict them."""
    assert_same_bits(roicy.paste_masks(MASKS[:, None], BOXES, SIZE), roicy.paste_masks(MASKS, BOXES, SIZE))


def test_full_masks_fill_their_boxes():
    """From the first pixel to the last one, but for the corners that interpolation rounds off."""
    (pasted,) = roicy.paste_masks(np.ones((1, 28, 28), bool), np.array([[3, 5, 13, 11]], np.float32), SIZE)
    rows, columns = np.flatnonzero(pasted.any(axis=1)), np.flatnonzero(pasted.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (5, 10, 3, 12)


@pytest.mark.numpy_only(reason="CuPy has no foreign byte order")
def test_plainly_meant():
    """Lists of boxes, and foreign byte orders."""
    wanted = roicy.paste_masks(MASKS, BOXES, SIZE)
    assert_same_bits(roicy.paste_masks(MASKS, BOXES.tolist(), SIZE), wanted)
    assert_same_bits(roicy.paste_masks(MASKS.astype(">f4"), BOXES.astype(">f8"), np.array(SIZE)), wanted)
    assert roicy.paste_masks(MASKS[:0], [], SIZE).shape == (0, *SIZE)


def test_runs_of_whole_images():
    """Runs that go on in the next column, begin with the image, and end with it."""
    boxes = np.array([[-9, -9, 30, 30], [-9, -9, 10, 30], [10, -9, 30, 30], [50, 50, 60, 60]], np.float32)
    masks = np.ones((4, 5, 5), bool)
    runs = roicy.paste_masks(masks, boxes, SIZE, to="rle")
    height, all_of_it = SIZE[0], SIZE[0] * SIZE[1]
    half = 10 * height
    counts = [[0, all_of_it], [0, half, all_of_it - half], [half, all_of_it - half], [all_of_it]]
    assert [run["counts"] for run in runs] == counts


@pytest.mark.parametrize("rows", [63, 64, 65, 200])
@pytest.mark.parametrize("height", [190, 400])
def test_runs_between_many_rows_of_a_mask(rows, height):
    """Of masks with noise, which change within a pixel of theirs and between two, larger and smaller ones."""
    noise = RNG.random((4, rows, 3), np.float32)
    noise[2:] = noise[2:].round()
    boxes = np.array(
        [[1, 2, 8, 2 + height], [-2, -9, 11, 1.5 * height], [0, 0, 9, 97], [3, 5, 9, 5.5 + rows]]
    )
    runs = roicy.paste_masks(noise, boxes, (height, 9), to="rle")
    pasted = roicy.paste_masks(noise, boxes, (height, 9))
    assert [run["counts"] for run in runs] == [reference.run_lengths(image) for image in pasted]


def test_images_that_nobody_could_hold():
    """Windows and run lengths hold none."""
    side = 2**31 - 1
    masks, boxes = (
        np.ones((2, 28, 28), bool),
        np.array([[5, 5, 30, 40], [2**20, 2**20, 2**20 + 9, 2**20 + 60]]),
    )
    (_, _, first), (y, x, second) = roicy.paste_masks(masks, boxes, (side, side), to="windows")
    assert (y, x) == (2**20 - 1, 2**20 - 1)
    for part, run in zip(
        (first, second), roicy.paste_masks(masks, boxes, (side, side), to="rle"), strict=True
    ):
        counts = run["counts"]
        assert sum(counts) == side**2 and sum(counts[1::2]) == part.sum()


@pytest.mark.parametrize("to", ["masks", "windows", "rle"])
def test_no_masks(to):
    found = roicy.paste_masks(MASKS[:0], BOXES[:0], SIZE, to=to)
    assert len(found) == 0
    if to == "masks":
        assert found.shape == (0, *SIZE)


@pytest.mark.parametrize("threshold", [0.5, None])
def test_boxes_that_are_none(threshold):
    """NaN in the whole image; a mask of bool is empty, and takes no room as a window."""
    options = {"threshold": threshold, "invalid": "nan"}
    pasted = roicy.paste_masks(MASKS, INVALID, SIZE, **options)
    parts = roicy.paste_masks(MASKS, INVALID, SIZE, to="windows", **options)
    assert (np.isnan(pasted[1:3]).all() and pasted[0].any()) if threshold is None else not pasted[1:3].any()
    assert parts[1][2].shape == (SIZE if threshold is None else (0, 0))
    good = [0, 3]
    whole = roicy.paste_masks(MASKS[good], INVALID[good], SIZE, threshold=threshold)
    assert_same_bits(pasted[good], whole)


def test_values_that_are_none():
    """A NaN reaches no threshold, and shows where it has a share."""
    masks = MASKS.copy()
    masks[0, 2, 3] = np.nan
    values = roicy.paste_masks(masks, BOXES, SIZE, threshold=None)
    assert np.isnan(values[0]).any() and not np.isnan(values[1:]).any()
    pasted = roicy.paste_masks(masks, BOXES, SIZE)
    assert_same_bits(pasted, values >= np.float32(0.5))
    runs = roicy.paste_masks(masks, BOXES, SIZE, to="rle")
    assert [run["counts"] for run in runs] == [reference.run_lengths(image) for image in pasted]


@pytest.mark.parametrize("value", [0.5, 0.7, 1 / 3])
def test_equal_values_at_the_threshold(value):
    """What lies between two values that are the threshold is no less: nothing flickers."""
    masks = np.full((1, 9, 9), value, np.float32)
    boxes = np.array([[-100, -100, 137.3, 141.9]], np.float32)
    assert roicy.paste_masks(masks, boxes, (30, 30), threshold=float(np.float32(value))).all()


BAD = [
    ({"masks": MASKS[0]}, ValueError, r"masks must have shape \(K, M, N\)"),
    ({"masks": np.zeros((4, 2, 6, 6), np.float32)}, ValueError, r"masks must have shape"),
    ({"masks": MASKS[:, :0]}, ValueError, "masks must have 1 to"),
    ({"masks": MASKS.astype(np.int32)}, TypeError, "masks must be bool, uint8"),
    ({"masks": MASKS.tolist()}, TypeError, "masks"),
    ({"boxes": BOXES[:3]}, ValueError, r"boxes must have shape \(4, 4\)"),
    ({"boxes": np.zeros((4, 5), np.float32)}, ValueError, r"boxes must have shape \(4, 4\)"),
    ({"boxes": [BOXES, BOXES]}, TypeError, "boxes must be one array"),
    ({"boxes": [1, 2, 3, 4]}, ValueError, "boxes must be a list of boxes"),
    ({"boxes": BOXES.astype(complex)}, TypeError, "boxes must be float32"),
    ({"boxes": INVALID}, ValueError, r"boxes row 1, \[nan, 1.0, 5.0, 6.0\], is not finite"),
    ({"image_size": 9}, TypeError, "image_size must be a pair"),
    ({"image_size": (9, 0)}, ValueError, "image_size must lie between"),
    ({"image_size": (2**31, 4)}, ValueError, "image_size must lie between"),
    ({"threshold": 0.0}, ValueError, "threshold must be finite and above 0"),
    ({"threshold": -1}, ValueError, "threshold must be finite and above 0"),
    ({"threshold": 1e-60}, ValueError, "threshold must be finite and above 0"),
    ({"threshold": float("nan")}, ValueError, "threshold must be finite and above 0"),
    ({"threshold": "half"}, TypeError, "threshold must be a real number"),
    ({"threshold": None, "to": "rle"}, ValueError, "threshold must be a number for to='rle'"),
    ({"rule": "mmdet"}, ValueError, "rule must be 'detectron2' or 'torchvision'"),
    ({"to": "polygons"}, ValueError, "to must be 'masks' or 'windows' or 'rle'"),
    ({"invalid": "zero"}, ValueError, "invalid must be"),
    ({"to": "rle", "out": np.zeros((4, *SIZE), bool)}, ValueError, "out must be None for to='rle'"),
    ({"to": "windows", "out": np.zeros((4, *SIZE), bool)}, ValueError, "out must be None for to='windows'"),
    ({"out": np.zeros((4, 9, 9), bool)}, ValueError, r"out must have shape \(4, 17, 21\)"),
    ({"out": np.zeros((4, *SIZE), np.uint8)}, ValueError, "out must have dtype bool"),
    ({"out": np.zeros((4, *SIZE), bool), "threshold": None}, ValueError, "out must have dtype float32"),
]


@pytest.mark.parametrize("changes, error, says", BAD, ids=[case[2] for case in BAD])
def test_errors(changes, error, says):
    arguments = {"masks": MASKS, "boxes": BOXES, "image_size": SIZE, **changes}
    out = arguments.setdefault("out", np.ones((4, *SIZE), bool) if "to" not in changes else None)
    before = None if out is None else out.copy()
    with pytest.raises(error, match=says):
        roicy.paste_masks(**arguments)
    if out is not None:
        np.testing.assert_array_equal(out, before)


@pytest.mark.numpy_only(reason="arrays on a device lie at multiples of their items' size")
def test_out_that_overlaps_inputs():
    masks = np.zeros((4, 17, 21), bool)
    boxes = np.zeros((4, 17 * 21), bool)[:, :16].view(np.float32)
    for out, rows in (masks, BOXES), (boxes.base.reshape(4, 17, 21), boxes):
        with pytest.raises(ValueError, match="out must not overlap an input array"):
            roicy.paste_masks(masks, rows, SIZE, out=out)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("to", ["masks", "windows", "rle"])
def test_threads_change_no_bit(threads, to):
    masks = RNG.random((9, 28, 28), np.float32)
    corners = RNG.uniform(0, 500, (9, 2, 2)).astype(np.float32)
    boxes = np.sort(corners, axis=1).reshape(-1, 4)
    with roicy.num_threads(1):
        one = roicy.paste_masks(masks, boxes, (600, 700), to=to)
    with roicy.num_threads(threads):
        several = roicy.paste_masks(masks, boxes, (600, 700), to=to)
    if to == "rle":
        assert one == several
    else:
        for first, second in zip(one, several, strict=True):
            for part, other in zip(first, second, strict=True):
                np.testing.assert_array_equal(part, other)


@pytest.mark.cpu_only(reason="CUDA arrays are aligned")
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_unaligned_masks(dtype):
    """Masks at an odd address are pasted from a copy that is aligned: kernels read no other."""
    masks = MASKS.astype(dtype)
    memory = np.zeros(masks.nbytes + 1, np.uint8)
    odd = memory[1:].view(dtype).reshape(masks.shape)
    odd[...] = masks
    assert not odd.flags.aligned
    assert settled_masks(odd).flags.aligned
    assert_same_bits(roicy.paste_masks(odd, BOXES, SIZE), roicy.paste_masks(masks, BOXES, SIZE))
