"""The parts of NumPy's C API that kernels and tables use, instead of ``cimport numpy``.

With NumPy's own ``numpy.pxd``, every module imports sixteen types, of which two are used. That adds half a kilobyte to
one kilobyte to each module of a wheel.
"""

cdef extern from "numpy/arrayobject.h":
    ctypedef signed long npy_intp

    ctypedef class numpy.dtype [object PyArray_Descr, check_size ignore]:
        pass

    ctypedef class numpy.ndarray [object PyArrayObject, check_size ignore]:
        pass

    enum:
        NPY_BOOL
        NPY_INT8
        NPY_UINT8
        NPY_INT16
        NPY_UINT16
        NPY_INT32
        NPY_UINT32
        NPY_INT64
        NPY_FLOAT16
        NPY_FLOAT32
        NPY_FLOAT64
        NPY_ARRAY_WRITEABLE

    # Each module calls this once, before it uses any of the other functions.
    int import_array "_import_array"() except -1

    bint PyArray_CheckExact(object array)
    bint PyArray_ISNOTSWAPPED(ndarray array) noexcept nogil
    void* PyArray_DATA(ndarray array) noexcept nogil
    int PyArray_NDIM(ndarray array) noexcept nogil
    int PyArray_TYPE(ndarray array) noexcept nogil
    npy_intp PyArray_ITEMSIZE(ndarray array) noexcept nogil
    npy_intp PyArray_SIZE(ndarray array) noexcept nogil
    npy_intp PyArray_DIM(ndarray array, size_t axis) noexcept nogil
    npy_intp PyArray_STRIDE(ndarray array, size_t axis) noexcept nogil
    npy_intp* PyArray_DIMS(ndarray array) noexcept nogil
    npy_intp* PyArray_STRIDES(ndarray array) noexcept nogil
    object PyArray_EMPTY(int axes, npy_intp* shape, int dtype, bint fortran)
    object PyArray_SimpleNewFromData(int axes, npy_intp* shape, int dtype, void* data)
