"""Grid tables: where the samples of each bin lie, one by one, along either axis of a RoI.

A maximum over a bin's samples does not separate into rows and columns, but the samples do: they lie on a grid, so that
a list of rows and a list of columns describe them all::

    box ──▶ sample rows of bin p: (pixels, weights) ...      sample columns of bin q: (pixels, weights) ...

Of samples that share a position only the first can be the first maximum, so only that one is listed.
"""

from cython cimport floating
from libc.math cimport floor

cimport numpy as cnp

import numpy as np

from roicy.cpu.checks cimport CHECKED, check, check_inside
from roicy.cpu.roi_table cimport Place, Window
from roicy.cpu.samples cimport FINE_GRID, Side, Span, bin_base, next_position, pixel_below, position, side_of, span_of

cnp.import_array()

cdef enum:
    MOST_SAMPLES = 0x7fffffff


cdef struct Rule:
    # how samples are laid: RoIAlign's grid, or from the edge of each bin in steps of one pixel
    double spatial_scale
    int sampling_ratio
    bint aligned
    bint from_edge


cdef struct Entry:
    int32_t number, low, high
    double low_weight, high_weight
    bint level


cdef struct Bin:
    # the samples of one bin along one axis
    double total            # hit or not
    double missed           # number of the first one that misses the map, -1 where none does
    Span span
    double base, step       # exact: the boxes' dtype fits in a double


cdef inline int32_t bounded(double value) noexcept nogil:
    return <int32_t> min(value, <double> MOST_SAMPLES)


cdef inline Bin grid_bin(floating first, floating second, Rule* rule, int p, int bins, int length) noexcept nogil:
    cdef Side side = side_of(first, second, rule.spatial_scale, bins, rule.sampling_ratio, rule.aligned)
    cdef Bin bin
    cdef floating base = bin_base(<floating> side.start, <floating> side.size, p)
    bin.span = span_of(base, <floating> side.size, side.count, length)
    bin.total = max(side.count, 0.0)
    bin.base = base
    bin.step = side.size
    bin.missed = -1
    if not (bin.total >= 1):
        bin.total = 0
    elif bin.span.first > bin.span.last:
        bin.missed = 0
    elif bin.span.mirrored:     # numbers fall as positions rise
        if bin.span.last < bin.total - 1:
            bin.missed = 0
        elif bin.span.first > 0:
            bin.missed = bin.total - bin.span.first
    elif bin.span.first > 0:
        bin.missed = 0
    elif bin.span.last < bin.total - 1:
        bin.missed = bin.span.last + 1
    return bin


cdef inline Bin edge_bin(floating first, floating second, Rule* rule, int p, int bins, int length) noexcept nogil:
    # From the edge of the bin in steps of one pixel, bins clipped to the map: all samples hit it.
    cdef Bin bin
    cdef floating scale = <floating> rule.spatial_scale, low = first * scale, high = second * scale
    cdef floating size = high - low, bin_size, start, end, place
    size = size + 1
    bin_size = size / <floating> bins
    start = <floating> p * bin_size
    start = start + low
    end = <floating> (p + 1) * bin_size
    end = end + low
    start = min(max(start, <floating> 0), <floating> length)
    end = min(max(end, <floating> 0), <floating> length)
    bin.base = start
    bin.step = 1
    bin.total = 0
    bin.missed = -1
    place = start
    while place < end and place + <floating> 1 > place:     # beyond the precision nothing is counted
        bin.total += 1
        place = place + 1
    bin.span.count = bin.total
    bin.span.first = 0
    bin.span.last = bin.total - 1
    bin.span.mirrored = False
    return bin


cdef inline Bin bin_of(floating first, floating second, Rule* rule, int p, int bins, int length) noexcept nogil:
    if rule.from_edge:
        return edge_bin(first, second, rule, p, bins, length)
    return grid_bin(first, second, rule, p, bins, length)


cdef int64_t room(floating first, floating second, Rule* rule, int bins, int length) noexcept nogil:
    # Samples of all bins with positions of their own.
    cdef Bin bin
    cdef double index, following
    cdef int64_t entries = 0
    cdef int p
    for p in range(bins):
        bin = bin_of(first, second, rule, p, bins, length)
        index = bin.span.first
        while index <= bin.span.last:
            following = index + 1
            if not rule.from_edge:
                following = next_position(<floating> bin.base, <floating> bin.step, &bin.span, index)
            if bin.span.count <= FINE_GRID:
                entries += <int64_t> (bin.span.last - index + 1)
                break
            entries += 1
            index = following
    return entries


cdef inline Entry entry_at(floating place, double number, int length) noexcept nogil:
    cdef Entry entry
    cdef double fraction = 0
    entry.number = bounded(number)
    entry.low = entry.high = pixel_below(place, length)
    entry.level = not (place >= 0) or entry.low == length - 1
    if entry.low < length - 1:
        entry.high += 1
        fraction = place - entry.low if place > 0 else 0.0
    entry.low_weight = 1 - fraction
    entry.high_weight = fraction
    return entry


cdef inline Entry edge_entry(floating place, double number, int length) noexcept nogil:
    # The far neighbour of a sample beyond the last pixel is a zero.
    cdef Entry entry
    cdef floating below = floor(place)
    entry.number = bounded(number)
    entry.low = entry.high = <int32_t> below
    entry.level = False
    entry.low_weight = 1 - (place - below)
    entry.high_weight = 0
    if entry.low < length - 1 and place > below:
        entry.high += 1
        entry.high_weight = place - below
    return entry


cdef inline void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef inline int64_t note(Grid* axis, int64_t at, Entry* entry, bint double_, int32_t* low,
                         int32_t* high) noexcept nogil:
    axis.number[at] = entry.number
    axis.low[at] = entry.low
    axis.high[at] = entry.high
    axis.level[at] = entry.level
    put(axis.low_weight, double_, at, entry.low_weight)
    put(axis.high_weight, double_, at, entry.high_weight)
    low[0] = min(low[0], entry.low)
    high[0] = max(high[0], entry.high + 1)
    return at + 1


cdef int64_t fill_axis(Grid* axis, int64_t k, floating first, floating second, Rule* rule, int length, bint double_,
                       int64_t at, int32_t* low, int32_t* high) noexcept nogil:
    # The samples of one RoI from place `at` on; returns where they end. [low, high) becomes the pixels they touch.
    cdef Bin bin
    cdef Entry entry
    cdef floating place
    cdef double index, following, number
    cdef int64_t begin = at, i, j = k * axis.bins
    cdef int p
    low[0], high[0] = length, 0
    for p in range(axis.bins):
        bin = bin_of(first, second, rule, p, axis.bins, length)
        axis.start[j + p] = at
        axis.total[j + p] = bounded(bin.total)
        axis.missed[j + p] = bounded(bin.missed)
        place = <floating> bin.base
        index = bin.span.first
        while index <= bin.span.last:
            if rule.from_edge:
                entry = edge_entry(place, index, length)
                place = place + 1
                following = index + 1
            else:
                # in a reversed box the last position has the first number
                number = bin.span.last + bin.span.first - index if bin.span.mirrored else index
                following = next_position(<floating> bin.base, <floating> bin.step, &bin.span, index)
                place = position(<floating> bin.base, <floating> bin.step, &bin.span, number)
                entry = entry_at(place, bin.total - 1 - number if bin.span.mirrored else number, length)
            at = note(axis, at, &entry, double_, low, high)
            index = following
        axis.count[j + p] = <int32_t> (at - axis.start[j + p])
    if high[0] <= low[0]:
        low[0] = high[0] = 0
    for i in range(begin, at):
        axis.low[i] -= low[0]
        axis.high[i] -= low[0]
    return at


cdef class GridTable(RoiTable):
    """Grid tables of K RoIs, in both axes; RoIs by bands of their last rows.

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
    from_edge : bool
        Samples lie in steps of one pixel from the edge of each bin instead.
    accumulate : {"float32", "float64"}
        Type of the weights.

    Attributes
    ----------
    first_too_fine : int
        First row with more than 2**31 - 1 samples in a bin; -1 where there is none.
    """

    def __cinit__(self, cnp.ndarray boxes, images, input_shape, output_size, double spatial_scale, int sampling_ratio,
                  bint aligned, bint from_edge, str accumulate):
        cdef int columns = <int> cnp.PyArray_DIM(boxes, 1)
        cdef int64_t* image
        cdef Rule rule = Rule(spatial_scale=spatial_scale, sampling_ratio=sampling_ratio, aligned=aligned,
                              from_edge=from_edge)
        self.describe(input_shape, output_size, accumulate, boxes)
        self.spatial_scale = spatial_scale
        self.first_too_fine = -1
        self.y.bins = self.rows
        self.x.bins = self.columns
        image = self.find_images(boxes, images)
        if cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32:
            fill(self, <const float*> cnp.PyArray_DATA(boxes), columns, image, &rule)
        else:
            fill(self, <const double*> cnp.PyArray_DATA(boxes), columns, image, &rule)


cdef int fill(GridTable table, const floating* boxes, int columns, const int64_t* image, Rule* rule) except -1:
    cdef int64_t count = table.rois, k, roi, at_y = 0, at_x = 0, total_y = 0, total_x = 0
    cdef const floating* box
    cdef Place* places = <Place*> table.reserve(count, sizeof(Place))
    cdef double* cost = <double*> table.reserve(count, sizeof(double))
    cdef Bin bin
    cdef Side side
    cdef Window* window
    with nogil:
        for k in range(count):
            box = boxes + k * columns + columns - 4
            places[k] = Place(image=image[k], row=0, column=0, roi=k, room_y=0, room_x=0, extent=0)
            if image[k] >= 0:
                places[k].room_y = room(box[1], box[3], rule, table.rows, table.height)
                places[k].room_x = room(box[0], box[2], rule, table.columns, table.width)
                places[k].row = last_row(box[1], box[3], rule, table.rows, table.height)
                places[k].column = <int64_t> max(0.0, min(box[0] * rule.spatial_scale, <double> table.width))
            total_y += places[k].room_y
            total_x += places[k].room_x
    table.arrange(places)
    lay_out(table, &table.y, total_y)
    lay_out(table, &table.x, total_x)
    table.window = <Window*> table.reserve(count, sizeof(Window))
    table.widened = <bint*> table.reserve(2 * count, sizeof(bint))
    table.widest = table.tallest = 0
    with nogil:
        for k in range(count):
            roi = table.order[k]
            window = table.window + k
            window[0] = Window(top=0, bottom=0, left=0, right=0)
            cost[k] = 0
            if image[roi] < 0:
                continue
            box = boxes + roi * columns + columns - 4
            at_y = fill_axis(&table.y, k, box[1], box[3], rule, table.height, table.double, at_y, &window.top,
                             &window.bottom)
            at_x = fill_axis(&table.x, k, box[0], box[2], rule, table.width, table.double, at_x, &window.left,
                             &window.right)
            if window.bottom == window.top or window.right == window.left:
                window[0] = Window(top=0, bottom=0, left=0, right=0)
            side = side_of(box[1], box[3], rule.spatial_scale, table.rows, rule.sampling_ratio, rule.aligned)
            table.widened[2 * k] = side.unit_size
            bin.total = side.count
            side = side_of(box[0], box[2], rule.spatial_scale, table.columns, rule.sampling_ratio, rule.aligned)
            table.widened[2 * k + 1] = side.unit_size
            if (not rule.from_edge and bin.total > 0 and side.count > 0 and bin.total * side.count > MOST_SAMPLES
                    and (table.first_too_fine < 0 or roi < table.first_too_fine)):
                table.first_too_fine = roi
            cost[k] = (window.bottom - window.top) * <double> (window.right - window.left)
            table.tallest = max(table.tallest, window.bottom - window.top)
            table.widest = max(table.widest, window.right - window.left)
    if CHECKED:
        check(at_y == total_y and at_x == total_x)
        check_grid(table, &table.y, table.height)
        check_grid(table, &table.x, table.width)
    return table.summarise(image, cost)


cdef void check_grid(GridTable table, Grid* axis, int length) noexcept:
    cdef int64_t k, bin, i
    cdef int pixels
    for k in range(table.rois):
        if table.window[k].bottom == table.window[k].top:
            continue    # no kernel looks at its bins
        pixels = (table.window[k].bottom - table.window[k].top if axis == &table.y
                  else table.window[k].right - table.window[k].left)
        for bin in range(k * axis.bins, (k + 1) * axis.bins):
            for i in range(axis.start[bin], axis.start[bin] + axis.count[bin]):
                check_inside(axis.low[i], 0, pixels)
                check_inside(axis.high[i], axis.low[i], pixels)
                if axis.total[bin] < MOST_SAMPLES:      # else the table is refused
                    check_inside(axis.number[i], 0, axis.total[bin])


cdef int64_t last_row(floating first, floating second, Rule* rule, int bins, int length) noexcept nogil:
    # The last row that a sample touches.
    cdef Bin bin
    cdef Entry entry
    cdef int64_t row = 0
    cdef double index
    cdef int p
    cdef floating place
    for p in range(bins):
        bin = bin_of(first, second, rule, p, bins, length)
        if bin.span.first > bin.span.last:
            continue
        if not rule.from_edge:
            place = position(<floating> bin.base, <floating> bin.step, &bin.span, bin.span.last)
            entry = entry_at(place, 0, length)
            row = max(row, <int64_t> entry.high)
            continue
        place = <floating> bin.base
        index = bin.span.first
        while index <= bin.span.last:
            entry = edge_entry(place, 0, length)
            row = max(row, <int64_t> entry.high)
            place = place + 1
            index += 1
    return row


cdef int lay_out(GridTable table, Grid* axis, int64_t total) except -1:
    cdef size_t real = sizeof(double) if table.double else sizeof(float)
    cdef size_t bins = table.rois * <size_t> axis.bins
    axis.start = <int64_t*> table.reserve(bins, sizeof(int64_t))
    axis.count = <int32_t*> table.reserve(bins, sizeof(int32_t))
    axis.total = <int32_t*> table.reserve(bins, sizeof(int32_t))
    axis.missed = <int32_t*> table.reserve(bins, sizeof(int32_t))
    axis.number = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.low = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.high = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.low_weight = table.reserve(total, real)
    axis.high_weight = table.reserve(total, real)
    axis.level = <int8_t*> table.reserve(total, sizeof(int8_t))
    return 0


def entries(cnp.ndarray boxes, images, input_shape, output_size, double spatial_scale, int sampling_ratio, bint aligned,
            bint from_edge):
    """Return (K,) how many samples a grid table lists for each RoI."""
    cdef Rule rule = Rule(spatial_scale=spatial_scale, sampling_ratio=sampling_ratio, aligned=aligned,
                          from_edge=from_edge)
    cdef cnp.ndarray found = np.zeros(len(boxes), np.int64)
    cdef int64_t* target = <int64_t*> cnp.PyArray_DATA(found)
    cdef int columns = <int> cnp.PyArray_DIM(boxes, 1), rows = output_size[0], bins = output_size[1]
    cdef int height = input_shape[2], width = input_shape[3]
    if cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32:
        count_entries(<const float*> cnp.PyArray_DATA(boxes), columns, len(boxes), &rule, rows, bins, height, width,
                      target)
    else:
        count_entries(<const double*> cnp.PyArray_DATA(boxes), columns, len(boxes), &rule, rows, bins, height, width,
                      target)
    return found


cdef void count_entries(const floating* boxes, int columns, int64_t count, Rule* rule, int rows, int bins, int height,
                        int width, int64_t* target) noexcept nogil:
    cdef const floating* box
    cdef int64_t k
    for k in range(count):
        box = boxes + k * columns + columns - 4
        target[k] = room(box[1], box[3], rule, rows, height) + room(box[0], box[2], rule, bins, width)
