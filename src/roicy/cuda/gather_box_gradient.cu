/* The gradient with respect to rotated boxes: what the value of a sample gains where it moves, times how it
 * moves when the box's centre, width, height or angle grows by one.
 *
 * A block takes a RoI, some of its bins and some channels. Its threads compute the samples a stage at a time
 * and sum over channels, lanes along the samples or, where `across`, along the channels; how a sample moves
 * is the same for all of them. What the threads sum is added up in a fixed order, in double precision. How
 * bins and channels are divided depends on their numbers alone. */
#include "sample_stage.cuh"

#define NUMBERS 5 /* cx, cy, w, h, angle */

constexpr int RESIDENT = sizeof(REAL) + sizeof(BOX) + sizeof(INDEX) == 12 ? 3 : 2; /* blocks of a multiprocessor */

struct alignas(16) Corners {
    /* the pixel above and left of a sample, as an offset from the plane's first, and the steps from it to its
     * neighbours; where the map ends they are 0. The bin, as an offset from the gradient's first. */
    INDEX pixel, right, down, bin;
};

struct alignas(16) Slope {
    /* where between its pixels a sample is, below 0 if it misses the map; what the slopes are weighed with;
     * how far along the box it lies; and how it moves as the box turns */
    REAL lower, right, weight_y, weight_x, share_y, share_x, turn_y, turn_x;
};

struct Block {
    RotatedBox box;
    Lists lists;
    Corners corners[STAGE];
    Slope slopes[STAGE];
    double warps[NUMBERS][THREADS / 32];
};

KERNEL __launch_bounds__(THREADS, RESIDENT)
    backward_rois(VIEW(const RESULT, grad), VIEW(const STORED, features), const BOX *__restrict__ boxes,
                  const int64 *__restrict__ image, const int *__restrict__ window, int64 rois, int channels,
                  int height, int width, int bins_y, int bins_x, int bins_at_once, int channels_at_once,
                  int across, double spatial_scale, double angle_unit, double *__restrict__ partial) {
    __shared__ Block block;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int64 bins = (int64)bins_y * bins_x, groups = (bins - 1) / bins_at_once + 1;
    const int64 parts = (channels - 1) / channels_at_once + 1;
    for (int64 task = blockIdx.x; task < parts * groups * rois; task += gridDim.x) {
        const int64 k = task % rois, group = task / rois % groups, n = image[k];
        const int first = (int)(group * bins_at_once), c = (int)(task / rois / groups) * channels_at_once;
        const int last = (int)min(bins, (int64)first + bins_at_once),
                  live = min(channels_at_once, channels - c);
        const Window w = window_at(window, k);
        double cx = 0, cy = 0, along_x = 0, along_y = 0, angle = 0;
        if (n >= 0 && w.bottom > w.top) {
            if (threadIdx.x < BOX_NUMBERS)
                reinterpret_cast<BOX *>(&block.box)[threadIdx.x] = boxes[k * BOX_NUMBERS + threadIdx.x];
            __syncthreads();
            const STORED *plane = features + AT(features, n, c, 0, 0);
            const RESULT *source = grad + AT(grad, k, c, 0, 0);

            auto put = [&](int slot, int bin, const Line &row, const Line &column) {
                const RotatedBox &box = block.box;
                const Point at = turned(box, row.place, column.place);
                Slope slope = {-1, 0, 0, 0, 0, 0, 0, 0};
                if (hits(at, height, width)) {
                    const Between y = between(at.y, height), x = between(at.x, width);
                    const REAL weight = row.run * column.run;
                    block.corners[slot] = {(INDEX)features_y * y.low + (INDEX)features_x * x.low,
                                           x.last ? 0 : (INDEX)features_x, y.last ? 0 : (INDEX)features_y,
                                           AT(grad, 0, 0, bin / bins_x, bin % bins_x)};
                    slope = {y.part,
                             x.part,
                             y.level ? 0 : weight,
                             x.level ? 0 : weight,
                             row.share,
                             column.share,
                             -((REAL)row.place * (REAL)box.sin + (REAL)column.place * (REAL)box.cos),
                             (REAL)row.place * (REAL)box.cos - (REAL)column.place * (REAL)box.sin};
                }
                block.slopes[slot] = slope;
            };

            auto apply = [&](int, int count, int samples, bool, bool) {
                const int slots = count * samples, turns = (slots + 31) / 32;
                const int spread = across ? 1 : max(1, THREADS / 32 / max(1, turns));
                const int units = across ? slots : turns * spread, step = across ? 32 : spread;
                for (int unit = warp; unit < units; unit += THREADS / 32) {
                    const int slot = across ? unit : unit / spread * 32 + lane;
                    if (slot >= slots)
                        continue;
                    const Slope slope = block.slopes[slot];
                    if (slope.lower < 0)
                        continue;
                    const Corners at = block.corners[slot];
                    REAL rise_y = 0, rise_x = 0;
#pragma unroll 4
                    for (int v = across ? lane : unit % spread; v < live; v += step) {
                        const STORED *pixel = plane + at.pixel + (INDEX)features_c * v;
                        const REAL upper_left = real_of(pixel[0]), upper_right = real_of(pixel[at.right]),
                                   lower_left = real_of(pixel[at.down]),
                                   lower_right = real_of(pixel[at.down + at.right]);
                        const REAL dy = real_of(source[at.bin + (INDEX)grad_c * v]);
                        const REAL left = lower_left - upper_left, right = lower_right - upper_right;
                        const REAL upper = upper_right - upper_left, lower = lower_right - lower_left;
                        rise_y = madd(dy, madd(slope.right, right - left, left), rise_y);
                        rise_x = madd(dy, madd(slope.lower, lower - upper, upper), rise_x);
                    }
                    rise_y *= slope.weight_y;
                    rise_x *= slope.weight_x;
                    const REAL s = (REAL)block.box.sin, t = (REAL)block.box.cos;
                    cx += rise_x;
                    cy += rise_y;
                    along_x += slope.share_x * (rise_x * t - rise_y * s);
                    along_y += slope.share_y * (rise_x * s + rise_y * t);
                    angle += rise_x * slope.turn_x + rise_y * slope.turn_y;
                }
            };

            stages(block.box, first, last, bins_y, bins_x, block.lists, put, apply);
            const int grown = (int)block.box.grown;
            along_y = grown & 1 ? 0 : along_y;
            along_x = grown & 2 ? 0 : along_x;
        }
        double sums[NUMBERS] = {cx, cy, along_x, along_y, angle};
#pragma unroll
        for (int i = 0; i < NUMBERS; i++) {
            for (int step = 16; step > 0; step /= 2)
                sums[i] += __shfl_down_sync(~0u, sums[i], step);
            if (lane == 0)
                block.warps[i][warp] = sums[i];
        }
        __syncthreads();
        if (threadIdx.x < NUMBERS) {
            double sum = 0;
            for (int i = 0; i < THREADS / 32; i++)
                sum += block.warps[threadIdx.x][i];
            partial[task * NUMBERS + threadIdx.x] = sum * (threadIdx.x < 4 ? spatial_scale : angle_unit);
        }
        __syncthreads();
    }
}

/* sums[i] = the parts' numbers i, added in the order of the parts. */
KERNEL __launch_bounds__(THREADS)
    add_parts(const double *__restrict__ partial, int64 numbers, int64 parts, double *__restrict__ sums) {
    for (int64 i = blockIdx.x * (int64)THREADS + threadIdx.x; i < numbers; i += gridDim.x * (int64)THREADS) {
        double sum = 0;
        for (int64 part = 0; part < parts; part++)
            sum += partial[part * numbers + i];
        sums[i] = sum;
    }
}
