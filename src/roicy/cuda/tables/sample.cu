/* Fills sample tables: the geometry of each rotated box, its image and its window. A warp takes a RoI, lanes
 * lie along its rows and columns of bins. */
#include "tables/sample.cuh"

#define PI 3.14159265358979323846

struct Reach {
    double low_y, high_y, low_x, high_x, error;
};

struct Extent {
    /* positions of the first and the last sample that can reach the map */
    double low, high;
};

INLINE double infinity() { return __longlong_as_double(0x7ff0000000000000LL); }

INLINE RotatedBox box_of(const BOX *row, double spatial_scale, int sampling_ratio, bool aligned, bool degrees,
                         bool clockwise, int bins_y, int bins_x) {
    RotatedBox box;
    const BOX scale = (BOX)spatial_scale, offset = aligned ? (BOX)0.5 : (BOX)0;
    BOX width = row[2] * scale, height = row[3] * scale;
    BOX angle = degrees ? (BOX)((double)row[4] * PI / 180.0) : row[4];
    if (clockwise)
        angle = -angle;
    box.grown = 0;
    if (!aligned && height < 1) {
        height = 1;
        box.grown += 1;
    }
    if (!aligned && width < 1) {
        width = 1;
        box.grown += 2;
    }
    box.cx = scaled(row[0], scale, offset);
    box.cy = scaled(row[1], scale, offset);
    box.cos = (BOX)cos((double)angle);
    box.sin = (BOX)sin((double)angle);
    box.start_x = -width / 2;
    box.start_y = -height / 2;
    box.bin_x = width / (BOX)bins_x;
    box.bin_y = height / (BOX)bins_y;
    box.count_x = sampling_ratio > 0 ? (BOX)sampling_ratio : ceil(box.bin_x);
    box.count_y = sampling_ratio > 0 ? (BOX)sampling_ratio : ceil(box.bin_y);
    return box;
}

INLINE bool finite(const RotatedBox &box) {
    return isfinite(box.cx) && isfinite(box.cy) && isfinite(box.start_x) && isfinite(box.start_y) &&
           isfinite(box.bin_x) && isfinite(box.bin_y) && box.count_x >= 1 && box.count_y >= 1;
}

/* The map's corners, turned back into the box's axes. A sample that is computed to hit the map lies no
 * further from its centre than the map does. */
INLINE Reach reach_of(const RotatedBox &box, int height, int width) {
    const double coarseness = sizeof(BOX) == sizeof(float) ? 1.1920929e-07 : 2.220446049250313e-16;
    const double far = (double)height + width + 2 + fabs((double)box.cx) + fabs((double)box.cy);
    const double c = box.cos, s = box.sin;
    Reach reach;
    reach.error = 16 * coarseness * far;
    const double top = -1 - reach.error - box.cy, bottom = height + reach.error - box.cy;
    const double left = -1 - reach.error - box.cx, right = width + reach.error - box.cx;
    reach.low_y = fmin(top * c, bottom * c) + fmin(left * s, right * s) - reach.error;
    reach.high_y = fmax(top * c, bottom * c) + fmax(left * s, right * s) + reach.error;
    reach.low_x = fmin(left * c, right * c) - fmax(top * s, bottom * s) - reach.error;
    reach.high_x = fmax(left * c, right * c) - fmin(top * s, bottom * s) + reach.error;
    return reach;
}

/* From the first to the last sample of a side that can reach the map; a warp's lanes look at a bin each. */
INLINE Extent extent_of(BOX start, BOX bin_size, BOX count, int bins, BOX low, BOX high) {
    Extent extent = {infinity(), -infinity()};
    for (int p = threadIdx.x & 31; p < bins; p += 32) {
        const BOX base = bin_base(start, bin_size, p);
        const Span run = run_of(base, bin_size, count, low, high);
        if (run.first <= run.last) {
            extent.low = fmin(extent.low, (double)position(base, bin_size, run, run.first));
            extent.high = fmax(extent.high, (double)position(base, bin_size, run, run.last));
        }
    }
    for (int step = 16; step > 0; step /= 2) {
        extent.low = fmin(extent.low, __shfl_xor_sync(~0u, extent.low, step));
        extent.high = fmax(extent.high, __shfl_xor_sync(~0u, extent.high, step));
    }
    return extent;
}

/* The pixels that samples in this part of the box can touch. */
INLINE Window window_of(const RotatedBox &box, Extent y, Extent x, double error, int height, int width) {
    const double c = box.cos, s = box.sin;
    const double top = fmin(y.low * c, y.high * c) - fmax(x.low * s, x.high * s) + box.cy - error;
    const double bottom = fmax(y.low * c, y.high * c) - fmin(x.low * s, x.high * s) + box.cy + error;
    const double left = fmin(y.low * s, y.high * s) + fmin(x.low * c, x.high * c) + box.cx - error;
    const double right = fmax(y.low * s, y.high * s) + fmax(x.low * c, x.high * c) + box.cx + error;
    Window window = {0, 0, 0, 0};
    if (bottom >= -1 && top <= height && right >= -1 && left <= width && height && width) {
        window.top = clipped(floor(top), 0, height - 1);
        window.bottom = max(window.top + 1, clipped(floor(fmax(bottom, 0.0)) + 2, 0, height));
        window.left = clipped(floor(left), 0, width - 1);
        window.right = max(window.left + 1, clipped(floor(fmax(right, 0.0)) + 2, 0, width));
    }
    return window;
}

KERNEL __launch_bounds__(128)
    fill(const BOX *__restrict__ boxes, int columns, const int64 *__restrict__ images, int given, int64 rois,
         int64 count, int height, int width, int bins_y, int bins_x, double spatial_scale, int sampling_ratio,
         int aligned, int degrees, int clockwise, BOX *rotated, int64 *image, int *window) {
    const int64 warps = gridDim.x * 4LL;
    for (int64 k = blockIdx.x * 4LL + (threadIdx.x >> 5); k < rois; k += warps) {
        const BOX *row = boxes + k * columns;
        const int64 n = image_of(row, columns, images, given, k, count);
        RotatedBox box = box_of(row + columns - 5, spatial_scale, sampling_ratio, aligned, degrees, clockwise,
                                bins_y, bins_x);
        const Reach reach = reach_of(box, height, width);
        box.low_y = (BOX)reach.low_y;
        box.high_y = (BOX)reach.high_y;
        box.low_x = (BOX)reach.low_x;
        box.high_x = (BOX)reach.high_x;
        box.error = (BOX)reach.error;
        Window found = {0, 0, 0, 0};
        if (n >= 0 && finite(box) && isfinite(reach.error)) {
            const Extent y = extent_of(box.start_y, box.bin_y, box.count_y, bins_y, box.low_y, box.high_y);
            const Extent x = extent_of(box.start_x, box.bin_x, box.count_x, bins_x, box.low_x, box.high_x);
            if (y.low <= y.high && x.low <= x.high)
                found = window_of(box, y, x, reach.error, height, width);
        }
        if ((threadIdx.x & 31) == 0) {
            reinterpret_cast<RotatedBox *>(rotated)[k] = box;
            image[k] = n;
            put_window(window, k, found);
        }
    }
}
