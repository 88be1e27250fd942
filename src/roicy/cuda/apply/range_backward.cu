/* The way back from a maximum: each output's gradient goes to the pixel that it came from. */
#include "apply/owned.cuh"

struct Named {
    Rois rois;
    int *bounds; /* the lowest and the highest pixel of each RoI, and then of each row of its bins */
};

KERNEL __launch_bounds__(32 * WARPS, 2)
    range_backward(VIEW(const STORED, gradient), VIEW(const int, argmax), VIEW(STORED, out),
                   const Named named, const Target target) {
    const int64 *__restrict__ image = named.rois.image;
    const int *__restrict__ bounds = named.bounds;
    const int rows = named.rois.rows, columns = named.rois.columns;
    extern __shared__ REAL all_sums[];
    __shared__ int64 met[32 * WARPS];
    __shared__ int counts[WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    REAL *sums = all_sums + warp * target.size;
    for (int64 task = blockIdx.x; task < target.tasks; task += gridDim.x) {
        const Owned owned = owned_by(task, target);
        const Candidates candidates = candidates_of(owned.n, named.rois, target.by_image);
        const int c = owned.channel + warp;
        clear_sums(sums, owned.pixels);
        for (int64 from = candidates.begin; from < candidates.end; from += blockDim.x) {
            const int64 candidate = from + threadIdx.x;
            int64 roi = 0;
            bool meets = candidate < candidates.end;
            if (meets) {
                roi = roi_of(candidate, target.by_image);
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
        write_sums(owned, all_sums, target, out, out_step);
    }
}
