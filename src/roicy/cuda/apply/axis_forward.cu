/* Axis tables applied to maps that lie plane by plane: out = A_y X A_x', a warp at a time.
 *
 * A warp takes a RoI, four channels and some of its bins. Lanes lie along the columns, so that they read
 * neighbouring items; a tile of columns at a time, rows are summed first:
 *
 *     features [row][column] x 4 ── down the rows ──▶ lines [p][column] x 4 ── along the columns ──▶ bins
 * [p][q] x 4
 *
 * The columns are all those of the window where the bins' taps are as many, else those that the taps name.
 *
 * Tasks run through the channels in chunks, through all RoIs for each: the planes in use stay in the L2
 * cache. */
#include "apply/axis_halves.cuh"

#define LINE ((int)(256 / sizeof(REAL))) /* columns of a tile */
#define LOST (sizeof(REAL) == sizeof(float) ? BINS : 1)

/* Channels of the map; rows and columns of bins of a warp, at most ROWS and BINS of both. Position-sensitive maps
 * have a channel for each bin, so many items apart, else that is 0: then a warp has one bin. */
struct Division {
    int64 apart;
    int channels, rows, columns;
};

struct alignas(16) Four {
    REAL channel[GROUP];
};

INLINE void join(const Four &piece, Four &sum, Four &lost) {
#pragma unroll
    for (int v = 0; v < GROUP; v++)
        join(piece.channel[v], sum.channel[v], lost.channel[v]);
}

INLINE void restore(Four &sum, const Four &lost) {
#pragma unroll
    for (int v = 0; v < GROUP; v++)
        sum.channel[v] = restored(sum.channel[v], lost.channel[v]);
}

/* One chain down the rows; `step` is from a channel to each of the others. */
INLINE Four down(const Tap *tap, int taps, const STORED *__restrict__ source, INDEX row_step,
                 const INDEX *step) {
    Four sum = {{0, 0, 0, 0}};
    for (; taps > 0; taps--, tap++) {
        const INDEX row = row_step * tap->place;
#pragma unroll
        for (int v = 0; v < GROUP; v++)
            sum.channel[v] = madd(tap->weight, real_of(source[row + step[v]]), sum.channel[v]);
    }
    return sum;
}

KERNEL __launch_bounds__(32 * WARPS, 4)
    axis_forward(VIEW(const STORED, features), VIEW(RESULT, out), const Axes axes, const Division division) {
    const int64 *__restrict__ image = axes.rois.image;
    const int *__restrict__ window = axes.rois.window;
    const int *__restrict__ y_start = axes.y.start, *__restrict__ y_count = axes.y.count;
    const int *__restrict__ x_start = axes.x.start, *__restrict__ x_count = axes.x.count;
    const REAL *__restrict__ y_taps = axes.y.taps, *__restrict__ x_taps = axes.x.taps;
    const int64 rois = axes.rois.count;
    const int y_bins = axes.rois.rows, x_bins = axes.rois.columns, channels = division.channels;
    const int rows_at_once = division.rows, columns_at_once = division.columns;
    __shared__ Four all_lines[WARPS][ROWS * LINE];
    __shared__ Four all_bins[WARPS][BINS], all_lost[WARPS][LOST];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    Four *lines = all_lines[warp], *bins = all_bins[warp], *lost = all_lost[warp]; /* what long sums lost */
    const int parts_x = (x_bins - 1) / columns_at_once + 1,
              parts = ((y_bins - 1) / rows_at_once + 1) * parts_x;
    const int64 chunks = (channels - 1) / (GROUP * CHUNK) + 1, tasks = chunks * rois * parts * CHUNK;
    for (int64 task = blockIdx.x * (int64)WARPS + warp; task < tasks; task += gridDim.x * (int64)WARPS) {
        const int64 of_chunk = task / CHUNK, of_part = of_chunk / parts, k = of_part % rois;
        const int c = (int)((of_part / rois * CHUNK + task % CHUNK) * GROUP), part = (int)(of_chunk % parts);
        if (c >= channels)
            continue;
        const int p = part / parts_x * rows_at_once, q = part % parts_x * columns_at_once;
        const int rows = min(rows_at_once, y_bins - p), columns = min(columns_at_once, x_bins - q);
        const int live = min(GROUP, channels - c);
        const int64 n = image[k];
        if (n == ELSEWHERE)
            continue;
        if (n < 0) {
            for (int i = lane; i < rows * columns; i += 32)
                for (int v = 0; v < live; v++)
                    out[AT(out, k, c + v, p + i / columns, q + i % columns)] =
                        rounded_to<RESULT>(not_a_number());
            continue;
        }
        const STORED *__restrict__ planes = features + (INDEX)division.apart * (p * x_bins + q);
        const Window w = window_at(window, k);
        const Tap *row_taps = taps_at(y_taps, begin_of(k, axes.y));
        const Tap *column_taps = taps_at(x_taps, begin_of(k, axes.x));
        const int *row_start = y_start + k * y_bins + p, *row_count = y_count + k * y_bins + p;
        const int *column_start = x_start + k * x_bins + q, *column_count = x_count + k * x_bins + q;
        /* the columns of these bins */
        int left = w.left, right = w.right;
        if (columns < x_bins) {
            int low = w.right, high = w.left;
            for (int i = lane; i < columns; i += 32)
                if (column_count[i]) {
                    low = min(low, column_taps[column_start[i]].place);
                    high = max(high, column_taps[column_start[i] + column_count[i] - 1].place + 1);
                }
            left = least_of_warp(low);
            right = -least_of_warp(-high);
        }
        const int first_tap = column_start[0];
        const int listed = column_start[columns - 1] + column_count[columns - 1] - first_tap;
        const bool whole = right - left <= listed;
        const int length = w.bottom > w.top && right > left ? (whole ? right - left : listed) : 0;
        INDEX step[GROUP]; /* beyond the last channel that one again */
#pragma unroll
        for (int v = 0; v < GROUP; v++)
            step[v] = (INDEX)features_step.c * min(v, live - 1);

        for (int i = lane; i < rows * columns; i += 32)
            bins[i] = {{0, 0, 0, 0}},
            lost[i % (int)LOST] = {{NOTHING_LOST, NOTHING_LOST, NOTHING_LOST, NOTHING_LOST}};
        for (int first = 0; first < length; first += LINE) {
            const int width = min(LINE, length - first);
            for (int i = lane; i < rows * width; i += 32) {
                const int r = i / width, j = first + i - r * width;
                const int pixel = whole ? left + j : column_taps[first_tap + j].place;
                const STORED *source = planes + AT(features, n, c, 0, pixel);
                const Tap *tap = row_taps + row_start[r];
                Four sum = down(tap, IN_PIECES(row_count[r]) ? PIECE : row_count[r], source,
                                (INDEX)features_step.y, step);
                if (IN_PIECES(row_count[r])) {
                    Four rest = {{NOTHING_LOST, NOTHING_LOST, NOTHING_LOST, NOTHING_LOST}};
                    for (int t = PIECE; t < row_count[r]; t += PIECE)
                        join(
                            down(tap + t, min(row_count[r] - t, PIECE), source, (INDEX)features_step.y, step),
                            sum, rest);
                    restore(sum, rest);
                }
                lines[i] = sum;
            }
            __syncwarp();
            for (int i = lane; i < rows * columns; i += 32) {
                const int r = i / columns, bin = i - r * columns, begin = column_start[bin];
                const int count = column_count[bin];
                /* a long sum is one of pieces, which end with the tile at the latest */
                const bool pieces = IN_PIECES(count);
                int held = 0;
                Four sum = bins[i];
                if (pieces)
                    sum = {{0, 0, 0, 0}};
                for (int t = 0; t < count; t++) {
                    const Tap tap = column_taps[begin + t];
                    const int at = (whole ? tap.place - left : begin + t - first_tap) - first;
                    if (at < 0)
                        continue;
                    if (at >= width)
                        break;
                    const Four line = lines[r * width + at];
#pragma unroll
                    for (int v = 0; v < GROUP; v++)
                        sum.channel[v] = madd(tap.weight, line.channel[v], sum.channel[v]);
                    if (pieces && ++held == PIECE) {
                        join(sum, bins[i], lost[i]);
                        sum = {{0, 0, 0, 0}};
                        held = 0;
                    }
                }
                if (pieces)
                    join(sum, bins[i], lost[i]);
                else
                    bins[i] = sum;
            }
            __syncwarp();
        }
        REAL probe = 0;
        for (int i = lane; i < rows * columns; i += 32) {
            const INDEX at = AT(out, k, c, p + i / columns, q + i % columns);
            if (IN_PIECES(column_count[i % columns]))
                restore(bins[i], lost[i]);
#pragma unroll
            for (int v = 0; v < GROUP; v++)
                if (v < live) {
                    out[at + (INDEX)out_step.c * v] = rounded_to<RESULT>(bins[i].channel[v]);
                    probe_for_overflow(bins[i].channel[v], probe);
                }
        }
        for (int i = probe != 0 ? lane : rows * columns; i < rows * columns; i += 32)
#pragma unroll 1
            for (int v = 0; v < live; v++) {
                const int r = i / columns, bin = i - r * columns;
                RESULT *target = out + AT(out, k, c + v, p + r, q + bin);
                if (overflowed(real_of(*target)))
                    overflow_store(half_of_axes(row_taps + row_start[r], row_count[r],
                                                column_taps + column_start[bin], column_count[bin],
                                                planes + AT(features, n, c + v, 0, 0), (INDEX)features_step.y,
                                                (INDEX)features_step.x),
                                   target);
            }
    }
}
