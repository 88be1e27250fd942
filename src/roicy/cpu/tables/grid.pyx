"""Grid tables: where the samples of each bin lie, one by one, along either axis of a RoI.

A maximum over a bin's samples does not separate into rows and columns, but the samples do: they lie on a grid, so that
a list of rows and a list of columns describe them all::

    box ──▶ sample rows of bin p: (pixels, weights) ...      sample columns of bin q: (pixels, weights) ...

A dense bin has many samples between the same two pixels. Its table lists only the samples that a maximum needs
(`samples`), so no number of samples costs more than the map.
"""

from dataclasses import replace
from itertools import repeat

import numpy as np

from roicy.cpu cimport arrays as cnp
from roicy.cpu.runtime.checks cimport CHECKED, check, check_inside
from roicy.cpu.runtime.memory cimport bytes_of, try_bytes
from roicy.cpu.runtime.parallel cimport Listener, hears, listener
from roicy.cpu.tables.rois cimport Place, Range, Window, clipped, coordinate
from roicy.cpu.tables.samples cimport Sampling, Side, sampling_of

cnp.import_array()


cdef extern from "geometry/cpu.h" nogil:
    enum: MOST_SAMPLES

    ctypedef struct Walk:
        Bin bin
        int64_t listed, i

    int bounded(double value)
    double missed_of(Bin bin)
    double other_way(Bin bin, double number)
    bint is_dense(Bin bin, int64_t listed)
    Side grid_side(const void* box, bint single, int axis, Sampling sampling, int bins, int length)
    Bin bin_of(bint single, Side side, int p, int rule)
    int64_t listed_of(bint single, Bin bin, int length, int rule)
    Sample sample_at(bint single, Bin bin, double index, int length, int rule)
    Sample next_sample(bint single, Walk* walk, int length, int rule)


cdef enum:
    MANY_BINS = 1 << 20         # take long to count

# Samples that tables list at a time.
cdef Py_ssize_t samples_at_once = 1 << 20


cdef struct Filling:
    # what a table is filled from; box k is at `boxes` + k * step
    const char* boxes
    bint single             # boxes are float32
    int64_t step
    Sampling sampling
    int rows, columns       # of bins
    int height, width       # of the map
    Listener ear
    bint interrupted        # a signal handler has raised an error


cdef Filling filling_of(regions, sampling):
    cdef cnp.ndarray boxes = regions.boxes
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(boxes)
    cdef Filling filling
    filling.single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32
    filling.step = cnp.PyArray_DIM(boxes, 1) * item
    filling.boxes = <const char*> cnp.PyArray_DATA(boxes) + filling.step - 4 * item
    filling.sampling = sampling_of(sampling)
    filling.height, filling.width = regions.map_size
    filling.rows, filling.columns = regions.output_size
    filling.ear = listener()
    filling.interrupted = False
    return filling


cdef inline Side side_of_box(const Filling* f, int64_t roi, int axis) noexcept nogil:
    # One axis of a box, 0 for x.
    return grid_side(f.boxes + roi * f.step, f.single, axis, f.sampling, f.rows if axis else f.columns,
                     f.height if axis else f.width)


cdef struct Room:
    int64_t listed          # samples of all bins
    int64_t dense           # bins that are
    int32_t last            # pixel that a sample touches


cdef Room room_of(Side side, Filling* f) noexcept nogil:
    # What the bins along one axis of a RoI take.
    cdef Room room = Room(listed=0, dense=0, last=0)
    cdef Bin bin
    cdef int64_t listed
    cdef int p
    for p in range(side.bins):
        if hears(&f.ear, 1):
            f.interrupted = True
            break
        bin = bin_of(f.single, side, p, f.sampling.rule)
        listed = listed_of(f.single, bin, side.length, f.sampling.rule)
        room.listed += listed
        room.dense += is_dense(bin, listed)
        if bin.span.first <= bin.span.last:
            room.last = max(room.last, sample_at(f.single, bin, bin.span.last, side.length, f.sampling.rule).high)
    return room


cdef inline void put(void* target, bint double_, int64_t i, double value) noexcept nogil:
    if double_:
        (<double*> target)[i] = value
    else:
        (<float*> target)[i] = <float> value


cdef inline void note(Grid* axis, int64_t at, Sample* sample, bint double_, int32_t* low, int32_t* high) noexcept nogil:
    axis.number[at] = bounded(sample.number)
    axis.low[at] = sample.low
    axis.high[at] = sample.high
    axis.flat[at] = sample.flat
    put(axis.low_weight, double_, at, sample.low_weight)
    put(axis.high_weight, double_, at, sample.high_weight)
    low[0] = min(low[0], sample.low)
    high[0] = max(high[0], sample.high + 1)


cdef struct Next:
    # where the next sample of an axis goes, and the next dense bin
    int64_t at
    int32_t dense


cdef Range fill_axis(Grid* axis, int64_t k, Side side, bint double_, Next* following, Filling* f) noexcept nogil:
    # The samples of one RoI, and its dense bins; returns the pixels they touch.
    cdef Range all = Range(low=side.length, high=0)
    cdef Walk walk
    cdef Sample sample
    cdef int64_t begin = following.at, at = begin, i, j = k * axis.bins
    cdef int p
    for p in range(axis.bins):
        if hears(&f.ear, 1):
            f.interrupted = True
            break
        walk.bin = bin_of(axis.single, side, p, axis.rule)
        walk.listed = listed_of(axis.single, walk.bin, side.length, axis.rule)
        walk.i = 0
        axis.start[j + p] = at
        axis.count[j + p] = <int32_t> walk.listed
        axis.total[j + p] = bounded(walk.bin.total)
        axis.missed[j + p] = bounded(missed_of(walk.bin))
        axis.dense[j + p] = -1
        if is_dense(walk.bin, walk.listed):
            axis.dense[j + p] = following.dense
            axis.dense_bin[following.dense] = walk.bin
            following.dense += 1
        f.ear.steps += walk.listed
        while walk.i < walk.listed:
            sample = next_sample(axis.single, &walk, side.length, axis.rule)
            note(axis, at, &sample, double_, &all.low, &all.high)
            at += 1
    if all.high <= all.low:
        all.low = all.high = 0
    for i in range(begin, at):
        axis.low[i] -= all.low
        axis.high[i] -= all.low
    following.at = at
    return all


cdef bint dense_sample(Grid* axis, int64_t bin, int32_t number, int32_t origin, Sample* sample) noexcept nogil:
    """Find a sample of a dense bin by its number, with pixels counted from `origin`, the first one of the RoI's window;
    False where it misses the map.
    """
    cdef Bin* dense = axis.dense_bin + axis.dense[bin]
    cdef double index = other_way(dense[0], number)
    if not dense.span.first <= index <= dense.span.last:
        return False
    sample[0] = sample_at(axis.single, dense[0], index, axis.length, axis.rule)
    sample.low -= axis.begin + origin
    sample.high -= axis.begin + origin
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
        First row with more than 2**31 - 1 samples in a bin, or -1.
    """

    def __cinit__(self, regions, sampling, str accumulate):
        cdef cnp.ndarray boxes = regions.boxes
        cdef Filling filling = filling_of(regions, sampling)
        self.describe(regions, accumulate, boxes)
        self.sampling = filling.sampling
        self.scale = filling.sampling.spatial_scale
        self.first_too_fine = -1
        self.y.bins = self.rows
        self.x.bins = self.columns
        self.y.length = self.map_height
        self.x.length = self.map_width
        self.y.begin = self.part.top
        self.x.begin = self.part.left
        self.y.single = self.x.single = filling.single
        self.y.rule = self.x.rule = filling.sampling.rule
        fill(self, self.find_images(boxes, regions.images), &filling)


cdef int fill(GridTable table, const int64_t* image, Filling* f) except -1:
    cdef int64_t count = table.rois, k, roi
    cdef Room room, y, x
    cdef Next next_y = Next(at=0, dense=0), next_x = Next(at=0, dense=0)
    cdef Place* place = <Place*> table.reserve(count, sizeof(Place))
    cdef double* cost = <double*> table.reserve(count, sizeof(double))
    cdef Range rows, columns
    cdef Side down, along
    cdef Window* window
    lay_out_bins(table, &table.y)       # which may be too many to count
    lay_out_bins(table, &table.x)
    y = Room(listed=0, dense=0, last=0)
    x = Room(listed=0, dense=0, last=0)
    with nogil:
        for k in range(count):
            if f.interrupted:
                break
            place[k] = Place(row=0, column=0)
            if image[k] >= 0:
                room = room_of(side_of_box(f, k, 1), f)
                y.listed += room.listed
                y.dense += room.dense
                place[k].row = room.last
                room = room_of(side_of_box(f, k, 0), f)
                x.listed += room.listed
                x.dense += room.dense
                place[k].column = clipped(
                    coordinate(f.boxes + k * f.step, f.single, 0) * f.sampling.spatial_scale, 0, table.map_width,
                )
    if f.interrupted:
        return -1       # the error is set
    table.arrange(image, place)
    lay_out_samples(table, &table.y, y.listed, y.dense)
    lay_out_samples(table, &table.x, x.listed, x.dense)
    table.window = <Window*> table.reserve(count, sizeof(Window))
    table.widened = <bint*> table.reserve(2 * count, sizeof(bint))
    table.widest = table.tallest = 0
    with nogil:
        for k in range(count):
            if f.interrupted:
                break
            roi = table.order[k]
            window = table.window + k
            window[0] = Window(top=0, bottom=0, left=0, right=0)
            cost[k] = 0
            if image[roi] < 0:
                continue
            down = side_of_box(f, roi, 1)
            along = side_of_box(f, roi, 0)
            rows = fill_axis(&table.y, k, down, table.double, &next_y, f)
            columns = fill_axis(&table.x, k, along, table.double, &next_x, f)
            if rows.low < rows.high and columns.low < columns.high:
                window[0] = Window(top=rows.low, bottom=rows.high, left=columns.low, right=columns.high)
            table.widened[2 * k] = down.unit_size
            table.widened[2 * k + 1] = along.unit_size
            if (down.count > 0 and along.count > 0 and down.count * along.count > MOST_SAMPLES
                    and (table.first_too_fine < 0 or roi < table.first_too_fine)):
                table.first_too_fine = roi
            cost[k] = (window.bottom - window.top) * <double> (window.right - window.left)
            table.tallest = max(table.tallest, window.bottom - window.top)
            table.widest = max(table.widest, window.right - window.left)
    if f.interrupted:
        return -1
    if CHECKED:
        check(next_y.at == y.listed and next_x.at == x.listed and next_y.dense == y.dense and next_x.dense == x.dense)
        check_grid(table, &table.y, table.map_height)
        check_grid(table, &table.x, table.map_width)
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


cdef int lay_out_bins(GridTable table, Grid* axis) except -1:
    cdef size_t bins = table.rois * <size_t> axis.bins
    axis.start = <int64_t*> table.reserve(bins, sizeof(int64_t))
    axis.count = <int32_t*> table.reserve(bins, sizeof(int32_t))
    axis.total = <int32_t*> table.reserve(bins, sizeof(int32_t))
    axis.missed = <int32_t*> table.reserve(bins, sizeof(int32_t))
    axis.dense = <int32_t*> table.reserve(bins, sizeof(int32_t))
    return 0


cdef int lay_out_samples(GridTable table, Grid* axis, int64_t total, int64_t dense) except -1:
    cdef size_t real = sizeof(double) if table.double else sizeof(float)
    axis.number = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.low = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.high = <int32_t*> table.reserve(total, sizeof(int32_t))
    axis.low_weight = table.reserve(total, real)
    axis.high_weight = table.reserve(total, real)
    axis.flat = <int8_t*> table.reserve(total, sizeof(int8_t))
    axis.dense_bin = <Bin*> table.reserve(dense, sizeof(Bin))
    return 0


def hold(Py_ssize_t samples):
    """Set how many samples grid tables list at a time, of some 24 bytes each."""
    global samples_at_once
    samples_at_once = samples


cdef class GridTables:
    """Grid tables of runs of RoIs, each small enough to be held; made anew, whenever they are gone through, where there
    are several.

    The parameters are those of `GridTable`. Of its attributes it has `accumulate`, `doubtful` and the first rows.
    """

    def __init__(self, regions, sampling, str accumulate):
        cdef Py_ssize_t first = 0, last, count = len(regions.boxes)
        cdef cnp.ndarray listed = np.empty(count, np.int64)
        cdef int64_t* of_row = <int64_t*> cnp.PyArray_DATA(listed)
        cdef int64_t total
        self.regions = regions
        self.sampling = sampling
        self.accumulate = accumulate
        self.only = None
        self.runs = []
        try_memory(regions.output_size)
        count_listed(regions, sampling, of_row)
        while first < count:
            last, total = first + 1, of_row[first]
            while last < count and total + of_row[last] <= samples_at_once:
                total += of_row[last]
                last += 1
            self.runs.append(slice(first, last))
            first = last
        if len(self.runs) == 1:
            self.only = GridTable(regions, sampling, accumulate)
        self.first_invalid = self.first_of("first_invalid")
        self.first_too_fine = self.first_of("first_too_fine")
        self.beyond = self.first_beyond() if regions.window is not None else None
        self.doubtful = self.only is None or self.only.doubtful

    def table_of(self, run):
        """Return the table of a run."""
        images = None if self.regions.images is None else self.regions.images[run]
        regions = replace(self.regions, boxes=self.regions.boxes[run], images=images)
        return GridTable(regions, self.sampling, self.accumulate)

    cdef Py_ssize_t first_of(self, str attribute) except? -1:
        for run, table in self:
            found = getattr(table, attribute)
            if found >= 0:
                return run.start + found
        return -1

    cdef tuple first_beyond(self):
        for run, table in self:
            if table.beyond is not None:
                row, reach = table.beyond
                return run.start + row, reach
        return None

    def touched(self):
        """As of `RoiTable`."""
        return np.concatenate([table.touched() for _, table in self])

    def __len__(self):
        return len(self.runs)

    def __iter__(self):
        """Return the runs, each a slice of the rows, with their tables, as they are asked for."""
        # a generator would be a tenth of the module
        tables = map(self.table_of, self.runs) if self.only is None else repeat(self.only)
        return zip(self.runs, tables)

    def in_pieces(self, str purpose, dtype):
        """As `RoiTable.in_pieces`: tables of later runs are made between writes."""
        return len(self.runs) > 1


cdef int try_memory(output_size) except -1:
    # A run has at least one RoI. If there is no memory for its bins, they need not be counted.
    cdef size_t bins = output_size[0] + output_size[1]
    if bins > MANY_BINS:
        try_bytes(bytes_of(bins, sizeof(int64_t) + 4 * sizeof(int32_t), 1))
    return 0


cdef int count_listed(regions, sampling, int64_t* listed) except -1:
    # (K,) how many samples a grid table lists for each RoI.
    cdef Filling filling = filling_of(regions, sampling)
    cdef int64_t k, count = len(regions.boxes)
    with nogil:
        for k in range(count):
            listed[k] = (room_of(side_of_box(&filling, k, 1), &filling).listed
                         + room_of(side_of_box(&filling, k, 0), &filling).listed)
            if filling.interrupted:
                break
    return -1 if filling.interrupted else 0     # the error is set
