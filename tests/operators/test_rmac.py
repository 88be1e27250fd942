"""R-MAC: the regions, the vectors made of their maxima, and the gradient of these."""

import copy
import pickle
import sys
import weakref

import battery
import numpy as np
import pytest
import reference.pool
from closeness import assert_close, assert_same_bits
from hypothesis import given
from hypothesis import strategies as st
from strategies import FEATURE_DTYPES, FLOAT_DTYPES, random_values, result_dtype

import roicy
from roicy.compat import caffe2
from roicy.cuda.apply import rows

pytestmark = pytest.mark.usefixtures("backend")

# ---------------------------------------------------------------- regions


@pytest.mark.cpu_only("regions are a matter of Python's")
def test_regions_of_all_small_maps():
    """Float32 truncates some positions a pixel short of the exact ones; these are the same ones."""
    for height in range(1, 65):
        for width in range(1, 65):
            regions = roicy.rmac_regions((1, 7, height, width), scales=5)
            expected = reference.pool.rmac_regions(1, height, width, 5)
            assert regions.dtype == np.float32
            assert np.array_equal(regions, expected), (height, width)


@pytest.mark.parametrize("scales", [1, 2, 3, 4])
def test_fewer_scales_are_the_first_ones(scales):
    for height, width in [(1, 1), (2, 32), (3, 64), (64, 3), (40, 40), (17, 23), (64, 63)]:
        regions = roicy.rmac_regions((1, 7, height, width), scales=scales)
        assert_same_bits(regions, reference.pool.rmac_regions(1, height, width, scales))
        more = roicy.rmac_regions((1, 7, height, width), scales=scales + 1)
        assert_same_bits(more[: len(regions)], regions)


def test_float32_may_fall_a_pixel_short():
    """On a map of 2 x 32 the second scale has seven steps of 31 / 7: in float32 they end at 30.99..."""
    regions = roicy.rmac_regions((1, 1, 2, 32), scales=2)
    assert regions[7:, 1].tolist() == [x for x in (0, 4, 8, 13, 17, 22, 26, 30) for y in range(2)]


@given(
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(1, 8),
    st.floats(0, 1, exclude_max=True, width=32),
    st.integers(0, 3),
)
def test_regions_match_the_reference(height, width, scales, overlap, images):
    regions = roicy.rmac_regions((images, 3, height, width), scales=scales, overlap=overlap)
    expected = reference.pool.rmac_regions(images, height, width, scales, overlap)
    assert_same_bits(regions, expected)
    nhwc = roicy.rmac_regions((images, height, width, 3), scales=scales, overlap=overlap, layout="NHWC")
    assert_same_bits(nhwc, expected)


def test_regions_by_hand():
    """A map of 4 x 6: two squares of 4 that share two columns; then squares of 2 = 2 * 4 // 3."""
    regions = roicy.rmac_regions((2, 9, 4, 6), scales=2)
    first = [[0, 0, 3, 3], [2, 0, 5, 3]]
    second = [[x, y, x + 1, y + 1] for x in (0, 2, 4) for y in (0, 2)]
    assert regions[:, 1:].tolist() == (first + second) * 2
    assert regions[:, 0].tolist() == [0] * 8 + [1] * 8


def test_overlap_decides_how_many_regions_there_are():
    counts = [len(roicy.rmac_regions((1, 1, 10, 30), scales=1, overlap=o)) for o in (0.0, 0.2, 0.5, 0.7)]
    # 20 columns in steps of 20, 10, 6.7, 5, 4 or 3.3: neighbours share none, none, 0.33, 0.5, 0.6 or 0.67.
    assert counts == [3, 4, 5, 7]


def test_regions_lie_on_the_map_and_cover_it():
    for height, width in [(7, 7), (5, 31), (31, 5), (1, 9), (40, 64)]:
        for scales in (1, 3, 20):
            regions = roicy.rmac_regions((1, 1, height, width), scales=scales, overlap=0.6)
            x1, y1, x2, y2 = regions[:, 1:].T
            assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 < width).all() and (y2 < height).all()
            assert (x2 - x1 == y2 - y1).all()
            assert len(np.unique((x2 - x1)[: len(regions)])) <= scales
            for low, high, length in ((x1, x2, width), (y1, y2, height)):
                assert low.min() == 0
                assert high.max() == length - 1


@pytest.mark.parametrize("shape", [(2, 3, 0, 5), (2, 3, 5, 0), (0, 3, 5, 5), (2, 3, 0, 0)])
def test_maps_without_pixels_have_no_regions(shape):
    regions = roicy.rmac_regions(shape)
    assert regions.shape == (0, 5)
    assert regions.dtype == np.float32


def test_images_without_regions_are_no_work():
    assert roicy.rmac_regions((2**40, 1, 0, 5)).shape == (0, 5)


def test_too_many_regions_are_counted_and_not_listed():
    """Up to 146 scales of a square have fewer than 2**20 regions; of 10**9 there would be gigabytes."""
    assert len(roicy.rmac_regions((1, 1, 100, 100), scales=146)) == 146 * 147 * 293 // 6
    with pytest.raises(ValueError, match=r"\bscales\b.*100 x 100.*\b147\b.*1069670 regions"):
        roicy.rmac_regions((1, 1, 100, 100), scales=147)
    with pytest.raises(ValueError, match=r"\bscales\b.*1000000000"):
        roicy.rmac_regions((1, 1, 500, 500), scales=10**9)
    maps = np.zeros((1, 1, 90, 900), np.float32)
    with pytest.raises(ValueError, match=r"\bscales\b"):
        roicy.rmac(maps, scales=10**9)
    with pytest.raises(ValueError, match=r"\bscales\b"):
        roicy.rmac_backward(np.zeros((1, 1), np.float32), maps, scales=10**9)
    with pytest.raises(ValueError, match=r"\bscales\b"):
        caffe2.RMACRegions(maps, scales=10**9)


# ---------------------------------------------------------------- vectors


def signed_maps(seed, shape=(2, 6, 9, 13), dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", FEATURE_DTYPES, ids=str)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("aggregate", ["sum", "concat"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 20, 9, 13), (3, 5, 17, 4), (1, 33, 8, 8)])
def test_matches_reference(dtype, layout, aggregate, shape):
    features = random_values(np.random.default_rng(0), shape, dtype)
    arranged = np.ascontiguousarray(battery.to_layout(features, layout))
    for options in ({}, {"scales": 1}, {"scales": 5, "overlap": 0.75}):
        out = roicy.rmac(arranged, layout=layout, aggregate=aggregate, **options)
        assert out.dtype == result_dtype(dtype)
        assert_close(out, reference.pool.rmac(features, aggregate=aggregate, **options))


def test_vectors_have_length_one():
    for aggregate in ("sum", "concat"):
        out = roicy.rmac(signed_maps(3), aggregate=aggregate)
        np.testing.assert_allclose((out * out).sum(axis=1), 1, rtol=1e-14)


def test_each_region_counts_alike():
    """Not the largest activations: those of one region, a thousand times as large, change only their own."""
    features = np.abs(signed_maps(4, (1, 5, 4, 8))) + 0.1
    regions = roicy.rmac_regions(features.shape, scales=1)
    assert len(regions) == 2 + 1 or len(regions) == 2
    joined = roicy.rmac(features, scales=1, aggregate="concat")
    scaled = features * np.where(np.arange(8) < 4, 1000.0, 1.0)
    changed = roicy.rmac(scaled, scales=1, aggregate="concat")
    np.testing.assert_allclose(changed[:, :5], joined[:, :5], rtol=1e-13)


def test_very_many_regions():
    """Thousands of vectors are added in pieces: float32 has no more than its own rounding left to lose."""
    features = random_values(np.random.default_rng(3), (2, 31, 10, 10), np.dtype("int8"))
    found = roicy.rmac(features, scales=40)
    assert_close(found, reference.pool.rmac(features.astype(np.float64), scales=40))


@pytest.mark.parametrize("shape", [(0, 5, 10, 10), (2, 0, 10, 10), (0, 0, 10, 10)])
def test_very_many_regions_of_nothing(shape):
    """No images, or no channels: their vectors are as many, and as long."""
    features = np.ones(shape, np.float32)
    found = roicy.rmac(features, scales=40)
    assert found.shape == shape[:2]
    assert roicy.rmac_backward(found, features, scales=40).shape == shape


def test_concat_is_in_the_order_of_the_regions():
    features = signed_maps(5)
    boxes = roicy.rmac_regions(features.shape)
    pooled = roicy.roi_pool(features, boxes, 1).reshape(2, -1, 6)
    unit = pooled / np.linalg.norm(pooled, axis=2, keepdims=True)
    joined = unit.reshape(2, -1)
    expected = joined / np.linalg.norm(joined, axis=1, keepdims=True)
    np.testing.assert_allclose(roicy.rmac(features, aggregate="concat"), expected, rtol=1e-14)


MEAN = np.random.default_rng(8).standard_normal(6) * 0.1
MATRIX = np.random.default_rng(9).standard_normal((4, 6))


@pytest.mark.numpy_only(reason="a function of NumPy arrays")
@pytest.mark.parametrize("aggregate", ["sum", "concat"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_whitening(aggregate, dtype):
    """A pair and a function that does the same; by a matrix that is not square."""
    features = np.abs(signed_maps(6)).astype(dtype)
    real = np.float64 if dtype == "float64" else np.float32
    mean, matrix = np.abs(MEAN).astype(real), np.abs(MATRIX).astype(real)
    seen = []

    def function(rows):
        seen.append((rows.shape, rows.dtype))
        return (rows - mean) @ matrix.T

    pair = roicy.rmac(features, whiten=(mean, matrix), aggregate=aggregate)
    count = len(roicy.rmac_regions(features.shape))
    assert pair.shape == (2, 4 if aggregate == "sum" else 2 * count)
    assert pair.dtype == dtype
    expected = reference.pool.rmac(
        features.astype(np.float64), whiten=lambda r: (r - mean) @ matrix.T.astype(float), aggregate=aggregate
    )
    assert_close(pair, expected)
    assert_close(roicy.rmac(features, whiten=function, aggregate=aggregate), expected)
    assert seen == [((count, 6), np.dtype(real))]  # once, for all regions of all images


def test_vectors_of_zeros_stay_zeros():
    features = np.zeros((2, 3, 5, 5))
    features[1] = 1
    out = roicy.rmac(features, scales=1)
    assert not out[0].any()
    np.testing.assert_allclose(out[1], 3**-0.5)
    grad = roicy.rmac_backward(np.ones((2, 3)), features, scales=1, eps=0.5)
    assert (
        grad[0, :, 0, 0] == 2 * 2
    ).all()  # two divisions by eps, of the one region whose first pixel it is


def test_eps_is_the_least_divisor():
    features = np.full((1, 1, 3, 3), 0.25)
    assert roicy.rmac(features, scales=1, eps=1.0).item() == 0.25
    assert roicy.rmac(features, scales=1, eps=0.5).item() == 1.0  # 0.25 / 0.5, then 0.5 / 0.5
    assert roicy.rmac(features, scales=1).item() == 1.0


def test_no_overflow_of_squares():
    features = np.array([3e30, 4e30], np.float32).reshape(1, 2, 1, 1)
    np.testing.assert_allclose(roicy.rmac(features), [[0.6, 0.8]], rtol=1e-6)
    half = np.full((1, 300, 2, 2), 6e4, np.float16)
    np.testing.assert_allclose(roicy.rmac(half).astype(float), 300**-0.5, rtol=1e-3)


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
@pytest.mark.parametrize("shape", [(0, 4, 5, 6), (2, 4, 0, 6), (2, 4, 5, 0), (2, 0, 5, 6)])
def test_maps_without_pixels_images_or_channels(shape, aggregate):
    out = roicy.rmac(np.ones(shape, np.float32), aggregate=aggregate)
    count = len(roicy.rmac_regions((1, *shape[1:])))
    assert out.shape == (shape[0], shape[1] * (1 if aggregate == "sum" else count))
    assert not out.any()
    grad = roicy.rmac_backward(np.ones_like(out), np.ones(shape, np.float32), aggregate=aggregate)
    assert grad.shape == shape


def test_images_do_not_mix():
    features = signed_maps(7, (3, 6, 9, 13))
    together = roicy.rmac(features)
    for n in range(3):
        np.testing.assert_allclose(together[n : n + 1], roicy.rmac(features[n : n + 1]), rtol=1e-14)


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
@pytest.mark.parametrize("whiten", [None, (MEAN, MATRIX)], ids=["plain", "whitened"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("eps", [1e-12, 0.5, 1e3])
def test_central_differences(aggregate, whiten, layout, eps):
    """Values far enough apart that no maximum changes hands."""
    rng = np.random.default_rng(3)
    shape = (2, 6, 5, 7)
    features = rng.permutation(2 * 6 * 35).reshape(shape) / 100 - 2.0
    features = np.ascontiguousarray(battery.to_layout(features, layout))
    options = {"aggregate": aggregate, "whiten": whiten, "layout": layout, "scales": 2, "eps": eps}
    out = roicy.rmac(features, **options)
    grad_output = rng.standard_normal(out.shape)
    grad = roicy.rmac_backward(grad_output, features, **options)
    assert grad.shape == features.shape
    step = 1e-5
    for _ in range(12):
        direction = rng.standard_normal(features.shape)
        ahead = roicy.rmac(features + step * direction, **options)
        behind = roicy.rmac(features - step * direction, **options)
        difference = ((ahead - behind) * grad_output).sum() / (2 * step)
        np.testing.assert_allclose((grad * direction).sum(), difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", FLOAT_DTYPES, ids=str)
def test_dtype_of_the_gradient(dtype):
    features = (np.abs(signed_maps(1)) + 0.5).astype(dtype)
    grad_output = np.abs(signed_maps(2, (1, 1, 2, 6)))[0, 0].astype(dtype)
    grad = roicy.rmac_backward(grad_output, features)
    assert grad.dtype == dtype
    exact = roicy.rmac_backward(grad_output.astype(np.float64), features.astype(np.float64))
    bound = {"float64": 1e-13, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}[dtype.name]
    assert np.abs(grad.astype(np.float64) - exact).max() <= bound * np.abs(exact).max()
    out = np.full(features.shape, np.nan, dtype)
    assert roicy.rmac_backward(grad_output, features, out=out) is out
    assert_same_bits(out, grad)


def test_the_gradient_of_uint8_maps():
    features = random_values(np.random.default_rng(0), (1, 4, 6, 9), np.dtype("uint8"))
    grad = roicy.rmac_backward(np.ones((1, 4), np.float32), features)
    assert grad.dtype == np.float32
    assert_same_bits(grad, roicy.rmac_backward(np.ones((1, 4), np.float32), features.astype(np.float32)))


# ---------------------------------------------------------------- bad arguments

TYPE, VALUE = TypeError, ValueError
EITHER = (TypeError, ValueError)
MAPS = signed_maps(0)


@pytest.mark.parametrize(
    "error, name, changes",
    [
        *[(VALUE, "scales", {"scales": value}) for value in (0, -1)],
        *[(TYPE, "scales", {"scales": value}) for value in (2.5, None, "3", True)],
        *[(VALUE, "overlap", {"overlap": value}) for value in (1.0, -0.1, 1.5, float("nan"), float("inf"))],
        *[(TYPE, "overlap", {"overlap": value}) for value in (None, "0.4", 0.4j)],
        *[(EITHER, "layout", {"layout": value}) for value in ("NCWH", None)],
        *[(EITHER, "aggregate", {"aggregate": value}) for value in ("mean", "SUM", None)],
        *[(EITHER, "eps", {"eps": value}) for value in (-1.0, float("nan"), None, "1")],
        (EITHER, "whiten", {"whiten": 5}),
        (EITHER, "whiten", {"whiten": (MEAN,)}),
        (EITHER, "whiten", {"whiten": (MEAN, MATRIX, MATRIX)}),
        (VALUE, "whiten", {"whiten": (MEAN[:5], MATRIX)}),
        (VALUE, "whiten", {"whiten": (MEAN, MATRIX[:, :5])}),
        (VALUE, "whiten", {"whiten": (MEAN, MATRIX.T)}),
        (VALUE, "whiten", {"whiten": (MATRIX, MEAN)}),
        (TYPE, "whiten", {"whiten": (MEAN.tolist(), MATRIX)}),
        (TYPE, "whiten", {"whiten": (MEAN, MATRIX.astype(complex))}),
        (TYPE, "features", {"features": MAPS.tolist()}),
        (TYPE, "features", {"features": MAPS.astype(np.int32)}),
        (VALUE, "features", {"features": MAPS[0]}),
    ],
)
def test_bad_arguments(error, name, changes):
    good = {"features": MAPS}
    roicy.rmac(**good)
    with pytest.raises(error, match=rf"\b{name}\b"):
        roicy.rmac(**{**good, **changes})
    with pytest.raises(error, match=rf"\b{name}\b"):
        roicy.rmac_backward(np.ones((2, 6)), **{**good, **changes})
    if name in ("scales", "overlap", "layout"):
        with pytest.raises(error, match=rf"\b{name}\b"):
            roicy.rmac_regions(MAPS.shape, **changes)


@pytest.mark.parametrize(
    "rows",
    [lambda rows: rows[:-1], lambda rows: rows[0], lambda rows: rows.tolist(), lambda rows: None],
    ids=["fewer", "vector", "list", "none"],
)
def test_a_function_that_returns_no_rows(rows):
    with pytest.raises(EITHER, match=r"\bwhiten\b"):
        roicy.rmac(MAPS, whiten=rows)


def test_a_function_has_no_gradient():
    with pytest.raises(EITHER, match=r"\bwhiten\b"):
        roicy.rmac_backward(np.ones((2, 6)), MAPS, whiten=lambda rows: rows)


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3), (), (2, 3, -4, 5), (2, 3, 4.5, 5)])
def test_bad_shapes(shape):
    with pytest.raises(EITHER, match=r"\binput_shape\b"):
        roicy.rmac_regions(shape)


@pytest.mark.parametrize(
    "error, grad_output",
    [
        (VALUE, np.ones((2, 5))),
        (VALUE, np.ones((1, 6))),
        (VALUE, np.ones(12)),
        (TYPE, np.ones((2, 6), np.float32)),
        (TYPE, [[1.0] * 6] * 2),
    ],
)
def test_bad_gradients(error, grad_output):
    out = np.full(MAPS.shape, 7.0)
    with pytest.raises(error, match=r"\bgrad_output\b"):
        roicy.rmac_backward(grad_output, MAPS, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("out", [np.zeros((2, 6, 9, 12)), np.zeros((2, 6, 9, 13), np.float32), MAPS, 5])
def test_bad_out(out):
    before = MAPS.copy()
    with pytest.raises(EITHER, match=r"\bout\b"):
        roicy.rmac_backward(np.ones((2, 6)), MAPS, out=out)
    assert_same_bits(MAPS, before)


@pytest.mark.cpu_only(reason="threads are the CPU's")
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("options", [{"aggregate": "concat"}, {"whiten": True}], ids=str)
def test_the_number_of_threads_leaves_the_bits(layout, options):
    maps = random_values(np.random.default_rng(3), (3, 70, 31, 26), np.dtype(np.float32))
    maps = np.ascontiguousarray(battery.to_layout(maps, layout))
    if "whiten" in options:
        rng = np.random.default_rng(4)
        options = {"whiten": (rng.standard_normal(70), rng.standard_normal((9, 70)))}
    found = []
    for threads in (1, 2, 3):
        with roicy.num_threads(threads):
            vectors = roicy.rmac(maps, layout=layout, **options)
            found.append((vectors, roicy.rmac_backward(vectors, maps, layout=layout, **options)))
    for vectors, grad in found[1:]:
        assert_same_bits(vectors, found[0][0])
        assert_same_bits(grad, found[0][1])


# ---------------------------------------------------------------- plans


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "options", [{}, {"scales": 2, "overlap": 0.1, "aggregate": "concat", "eps": 2.0}], ids=str
)
@pytest.mark.parametrize("whitened", [False, True])
def test_a_plan_is_the_function(layout, options, whitened):
    """To the bit, for maps of every dtype, and so are its copies."""
    options = {**options, "layout": layout, "whiten": (MEAN, MATRIX) if whitened else None}
    maps = MAPS if layout == "NCHW" else np.ascontiguousarray(MAPS.transpose(0, 2, 3, 1))
    plan = roicy.rmac_plan(maps.shape, **options)
    for one in (plan, copy.copy(plan), pickle.loads(pickle.dumps(plan))):
        assert (one.input_shape, one.layout, repr(one)) == (maps.shape, layout, repr(plan))
        for dtype in FLOAT_DTYPES:
            features = maps.astype(dtype)
            vectors = one(features)
            assert_same_bits(vectors, roicy.rmac(features, **options))
            expected = roicy.rmac_backward(vectors, features, **options)
            out = np.empty_like(expected)
            assert one.backward(vectors, features, out) is out
            assert_same_bits(out, expected)


def test_a_plan_keeps_its_whitening():
    mean, matrix = MEAN.copy(), MATRIX.copy()
    plan = roicy.rmac_plan(MAPS.shape, whiten=(mean, matrix))
    mean[...], matrix[...] = 0, 0
    assert_same_bits(plan(MAPS), roicy.rmac(MAPS, whiten=(MEAN, MATRIX)))


def test_errors_of_a_plan():
    plan = roicy.rmac_plan(MAPS.shape, whiten=lambda rows: rows)
    with pytest.raises(VALUE, match="features must have shape"):
        plan(MAPS[:1])
    with pytest.raises(TYPE, match="whiten must be None or a pair"):
        plan.backward(plan(MAPS), MAPS)
    with pytest.raises(VALUE, match="whiten"):
        roicy.rmac_plan(MAPS.shape, whiten=(MEAN[:2], MATRIX))
    with pytest.raises(VALUE, match="scales"):
        roicy.rmac_plan(MAPS.shape, scales=0)


@pytest.mark.numpy_only(reason="a plan is behind what moves its arrays")
def test_a_plan_makes_tables_once():
    plan, maps = roicy.rmac_plan(MAPS.shape), MAPS.astype(np.float32)
    vectors = plan(maps)
    plan(maps)
    plan.backward(vectors, maps)
    (regions,) = plan._plans.values()
    assert list(regions._tables) == [("float32", "forward"), ("float32", "backward")]
    reference = weakref.ref(plan)
    del plan
    assert reference() is None


@pytest.mark.cpu_only(reason="tables on a GPU are of a stream")
def test_calls_on_maps_of_a_shape_share_tables():
    shared = sys.modules["roicy.rmac_plan"]._of_few
    shared.cache_clear()
    for options in ({}, {"layout": "NHWC"}, {"scales": 2}, {"overlap": 0.7}):
        for _ in range(3):
            assert_same_bits(roicy.rmac(MAPS, **options), roicy.rmac_plan(MAPS.shape, **options)(MAPS))
    assert shared.cache_info()[::3] == (8, 4)
    roicy.rmac(np.zeros((2000, 1, 4, 6), np.float32))  # whose tables are large
    assert shared.cache_info().currsize == 4


@pytest.mark.cpu_only(reason="asks the CUDA backend for itself")
def test_whitening_without_a_matrix_product(on_cuda, monkeypatch):
    """cuBLAS is an option of CuPy: without it rows are whitened in blocks."""
    whiten = MEAN, MATRIX
    grad = np.ones((len(MAPS), len(MATRIX)), MAPS.dtype)
    expected = roicy.rmac(MAPS, whiten=whiten), roicy.rmac_backward(grad, MAPS, whiten=whiten)

    def missing(left, right):
        raise ImportError("libcublas.so.13")

    monkeypatch.setattr(rows, "PRODUCTS", MATRIX.size + 1)
    monkeypatch.setattr(np, "matmul", missing)
    monkeypatch.setattr(on_cuda, "_multiplies", True, raising=False)
    assert_close(roicy.rmac(MAPS, whiten=whiten), expected[0])
    assert not on_cuda._multiplies
    assert_close(roicy.rmac_backward(grad, MAPS, whiten=whiten), expected[1])
