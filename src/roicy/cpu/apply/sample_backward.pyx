"""The adjoint of the weighted sum: every pixel of a bin's taps receives its share of the bin's gradient.

One task is an image and a few blocks of LANES channels (or a band of the map's rows)::

    gradient of the output          tile [row][column][lane]        gradient of the features
         │ load a RoI's bins             ▲                              ▲
         ▼                               │ taps of each bin             │ transpose, store
    bins [bin][lane] ────────────────────┘ ─────────────────────────────┘

A pixel sums its RoIs in the order of the table, without atomics, so any number of threads gives the same bits. If a
pixel gets very many terms, it sums pieces: each piece is added to a second tile, and the rounding error of that to a
third. Rows that no later RoI reaches are stored at once. If the table comes in chunks, every chunk after the first adds
to the gradient that the chunk before it stored.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.tile cimport Sheet, sheet_at, turn_sheet
from roicy.cpu.apply.view cimport (
    View, block_at, fetch_bins, load_bins, load_pixels, store_pixels, view_of, zero_row,
)
from roicy.cpu.lanes.gathering cimport bin_taps, offset_range, pass_spread, pass_spread_piles, pass_spread_within
from roicy.cpu.lanes.lanes cimport DEPTH, LANES, OWN, lanes
from roicy.cpu.lanes.phases cimport PHASE_OTHER, PHASE_ROWS, phase_enter
from roicy.cpu.lanes.piles cimport piles_finish
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.runtime.work cimport CACHE_LINE, Scratch, Task, Team, Work
from roicy.cpu.tables.rois cimport Window, band_of
from roicy.cpu.tables.sample cimport SampleChunk, Samples, SampleTable
from roicy.cpu.tuning cimport SAMPLE_BACKWARD_SERIAL_WORK, STREAM_BYTES, WIDE_CHANNELS


cdef struct SampleBackwardCall:
    const int64_t* order
    const Window* window
    const int32_t* tile_columns
    Samples* samples
    View grad_output, grad_features
    int64_t top             # row of the map at which they begin
    bint alone              # offsets are in rows of the RoI's own window, not of the tile
    bint adding             # add to the gradient; else overwrite it
    bint stream
    int depth               # blocks of channels of a task
    int64_t rows            # of the tile
    int64_t block           # bins of a block of channels
    bint piles              # whether there are any sums in pieces
    ptrdiff_t apart         # vectors from a pixel of the tile to its sum, and from there to the sum's rounding error


cdef void sample_backward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef SampleBackwardCall* call = <SampleBackwardCall*> settled
    cdef View* out = &call.grad_features
    cdef View* gradient = &call.grad_output
    cdef Samples* samples = call.samples
    cdef lanes* bins = <lanes*> scratch.bins
    cdef const Window* window
    cdef bin_taps taps
    cdef offset_range within
    cdef lanes* corner
    cdef Sheet sheet
    cdef int64_t k, at, row, top, bottom, first, stored = task.top, count = gradient.rows * gradient.columns
    cdef char* used = scratch.spare     # (rows of the map) whether a row is one of sums in pieces
    cdef int v
    sheet.rows = call.rows
    sheet.first = sheet.filled = task.top
    sheet.left = 0
    sheet.columns = out.columns
    sheet.depth = call.depth
    for k in range(task.first, task.last):
        window = call.window + k
        top, bottom = max(<int64_t> window.top, task.top), min(<int64_t> window.bottom, task.bottom)
        if bottom <= top:
            continue
        first = max(band_of(window.top, call.top), task.top)    # later RoIs may begin before this one
        finish_rows(call, task, &sheet, scratch.tile, used, &stored, first)
        if bottom > sheet.first + sheet.rows:
            turn_tiles(call, &sheet, scratch.tile, first)
        start_rows(call, task, &sheet, scratch.tile, used, bottom)
        check_inside(top, sheet.first, sheet.filled)
        check_inside(top, stored, sheet.filled)
        check_inside(sheet.filled, sheet.first, sheet.first + sheet.rows + 1)
        for v in range((task.channels + LANES - 1) // LANES):
            load_bins(gradient, block_at(gradient, call.order[k], task.channel + v * LANES),
                      min(LANES, task.channels - v * LANES), bins + v * call.block)
        if k + 1 < task.last:
            fetch_bins(gradient, block_at(gradient, call.order[k + 1], task.channel), task.channels)
        at = samples.tap_start[k - samples.first]
        taps = taps_from(samples, at, samples.tap_count + (k - samples.first) * count, <int> count)
        within = offset_range(low=(top - window.top) * out.columns - window.left,
                              high=(bottom - window.top) * out.columns - window.left)
        corner = sheet_at(&sheet, scratch.tile, window.top, window.left)
        phase_enter(PHASE_ROWS)
        if samples.ever_full[k - samples.first]:
            for row in range(top, bottom):
                use_row(call, &sheet, scratch.tile, used, row)
            pass_spread_piles(corner, &taps, call.depth, bins, call.block, &within,
                              samples.full + (k - samples.first) * count, call.apart)
        elif top == window.top and bottom == window.bottom:
            pass_spread(corner, &taps, call.depth, bins, call.block)
        else:
            pass_spread_within(corner, &taps, call.depth, bins, call.block, &within)
        phase_enter(PHASE_OTHER)
    finish_rows(call, task, &sheet, scratch.tile, used, &stored, task.bottom)


cdef inline void turn_tiles(SampleBackwardCall* call, Sheet* sheet, char* tile, int64_t first) noexcept nogil:
    cdef Sheet same = sheet[0]
    cdef int i
    for i in range(1, 3 if call.piles else 1):
        turn_sheet(&same, tile + i * call.apart * <ptrdiff_t> sizeof(lanes), first)
        same = sheet[0]
    turn_sheet(sheet, tile, first)


cdef inline void use_row(SampleBackwardCall* call, Sheet* sheet, char* tile, char* used, int64_t row) noexcept nogil:
    # The row of sums begins with zeros.
    cdef lanes* sum = sheet_at(sheet, tile, row, 0) + call.apart
    if not used[row]:
        memset(sum, 0, sheet.columns * sheet.depth * sizeof(lanes))
        memset(sum + call.apart, 0, sheet.columns * sheet.depth * sizeof(lanes))
        used[row] = True


cdef inline void start_rows(SampleBackwardCall* call, Task* task, Sheet* sheet, char* tile, char* used,
                            int64_t last) noexcept nogil:
    # Rows before `last` come into the tile, as zeros or as the gradient has them.
    cdef View* out = &call.grad_features
    cdef char* source = block_at(out, task.image, task.channel)
    cdef int64_t row
    cdef int v
    for row in range(sheet.filled, last):
        if call.piles:
            used[row] = False
        memset(sheet_at(sheet, tile, row, 0), 0, out.columns * sheet.depth * sizeof(lanes))
        if not call.adding:
            continue
        use_row(call, sheet, tile, used, row)
        for v in range((task.channels + LANES - 1) // LANES):
            load_pixels(out, source + row * out.row + v * LANES * out.channel, min(LANES, task.channels - v * LANES),
                        out.columns, sheet_at(sheet, tile, row, 0) + call.apart + v, sheet.depth)
    sheet.filled = max(sheet.filled, last)


cdef inline void finish_rows(SampleBackwardCall* call, Task* task, Sheet* sheet, char* tile, char* used,
                             int64_t* stored, int64_t last) noexcept nogil:
    # Rows before `last` are final: those that were started leave the tile, the others were never touched.
    cdef View* out = &call.grad_features
    cdef char* target
    cdef lanes* pixels
    cdef int64_t rows, row
    cdef int v
    for row in range(stored[0], min(last, sheet.filled) if call.piles else stored[0]):
        if used[row]:
            pixels = sheet_at(sheet, tile, row, 0)
            piles_finish(pixels, sheet.columns * sheet.depth, pixels + call.apart, pixels + 2 * call.apart)
    while stored[0] < min(last, sheet.filled):
        rows = min(last, sheet.filled) - stored[0] if out.rows_joined else 1
        for v in range((task.channels + LANES - 1) // LANES):
            target = block_at(out, task.image, task.channel + v * LANES) + stored[0] * out.row
            store_pixels(out, target, min(LANES, task.channels - v * LANES), rows * out.columns,
                         sheet_at(sheet, tile, stored[0], 0) + v, sheet.depth, call.stream)
        stored[0] += rows
    while stored[0] < last:
        if not call.adding:
            zero_row(out, block_at(out, task.image, task.channel) + stored[0] * out.row, task.channels)
        stored[0] += 1
    sheet.filled = max(sheet.filled, last)
    if sheet.filled == last:
        sheet.first = last


cdef bint any_full(SampleTable table) noexcept:
    # Of a table in one chunk: whether sums are in pieces.
    cdef int64_t k
    for k in range(table.rois):
        if table.samples.ever_full[k]:
            return True
    return False


def sample_backward(SampleTable table, cnp.ndarray grad_output, cnp.ndarray grad_features, int threads,
                    Team team=None):
    """Fill `grad_features` with what `grad_output` sends back, both shaped (RoI or image, channel, row, column)."""
    cdef Py_ssize_t first
    if not table.in_pieces("backward", grad_features.dtype):
        sample_backward_whole(table, grad_output, grad_features, threads, team)
        return
    for first in range(0, grad_features.shape[1], WIDE_CHANNELS):
        part = np.s_[:, first:first + WIDE_CHANNELS]
        wide = np.empty((<object> grad_features)[part].shape, table.accumulate)
        sample_backward_whole(table, grad_output[part], wide, threads, None)
        grad_features[part] = wide


cdef int sample_backward_whole(SampleTable table, cnp.ndarray grad_output, cnp.ndarray grad_features,
                               int threads, Team team) except -1:
    # Of a table in several chunks the gradient has the accumulation type.
    cdef SampleBackwardCall call
    cdef View* out = &call.grad_features
    cdef Work work = Work(team)
    cdef SampleChunk chunks = SampleChunk(table, threads)
    cdef int64_t blocks, bands
    cdef size_t bins
    cdef int number, entered
    call.order = table.order
    call.top = table.part.top
    call.window = table.window
    call.grad_output = view_of(grad_output)
    call.grad_features = view_of(grad_features)
    call.rows = min(<int64_t> table.height, 2 * max(<int64_t> 1, table.span))
    call.depth = DEPTH if out.channels > LANES else 1
    blocks = (out.channels + call.depth * LANES - 1) // (call.depth * LANES)
    call.stream = (out.dtype == OWN and out.pixels_joined and out.channel % CACHE_LINE == 0
                   and <size_t> out.data % 8 == 0
                   and table.chunks == 1
                   and out.images * out.channels * out.rows * out.columns * out.size >= STREAM_BYTES)
    call.block = call.grad_output.rows * call.grad_output.columns + LANES
    bins = call.block * call.depth * sizeof(lanes)
    entered = threads
    if (table.room[table.rois] * <double> out.channels
            + <double> out.images * out.channels * out.rows * out.columns / 8 < SAMPLE_BACKWARD_SERIAL_WORK):
        entered = 1
    # sums of an earlier chunk are in pieces in any case
    call.piles = table.chunks > 1 or any_full(table)
    call.apart = call.rows * out.columns * call.depth
    bands = 1 if entered == 1 else max(1, min(out.rows, 4 * entered // max(1, blocks * out.images)))
    work.divide(table, 0, table.rois, out.channels, call.depth * LANES, 0, bands)
    work.provide(table, entered, (3 if call.piles else 1) * call.apart * sizeof(lanes), 0, bins,
                 out.rows if call.piles else 0, 0)
    if table.chunks == 1:
        call.samples = &table.samples
        call.adding = False
        return work.do(sample_backward_task, &call, sizeof(call), NULL, NULL)
    for number in range(table.chunks):
        call.samples = chunks.take(number)
        call.adding = number > 0
        work.divide(table, table.chunk[number], table.chunk[number + 1], out.channels, call.depth * LANES, 0, bands)
        work.run(sample_backward_task, &call)
    return 0
