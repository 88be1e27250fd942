"""Axis tables applied to channels-last arrays of the accumulation type, whose memory already is a tile.

One task is a run of RoIs of an image. All channels of a pixel are taken at a time, so that memory is read in long
runs.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t
from libc.string cimport memcpy

cimport numpy as cnp

from roicy.cpu.apply.axis_taps cimport Touched, bin_at, touched_pixels, touched_rows
from roicy.cpu.apply.finish cimport Finish, finish_channels, finish_of, finish_outside, outside_of
from roicy.cpu.apply.overflow cimport Pooled, overflow_forget, overflow_noted, settle_axes
from roicy.cpu.apply.view cimport View, block_at, open_view, view_of, write_invalid
from roicy.cpu.lanes.lanes cimport LANES, OWN, lanes, lanes_store_pixel, lanes_stream_bytes, real
from roicy.cpu.lanes.passes cimport pass_pixels, pass_vectors, tap_list
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work, parts_of
from roicy.cpu.tables.axis cimport Axis, AxisTable
from roicy.cpu.tuning cimport AXIS_FORWARD_PIXELS_SERIAL_WORK, STREAM_BYTES


cdef struct AxisForwardPixelsCall:
    Axis* y
    Axis* x
    const int64_t* order
    View features, out
    Finish finish
    int ph, pw
    bint chunked            # a RoI's outputs are one piece of memory
    bint stream


cdef inline void store_pixel(const lanes* bin, int64_t channels, ptrdiff_t step, int dtype,
                             char* target) noexcept nogil:
    cdef int64_t c = 0
    if dtype == OWN and step == sizeof(real):
        memcpy(target, bin, channels * sizeof(real))
        return
    while c < channels:
        lanes_store_pixel(bin[c // LANES], target + c * step, step, <int> min(LANES, channels - c), dtype)
        c += LANES


cdef inline void finish_pixel(const Finish* finish, Axis* y, Axis* x, int64_t k, int p, int q, int64_t vectors,
                              lanes* bin) noexcept nogil:
    cdef real outside = 0
    cdef int64_t v
    if finish.numbers.filled:
        outside = finish_outside(outside_of(y, k, p), outside_of(x, k, q))
    for v in range(vectors):
        bin[v] = finish_channels(bin[v], &finish.numbers, v * LANES, outside)


cdef void axis_forward_pixels_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisForwardPixelsCall* call = <AxisForwardPixelsCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef View* view = &call.features
    cdef View* out = &call.out
    cdef const char* source = block_at(view, task.image, 0)
    cdef Touched across, down
    cdef lanes* blended = <lanes*> scratch.blended
    cdef tap_list rows, columns
    cdef Pooled pooled = Pooled(features=view, out=out, image=task.image, roi=0, channel=0, channels=view.channels,
                                finish=&call.finish)
    cdef lanes* bin = <lanes*> scratch.bins
    cdef char* target
    cdef char* chunk
    cdef int64_t k, channels = view.channels, vectors = (channels + LANES - 1) // LANES
    cdef int p, q, i
    overflow_forget()
    for k in range(task.first, task.last):
        across, down = touched_pixels(x, k, task, 0), touched_pixels(y, k, task, 0)
        target = block_at(out, call.order[k], 0)
        chunk = scratch.chunk
        touched_rows(&down, &across, source, view.row, view.column, view.rows, scratch.row)
        for p in range(call.ph):
            rows = bin_at(y, k * call.ph + p)
            for i in range(across.count):
                pass_pixels(scratch.row, &rows, (across.pixel[i] - across.pixel[0]) * view.column, channels,
                            blended + i * vectors)
            for q in range(call.pw):
                columns = bin_at(x, k * call.pw + q)
                pass_vectors(blended, &columns, vectors, bin)
                if call.finish.given:
                    finish_pixel(&call.finish, y, x, k, p, q, vectors, bin)
                if call.chunked:
                    store_pixel(bin, channels, out.size, out.dtype, chunk)
                    chunk += channels * out.size
                else:
                    store_pixel(bin, channels, out.channel, out.dtype, target + p * out.row + q * out.column)
        if call.stream:
            lanes_stream_bytes(target, scratch.chunk, chunk - scratch.chunk)
        elif call.chunked:
            memcpy(target, scratch.chunk, chunk - scratch.chunk)
        if overflow_noted():
            pooled.roi = call.order[k]
            settle_axes(y, x, k, &pooled, 0, call.ph, 0, call.pw)


cdef void axis_forward_pixels_open(RoiTable table, void* settled) noexcept nogil:
    write_invalid(table, &(<AxisForwardPixelsCall*> settled).out)


cdef int axis_forward_pixels(AxisTable table, cnp.ndarray features, cnp.ndarray out, cnp.ndarray finish_numbers,
                             int threads, Team team) except -1:
    cdef AxisForwardPixelsCall call
    cdef Work work = Work(team)
    cdef int64_t channels, vectors, size
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.finish = finish_of(finish_numbers, table)
    call.features = view_of(features)
    call.out = view_of(out)
    call.ph = table.y.bins
    call.pw = table.x.bins
    channels = call.features.channels
    vectors = (channels + LANES - 1) // LANES
    size = call.ph * <int64_t> call.pw * channels * call.out.size
    call.chunked = (size <= STREAM_BYTES and call.out.channel == call.out.size
                    and call.out.column == channels * call.out.size and call.out.row == call.pw * call.out.column)
    call.stream = call.chunked and call.out.images * size >= STREAM_BYTES
    if table.work * channels < AXIS_FORWARD_PIXELS_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, 1, 1,
                max(parts_of(table.work * channels), 1 if threads == 1 else 16 * threads), 0)
    work.provide(table, threads, 0, bytes_of(table.widest, vectors, sizeof(lanes)), vectors * sizeof(lanes), 0,
                 size if call.chunked else 0)
    open_view(&call.out, threads)
    return work.do(axis_forward_pixels_task, &call, sizeof(call), axis_forward_pixels_open, NULL)
