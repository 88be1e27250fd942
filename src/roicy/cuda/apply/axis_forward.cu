/* Axis tables applied to maps that lie plane by plane: out = A_y X A_x', a warp at a time.
 *
 * A warp takes a RoI, some of its bins and some channels. An item is a column of one channel; lanes lie along
 * the items, so that they read neighbouring numbers, and have up to ITEMS of them. Rows are summed first, by
 * all lanes the same rows:
 *
 *     features [row][item] ── down the rows ──▶ lines [p][item] ── along the columns ──▶ bins [p] of a lane
 *
 * The columns are all those of the window where the bins' taps are as many, else those that the taps name.
 * A tile has as many channels as it has room for, or some of the columns of one. */
#include "apply/axis_halves.cuh"
#include "apply/axis_tasks.cuh"

#define ITEMS ((int)(SPREAD * sizeof(float) / sizeof(REAL))) /* of a lane */
#define TILE (32 * ITEMS)                                    /* items */

/* A tap of a row of bins, and where the row lies in its plane. */
struct alignas(2 * sizeof(INDEX)) Step {
    REAL weight;
    INDEX at;
};

/* Adds COUNT rows to the sums of a lane's first MINE items. */
template <int MINE, int COUNT> INLINE void add_rows(const Step *tap, const STORED *const *source, REAL *sum) {
    STORED value[COUNT][MINE];
    REAL weight[COUNT];
#pragma unroll
    for (int t = 0; t < COUNT; t++) {
        weight[t] = tap[t].weight;
#pragma unroll
        for (int v = 0; v < MINE; v++)
            value[t][v] = __ldg(source[v] + tap[t].at);
    }
#pragma unroll
    for (int t = 0; t < COUNT; t++)
#pragma unroll
        for (int v = 0; v < MINE; v++)
            sum[v] = madd(weight[t], real_of(value[t][v]), sum[v]);
}

/* The same of so many, at most MOST. */
template <int MINE, int MOST>
INLINE void add_some(const Step *tap, int taps, const STORED *const *source, REAL *sum) {
    if constexpr (MOST > 1)
        if (taps < MOST) {
            add_some<MINE, MOST - 1>(tap, taps, source, sum);
            return;
        }
    add_rows<MINE, MOST>(tap, source, sum);
}

/* One chain down the rows, TOGETHER of which are read before the first is used. */
template <int MINE> INLINE void down(const Step *tap, int taps, const STORED *const *source, REAL *sum) {
#pragma unroll
    for (int v = 0; v < MINE; v++)
        sum[v] = 0;
#pragma unroll 1
    for (; taps > 0; taps -= TOGETHER, tap += TOGETHER)
        add_some<MINE, TOGETHER>(tap, taps, source, sum);
}

/* The taps of a row of bins in their list. */
struct Span {
    int begin, end;
};

/* What a warp keeps in shared memory of its task: sums of rows of bins, the taps of some of these rows at a
 * time, and those of the columns where there is room for all of them. */
struct Kept {
    REAL lines[ROWS * TILE + TOGETHER];
    Step taps[ROOM];
    Tap columns[COLUMNS + TOGETHER];
    Span rows[ROWS];
    const Tap *list, *column_list;
    int last;         /* of the taps of all rows, the end */
    int listed, most; /* taps of all columns, and of one at the most */
};

/* The taps `begin` ... `end` - 1 of the list; those kept begin at `from`. */
INLINE const Step *kept_taps(Kept &kept, int &from, int begin, int end, INDEX step) {
    if (begin < from || end > from + ROOM) {
        __syncwarp();
        const Tap *list = kept.list;
        for (int t = begin + (threadIdx.x & 31); t < min(begin + ROOM, kept.last); t += 32)
            kept.taps[t - begin] = {list[t].weight, step * list[t].at};
        __syncwarp();
        from = begin;
    }
    return kept.taps + (begin - from);
}

/* Fills the lines of a tile: of each row of bins a lane's first MINE items. */
template <int MINE>
INLINE void fill_lines(Kept &kept, int &from, int rows, const STORED *const *source, INDEX step) {
    REAL *line = kept.lines + (threadIdx.x & 31);
#pragma unroll 1
    for (int r = 0; r < rows; r++, line += TILE) {
        int begin = kept.rows[r].begin;
        const int end = kept.rows[r].end, count = end - begin;
        REAL sum[MINE];
        if (count <= PIECE)
            down<MINE>(kept_taps(kept, from, begin, begin + count, step), count, source, sum);
        else {
            REAL lost[MINE];
#pragma unroll
            for (int v = 0; v < MINE; v++) {
                sum[v] = 0;
                lost[v] = NOTHING_LOST;
            }
#pragma unroll 1
            for (; begin < end; begin += PIECE) {
                const int taken = min(end - begin, PIECE);
                const Step *taps = kept_taps(kept, from, begin, begin + taken, step);
#pragma unroll
                for (int v = 0; v < MINE; v++) {
                    REAL piece;
                    down<1>(taps, taken, source + v, &piece);
                    join(piece, sum[v], lost[v]);
                }
            }
#pragma unroll
            for (int v = 0; v < MINE; v++)
                sum[v] = restored(sum[v], lost[v]);
        }
#pragma unroll
        for (int v = 0; v < MINE; v++)
            line[32 * v] = sum[v];
    }
}

/* The same by as few items of a lane as do it. */
template <int MOST>
INLINE void fill_tile(int items, Kept &kept, int &from, int rows, const STORED *const *source, INDEX step) {
    if constexpr (MOST > 1)
        if (items <= 32 * (MOST - 1)) {
            fill_tile<MOST - 1>(items, kept, from, rows, source, step);
            return;
        }
    fill_lines<MOST>(kept, from, rows, source, step);
}

/* Adds the next taps of a column, those from `begin` on and at most COUNT, to the sum of each row. What is read beside
 * them is not used. The columns of lines are pixels from `left` on, or, where that is negative, taps. */
template <int COUNT>
INLINE void add_columns(const Tap *columns, int begin, int taps, int left, const REAL *line, int rows,
                        REAL *sum) {
    REAL weight[COUNT];
    const REAL *source[COUNT];
#pragma unroll
    for (int t = 0; t < COUNT; t++) {
        weight[t] = columns[begin + t].weight;
        source[t] = line + (left < 0 ? begin + t : columns[begin + t].at - left);
    }
#pragma unroll
    for (int half = 0; half < ROWS; half += ROWS / 2) {
        if (half >= rows)
            break;
#pragma unroll
        for (int r = half; r < half + ROWS / 2; r++) {
            REAL value[COUNT];
#pragma unroll
            for (int t = 0; t < COUNT; t++)
                value[t] = source[t][r * TILE];
#pragma unroll
            for (int t = 0; t < COUNT; t++)
                if (t < taps)
                    sum[r] = madd(weight[t], value[t], sum[r]);
        }
    }
}

/* The same of so many, at most MOST in any lane. */
template <int MOST>
INLINE void add_some_columns(int most, const Tap *columns, int begin, int taps, int left, const REAL *line,
                             int rows, REAL *sum) {
    if constexpr (MOST > 1)
        if (most < MOST) {
            add_some_columns<MOST - 1>(most, columns, begin, taps, left, line, rows, sum);
            return;
        }
    add_columns<MOST>(columns, begin, taps, left, line, rows, sum);
}

/* Sums of pieces along columns, and their rounding errors. */
struct Pieces {
    REAL sum[ROWS], lost[ROWS];
};

/* `zero` is 0, but the compiler cannot know that. So it keeps the pieces in memory; in registers they would slow down
 * every call. */
INLINE void begin_pieces(Pieces &pieces, int zero) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        pieces.sum[zero + r] = 0;
        pieces.lost[zero + r] = NOTHING_LOST;
    }
}

/* Adds a piece to the sum, and clears it. */
INLINE void add_piece(REAL *piece, Pieces &pieces, int zero) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        join(piece[r], pieces.sum[zero + r], pieces.lost[zero + r]);
        piece[r] = 0;
    }
}

KERNEL __launch_bounds__(32 * WARPS, BLOCKS)
    axis_forward(VIEW(const STORED, features), VIEW(RESULT, out), const Axes axes, const Division division) {
    const int *__restrict__ y_start = axes.y.start, *__restrict__ y_count = axes.y.count;
    const int *__restrict__ x_start = axes.x.start, *__restrict__ x_count = axes.x.count;
    const REAL *__restrict__ y_taps = axes.y.taps, *__restrict__ x_taps = axes.x.taps;
    __shared__ Kept all_kept[WARPS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int y_bins = axes.rois.rows, x_bins = axes.rois.columns;
    Kept &kept = all_kept[warp];
    const int64 tasks = tasks_of(axes.rois, division);
    for (int64 number = blockIdx.x * (int64)WARPS + warp; number < tasks;
         number += gridDim.x * (int64)WARPS) {
        const Task task = task_of(number, axes.rois, division);
        const int64 k = task.k, n = axes.rois.image[k];
        const int p = task.p, q = task.q, rows = task.rows, columns = task.columns;
        if (n == ELSEWHERE)
            continue;
        if (n < 0) {
            const RESULT value = rounded_to<RESULT>(n == INVALID ? not_a_number() : 0);
            for (int c = 0; c < task.channels; c++)
                for (int i = lane; i < rows * columns; i += 32)
                    out[AT(out, k, task.channel + c, p + i / columns, q + i % columns)] = value;
            continue;
        }
        const STORED *__restrict__ planes = features + (INDEX)division.apart * (p * x_bins + q);
        const Tap *column_taps = taps_at(x_taps, begin_of(k, axes.x));
        /* the columns of these bins, one of which each lane knows */
        const int64 at_column = k * x_bins + q + min(lane, columns - 1);
        const int own_first = x_start[at_column], own_count = x_count[at_column];
        const Window w = window_at(axes.rois.window, k);
        int left = w.left, right = w.right;
        if (columns < x_bins) {
            left = least_of_warp(own_count ? column_taps[own_first].at : w.right);
            right = most_of_warp(own_count ? column_taps[own_first + own_count - 1].at + 1 : w.left);
        }
        const int first_tap = __shfl_sync(~0u, own_first, 0), own_begin = own_first - first_tap;
        const int listed = __shfl_sync(~0u, own_begin + own_count, 31);
        column_taps += first_tap;
        const int most = most_of_warp(own_count);
        const bool whole = right - left <= listed;
        const int origin = whole ? left : 0;
        const int length = w.bottom > w.top && right > left ? (whole ? right - left : listed) : 0;
        const int at_once = length <= TILE ? TILE / max(length, 1) : 1; /* channels of a tile */
        __syncwarp(); /* the task before is done with what it kept */
        if (lane < rows) {
            const int64 at_row = k * y_bins + p + lane;
            const int begin = y_start[at_row], end = begin + y_count[at_row];
            kept.rows[lane] = {begin, end};
            if (lane == rows - 1)
                kept.last = end;
        }
        for (int t = lane; t < min(listed, COLUMNS) + TOGETHER; t += 32)
            kept.columns[t] = t < listed
                                  ? Tap{column_taps[t].weight, min(max(column_taps[t].at, left), right - 1)}
                                  : Tap{0, left};
        if (lane == 0) { /* what is in the way in registers */
            kept.list = taps_at(y_taps, begin_of(k, axes.y));
            kept.column_list = column_taps;
            kept.listed = listed;
            kept.most = length > 0 ? most : 0;
        }
        __syncwarp();
        const STORED *maps = planes + AT(features, n, task.channel, 0, 0);
        RESULT *bins = out + AT(out, k, task.channel, p, q);
        int from = -ROOM;
        for (int left_over = task.channels; left_over > 0; left_over -= at_once) {
            const int live = min(at_once, left_over);
            /* a tile of several channels has all columns, and so the loop around it a single turn; that of one
             * channel may have a part of them, and the loop in it a single turn */
            Pieces pieces;
            int first = 0;
            do {
                const int width = min(TILE, length - first);
                __syncwarp();
                if (width > 0) {
                    const STORED *source[ITEMS];
                    int of = lane / width, j = lane - of * width;
                    const int down = 32 / width, along = 32 - down * width;
#pragma unroll
                    for (int v = 0; v < ITEMS; v++) {
                        const int column = origin + first + (of < live ? j : width - 1);
                        const int pixel = whole                    ? column
                                          : kept.listed <= COLUMNS ? kept.columns[column].at
                                                                   : kept.column_list[column].at;
                        source[v] = maps + AT(features, 0, min(of, live - 1), 0, pixel);
                        OWN_ADDRESS(source[v]);
                        of += down;
                        j += along;
                        if (j >= width) {
                            j -= width;
                            of++;
                        }
                    }
                    fill_tile<ITEMS>(live * width, kept, from, rows, source, (INDEX)features_step.y);
                    __syncwarp();
                }
                /* a lane has one of the columns of bins at a time */
                for (int i = lane; i - lane < live * columns; i += 32) {
                    const int channel = min(i / columns, live - 1),
                              bin = min(i - channel * columns, columns - 1);
                    const int begin = __shfl_sync(~0u, own_begin, bin),
                              count = __shfl_sync(~0u, own_count, bin);
                    /* a long sum is one of pieces, which end with the tile at the latest */
                    const bool in_pieces = count > PIECE || length > TILE;
                    const int zero = (int)((unsigned)count >> 31);
                    const REAL *line = kept.lines + channel * width;
                    REAL sum[ROWS];
#pragma unroll
                    for (int r = 0; r < ROWS; r++)
                        sum[r] = 0;
                    if (!in_pieces && kept.listed <= COLUMNS)
#pragma unroll 1
                        for (int done = 0; done < kept.most; done += TOGETHER)
                            add_some_columns<TOGETHER>(kept.most - done, kept.columns,
                                                       min(begin + done, kept.listed), count - done,
                                                       whole ? origin : -1, line, rows, sum);
                    else {
                        if (in_pieces && first == 0)
                            begin_pieces(pieces, zero);
                        int held = 0;
#pragma unroll 1
                        for (int t = begin; t < begin + count; t++) {
                            const Tap tap = kept.column_list[t];
                            const int at = (whole ? tap.at : t) - origin - first;
                            if (at < 0)
                                continue;
                            if (at >= width)
                                break;
                            if (held == PIECE) {
                                add_piece(sum, pieces, zero);
                                held = 0;
                            }
                            held++;
#pragma unroll
                            for (int r = 0; r < ROWS; r++)
                                if (r < rows)
                                    sum[r] = madd(tap.weight, line[r * TILE + at], sum[r]);
                        }
                        if (in_pieces) {
                            add_piece(sum, pieces, zero);
#pragma unroll
                            for (int r = 0; r < ROWS; r++)
                                sum[r] = restored(pieces.sum[zero + r], pieces.lost[zero + r]);
                        }
                    }
                    if (first + TILE < length || i >= live * columns)
                        continue;
                    RESULT *target = bins + AT(out, 0, channel, 0, bin);
                    REAL probe = 0;
#pragma unroll
                    for (int r = 0; r < ROWS; r++)
                        if (r < rows) {
                            target[(INDEX)out_step.y * r] = rounded_to<RESULT>(sum[r]);
                            probe_for_overflow(sum[r], probe);
                        }
                    if (probe != 0)
#pragma unroll 1
                        for (int r = 0; r < rows; r++, target += (INDEX)out_step.y)
                            if (overflowed(real_of(*target)))
                                overflow_store(half_of_axes(kept.list + kept.rows[r].begin,
                                                            kept.rows[r].end - kept.rows[r].begin,
                                                            kept.column_list + begin, count,
                                                            maps + AT(features, 0, channel, 0, 0),
                                                            (INDEX)features_step.y, (INDEX)features_step.x),
                                               target);
                }
                first += TILE;
            } while (first < length);
            maps += features_step.c * live; /* may lie behind the array */
            bins += out_step.c * live;
        }
    }
}
