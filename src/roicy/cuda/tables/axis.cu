/* Fills axis tables; a warp takes one axis of one RoI, a lane one bin. */
#include "tables/axis.cuh"

#include "geometry/samples.h"

struct Weight {
    double value, start, end;
};

/* Taps of a bin while they are summed: positions ascend, so a pixel that was seen before is the last one or
 * the last but one. */
struct Pending {
    int pixel;
    Weight weight;
};

struct Lists {
    Tap *taps;
    REAL *slopes; /* d weight / d (first coordinate), d weight / d (second coordinate), or null */
    int room;     /* taps that there is room for */
    int taken;
};

INLINE void put_tap(Lists &lists, const Pending &tap) {
    if (lists.taken < lists.room) {
        lists.taps[lists.taken] = {(REAL)tap.weight.value, tap.pixel};
        if (lists.slopes) {
            lists.slopes[2 * lists.taken] = (REAL)tap.weight.start;
            lists.slopes[2 * lists.taken + 1] = (REAL)tap.weight.end;
        }
        lists.taken++;
    }
}

INLINE void add_to(Weight &weight, const Weight &more) {
    weight.value += more.value;
    weight.start += more.start;
    weight.end += more.end;
}

INLINE void add_tap(Lists &lists, Pending &older, Pending &newer, int pixel, Weight weight) {
    if (older.pixel == pixel)
        add_to(older.weight, weight);
    else if (newer.pixel == pixel)
        add_to(newer.weight, weight);
    else {
        if (older.pixel >= 0)
            put_tap(lists, older);
        older = newer;
        newer = {pixel, {0, 0, 0}};
        add_to(newer.weight, weight); /* the sum of zero and a weight: never -0 */
    }
}

/* How many taps the bin can have at the most; it has samples. */
INLINE int64 room_of(BOX base, BOX bin_size, const Span &span, int length) {
    const int64 low = pixel_below(position(base, bin_size, span, span.first), length);
    const int64 high = pixel_below(position(base, bin_size, span, span.last), length);
    const int64 pixels = high - low + 1 + (high < length - 1);
    const double samples = 2 * (span.last - span.first + 1);
    return pixels > samples ? (int64)samples : pixels;
}

/* The taps of one bin, summed over its samples. */
INLINE int fill_bin(BOX base, BOX bin_size, const Span &span, int bin, int bins, int length, double scale,
                    bool unit_size, Lists lists) {
    Pending older = {-1, {0, 0, 0}}, newer = {-1, {0, 0, 0}};
    /* positions on finer grids are too coarse for it */
    const bool dense =
        span.count <= FINE_GRID && dense_cells(base, bin_size, span, length, DENSE_AVERAGE) > 0;
    for (double index = span.first; index <= span.last;) {
        const BOX place = position(base, bin_size, span, index);
        const double following = dense ? cell_end(base, bin_size, span, cell_of(place, length), length) + 1
                                       : next_position(base, bin_size, span, index),
                     middle = dense ? (index + following - 1) / 2 : index,
                     part = (following - index) / span.count;
        /* how far along the box the sample lies: it moves with the first coordinate by 1 - share, with the
         * second by share */
        const double number = span.mirrored ? span.count - 1 - middle : middle;
        const double share = (bin + (number + 0.5) / span.count) / bins;
        double start = unit_size ? scale : scale * (1 - share), end = unit_size ? 0 : scale * share;
        const int below = pixel_below(place, length);
        if (below == length - 1)
            add_tap(lists, older, newer, below, {part, 0, 0});
        else {
            double fraction = place > 0 ? (double)(place - below) : 0.0;
            if (dense && place >= 0)
                fraction = fmin(fmax(base + (number + 0.5) * bin_size / span.count - below, 0.0), 1.0);
            if (!(place >= 0))
                start = end = 0;
            add_tap(lists, older, newer, below, {part * (1 - fraction), -part * start, -part * end});
            add_tap(lists, older, newer, below + 1, {part * fraction, part * start, part * end});
        }
        index = following;
    }
    if (older.pixel >= 0)
        put_tap(lists, older);
    if (newer.pixel >= 0)
        put_tap(lists, newer);
    return lists.taken;
}

INLINE int64 sum_before(int64 value, int lane, int64 *total) {
    int64 sum = value;
    for (int step = 1; step < 32; step *= 2) {
        const int64 other = __shfl_up_sync(~0u, sum, step);
        sum += lane >= step ? other : 0;
    }
    *total = __shfl_sync(~0u, sum, 31);
    return sum - value;
}

struct Bin {
    Side side;
    BOX base;
    Span span;
};

INLINE Bin bin_of(BOX first, BOX second, double scale, int p, int bins, int sampling_ratio, int aligned,
                  int length) {
    Bin bin;
    bin.side = side_of(first, second, scale, bins, sampling_ratio, aligned);
    bin.base = bin_base(bin.side.start, bin.side.size, p);
    bin.span = p < bins ? span_of(bin.base, bin.side.size, bin.side.count, length) : Span{0, 0, -1, false};
    return bin;
}

#define BOXES                                                                                                \
    const BOX *__restrict__ boxes, int columns, const int64 *images, int given, int64 rois, int64 count

/* For each RoI and axis (0: rows, 1: columns) how many taps there may be, and how many pixels its window has.
 */
KERNEL __launch_bounds__(128, 4) measure(BOXES, int height, int width, int ph, int pw, double scale,
                                         int sampling_ratio, int aligned, int64 *room, int64 *pixels) {
    const int lane = threadIdx.x & 31;
    for (int64 task = (blockIdx.x * 128LL + threadIdx.x) >> 5; task < 2 * rois; task += gridDim.x * 4LL) {
        const int64 k = task >> 1;
        const bool along_x = task & 1;
        const BOX *box = boxes + k * columns + columns - 4;
        const int bins = along_x ? pw : ph, length = along_x ? width : height;
        const bool valid = image_of(boxes + k * columns, columns, images, given, k, count) >= 0;
        int64 taps = 0, total;
        int low = length, high = -1;
        for (int p = lane; valid && p < bins; p += 32) {
            const Bin bin = bin_of(box[along_x ? 0 : 1], box[along_x ? 2 : 3], scale, p, bins, sampling_ratio,
                                   aligned, length);
            if (bin.span.first <= bin.span.last) {
                taps += room_of(bin.base, bin.side.size, bin.span, length);
                low = min(low,
                          pixel_below(position(bin.base, bin.side.size, bin.span, bin.span.first), length));
                high = max(high,
                           pixel_below(position(bin.base, bin.side.size, bin.span, bin.span.last), length));
            }
        }
        sum_before(taps, lane, &total);
        low = least_of_warp(low);
        high = min(-least_of_warp(-high) + 1, length - 1);
        if (lane == 0) {
            room[(along_x ? rois : 0) + k] = total;
            pixels[(along_x ? rois : 0) + k] = high >= low ? high - low + 2 : 1;
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

/* What `fill` writes along one axis: taps, where `sloped` their slopes, where `turned` the transposed lists.
 */
#define FILLED(name)                                                                                         \
    int name##_length, int name##_bins, int64 name##_room, const int64 *name##_first, int64 name##_pixels,   \
        const int64 *name##_line, int *name##_start, int *name##_count, REAL *name##_taps,                   \
        REAL *name##_slopes, int *name##_turned_start, REAL *name##_turned

struct Filled {
    int length, bins;
    int64 room, pixels;
    const int64 *first, *line;
    int *start, *count;
    REAL *taps, *slopes;
    int *turned_start;
    REAL *turned;
};

#define FILLED_AXIS(name)                                                                                    \
    {name##_length, name##_bins,  name##_room, name##_pixels, name##_first,        name##_line,              \
     name##_start,  name##_count, name##_taps, name##_slopes, name##_turned_start, name##_turned}

/* Fills both axes of every RoI, its image and its window. */
KERNEL __launch_bounds__(128, 3) fill(BOXES, FILLED(y), FILLED(x), double scale, int sampling_ratio,
                                      int aligned, int sloped, int turned, int64 *image, int *window) {
    const int lane = threadIdx.x & 31;
    for (int64 task = (blockIdx.x * 128LL + threadIdx.x) >> 5; task < 2 * rois; task += gridDim.x * 4LL) {
        const int64 k = task >> 1;
        const bool along_x = task & 1;
        const Filled y = FILLED_AXIS(y), x = FILLED_AXIS(x), axis = along_x ? x : y;
        const int bins = axis.bins;
        const BOX *box = boxes + k * columns + columns - 4;
        const int64 at = image_of(boxes + k * columns, columns, images, given, k, count);
        const int64 begin = begin_of(k, axis.room, axis.first);
        const int most = (int)(axis.room ? axis.room : axis.first[k + 1] - begin);
        int low = axis.length, high = -1;
        int64 before = 0;
        for (int done = 0; done < bins; done += 32) {
            const int p = done + lane;
            const Bin bin = bin_of(box[along_x ? 0 : 1], box[along_x ? 2 : 3], scale, p, bins, sampling_ratio,
                                   aligned, axis.length);
            const bool hits = at >= 0 && bin.span.first <= bin.span.last;
            int64 total;
            const int64 mine = hits ? room_of(bin.base, bin.side.size, bin.span, axis.length) : 0;
            const int64 from = before + sum_before(mine, lane, &total);
            int taken = 0;
            if (hits && from < most) {
                Lists lists = {reinterpret_cast<Tap *>(axis.taps) + begin + from,
                               sloped ? axis.slopes + 2 * (begin + from) : (REAL *)0,
                               (int)min(mine, most - from), 0};
                taken = fill_bin(bin.base, bin.side.size, bin.span, p, bins, axis.length, scale,
                                 bin.side.unit_size, lists);
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
            image[k] = at;
            window[4 * k + 2 * along_x] = low;
            window[4 * k + 2 * along_x + 1] = high;
        }
        __syncwarp();
        if (turned)
            transpose(reinterpret_cast<Tap *>(axis.taps) + begin, axis.start + k * bins,
                      axis.count + k * bins, bins, low, high, most, lane,
                      axis.turned_start + begin_of(k, axis.pixels, axis.line),
                      reinterpret_cast<Tap *>(axis.turned) + begin);
    }
}
