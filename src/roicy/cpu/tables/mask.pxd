"""What the kernels see of the table of masks: plain C structs."""

from libc.stdint cimport int32_t, int64_t


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct PasteSide:
        int low, high       # pixels of the image
        int length          # of the mask


cdef struct MaskWindow:
    # the part of the image that a mask is pasted to
    PasteSide y, x
    bint valid              # else its box is none


cdef class MaskTable:
    cdef MaskWindow* window         # (masks)
    cdef bint single                # boxes are float32
    cdef readonly int64_t masks
    cdef readonly str accumulate
    cdef int rows, columns          # of the image
    cdef int64_t tallest, widest    # of the windows
    cdef double pixels              # of all windows


cdef void find_places(bint single, PasteSide* side, int32_t* before, void* fraction, bint doubles,
                      int more) noexcept nogil
