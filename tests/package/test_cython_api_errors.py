"""roicy.cython_api: what is said about arguments that are wrong."""

from pathlib import Path

import numpy as np
import pytest
from closeness import assert_same_bits

import roicy
from package.cython_calls import BOXES, FUNCTIONS, PACKAGE, SIZE, described, out_like, problem


def changed(description, **parts):
    """A description with other parts."""
    names = ("address", "dtype", "ndim", "shape", "strides")
    return tuple(parts.get(name, value) for name, value in zip(names, description, strict=True))


def dropped(description):
    """The same without the last axis."""
    address, dtype, ndim, shape, strides = description
    return address, dtype, ndim - 1, shape[:-1], strides[:-1]


LENGTHS = (2**40, 2**40, 2**40, 2)
# The argument, what becomes of its description, the error and what it says.
WRONG_ARRAYS = [
    ("features", lambda d: None, ValueError, "features must point to an Array, got NULL"),
    ("rois", lambda d: None, ValueError, "rois must point to an Array, got NULL"),
    ("out", lambda d: None, ValueError, "out must point to an Array, got NULL"),
    ("features", lambda d: changed(d, address=0), ValueError, "features must have data, got NULL"),
    ("rois", lambda d: changed(d, address=0), ValueError, "rois must have data, got NULL"),
    ("out", lambda d: changed(d, address=0), ValueError, "out must have data, got NULL"),
    ("features", lambda d: changed(d, ndim=0), ValueError, "features must have an ndim of 1 to 4, got 0"),
    ("rois", lambda d: changed(d, ndim=5), ValueError, "rois must have an ndim of 1 to 4, got 5"),
    ("out", lambda d: changed(d, ndim=-(2**31)), ValueError, "out must have an ndim of 1 to 4, got -21474"),
    ("features", lambda d: changed(d, dtype=0), ValueError, "features must have a dtype of .* DType, got 0"),
    ("out", lambda d: changed(d, dtype=8), ValueError, "out must have a dtype of .* DType, got 8"),
    ("rois", lambda d: changed(d, shape=(-1, 5)), ValueError, r"rois must have no .* got -1 as shape\[0\]"),
    ("out", lambda d: changed(d, shape=(7, 5, 3, -2)), ValueError, r"out must have no .*-2 as shape\[3\]"),
    ("features", lambda d: changed(d, shape=LENGTHS), ValueError, "array is too big"),
    ("out", lambda d: changed(d, shape=LENGTHS), ValueError, "array is too big"),
    ("features", dropped, ValueError, r"features must have 4 axes \(N, C, H, W\), got shape \(2, 5, 12\)"),
    ("rois", dropped, ValueError, r"rois must have shape \(K, .\), rows"),
    ("out", dropped, ValueError, r"out must have 4 axes \(K, C, PH, PW\), got shape \(7, 5, 3\)"),
    ("out", lambda d: changed(d, shape=(7, 5, 0, 2)), ValueError, "out must have at least one row and"),
    ("out", lambda d: changed(d, shape=(7, 4, 3, 2)), ValueError, r"out must have shape \(7, 5, 3, 2\)"),
    ("features", lambda d: changed(d, dtype=6), TypeError, "features must be float16, .*, got int32"),
    ("out", lambda d: changed(d, dtype=1), ValueError, "out must have dtype float32 .*, got float16"),
    ("out", lambda d: changed(d, strides=(0, 24, 8, 4)), ValueError, "out must not overlap itself"),
]


@pytest.mark.parametrize(
    "argument, change, error, message", WRONG_ARRAYS, ids=[f"{row[0]}-{row[3][-25:]}" for row in WRONG_ARRAYS]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_wrong_with_an_array(use, name, argument, change, error, message):
    features, rois = problem(name)
    out = out_like(features, "NCHW")
    arrays = {"features": features, "rois": rois, "out": out}
    arrays = {key: described(use, array) for key, array in arrays.items()}
    arrays[argument] = change(arrays[argument])
    with pytest.raises(error, match=message):
        use.call(name, **arrays)
    assert (out == 77).all()


WRONG_OPTIONS = [
    ("layout", 2, r"layout must be 0 \(NCHW\) or 1 \(NHWC\), got 2"),
    ("invalid", -1, r"invalid must be 0 \(raise\) or 1 \(nan\), got -1"),
    ("mode", 3, r"mode must be 0 \(avg\) or 1 \(max\), got 3"),
    ("max_rule", 2, r"max_rule must be 0 \(bilinear\) or 1 \(onnx\), got 2"),
    ("angle_unit", 2, r"angle_unit must be 0 \(degrees\) or 1 \(radians\), got 2"),
    ("rounding", 100, r"rounding must be 0 \(round\) or 1 \(none\) or 2 \(whole\), got 100"),
    ("spatial_scale", 0.0, "spatial_scale must be finite and greater than 0, got 0.0"),
    ("sampling_ratio", 70000, "sampling_ratio must be at most {most} .*, got 70000"),
]


@pytest.mark.parametrize("option, value, message", WRONG_OPTIONS, ids=[row[0] for row in WRONG_OPTIONS])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_wrong_with_an_option(use, name, option, value, message):
    features, rois = problem(name)
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois, out)]
    if option in use.defaults()[name]:
        most = 128 if name == "roi_align_rotated" else 65536
        with pytest.raises(ValueError, match=message.format(most=most)):
            use.call(name, *arrays, options={option: value})
        assert (out == 77).all()
    else:  # of another function
        use.call(name, *arrays, options={option: value})
        assert_same_bits(out, getattr(roicy, name)(features, rois, SIZE))


def test_what_is_wrong_with_batch_indices(use):
    features, rois = problem("roi_align")
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois[:, 1:], out)]
    indices = described(use, np.zeros(BOXES, np.int64))
    for wrong, error, message in [
        (changed(indices, address=0), ValueError, "batch_indices must have data, got NULL"),
        (changed(indices, dtype=3), TypeError, "batch_indices must have an integer dtype, got float32"),
        (changed(indices, shape=(3,)), ValueError, r"batch_indices must have shape \(7,\)"),
    ]:
        with pytest.raises(error, match=message):
            use.call("roi_align", *arrays, options={"batch_indices": wrong})
        assert (out == 77).all()


def test_what_is_wrong_with_an_argmax(use):
    features, rois = problem("roi_pool")
    out = out_like(features, "NCHW")
    arrays = [described(use, array) for array in (features, rois, out)]
    argmax = described(use, out_like(features, "NCHW", np.int32))
    for wrong, message in [
        (changed(argmax, address=0), "argmax must have data, got NULL"),
        (changed(argmax, dtype=3), r"out\[1\] must have dtype int32"),
        (changed(argmax, shape=(7, 5, 2, 3)), r"out\[1\] must have shape \(7, 5, 3, 2\)"),
        (changed(argmax, address=out.ctypes.data), r"out\[0\] must not overlap out\[1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            use.call("roi_pool", *arrays, wrong)
        assert (out == 77).all()
    with pytest.raises(ValueError, match="return_argmax"):
        use.call("roi_align", *arrays, argmax)


def test_an_output_over_an_input(use):
    features, rois = problem("roi_align")
    arrays = [described(use, array) for array in (features, rois, out_like(features, "NCHW"))]
    arrays[2] = changed(arrays[2], address=features.ctypes.data + 64)
    with pytest.raises(ValueError, match="out must not overlap an input array"):
        use.call("roi_align", *arrays)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_invalid_rows_by_default(use, name):
    features, rois = problem(name)
    rois[2, 0] = 9
    out = out_like(features, "NCHW")
    with pytest.raises(ValueError, match=r"rois row 2, .* has batch index 9.0"):
        use.call(name, described(use, features), described(use, rois), described(use, out))
    assert (out == 77).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_error_holds_no_array(use, name):
    """Whoever keeps it, or shows what its frames hold, must not come upon memory that is freed by then."""
    features, rois = problem(name)
    rois[2, 0] = 9
    out = out_like(features, "NCHW")
    with pytest.raises(ValueError, match="rois row 2") as caught:
        use.call(name, described(use, features), described(use, rois), described(use, out))
    frames, at = [], caught.value.__traceback__
    while at is not None:
        frames.append(at.tb_frame)
        at = at.tb_next
    inside = [frame for frame in frames if Path(frame.f_code.co_filename).parent == PACKAGE]
    assert len(inside) >= 2
    assert not any(frame.f_locals for frame in inside)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_without_ml_dtypes(use, built, run_python, bfloat16):
    """Only bfloat16 needs it."""
    source = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "ml_dtypes":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
sys.path[:0] = [{str(PACKAGE.parent)!r}, {str(built)!r}]
import numpy as np
import cython_use
arrays = [np.zeros(shape, np.{"uint16" if bfloat16 else "float16"}) for shape in ((1, 1, 4, 4), (1, 1, 2, 2))]
dtype = cython_use.ENUMERATIONS["dtype"][{"bfloat16" if bfloat16 else "float16"!r}]
features, out = [(a.ctypes.data, dtype, 4, a.shape, a.strides) for a in arrays]
rois = np.zeros((1, 5), np.float32)
try:
    cython_use.call("roi_pool", features, (rois.ctypes.data, 3, 2, (1, 5), (20, 4)), out)
except ImportError as error:
    print(error)
"""
    shown = run_python(source).strip()
    assert shown == ("out is bfloat16, a dtype of ml_dtypes, which is not installed" if bfloat16 else "")
