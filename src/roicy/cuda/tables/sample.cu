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

/* left alone, compilers for sm_100 and later save registers, and spill some */
#if __CUDA_ARCH__ >= 1000
#define BOUNDS __launch_bounds__(128, 4)
#else
#define BOUNDS __launch_bounds__(128)
#endif

KERNEL BOUNDS fill(const BOX *__restrict__ boxes, int columns, const int64 *__restrict__ images, int given,
                   int64 rois, int64 count, int height, int width, int bins_y, int bins_x,
                   double spatial_scale, int sampling_ratio, int aligned, int degrees, int clockwise,
                   BOX *rotated, int64 *image, int *window) {
    const Sampling sampling = {spatial_scale, sampling_ratio, aligned, ALIGN};
    const Turn turn = {degrees, clockwise};
    const int64 warps = gridDim.x * 4LL;
    for (int64 k = blockIdx.x * 4LL + (threadIdx.x >> 5); k < rois; k += warps) {
        const BOX *row = boxes + k * columns;
        const int64 n = image_of(row, columns, images, given, k, count);
        RotatedBox box = rotated_box(row + columns - 5, sampling, turn, bins_y, bins_x);
        const double error = find_reach(&box, height, width);
        Window found = {0, 0, 0, 0};
        if (n >= 0 && finite_box(&box) && isfinite(error)) {
            const Extent y = extent_of(box.start_y, box.bin_y, box.count_y, bins_y, box.low_y, box.high_y);
            const Extent x = extent_of(box.start_x, box.bin_x, box.count_x, bins_x, box.low_x, box.high_x);
            if (y.low <= y.high && x.low <= x.high)
                found = window_of(&box, y, x, error, height, width);
        }
        if ((threadIdx.x & 31) == 0) {
            reinterpret_cast<RotatedBox *>(rotated)[k] = box;
            image[k] = n;
            put_window(window, k, found);
        }
    }
}
