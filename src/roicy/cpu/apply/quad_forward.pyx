"""Crops of quadrangles: a perspective view maps the corners of the crop to the corners of the quadrangle.

One piece is some rows of a crop::

    row p ──▶ where its samples lie, lanes along the row ──▶ sums [column][channel] ──▶ filled up, normalised ──▶ out

Channels are handled four at a time. For bytes, a vector of columns is summed and finished at a time; inside the map,
the same loop finds the positions of its samples. If a pixel has several samples, several rows of samples are added up.
"""

from libc.math cimport NAN, isfinite
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport INT32_MAX, int32_t, int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.overflow cimport overflow_forget, overflow_noted, overflow_store
from roicy.cpu.apply.view cimport View, block_at, view_of
from roicy.cpu.lanes.lanes cimport LANES, element_load, element_store, real
from roicy.cpu.lanes.turned cimport (
    QUAD, TURNED_BYTES_FLOATS, TURNED_BYTES_MORE, projected_add, projected_clear, projected_inside_as_a_whole,
    projected_join, projected_joined, projected_line, projected_pick, projected_places, projected_rule,
    projected_seen, projected_share, turned_bytes, turned_bytes_ahead, turned_bytes_can, turned_bytes_describe,
    turned_bytes_finish, turned_bytes_like, turned_bytes_row, turned_finish, turned_finished, turned_map, turned_row,
    turned_samples, turned_step, turned_store, turned_sum, turned_where,
)
from roicy.cpu.runtime.memory cimport allocate, borrow, bytes_of, deallocate, give_back, most_bytes
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.quad cimport QuadMap, QuadPlace, QuadTable, QuadView, quad_sample
from roicy.cpu.tables.rois cimport PILE
from roicy.cpu.tuning cimport CROP_ROWS, CROP_ROWS_AHEAD, SAMPLE_FORWARD_SERIAL_WORK


cdef extern from "pairs.h" nogil:
    enum:
        PAIR_ELEMENTS           # that are read from a pixel on

cdef struct QuadForwardCall:
    const QuadView* view        # (K)
    View* images                # arrays of as many images each
    View out
    const real* numbers         # rows of fill, mean and scale, `more` apart
    ptrdiff_t more
    projected_rule rule
    bint parted                 # images are a part of larger ones
    int top, left, height, width
    bint plain                  # values are stored as they are
    int64_t bands
    size_t room                 # items of a row, with some behind it
    char* scratch
    size_t each                 # bytes of a thread


cdef struct QuadRow:
    # the row of samples in work, in the memory of a thread
    turned_map pixels
    turned_samples samples
    projected_line line
    float* sums                 # QUAD of each column, those of a row of samples behind them
    float* part
    float* outside              # of each column, where there are several rows of samples
    turned_bytes bytes_
    turned_where where
    bint whole                  # all channels are of this block
    bint done                   # it is in the output already


cdef inline void quad_row_sum(QuadForwardCall* call, QuadRow* row, View* map, float* sums, int step,
                              const turned_row* to) noexcept nogil:
    # The sums of one row of samples; or they go to the output, unless that is NULL.
    cdef bint bytes_ = to != NULL and row.whole and not call.rule.nearest and turned_bytes_like(&row.pixels)
    cdef projected_seen seen
    cdef ptrdiff_t further
    row.where.projected = NULL
    row.done = (bytes_ and not call.parted and map.row >= PAIR_ELEMENTS
                and projected_inside_as_a_whole(&row.pixels, &row.line, call.out.columns))
    if row.done:
        row.where.projected = &row.line
    else:
        seen = projected_places(&row.pixels, &row.line, call.rule, call.out.columns, &row.samples)
        further = map.limit - row.pixels.source - seen.reach
        row.done = bytes_ and turned_bytes_can(
            &row.pixels, further - (row.pixels.channels - 1) * row.pixels.channel)
    if row.done:
        turned_bytes_row(&row.bytes_, &row.pixels, &row.samples, &row.where, call.out.columns, to)
        return
    row.pixels.together = ((map.channel == map.size or map.channels == 1) and map.row > 0 and map.column > 0
                           and further >= QUAD * map.size)
    if call.rule.nearest:
        projected_pick(&row.pixels, &row.samples, call.out.columns, sums, step)
    else:
        turned_sum(&row.pixels, &row.samples, 0, call.out.columns, sums, step)
    if seen.missing:
        projected_clear(row.samples.outside, call.out.columns, step, sums)


cdef inline void quad_line_at(projected_line* line, const double* matrix, double down, double across) noexcept nogil:
    # Samples so far `down` in the crop, and so far behind the middle of each column.
    line.row_x = <float> (matrix[1] * down + matrix[2] + matrix[0] * across)
    line.row_y = <float> (matrix[4] * down + matrix[5] + matrix[3] * across)
    line.row_w = <float> (matrix[7] * down + matrix[8] + matrix[6] * across)


cdef inline ptrdiff_t quad_ahead(const double* matrix, double down, double middle,
                                 const turned_map* map) noexcept nogil:
    # Bytes from where a sample lies to where one does some rows later, in the middle of the crop.
    cdef double later = down + CROP_ROWS_AHEAD
    cdef double w = matrix[6] * middle + matrix[7] * down + matrix[8]
    cdef double other = matrix[6] * middle + matrix[7] * later + matrix[8]
    cdef double x = ((matrix[0] * middle + matrix[1] * later + matrix[2]) / other
                     - (matrix[0] * middle + matrix[1] * down + matrix[2]) / w)
    cdef double y = ((matrix[3] * middle + matrix[4] * later + matrix[5]) / other
                     - (matrix[3] * middle + matrix[4] * down + matrix[5]) / w)
    return turned_bytes_ahead(map, y, x)


cdef void quad_nowhere(View* out, int64_t k, int64_t begin, int64_t end) noexcept nogil:
    # Rows of a crop of no image.
    cdef int64_t channel, p, q
    for channel in range(out.channels):
        for p in range(begin, end):
            for q in range(out.columns):
                element_store(<real> NAN, block_at(out, k, channel) + p * out.row + q * out.column, out.dtype)


cdef double half_of_pixel(QuadForwardCall* call, const QuadView* view, View* map, const char* source, int p, int q,
                          double fill) noexcept nogil:
    # Half of the mean of a pixel's samples, with fill; every sample is checked.
    cdef QuadMap whole = QuadMap(height=call.height if call.parted else <int> map.rows,
                                 width=call.width if call.parted else <int> map.columns,
                                 border=call.rule.border, nearest=call.rule.nearest)
    cdef QuadPlace y, x
    cdef double total = 0, outside = 0, missing, value
    cdef int number, corner, samples = view.rows * view.columns
    for number in range(samples):
        missing = quad_sample(view, number, p, q, whole, &y, &x)
        outside += missing
        if missing == 1:
            continue
        for corner in range(4):
            value = element_load(source + (y.low - call.top + (corner >> 1 if y.next else 0)) * map.row
                                 + (x.low - call.left + (corner & 1 if x.next else 0)) * map.column, map.dtype)
            if value != value:
                return NAN
            total += 0.5 * y.weight[corner >> 1] * x.weight[corner & 1] * value
    return (total + 0.5 * outside * fill) / samples


cdef void settle_quad(QuadForwardCall* call, int64_t k, View* map, const char* source, int64_t channel, int channels,
                      int64_t p) noexcept nogil:
    # Averages that have overflowed: see overflow.pxd.
    cdef View* out = &call.out
    cdef const real* numbers = call.numbers + channel
    cdef char* target
    cdef double half
    cdef int64_t q
    cdef int c
    overflow_forget()
    for c in range(channels):
        target = block_at(out, k, channel + c) + p * out.row
        for q in range(out.columns):
            if not isfinite(element_load(target, out.dtype)):
                half = half_of_pixel(call, call.view + k, map, source + c * map.channel, <int> p, <int> q, numbers[c])
                if not call.plain:
                    half = (half - 0.5 * numbers[call.more + c]) * numbers[2 * call.more + c]
                overflow_store(half, target, out.dtype)
            target += out.column


cdef void quad_forward_piece(void* settled, int64_t number, int thread) noexcept nogil:
    cdef QuadForwardCall* call = <QuadForwardCall*> settled
    cdef View* out = &call.out
    cdef int64_t k = number // call.bands, band = number % call.bands, p, q, c, block, channel
    cdef int64_t begin = out.rows * band // call.bands, end = out.rows * (band + 1) // call.bands
    cdef const QuadView* view = call.view + k
    if view.image < 0:
        quad_nowhere(out, k, begin, end)
        return
    cdef int64_t per_array = call.images.images, image = view.image
    cdef View* map = call.images + image // per_array
    cdef const double* matrix = view.matrix
    cdef int samples = view.rows * view.columns, j, step, row_of, column_of, sample
    cdef double* totals = <double*> (call.scratch + thread * call.each)
    cdef float* columns = <float*> (totals + (QUAD + 1) * call.room)
    cdef double at
    cdef turned_finish finish
    cdef turned_row to
    cdef QuadRow row
    row.sums = columns + 3 * call.room
    row.part, row.outside = row.sums + QUAD * call.room, row.sums + 2 * QUAD * call.room
    row.samples.offset = <int32_t*> (row.outside + call.room)
    row.samples.right, row.samples.down = row.samples.offset + call.room, row.samples.offset + 2 * call.room
    row.samples.outside = <float*> row.samples.offset + 3 * call.room
    for j in range(4):
        row.samples.weight[j] = <float*> row.samples.offset + (4 + j) * call.room
    row.line.x, row.line.y, row.line.w = columns, columns + call.room, columns + 2 * call.room
    for q in range(<int64_t> call.room):
        at = min(q, out.columns - 1) + 0.5
        columns[q] = <float> (matrix[0] * at)
        columns[call.room + q] = <float> (matrix[3] * at)
        columns[2 * call.room + q] = <float> (matrix[6] * at)
    row.pixels.row, row.pixels.column, row.pixels.channel = map.row, map.column, map.channel
    row.pixels.height, row.pixels.width, row.pixels.dtype = <int> map.rows, <int> map.columns, map.dtype
    row.pixels.parted = call.parted
    row.where.turned = NULL
    if call.parted:
        row.pixels.rows, row.pixels.columns, row.pixels.top = row.pixels.height, row.pixels.width, call.top
        row.pixels.left, row.pixels.height, row.pixels.width = call.left, call.height, call.width
    to.column, to.channel, to.dtype = out.column, out.channel, out.dtype
    overflow_forget()
    for block in range((out.channels + QUAD - 1) // QUAD):
        channel = block * QUAD
        row.pixels.channels = to.channels = <int> min(<int64_t> QUAD, out.channels - channel)
        row.pixels.source = block_at(map, image % per_array, channel)
        row.whole = row.pixels.channels == out.channels and map.row > 0
        for c in range(QUAD):
            finish.fill[c] = <float> call.numbers[channel + c]
            finish.mean[c] = <float> call.numbers[call.more + channel + c]
            finish.scale[c] = <float> call.numbers[2 * call.more + channel + c]
        turned_bytes_describe(&row.bytes_, to.channels, row.samples.weight[3] + call.room, call.room)
        if not call.plain:
            turned_bytes_finish(&row.bytes_, &finish, row.samples.outside)
        for p in range(begin, end):
            to.data = block_at(out, k, channel) + p * out.row
            step = turned_step(&to) if call.plain and samples == 1 else QUAD
            if samples == 1:
                quad_line_at(&row.line, matrix, p + 0.5, 0)
                row.where.ahead = 0
                if p + CROP_ROWS_AHEAD < end:
                    row.where.ahead = quad_ahead(matrix, p + 0.5, 0.5 * out.columns, &row.pixels)
                quad_row_sum(call, &row, map, row.sums, step, &to)
                if row.done:
                    continue
            else:
                for row_of in range(view.rows):
                    for column_of in range(view.columns):
                        quad_line_at(&row.line, matrix, p + (row_of + 0.5) / view.rows,
                                     (column_of + 0.5) / view.columns - 0.5)
                        quad_row_sum(call, &row, map, row.part, QUAD, NULL)
                        sample = row_of * view.columns + column_of
                        projected_add(row.part, row.samples.outside, out.columns, row.sums, row.outside,
                                      sample % PILE == 0)
                        if samples > PILE and (sample % PILE == PILE - 1 or sample == samples - 1):
                            projected_join(row.sums, row.outside, out.columns, totals, sample < PILE)
                if samples > PILE:
                    projected_joined(totals, out.columns, row.sums, row.outside)
                projected_share(<float> (1.0 / samples), out.columns, row.sums, row.outside)
            if not call.plain:
                turned_finished(&finish, row.samples.outside if samples == 1 else row.outside, out.columns, row.sums)
            turned_store(row.sums, step, out.columns, &to)
            if overflow_noted():
                settle_quad(call, k, map, row.pixels.source, channel, to.channels, p)


def quad_forward(QuadTable table, tuple images, cnp.ndarray out, cnp.ndarray numbers, tuple rule, window,
                 int threads):
    """Fill `out` (K, C, PH, PW) with the crops of arrays of images (N, C, H, W), all of the same number of images.

    With a window (y, x, height, width), the arrays are parts of larger images.
    """
    cdef QuadForwardCall call
    cdef int64_t i
    cdef cnp.ndarray array
    cdef list kept = []
    call.out = view_of(out)
    call.view = table.view
    call.numbers = <const real*> cnp.PyArray_DATA(numbers)
    call.more = cnp.PyArray_DIM(numbers, 1)
    call.rule = projected_rule(border=rule[0], nearest=rule[1])
    call.parted = window is not None
    call.top = call.left = 0
    if call.parted:
        call.top, call.left, call.height, call.width = window
    call.plain = not numbers[:2].any() and (numbers[2, :call.out.channels] == 1).all()
    call.room = (<size_t> call.out.columns + LANES - 1) // LANES * LANES
    call.each = bytes_of(4 + 2 * QUAD + 8 + TURNED_BYTES_FLOATS, call.room, sizeof(float))
    call.each += TURNED_BYTES_MORE * sizeof(float) + bytes_of(QUAD + 1, call.room, sizeof(double))
    if call.each >= most_bytes():
        raise MemoryError("roicy: no memory for a row of this many pixels")
    if 4.0 * table.samples * call.out.channels < SAMPLE_FORWARD_SERIAL_WORK:
        threads = 1
    call.bands = (call.out.rows + CROP_ROWS - 1) // CROP_ROWS
    threads = <int> max(1, min(threads, table.quads * call.bands))
    call.images = <View*> allocate(len(images) * sizeof(View))
    call.scratch = NULL
    try:
        for i in range(len(images)):
            array = images[i]
            call.images[i] = view_of(array)
            if reach_of(&call.images[i]) > INT32_MAX:
                array = array.copy()
                call.images[i] = view_of(array)
                if reach_of(&call.images[i]) > INT32_MAX:
                    raise ValueError("images must have at most 2 GiB each to cut quadrangles out of them")
            kept.append(array)
        call.scratch = <char*> borrow(threads * call.each)
        run_pieces(quad_forward_piece, &call, table.quads * call.bands, threads)
    finally:
        deallocate(call.images)
        if call.scratch != NULL:
            give_back(call.scratch)
