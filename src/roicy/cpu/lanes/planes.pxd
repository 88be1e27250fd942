"""The inner loops of ``planes.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t

from roicy.cpu.lanes.lanes cimport lane_int, lane_ints, lanes
from roicy.cpu.lanes.maxima cimport maxima, range_lists


cdef extern from "planes.h" nogil:
    enum:
        PLANES_AHEAD

    ctypedef struct planes_ahead:
        const char* next
        int of_range, of_bin

    ctypedef struct plane_rows:
        const char* source
        const char* limit
        ptrdiff_t step
        lane_int first, columns
        planes_ahead* ahead

    ctypedef struct row_runs:
        const int32_t* first
        const int32_t* last
        int count

    ctypedef struct plane_lines:
        const lanes* value
        const lane_ints* argmax
        ptrdiff_t stride

    maxima maxima_from(const maxima to, ptrdiff_t i) noexcept
    void pass_max_of_plane(const plane_rows* plane, const row_runs* runs, ptrdiff_t count, const maxima* target,
                           ptrdiff_t stride, int dtype) noexcept
    void pass_max_of_strips(const maxima* strips, const row_runs* runs, int count, const maxima* target,
                            ptrdiff_t stride, planes_ahead* ahead) noexcept
    void pass_max_of_lines(const lanes* lines, ptrdiff_t stride, int left, const range_lists* bins, int count,
                           lanes* target, planes_ahead* ahead) noexcept
    void pass_argmax_of_lines(const plane_lines* lines, int left, const range_lists* bins, int count, lanes* target,
                              lanes* target_argmax, planes_ahead* ahead) noexcept
