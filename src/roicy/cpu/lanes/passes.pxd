"""The inner loops of ``passes.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.lanes.lanes cimport lanes, real


cdef extern from "passes.h" nogil:
    enum:
        GROUP               # lines that the column pass takes at once, at the most

    void pass_rows(const char* const* row, int group, const int64_t* start, const int32_t* taps,
                   const int32_t* position, const real* weight, const int32_t* column, int depth, ptrdiff_t count,
                   const lanes** tap, lanes* target) noexcept
    void pass_rows_back(const lanes* lines, ptrdiff_t stride, const int32_t* bin, const real* weight, int taps,
                        const int32_t* column, int count, const lanes** tap, lanes* target) noexcept
    void pass_rows_and_dots(const char* const* row, const int32_t* position, const real* weight, int taps,
                            const int32_t* column, int count, const lanes* other, const lanes** tap, lanes* target,
                            lanes* dots) noexcept
    void pass_columns(const lanes* lines, ptrdiff_t stride, int depth, int group, const int64_t* start,
                      const int32_t* taps, const int32_t* position, const real* weight, int count, lanes* target,
                      ptrdiff_t target_stride, ptrdiff_t block) noexcept
    void pass_pixels(const char* const* row, const int32_t* position, ptrdiff_t offset, const real* weight, int taps,
                     ptrdiff_t channels, lanes* target) noexcept
    void pass_vectors(const lanes* line, const int32_t* position, const real* weight, int taps, ptrdiff_t vectors,
                      lanes* target) noexcept
