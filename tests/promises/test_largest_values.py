"""Averages of the largest numbers of a dtype are finite.

The weights of a bin add up to 1 but for rounding, and what lies above the largest number is infinite.
"""

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy

pytestmark = pytest.mark.usefixtures("backend")

#: An average lies within this part of the largest number of what it should be.
BOUND = 1e-6

#: Layout, channels, boxes and size of the output: tiles, planes, images of few channels, channels last.
PATHS = {
    "tile": ("NCHW", 40, 60, 7),
    "tile of large bins": ("NCHW", 17, 9, (40, 33)),
    "planes": ("NCHW", 33, 1, 7),
    "image": ("NCHW", 3, 20, (5, 40)),
    "image, channels last": ("NHWC", 3, 20, (40, 5)),
    "channels last": ("NHWC", 37, 30, 7),
    "channels last, few boxes": ("NHWC", 37, 2, (3, 5)),
    "few values": ("NCHW", 5, 40, (2, 3)),
}
DTYPES = [np.float32, np.float64]


def boxes(count, rotated, side=64, seed=0):
    """Boxes on a map of `side` pixels: some of a few pixels, some of half of it."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(2, side * 0.45, (count, 2))
    centre = rng.uniform(side * 0.35, side * 0.455, (count, 2))
    if rotated:
        return np.column_stack([np.zeros(count), centre, size, rng.uniform(-180, 180, count)])
    return np.column_stack([np.zeros(count), centre - size / 2, centre + size / 2])


def pooled_by(features, path, *, rotated, **options):
    """Pool (1, C, 64, 64) features along one of the paths; the result is (K, C, rows, columns)."""
    layout, _, count, size = PATHS[path]
    operator = roicy.roi_align_rotated if rotated else roicy.roi_align
    if layout == "NHWC":
        features = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
    pooled = operator(features, boxes(count, rotated), size, layout=layout, **options)
    return pooled.transpose(0, 3, 1, 2) if layout == "NHWC" else pooled


@pytest.mark.parametrize(("layout", "channels"), [("NCHW", 1), ("NCHW", 5), ("NHWC", 3)])
@pytest.mark.parametrize("samples", [1, 2, 3, 9])
def test_quadrangles_of_the_largest_value(layout, channels, samples):
    """Whole ones, ones that are filled up with it, and what becomes of it; NaN and infinity stay."""
    largest = np.finfo(np.float32).max
    signs = np.where(np.arange(channels) % 2, np.float32(-1), np.float32(1))
    features = np.broadcast_to(largest * signs, (2, 40, 50, channels)).copy()
    features[1, 20, 25, 0], features[1, 10, 10, -1] = np.inf, np.nan
    if layout == "NCHW":
        features = np.ascontiguousarray(features.transpose(0, 3, 1, 2))
    boxes = np.array([[25, 20, 18.5, 17.25, 33], [25, 20, 30, 25, -8], [0, 5, 20, 20, 10]], np.float32)
    options = {"layout": layout, "out_layout": "NHWC", "sampling_ratio": samples, "fill": largest * signs}
    corners = roicy.rotated_corners(boxes)
    cut = roicy.crop_quads(features, corners, (9, 7), batch_indices=[0, 0, 0], **options)
    assert (np.abs(cut / (largest * signs) - 1) <= BOUND).all()
    finished = {"mean": largest * signs / 2, "std": 4}
    moved = roicy.crop_quads(features, corners, (9, 7), batch_indices=[0, 0, 0], **options, **finished)
    assert (np.abs(moved / (largest * signs / 8) - 1) <= 4 * BOUND).all()
    whole = roicy.rotated_corners(np.array([[25, 20, 50, 40, 0]], np.float32))
    spoiled = roicy.crop_quads(features, whole, (40, 50), batch_indices=[1], **options)[0]
    assert not np.isfinite(spoiled[20, 25, 0]) and np.isnan(spoiled[10, 10, -1])
    assert np.isfinite(spoiled[:9]).all()


@pytest.mark.parametrize("rotated", [False, True], ids=["upright", "rotated"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", PATHS)
def test_averages_of_the_largest_value(path, dtype, rotated):
    largest = np.finfo(dtype).max
    features = np.full((1, PATHS[path][1], 64, 64), largest, dtype)
    features[:, ::2] *= -1
    for sampling_ratio in (0, 1, 2):
        pooled = pooled_by(features, path, rotated=rotated, sampling_ratio=sampling_ratio)
        assert np.isfinite(pooled).all()
        assert (pooled[:, ::2] / largest <= BOUND - 1).all()
        assert (pooled[:, 1::2] / largest >= 1 - BOUND).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", PATHS)
def test_means_of_the_largest_value(path, dtype):
    """Of whole pixels, whose weights are parts of 1."""
    layout, channels, count, size = PATHS[path]
    largest = np.finfo(dtype).max
    shape = (1, channels, 64, 64) if layout == "NCHW" else (1, 64, 64, channels)
    features = np.full(shape, largest, dtype)
    pooled = roicy.roi_pool(features, boxes(count, False), size, mode="avg", layout=layout)
    assert np.isfinite(pooled).all()
    assert (pooled / largest >= 1 - BOUND).all()


@pytest.mark.parametrize("rotated", [False, True], ids=["upright", "rotated"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", PATHS)
def test_averages_of_the_largest_values_of_both_signs(path, dtype, rotated):
    """Columns of one sign first: sums of rows may be infinite, and of both signs."""
    rng = np.random.default_rng(1)
    signs = rng.choice([-1.0, 1.0], (1, PATHS[path][1], 8, 64)).astype(dtype).repeat(8, axis=2)
    largest = np.finfo(dtype).max
    pooled = pooled_by(largest * signs, path, rotated=rotated)
    assert np.isfinite(pooled).all()
    np.testing.assert_allclose(pooled / largest, pooled_by(signs, path, rotated=rotated), rtol=0, atol=BOUND)


@pytest.mark.parametrize("rotated", [False, True], ids=["upright", "rotated"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_averages_of_the_largest_values_in_bins_of_many_samples(layout, rotated):
    """Sums in pieces, of which each or the last one is infinite."""
    features = np.ones((3, 36, 64, 64), np.float32)
    features[1, ::2] = -1
    features[2, :, :32] = -1
    features[2, 5, 30, 30] = np.nan
    features[2, 6, 30, 30] = -np.inf
    rois = np.array([[n, 32, 32, 50, 45, 20] if rotated else [n, 7, 9, 57, 54] for n in range(3)], np.float32)
    operator = roicy.roi_align_rotated if rotated else roicy.roi_align
    for dtype in DTYPES:
        expected = operator(features.astype(dtype), rois, (1, 2))
        with np.errstate(invalid="ignore"):
            large = features.astype(dtype) * np.finfo(dtype).max
        if layout == "NHWC":
            pooled = operator(np.ascontiguousarray(large.transpose(0, 2, 3, 1)), rois, (1, 2), layout=layout)
            pooled = pooled.transpose(0, 3, 1, 2)
        else:
            pooled = operator(large, rois, (1, 2))
        assert np.isnan(pooled[2, 5, 0, 0])
        assert pooled[2, 6, 0, 0] == -np.inf
        np.testing.assert_allclose(pooled / np.finfo(dtype).max, expected, rtol=0, atol=BOUND)


@pytest.mark.parametrize("rotated", [False, True], ids=["upright", "rotated"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", PATHS)
def test_beside_the_largest_values_what_is_no_number_stays(path, dtype, rotated):
    channels = PATHS[path][1]
    features = np.ones((1, channels, 64, 64), dtype)
    diagonal = np.arange(64)
    features[0][:, diagonal, diagonal] = np.resize([np.inf, -np.inf, np.nan], channels)[:, None]
    expected = pooled_by(features, path, rotated=rotated)
    assert np.isinf(expected).any()
    assert np.isnan(expected).any()
    pooled = pooled_by(features * np.finfo(dtype).max, path, rotated=rotated)
    np.testing.assert_array_equal(np.isfinite(pooled), np.isfinite(expected))
    np.testing.assert_array_equal(pooled[~np.isfinite(expected)], expected[~np.isfinite(expected)])


@pytest.mark.parametrize("rotated", [False, True], ids=["upright", "rotated"])
@pytest.mark.parametrize("path", PATHS)
def test_averages_of_the_largest_value_in_arrays_of_any_strides(backend, path, rotated):
    """The same bits, for any number of threads as well; of another layout a GPU sums in another order."""
    layout, channels, count, size = PATHS[path]
    rng = np.random.default_rng(2)
    features = np.finfo(np.float32).max * rng.choice([-1, 1, 1, 1], (1, channels, 64, 64)).astype(np.float32)
    expected = pooled_by(features, path, rotated=rotated)
    strided = np.empty((1, channels, 64, 128), np.float32)[..., ::-2]
    strided[...] = features
    rows, columns = np.broadcast_to(size, 2)
    shape = (count, channels, 2 * rows, columns)
    out = np.empty(shape, np.float32)[:, :, ::2]
    options = {"out": out.transpose(0, 2, 3, 1) if layout == "NHWC" else out}
    for threads in (1, 3):
        with roicy.num_threads(threads):
            pooled = pooled_by(strided, path, rotated=rotated, **options)
            if backend == "cpu" or layout == "NCHW":
                assert_same_bits(pooled, expected)
            np.testing.assert_allclose(pooled, expected, rtol=0, atol=BOUND * np.finfo(np.float32).max)
