"""Range tables: which pixels each bin of a RoI takes the maximum of.

The bins of RoIPool begin and end on pixels, so a bin is a range of rows and a range of columns::

    box ──▶ rounded to pixels ──▶ bin p: rows [start, end)      bin q: columns [start, end)

Ends are computed in the boxes' own dtype and in the operation order of Caffe2 and torchvision: the product of a bin's
number and size may land just above a whole number, and then the bin has one pixel more.
"""

from cython cimport floating
from libc.math cimport ceil, floor, round
from libc.stdint cimport int32_t, int64_t

cimport numpy as cnp

from roicy.cpu.runtime.checks cimport check_inside
from roicy.cpu.tables.rois cimport Place, Window
from roicy.cpu.tuning cimport (
    SHARED_JOIN_COLUMNS, SHARED_MOST_PIXELS, SHARED_MUST_PAY, SHARED_PIXEL_TO_TILE,
)

cnp.import_array()


cdef struct Extent:
    # one axis of one box, in feature pixels
    double start, size      # exact: the boxes' dtype fits in a double
    bint whole              # the start is a pixel and stays out of the sums


cdef inline Extent rounded(floating first, floating second, floating scale) noexcept nogil:
    cdef Extent extent
    cdef floating low = first * scale, high = second * scale
    extent.start = round(low)
    extent.size = max(round(high) - extent.start + 1, 1.0)
    extent.whole = True
    return extent


cdef inline Extent unrounded(floating first, floating second, floating scale) noexcept nogil:
    cdef Extent extent
    cdef floating low = first * scale, high = (second + <floating> 1) * scale, size = high - low
    extent.start = low
    extent.size = size
    extent.whole = False
    return extent


cdef inline double clipped(double value, int length) noexcept nogil:
    # Not a number, which sizes beyond the largest number lead to, becomes 0.
    return 0.0 if not (value > 0) else min(value, <double> length)


cdef void fill_axis(Ranges* axis, int64_t k, Extent* extent, floating size, int length, int32_t* low,
                    int32_t* high) noexcept nogil:
    # [low, high) becomes the pixels of all bins, low == high where there are none.
    cdef floating bin_size = size / <floating> axis.bins, first, last
    cdef int32_t* start = axis.start + k * axis.bins
    cdef int32_t* count = axis.length + k * axis.bins
    cdef double begin, end
    cdef int p
    low[0] = length
    high[0] = 0
    for p in range(axis.bins):
        first = <floating> p * bin_size
        last = <floating> (p + 1) * bin_size
        if extent.whole:
            begin = floor(first) + extent.start
            end = ceil(last) + extent.start
        else:
            first = first + <floating> extent.start
            last = last + <floating> extent.start
            begin = floor(first)
            end = ceil(last)
        start[p] = <int32_t> clipped(begin, length)
        count[p] = <int32_t> max(clipped(end, length) - start[p], 0.0)
        if not (size > 0):
            count[p] = 0
        if count[p]:
            low[0] = min(low[0], start[p])
            high[0] = max(high[0], start[p] + count[p])
    if high[0] <= low[0]:
        low[0] = high[0] = 0
    for p in range(axis.bins):
        start[p] = start[p] - low[0] if count[p] else 0
        check_inside(start[p] + count[p], start[p], high[0] - low[0] + 1)


cdef class RangeTable(RoiTable):
    """Range tables of K RoIs, in both axes; RoIs by bands of their last rows.

    Parameters
    ----------
    regions : Regions
        Boxes (K, 4) or (K, 5): corners x1, y1, x2, y2; maps and bins.
    spatial_scale, rounding
        As in `roicy.roi_pool`.
    accumulate : {"float32", "float64"}
        Type that maxima are kept in.

    Attributes
    ----------
    shared : bool
        Whether many bins share few ranges of rows, so that the largest of each is best found once.
    """

    def __cinit__(self, regions, double spatial_scale, str rounding, str accumulate):
        cdef cnp.ndarray boxes = regions.boxes
        cdef int columns = <int> cnp.PyArray_DIM(boxes, 1)
        cdef bint whole = rounding == "round"
        cdef int64_t* image
        self.describe(regions.input_shape, regions.output_size, accumulate, boxes)
        self.y.bins = self.rows
        self.x.bins = self.columns
        image = self.find_images(boxes, regions.images)
        if cnp.PyArray_TYPE(boxes) == cnp.NPY_FLOAT32:
            fill(self, <const float*> cnp.PyArray_DATA(boxes), columns, image, spatial_scale, whole)
        else:
            fill(self, <const double*> cnp.PyArray_DATA(boxes), columns, image, spatial_scale, whole)


cdef int fill(RangeTable table, const floating* boxes, int columns, const int64_t* image, double spatial_scale,
              bint whole) except -1:
    cdef int64_t count = table.rois, k, roi
    cdef floating scale = <floating> spatial_scale
    cdef const floating* box
    cdef Place* places = <Place*> table.reserve(count, sizeof(Place))
    cdef Window* window = <Window*> table.reserve(count, sizeof(Window))
    cdef double* cost = <double*> table.reserve(count, sizeof(double))
    cdef Extent y, x
    table.window = window
    for axis in range(2):
        ranges_of(table, axis).start = <int32_t*> table.reserve(count * ranges_of(table, axis).bins, sizeof(int32_t))
        ranges_of(table, axis).length = <int32_t*> table.reserve(count * ranges_of(table, axis).bins, sizeof(int32_t))
    with nogil:
        # in the order given, to learn the windows; then in the order of the table
        for k in range(count):
            box = boxes + k * columns + columns - 4
            window[0] = Window(top=0, bottom=0, left=0, right=0)
            if image[k] >= 0:
                y = rounded(box[1], box[3], scale) if whole else unrounded(box[1], box[3], scale)
                fill_axis(&table.y, 0, &y, <floating> y.size, table.height, &window.top, &window.bottom)
            places[k] = Place(image=image[k], row=window.bottom, column=0, roi=k, room_y=0, room_x=0, extent=0)
            if image[k] >= 0:
                places[k].column = <int64_t> clipped(box[0] * spatial_scale, table.width)
    table.arrange(places)
    table.widest = table.tallest = 0
    with nogil:
        for k in range(count):
            roi = table.order[k]
            window[k] = Window(top=0, bottom=0, left=0, right=0)
            cost[k] = 0
            if image[roi] < 0:
                continue
            box = boxes + roi * columns + columns - 4
            y = rounded(box[1], box[3], scale) if whole else unrounded(box[1], box[3], scale)
            x = rounded(box[0], box[2], scale) if whole else unrounded(box[0], box[2], scale)
            fill_axis(&table.y, k, &y, <floating> y.size, table.height, &window[k].top, &window[k].bottom)
            fill_axis(&table.x, k, &x, <floating> x.size, table.width, &window[k].left, &window[k].right)
            if window[k].bottom == window[k].top or window[k].right == window[k].left:
                window[k] = Window(top=0, bottom=0, left=0, right=0)
            cost[k] = (window[k].bottom - window[k].top) * <double> (window[k].right - window[k].left)
            table.tallest = max(table.tallest, window[k].bottom - window[k].top)
            table.widest = max(table.widest, window[k].right - window[k].left)
    table.summarise(image, cost)
    return note_lines(table)


cdef int note_lines(RangeTable table) except -1:
    """Note which ranges of rows the bins have, where that makes pooling faster."""
    cdef Lines found
    cdef double shared = 0, tiled = 0
    cdef int64_t i
    cdef bint few = table.images > 0
    table.most_lines = table.most_strips = 0
    with nogil:
        for i in range(table.images):
            if not find_lines(table, i, &found, NULL) or found.lines * <int64_t> table.width > SHARED_MOST_PIXELS:
                few = False
                break
            shared += work_of_lines(table, i, &found)
            tiled += table.bin_pixels[i] + SHARED_PIXEL_TO_TILE * min(table.bin_pixels[i], table.map_pixels[i])
            table.most_lines = max(table.most_lines, found.lines)
            table.most_strips = max(table.most_strips, found.strips)
    table.shared = few and SHARED_MUST_PAY * shared < tiled
    if not table.shared:
        return 0
    table.lines = <Lines*> table.reserve(table.images, sizeof(Lines))
    table.line = <int32_t*> table.reserve(table.rois * table.y.bins, sizeof(int32_t))
    with nogil:
        for i in range(table.images):
            find_lines(table, i, table.lines + i, table.line)
    return 0


cdef bint find_lines(RangeTable table, int64_t image, Lines* found, int32_t* line) noexcept nogil:
    # The ranges of an image and, unless `line` is NULL, which one each bin has; False where there are too many.
    cdef const Window* window
    cdef int64_t k, bin
    cdef int32_t top[MOST_LINES]
    cdef int32_t bottom[MOST_LINES]
    cdef int32_t row, end
    cdef int p, j, s
    found.lines = found.strips = 0
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
            while j < found.lines and (top[j] != row or bottom[j] != end):
                j += 1
            if j == MOST_LINES:
                return False
            if j == found.lines:
                top[j] = row
                bottom[j] = end
                found.lines += 1
            if line != NULL:
                line[bin] = j
    s = 0           # edges so far
    for j in range(found.lines):
        s = with_edge(found.edge, s, top[j])
        s = with_edge(found.edge, s, bottom[j])
    found.strips = max(0, s - 1)
    for s in range(found.strips):
        found.used[s] = False
    for j in range(found.lines):
        found.first[j] = found.last[j] = 0
        while found.edge[found.first[j]] < top[j]:
            found.first[j] += 1
        while found.edge[found.last[j]] < bottom[j]:
            found.last[j] += 1
        for s in range(found.first[j], found.last[j]):
            found.used[s] = True
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


cdef double work_of_lines(RangeTable table, int64_t image, const Lines* found) noexcept nogil:
    cdef double strips = 0, work = 0
    cdef int64_t k, bin
    cdef int j
    for j in range(found.strips):
        if found.used[j]:
            strips += found.edge[j + 1] - found.edge[j]
    for j in range(found.lines):
        strips += found.last[j] - found.first[j]
    for k in range(table.image_start[image], table.image_start[image + 1]):
        for bin in range(k * table.x.bins, (k + 1) * table.x.bins):
            work += table.y.bins * <double> (SHARED_JOIN_COLUMNS + table.x.length[bin])
    return work + strips * max(0, found.right - found.left)


cdef Ranges* ranges_of(RangeTable table, int axis) noexcept:
    return &table.x if axis else &table.y
