/* Grid tables applied: the largest of each bin's bilinear samples, and which one it is.
 *
 * A block takes one RoI, some channels and as many bins as it has room for:
 *
 *     table ──▶ rows and columns of samples, pixels and weights, in shared memory ──▶ a thread for each
 * channel (once, or a stage at a time where bins have many)                     and bin goes through its grid
 *
 * Threads are neighbours along the bins, or along the channels where those are neighbours in memory. Samples
 * come in row-major order, so that of equal ones the first wins. Those that miss the map are zeros: of a
 * bin's, the first one is enough. */
#include "lanes/maxima.cuh"
#include "lanes/reduce.cuh"
#include "tables/grid.cuh"

struct Stage {
    /* samples of some bins along one axis: of each bin so many places as all have */
    INDEX low[ENTRIES], high[ENTRIES]; /* offsets of the pixels */
    REAL low_weight[ENTRIES], high_weight[ENTRIES];
    int number[ENTRIES];
};

/* Stages that bins need which have so many samples, in all lanes. */
INLINE int stages_of(const int *listed, int count, int room) {
    int most = 0;
    for (int i = threadIdx.x & 31; i < count; i += 32)
        most = max(most, listed[i]);
    return (most_of_warp(most) - 1) / room + 1;
}

/* Of two pixels: blended, or under the rule of ONNX weighted and the larger of the two. */
INLINE REAL between(REAL low, REAL high, REAL low_weight, REAL high_weight, int by_corner) {
    if (by_corner)
        return greater(high_weight * high, low_weight * low);
    return madd(high_weight, high, low_weight * low);
}

/* The largest of the staged samples of one bin joins the largest so far. */
INLINE void search(const STORED *plane, const Stage &y, int first_row, int rows, const Stage &x,
                   int first_column, int columns, int total, int by_corner, Best &best) {
    Best found = {LOWEST, NOWHERE};
    for (int r = first_row; r < first_row + rows; r++) {
        const STORED *upper = plane + y.low[r], *lower = plane + y.high[r];
        const REAL upper_weight = y.low_weight[r], lower_weight = y.high_weight[r];
        const unsigned first = (unsigned)y.number[r] * (unsigned)total;
        /* the columns of the sample before, which often is a neighbour */
        INDEX left = -1, right = -1;
        REAL left_value = 0, right_value = 0;
        for (int i = first_column; i < first_column + columns; i++) {
            const INDEX low = x.low[i], high = x.high[i];
            if (low != left || i == first_column) {
                if (low == right && i != first_column)
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
            take(between(left_value, right_value, x.low_weight[i], x.high_weight[i], by_corner),
                 (int)(first + (unsigned)x.number[i]), found);
        }
    }
    take_first(found, best);
}

/* The samples that miss the map join, and a bin without any is a zero. */
INLINE void finish(const Bin &y, const Bin &x, Best &best) {
    const double missed_y = missed_of(y), missed_x = missed_of(x);
    if (y.total == 0 || x.total == 0) {
        best.value = 0;
        return;
    }
    unsigned first;
    if (missed_y == 0)
        first = 0;
    else if (missed_x >= 0)
        first = bounded(missed_x);
    else if (missed_y > 0)
        first = (unsigned)bounded(missed_y) * (unsigned)bounded(x.total);
    else
        return;
    take_first({0, (int)first}, best);
}

/* How a call is divided: blocks take `chunk` channels and up to `run_y` times `run_x` bins, which have room for
 * ENTRIES / run_y rows and ENTRIES / run_x columns each. */
struct Division {
    int64 tasks;
    int channels, chunk, run_y, run_x, by_channel;
    int placed, by_corner; /* whether argmax is asked for; the rule of ONNX */
};

KERNEL __launch_bounds__(THREADS, 4)
    grid_forward(VIEW(const STORED, features), VIEW(RESULT, out), VIEW(int, argmax), const Grid grid,
                 const Division division) {
    const int64 *__restrict__ image = grid.rois.image;
    const double *__restrict__ grid_bins = grid.bins, *__restrict__ grid_steps = grid.steps;
    const int *__restrict__ grid_listed = grid.listed, *__restrict__ grid_total = grid.total;
    const int64 rois = grid.rois.count;
    const int rows = grid.rois.rows, columns = grid.rois.columns;
    const int height = grid.rois.height, width = grid.rois.width;
    const int channels = division.channels, chunk = division.chunk, by_channel = division.by_channel;
    const int run_y = division.run_y, run_x = division.run_x, by_corner = division.by_corner;
    __shared__ Stage staged[2]; /* along y and along x */
    const int room_y = ENTRIES / run_y, room_x = ENTRIES / run_x;
    const int runs_x = (columns + run_x - 1) / run_x, runs = (rows + run_y - 1) / run_y * runs_x;
    for (int64 task = blockIdx.x; task < division.tasks; task += gridDim.x) {
        const int64 rest = task / runs, part = rest / rois, k = rest - part * rois;
        const int run = (int)(task - rest * runs), top = run / runs_x * run_y, left = run % runs_x * run_x;
        const int height_of_run = min(run_y, rows - top), width_of_run = min(run_x, columns - left);
        const int first = (int)part * chunk, depth = min(chunk, channels - first);
        const int bins = height_of_run * width_of_run;
        const int64 own = k * ((int64)rows + columns), own_y = own + top, own_x = own + rows + left;
        const bool valid = image[k] >= 0;
        int stages_y = 0, stages_x = 0;
        if (valid) {
            stages_y = stages_of(grid_listed + own_y, height_of_run, room_y);
            stages_x = stages_of(grid_listed + own_x, width_of_run, room_x);
        }
        const int stages = stages_y * stages_x;
        for (int begin = 0; begin < depth * bins; begin += THREADS) {
            const int item = begin + threadIdx.x;
            const bool pooled = item < depth * bins;
            const int bin = !pooled ? 0 : by_channel ? item / depth : item % bins;
            const int channel = first + (!pooled ? 0 : by_channel ? item % depth : item / bins);
            const int p = bin / width_of_run, q = bin - p * width_of_run;
            const int listed_y = valid ? grid_listed[own_y + p] : 0,
                      listed_x = valid ? grid_listed[own_x + q] : 0;
            const int total = valid ? grid_total[own_x + q] : 0;
            Best best = {LOWEST, NOWHERE};
            for (int stage = 0; stage < stages; stage++) {
                const int from_y = stage / stages_x * room_y, from_x = stage % stages_x * room_x;
                if (begin == 0 || stages > 1) {
                    __syncthreads();
#pragma unroll 1 /* one copy of what is long */
                    for (int axis = 0; axis < 2; axis++) {
                        const int room = axis ? room_x : room_y, from = axis ? from_x : from_y;
                        const int count = room * (axis ? width_of_run : height_of_run);
                        const int64 stride = axis ? features_step.x : features_step.y;
                        for (int entry = threadIdx.x; entry < count; entry += THREADS) {
                            const int which = entry / room, i = from + entry - which * room;
                            const int64 bin = (axis ? own_x : own_y) + which;
                            const int listed = grid_listed[bin], length = axis ? width : height;
                            if (i >= listed)
                                continue;
                            const Bin own = bin_at(grid_bins, grid_steps, bin, 2 * k + axis);
                            const Sample sample =
                                sample_at(own, listed_index(own, listed, length, i), length, grid.rule);
                            Stage &stage = staged[axis];
                            stage.low[entry] = (INDEX)stride * (INDEX)sample.low;
                            stage.high[entry] = (INDEX)stride * (INDEX)sample.high;
                            stage.low_weight[entry] = (REAL)sample.low_weight;
                            stage.high_weight[entry] = (REAL)sample.high_weight;
                            stage.number[entry] = bounded(sample.number);
                        }
                    }
                    __syncthreads();
                }
                if (pooled)
                    search(features + AT(features, image[k], channel, 0, 0), staged[0], p * room_y,
                           min(room_y, listed_y - from_y), staged[1], q * room_x,
                           min(room_x, listed_x - from_x), total, by_corner, best);
            }
            if (!pooled)
                continue;
            if (valid)
                finish(bin_at(grid_bins, grid_steps, own_y + p, 2 * k),
                       bin_at(grid_bins, grid_steps, own_x + q, 2 * k + 1), best);
            else
                best = {not_a_number(), NOWHERE};
            out[AT(out, k, channel, top + p, left + q)] = rounded_to<RESULT>(best.value);
            if (division.placed)
                argmax[AT(argmax, k, channel, top + p, left + q)] = place_out(best.at);
        }
    }
}
