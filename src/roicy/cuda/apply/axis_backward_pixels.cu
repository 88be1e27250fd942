/* The transpose of axis tables, on maps that lie pixel by pixel: dX = A_y' dY A_x, gathered without atomics.
 *
 * A warp owns a pixel; lanes lie along its channels, each with a few. A thread sums the RoIs of its image in
 * ascending order and the bins of each in row-major order (very many of them in pieces), so every run gives the same
 * bits. The threads of a block search the RoIs together and keep those whose windows overlap its tile. */
#include "lanes/piles.cuh"
#include "tables/axis.cuh"

#define THREADS (32 * WARPS)
#define COLUMNS (WARPS / ROWS) /* of a tile */

/* blocks per multiprocessor that registers must suffice for: three would spill on sm_100 and later */
constexpr int RESIDENT = __CUDA_ARCH__ < 1000 && sizeof(REAL) + sizeof(INDEX) == 8 ? 3 : 2;

KERNEL __launch_bounds__(THREADS, RESIDENT)
    axis_backward_pixels(VIEW(const STORED, grad), VIEW(STORED, out), const TurnedAxes axes,
                         const ByImage by_image, int channels) {
    const Rois &rois = axes.rois;
    const int64 *__restrict__ image = rois.image;
    const int *__restrict__ window = rois.window;
    const int *__restrict__ y_start = axes.y.start, *__restrict__ x_start = axes.x.start;
    const REAL *__restrict__ y_taps = axes.y.taps, *__restrict__ x_taps = axes.x.taps;
    const int height = rois.height, width = rois.width;
    __shared__ int64 met[THREADS];
    __shared__ int counts[WARPS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int64 tiles_x = (width - 1) / COLUMNS + 1, tiles = ((height - 1) / ROWS + 1) * tiles_x;
    const int64 chunks = (channels - 1) / (32 * CHANNELS) + 1;
    for (int64 task = blockIdx.x; task < chunks * rois.images * tiles; task += gridDim.x) {
        const int64 n = task / tiles % rois.images, tile = task % tiles;
        const int top = (int)(tile / tiles_x) * ROWS, left = (int)(tile % tiles_x) * COLUMNS;
        const int bottom = min(top + ROWS, height), right = min(left + COLUMNS, width);
        const int row = top + warp / COLUMNS, column = left + warp % COLUMNS;
        const unsigned c = (unsigned)(task / tiles / rois.images) * (32 * CHANNELS) + lane;
        const bool inside = row < bottom && column < right && c < (unsigned)channels;
        const int live = inside ? (int)min((unsigned)CHANNELS, (channels - 1 - c) / 32 + 1) : 0;
        const INDEX between = (INDEX)grad_step.c * 32;
        REAL sum[CHANNELS];
#pragma unroll
        for (int v = 0; v < CHANNELS; v++)
            sum[v] = 0;
        Piles<CHANNELS> piles;
        unsigned held = 0;
        const Candidates candidates = candidates_of(n, rois, by_image);
        for (int64 first = candidates.begin; first < candidates.end; first += THREADS) {
            const int64 i = first + threadIdx.x, roi = i < candidates.end ? roi_of(i, by_image) : i;
            bool meets = i < candidates.end && image[roi] == n;
            if (meets) {
                const Window w = window_at(window, roi);
                meets = w.top < bottom && w.bottom > top && w.left < right && w.right > left;
            }
            const int found = gather_met(meets, roi, met, counts);
            for (int m = 0; m < found; m++) {
                const int64 k = met[m];
                const Window w = window_at(window, k);
                if (!live || row < w.top || row >= w.bottom || column < w.left || column >= w.right)
                    continue;
                const int *rows = y_start + begin_of(k, axes.y.pixels, axes.y.first_pixel) + row - w.top;
                const int *columns =
                    x_start + begin_of(k, axes.x.pixels, axes.x.first_pixel) + column - w.left;
                const Tap *down = taps_at(y_taps, begin_of(k, axes.y));
                const Tap *along = taps_at(x_taps, begin_of(k, axes.x));
                const int begin = columns[0], end = columns[1];
                auto add = [&](bool counted) {
                    for (int a = rows[0]; a < rows[1]; a++) {
                        const STORED *line = grad + AT(grad, k, c, down[a].at, 0);
                        for (int b = begin; b < end; b++) {
                            if (counted)
                                piles_count(1, held, sum, piles);
                            const REAL weight = down[a].weight * along[b].weight;
                            /* a pointer takes more registers */
                            const INDEX bin = (INDEX)grad_step.x * along[b].at;
#pragma unroll
                            for (int v = 0; v < CHANNELS; v++)
                                if (v < live)
                                    sum[v] = madd(weight, real_of(line[bin + between * v]), sum[v]);
                        }
                    }
                };
                const int terms = (rows[1] - rows[0]) * (end - begin);
                if (terms <= PILE) {
                    piles_count(terms, held, sum, piles);
                    add(false);
                } else {
                    add(true);
                }
            }
        }
        if (live) {
            STORED *target = out + AT(out, n, c, row, column);
#pragma unroll
            for (int v = 0; v < CHANNELS; v++)
                if (v < live)
                    target[(INDEX)out_step.c * 32 * v] =
                        rounded_to<STORED>(piles_finish(sum[v], held, piles, v));
        }
    }
}
