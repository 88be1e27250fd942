/* The way back from a maximum of bilinear samples: to the pixels around the chosen one. */
#include "apply/grid_chosen.cuh"
#include "apply/owned.cuh"

KERNEL __launch_bounds__(32 * WARPS, 2)
    grid_backward(VIEW(const STORED, gradient), VIEW(const int, argmax), VIEW(STORED, out), const Grid grid,
                  const Target target) {
    const int64 *__restrict__ image = grid.rois.image;
    const int *__restrict__ window = grid.rois.window, *__restrict__ bin_rows = grid.bin_rows;
    const int rows = grid.rois.rows, columns = grid.rois.columns, width = grid.rois.width;
    extern __shared__ REAL all_sums[];
    __shared__ int64 met[32 * WARPS];
    __shared__ int counts[WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    REAL *sums = all_sums + warp * target.size;
    for (int64 task = blockIdx.x; task < target.tasks; task += gridDim.x) {
        const Owned owned = owned_by(task, target);
        const Candidates candidates = candidates_of(owned.n, grid.rois, target.by_image);
        const int c = owned.channel + warp;
        clear_sums(sums, owned.pixels);
        for (int64 from = candidates.begin; from < candidates.end; from += blockDim.x) {
            const int64 candidate = from + threadIdx.x;
            int64 roi = 0;
            bool meets = candidate < candidates.end;
            if (meets) {
                roi = roi_of(candidate, target.by_image);
                const Window part = window_at(window, roi);
                meets = image[roi] == owned.n && part.bottom > part.top &&
                        part.top * (int64)width + part.left < owned.first + owned.pixels &&
                        (part.bottom - 1) * (int64)width + part.right > owned.first;
            }
            const int meeting = gather_met(meets, roi, met, counts);
            for (int i = 0; i < meeting && warp < owned.channels; i++) {
                const int64 k = met[i];
                const int *own = bin_rows + 2 * (k * rows + lane);
                const Rows range =
                    rows_met(lane < rows && own[0] * (int64)width < owned.first + owned.pixels &&
                                 own[1] * (int64)width > owned.first,
                             rows);
                const int stop = range.high * columns;
                for (int b = range.low * columns + lane; b - lane < stop; b += 32) {
                    const int p = b / columns, q = b - p * columns;
                    Chosen y, x;
                    const bool found =
                        b < stop && chosen(grid, k, p, q, argmax[AT(argmax, k, c, p, q)], y, x);
                    if (!__any_sync(~0u, found))
                        continue;
                    const REAL value = found ? real_of(gradient[AT(gradient, k, c, p, q)]) : (REAL)0;
#pragma unroll
                    for (int corner = 0; corner < 4; corner++) {
                        int64 at = -1;
                        REAL part = 0;
                        if (found) {
                            const int row = corner / 2 ? y.high : y.low, column = corner % 2 ? x.high : x.low;
                            at = row * (int64)width + column - owned.first;
                            part = value * (corner / 2 ? y.high_weight : y.low_weight);
                            part *= corner % 2 ? x.high_weight : x.low_weight;
                        }
                        add_in_order(sums, at >= 0 && at < owned.pixels, (int)at, part);
                    }
                }
            }
            __syncthreads();
        }
        write_sums(owned, all_sums, target, out, out_step);
    }
}
