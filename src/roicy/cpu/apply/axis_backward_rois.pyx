"""The gradient with respect to the boxes: the same apply with the derivative of one axis's weights.

With U = A_y · X (the row pass) and V = dY · A_x (the transposed column pass), for every RoI::

    d/dx1 = Σ dY · (U · ∂A_xᵀ/∂x1)            the column pass with slopes for weights
    d/dy1 = Σ ∂A_y/∂y1 · D,   D[p, row] = Σ over columns of V[p, column] · X[row, column]

and likewise for x2 and y2. One sweep over the tile gives both U and D. Lanes are channels: they are summed at the
end, blocks of channels in ascending order and in double precision, so that the bits do not depend on the threads.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.axis_taps cimport (
    Bins, Touched, bin_at, bins_from, task_bins, touched_columns, touched_pixels, touched_rows, pixels_from, spread_bin,
)
from roicy.cpu.apply.box_parts cimport Parts, add_parts, next_parts, note_part, parts_for, parts_length
from roicy.cpu.apply.tile cimport Ring, check_held, load_rows, ring_for
from roicy.cpu.apply.view cimport View, bins_apart, block_at, fetch_bins, load_bins, view_of
from roicy.cpu.lanes.lanes cimport LANES, PIECE, lane_rows, lanes, lanes_join, lanes_restore, lanes_zero, real
from roicy.cpu.lanes.passes cimport GROUP, pass_columns, pass_rows_and_dots, tap_list, tap_lists
from roicy.cpu.lanes.phases cimport PHASE_COLUMNS, PHASE_OTHER, PHASE_ROWS, phase_enter
from roicy.cpu.lanes.piles cimport CHAIN, piles_add_products, piles_add_weighted
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Work
from roicy.cpu.tables.axis cimport Axis, AxisTable
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tuning cimport AXIS_BACKWARD_ROIS_SERIAL_WORK


cdef struct AxisBackwardRoisCall:
    Axis* y
    Axis* x
    const int64_t* order
    const Window* window
    View grad_output, features
    ptrdiff_t step          # step from a bin's channel to the next bin's, if each bin has its own
    int64_t apart           # step from a bin's parts to the next bin's, in channels
    int ph, pw
    int widest
    int64_t ring
    Parts parts


cdef void axis_backward_rois_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef AxisBackwardRoisCall* call = <AxisBackwardRoisCall*> settled
    cdef Axis* y = call.y
    cdef Axis* x = call.x
    cdef Bins at = task_bins(task, call.ph, call.pw)
    cdef View features = call.features
    cdef View* view = &features
    cdef ptrdiff_t first_bin = 0
    cdef const char* source
    cdef const int32_t* column
    cdef Touched down, across
    cdef Ring ring = ring_for(view, call.window, task.first, task.last, call.ring)
    cdef lanes* blended = <lanes*> scratch.blended                       # U: (GROUP, widest)
    cdef lanes* spread = blended + GROUP * <ptrdiff_t> call.widest     # V: (GROUP, widest)
    cdef lanes* bins = <lanes*> scratch.bins                           # dY: (PH, PW)
    cdef lanes* moved = <lanes*> scratch.spare                         # (GROUP, PW) a column pass with slopes
    cdef lanes* dots = moved + GROUP * <ptrdiff_t> call.pw             # D of one bin: (3, tallest)
    cdef lanes sums[4]      # of x1, y1, x2, y2
    cdef lanes lost[4]
    cdef lanes start, end   # terms of y1 and y2 that have not joined their sums
    cdef lane_rows of_bins = lane_rows(first=bins, stride=at.columns, depth=1)
    cdef lane_rows of_blended = lane_rows(first=blended, stride=0, depth=1)
    cdef tap_lists pixels, from_start, from_end
    cdef tap_list bin
    cdef bint pieces
    cdef int64_t k, first, b, last
    cdef int count, p, r, group, j, held
    if task.bin >= 0:
        features.data += task.bin * call.step
        first_bin = at.p * call.grad_output.row + at.q * call.grad_output.column
    source = block_at(view, task.image, task.channel)
    for k in range(task.first, task.last):
        down, across = touched_pixels(y, k, task, at.p), touched_pixels(x, k, task, at.q)
        count = across.count
        of_blended.stride = across.first + count
        if count == 0 or down.count == 0:
            continue
        column = touched_columns(&across)
        load_rows(view, source, task.channels, call.window[k].bottom, &ring, <lanes*> scratch.tile)
        check_held(call.window + k, &ring)
        touched_rows(&down, &across, scratch.tile - ring.left * <ptrdiff_t> sizeof(lanes), ring.columns * sizeof(lanes),
                     sizeof(lanes), ring.rows, scratch.row)
        load_bins(&call.grad_output, block_at(&call.grad_output, call.order[k], task.channel) + first_bin,
                  task.channels, bins)
        if k + 1 < task.last:
            fetch_bins(&call.grad_output, block_at(&call.grad_output, call.order[k + 1], task.channel) + first_bin,
                       task.channels)
        for j in range(4):
            sums[j] = lost[j] = lanes_zero()
        start = end = lanes_zero()
        held = 0
        last = (k + 1) * call.ph - 1
        pieces = (call.ph * <int64_t> call.pw > CHAIN
                  or y.tap_start[last] + y.tap_count[last] - y.tap_start[k * call.ph] > CHAIN)
        pixels = pixels_from(x, x.pixel_start[k])
        from_start = bins_from(x, k * call.pw + at.q, x.tap_slope_start)
        from_end = bins_from(x, k * call.pw + at.q, x.tap_slope_end)
        p = at.p
        while p < at.p + at.rows:
            group = min(GROUP, at.p + at.rows - p)
            b = (p - at.p) * <int64_t> at.columns
            of_bins.first = bins + b
            if task.bin >= 0:
                spread_bin(x, k, at.q, &across, bins[0], spread)
            else:
                phase_enter(PHASE_COLUMNS)
                pass_columns(&of_bins, group, &pixels, count, spread, 0)
                phase_enter(PHASE_OTHER)
            for r in range(group):
                first = y.tap_start[k * call.ph + p + r]
                bin = bin_at(y, k * call.ph + p + r)
                phase_enter(PHASE_ROWS)
                pass_rows_and_dots(scratch.row, &bin, column, count, spread + r * <ptrdiff_t> count,
                                   scratch.tap, blended + across.first + r * <ptrdiff_t> count, dots)
                phase_enter(PHASE_OTHER)
                held += bin.count
                if pieces and held > PIECE:
                    sums[1] = lanes_join(start, sums[1], lost + 1)
                    sums[3] = lanes_join(end, sums[3], lost + 3)
                    start = end = lanes_zero()
                    held = bin.count
                piles_add_weighted(<const real*> y.tap_slope_start + first, dots, bin.count, pieces, &start, sums + 1,
                                   lost + 1)
                piles_add_weighted(<const real*> y.tap_slope_end + first, dots, bin.count, pieces, &end, sums + 3,
                                   lost + 3)
            phase_enter(PHASE_COLUMNS)
            pass_columns(&of_blended, group, &from_start, at.columns, moved, 0)
            phase_enter(PHASE_OTHER)
            piles_add_products(moved, bins + b, group * <int64_t> at.columns, pieces, sums, lost)
            phase_enter(PHASE_COLUMNS)
            pass_columns(&of_blended, group, &from_end, at.columns, moved, 0)
            phase_enter(PHASE_OTHER)
            piles_add_products(moved, bins + b, group * <int64_t> at.columns, pieces, sums + 2, lost + 2)
            p += group
        sums[1] = lanes_join(start, sums[1], lost + 1)
        sums[3] = lanes_join(end, sums[3], lost + 3)
        for j in range(4):
            sums[j] = lanes_restore(sums[j], lost[j])
        note_part(&call.parts, k, task.channel + max(<int64_t> 0, task.bin) * call.apart, sums, 1)


def axis_backward_rois(AxisTable table, cnp.ndarray grad_output, cnp.ndarray features, cnp.ndarray grad_boxes,
                       int threads):
    """Fill `grad_boxes` (K, 4) with d/d(x1, y1, x2, y2); the arrays are shaped (RoI or image, channel, row, column)."""
    cdef AxisBackwardRoisCall call
    cdef Work work = Work()
    cdef int64_t channels, busy = 0, image
    cdef cnp.ndarray room
    cdef double* target = <double*> cnp.PyArray_DATA(grad_boxes)
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.grad_output = view_of(grad_output)
    call.features = view_of(features)
    call.ph = table.y.bins
    call.pw = table.x.bins
    call.widest = table.widest
    call.ring = max(1, table.span)
    call.step = call.features.channel
    work.bins = bins_apart(&call.features, &call.grad_output)
    channels = call.features.channels
    call.apart = (channels + LANES - 1) // LANES * LANES
    call.parts = parts_for(table.rois, max(<int64_t> 1, work.bins) * call.apart, 4)
    room = np.empty(parts_length(&call.parts))
    call.parts.part = <double*> cnp.PyArray_DATA(room)
    for image in range(table.images):
        busy += table.image_start[image + 1] > table.image_start[image]
    if table.work * channels < AXIS_BACKWARD_ROIS_SERIAL_WORK:
        threads = 1
    while call.parts.end < table.rois:
        next_parts(&call.parts, table.rois)
        work.divide(table, call.parts.begin, call.parts.end, channels, LANES,
                    1 if threads == 1 else max(1, 4 * threads // max(1, call.parts.blocks * busy)), 0)
        if call.parts.begin == 0:
            work.provide(table, threads, bytes_of(call.ring, call.features.columns, sizeof(lanes)),
                         2 * GROUP * <size_t> table.widest * sizeof(lanes),
                         (<size_t> call.ph * call.pw + LANES) * sizeof(lanes),
                         (GROUP * <size_t> call.pw + 3 * <size_t> table.tallest) * sizeof(lanes), 0)
        work.run(axis_backward_rois_task, &call)
        with nogil:
            add_parts(&call.parts, table.order, target)
