"""Grid tables applied to blocks of channels: the largest of each bin's bilinear samples, and which one it is.

One task is an image and a few blocks of LANES channels (or a part of the image's RoIs)::

    features (any layout, dtype)                           bins [p][q][lane]          output (any layout, dtype)
        │ load rows as RoIs reach them                          ▲                           ▲
        ▼                                                       │ larger of them and the    │ transpose, store
    tile [row][column][lane] ──▶ blended [sample row][column] ──┘ samples on these rows ────┘

Sample rows of a bin are blended a few at a time. Samples come in row-major order, so the first of equal samples wins.
Samples that miss the map are zero, so only the first of these in a bin is compared.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.grid_samples cimport samples_of
from roicy.cpu.apply.outlet cimport Outlet, bins_bytes, fetch_ends, outlet_for, store_bins
from roicy.cpu.apply.tile cimport Ring, load_rows, ring_for, window_rows
from roicy.cpu.apply.view cimport View, block_at, open_view, view_of, write_index, write_invalid
from roicy.cpu.lanes.lanes cimport DEPTH, LANES, lane_int, lane_ints, lane_rows, lanes, lanes_zero, real
from roicy.cpu.lanes.maxima cimport (
    NOWHERE, SAMPLE_ROWS, argmax_out, ints_fill, lanes_lowest, lanes_take_first, maxima, pass_sample_row, pass_samples,
    sample_axis,
)
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Work
from roicy.cpu.tables.grid cimport Grid, GridTable, GridTables
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tuning cimport GRID_FORWARD_ALONE_SHARE, GRID_FORWARD_SERIAL_WORK


cdef struct GridForwardCall:
    Grid* y
    Grid* x
    const int64_t* order
    const Window* window
    View features
    Outlet out, argmax
    bint with_argmax
    bint by_corner          # the rule of ONNX
    bint alone              # each RoI's window is loaded for itself
    int ph, pw
    int depth               # blocks of channels of a task
    int64_t ring            # rows of the tile


cdef void grid_forward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef GridForwardCall* call = <GridForwardCall*> settled
    cdef View* view = &call.features
    cdef const char* source = block_at(view, task.image, task.channel)
    cdef lanes* bins = <lanes*> scratch.bins
    cdef lane_ints* argmax = <lane_ints*> scratch.spare
    cdef int depth = (task.channels + LANES - 1) // LANES
    cdef Ring ring = ring_for(view, call.window, task.first, task.last, call.ring)
    cdef const Window* window
    cdef int64_t k, p, held
    ring.depth = depth
    for k in range(task.first, task.last):
        window = call.window + k
        if window.bottom > window.top:
            if call.alone:
                ring = ring_for(view, call.window, k, k + 1, call.ring)
                ring.depth = depth
            load_rows(view, source, task.channels, window.bottom, &ring, <lanes*> scratch.tile)
            window_rows(window, &ring, scratch.tile, scratch.row)
        if k + 1 < task.last:
            fetch_ends(&call.out, call.order[k + 1], task.channel, task.channels)
            if call.with_argmax:
                fetch_ends(&call.argmax, call.order[k + 1], task.channel, task.channels)
        held = 0
        for p in range(call.ph):
            row_of_bins(call, k, p, depth, scratch, bins + held * call.pw, argmax + held * call.pw)
            held += 1
            if held >= call.out.rows_at_once or p + 1 == call.ph:
                store_bins(&call.out, bins, scratch.chunk, call.order[k], task.channel, task.channels, p + 1 - held,
                           held)
                if call.with_argmax:
                    store_bins(&call.argmax, <lanes*> argmax, scratch.chunk, call.order[k], task.channel,
                               task.channels, p + 1 - held, held)
                held = 0


cdef inline void row_of_bins(GridForwardCall* call, int64_t k, int64_t p, int depth, Scratch* scratch, lanes* bins,
                             lane_ints* argmax) noexcept nogil:
    cdef Grid* y = call.y
    cdef Grid* x = call.x
    cdef int64_t width = (call.window[k].right - call.window[k].left) * <int64_t> depth, at
    cdef int64_t row = k * call.ph + p, column = k * call.pw
    cdef int64_t begin = y.start[row], end = begin + y.count[row]
    cdef lanes* blended = <lanes*> scratch.blended
    cdef lane_rows of_samples = lane_rows(first=blended, stride=call.window[k].right - call.window[k].left, depth=depth)
    cdef lane_int number[SAMPLE_ROWS]
    cdef sample_axis along
    cdef maxima bin
    cdef int rows, r, q, v
    for q in range(call.pw):
        for v in range(depth):
            bins[v * call.out.block + q] = lanes_lowest()
            if call.with_argmax:
                argmax[v * call.out.block + q] = ints_fill(NOWHERE)
    while begin < end and width:
        rows = <int> min(<int64_t> SAMPLE_ROWS, end - begin)
        for r in range(rows):
            at = begin + r
            pass_sample_row(<const lanes*> scratch.row[y.low[at]], <const lanes*> scratch.row[y.high[at]],
                            (<const real*> y.low_weight)[at], (<const real*> y.high_weight)[at], call.by_corner, width,
                            blended + r * width)
        for q in range(call.pw):
            along = samples_of(x, column + q)
            for r in range(rows):
                number[r] = <lane_int> (y.number[begin + r] * <int64_t> along.total)
            for v in range(depth):
                of_samples.first = blended + v
                bin.value = bins + v * call.out.block + q
                bin.argmax = argmax + v * call.out.block + q if call.with_argmax else NULL
                pass_samples(&of_samples, rows, &along, number, call.by_corner, &bin)
        begin += rows
    for q in range(call.pw):
        for v in range(depth):
            finish_bin(call, row, column + q, bins + v * call.out.block + q, argmax + v * call.out.block + q)


cdef inline void finish_bin(GridForwardCall* call, int64_t row, int64_t column, lanes* bin,
                            lane_ints* argmax) noexcept nogil:
    # Compare with the samples that miss the map; bins without samples become zero.
    cdef int32_t missed_y = call.y.missed[row], missed_x = call.x.missed[column]
    cdef int64_t first = -1
    cdef lane_ints found = ints_fill(NOWHERE)
    if call.y.total[row] == 0 or call.x.total[column] == 0:
        bin[0] = lanes_zero()
    elif missed_y == 0:
        first = 0
    elif missed_x >= 0:
        first = missed_x
    elif missed_y > 0:
        first = missed_y * <int64_t> call.x.total[column]
    if call.with_argmax:
        found = argmax[0]
    if first >= 0:
        lanes_take_first(lanes_zero(), ints_fill(<lane_int> first), bin, &found)
    if call.with_argmax:
        (<lanes*> argmax)[0] = argmax_out(found)


def grid_forward(GridTables tables, cnp.ndarray features, cnp.ndarray out, argmax, bint by_corner, int threads):
    """Pool `features` into `out` and `argmax` (or None), shaped (image or RoI, channel, row, column)."""
    for run, table in tables:
        grid_forward_run(table, features, out[run], None if argmax is None else argmax[run], by_corner, threads)


cdef int grid_forward_run(GridTable table, cnp.ndarray features, cnp.ndarray out, argmax, bint by_corner,
                          int threads) except -1:
    cdef GridForwardCall call
    cdef View* view = &call.features
    cdef Work work = Work()
    cdef int64_t blocks, busy = 0, image, columns
    cdef size_t bins
    cdef double pooled = 0, mapped = 0
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.features = view_of(features)
    call.ph = table.rows
    call.pw = table.columns
    call.out = outlet_for(out, 1)
    call.by_corner = by_corner
    call.with_argmax = argmax is not None
    if call.with_argmax:
        call.argmax = outlet_for(argmax, 1)
    for image in range(table.images):
        pooled += table.bin_pixels[image]
        mapped += table.map_pixels[image]
        busy += table.image_start[image + 1] > table.image_start[image]
    call.alone = pooled < GRID_FORWARD_ALONE_SHARE * mapped
    call.ring = max(1, table.span)
    call.depth = <int> min(DEPTH, (view.channels + LANES - 1) // LANES)
    blocks = (view.channels + call.depth * LANES - 1) // (call.depth * LANES)
    columns = table.widest if call.alone and 4 * table.widest <= 3 * view.columns else view.columns
    if table.work * view.channels < GRID_FORWARD_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, view.channels, call.depth * LANES,
                1 if threads == 1 else max(1, 4 * threads // max(1, blocks * busy)), 0)
    bins = bins_bytes(&call.out, call.depth)
    work.provide(table, threads, bytes_of(call.ring, columns, call.depth * sizeof(lanes)),
                 SAMPLE_ROWS * <size_t> table.widest * call.depth * sizeof(lanes), bins,
                 bins if call.with_argmax else 0,
                 bins if call.out.chunked or (call.with_argmax and call.argmax.chunked) else 0)
    open_view(&call.out.view, threads)
    if call.with_argmax:
        open_view(&call.argmax.view, threads)
    with nogil:
        write_invalid(table, &call.out.view)
        if call.with_argmax:
            write_index(table, &call.argmax.view, -1)
    return work.run(grid_forward_task, &call)
