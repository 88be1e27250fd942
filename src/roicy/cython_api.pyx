"""The C-level calls of ``cython_api.pxd``: memory becomes NumPy arrays, without a copy, for the public functions."""

from cpython.ref cimport Py_INCREF, PyObject

from roicy.cpu cimport arrays as cnp

import numpy as np

from roicy import align, pool, rotated

cdef extern from "Python.h" nogil:
    ctypedef struct PyThreadState:
        pass
    ctypedef int PyGILState_STATE
    PyThreadState* PyGILState_GetThisThreadState()
    PyGILState_STATE PyGILState_Ensure()

cdef extern from "numpy/arrayobject.h":
    # takes over the reference to the dtype
    object PyArray_NewFromDescr(type subtype, cnp.dtype dtype, int ndim, const cnp.npy_intp* shape,
                                const cnp.npy_intp* strides, void* data, int flags, PyObject* parent)

cnp.import_array()

cdef dict DTYPES = {
    DType.FLOAT16: np.dtype(np.float16),
    DType.FLOAT32: np.dtype(np.float32),
    DType.FLOAT64: np.dtype(np.float64),
    DType.UINT8: np.dtype(np.uint8),
    DType.INT32: np.dtype(np.int32),
    DType.INT64: np.dtype(np.int64),
}
# The words of each enumeration, in its order.
cdef tuple LAYOUTS = ("NCHW", "NHWC")
cdef tuple INVALIDS = ("raise", "nan")
cdef tuple MODES = ("avg", "max")
cdef tuple MAX_RULES = ("bilinear", "onnx")
cdef tuple ANGLE_UNITS = ("degrees", "radians")
cdef tuple ROUNDINGS = ("round", "none", "whole")

# What an array without items points to: NumPy would allocate memory in the place of NULL.
cdef double nothing = 0


cdef int roi_align(const Array* features, const Array* rois, const Array* out, const Array* argmax,
                   const RoIAlignOptions* options) except -1 nogil:
    cdef RoIAlignOptions given = roi_align_options() if options == NULL else options[0]
    cdef bint stateless = PyGILState_GetThisThreadState() == NULL
    with gil:
        try:
            align.roi_align(
                spatial_scale=given.spatial_scale,
                sampling_ratio=given.sampling_ratio,
                aligned=given.aligned != 0,
                mode=word("mode", <int> given.mode, MODES),
                max_rule=word("max_rule", <int> given.max_rule, MAX_RULES),
                return_argmax=argmax != NULL,
                **arrays(features, rois, out, argmax, given.batch_indices, given.layout, given.invalid),
            )
        except BaseException as error:
            keep(error, stateless)
            raise
    return 0


cdef int roi_align_rotated(const Array* features, const Array* rois, const Array* out,
                           const RoIAlignRotatedOptions* options) except -1 nogil:
    cdef RoIAlignRotatedOptions given = roi_align_rotated_options() if options == NULL else options[0]
    cdef bint stateless = PyGILState_GetThisThreadState() == NULL
    with gil:
        try:
            rotated.roi_align_rotated(
                spatial_scale=given.spatial_scale,
                sampling_ratio=given.sampling_ratio,
                aligned=given.aligned != 0,
                angle_unit=word("angle_unit", <int> given.angle_unit, ANGLE_UNITS),
                clockwise=given.clockwise != 0,
                **arrays(features, rois, out, NULL, given.batch_indices, given.layout, given.invalid),
            )
        except BaseException as error:
            keep(error, stateless)
            raise
    return 0


cdef int roi_pool(const Array* features, const Array* rois, const Array* out, const Array* argmax,
                  const RoIPoolOptions* options) except -1 nogil:
    cdef RoIPoolOptions given = roi_pool_options() if options == NULL else options[0]
    cdef bint stateless = PyGILState_GetThisThreadState() == NULL
    with gil:
        try:
            pool.roi_pool(
                spatial_scale=given.spatial_scale,
                rounding=word("rounding", <int> given.rounding, ROUNDINGS),
                mode=word("mode", <int> given.mode, MODES),
                return_argmax=argmax != NULL,
                **arrays(features, rois, out, argmax, given.batch_indices, given.layout, given.invalid),
            )
        except BaseException as error:
            keep(error, stateless)
            raise
    return 0


# ---------------------------------------------------------------- memory as arrays


cdef dict arrays(const Array* features, const Array* rois, const Array* out, const Array* argmax,
                 const Array* batch_indices, Layout layout, Invalid invalid):
    """Return the arguments that all functions have, by their names."""
    layout_word = word("layout", <int> layout, LAYOUTS)
    pooled = wrapped("out", out, True)
    return {
        "features": wrapped("features", features, False),
        "rois": wrapped("rois", rois, False),
        "output_size": output_size(pooled.shape, layout_word),
        "batch_indices": None if batch_indices == NULL else wrapped("batch_indices", batch_indices, False),
        "layout": layout_word,
        "invalid": word("invalid", <int> invalid, INVALIDS),
        "out": pooled if argmax == NULL else (pooled, wrapped("argmax", argmax, True)),
    }


cdef object wrapped(str name, const Array* array, bint writeable):
    """Return a NumPy array over the memory; what NumPy takes as right is an error here."""
    cdef cnp.npy_intp[4] shape
    cdef cnp.npy_intp[4] strides
    cdef int axis
    cdef bint empty = False
    cdef void* data
    if array == NULL:
        raise ValueError(f"{name} must point to an Array, got NULL")
    if not 1 <= array.ndim <= 4:
        raise ValueError(f"{name} must have an ndim of 1 to 4, got {array.ndim}")
    cdef cnp.dtype dtype = dtype_of(name, <int> array.dtype)
    for axis in range(array.ndim):
        shape[axis] = array.shape[axis]
        strides[axis] = array.strides[axis]
        if shape[axis] < 0:
            raise ValueError(f"{name} must have no negative length, got {shape[axis]} as shape[{axis}]")
        empty = empty or shape[axis] == 0
    data = array.data
    if data == NULL:
        if not empty:
            raise ValueError(f"{name} must have data, got NULL and a shape of at least one item")
        data = &nothing
    Py_INCREF(dtype)
    return PyArray_NewFromDescr(cnp.ndarray, dtype, array.ndim, shape, strides, data,
                                cnp.NPY_ARRAY_WRITEABLE if writeable else 0, NULL)


cdef object output_size(tuple shape, str layout):
    """Return the rows and columns of bins that the output has room for."""
    if len(shape) != 4:
        axes = "(K, C, PH, PW)" if layout == "NCHW" else "(K, PH, PW, C)"
        raise ValueError(f"out must have 4 axes {axes}, got shape {shape}")
    size = shape[2:] if layout == "NCHW" else shape[1:3]
    if min(size) < 1:
        raise ValueError(f"out must have at least one row and column of bins, got shape {shape}")
    return size


cdef object dtype_of(str name, int dtype):
    found = DTYPES.get(dtype)
    if found is None and dtype == <int> DType.BFLOAT16:
        try:
            import ml_dtypes
        except ImportError as error:
            raise ImportError(f"{name} is bfloat16, a dtype of ml_dtypes, which is not installed") from error
        found = DTYPES[dtype] = np.dtype(ml_dtypes.bfloat16)
    if found is None:
        raise ValueError(f"{name} must have a dtype of the enumeration DType, got {dtype}")
    return found


cdef object word(str name, int value, tuple words):
    if not 0 <= value < len(words):
        allowed = " or ".join([f"{index} ({meaning})" for index, meaning in enumerate(words)])
        raise ValueError(f"{name} must be {allowed}, got {value}")
    return words[value]


# ---------------------------------------------------------------- errors


cdef int keep(object error, bint stateless) except -1:
    """Make an exception one that can be kept, and one that is."""
    import traceback

    # The frames behind it hold arrays over memory that is the caller's to free.
    traceback.clear_frames(error.__traceback__)
    if stateless:
        # A thread that Python did not start has a state only while it holds the lock, and its exception would go with
        # that: let it have one from here on.
        PyGILState_Ensure()
    return 0
