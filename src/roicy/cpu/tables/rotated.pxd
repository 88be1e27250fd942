"""Rotated boxes and where their samples lie.

Positions are computed in the boxes' own dtype, in the operation order of Caffe2 and detectron2 and without contraction,
so that sample positions, grid counts and out-of-range decisions are the same bits. Along either axis of the box only
samples that can reach the map are visited, found by bisection: no box, however large, costs more than the map.
"""

from cython cimport floating
from libc.math cimport M_PI, ceil, cos, fabs, floor, isfinite, sin

from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tables.samples cimport Span, bin_base, bisect, position, scaled


cdef struct Turn:
    # how a box's angle turns it
    bint degrees            # else radians
    bint clockwise


cdef struct RotatedBox:
    # One RoI in feature pixels; exact: the boxes' dtype fits in a double.
    double cx, cy, cos, sin
    double start_y, start_x     # of the first bin, along the box's own axes and from its centre
    double bin_y, bin_x         # size of a bin
    double count_y, count_x     # samples of a bin
    bint unit_y, unit_x         # the size was raised to 1


cdef struct Reach:
    # the part of a RoI's own axes from which the map can be reached, and what rounding may move a sample by
    double low_y, high_y, low_x, high_x, error


cdef struct Run:
    # samples of one bin along one axis of the box
    double low, high        # positions of the first and last one that can reach the map
    Span span


cdef inline double coarseness(floating sample) noexcept nogil:
    # The distance from 1 to the next number.
    return 1.1920929e-07 if floating is float else 2.220446049250313e-16


cdef inline RotatedBox box_of(const floating* row, double spatial_scale, int sampling_ratio, bint aligned, Turn turn,
                              int rows, int columns) noexcept nogil:
    cdef RotatedBox box
    cdef floating scale = <floating> spatial_scale
    cdef floating offset = <floating> 0.5 if aligned else <floating> 0
    cdef floating width = row[2] * scale, height = row[3] * scale, angle, bin_size
    angle = <floating> (row[4] * M_PI / 180.0) if turn.degrees else row[4]
    if turn.clockwise:
        angle = -angle
    box.unit_x = not aligned and width < 1
    box.unit_y = not aligned and height < 1
    if box.unit_x:
        width = 1
    if box.unit_y:
        height = 1
    box.cx = scaled(row[0], scale, offset)
    box.cy = scaled(row[1], scale, offset)
    box.cos = <floating> cos(angle)
    box.sin = <floating> sin(angle)
    box.start_x = -width / 2
    box.start_y = -height / 2
    bin_size = width / <floating> columns
    box.bin_x = bin_size
    box.count_x = sampling_ratio if sampling_ratio > 0 else ceil(bin_size)
    bin_size = height / <floating> rows
    box.bin_y = bin_size
    box.count_y = sampling_ratio if sampling_ratio > 0 else ceil(bin_size)
    return box


cdef inline bint finite(const RotatedBox* box) noexcept nogil:
    return (isfinite(box.cx) and isfinite(box.cy) and isfinite(box.start_x) and isfinite(box.start_y)
            and isfinite(box.bin_x) and isfinite(box.bin_y) and box.count_x >= 1 and box.count_y >= 1)


cdef inline Reach reach_of(const RotatedBox* box, floating sample, int height, int width) noexcept nogil:
    # The map's corners, turned back into the box's axes. A sample that is computed to hit the map lies no further from
    # its centre than the map does.
    cdef Reach reach
    cdef double top, bottom, left, right, y, x, far = height + width + 2 + fabs(box.cx) + fabs(box.cy)
    cdef int corner
    reach.error = 16 * coarseness(sample) * far
    top = -1 - reach.error - box.cy
    bottom = height + reach.error - box.cy
    left = -1 - reach.error - box.cx
    right = width + reach.error - box.cx
    for corner in range(4):
        y = (bottom if corner & 1 else top) * box.cos + (right if corner & 2 else left) * box.sin
        x = (right if corner & 2 else left) * box.cos - (bottom if corner & 1 else top) * box.sin
        if corner == 0:
            reach.low_y = reach.high_y = y
            reach.low_x = reach.high_x = x
        reach.low_y, reach.high_y = min(reach.low_y, y), max(reach.high_y, y)
        reach.low_x, reach.high_x = min(reach.low_x, x), max(reach.high_x, x)
    reach.low_y -= reach.error
    reach.high_y += reach.error
    reach.low_x -= reach.error
    reach.high_x += reach.error
    return reach


cdef inline Run run_of(floating base, floating bin_size, double count, double low, double high) noexcept nogil:
    # The samples with positions in [low, high]; first > last where there are none.
    cdef Run run
    cdef Span* span = &run.span
    cdef double last = count - 1
    span.count = count
    span.mirrored = bin_size < 0
    span.first = 0
    span.last = -1
    run.low = run.high = 0
    if position(base, bin_size, span, last) < low or position(base, bin_size, span, 0) > high:
        return run
    if position(base, bin_size, span, 0) < low:
        span.first = bisect(base, bin_size, span, 0, last, <floating> low, False)
    if position(base, bin_size, span, last) <= high:
        span.last = last
    else:
        span.last = bisect(base, bin_size, span, 0, last, <floating> high, True) - 1
    if span.first <= span.last:
        run.low = position(base, bin_size, span, span.first)
        run.high = position(base, bin_size, span, span.last)
    return run


cdef inline Run row_run(const RotatedBox* box, const Reach* reach, floating sample, int p) noexcept nogil:
    return run_of(bin_base(<floating> box.start_y, <floating> box.bin_y, p), <floating> box.bin_y, box.count_y,
                  reach.low_y, reach.high_y)


cdef inline Run column_run(const RotatedBox* box, const Reach* reach, floating sample, int q) noexcept nogil:
    return run_of(bin_base(<floating> box.start_x, <floating> box.bin_x, q), <floating> box.bin_x, box.count_x,
                  reach.low_x, reach.high_x)


cdef inline double samples_in(const Span* span) noexcept nogil:
    return span.last - span.first + 1 if span.last >= span.first else 0


cdef inline int clipped(double value, int length) noexcept nogil:
    return <int> min(max(value, 0.0), <double> length)


cdef inline Window window_of(const RotatedBox* box, const Run* down, const Run* along, double error, int height,
                             int width) noexcept nogil:
    # The pixels that samples in this part of the box can touch.
    cdef Window window
    cdef double low_y = down.low, high_y = down.high, low_x = along.low, high_x = along.high
    cdef double along_y = min(low_y * box.cos, high_y * box.cos), along_x = min(low_y * box.sin, high_y * box.sin)
    cdef double top = along_y - max(low_x * box.sin, high_x * box.sin) + box.cy - error
    cdef double left = along_x + min(low_x * box.cos, high_x * box.cos) + box.cx - error
    cdef double bottom = (max(low_y * box.cos, high_y * box.cos) - min(low_x * box.sin, high_x * box.sin) + box.cy
                          + error)
    cdef double right = (max(low_y * box.sin, high_y * box.sin) + max(low_x * box.cos, high_x * box.cos) + box.cx
                         + error)
    window = Window(top=0, bottom=0, left=0, right=0)
    if bottom >= -1 and top <= height and right >= -1 and left <= width and height and width:
        window.top = clipped(floor(top), height - 1)
        window.bottom = clipped(floor(max(bottom, 0.0)) + 2, height)
        window.left = clipped(floor(left), width - 1)
        window.right = clipped(floor(max(right, 0.0)) + 2, width)
        window.bottom = max(window.bottom, window.top + 1)
        window.right = max(window.right, window.left + 1)
    return window
