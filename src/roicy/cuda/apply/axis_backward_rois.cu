/* The gradient with respect to the boxes: the same apply with the derivative of one axis's weights.
 *
 *     d/dx1 = Σ dY · (A_y · X · (∂A_x/∂x1)')      d/dy1 = Σ dY · (∂A_y/∂y1 · X · A_x')      and likewise x2,
 * y2
 *
 * A block takes a RoI and some channels; what its threads sum is added up in a fixed order, in double
 * precision. How channels are divided depends on their number alone. */
#include "tables/axis.cuh"

#define LONGEST (sizeof(REAL) == sizeof(float) ? PIECE : 0x7fffffff) /* chain of sums */

/* What the weights gain as the first edge of a box moves, and the second, beside each axis's taps; and what is
 * to come of it: partial[part][k] = what the part's channels add to the gradient of box k. Where `across`,
 * lanes lie along channels, else along bins. Position-sensitive maps have a channel for each bin, so many items
 * apart, else that is 0. */
struct Slopes {
    const REAL *y, *x;
    double *partial;
    int64 tasks, apart; /* RoIs times parts */
    int channels, parts, across;
};

struct Sums {
    double x1, y1, x2, y2;
};

INLINE double sum_of_block(double value, double *warps) {
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_down_sync(~0u, value, step);
    __syncthreads();
    if ((threadIdx.x & 31) == 0)
        warps[threadIdx.x >> 5] = value;
    __syncthreads();
    value = 0;
    for (int i = 0; i < THREADS / 32; i++)
        value += warps[i];
    return value;
}

/* blocks that registers are left for: six of the widest types would spill on sm_100 and later */
constexpr int RESIDENT = __CUDA_ARCH__ >= 1000 && sizeof(REAL) + sizeof(INDEX) == 16 ? 5 : 6;

KERNEL __launch_bounds__(THREADS, RESIDENT)
    axis_backward_rois(VIEW(const RESULT, grad), VIEW(const STORED, features), const Axes axes,
                       const Slopes slopes) {
    const int64 *__restrict__ image = axes.rois.image;
    const int *__restrict__ y_start = axes.y.start, *__restrict__ y_count = axes.y.count;
    const int *__restrict__ x_start = axes.x.start, *__restrict__ x_count = axes.x.count;
    const REAL *__restrict__ y_taps = axes.y.taps, *__restrict__ x_taps = axes.x.taps;
    const REAL *__restrict__ y_slopes = slopes.y, *__restrict__ x_slopes = slopes.x;
    const int64 rois = axes.rois.count;
    const int y_bins = axes.rois.rows, x_bins = axes.rois.columns, parts = slopes.parts;
    const bool across = slopes.across;
    __shared__ double warps[THREADS / 32];
    for (int64 task = blockIdx.x; task < slopes.tasks; task += gridDim.x) {
        const int64 k = task / parts, n = image[k];
        const int part = (int)(task % parts), first = part * CHANNELS;
        const int count = min(CHANNELS, slopes.channels - first);
        const int64 bins = (int64)y_bins * x_bins, items = n < 0 ? 0 : bins * count;
        const int64 rows_begin = begin_of(k, axes.y), columns_begin = begin_of(k, axes.x);
        Sums sum = {0, 0, 0, 0};
        for (int64 i = threadIdx.x; i < items; i += THREADS) {
            const int64 bin = across ? i / count : i % bins;
            const int c = first + (int)(across ? i % count : i / bins), p = (int)(bin / x_bins),
                      q = (int)(bin % x_bins);
            const int64 row_at = rows_begin + y_start[k * y_bins + p],
                        column_at = columns_begin + x_start[k * x_bins + q];
            const Tap *down = taps_at(y_taps, row_at), *along = taps_at(x_taps, column_at);
            const int rows = y_count[k * y_bins + p], columns = x_count[k * x_bins + q];
            if (rows == 0 || columns == 0)
                continue;
            const double dy = real_of(grad[AT(grad, k, c, p, q)]);
            /* chains end with a piece of the bin, in both directions */
            for (int top = 0; top < rows; top += LONGEST)
                for (int left = 0; left < columns; left += LONGEST) {
                    REAL x1 = 0, y1 = 0, x2 = 0, y2 = 0;
                    const int bottom = min(rows - top, LONGEST) + top,
                              right = min(columns - left, LONGEST) + left;
                    for (int a = top; a < bottom; a++) {
                        const STORED *source = features + AT(features, n, c, down[a].place, 0) +
                                               (INDEX)slopes.apart * (INDEX)bin;
                        REAL line = 0, line_start = 0, line_end = 0;
                        for (int b = left; b < right; b++) {
                            const REAL value = real_of(source[(INDEX)features_step.x * along[b].place]);
                            line = madd(along[b].weight, value, line);
                            line_start = madd(x_slopes[2 * (column_at + b)], value, line_start);
                            line_end = madd(x_slopes[2 * (column_at + b) + 1], value, line_end);
                        }
                        x1 = madd(down[a].weight, line_start, x1);
                        x2 = madd(down[a].weight, line_end, x2);
                        y1 = madd(y_slopes[2 * (row_at + a)], line, y1);
                        y2 = madd(y_slopes[2 * (row_at + a) + 1], line, y2);
                    }
                    sum.x1 += dy * x1;
                    sum.y1 += dy * y1;
                    sum.x2 += dy * x2;
                    sum.y2 += dy * y2;
                }
        }
        sum.x1 = sum_of_block(sum.x1, warps);
        sum.y1 = sum_of_block(sum.y1, warps);
        sum.x2 = sum_of_block(sum.x2, warps);
        sum.y2 = sum_of_block(sum.y2, warps);
        if (threadIdx.x == 0) {
            double *target = slopes.partial + ((int64)part * rois + k) * 4;
            target[0] = sum.x1;
            target[1] = sum.y1;
            target[2] = sum.x2;
            target[3] = sum.y2;
        }
    }
}

/* sums[i] = the parts' numbers i, added in the order of the parts. */
KERNEL __launch_bounds__(THREADS, 6)
    add_parts(const double *__restrict__ partial, int64 numbers, int parts, double *sums) {
    for (int64 i = blockIdx.x * (int64)THREADS + threadIdx.x; i < numbers; i += gridDim.x * (int64)THREADS) {
        double sum = 0;
        for (int part = 0; part < parts; part++)
            sum += partial[part * numbers + i];
        sums[i] = sum;
    }
}
