"""Crops of quadrangles, of which the corners are laid on those of the crop by a perspective view.

One piece is some rows of a crop::

    row p ──▶ where its samples lie, lanes along the row ──▶ sums [column][channel] ──▶ filled up, normalised ──▶ out

Channels are taken four at a time.
"""

from libc.math cimport NAN
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport INT32_MAX, int32_t, int64_t

cimport numpy as cnp

from roicy.cpu.apply.view cimport View, block_at, view_of
from roicy.cpu.lanes.lanes cimport LANES, element_store, real
from roicy.cpu.lanes.turned cimport (
    QUAD, projected_clear, projected_line, projected_places, projected_rule, projected_seen, turned_finish,
    turned_finished, turned_map, turned_row, turned_samples, turned_step, turned_store, turned_sum,
)
from roicy.cpu.runtime.memory cimport borrow, bytes_of, give_back, most_bytes
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tuning cimport CROP_ROWS, SAMPLE_FORWARD_SERIAL_WORK


cdef struct QuadForwardCall:
    const double* view          # (K, 9) from a crop's rows and columns to the map: a matrix each
    const int64_t* image        # (K), -1 where the row is invalid
    View images, out
    const real* numbers         # rows of fill, mean and scale, `more` apart
    ptrdiff_t more
    projected_rule rule
    bint plain                  # nothing becomes of values
    int64_t bands
    size_t room                 # items of a row, with some behind it
    char* scratch
    size_t each                 # bytes of a thread


cdef void quad_forward_piece(void* settled, int64_t number, int thread) noexcept nogil:
    cdef QuadForwardCall* call = <QuadForwardCall*> settled
    cdef View* view = &call.images
    cdef View* out = &call.out
    cdef int64_t k = number // call.bands, band = number % call.bands, image = call.image[k], p, q, c, block, channel
    cdef int64_t begin = out.rows * band // call.bands, end = out.rows * (band + 1) // call.bands
    cdef const double* matrix = call.view + 9 * k
    cdef float* columns = <float*> (call.scratch + thread * call.each)
    cdef float* sums = columns + 3 * call.room
    cdef double at
    cdef turned_map pixels
    cdef turned_samples samples
    cdef turned_finish finish
    cdef turned_row to
    cdef projected_line line
    cdef int j, step
    cdef projected_seen seen
    cdef bint joined
    samples.offset = <int32_t*> (sums + QUAD * call.room)
    samples.right, samples.down = samples.offset + call.room, samples.offset + 2 * call.room
    samples.outside = <float*> samples.offset + 3 * call.room
    for j in range(4):
        samples.weight[j] = <float*> samples.offset + (4 + j) * call.room
    line.x, line.y, line.w = columns, columns + call.room, columns + 2 * call.room
    for q in range(<int64_t> call.room):
        at = q + 0.5
        columns[q] = <float> (matrix[0] * at)
        columns[call.room + q] = <float> (matrix[3] * at)
        columns[2 * call.room + q] = <float> (matrix[6] * at)
    pixels.row, pixels.column, pixels.channel = view.row, view.column, view.channel
    pixels.height, pixels.width, pixels.dtype = <int> view.rows, <int> view.columns, view.dtype
    to.column, to.channel, to.dtype = out.column, out.channel, out.dtype
    for block in range((view.channels + QUAD - 1) // QUAD):
        channel = block * QUAD
        pixels.channels = to.channels = <int> min(<int64_t> QUAD, view.channels - channel)
        pixels.source = block_at(view, max(<int64_t> 0, image), channel)
        joined = (view.channel == view.size or view.channels == 1) and view.row > 0 and view.column > 0
        for c in range(QUAD):
            finish.fill[c] = <float> call.numbers[channel + c]
            finish.mean[c] = <float> call.numbers[call.more + channel + c]
            finish.scale[c] = <float> call.numbers[2 * call.more + channel + c]
        for p in range(begin, end):
            to.data = block_at(out, k, channel) + p * out.row
            if image < 0:
                for c in range(to.channels):
                    for q in range(out.columns):
                        element_store(<real> NAN, to.data + c * out.channel + q * out.column, out.dtype)
                continue
            at = p + 0.5
            line.row_x = <float> (matrix[1] * at + matrix[2])
            line.row_y = <float> (matrix[4] * at + matrix[5])
            line.row_w = <float> (matrix[7] * at + matrix[8])
            seen = projected_places(&pixels, &line, call.rule, out.columns, &samples)
            pixels.together = joined and view.limit - pixels.source >= seen.reach + QUAD * view.size
            step = turned_step(&to) if call.plain else QUAD
            turned_sum(&pixels, &samples, 0, out.columns, sums, step)
            if seen.missing:
                projected_clear(samples.outside, out.columns, step, sums)
            if not call.plain:
                turned_finished(&finish, samples.outside, out.columns, sums)
            turned_store(sums, step, out.columns, &to)


def quad_forward(cnp.ndarray images, cnp.ndarray matrices, cnp.ndarray indices, cnp.ndarray out, cnp.ndarray numbers,
                 tuple rule, int threads):
    """Fill `out` (K, C, PH, PW) with what matrices (K, 3, 3) show of images (N, C, H, W), those of `indices`."""
    cdef QuadForwardCall call
    cdef int64_t count = cnp.PyArray_DIM(matrices, 0)
    call.images, call.out = view_of(images), view_of(out)
    if reach_of(&call.images) > INT32_MAX:
        images = images.copy()
        call.images = view_of(images)
    call.view = <const double*> cnp.PyArray_DATA(matrices)
    call.image = <const int64_t*> cnp.PyArray_DATA(indices)
    call.numbers = <const real*> cnp.PyArray_DATA(numbers)
    call.more = cnp.PyArray_DIM(numbers, 1)
    call.rule = projected_rule(border=rule[0], nearest=rule[1])
    call.plain = not numbers[:2].any() and (numbers[2, :call.images.channels] == 1).all()
    call.room = (<size_t> call.out.columns + LANES - 1) // LANES * LANES
    call.each = bytes_of(3 + QUAD + 8, call.room, sizeof(float)) + 64
    if call.each >= most_bytes():
        raise MemoryError("roicy: no memory for a row of this many pixels")
    if 4.0 * count * call.out.rows * call.out.columns * call.images.channels < SAMPLE_FORWARD_SERIAL_WORK:
        threads = 1
    call.bands = (call.out.rows + CROP_ROWS - 1) // CROP_ROWS
    threads = <int> max(1, min(threads, count * call.bands))
    call.scratch = <char*> borrow(threads * call.each)
    try:
        run_pieces(quad_forward_piece, &call, count * call.bands, threads)
    finally:
        give_back(call.scratch)
