/* The gradient with respect to rotated boxes, and (deformable pooling) to the offset and mask of each bin: the slope
 * of the value at a sample, times how the sample moves with the box's centre, width, height or angle.
 *
 * A block takes a RoI, some of its bins and some channels. Its threads compute the samples a stage at a time
 * and sum what their values gain over the channels:
 *
 *     (sample, channel) ──▶ rises: 4 channels and those 32 further ──▶ sample ──▶ thread ──▶ box
 *
 * Lanes lie along the samples; with ACROSS, for maps that lie pixel by pixel, along the channels. The order of the
 * sums is the same. Sums over channels are added in double precision. How bins and channels are divided depends only
 * on their numbers.
 *
 * If each bin has its own gradient, a thread sums the samples of a bin. For the mask, the value of a sample is summed
 * instead of its slope. */
#include "apply/sample_stage.cuh"

#define NUMBERS 5             /* cx, cy, w, h, angle */
#define GROUPS (THREADS / 32) /* parts of the sum over channels */
#define AT_ONCE 128           /* samples of which these parts are kept */

constexpr int RESIDENT = 2; /* blocks of a multiprocessor */

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

struct alignas(2 * sizeof(REAL)) Rise {
    REAL y, x;
};

struct Block {
    RotatedBox box;
    Lists lists;
    Corners corners[STAGE];
    Slope slopes[STAGE];
    Rise rises[GROUPS][AT_ONCE];
    double warps[NUMBERS][THREADS / 32];
};

/* Adds what a channel's value gains at a sample as that moves down and to the right, times the gradient. */
INLINE void add_channel(Rise &rise, const STORED *__restrict__ pixel, RESULT gradient, const Corners &at,
                        const Slope &slope) {
    const REAL upper_left = real_of(pixel[0]), upper_right = real_of(pixel[at.right]);
    const REAL lower_left = real_of(pixel[at.down]), lower_right = real_of(pixel[at.down + at.right]);
    const REAL left = lower_left - upper_left, right = lower_right - upper_right;
    const REAL upper = upper_right - upper_left, lower = lower_right - lower_left;
    rise.y = madd(real_of(gradient), madd(slope.right, right - left, left), rise.y);
    rise.x = madd(real_of(gradient), madd(slope.lower, lower - upper, upper), rise.x);
}

/* Adds a channel's value at a sample, times the gradient. */
INLINE void add_value(Rise &rise, const STORED *__restrict__ pixel, RESULT gradient, const Corners &at,
                      const Slope &slope) {
    const REAL left = 1 - slope.right, upper = 1 - slope.lower;
    REAL value = upper * left * real_of(pixel[0]);
    value = madd(upper * slope.right, real_of(pixel[at.right]), value);
    value = madd(slope.lower * left, real_of(pixel[at.down]), value);
    value = madd(slope.lower * slope.right, real_of(pixel[at.down + at.right]), value);
    rise.y = madd(real_of(gradient), value, rise.y);
}

INLINE Rise operator+(Rise a, Rise b) { return {a.y + b.y, a.x + b.x}; }

/* What a unit of the box and of its angle is, and partial[part][k] = what the part's bins and channels add to
 * the gradient of box k. Where each bin has gradients, OFFSETS along x and y or that of the MASK, `unit` is by
 * what part of the box an offset of 1 moves it, and partial[part][k][gradient][bin] what channels add. */
enum { BOXES, MASK, OFFSETS };

struct Slopes {
    double unit, angle_unit;
    double *partial;
    int channels, of;
};

/* Writes the gradients of a bin, from its sums along y (or of values) and along x. */
INLINE void put_bin(const Slopes &slopes, const RotatedBox &box, const Bins &of, double y, double x,
                    double *target) {
    const int64 bins = of.rows() * (int64)of.columns();
    if (slopes.of == MASK) {
        target[0] = y;
        return;
    }
    target[0] = x == 0 ? 0 : x * slopes.unit * box.bin_x * of.columns();
    target[bins] = y == 0 ? 0 : y * slopes.unit * box.bin_y * of.rows();
}

KERNEL __launch_bounds__(THREADS, RESIDENT)
    sample_backward_rois(VIEW(const RESULT, grad), VIEW(const STORED, features), const Rotated rotated,
                         const Slopes slopes) {
    const BOX *__restrict__ boxes = rotated.boxes;
    const int64 *__restrict__ image = rotated.rois.image;
    const int *__restrict__ window = rotated.rois.window;
    const int64 rois = rotated.rois.count;
    const int height = rotated.rois.map_height, width = rotated.rois.map_width;
    const int given_top = rotated.rois.top, given_left = rotated.rois.left;
    const int bins_y = rotated.rois.rows, bins_x = rotated.rois.columns, channels = slopes.channels;
    __shared__ Block block;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int64 bins = (int64)bins_y * bins_x, groups = (bins - 1) / BINS + 1;
    const int64 parts = (channels - 1) / PART + 1;
    for (int64 task = blockIdx.x; task < parts * groups * rois; task += gridDim.x) {
        const int64 k = task % rois, group = task / rois % groups, n = image[k];
        const int first = (int)(group * BINS), c = (int)(task / rois / groups) * PART;
        const int last = (int)min(bins, (int64)first + BINS), live = min(PART, channels - c);
        const Window w = window_at(window, k);
        double *of_bins = slopes.partial + ((task / rois / groups * rois + k) * slopes.of) * bins;
        double cx = 0, cy = 0, along_x = 0, along_y = 0, angle = 0;
        if (n >= 0 && w.bottom > w.top) {
            if (threadIdx.x < BOX_NUMBERS)
                reinterpret_cast<BOX *>(&block.box)[threadIdx.x] = boxes[k * BOX_NUMBERS + threadIdx.x];
            __syncthreads();
            const STORED *plane = features + AT(features, n, c, 0, 0);
            const RESULT *source = grad + AT(grad, k, c, 0, 0);
            const Bins of = bins_of(rotated, k);

            auto put = [&](int slot, int bin, const Samples1D &row, const Samples1D &column) {
                const RotatedBox &box = block.box;
                const Landed at = landed(&box, row_turned(&box, row.position),
                                         column_turned(&box, column.position), height, width);
                Slope slope = {-1, 0, 0, 0, 0, 0, 0, 0};
                if (at.hit) {
                    const Between &y = at.y, &x = at.x;
                    REAL weight = row.run * column.run;
                    if (slopes.of == OFFSETS)
                        weight *= factor_of(of, bin);
                    block.corners[slot] = {(INDEX)features_step.y * (y.low - given_top) +
                                               (INDEX)features_step.x * (x.low - given_left),
                                           x.last ? 0 : (INDEX)features_step.x,
                                           y.last ? 0 : (INDEX)features_step.y,
                                           AT(grad, 0, 0, bin / bins_x, bin % bins_x)};
                    slope = {(REAL)y.part,
                             (REAL)x.part,
                             y.flat && slopes.of != MASK ? 0 : weight,
                             x.flat ? 0 : weight,
                             row.share,
                             column.share,
                             -((REAL)row.position * (REAL)box.sin + (REAL)column.position * (REAL)box.cos),
                             (REAL)row.position * (REAL)box.cos - (REAL)column.position * (REAL)box.sin};
                }
                block.slopes[slot] = slope;
            };

            auto apply = [&](int bin, int count, int samples, bool begins, bool ends) {
                if (slopes.of && begins)
                    cx = cy = 0;
                const int slots = count * samples, own = threadIdx.x; /* sample of the thread, then its bin */
                for (int begin = 0; begin < slots; begin += AT_ONCE) {
                    const int listed = min(AT_ONCE, slots - begin);
                    for (int i = ACROSS ? warp : lane; i < listed; i += ACROSS ? GROUPS : 32) {
                        const Slope slope = block.slopes[begin + i];
                        if (slope.lower < 0)
                            continue;
                        const Corners at = block.corners[begin + i];
                        const STORED *pixel = plane + at.pixel;
                        const RESULT *gradient = source + at.bin;
                        Rise rises[ACROSS ? 1 : 4];
#pragma unroll
                        for (int j = 0; j < (ACROSS ? 1 : 4); j++) {
                            rises[j] = {0, 0};
#pragma unroll 1
                            for (int v = ACROSS ? lane : 4 * warp + j; v < live; v += 32) {
                                const STORED *here = pixel + (INDEX)features_step.c * v;
                                if (slopes.of == MASK)
                                    add_value(rises[j], here, gradient[(INDEX)grad_step.c * v], at, slope);
                                else
                                    add_channel(rises[j], here, gradient[(INDEX)grad_step.c * v], at, slope);
                            }
                        }
                        if (ACROSS) {
                            for (int other = 1; other < 4; other *= 2)
                                rises[0] = rises[0] + Rise{__shfl_xor_sync(~0u, rises[0].y, other),
                                                           __shfl_xor_sync(~0u, rises[0].x, other)};
                            if ((lane & 3) == 0)
                                block.rises[lane >> 2][i] = rises[0];
                        } else {
                            block.rises[warp][i] = (rises[0] + rises[ACROSS ? 0 : 1]) +
                                                   (rises[ACROSS ? 0 : 2] + rises[ACROSS ? 0 : 3]);
                        }
                    }
                    __syncthreads();
                    Rise moved = {0, 0};
                    if (own < listed && block.slopes[begin + own].lower >= 0) {
                        const Slope slope = block.slopes[begin + own];
                        const Rise(*rises)[AT_ONCE] = block.rises;
                        const Rise rise =
                            ((rises[0][own] + rises[1][own]) + (rises[2][own] + rises[3][own])) +
                            ((rises[4][own] + rises[5][own]) + (rises[6][own] + rises[7][own]));
                        const REAL y = rise.y * slope.weight_y, x = rise.x * slope.weight_x;
                        moved = {y, x};
                        if (slopes.of == BOXES) {
                            const REAL s = (REAL)block.box.sin, t = (REAL)block.box.cos;
                            cx += x;
                            cy += y;
                            along_x += slope.share_x * (x * t - y * s);
                            along_y += slope.share_y * (x * s + y * t);
                            angle += x * slope.turn_x + y * slope.turn_y;
                        }
                    }
                    if (slopes.of && own < listed)
                        block.rises[0][own] = moved;
                    __syncthreads();
                    if (slopes.of == BOXES)
                        continue;
                    const int end = own < count ? min(listed, (own + 1) * samples - begin) : 0;
                    for (int j = max(0, own * samples - begin); j < end; j++) { /* of the thread's bin */
                        cy += block.rises[0][j].y;
                        cx += block.rises[0][j].x;
                    }
                    __syncthreads();
                }
                if (slopes.of && ends && own < count)
                    put_bin(slopes, block.box, of, cy, cx, of_bins + bin + own);
            };

            stages(block.box, of, first, last, block.lists, put, apply);
            const int grown = (int)block.box.grown;
            along_y = grown & 1 ? 0 : along_y;
            along_x = grown & 2 ? 0 : along_x;
        } else {
            for (int i = threadIdx.x; i < slopes.of * (last - first); i += THREADS)
                of_bins[i / (last - first) * bins + first + i % (last - first)] = 0;
        }
        if (slopes.of)
            continue;
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
            slopes.partial[task * NUMBERS + threadIdx.x] =
                sum * (threadIdx.x < 4 ? slopes.unit : slopes.angle_unit);
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
