/* The transpose of axis tables: dX = A_y' dY A_x, gathered pixel by pixel, without atomics.
 *
 * A thread owns a pixel and some channels, and sums the RoIs of its image in ascending order, each one's bins
 * in row-major order: the same bits in every run, in pieces where there are very many. The block looks
 * through the RoIs together and keeps those whose windows meet its tile; the weights of a pixel and a RoI
 * serve all of the thread's channels.
 *
 * Lanes lie along the rows of the map, each with neighbouring channels of its own; where `across`, maps that
 * lie pixel by pixel, a warp owns one pixel and lanes lie along the channels. */
#include "lanes/piles.cuh"
#include "tables/axis.cuh"

#define THREADS (32 * WARPS)

/* Position-sensitive maps have a channel for each of the `bins`, so many items apart: then a thread's are one
 * bin's. Else that is 0. */
struct Division {
    int64 apart, bins;
    int channels, across;
};

/* The transposed taps that name the bin, of those that name several. */
INLINE void narrow(const Tap *taps, int bin, int &begin, int &end) {
    while (begin < end && taps[begin].place != bin)
        begin++;
    end = min(end, begin + 1);
}

/* blocks that registers are left for: three would spill on sm_100 and later */
constexpr int RESIDENT = __CUDA_ARCH__ < 1000 && sizeof(REAL) + sizeof(INDEX) == 8 ? 3 : 2;

KERNEL __launch_bounds__(THREADS, RESIDENT)
    axis_backward(VIEW(const STORED, grad), VIEW(STORED, out), const TurnedAxes axes, const ByImage by_image,
                  const Division division) {
    const Rois &rois = axes.rois;
    const int64 *__restrict__ image = rois.image;
    const int *__restrict__ window = rois.window;
    const int *__restrict__ y_start = axes.y.start, *__restrict__ x_start = axes.x.start;
    const REAL *__restrict__ y_taps = axes.y.taps, *__restrict__ x_taps = axes.x.taps;
    const int height = rois.height, width = rois.width, channels = division.channels;
    const bool across = division.across;
    __shared__ int64 met[THREADS];
    __shared__ int counts[WARPS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int tile_rows = across ? ROWS_ACROSS : WARPS, tile_columns = across ? WARPS / ROWS_ACROSS : 32;
    const int64 tiles_x = (width - 1) / tile_columns + 1, tiles = ((height - 1) / tile_rows + 1) * tiles_x;
    const int64 chunks = (channels - 1) / (across ? 32 * CHANNELS : CHANNELS) + 1;
    for (int64 task = blockIdx.x; task < chunks * division.bins * rois.images * tiles; task += gridDim.x) {
        const int64 n = task / tiles % rois.images, tile = task % tiles;
        const int own = (int)(task / tiles / rois.images % division.bins);
        const int top = (int)(tile / tiles_x) * tile_rows, left = (int)(tile % tiles_x) * tile_columns;
        const int bottom = min(top + tile_rows, height), right = min(left + tile_columns, width);
        const int row = top + (across ? warp / (WARPS / ROWS_ACROSS) : warp);
        const int column = left + (across ? warp % (WARPS / ROWS_ACROSS) : lane);
        const unsigned c =
            (unsigned)(task / tiles / rois.images / division.bins) * (across ? 32 * CHANNELS : CHANNELS) +
            (across ? lane : 0);
        const int step = across ? 32 : 1;
        const bool inside = row < bottom && column < right && c < (unsigned)channels;
        const int live = inside ? (int)min((unsigned)CHANNELS, (channels - 1 - c) / step + 1) : 0;
        const INDEX between = (INDEX)grad_step.c * step;
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
                const int *rows = y_start + begin_of(k, axes.y.pixels, axes.y.line) + row - w.top;
                const int *columns = x_start + begin_of(k, axes.x.pixels, axes.x.line) + column - w.left;
                const Tap *down = taps_at(y_taps, begin_of(k, axes.y));
                const Tap *along = taps_at(x_taps, begin_of(k, axes.x));
                int top_tap = rows[0], bottom_tap = rows[1], begin = columns[0], end = columns[1];
                if (division.apart) {
                    narrow(down, own / rois.columns, top_tap, bottom_tap);
                    narrow(along, own % rois.columns, begin, end);
                }
                auto add = [&](bool counted) {
                    for (int a = top_tap; a < bottom_tap; a++) {
                        const STORED *line = grad + AT(grad, k, c, down[a].place, 0);
                        for (int b = begin; b < end; b++) {
                            if (counted)
                                piles_count(1, held, sum, piles);
                            const REAL weight = down[a].weight * along[b].weight;
                            /* a pointer takes more registers */
                            const INDEX bin = (INDEX)grad_step.x * along[b].place;
#pragma unroll
                            for (int v = 0; v < CHANNELS; v++)
                                if (v < live)
                                    sum[v] = madd(weight, real_of(line[bin + between * v]), sum[v]);
                        }
                    }
                };
                const int terms = (bottom_tap - top_tap) * (end - begin);
                if (terms <= PILE) {
                    piles_count(terms, held, sum, piles);
                    add(false);
                } else {
                    add(true);
                }
            }
        }
        if (live) {
            STORED *target = out + AT(out, n, c, row, column) + (INDEX)division.apart * own;
#pragma unroll
            for (int v = 0; v < CHANNELS; v++)
                if (v < live)
                    target[(INDEX)out_step.c * step * v] =
                        rounded_to<STORED>(piles_finish(sum[v], held, piles, v));
        }
    }
}
