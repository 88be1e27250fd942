"""Range tables of few ranges of rows, such as the regions of R-MAC have: each is looked through once for all bins.

One task is an image and a block of LANES channels, whose planes are read one after the other::

    features (any dtype; rows of neighbours)               bins [p][q][channel]         output (any layout, dtype)
        │ largest of each strip of rows                        ▲                            ▲
        ▼                                                      │ largest along columns,     │ transpose, store
    strips [strip][column] ── largest ──▶ lines [channel][range][column]   transposed ──────┘

Up to the last step a vector holds neighbouring pixels of one channel. With the argmax, strips and lines have the pixel
of each element beside it; of a bin, whose largest is known by then, the first of those pixels is chosen.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.outlet cimport Outlet, bins_bytes, outlet_for, store_bins
from roicy.cpu.apply.view cimport View, block_at, view_of, write_index, write_invalid
from roicy.cpu.lanes.lanes cimport LANES, lane_int, lane_ints, lanes, lanes_prefetch, lanes_zero
from roicy.cpu.lanes.maxima cimport NOWHERE, argmax_out, ints_fill, maxima, range_lists
from roicy.cpu.lanes.planes cimport (
    PLANES_AHEAD, maxima_from, pass_argmax_of_lines, pass_max_of_lines, pass_max_of_plane, pass_max_of_strips,
    plane_lines, plane_rows, planes_ahead, row_runs,
)
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work
from roicy.cpu.tables.range cimport SharedRanges, Ranges, RangeTable
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tuning cimport RANGE_FORWARD_SHARED_SERIAL_WORK


cdef enum:
    TWO_LINES = 128         # bytes
    MOST_OF_BIN = 16        # cache lines that are fetched for a bin


cdef struct RangeForwardSharedCall:
    Ranges* y
    Ranges* x
    const int64_t* order
    const Window* window
    const SharedRanges* shared_ranges
    const int32_t* range_number
    View features
    Outlet out, argmax
    bint with_argmax
    int ph, pw
    int64_t room            # vectors of a line
    int64_t strips_room     # vectors of a plane's strips
    int64_t channel_room    # vectors of a channel's lines


cdef void range_forward_shared_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef RangeForwardSharedCall* call = <RangeForwardSharedCall*> settled
    cdef const SharedRanges* found = call.shared_ranges + task.image
    cdef const Window* window
    cdef maxima lines = maxima(value=<lanes*> scratch.blended, argmax=NULL)
    cdef planes_ahead shared
    cdef planes_ahead* ahead = &shared if fetches_between(call, task, found, &shared) else NULL
    cdef lanes* bins = <lanes*> scratch.bins
    cdef lanes* argmax = <lanes*> scratch.spare
    cdef int64_t k, held
    cdef int c, p
    if call.with_argmax:
        lines.argmax = <lane_ints*> (lines.value + LANES * call.channel_room)
    for k in range(task.first, task.last):      # a store that waits for memory holds up all that follow
        lanes_prefetch(block_at(&call.out.view, call.order[k], task.channel))
        if call.with_argmax:
            lanes_prefetch(block_at(&call.argmax.view, call.order[k], task.channel))
    for c in range(task.channels):
        fill_lines(call, found, block_at(&call.features, task.image, task.channel + c), <lanes*> scratch.tile,
                   maxima_from(lines, c * call.channel_room), ahead)
    for k in range(task.first, task.last):
        window = call.window + k
        held = 0
        for p in range(call.ph):
            fill_bins(call, k, p, window.left - found.left, &lines, bins + held * call.pw, argmax + held * call.pw,
                      ahead)
            held += 1
            if held >= call.out.rows_at_once or p == call.ph - 1:
                store_bins(&call.out, bins, scratch.chunk, call.order[k], task.channel, task.channels, p + 1 - held,
                           held)
                if call.with_argmax:
                    store_bins(&call.argmax, argmax, scratch.chunk, call.order[k], task.channel, task.channels,
                               p + 1 - held, held)
                held = 0


cdef inline bint fetches_between(RangeForwardSharedCall* call, Task* task, const SharedRanges* found,
                                 planes_ahead* ahead) noexcept nogil:
    # Whether there are steps enough between rows to fetch half of the planes, and how many lines each of them does.
    cdef View* view = &call.features
    cdef int64_t columns = found.right - found.left
    cdef int64_t half = task.channels * view.channel // TWO_LINES
    cdef int64_t ranges = task.channels * found.ranges * ((columns + 2 * LANES - 1) // (2 * LANES))
    cdef int64_t bins = (task.last - task.first) * call.ph * call.pw
    if (found.ranges == 0 or not view.rows_joined or view.channel != view.rows * view.row or view.row < TWO_LINES
            or 4 * columns < 3 * view.columns or 4 * (found.end[found.strips - 1] - found.edge[0]) < 3 * view.rows):
        return False
    ahead.of_range = <int> min(<int64_t> 2, half // ranges)
    ahead.of_bin = <int> min(<int64_t> 2 * MOST_OF_BIN, (half - ranges * ahead.of_range + bins - 1) // bins)
    ahead.next = block_at(view, task.image, task.channel) + PLANES_AHEAD
    return ahead.of_bin <= MOST_OF_BIN


cdef inline void fill_lines(RangeForwardSharedCall* call, const SharedRanges* found, const char* source, lanes* room,
                            maxima lines, planes_ahead* ahead) noexcept nogil:
    # One plane: the largest of each strip of rows, then of the strips of each range.
    cdef View* view = &call.features
    cdef int64_t columns = found.right - found.left
    cdef maxima strips = maxima(value=room, argmax=NULL)
    cdef plane_rows plane
    cdef row_runs of_rows = row_runs(first=&found.edge[0], last=&found.end[0], count=found.strips)
    cdef row_runs of_strips = row_runs(first=&found.first[0], last=&found.last[0], count=found.ranges)
    if lines.argmax != NULL:
        strips.argmax = <lane_ints*> (room + call.strips_room)
    plane.source = source + found.left * view.column
    plane.limit = view.limit
    plane.step = view.row
    plane.first = <lane_int> found.left
    plane.columns = <lane_int> view.columns
    plane.ahead = ahead
    pass_max_of_plane(&plane, &of_rows, columns, &strips, call.room, view.dtype)
    pass_max_of_strips(&strips, &of_strips, <int> ((columns + LANES - 1) // LANES), &lines, call.room,
                       ahead)


cdef inline void fill_bins(RangeForwardSharedCall* call, int64_t k, int p, int left, const maxima* lines, lanes* row,
                           lanes* argmax, planes_ahead* ahead) noexcept nogil:
    # A row of bins of a RoI, whose window begins at column `left` of the lines.
    cdef const Window* window = call.window + k
    cdef range_lists bins = range_lists(start=call.x.start + k * call.pw, length=call.x.length + k * call.pw)
    cdef int64_t first
    cdef plane_lines with_argmax
    cdef bint empty = call.y.length[k * call.ph + p] == 0 or window.bottom == window.top
    cdef int q
    for q in range(call.pw):
        if empty or bins.length[q] == 0:
            row[q] = lanes_zero()
            if call.with_argmax:
                argmax[q] = argmax_out(ints_fill(NOWHERE))
    if empty:
        return
    first = call.range_number[k * call.ph + p] * call.room
    if call.with_argmax:
        with_argmax = plane_lines(value=lines.value + first, argmax=lines.argmax + first, stride=call.channel_room)
        pass_argmax_of_lines(&with_argmax, left, &bins, call.pw, row, argmax, ahead)
    else:
        pass_max_of_lines(lines.value + first, call.channel_room, left, &bins, call.pw, row, ahead)


cdef void range_forward_shared_open(RoiTable table, void* settled) noexcept nogil:
    cdef RangeForwardSharedCall* call = <RangeForwardSharedCall*> settled
    write_invalid(table, &call.out.view)
    if call.with_argmax:
        write_index(table, &call.argmax.view, -1)


cdef int range_forward_shared(RangeTable table, cnp.ndarray features, cnp.ndarray out, argmax, int threads,
                              Team team) except -1:
    # The rows of the features are of neighbours, the table is `shared`.
    cdef RangeForwardSharedCall call
    cdef View* view = &call.features
    cdef Work work = Work(team)
    cdef size_t bins, each = sizeof(lanes) * (1 if argmax is None else 2)
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.shared_ranges = table.shared_ranges
    call.range_number = table.range_number
    call.features = view_of(features)
    call.ph = table.rows
    call.pw = table.columns
    call.out = outlet_for(out, 1)
    call.with_argmax = argmax is not None
    if call.with_argmax:
        call.argmax = outlet_for(argmax, 1)
    call.room = (view.columns + LANES - 1) // LANES + 1
    call.strips_room = table.most_strips * call.room
    call.channel_room = table.most_ranges * call.room
    if table.work * view.channels < RANGE_FORWARD_SHARED_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, view.channels, LANES, 1, 0)
    bins = bins_bytes(&call.out, 1)
    work.provide(table, threads, call.strips_room * each, LANES * call.channel_room * each, bins,
                 bins if call.with_argmax else 0,
                 bins if call.out.chunked or (call.with_argmax and call.argmax.chunked) else 0)
    return work.do(range_forward_shared_task, &call, sizeof(call), range_forward_shared_open, NULL)
