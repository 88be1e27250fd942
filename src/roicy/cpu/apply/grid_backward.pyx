"""The gradient of a maximum of bilinear samples: it goes to the pixels around the chosen one.

One task is an image and one block of channels (or a band of the map's rows), summed in a tile
``[row][column][lane]``. A pixel sums its RoIs in the order of the table and their bins in row-major order, so any
number of threads gives the same bits. If very many bins have samples at a pixel, its sum is in pieces; if one RoI has
that many, the sum is compensated (the rounding error of each addition is kept).
"""

from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memset

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.apply.grid_samples cimport samples_of
from roicy.cpu.apply.term_runs cimport (
    Pieces, Runs, begin_runs, end_runs, finish_row, free_runs, join_runs, no_runs, note_window, pieces_bytes, pieces_in,
    start_image, use_sums,
)
from roicy.cpu.apply.view cimport View, block_at, fetch_bins, load_bins, store_pixels, view_of
from roicy.cpu.lanes.lanes cimport FLOAT32, LANES, lane_int, lane_ints, lanes, lanes_join, lanes_zero, real
from roicy.cpu.lanes.maxima cimport NOWHERE, chosen_pixels, ints_fill, pass_chosen, sample_axis
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.runtime.memory cimport allocate, allocate_zeros, deallocate
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.runtime.work cimport SURVEYED, Scratch, Task, Work
from roicy.cpu.tables.grid cimport Grid, GridTable, GridTables, Sample, dense_sample
from roicy.cpu.tables.rois cimport PILE, Window
from roicy.cpu.tuning cimport ALL_SAMPLES, GRID_BACKWARD_SERIAL_WORK, WIDE_CHANNELS


cdef struct GridBackwardCall:
    Grid* y
    Grid* x
    const int64_t* order
    const Window* window
    View grad_output, argmax, features
    Runs runs
    uint8_t* crowded        # (K) where there are runs: whether a pixel may get very many terms of the RoI alone


cdef struct Chosen:
    # one sample along an axis
    int32_t number, low, high       # pixels after the first one of the RoI's window
    real low_weight, high_weight
    int8_t flat


cdef inline bint sample_of(Grid* axis, int64_t bin, int32_t number, int32_t origin, Chosen* found) noexcept nogil:
    # The sample of this number, False where it misses the map.
    cdef Sample sample
    cdef int64_t at = axis.start[bin]
    if axis.dense[bin] >= 0:
        if not dense_sample(axis, bin, number, origin, &sample):
            return False
        found[0] = Chosen(number=number, low=sample.low, high=sample.high, low_weight=<real> sample.low_weight,
                          high_weight=<real> sample.high_weight, flat=sample.flat)
        return True
    # all samples that hit the map are listed
    if axis.count[bin] == 0 or not 0 <= number - <int64_t> axis.number[at] < axis.count[bin]:
        return False
    at += number - axis.number[at]
    found[0] = Chosen(number=number, low=axis.low[at], high=axis.high[at],
                      low_weight=(<const real*> axis.low_weight)[at],
                      high_weight=(<const real*> axis.high_weight)[at], flat=axis.flat[at])
    return True


cdef struct Chooser:
    # one lane of a bin of many samples
    int64_t k, p, q
    int lane
    int32_t index           # of the sample that it chose
    real value


cdef inline bint chosen(Grid* grid_y, Grid* grid_x, const Window* window, const Chooser* one, Chosen* y,
                        Chosen* x) noexcept nogil:
    # The row and column of the sample that a bin's index names, if it is one that hits the map.
    cdef int64_t row = one.k * grid_y.bins + one.p, column = one.k * grid_x.bins + one.q
    cdef int32_t total = grid_x.total[column]
    if one.index < 0 or total == 0:
        return False
    return (sample_of(grid_y, row, one.index // total, window.top, y)
            and sample_of(grid_x, column, one.index % total, window.left, x))


cdef inline bint taken_together(Grid* grid_y, Grid* grid_x, int64_t row, int64_t column) noexcept nogil:
    # Whether a bin's samples are few and all listed: each one is gone through, for all channels at once.
    return (grid_y.dense[row] < 0 and grid_x.dense[column] < 0
            and <int64_t> grid_y.count[row] * grid_x.count[column] <= ALL_SAMPLES)


cdef inline void load_argmax(View* index, const char* source, int channels, lane_ints* target) noexcept nogil:
    # The indices of one RoI's block. As floats they are as wide as in the array, and only moved about.
    cdef View same = index[0]
    cdef int64_t p, q
    cdef int c
    if sizeof(real) == 4:
        same.dtype = FLOAT32
        load_bins(&same, source, channels, <lanes*> target)
        return
    for p in range(index.rows):
        for q in range(index.columns):
            target[0] = ints_fill(NOWHERE)
            for c in range(channels):
                (<lane_int*> target)[c] = (<const int32_t*> (source + c * index.channel + p * index.row
                                                             + q * index.column))[0]
            target += 1


cdef void grid_backward_task(void* settled, Task* task, Scratch* scratch) noexcept nogil:
    cdef GridBackwardCall* call = <GridBackwardCall*> settled
    cdef View* out = &call.features
    cdef View* gradient = &call.grad_output
    cdef Grid* y = call.y
    cdef Grid* x = call.x
    cdef lanes* tile = <lanes*> scratch.tile
    cdef lanes* bins = <lanes*> scratch.bins
    cdef lane_ints* argmax = <lane_ints*> scratch.spare
    cdef char* target = block_at(out, task.image, task.channel) + task.top * out.row
    cdef const Window* window
    cdef sample_axis down, along
    cdef Chooser chooser
    cdef chosen_pixels to
    cdef Pieces pieces
    cdef int64_t k, p, q, i, row, rows = task.bottom - task.top
    cdef int c
    memset(tile, 0, rows * out.columns * sizeof(lanes))
    to.columns = out.columns
    if call.runs.start != NULL:
        pieces = pieces_in(scratch.blended, task.top, rows, out.columns)
        memset(pieces.used, 0, rows)
    for k in range(task.first, task.last):
        window = call.window + k
        if window.bottom <= task.top or window.top >= task.bottom:
            continue
        load_bins(gradient, block_at(gradient, call.order[k], task.channel), task.channels, bins)
        load_argmax(&call.argmax, block_at(&call.argmax, call.order[k], task.channel), task.channels, argmax)
        if k + 1 < task.last:
            fetch_bins(gradient, block_at(gradient, call.order[k + 1], task.channel), task.channels)
            fetch_bins(&call.argmax, block_at(&call.argmax, call.order[k + 1], task.channel), task.channels)
        to.top, to.bottom = task.top - window.top, task.bottom - window.top
        to.tile = tile + window.left - to.top * out.columns
        to.lost = NULL
        if call.runs.start != NULL:
            join_runs(&call.runs, k, task, tile, &pieces)
            if call.crowded[k]:
                for row in range(max(<int64_t> window.top, task.top), min(<int64_t> window.bottom, task.bottom)):
                    use_sums(&pieces, row - task.top)
                to.lost = pieces.lost + window.left - to.top * out.columns
        for p in range(y.bins):
            down = samples_of(y, k * y.bins + p)
            for q in range(x.bins):
                along = samples_of(x, k * x.bins + q)
                i = p * x.bins + q
                if not taken_together(y, x, k * y.bins + p, k * x.bins + q):
                    chooser = Chooser(k=k, p=p, q=q, lane=0, index=0, value=0)
                    for c in range(task.channels):
                        chooser.lane = c
                        chooser.index = <int32_t> (<lane_int*> (argmax + i))[c]
                        chooser.value = (<real*> (bins + i))[c]
                        spread_one(call, &chooser, &to)
                elif down.count and along.count:
                    check_inside(window.left + along.high[along.count - 1], 0, out.columns)
                    pass_chosen(bins + i, argmax + i, &down, &along, &to)
    for row in range(rows):
        if call.runs.start != NULL:
            finish_row(tile, &pieces, row)
        store_pixels(out, target + row * out.row, task.channels, out.columns, tile + row * out.columns, 1, False)


cdef inline void spread_one(GridBackwardCall* call, Chooser* one, const chosen_pixels* to) noexcept nogil:
    cdef real part
    cdef Chosen y, x
    cdef int64_t row
    cdef int i
    if not chosen(call.y, call.x, call.window + one.k, one, &y, &x):
        return
    for i in range(2):
        row = y.high if i else y.low
        if not to.top <= row < to.bottom:
            continue
        part = one.value * (y.high_weight if i else y.low_weight)
        check_inside(call.window[one.k].left + x.high, 0, call.features.columns)
        add_one(to, row * to.columns + x.low, one.lane, part * x.low_weight)
        add_one(to, row * to.columns + x.high, one.lane, part * x.high_weight)


cdef inline void add_one(const chosen_pixels* to, int64_t at, int lane, real value) noexcept nogil:
    cdef lanes term
    if to.lost == NULL:
        (<real*> (to.tile + at))[lane] += value
        return
    term = lanes_zero()
    (<real*> &term)[lane] = value
    to.tile[at] = lanes_join(term, to.tile[at], to.lost + at)


cdef int most_bins(Grid* axis, int64_t k, int pixels, uint8_t* bins, int32_t* last) noexcept nogil:
    # Count the bins of a RoI that sample each row (column) of its window, or one more than a piece has terms if
    # they are more; returns the most. `last` is scratch for as many.
    cdef int64_t bin, i
    cdef int32_t at
    cdef int p, j, most = 0
    memset(last, 0, pixels * sizeof(int32_t))
    memset(bins, 0, pixels)
    for p in range(axis.bins):
        bin = k * axis.bins + p
        if axis.dense[bin] >= 0:        # not all of its samples are listed
            for at in range(pixels):
                bins[at] += bins[at] <= PILE
            continue
        for i in range(axis.start[bin], axis.start[bin] + axis.count[bin]):
            for j in range(2):
                at = axis.high[i] if j else axis.low[i]
                if last[at] <= p:
                    last[at] = p + 1
                    bins[at] += bins[at] <= PILE
    for at in range(pixels):
        most = max(most, <int> bins[at])
    return most


cdef bint note_chosen(GridTable table, GridBackwardCall* call, uint8_t* down, uint8_t* along,
                      int32_t* last) noexcept nogil:
    # False: out of memory.
    cdef const Window* window
    cdef int64_t image, k
    cdef int rows, columns
    for image in range(table.images):
        start_image(&call.runs, table)
        for k in range(table.image_start[image], table.image_start[image + 1]):
            window = table.window + k
            call.runs.start[k] = call.runs.count
            if window.bottom == window.top:     # samples along one axis may be listed all the same
                continue
            rows = most_bins(call.y, k, window.bottom - window.top, down, last)
            columns = most_bins(call.x, k, window.right - window.left, along, last)
            call.crowded[k] = rows * columns > PILE
            if call.crowded[k]:         # what its additions lose is kept: they count as one
                memset(down, 1, window.bottom - window.top)
            if not note_window(&call.runs, k, window, table.width, down, NULL if call.crowded[k] else along):
                return False
    return True


cdef int find_chosen_runs(GridTable table, GridBackwardCall* call) except -1:
    cdef int64_t most = 0, image, k, pixels
    cdef uint8_t* bins = NULL
    cdef int32_t* last = NULL
    cdef bint noted, crowded = False
    for image in range(table.images):
        most = max(most, table.image_start[image + 1] - table.image_start[image])
    if most * <double> table.rows * table.columns <= PILE:
        return 0
    begin_runs(&call.runs, table)
    pixels = call.runs.longest + 1
    try:
        call.crowded = <uint8_t*> allocate_zeros(table.rois + 1)
        bins = <uint8_t*> allocate(2 * pixels)
        last = <int32_t*> allocate(pixels * sizeof(int32_t))
        with nogil:
            noted = note_chosen(table, call, bins, bins + pixels, last)
            for k in range(table.rois):
                crowded |= call.crowded[k]
        end_runs(&call.runs, table, noted, crowded)
    finally:
        deallocate(bins)
        deallocate(last)
    return 0


def grid_backward(GridTables tables, cnp.ndarray grad_output, cnp.ndarray argmax, cnp.ndarray grad_features,
                  int threads):
    """Fill `grad_features` with `grad_output` at the samples `argmax`, shaped (RoI or image, channel, row, column)."""
    cdef Py_ssize_t first
    if len(tables) == 1:
        for _, table in tables:
            grid_backward_run(table, grad_output, argmax, grad_features, threads)
        return
    for first in range(0, grad_features.shape[1], WIDE_CHANNELS):
        part = np.s_[:, first:first + WIDE_CHANNELS]
        total = None
        for run, table in tables:
            share = np.empty((<object> grad_features)[part].shape, tables.accumulate)
            grid_backward_run(table, grad_output[run][part], argmax[run][part], share, threads)
            total = share if total is None else np.add(total, share, out=total)
        grad_features[part] = total


cdef int grid_backward_run(GridTable table, cnp.ndarray grad_output, cnp.ndarray argmax, cnp.ndarray grad_features,
                           int threads) except -1:
    cdef GridBackwardCall call
    cdef View* out = &call.features
    cdef Work work = Work()
    cdef int64_t blocks
    cdef size_t bins
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.grad_output = view_of(grad_output)
    call.argmax = view_of(argmax)
    call.features = view_of(grad_features)
    blocks = (out.channels + LANES - 1) // LANES
    if table.rois * <double> table.rows * table.columns * out.channels < GRID_BACKWARD_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, out.channels, LANES, 0,
                1 if threads == 1 else max(1, min(out.rows, 4 * threads // max(1, blocks * out.images))))
    bins = (table.rows * <size_t> table.columns + LANES) * sizeof(lanes)
    call.runs, call.crowded = no_runs(), NULL
    try:
        find_chosen_runs(table, &call)
        work.provide(table, threads, out.rows * out.columns * sizeof(lanes),
                     pieces_bytes(out.rows, out.columns) if call.runs.start != NULL else 0, bins, bins, 0)
        return work.run(grid_backward_task, &call)
    finally:
        free_runs(&call.runs)
        deallocate(call.crowded)


def grid_survey(GridTable table, cnp.ndarray argmax):
    """Return (k, c, limits) of a box and channel with an index that is not in -1 ... limit - 1, or None.

    The limits are the numbers of samples of the box's bins, uint32 in a row.
    """
    cdef SampleSurvey survey
    cdef cnp.ndarray limits
    survey.table = <void*> table
    survey.view = view_of(argmax)
    survey.first = table.image_start[0] if table.images else table.rois
    survey.found = False
    limits = cnp.PyArray_EMPTY(1, [survey.view.rows * survey.view.columns], cnp.NPY_UINT32, 0)
    survey.limits = <uint32_t*> cnp.PyArray_DATA(limits)
    run_pieces(survey_samples, &survey, (table.rois - survey.first + SURVEYED - 1) // SURVEYED, 1)
    return (table.order[survey.at], survey.channel, limits) if survey.found else None


cdef struct SampleSurvey:
    void* table
    View view
    int64_t first           # rank of the first RoI that has an image
    uint32_t* limits        # of the RoI that is looked at
    bint found
    int64_t at, channel     # where a wrong index was found


cdef void survey_samples(void* settled, int64_t number, int thread) noexcept nogil:
    cdef SampleSurvey* survey = <SampleSurvey*> settled
    survey_rois(<GridTable> survey.table, survey, survey.first + number * SURVEYED)


cdef void survey_rois(GridTable table, SampleSurvey* survey, int64_t first) noexcept nogil:
    cdef View* view = &survey.view
    cdef int64_t at, c
    if survey.found:
        return
    for at in range(first, min(<int64_t> table.rois, first + SURVEYED)):
        list_limits(table, at, survey.limits)
        for c in range(view.channels):
            if exceeds(view, block_at(view, table.order[at], c), survey.limits):
                survey.found = True
                survey.at = at
                survey.channel = c
                return


cdef void list_limits(GridTable table, int64_t k, uint32_t* limits) noexcept nogil:
    # How many samples each bin has, as far as an index can count them.
    cdef int64_t p, q, total
    for p in range(table.rows):
        for q in range(table.columns):
            total = table.y.total[k * table.rows + p] * <int64_t> table.x.total[k * table.columns + q]
            limits[p * table.columns + q] = <uint32_t> min(total, <int64_t> 1 << 31)


cdef bint exceeds(View* view, const char* source, const uint32_t* limits) noexcept nogil:
    # Whether an index of one RoI's channel is not below its limit or -1; -1 becomes 0, and what is less a large number.
    cdef uint32_t wrong = 0
    cdef int64_t p, q
    if view.rows_joined:
        return exceeds_joined(<const int32_t*> source, limits, view.rows * view.columns)
    for p in range(view.rows):
        for q in range(view.columns):
            wrong |= (<uint32_t> (<const int32_t*> (source + p * view.row + q * view.column))[0] + 1
                      > limits[p * view.columns + q])
    return wrong


cdef inline bint exceeds_joined(const int32_t* index, const uint32_t* limits, int64_t count) noexcept nogil:
    # Of neighbours: a loop that compilers vectorise.
    cdef uint32_t wrong = 0
    cdef int64_t i
    for i in range(count):
        wrong |= <uint32_t> index[i] + 1 > limits[i]
    return wrong
