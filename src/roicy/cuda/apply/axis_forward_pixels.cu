/* Axis tables applied to maps that lie pixel by pixel: lanes are channels, a warp takes a bin.
 *
 * All lanes read the same taps and neighbouring items of the same pixels; nothing is shared, nothing waits.
 * A lane has COUNT channels, which are read and written at once.
 *
 * Tasks run through the channels in chunks, and through all RoIs for each. */
#include "apply/axis_halves.cuh"
#include "lanes/pack.cuh"

/* One chain along a row of pixels, some of which are read together. */
template <int TOGETHER>
INLINE void along(const Tap *columns, int taps, const STORED *__restrict__ source, INDEX step, REAL *line) {
#pragma unroll TOGETHER
    for (int j = 0; j < taps; j++) {
        const Pack<STORED, COUNT> pixel =
            *reinterpret_cast<const Pack<STORED, COUNT> *>(source + step * columns[j].at);
#pragma unroll
        for (int v = 0; v < COUNT; v++)
            line[v] = madd(columns[j].weight, real_of(pixel.item[v]), line[v]);
    }
}

/* of four floats a lane the registers of one block more would spill */
KERNEL __launch_bounds__(32 * WARPS, sizeof(INDEX) > 4              ? 2
                                     : COUNT * sizeof(STORED) == 16 ? 3
                                                                    : 4)
    axis_forward_pixels(VIEW(const STORED, features), VIEW(RESULT, out), const Axes axes, int channels) {
    const int64 *__restrict__ image = axes.rois.image;
    const int *__restrict__ y_start = axes.y.start, *__restrict__ y_count = axes.y.count;
    const int *__restrict__ x_start = axes.x.start, *__restrict__ x_count = axes.x.count;
    const REAL *__restrict__ y_taps = axes.y.taps, *__restrict__ x_taps = axes.x.taps;
    const int64 rois = axes.rois.count;
    const int y_bins = axes.rois.rows, x_bins = axes.rois.columns;
    typedef Pack<RESULT, COUNT> Target;
    const int lane = threadIdx.x & 31;
    const int64 chunks = (channels - 1) / (32 * COUNT) + 1, tasks = chunks * rois * y_bins * x_bins;
    for (int64 task = (blockIdx.x * (32LL * WARPS) + threadIdx.x) >> 5; task < tasks;
         task += gridDim.x * (int64)WARPS) {
        const int q = (int)(task % x_bins), p = (int)(task / x_bins % y_bins);
        const int64 of_roi = task / x_bins / y_bins, k = of_roi % rois, n = image[k];
        const int c = (int)(of_roi / rois * 32 + lane) * COUNT;
        if (c >= channels || n == ELSEWHERE)
            continue;
        REAL sum[COUNT];
#pragma unroll
        for (int v = 0; v < COUNT; v++)
            sum[v] = n == INVALID ? not_a_number() : 0;
        if (n >= 0) {
            const Tap *row = taps_at(y_taps, begin_of(k, axes.y)) + y_start[k * y_bins + p];
            const Tap *columns = taps_at(x_taps, begin_of(k, axes.x)) + x_start[k * x_bins + q];
            const int count = x_count[k * x_bins + q];
            const int rows = y_count[k * y_bins + p];
            if (!IN_PIECES(max(rows, count))) {
                for (int i = rows; i > 0; i--, row++) {
                    const STORED *source = features + AT(features, n, c, row->at, 0);
                    REAL line[COUNT];
#pragma unroll
                    for (int v = 0; v < COUNT; v++)
                        line[v] = 0;
                    along<4>(columns, count, source, (INDEX)features_step.x, line);
#pragma unroll
                    for (int v = 0; v < COUNT; v++)
                        sum[v] = madd(row->weight, line[v], sum[v]);
                }
            } else { /* a long sum is one of pieces: those of a row, with its weight */
                REAL lost[COUNT];
#pragma unroll
                for (int v = 0; v < COUNT; v++)
                    lost[v] = NOTHING_LOST;
                for (int i = rows; i > 0; i--, row++) {
                    const STORED *source = features + AT(features, n, c, row->at, 0);
                    for (int j = 0; j < count; j += PIECE) {
                        REAL line[COUNT];
#pragma unroll
                        for (int v = 0; v < COUNT; v++)
                            line[v] = 0;
                        along<2>(columns + j, min(count - j, PIECE), source, (INDEX)features_step.x, line);
#pragma unroll
                        for (int v = 0; v < COUNT; v++)
                            join(row->weight * line[v], sum[v], lost[v]);
                    }
                }
#pragma unroll
                for (int v = 0; v < COUNT; v++)
                    sum[v] = restored(sum[v], lost[v]);
            }
        }
        Target bin;
        REAL probe = 0;
#pragma unroll
        for (int v = 0; v < COUNT; v++) {
            bin.item[v] = rounded_to<RESULT>(sum[v]);
            probe_for_overflow(sum[v], probe);
        }
        RESULT *target = out + AT(out, k, c, p, q);
        *reinterpret_cast<Target *>(target) = bin;
        if (probe != 0 && n >= 0) {
            const Tap *row = taps_at(y_taps, begin_of(k, axes.y)) + y_start[k * y_bins + p];
            const Tap *columns = taps_at(x_taps, begin_of(k, axes.x)) + x_start[k * x_bins + q];
#pragma unroll 1
            for (int v = 0; v < COUNT; v++)
                if (overflowed(real_of(target[v])))
                    overflow_store(half_of_axes(row, y_count[k * y_bins + p], columns,
                                                x_count[k * x_bins + q],
                                                features + AT(features, n, c + v, 0, 0),
                                                (INDEX)features_step.y, (INDEX)features_step.x),
                                   target + v);
        }
    }
}
