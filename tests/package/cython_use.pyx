# distutils: language = c++
"""Everything of roicy.cython_api as C++ sees it, for test_cython_api.py.

An array comes as (address, dtype, ndim, shape, strides), None is NULL; options come as a dict of what differs from
the defaults, a word as its number.
"""

from libc.stdint cimport uintptr_t

from roicy.cython_api cimport (
    AngleUnit,
    Array,
    DType,
    Invalid,
    Layout,
    MaxRule,
    Mode,
    RoIAlignOptions,
    RoIAlignRotatedOptions,
    RoIPoolOptions,
    Rounding,
    contiguous,
    roi_align,
    roi_align_options,
    roi_align_rotated,
    roi_align_rotated_options,
    roi_pool,
    roi_pool_options,
    strided,
)

cdef extern from "Python.h":
    bint PyGILState_Check() noexcept nogil

cdef extern from *:
    """
    #include <thread>
    static void in_a_thread(void (*function)(void *), void *argument) { std::thread(function, argument).join(); }
    """
    void in_a_thread(void (*function)(void*) noexcept nogil, void* argument) nogil

ENUMERATIONS = {
    "dtype": {
        "float16": <int> DType.FLOAT16, "bfloat16": <int> DType.BFLOAT16, "float32": <int> DType.FLOAT32,
        "float64": <int> DType.FLOAT64, "uint8": <int> DType.UINT8, "int32": <int> DType.INT32,
        "int64": <int> DType.INT64,
    },
    "layout": {"NCHW": <int> Layout.NCHW, "NHWC": <int> Layout.NHWC},
    "invalid": {"raise": <int> Invalid.RAISE, "nan": <int> Invalid.NAN},
    "mode": {"avg": <int> Mode.AVG, "max": <int> Mode.MAX},
    "max_rule": {"bilinear": <int> MaxRule.BILINEAR, "onnx": <int> MaxRule.ONNX},
    "angle_unit": {"degrees": <int> AngleUnit.DEGREES, "radians": <int> AngleUnit.RADIANS},
    "rounding": {"round": <int> Rounding.ROUND, "none": <int> Rounding.NONE, "whole": <int> Rounding.WHOLE},
}


cdef enum Function:
    ALIGN
    ROTATED
    POOL


FUNCTIONS = {"roi_align": Function.ALIGN, "roi_align_rotated": Function.ROTATED, "roi_pool": Function.POOL}


cdef struct Call:
    Function function
    Array* features
    Array* rois
    Array* out
    Array* argmax
    RoIAlignOptions* align
    RoIAlignRotatedOptions* rotated
    RoIPoolOptions* pool
    bint held                   # whether this thread held the interpreter's lock
    int result
    void* errors                # a list


cdef class Description:
    """An Array, and whether there is one."""

    cdef Array array
    cdef Array* pointer

    def __cinit__(self, description):
        if description is None:
            self.pointer = NULL
            return
        address, dtype, ndim, shape, strides = description
        self.pointer = &self.array
        self.array.data = <void*> <uintptr_t> address
        self.array.dtype = <DType> <int> dtype
        self.array.ndim = ndim
        for axis in range(len(shape)):
            self.array.shape[axis] = shape[axis]
            self.array.strides[axis] = strides[axis]


cdef int pool(Call* call) except -1 nogil:
    call.held = PyGILState_Check()
    if call.function == Function.ALIGN:
        roi_align(call.features, call.rois, call.out, call.argmax, call.align)
    elif call.function == Function.ROTATED:
        roi_align_rotated(call.features, call.rois, call.out, call.rotated)
    else:
        roi_pool(call.features, call.rois, call.out, call.argmax, call.pool)
    return 0


ctypedef int (*Unchecked)(Call*) noexcept nogil
ctypedef int (*Failing)() except -1


cdef int failed() noexcept:
    return -1


cdef void pool_in_a_thread(void* argument) noexcept nogil:
    # Where the function returns, the thread holds neither the lock nor a reference to its exception.
    cdef Call* call = <Call*> argument
    call.result = (<Unchecked> pool)(call)
    if call.result:
        with gil:
            try:
                (<Failing> failed)()  # with the exception that is there already
            except BaseException as error:
                (<list> call.errors).append(error)


def call(name, features, rois, out, argmax=None, options=None, bint thread=False):
    """Call a function without the interpreter's lock, on request in a thread that Python does not know."""
    cdef Description memory = Description(features), boxes = Description(rois), values = Description(out)
    cdef Description chosen = Description(argmax), images
    cdef RoIAlignOptions align = roi_align_options()
    cdef RoIAlignRotatedOptions rotated = roi_align_rotated_options()
    cdef RoIPoolOptions pooling = roi_pool_options()
    cdef Call call
    call.features, call.rois, call.out, call.argmax = memory.pointer, boxes.pointer, values.pointer, chosen.pointer
    call.align = NULL
    call.rotated = NULL
    call.pool = NULL
    call.function = FUNCTIONS[name]
    errors = []
    call.errors = <void*> errors

    if options is not None:
        options = dict(options)
        images = Description(options.pop("batch_indices", None))
        align.batch_indices = rotated.batch_indices = pooling.batch_indices = images.pointer
        call.align, call.rotated, call.pool = &align, &rotated, &pooling
        for option, value in options.items():
            if option == "spatial_scale":
                align.spatial_scale = rotated.spatial_scale = pooling.spatial_scale = value
            elif option == "sampling_ratio":
                align.sampling_ratio = rotated.sampling_ratio = value
            elif option == "aligned":
                align.aligned = rotated.aligned = value
            elif option == "clockwise":
                rotated.clockwise = value
            elif option == "layout":
                align.layout = rotated.layout = pooling.layout = <Layout> <int> value
            elif option == "invalid":
                align.invalid = rotated.invalid = pooling.invalid = <Invalid> <int> value
            elif option == "mode":
                align.mode = pooling.mode = <Mode> <int> value
            elif option == "max_rule":
                align.max_rule = <MaxRule> <int> value
            elif option == "angle_unit":
                rotated.angle_unit = <AngleUnit> <int> value
            elif option == "rounding":
                pooling.rounding = <Rounding> <int> value
            else:
                raise KeyError(option)

    with nogil:
        if thread:
            in_a_thread(pool_in_a_thread, &call)
        else:
            pool(&call)
    assert not call.held
    if errors:
        raise errors[0]


def defaults():
    """Return what the options are without a word of the caller, by function and name."""
    cdef RoIAlignOptions a = roi_align_options()
    cdef RoIAlignRotatedOptions r = roi_align_rotated_options()
    cdef RoIPoolOptions p = roi_pool_options()
    assert a.batch_indices == NULL and r.batch_indices == NULL and p.batch_indices == NULL
    return {
        "roi_align": {
            "spatial_scale": a.spatial_scale, "sampling_ratio": a.sampling_ratio, "aligned": bool(a.aligned),
            "mode": <int> a.mode, "max_rule": <int> a.max_rule, "batch_indices": None, "layout": <int> a.layout,
            "invalid": <int> a.invalid,
        },
        "roi_align_rotated": {
            "spatial_scale": r.spatial_scale, "sampling_ratio": r.sampling_ratio, "aligned": bool(r.aligned),
            "angle_unit": <int> r.angle_unit, "clockwise": bool(r.clockwise), "batch_indices": None,
            "layout": <int> r.layout, "invalid": <int> r.invalid,
        },
        "roi_pool": {
            "spatial_scale": p.spatial_scale, "rounding": <int> p.rounding, "mode": <int> p.mode,
            "batch_indices": None, "layout": <int> p.layout, "invalid": <int> p.invalid,
        },
    }


cdef described(Array array):
    return <uintptr_t> array.data, <int> array.dtype, array.ndim, tuple(array.shape), tuple(array.strides)


def contiguous_array(int dtype, *lengths):
    """Return what `contiguous` makes of an address and lengths."""
    cdef const void* data = <const void*> <uintptr_t> 64
    cdef Py_ssize_t n[4]
    for axis, length in enumerate(lengths):
        n[axis] = length
    if len(lengths) == 1:
        return described(contiguous(data, <DType> dtype, n[0]))
    if len(lengths) == 2:
        return described(contiguous(data, <DType> dtype, n[0], n[1]))
    if len(lengths) == 3:
        return described(contiguous(data, <DType> dtype, n[0], n[1], n[2]))
    return described(contiguous(data, <DType> dtype, n[0], n[1], n[2], n[3]))


def strided_array(const float[:, :, :] view):
    """Return what `strided` makes of a typed memoryview."""
    return described(strided(&view[0, 0, 0], DType.FLOAT32, 3, view.shape, view.strides))


def strided_array_of(int ndim):
    """Return what `strided` makes of a number of axes that no Array has."""
    cdef Py_ssize_t n[4]
    n[:] = [2, 2, 2, 2]
    return described(strided(<void*> 64, DType.FLOAT32, ndim, n, n))
