"""The gradient of a maximum of bilinear samples with respect to the box.

One task is an image and a block of LANES channels (or a part of the image's RoIs). When the box moves, the chosen
sample moves with it; the choice does not change. Each lane of a block sums pieces of up to PILE bins. Blocks are added
in double precision, in their order, so any number of threads gives the same bits.
"""

from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.box_parts cimport Parts, add_parts, next_parts, note_part, parts_for, parts_length
from roicy.cpu.apply.grid_samples cimport samples_of
from roicy.cpu.apply.tile cimport Ring, load_rows, ring_for, window_rows
from roicy.cpu.apply.view cimport View, block_at, fetch_bins, load_bins, view_of
from roicy.cpu.lanes.lanes cimport LANES, lane_int, lane_ints, lanes, lanes_join, lanes_restore, lanes_zero, real
from roicy.cpu.lanes.maxima cimport NOWHERE, ints_fill, pass_chosen_slopes, sample_axis, sample_share
from roicy.cpu.runtime.memory cimport bytes_of
from roicy.cpu.runtime.work cimport Scratch, Task, Work
from roicy.cpu.tables.grid cimport Grid, GridTable, GridTables
from roicy.cpu.tables.rois cimport PILE, Window
from roicy.cpu.tuning cimport ALL_SAMPLES, GRID_BACKWARD_ROIS_ALONE_SHARE, GRID_BACKWARD_ROIS_SERIAL_WORK


cdef struct GridBackwardRoisCall:
    Grid* y
    Grid* x
    const int64_t* order
    const Window* window
    View grad_output, argmax, features
    bint alone              # each RoI's window is loaded for itself
    int64_t ring            # rows of the tile
    const bint* widened
    double spatial_scale
    Parts parts


cdef inline sample_share share_of(Grid* axis, int64_t k, int64_t p, int32_t number, const bint* widened) noexcept nogil:
    # How far along the box a sample of bin p lies; a box that was widened moves with its first coordinate alone.
    cdef double share = (p + (number + 0.5) / axis.total[k * axis.bins + p]) / axis.bins
    if widened[0]:
        share = 0
    return sample_share(first=<real> (1 - share), second=<real> share)


cdef inline sample_axis only(Chosen* sample, int32_t total) noexcept nogil:
    return sample_axis(count=1, total=total, number=&sample.number, low=&sample.low, high=&sample.high,
                       low_weight=&sample.low_weight, high_weight=&sample.high_weight, flat=&sample.flat)


cdef void grid_backward_rois_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef GridBackwardRoisCall* call = <GridBackwardRoisCall*> settled
    cdef View* view = &call.features
    cdef const char* source = block_at(view, task.image, task.channel)
    cdef Grid* y = call.y
    cdef Grid* x = call.x
    cdef lanes* bins = <lanes*> scratch.bins
    cdef lane_ints* argmax = <lane_ints*> scratch.spare
    cdef sample_share* x_shares = <sample_share*> scratch.blended     # (columns of bins, ALL_SAMPLES)
    cdef sample_share y_shares[ALL_SAMPLES]
    cdef Ring ring = ring_for(view, call.window, task.first, task.last, call.ring)
    cdef lanes slopes[4]
    cdef lanes sums[4]
    cdef lanes lost[4]
    cdef const Window* window
    cdef sample_axis down, along
    cdef Chooser chooser
    cdef int64_t k, p, q, i
    cdef int c, j
    for k in range(task.first, task.last):
        window = call.window + k
        if window.bottom == window.top:
            continue
        if call.alone:
            ring = ring_for(view, call.window, k, k + 1, call.ring)
        load_rows(view, source, task.channels, window.bottom, &ring, <lanes*> scratch.tile)
        window_rows(window, &ring, scratch.tile, scratch.row)
        load_bins(&call.grad_output, block_at(&call.grad_output, call.order[k], task.channel), task.channels, bins)
        load_argmax(&call.argmax, block_at(&call.argmax, call.order[k], task.channel), task.channels, argmax)
        if k + 1 < task.last:
            fetch_bins(&call.grad_output, block_at(&call.grad_output, call.order[k + 1], task.channel), task.channels)
            fetch_bins(&call.argmax, block_at(&call.argmax, call.order[k + 1], task.channel), task.channels)
        for q in range(x.bins):
            along = samples_of(x, k * x.bins + q)
            for j in range(min(along.count, <int> ALL_SAMPLES)):
                x_shares[q * ALL_SAMPLES + j] = share_of(x, k, q, along.number[j], call.widened + 2 * k + 1)
        for j in range(4):
            slopes[j] = sums[j] = lost[j] = lanes_zero()
        for p in range(y.bins):
            down = samples_of(y, k * y.bins + p)
            for j in range(min(down.count, <int> ALL_SAMPLES)):
                y_shares[j] = share_of(y, k, p, down.number[j], call.widened + 2 * k)
            for q in range(x.bins):
                along = samples_of(x, k * x.bins + q)
                i = p * x.bins + q
                if i and i % PILE == 0:
                    for j in range(4):
                        sums[j] = lanes_join(slopes[j], sums[j], lost + j)
                        slopes[j] = lanes_zero()
                if not taken_together(y, x, k * y.bins + p, k * x.bins + q):
                    chooser = Chooser(k=k, p=p, q=q, lane=0, index=0, value=0)
                    for c in range(task.channels):
                        chooser.lane = c
                        chooser.index = <int32_t> (<lane_int*> (argmax + i))[c]
                        chooser.value = (<real*> (bins + i))[c]
                        differentiate_one(call, &chooser, scratch.row, slopes)
                elif down.count and along.count:
                    pass_chosen_slopes(bins + i, argmax + i, scratch.row, &down, &along, y_shares,
                                       x_shares + q * ALL_SAMPLES, slopes)
        for j in range(4):
            sums[j] = lanes_restore(lanes_join(slopes[j], sums[j], lost + j), lost[j])
        note_part(&call.parts, k, task.channel, sums, call.spatial_scale)


cdef inline void differentiate_one(GridBackwardRoisCall* call, Chooser* one, const char** row,
                                   lanes* slopes) noexcept nogil:
    cdef lanes gradient = lanes_zero()
    cdef lane_ints at = ints_fill(NOWHERE)
    cdef sample_axis down, along
    cdef sample_share y_share, x_share
    cdef Chosen y, x
    if not chosen(call.y, call.x, call.window + one.k, one, &y, &x):
        return
    (<real*> &gradient)[one.lane] = one.value
    (<lane_int*> &at)[one.lane] = one.index
    down = only(&y, call.y.total[one.k * call.y.bins + one.p])
    along = only(&x, call.x.total[one.k * call.x.bins + one.q])
    y_share = share_of(call.y, one.k, one.p, y.number, call.widened + 2 * one.k)
    x_share = share_of(call.x, one.k, one.q, x.number, call.widened + 2 * one.k + 1)
    pass_chosen_slopes(&gradient, &at, row, &down, &along, &y_share, &x_share, slopes)


def grid_backward_rois(GridTables tables, cnp.ndarray grad_output, cnp.ndarray argmax, cnp.ndarray features,
                       cnp.ndarray grad_boxes, int threads):
    """Fill `grad_boxes` (K, 4), float64, with d/d(x1, y1, x2, y2); the others are shaped (RoI or image, ...)."""
    for run, table in tables:
        grid_backward_rois_run(table, grad_output[run], argmax[run], features, grad_boxes[run], threads)


cdef int grid_backward_rois_run(GridTable table, cnp.ndarray grad_output, cnp.ndarray argmax, cnp.ndarray features,
                                cnp.ndarray grad_boxes, int threads) except -1:
    cdef GridBackwardRoisCall call
    cdef View* view = &call.features
    cdef Work work = Work()
    cdef double* target = <double*> cnp.PyArray_DATA(grad_boxes)
    cdef int64_t busy = 0, image, columns
    cdef size_t bins
    cdef cnp.ndarray room
    cdef double pooled = 0, mapped = 0
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.grad_output = view_of(grad_output)
    call.argmax = view_of(argmax)
    call.features = view_of(features)
    call.widened = table.widened
    call.spatial_scale = table.sampling.spatial_scale
    for image in range(table.images):
        pooled += table.bin_pixels[image]
        mapped += table.map_pixels[image]
        busy += table.image_start[image + 1] > table.image_start[image]
    call.alone = pooled < GRID_BACKWARD_ROIS_ALONE_SHARE * mapped
    call.ring = max(1, table.span)
    call.parts = parts_for(table.rois, view.channels, 4)
    room = np.empty(parts_length(&call.parts))
    call.parts.part = <double*> cnp.PyArray_DATA(room)
    columns = table.widest if call.alone and 4 * table.widest <= 3 * view.columns else view.columns
    bins = (table.rows * <size_t> table.columns + LANES) * sizeof(lanes)
    if table.rois * <double> table.rows * table.columns * view.channels < GRID_BACKWARD_ROIS_SERIAL_WORK:
        threads = 1
    while call.parts.end < table.rois:
        next_parts(&call.parts, table.rois)
        work.divide(table, call.parts.begin, call.parts.end, view.channels, LANES,
                    1 if threads == 1 else max(1, 4 * threads // max(1, call.parts.blocks * busy)), 0)
        if call.parts.begin == 0:
            work.provide(table, threads, bytes_of(call.ring, columns, sizeof(lanes)),
                         table.columns * <size_t> ALL_SAMPLES * sizeof(sample_share), bins, bins, 0)
        work.run(grid_backward_rois_task, &call)
        with nogil:
            add_parts(&call.parts, table.order, target)
    return 0
