"""Axis tables applied to channels-last arrays of the accumulation type: their memory already has the form of a tile.

One task is a run of RoIs of an image. All channels of a pixel are read together, so that reads are long::

    pixels ── rows: taps of p ──▶ blended [column][channel] ── columns: taps of q ──▶ bins of a row ──▶ output

Bins of at most two pixels along each axis keep blended pixels in registers; if vectors fit the output, bins too.
"""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.axis_taps cimport Touched, bin_at, bins_from, touched_pixels, touched_rows
from roicy.cpu.apply.finish cimport Finish, finish_channels, finish_of, finish_outside, outside_of
from roicy.cpu.apply.overflow cimport Pooled, overflow_forget, overflow_noted, settle_axes
from roicy.cpu.apply.view cimport View, block_at, open_view, view_of, write_invalid
from roicy.cpu.lanes.lanes cimport LANES, OWN, lanes, lanes_store_pixel, lanes_stream_bytes, real
from roicy.cpu.lanes.passes cimport pass_both, pass_pixels, pass_vectors, tap_list, tap_lists
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport CACHE_LINE, Scratch, Task, Team, Work, parts_of
from roicy.cpu.tables.axis cimport Axis, AxisTable
from roicy.cpu.tuning cimport AXIS_FORWARD_PIXELS_SERIAL_WORK, PIXELS_CHUNK_BYTES, STREAM_BYTES


cdef struct AxisForwardPixelsCall:
    Axis* y
    Axis* x
    const int64_t* order
    View features, out
    Finish finish
    int ph, pw
    int64_t vectors         # of a pixel
    ptrdiff_t pixel, row    # bytes of a bin and of a row of bins in the output's type
    bint plain              # bins are what the output holds: whole vectors of its type
    bint joined             # the output's rows of bins are one piece of memory each
    bint stream             # which passes by the cache
    int rows_at_once        # rows of bins that are written together


cdef inline bint of_two(const Axis* axis, int64_t k) noexcept nogil:
    # Whether no bin of a RoI has more than two pixels.
    cdef int64_t i
    for i in range(k * axis.bins, (k + 1) * axis.bins):
        if axis.tap_count[i] > 2:
            return False
    return True


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


cdef inline void store_pixel_rows(AxisForwardPixelsCall* call, const lanes* bins, int rows, char* chunk,
                                  char* target) noexcept nogil:
    # Rows of bins, to where the first one goes.
    cdef View* out = &call.out
    cdef int64_t channels = call.features.channels
    cdef int r, q
    cdef const lanes* bin = bins
    cdef char* to
    if call.plain:
        chunk = <char*> bins
    else:
        for r in range(rows):
            for q in range(call.pw):
                to = chunk + r * call.row + q * call.pixel if call.joined else target + r * out.row + q * out.column
                store_pixel(bin, channels, out.size if call.joined else out.channel, out.dtype, to)
                bin += call.vectors
    if call.stream:
        lanes_stream_bytes(target, chunk, rows * <size_t> call.row)
    elif call.joined:
        memcpy(target, chunk, rows * <size_t> call.row)


cdef void axis_forward_pixels_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisForwardPixelsCall* call = <AxisForwardPixelsCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef View* view = &call.features
    cdef View* out = &call.out
    cdef const char* source = block_at(view, task.image, 0)
    cdef Touched across, down
    cdef lanes* blended = <lanes*> scratch.blended
    cdef ptrdiff_t* offset = <ptrdiff_t*> scratch.spare
    cdef tap_list rows, columns
    cdef tap_lists bins
    cdef Pooled pooled = Pooled(features=view, out=out, image=task.image, roi=0, channel=0, channels=view.channels,
                                finish=&call.finish)
    cdef lanes* bin
    cdef char* target
    cdef int64_t k, vectors = call.vectors
    cdef int p, q, i, held
    cdef bint both, direct
    overflow_forget()
    for k in range(task.first, task.last):
        across, down = touched_pixels(x, k, task, 0), touched_pixels(y, k, task, 0)
        target = block_at(out, call.order[k], 0)
        touched_rows(&down, &across, source, view.row, view.column, view.rows, scratch.row)
        for i in range(across.count):
            offset[i] = (across.pixel[i] - across.pixel[0]) * view.column
        both = view.channels % LANES == 0 and of_two(y, k) and of_two(x, k)
        # streams need whole vectors in their places, and lines of the cache that are written at once
        direct = (both and call.plain and call.stream and not call.finish.given
                  and (<size_t> target | <size_t> call.row | <size_t> call.pixel) % CACHE_LINE == 0)
        held = 0
        for p in range(call.ph):
            rows, bins = bin_at(y, k * call.ph + p), bins_from(x, k * call.pw, x.tap_weight)
            bin = <lanes*> scratch.bins + held * call.pw * vectors
            if both:
                pass_both(scratch.row, &rows, &bins, call.pw, offset, vectors,
                          target + p * out.row if direct else <char*> bin, direct)
            else:
                for i in range(across.count):
                    pass_pixels(scratch.row, &rows, offset[i], view.channels, blended + i * vectors)
            if direct:
                continue
            for q in range(call.pw):
                if not both:
                    columns = bin_at(x, k * call.pw + q)
                    pass_vectors(blended, &columns, vectors, bin + q * vectors)
                if call.finish.given:
                    finish_pixel(&call.finish, y, x, k, p, q, vectors, bin + q * vectors)
            held += 1
            if held == call.rows_at_once or p == call.ph - 1:
                store_pixel_rows(call, <lanes*> scratch.bins, held, scratch.chunk, target + (p + 1 - held) * out.row)
                held = 0
        if overflow_noted():
            pooled.roi = call.order[k]
            settle_axes(y, x, k, &pooled, 0, call.ph, 0, call.pw)


cdef void axis_forward_pixels_open(RoiTable table, void* settled) noexcept nogil:
    write_invalid(table, &(<AxisForwardPixelsCall*> settled).out)


cdef int axis_forward_pixels(AxisTable table, cnp.ndarray features, cnp.ndarray out, cnp.ndarray finish_numbers,
                             int threads, Team team) except -1:
    cdef AxisForwardPixelsCall call
    cdef Work work = Work(team)
    cdef int64_t channels
    cdef size_t bins
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.finish = finish_of(finish_numbers, table)
    call.features = view_of(features)
    call.out = view_of(out)
    call.ph = table.y.bins
    call.pw = table.x.bins
    channels = call.features.channels
    call.vectors = (channels + LANES - 1) // LANES
    call.pixel = channels * call.out.size
    call.row = call.pw * call.pixel
    call.joined = (call.out.channel == call.out.size and (call.out.column == call.pixel or call.pw <= 1)
                   and (call.out.row == call.row or call.ph <= 1))
    call.plain = call.joined and call.out.dtype == OWN and channels % LANES == 0
    call.stream = call.joined and call.out.images * call.ph * <double> call.row >= STREAM_BYTES
    call.rows_at_once = <int> max(1, min(<int64_t> call.ph, PIXELS_CHUNK_BYTES // (call.row + 1)))
    if table.work * channels < AXIS_FORWARD_PIXELS_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, 1, 1,
                max(parts_of(table.work * channels), 1 if threads == 1 else 16 * threads), 0)
    bins = bytes_of(call.rows_at_once * <size_t> call.pw, call.vectors, sizeof(lanes))
    work.provide(table, threads, 0, bytes_of(table.widest, call.vectors, sizeof(lanes)), bins,
                 table.widest * sizeof(ptrdiff_t), bins if call.joined and not call.plain else 0)
    open_view(&call.out, threads)
    return work.do(axis_forward_pixels_task, &call, sizeof(call), axis_forward_pixels_open, NULL)
