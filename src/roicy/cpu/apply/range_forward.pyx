"""Range tables applied to blocks of channels: the largest of each bin's pixels, and where it was.

One task is an image and a few blocks of LANES channels (or a part of the image's RoIs)::

    features (any layout, dtype)                       bins [p][q][lane]           output (any layout, dtype)
        │ load rows as RoIs reach them                      ▲                            ▲
        ▼                                                   │ largest along columns      │ transpose, store
    tile [row][column][lane] ── largest along rows ──▶ rows [p][column][lane] ───────────┘

With the argmax of each maximum carried along, of equal values the first in row-major order wins, as in a scan of the
bin pixel by pixel.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.outlet cimport Outlet, bins_bytes, fetch_ends, outlet_for, store_bins
from roicy.cpu.apply.tile cimport Ring, load_rows, ring_for, window_rows
from roicy.cpu.apply.view cimport View, block_at, open_view, view_of, write_index, write_invalid
from roicy.cpu.lanes.lanes cimport DEPTH, LANES, lane_int, lane_ints, lane_rows, lanes, lanes_zero
from roicy.cpu.lanes.maxima cimport (
    NOWHERE, argmax_out, ints_fill, max_rows, maxima, pass_max_columns, pass_max_rows, range_lists,
)
from roicy.cpu.lanes.phases cimport PHASE_COLUMNS, PHASE_OTHER, PHASE_ROWS, phase_enter
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work
from roicy.cpu.tables.range cimport Ranges, RangeTable
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tuning cimport RANGE_FORWARD_ALONE_SHARE, RANGE_FORWARD_SERIAL_WORK


cdef enum:
    BIN_ROWS = 4               # rows of bins at a time


cdef struct RangeForwardCall:
    Ranges* y
    Ranges* x
    const int64_t* order
    const Window* window
    View features
    Outlet out, argmax
    bint with_argmax
    bint alone              # each RoI's window is loaded for itself
    int ph, pw
    int group               # rows of bins at a time
    int depth               # blocks of channels of a task
    int64_t ring            # rows of the tile
    int64_t widest


cdef void range_forward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef RangeForwardCall* call = <RangeForwardCall*> settled
    cdef View* view = &call.features
    cdef const char* source = block_at(view, task.image, task.channel)
    cdef int depth = (task.channels + LANES - 1) // LANES
    cdef maxima rows = maxima(value=<lanes*> scratch.blended, argmax=NULL)
    cdef max_rows from_rows
    cdef range_lists down, along
    cdef lanes* bins = <lanes*> scratch.bins
    cdef lanes* argmax = <lanes*> scratch.spare
    cdef Ring ring = ring_for(view, call.window, task.first, task.last, call.ring)
    cdef const Window* window
    cdef int64_t k, width
    cdef int64_t held
    cdef int p, group
    cdef bint whole
    if call.with_argmax:
        rows.argmax = <lane_ints*> (rows.value + BIN_ROWS * call.widest * call.depth)
    from_rows = max_rows(value=lane_rows(first=rows.value, stride=0, depth=depth), argmax=rows.argmax)
    ring.depth = depth
    for k in range(task.first, task.last):
        window = call.window + k
        from_rows.value.stride = width = window.right - window.left
        if width:
            if call.alone:
                ring = ring_for(view, call.window, k, k + 1, call.ring)
                ring.depth = depth
            load_rows(view, source, task.channels, window.bottom, &ring, <lanes*> scratch.tile)
            window_rows(window, &ring, scratch.tile, scratch.row)
        whole = (width > 0 and all_above_zero(call.y.length + k * call.ph, call.ph)
                 and all_above_zero(call.x.length + k * call.pw, call.pw))
        if k + 1 < task.last:
            fetch_ends(&call.out, call.order[k + 1], task.channel, task.channels)
            if call.with_argmax:
                fetch_ends(&call.argmax, call.order[k + 1], task.channel, task.channels)
        held = p = 0
        while p < call.ph:
            group = min(call.group, call.ph - p)
            if width:
                down = bins_of(call.y, k * call.ph + p)
                phase_enter(PHASE_ROWS)
                pass_max_rows(scratch.row, group, &down, <lane_int> (window.top * view.columns + window.left),
                              <lane_int> view.columns, width * depth, &rows)
                along = bins_of(call.x, k * call.pw)
                phase_enter(PHASE_COLUMNS)
                pass_max_columns(&from_rows, group, &along, call.pw, bins + held * call.pw, argmax + held * call.pw,
                                 call.out.block)
                phase_enter(PHASE_OTHER)
            if not whole:
                empty_bins(call, k, p, group, depth, width == 0, bins + held * call.pw, argmax + held * call.pw)
            p += group
            held += group
            if held >= call.out.rows_at_once or p == call.ph:
                store_bins(&call.out, bins, scratch.chunk, call.order[k], task.channel, task.channels, p - held, held)
                if call.with_argmax:
                    store_bins(&call.argmax, argmax, scratch.chunk, call.order[k], task.channel, task.channels,
                               p - held, held)
                held = 0


cdef inline range_lists bins_of(Ranges* axis, int64_t bin) noexcept nogil:
    return range_lists(start=axis.start + bin, length=axis.length + bin)


cdef inline bint all_above_zero(const int32_t* length, int bins) noexcept nogil:
    cdef int p
    for p in range(bins):
        if length[p] == 0:
            return False
    return True


cdef inline void empty_bins(RangeForwardCall* call, int64_t k, int p, int group, int depth, bint every, lanes* bins,
                            lanes* argmax) noexcept nogil:
    # Bins without pixels are 0 and nowhere.
    cdef const int32_t* height = call.y.length + k * call.ph + p
    cdef const int32_t* width = call.x.length + k * call.pw
    cdef int r, q, v
    for r in range(group):
        for q in range(call.pw):
            if every or height[r] == 0 or width[q] == 0:
                for v in range(depth):
                    bins[v * call.out.block + r * <int64_t> call.pw + q] = lanes_zero()
                    if call.with_argmax:
                        argmax[v * call.out.block + r * <int64_t> call.pw + q] = argmax_out(ints_fill(NOWHERE))


def range_forward(RangeTable table, cnp.ndarray features, cnp.ndarray out, argmax, int threads, Team team=None):
    """Pool `features` under `table` into `out` and `argmax` (or None), shaped (image or RoI, channel, row, column)."""
    cdef View view = view_of(features)
    if table.shared and view.column == view.size:
        range_forward_shared(table, features, out, argmax, threads, team)
    else:
        range_forward_blocks(table, features, out, argmax, threads, team)


cdef void range_forward_open(RoiTable table, void* settled) noexcept nogil:
    cdef RangeForwardCall* call = <RangeForwardCall*> settled
    write_invalid(table, &call.out.view)
    if call.with_argmax:
        write_index(table, &call.argmax.view, -1)


cdef int range_forward_blocks(RangeTable table, cnp.ndarray features, cnp.ndarray out, argmax, int threads,
                              Team team) except -1:
    cdef RangeForwardCall call
    cdef View* view = &call.features
    cdef Work work = Work(team)
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
    call.group = (call.ph - 1) // ((call.ph + BIN_ROWS - 1) // BIN_ROWS) + 1
    call.out = outlet_for(out, call.group)
    call.with_argmax = argmax is not None
    if call.with_argmax:
        call.argmax = outlet_for(argmax, call.group)
    for image in range(table.images):
        pooled += table.bin_pixels[image]
        mapped += table.map_pixels[image]
        busy += table.image_start[image + 1] > table.image_start[image]
    call.alone = pooled < RANGE_FORWARD_ALONE_SHARE * mapped
    call.ring = max(1, table.span)
    call.widest = table.widest
    call.depth = <int> min(DEPTH, (view.channels + LANES - 1) // LANES)
    blocks = (view.channels + call.depth * LANES - 1) // (call.depth * LANES)
    columns = table.widest if call.alone and 4 * table.widest <= 3 * view.columns else view.columns
    if table.work * view.channels < RANGE_FORWARD_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, view.channels, call.depth * LANES,
                1 if threads == 1 else max(1, 4 * threads // max(1, blocks * busy)), 0)
    bins = bins_bytes(&call.out, call.depth)
    work.provide(table, threads, bytes_of(call.ring, columns, call.depth * sizeof(lanes)),
                 BIN_ROWS * <size_t> table.widest * call.depth * (2 if call.with_argmax else 1) * sizeof(lanes), bins,
                 bins if call.with_argmax else 0,
                 bins if call.out.chunked or (call.with_argmax and call.argmax.chunked) else 0)
    open_view(&call.out.view, threads)
    if call.with_argmax:
        open_view(&call.argmax.view, threads)
    return work.do(range_forward_task, &call, sizeof(call), range_forward_open, NULL)
