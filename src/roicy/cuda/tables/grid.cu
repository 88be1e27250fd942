/* Fills grid tables; a warp takes one RoI, a lane one bin. */
#include "lanes/reduce.cuh"
#include "tables/grid.cuh"

enum { WARPS = 4 };

struct Rule {
    /* how samples are laid: RoIAlign's grid, or from the edge of each bin in steps of one pixel */
    double spatial_scale;
    int sampling_ratio;
    bool aligned, from_edge;
};

INLINE GridBin edge_bin(BOX first, BOX second, const Rule &rule, int p, int bins, int length) {
    const BOX scale = (BOX)rule.spatial_scale, low = first * scale, high = second * scale;
    BOX size = high - low;
    size = size + 1;
    const BOX bin_size = size / (BOX)bins, most = (BOX)length;
    BOX start = (BOX)p * bin_size, end = (BOX)(p + 1) * bin_size;
    start = start + low;
    end = end + low;
    /* bins are clipped to the map: all samples hit it */
    start = start < 0 ? 0 : start;
    start = most < start ? most : start;
    end = end < 0 ? 0 : end;
    end = most < end ? most : end;
    double total = 0;
    for (BOX place = start; place < end; total++) {
        const BOX next = place + 1;
        if (!(next > place)) /* beyond the precision */
            break;
        place = next;
    }
    return {start, 1, {total, 0, total - 1, false}, total};
}

INLINE GridBin grid_bin(const Side &side, int p, int length) {
    const BOX base = bin_base(side.start, side.size, p);
    const Span span = span_of(base, side.size, side.count, length);
    return {base, side.size, span, side.count >= 1 ? side.count : 0};
}

struct Range {
    int low, high;
};

/* The bins of one axis, for the lanes of a warp together; returns the pixels that their samples touch.
 * `pixels` gets those of each bin, unless it is null. */
INLINE Range fill_axis(BOX first, BOX second, const Rule &rule, int bins, int length, double *record,
                       double *step, int *listed, int *total, int *pixels) {
    const Side side =
        side_of(first, second, {rule.spatial_scale, rule.sampling_ratio, rule.aligned, ALIGN}, bins, length);
    Range touched = {length, 0};
    for (int p = threadIdx.x & 31; p < bins; p += 32) {
        const GridBin bin =
            rule.from_edge ? edge_bin(first, second, rule, p, bins, length) : grid_bin(side, p, length);
        const Span &span = bin.span;
        const int64 cells = rule.from_edge ? 0 : dense_cells(bin.base, bin.step, span, length, DENSE);
        const int count = bounded(cells ? 2.0 * cells : span.last - span.first + 1);
        Range own = {0, 0};
        if (count > 0) {
            own.low = sample_at(bin, span.first, rule.from_edge, length).low;
            own.high = sample_at(bin, span.last, rule.from_edge, length).high + 1;
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
    }
    if ((threadIdx.x & 31) == 0) {
        step[0] = rule.from_edge ? 1 : side.size;
        step[1] = side.unit_size;
    }
    return {least_of_warp(touched.low), most_of_warp(touched.high)};
}

/* steps: (K, 2) sizes of bins and whether the RoI's size was raised to 1; bin_rows: (K, PH) the pixel rows
 * [low, high) that each row of bins reads; the others as in Grid. */
KERNEL __launch_bounds__(32 * WARPS, 4)
    fill(const BOX *boxes, int columns_of_boxes, const int64 *images, int given, int64 rois, int64 count,
         double spatial_scale, int sampling_ratio, int aligned, int from_edge, int height, int width,
         int rows, int columns, int64 *image, int *window, double *bins, int *listed, int *total,
         double *steps, int *bin_rows) {
    const Rule rule = {spatial_scale, sampling_ratio, aligned != 0, from_edge != 0};
    for (int64 k = blockIdx.x * (int64)WARPS + threadIdx.x / 32; k < rois; k += gridDim.x * (int64)WARPS) {
        const BOX *row = boxes + k * columns_of_boxes, *box = row + columns_of_boxes - 4;
        const int64 own = image_of(row, columns_of_boxes, images, given, k, count),
                    at = k * ((int64)rows + columns);
        Window part = {0, 0, 0, 0};
        if (own >= 0) {
            const Range down = fill_axis(box[1], box[3], rule, rows, height, bins + RECORD * at,
                                         steps + 4 * k, listed + at, total + at, bin_rows + 2 * k * rows);
            const Range along = fill_axis(box[0], box[2], rule, columns, width, bins + RECORD * (at + rows),
                                          steps + 4 * k + 2, listed + at + rows, total + at + rows, nullptr);
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

/* first[0] = the first RoI of no image, first[1] = the first one with more than MOST_SAMPLES samples in a
 * bin, `rois` where there is none. One block. */
KERNEL __launch_bounds__(256)
    first_bad(const int64 *image, const double *bins, int64 rois, int rows, int columns, int64 *first) {
    __shared__ int64 room[256];
    int64 found = rois, found_fine = rois;
    for (int64 k = threadIdx.x; k < rois; k += 256) {
        const double *y = bins + RECORD * k * ((int64)rows + columns), *x = y + RECORD * rows;
        if (image[k] < 0)
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
