"""Repeated calls for gradients of offsets and of masks, against calls made anew."""

import shutil

import numpy as np
import pytest
from closeness import assert_same_bits
from cuda_host.arrays import ndarray
from recorded_passes import BINS, CHANNELS, IMAGES, ROIS, SHAPE, boxes, counted_plans

import roicy
from roicy import cuda

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """How often arguments were handled one by one."""
    return counted_plans(monkeypatch)


def drawn(seed, dtype="float32"):
    rng = np.random.default_rng(seed)
    return {
        "grad_output": rng.standard_normal((ROIS, CHANNELS, *BINS)).astype(dtype),
        "features": rng.standard_normal(SHAPE).astype(dtype),
        "rois": boxes(rng),
        "offsets": rng.uniform(-1, 1, (ROIS, 2, *BINS)).astype(np.float32),
        "mask": rng.uniform(0, 1, (ROIS, 1, *BINS)).astype(np.float32),
    }


def gradient(of, given, out=None, copied=True):
    """Return the gradient as NumPy's array."""
    own = {name: ndarray(array.copy()) if copied else array for name, array in given.items()}
    found = getattr(roicy, f"deform_roi_pool_backward_{of}")(**own, invalid="nan", out=out)
    assert out is None or found is out
    return found._array


def anew(*arguments, **options):
    """Return the gradient by a call that knows of none before it."""
    kernels = cuda.kernels()
    again, kernels.__dict__["again"] = kernels.again, None
    try:
        return gradient(*arguments, **options)
    finally:
        kernels.__dict__["again"] = again


@pytest.fixture(params=["offsets", "mask"])
def of(request):
    """What the gradient is with respect to."""
    return request.param


def test_other_numbers(of, calls):
    for seed in range(5):
        given = drawn(seed)
        if seed == 3:
            given["rois"][2], given["offsets"][1, 0, 1, 1], given["rois"][0, 0] = np.nan, np.inf, IMAGES
        expected, made = anew(of, given), calls.count
        found = gradient(of, given)
        assert_same_bits(found, expected)
        assert found.any()
        assert calls.count == made + (seed < 2)


def test_dtypes_of_maps_and_more_bins(of):
    for seed in range(3):
        for dtype in ("float32", "float64", "float16"):
            given = drawn(seed, dtype)
            assert_same_bits(gradient(of, given), anew(of, given))


def test_outputs(of, calls):
    """Those with gaps, which are no rows, are written to, too."""
    for seed in range(4):
        given = drawn(seed)
        expected = anew(of, given)
        out = ndarray(np.full_like(expected, 7))
        made = calls.count
        assert_same_bits(gradient(of, given, out), expected)
        assert calls.count == made + (seed < 2)
        wide = ndarray(np.full((*expected.shape[:-1], 2 * expected.shape[-1]), 7, np.float32))
        assert_same_bits(gradient(of, given, wide[..., ::2]), expected)
        assert (wide._array[..., 1::2] == 7).all()
        tall = ndarray(
            np.full((*expected.shape[:-2], 2 * expected.shape[-2], expected.shape[-1]), 7, np.float32)
        )
        assert_same_bits(gradient(of, given, tall[..., ::2, :]), expected)
        assert (tall._array[..., 1::2, :] == 7).all()
    for name in ("grad_output", "features", "rois", "offsets", "mask"):
        own = {key: ndarray(array.copy()) for key, array in given.items()}
        room = np.zeros(expected.nbytes + given[name].nbytes, np.uint8)
        part = room[expected.nbytes - 8 :][: given[name].nbytes].view(np.float32).reshape(given[name].shape)
        part[...] = given[name]
        own[name] = ndarray(part)
        out = ndarray(room[: expected.nbytes].view(np.float32).reshape(expected.shape))
        with pytest.raises(ValueError, match="overlap"):
            gradient(of, own, out, copied=False)


def test_both_gradients_in_turn(calls):
    """They have the same options, and other launches."""
    for seed in range(4):
        given = drawn(seed)
        for of in ("offsets", "mask"):
            assert_same_bits(gradient(of, given), anew(of, given))
    assert len(cuda.kernels().again._calls) == 2


def test_without_a_mask(calls):
    for seed in range(4):
        given = {name: array for name, array in drawn(seed).items() if name != "mask"}
        expected, made = anew("offsets", given), calls.count
        assert_same_bits(gradient("offsets", given), expected)
        assert calls.count == made + (seed < 2)
        with pytest.raises(ValueError, match="mask"):
            gradient("mask", {**given, "mask": None}, copied=False)


def test_batch_indices(of, calls):
    """Apart from boxes they are one of the arrays that change."""
    for seed in range(4):
        given = drawn(seed)
        given["batch_indices"] = given["rois"][:, 0].astype(np.int64)
        given["rois"] = given["rois"][:, 1:].copy()
        expected, made = anew(of, given), calls.count
        assert_same_bits(gradient(of, given), expected)
        assert calls.count == made + (seed < 2)


def test_nothing_to_read(of):
    for seed in range(4):
        given = drawn(seed)
        for name in ("grad_output", "features"):
            given[name] = given[name][:, :0]
        assert_same_bits(gradient(of, given), anew(of, given))
