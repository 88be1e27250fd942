"""The inner loops of ``maxima.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t

from roicy.cpu.lanes.lanes cimport lanes, real


cdef extern from "maxima.h" nogil:
    ctypedef int place
    ctypedef struct places:
        pass
    place NOWHERE

    places places_fill(place value) noexcept
    lanes places_out(places at) noexcept

    void pass_max_rows(const char* const* row, int group, const int32_t* start, const int32_t* length, place first,
                       place step, ptrdiff_t count, lanes* target, places* at) noexcept
    void pass_max_columns(const lanes* lines, const places* at, ptrdiff_t stride, int group, int depth,
                          const int32_t* start, const int32_t* length, int count, lanes* target, lanes* target_at,
                          ptrdiff_t block) noexcept

    enum:
        SAMPLE_ROWS         # rows of samples at a time

    lanes lanes_lowest() noexcept
    void lanes_take_first(lanes x, places at, lanes* best, places* best_at) noexcept
    void pass_sample_row(const lanes* low, const lanes* high, real low_weight, real high_weight, bint by_corner,
                         ptrdiff_t count, lanes* target) noexcept
    void pass_samples(const lanes* line, ptrdiff_t stride, int rows, const int32_t* low, const int32_t* high,
                      const real* low_weight, const real* high_weight, int samples, int depth, const place* first,
                      const int32_t* number, bint by_corner, lanes* best, places* best_at) noexcept

    ctypedef struct sample_axis:
        int count
        const int32_t* number
        const int32_t* low
        const int32_t* high
        const real* low_weight
        const real* high_weight
        const int8_t* level

    ctypedef struct sample_share:
        real first, second

    void pass_chosen(const lanes* gradient, const places* chosen, const sample_axis* y, const sample_axis* x,
                     int32_t total, ptrdiff_t top, ptrdiff_t bottom, ptrdiff_t columns, lanes* tile) noexcept
    void pass_chosen_slopes(const lanes* gradient, const places* chosen, const char* const* row, const sample_axis* y,
                            const sample_axis* x, int32_t total, const sample_share* y_share,
                            const sample_share* x_share, lanes* slopes) noexcept
