"""The adjoint of the average: ``dX = A_yᵀ · dY · A_x``, the same tables applied transposed.

One task is an image and a block of LANES channels (or a band of the map's rows)::

    gradient of the output     blended [p][column][lane]        tile [row][column][lane]       gradient of the features
         │ load a RoI's bins          ▲                               ▲                              ▲
         ▼                            │ columns: bins that touch      │ rows: bins that touch        │ transpose, store
    bins [p][q][lane] ────────────────┘ ──────────────────────────────┘ ─────────────────────────────┘

A pixel sums its RoIs in the order of the table, without atomics, so any number of threads gives the same bits. If very
many RoIs overlap, the sum is in pieces. Rows that no later RoI reaches are stored at once, while they are in the cache.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.axis_taps cimport (
    Bins, Touched, task_bins, touched_columns, touched_pixels, only_bin, pixel_at, pixels_from, spread_bin,
)
from roicy.cpu.apply.term_runs cimport (
    Pieces, Runs, begin_runs, count_window, end_runs, finish_row, free_runs, join_runs, no_runs, note_window,
    pieces_bytes, pieces_in, start_image,
)
from roicy.cpu.apply.view cimport View, bins_apart, block_at, fetch_bins, load_bins, store_pixels, view_of, zero_row
from roicy.cpu.lanes.lanes cimport LANES, OWN, PIECE, lane_rows, lanes
from roicy.cpu.lanes.passes cimport GROUP, pass_columns, pass_rows_back, tap_list, tap_lists
from roicy.cpu.lanes.phases cimport PHASE_COLUMNS, PHASE_OTHER, PHASE_ROWS, phase_enter
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.runtime.memory cimport allocate, deallocate
from roicy.cpu.runtime.work cimport CACHE_LINE, Scratch, Task, Team, Work
from roicy.cpu.tables.axis cimport Axis, AxisTable
from roicy.cpu.tables.rois cimport MANY, Window, band_of
from roicy.cpu.tuning cimport AXIS_BACKWARD_SERIAL_WORK, STREAM_BYTES


cdef struct AxisBackwardCall:
    Axis* y
    Axis* x
    const int64_t* order
    View grad_output, grad_features
    int64_t top             # row of the map at which they begin
    ptrdiff_t step          # step from a bin's channel to the next bin's, if each bin has its own
    int ph, pw
    int64_t ring            # rows of the tile: row y lies at y modulo `ring`
    bint stream
    Runs runs


cdef void axis_backward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisBackwardCall* call = <AxisBackwardCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef Bins at = task_bins(task, call.ph, call.pw)
    cdef View features = call.grad_features
    cdef View* out = &features
    cdef ptrdiff_t first_bin = 0
    cdef lanes* tile = <lanes*> scratch.tile
    cdef lanes* blended = <lanes*> scratch.blended
    cdef Touched down, across
    cdef tap_lists pixels
    cdef tap_list bins_of_row
    cdef lane_rows of_bins = lane_rows(first=NULL, stride=call.pw, depth=1)
    cdef const lanes* bins = <const lanes*> scratch.bins
    cdef const int32_t* column
    cdef const int32_t* rows
    cdef Pieces pieces
    cdef int64_t k, row, cleared = task.top, stored = task.top
    cdef int i, group, p
    if task.bin >= 0:
        features.data += task.bin * call.step
        first_bin = at.p * call.grad_output.row + at.q * call.grad_output.column
    if call.runs.start != NULL:
        pieces = pieces_in(scratch.spare, 0, call.ring, out.columns)
    for k in range(task.first, task.last):
        if x.pixel_count[k] == 0 or y.pixel_count[k] == 0:
            continue
        rows = y.pixels + y.pixel_start[k]
        if rows[y.pixel_count[k] - 1] < task.top or rows[0] >= task.bottom:
            continue
        row = max(band_of(rows[0], call.top), task.top)    # later RoIs may begin before this one
        store_rows(call, out, task, tile, &pieces, &stored, cleared, row)
        cleared = clear_rows(call, tile, &pieces, max(cleared, row),
                             min(<int64_t> rows[y.pixel_count[k] - 1] + 1, task.bottom))
        if call.runs.start != NULL:
            join_runs(&call.runs, k, task, tile, &pieces)
        down, across = touched_pixels(y, k, task, at.p), touched_pixels(x, k, task, at.q)
        if across.count == 0 or down.count == 0:
            continue
        load_bins(&call.grad_output, block_at(&call.grad_output, call.order[k], task.channel) + first_bin,
                  task.channels, <lanes*> scratch.bins)
        if k + 1 < task.last:
            fetch_bins(&call.grad_output, block_at(&call.grad_output, call.order[k + 1], task.channel) + first_bin,
                       task.channels)
        if task.bin >= 0:
            spread_bin(x, k, at.q, &across, bins[0], blended + at.p * <ptrdiff_t> across.count)
        else:
            pixels = pixels_from(x, x.pixel_start[k])
            p = 0
            while p < call.ph:
                group = min(GROUP, call.ph - p)
                of_bins.first = bins + p * <ptrdiff_t> call.pw
                phase_enter(PHASE_COLUMNS)
                pass_columns(&of_bins, group, &pixels, across.count, blended + p * <ptrdiff_t> across.count, 0)
                phase_enter(PHASE_OTHER)
                p += group
        column = touched_columns(&across)
        for i in range(down.count):
            if task.top <= down.pixel[i] < task.bottom:
                bins_of_row = pixel_at(y, y.pixel_start[k] + down.first + i)
                if task.bin >= 0:
                    bins_of_row = only_bin(bins_of_row, at.p)
                    if bins_of_row.count == 0:
                        continue
                check_inside(down.pixel[i], stored, cleared)
                check_inside(cleared - stored, 0, call.ring + 1)
                phase_enter(PHASE_ROWS)
                pass_rows_back(blended, across.count, &bins_of_row, column, across.count, scratch.tap,
                               tile + down.pixel[i] % call.ring * out.columns + across.pixel[0])
                phase_enter(PHASE_OTHER)
    store_rows(call, out, task, tile, &pieces, &stored, cleared, task.bottom)


cdef inline int64_t clear_rows(AxisBackwardCall* call, lanes* tile, Pieces* pieces, int64_t first,
                               int64_t last) noexcept nogil:
    # Clear the tile's rows before they are used; return the first row that is not cleared.
    cdef int64_t row
    for row in range(first, last):
        if call.runs.start != NULL:
            pieces.used[row % call.ring] = False
        memset(tile + row % call.ring * call.grad_features.columns, 0, call.grad_features.columns * sizeof(lanes))
    return max(first, last)


cdef inline void store_rows(AxisBackwardCall* call, View* out, Task* task, lanes* tile, Pieces* pieces,
                            int64_t* stored, int64_t cleared, int64_t last) noexcept nogil:
    # Rows before `last` are final: those that were cleared leave the tile, the others were never touched.
    cdef char* target = block_at(out, task.image, task.channel)
    cdef int64_t slot, rows, row
    for row in range(stored[0], min(last, cleared) if call.runs.start != NULL else stored[0]):
        finish_row(tile, pieces, row % call.ring)
    while stored[0] < min(last, cleared):
        slot = stored[0] % call.ring
        rows = min(min(last, cleared) - stored[0], call.ring - slot) if out.rows_joined else 1
        store_pixels(out, target + stored[0] * out.row, task.channels, rows * out.columns,
                     tile + slot * out.columns, 1, call.stream)
        stored[0] += rows
    while stored[0] < last:
        zero_row(out, target + stored[0] * out.row, task.channels)
        stored[0] += 1


cdef void count_bins(AxisTable table, int64_t k, uint8_t* down) noexcept nogil:
    # Count the terms that each row adds to a pixel: one for each bin, or 1 if so many bins touch it that their sum is
    # in pieces of its own.
    cdef Axis* y = &table.y
    cdef const Window* window = table.window + k
    cdef int64_t i
    memset(down, 0, window.bottom - window.top)
    for i in range(y.pixel_start[k], y.pixel_start[k] + (y.pixel_count[k] if window.bottom > window.top else 0)):
        down[y.pixels[i] - window.top] = y.bin_count[i] if y.bin_count[i] <= PIECE else 1


cdef bint many_terms(AxisTable table, Runs* runs, int64_t image, uint8_t* down) noexcept nogil:
    # Whether a pixel of the image gets very many terms.
    cdef int64_t k
    start_image(runs, table)
    for k in range(table.image_start[image], table.image_start[image + 1]):
        count_bins(table, k, down)
        if count_window(runs, table.window + k, table.width, down, MANY):
            return True
    return False


cdef bint note_terms(AxisTable table, Runs* runs, uint8_t* down) noexcept nogil:
    # False: out of memory.
    cdef int64_t image, k
    cdef bint many
    for image in range(table.images):
        many = many_terms(table, runs, image, down)
        start_image(runs, table)
        for k in range(table.image_start[image], table.image_start[image + 1]):
            runs.start[k] = runs.count
            if not many:
                continue
            count_bins(table, k, down)
            if not note_window(runs, k, table.window + k, table.width, down, NULL):
                return False
    return True


cdef int find_runs(AxisTable table, Runs* runs) except -1:
    cdef int64_t most = 0, image
    cdef uint8_t* down = NULL
    cdef bint noted
    runs[0] = no_runs()
    for image in range(table.images):
        most = max(most, table.image_start[image + 1] - table.image_start[image])
    if most * <double> min(PIECE, table.y.bins) <= MANY:
        return 0
    begin_runs(runs, table)
    try:
        down = <uint8_t*> allocate(runs.longest + 1)
        with nogil:
            noted = note_terms(table, runs, down)
        end_runs(runs, table, noted, False)
    except MemoryError:
        free_runs(runs)
        raise
    finally:
        deallocate(down)
    return 0


cdef void axis_backward_close(void* settled) noexcept:
    free_runs(&(<AxisBackwardCall*> settled).runs)


def axis_backward(AxisTable table, cnp.ndarray grad_output, cnp.ndarray grad_features, int threads, Team team=None):
    """Fill `grad_features` with what `grad_output` sends back, both shaped (RoI or image, channel, row, column)."""
    cdef AxisBackwardCall call
    cdef View* out = &call.grad_features
    cdef Work work = Work(team)
    cdef int64_t channels, blocks, each
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.top = table.part.top
    call.grad_output = view_of(grad_output)
    call.grad_features = view_of(grad_features)
    call.ph = table.y.bins
    call.pw = table.x.bins
    call.ring = max(1, table.span)
    call.step = out.channel
    work.bins = bins_apart(out, &call.grad_output)
    each = max(<int64_t> 1, work.bins)
    channels = out.channels
    blocks = (channels + LANES - 1) // LANES
    call.stream = (out.dtype == OWN and out.pixels_joined and out.channel % CACHE_LINE == 0
                   and <size_t> out.data % 8 == 0
                   and out.images * each * channels * out.rows * out.columns * out.size >= STREAM_BYTES)
    if (table.work * channels + <double> out.images * each * channels * out.rows * out.columns / 8
            < AXIS_BACKWARD_SERIAL_WORK):
        threads = 1
    work.divide(table, 0, table.rois, channels, LANES, 0,
                1 if threads == 1 else max(1, min(out.rows, 4 * threads // max(1, each * blocks * out.images))))
    find_runs(table, &call.runs)
    try:
        work.provide(table, threads, call.ring * out.columns * sizeof(lanes),
                     <size_t> call.ph * table.widest * sizeof(lanes),
                     (<size_t> call.ph * call.pw + LANES) * sizeof(lanes),
                     pieces_bytes(call.ring, out.columns) if call.runs.start != NULL else 0, 0)
    except MemoryError:
        free_runs(&call.runs)
        raise
    work.do(axis_backward_task, &call, sizeof(call), NULL, axis_backward_close)
