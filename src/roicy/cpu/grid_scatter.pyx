"""The way back from a maximum of bilinear samples: to the pixels around the chosen one, and to the box.

One task is an image and one block of channels (or a band of the map's rows), summed in a tile
``[row][column][lane]``. A pixel sums its RoIs in the order of the table and their bins in row-major order, whoever owns
it: the same bits for any number of threads.
"""

from cython.parallel cimport parallel, prange, threadid
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

cimport numpy as cnp

from roicy.cpu.checks cimport check_inside
from roicy.cpu.grid_table cimport Grid, GridTable
from roicy.cpu.lanes cimport LANES, element_load, lanes, lanes_fence, real
from roicy.cpu.roi_table cimport Window
from roicy.cpu.tile cimport View, block_at, store_pixels, view_of
from roicy.cpu.work cimport Scratch, Task, Work


# Sums below which a call is not worth a second thread.
cdef double GRID_SCATTER_SERIAL_WORK = 1 << 14


cdef struct GridScatterCall:
    Grid* y
    Grid* x
    const int64_t* order
    const Window* window
    View grad_output, argmax, features
    bint* widened
    double spatial_scale


cdef inline int64_t entry_of(Grid* axis, int64_t bin, int32_t number) noexcept nogil:
    # Where the sample of this number is listed, -1 where it misses the map.
    cdef int64_t low = axis.start[bin], high = low + axis.count[bin], middle
    cdef int64_t guess
    if high == low:
        return -1
    guess = low + (number - axis.number[low])   # neighbours but on the finest grids
    if low <= guess < high and axis.number[guess] == number:
        return guess
    while low < high:
        middle = low + (high - low) // 2
        if axis.number[middle] < number:
            low = middle + 1
        else:
            high = middle
    if low < axis.start[bin] + axis.count[bin] and axis.number[low] == number:
        return low
    return -1


cdef inline bint chosen(GridScatterCall* call, int64_t k, int64_t p, int64_t q, int32_t index, int64_t* y,
                        int64_t* x) noexcept nogil:
    # The row and column of the sample that a bin's index names, if it is one that hits the map.
    cdef int64_t row = k * call.y.bins + p, column = k * call.x.bins + q
    cdef int32_t total = call.x.total[column]
    if index < 0 or total == 0:
        return False
    y[0] = entry_of(call.y, row, index // total)
    x[0] = entry_of(call.x, column, index % total)
    return y[0] >= 0 and x[0] >= 0


cdef void scatter_samples(GridScatterCall* call, Task* task, Scratch* scratch) noexcept nogil:
    cdef View* out = &call.features
    cdef View* gradient = &call.grad_output
    cdef View* index = &call.argmax
    cdef Grid* grid_y = call.y
    cdef Grid* grid_x = call.x
    cdef lanes* tile = <lanes*> scratch.tile
    cdef real* corner
    cdef const char* values
    cdef const char* places
    cdef const Window* window
    cdef int64_t k, c, p, q, y, x, row, pixels = (task.bottom - task.top) * out.columns
    cdef real value, part
    cdef int i
    memset(tile, 0, pixels * sizeof(lanes))
    for k in range(task.first, task.last):
        window = call.window + k
        if window.bottom <= task.top or window.top >= task.bottom:
            continue
        for c in range(task.channels):
            values = block_at(gradient, call.order[k], task.channel + c)
            places = block_at(index, call.order[k], task.channel + c)
            for p in range(gradient.rows):
                for q in range(gradient.columns):
                    if not chosen(call, k, p, q, (<const int32_t*> (places + p * index.row + q * index.column))[0], &y,
                                  &x):
                        continue
                    value = element_load(values + p * gradient.row + q * gradient.column, gradient.dtype)
                    for i in range(2):
                        row = window.top + (grid_y.high[y] if i else grid_y.low[y])
                        if not task.top <= row < task.bottom:
                            continue
                        part = value * (<const real*> (grid_y.high_weight if i else grid_y.low_weight))[y]
                        check_inside(window.left + grid_x.high[x], 0, out.columns)
                        corner = <real*> (tile + (row - task.top) * out.columns + window.left) + c
                        corner[grid_x.low[x] * LANES] += part * (<const real*> grid_x.low_weight)[x]
                        corner[grid_x.high[x] * LANES] += part * (<const real*> grid_x.high_weight)[x]
    for row in range(task.bottom - task.top):
        store_pixels(out, block_at(out, task.image, task.channel) + (task.top + row) * out.row, task.channels,
                     out.columns, tile + row * out.columns, 1, False)


def grid_scatter(GridTable table, cnp.ndarray grad_output, cnp.ndarray argmax, cnp.ndarray grad_features, int threads):
    """Fill `grad_features` with `grad_output` at the samples `argmax`, shaped (RoI or image, channel, row, column)."""
    cdef GridScatterCall call
    cdef View* out = &call.features
    cdef Work work = Work()
    cdef int64_t blocks, t
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.grad_output = view_of(grad_output)
    call.argmax = view_of(argmax)
    call.features = view_of(grad_features)
    blocks = (out.channels + LANES - 1) // LANES
    if table.rois * <double> table.rows * table.columns * out.channels < GRID_SCATTER_SERIAL_WORK:
        threads = 1
    work.divide(table, 0, table.rois, out.channels, LANES, 0,
                1 if threads == 1 else max(1, min(out.rows, 4 * threads // max(1, blocks * out.images))))
    work.provide(table, threads, out.rows * out.columns * sizeof(lanes), 0, 0, 0, 0)
    with nogil:
        if work.threads == 1:
            for t in range(work.count):
                scatter_samples(&call, work.tasks + t, work.scratch)
            lanes_fence()
        else:
            with parallel(num_threads=work.threads):
                for t in prange(work.count, schedule="dynamic", chunksize=1):
                    scatter_samples(&call, work.tasks + t, work.scratch + threadid())
                lanes_fence()


cdef void differentiate_grid_scatter(GridScatterCall* call, int64_t image, int64_t k, double* target) noexcept nogil:
    # d/d(x1, y1, x2, y2) of one RoI, summed over its channels and bins.
    cdef View* view = &call.features
    cdef View* gradient = &call.grad_output
    cdef View* index = &call.argmax
    cdef Grid* grid_y = call.y
    cdef Grid* grid_x = call.x
    cdef const Window* window = call.window + k
    cdef const char* top
    cdef const char* bottom
    cdef int64_t c, p, q, y, x, left, right
    cdef int32_t place
    cdef double value, slope_y, slope_x, share_y, share_x, upper, lower, wl, wh
    for c in range(view.channels):
        for p in range(gradient.rows):
            for q in range(gradient.columns):
                place = (<const int32_t*> (block_at(index, call.order[k], c) + p * index.row + q * index.column))[0]
                if not chosen(call, k, p, q, place, &y, &x):
                    continue
                value = element_load(block_at(gradient, call.order[k], c) + p * gradient.row + q * gradient.column,
                                     gradient.dtype)
                top = block_at(view, image, c) + (window.top + grid_y.low[y]) * view.row
                bottom = block_at(view, image, c) + (window.top + grid_y.high[y]) * view.row
                left = (window.left + grid_x.low[x]) * view.column
                right = (window.left + grid_x.high[x]) * view.column
                slope_y = slope_x = 0
                if not grid_y.level[y]:
                    wl, wh = (<const real*> grid_x.low_weight)[x], (<const real*> grid_x.high_weight)[x]
                    lower = wl * element_load(top + left, view.dtype) + wh * element_load(top + right, view.dtype)
                    upper = wl * element_load(bottom + left, view.dtype) + wh * element_load(bottom + right, view.dtype)
                    slope_y = value * (upper - lower) * call.spatial_scale
                if not grid_x.level[x]:
                    wl, wh = (<const real*> grid_y.low_weight)[y], (<const real*> grid_y.high_weight)[y]
                    lower = wl * element_load(top + left, view.dtype) + wh * element_load(bottom + left, view.dtype)
                    upper = wl * element_load(top + right, view.dtype) + wh * element_load(bottom + right, view.dtype)
                    slope_x = value * (upper - lower) * call.spatial_scale
                # how far along the box the sample lies: it moves with the first coordinate by 1 - share, with the
                # second by share
                share_y = (p + (grid_y.number[y] + 0.5) / grid_y.total[k * grid_y.bins + p]) / grid_y.bins
                share_x = (q + (grid_x.number[x] + 0.5) / grid_x.total[k * grid_x.bins + q]) / grid_x.bins
                if call.widened[2 * k]:
                    share_y = 0
                if call.widened[2 * k + 1]:
                    share_x = 0
                target[0] += slope_x * (1 - share_x)
                target[1] += slope_y * (1 - share_y)
                target[2] += slope_x * share_x
                target[3] += slope_y * share_y


def grid_box_gradient(GridTable table, cnp.ndarray grad_output, cnp.ndarray argmax, cnp.ndarray features,
                      cnp.ndarray grad_boxes, int threads):
    """Add to `grad_boxes` (K, 4), float64, d/d(x1, y1, x2, y2); the others are shaped (RoI or image, ...)."""
    cdef GridScatterCall call
    cdef double* target = <double*> cnp.PyArray_DATA(grad_boxes)
    cdef int64_t image, k
    call.y = &table.y
    call.x = &table.x
    call.order = table.order
    call.window = table.window
    call.grad_output = view_of(grad_output)
    call.argmax = view_of(argmax)
    call.features = view_of(features)
    call.widened = table.widened
    call.spatial_scale = table.spatial_scale
    if table.rois * <double> table.rows * table.columns * call.features.channels < GRID_SCATTER_SERIAL_WORK:
        threads = 1
    with nogil:
        for image in range(table.images):
            if threads == 1:
                for k in range(table.image_start[image], table.image_start[image + 1]):
                    differentiate_grid_scatter(&call, image, k, target + 4 * table.order[k])
            else:
                for k in prange(table.image_start[image], table.image_start[image + 1], num_threads=threads,
                                schedule="dynamic", chunksize=1):
                    differentiate_grid_scatter(&call, image, k, target + 4 * table.order[k])


def grid_index_error(GridTable table, cnp.ndarray argmax):
    """Return ((k, c, p, q), value, limit) of an index that is not in -1 ... limit - 1, None where there is none.

    The limit is the number of samples in the bin.
    """
    cdef View view = view_of(argmax)
    cdef int64_t at, limit = 0, k = 0, c = 0, p = 0, q = 0
    cdef int32_t index = 0
    cdef bint found = False
    with nogil:
        for at in range(table.image_start[0] if table.images else table.rois, table.rois):
            for c in range(view.channels):
                for p in range(view.rows):
                    for q in range(view.columns):
                        k = table.order[at]
                        index = (<const int32_t*> (block_at(&view, k, c) + p * view.row + q * view.column))[0]
                        limit = (table.y.total[at * table.rows + p]
                                 * <int64_t> table.x.total[at * table.columns + q])
                        if index < -1 or index >= limit:
                            found = True
                            break
                    if found:
                        break
                if found:
                    break
            if found:
                break
    if not found:
        return None
    return (k, c, p, q), index, limit
