/* The way back from a maximum: each output's gradient goes to the pixel that it came from. */
#include "apply/owned.cuh"

/* bounds: the lowest and the highest pixel that each RoI names, and then each row of its bins, (K, 1 + rows,
 * 2). */
KERNEL __launch_bounds__(32 * OWNERS, 2)
    range_backward(VIEW(const STORED, gradient), VIEW(const int, argmax), VIEW(STORED, target),
                   const int *bounds, int rows, int columns, int width, const int64 *image, int64 rois,
                   const int64 *order, const int64 *start, int sorted, int64 images, int channels,
                   int64 plane, int size, int64 ranges, int by_channel, int64 tasks) {
    extern __shared__ REAL all_sums[];
    __shared__ int64 met[32 * OWNERS];
    __shared__ int counts[OWNERS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    REAL *sums = all_sums + warp * size;
    for (int64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        const Owned owned = owned_by(task, plane, size, ranges, images, channels);
        const Candidates candidates = candidates_of(owned.n, rois, start, sorted);
        const int c = owned.channel + warp;
        clear_sums(sums, owned.pixels);
        for (int64 from = candidates.begin; from < candidates.end; from += blockDim.x) {
            const int64 candidate = from + threadIdx.x;
            int64 roi = 0;
            bool meets = candidate < candidates.end;
            if (meets) {
                roi = sorted ? order[candidate] : candidate;
                const int *own = bounds + 2 * roi * (1 + rows);
                meets = image[roi] == owned.n && own[0] < owned.first + owned.pixels && own[1] >= owned.first;
            }
            const int meeting = gather_met(meets, roi, met, counts);
            for (int i = 0; i < meeting && warp < owned.channels; i++) {
                const int64 k = met[i];
                const int *own = bounds + 2 * k * (1 + rows) + 2;
                const Rows range = rows_met(lane < rows && own[2 * lane] < owned.first + owned.pixels &&
                                                own[2 * lane + 1] >= owned.first,
                                            rows);
                const int stop = range.high * columns;
                for (int b = range.low * columns + lane; b - lane < stop; b += 32) {
                    int64 at = -1;
                    REAL value = 0;
                    if (b < stop) {
                        const int p = b / columns, q = b - p * columns;
                        at = argmax[AT(argmax, k, c, p, q)] - owned.first;
                        value = real_of(gradient[AT(gradient, k, c, p, q)]);
                    }
                    add_in_order(sums, at >= 0 && at < owned.pixels, (int)at, value);
                }
            }
            __syncthreads();
        }
        write_sums(owned, all_sums, size, target, target_step, width, by_channel);
    }
}
