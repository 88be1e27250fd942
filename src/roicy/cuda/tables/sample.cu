/* Fills sample tables: the geometry of each rotated box, its image and its window. A warp takes a RoI, lanes
 * lie along its rows and columns of bins. */
#include "tables/sample.cuh"

INLINE double infinity() { return __longlong_as_double(0x7ff0000000000000LL); }

/* From the first to the last sample of a side that can reach the map; a warp's lanes look at a bin each. */
INLINE Extent extent_of(BOX start, BOX bin_size, BOX count, int bins, BOX low, BOX high) {
    Extent extent = {infinity(), -infinity()};
    for (int p = threadIdx.x & 31; p < bins; p += 32) {
        const BOX base = bin_base(start, bin_size, p);
        const Run run = run_of(base, bin_size, count, low, high);
        if (run.span.first <= run.span.last) {
            extent.low = fmin(extent.low, run.extent.low);
            extent.high = fmax(extent.high, run.extent.high);
        }
    }
    for (int step = 16; step > 0; step /= 2) {
        extent.low = fmin(extent.low, __shfl_xor_sync(~0u, extent.low, step));
        extent.high = fmax(extent.high, __shfl_xor_sync(~0u, extent.high, step));
    }
    return extent;
}

/* left alone, compilers save registers, and spill some */
KERNEL __launch_bounds__(128, 4)
    fill(const Boxes boxes, const Sampling sampling, const Turn turn, const Rois rois, BOX *rotated) {
    __shared__ BOX room[4][MOST_COLUMNS];
    const int rows = rois.rows, columns = rois.columns;
    const int64 warps = gridDim.x * 4LL;
    for (int64 k = blockIdx.x * 4LL + (threadIdx.x >> 5); k < rois.count; k += warps) {
        const Row row = row_of_warp(boxes, k, room[threadIdx.x >> 5]);
        const int64 n = image_of(row, rois.images);
        RotatedBox box = rotated_box(row.numbers + row.columns - 5, sampling, turn, rows, columns);
        const double error = find_reach(&box, rois.height, rois.width);
        Window found = {0, 0, 0, 0};
        if (n >= 0 && finite_box(&box) && isfinite(error)) {
            const Extent y = extent_of(box.start_y, box.bin_y, box.count_y, rows, box.low_y, box.high_y);
            const Extent x = extent_of(box.start_x, box.bin_x, box.count_x, columns, box.low_x, box.high_x);
            if (y.low <= y.high && x.low <= x.high)
                found = window_of(&box, y, x, error, rois.height, rois.width);
        }
        if ((threadIdx.x & 31) == 0) {
            reinterpret_cast<RotatedBox *>(rotated)[k] = box;
            rois.image[k] = n;
            put_window(rois.window, k, found);
        }
    }
}
