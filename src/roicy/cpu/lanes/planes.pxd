"""The inner loops of ``planes.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t

from roicy.cpu.lanes.lanes cimport lanes


cdef extern from "planes.h" nogil:
    ctypedef struct row_runs:
        const int32_t* first
        const int32_t* last
        int count

    void pass_max_of_plane(const char* source, ptrdiff_t step, const row_runs* runs, ptrdiff_t count, const char* limit,
                           lanes* target, ptrdiff_t stride, int dtype) noexcept
    void pass_max_of_strips(const lanes* source, int rows, const row_runs* runs, ptrdiff_t count, lanes* target,
                            ptrdiff_t stride) noexcept
    void pass_max_of_lines(const lanes* lines, ptrdiff_t stride, int left, const int32_t* start,
                           const int32_t* length, int count, lanes* target) noexcept
