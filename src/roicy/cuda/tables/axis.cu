/* Fills axis tables by the RULE that bins take from the map by; a warp takes one axis of one RoI, a lane one
 * bin. */
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

INLINE int64 sum_before(int64 value, int lane, int64 *total) {
    int64 sum = value;
    for (int step = 1; step < 32; step *= 2) {
        const int64 other = __shfl_up_sync(~0u, sum, step);
        sum += lane >= step ? other : 0;
    }
    *total = __shfl_sync(~0u, sum, 31);
    return sum - value;
}

/* What a lane's bin reaches; nothing where the box has no such bin, or its image is none. */
INLINE Stretch stretch_of_lane(const Side &side, int p, bool valid) {
    if (valid && p < side.bins)
        return stretch_of(side, p, RULE);
    return {side.length, -1, 0, {0, 0, -1, false}, 0};
}

/* An axis of a box, by the RULE of `sampling`. */
INLINE Side side_of_row(const Row &row, bool along_x, const Sampling &sampling, const Rois &rois) {
    const BOX *box = row.numbers + row.columns - 4;
    return axis_side(box[along_x ? 0 : 1], box[along_x ? 2 : 3], sampling, along_x ? rois.columns : rois.rows,
                     along_x ? rois.width : rois.height);
}

/* For each RoI and axis (0: rows, 1: columns) how many taps there may be, and how many pixels its window has.
 */
KERNEL __launch_bounds__(128, 4)
    measure(const Boxes boxes, Sampling sampling, const Rois rois, int64 *room, int64 *pixels) {
    __shared__ BOX own_row[4][MOST_COLUMNS];
    sampling.rule = RULE;
    const int lane = threadIdx.x & 31;
    for (int64 task = (blockIdx.x * 128LL + threadIdx.x) >> 5; task < 2 * rois.count;
         task += gridDim.x * 4LL) {
        const int64 k = task >> 1;
        const Row row = row_of_warp(boxes, k, own_row[threadIdx.x >> 5]);
        const bool along_x = task & 1, valid = image_of(row, rois.images) >= 0;
        const Side side = side_of_row(row, along_x, sampling, rois);
        int64 taps = 0, total;
        int low = side.length, high = -1;
        for (int p = lane; valid && p < side.bins; p += 32) {
            const Stretch stretch = stretch_of(side, p, RULE);
            taps += stretch.room;
            low = min(low, stretch.low);
            high = max(high, stretch.high);
        }
        sum_before(taps, lane, &total);
        low = least_of_warp(low);
        high = -least_of_warp(-high);
        if (lane == 0) {
            room[(along_x ? rois.count : 0) + k] = total;
            pixels[(along_x ? rois.count : 0) + k] = high >= low ? high - low + 2 : 1;
        }
    }
}

/* The transposed lists of one axis of one RoI: a lane takes a pixel. */
INLINE void transpose(const Tap *taps, const int *start, const int *count, int bins, int low, int high,
                      int room, int lane, int *pixel_start, Tap *turned) {
    int64 before = 0;
    for (int first = low; first < high; first += 32) {
        const int pixel = first + lane;
        int64 total, at = 0, mine = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (int p = 0; p < bins && pixel < high; p++) {
                int i = start[p], end = i + count[p];
                if (i == end || taps[i].place > pixel || taps[end - 1].place < pixel)
                    continue;
                while (end - i > 1) {
                    const int middle = (i + end) / 2;
                    if (taps[middle].place <= pixel)
                        i = middle;
                    else
                        end = middle;
                }
                if (taps[i].place != pixel)
                    continue;
                if (pass == 0)
                    mine++;
                else if (at < room)
                    turned[at++] = {taps[i].weight, p};
            }
            if (pass == 0) {
                at = before + sum_before(mine, lane, &total);
                if (pixel < high)
                    pixel_start[pixel - low] = (int)at;
            }
        }
        before += total;
    }
    if (lane == 0)
        pixel_start[high - low] = (int)before;
}

/* What `fill` writes along one axis: taps, where asked for their slopes, and the transposed lists; room and
 * pixels as in Axis and Turned. */
struct Filled {
    int64 room, pixels;
    const int64 *first, *line;
    int *start, *count;
    REAL *taps, *slopes; /* null where there are none */
    int *turned_start;
    REAL *turned; /* likewise */
};

struct FilledAxes {
    Rois rois;
    Filled y, x;
};

/* Fills both axes of every RoI, its image and its window. */
KERNEL __launch_bounds__(128, 3) fill(const Boxes boxes, Sampling sampling, const FilledAxes filled) {
    __shared__ BOX own_row[4][MOST_COLUMNS];
    sampling.rule = RULE;
    const Rois rois = filled.rois;
    const int lane = threadIdx.x & 31;
    for (int64 task = (blockIdx.x * 128LL + threadIdx.x) >> 5; task < 2 * rois.count;
         task += gridDim.x * 4LL) {
        const int64 k = task >> 1;
        const bool along_x = task & 1;
        const Filled axis = along_x ? filled.x : filled.y;
        const Row row = row_of_warp(boxes, k, own_row[threadIdx.x >> 5]);
        const Side side = side_of_row(row, along_x, sampling, rois);
        const int bins = side.bins;
        const int64 at = image_of(row, rois.images);
        const int64 begin = begin_of(k, axis.room, axis.first);
        const int most = (int)(axis.room ? axis.room : axis.first[k + 1] - begin);
        int low = side.length, high = -1;
        int64 before = 0;
        for (int done = 0; done < bins; done += 32) {
            const int p = done + lane;
            const Stretch stretch = stretch_of_lane(side, p, at >= 0);
            int64 total;
            const int64 from = before + sum_before(stretch.room, lane, &total);
            int taken = 0;
            if (stretch.room > 0 && from < most) {
                const Lists lists = {reinterpret_cast<Tap *>(axis.taps) + begin + from,
                                     axis.slopes ? axis.slopes + 2 * (begin + from) : (REAL *)0,
                                     (int)min(stretch.room, most - from), 0};
                Taps taps = taps_into(lists);
                add_taps(side, stretch, p, sampling, &taps);
                put_rest(&taps);
                taken = taps.lists.taken;
                low = min(low, lists.taps[0].place);
                high = max(high, lists.taps[taken - 1].place);
                for (int i = taken; i < lists.room; i++)
                    lists.taps[i] = {0, lists.taps[0].place}; /* beside the list: any pixel of the window */
            }
            if (p < bins) {
                axis.start[k * bins + p] = (int)min(from, (int64)most);
                axis.count[k * bins + p] = taken;
            }
            before += total;
        }
        low = least_of_warp(low);
        high = -least_of_warp(-high) + 1;
        if (high <= low)
            low = high = 0;
        if (lane == 0) {
            rois.image[k] = at;
            rois.window[4 * k + 2 * along_x] = low;
            rois.window[4 * k + 2 * along_x + 1] = high;
        }
        __syncwarp();
        if (axis.turned)
            transpose(reinterpret_cast<Tap *>(axis.taps) + begin, axis.start + k * bins,
                      axis.count + k * bins, bins, low, high, most, lane,
                      axis.turned_start + begin_of(k, axis.pixels, axis.line),
                      reinterpret_cast<Tap *>(axis.turned) + begin);
    }
}
