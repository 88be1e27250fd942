"""Rows (or columns) of a mask interpolated at the positions of image pixels; two neighbouring ones are kept."""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from roicy.cpu.apply.view cimport View, block_at
from roicy.cpu.lanes.lanes cimport LANES, real
from roicy.cpu.lanes.mask cimport LINE_FRAME, mask_across, mask_load, mask_places
from roicy.cpu.tables.mask cimport MaskWindow, PasteSide, find_places

cdef enum:
    NO_LINE = -3


cdef struct MaskLines:
    const char* mask
    ptrdiff_t step, pixel   # bytes from line to line, and along one
    int lines, length, dtype
    mask_places places
    int64_t width           # of a line at the places
    real* line
    real* kept[2]
    int number[2]           # which ones they are


cdef inline size_t lined(size_t size) noexcept nogil:
    return (size + 63) & ~(<size_t> 63)


cdef inline size_t items_bytes(int64_t count) noexcept nogil:
    # Bytes of `count` values, or of places of either kind, with room for a vector behind them.
    return lined((count + LANES) * sizeof(real))


cdef inline MaskLines lines_of(View* masks, int64_t k, bint across) noexcept nogil:
    # Set up the rows or the columns of a mask; the caller supplies memory and positions later.
    cdef MaskLines lines
    lines.mask = block_at(masks, k, 0)
    lines.dtype = masks.dtype
    lines.step, lines.pixel = masks.row, masks.column
    lines.lines, lines.length = <int> masks.rows, <int> masks.columns
    if across:
        lines.step, lines.pixel = lines.pixel, lines.step
        lines.lines, lines.length = lines.length, lines.lines
    lines.number[0] = lines.number[1] = NO_LINE
    return lines


cdef inline void ask_lines(MaskLines* lines, int before) noexcept nogil:
    # Interpolate line `before` and the next one into kept[0] and kept[1].
    cdef real* other
    cdef int which, number
    if lines.number[0] == before + 1 or lines.number[1] == before:
        other = lines.kept[0]
        lines.kept[0] = lines.kept[1]
        lines.kept[1] = other
        number = lines.number[0]
        lines.number[0] = lines.number[1]
        lines.number[1] = number
    for which in range(2):
        number = before + which
        if lines.number[which] == number:
            continue
        lines.number[which] = number
        if number < 0 or number >= lines.lines:
            memset(lines.kept[which], 0, lines.width * sizeof(real))
        elif lines.places.before == NULL:
            mask_load(lines.mask + number * lines.step, lines.pixel, lines.length, lines.dtype, lines.kept[which])
        else:
            mask_load(lines.mask + number * lines.step, lines.pixel, lines.length, lines.dtype, lines.line)
            mask_across(lines.line, &lines.places, lines.width, lines.kept[which])
