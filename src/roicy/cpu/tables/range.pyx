"""Range tables: which pixels each bin of a RoI takes the maximum of.

The bins of RoIPool begin and end on pixels, so a bin is a range of rows and a range of columns::

    box ──▶ rounded to pixels ──▶ bin p: rows [start, end)      bin q: columns [start, end)
"""

from libc.stdint cimport int32_t, int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.runtime.parallel cimport Listener, hears, listener
from roicy.cpu.tables.rois cimport Place, Range, Window, clipped, coordinate
from roicy.cpu.tuning cimport (
    SHARED_JOIN_COLUMNS, SHARED_MOST_PIXELS, SHARED_MUST_PAY, SHARED_PIXEL_TO_TILE,
)

cnp.import_array()


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct RangeSide:
        int bins, length

    RangeSide range_side(const void* box, bint single, int axis, double spatial_scale, int bins, int length, int rule)
    Range range_of(bint single, RangeSide side, int p)


cdef struct Filling:
    # what a table is filled from; box k is at `boxes` + k * step
    const char* boxes
    bint single             # boxes are float32
    int64_t step
    const int64_t* image
    double spatial_scale
    int rule
    Listener ear
    bint interrupted


cdef Range fill_axis(Ranges* axis, int64_t k, RangeSide side, Filling* f) noexcept nogil:
    # Returns the pixels of all bins, low == high where there are none.
    cdef int32_t* start = axis.start + k * axis.bins
    cdef int32_t* count = axis.length + k * axis.bins
    cdef Range all = Range(low=side.length, high=0), pixels
    cdef int p
    for p in range(side.bins):
        if hears(&f.ear, 1):
            f.interrupted = True
            return Range(low=0, high=0)
        pixels = range_of(f.single, side, p)
        start[p] = pixels.low
        count[p] = pixels.high - pixels.low
        if count[p]:
            all.low = min(all.low, pixels.low)
            all.high = max(all.high, pixels.high)
    if all.high <= all.low:
        all.low = all.high = 0
    for p in range(side.bins):
        start[p] = start[p] - all.low if count[p] else 0
        check_inside(start[p] + count[p], start[p], all.high - all.low + 1)
    return all


cdef class RangeTable(RoiTable):
    """Range tables of K RoIs, in both axes; RoIs by bands of their last rows.

    Parameters
    ----------
    regions : Regions
        Boxes (K, 4) or (K, 5): corners x1, y1, x2, y2; maps and bins.
    spatial_scale : float
        As in `roicy.roi_pool`.
    rule : int
        Of geometry/rois.h: ROUNDED, EXACT or WHOLE.
    accumulate : {"float32", "float64"}
        Type that maxima are kept in.

    Attributes
    ----------
    shared : bool
        Whether many bins share few ranges of rows, so that the largest of each is best found once.
    """

    def __cinit__(self, regions, double spatial_scale, int rule, str accumulate):
        cdef cnp.ndarray boxes
        cdef Filling filling
        boxes, images = self.choose(regions)
        self.describe(regions, accumulate, boxes)
        self.y.bins = self.rows
        self.x.bins = self.columns
        filling.single = cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32
        filling.step = cnp.PyArray_DIM(boxes, 1) * cnp.PyArray_ITEMSIZE(boxes)
        filling.boxes = <const char*> cnp.PyArray_DATA(boxes) + filling.step - 4 * cnp.PyArray_ITEMSIZE(boxes)
        self.scale = filling.spatial_scale = spatial_scale
        filling.image = self.find_images(boxes, images)
        filling.ear = listener()
        filling.interrupted = False
        filling.rule = rule
        fill(self, &filling)


cdef Range fill_side(RangeTable table, Filling* f, int axis, int64_t roi, int64_t k) noexcept nogil:
    # The ranges of a RoI's bins along an axis, 0 for x, come to rank k.
    cdef Ranges* ranges = &table.y if axis else &table.x
    cdef RangeSide side = range_side(f.boxes + roi * f.step, f.single, axis, f.spatial_scale, ranges.bins,
                                     table.map_height if axis else table.map_width, f.rule)
    return fill_axis(ranges, k, side, f)


cdef int fill(RangeTable table, Filling* f) except -1:
    cdef int64_t count = table.rois, k, roi
    cdef Place* place = <Place*> table.reserve(count, sizeof(Place))
    cdef Window* window = <Window*> table.reserve(count, sizeof(Window))
    cdef double* cost = <double*> table.reserve(count, sizeof(double))
    cdef Range down, along
    table.window = window
    table.y.start = <int32_t*> table.reserve(count * table.y.bins, sizeof(int32_t))
    table.y.length = <int32_t*> table.reserve(count * table.y.bins, sizeof(int32_t))
    table.x.start = <int32_t*> table.reserve(count * table.x.bins, sizeof(int32_t))
    table.x.length = <int32_t*> table.reserve(count * table.x.bins, sizeof(int32_t))
    with nogil:
        # in the order given, to learn the windows; then in the order of the table
        for k in range(count):
            if f.interrupted:
                break
            place[k] = Place(row=0, column=0)
            if f.image[k] >= 0:
                place[k].row = fill_side(table, f, 1, k, 0).high
                place[k].column = clipped(coordinate(f.boxes + k * f.step, f.single, 0) * f.spatial_scale, 0,
                                          table.map_width)
    if f.interrupted:
        return -1       # the error is set
    table.arrange(f.image, place)
    table.widest = table.tallest = 0
    with nogil:
        for k in range(count):
            if f.interrupted:
                break
            roi = table.order[k]
            window[k] = Window(top=0, bottom=0, left=0, right=0)
            cost[k] = 0
            if f.image[roi] < 0:
                continue
            down = fill_side(table, f, 1, roi, k)
            along = fill_side(table, f, 0, roi, k)
            if down.low < down.high and along.low < along.high:
                window[k] = Window(top=down.low, bottom=down.high, left=along.low, right=along.high)
            cost[k] = (window[k].bottom - window[k].top) * <double> (window[k].right - window[k].left)
            table.tallest = max(table.tallest, window[k].bottom - window[k].top)
            table.widest = max(table.widest, window[k].right - window[k].left)
    if f.interrupted:
        return -1
    table.summarise(f.image, cost)
    return note_shared_ranges(table)


cdef int note_shared_ranges(RangeTable table) except -1:
    """Note which ranges of rows the bins have, where that makes pooling faster."""
    cdef SharedRanges found
    cdef double shared = 0, tiled = 0
    cdef int64_t i
    cdef bint few = table.images > 0
    table.most_ranges = table.most_strips = 0
    with nogil:
        for i in range(table.images):
            if (not find_shared_ranges(table, i, &found, NULL)
                    or found.ranges * <int64_t> table.width > SHARED_MOST_PIXELS):
                few = False
                break
            shared += work_of_ranges(table, i, &found)
            tiled += table.bin_pixels[i] + SHARED_PIXEL_TO_TILE * min(table.bin_pixels[i], table.map_pixels[i])
            table.most_ranges = max(table.most_ranges, found.ranges)
            table.most_strips = max(table.most_strips, found.strips)
    table.shared = few and SHARED_MUST_PAY * shared < tiled
    if not table.shared:
        return 0
    table.shared_ranges = <SharedRanges*> table.reserve(table.images, sizeof(SharedRanges))
    table.range_number = <int32_t*> table.reserve(table.rois * table.y.bins, sizeof(int32_t))
    with nogil:
        for i in range(table.images):
            find_shared_ranges(table, i, table.shared_ranges + i, table.range_number)
    return 0


cdef bint find_shared_ranges(RangeTable table, int64_t image, SharedRanges* found,
                             int32_t* range_number) noexcept nogil:
    # The ranges of an image and, unless `range_number` is NULL, which one each bin has; False where there are too many.
    cdef const Window* window
    cdef int64_t k, bin
    cdef int32_t top[MOST_RANGES]
    cdef int32_t bottom[MOST_RANGES]
    cdef int32_t row, end
    cdef int p, j, s
    found.ranges = found.strips = 0
    found.left, found.right = table.width, 0
    for k in range(table.image_start[image], table.image_start[image + 1]):
        window = table.window + k
        if window.bottom == window.top:
            continue
        found.left = min(found.left, window.left)
        found.right = max(found.right, window.right)
        for p in range(table.y.bins):
            bin = k * table.y.bins + p
            if table.y.length[bin] == 0:
                continue
            row = window.top + table.y.start[bin]
            end = row + table.y.length[bin]
            j = 0
            while j < found.ranges and (top[j] != row or bottom[j] != end):
                j += 1
            if j == MOST_RANGES:
                return False
            if j == found.ranges:
                top[j] = row
                bottom[j] = end
                found.ranges += 1
            if range_number != NULL:
                range_number[bin] = j
    s = 0           # edges so far
    for j in range(found.ranges):
        s = with_edge(found.edge, s, top[j])
        s = with_edge(found.edge, s, bottom[j])
    found.strips = max(0, s - 1)
    for s in range(found.strips):
        found.end[s] = found.edge[s]
    for j in range(found.ranges):
        found.first[j] = found.last[j] = 0
        while found.edge[found.first[j]] < top[j]:
            found.first[j] += 1
        while found.edge[found.last[j]] < bottom[j]:
            found.last[j] += 1
        for s in range(found.first[j], found.last[j]):
            found.end[s] = found.edge[s + 1]
    return True


cdef inline int with_edge(int32_t* edge, int count, int32_t row) noexcept nogil:
    # the edges in ascending order, each once; returns how many there are
    cdef int at = count, i
    while at > 0 and edge[at - 1] >= row:
        at -= 1
    if at < count and edge[at] == row:
        return count
    for i in range(count, at, -1):
        edge[i] = edge[i - 1]
    edge[at] = row
    return count + 1


cdef double work_of_ranges(RangeTable table, int64_t image, const SharedRanges* found) noexcept nogil:
    cdef double strips = 0, work = 0
    cdef int64_t k, bin
    cdef int j
    for j in range(found.strips):
        strips += found.end[j] - found.edge[j]
    for j in range(found.ranges):
        strips += found.last[j] - found.first[j]
    for k in range(table.image_start[image], table.image_start[image + 1]):
        for bin in range(k * table.x.bins, (k + 1) * table.x.bins):
            work += table.y.bins * <double> (SHARED_JOIN_COLUMNS + table.x.length[bin])
    return work + strips * max(0, found.right - found.left)
