/* Grid tables applied: the largest of each bin's bilinear samples, and which one it is.
 *
 * A block takes one RoI, some channels and as many bins as it has room for:
 *
 *     table ──▶ rows and columns of samples, pixels and weights, in shared memory ──▶ a thread for each
 * channel (once, or a stage at a time where bins have many)                     and bin goes through its grid
 *
 * Threads are neighbours along the bins, or along the channels if channels are neighbours in memory. Samples come in
 * row-major order, so the first of equal samples wins. Samples that miss the map are zero, so only the first of these
 * in a bin is compared. */
#include "lanes/maxima.cuh"
#include "lanes/reduce.cuh"
#include "tables/grid.cuh"

enum {
    BESIDE = sizeof(REAL) == 8 ? 2 : 4,
    AHEAD = 2,
    WARPS = THREADS / 32
}; /* channels of a warp at a time */

/* A row or a column of samples: offsets of the pixels on both sides of it, and their weights. */
struct alignas(16) Samples1D {
    INDEX low, high;
    REAL low_weight, high_weight;
};

struct Stage {
    /* samples of some bins along one axis: of each bin as many as all have */
    Samples1D sample[ENTRIES];
    int number[ENTRIES]; /* in the bin */
};

/* The staged samples of one bin along one axis. */
struct OfBin {
    const Samples1D *sample;
    const int *number;
    int count;
};

INLINE OfBin of_bin(const Stage &stage, int first, int count) {
    return {stage.sample + first, stage.number + first, count};
}

/* The most samples of a bin, in all lanes. */
INLINE int most_listed(const int *listed, int count) {
    int most = 0;
    for (int i = threadIdx.x & 31; i < count; i += 32)
        most = max(most, listed[i]);
    return most_of_warp(most);
}

/* Of two pixels: blended, or under the rule of ONNX weighted and the larger of the two. */
INLINE REAL between(REAL low, REAL high, REAL low_weight, REAL high_weight, int by_corner) {
    if (by_corner)
        return greater(high_weight * high, low_weight * low);
    return madd(high_weight, high, low_weight * low);
}

/* Updates the maximum of a bin by its staged samples. */
INLINE void search(const STORED *plane, const OfBin &y, const OfBin &x, int total, int by_corner,
                   Best &best) {
    Best found = {LOWEST, NOWHERE};
    for (int r = 0; r < y.count; r++) {
        const Samples1D row = y.sample[r];
        const STORED *upper = plane + row.low, *lower = plane + row.high;
        const REAL upper_weight = row.low_weight, lower_weight = row.high_weight;
        const unsigned first = (unsigned)y.number[r] * (unsigned)total;
        /* the columns of the sample before, which often is a neighbour */
        INDEX left = -1, right = -1;
        REAL left_value = 0, right_value = 0;
        for (int i = 0; i < x.count; i++) {
            const Samples1D column = x.sample[i];
            const INDEX low = column.low, high = column.high;
            if (low != left || i == 0) {
                if (low == right && i != 0)
                    left_value = right_value;
                else
                    left_value = between(real_of(upper[low]), real_of(lower[low]), upper_weight, lower_weight,
                                         by_corner);
                left = low;
                right_value = high == low ? left_value
                                          : between(real_of(upper[high]), real_of(lower[high]), upper_weight,
                                                    lower_weight, by_corner);
                right = high;
            }
            take(between(left_value, right_value, column.low_weight, column.high_weight, by_corner),
                 (int)(first + (unsigned)x.number[i]), found);
        }
    }
    take_first(found, best);
}

/* The number of a bin's first sample that misses the map, -1 where none does; EMPTY if it has no samples. */
enum { EMPTY = -2 };

INLINE int missed_in(const Bin &y, const Bin &x) {
    const double missed_y = missed_of(y), missed_x = missed_of(x);
    if (y.total == 0 || x.total == 0)
        return EMPTY;
    if (missed_y == 0)
        return 0;
    if (missed_x >= 0)
        return bounded(missed_x);
    if (missed_y > 0)
        return (int)((unsigned)bounded(missed_y) * (unsigned)bounded(x.total));
    return -1;
}

/* Compares with the samples that miss the map; a bin without samples becomes zero. */
INLINE void finish(int missed, Best &best) {
    if (missed == EMPTY)
        best.value = 0;
    else if (missed >= 0)
        take_first({0, missed}, best);
}

/* How a call is divided: blocks take `chunk` channels and up to `run_y` times `run_x` bins, which have room for
 * ENTRIES / run_y rows and ENTRIES / run_x columns each. */
struct Division {
    int64 tasks;
    int channels, chunk, run_y, run_x, by_channel;
    int with_argmax, by_corner; /* whether argmax is asked for; the rule of ONNX */
    int group; /* rows of bins of a warp at a time; 0 where lanes do not lie along rows of pixels */
};

KERNEL __launch_bounds__(THREADS, sizeof(INDEX) == 8 ? 3 : 4)
    grid_forward(VIEW(const STORED, features), VIEW(RESULT, out), VIEW(int, argmax), const Grid grid,
                 const Division division) {
    const int64 *__restrict__ image = grid.rois.image;
    const double *__restrict__ grid_bins = grid.bins, *__restrict__ grid_steps = grid.steps;
    const int *__restrict__ grid_listed = grid.listed, *__restrict__ grid_total = grid.total;
    const int64 rois = grid.rois.count;
    const int rows = grid.rois.rows, columns = grid.rois.columns;
    const int height = grid.rois.map_height, width = grid.rois.map_width;
    const int given_top = grid.rois.top, given_left = grid.rois.left;
    const int channels = division.channels, chunk = division.chunk, by_channel = division.by_channel;
    const int run_y = division.run_y, run_x = division.run_x, by_corner = division.by_corner;
    __shared__ Stage staged[2]; /* along y and along x */
    __shared__ REAL lines[WARPS][BESIDE][ITEMS];
    const int *__restrict__ window = grid.rois.window;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, group = division.group;
    const int room_y = ENTRIES / run_y, room_x = ENTRIES / run_x;
    const int runs_x = (columns + run_x - 1) / run_x, runs = (rows + run_y - 1) / run_y * runs_x;
    for (int64 task = blockIdx.x; task < division.tasks; task += gridDim.x) {
        const int64 rest = task / runs, part = rest / rois, k = rest - part * rois;
        const int run = (int)(task - rest * runs), top = run / runs_x * run_y, left = run % runs_x * run_x;
        const int height_of_run = min(run_y, rows - top), width_of_run = min(run_x, columns - left);
        const int first = (int)part * chunk, own_channels = min(chunk, channels - first);
        const int bins = height_of_run * width_of_run;
        const int64 own = k * ((int64)rows + columns), own_y = own + top, own_x = own + rows + left;
        const bool valid = image[k] >= 0;
        int most_y = 0, most_x = 0;
        if (valid) {
            most_y = most_listed(grid_listed + own_y, height_of_run);
            most_x = most_listed(grid_listed + own_x, width_of_run);
        }
        const int stages_y = valid ? (most_y - 1) / room_y + 1 : 0;
        const int stages_x = valid ? (most_x - 1) / room_x + 1 : 0, stages = stages_y * stages_x;
        const Window whole = window_at(window, k);
        const int breadth = whole.right - whole.left, pitch = breadth | 1;
        const bool lined = group > 0 && stages == 1 && group * pitch <= ITEMS;
        auto stage_from = [&](int from_y, int from_x) {
            __syncthreads();
#pragma unroll 1 /* one copy of what is long */
            for (int axis = 0; axis < 2; axis++) {
                const int room = axis ? room_x : room_y, from = axis ? from_x : from_y;
                const int count = room * (axis ? width_of_run : height_of_run);
                const int64 stride = !axis ? features_step.y : lined ? 1 : features_step.x;
                for (int entry = threadIdx.x; entry < count; entry += THREADS) {
                    const int which = entry / room, i = from + entry - which * room;
                    const int64 bin = (axis ? own_x : own_y) + which;
                    const int listed = grid_listed[bin], length = axis ? width : height;
                    if (i >= listed) { /* beyond the list: lanes may read its pixels, and use none */
                        staged[axis].sample[entry] = {0, 0, 0, 0};
                        continue;
                    }
                    const Bin own = bin_at(grid_bins, grid_steps, bin, 2 * k + axis);
                    const Sample sample =
                        sample_at(own, listed_index(own, listed, length, i), length, grid.rule);
                    const int origin = axis ? given_left + (lined ? whole.left : 0) : given_top;
                    staged[axis].sample[entry] = {(INDEX)stride * (INDEX)(sample.low - origin),
                                                  (INDEX)stride * (INDEX)(sample.high - origin),
                                                  (REAL)sample.low_weight, (REAL)sample.high_weight};
                    staged[axis].number[entry] = bounded(sample.number);
                }
            }
            __syncthreads();
        };
        auto put = [&](int channel, int p, int q, const Best &best) {
            out[AT(out, k, channel, top + p, left + q)] = rounded_to<RESULT>(best.value);
            if (division.with_argmax)
                argmax[AT(argmax, k, channel, top + p, left + q)] = index_out(best.at);
        };
        if (lined) {
            stage_from(0, 0);
            const unsigned across = (1 << 20) / max(breadth, 1) + 1; /* exact for so few items */
            for (int p = 0; p < height_of_run; p += group) {
                const int rows_here = min(group, height_of_run - p), own_row = lane / width_of_run;
                const int q = lane - own_row * width_of_run;
                const bool pooled = own_row < rows_here;
                const int listed_y = pooled ? grid_listed[own_y + p + own_row] : 0;
                const int listed_x = pooled ? grid_listed[own_x + q] : 0;
                const unsigned total = pooled ? (unsigned)grid_total[own_x + q] : 0;
                const int missed = !pooled
                                       ? -1
                                       : missed_in(bin_at(grid_bins, grid_steps, own_y + p + own_row, 2 * k),
                                                   bin_at(grid_bins, grid_steps, own_x + q, 2 * k + 1));
                const int part = min(most_y, ITEMS / (pitch * rows_here));
                for (int c = warp * BESIDE; c < own_channels; c += WARPS * BESIDE) {
                    INDEX plane[BESIDE];
                    Best best[BESIDE];
#pragma unroll
                    for (int v = 0; v < BESIDE; v++) {
                        plane[v] =
                            AT(features, image[k], first + min(c + v, own_channels - 1), 0, whole.left);
                        best[v] = {LOWEST, NOWHERE};
                    }
                    for (int from = 0; from < most_y; from += part) {
                        const int rows = min(part, most_y - from), items = rows_here * rows * breadth;
                        const unsigned down = (1 << 20) / rows + 1;
                        for (int first_item = 0; first_item < items; first_item += 32 * AHEAD) {
                            /* issue all loads before the first result is used; beyond the last item, read that one
                             * again */
                            REAL upper[AHEAD][BESIDE], lower[AHEAD][BESIDE];
                            REAL upper_weight[AHEAD], lower_weight[AHEAD];
                            int offset[AHEAD];
#pragma unroll
                            for (int i = 0; i < AHEAD; i++) {
                                const int item = min(first_item + 32 * i + lane, items - 1);
                                const int r = (int)(item * across >> 20), x = item - r * breadth;
                                const int of = (int)(r * down >> 20);
                                const Samples1D row =
                                    staged[0].sample[(p + of) * room_y + from + r - of * rows];
                                const INDEX beside = (INDEX)features_step.x * x;
#pragma unroll
                                for (int v = 0; v < BESIDE; v++) {
                                    upper[i][v] = real_of(features[plane[v] + row.low + beside]);
                                    lower[i][v] = real_of(features[plane[v] + row.high + beside]);
                                }
                                upper_weight[i] = row.low_weight;
                                lower_weight[i] = row.high_weight;
                                offset[i] = r * pitch + x;
                            }
#pragma unroll
                            for (int i = 0; i < AHEAD; i++)
                                if (first_item + 32 * i + lane < items)
#pragma unroll
                                    for (int v = 0; v < BESIDE; v++)
                                        lines[warp][v][offset[i]] =
                                            between(upper[i][v], lower[i][v], upper_weight[i],
                                                    lower_weight[i], by_corner);
                        }
                        __syncwarp();
                        for (int j = 0; j < min(rows, listed_y - from); j++) {
                            const int line = (own_row * rows + j) * pitch;
                            const unsigned number =
                                (unsigned)staged[0].number[(p + own_row) * room_y + from + j] * total;
                            for (int i = q * room_x; i < q * room_x + listed_x; i++) {
                                const Samples1D column = staged[1].sample[i];
                                const int at = (int)(number + (unsigned)staged[1].number[i]);
#pragma unroll
                                for (int v = 0; v < BESIDE; v++)
                                    take(between(lines[warp][v][line + column.low],
                                                 lines[warp][v][line + column.high], column.low_weight,
                                                 column.high_weight, by_corner),
                                         at, best[v]);
                            }
                        }
                        __syncwarp();
                    }
#pragma unroll
                    for (int v = 0; v < BESIDE; v++) {
                        finish(missed, best[v]);
                        if (pooled && c + v < own_channels)
                            put(first + c + v, p + own_row, q, best[v]);
                    }
                }
            }
            continue;
        }
        for (int begin = 0; begin < own_channels * bins; begin += THREADS) {
            const int item = begin + threadIdx.x;
            const bool pooled = item < own_channels * bins;
            const int bin = !pooled ? 0 : by_channel ? item / own_channels : item % bins;
            const int channel = first + (!pooled ? 0 : by_channel ? item % own_channels : item / bins);
            const int p = bin / width_of_run, q = bin - p * width_of_run;
            const int listed_y = valid ? grid_listed[own_y + p] : 0,
                      listed_x = valid ? grid_listed[own_x + q] : 0;
            const int total = valid ? grid_total[own_x + q] : 0;
            Best best = {LOWEST, NOWHERE};
            for (int stage = 0; stage < stages; stage++) {
                const int from_y = stage / stages_x * room_y, from_x = stage % stages_x * room_x;
                if (begin == 0 || stages > 1)
                    stage_from(from_y, from_x);
                if (pooled)
                    search(features + AT(features, image[k], channel, 0, 0),
                           of_bin(staged[0], p * room_y, min(room_y, listed_y - from_y)),
                           of_bin(staged[1], q * room_x, min(room_x, listed_x - from_x)), total, by_corner,
                           best);
            }
            if (!pooled)
                continue;
            if (valid)
                finish(missed_in(bin_at(grid_bins, grid_steps, own_y + p, 2 * k),
                                 bin_at(grid_bins, grid_steps, own_x + q, 2 * k + 1)),
                       best);
            else
                best = {image[k] == INVALID ? not_a_number() : (REAL)0, NOWHERE};
            put(channel, p, q, best);
        }
    }
}
