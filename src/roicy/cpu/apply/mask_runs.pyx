"""Run lengths of pasted masks, column after column, without the pasted image.

One piece is a mask. Down a column of the image, the pixels between the same two rows of the mask cross the threshold at
most once. So only the ends of each such stretch are compared; if they differ, the crossing is searched::

    two columns of the mask ── between ──▶ values above and below each stretch ──▶ first, last: bits ──▶ changes

A thread keeps the runs of its masks one after the other, in memory that grows with them.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.mask_lines cimport MaskLines, ask_lines, items_bytes, lines_of
from roicy.cpu.apply.view cimport View, view_of
from roicy.cpu.lanes.lanes cimport LANES, real
from roicy.cpu.lanes.mask cimport LINE_FRAME, mask_change, mask_column, mask_runs, mask_stretches
from roicy.cpu.runtime.memory cimport allocate_zeros, borrow, deallocate, give_back, reallocate
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.mask cimport MaskTable, MaskWindow, PasteSide, find_places
from roicy.cpu.tuning cimport MASK_RUNS_SERIAL_WORK


cdef enum:
    OFF = -2                # before the mask: no row of it is next to one there, and there are zeros
    FRONT = 64              # bytes of them before a line, which keep it aligned


cdef struct RunsOfMask:
    # among those of a thread
    int64_t first, count
    int thread


cdef struct MaskRunsCall:
    const MaskWindow* window
    bint single
    View masks
    int64_t rows, columns   # of the image
    real threshold
    mask_runs* runs         # of each thread
    RunsOfMask* found       # (masks)
    bint failed             # there is no memory for more of them
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
    found.joined = True
    for i in range(rows):
        # with what is beyond the mask before it, rows of a box that is larger than its mask follow each other
        if before[i] == side.length and n == (i > 0) and (i == 0 or before[0] == OFF):
            before[i] = OFF
        if i == 0 or before[i] != before[n - 1]:
            before[n] = before[i]
            begin[n] = i
            first[n] = fraction[i]
            found.joined = found.joined and before[n] == before[0] + n
            n += 1
        last[n - 1] = fraction[i]
    begin[n] = rows
    for i in range(n, n + LANES - 1):
        before[i] = 0
        first[i] = last[i] = 0
    found.before, found.begin, found.first, found.last, found.fraction = before, begin, first, last, fraction
    found.count = n
    return found


cdef inline bint runs_have_room(mask_runs* runs, int64_t more) noexcept nogil:
    # Make room for this many more runs, or note that memory is short.
    cdef int64_t room = max(runs.count + more, 2 * runs.room)
    cdef void* counts
    if runs.count + more <= runs.room:
        return True
    counts = reallocate(runs.counts, room * sizeof(int64_t))
    if counts == NULL:
        return False
    runs.counts, runs.room = <int64_t*> counts, room
    return True


cdef void mask_runs_piece(void* settled, int64_t k, int thread) noexcept nogil:
    cdef MaskRunsCall* call = <MaskRunsCall*> settled
    cdef const MaskWindow* window = call.window + k
    cdef char* scratch = call.scratch + thread * call.each
    cdef MaskLines lines = lines_of(&call.masks, k, True)
    cdef int32_t* before = <int32_t*> scratch
    cdef real* fraction = <real*> (scratch + call.row)
    cdef PasteSide x = window.x, y = window.y
    cdef int64_t x_count = x.high - x.low, i, end = call.rows * call.columns, most = 1
    cdef bint whole = y.low == 0 and y.high == call.rows        # a run may go on in the next column
    cdef mask_stretches rows
    cdef mask_runs* runs = call.runs + thread
    cdef int64_t first = runs.count
    scratch += 2 * call.row
    memset(scratch, 0, FRONT)
    memset(scratch + call.line, 0, FRONT)
    lines.places.before = NULL
    lines.width = lines.length + LINE_FRAME
    lines.kept[0] = <real*> (scratch + FRONT)
    lines.kept[1] = <real*> (scratch + call.line + FRONT)
    runs.begin = 0
    runs.inside = False
    if x_count and window.valid:
        rows = stretches_of(call, &y, scratch + 2 * call.line)
        most = 2 * <int64_t> rows.count + 2     # of a column, one at its end, and one at that of the image
        find_places(call.single, &x, before, fraction, sizeof(real) == sizeof(double), 0)
        for i in range(x_count):
            if not runs_have_room(runs, most):
                call.failed = True
                return
            ask_lines(&lines, before[i])
            mask_column(&rows, lines.kept[0], lines.kept[1], fraction[i], call.threshold,
                        (x.low + i) * call.rows + y.low, runs)
            if runs.inside and not whole:
                mask_change(runs, (x.low + i) * call.rows + y.high)
    if not runs_have_room(runs, 2):
        call.failed = True
        return
    if runs.inside:
        mask_change(runs, x.high * call.rows)
    if runs.count == first or runs.begin < end:
        mask_change(runs, end)
    call.found[k] = RunsOfMask(first=first, count=runs.count - first, thread=thread)


def mask_lengths(MaskTable table, cnp.ndarray masks, double threshold, int threads):
    """Return the run lengths of each of the masks, (K, 1, M, N)."""
    cdef MaskRunsCall call
    cdef RunsOfMask found
    cdef cnp.npy_intp count
    cdef int i
    cdef int64_t k
    cdef list kept = [], lengths = []
    call.window = table.window
    call.single = table.single
    call.masks = view_of(masks)
    call.rows, call.columns = table.rows, table.columns
    call.threshold = threshold
    call.failed = False
    call.row = items_bytes(table.widest)
    call.column = items_bytes(table.tallest + 1)
    call.line = FRONT + items_bytes(call.masks.rows + LINE_FRAME)
    call.each = 2 * (call.row + call.line) + 5 * call.column
    call.runs = NULL
    call.found = NULL
    call.scratch = NULL
    threads = <int> max(1, min(threads if table.pixels >= MASK_RUNS_SERIAL_WORK else 1, table.masks))
    try:
        call.runs = <mask_runs*> allocate_zeros(threads * sizeof(mask_runs))
        call.found = <RunsOfMask*> allocate_zeros(table.masks * sizeof(RunsOfMask))
        call.scratch = <char*> borrow(threads * call.each)
        run_pieces(mask_runs_piece, &call, table.masks, threads)
        if call.failed:
            raise MemoryError("roicy: no memory for this many runs")
        for i in range(threads):
            count = call.runs[i].count
            kept.append(cnp.PyArray_SimpleNewFromData(1, &count, cnp.NPY_INT64, call.runs[i].counts) if count else None)
        for k in range(table.masks):
            found = call.found[k]
            lengths.append(kept[found.thread][found.first:found.first + found.count].tolist())
    finally:
        give_back(call.scratch)
        deallocate(call.found)
        for i in range(threads if call.runs != NULL else 0):
            deallocate(call.runs[i].counts)
        deallocate(call.runs)
    return lengths
