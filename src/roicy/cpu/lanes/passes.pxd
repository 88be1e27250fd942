"""The inner loops of ``passes.h``, of ``bins.h`` and, for channels last, of ``pixels.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.lanes.lanes cimport lane_rows, lanes, real


cdef extern from "passes.h" nogil:
    enum:
        GROUP

    ctypedef struct tap_list:
        const int32_t* position
        const real* weight
        int count

    ctypedef struct tap_lists:
        const int64_t* start
        const int32_t* count
        const int32_t* position
        const real* weight

    tap_list taps_of(const tap_lists* lists, ptrdiff_t i) noexcept

    void pass_rows(const char* const* row, int group, const tap_lists* bins, const int32_t* column, int depth,
                   ptrdiff_t count, const char** tap, lanes* target) noexcept
    void pass_rows_back(const lanes* blended, ptrdiff_t stride, const tap_list* bins, const int32_t* column, int count,
                        const char** tap, lanes* target) noexcept
    void pass_rows_and_dots(const char* const* row, const tap_list* bin, const int32_t* column, int count,
                            const lanes* other, const char** tap, lanes* target, lanes* dots) noexcept
    void pass_columns(const lane_rows* blended, int group, const tap_lists* bins, int count, lanes* target,
                      ptrdiff_t block) noexcept


cdef extern from "bins.h" nogil:
    void pass_bin(const char** row, const tap_list* rows, const tap_list* columns, const int32_t* pixel, int depth,
                  lanes* target, ptrdiff_t block) noexcept


cdef extern from "pixels.h" nogil:
    void pass_pixels(const char* const* row, const tap_list* rows, ptrdiff_t offset, ptrdiff_t channels,
                     lanes* target) noexcept
    void pass_both(const char* const* row, const tap_list* rows, const tap_lists* columns, int count,
                   const ptrdiff_t* offset, ptrdiff_t vectors, char* target, int stream) noexcept
    void pass_vectors(const lanes* blended, const tap_list* columns, ptrdiff_t vectors, lanes* target) noexcept
