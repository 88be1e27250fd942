"""What the kernels see of the table of quadrangles: plain C structs."""

from libc.stdint cimport int64_t


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct QuadView:
        double matrix[9]        # from a crop's columns and rows to the map
        int64_t image           # -1: the row is invalid
        int rows, columns       # samples of a pixel
    ctypedef struct QuadMap:
        int height, width, border
        bint nearest
    ctypedef struct QuadPlace:
        int low
        float[2] weight
        bint next
    float quad_sample(const QuadView* view, int number, int p, int q, QuadMap map, QuadPlace* y, QuadPlace* x)


cdef class QuadTable:
    cdef QuadView* view         # (quads)
    cdef readonly int64_t quads, first_invalid
    cdef readonly str look      # what most of them look like, as `roicy._doubts` has it
    cdef readonly double samples        # of all crops
