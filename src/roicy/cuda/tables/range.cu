/* Fills range tables; a warp takes one RoI, a lane one bin. */
#include "lanes/reduce.cuh"
#include "tables/range.cuh"

#include "geometry/range.h"
#include "geometry/samples.h"

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

KERNEL __launch_bounds__(32 * WARPS) fill(const Boxes boxes, const Sampling sampling, const Ranges table) {
    __shared__ BOX room[WARPS][MOST_COLUMNS];
    const Rois rois = table.rois;
    for (int64 k = blockIdx.x * (int64)WARPS + threadIdx.x / 32; k < rois.count;
         k += gridDim.x * (int64)WARPS) {
        const Row row = row_of_warp(boxes, k, room[threadIdx.x / 32]);
        const BOX *box = row.numbers + row.columns - 4;
        const int64 own = image_of(row, rois.images);
        Window part = {0, 0, 0, 0};
        if (own >= 0) {
            const double scale = sampling.spatial_scale;
            const RangeSide y = range_side(box[1], box[3], scale, rois.rows, rois.map_height, sampling.rule);
            const RangeSide x =
                range_side(box[0], box[2], scale, rois.columns, rois.map_width, sampling.rule);
            const int64 from_y = k * rois.rows, from_x = k * rois.columns;
            const Range down = fill_axis(y, table.y_start + from_y, table.y_length + from_y);
            const Range along = fill_axis(x, table.x_start + from_x, table.x_length + from_x);
            if (down.low < down.high && along.low < along.high)
                part = {down.low, down.high, along.low, along.high};
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0) {
            rois.image[k] = own;
            put_window(rois.window, k, part);
        }
    }
}
