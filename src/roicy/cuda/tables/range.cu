/* Fills range tables; a warp takes one RoI, a lane one bin.
 *
 * The bins of RoIPool begin and end on pixels, so a bin is a range of rows and a range of columns. Ends are
 * computed in the boxes' own dtype and in the operation order of Caffe2 and torchvision: the product of a
 * bin's number and size may land just above a whole number, and then the bin has one pixel more. */
#include "lanes/reduce.cuh"
#include "tables/range.cuh"

enum { WARPS = 4 };

struct Extent {
    /* one axis of one box, in feature pixels */
    double start; /* exact: the boxes' dtype fits in a double */
    BOX size;
    bool whole; /* the start is a pixel and stays out of the sums */
};

INLINE Extent rounded(BOX first, BOX second, BOX scale) {
    const double start = round((double)(first * scale));
    const double size = round((double)(second * scale)) - start + 1;
    return {start, (BOX)(1.0 > size ? 1.0 : size), true};
}

INLINE Extent unrounded(BOX first, BOX second, BOX scale) {
    const BOX low = first * scale, high = (second + (BOX)1) * scale;
    return {(double)low, high - low, false};
}

struct Range {
    int low, high;
};

/* The pixels of all bins of one axis, for the lanes of a warp together; returns from the first one to the
 * last. */
INLINE Range fill_axis(const Extent &extent, int length, int bins, int *start, int *count) {
    const BOX bin_size = extent.size / (BOX)bins;
    Range touched = {length, 0};
    for (int p = threadIdx.x & 31; p < bins; p += 32) {
        BOX first = (BOX)p * bin_size, last = (BOX)(p + 1) * bin_size;
        double begin, end;
        if (extent.whole) {
            begin = floor((double)first) + extent.start;
            end = ceil((double)last) + extent.start;
        } else {
            first = first + (BOX)extent.start;
            last = last + (BOX)extent.start;
            begin = floor((double)first);
            end = ceil((double)last);
        }
        const int low = clipped(begin, 0, length), high = clipped(end, 0, length);
        start[p] = low;
        count[p] = extent.size > 0 && high > low ? high - low : 0;
        if (count[p] > 0) {
            touched.low = min(touched.low, low);
            touched.high = max(touched.high, high);
        }
    }
    return {least_of_warp(touched.low), most_of_warp(touched.high)};
}

KERNEL __launch_bounds__(32 * WARPS)
    fill(const BOX *boxes, int columns, const int64 *images, int given, int64 rois, int64 count,
         double spatial_scale, int whole, int height, int width, int rows_of_bins, int columns_of_bins,
         int64 *image, int *window, int *y_start, int *y_length, int *x_start, int *x_length) {
    const BOX scale = (BOX)spatial_scale;
    for (int64 k = blockIdx.x * (int64)WARPS + threadIdx.x / 32; k < rois; k += gridDim.x * (int64)WARPS) {
        const BOX *row = boxes + k * columns, *box = row + columns - 4;
        const int64 own = image_of(row, columns, images, given, k, count);
        Window part = {0, 0, 0, 0};
        if (own >= 0) {
            const Extent y = whole ? rounded(box[1], box[3], scale) : unrounded(box[1], box[3], scale);
            const Extent x = whole ? rounded(box[0], box[2], scale) : unrounded(box[0], box[2], scale);
            const Range down =
                fill_axis(y, height, rows_of_bins, y_start + k * rows_of_bins, y_length + k * rows_of_bins);
            const Range along = fill_axis(x, width, columns_of_bins, x_start + k * columns_of_bins,
                                          x_length + k * columns_of_bins);
            if (down.low < down.high && along.low < along.high)
                part = {down.low, down.high, along.low, along.high};
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            image[k] = own;
            put_window(window, k, part);
        }
    }
}
