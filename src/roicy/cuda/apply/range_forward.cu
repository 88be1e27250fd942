/* Range tables applied: the largest of each bin's pixels, and where it was.
 *
 * A block takes one RoI and some channels, a warp of it a few bins. Where the pixels of a row are neighbours
 * in memory, lanes lie along the row, and the columns of a RoI are searched before the bins are:
 *
 *     rows of the bins p ...            lines[channel][p][column]              bins p, q
 *     lanes over (p, column) ── largest down the rows ──▶ ── largest along the columns, lanes over (p, q)
 *
 * With the index of each maximum carried along, of equal values the first in row-major order wins, as in a
 * scan of the bin pixel by pixel. */
#include "apply/range_forward.cuh"

enum {
    BESIDE = sizeof(REAL) == 8 ? 2 : 4, /* channels of a warp */
    LINE = ITEMS + GROUP,
    /* blocks that registers are left for: so many that all values of a batch of rows have one */
    RESIDENT = sizeof(INDEX) == 8 ? 4
    : !WITH_ARGMAX                ? 8
    : sizeof(STORED) == 1         ? 5
                                  : 6
};

/* How a call is divided: blocks take `chunk` channels, warps `group` rows of bins and `run` columns of them at a
 * time, `share` lanes for a bin: group * run * share <= 32. */
struct Division {
    int64 tasks;
    int channels, chunk, group, run, share;
};

/* Takes the rows from `j` on, COUNT of which are read before the first is used; `at` is the item of row 0 in a plane. In
 * the place of rows behind the last one that one is taken again. */
template <int COUNT>
INLINE void take_rows(const STORED *const *plane, INDEX at, INDEX step, int j, int last, Best *largest) {
    REAL value[COUNT][BESIDE];
#pragma unroll
    for (int t = 0; t < COUNT; t++) {
        const INDEX row = at + step * (INDEX)min(j + t, last);
#pragma unroll
        for (int c = 0; c < BESIDE; c++)
            value[t][c] = real_of(__ldg(plane[c] + row));
    }
#pragma unroll
    for (int t = 0; t < COUNT; t++)
#pragma unroll
        for (int c = 0; c < BESIDE; c++)
            take_with_argmax(value[t][c], j + t, largest[c]);
}

/* The same of so many, at most MOST in any lane. */
template <int MOST>
INLINE void take_some_rows(int most, const STORED *const *plane, INDEX at, INDEX step, int j, int last,
                           Best *largest) {
    if constexpr (MOST > 1)
        if (most < MOST) {
            take_some_rows<MOST - 1>(most, plane, at, step, j, last, largest);
            return;
        }
    take_rows<MOST>(plane, at, step, j, last, largest);
}

KERNEL __launch_bounds__(32 * WARPS, RESIDENT)
    range_forward(VIEW(const STORED, features), VIEW(RESULT, out), VIEW(int, argmax), const Ranges ranges,
                  const Division division) {
    const int64 *__restrict__ image = ranges.rois.image;
    const int *__restrict__ window = ranges.rois.window;
    const int *__restrict__ y_start = ranges.y_start, *__restrict__ y_length = ranges.y_length;
    const int *__restrict__ x_start = ranges.x_start, *__restrict__ x_length = ranges.x_length;
    const int64 rois = ranges.rois.count;
    const int y_bins = ranges.rois.rows, x_bins = ranges.rois.columns, width = ranges.rois.width;
    const int channels = division.channels, chunk = division.chunk;
    const int group = division.group, run = division.run, share = division.share;
    __shared__ REAL lines[WARPS][BESIDE][LINE];
    __shared__ int indices[WITH_ARGMAX ? WARPS : 1][BESIDE][WITH_ARGMAX ? LINE : 1];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int groups = (y_bins + group - 1) / group, runs = (x_bins + run - 1) / run;
    const int tile = ITEMS / group;
    for (int64 task = blockIdx.x; task < division.tasks; task += gridDim.x) {
        const int64 part = task / rois, k = task - part * rois;
        const int first = (int)part * chunk, end = min(first + chunk, channels);
        const Window whole = window_at(window, k);
        if (image[k] < 0 || whole.top == whole.bottom) {
            PUT_NOTHING(k, first, end);
            continue;
        }
        for (int which = 0; which < groups * runs; which++) {
            const int top = which / runs * group, left = which % runs * run;
            const int rows = min(group, y_bins - top), bins = min(run, x_bins - left);
            const int *lefts = x_start + k * x_bins + left, *widths = x_length + k * x_bins + left;
            /* a lane for each row of bins says where that is */
            const int64 own_row = k * y_bins + min(top + lane, y_bins - 1);
            const int own_top = y_start[own_row], own_height = y_length[own_row];
            /* the bin that this lane has a share in */
            const int row = lane / share / bins, column = lane / share % bins, turn = lane % share;
            const bool pooled = row < rows;
            const int own_rows = __shfl_sync(~0u, own_height, pooled ? row : 0);
            const bool filled = pooled && own_rows > 0 && widths[column] > 0;
            const int begin = filled ? lefts[column] : 0, stop = filled ? begin + widths[column] : 0;
            const int leftmost = lefts[0], last = lefts[bins - 1] + widths[bins - 1];
            for (int channel = first + warp * BESIDE; channel < end; channel += WARPS * BESIDE) {
                const STORED *plane[BESIDE];
                Best best[BESIDE];
#pragma unroll
                for (int c = 0; c < BESIDE; c++) {
                    plane[c] = features + AT(features, image[k], min(channel + c, channels - 1), 0, 0);
                    OWN_ADDRESS(plane[c]);
                    best[c] = {LOWEST, NOWHERE};
                }
                for (int from = leftmost; from < last; from += min(tile, last - from)) {
                    const int breadth = min(tile, last - from), items = rows * breadth;
                    const int pitch = breadth | 1;                   /* rows of bins in other banks */
                    const unsigned reciprocal = 65536 / breadth + 1; /* exact for so few items */
                    for (int item = lane; item - lane < items; item += 32) {
                        const int r = (int)(item * reciprocal >> 16), x = item - r * breadth;
                        const int y = __shfl_sync(~0u, own_top, r), height = __shfl_sync(~0u, own_height, r);
                        const int most = most_of_warp(item < items ? height : 0);
                        if (item >= items)
                            continue;
                        const INDEX at =
                            (INDEX)features_step.y * (INDEX)y + (INDEX)features_step.x * (INDEX)(from + x);
                        Best largest[BESIDE];
#pragma unroll
                        for (int c = 0; c < BESIDE; c++)
                            largest[c] = {LOWEST, -1};
                        if (height > 0)
#pragma unroll 1
                            for (int j = 0; j < most; j += TOGETHER)
                                take_some_rows<TOGETHER>(most - j, plane, at, (INDEX)features_step.y, j,
                                                         height - 1, largest);
#pragma unroll
                        for (int c = 0; c < BESIDE; c++) {
                            lines[warp][c][r * pitch + x] = largest[c].value;
                            if (WITH_ARGMAX) {
                                const unsigned index =
                                    (unsigned)(y + largest[c].at) * (unsigned)width + (from + x);
                                indices[warp][c][r * pitch + x] = largest[c].at < 0 ? NOWHERE : (int)index;
                            }
                        }
                    }
                    __syncwarp();
                    /* counted from here on, as the map may end at the largest int */
                    for (int x = max(begin - from, 0) + turn; x < min(stop - from, breadth); x += share)
#pragma unroll
                        for (int c = 0; c < BESIDE; c++) {
                            const int at = row * pitch + x;
                            take_first_with_argmax(
                                {lines[warp][c][at], WITH_ARGMAX ? indices[warp][c][at] : 0}, best[c]);
                        }
                    __syncwarp();
                }
                for (int apart = share / 2; apart > 0; apart /= 2)
#pragma unroll
                    for (int c = 0; c < BESIDE; c++) {
                        Best other = best[c];
                        other.value = __shfl_xor_sync(~0u, other.value, apart);
                        if (WITH_ARGMAX)
                            other.at = __shfl_xor_sync(~0u, other.at, apart);
                        take_first_with_argmax(other, best[c]);
                    }
                if (pooled && turn == 0)
#pragma unroll
                    for (int c = 0; c < BESIDE; c++)
                        if (channel + c < end)
                            PUT(k, channel + c, top + row, left + column, filled, best[c]);
            }
        }
    }
}
