"""What the passes get from an axis table: lists of taps, the pixels in use, and pointers to their rows."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.lanes.lanes cimport lanes, lanes_scale, lanes_zero, real
from roicy.cpu.lanes.passes cimport tap_list, tap_lists
from roicy.cpu.runtime.work cimport Task
from roicy.cpu.tables.axis cimport Axis


cdef inline tap_lists bins_from(Axis* axis, int64_t bin, const void* weight) noexcept nogil:
    # The taps of all bins from this one on, with the weights or with slopes.
    return tap_lists(start=axis.tap_start + bin, count=axis.tap_count + bin, position=axis.tap_position,
                     weight=<const real*> weight)


cdef inline tap_list bin_at(Axis* axis, int64_t bin) noexcept nogil:
    cdef int64_t start = axis.tap_start[bin]
    return tap_list(position=axis.tap_position + start, weight=<const real*> axis.tap_weight + start,
                    count=axis.tap_count[bin])


cdef inline tap_lists pixels_from(Axis* axis, int64_t pixel) noexcept nogil:
    # The transpose: the bins that touch a pixel, for all pixels of the table from this one on.
    return tap_lists(start=axis.bin_start + pixel, count=axis.bin_count + pixel, position=axis.bin,
                     weight=<const real*> axis.bin_weight)


cdef inline tap_list pixel_at(Axis* axis, int64_t pixel) noexcept nogil:
    cdef int64_t start = axis.bin_start[pixel]
    return tap_list(position=axis.bin + start, weight=<const real*> axis.bin_weight + start,
                    count=axis.bin_count[pixel])


cdef struct Bins:
    # the bins of a RoI that a task is about, from row p and column q on
    int p, q, rows, columns


cdef inline Bins task_bins(Task* task, int rows, int columns) noexcept nogil:
    if task.bin < 0:
        return Bins(p=0, q=0, rows=rows, columns=columns)
    return Bins(p=<int> (task.bin // columns), q=<int> (task.bin % columns), rows=1, columns=1)


cdef struct Touched:
    # the pixels of an axis that bins touch, ascending, and the position of the first in the RoI's list
    const int32_t* pixel
    int first, count


cdef inline Touched touched_pixels(Axis* axis, int64_t k, Task* task, int bin) noexcept nogil:
    # For all bins of a RoI, or for the one bin of the task.
    cdef int64_t row = k * axis.bins + bin, last = axis.tap_start[row] + axis.tap_count[row] - 1
    cdef Touched found = Touched(pixel=axis.pixels + axis.pixel_start[k], first=0, count=axis.pixel_count[k])
    if task.bin >= 0:
        found.count = 0
        if axis.tap_count[row]:
            found.first = axis.tap_position[axis.tap_start[row]]
            found.count = axis.tap_position[last] - found.first + 1
            found.pixel += found.first
    return found


cdef inline const int32_t* touched_columns(Touched* x) noexcept nogil:
    # The columns in use, NULL where they are neighbours.
    if x.count == 0 or x.pixel[x.count - 1] - x.pixel[0] == x.count - 1:
        return NULL
    return x.pixel


cdef inline void touched_rows(Touched* y, Touched* x, const char* origin, ptrdiff_t row_step, ptrdiff_t column_step,
                              int64_t ring, const char** row) noexcept nogil:
    # Where these rows begin, at the first column in use. Row y lies at y modulo `ring`.
    cdef ptrdiff_t left = x.pixel[0] * column_step if x.count else 0
    cdef int64_t wrap
    cdef int i
    if y.count == 0:
        return
    wrap = y.pixel[0] - y.pixel[0] % ring if y.pixel[y.count - 1] >= ring else 0
    for i in range(y.count):
        if y.pixel[i] - wrap >= ring:
            wrap += ring
        row[y.first + i] = origin + (y.pixel[i] - wrap) * row_step + left


cdef inline tap_list only_bin(tap_list bins, int bin) noexcept nogil:
    # Find one bin among the bins that touch a pixel (an ascending list), if it is there.
    cdef int i = 0
    while i < bins.count and bins.position[i] < bin:
        i += 1
    return tap_list(position=bins.position + i, weight=bins.weight + i,
                    count=1 if i < bins.count and bins.position[i] == bin else 0)


cdef inline void spread_bin(Axis* x, int64_t k, int q, Touched* pixels, lanes value, lanes* target) noexcept nogil:
    # The transposed column pass of a bin alone: its pixels get the value, weighted.
    cdef tap_list bin = bin_at(x, k * x.bins + q)
    cdef int i
    for i in range(pixels.count):
        target[i] = lanes_zero()
    for i in range(bin.count):
        target[bin.position[i] - pixels.first] = lanes_scale(bin.weight[i], value)
