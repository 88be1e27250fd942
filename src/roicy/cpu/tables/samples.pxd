"""Where samples lie, geometry/samples.h, for either dtype of boxes."""

from cython cimport floating


cdef extern from "geometry/cpu.h" nogil:
    enum:
        ALIGN
        HALF_PIXEL

    ctypedef struct Span:
        double count, first, last
        bint mirrored

    ctypedef struct Sampling:
        double spatial_scale
        int sampling_ratio, aligned, rule, border, nearest

    ctypedef struct Side:
        double start, size, count
        bint unit_size
        int bins, length

    float position_at_f(float base, float bin_size, Span span, double index)
    double position_at_d(double base, double bin_size, Span span, double index)
    double next_position_f(float base, float bin_size, Span span, double index)
    double next_position_d(double base, double bin_size, Span span, double index)


cdef inline Sampling sampling_of(sampling):
    return Sampling(spatial_scale=sampling.spatial_scale, sampling_ratio=sampling.sampling_ratio,
                    aligned=sampling.aligned, rule=sampling.rule, border=sampling.border,
                    nearest=sampling.nearest)


cdef inline floating position_at(floating base, floating bin_size, Span* span, double index) noexcept nogil:
    if floating is float:
        return position_at_f(base, bin_size, span[0], index)
    else:
        return position_at_d(base, bin_size, span[0], index)


cdef inline double next_position(floating base, floating bin_size, Span* span, double index) noexcept nogil:
    if floating is float:
        return next_position_f(base, bin_size, span[0], index)
    else:
        return next_position_d(base, bin_size, span[0], index)
