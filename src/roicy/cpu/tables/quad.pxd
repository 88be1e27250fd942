"""What the kernels see of the table of quadrangles: plain C structs."""

from libc.stdint cimport int64_t


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct QuadView:
        double matrix[9]        # from a crop's columns and rows to the map
        int64_t image           # -1: the row is invalid
        int rows, columns       # samples of a pixel


cdef class QuadTable:
    cdef QuadView* view         # (quads)
    cdef readonly int64_t quads, first_invalid
    cdef readonly str look      # what most of them look like, as `roicy._doubts` has it
    cdef readonly double samples        # of all crops
