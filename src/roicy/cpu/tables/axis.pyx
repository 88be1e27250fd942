"""Axis tables: which pixels each output row and column of a RoI averages, and with what weights.

On an axis-aligned grid a bilinear weight is a product of one weight in y and one in x, a sample is dropped
where y is out *or* x is out, and the divisor is the product of both counts. So the average over a bin needs
one short list of (pixel, weight) taps for its row and one for its column::

    box ──▶ sample positions ──▶ taps of bin p: (pixel, weight) (pixel, weight) ...
                                 samples on the same pixel merge, weights are divided by the count
"""

from cython cimport floating
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cimport numpy as cnp

from roicy.cpu.runtime.checks cimport CHECKED, check, check_inside
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tables.rois cimport Place, Window
from roicy.cpu.tables.samples cimport (
    DENSE_AVERAGE, FINE_GRID, Side, Span, bin_base, cell_end, cell_of, dense_cells, next_position, pixel_below,
    position, side_of, span_of,
)

cnp.import_array()

cdef enum:
    ROIS_OF_A_PIECE = 16
# RoIs for each thread that fills the table.
cdef Py_ssize_t ROIS_OF_A_THREAD = 64


cdef struct Weight:
    double value, start, end


cdef inline int64_t room(floating base, floating bin_size, Span* span, int length) noexcept nogil:
    # How many taps the bin can have at the most; it has samples.
    cdef int64_t low = pixel_below(position(base, bin_size, span, span.first), length)
    cdef int64_t high = pixel_below(position(base, bin_size, span, span.last), length)
    cdef int64_t pixels = high - low + 1 + (high < length - 1)
    if pixels > 2 * (span.last - span.first + 1):
        pixels = <int64_t> (2 * (span.last - span.first + 1))
    return pixels


cdef inline int add_tap(int32_t* pixel, Weight* weight, int taps, int at, double value,
                        double start, double end) noexcept nogil:
    # Positions ascend, so a pixel that was seen before is the last one or the last but one.
    cdef int i = taps - 1
    if taps > 1 and pixel[taps - 2] == at:
        i = taps - 2
    elif taps == 0 or pixel[i] != at:
        i = taps
        taps += 1
        pixel[i] = at
        weight[i].value = weight[i].start = weight[i].end = 0
    weight[i].value += value
    weight[i].start += start
    weight[i].end += end
    return taps


cdef inline int fill_bin(floating base, floating bin_size, Span* span, int bin, int bins, int length, double scale,
                         bint unit_size, int32_t* pixel, Weight* weight) noexcept nogil:
    # The taps of one bin, summed over its samples; returns how many there are.
    cdef int taps = 0, below
    cdef double index = span.first, middle, number, following, run, share, fraction, start, end, part
    cdef floating place
    # positions on finer grids are too coarse for it
    cdef bint dense = (span.count <= FINE_GRID
                       and dense_cells(base, bin_size, span, length, DENSE_AVERAGE) > 0)
    while index <= span.last:
        place = position(base, bin_size, span, index)
        if dense:
            following = cell_end(base, bin_size, span, cell_of(place, length), length) + 1
            middle = (index + following - 1) / 2
        else:
            following = next_position(base, bin_size, span, index)
            middle = index
        run = following - index
        number = span.count - 1 - middle if span.mirrored else middle
        # how far along the box the sample lies: it moves with the first coordinate by 1 - share, with the second
        # by share
        share = (bin + (number + 0.5) / span.count) / bins
        start = scale if unit_size else scale * (1 - share)
        end = 0 if unit_size else scale * share
        part = run / span.count
        below = pixel_below(place, length)
        if below == length - 1:
            taps = add_tap(pixel, weight, taps, below, part, 0, 0)
        else:
            fraction = place - below if place > 0 else 0.0
            if dense and place >= 0:
                fraction = min(max(base + (number + 0.5) * bin_size / span.count - below, 0.0), 1.0)
            if not (place >= 0):
                start = end = 0
            taps = add_tap(pixel, weight, taps, below, part * (1 - fraction), -part * start, -part * end)
            taps = add_tap(pixel, weight, taps, below + 1, part * fraction, part * start, part * end)
        index = following
    return taps


cdef int64_t axis_room(floating first, floating second, double spatial_scale, int bins, int sampling_ratio,
                       bint aligned, int length, int* lowest, int* highest) noexcept nogil:
    # How many taps the RoI can have at the most, its first pixel and its last.
    cdef Side side = side_of(first, second, spatial_scale, bins, sampling_ratio, aligned)
    cdef Span span
    cdef int64_t taps = 0
    cdef int p, pixel
    cdef floating base
    lowest[0] = length
    highest[0] = -1
    for p in range(bins):
        base = bin_base(<floating> side.start, <floating> side.size, p)
        span = span_of(base, <floating> side.size, side.count, length)
        if span.first <= span.last:
            taps += room(base, <floating> side.size, &span, length)
            lowest[0] = min(lowest[0], pixel_below(position(base, <floating> side.size, &span, span.first), length))
            pixel = pixel_below(position(base, <floating> side.size, &span, span.last), length)
            highest[0] = max(highest[0], min(pixel + 1, length - 1))
    return taps


cdef void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef double get(void* source, bint double_, int64_t i) noexcept nogil:
    return (<double*> source)[i] if double_ else (<float*> source)[i]


cdef void fill_axis(Axis* axis, int64_t k, floating first, floating second, double spatial_scale, int sampling_ratio,
                    bint aligned, int length, bint double_, int32_t* mark, Weight* weight) noexcept nogil:
    # `mark` has room for the pixels from the first to the last one of the RoI and is all -1 before and after;
    # `weight` has room for a bin's taps.
    cdef Side side = side_of(first, second, spatial_scale, axis.bins, sampling_ratio, aligned)
    cdef Span span
    cdef int64_t at = axis.line_start[k], start = at, row = k * axis.bins, i
    cdef int p, taps, low = length, high = -1, used = 0, pixel
    cdef floating base
    for p in range(axis.bins):
        base = bin_base(<floating> side.start, <floating> side.size, p)
        span = span_of(base, <floating> side.size, side.count, length)
        taps = fill_bin(base, <floating> side.size, &span, p, axis.bins, length, spatial_scale, side.unit_size,
                        axis.tap_position + at, weight)
        axis.tap_start[row + p] = at
        axis.tap_count[row + p] = taps
        for i in range(taps):
            put(axis.tap_weight, double_, at + i, weight[i].value)
            if axis.tap_slope_start != NULL:
                put(axis.tap_slope_start, double_, at + i, weight[i].start)
                put(axis.tap_slope_end, double_, at + i, weight[i].end)
        if taps:
            low = min(low, axis.tap_position[at])
            high = max(high, axis.tap_position[at + taps - 1])
        at += taps
    check(at <= axis.line_start[k + 1])
    # the pixels in ascending order are the line; taps then name positions in it
    for i in range(start, at):
        mark[axis.tap_position[i] - low] = 1
    for pixel in range(low, high + 1):
        if mark[pixel - low] >= 0:
            mark[pixel - low] = used
            axis.line[start + used] = pixel
            used += 1
    axis.line_length[k] = used
    for i in range(start, at):
        axis.tap_position[i] = mark[axis.tap_position[i] - low]
    for pixel in range(low, high + 1):
        mark[pixel - low] = -1
    if axis.bin != NULL:
        transpose_taps(axis, k, start, at, double_)


cdef void transpose_taps(Axis* axis, int64_t k, int64_t start, int64_t end, bint double_) noexcept nogil:
    cdef int64_t i, at = start, row = k * axis.bins
    cdef int used = axis.line_length[k], p, place
    for i in range(used):
        axis.bin_count[start + i] = 0
    for i in range(start, end):
        axis.bin_count[start + axis.tap_position[i]] += 1
    for i in range(used):
        axis.bin_start[start + i] = at
        at += axis.bin_count[start + i]
        axis.bin_count[start + i] = 0
    for p in range(axis.bins):
        for i in range(axis.tap_start[row + p], axis.tap_start[row + p] + axis.tap_count[row + p]):
            place = axis.tap_position[i]
            at = axis.bin_start[start + place] + axis.bin_count[start + place]
            axis.bin[at] = p
            put(axis.bin_weight, double_, at, get(axis.tap_weight, double_, i))
            axis.bin_count[start + place] += 1


cdef class AxisTable(RoiTable):
    """Axis tables of K RoIs, in both axes; RoIs by bands of their last rows (of their first ones for the adjoint).

    Parameters
    ----------
    boxes : ndarray, (K, 4) or (K, 5), float32 or float64, C-contiguous
        Corners x1, y1, x2, y2; with five columns the batch index comes first.
    images : ndarray, (K,), int64, C-contiguous, or None with five columns
        Batch indices.
    input_shape : tuple of int
        N, C, H, W.
    output_size : tuple of int
        Output rows and columns.
    spatial_scale, sampling_ratio, aligned
        As in `roicy.roi_align`.
    accumulate : {"float32", "float64"}
        Type of the weights.
    purpose : {"forward", "backward", "backward_rois"}
        What the table is for; the gradients need the transpose, the last one derivatives too.
    threads : int
        Threads that may be used.
    """

    def __cinit__(self, cnp.ndarray boxes, images, input_shape, output_size, double spatial_scale, int sampling_ratio,
                  bint aligned, str accumulate, str purpose, int threads):
        cdef int columns = <int> cnp.PyArray_DIM(boxes, 1)
        cdef int64_t* image
        self.describe(input_shape, output_size, accumulate, boxes)
        self.y.bins = self.rows
        self.x.bins = self.columns
        image = self.find_images(boxes, images)
        if cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32:
            fill(self, <const float*> cnp.PyArray_DATA(boxes), columns, image, spatial_scale, sampling_ratio,
                 aligned, purpose, threads)
        else:
            fill(self, <const double*> cnp.PyArray_DATA(boxes), columns, image, spatial_scale, sampling_ratio,
                 aligned, purpose, threads)


cdef struct Filling:
    # what a call fills its tables from; box k is at `boxes` + k * columns
    const void* boxes
    bint single             # boxes are float32
    int columns
    const int64_t* image
    const int64_t* order
    Axis* y
    Axis* x
    int64_t rois
    int height, width
    double spatial_scale
    int sampling_ratio
    bint aligned, by_first_row, double_
    Place* places
    int64_t length          # of each thread's marks, which has weights for one pixel more
    int32_t* mark
    Weight* weight


cdef int fill(AxisTable table, const floating* boxes, int columns, const int64_t* image, double spatial_scale,
              int sampling_ratio, bint aligned, str purpose, int threads) except -1:
    cdef Py_ssize_t k, count = table.rois
    cdef int64_t pieces = (count + ROIS_OF_A_PIECE - 1) // ROIS_OF_A_PIECE
    cdef Filling filling
    cdef Place* places = <Place*> table.reserve(count, sizeof(Place))
    threads = <int> min(threads, count // ROIS_OF_A_THREAD + 1)
    filling = Filling(
        boxes=boxes + columns - 4, single=floating is float, columns=columns, image=image, order=NULL, y=&table.y,
        x=&table.x, rois=count, height=table.height, width=table.width, spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio, aligned=aligned, by_first_row=purpose == "backward", double_=table.double,
        places=places, length=1, mark=NULL, weight=NULL,
    )
    run_pieces(note_places, &filling, pieces, threads)
    table.arrange(places)
    filling.order = table.order
    table.y.line_start = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    table.x.line_start = <int64_t*> table.reserve(count + 1, sizeof(int64_t))
    table.y.line_start[0] = table.x.line_start[0] = 0
    for k in range(count):
        filling.length = max(filling.length, places[k].extent)
        table.y.line_start[k + 1] = table.y.line_start[k] + places[k].room_y
        table.x.line_start[k + 1] = table.x.line_start[k] + places[k].room_x
    lay_out(table, &table.y, purpose)
    lay_out(table, &table.x, purpose)
    fill_taps(&filling, pieces, threads)
    if CHECKED:
        check_axis(&table.y, table.rois, table.height)
        check_axis(&table.x, table.rois, table.width)
    note_windows(table, image)
    return 0


cdef void note_places(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Filling* f = <Filling*> settled
    cdef int64_t k
    for k in range(number * ROIS_OF_A_PIECE, min(f.rois, (number + 1) * ROIS_OF_A_PIECE)):
        if f.single:
            f.places[k] = place_of(<const float*> f.boxes + k * f.columns, f.image[k], k, f)
        else:
            f.places[k] = place_of(<const double*> f.boxes + k * f.columns, f.image[k], k, f)


cdef int lay_out(AxisTable table, Axis* axis, str purpose) except -1:
    cdef int64_t total = axis.line_start[table.rois]
    cdef Py_ssize_t weight = sizeof(double) if table.double else sizeof(float)
    axis.line_length = <int32_t*> table.reserve(table.rois, sizeof(int32_t))
    axis.line = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.tap_start = <int64_t*> table.reserve(table.rois * axis.bins, sizeof(int64_t))
    axis.tap_count = <int32_t*> table.reserve(table.rois * axis.bins, sizeof(int32_t))
    axis.tap_position = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.tap_weight = table.reserve(total, weight)
    if purpose == "forward":
        return 0
    axis.bin_start = <int64_t*> table.reserve(total, sizeof(int64_t))
    axis.bin_count = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.bin = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.bin_weight = table.reserve(total, weight)
    if purpose == "backward_rois":
        axis.tap_slope_start = table.reserve(total, weight)
        axis.tap_slope_end = table.reserve(total, weight)
    return 0


cdef void check_axis(Axis* axis, int64_t rois, int length) noexcept:
    cdef int64_t k, i, start, room
    for k in range(rois):
        start = axis.line_start[k]
        room = axis.line_start[k + 1] - start
        check_inside(axis.line_length[k], 0, room + 1)
        for i in range(start, start + axis.line_length[k]):
            check_inside(axis.line[i], axis.line[i - 1] + 1 if i > start else 0, length)
            if axis.bin != NULL:
                check_inside(axis.bin_start[i], start, start + room)
                check_inside(axis.bin_start[i] + axis.bin_count[i], start, start + room + 1)
        for i in range(k * axis.bins, (k + 1) * axis.bins):
            check_inside(axis.tap_start[i], start, start + room + 1)
            check_inside(axis.tap_start[i] + axis.tap_count[i], start, start + room + 1)
        for i in range(start, axis.tap_start[(k + 1) * axis.bins - 1] + axis.tap_count[(k + 1) * axis.bins - 1]):
            check_inside(axis.tap_position[i], 0, axis.line_length[k])
            if axis.bin != NULL:
                check_inside(axis.bin[i], 0, axis.bins)


cdef int fill_taps(Filling* filling, int64_t pieces, int threads) except -1:
    # scratch of each thread: marks and a bin's weights
    filling.mark = <int32_t*> malloc(threads * filling.length * sizeof(int32_t) + 1)
    filling.weight = <Weight*> malloc(threads * (filling.length + 1) * sizeof(Weight) + 1)
    try:
        if filling.mark == NULL or filling.weight == NULL:
            raise MemoryError("roicy: no memory for the axis tables' scratch")
        memset(filling.mark, -1, threads * filling.length * sizeof(int32_t))
        run_pieces(fill_rois, filling, pieces, threads)
    finally:
        free(filling.mark)
        free(filling.weight)
    return 0


cdef int note_windows(AxisTable table, const int64_t* image) except -1:
    cdef Axis* y = &table.y
    cdef Axis* x = &table.x
    cdef const int32_t* rows
    cdef const int32_t* columns
    cdef double* cost = <double*> table.reserve(table.rois, sizeof(double))
    cdef int64_t k
    table.window = <Window*> table.reserve(table.rois, sizeof(Window))
    table.widest = table.tallest = 0
    for k in range(table.rois):
        table.window[k] = Window(top=0, bottom=0, left=0, right=0)
        cost[k] = 0
        table.widest = max(table.widest, x.line_length[k])
        table.tallest = max(table.tallest, y.line_length[k])
        if x.line_length[k] and y.line_length[k]:
            rows = y.line + y.line_start[k]
            columns = x.line + x.line_start[k]
            table.window[k] = Window(top=rows[0], bottom=rows[y.line_length[k] - 1] + 1,
                                     left=columns[0], right=columns[x.line_length[k] - 1] + 1)
            cost[k] = row_taps(y, k) * <double> x.line_length[k]
    return table.summarise(image, cost)


cdef int64_t row_taps(Axis* axis, int64_t k) noexcept nogil:
    cdef int64_t total = 0, i
    for i in range(k * axis.bins, (k + 1) * axis.bins):
        total += axis.tap_count[i]
    return total


cdef Place place_of(const floating* box, int64_t image, int64_t roi, Filling* f) noexcept nogil:
    cdef Place place
    cdef int top = 0, bottom = 0, left = 0, right = 0
    place.image = image
    place.roi = roi
    place.room_y = place.room_x = 0
    if image >= 0:
        place.room_y = axis_room(box[1], box[3], f.spatial_scale, f.y.bins, f.sampling_ratio, f.aligned, f.height,
                                 &top, &bottom)
        place.room_x = axis_room(box[0], box[2], f.spatial_scale, f.x.bins, f.sampling_ratio, f.aligned, f.width,
                                 &left, &right)
    place.row = top if f.by_first_row else bottom
    place.column = left
    place.extent = max(bottom - top, right - left) + 1
    return place


cdef void fill_rois(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Filling* f = <Filling*> settled
    cdef int32_t* mark = f.mark + thread * f.length
    cdef Weight* weight = f.weight + thread * (f.length + 1)
    cdef int64_t at
    for at in range(number * ROIS_OF_A_PIECE, min(f.rois, (number + 1) * ROIS_OF_A_PIECE)):
        if f.image[f.order[at]] < 0:
            empty_axis(f.y, at)
            empty_axis(f.x, at)
        elif f.single:
            fill_box(<const float*> f.boxes + f.order[at] * f.columns, at, f, mark, weight)
        else:
            fill_box(<const double*> f.boxes + f.order[at] * f.columns, at, f, mark, weight)


cdef inline void fill_box(const floating* box, int64_t at, Filling* f, int32_t* mark, Weight* weight) noexcept nogil:
    fill_axis(f.y, at, box[1], box[3], f.spatial_scale, f.sampling_ratio, f.aligned, f.height, f.double_, mark, weight)
    fill_axis(f.x, at, box[0], box[2], f.spatial_scale, f.sampling_ratio, f.aligned, f.width, f.double_, mark, weight)


cdef void empty_axis(Axis* axis, int64_t k) noexcept nogil:
    cdef int64_t p
    axis.line_length[k] = 0
    for p in range(k * axis.bins, (k + 1) * axis.bins):
        axis.tap_start[p] = axis.line_start[k]
        axis.tap_count[p] = 0
