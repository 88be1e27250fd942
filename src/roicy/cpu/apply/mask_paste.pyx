"""Masks pasted into images, or into the parts of them that they reach.

One piece is a mask, pasted row by row. Its own rows are interpolated at the columns of the image once each::

    mask (any dtype, layout)      two rows, as wide as the window      row of the image
      row ── between columns ──▶  above, below  ── between rows ──▶    values, or whether they reach the threshold
"""

from libc.math cimport NAN
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.mask_lines cimport MaskLines, ask_lines, items_bytes, lines_of
from roicy.cpu.apply.view cimport View, block_at, view_of
from roicy.cpu.lanes.lanes cimport FLOAT32, LANES, element_store, real
from roicy.cpu.lanes.mask cimport LINE_FRAME, mask_clear, mask_mix, mask_places, mask_reach
from roicy.cpu.runtime.memory cimport borrow, give_back
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.mask cimport MaskTable, MaskWindow, PasteSide, find_places
from roicy.cpu.tuning cimport MASK_PASTE_SERIAL_WORK


cdef struct MaskPasteCall:
    const MaskWindow* window
    bint single
    View masks, out
    int64_t* start          # items of `out` before each window; NULL: it has whole images
    real threshold
    bint soft, blank        # values are wanted; what is no part of a window is zero already
    size_t row              # bytes of one as wide as the widest window
    char* scratch
    size_t each             # bytes of a thread


cdef inline void put_zeros(View* out, char* row, int64_t first, int64_t last) noexcept nogil:
    cdef int64_t i
    if out.pixels_joined:
        memset(row + first * out.size, 0, (last - first) * out.size)
        return
    for i in range(first, last):
        memset(row + i * out.column, 0, out.size)


cdef inline void put_pixels(View* out, char* row, const char* source, int64_t count) noexcept nogil:
    cdef int64_t i
    if out.pixels_joined:
        memcpy(row, source, count * out.size)
        return
    for i in range(count):
        memcpy(row + i * out.column, source + i * out.size, out.size)


cdef inline void put_values(View* out, char* row, const real* values, int64_t count) noexcept nogil:
    cdef int64_t i
    if sizeof(real) == sizeof(float):
        put_pixels(out, row, <const char*> values, count)
        return
    for i in range(count):
        element_store(values[i], row + i * out.column, FLOAT32)


cdef inline void clear_around(View* out, const MaskWindow* window, char* target) noexcept nogil:
    cdef int64_t row
    if out.rows_joined:         # in one go, and once more what the window has
        mask_clear(target, out.rows * out.columns * out.size)
        return
    for row in range(out.rows):
        if window.y.low <= row < window.y.high:
            put_zeros(out, target + row * out.row, 0, window.x.low)
            put_zeros(out, target + row * out.row, window.x.high, out.columns)
        else:
            put_zeros(out, target + row * out.row, 0, out.columns)


cdef void mask_paste_piece(void* settled, int64_t k, int thread) noexcept nogil:
    cdef MaskPasteCall* call = <MaskPasteCall*> settled
    cdef const MaskWindow* window = call.window + k
    cdef View out = call.out
    cdef char* scratch = call.scratch + thread * call.each
    cdef MaskLines lines = lines_of(&call.masks, k, False)
    cdef int32_t* before = <int32_t*> scratch
    cdef real* fraction = <real*> (scratch + call.row)
    cdef real* values = <real*> (scratch + 2 * call.row)
    cdef PasteSide side = window.x
    cdef int64_t width = window.x.high - window.x.low, i
    cdef int32_t row_before
    cdef real row_fraction
    cdef char* target
    cdef int row
    lines.places = mask_places(before=before, fraction=fraction)
    lines.width = width
    lines.kept[0] = <real*> (scratch + 3 * call.row)
    lines.kept[1] = <real*> (scratch + 4 * call.row)
    lines.line = <real*> (scratch + 5 * call.row)
    if call.start != NULL:
        out.row = width * out.size
        target = out.data + call.start[k] * out.size
    else:
        target = block_at(&out, k, 0)
        if not call.blank:
            clear_around(&out, window, target)
        target += window.y.low * out.row + window.x.low * out.column
    if window.valid:
        find_places(call.single, &side, before, fraction, sizeof(real) == sizeof(double), LANES - 1)
    else:
        for i in range(width):
            values[i] = <real> NAN
    side = window.y
    for row in range(window.y.low, window.y.high):
        if window.valid:
            side.low, side.high = row, row + 1
            find_places(call.single, &side, &row_before, &row_fraction, sizeof(real) == sizeof(double), 0)
            ask_lines(&lines, row_before)
        if call.soft:
            if window.valid:
                mask_mix(lines.kept[0], lines.kept[1], row_fraction, width, values)
            put_values(&out, target, values, width)
        elif out.pixels_joined:
            mask_reach(lines.kept[0], lines.kept[1], row_fraction, call.threshold, width, <uint8_t*> target)
        else:
            mask_reach(lines.kept[0], lines.kept[1], row_fraction, call.threshold, width, <uint8_t*> values)
            put_pixels(&out, target, <char*> values, width)
        target += out.row


def mask_paste(MaskTable table, cnp.ndarray masks, cnp.ndarray out, cnp.ndarray starts, threshold, bint blank,
               int threads):
    """Fill `out` (K, 1, H, W) with pasted masks (K, 1, M, N), or (1, 1, 1, items) with windows from `starts` on."""
    cdef MaskPasteCall call
    cdef double work
    call.window = table.window
    call.single = table.single
    call.masks, call.out = view_of(masks), view_of(out)
    call.start = NULL if starts is None else <int64_t*> cnp.PyArray_DATA(starts)
    call.soft = threshold is None
    call.threshold = 0 if call.soft else <double> threshold
    call.blank = blank
    call.row = items_bytes(table.widest)
    call.each = 5 * call.row + items_bytes(call.masks.columns + LINE_FRAME)
    work = table.pixels if blank or starts is not None else table.masks * <double> table.rows * table.columns
    threads = <int> max(1, min(threads if work >= MASK_PASTE_SERIAL_WORK else 1, table.masks))
    call.scratch = <char*> borrow(threads * call.each)
    try:
        run_pieces(mask_paste_piece, &call, table.masks, threads)
    finally:
        give_back(call.scratch)
