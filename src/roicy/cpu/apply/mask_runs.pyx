"""Run lengths of pasted masks, column after column: no image is held.

One piece is a mask. Down a column of the image, the pixels between the same two rows of the mask pass the threshold
once at the most, so that of each such stretch only its ends are looked at::

    mask                        column of the mask at that of the image      stretches between its rows
      columns ── between ──▶    one value for each of its rows        ──▶    first, last: bits ──▶ changes

They are gone through twice: to count the runs, and to put their lengths.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

import numpy as np

cimport numpy as cnp

from roicy.cpu.apply.mask_lines cimport MaskLines, ask_lines, items_bytes, lines_of
from roicy.cpu.apply.view cimport View, view_of
from roicy.cpu.lanes.lanes cimport LANES, real
from roicy.cpu.lanes.mask cimport LINE_FRAME, mask_change, mask_column, mask_mix, mask_runs, mask_stretches
from roicy.cpu.runtime.memory cimport borrow, give_back
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.mask cimport MaskTable, MaskWindow, PasteSide, find_places
from roicy.cpu.tuning cimport MASK_RUNS_SERIAL_WORK


cdef struct MaskRunsCall:
    const MaskWindow* window
    bint single
    View masks
    int64_t rows, columns   # of the image
    real threshold
    int64_t* end            # of each mask's lengths among all; first: how many there are
    int64_t* lengths        # NULL: runs are counted
    size_t line, row, column
    char* scratch
    size_t each             # bytes of a thread


cdef inline mask_stretches stretches_of(MaskRunsCall* call, PasteSide* side, char* scratch) noexcept nogil:
    # Those of a window's rows.
    cdef mask_stretches found
    cdef int32_t* before = <int32_t*> scratch
    cdef int32_t* begin = <int32_t*> (scratch + call.column)
    cdef real* fraction = <real*> (scratch + 2 * call.column)
    cdef real* first = <real*> (scratch + 3 * call.column)
    cdef real* last = <real*> (scratch + 4 * call.column)
    cdef int i, n = 0, rows = side.high - side.low
    find_places(call.single, side, before, fraction, sizeof(real) == sizeof(double), LANES - 1)
    for i in range(rows):
        if i == 0 or before[i] != before[n - 1]:
            before[n] = before[i]
            begin[n] = i
            first[n] = fraction[i]
            n += 1
        last[n - 1] = fraction[i]
    begin[n] = rows
    for i in range(n, n + LANES - 1):
        before[i] = 0
        first[i] = last[i] = 0
    found.before, found.begin, found.first, found.last, found.fraction = before, begin, first, last, fraction
    found.count = n
    return found


cdef void mask_runs_piece(void* settled, int64_t k, int thread) noexcept nogil:
    cdef MaskRunsCall* call = <MaskRunsCall*> settled
    cdef const MaskWindow* window = call.window + k
    cdef char* scratch = call.scratch + thread * call.each
    cdef MaskLines lines = lines_of(&call.masks, k, True)
    cdef int32_t* before = <int32_t*> scratch
    cdef real* fraction = <real*> (scratch + call.row)
    cdef real* column
    cdef PasteSide x = window.x, y = window.y
    cdef int64_t x_count = x.high - x.low, i, end = call.rows * call.columns
    cdef bint whole = y.low == 0 and y.high == call.rows        # a run may go on in the next column
    cdef mask_stretches rows
    cdef mask_runs runs
    scratch += 2 * call.row
    lines.places.before = NULL
    lines.width = lines.length + LINE_FRAME
    lines.kept[0] = <real*> scratch
    lines.kept[1] = <real*> (scratch + call.line)
    column = <real*> (scratch + 2 * call.line)
    runs.count = runs.begin = 0
    runs.inside = False
    runs.counts = NULL
    if call.lengths != NULL:
        runs.counts = call.lengths + (call.end[k - 1] if k else 0)
    if x_count and window.valid:
        rows = stretches_of(call, &y, scratch + 3 * call.line)
        find_places(call.single, &x, before, fraction, sizeof(real) == sizeof(double), 0)
        for i in range(x_count):
            ask_lines(&lines, before[i])
            mask_mix(lines.kept[0], lines.kept[1], fraction[i], lines.width, column)
            mask_column(&rows, column, call.threshold, (x.low + i) * call.rows + y.low, &runs)
            if runs.inside and not whole:
                mask_change(&runs, (x.low + i) * call.rows + y.high)
        if runs.inside:
            mask_change(&runs, x.high * call.rows)
    if call.lengths == NULL:
        # the rest is a run, unless the last one that was counted ends with the image
        call.end[k] = runs.count
        if runs.count == 0 or runs.begin < end:
            call.end[k] += 1
    elif runs.count == 0 or runs.begin < end:
        mask_change(&runs, end)


def mask_lengths(MaskTable table, cnp.ndarray masks, double threshold, int threads):
    """Return the run lengths of all masks, (K, 1, M, N), in one array, int64, and where each one's end, (K,)."""
    cdef MaskRunsCall call
    cdef cnp.ndarray ends = np.empty(table.masks, np.int64), lengths
    call.window = table.window
    call.single = table.single
    call.masks = view_of(masks)
    call.rows, call.columns = table.rows, table.columns
    call.threshold = threshold
    call.row = items_bytes(table.widest)
    call.column = items_bytes(table.tallest + 1)
    call.line = items_bytes(call.masks.rows + LINE_FRAME)
    call.each = 2 * call.row + 3 * call.line + 5 * call.column
    call.end = <int64_t*> cnp.PyArray_DATA(ends)
    call.lengths = NULL
    threads = <int> max(1, min(threads if table.pixels >= MASK_RUNS_SERIAL_WORK else 1, table.masks))
    call.scratch = <char*> borrow(threads * call.each)
    try:
        run_pieces(mask_runs_piece, &call, table.masks, threads)
        total = ends.sum()
        np.cumsum(ends, out=ends)
        lengths = np.empty(total, np.int64)
        call.lengths = <int64_t*> cnp.PyArray_DATA(lengths)
        run_pieces(mask_runs_piece, &call, table.masks, threads)
    finally:
        give_back(call.scratch)
    return lengths, ends
