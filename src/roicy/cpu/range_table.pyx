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

from roicy.cpu.checks cimport check_inside
from roicy.cpu.roi_table cimport Place, Window

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
    boxes : ndarray, (K, 4) or (K, 5), float32 or float64, C-contiguous
        Corners x1, y1, x2, y2; with five columns the batch index comes first.
    images : ndarray, (K,), int64, C-contiguous, or None with five columns
        Batch indices.
    input_shape : tuple of int
        N, C, H, W.
    output_size : tuple of int
        Output rows and columns.
    spatial_scale, rounding
        As in `roicy.roi_pool`.
    accumulate : {"float32", "float64"}
        Type that maxima are kept in.
    """

    def __cinit__(self, cnp.ndarray boxes, images, input_shape, output_size, double spatial_scale, str rounding,
                  str accumulate):
        cdef int columns = <int> cnp.PyArray_DIM(boxes, 1)
        cdef bint whole = rounding == "round"
        cdef int64_t* image
        self.describe(input_shape, output_size, accumulate, boxes)
        self.y.bins = self.rows
        self.x.bins = self.columns
        image = self.find_images(boxes, images)
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
    return table.summarise(image, cost)


cdef Ranges* ranges_of(RangeTable table, int axis) noexcept:
    return &table.x if axis else &table.y
