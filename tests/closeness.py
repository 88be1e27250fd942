"""How close a result has to be to the reference: bounds that leave room for rounding and for nothing else."""

import numpy as np

# Of the largest absolute value of the result. A float32 sum in another order differs by a few units in the
# last place (6e-8 each); one sample counted once too often or a weight off by a pixel is far outside.
RELATIVE_BOUND = {"float32": 3e-6, "float64": 2e-14}


def finfo(dtype):
    """`numpy.finfo`, for bfloat16 as well."""
    if dtype.name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.finfo(dtype)
    return np.finfo(dtype)


def ulp(values, dtype):
    """The distance between neighbouring numbers of a dtype around float64 values."""
    info = finfo(dtype)
    _, exponent = np.frexp(values)  # values = mantissa * 2**exponent with a mantissa in [0.5, 1)
    return np.maximum(np.ldexp(1.0, exponent - 1 - info.nmant), float(info.smallest_subnormal))


def assert_close(actual, expected, *, scale=None):
    """Hold a result of the package against float64 values of the reference.

    The dtype of `actual` decides. float32 and float64: within a bound relative to `scale`, the largest
    absolute value that is expected unless given; what is smaller than the dtype's least number may be 0.
    float16 and bfloat16: the float32 result, rounded to the nearest number. NaN and infinities have to be
    where they are expected.
    """
    assert actual.shape == expected.shape
    values = actual.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(expected), err_msg="NaN in other places")
    known = np.isfinite(expected)
    np.testing.assert_array_equal(values[~known], expected[~known])
    values, expected = values[known], expected[known]
    if scale is None:
        scale = np.abs(expected).max(initial=0.0)
    if actual.dtype.name in RELATIVE_BOUND:
        least = float(finfo(actual.dtype).smallest_subnormal)
        bound = np.full(expected.shape, RELATIVE_BOUND[actual.dtype.name] * scale + least)
    else:
        bound = RELATIVE_BOUND["float32"] * scale + 0.5 * ulp(expected, actual.dtype)
    error = np.abs(values - expected)
    wrong = error > bound
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} values are off by up to {error.max():.3g} at a scale of {scale:.3g}, "
        f"for example {values[wrong][0]!r} where {expected[wrong][0]!r} is expected"
    )


def assert_sums_close(actual, expected, terms, precision):
    """Hold sums that may cancel against the reference: each within a bound relative to its absolute terms.

    What is smaller than the least number of the type that sums are kept in, or of the result's, may be 0.
    """
    assert actual.shape == expected.shape
    error = np.abs(actual.astype(np.float64) - expected)
    least = max(float(finfo(dtype).smallest_subnormal) for dtype in (actual.dtype, np.dtype(precision)))
    wrong = ~(error <= RELATIVE_BOUND[precision] * terms + least)
    assert not wrong.any(), (
        f"{wrong.sum()} of {wrong.size} sums are off, for example {actual[wrong][0]!r} where "
        f"{expected[wrong][0]!r} is expected, of absolute terms that add up to {terms[wrong][0]:.3g}"
    )


def assert_same_sums(actual, expected):
    """Hold results against others of the package: the same but for the order of a sum; others exactly."""
    assert actual.dtype == expected.dtype
    if actual.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
    elif actual.dtype.itemsize == 2:
        # both are rounded: at the most they are neighbours
        wide, wanted = actual.astype(np.float64), expected.astype(np.float64)
        np.testing.assert_array_equal(np.isfinite(wide), np.isfinite(wanted))
        wide, wanted = wide[np.isfinite(wanted)], wanted[np.isfinite(wanted)]
        bound = RELATIVE_BOUND["float32"] * np.abs(wanted).max(initial=0.0) + ulp(wanted, actual.dtype)
        assert (np.abs(wide - wanted) <= bound).all()
    else:
        assert_close(actual, expected.astype(np.float64))


def bits(array):
    """The bytes of an array, to compare results exactly: NaN equals NaN, and 0 differs from -0."""
    return np.ascontiguousarray(array).tobytes()


def assert_same_bits(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if bits(actual) != bits(expected):
        np.testing.assert_array_equal(actual.astype(np.float64), expected.astype(np.float64))
        raise AssertionError("equal values with different bits: signs of zero or NaN payloads")
