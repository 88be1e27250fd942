"""Sample tables applied to blocks of channels: every bin is a weighted sum of pixels named one by one.

One task is an image and a few blocks of LANES channels (or a part of the image's RoIs)::

    features (any layout, dtype)                bins [bin][lane]            output (any layout, dtype)
        │ load rows as RoIs reach them             ▲                             ▲
        ▼                                          │ taps of the bin             │ transpose, store
    tile [row][column][lane] ──────────────────────┘ ────────────────────────────┘

Channels-last arrays of the accumulation type already have the form of a tile: then all channels of a RoI are one task.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.outlet cimport Outlet, bins_bytes, fetch_ends, outlet_for, store_bins
from roicy.cpu.apply.overflow cimport Pooled, overflow_forget, overflow_noted, settle_samples
from roicy.cpu.apply.tile cimport Sheet, load_sheet, sheet_at
from roicy.cpu.apply.view cimport View, block_at, is_tile, open_view, view_of, write_invalid
from roicy.cpu.lanes.gathering cimport bin_taps, pass_gather, pass_gather_runs
from roicy.cpu.lanes.lanes cimport DEPTH, LANES, lanes, lanes_store_pixel, real
from roicy.cpu.lanes.phases cimport PHASE_OTHER, PHASE_ROWS, phase_enter
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work, parts_of
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tables.sample cimport MERGED_FROM, SampleChunk, Samples, SampleTable
from roicy.cpu.tuning cimport SAMPLE_FORWARD_SERIAL_WORK


cdef struct SampleForwardCall:
    const int64_t* order
    const Window* window
    const int32_t* tile_left
    const int32_t* tile_columns
    Samples* samples
    View features
    Outlet out
    bint alone              # each RoI's window is loaded for itself
    int depth               # blocks of channels of a task
    int64_t span
    int64_t rows            # of the tile


cdef void sample_forward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef SampleForwardCall* call = <SampleForwardCall*> settled
    cdef View* view = &call.features
    cdef const char* source = block_at(view, task.image, task.channel)
    cdef Samples* samples = call.samples
    cdef lanes* bins = <lanes*> scratch.bins
    cdef const Window* window
    cdef Sheet sheet
    cdef bin_taps some
    cdef const int32_t* taps
    cdef Pooled pooled = Pooled(features=view, out=&call.out.view, image=task.image, roi=0, channel=task.channel,
                                channels=task.channels, finish=NULL)
    cdef int64_t k, p, at, rows, columns = call.out.view.columns
    sheet.rows = call.rows
    sheet.first = sheet.filled = first_row(call.window, task.first, task.last)
    sheet.left = call.tile_left[task.image]
    sheet.columns = call.tile_columns[task.image]
    sheet.depth = call.depth
    overflow_forget()
    for k in range(task.first, task.last):
        window = call.window + k
        if window.bottom > window.top:
            if call.alone:
                sheet.first = sheet.filled = window.top
                sheet.left = window.left
                sheet.columns = window.right - window.left
            load_sheet(view, source, task.channels, window, call.span, &sheet, scratch.tile)
        taps = samples.tap_count + (k - samples.first) * call.out.view.rows * columns
        at = samples.tap_start[k - samples.first]
        if k + 1 < task.last:
            fetch_ends(&call.out, call.order[k + 1], task.channel, task.channels)
        p = 0
        while p < call.out.view.rows:
            rows = min(<int64_t> call.out.rows_at_once, call.out.view.rows - p)
            some = taps_from(samples, at, taps + p * columns, <int> (rows * columns))
            phase_enter(PHASE_ROWS)
            at += pass_gather(sheet_at(&sheet, scratch.tile, window.top, window.left), &some, call.depth, bins,
                              call.out.block)
            phase_enter(PHASE_OTHER)
            store_bins(&call.out, bins, scratch.chunk, call.order[k], task.channel, task.channels, p, rows)
            p += rows
        if overflow_noted():
            pooled.roi = call.order[k]
            settle_samples(samples, k, window, sheet.columns, &pooled)


cdef inline bin_taps taps_from(Samples* samples, int64_t at, const int32_t* count, int bins) noexcept nogil:
    return bin_taps(offset=samples.offset + at, weight=<const real*> samples.weight + at, count=count, bins=bins)


cdef inline int64_t first_row(const Window* window, int64_t first, int64_t last) noexcept nogil:
    cdef int64_t k, top = 0
    cdef bint found = False
    for k in range(first, last):
        if window[k].bottom > window[k].top:
            top = min(top, <int64_t> window[k].top) if found else window[k].top
            found = True
    return top


cdef void sample_forward_pixels_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    # Channels last: the taps' offsets in the array, then all channels of one bin after the other.
    cdef SampleForwardCall* call = <SampleForwardCall*> settled
    cdef View* view = &call.features
    cdef View* out = &call.out.view
    cdef Samples* samples = call.samples
    cdef const Window* window
    cdef const char* corner
    cdef const int32_t* taps
    cdef int64_t* offset = <int64_t*> scratch.spare
    cdef Pooled pooled = Pooled(features=view, out=out, image=task.image, roi=0, channel=0, channels=view.channels,
                                finish=NULL)
    cdef lanes* bin = <lanes*> scratch.bins
    cdef char* target
    cdef int64_t k, p, q, at, i, v, stride, count, vectors = (view.channels + LANES - 1) // LANES
    overflow_forget()
    for k in range(task.first, task.last):
        window = call.window + k
        stride = window.right - window.left if call.alone else call.tile_columns[task.image]
        corner = block_at(view, task.image, 0) + window.top * view.row + window.left * view.column
        taps = samples.tap_count + (k - samples.first) * out.rows * out.columns
        at = samples.tap_start[k - samples.first]
        for p in range(out.rows):
            for q in range(out.columns):
                count = taps[p * out.columns + q]
                for i in range(count):
                    offset[i] = (samples.offset[at + i] // stride * view.row
                                 + samples.offset[at + i] % stride * view.column)
                pass_gather_runs(corner, offset, <const real*> samples.weight + at, <int> count, view.channels, bin)
                at += count
                target = block_at(out, call.order[k], 0) + p * out.row + q * out.column
                for v in range(vectors):
                    lanes_store_pixel(bin[v], target + v * LANES * out.channel, out.channel,
                                      <int> min(LANES, view.channels - v * LANES), out.dtype)
        if overflow_noted():
            pooled.roi = call.order[k]
            settle_samples(samples, k, window, stride, &pooled)


cdef void sample_forward_open(RoiTable table, void* settled) noexcept nogil:
    write_invalid(table, &(<SampleForwardCall*> settled).out.view)


def sample_forward(SampleTable table, cnp.ndarray features, cnp.ndarray out, int threads, Team team=None):
    """Pool `features` under `table` into `out`, both shaped (image or RoI, channel, row, column)."""
    cdef SampleForwardCall call
    cdef View* view = &call.features
    cdef Work work = Work(team)
    cdef SampleChunk chunks
    cdef int64_t channels, block, blocks, busy = 0, image, parts, columns = 0
    cdef bint channels_last
    cdef size_t bins
    cdef int number, entered
    if not table.listed:
        sample_forward_turned(table, features, out, threads, team)
        return
    chunks = SampleChunk(table, threads)
    call.order = table.order
    call.window = table.window
    call.tile_left = table.tile_left
    call.tile_columns = table.tile_columns
    call.features = view_of(features)
    channels_last = is_tile(view)
    call.out = outlet_for(out, 1)
    call.alone = table.alone
    call.span = max(1, table.span)
    call.rows = call.span if table.alone else min(<int64_t> table.height, 2 * call.span)
    for image in range(table.images):
        busy += table.image_start[image + 1] > table.image_start[image]
        columns = max(columns, <int64_t> table.tile_columns[image])
    call.depth = DEPTH if view.channels > LANES else 1
    blocks = (view.channels + call.depth * LANES - 1) // (call.depth * LANES)
    entered = 1 if table.room[table.rois] * <double> view.channels < SAMPLE_FORWARD_SERIAL_WORK else threads
    bins = bins_bytes(&call.out, call.depth)
    if channels_last:
        parts = max(parts_of(table.work * view.channels), 1 if entered == 1 else 16 * entered)
    else:
        parts = 1 if entered == 1 else max(1, 4 * entered // max(1, blocks * busy))
    channels = 1 if channels_last else view.channels
    block = 1 if channels_last else call.depth * LANES
    work.divide(table, 0, table.rois, channels, block, parts, 0)
    if channels_last:
        work.provide(table, entered, 0, 0, (view.channels + LANES) * sizeof(real),
                     max(4 * MERGED_FROM, table.most_pixels) * sizeof(int64_t), 0)
    else:
        work.provide(table, entered, call.rows * (table.widest if table.alone else columns) * call.depth
                     * sizeof(lanes), 0, bins, 0, bins if call.out.chunked else 0)
    open_view(&call.out.view, entered)
    if table.chunks == 1:
        call.samples = &table.samples
        work.do(sample_forward_pixels_task if channels_last else sample_forward_task, &call, sizeof(call),
                sample_forward_open, NULL)
        return
    with nogil:
        write_invalid(table, &call.out.view)
    for number in range(table.chunks):
        call.samples = chunks.take(number)
        work.divide(table, table.chunk[number], table.chunk[number + 1], channels, block, parts, 0)
        work.run(sample_forward_pixels_task if channels_last else sample_forward_task, &call)
