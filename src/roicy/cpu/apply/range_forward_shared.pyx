"""Range tables of few ranges of rows, such as the regions of R-MAC have: each is looked through once for all bins.

One task is an image and a block of LANES channels, whose planes are read one after the other::

    features (any dtype; rows of neighbours)               bins [p][q][channel]         output (any layout, dtype)
        │ largest of each strip of rows                        ▲                            ▲
        ▼                                                      │ largest along columns,     │ transpose, store
    strips [strip][column] ── largest ──▶ lines [channel][range][column]   transposed ──────┘

Up to the last step a vector holds neighbouring pixels of one channel.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

cimport numpy as cnp

from roicy.cpu.apply.outlet cimport Outlet, bins_bytes, outlet_for, store_bins
from roicy.cpu.apply.view cimport View, block_at, view_of, write_invalid
from roicy.cpu.lanes.lanes cimport LANES, lanes, lanes_zero
from roicy.cpu.lanes.planes cimport pass_max_of_lines, pass_max_of_plane, pass_max_of_strips, row_runs
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work
from roicy.cpu.tables.range cimport SharedRanges, Ranges, RangeTable
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tuning cimport RANGE_FORWARD_SHARED_SERIAL_WORK


cdef struct RangeForwardSharedCall:
    Ranges* y
    Ranges* x
    const int64_t* order
    const Window* window
    const SharedRanges* shared_ranges
    const int32_t* range_number
    View features
    Outlet out
    int ph, pw
    int64_t room            # vectors of a line
    int64_t channel_room    # vectors of a channel's lines


cdef void range_forward_shared_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef RangeForwardSharedCall* call = <RangeForwardSharedCall*> settled
    cdef const SharedRanges* found = call.shared_ranges + task.image
    cdef const Window* window
    cdef lanes* lines = <lanes*> scratch.blended
    cdef lanes* bins = <lanes*> scratch.bins
    cdef lanes* row
    cdef int64_t k, held
    cdef int c, p, q
    cdef const int32_t* height
    cdef const int32_t* width
    for c in range(task.channels):
        fill_lines(call, found, block_at(&call.features, task.image, task.channel + c), <lanes*> scratch.tile,
                   lines + c * call.channel_room)
    for k in range(task.first, task.last):
        window = call.window + k
        height = call.y.length + k * call.ph
        width = call.x.length + k * call.pw
        held = 0
        for p in range(call.ph):
            row = bins + held * call.pw
            for q in range(call.pw):
                if height[p] == 0 or width[q] == 0 or window.bottom == window.top:
                    row[q] = lanes_zero()
            if height[p] and window.bottom > window.top:
                pass_max_of_lines(lines + call.range_number[k * call.ph + p] * call.room, call.channel_room,
                                  window.left - found.left, call.x.start + k * call.pw, width, call.pw, row)
            held += 1
            if held >= call.out.rows_at_once or p == call.ph - 1:
                store_bins(&call.out, bins, scratch.chunk, call.order[k], task.channel, task.channels, p + 1 - held,
                           held)
                held = 0


cdef inline void fill_lines(RangeForwardSharedCall* call, const SharedRanges* found, const char* source, lanes* strips,
                            lanes* lines) noexcept nogil:
    # One plane: the largest of each strip of rows, then of the strips of each range.
    cdef View* view = &call.features
    cdef int64_t columns = found.right - found.left
    cdef row_runs of_rows = row_runs(first=&found.edge[0], last=&found.end[0], count=found.strips)
    cdef row_runs of_strips = row_runs(first=&found.first[0], last=&found.last[0], count=found.ranges)
    pass_max_of_plane(source + found.left * view.column, view.row, &of_rows, columns, view.limit, strips, call.room,
                      view.dtype)
    pass_max_of_strips(strips, found.strips, &of_strips, columns, lines, call.room)


cdef void range_forward_shared_open(RoiTable table, void* settled) noexcept nogil:
    write_invalid(table, &(<RangeForwardSharedCall*> settled).out.view)


cdef int range_forward_shared(RangeTable table, cnp.ndarray features, cnp.ndarray out, int threads,
                              Team team) except -1:
    # The rows of the features are of neighbours, the table is `shared`.
    cdef RangeForwardSharedCall call
    cdef View* view = &call.features
    cdef Work work = Work(team)
    cdef size_t bins
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
    call.room = (view.columns + LANES - 1) // LANES + 1
    call.channel_room = table.most_ranges * call.room
    if table.work * view.channels < RANGE_FORWARD_SHARED_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, view.channels, LANES, 1, 0)
    bins = bins_bytes(&call.out, 1)
    work.provide(table, threads, table.most_strips * call.room * sizeof(lanes),
                 LANES * call.channel_room * sizeof(lanes), bins, 0, bins if call.out.chunked else 0)
    return work.do(range_forward_shared_task, &call, sizeof(call), range_forward_shared_open, NULL)
