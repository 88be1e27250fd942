/* Fills axis tables. RULE says which pixels a bin takes; a warp takes one axis of one RoI, a lane one bin. */
#include "tables/axis.cuh"

#include "geometry/range.h"
#include "geometry/samples.h"

/* Where a bin's taps go. */
struct Lists {
    Tap *taps;
    REAL *slopes; /* d weight / d (first coordinate), d weight / d (second coordinate), or null */
    int room;     /* taps that there is room for */
    int taken;
};

INLINE void put_tap(Lists *lists, int pixel, double weight, double start, double end) {
    if (lists->taken < lists->room) {
        lists->taps[lists->taken] = {(REAL)weight, pixel};
        if (lists->slopes) {
            lists->slopes[2 * lists->taken] = (REAL)start;
            lists->slopes[2 * lists->taken + 1] = (REAL)end;
        }
        lists->taken++;
    }
}

#include "geometry/axis.h"

#define THREADS (32 * WARPS)

INLINE int64 sum_before(int64 value, int lane, int64 *total) {
    int64 sum = value;
    for (int step = 1; step < 32; step *= 2) {
        const int64 other = __shfl_up_sync(~0u, sum, step);
        sum += lane >= step ? other : 0;
    }
    *total = __shfl_sync(~0u, sum, 31);
    return sum - value;
}

/* The pixels that a lane's bin reaches; none if the box has no such bin or an invalid image. */
INLINE Stretch stretch_of_lane(const Side &side, int p, const Sampling &sampling, bool valid) {
    if (valid && p < side.bins)
        return stretch_of(side, p, sampling);
    return {side.length, -1, 0, {0, 0, -1, false}, 0};
}

/* An axis of a box, by the RULE of `sampling`. */
INLINE Side side_of_row(const Row &row, bool along_x, const Sampling &sampling, const Rois &rois) {
    const BOX *box = row.numbers + row.columns - 4;
    return axis_side(box[along_x ? 0 : 1], box[along_x ? 2 : 3], sampling, along_x ? rois.columns : rois.rows,
                     along_x ? rois.map_width : rois.map_height);
}

/* For each RoI and axis (0: rows, 1: columns) how many taps there may be, and how many pixels its window has.
 */
KERNEL __launch_bounds__(THREADS, 4)
    measure(const Boxes boxes, Sampling sampling, const Rois rois, int64 *room, int64 *pixels) {
    __shared__ BOX own_row[WARPS][MOST_COLUMNS];
    sampling.rule = RULE;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int64 task = blockIdx.x * (int64)WARPS + warp; task < 2 * rois.count;
         task += gridDim.x * (int64)WARPS) {
        const int64 k = task >> 1;
        const Row row = row_of_warp(boxes, k, own_row[warp]);
        const bool along_x = task & 1, valid = image_of(row, rois.images) >= 0;
        const Side side = side_of_row(row, along_x, sampling, rois);
        int64 taps = 0, total;
        int low = side.length, high = -1;
        for (int p = lane; valid && p < side.bins; p += 32) {
            const Stretch stretch = stretch_of(side, p, sampling);
            taps += stretch.room;
            low = min(low, stretch.low);
            high = max(high, stretch.high);
        }
        sum_before(taps, lane, &total);
        low = least_of_warp(low);
        high = most_of_warp(high);
        if (lane == 0) {
            room[(along_x ? rois.count : 0) + k] = total;
            pixels[(along_x ? rois.count : 0) + k] = high >= low ? high - low + 2 : 1;
        }
    }
}

/* What `fill` writes along one axis: taps, where asked for their slopes, and the transposed lists; room and
 * pixels as in Axis and Turned. */
struct Filled {
    int64 room, pixels;
    const int64 *first, *first_pixel;
    int *start, *count;
    REAL *taps, *slopes; /* or null */
    REAL *outside;       /* of each bin, the weight of what lies outside of the map, or null */
    int *turned_start;
    REAL *turned; /* or null */
};

/* The taps of a bin, as those see it that look for a pixel's: none where `high` is below `low`. */
struct Reach {
    int low, high, start, count;
};

/* Where the pixel's tap is, or would be: the index of the first one that is not before it. */
INLINE int tap_of(const Tap *taps, const Reach &bin, int pixel) {
    int i = bin.start, end = bin.start + bin.count;
    if (bin.high - bin.low + 1 == bin.count)
        return i + pixel - bin.low;
    while (i < end) {
        const int middle = (i + end) / 2;
        if (taps[middle].at < pixel)
            i = middle + 1;
        else
            end = middle;
    }
    return i;
}

/* The transposed lists of one axis of one RoI: a lane takes a pixel, for each of which the taps before are
 * counted. `together` lanes share the pixels; `room` is for a Reach of each lane of a warp. */
INLINE void transpose(const Filled &axis, int64 k, int bins, int low, int high, Reach *room, int own,
                      int together) {
    const int64 begin = begin_of(k, axis);
    const Tap *taps = reinterpret_cast<Tap *>(axis.taps) + begin;
    Tap *turned = reinterpret_cast<Tap *>(axis.turned) + begin;
    const int *start = axis.start + k * bins, *count = axis.count + k * bins;
    int *pixel_start = axis.turned_start + begin_of(k, axis.pixels, axis.first_pixel);
    const int lane = own % 32;
    for (int first = low + own - lane; first <= high; first += together) {
        const int pixel = first + lane, last = min(first + 31, high);
        int before = 0, shared = 0; /* taps of earlier pixels: of bins that reach these, and of others */
        int from = bins, to = -1;   /* bins that touch the pixel */
        for (int done = 0; done < bins; done += 32) {
            Reach own = {0, -1, 0, 0};
            if (done + lane < bins)
                own = {0, -1, start[done + lane], count[done + lane]};
            if (own.count) {
                own.low = taps[own.start].at;
                own.high = taps[own.start + own.count - 1].at;
            }
            if (own.high < first)
                shared += own.count;
            __syncwarp();
            room[lane] = own;
            __syncwarp();
            for (unsigned left = __ballot_sync(~0u, own.high >= first && own.low <= last); left;
                 left &= left - 1) {
                const int p = __ffs(left) - 1;
                const Reach bin = room[p];
                if (bin.high < pixel) {
                    before += bin.count;
                } else if (bin.low <= pixel) {
                    const int i = tap_of(taps, bin, pixel);
                    before += i - bin.start;
                    if (taps[i].at == pixel) {
                        from = min(from, done + p);
                        to = done + p;
                    }
                }
            }
        }
        for (int apart = 16; apart > 0; apart /= 2)
            shared += __shfl_xor_sync(~0u, shared, apart);
        int at = shared + before;
        if (pixel <= high)
            pixel_start[pixel - low] = at;
        for (int p = from; p <= to && pixel < high; p++) {
            const Reach bin = {0, 0, start[p], count[p]};
            if (bin.count == 0)
                continue;
            const int i = tap_of(
                taps, {taps[bin.start].at, taps[bin.start + bin.count - 1].at, bin.start, bin.count}, pixel);
            if (i >= bin.start && i < bin.start + bin.count && taps[i].at == pixel)
                turned[at++] = {taps[i].weight, p};
        }
    }
}

struct FilledAxes {
    Rois rois;
    int warps; /* that take an axis of a RoI: one or all of a block */
    Filled y, x;
};

/* Blocks per multiprocessor that registers must suffice for: three would spill with the rules of crops. */
constexpr int RESIDENT = RULE >= HALF_PIXEL ? 2 : 3;

/* Fills both axes of every RoI, its image and its window. */
KERNEL __launch_bounds__(THREADS, RESIDENT)
    fill(const Boxes boxes, Sampling sampling, const FilledAxes filled) {
    __shared__ BOX own_row[WARPS][MOST_COLUMNS];
    __shared__ int64 image_of_row;
    __shared__ Reach room[WARPS][32];
    __shared__ int64 totals[WARPS];
    __shared__ int lows[WARPS], highs[WARPS];
    sampling.rule = RULE;
    const Rois rois = filled.rois;
    const bool shared = filled.warps > 1;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int own = shared ? threadIdx.x : lane, together = 32 * filled.warps; /* threads of a task */
    for (int64 task = (blockIdx.x * (int64)WARPS + warp) / filled.warps; task < 2 * rois.count;
         task += gridDim.x * (int64)WARPS / filled.warps) {
        const int64 k = task >> 1;
        const bool along_x = task & 1;
        const Filled axis = along_x ? filled.x : filled.y;
        Row row = row_of_warp(boxes, k, own_row[warp]);
        if (shared) { /* what the first warp has read */
            if (threadIdx.x == 0)
                image_of_row = row.image;
            __syncthreads();
            row.numbers = own_row[0];
            row.image = image_of_row;
        }
        const Side side = side_of_row(row, along_x, sampling, rois);
        const int bins = side.bins;
        const int64 at = image_of(row, rois.images);
        const int64 begin = begin_of(k, axis.room, axis.first);
        const int most = (int)(axis.room ? axis.room : axis.first[k + 1] - begin);
        int low = side.length, high = -1;
        int64 before = 0;
        for (int done = 0; done < bins; done += together) {
            const int p = done + own;
            const Stretch stretch = stretch_of_lane(side, p, sampling, at >= 0);
            int64 total;
            int64 from = before + sum_before(stretch.room, lane, &total);
            if (shared) {
                if (lane == 0)
                    totals[warp] = total;
                __syncthreads();
                total = 0;
                for (int i = 0; i < WARPS; i++) {
                    from += i < warp ? totals[i] : 0;
                    total += totals[i];
                }
                __syncthreads();
            }
            int taken = 0;
            const bool room = stretch.room > 0 && from < most;
            if (room || (axis.outside && p < bins)) {
                const Lists lists = {reinterpret_cast<Tap *>(axis.taps) + begin + (room ? from : 0),
                                     axis.slopes ? axis.slopes + 2 * (begin + from) : (REAL *)0,
                                     room ? (int)min(stretch.room, most - from) : 0, 0};
                Taps taps = taps_into(lists);
                if (at >= 0) {
                    add_taps(side, stretch, p, sampling, &taps);
                    put_rest(&taps);
                }
                taken = taps.lists.taken;
                if (taken) {
                    low = min(low, lists.taps[0].at);
                    high = max(high, lists.taps[taken - 1].at);
                }
                for (int i = taken; i < lists.room; i++) /* beside the list: any pixel of the map */
                    lists.taps[i] = {0, taken ? lists.taps[0].at : stretch.low};
                if (axis.outside)
                    axis.outside[k * bins + p] = (REAL)taps.outside;
            }
            if (p < bins) {
                axis.start[k * bins + p] = (int)min(from, (int64)most);
                axis.count[k * bins + p] = taken;
            }
            before += total;
        }
        low = least_of_warp(low);
        high = most_of_warp(high) + 1;
        if (shared) {
            if (lane == 0) {
                lows[warp] = low;
                highs[warp] = high;
            }
            __syncthreads();
            for (int i = 0; i < WARPS; i++) {
                low = min(low, lows[i]);
                high = max(high, highs[i]);
            }
        }
        if (high <= low)
            low = high = 0;
        if (own == 0) {
            if (!along_x) /* else the other axis writes it */
                rois.image[k] = at;
            rois.window[4 * k + 2 * along_x] = low;
            rois.window[4 * k + 2 * along_x + 1] = high;
        }
        __syncwarp();
        if (axis.turned)
            transpose(axis, k, bins, low, high, room[warp], own, together);
        if (shared)
            __syncthreads();
    }
}
