"""Axis tables applied to blocks of channels: ``out = A_y · X · A_xᵀ``.

One task is an image and a few blocks of LANES channels side by side (or a part of the image's RoIs)::

    features (any layout, dtype)                       bins [block][p][q][lane]    output (any layout, dtype)
        │ load rows as RoIs reach them                      ▲                            ▲
        ▼                                                   │ columns: taps of q         │ transpose, store
    tile [row][column][block][lane] ─ rows: taps of p ─▶ blended [column][block][lane] ──┘

Few RoIs are pooled straight from the planes: the row pass runs along the row and its sums are transposed, so only
the pixels that a RoI needs are read. On every path, an output is the same chain of multiply-adds, in ascending order
of pixels (several chains if it is long). So the bits do not depend on the threads, the strides or the path.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.axis_taps cimport (
    Bins, Touched, bin_at, bins_from, task_bins, touched_columns, touched_pixels, touched_rows,
)
from roicy.cpu.apply.finish cimport Finish, finish_channels, finish_of, finish_outside, outside_of
from roicy.cpu.apply.outlet cimport Outlet, bins_bytes, fetch_ends, outlet_for, store_bins
from roicy.cpu.apply.overflow cimport Pooled, overflow_forget, overflow_noted, settle_axes
from roicy.cpu.apply.tile cimport Ring, check_held, load_rows, ring_for
from roicy.cpu.apply.view cimport View, bins_apart, block_at, is_tile, open_view, planes_of, view_of, write_invalid
from roicy.cpu.lanes.lanes cimport (
    DEPTH, LANES, lane_rows, lanes, lanes_blend_block, lanes_prefetch_own, lanes_zero, planes, real,
)
from roicy.cpu.lanes.passes cimport GROUP, pass_bin, pass_columns, pass_rows, tap_list, tap_lists
from roicy.cpu.lanes.phases cimport PHASE_COLUMNS, PHASE_OTHER, PHASE_ROWS, phase_enter
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work
from roicy.cpu.tables.axis cimport Axis, AxisTable
from roicy.cpu.tables.rois cimport RoiTable, Window
from roicy.cpu.tuning cimport (
    AXIS_FORWARD_DIRECT_SHARE, AXIS_FORWARD_DIRECT_SHARE_OF_BINS, AXIS_FORWARD_SERIAL_WORK, BINS_TOGETHER,
    BLOCKS_OF_A_BIN, FEW_CHANNELS, FEW_COLUMNS, MOST_BLOCKS_TOGETHER, ROIS_TOGETHER, SETTLED_ROIS, SHARED_BY_SMALL,
    TOGETHER_BYTES,
)


cdef struct AxisForwardCall:
    Axis* y
    Axis* x
    const int64_t* order
    const Window* window
    View features
    View all_bins           # of the result
    ptrdiff_t step          # step from a bin's channel to the next bin's, if each bin has its own
    Outlet out
    Finish finish
    int ph, pw
    int group               # rows of bins that go through the column pass together
    int depth               # blocks of channels of a task
    int64_t ring            # rows of the tile
    bint direct             # no tile


cdef void axis_forward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisForwardCall* call = <AxisForwardCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef Bins at = task_bins(task, call.ph, call.pw)
    cdef View features = call.features
    cdef View* view = &features
    cdef Outlet out = call.out
    cdef const char* source
    cdef const int32_t* column = NULL
    cdef lanes* blended = <lanes*> scratch.blended
    cdef Touched down, across
    cdef tap_lists bins
    cdef lane_rows rows = lane_rows(first=blended, stride=0, depth=(task.channels + LANES - 1) // LANES)
    cdef Pooled pooled = Pooled(features=view, out=&call.out.view, image=task.image, roi=0, channel=task.channel,
                                channels=task.channels, finish=&call.finish)
    cdef Ring ring = ring_for(view, call.window, task.first, task.last, call.ring)
    cdef int64_t k, held, settled_to = task.first
    cdef int depth = rows.depth, p, group, r, count
    ring.depth = depth
    if task.bin >= 0:
        features.data += task.bin * call.step
        out.view.data += at.p * out.view.row + at.q * out.view.column
    source = block_at(view, task.image, task.channel)
    overflow_forget()
    for k in range(task.first, task.last):
        down, across = touched_pixels(y, k, task, at.p), touched_pixels(x, k, task, at.q)
        count = across.count
        rows.stride = across.first + count
        if call.direct:
            touched_rows(&down, &across, source, view.row, view.column, view.rows, scratch.row)
        elif count and down.count:
            column = touched_columns(&across)
            load_rows(view, source, task.channels, call.window[k].bottom, &ring, <lanes*> scratch.tile)
            check_held(call.window + k, &ring)
            touched_rows(&down, &across, scratch.tile - ring.left * depth * <ptrdiff_t> sizeof(lanes),
                         ring.columns * depth * sizeof(lanes), depth * sizeof(lanes), ring.rows, scratch.row)
        if k + 1 < task.last and task.bin < 0:
            fetch_ends(&out, call.order[k + 1], task.channel, task.channels)
        held = 0
        p = at.p
        while p < at.p + at.rows:
            group = min(call.group, at.p + at.rows - p)
            phase_enter(PHASE_ROWS)
            if call.direct:
                for r in range(group):
                    blend_planes(view, y, k * call.ph + p + r, &across, scratch, task.channels,
                                 blended + across.first + r * <ptrdiff_t> count)
            else:
                bins = bins_from(y, k * call.ph + p, y.tap_weight)
                pass_rows(scratch.row, group, &bins, column, depth, count * <ptrdiff_t> depth,
                          scratch.tap, blended + across.first * depth)
            bins = bins_from(x, k * call.pw + at.q, x.tap_weight)
            phase_enter(PHASE_COLUMNS)
            pass_columns(&rows, group, &bins, at.columns, <lanes*> scratch.bins + held * at.columns, out.block)
            phase_enter(PHASE_OTHER)
            p += group
            held += group
            if held >= out.rows_at_once or p == at.p + at.rows:
                if call.finish.given:
                    finish_bins(call, k, task.channel, depth, p - held, held, <lanes*> scratch.bins)
                store_bins(&out, <lanes*> scratch.bins, scratch.chunk, call.order[k], task.channel, task.channels,
                           p - held - at.p, held)
                held = 0
        if k + 1 == task.last or k + 1 - settled_to == SETTLED_ROIS:
            if overflow_noted():
                settle_rois(call, &at, &pooled, settled_to, k + 1)
            settled_to = k + 1


cdef void axis_forward_bin_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    # A task of position-sensitive maps: a few bins of each RoI, one after the other, with a tile. Bins have few pixels,
    # so overhead matters: their values are stored together.
    cdef AxisForwardCall* call = <AxisForwardCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef Bins at = task_bins(task, call.ph, call.pw)
    cdef View features = call.features
    cdef View* view = &features
    cdef Outlet out = call.out
    cdef const char* source
    cdef const int32_t* pixel
    cdef tap_list down, across
    cdef lanes* bins
    cdef Pooled pooled = Pooled(features=view, out=&call.out.view, image=task.image, roi=0, channel=task.channel,
                                channels=task.channels, finish=&call.finish)
    cdef Ring ring
    cdef int depth = (task.channels + LANES - 1) // LANES, each = depth * task.bins, bin, j, v
    cdef ptrdiff_t row_step
    cdef const char* origin
    cdef int64_t k, slot, turn
    features.data += task.bin * call.step
    overflow_forget()
    for bin in range(task.bins):
        source = block_at(view, task.image, task.channel)
        ring = ring_for(view, call.window, task.first, task.last, call.ring)
        ring.depth = depth
        row_step = ring.columns * depth * <ptrdiff_t> sizeof(lanes)
        origin = scratch.tile - ring.left * depth * <ptrdiff_t> sizeof(lanes)
        turn = 0
        bins = <lanes*> scratch.bins + bin
        for k in range(task.first, task.last):
            down, across = bin_at(y, k * call.ph + at.p), bin_at(x, k * call.pw + at.q + bin)
            phase_enter(PHASE_ROWS)
            if down.count and across.count:
                if call.window[k].bottom > ring.filled:
                    load_rows(view, source, task.channels, call.window[k].bottom, &ring, <lanes*> scratch.tile)
                    turn = ring.filled - ring.filled % ring.rows    # from this row on, the ring begins anew
                check_held(call.window + k, &ring)
                pixel = y.pixels + y.pixel_start[k]
                for j in range(down.count):
                    slot = pixel[down.position[j]] - turn
                    scratch.tap[j] = origin + (slot if slot >= 0 else slot + ring.rows) * row_step
                pass_bin(scratch.tap, &down, &across, x.pixels + x.pixel_start[k], depth, bins, task.bins)
            else:
                for v in range(depth):
                    bins[v * task.bins] = lanes_zero()
            phase_enter(PHASE_OTHER)
            bins += each
        features.data += call.step
    out.view.data += at.p * out.view.row + at.q * out.view.column
    out.view.columns = out.block = task.bins
    out.view.pixels_joined = out.view.rows_joined = call.all_bins.pixels_joined
    for k in range(task.first, task.last):
        if k + 2 < task.last:       # while two are stored
            fetch_bins_of(&out.view, call.order[k + 2], task.channel, task.channels)
        store_bins(&out, <lanes*> scratch.bins + (k - task.first) * each, scratch.chunk, call.order[k], task.channel,
                   task.channels, 0, 1)
    if overflow_noted():
        for bin in range(task.bins):
            features.data = call.features.data + (task.bin + bin) * call.step
            settle_rois(call, &at, &pooled, task.first, task.last)
            at.q += 1


cdef inline void fetch_bins_of(View* out, int64_t roi, int64_t channel, int channels) noexcept nogil:
    # Prefetch where a RoI's values will be stored: another core may have written to the same cache line.
    cdef const char* target = block_at(out, roi, channel)
    cdef int c
    for c in range(channels):
        lanes_prefetch_own(target + c * out.channel)


cdef void finish_bins(AxisForwardCall* call, int64_t k, int64_t channel, int depth, int p, int rows,
                      lanes* bins) noexcept nogil:
    # Rows of bins from p on, of several blocks of channels from this one on.
    cdef bint filled = call.finish.numbers.filled
    cdef real outside = 0
    cdef lanes* bin
    cdef int d, r, q
    for r in range(rows):
        for q in range(call.pw):
            if filled:
                outside = finish_outside(outside_of(call.y, k, p + r), outside_of(call.x, k, q))
            for d in range(depth):
                bin = bins + d * call.out.block + r * <int64_t> call.pw + q
                bin[0] = finish_channels(bin[0], &call.finish.numbers, channel + d * LANES, outside)


cdef void settle_rois(AxisForwardCall* call, Bins* at, Pooled* pooled, int64_t first, int64_t last) noexcept nogil:
    cdef int64_t k
    for k in range(first, last):
        pooled.roi = call.order[k]
        settle_axes(call.y, call.x, k, pooled, at.p, at.p + at.rows, at.q, at.q + at.columns)


cdef inline void blend_planes(View* view, Axis* y, int64_t bin, Touched* x, Scratch* scratch, int channels,
                              lanes* blended) noexcept nogil:
    # The row pass of a row of bins straight from the planes.
    cdef tap_list rows = bin_at(y, bin)
    cdef planes block = planes_of(view, channels)
    cdef const int32_t* used = x.pixel
    cdef int count = x.count, i, span
    cdef lanes* target = blended
    if rows.count == 0 or count == 0:
        for i in range(count):
            blended[i] = lanes_zero()
        return
    for i in range(rows.count):
        scratch.tap[i] = scratch.row[rows.position[i]]
    span = used[count - 1] - used[0] + 1
    if span != count:       # gaps: the whole row first, then the columns in use
        target = <lanes*> scratch.spare
    i = 0
    while i < span:
        lanes_blend_block(&block, scratch.tap, rows.weight, rows.count, i * view.size, min(LANES, span - i), target + i)
        i += LANES
    if span != count:
        for i in range(count):
            blended[i] = target[used[i] - used[0]]


def axis_forward(AxisTable table, cnp.ndarray features, cnp.ndarray out, cnp.ndarray finish, int threads,
                 Team team=None):
    """Pool `features` under `table` into `out`, both shaped (image or RoI, channel, row, column).

    `finish`, unless None, says how values are filled up and normalised before they are stored: see `finish_of`.
    """
    cdef View view = view_of(features)
    if table.lone.rows != NULL:
        axis_forward_lone(table, features, out, threads, team)
    elif view.channels != cnp.PyArray_DIM(out, 1):
        axis_forward_blocks(table, features, out, finish, threads, team)
    elif view.channels <= FEW_CHANNELS:
        if share_pixels(table):
            axis_forward_blocks(table, features, out, finish, threads, team)
        else:
            axis_forward_crops(table, features, out, finish, threads, team)
    elif is_tile(&view):
        axis_forward_pixels(table, features, out, finish, threads, team)
    else:
        axis_forward_blocks(table, features, out, finish, threads, team)


cdef bint share_pixels(AxisTable table) noexcept:
    # Whether boxes are small and overlap much: few columns of bins, and pixels that many boxes share. Crops are not.
    cdef double pooled = 0, mapped = 0
    cdef int64_t image
    for image in range(table.images):
        pooled += table.bin_pixels[image]
        mapped += table.map_pixels[image]
    return table.x.bins <= FEW_COLUMNS and pooled > SHARED_BY_SMALL * mapped


cdef void axis_forward_open(RoiTable table, void* settled) noexcept nogil:
    write_invalid(table, &(<AxisForwardCall*> settled).all_bins)


cdef int axis_forward_blocks(AxisTable table, cnp.ndarray features, cnp.ndarray out, cnp.ndarray finish_numbers,
                             int threads, Team team) except -1:
    cdef AxisForwardCall call
    cdef View* view = &call.features
    cdef Work work = Work(team)
    cdef int64_t channels, blocks, busy = 0, image, each, parts
    cdef size_t tile, bins, spare
    cdef double pooled = 0, mapped = 0
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.finish = finish_of(finish_numbers, table)
    call.features = view_of(features)
    call.ph = table.y.bins
    call.pw = table.x.bins
    call.group = (call.ph - 1) // ((call.ph + GROUP - 1) // GROUP) + 1
    call.step = view.channel
    call.all_bins = view_of(out)
    call.out = outlet_for(out, call.group)
    work.bins = bins_apart(view, &call.out.view)
    each = max(<int64_t> 1, work.bins)
    channels = view.channels
    for image in range(table.images):
        pooled += table.bin_pixels[image]
        mapped += table.map_pixels[image]
        busy += table.image_start[image + 1] > table.image_start[image]
    call.direct = view.pixels_joined and pooled < mapped * each * (AXIS_FORWARD_DIRECT_SHARE_OF_BINS if work.bins
                                                                   else AXIS_FORWARD_DIRECT_SHARE)
    call.ring = max(1, table.span)
    if table.work * channels < AXIS_FORWARD_SERIAL_WORK:
        threads = 1
    call.depth = 1 if call.direct else BLOCKS_OF_A_BIN if work.bins else DEPTH
    # several blocks share what a RoI takes beside its sums, while the tile fits the cache and tasks are many
    while (DEPTH == 1 and not call.direct and not work.bins and call.depth < MOST_BLOCKS_TOGETHER
           and (threads == 1 or channels * busy >= 8 * threads * <int64_t> call.depth * LANES)
           and bytes_of(call.ring, view.columns, 2 * call.depth * sizeof(lanes)) <= TOGETHER_BYTES):
        call.depth *= 2
    call.depth = <int> min(<int64_t> call.depth, (channels + LANES - 1) // LANES)
    blocks = (channels + call.depth * LANES - 1) // (call.depth * LANES)
    # enough tasks for an even load, but RoIs in a part share the rows that they load
    parts = 1 if threads == 1 else max(1, 4 * threads // max(1, each * blocks * busy))
    bins = bins_bytes(&call.out, call.depth)
    if work.bins and not call.direct:
        # where rows of bins are few, threads share each of them
        work.row, work.shares = call.pw, (call.pw + BINS_TOGETHER - 1) // BINS_TOGETHER
        if threads > 1:
            each = max(1, call.ph * blocks * busy)
            work.shares = max(work.shares, min(<int64_t> call.pw, (2 * threads + each - 1) // each))
        parts = max(parts, (table.rois + ROIS_TOGETHER - 1) // ROIS_TOGETHER)
        bins = bytes_of((table.rois + parts - 1) // parts, call.depth * BINS_TOGETHER, sizeof(lanes))
        call.out.chunked = False
    work.divide(table, 0, table.rois, channels, call.depth * LANES, parts, 0)
    tile = 0 if call.direct else bytes_of(call.ring, view.columns, call.depth * sizeof(lanes))
    spare = (view.columns + LANES) * sizeof(lanes) if call.direct else 0
    work.provide(table, threads, tile, GROUP * <size_t> table.widest * call.depth * sizeof(lanes), bins, spare,
                 bins if call.out.chunked else 0)
    open_view(&call.out.view, threads)
    return work.do(axis_forward_bin_task if work.bins and not call.direct else axis_forward_task, &call, sizeof(call),
                   axis_forward_open, NULL)
