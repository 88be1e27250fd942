"""Axis tables of boxes with few bins of one sample each: there are no lists of taps, and boxes keep their order.

One task is a run of boxes, of which LONE are handled together::

    boxes ─▶ where the samples of each row and column of bins lie ─▶ for each box, channel and bin four pixels ─▶ output

To make lists, sort boxes and load a tile would take most of the call. The sums are the same bit for bit, except that
a sum of two NaNs may be the other one.
"""

from libc.math cimport NAN, isfinite
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.overflow cimport overflow_forget, overflow_noted, overflow_store
from roicy.cpu.apply.view cimport View, block_at, view_of
from roicy.cpu.lanes.lanes cimport element_load, element_store, real
from roicy.cpu.lanes.lone cimport lone_box, lone_place, lone_values
from roicy.cpu.runtime.memory cimport allocate
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work
from roicy.cpu.tables.axis cimport LONE, AxisTable, Lone, LoneBoxes, lone_bins
from roicy.cpu.tuning cimport AXIS_FORWARD_LONE_SERIAL_WORK

cdef enum:
    LONE_OF_A_TASK = 512        # boxes


cdef struct AxisForwardLoneCall:
    LoneBoxes boxes
    const int64_t* row_of       # NULL: they are all that there are
    View features, out
    lone_values values


cdef void axis_forward_lone_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisForwardLoneCall* call = <AxisForwardLoneCall*> settled
    cdef LoneBoxes* boxes = &call.boxes
    cdef lone_values values = call.values
    cdef Lone* down = <Lone*> scratch.blended
    cdef Lone* across = down + values.rows
    cdef lone_place* places = <lone_place*> scratch.bins
    cdef const char* rows
    cdef int64_t k = task.first, out
    cdef int some, i
    values.down, values.across = places, places + values.rows
    overflow_forget()
    while k < task.last:
        some = <int> min(<int64_t> LONE, task.last - k)
        rows = boxes.rows + k * boxes.step
        if some < LONE:     # nothing behind them is read
            memset(scratch.spare, 0, LONE * boxes.step)
            memcpy(scratch.spare, rows, some * boxes.step)
            rows = scratch.spare
        lone_bins(rows, boxes.single, boxes.columns, 1, boxes.sampling, values.rows, <int> call.features.rows, down)
        lone_bins(rows, boxes.single, boxes.columns, 0, boxes.sampling, values.columns, <int> call.features.columns,
                  across)
        for i in range(some):
            out = call.row_of[k + i] if call.row_of != NULL else k + i
            if boxes.image[k + i] < 0:
                write_no_number(&call.out, block_at(&call.out, out, 0))
                continue
            place_lone(down, values.rows, i, call.features.row, places)
            place_lone(across, values.columns, i, call.features.column, places + values.rows)
            lone_box(&values, block_at(&call.features, boxes.image[k + i], 0), call.features.dtype,
                     block_at(&call.out, out, 0), call.out.dtype)
            if overflow_noted():
                settle_lone(&values, block_at(&call.features, boxes.image[k + i], 0), call.features.dtype,
                            block_at(&call.out, out, 0), call.out.dtype)
        k += some


cdef inline void place_lone(const Lone* bins, int count, int i, ptrdiff_t step, lone_place* places) noexcept nogil:
    # Those of box i.
    cdef int p
    for p in range(count):
        places[p].offset[0] = bins[p].low[i] * step
        places[p].offset[1] = places[p].offset[0] + step
        places[p].weight[0] = <real> bins[p].weight[0][i]
        places[p].weight[1] = <real> bins[p].weight[1][i]
        places[p].taps = bins[p].taps[i]


cdef void write_no_number(View* out, char* target) noexcept nogil:
    cdef int64_t c, p, q
    for c in range(out.channels):
        for p in range(out.rows):
            for q in range(out.columns):
                element_store(<real> NAN, target + c * out.channel + p * out.row + q * out.column, out.dtype)


cdef void settle_lone(lone_values* values, const char* source, int dtype, char* target, int to) noexcept nogil:
    # Sum again the values of a box that are not finite, as `settle_axes` does.
    cdef const char* plane
    cdef char* value
    cdef int64_t c
    cdef int p, q
    overflow_forget()
    for c in range(values.channels):
        plane = source + c * values.channel
        for p in range(values.rows):
            for q in range(values.columns):
                value = target + c * values.to_channel + p * values.to_row + q * values.to_column
                if not isfinite(element_load(value, to)):
                    overflow_store(half_of_lone(values.down + p, values.across + q, plane, dtype), value, to)
                plane += values.bin


cdef double half_of_lone(const lone_place* down, const lone_place* across, const char* source,
                         int dtype) noexcept nogil:
    cdef double total = 0, part, value
    cdef int j, i
    for j in range(down.taps):
        part = 0
        for i in range(across.taps):
            value = element_load(source + down.offset[j] + across.offset[i], dtype)
            if value != value:
                return NAN
            part += 0.5 * across.weight[i] * value
        total += down.weight[j] * part
    return total


cdef int axis_forward_lone(AxisTable table, cnp.ndarray features, cnp.ndarray out, int threads, Team team) except -1:
    cdef AxisForwardLoneCall call
    cdef lone_values* values = &call.values
    cdef View* view = &call.features
    cdef Work work = Work(team)
    cdef int64_t n
    call.boxes = table.lone
    call.row_of = table.row_of
    call.features = view_of(features)
    call.out = view_of(out)
    values.rows, values.columns = <int> call.out.rows, <int> call.out.columns
    values.channels, values.channel, values.bin = call.out.channels, view.channel, 0
    if view.channels != call.out.channels:      # position-sensitive: a channel for each bin of each of those
        values.channel, values.bin = values.rows * values.columns * view.channel, view.channel
    values.to_channel, values.to_row, values.to_column = call.out.channel, call.out.row, call.out.column
    if table.rois * (8. + values.channels * values.rows * values.columns) < AXIS_FORWARD_LONE_SERIAL_WORK:
        threads = 1
    work.count = (table.rois + LONE_OF_A_TASK - 1) // LONE_OF_A_TASK
    work.tasks = <Task*> allocate(work.count * sizeof(Task))
    for n in range(work.count):
        work.tasks[n] = Task(image=0, first=n * LONE_OF_A_TASK,
                             last=min(<int64_t> table.rois, (n + 1) * LONE_OF_A_TASK),
                             channel=0, channels=<int> call.out.channels, bin=-1, top=0, bottom=table.height)
    work.provide(table, threads, 0, (values.rows + values.columns) * sizeof(Lone),
                 (values.rows + values.columns) * sizeof(lone_place), LONE * call.boxes.step, 0)
    return work.do(axis_forward_lone_task, &call, sizeof(call), NULL, NULL)
