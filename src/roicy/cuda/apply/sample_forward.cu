/* Sample tables applied to feature maps: the average of the samples of each bin.
 *
 * A block takes a RoI, some of its bins and some channels. Its threads compute the samples once, a stage at a
 * time, and apply them to all of the channels:
 *
 *     box ──▶ stage: samples of bins (pixel, 4 weights) ──▶ sums of a bin, or of RUN of its samples ──▶ bins
 *
 * LANES neighbouring lanes share a bin, so that a warp reads pixels close together; each has GROUP channels. With
 * ACROSS, for maps that lie pixel by pixel, a warp has a bin, and each lane reads and writes ACROSS channels (two or
 * four) at once. Both sum in the same order: first each LANES-th sample separately.
 *
 * Tasks are ordered by parts of the channels, and by RoI within a part, so the planes in use stay in the L2 cache. If
 * a task's results are not finite, it is computed again by a slow and safe loop.
 */
#include "apply/sample_stage.cuh"
#include "lanes/overflow.cuh"
#include "lanes/pack.cuh"

#define RUN 32  /* samples that are summed at a time */
#define SUMS 16 /* runs of bins with more than one, in a stage */
#define LANES 4
#define AT_ONCE ((int)(32 / sizeof(REAL)) / (ACROSS > 2 ? ACROSS : 2)) /* whose pixels are read at once */
#define GROUP 4                                                        /* channels of a lane */
/* blocks of a multiprocessor */
constexpr bool LEAN = sizeof(STORED) > 1 && sizeof(REAL) + sizeof(BOX) + sizeof(INDEX) == 12;
constexpr int RESIDENT = __CUDA_ARCH__ >= 750 && LEAN ? 3 : 2;

/* Channels of a lane at once, lanes along the channels; of a block at the most. */
enum { SEVERAL = ACROSS > 1 ? ACROSS : 1, MOST = ACROSS == 4 ? 2 * PART : PART };

struct alignas(16) Corners {
    /* the pixel above and left of a sample, as an offset from the plane's first, and the steps from it to its
     * neighbours; where the map ends they are 0, and all are for a sample that misses it */
    INDEX pixel, right, down, hit;
};

struct alignas(16) Weights {
    REAL upper_left, upper_right, lower_left, lower_right;
};

struct Block {
    RotatedBox box;
    Lists lists;
    Corners corners[STAGE];
    Weights weights[STAGE];
    REAL sums[SUMS][MOST];
    REAL lost[MOST];
    union { /* of a bin that comes in pieces: the sum, which lost so much, or half of it in the second turn */
        REAL total[MOST];
        double half[MOST];
    };
    bool infinite, second; /* a result of the task is not finite; it is in its second turn for that */
};

INLINE REAL sampled(const STORED *__restrict__ pixel, const Corners &at, const Weights &weights, REAL sum) {
    sum = madd(weights.upper_left, real_of(pixel[0]), sum);
    sum = madd(weights.upper_right, real_of(pixel[at.right]), sum);
    sum = madd(weights.lower_left, real_of(pixel[at.down]), sum);
    return madd(weights.lower_right, real_of(pixel[at.down + at.right]), sum);
}

struct Several {
    REAL of[SEVERAL];
};

INLINE Several several_at(const STORED *__restrict__ pixel) {
    const Pack<STORED, SEVERAL> pack = *reinterpret_cast<const Pack<STORED, SEVERAL> *>(pixel);
    Several several;
#pragma unroll
    for (int v = 0; v < SEVERAL; v++)
        several.of[v] = real_of(pack.item[v]);
    return several;
}

struct Square {
    /* the pixels around a sample */
    Several upper_left, upper_right, lower_left, lower_right;
};

INLINE Square square_at(const STORED *__restrict__ plane, const Corners &at) {
    const STORED *upper = plane + at.pixel, *lower = upper + at.down;
    return {several_at(upper), several_at(upper + at.right), several_at(lower), several_at(lower + at.right)};
}

INLINE void madd(REAL weight, const Several &value, Several &sum) {
#pragma unroll
    for (int v = 0; v < SEVERAL; v++)
        sum.of[v] = madd(weight, value.of[v], sum.of[v]);
}

INLINE void madd(const Weights &weights, const Square &square, Several &sum) {
    madd(weights.upper_left, square.upper_left, sum);
    madd(weights.upper_right, square.upper_right, sum);
    madd(weights.lower_left, square.lower_left, sum);
    madd(weights.lower_right, square.lower_right, sum);
}

/* Channels of the map; bins and channels of a task, of these at most MOST; in how many groups that divides the
 * bins of a RoI. */
struct Division {
    int64 tasks, groups;
    int channels, bins_at_once, channels_at_once;
    int packed; /* whether the channels of a lane can be written at once */
};

KERNEL __launch_bounds__(THREADS, RESIDENT) sample_forward(VIEW(const STORED, features), VIEW(RESULT, out),
                                                           const Rotated rotated, const Division division) {
    const BOX *__restrict__ boxes = rotated.boxes;
    const int64 *__restrict__ image = rotated.rois.image;
    const int *__restrict__ window = rotated.rois.window;
    const int64 rois = rotated.rois.count;
    const int height = rotated.rois.map_height, width = rotated.rois.map_width;
    const int given_top = rotated.rois.top, given_left = rotated.rois.left;
    const int bins_y = rotated.rois.rows, bins_x = rotated.rois.columns;
    const int channels = division.channels, bins_at_once = division.bins_at_once,
              channels_at_once = division.channels_at_once;
    __shared__ Block block;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int64 bins = (int64)bins_y * bins_x, groups = division.groups;
    if (threadIdx.x == 0)
        block.infinite = false;
    __syncthreads();
    for (int64 task = blockIdx.x; task < division.tasks;
         task += MAY_OVERFLOW && block.infinite ? 0 : gridDim.x) {
        const int64 k = task / groups % rois, n = image[k];
        if (n == ELSEWHERE)
            continue;
        const int first = (int)(task % groups * bins_at_once),
                  c = (int)(task / groups / rois) * channels_at_once;
        const int last = (int)min(bins, (int64)first + bins_at_once),
                  live = min(channels_at_once, channels - c);
        const Window w = window_at(window, k);
        RESULT *target = out + AT(out, k, c, 0, 0);
        if (n < 0 || w.bottom == w.top) {
            for (int i = threadIdx.x; i < (last - first) * live; i += THREADS) {
                const int bin = first + (ACROSS ? i / live : i % (last - first));
                const int v = ACROSS ? i % live : i / (last - first);
                target[AT(out, 0, v, bin / bins_x, bin % bins_x)] =
                    rounded_to<RESULT>(n == INVALID ? not_a_number() : 0);
            }
            continue;
        }
        if (threadIdx.x < BOX_NUMBERS)
            reinterpret_cast<BOX *>(&block.box)[threadIdx.x] = boxes[k * BOX_NUMBERS + threadIdx.x];
        __syncthreads();
        if (threadIdx.x == 0) { /* all have seen whether it is the second turn */
            block.second = block.infinite;
            block.infinite = false;
        }
        const STORED *plane = features + AT(features, n, c, 0, 0);
        const Bins of = bins_of(rotated, k);
        auto put = [&](int slot, int bin, const Samples1D &row, const Samples1D &column) {
            const Landed at = landed(&block.box, row_turned(&block.box, row.position),
                                     column_turned(&block.box, column.position), height, width);
            Corners corners = {0, 0, 0, 0};
            if (at.hit) {
                const Between &y = at.y, &x = at.x;
                const REAL weight = row.run * column.run * factor_of(of, bin), right = (REAL)x.part;
                const REAL lower = weight * (REAL)y.part, upper = weight - lower;
                corners = {(INDEX)features_step.y * (y.low - given_top) +
                               (INDEX)features_step.x * (x.low - given_left),
                           x.last ? 0 : (INDEX)features_step.x, y.last ? 0 : (INDEX)features_step.y, 1};
                block.weights[slot] = {upper - upper * right, upper * right, lower - lower * right,
                                       lower * right};
            }
            block.corners[slot] = corners;
        };

        auto apply = [&](int bin, int count, int samples, bool begins, bool ends) {
            const int runs = max(1, (samples + RUN - 1) / RUN), sums = count * runs;
            const bool whole = runs == 1 && begins && ends;
            const int length = runs == 1 ? samples : RUN;
            if (ACROSS) {
                const int v = SEVERAL * lane;
#pragma unroll 1
                for (int run = v < live ? warp : sums; run < sums; run += THREADS / 32) {
                    const int begin = run / runs * samples + run % runs * RUN;
                    const int end = min(begin + length, (run / runs + 1) * samples);
                    const STORED *here = plane + (INDEX)features_step.c * v;
                    Several each[LANES];
#pragma unroll
                    for (int i = 0; i < LANES; i++)
#pragma unroll
                        for (int w = 0; w < SEVERAL; w++)
                            each[i].of[w] = 0;
                    int slot = begin;
#pragma unroll 1
                    for (; slot + LANES <= end; slot += LANES) {
                        Square square[AT_ONCE]; /* issue all loads before the first result is used */
#pragma unroll
                        for (int i = 0; i < LANES; i++) {
                            if (i % AT_ONCE == 0) {
#pragma unroll
                                for (int j = 0; j < AT_ONCE; j++)
                                    square[j] = square_at(here, block.corners[slot + i + j]);
                            }
                            if (block.corners[slot + i].hit)
                                madd(block.weights[slot + i], square[i % AT_ONCE], each[i]);
                        }
                    }
#pragma unroll
                    for (int i = 0; i < LANES - 1; i++)
                        if (slot + i < end && block.corners[slot + i].hit)
                            madd(block.weights[slot + i], square_at(here, block.corners[slot + i]), each[i]);
                    Pack<RESULT, SEVERAL> pack;
                    RESULT *to = target + AT(out, 0, v, (bin + run) / bins_x, (bin + run) % bins_x);
                    REAL probe = 0;
#pragma unroll
                    for (int w = 0; w < SEVERAL; w++) {
                        const REAL sum = (each[0].of[w] + each[1].of[w]) + (each[2].of[w] + each[3].of[w]);
                        if (whole) {
                            probe_for_overflow(sum, probe);
                            pack.item[w] = rounded_to<RESULT>(sum);
                            if (!division.packed)
                                to[(INDEX)out_step.c * w] = pack.item[w];
                        } else
                            block.sums[run][v + w] = sum;
                    }
                    if (whole && division.packed)
                        *reinterpret_cast<Pack<RESULT, SEVERAL> *>(to) = pack;
                    if (probe != 0)
                        block.infinite = true;
                }
            } else {
                const int lanes = length > 2 ? LANES : max(length, 1), of_run = lane & (lanes - 1);
                const int units = sums * ((live - 1) / GROUP + 1);
#pragma unroll 1
                for (int first_unit = (threadIdx.x & ~31) / lanes; first_unit < units;
                     first_unit += THREADS / lanes) {
                    const int unit = first_unit + lane / lanes, run = unit % sums, v = unit / sums * GROUP;
                    const int begin = run / runs * samples + run % runs * RUN;
                    const int end = unit < units ? min(begin + length, (run / runs + 1) * samples) : 0;
                    INDEX step[GROUP]; /* beyond the last channel that one again */
                    REAL sum[GROUP];
#pragma unroll
                    for (int i = 0; i < GROUP; i++) {
                        step[i] = (INDEX)features_step.c * min(v + i, live - 1);
                        sum[i] = 0;
                    }
#pragma unroll 1
                    for (int slot = begin + of_run; slot < end; slot += lanes) {
                        const Corners at = block.corners[slot];
                        if (!at.hit)
                            continue;
                        const Weights weights = block.weights[slot];
#pragma unroll
                        for (int i = 0; i < GROUP; i++)
                            sum[i] = sampled(plane + at.pixel + step[i], at, weights, sum[i]);
                    }
#pragma unroll 1
                    for (int other = 1; other < lanes; other *= 2)
#pragma unroll
                        for (int i = 0; i < GROUP; i++)
                            sum[i] += __shfl_xor_sync(~0u, sum[i], other);
                    if (unit >= units)
                        continue;
                    RESULT *to = target + AT(out, 0, v, (bin + run) / bins_x, (bin + run) % bins_x);
                    REAL probe = 0;
#pragma unroll
                    for (int i = 0; i < GROUP; i++) {
                        probe_for_overflow(sum[i], probe);
                        if ((i & (lanes - 1)) != of_run || v + i >= live)
                            continue;
                        if (whole)
                            to[(INDEX)out_step.c * i] = rounded_to<RESULT>(sum[i]);
                        else
                            block.sums[run][v + i] = sum[i];
                    }
                    if (probe != 0)
                        block.infinite = true;
                }
            }
            if (whole)
                return;
            __syncthreads();
            for (int i = threadIdx.x; i < count * live; i += THREADS) {
                const int b = i / live, v = i % live;
                REAL sum = 0;
                for (int run = 0; run < runs; run++)
                    sum += block.sums[b * runs + run][v];
                if (begins && !ends) {
                    block.total[v] = sum;
                    block.lost[v] = NOTHING_LOST;
                } else if (!begins) {
                    join(sum, block.total[v], block.lost[v]);
                    sum = restored(block.total[v], block.lost[v]);
                }
                if (ends) {
                    target[AT(out, 0, v, (bin + b) / bins_x, (bin + b) % bins_x)] = rounded_to<RESULT>(sum);
                    if (overflowed(sum))
                        block.infinite = true;
                }
            }
        };

        /* Second try, by halves: a thread takes a bin and a channel. */
        auto apply_halves = [&](int bin, int count, int samples, bool begins, bool ends) {
#pragma unroll 1
            for (int i = threadIdx.x; i < count * live; i += THREADS) {
                const int b = i / live, v = i % live;
                RESULT *to = target + AT(out, 0, v, (bin + b) / bins_x, (bin + b) % bins_x);
                if (!overflowed(real_of(*to)))
                    continue;
                double half = begins ? 0 : block.half[v];
#pragma unroll 1
                for (int slot = b * samples; slot < (b + 1) * samples; slot++) {
                    const Corners at = block.corners[slot];
                    if (!at.hit)
                        continue;
                    const Weights weights = block.weights[slot];
                    const STORED *pixel = plane + at.pixel + (INDEX)features_step.c * v;
                    overflow_add(half, weights.upper_left, pixel[0]);
                    overflow_add(half, weights.upper_right, pixel[at.right]);
                    overflow_add(half, weights.lower_left, pixel[at.down]);
                    overflow_add(half, weights.lower_right, pixel[at.down + at.right]);
                }
                if (ends)
                    overflow_store(half, to);
                else
                    block.half[v] = half;
            }
        };

        stages(block.box, of, first, last, block.lists, put,
               [&](int bin, int count, int samples, bool begins, bool ends) {
                   if (MAY_OVERFLOW && block.second)
                       apply_halves(bin, count, samples, begins, ends);
                   else
                       apply(bin, count, samples, begins, ends);
               });
    }
}
