/* Weighted sums over lists of pixels.
 *
 * A sum is four chains of multiply-adds, each over every fourth tap. With more than GATHER_PIECE taps it is a sum
 * of pieces (`long_sums.h`). The order is the same however many vectors are summed side by side, so blocking does
 * not change the bits. */
#ifndef ROICY_GATHERING_H
#define ROICY_GATHERING_H

#include "elements.h"
#include "piles.h"

enum { GATHER_PIECE = 160 }; /* taps that are summed at a time, a multiple of four */

/* The taps of bins that follow each other: pixels, as offsets from the first one of the window, and weights. */
typedef struct {
    const int32_t *offset;
    const real *weight;
    const int32_t *count; /* of each bin */
    int bins;
} bin_taps;

ROICY_INLINE void sum_chains(lanes chain[4][DEPTH], lanes *target, ptrdiff_t block, const int depth) {
    for (int v = 0; v < depth; v++)
        target[v * block] =
            lanes_madd(1, lanes_madd(1, chain[3][v], chain[2][v]), lanes_madd(1, chain[1][v], chain[0][v]));
}

ROICY_INLINE void gather_taps_as(const lanes *pixels, const int32_t *offset, const real *weight, int taps,
                                 lanes *target, ptrdiff_t block, const int depth) {
    lanes chain[4][DEPTH];
    int t = 0;
    for (int i = 0; i < 4; i++)
        for (int v = 0; v < depth; v++)
            chain[i][v] = lanes_zero();
    for (; t + 4 <= taps; t += 4)
        for (int i = 0; i < 4; i++) {
            const lanes *pixel = pixels + (ptrdiff_t)offset[t + i] * depth;
            for (int v = 0; v < depth; v++)
                chain[i][v] = lanes_madd(weight[t + i], pixel[v], chain[i][v]);
        }
    for (int i = 0; i < 3 && t < taps; i++, t++) {
        const lanes *pixel = pixels + (ptrdiff_t)offset[t] * depth;
        for (int v = 0; v < depth; v++)
            chain[i][v] = lanes_madd(weight[t], pixel[v], chain[i][v]);
    }
    sum_chains(chain, target, block, depth);
}

/* The same for any number of taps. */
ROICY_NOINLINE void gather_long(const lanes *pixels, const int32_t *offset, const real *weight, int taps,
                                lanes *target, ptrdiff_t block, int depth) {
    lanes sum[DEPTH], lost[DEPTH], piece[DEPTH];
    for (int v = 0; v < depth; v++)
        sum[v] = lost[v] = lanes_zero();
    for (int t = 0; t < taps; t += GATHER_PIECE) {
        const int some = taps - t < GATHER_PIECE ? taps - t : GATHER_PIECE;
        if (depth == DEPTH)
            gather_taps_as(pixels, offset + t, weight + t, some, piece, 1, DEPTH);
        else
            gather_taps_as(pixels, offset + t, weight + t, some, piece, 1, 1);
        for (int v = 0; v < depth; v++)
            sum[v] = lanes_join(piece[v], sum[v], lost + v);
    }
    for (int v = 0; v < depth; v++)
        target[v * block] = lanes_restore(sum[v], lost[v]);
}

/* target[v * block + i] = sum over the taps of bin i of weight * pixels[offset * depth + v]; returns how many
 * taps there are. `depth` is DEPTH or 1. */
ROICY_NOINLINE ptrdiff_t pass_gather(const lanes *pixels, const bin_taps *bins, int depth, lanes *target,
                                     ptrdiff_t block) {
    const int32_t *offset = bins->offset, *const taps = bins->count;
    const real *weight = bins->weight;
    const int many = bins->bins;
    for (int i = 0; i < many; i++) {
        if (taps[i] > GATHER_PIECE)
            gather_long(pixels, offset, weight, taps[i], target + i, block, depth);
        else if (depth == DEPTH)
            gather_taps_as(pixels, offset, weight, taps[i], target + i, block, DEPTH);
        else
            gather_taps_as(pixels, offset, weight, taps[i], target + i, block, 1);
        offset += taps[i];
        weight += taps[i];
    }
    return offset - bins->offset;
}

/* The way back: every pixel of a bin's taps receives weight * source. */
ROICY_INLINE void spread_as(lanes *pixels, const int32_t *offset, const real *weight, int taps,
                            const lanes *source, ptrdiff_t block, const int depth) {
    lanes value[DEPTH];
    for (int v = 0; v < depth; v++)
        value[v] = source[v * block];
    for (int t = 0; t < taps; t++) {
        lanes *pixel = pixels + (ptrdiff_t)offset[t] * depth;
        for (int v = 0; v < depth; v++)
            pixel[v] = lanes_madd(weight[t], value[v], pixel[v]);
    }
}

ROICY_NOINLINE void pass_spread(lanes *pixels, const bin_taps *bins, int depth, const lanes *source,
                                ptrdiff_t block) {
    const int32_t *offset = bins->offset, *const taps = bins->count;
    const real *weight = bins->weight;
    const int many = bins->bins;
    for (int i = 0; i < many; i++) {
        if (depth == DEPTH)
            spread_as(pixels, offset, weight, taps[i], source + i, block, DEPTH);
        else
            spread_as(pixels, offset, weight, taps[i], source + i, block, 1);
        offset += taps[i];
        weight += taps[i];
    }
}

/* Offsets [low, high) of a window: some of its rows. */
typedef struct {
    int64_t low, high;
} offset_range;

ROICY_INLINE int is_within(int32_t offset, const offset_range *rows) {
    return offset >= rows->low && offset < rows->high;
}

/* The same for the pixels of some rows alone. */
ROICY_NOINLINE void pass_spread_within(lanes *pixels, const bin_taps *bins, int depth, const lanes *source,
                                       ptrdiff_t block, const offset_range *rows) {
    const int32_t *offset = bins->offset;
    const real *weight = bins->weight;
    const offset_range within = *rows;
    for (int i = 0; i < bins->bins; i++)
        for (int t = 0; t < bins->count[i]; t++, offset++, weight++)
            if (is_within(*offset, &within))
                spread_as(pixels, offset, weight, 1, source + i, block, depth == DEPTH ? DEPTH : 1);
}

/* The same, in pieces. Before a `full` bin, the pieces of its pixels are added to their sums, which lie `apart`
 * vectors further; the rounding errors lie `apart` vectors after the sums. */
ROICY_NOINLINE void pass_spread_piles(lanes *pixels, const bin_taps *bins, int depth, const lanes *source,
                                      ptrdiff_t block, const offset_range *rows, const uint8_t *full,
                                      ptrdiff_t apart) {
    const int32_t *offset = bins->offset;
    const real *weight = bins->weight;
    for (int i = 0; i < bins->bins; i++) {
        for (int t = 0; full[i] && t < bins->count[i]; t++)
            if (is_within(offset[t], rows)) {
                lanes *const pixel = pixels + (ptrdiff_t)offset[t] * depth;
                piles_join(pixel, depth, pixel + apart, pixel + 2 * apart);
            }
        for (int t = 0; t < bins->count[i]; t++, offset++, weight++)
            if (is_within(*offset, rows))
                spread_as(pixels, offset, weight, 1, source + i, block, depth == DEPTH ? DEPTH : 1);
    }
}

enum { MOST_SLOPES = 5 }; /* of a tap */

/* sum[j] = sum over the taps of slope[j] * pixels[offset], for `slopes` slopes of each. */
ROICY_INLINE void slopes_as(const lanes *pixels, const int32_t *offset, const real *slope, int taps,
                            lanes *sum, const int slopes) {
    for (int j = 0; j < slopes; j++)
        sum[j] = lanes_zero();
    for (int t = 0; t < taps; t++, slope += slopes) {
        const lanes pixel = pixels[offset[t]];
        for (int j = 0; j < slopes; j++)
            sum[j] = lanes_madd(slope[j], pixel, sum[j]);
    }
}

ROICY_INLINE void slopes_long_as(const lanes *pixels, const int32_t *offset, const real *slope, int taps,
                                 lanes *sum, const int slopes) {
    lanes piece[MOST_SLOPES], lost[MOST_SLOPES];
    for (int j = 0; j < slopes; j++)
        sum[j] = lost[j] = lanes_zero();
    for (int t = 0; t < taps; t += PIECE) {
        slopes_as(pixels, offset + t, slope + slopes * (ptrdiff_t)t, taps - t < PIECE ? taps - t : PIECE,
                  piece, slopes);
        for (int j = 0; j < slopes; j++)
            sum[j] = lanes_join(piece[j], sum[j], lost + j);
    }
    for (int j = 0; j < slopes; j++)
        sum[j] = lanes_restore(sum[j], lost[j]);
}

ROICY_NOINLINE void slopes_long(const lanes *pixels, const int32_t *offset, const real *slope, int taps,
                                lanes *sum) {
    slopes_long_as(pixels, offset, slope, taps, sum, 5);
}

/* part[j * bins + i] = sum over the lanes of bins[i] * sum over its taps of slope[j] * pixels[offset]. */
ROICY_INLINE void bin_slopes_as(const lanes *pixels, const int32_t *offset, const real *slope,
                                const int32_t *taps, int bins, const lanes *factor, double *part,
                                const int slopes) {
    lanes sum[MOST_SLOPES];
    for (int i = 0; i < bins; i++) {
        if (taps[i] > GATHER_PIECE)
            slopes_long_as(pixels, offset, slope, taps[i], sum, slopes);
        else
            slopes_as(pixels, offset, slope, taps[i], sum, slopes);
        offset += taps[i];
        slope += slopes * (ptrdiff_t)taps[i];
        for (int j = 0; j < slopes; j++)
            part[j * (ptrdiff_t)bins + i] = lanes_sum(lanes_multiply_add(factor[i], sum[j], lanes_zero()));
    }
}

/* The same for two slopes, or for one, which then is the weight. */
ROICY_NOINLINE void pass_gather_bin_slopes(const lanes *pixels, const int32_t *offset, const real *slope,
                                           const int32_t *taps, int bins, const lanes *factor, double *part,
                                           int slopes) {
    if (slopes == 2)
        bin_slopes_as(pixels, offset, slope, taps, bins, factor, part, 2);
    else
        bin_slopes_as(pixels, offset, slope, taps, bins, factor, part, 1);
}

/* total[j] = sum over bins of bins[i] * sum over its taps of slope[j] * pixels[offset], for the five slopes.
 */
ROICY_NOINLINE void pass_gather_slopes(const lanes *pixels, const int32_t *offset, const real *slope,
                                       const int32_t *taps, int bins, const lanes *factor, lanes *total) {
    lanes all[5], lost[5];
    for (int j = 0; j < 5; j++)
        total[j] = lost[j] = lanes_zero();
    for (int begin = 0, end; begin < bins; begin = end) {
        end = bins <= CHAIN || bins - begin <= PIECE ? bins : begin + PIECE;
        for (int j = 0; j < 5; j++)
            all[j] = lanes_zero();
        for (int i = begin; i < end; i++) {
            lanes sum[5];
            if (taps[i] > GATHER_PIECE)
                slopes_long(pixels, offset, slope, taps[i], sum);
            else
                slopes_as(pixels, offset, slope, taps[i], sum, 5);
            offset += taps[i];
            slope += 5 * (ptrdiff_t)taps[i];
            for (int j = 0; j < 5; j++)
                all[j] = lanes_multiply_add(factor[i], sum[j], all[j]);
        }
        for (int j = 0; j < 5; j++)
            total[j] = begin ? lanes_join(all[j], total[j], lost + j) : all[j];
    }
    for (int j = 0; j < 5; j++)
        total[j] = lanes_restore(total[j], lost[j]);
}

/* ---- channels last: pixels where they are in the array, a run of vectors each ---- */

ROICY_INLINE void gather_run_as(const char *pixels, const int64_t *offset, const real *weight, int taps,
                                lanes *target, const int width) {
    lanes chain[4][2];
    int t = 0;
    for (int i = 0; i < 4; i++)
        for (int v = 0; v < width; v++)
            chain[i][v] = lanes_zero();
    for (; t + 4 <= taps; t += 4)
        for (int i = 0; i < 4; i++)
            for (int v = 0; v < width; v++)
                chain[i][v] = lanes_madd(
                    weight[t + i], lanes_load_own(pixels + offset[t + i] + v * (ptrdiff_t)sizeof(lanes)),
                    chain[i][v]);
    for (int i = 0; i < 3 && t < taps; i++, t++)
        for (int v = 0; v < width; v++)
            chain[i][v] = lanes_madd(
                weight[t], lanes_load_own(pixels + offset[t] + v * (ptrdiff_t)sizeof(lanes)), chain[i][v]);
    for (int v = 0; v < width; v++)
        target[v] =
            lanes_madd(1, lanes_madd(1, chain[3][v], chain[2][v]), lanes_madd(1, chain[1][v], chain[0][v]));
}

/* The channels that fill no vector. */
ROICY_INLINE void gather_rest(const char *pixels, const int64_t *offset, const real *weight, int taps,
                              int rest, lanes *target) {
    lanes chain[4];
    for (int i = 0; i < 4; i++)
        chain[i] = lanes_zero();
    for (int t = 0; t < taps; t++)
        chain[t % 4] = lanes_madd(weight[t], lanes_load_part(pixels + offset[t], rest, OWN), chain[t % 4]);
    *target = lanes_madd(1, lanes_madd(1, chain[3], chain[2]), lanes_madd(1, chain[1], chain[0]));
}

ROICY_NOINLINE void gather_runs_long(const char *pixels, const int64_t *offset, const real *weight, int taps,
                                     ptrdiff_t channels, lanes *target) {
    const ptrdiff_t vectors = channels / LANES, size = sizeof(lanes);
    const int rest = (int)(channels % LANES);
    for (ptrdiff_t i = 0; i < vectors + (rest > 0); i++, pixels += size) {
        lanes sum = lanes_zero(), lost = lanes_zero(), piece;
        for (int t = 0; t < taps; t += GATHER_PIECE) {
            const int some = taps - t < GATHER_PIECE ? taps - t : GATHER_PIECE;
            if (i < vectors)
                gather_run_as(pixels, offset + t, weight + t, some, &piece, 1);
            else
                gather_rest(pixels, offset + t, weight + t, some, rest, &piece);
            sum = lanes_join(piece, sum, &lost);
        }
        target[i] = lanes_restore(sum, lost);
    }
}

/* All channels of one bin; `offset` in bytes. The elements are of type real. */
ROICY_NOINLINE void pass_gather_runs(const char *pixels, const int64_t *offset, const real *weight, int taps,
                                     ptrdiff_t channels, lanes *target) {
    const ptrdiff_t vectors = channels / LANES, rest = channels % LANES, size = sizeof(lanes);
    ptrdiff_t v = 0;
    if (taps > GATHER_PIECE) {
        gather_runs_long(pixels, offset, weight, taps, channels, target);
        return;
    }
    for (; v + 2 <= vectors; v += 2)
        gather_run_as(pixels + v * size, offset, weight, taps, target + v, 2);
    if (v < vectors) {
        gather_run_as(pixels + v * size, offset, weight, taps, target + v, 1);
        v++;
    }
    if (rest)
        gather_rest(pixels + v * size, offset, weight, taps, (int)rest, target + v);
}

#endif
