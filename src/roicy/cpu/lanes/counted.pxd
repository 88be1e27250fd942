"""Sums that count their terms: ``counted.h``."""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int64_t, uint8_t

from roicy.cpu.lanes.lanes cimport real


cdef extern from "counted.h" nogil:
    enum:
        COUNTED              # what a count begins with: one more than the terms of a piece

    ctypedef struct counted_pile:
        pass

    ctypedef struct counted_sums:
        real* piece
        uint8_t* left
        int64_t count
        counted_pile* piles
        int64_t slots

    ctypedef struct counted_bins:
        const char* value
        const char* index
        ptrdiff_t value_step, index_step, value_ahead, index_ahead
        int64_t count
        int channels

    void counted_begin(counted_sums* sums) noexcept
    void counted_add(counted_sums* sums, int64_t at, real value) noexcept
    void counted_add_bins(counted_sums* sums, const counted_bins* bins, int64_t first) noexcept
    void counted_finish(counted_sums* sums) noexcept
    void copy_line(void* target, const void* source, size_t bytes) noexcept
