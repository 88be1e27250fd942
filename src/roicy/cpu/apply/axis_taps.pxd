"""What the passes are given of an axis table: lists of taps, the pixels in use, and where the rows of these are."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.lanes.lanes cimport real
from roicy.cpu.lanes.passes cimport tap_list, tap_lists
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


cdef inline const int32_t* line_columns(Axis* x, int64_t k) noexcept nogil:
    # The columns in use, NULL where they are neighbours.
    cdef const int32_t* line = x.line + x.line_start[k]
    cdef int count = x.line_length[k]
    return NULL if count == 0 or line[count - 1] - line[0] == count - 1 else line


cdef inline void line_rows(Axis* y, Axis* x, int64_t k, const char* origin, ptrdiff_t row_step, ptrdiff_t column_step,
                           int64_t ring, const char** row) noexcept nogil:
    # Where the line's rows begin, at the first column that the RoI uses. Row y lies at y modulo `ring`.
    cdef const int32_t* line = y.line + y.line_start[k]
    cdef int count = y.line_length[k], i
    cdef ptrdiff_t left = x.line[x.line_start[k]] * column_step if x.line_length[k] else 0
    cdef int64_t wrap
    if count == 0:
        return
    wrap = line[0] - line[0] % ring
    for i in range(count):
        if line[i] - wrap >= ring:
            wrap += ring
        row[i] = origin + (line[i] - wrap) * row_step + left
