"""Axis tables applied to arrays of few channels, such as images: lanes run along a row instead.

One task is a RoI and a band of its output rows::

    plane ── rows: taps of p ──▶ line [column] ── columns: LANES outputs at a time pick their taps ──▶ output row

Where a row's elements are no neighbours (an image of pixels of three bytes), the rows that a band needs are
first gathered plane by plane.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t

cimport numpy as cnp

from roicy.cpu.axis_table cimport Axis, AxisTable
from roicy.cpu.lanes cimport (
    FLOAT32, FLOAT64, LANES, element_store, lanes, lanes_fence, lanes_store, lanes_store_part,
    lanes_stream_bytes, real,
)
from roicy.cpu.tile cimport STREAM_BYTES, View, block_at, view_of, write_invalid
from roicy.cpu.work cimport Scratch, Work


cdef extern from "crops.h" nogil:
    enum:
        WINDOW
    ctypedef int lane_int
    ctypedef struct crops_group:
        ptrdiff_t base, span
        lane_int least, most
        ptrdiff_t start

    void crops_columns(const real* line, const crops_group* group, ptrdiff_t groups, const lane_int* index,
                       const real* weight, const lane_int* taps, lanes* target) noexcept
    void crops_rows(const char* const* row, const real* weight, int taps, ptrdiff_t count, int dtype,
                    const char* const* ahead, real* line) noexcept
    void crops_gather(const char* source, ptrdiff_t step, ptrdiff_t count, int dtype, real* target) noexcept

cdef enum:
    CROP_ROWS = 64                   # output rows of a task, at the least
    CHUNK_BYTES = 1 << 13       # outputs that are written together
    AHEAD = 4                   # output rows from the one in work to the one whose first row is fetched

# Multiply-adds below which a call is not worth a second thread.
cdef double CROPS_SERIAL_WORK = 1 << 18


cdef struct CropsCall:
    Axis* y
    Axis* x
    const int64_t* order
    View features, out
    int ph, pw, bands
    int rows_at_once            # output rows that are written together
    int64_t groups
    int64_t room                # vectors of taps that a RoI can need
    int own
    bint stream


cdef struct Columns:
    # the taps of a RoI's output columns, LANES of them together
    crops_group* group
    lane_int* index
    real* weight
    lane_int* taps


cdef inline int64_t most_vectors(Axis* x, int64_t k) noexcept nogil:
    cdef int64_t total = 0, q
    cdef int most = 0
    for q in range(x.bins):
        most = max(most, x.tap_count[k * x.bins + q])
        if q % LANES == LANES - 1 or q == x.bins - 1:
            total += most
            most = 0
    return total


cdef void lay_out(Axis* x, int64_t k, Columns* columns) noexcept nogil:
    # From the table's list for every column to one vector for every tap of a group.
    cdef const int32_t* line = x.line + x.line_start[k]
    cdef int64_t q, g, i, start = 0, first, base, end
    cdef int lane, count
    cdef lane_int t, least, most
    for g in range((x.bins + LANES - 1) // LANES):
        base, end = 1 << 62, 0
        least, most = 1 << 30, 0
        for lane in range(LANES):
            q = g * LANES + lane
            count = x.tap_count[k * x.bins + q] if q < x.bins else 0
            columns.taps[q] = count
            most = max(most, <lane_int> count)
            if q < x.bins:
                least = min(least, <lane_int> count)
            if count:
                first = x.tap_start[k * x.bins + q]
                base = min(base, <int64_t> line[x.tap_position[first]])
                end = max(end, <int64_t> line[x.tap_position[first + count - 1]] + 1)
        columns.group[g].base = base - line[0] if most else 0
        columns.group[g].span = end - base if most else 0
        columns.group[g].least = least
        columns.group[g].most = most
        columns.group[g].start = start
        for t in range(most):
            for lane in range(LANES):
                q = g * LANES + lane
                i = (start + t) * LANES + lane
                columns.index[i] = 0
                columns.weight[i] = 0
                if t < columns.taps[q]:
                    first = x.tap_start[k * x.bins + q] + t
                    columns.index[i] = <lane_int> (line[x.tap_position[first]] - base)
                    columns.weight[i] = (<const real*> x.tap_weight)[first]
        start += most


cdef void crop(CropsCall* call, int64_t task, int64_t first_roi, const int64_t* image, Scratch* scratch) noexcept nogil:
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef View* view = &call.features
    cdef View* out = &call.out
    cdef int64_t k = first_roi + task // call.bands, band = task % call.bands, first, later
    cdef int begin = <int> (call.ph * band // call.bands), end = <int> (call.ph * (band + 1) // call.bands)
    cdef int c, p, j, taps, dtype = view.dtype
    cdef int low = -1, high = -1, position
    cdef int64_t span = 0
    cdef const int32_t* rows = y.line + y.line_start[k]
    cdef const char* source
    cdef const char* ahead[2]
    cdef char* gathered
    cdef real* line = <real*> scratch.lines
    cdef lanes* held = <lanes*> scratch.bins
    cdef Columns columns
    columns.group = <crops_group*> scratch.spare
    columns.index = <lane_int*> (columns.group + call.groups)
    columns.weight = <real*> (columns.index + call.room * LANES)
    columns.taps = <lane_int*> (columns.weight + call.room * LANES)
    lay_out(x, k, &columns)
    if x.line_length[k]:
        span = x.line[x.line_start[k] + x.line_length[k] - 1] - x.line[x.line_start[k]] + 1
    for p in range(begin, end):     # the part of the line that this band needs
        if y.tap_count[k * call.ph + p]:
            first = y.tap_start[k * call.ph + p]
            position = y.tap_position[first]
            low = position if low < 0 else min(low, position)
            high = max(high, y.tap_position[first + y.tap_count[k * call.ph + p] - 1])
    for c in range(view.channels):
        source = block_at(view, image[k], c)
        if span:
            source += x.line[x.line_start[k]] * view.column
        gathered = scratch.tile
        for j in range(low if low >= 0 else 1, high + 1):
            scratch.row[j] = source + rows[j] * view.row
            if not view.pixels_joined:
                crops_gather(scratch.row[j], view.column, span, view.dtype, <real*> gathered)
                dtype = call.own
                scratch.row[j] = gathered
                gathered += span * sizeof(real)
        for p in range(begin, end):
            first = y.tap_start[k * call.ph + p]
            taps = y.tap_count[k * call.ph + p]
            for j in range(taps):
                scratch.tap[j] = scratch.row[y.tap_position[first + j]]
            ahead[0] = NULL
            later = k * call.ph + p + AHEAD
            if view.pixels_joined and p + AHEAD < end and y.tap_count[later]:
                ahead[0] = scratch.row[y.tap_position[y.tap_start[later]]]
                ahead[1] = scratch.row[y.tap_position[y.tap_start[later] + y.tap_count[later] - 1]]
            crops_rows(scratch.tap, <const real*> y.tap_weight + first, taps, span, dtype, ahead, line)
            crops_columns(line, columns.group, call.groups, columns.index, columns.weight, columns.taps,
                          held + (p - begin) % call.rows_at_once * call.groups)
            if (p - begin) % call.rows_at_once == call.rows_at_once - 1 or p == end - 1:
                write_rows(call, block_at(out, call.order[k], c), p - (p - begin) % call.rows_at_once, p + 1, held,
                           scratch.chunk)


cdef void write_rows(CropsCall* call, char* target, int begin, int end, lanes* held, char* chunk) noexcept nogil:
    # Output rows begin to end, each held as whole vectors.
    cdef View* out = &call.out
    cdef const real* row
    cdef char* to
    cdef int64_t g, i, whole = call.pw // LANES, rest = call.pw % LANES
    cdef int p
    for p in range(begin, end):
        row = <const real*> (held + (p - begin) * call.groups)
        to = target + p * out.row
        if out.pixels_joined:
            if call.stream:
                to = chunk + (p - begin) * call.pw * out.size
            for g in range(whole):
                lanes_store(held[(p - begin) * call.groups + g], to + g * LANES * out.size, out.dtype)
            if rest:
                lanes_store_part(held[(p - begin) * call.groups + whole], to + whole * LANES * out.size, <int> rest,
                                 out.dtype)
        else:
            for i in range(call.pw):
                element_store(row[i], to + i * out.column, out.dtype)
    if call.stream:
        lanes_stream_bytes(target + begin * out.row, chunk, (end - begin) * call.pw * out.size)


def crops(AxisTable table, cnp.ndarray features, cnp.ndarray out, int threads):
    """Pool `features` under `table` into `out`, both shaped (image or RoI, channel, row, column)."""
    cdef CropsCall call
    cdef View* view = &call.features
    cdef Work work = Work()
    cdef int64_t k, t, i, first = table.image_start[0] if table.images else table.rois, rows
    cdef int64_t* image
    cdef cnp.ndarray memory = cnp.PyArray_EMPTY(1, [table.rois + 1], cnp.NPY_INT64, 0)
    cdef size_t tile = 0
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.features = view_of(features)
    call.out = view_of(out)
    call.ph = table.y.bins
    call.pw = table.x.bins
    call.own = FLOAT32 if sizeof(real) == 4 else FLOAT64
    call.groups = (call.pw + LANES - 1) // LANES
    call.room = 0
    image = <int64_t*> cnp.PyArray_DATA(memory)
    for i in range(table.images):
        for k in range(table.image_start[i], table.image_start[i + 1]):
            image[k] = i
            call.room = max(call.room, most_vectors(&table.x, k))
    call.rows_at_once = <int> max(1, min(<int64_t> call.ph, CHUNK_BYTES // (call.groups * <int64_t> sizeof(lanes))))
    call.stream = (call.out.rows_joined
                   and call.out.images * call.out.channels * call.ph * call.pw * call.out.size >= STREAM_BYTES)
    if table.work * view.channels < CROPS_SERIAL_WORK:
        threads = 1
    call.bands = 1 if threads == 1 else (call.ph + CROP_ROWS - 1) // CROP_ROWS
    work.count = (table.rois - first) * call.bands
    if not view.pixels_joined:
        tile = table.tallest * (view.columns + WINDOW) * sizeof(real)
    rows = call.rows_at_once
    work.provide(table, threads, tile, (view.columns + LANES + WINDOW) * sizeof(real),
                 rows * call.groups * sizeof(lanes),
                 call.groups * sizeof(crops_group) + (2 * call.room + call.groups) * sizeof(lanes),
                 rows * call.pw * call.out.size)
    with nogil:
        write_invalid(table, &call.out)
        if work.threads == 1:
            for t in range(work.count):
                crop(&call, t, first, image, work.scratch)
            lanes_fence()
        else:
            with parallel(num_threads=work.threads):
                for t in prange(work.count, schedule="dynamic", chunksize=1):
                    crop(&call, t, first, image, work.scratch + threadid())
                lanes_fence()
