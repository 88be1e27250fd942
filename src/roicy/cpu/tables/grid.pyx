"""Grid tables: where the samples of each bin lie, one by one, along either axis of a RoI.

A maximum over a bin's samples does not separate into rows and columns, but the samples do: they lie on a grid, so that
a list of rows and a list of columns describe them all::

    box ──▶ sample rows of bin p: (pixels, weights) ...      sample columns of bin q: (pixels, weights) ...

Of a dense bin, one of many samples between the same two pixels, only those are listed that a maximum needs (`samples`),
so that no number of samples costs more than the map.
"""

from cython cimport floating
from libc.math cimport floor

cimport numpy as cnp

import numpy as np

from roicy._types import UNIT_STEP, Regions
from roicy.cpu.runtime.checks cimport CHECKED, check, check_inside
from roicy.cpu.tables.rois cimport Place, Window
from roicy.cpu.tables.samples cimport (
    ALIGN, DENSE, Sampling, Side, bin_base, dense_cells, dense_index, pixel_below, position, side_of, span_of,
)

cnp.import_array()

cdef enum:
    MOST_SAMPLES = 0x7fffffff

# Samples that tables list at a time.
cdef Py_ssize_t samples_at_once = 1 << 20


cdef struct Rule:
    # how samples are laid: RoIAlign's grid, or from the edge of each bin in steps of one pixel
    double spatial_scale
    int sampling_ratio
    bint aligned
    bint from_edge


cdef inline Sampling sampling_of(Rule* rule) noexcept nogil:
    return Sampling(spatial_scale=rule.spatial_scale, sampling_ratio=rule.sampling_ratio, aligned=rule.aligned,
                    rule=ALIGN)


cdef inline int32_t bounded(double value) noexcept nogil:
    return <int32_t> min(value, <double> MOST_SAMPLES)


cdef inline Bin grid_bin(floating first, floating second, Rule* rule, int p, int bins, int length) noexcept nogil:
    cdef Side side = side_of(first, second, sampling_of(rule), bins, length)
    cdef Bin bin
    cdef int64_t cells
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
    cells = dense_cells(<floating> bin.base, <floating> bin.step, &bin.span, length, DENSE)
    bin.dense = cells > 0
    bin.listed = 2 * cells if bin.dense else <int64_t> (bin.span.last - bin.span.first + 1)
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
    bin.listed = <int64_t> bin.total
    bin.dense = False
    return bin


cdef inline Bin bin_of(floating first, floating second, Rule* rule, int p, int bins, int length) noexcept nogil:
    if rule.from_edge:
        return edge_bin(first, second, rule, p, bins, length)
    return grid_bin(first, second, rule, p, bins, length)


cdef inline double listed_index(floating place, Bin* bin, int length, int64_t i) noexcept nogil:
    # Where the i-th listed sample of a grid is; `place` says the boxes' dtype. Along a reversed box the last position
    # has the first number.
    if bin.dense:
        return dense_index(<floating> bin.base, <floating> bin.step, &bin.span, length, i)
    return bin.span.last - i if bin.span.mirrored else bin.span.first + i


cdef int64_t room(floating first, floating second, Rule* rule, int bins, int length, int64_t* dense) noexcept nogil:
    # Samples of all bins that are listed, and how many more bins are dense.
    cdef Bin bin
    cdef int64_t entries = 0
    cdef int p
    for p in range(bins):
        bin = bin_of(first, second, rule, p, bins, length)
        entries += bin.listed
        dense[0] += bin.dense
    return entries


cdef inline Sample grid_sample(floating place, double number, int length) noexcept nogil:
    cdef Sample sample
    cdef double fraction = 0
    sample.number = bounded(number)
    sample.low = sample.high = pixel_below(place, length)
    sample.level = not (place >= 0) or sample.low == length - 1
    if sample.low < length - 1:
        sample.high += 1
        fraction = place - sample.low if place > 0 else 0.0
    sample.low_weight = 1 - fraction
    sample.high_weight = fraction
    return sample


cdef inline Sample indexed_sample(floating place, Bin* bin, double index, int length) noexcept nogil:
    # `index` counts samples in the order of ascending position; `place` says the boxes' dtype.
    return grid_sample(position(<floating> bin.base, <floating> bin.step, &bin.span, index),
                       bin.total - 1 - index if bin.span.mirrored else index, length)


cdef inline Sample edge_sample(floating place, double number, int length) noexcept nogil:
    # The far neighbour of a sample beyond the last pixel is a zero.
    cdef Sample sample
    cdef floating below = floor(place)
    sample.number = bounded(number)
    sample.low = sample.high = <int32_t> below
    sample.level = False
    sample.low_weight = 1 - (place - below)
    sample.high_weight = 0
    if sample.low < length - 1 and place > below:
        sample.high += 1
        sample.high_weight = place - below
    return sample


cdef inline void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef inline void note(Grid* axis, int64_t at, Sample* sample, bint double_, int32_t* low, int32_t* high) noexcept nogil:
    axis.number[at] = sample.number
    axis.low[at] = sample.low
    axis.high[at] = sample.high
    axis.level[at] = sample.level
    put(axis.low_weight, double_, at, sample.low_weight)
    put(axis.high_weight, double_, at, sample.high_weight)
    low[0] = min(low[0], sample.low)
    high[0] = max(high[0], sample.high + 1)


cdef int64_t fill_axis(Grid* axis, int64_t k, floating first, floating second, Rule* rule, bint double_, int64_t at,
                       int32_t* dense, int32_t* low, int32_t* high) noexcept nogil:
    # The samples of one RoI from place `at` on, its dense bins from place `dense` on, which is counted up; returns
    # where the samples end. [low, high) becomes the pixels they touch.
    cdef Bin bin
    cdef Sample sample
    cdef floating place
    cdef int64_t begin = at, i, j = k * axis.bins
    cdef int p, length = axis.length
    low[0], high[0] = length, 0
    for p in range(axis.bins):
        bin = bin_of(first, second, rule, p, axis.bins, length)
        axis.start[j + p] = at
        axis.count[j + p] = <int32_t> bin.listed
        axis.total[j + p] = bounded(bin.total)
        axis.missed[j + p] = bounded(bin.missed)
        axis.dense[j + p] = -1
        if bin.dense:
            axis.dense[j + p] = dense[0]
            axis.dense_bin[dense[0]] = bin
            dense[0] += 1
        place = <floating> bin.base
        for i in range(bin.listed):
            if rule.from_edge:
                sample = edge_sample(place, i, length)
                place = place + 1
            else:
                sample = indexed_sample(place, &bin, listed_index(place, &bin, length, i), length)
            note(axis, at, &sample, double_, low, high)
            at += 1
    if high[0] <= low[0]:
        low[0] = high[0] = 0
    for i in range(begin, at):
        axis.low[i] -= low[0]
        axis.high[i] -= low[0]
    return at


cdef bint dense_sample(Grid* axis, int64_t bin, int32_t number, int32_t origin, Sample* sample) noexcept nogil:
    """Find a sample of a dense bin by its number, with pixels counted from `origin`, the first one of the RoI's window;
    False where it misses the map.
    """
    cdef Bin* dense = axis.dense_bin + axis.dense[bin]
    cdef double index = dense.total - 1 - number if dense.span.mirrored else number
    if not dense.span.first <= index <= dense.span.last:
        return False
    if axis.single:
        sample[0] = indexed_sample(<float> 0, dense, index, axis.length)
    else:
        sample[0] = indexed_sample(<double> 0, dense, index, axis.length)
    sample.low -= origin
    sample.high -= origin
    return True


cdef class GridTable(RoiTable):
    """Grid tables of K RoIs, in both axes; RoIs by bands of their last rows.

    Parameters
    ----------
    regions : Regions
        Boxes (K, 4) or (K, 5): corners x1, y1, x2, y2; maps and bins.
    sampling : Sampling
        Where samples lie in them.
    accumulate : {"float32", "float64"}
        Type of the weights.

    Attributes
    ----------
    first_too_fine : int
        First row with more than 2**31 - 1 samples in a bin; -1 where there is none.
    """

    def __cinit__(self, regions, sampling, str accumulate):
        cdef cnp.ndarray boxes = regions.boxes
        cdef int columns = <int> cnp.PyArray_DIM(boxes, 1)
        cdef int64_t* image
        cdef Rule rule = rule_of(sampling)
        self.describe(regions.input_shape, regions.output_size, accumulate, boxes)
        self.spatial_scale = rule.spatial_scale
        self.first_too_fine = -1
        self.y.bins = self.rows
        self.x.bins = self.columns
        self.y.length = self.height
        self.x.length = self.width
        self.y.single = self.x.single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32
        image = self.find_images(boxes, regions.images)
        if self.y.single:
            fill(self, <const float*> cnp.PyArray_DATA(boxes), columns, image, &rule)
        else:
            fill(self, <const double*> cnp.PyArray_DATA(boxes), columns, image, &rule)


cdef Rule rule_of(sampling):
    return Rule(spatial_scale=sampling.spatial_scale, sampling_ratio=sampling.sampling_ratio, aligned=sampling.aligned,
                from_edge=sampling.rule == UNIT_STEP)


cdef int fill(GridTable table, const floating* boxes, int columns, const int64_t* image, Rule* rule) except -1:
    cdef int64_t count = table.rois, k, roi, at_y = 0, at_x = 0, total_y = 0, total_x = 0, dense_y = 0, dense_x = 0
    cdef int32_t next_y = 0, next_x = 0
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
                places[k].room_y = room(box[1], box[3], rule, table.rows, table.height, &dense_y)
                places[k].room_x = room(box[0], box[2], rule, table.columns, table.width, &dense_x)
                places[k].row = last_row(box[1], box[3], rule, table.rows, table.height)
                places[k].column = <int64_t> max(0.0, min(box[0] * rule.spatial_scale, <double> table.width))
            total_y += places[k].room_y
            total_x += places[k].room_x
    table.arrange(places)
    lay_out(table, &table.y, total_y, dense_y)
    lay_out(table, &table.x, total_x, dense_x)
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
            at_y = fill_axis(&table.y, k, box[1], box[3], rule, table.double, at_y, &next_y, &window.top,
                             &window.bottom)
            at_x = fill_axis(&table.x, k, box[0], box[2], rule, table.double, at_x, &next_x, &window.left,
                             &window.right)
            if window.bottom == window.top or window.right == window.left:
                window[0] = Window(top=0, bottom=0, left=0, right=0)
            side = side_of(box[1], box[3], sampling_of(rule), table.rows, table.height)
            table.widened[2 * k] = side.unit_size
            bin.total = side.count
            side = side_of(box[0], box[2], sampling_of(rule), table.columns, table.width)
            table.widened[2 * k + 1] = side.unit_size
            if (not rule.from_edge and bin.total > 0 and side.count > 0 and bin.total * side.count > MOST_SAMPLES
                    and (table.first_too_fine < 0 or roi < table.first_too_fine)):
                table.first_too_fine = roi
            cost[k] = (window.bottom - window.top) * <double> (window.right - window.left)
            table.tallest = max(table.tallest, window.bottom - window.top)
            table.widest = max(table.widest, window.right - window.left)
    if CHECKED:
        check(at_y == total_y and at_x == total_x and next_y == dense_y and next_x == dense_x)
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
    cdef Sample sample
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
            sample = grid_sample(place, 0, length)
            row = max(row, <int64_t> sample.high)
            continue
        place = <floating> bin.base
        index = bin.span.first
        while index <= bin.span.last:
            sample = edge_sample(place, 0, length)
            row = max(row, <int64_t> sample.high)
            place = place + 1
            index += 1
    return row


cdef int lay_out(GridTable table, Grid* axis, int64_t total, int64_t dense) except -1:
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
    axis.dense = <int32_t*> table.reserve(bins, sizeof(int32_t))
    axis.dense_bin = <Bin*> table.reserve(dense, sizeof(Bin))
    return 0


def hold(Py_ssize_t samples):
    """Set how many samples grid tables list at a time, of some 24 bytes each."""
    global samples_at_once
    samples_at_once = samples


cdef class GridTables:
    """Grid tables of runs of RoIs, each small enough to be held; made anew, whenever they are gone through, where there
    are several.

    The parameters are those of `GridTable`. Of its attributes it has `accumulate` and the first rows.
    """

    def __init__(self, regions, sampling, str accumulate):
        cdef Py_ssize_t first = 0, last, count = len(regions.boxes)
        self.regions = regions
        self.sampling = sampling
        self.accumulate = accumulate
        self.only = None
        self.runs = []
        listed = np.cumsum(entries(regions, sampling))
        while first < count:
            last = np.searchsorted(listed, (listed[first - 1] if first else 0) + samples_at_once, side="right")
            last = max(last, first + 1)
            self.runs.append(slice(first, last))
            first = last
        if len(self.runs) == 1:
            self.only = self.table_of(self.runs[0])
        self.first_invalid = self.first_of("first_invalid")
        self.first_too_fine = self.first_of("first_too_fine")

    cdef GridTable table_of(self, run):
        boxes, images, input_shape, output_size = self.regions
        images = None if images is None else images[run]
        return GridTable(Regions(boxes[run], images, input_shape, output_size), self.sampling, self.accumulate)

    cdef Py_ssize_t first_of(self, str attribute) except? -1:
        for run, table in self:
            found = getattr(table, attribute)
            if found >= 0:
                return run.start + found
        return -1

    def __len__(self):
        return len(self.runs)

    def __iter__(self):
        """Yield the runs, each a slice of the rows, with their tables."""
        for run in self.runs:
            yield run, self.table_of(run) if self.only is None else self.only

    def in_pieces(self, str purpose, dtype):
        """As `RoiTable.in_pieces`: other tables are made between writes."""
        return len(self.runs) > 1


def entries(regions, sampling):
    """Return (K,) how many samples a grid table lists for each RoI."""
    cdef Rule rule = rule_of(sampling)
    cdef cnp.ndarray boxes = regions.boxes
    cdef cnp.ndarray found = np.zeros(len(boxes), np.int64)
    cdef int64_t* target = <int64_t*> cnp.PyArray_DATA(found)
    cdef int columns = <int> cnp.PyArray_DIM(boxes, 1), rows = regions.output_size[0], bins = regions.output_size[1]
    cdef int height = regions.input_shape[2], width = regions.input_shape[3]
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
    cdef int64_t k, dense = 0
    for k in range(count):
        box = boxes + k * columns + columns - 4
        target[k] = room(box[1], box[3], rule, rows, height, &dense) + room(box[0], box[2], rule, bins, width, &dense)
