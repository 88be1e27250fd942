"""The inner loops of ``maxima.h``, and for maxima of samples of ``largest_samples.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int8_t, int32_t

from roicy.cpu.lanes.lanes cimport lane_int, lane_ints, lane_rows, lanes, real


cdef extern from "maxima.h" nogil:
    lane_int NOWHERE

    ctypedef struct range_lists:
        const int32_t* start
        const int32_t* length

    ctypedef struct maxima:
        lanes* value
        lane_ints* argmax

    ctypedef struct max_rows:
        lane_rows value
        const lane_ints* argmax

    lane_ints ints_fill(lane_int value) noexcept
    lanes argmax_out(lane_ints at) noexcept
    lanes lanes_lowest() noexcept
    void lanes_take_first(lanes x, lane_ints at, lanes* best, lane_ints* argmax) noexcept
    void pass_max_rows(const char* const* row, int group, const range_lists* bins, lane_int first, lane_int step,
                       ptrdiff_t count, const maxima* target) noexcept
    void pass_max_columns(const max_rows* source, int group, const range_lists* columns, int count, lanes* target,
                          lanes* target_argmax, ptrdiff_t block) noexcept


cdef extern from "largest_samples.h" nogil:
    enum:
        SAMPLE_ROWS         # rows of samples at a time

    ctypedef struct sample_axis:
        int count
        int32_t total
        const int32_t* number
        const int32_t* low
        const int32_t* high
        const real* low_weight
        const real* high_weight
        const int8_t* flat

    ctypedef struct sample_share:
        real first, second

    void pass_sample_row(const lanes* low, const lanes* high, real low_weight, real high_weight, bint by_corner,
                         ptrdiff_t count, lanes* target) noexcept
    void pass_samples(const lane_rows* blended, int rows, const sample_axis* columns, const lane_int* first,
                      bint by_corner, const maxima* bin) noexcept

    ctypedef struct chosen_pixels:
        lanes* tile
        lanes* lost
        ptrdiff_t top, bottom, columns

    void pass_chosen(const lanes* gradient, const lane_ints* argmax, const sample_axis* y, const sample_axis* x,
                     const chosen_pixels* to) noexcept
    void pass_chosen_slopes(const lanes* gradient, const lane_ints* argmax, const char* const* row,
                            const sample_axis* y, const sample_axis* x, const sample_share* y_share,
                            const sample_share* x_share, lanes* slopes) noexcept
