/* Range tables applied: the largest of each bin's pixels, and where it was.
 *
 * A block takes one RoI and some channels, a warp of it a few bins. Where the pixels of a row are neighbours
 * in memory, lanes lie along the row, and the columns of a RoI are searched before the bins are:
 *
 *     rows of the bins p ...            lines[channel][p][column]              bins p, q
 *     lanes over (p, column) ── largest down the rows ──▶ ── largest along the columns, lanes over (p, q)
 *
 * With the place of each maximum carried along, of equal values the first in row-major order wins, as in a
 * scan of the bin pixel by pixel. Where channels are neighbours, lanes are channels and scan it so. */
#include "maxima.cuh"
#include "range_table.cuh"

enum {
    WARPS = 4,
    DEPTH = 4,   /* channels of a lane */
    ITEMS = 128, /* places of a line that are kept: rows of bins times columns of pixels */
    GROUP = 4,   /* rows of bins at a time, at the most */
    LINE = ITEMS + GROUP
};

#define CALL                                                                                                 \
    VIEW(const STORED, features), VIEW(RESULT, out), VIEW(int, argmax), int with_places,                     \
        const int64 *__restrict__ image, const int *__restrict__ window, RANGES(y), RANGES(x), int64 rois,   \
        int channels, int width

/* Every bin of a RoI that reads no pixel, or that belongs to no image. */
#define FILL(value)                                                                                          \
    for (int b = threadIdx.x; b < y_bins * x_bins; b += blockDim.x)                                          \
        for (int c = first; c < end; c++) {                                                                  \
            const int p = b / x_bins, q = b % x_bins;                                                        \
            out[AT(out, k, c, p, q)] = rounded_to<RESULT>(value);                                            \
            if (with_places)                                                                                 \
                argmax[AT(argmax, k, c, p, q)] = -1;                                                         \
        }

/* `group` rows of bins and `run` columns of them at a time, `share` lanes for a bin: group * run * share
 * <= 32. */
KERNEL __launch_bounds__(32 * WARPS, 4)
    max_of_planes(CALL, int chunk, int group, int run, int share, int64 tasks) {
    __shared__ REAL lines[WARPS][DEPTH][LINE];
    __shared__ int places[WARPS][DEPTH][LINE];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int groups = (y_bins + group - 1) / group, runs = (x_bins + run - 1) / run;
    const int tile = ITEMS / group;
    for (int64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        const int64 part = task / rois, k = task - part * rois;
        const int first = (int)part * chunk, end = min(first + chunk, channels);
        const Window whole = window_at(window, k);
        if (image[k] < 0 || whole.top == whole.bottom) {
            FILL(image[k] < 0 ? not_a_number() : 0)
            continue;
        }
        const int blocks = (end - first + DEPTH - 1) / DEPTH;
        for (int unit = warp; unit < blocks * groups * runs; unit += WARPS) {
            const int which = unit / blocks, channel = first + unit % blocks * DEPTH;
            const int top = which / runs * group, left = which % runs * run;
            const int rows = min(group, y_bins - top), bins = min(run, x_bins - left);
            const int *tops = y_start + k * y_bins + top, *heights = y_length + k * y_bins + top;
            const int *lefts = x_start + k * x_bins + left, *widths = x_length + k * x_bins + left;
            /* the bin that this lane has a share in */
            const int row = lane / share / bins, column = lane / share % bins, turn = lane % share;
            const bool pooled = row < rows;
            const bool filled = pooled && heights[row] > 0 && widths[column] > 0;
            const int begin = filled ? lefts[column] : 0, stop = filled ? begin + widths[column] : 0;
            const int last = lefts[bins - 1] + widths[bins - 1];
            INDEX plane[DEPTH];
            REAL best[DEPTH];
            int best_at[DEPTH];
#pragma unroll
            for (int c = 0; c < DEPTH; c++) {
                plane[c] = AT(features, image[k], min(channel + c, channels - 1), 0, 0);
                best[c] = LOWEST;
                best_at[c] = NOWHERE;
            }
            for (int from = lefts[0]; from < last; from += tile) {
                const int breadth = min(tile, last - from);
                const int pitch = breadth | 1; /* rows of bins in other banks */
                for (int item = lane; item < rows * breadth; item += 32) {
                    const int r = item / breadth, x = item - r * breadth;
                    const int y = tops[r], height = heights[r];
                    INDEX at = (INDEX)features_y * (INDEX)y + (INDEX)features_x * (INDEX)(from + x);
                    REAL largest[DEPTH];
                    int found[DEPTH];
#pragma unroll
                    for (int c = 0; c < DEPTH; c++) {
                        largest[c] = LOWEST;
                        found[c] = -1;
                    }
                    for (int j = 0; j < height; j++, at += (INDEX)features_y)
#pragma unroll
                        for (int c = 0; c < DEPTH; c++)
                            take(real_of(features[plane[c] + at]), j, largest[c], found[c]);
#pragma unroll
                    for (int c = 0; c < DEPTH; c++) {
                        lines[warp][c][r * pitch + x] = largest[c];
                        places[warp][c][r * pitch + x] =
                            found[c] < 0 ? NOWHERE
                                         : (int)((unsigned)(y + found[c]) * (unsigned)width + (from + x));
                    }
                }
                __syncwarp();
                for (int x = max(begin, from) + turn; x < min(stop, from + breadth); x += share)
#pragma unroll
                    for (int c = 0; c < DEPTH; c++)
                        take_first(lines[warp][c][row * pitch + x - from],
                                   places[warp][c][row * pitch + x - from], best[c], best_at[c]);
                __syncwarp();
            }
            for (int apart = share / 2; apart > 0; apart /= 2)
#pragma unroll
                for (int c = 0; c < DEPTH; c++) {
                    const REAL other = __shfl_xor_sync(~0u, best[c], apart);
                    const int other_at = __shfl_xor_sync(~0u, best_at[c], apart);
                    take_first(other, other_at, best[c], best_at[c]);
                }
            if (pooled && turn == 0)
#pragma unroll
                for (int c = 0; c < DEPTH; c++)
                    if (channel + c < end) {
                        const int p = top + row, q = left + column;
                        out[AT(out, k, channel + c, p, q)] = rounded_to<RESULT>(filled ? best[c] : (REAL)0);
                        if (with_places)
                            argmax[AT(argmax, k, channel + c, p, q)] = filled ? place_out(best_at[c]) : -1;
                    }
        }
    }
}

/* Channels are neighbours: lanes are channels, DEPTH times 32 of them a warp. */
KERNEL __launch_bounds__(32 * WARPS, 4) max_of_pixels(CALL, int64 tasks) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        const int64 part = task / rois, k = task - part * rois;
        const int first = (int)part * (32 * DEPTH), end = min(first + 32 * DEPTH, channels);
        const Window whole = window_at(window, k);
        if (image[k] < 0 || whole.top == whole.bottom) {
            FILL(image[k] < 0 ? not_a_number() : 0)
            continue;
        }
        INDEX lanes_at[DEPTH];
#pragma unroll
        for (int c = 0; c < DEPTH; c++)
            lanes_at[c] = AT(features, image[k], min(first + 32 * c + lane, channels - 1), 0, 0);
        for (int bin = warp; bin < y_bins * x_bins; bin += warps) {
            const int p = bin / x_bins, q = bin - p * x_bins;
            const int top = y_start[k * y_bins + p], height = y_length[k * y_bins + p];
            const int left = x_start[k * x_bins + q], breadth = x_length[k * x_bins + q];
            const bool filled = height > 0 && breadth > 0;
            REAL best[DEPTH];
            int best_at[DEPTH];
#pragma unroll
            for (int c = 0; c < DEPTH; c++) {
                best[c] = LOWEST;
                best_at[c] = NOWHERE;
            }
            for (int y = top; y < top + height; y++) {
                INDEX at = (INDEX)features_y * (INDEX)y + (INDEX)features_x * (INDEX)left;
                int place = (int)((unsigned)y * (unsigned)width + left);
                for (int x = 0; x < breadth; x++, place++, at += (INDEX)features_x)
#pragma unroll
                    for (int c = 0; c < DEPTH; c++)
                        if (first + 32 * c < end)
                            take(real_of(features[lanes_at[c] + at]), place, best[c], best_at[c]);
            }
#pragma unroll
            for (int c = 0; c < DEPTH; c++) {
                const int channel = first + 32 * c + lane;
                if (channel < end) {
                    out[AT(out, k, channel, p, q)] = rounded_to<RESULT>(filled ? best[c] : (REAL)0);
                    if (with_places)
                        argmax[AT(argmax, k, channel, p, q)] = filled ? place_out(best_at[c]) : -1;
                }
            }
        }
    }
}
