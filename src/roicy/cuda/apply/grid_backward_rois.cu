/* The way back from a maximum of bilinear samples: to the box. */
#include "apply/argmax.cuh"
#include "apply/grid_chosen.cuh"

/* The sum over a block, for thread 0, in an order that never changes; `room` is for one of each thread. The
 * others get nothing: without another barrier they do not know when it is there. */
INLINE double block_sum(double value, double *room) {
    __syncthreads();
    room[threadIdx.x] = value;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            room[threadIdx.x] += room[threadIdx.x + half];
    }
    return threadIdx.x == 0 ? room[0] : 0;
}

/* slopes[k] = d/d(x1, y1, x2, y2) of one RoI, summed over its channels and bins, in one order for all
 * layouts. */
KERNEL __launch_bounds__(SURVEYORS, 2)
    grid_backward_rois(VIEW(const RESULT, gradient), VIEW(const int, argmax), VIEW(const STORED, features),
                       GRID, const int64 *image, int64 rois, int channels, double spatial_scale,
                       double *slopes) {
    __shared__ double room[SURVEYORS];
    for (int64 k = blockIdx.x; k < rois; k += gridDim.x) {
        double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
        if (image[k] >= 0)
            each_item(channels, rows, columns, false, [&](int c, int p, int q, int64) {
                Sample y, x;
                if (!chosen(GRID_ARGUMENTS, k, p, q, argmax[AT(argmax, k, c, p, q)], y, x))
                    return;
                const double value = real_of(gradient[AT(gradient, k, c, p, q)]);
                const STORED *plane = features + AT(features, image[k], c, 0, 0);
                const STORED *top = plane + (INDEX)features_step.y * (INDEX)y.low;
                const STORED *bottom = plane + (INDEX)features_step.y * (INDEX)y.high;
                const INDEX left = (INDEX)features_step.x * (INDEX)x.low,
                            right = (INDEX)features_step.x * (INDEX)x.high;
                const int64 first = k * ((int64)rows + columns);
                double slope_y = 0, slope_x = 0;
                if (!y.level) {
                    const double low = x.low_weight, high = x.high_weight;
                    const double upper = low * real_of(top[left]) + high * real_of(top[right]);
                    const double lower = low * real_of(bottom[left]) + high * real_of(bottom[right]);
                    slope_y = value * (lower - upper) * spatial_scale;
                }
                if (!x.level) {
                    const double low = y.low_weight, high = y.high_weight;
                    const double near = low * real_of(top[left]) + high * real_of(bottom[left]);
                    const double far = low * real_of(top[right]) + high * real_of(bottom[right]);
                    slope_x = value * (far - near) * spatial_scale;
                }
                /* how far along the box the sample lies: it moves with the first coordinate by 1 - share,
                 * with the second by share */
                const int total_y = grid_total[first + p];
                const int total_x = grid_total[first + rows + q];
                double share_y = (p + (bounded(y.number) + 0.5) / total_y) / rows;
                double share_x = (q + (bounded(x.number) + 0.5) / total_x) / columns;
                if (grid_steps[4 * k + 1] != 0)
                    share_y = 0;
                if (grid_steps[4 * k + 3] != 0)
                    share_x = 0;
                x1 += slope_x * (1 - share_x);
                y1 += slope_y * (1 - share_y);
                x2 += slope_x * share_x;
                y2 += slope_y * share_y;
            });
        x1 = block_sum(x1, room);
        y1 = block_sum(y1, room);
        x2 = block_sum(x2, room);
        y2 = block_sum(y2, room);
        if (threadIdx.x == 0) {
            slopes[4 * k] = x1;
            slopes[4 * k + 1] = y1;
            slopes[4 * k + 2] = x2;
            slopes[4 * k + 3] = y2;
        }
    }
}
