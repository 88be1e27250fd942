"""`roi_align` against the reference, and the forms in which its arguments may come."""

import battery
import numpy as np
import pytest
import reference.average
from closeness import assert_close, assert_same_bits, assert_same_sums, ulp
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEATURE_DTYPES, FLOAT_DTYPES, problems, random_values

import roicy
from operators import AVERAGE
from roicy import _backend

pytestmark = pytest.mark.usefixtures("backend")


@given(problems(dtypes=[np.dtype("float32"), np.dtype("float64")], output_sizes=[(3, 5)]), st.integers(0, 99))
def test_signs_cancel_as_they_should(problem, seed):
    """Values of both signs: the error is bounded by the sum of the absolute terms."""
    features = problem.features - np.random.default_rng(seed).random(problem.features.shape).astype(
        problem.features.dtype
    )
    call = (problem.rois, problem.output_size)
    scale = np.abs(reference.average.roi_align(np.abs(features), *call, **problem.options)).max(initial=0)
    assert_close(
        roicy.roi_align(features, *call, **problem.options),
        reference.average.roi_align(features, *call, **problem.options),
        scale=scale,
    )


# ---------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
def test_every_number_survives_an_identity_crop(dtype, backend):
    """Sampling exactly at the pixels gives the numbers themselves, subnormal and large ones included."""
    if dtype.itemsize == 2:
        patterns = np.arange(2**16, dtype=np.uint16)
    else:
        rng = np.random.default_rng(3)
        raw = rng.integers(0, 2**63, 2**16, dtype=np.uint64)
        patterns = raw.astype(f"u{dtype.itemsize}") if dtype.itemsize == 8 else (raw >> 31).astype(np.uint32)
    numbers = patterns.view(dtype).reshape(1, 16, 64, 64)
    with np.errstate(invalid="ignore"):  # NaN of the signaling kind are among the patterns
        values = numbers.astype(np.float64)
    finite = np.isfinite(values)
    if backend == "device" and dtype in ("float32", "bfloat16"):  # where they count as zero
        finite &= np.abs(values) >= 2.0**-126
    numbers = np.where(finite, numbers, np.zeros(1, dtype))
    out = roicy.roi_align(numbers, np.array([[0, 0, 0, 64, 64]], np.float32), 64, sampling_ratio=1)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out[0].astype(np.float64), numbers[0].astype(np.float64))


@pytest.mark.parametrize("dtype", [t for t in FLOAT_DTYPES if t.itemsize == 2], ids=str)
def test_half_precision_is_the_rounded_float32_result(dtype):
    features = random_values(np.random.default_rng(1), (1, 48, 30, 30), dtype)
    rois = np.array([[0, 2.2, 3.3, 25.4, 28.6], [0, -3, 5, 11, 17.7]], np.float32)
    out = roicy.roi_align(features, rois, 7).astype(np.float64)
    exact = roicy.roi_align(features.astype(np.float32), rois, 7)
    rounded = exact.astype(dtype).astype(np.float64)
    assert (np.abs(out - rounded) <= ulp(rounded, dtype)).all()
    # Nearly all agree to the bit; what is left lies between two neighbours, where a float32 rounding decides.
    assert (out == rounded).mean() > 0.99


def test_box_dtype_is_not_cast_down():
    """With float16 features the positions still have float32 precision."""
    ramp = np.broadcast_to(np.arange(16, dtype=np.float16), (1, 1, 16, 16))
    rois = np.array([[0, 3.0003, 2, 5.0003, 4]], np.float32)
    out = roicy.roi_align(ramp, rois, 1, sampling_ratio=1, aligned=False, spatial_scale=1.0)
    assert out[0, 0, 0, 0] == np.float16(4.0003)
    out = roicy.roi_align(ramp.astype(np.float32), rois, 1, sampling_ratio=1, aligned=False)
    assert abs(float(out[0, 0, 0, 0]) - 4.0003) < 1e-6


def test_float64_boxes_are_as_exact_as_float64():
    """A box of which float32 would lose the fraction."""
    width = 4096
    ramp = np.broadcast_to(np.arange(width, dtype=np.float64), (1, 1, 2, width))
    rois = np.array([[0, 4000.000001, 0, 4001.000001, 1]], np.float64)
    out = roicy.roi_align(ramp, rois, 1, sampling_ratio=1, aligned=False)
    assert abs(out[0, 0, 0, 0] - 4000.500001) < 1e-11


# ---------------------------------------------------------------- forms of rois


FEATURES = random_values(np.random.default_rng(7), (3, 5, 12, 10), np.dtype("float32"))
ROIS = np.array([[2, 0, 1, 5, 6], [0, 2, 2, 9, 11], [2, 3, 0, 4, 12], [1, 1, 1, 2, 2]], np.float32)


def same_in_any_layout(actual, expected):
    same = assert_same_bits if _backend.cpu is roicy.cpu else assert_same_sums
    same(actual, expected)


def align(rois, features=FEATURES, **options):
    return roicy.roi_align(features, rois, (2, 3), sampling_ratio=2, **options)


@pytest.mark.parametrize(
    "index_dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
def test_batch_indices_of_any_integer_dtype(index_dtype):
    out = align(ROIS[:, 1:].copy(), batch_indices=ROIS[:, 0].astype(index_dtype))
    assert_same_bits(out, align(ROIS))


def test_batch_indices_may_be_strided():
    indices = np.repeat(ROIS[:, 0].astype(np.int32), 3)[::3]
    assert_same_bits(align(ROIS[:, 1:], batch_indices=indices), align(ROIS))


def test_one_array_per_image_some_empty():
    per_image = [np.empty((0, 4), np.float32), ROIS[:1, 1:], np.empty((0, 4), np.float32)]
    expected = align(np.column_stack([[1], ROIS[:1, 1:]]).astype(np.float32))
    assert_same_bits(align(per_image), expected)


def test_one_array_per_image_dtypes_are_promoted_together():
    fraction = np.array([[0.1, 0.2, 7.3, 8.4]], np.float64)
    per_image = [ROIS[[1], 1:], fraction, np.empty((0, 4), np.int8)]
    expected = align(np.vstack([ROIS[[1]], np.column_stack([[1.0], fraction])]))
    assert_same_bits(align(per_image), expected)


def test_no_images_and_no_boxes():
    empty = np.empty((0, 5, 12, 10), np.float32)
    assert align([], features=empty).shape == (0, 5, 2, 3)
    assert align(np.empty((0, 5), np.float32), features=empty).shape == (0, 5, 2, 3)


@pytest.mark.parametrize(
    "box_dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64", "uint32", "uint64", "float16"]
)
def test_other_real_box_dtypes_are_converted_up(box_dtype):
    floats = np.float32 if np.dtype(box_dtype).itemsize <= 2 else np.float64
    assert_same_bits(align(ROIS.astype(box_dtype)), align(ROIS.astype(floats)))


def test_bfloat16_boxes():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 comes with ml_dtypes")
    assert_same_bits(align(ROIS.astype(ml_dtypes.bfloat16)), align(ROIS))


def test_large_integers_keep_their_value():
    """int32 boxes become float64: float32 would make 2**24 of 2**24 + 1."""
    ramp = np.broadcast_to(np.arange(8, dtype=np.float64), (1, 1, 1, 8))
    center = 2**24 + 1
    rois = np.array([[0, 0, 0, 2 * center, 0]], np.int32)
    out = roicy.roi_align(ramp, rois, 1, sampling_ratio=1, aligned=False, spatial_scale=2.0**-23)
    assert out.item() == center * 2.0**-23


@pytest.mark.parametrize("memory", ["fortran", "flipped", "sliced", "read-only", "record field"])
def test_rois_in_any_memory_layout(memory):
    rois = ROIS
    if memory == "fortran":
        rois = np.asfortranarray(ROIS)
    elif memory == "flipped":
        rois = ROIS[::-1, ::-1].copy()[::-1, ::-1]
    elif memory == "sliced":
        rois = np.repeat(np.repeat(ROIS, 2, axis=0), 3, axis=1)[::2, ::3]
    elif memory == "read-only":
        rois = ROIS.copy()
        rois.flags.writeable = False
    elif memory == "record field":
        records = np.zeros(ROIS.shape, [("other", "u1"), ("value", "f4")])
        records["value"] = ROIS
        rois = records["value"]
    assert_same_bits(align(rois), align(ROIS))


@pytest.mark.parametrize("fractional, whole", [(0.9, 0), (-0.9, 0), (1.5, 1), (2.99, 2)])
def test_batch_column_is_truncated_toward_zero(fractional, whole):
    rois = ROIS.copy()
    rois[:, 0] = fractional
    truncated = ROIS.copy()
    truncated[:, 0] = whole
    assert_same_bits(align(rois), align(truncated))


def test_numpy_scalars_as_options():
    plain = roicy.roi_align(FEATURES, ROIS, (2, 3), sampling_ratio=2, spatial_scale=0.5)
    scalars = roicy.roi_align(
        FEATURES,
        ROIS,
        (np.int64(2), np.uint8(3)),
        sampling_ratio=np.int32(2),
        spatial_scale=np.float32(0.5),
        aligned=np.bool_(True),
    )
    assert_same_bits(scalars, plain)
    assert_same_bits(roicy.roi_align(FEATURES, ROIS, np.int16(3)), roicy.roi_align(FEATURES, ROIS, (3, 3)))


@pytest.mark.parametrize("ratio", [-1, -7, -(10**30)])
def test_ratios_below_one_are_adaptive(ratio):
    adaptive = roicy.roi_align(FEATURES, ROIS, 2, sampling_ratio=0)
    assert_same_bits(roicy.roi_align(FEATURES, ROIS, 2, sampling_ratio=ratio), adaptive)


# ---------------------------------------------------------------- rows that cannot be pooled


@pytest.mark.parametrize("index", [-1, 3, 2**40, -(2**63), 2**63 - 1])
def test_invalid_batch_indices_become_nan(index):
    indices = np.array([0, index, 2], np.int64)
    out = align(ROIS[:3, 1:], batch_indices=indices, invalid="nan")
    assert np.isnan(out).all(axis=(1, 2, 3)).tolist() == [False, True, False]


def test_batch_indices_beyond_int64_become_nan():
    """As int64 the index would be negative, or, with its upper half cut off, a valid one."""
    indices = np.array([0, 2**63, 2**64 - 1, 2**32], np.uint64)
    out = align(ROIS[:, 1:], batch_indices=indices, invalid="nan")
    assert np.isnan(out).all(axis=(1, 2, 3)).tolist() == [False, True, True, True]


def test_all_rows_invalid_where_there_is_no_image():
    empty = np.empty((0, 5, 12, 10), np.float32)
    out = align(ROIS, features=empty, invalid="nan")
    assert out.shape == (4, 5, 2, 3)
    assert np.isnan(out).all()


# ---------------------------------------------------------------- NaN and infinity in the features


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("count", [1, 40])
def test_nan_stays_where_it_is_sampled(layout, count):
    """One NaN reaches the bins of its own channel that sample it, and nothing else.

    Two samples per axis in bins of eight pixels leave pixels that no sample touches, inside the box as well.
    """
    features = random_values(np.random.default_rng(0), (1, 21, 40, 40), np.dtype("float32"))
    rois = np.repeat(np.array([[0, 4, 4, 20, 20]], np.float32), count, axis=0)

    def pool(values):
        arranged = np.ascontiguousarray(battery.to_layout(values, layout))
        return battery.from_layout(
            roicy.roi_align(arranged, rois, 2, sampling_ratio=2, layout=layout), layout
        )

    clean = pool(features)
    # Samples of the first bin lie at 4 - 0.5 + 2 and 4 - 0.5 + 6: between pixels 5, 6 and 9, 10.
    for y, x in [(30, 30), (0, 0), (7, 7), (5, 8), (22, 5)]:
        spoiled = features.copy()
        spoiled[0, 5, y, x] = np.nan
        assert_same_bits(pool(spoiled), clean)
    spoiled = features.copy()
    spoiled[0, 5, 6, 9] = np.nan
    out = pool(spoiled)
    assert np.isnan(out[:, 5, 0, 0]).all()
    out[:, 5, 0, 0] = clean[:, 5, 0, 0]
    assert_same_bits(out, clean)


def test_samples_off_the_map_ignore_the_first_pixel():
    """Others multiply the first pixel by zero for a sample off the map; a NaN there must not show."""
    features = np.ones((1, 4, 10, 10), np.float32)
    features[0, :, 0, 0] = np.nan
    rois = np.array([[0, 5, 5, 25, 25], [0, 30, 30, 40, 40]], np.float32)
    out = roicy.roi_align(features, rois, 2, sampling_ratio=2)
    assert_close(out, reference.average.roi_align(np.ones((1, 4, 10, 10)), rois, (2, 2), sampling_ratio=2))


# ---------------------------------------------------------------- out


def test_repeated_calls_give_the_same_bits():
    case = battery.CASES[battery.CASE_IDS.index("many-boxes")]
    assert_same_bits(battery.forward(AVERAGE, case), battery.forward(AVERAGE, case))


def test_inputs_are_left_alone():
    features, rois = FEATURES.copy(), ROIS.copy()
    align(rois, features=features)
    assert_same_bits(features, FEATURES)
    assert_same_bits(rois, ROIS)


def test_features_may_be_read_only():
    features = FEATURES.copy()
    features.flags.writeable = False
    assert_same_bits(align(ROIS, features=features), align(ROIS))


# ---------------------------------------------------------------- memory of images


# Views of the pixels of an image, rows x columns x channels, as image libraries keep them.
PIXELS = {
    "gray of gray and alpha": (2, np.s_[:1]),
    "RGB": (3, np.s_[:]),
    "BGR": (3, np.s_[::-1]),
    "green of RGB": (3, np.s_[1:2]),
    "RGB of RGBA": (4, np.s_[:3]),
    "BGR of RGBA": (4, np.s_[2::-1]),
    "RGBA": (4, np.s_[:]),
    "two of RGBA": (4, np.s_[1:3]),
    "two apart of RGBA": (4, np.s_[::2]),
    "RGB of five": (5, np.s_[:3]),
}


@pytest.mark.parametrize("sampling_ratio", [0, 1])
@pytest.mark.parametrize("columns", [3, 31, 64, 200, 301])
@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize(("elements", "channels"), PIXELS.values(), ids=PIXELS)
def test_pixels_of_images(elements, channels, dtype, columns, sampling_ratio):
    """Crops of images: the columns of a vector may lie close together or far apart."""
    rng = np.random.default_rng(columns)
    image = random_values(rng, (2, 11, 301, elements), dtype)[..., channels]
    planes = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    rois = [
        [1, 0, 0, 301, 11],
        [0, -20, 2, 250, 8],
        [1, 150.5, 1, 170, 10],
        [0, 290, -3, 330, 15],
        [0, 400, 3, 410, 5],
    ]
    rois = np.array(rois, np.float32)
    size, options = (5, columns), {"sampling_ratio": sampling_ratio}
    # as many channels as an image hardly has
    wide = np.concatenate([planes, *[planes[:, :1]] * 5], axis=1)
    expected = roicy.roi_align(wide, rois, size, **options)[:, : planes.shape[1]]

    same_in_any_layout(roicy.roi_align(planes, rois, size, **options), expected)
    for flip in (np.s_[:], np.s_[..., ::-1]):  # outputs joined like the pixels, and backwards
        out = np.full((len(rois), *size, planes.shape[1]), np.nan, expected.dtype)
        roicy.roi_align(image, rois, size, layout="NHWC", out=out[flip], **options)
        same_in_any_layout(out[flip].transpose(0, 3, 1, 2), expected)
    out = np.full_like(expected, np.nan)
    roicy.roi_align(image.transpose(0, 3, 1, 2), rois, size, out=out, **options)
    same_in_any_layout(out, expected)


@pytest.mark.cpu_only(reason="about ways that CPUs have; a GPU's layouts agree to the rounding of a sum")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (9, 8)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_many_small_boxes_as_each_alone(dtype, size, channels):
    """Where many share the pixels of an image, they are no crops of it to the kernels."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (2, 9, 13, channels)).astype(dtype)
    corners = rng.uniform(-3, 11, (40, 2))
    rois = np.concatenate(
        [rng.integers(0, 2, (40, 1)), corners, corners + rng.uniform(0, 5, (40, 2))], axis=1
    )
    planes = image.transpose(0, 3, 1, 2)
    for ratio in (1, 2, 0):
        alone = [roicy.roi_align(planes, roi[None], size, sampling_ratio=ratio) for roi in rois]
        expected = np.concatenate(alone)
        assert_same_bits(roicy.roi_align(planes, rois, size, sampling_ratio=ratio), expected)
        last = roicy.roi_align(image, rois, size, sampling_ratio=ratio, layout="NHWC")
        assert_same_bits(np.ascontiguousarray(last.transpose(0, 3, 1, 2)), expected)


@pytest.mark.numpy_only(reason="about the memory of this machine")
def test_memory_mapped_files(tmp_path):
    """Features from a file, results into another: subclasses of ndarray with memory of their own kind."""
    features = random_values(np.random.default_rng(0), (3, 18, 12, 10), np.dtype("float32"))
    np.save(tmp_path / "features.npy", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float32, shape=(4, 18, 7, 7))
    assert roicy.roi_align(mapped, ROIS, 7, out=out) is out
    out.flush()
    same_in_any_layout(np.load(tmp_path / "out.npy"), roicy.roi_align(features, ROIS, 7))
