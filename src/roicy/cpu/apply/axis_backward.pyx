"""The adjoint of the average: ``dX = A_yᵀ · dY · A_x``, the same tables applied transposed.

One task is an image and a block of LANES channels (or a band of the map's rows)::

    gradient of the output     blended [p][column][lane]        tile [row][column][lane]       gradient of the features
         │ load a RoI's bins          ▲                               ▲                              ▲
         ▼                            │ columns: bins that touch      │ rows: bins that touch        │ transpose, store
    bins [p][q][lane] ────────────────┘ ──────────────────────────────┘ ─────────────────────────────┘

A pixel sums its RoIs in the order of the table, whoever owns it: no atomics, and the same bits for any number of
threads. Where very many RoIs lie on each other, the sums are kept in pieces: before a RoI that would be one too many,
what the pixels of its window hold joins sums beside the tile. Rows that no later RoI reaches leave the tile at once,
while they are in the cache.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cimport numpy as cnp

from roicy.cpu.apply.axis_taps cimport line_columns, pixel_at, pixels_from
from roicy.cpu.apply.view cimport View, block_at, load_bins, store_pixels, view_of, zero_row
from roicy.cpu.lanes.lanes cimport LANES, OWN, PIECE, lane_rows, lanes
from roicy.cpu.lanes.passes cimport GROUP, pass_columns, pass_rows_back, tap_list, tap_lists
from roicy.cpu.lanes.piles cimport piles_count, piles_finish, piles_join
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.runtime.work cimport LINE, Scratch, Task, Work
from roicy.cpu.tables.axis cimport Axis, AxisTable
from roicy.cpu.tables.rois cimport BAND, MANY, PILE, Window
from roicy.cpu.tuning cimport AXIS_BACKWARD_SERIAL_WORK, STREAM_BYTES


cdef struct AxisBackwardCall:
    Axis* y
    Axis* x
    const int64_t* order
    View grad_output, grad_features
    int ph, pw
    int64_t ring            # rows of the tile: row y lies at y modulo `ring`
    bint stream
    const Window* window
    uint8_t* full           # (RoIs) whether a window is to be emptied before; NULL where none is


cdef struct Piles:
    # rows of a task's tile, in pieces
    lanes* sum
    lanes* lost
    char* used              # (ring) whether a row of the tile has any


cdef void axis_backward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisBackwardCall* call = <AxisBackwardCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef View* out = &call.grad_features
    cdef lanes* tile = <lanes*> scratch.tile
    cdef lanes* blended = <lanes*> scratch.blended
    cdef tap_lists pixels
    cdef tap_list bins_of_row
    cdef lane_rows of_bins = lane_rows(first=NULL, stride=call.pw, depth=1)
    cdef const lanes* bins = <const lanes*> scratch.bins
    cdef const int32_t* column
    cdef const int32_t* rows
    cdef Piles piles
    cdef int64_t k, row, cleared = task.top, stored = task.top
    cdef int count, i, group, p
    piles.sum = <lanes*> scratch.spare
    piles.lost = piles.sum + call.ring * out.columns
    piles.used = <char*> (piles.lost + call.ring * out.columns)
    for k in range(task.first, task.last):
        count = x.line_length[k]
        if count == 0 or y.line_length[k] == 0:
            continue
        rows = y.line + y.line_start[k]
        if rows[y.line_length[k] - 1] < task.top or rows[0] >= task.bottom:
            continue
        row = max(<int64_t> rows[0] // BAND * BAND, task.top)    # later RoIs may begin before this one
        store_rows(call, task, tile, &piles, &stored, cleared, row)
        cleared = clear_rows(call, tile, &piles, max(cleared, row),
                             min(<int64_t> rows[y.line_length[k] - 1] + 1, task.bottom))
        if call.full != NULL and call.full[k]:
            empty_window(call, task, tile, &piles, call.window + k)
        load_bins(&call.grad_output, block_at(&call.grad_output, call.order[k], task.channel), task.channels,
                  <lanes*> scratch.bins)
        pixels = pixels_from(x, x.line_start[k])
        p = 0
        while p < call.ph:
            group = min(GROUP, call.ph - p)
            of_bins.first = bins + p * <ptrdiff_t> call.pw
            pass_columns(&of_bins, group, &pixels, count, blended + p * <ptrdiff_t> count, 0)
            p += group
        column = line_columns(x, k)
        for i in range(y.line_length[k]):
            if task.top <= rows[i] < task.bottom:
                bins_of_row = pixel_at(y, y.line_start[k] + i)
                check_inside(rows[i], stored, cleared)
                check_inside(cleared - stored, 0, call.ring + 1)
                pass_rows_back(blended, count, &bins_of_row, column, count, <const lanes**> scratch.tap,
                               tile + rows[i] % call.ring * out.columns + x.line[x.line_start[k]])
    store_rows(call, task, tile, &piles, &stored, cleared, task.bottom)


cdef void empty_window(AxisBackwardCall* call, Task* task, lanes* tile, Piles* piles,
                       const Window* window) noexcept nogil:
    # What the window's pixels hold joins the sums.
    cdef int64_t row, slot, columns = call.grad_features.columns, at
    for row in range(max(<int64_t> window.top, task.top), min(<int64_t> window.bottom, task.bottom)):
        slot = row % call.ring
        if not piles.used[slot]:
            memset(piles.sum + slot * columns, 0, columns * sizeof(lanes))
            memset(piles.lost + slot * columns, 0, columns * sizeof(lanes))
            piles.used[slot] = True
        at = slot * columns + window.left
        piles_join(tile + at, window.right - window.left, piles.sum + at, piles.lost + at)


cdef inline int64_t clear_rows(AxisBackwardCall* call, lanes* tile, Piles* piles, int64_t first,
                               int64_t last) noexcept nogil:
    # Rows come into the tile as zeros; returns up to where they are there.
    cdef int64_t row
    for row in range(first, last):
        if call.full != NULL:
            piles.used[row % call.ring] = False
        memset(tile + row % call.ring * call.grad_features.columns, 0, call.grad_features.columns * sizeof(lanes))
    return max(first, last)


cdef inline void store_rows(AxisBackwardCall* call, Task* task, lanes* tile, Piles* piles, int64_t* stored,
                            int64_t cleared, int64_t last) noexcept nogil:
    # Rows before `last` are final: those that were cleared leave the tile, the others nobody touched.
    cdef View* out = &call.grad_features
    cdef char* target = block_at(out, task.image, task.channel)
    cdef int64_t slot, rows, row
    if call.full != NULL:
        for row in range(stored[0], min(last, cleared)):
            slot = row % call.ring
            if piles.used[slot]:
                piles_finish(tile + slot * out.columns, out.columns, piles.sum + slot * out.columns,
                             piles.lost + slot * out.columns)
    while stored[0] < min(last, cleared):
        slot = stored[0] % call.ring
        rows = min(min(last, cleared) - stored[0], call.ring - slot) if out.rows_joined else 1
        store_pixels(out, target + stored[0] * out.row, task.channels, rows * out.columns,
                     tile + slot * out.columns, 1, call.stream)
        stored[0] += rows
    while stored[0] < last:
        zero_row(out, target + stored[0] * out.row, task.channels)
        stored[0] += 1


cdef int note_terms(AxisTable table, int64_t image, int limit, uint8_t* full, uint16_t* held, int64_t first,
                    int64_t rows) noexcept nogil:
    # Which windows have a pixel of more terms than that; `held` is for the map's rows from `first` on.
    cdef Axis* y = &table.y
    cdef const Window* window
    cdef int64_t k, i
    cdef int terms, found = 0
    memset(held, 0, rows * table.width * sizeof(uint16_t))
    for k in range(table.image_start[image], table.image_start[image + 1]):
        window = table.window + k
        if window.bottom <= window.top:
            continue
        terms = 1
        for i in range(y.line_start[k], y.line_start[k] + y.line_length[k]):
            terms = max(terms, y.bin_count[i])
        full[k] = piles_count(held + (window.top - first) * table.width + window.left, table.width,
                              window.bottom - window.top, window.right - window.left,
                              terms if terms <= PIECE else 1, limit)
        found += full[k]
    return found


cdef int find_full(AxisTable table, AxisBackwardCall* call) except -1:
    # Notes which windows are to be emptied, in memory that the caller frees.
    cdef int64_t k, first = table.height, last = 0, most = 0, image
    cdef uint16_t* held
    cdef int64_t found = 0
    call.full = NULL
    for image in range(table.images):
        most = max(most, table.image_start[image + 1] - table.image_start[image])
    if most * <double> min(PIECE, call.ph) <= MANY:
        return 0
    for k in range(table.rois):
        if table.window[k].bottom > table.window[k].top:
            first = min(first, <int64_t> table.window[k].top)
            last = max(last, <int64_t> table.window[k].bottom)
    last = max(first, last)
    call.full = <uint8_t*> calloc(table.rois + 1, 1)
    held = <uint16_t*> calloc((last - first) * table.width + 1, sizeof(uint16_t))
    if call.full == NULL or held == NULL:
        free(call.full)
        free(held)
        raise MemoryError("roicy: no memory to count the boxes of a pixel")
    with nogil:
        for image in range(table.images):
            if note_terms(table, image, MANY, call.full, held, first, last - first):
                found += note_terms(table, image, PILE, call.full, held, first, last - first)
    free(held)
    if not found:
        free(call.full)
        call.full = NULL
    return 0


def axis_backward(AxisTable table, cnp.ndarray grad_output, cnp.ndarray grad_features, int threads):
    """Fill `grad_features` with what `grad_output` sends back, both shaped (RoI or image, channel, row, column)."""
    cdef AxisBackwardCall call
    cdef View* out = &call.grad_features
    cdef Work work = Work()
    cdef int64_t channels, blocks
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.grad_output = view_of(grad_output)
    call.grad_features = view_of(grad_features)
    call.ph = table.y.bins
    call.pw = table.x.bins
    call.ring = max(1, table.span)
    channels = out.channels
    blocks = (channels + LANES - 1) // LANES
    call.stream = (out.dtype == OWN and out.pixels_joined and out.channel % LINE == 0 and <size_t> out.data % 8 == 0
                   and out.images * channels * out.rows * out.columns * out.size >= STREAM_BYTES)
    if table.work * channels + <double> out.images * channels * out.rows * out.columns / 8 < AXIS_BACKWARD_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, channels, LANES, 0,
                1 if threads == 1 else max(1, min(out.rows, 4 * threads // max(1, blocks * out.images))))
    call.window = table.window
    find_full(table, &call)
    try:
        work.provide(table, threads, call.ring * out.columns * sizeof(lanes),
                     <size_t> call.ph * table.widest * sizeof(lanes),
                     (<size_t> call.ph * call.pw + LANES) * sizeof(lanes),
                     call.ring * (2 * out.columns * sizeof(lanes) + 1) if call.full != NULL else 0, 0)
        work.run(axis_backward_task, &call)
    finally:
        free(call.full)
