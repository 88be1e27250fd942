/* Fills sample tables: the geometry of each box, its image and its window. A warp takes a RoI, lanes lie along its
 * rows and columns of bins, or its bins. */
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
        const double error = find_reach(&box, rois.map_height, rois.map_width);
        Window found = {0, 0, 0, 0};
        if (n >= 0 && finite_box(&box) && isfinite(error)) {
            const Extent y = extent_of(box.start_y, box.bin_y, box.count_y, rows, box.low_y, box.high_y);
            const Extent x = extent_of(box.start_x, box.bin_x, box.count_x, columns, box.low_x, box.high_x);
            if (y.low <= y.high && x.low <= x.high)
                found = window_of(&box, y, x, error, rois.map_height, rois.map_width);
        }
        if ((threadIdx.x & 31) == 0) {
            reinterpret_cast<RotatedBox *>(rotated)[k] = box;
            rois.image[k] = n;
            put_window(rois.window, k, found);
        }
    }
}

/* What moves and weights bins: offsets (K, 2, bins), x before y, or null; a mask (K, bins) of floats or of
 * doubles, or null. Where each bin then begins, and what the mask is as a weight. */
struct Moving {
    const BOX *offsets;
    const void *mask;
    BOX *bases;
    REAL *factors;
    double gamma;
    int double_mask;
};

INLINE double mask_at(const Moving &moving, int64 i) {
    return moving.double_mask ? static_cast<const double *>(moving.mask)[i]
                              : static_cast<const float *>(moving.mask)[i];
}

/* The smallest window around those of a warp's lanes; an empty one adds nothing. */
INLINE Window joined(Window window) {
    const bool any = window.bottom > window.top;
    int top = any ? window.top : 0x7fffffff, left = any ? window.left : 0x7fffffff;
    int bottom = window.bottom, right = window.right;
    for (int step = 16; step > 0; step /= 2) {
        top = min(top, __shfl_xor_sync(~0u, top, step));
        left = min(left, __shfl_xor_sync(~0u, left, step));
        bottom = max(bottom, __shfl_xor_sync(~0u, bottom, step));
        right = max(right, __shfl_xor_sync(~0u, right, step));
    }
    return bottom > 0 ? Window{top, bottom, left, right} : Window{0, 0, 0, 0};
}

INLINE Window joined(const Window &all, const Window &part) {
    if (all.bottom == 0 || part.bottom == 0)
        return all.bottom == 0 ? part : all;
    return {min(all.top, part.top), max(all.bottom, part.bottom), min(all.left, part.left),
            max(all.right, part.right)};
}

/* Of boxes along the axes whose bins are moved. All numbers are the caller's, and are read once. */
KERNEL __launch_bounds__(128, 4) fill_moved(const Boxes boxes, const Sampling sampling, const Moving moving,
                                            const Rois rois, BOX *rotated) {
    __shared__ BOX room[4][MOST_COLUMNS];
    const int columns = rois.columns;
    const int64 warps = gridDim.x * 4LL, bins = (int64)rois.rows * columns;
    for (int64 k = blockIdx.x * 4LL + (threadIdx.x >> 5); k < rois.count; k += warps) {
        const Row row = row_of_warp(boxes, k, room[threadIdx.x >> 5]);
        const BOX *corners = row.numbers + row.columns - 4;
        RotatedBox box = upright_box(corners, sampling, rois.rows, columns);
        const Point reach = reach_of(corners, sampling, moving.gamma);
        const bool usable = isfinite(find_reach(&box, rois.map_height, rois.map_width)) && finite_box(&box);
        bool finite = true;
        Window found = {0, 0, 0, 0};
        for (int64 first = 0; first < bins; first += 32) {
            const int64 bin = first + (threadIdx.x & 31);
            Window part = {0, 0, 0, 0};
            if (bin < bins) {
                Point offset = {0, 0};
                if (moving.offsets) {
                    offset.x = moving.offsets[2 * k * bins + bin];
                    offset.y = moving.offsets[(2 * k + 1) * bins + bin];
                }
                const Point base =
                    moved_base(&box, reach, offset, (int)(bin / columns), (int)(bin % columns));
                moving.bases[2 * (k * bins + bin)] = base.y;
                moving.bases[2 * (k * bins + bin) + 1] = base.x;
                finite = finite && isfinite(offset.y) && isfinite(offset.x);
                if (moving.mask) {
                    const double factor = mask_at(moving, k * bins + bin);
                    moving.factors[k * bins + bin] = (REAL)factor;
                    finite = finite && isfinite(factor);
                }
                const Run y = run_at(&box, base.y, false), x = run_at(&box, base.x, true);
                if (usable && y.span.first <= y.span.last && x.span.first <= x.span.last)
                    part = window_of(&box, y.extent, x.extent, box.error, rois.map_height, rois.map_width);
            }
            found = joined(found, joined(part));
        }
        finite = __all_sync(~0u, finite);
        if ((threadIdx.x & 31) == 0) {
            const int64 n = image_of(row, rois.images);
            const bool valid = n >= 0 && finite;
            const Window none = {0, 0, 0, 0};
            reinterpret_cast<RotatedBox *>(rotated)[k] = box;
            rois.image[k] = n >= 0 && !finite ? -1 : n;
            put_window(rois.window, k, valid ? found : none);
        }
    }
}

/* The pixels that the samples of a lane's bin touch. */
INLINE Window read_by_bin(const RotatedBox &box, BOX base_y, BOX base_x, const Rois &rois) {
    Window window = {0x7fffffff, 0, 0x7fffffff, 0};
    if (!isfinite(base_y) || !isfinite(base_x))
        return {0, 0, 0, 0};
    const Span down = run_at(&box, base_y, false).span, along = run_at(&box, base_x, true).span;
    for (double i = down.first; i <= down.last; i = next_position(base_y, box.bin_y, down, i)) {
        const Point row = row_turned(&box, position_at(base_y, box.bin_y, down, i));
        for (double j = along.first; j <= along.last; j = next_position(base_x, box.bin_x, along, j)) {
            const Point column = column_turned(&box, position_at(base_x, box.bin_x, along, j));
            const Landed at = landed(&box, row, column, rois.map_height, rois.map_width);
            if (at.hit) {
                window.top = min(window.top, at.y.low);
                window.bottom = max(window.bottom, at.y.low + (at.y.last ? 1 : 2));
                window.left = min(window.left, at.x.low);
                window.right = max(window.right, at.x.low + (at.x.last ? 1 : 2));
            }
        }
    }
    return window.bottom > 0 ? window : Window{0, 0, 0, 0};
}

/* Windows are larger than what is read by what rounding may do: those that lie beyond the part that is given become
 * what is read. */
KERNEL __launch_bounds__(128, 4) find_read(const Rotated rotated) {
    const Rois &rois = rotated.rois;
    const int columns = rois.columns;
    const int64 warps = gridDim.x * 4LL, bins = (int64)rois.rows * columns;
    for (int64 k = blockIdx.x * 4LL + (threadIdx.x >> 5); k < rois.count; k += warps) {
        const Window rough = window_at(rois.window, k);
        if (rough.bottom <= rough.top ||
            (rough.top >= rois.top && rough.left >= rois.left && rough.bottom - rois.top <= rois.height &&
             rough.right - rois.left <= rois.width))
            continue;
        const RotatedBox box = reinterpret_cast<const RotatedBox *>(rotated.boxes)[k];
        const Bins of = bins_of(rotated, k);
        Window found = {0, 0, 0, 0};
        for (int64 first = 0; first < bins; first += 32) {
            const int64 bin = first + (threadIdx.x & 31);
            Window part = {0, 0, 0, 0};
            if (bin < bins) {
                const int p = (int)(bin / columns), q = (int)(bin % columns);
                part = read_by_bin(box, row_base(box, of, p, q), column_base(box, of, p, q), rois);
            }
            found = joined(found, joined(part));
        }
        if ((threadIdx.x & 31) == 0)
            put_window(rois.window, k, found);
    }
}
