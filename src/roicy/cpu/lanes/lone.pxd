"""Bins of one sample each: ``lone.h``."""

from libc.stddef cimport ptrdiff_t

from roicy.cpu.lanes.lanes cimport real


cdef extern from "lone.h" nogil:
    ctypedef struct lone_place:
        ptrdiff_t offset[2]
        real weight[2]
        int taps

    ctypedef struct lone_values:
        const lone_place* down
        const lone_place* across
        int rows, columns
        ptrdiff_t channels, channel, bin
        ptrdiff_t to_channel, to_row, to_column

    void lone_box(const lone_values* values, const char* source, int dtype, char* target, int to) noexcept
