"""Rotated boxes and where their samples lie, geometry/rotated.h."""

from cython cimport floating

from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tables.samples cimport Sampling, Span


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct Turn:
        int degrees, clockwise

    ctypedef struct RotatedBox:
        double cx, cy, cos, sin
        double start_y, start_x, bin_y, bin_x, count_y, count_x
        double error, grown

    ctypedef struct Extent:
        double low, high

    ctypedef struct Run:
        Span span
        Extent extent

    ctypedef struct Point:
        double y, x

    ctypedef struct Between:
        int low
        bint last, flat
        double part

    ctypedef struct Landed:
        Between y, x
        bint hit

    RotatedBox upright_box(const void* row, bint single, Sampling sampling, int rows, int columns)
    Point reach_of(const void* row, bint single, Sampling sampling, double gamma)
    double number_at(const void* numbers, bint single, long long i)
    Point moved_base(bint single, const RotatedBox* box, Point reach, const void* offsets, long long i, long long bins,
                     int p, int q)
    Run run_at(bint single, const RotatedBox* box, double base, bint across)
    RotatedBox rotated_box(const void* row, bint single, Sampling sampling, Turn turn, int rows, int columns)
    bint finite_box(const RotatedBox* box)
    double find_reach(bint single, RotatedBox* box, int height, int width)
    Run row_run(bint single, const RotatedBox* box, int p)
    Run column_run(bint single, const RotatedBox* box, int q)
    Window window_of(const RotatedBox* box, Extent y, Extent x, double error, int height, int width)
    float row_base_f(const RotatedBox* box, int p)
    double row_base_d(const RotatedBox* box, int p)
    float column_base_f(const RotatedBox* box, int q)
    double column_base_d(const RotatedBox* box, int q)
    Point row_turned_f(const RotatedBox* box, float along)
    Point row_turned_d(const RotatedBox* box, double along)
    Point column_turned_f(const RotatedBox* box, float along)
    Point column_turned_d(const RotatedBox* box, double along)
    Landed landed_f(const RotatedBox* box, Point row, Point column, int height, int width)
    Landed landed_d(const RotatedBox* box, Point row, Point column, int height, int width)


cdef inline Point row_turned(const RotatedBox* box, floating along) noexcept nogil:
    if floating is float:
        return row_turned_f(box, along)
    else:
        return row_turned_d(box, along)


cdef inline Point column_turned(const RotatedBox* box, floating along) noexcept nogil:
    if floating is float:
        return column_turned_f(box, along)
    else:
        return column_turned_d(box, along)


cdef inline Landed landed(floating base, const RotatedBox* box, Point row, Point column, int height,
                          int width) noexcept nogil:
    # `base` says the boxes' dtype.
    if floating is float:
        return landed_f(box, row, column, height, width)
    else:
        return landed_d(box, row, column, height, width)
