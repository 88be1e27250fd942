/* Fills range tables; a warp takes one RoI, a lane one bin. */
#include "lanes/reduce.cuh"
#include "tables/range.cuh"

#include "geometry/range.h"

enum { WARPS = 4 };

/* The pixels of all bins of one axis, for the lanes of a warp together; returns from the first one to the
 * last. */
INLINE Range fill_axis(const RangeSide &side, int *start, int *count) {
    Range touched = {side.length, 0};
    for (int p = threadIdx.x & 31; p < side.bins; p += 32) {
        const Range pixels = range_of(side, p);
        start[p] = pixels.low;
        count[p] = pixels.high - pixels.low;
        if (count[p] > 0) {
            touched.low = min(touched.low, pixels.low);
            touched.high = max(touched.high, pixels.high);
        }
    }
    return {least_of_warp(touched.low), most_of_warp(touched.high)};
}

KERNEL __launch_bounds__(32 * WARPS)
    fill(const BOX *boxes, int columns, const int64 *images, int given, int64 rois, int64 count,
         double spatial_scale, int rule, int height, int width, int rows_of_bins, int columns_of_bins,
         int64 *image, int *window, int *y_start, int *y_length, int *x_start, int *x_length) {
    for (int64 k = blockIdx.x * (int64)WARPS + threadIdx.x / 32; k < rois; k += gridDim.x * (int64)WARPS) {
        const BOX *row = boxes + k * columns, *box = row + columns - 4;
        const int64 own = image_of(row, columns, images, given, k, count);
        Window part = {0, 0, 0, 0};
        if (own >= 0) {
            const RangeSide y = range_side(box[1], box[3], spatial_scale, rows_of_bins, height, rule);
            const RangeSide x = range_side(box[0], box[2], spatial_scale, columns_of_bins, width, rule);
            const Range down = fill_axis(y, y_start + k * rows_of_bins, y_length + k * rows_of_bins);
            const Range along = fill_axis(x, x_start + k * columns_of_bins, x_length + k * columns_of_bins);
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
