"""Where samples lie, geometry/samples.h, for either dtype of boxes."""

from cython cimport floating
from libc.stdint cimport int64_t


cdef extern from "geometry/cpu.h" nogil:
    enum: ALIGN
    enum: DENSE

    ctypedef struct Span:
        double count, first, last
        bint mirrored

    ctypedef struct Sampling:
        double spatial_scale
        int sampling_ratio, aligned, rule

    ctypedef struct Side:
        double start, size, count
        bint unit_size
        int bins, length

    float scaled_f(float coordinate, float scale, float offset)
    double scaled_d(double coordinate, double scale, double offset)
    float position_f(float base, float bin_size, Span span, double index)
    double position_d(double base, double bin_size, Span span, double index)
    double bisect_f(float base, float bin_size, Span span, double low, double high, float bound, bint above)
    double bisect_d(double base, double bin_size, Span span, double low, double high, double bound, bint above)
    Span span_of_f(float base, float bin_size, double count, int length)
    Span span_of_d(double base, double bin_size, double count, int length)
    int pixel_below_f(float place, int length)
    int pixel_below_d(double place, int length)
    double next_position_f(float base, float bin_size, Span span, double index)
    double next_position_d(double base, double bin_size, Span span, double index)
    int64_t dense_cells_f(float base, float bin_size, Span span, int length, int few)
    int64_t dense_cells_d(double base, double bin_size, Span span, int length, int few)
    double dense_index_f(float base, float bin_size, Span span, int length, int64_t i)
    double dense_index_d(double base, double bin_size, Span span, int length, int64_t i)
    Side side_of_f(float first, float second, Sampling sampling, int bins, int length)
    Side side_of_d(double first, double second, Sampling sampling, int bins, int length)
    float bin_base_f(float start, float bin_size, int p)
    double bin_base_d(double start, double bin_size, int p)


cdef inline floating scaled(floating coordinate, floating scale, floating offset) noexcept nogil:
    if floating is float:
        return scaled_f(coordinate, scale, offset)
    else:
        return scaled_d(coordinate, scale, offset)


cdef inline floating position(floating base, floating bin_size, Span* span, double index) noexcept nogil:
    if floating is float:
        return position_f(base, bin_size, span[0], index)
    else:
        return position_d(base, bin_size, span[0], index)


cdef inline double bisect(floating base, floating bin_size, Span* span, double low, double high, floating bound,
                          bint above) noexcept nogil:
    if floating is float:
        return bisect_f(base, bin_size, span[0], low, high, bound, above)
    else:
        return bisect_d(base, bin_size, span[0], low, high, bound, above)


cdef inline Span span_of(floating base, floating bin_size, double count, int length) noexcept nogil:
    if floating is float:
        return span_of_f(base, bin_size, count, length)
    else:
        return span_of_d(base, bin_size, count, length)


cdef inline int pixel_below(floating place, int length) noexcept nogil:
    if floating is float:
        return pixel_below_f(place, length)
    else:
        return pixel_below_d(place, length)


cdef inline double next_position(floating base, floating bin_size, Span* span, double index) noexcept nogil:
    if floating is float:
        return next_position_f(base, bin_size, span[0], index)
    else:
        return next_position_d(base, bin_size, span[0], index)


cdef inline int64_t dense_cells(floating base, floating bin_size, Span* span, int length, int few) noexcept nogil:
    if floating is float:
        return dense_cells_f(base, bin_size, span[0], length, few)
    else:
        return dense_cells_d(base, bin_size, span[0], length, few)


cdef inline double dense_index(floating base, floating bin_size, Span* span, int length, int64_t i) noexcept nogil:
    if floating is float:
        return dense_index_f(base, bin_size, span[0], length, i)
    else:
        return dense_index_d(base, bin_size, span[0], length, i)


cdef inline floating bin_base(floating start, floating bin_size, int p) noexcept nogil:
    if floating is float:
        return bin_base_f(start, bin_size, p)
    else:
        return bin_base_d(start, bin_size, p)


cdef inline Side side_of(floating first, floating second, Sampling sampling, int bins, int length) noexcept nogil:
    if floating is float:
        return side_of_f(first, second, sampling, bins, length)
    else:
        return side_of_d(first, second, sampling, bins, length)
