"""Pooling for Cython code (and C++): plain structs describe the arrays, and callers need not hold the interpreter lock.

``roi_align``, ``roi_align_rotated`` and ``roi_pool`` do what the Python functions of these names do, with all their
checks, and write to the caller's memory. If an argument is wrong, they return -1, set a Python exception (Cython's
``except -1``) and leave the output unchanged. `NULL` for options means the defaults.

A compiled module contains the layout of the structs: rebuild it for another version of roicy.
"""


cdef enum DType:
    FLOAT16 = 1
    BFLOAT16 = 2                # needs ml_dtypes, as everywhere
    FLOAT32 = 3
    FLOAT64 = 4
    UINT8 = 5
    INT32 = 6                   # argmax, batch_indices
    INT64 = 7                   # batch_indices


cdef struct Array:
    # Only what out and argmax point to is written to.
    void* data                  # the first item: of all indices 0; may be NULL where a length is 0
    DType dtype
    int ndim                    # 1 to 4
    Py_ssize_t shape[4]         # the first `ndim` count
    Py_ssize_t strides[4]       # in bytes, any; negative ones and those of unaligned items included


cdef enum Layout:
    NCHW = 0
    NHWC = 1


cdef enum Invalid:
    RAISE = 0
    NAN = 1


cdef enum Mode:
    AVG = 0
    MAX = 1


cdef enum MaxRule:
    BILINEAR = 0
    ONNX = 1


cdef enum AngleUnit:
    DEGREES = 0
    RADIANS = 1


cdef enum Rounding:
    ROUND = 0
    NONE = 1
    WHOLE = 2


# ---------------------------------------------------------------- arrays

cdef extern from "Python.h":
    const Py_ssize_t NO_AXIS "PY_SSIZE_T_MIN"


cdef inline Py_ssize_t item_size(DType dtype) noexcept nogil:
    """Return the bytes of an item, 0 for an unknown dtype."""
    if dtype == DType.UINT8:
        return 1
    if dtype == DType.FLOAT16 or dtype == DType.BFLOAT16:
        return 2
    if dtype == DType.FLOAT32 or dtype == DType.INT32:
        return 4
    if dtype == DType.FLOAT64 or dtype == DType.INT64:
        return 8
    return 0


cdef inline Array strided(const void* data, DType dtype, int ndim, const Py_ssize_t* shape,
                          const Py_ssize_t* strides) noexcept nogil:
    """Return an array of any strides: those of a typed memoryview are ``view.shape`` and ``view.strides``."""
    cdef Array array
    cdef int axis
    array.data = <void*> data
    array.dtype = dtype
    array.ndim = ndim
    for axis in range(4):
        array.shape[axis] = shape[axis] if axis < ndim else 1
        array.strides[axis] = strides[axis] if axis < ndim else 0
    return array


cdef inline Array contiguous(const void* data, DType dtype, Py_ssize_t n0, Py_ssize_t n1=NO_AXIS,
                             Py_ssize_t n2=NO_AXIS, Py_ssize_t n3=NO_AXIS) noexcept nogil:
    """Return an array of as many axes as lengths are given, the last one's items side by side."""
    cdef Py_ssize_t[4] shape = [n0, n1, n2, n3]
    cdef Py_ssize_t[4] strides = [0, 0, 0, 0]
    cdef Py_ssize_t step = item_size(dtype)
    cdef int axis, ndim = 1
    while ndim < 4 and shape[ndim] != NO_AXIS:
        ndim += 1
    for axis in range(ndim - 1, -1, -1):
        strides[axis] = step
        step *= shape[axis]
    return strided(data, dtype, ndim, shape, strides)


# ---------------------------------------------------------------- pooling

cdef struct RoIAlignOptions:
    double spatial_scale
    int sampling_ratio
    bint aligned
    Mode mode
    MaxRule max_rule
    const Array* batch_indices  # (K,), for rois without a column for them; NULL: none
    Layout layout
    Invalid invalid


cdef struct RoIAlignRotatedOptions:
    double spatial_scale
    int sampling_ratio
    bint aligned
    AngleUnit angle_unit
    bint clockwise
    const Array* batch_indices
    Layout layout
    Invalid invalid


cdef struct RoIPoolOptions:
    double spatial_scale
    Rounding rounding
    Mode mode
    const Array* batch_indices
    Layout layout
    Invalid invalid


cdef inline RoIAlignOptions roi_align_options() noexcept nogil:
    """Return the defaults."""
    return RoIAlignOptions(1.0, 0, True, Mode.AVG, MaxRule.BILINEAR, NULL, Layout.NCHW, Invalid.RAISE)


cdef inline RoIAlignRotatedOptions roi_align_rotated_options() noexcept nogil:
    """Return the defaults."""
    return RoIAlignRotatedOptions(1.0, 0, True, AngleUnit.DEGREES, False, NULL, Layout.NCHW, Invalid.RAISE)


cdef inline RoIPoolOptions roi_pool_options() noexcept nogil:
    """Return the defaults."""
    return RoIPoolOptions(1.0, Rounding.ROUND, Mode.MAX, NULL, Layout.NCHW, Invalid.RAISE)


# features (N, C, H, W), rois (K, 5) or (K, 4), out (K, C, PH, PW), which says the output size, too; with
# ``layout = Layout.NHWC`` features (N, H, W, C) and out (K, PH, PW, C). argmax is written as well, int32 of the shape
# of out, unless it is NULL; an error calls the two out[0] and out[1].

cdef int roi_align(const Array* features, const Array* rois, const Array* out, const Array* argmax,
                   const RoIAlignOptions* options) except -1 nogil

# rois (K, 6) or (K, 5)
cdef int roi_align_rotated(const Array* features, const Array* rois, const Array* out,
                           const RoIAlignRotatedOptions* options) except -1 nogil

cdef int roi_pool(const Array* features, const Array* rois, const Array* out, const Array* argmax,
                  const RoIPoolOptions* options) except -1 nogil
