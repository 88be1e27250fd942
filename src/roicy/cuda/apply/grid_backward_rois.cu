/* The gradient of a maximum of bilinear samples with respect to the box. */
#include "apply/argmax.cuh"
#include "apply/grid_chosen.cuh"
#include "lanes/reduce.cuh"

/* d/d(x1, y1, x2, y2) of each RoI, summed over its channels and bins, in one order for all layouts. */
struct Slopes {
    double *of_boxes;
    int channels;
};

KERNEL __launch_bounds__(THREADS, 2)
    grid_backward_rois(VIEW(const RESULT, gradient), VIEW(const int, argmax), VIEW(const STORED, features),
                       const Grid grid, const Slopes slopes) {
    __shared__ double room[THREADS];
    const int64 *__restrict__ image = grid.rois.image;
    const double spatial_scale = grid.spatial_scale;
    const int rows = grid.rois.rows, columns = grid.rois.columns;
    const Numbers numbers = {grid.rois.count, slopes.channels, rows, columns, false};
    for (int64 k = blockIdx.x; k < numbers.rois; k += gridDim.x) {
        double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
        if (image[k] >= 0)
            each_item(numbers, false, [&](int c, int p, int q, int64) {
                Chosen y, x;
                if (!chosen(grid, k, p, q, argmax[AT(argmax, k, c, p, q)], y, x))
                    return;
                const double value = real_of(gradient[AT(gradient, k, c, p, q)]);
                const STORED *plane = features + AT(features, image[k], c, 0, 0);
                const STORED *top = plane + (INDEX)features_step.y * (INDEX)y.low;
                const STORED *bottom = plane + (INDEX)features_step.y * (INDEX)y.high;
                const INDEX left = (INDEX)features_step.x * (INDEX)x.low,
                            right = (INDEX)features_step.x * (INDEX)x.high;
                const int64 first = k * ((int64)rows + columns);
                double slope_y = 0, slope_x = 0;
                if (!y.flat) {
                    const double low = x.low_weight, high = x.high_weight;
                    const double upper = low * real_of(top[left]) + high * real_of(top[right]);
                    const double lower = low * real_of(bottom[left]) + high * real_of(bottom[right]);
                    slope_y = value * (lower - upper) * spatial_scale;
                }
                if (!x.flat) {
                    const double low = y.low_weight, high = y.high_weight;
                    const double near = low * real_of(top[left]) + high * real_of(bottom[left]);
                    const double far = low * real_of(top[right]) + high * real_of(bottom[right]);
                    slope_x = value * (far - near) * spatial_scale;
                }
                /* how far along the box the sample lies: it moves with the first coordinate by 1 - share,
                 * with the second by share */
                const int total_y = grid.total[first + p];
                const int total_x = grid.total[first + rows + q];
                double share_y = (p + (bounded(y.number) + 0.5) / total_y) / rows;
                double share_x = (q + (bounded(x.number) + 0.5) / total_x) / columns;
                if (grid.steps[4 * k + 1] != 0)
                    share_y = 0;
                if (grid.steps[4 * k + 3] != 0)
                    share_x = 0;
                x1 += slope_x * (1 - share_x);
                y1 += slope_y * (1 - share_y);
                x2 += slope_x * share_x;
                y2 += slope_y * share_y;
            });
        x1 = sum_by_halves(x1, room);
        y1 = sum_by_halves(y1, room);
        x2 = sum_by_halves(x2, room);
        y2 = sum_by_halves(y2, room);
        if (threadIdx.x == 0) {
            slopes.of_boxes[4 * k] = x1;
            slopes.of_boxes[4 * k + 1] = y1;
            slopes.of_boxes[4 * k + 2] = x2;
            slopes.of_boxes[4 * k + 3] = y2;
        }
    }
}
