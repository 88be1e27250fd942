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
#include "lanes/maxima.cuh"
#include "tables/range.cuh"

enum {
    WARPS = 4,
    PIXEL_WARPS = 8,                    /* where lanes are channels */
    BESIDE = sizeof(REAL) == 8 ? 2 : 4, /* channels of a warp, where they are not */
    ITEMS = 128, /* places of a line that are kept: rows of bins times columns of pixels */
    GROUP = 4,   /* rows of bins at a time, at the most */
    LINE = ITEMS + GROUP,
    RESIDENT = sizeof(INDEX) == 8 ? 4 : 5 /* blocks that registers are left for */
};

#ifdef PLACES
enum { PLACED = 1 };
#else
enum { PLACED = 0 };
#endif

#define CALL                                                                                                 \
    VIEW(const STORED, features), VIEW(RESULT, out), VIEW(int, argmax), const int64 *__restrict__ image,     \
        const int *__restrict__ window, RANGES(y), RANGES(x), int64 rois, int channels, int width

/* Neighbouring items, read at once. */
template <class T, int COUNT> struct alignas(sizeof(T) * COUNT < 16 ? sizeof(T) * COUNT : 16) Pack {
    T item[COUNT];
};

/* A maximum, and if it is asked for where it is. */
struct Best {
    REAL value;
    int at;
};

INLINE void take(REAL value, int at, Best &best) {
    if (PLACED)
        take(value, at, best.value, best.at);
    else
        best.value = larger(value, best.value);
}

INLINE void take_first(const Best &other, Best &best) {
    if (PLACED)
        take_first(other.value, other.at, best.value, best.at);
    else
        best.value = larger(other.value, best.value);
}

/* Writes a bin of channels first ... first + count - 1. */
#define PUT(k, c, p, q, filled, best)                                                                        \
    do {                                                                                                     \
        out[AT(out, k, c, p, q)] = rounded_to<RESULT>((filled) ? (best).value : (REAL)0);                    \
        if (PLACED)                                                                                          \
            argmax[AT(argmax, k, c, p, q)] = (filled) ? place_out((best).at) : -1;                           \
    } while (0)

/* A RoI that reads no pixel, or that belongs to no image: channels [first, end). */
#define PUT_NOTHING(k, first, end)                                                                           \
    do {                                                                                                     \
        const Best nothing = {image[k] < 0 ? not_a_number() : (REAL)0, NOWHERE};                             \
        for (int i = threadIdx.x; i < y_bins * x_bins; i += blockDim.x)                                      \
            for (int c = first; c < end; c++)                                                                \
                PUT(k, c, i / x_bins, i % x_bins, true, nothing);                                            \
    } while (0)

/* `group` rows of bins and `run` columns of them at a time, `share` lanes for a bin: group * run * share
 * <= 32. */
KERNEL __launch_bounds__(32 * WARPS, RESIDENT)
    range_forward(CALL, int chunk, int group, int run, int share, int64 tasks) {
    __shared__ REAL lines[WARPS][BESIDE][LINE];
    __shared__ int places[PLACED ? WARPS : 1][BESIDE][PLACED ? LINE : 1];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int groups = (y_bins + group - 1) / group, runs = (x_bins + run - 1) / run;
    const int tile = ITEMS / group;
    for (int64 task = blockIdx.x; task < tasks; task += gridDim.x) {
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
                INDEX plane[BESIDE];
                Best best[BESIDE];
#pragma unroll
                for (int c = 0; c < BESIDE; c++) {
                    plane[c] = AT(features, image[k], min(channel + c, channels - 1), 0, 0);
                    best[c] = {LOWEST, NOWHERE};
                }
                for (int from = leftmost; from < last; from += min(tile, last - from)) {
                    const int breadth = min(tile, last - from), items = rows * breadth;
                    const int pitch = breadth | 1;                   /* rows of bins in other banks */
                    const unsigned reciprocal = 65536 / breadth + 1; /* exact for so few items */
                    for (int item = lane; item - lane < items; item += 32) {
                        const int r = (int)(item * reciprocal >> 16), x = item - r * breadth;
                        const int y = __shfl_sync(~0u, own_top, r), height = __shfl_sync(~0u, own_height, r);
                        if (item >= items)
                            continue;
                        INDEX at =
                            (INDEX)features_step.y * (INDEX)y + (INDEX)features_step.x * (INDEX)(from + x);
                        Best largest[BESIDE];
#pragma unroll
                        for (int c = 0; c < BESIDE; c++)
                            largest[c] = {LOWEST, -1};
#pragma unroll 2
                        for (int j = 0; j < height; j++, at += (INDEX)features_step.y)
#pragma unroll
                            for (int c = 0; c < BESIDE; c++)
                                take(real_of(features[plane[c] + at]), j, largest[c]);
#pragma unroll
                        for (int c = 0; c < BESIDE; c++) {
                            lines[warp][c][r * pitch + x] = largest[c].value;
                            if (PLACED) {
                                const unsigned place =
                                    (unsigned)(y + largest[c].at) * (unsigned)width + (from + x);
                                places[warp][c][r * pitch + x] = largest[c].at < 0 ? NOWHERE : (int)place;
                            }
                        }
                    }
                    __syncwarp();
                    /* counted from here on, as the map may end at the largest int */
                    for (int x = max(begin - from, 0) + turn; x < min(stop - from, breadth); x += share)
#pragma unroll
                        for (int c = 0; c < BESIDE; c++) {
                            const int at = row * pitch + x;
                            take_first({lines[warp][c][at], PLACED ? places[warp][c][at] : 0}, best[c]);
                        }
                    __syncwarp();
                }
                for (int apart = share / 2; apart > 0; apart /= 2)
#pragma unroll
                    for (int c = 0; c < BESIDE; c++) {
                        Best other = best[c];
                        other.value = __shfl_xor_sync(~0u, other.value, apart);
                        if (PLACED)
                            other.at = __shfl_xor_sync(~0u, other.at, apart);
                        take_first(other, best[c]);
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

/* Channels are neighbours: lanes are channels, COUNT of them each, which are read and written at once. Where
 * there are few bins, `split` warps go through the rows of one in turn. */
template <int COUNT> INLINE void search_pixels(CALL, int split, int64 tasks, Best (*shares)[32 * COUNT]) {
    typedef Pack<STORED, COUNT> Source;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, turn = warp % split;
    for (int64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        const int64 part = task / rois, k = task - part * rois;
        const int first = (int)part * (32 * COUNT), end = min(first + 32 * COUNT, channels);
        const Window whole = window_at(window, k);
        if (image[k] < 0 || whole.top == whole.bottom) {
            PUT_NOTHING(k, first, end);
            continue;
        }
        const int channel = min(first + COUNT * lane, channels - COUNT);
        const STORED *source = features + AT(features, image[k], channel, 0, 0);
        for (int from = 0; from < y_bins * x_bins; from += PIXEL_WARPS / split) {
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
                int place = (int)((unsigned)y * (unsigned)width + left);
#pragma unroll 4
                for (int x = 0; x < breadth; x++, place++, pixel += features_step.x) {
                    const Source own = *reinterpret_cast<const Source *>(pixel);
#pragma unroll
                    for (int v = 0; v < COUNT; v++)
                        take(real_of(own.item[v]), place, best[v]);
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
                        take_first(shares[other][32 * v + lane], best[v]);
            }
            if (!pooled || turn > 0 || first + COUNT * lane >= channels)
                continue;
            const bool filled = height > 0 && breadth > 0;
            Pack<RESULT, COUNT> values;
            Pack<int, COUNT> places;
#pragma unroll
            for (int v = 0; v < COUNT; v++) {
                values.item[v] = rounded_to<RESULT>(filled ? best[v].value : (REAL)0);
                places.item[v] = filled ? place_out(best[v].at) : -1;
            }
            *reinterpret_cast<Pack<RESULT, COUNT> *>(out + AT(out, k, channel, p, q)) = values;
            if (PLACED)
                *reinterpret_cast<Pack<int, COUNT> *>(argmax + AT(argmax, k, channel, p, q)) = places;
        }
    }
}

#define MAX_OF_PIXELS(name, COUNT)                                                                           \
    KERNEL __launch_bounds__(32 * PIXEL_WARPS, 3) name(CALL, int split, int64 tasks) {                       \
        __shared__ Best shares[PIXEL_WARPS][32 * COUNT];                                                     \
        search_pixels<COUNT>(features, features_step, out, out_step, argmax, argmax_step, image, window,     \
                             y_start, y_length, y_bins, x_start, x_length, x_bins, rois, channels, width,    \
                             split, tasks, shares);                                                          \
    }

MAX_OF_PIXELS(range_forward_pixels, 1)
MAX_OF_PIXELS(range_forward_pixels_4, 4)
