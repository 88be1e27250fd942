/* Fills grid tables; a warp takes one RoI, a lane one bin. */
#include "lanes/reduce.cuh"
#include "tables/grid.cuh"

enum { WARPS = 4 };

/* The bins of one axis, for the lanes of a warp together; returns the pixels that their samples touch.
 * `pixels` gets those of each bin, unless it is null. */
INLINE Range fill_axis(const Side &side, int rule, double *record, double *step, int *listed, int *total,
                       int *pixels) {
    Range touched = {side.length, 0};
    for (int p = threadIdx.x & 31; p < side.bins; p += 32) {
        const Bin bin = bin_of(side, p, rule);
        const Span &span = bin.span;
        const int count = bounded((double)listed_of(bin, side.length, rule));
        Range own = {0, 0};
        if (count > 0) {
            own.low = sample_at(bin, span.first, side.length, rule).low;
            own.high = sample_at(bin, span.last, side.length, rule).high + 1;
            touched.low = min(touched.low, own.low);
            touched.high = max(touched.high, own.high);
        }
        if (pixels) {
            pixels[2 * p] = own.low;
            pixels[2 * p + 1] = own.high;
        }
        double2 *target = reinterpret_cast<double2 *>(record + RECORD * p);
        target[0] = make_double2(bin.base, span.first);
        target[1] = make_double2(span.last, bin.total);
        listed[p] = count;
        total[p] = bounded(bin.total);
        if (p == 0) {
            step[0] = bin.step;
            step[1] = side.unit_size;
        }
    }
    return {least_of_warp(touched.low), most_of_warp(touched.high)};
}

/* The bins of both axes, the pixel rows [low, high) that each row of bins reads, and what the RoI reads. */
KERNEL __launch_bounds__(32 * WARPS, 4) fill(const Boxes boxes, const Sampling sampling, const Grid table) {
    __shared__ BOX room[WARPS][MOST_COLUMNS];
    const Rois rois = table.rois;
    const int rows = rois.rows, columns = rois.columns;
    for (int64 k = blockIdx.x * (int64)WARPS + threadIdx.x / 32; k < rois.count;
         k += gridDim.x * (int64)WARPS) {
        const Row row = row_of_warp(boxes, k, room[threadIdx.x / 32]);
        const BOX *box = row.numbers + row.columns - 4;
        const int64 own = image_of(row, rois.images), at = k * ((int64)rows + columns);
        Window part = {0, 0, 0, 0};
        if (own >= 0) {
            const Range down = fill_axis(grid_side(box[1], box[3], sampling, rows, rois.map_height),
                                         sampling.rule, table.bins + RECORD * at, table.steps + 4 * k,
                                         table.listed + at, table.total + at, table.bin_rows + 2 * k * rows);
            const Range along =
                fill_axis(grid_side(box[0], box[2], sampling, columns, rois.map_width), sampling.rule,
                          table.bins + RECORD * (at + rows), table.steps + 4 * k + 2,
                          table.listed + at + rows, table.total + at + rows, nullptr);
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

/* first[0] = the first RoI of no image, first[1] = the first one with more than MOST_SAMPLES samples in a
 * bin, or the number of RoIs. One block. */
KERNEL __launch_bounds__(256) first_bad(const Grid table, int64 *first) {
    __shared__ int64 room[256];
    const Rois rois = table.rois;
    int64 found = rois.count, found_fine = rois.count;
    for (int64 k = threadIdx.x; k < rois.count; k += 256) {
        const double *y = table.bins + RECORD * k * ((int64)rois.rows + rois.columns);
        const double *x = y + RECORD * rois.rows;
        if (rois.image[k] < 0)
            found = min(found, k);
        else if (y[3] * x[3] > MOST_SAMPLES)
            found_fine = min(found_fine, k);
    }
    found = least_of_block(found, room);
    found_fine = least_of_block(found_fine, room);
    if (threadIdx.x == 0) {
        first[0] = found;
        first[1] = found_fine;
    }
}
