/* The gradient with respect to the boxes: the same apply with the derivative of one axis's weights.
 *
 *     d/dx1 = Σ dY · (A_y · X · (∂A_x/∂x1)')      d/dy1 = Σ dY · (∂A_y/∂y1 · X · A_x')      and likewise x2,
 * y2
 *
 * A warp takes a RoI, some of its bins and some channels. An item is a tap of a column of bins in one channel; lanes
 * lie along the items and have ITEMS each. All lanes sum down the same rows, with the weights and with both slopes;
 * the gradient of a bin is multiplied by these sums. The products of all lanes are added in a fixed order, in double
 * precision. How channels are divided depends only on their number and layout. */
#include "apply/axis_tasks.cuh"

/* The slopes of the weights with respect to the first and the second edge of a box, for each axis's taps; and the
 * output: partial[place] = the part of a box's gradient from a task's channels and bins. With `across`, lanes lie along
 * channels first. */
struct Slopes {
    const REAL *y, *x;
    double *partial;
    int across;
};

struct Sums {
    double x1, y1, x2, y2;
};

/* A tap of a row of bins: its weight and slopes, and where the row lies in its plane. */
struct alignas(16) Step {
    REAL weight, start, end;
    INDEX at;
};

/* What a warp keeps in shared memory of its task. */
struct Kept {
    Step taps[ROOM]; /* of its rows of bins */
    const Tap *rows, *columns;
    const REAL *row_slopes, *column_slopes;
    const STORED *plane; /* of its first channel */
    const RESULT *grad;  /* of the first bin there */
    double *target;
    int begin[ROWS], end[ROWS]; /* of each row of bins, in the list */
    int last;                   /* end of them */
    int through[32],
        beside[32]; /* of each column of bins: taps up to its end, places between that are none */
    Sums sums[32];  /* of each lane */
};

/* The taps `begin` ... `end` - 1 of the list; those kept begin at `from`. */
INLINE const Step *kept_taps(Kept &kept, int &from, int begin, int end, INDEX step) {
    if (begin < from || end > from + ROOM) {
        __syncwarp();
        for (int t = begin + (threadIdx.x & 31); t < min(begin + ROOM, kept.last); t += 32) {
            const Tap tap = kept.rows[t];
            kept.taps[t - begin] = {tap.weight, kept.row_slopes[2 * (int64)t],
                                    kept.row_slopes[2 * (int64)t + 1], step * tap.at};
        }
        __syncwarp();
        from = begin;
    }
    return kept.taps + (begin - from);
}

/* Sums down the rows of a bin. */
struct Lines {
    REAL value, start, end;
};

template <int COUNT> INLINE void add_rows(const Step *row, const STORED *const *source, Lines *lines) {
    STORED value[COUNT][ITEMS];
#pragma unroll
    for (int t = 0; t < COUNT; t++)
#pragma unroll
        for (int v = 0; v < ITEMS; v++)
            value[t][v] = __ldg(source[v] + row[t].at);
#pragma unroll
    for (int t = 0; t < COUNT; t++) {
        const Step own = row[t];
#pragma unroll
        for (int v = 0; v < ITEMS; v++) {
            const REAL one = real_of(value[t][v]);
            lines[v].value = madd(own.weight, one, lines[v].value);
            lines[v].start = madd(own.start, one, lines[v].start);
            lines[v].end = madd(own.end, one, lines[v].end);
        }
    }
}

/* One chain down the rows. */
INLINE void down(const Step *row, int rows, const STORED *const *source, Lines *lines) {
#pragma unroll 1
    for (; rows > 0; rows -= 4, row += 4)
        if (rows >= 4)
            add_rows<4>(row, source, lines);
        else if (rows == 3)
            add_rows<3>(row, source, lines);
        else if (rows == 2)
            add_rows<2>(row, source, lines);
        else
            add_rows<1>(row, source, lines);
}

INLINE double sum_of_warp(double value) {
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(~0u, value, step);
    return value;
}

KERNEL __launch_bounds__(32 * WARPS, BLOCKS)
    axis_backward_rois(VIEW(const RESULT, grad), VIEW(const STORED, features), const Axes axes,
                       const Division division, const Slopes slopes) {
    const int64 *__restrict__ image = axes.rois.image;
    const int *__restrict__ y_start = axes.y.start, *__restrict__ y_count = axes.y.count;
    const int *__restrict__ x_start = axes.x.start, *__restrict__ x_count = axes.x.count;
    const REAL *__restrict__ y_taps = axes.y.taps, *__restrict__ x_taps = axes.x.taps;
    const REAL *__restrict__ y_slopes = slopes.y, *__restrict__ x_slopes = slopes.x;
    const int y_bins = axes.rois.rows, x_bins = axes.rois.columns;
    __shared__ Kept all_kept[WARPS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    Kept &kept = all_kept[warp];
    const int64 tasks = tasks_of(axes.rois, division);
    for (int64 number = blockIdx.x * (int64)WARPS + warp; number < tasks;
         number += gridDim.x * (int64)WARPS) {
        const Task task = task_of(number, axes.rois, division);
        const int64 k = task.k, n = image[k];
        __syncwarp(); /* the task before is done with what it kept */
        /* the taps of all columns of bins, one of which each lane knows */
        const int64 at_column = k * x_bins + task.q + min(lane, task.columns - 1);
        const int own = lane < task.columns ? x_count[at_column] : 0;
        int through = own;
        for (int step = 1; step < 32; step *= 2) {
            const int other = __shfl_up_sync(~0u, through, step);
            through += lane >= step ? other : 0;
        }
        kept.through[lane] = through;
        kept.beside[lane] = x_start[at_column] + own - through;
        const int listed = __shfl_sync(~0u, through, 31);
        if (lane < task.rows) {
            const int64 at_row = k * y_bins + task.p + lane;
            kept.begin[lane] = y_start[at_row];
            kept.end[lane] = y_start[at_row] + y_count[at_row];
            if (lane == task.rows - 1)
                kept.last = kept.end[lane];
        }
        if (lane == 0) {
            const int64 rows_begin = begin_of(k, axes.y), columns_begin = begin_of(k, axes.x);
            kept.rows = taps_at(y_taps, rows_begin);
            kept.columns = taps_at(x_taps, columns_begin);
            kept.row_slopes = y_slopes + 2 * rows_begin;
            kept.column_slopes = x_slopes + 2 * columns_begin;
            kept.plane = features + (n < 0 ? 0 : AT(features, n, task.channel, 0, 0)) +
                         (INDEX)division.apart * (task.p * x_bins + task.q);
            kept.grad = grad + AT(grad, k, task.channel, task.p, task.q);
            kept.target = slopes.partial + 4 * task.place;
        }
        __syncwarp();
        int from = -ROOM;
        kept.sums[lane] = {0, 0, 0, 0};
        const int live = task.channels, rows = task.rows;
        const int64 items = n < 0 ? 0 : (int64)listed * live;
        for (int64 first = lane; first - lane < items; first += 32 * ITEMS) {
            const STORED *source[ITEMS];
            INDEX dy[ITEMS];
            int at_tap[ITEMS];
            Lines total[ITEMS];
#pragma unroll
            for (int v = 0; v < ITEMS; v++) {
                const Divided i = divided(min(first + 32 * v, items - 1), slopes.across ? live : listed);
                const int channel = slopes.across ? i.rest : (int)i.quotient;
                const int tap = slopes.across ? (int)i.quotient : i.rest;
                /* the column of bins: the first through which there are more taps */
                int bin = 0;
#pragma unroll
                for (int step = 16; step > 0; step /= 2)
                    if (kept.through[bin + step - 1] <= tap)
                        bin += step;
                at_tap[v] = kept.beside[bin] + tap;
                source[v] = kept.plane + ((INDEX)features_step.c * channel +
                                          (INDEX)features_step.x * kept.columns[at_tap[v]].at +
                                          (INDEX)division.apart * bin);
                OWN_ADDRESS(source[v]);
                dy[v] = (INDEX)grad_step.c * channel + (INDEX)grad_step.x * bin;
                total[v] = {0, 0, 0};
            }
            int begin = kept.begin[0];
#pragma unroll 1
            for (int r = 0; r < rows;) {
                const int end = kept.end[r];
                Lines lines[ITEMS];
                RESULT by[ITEMS];
#pragma unroll
                for (int v = 0; v < ITEMS; v++) {
                    by[v] = __ldg(kept.grad + (dy[v] + (INDEX)grad_step.y * r));
                    lines[v] = {0, 0, 0};
                }
                if (begin < end)
                    down(kept_taps(kept, from, begin, min(end, begin + PIECE), (INDEX)features_step.y),
                         min(end - begin, PIECE), source, lines);
#pragma unroll
                for (int v = 0; v < ITEMS; v++) {
                    total[v].value = madd(real_of(by[v]), lines[v].value, total[v].value);
                    total[v].start = madd(real_of(by[v]), lines[v].start, total[v].start);
                    total[v].end = madd(real_of(by[v]), lines[v].end, total[v].end);
                }
                const bool in_pieces = end - kept.begin[r] > PIECE;
                begin += PIECE;
                if (begin >= end && ++r < rows)
                    begin = kept.begin[r];
                if (r < rows && !in_pieces)
                    continue;
                /* the end of the bins, or of a piece of a long one */
#pragma unroll
                for (int v = 0; v < ITEMS; v++)
                    if (first + 32 * v < items) {
                        const REAL *change = kept.column_slopes + 2 * (int64)at_tap[v];
                        const double weight = kept.columns[at_tap[v]].weight;
                        Sums &sum = kept.sums[lane];
                        sum.x1 += change[0] * (double)total[v].value;
                        sum.x2 += change[1] * (double)total[v].value;
                        sum.y1 += weight * (double)total[v].start;
                        sum.y2 += weight * (double)total[v].end;
                        total[v] = {0, 0, 0};
                    }
            }
        }
        Sums sum = kept.sums[lane];
        sum.x1 = sum_of_warp(sum.x1);
        sum.y1 = sum_of_warp(sum.y1);
        sum.x2 = sum_of_warp(sum.x2);
        sum.y2 = sum_of_warp(sum.y2);
        if (lane == 0) {
            double *target = kept.target;
            target[0] = sum.x1;
            target[1] = sum.y1;
            target[2] = sum.x2;
            target[3] = sum.y2;
        }
    }
}

/* sums[k][i] = the numbers i of RoI k, added in the order of the groups and of the parts of the bins. */
KERNEL __launch_bounds__(THREADS, 6)
    add_parts(const double *__restrict__ partial, int64 rois, int groups, int parts, double *sums) {
    for (int64 i = blockIdx.x * (int64)THREADS + threadIdx.x; i < 4 * rois; i += gridDim.x * (int64)THREADS) {
        double sum = 0;
        for (int group = 0; group < groups; group++) {
            const double *of_roi = partial + ((group * rois + i / 4) * parts * 4 + i % 4);
            for (int part = 0; part < parts; part++)
                sum += of_roi[4 * (int64)part];
        }
        sums[i] = sum;
    }
}
