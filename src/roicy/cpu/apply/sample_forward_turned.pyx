"""Rotated boxes with few channels and few samples a bin: bins are sampled row by row, without a list of taps.

One task is some RoIs of an image::

    row p of the bins ──▶ where its samples lie, lanes along the row ──▶ sums [bin][channel] ──▶ output

For three planes of bytes, the channels of each pixel that a box reads are first copied side by side.

Positions are rounded as in the lists (sample_taps), operation by operation, so all decisions are the same.
"""

from libc.math cimport NAN, isfinite
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport INT32_MAX, int32_t, int64_t
from libc.string cimport memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.overflow cimport overflow_forget, overflow_noted, overflow_store
from roicy.cpu.apply.view cimport View, block_at, view_of, write_invalid
from roicy.cpu.lanes.lanes cimport LANES, UINT8, element_load
from roicy.cpu.lanes.turned cimport (
    QUAD, TURNED_BYTES_FLOATS, TURNED_BYTES_MORE, turned_bytes, turned_bytes_ahead, turned_bytes_can,
    turned_bytes_clear, turned_bytes_describe, turned_bytes_row, turned_corners, turned_first, turned_inside,
    turned_join, turned_joins, turned_line, turned_map, turned_patch, turned_patch_bytes, turned_places, turned_row,
    turned_samples, turned_step, turned_store, turned_sum, turned_where, turned_x, turned_y,
)
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Team, Work, parts_of
from roicy.cpu.tables.rois cimport RoiTable, Window
from roicy.cpu.tables.rotated cimport (
    Landed, Point, RotatedBox, column_base_f, column_turned_f, landed_f, row_base_f, row_turned_f,
)
from roicy.cpu.tables.sample cimport SampleTable
from roicy.cpu.tables.samples cimport Span, position_at_f
from roicy.cpu.tuning cimport CROP_ROWS_AHEAD, JOINED_BYTES, SAMPLE_FORWARD_SERIAL_WORK


cdef struct SampleForwardTurnedCall:
    const RotatedBox* box
    const Window* window
    const int64_t* order
    View features, out
    int height, width       # of the map
    ptrdiff_t begin         # bytes from the first pixel to the start of the features
    int ratio               # samples of a bin along an axis
    size_t room             # items of a row, with some behind it
    size_t patch            # bytes of joined pixels; 0: none are


cdef inline float along_row(const RotatedBox* box, int p, int i) noexcept nogil:
    # How far from the centre a row of samples is.
    cdef Span span = Span(count=box.count_y, first=0, last=0, mirrored=False)
    return position_at_f(row_base_f(box, p), <float> box.bin_y, span, i)


cdef inline float along_column(const RotatedBox* box, int q, int i) noexcept nogil:
    cdef Span span = Span(count=box.count_x, first=0, last=0, mirrored=False)
    return position_at_f(column_base_f(box, q), <float> box.bin_x, span, i)


cdef inline turned_corners corners_of(SampleForwardTurnedCall* call, const RotatedBox* box,
                                      turned_line line) noexcept nogil:
    # Of the samples of a box: one to each bin.
    cdef turned_corners corners
    cdef Point turned
    cdef int number, row, column
    for number in range(4):
        row = <int> call.out.rows - 1 if number >= 2 else 0
        column = <int> call.out.columns - 1 if number == 1 or number == 2 else 0
        turned = row_turned_f(box, along_row(box, row, 0))
        line.y, line.x = <float> turned.y, <float> turned.x
        corners.y[number], corners.x[number] = turned_y(&line, column), turned_x(&line, column)
    return corners


cdef inline ptrdiff_t rows_ahead(const RotatedBox* box, int p, Point turned, const turned_map* map) noexcept nogil:
    # Bytes from the samples of row p, which is turned already, to those of one some rows later.
    cdef Point later = row_turned_f(box, along_row(box, p + CROP_ROWS_AHEAD, 0))
    return turned_bytes_ahead(map, later.y - turned.y, later.x - turned.x)


cdef void sample_forward_turned_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef SampleForwardTurnedCall* call = <SampleForwardTurnedCall*> settled
    cdef View* view = &call.features
    cdef View* out = &call.out
    cdef const RotatedBox* box
    cdef float* sums = <float*> scratch.bins
    cdef float* columns = <float*> scratch.blended
    cdef float share = 1 / <float> (call.ratio * call.ratio)
    cdef turned_map whole, pixels
    cdef turned_corners corners
    cdef turned_patch patch
    cdef turned_samples samples
    cdef turned_line line
    cdef turned_row to
    cdef turned_where where
    cdef Point turned
    cdef int64_t k, q, i
    cdef ptrdiff_t begin, end
    cdef int p, j, step
    cdef turned_bytes bytes_
    cdef bint vectors
    samples.offset = <int32_t*> scratch.spare
    samples.right, samples.down = samples.offset + call.room, samples.offset + 2 * call.room
    for j in range(4):
        samples.weight[j] = <float*> samples.offset + (3 + j) * call.room
    whole.source = block_at(view, task.image, 0) - call.begin
    whole.row, whole.column, whole.channel = view.row, view.column, view.channel
    whole.height, whole.width = call.height, call.width
    whole.channels, whole.dtype = <int> view.channels, view.dtype
    to.column, to.channel, to.channels, to.dtype = out.column, out.channel, <int> out.channels, out.dtype
    step = turned_step(&to) if call.ratio == 1 else QUAD
    turned_bytes_describe(&bytes_, to.channels, sums + QUAD * call.room, call.room)
    where.projected = NULL
    patch.memory, patch.room = scratch.chunk, call.patch
    for k in range(task.first, task.last):
        box = call.box + k
        to.data = block_at(out, call.order[k], 0)
        if call.window[k].bottom == call.window[k].top:
            memset(sums, 0, out.columns * step * sizeof(float))
            for _ in range(out.rows):
                turned_store(sums, step, out.columns, &to)
                to.data += out.row
            continue
        pixels = whole
        vectors = call.ratio == 1 and view.row > 0 and turned_bytes_can(
            &pixels, view.limit - (pixels.source + call.begin) - reach_of_window(view, call.window + k)
            - (view.channels - 1) * view.channel)
        pixels.together = reads_together(view, pixels.source + call.begin, call.window + k)
        overflow_forget()
        for i in range(call.ratio):
            for q in range(<int64_t> call.room):
                turned = column_turned_f(box, along_column(box, <int> min(q, out.columns - 1), <int> i))
                columns[2 * i * call.room + q] = <float> turned.y
                columns[(2 * i + 1) * call.room + q] = <float> turned.x
        line.cy, line.cx = <float> box.cy, <float> box.cx
        if call.patch:
            line.down, line.along = columns, columns + call.room
            corners = corners_of(call, box, line)
            if turned_joins(&whole, &corners, <double> out.rows * out.columns, &patch):
                pixels = turned_join(&whole, &corners, &patch)
                vectors = True
        for p in range(out.rows):
            if call.ratio > 1:
                memset(sums, 0, out.columns * step * sizeof(float))
            for j in range(call.ratio):
                turned = row_turned_f(box, along_row(box, p, j))
                line.y, line.x = <float> turned.y, <float> turned.x
                for i in range(call.ratio):
                    line.down = columns + 2 * i * call.room
                    line.along = columns + (2 * i + 1) * call.room
                    where.ahead = rows_ahead(box, p, turned, &pixels) if p + CROP_ROWS_AHEAD < out.rows else 0
                    where.turned = NULL
                    if vectors and turned_inside(&pixels, &line, out.columns):
                        where.turned = &line
                        turned_bytes_row(&bytes_, &pixels, &samples, &where, out.columns, &to)
                        continue
                    begin = turned_first(&pixels, &line, out.columns, &end)
                    turned_places(&pixels, &line, begin, end, share, &samples)
                    if call.ratio > 1:
                        turned_sum(&pixels, &samples, begin, end, sums, 0)
                        continue
                    if vectors:
                        turned_bytes_clear(&bytes_, &samples, begin, end, <int32_t> call.begin)
                        turned_bytes_row(&bytes_, &pixels, &samples, &where, out.columns, &to)
                        continue
                    memset(sums, 0, begin * step * sizeof(float))
                    turned_sum(&pixels, &samples, begin, end, sums, step)
                    memset(sums + end * step, 0, (out.columns - end) * step * sizeof(float))
            if not vectors:
                turned_store(sums, step, out.columns, &to)
            to.data += out.row
        if overflow_noted():
            settle_turned(call, box, task.image, call.order[k])


cdef inline bint reads_together(View* view, const char* source, const Window* window) noexcept nogil:
    # Whether the channels of a pixel are neighbours, and what is behind the last pixel of the window can be read.
    return ((view.channel == view.size or view.channels == 1)
            and view.limit - source >= reach_of_window(view, window) + QUAD * view.size)


cdef inline ptrdiff_t reach_of_window(View* view, const Window* window) noexcept nogil:
    # Bytes from the map's first pixel to the last one of a window.
    return (max(window.top * view.row, (window.bottom - 1) * view.row)
            + max(window.left * view.column, (window.right - 1) * view.column))


cdef double half_of_bin(SampleForwardTurnedCall* call, const RotatedBox* box, const char* source, int p,
                        int q) noexcept nogil:
    # Half of the average of a bin; every tap is checked.
    cdef View* view = &call.features
    cdef double total = 0, value, weight
    cdef Landed at
    cdef int i, j, corner
    for j in range(call.ratio):
        for i in range(call.ratio):
            at = landed_f(box, row_turned_f(box, along_row(box, p, j)),
                          column_turned_f(box, along_column(box, q, i)), call.height, call.width)
            if not at.hit:
                continue
            for corner in range(4):
                weight = ((at.y.part if corner & 2 else 1 - at.y.part) * (at.x.part if corner & 1 else 1 - at.x.part))
                value = element_load(source + (at.y.low + (corner >> 1 if not at.y.last else 0)) * view.row
                                     + (at.x.low + (corner & 1 if not at.x.last else 0)) * view.column, view.dtype)
                if value != value:
                    return NAN
                total += 0.5 * weight * value
    return total / (call.ratio * call.ratio)


cdef void settle_turned(SampleForwardTurnedCall* call, const RotatedBox* box, int64_t image,
                        int64_t roi) noexcept nogil:
    # Averages that have overflowed: see overflow.pxd.
    cdef View* out = &call.out
    cdef char* target
    cdef int c, p, q
    overflow_forget()
    for c in range(out.channels):
        for p in range(out.rows):
            target = block_at(out, roi, c) + p * out.row
            for q in range(out.columns):
                if not isfinite(element_load(target, out.dtype)):
                    overflow_store(half_of_bin(call, box, block_at(&call.features, image, c) - call.begin, p, q),
                                   target, out.dtype)
                target += out.column


cdef inline double reach_over(View* view, int64_t rows, int64_t columns) noexcept:
    # Bytes from the first to the last pixel of a part with these rows and columns.
    return abs(view.row) * <double> rows + abs(view.column) * <double> columns


cdef inline double reach_of(View* view) noexcept:
    return reach_over(view, view.rows, view.columns)


cdef size_t patch_of(SampleForwardTurnedCall* call, SampleTable table) noexcept nogil:
    # Bytes for the joined pixels of the largest box of which they are joined, 0 for none. Only three planes of bytes
    # are joined, and only of a whole map, since a few pixels beside those of a box are read too.
    cdef size_t most = 0, bytes_
    cdef View* view = &call.features
    cdef int64_t k
    if view.dtype != UINT8 or view.channels != 3 or view.column != 1:
        return 0
    if view.rows != table.map_height or view.columns != table.map_width:
        return 0
    for k in range(table.rois):
        bytes_ = turned_patch_bytes(call.window[k].bottom - call.window[k].top,
                                    call.window[k].right - call.window[k].left)
        if most < bytes_ <= JOINED_BYTES:
            most = bytes_
    return most


cdef void sample_forward_turned_open(RoiTable table, void* settled) noexcept nogil:
    write_invalid(table, &(<SampleForwardTurnedCall*> settled).out)


cdef int sample_forward_turned(SampleTable table, cnp.ndarray features, cnp.ndarray out, int threads,
                               Team team) except -1:
    # The table has no lists.
    cdef SampleForwardTurnedCall call
    cdef Work work = Work(team)
    cdef int ratio = table.sampling.sampling_ratio
    cdef double taps = 4.0 * ratio * ratio * table.rois * table.rows * table.columns
    call.box = table.box
    call.window = table.window
    call.order = table.order
    call.features, call.out = view_of(features), view_of(out)
    call.height, call.width = table.map_height, table.map_width
    if reach_over(&call.features, call.height, call.width) > INT32_MAX:
        features = features.copy()      # as long as the work, which goes by it
        call.features = view_of(features)
        work.keep = features
    call.begin = table.part.top * call.features.row + table.part.left * call.features.column
    call.ratio = ratio
    call.room = (<size_t> table.columns + LANES - 1) // LANES * LANES
    call.patch = patch_of(&call, table) if ratio == 1 else 0
    if taps * call.features.channels < SAMPLE_FORWARD_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, 1, 1, max(parts_of(taps * QUAD), 1 if threads == 1 else 4 * threads), 0)
    work.provide(table, threads, 0, bytes_of(2 * ratio, call.room, sizeof(float)),
                 bytes_of(QUAD + TURNED_BYTES_FLOATS, call.room, sizeof(float)) + TURNED_BYTES_MORE * sizeof(float),
                 bytes_of(7, call.room, sizeof(float)), call.patch)
    return work.do(sample_forward_turned_task, &call, sizeof(call), sample_forward_turned_open, NULL)
