"""The gradient with respect to rotated boxes: the same weighted sums, with five slopes for every weight.

A slope is the derivative of a tap's weight with respect to the box's centre, width, height or angle. Lanes are
channels; they are summed at the end, blocks of channels in ascending order and in double precision, so the bits do not
depend on the threads.

The gradients with respect to the offset and the mask of a bin (deformable pooling) are computed alike, but summed for
each bin separately: with two slopes for every weight (offset), or with the weight itself (mask).
"""

from libc.stdint cimport int32_t, int64_t

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.box_parts cimport Parts, add_parts, next_parts, note_part, part_of, parts_for, parts_length
from roicy.cpu.apply.tile cimport Sheet, load_sheet, sheet_at
from roicy.cpu.apply.view cimport View, block_at, fetch_bins, load_bins, view_of
from roicy.cpu.lanes.gathering cimport pass_gather_bin_slopes, pass_gather_slopes
from roicy.cpu.lanes.lanes cimport LANES, lanes, real
from roicy.cpu.lanes.phases cimport PHASE_OTHER, PHASE_ROWS, phase_enter
from roicy.cpu.runtime.work cimport Scratch, Task, Work
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tables.rotated cimport Point
from roicy.cpu.tables.sample cimport BIN_SLOPES, SLOPES, SampleChunk, Samples, SampleTable
from roicy.cpu.tuning cimport SAMPLE_BACKWARD_ROIS_SERIAL_WORK


cdef struct SampleBackwardRoisCall:
    const Window* window
    const int64_t* order
    const int32_t* tile_left
    const int32_t* tile_columns
    Samples* samples
    View grad_output, features
    bint alone
    int64_t span, rows
    int slopes              # of a tap that are summed for each bin; 0: SLOPES, for each box
    Parts parts


cdef void sample_backward_rois_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef SampleBackwardRoisCall* call = <SampleBackwardRoisCall*> settled
    cdef View* view = &call.features
    cdef View* gradient = &call.grad_output
    cdef const char* source = block_at(view, task.image, task.channel)
    cdef Samples* samples = call.samples
    cdef lanes* bins = <lanes*> scratch.bins
    cdef lanes total[SLOPES]
    cdef const Window* window
    cdef const int32_t* taps
    cdef const real* slope
    cdef const lanes* corner
    cdef Sheet sheet
    cdef int64_t k, at, count = gradient.rows * gradient.columns
    sheet.rows = call.rows
    sheet.first = sheet.filled = -1
    sheet.left = call.tile_left[task.image]
    sheet.columns = call.tile_columns[task.image]
    sheet.depth = 1
    for k in range(task.first, task.last):
        window = call.window + k
        if window.bottom == window.top:
            continue
        if call.alone:
            sheet.first = sheet.filled = window.top
            sheet.left = window.left
            sheet.columns = window.right - window.left
        elif sheet.filled < 0:
            sheet.first = sheet.filled = max(<int64_t> 0, window.bottom - call.span)
        load_sheet(view, source, task.channels, window, call.span, &sheet, scratch.tile)
        load_bins(gradient, block_at(gradient, call.order[k], task.channel), task.channels, bins)
        if k + 1 < task.last:
            fetch_bins(gradient, block_at(gradient, call.order[k + 1], task.channel), task.channels)
        at = samples.tap_start[k - samples.first]
        taps = samples.tap_count + (k - samples.first) * count
        corner = sheet_at(&sheet, scratch.tile, window.top, window.left)
        phase_enter(PHASE_ROWS)
        if call.slopes:
            slope = <const real*> (samples.slope if call.slopes == BIN_SLOPES else samples.weight) + at * call.slopes
            pass_gather_bin_slopes(corner, samples.offset + at, slope, taps, <int> count, bins,
                                   part_of(&call.parts, k, task.channel), call.slopes)
        else:
            pass_gather_slopes(corner, samples.offset + at, <const real*> samples.slope + at * SLOPES, taps,
                               <int> count, bins, total)
            note_part(&call.parts, k, task.channel, total, 1)
        phase_enter(PHASE_OTHER)


def sample_backward_rois(SampleTable table, cnp.ndarray grad_output, cnp.ndarray features, cnp.ndarray grad_boxes,
                         int threads):
    """Fill `grad_boxes` (K, 5), float64, with d/d(cx, cy, w, h, angle); the others are shaped (RoI or image, ...)."""
    gather_slopes(table, grad_output, features, <double*> cnp.PyArray_DATA(grad_boxes), 0, threads)


cdef inline double scaled_sum(double sum, double reach) noexcept nogil:
    # Where an offset moves a bin beyond all numbers, no sample has a slope.
    return sum * reach if sum != 0 else 0


def sample_backward_bins(SampleTable table, cnp.ndarray grad_output, cnp.ndarray features, cnp.ndarray gradient,
                         int threads):
    """Fill `gradient` (K, 2, PH, PW), float64, with d/d(offset along x, along y); (K, 1, PH, PW) with d/d(mask)."""
    cdef double* target = <double*> cnp.PyArray_DATA(gradient)
    cdef int slopes = <int> gradient.shape[1]
    cdef int64_t bins = table.rows * <int64_t> table.columns, place, i
    cdef Point* reach
    gather_slopes(table, grad_output, features, target, slopes, threads)
    if slopes != BIN_SLOPES:
        return
    with nogil:
        for place in range(table.image_start[0] if table.images else table.rois, table.rois):
            reach = table.reach + table.given[place]
            for i in range(2 * bins * table.order[place], 2 * bins * table.order[place] + bins):
                target[i] = scaled_sum(target[i], reach.x)
                target[i + bins] = scaled_sum(target[i + bins], reach.y)


cdef int gather_slopes(SampleTable table, cnp.ndarray grad_output, cnp.ndarray features, double* target, int slopes,
                       int threads) except -1:
    # So many slopes of each tap, summed for each bin; for each box where there are none.
    cdef SampleBackwardRoisCall call
    cdef Work work = Work()
    cdef SampleChunk chunks = SampleChunk(table, threads)
    cdef View* view = &call.features
    cdef int64_t busy = 0, image, columns = 0
    cdef cnp.ndarray room
    cdef int number, entered
    call.order = table.order
    call.window = table.window
    call.tile_left = table.tile_left
    call.tile_columns = table.tile_columns
    call.grad_output = view_of(grad_output)
    call.features = view_of(features)
    call.alone = table.alone
    call.span = max(1, table.span)
    call.rows = call.span if table.alone else min(<int64_t> table.height, 2 * call.span)
    call.slopes = slopes
    call.parts = parts_for(table.rois, view.channels,
                           slopes * call.grad_output.rows * call.grad_output.columns if slopes else SLOPES)
    room = np.empty(parts_length(&call.parts))
    call.parts.part = <double*> cnp.PyArray_DATA(room)
    for image in range(table.images):
        busy += table.image_start[image + 1] > table.image_start[image]
        columns = max(columns, <int64_t> table.tile_columns[image])
    entered = 1 if table.room[table.rois] * <double> view.channels < SAMPLE_BACKWARD_ROIS_SERIAL_WORK else threads
    for number in range(table.chunks):
        call.samples = chunks.take(number)
        call.parts.end = table.chunk[number]
        while call.parts.end < table.chunk[number + 1]:
            next_parts(&call.parts, table.chunk[number + 1])
            work.divide(table, call.parts.begin, call.parts.end, view.channels, LANES,
                        1 if entered == 1 else max(1, 4 * entered // max(1, call.parts.blocks * busy)), 0)
            if call.parts.begin == 0:
                work.provide(table, entered, call.rows * (table.widest if table.alone else columns) * sizeof(lanes), 0,
                             (call.grad_output.rows * call.grad_output.columns + LANES) * sizeof(lanes), 0, 0)
            work.run(sample_backward_rois_task, &call)
            with nogil:
                add_parts(&call.parts, table.order, target)
    return 0
