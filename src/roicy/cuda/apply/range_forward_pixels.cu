/* Range tables applied to maps that lie pixel by pixel: lanes are channels, and scan each bin.
 *
 * A lane has COUNT channels, which are read and written at once. Where there are few bins, `split` warps go
 * through the rows of one in turn. */
#include "apply/range_forward.cuh"
#include "lanes/pack.cuh"

struct Division {
    int64 tasks;
    int channels, split;
};

KERNEL __launch_bounds__(32 * WARPS, 3)
    range_forward_pixels(VIEW(const STORED, features), VIEW(RESULT, out), VIEW(int, argmax),
                         const Ranges ranges, const Division division) {
    __shared__ Best shares[WARPS][32 * COUNT];
    const int64 *__restrict__ image = ranges.rois.image;
    const int *__restrict__ window = ranges.rois.window;
    const int *__restrict__ y_start = ranges.y_start, *__restrict__ y_length = ranges.y_length;
    const int *__restrict__ x_start = ranges.x_start, *__restrict__ x_length = ranges.x_length;
    const int64 rois = ranges.rois.count;
    const int y_bins = ranges.rois.rows, x_bins = ranges.rois.columns, width = ranges.rois.width;
    const int channels = division.channels, split = division.split;
    typedef Pack<STORED, COUNT> Source;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, turn = warp % split;
    for (int64 task = blockIdx.x; task < division.tasks; task += gridDim.x) {
        const int64 part = task / rois, k = task - part * rois;
        const int first = (int)part * (32 * COUNT), end = min(first + 32 * COUNT, channels);
        const Window whole = window_at(window, k);
        if (image[k] < 0 || whole.top == whole.bottom) {
            PUT_NOTHING(k, first, end);
            continue;
        }
        const int channel = min(first + COUNT * lane, channels - COUNT);
        const STORED *source = features + AT(features, image[k], channel, 0, 0);
        for (int from = 0; from < y_bins * x_bins; from += WARPS / split) {
            const int bin = from + warp / split;
            const bool pooled = bin < y_bins * x_bins;
            const int p = pooled ? bin / x_bins : 0, q = pooled ? bin - p * x_bins : 0;
            const int top = y_start[k * y_bins + p], height = pooled ? y_length[k * y_bins + p] : 0;
            const int left = x_start[k * x_bins + q], breadth = x_length[k * x_bins + q];
            Best best[COUNT];
#pragma unroll
            for (int v = 0; v < COUNT; v++)
                best[v] = {LOWEST, NOWHERE};
            for (int y = top + turn; y < top + height; y += split) {
                const STORED *pixel =
                    source + ((INDEX)features_step.y * (INDEX)y + (INDEX)features_step.x * (INDEX)left);
                int index = (int)((unsigned)y * (unsigned)width + left);
#pragma unroll 4
                for (int x = 0; x < breadth; x++, index++, pixel += features_step.x) {
                    const Source own = *reinterpret_cast<const Source *>(pixel);
#pragma unroll
                    for (int v = 0; v < COUNT; v++)
                        take_with_argmax(real_of(own.item[v]), index, best[v]);
                }
            }
            if (split > 1) {
                __syncthreads();
#pragma unroll
                for (int v = 0; v < COUNT; v++)
                    shares[warp][32 * v + lane] = best[v];
                __syncthreads();
                for (int other = warp + 1; turn == 0 && other < warp + split; other++)
#pragma unroll
                    for (int v = 0; v < COUNT; v++)
                        take_first_with_argmax(shares[other][32 * v + lane], best[v]);
            }
            if (!pooled || turn > 0 || first + COUNT * lane >= channels)
                continue;
            const bool filled = height > 0 && breadth > 0;
            Pack<RESULT, COUNT> values;
            Pack<int, COUNT> indices;
#pragma unroll
            for (int v = 0; v < COUNT; v++) {
                values.item[v] = rounded_to<RESULT>(filled ? best[v].value : (REAL)0);
                indices.item[v] = filled ? index_out(best[v].at) : -1;
            }
            *reinterpret_cast<Pack<RESULT, COUNT> *>(out + AT(out, k, channel, p, q)) = values;
            if (WITH_ARGMAX)
                *reinterpret_cast<Pack<int, COUNT> *>(argmax + AT(argmax, k, channel, p, q)) = indices;
        }
    }
}
