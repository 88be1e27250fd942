/* The two inner loops, row pass and column pass: weighted sums of a few vectors, many sums at a time in registers.
 *
 * A result is one chain: first a product, then multiply-adds in the order of the taps. With more than PIECE taps
 * it is a sum of chains (`long_sums.h`). The order is the same however many results are computed together, so
 * blocking does not change the bits.
 */
#ifndef ROICY_PASSES_H
#define ROICY_PASSES_H

#include "long_sums.h"

enum { GROUP = 8 }; /* rows that the column pass takes at once, at the most */

/* The taps of one sum: numbers of rows or of pixels, and their weights. */
typedef struct {
    const int32_t *position;
    const real *weight;
    int count;
} tap_list;

/* The taps of many sums: the i-th one has `count[i]` of them from `start[i]` on. */
typedef struct {
    const int64_t *start;
    const int32_t *count, *position;
    const real *weight;
} tap_lists;

ROICY_INLINE tap_list taps_of(const tap_lists *lists, ptrdiff_t i) {
    const tap_list one = {lists->position + lists->start[i], lists->weight + lists->start[i],
                          lists->count[i]};
    return one;
}

/* How sums of rows are made, a vector of `depth` to a pixel at a time.
 *
 * from / to: the pixels that the i-th pixel is in the rows and in the target, NULL where they are neighbours.
 * add: to what the target holds. All but the pointers are constants where functions are given one. */
typedef struct {
    const char *const *row;
    const real *weight;
    const int32_t *from, *to;
    int depth, add;
} row_sums;

/* Vector v of those that begin with pixel number `pixels[0]`, or with `pixels` NULL the next v. */
ROICY_INLINE ptrdiff_t vector_of(const int32_t *pixels, const int depth, int v) {
    return pixels ? pixels[v / depth] * (ptrdiff_t)depth + v % depth : v;
}

/* target[i] (+)= sum over taps j of weight[j] * row[j][i], for `width` vectors from i on, which are whole
 * pixels. `taps` and `width` are constants at every call below, so that the loops unroll and the weights stay
 * in registers too. */
ROICY_INLINE void rows_at(const row_sums how, const int taps, ptrdiff_t i, lanes *target, const int width) {
    const int32_t *const from = how.from ? how.from + i / how.depth : NULL;
    const int32_t *const to = how.to ? how.to + i / how.depth : NULL;
    const ptrdiff_t first = from ? 0 : i;
    const lanes *source = (const lanes *)how.row[0] + first;
    lanes sum[8];
    target += to ? 0 : i;
    for (int v = 0; v < width; v++) {
        const lanes x = source[vector_of(from, how.depth, v)];
        sum[v] = how.add ? lanes_madd(how.weight[0], x, target[vector_of(to, how.depth, v)])
                         : lanes_scale(how.weight[0], x);
    }
    for (int j = 1; j < taps; j++) {
        source = (const lanes *)how.row[j] + first;
        for (int v = 0; v < width; v++)
            sum[v] = lanes_madd(how.weight[j], source[vector_of(from, how.depth, v)], sum[v]);
    }
    for (int v = 0; v < width; v++)
        target[vector_of(to, how.depth, v)] = sum[v];
}

ROICY_INLINE void rows_as(const row_sums how, const int taps, ptrdiff_t count, lanes *target) {
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8)
        rows_at(how, taps, i, target, 8);
    if (i == count)
        return;
    if (i > 0 && !how.add) { /* once more, overlapping: cheaper than the rest one by one */
        if (count - i <= 4)
            rows_at(how, taps, count - 4, target, 4);
        else
            rows_at(how, taps, count - 8, target, 8);
        return;
    }
    for (; i + 4 <= count; i += 4)
        rows_at(how, taps, i, target, 4);
    for (; how.depth < 4 && i + 2 <= count; i += 2)
        rows_at(how, taps, i, target, 2);
    if (how.depth < 2 && i < count)
        rows_at(how, taps, i, target, 1);
}

ROICY_INLINE void rows_long_at(const char *const *row, const real *weight, int taps, ptrdiff_t at,
                               lanes *target, const int width) {
    lanes sum[8];
    ROICY_LONG_SUM(sum, weight, taps, width, ((const lanes *)row[j])[at + v]);
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

/* The same for more taps than a chain has terms, where pixels come from anywhere and go side by side. */
ROICY_NOINLINE void rows_long(const char *const *row, const real *weight, int taps, const int32_t *from,
                              int depth, ptrdiff_t count, lanes *target) {
    ptrdiff_t i = 0;
    for (; !from && i + 8 <= count; i += 8)
        rows_long_at(row, weight, taps, i, target + i, 8);
    for (; i < count; i++)
        rows_long_at(row, weight, taps, from ? from[i / depth] * (ptrdiff_t)depth + i % depth : i, target + i,
                     1);
}

ROICY_INLINE void rows_by_taps(const row_sums how, int taps, ptrdiff_t count, lanes *target) {
    switch (taps) {
    case 1:
        rows_as(how, 1, count, target);
        break;
    case 2:
        rows_as(how, 2, count, target);
        break;
    case 3:
        rows_as(how, 3, count, target);
        break;
    case 4:
        rows_as(how, 4, count, target);
        break;
    case 5:
        rows_as(how, 5, count, target);
        break;
    default:
        rows_as(how, taps, count, target);
    }
}

/* Where the rows of a bin's taps begin: at the first pixel in use if the pixels are neighbours, else at pixel 0. */
ROICY_INLINE const char *const *rows_of(const char *const *row, const tap_list *bin, const int32_t *column,
                                        int depth, const char **tap) {
    const ptrdiff_t first = column ? column[0] * (ptrdiff_t)depth * (ptrdiff_t)sizeof(lanes) : 0;
    if (!column && bin->count && bin->position[bin->count - 1] - bin->position[0] == bin->count - 1)
        return row + bin->position[0]; /* one after the other, as taps nearly always are */
    for (int j = 0; j < bin->count; j++)
        tap[j] = row[bin->position[j]] - first;
    return tap;
}

/* `group` output rows before their columns, `count` vectors each, `depth` a pixel: the bins' rows of the
 * tile. `row` holds the rows in use, from the first pixel in use on; `column` the pixels, NULL where they are
 * neighbours; `tap` is scratch. */
ROICY_NOINLINE void pass_rows(const char *const *row, int group, const tap_lists *bins, const int32_t *column,
                              int depth, ptrdiff_t count, const char **tap, lanes *target) {
    for (int r = 0; r < group; r++, target += count) {
        const tap_list bin = taps_of(bins, r);
        const int n = bin.count;
        const char *const *const rows = rows_of(row, &bin, column, depth, tap);
        const row_sums neighbours = {rows, bin.weight, NULL, NULL, 1, 0};
        const row_sums each = {rows, bin.weight, column, NULL, 1, 0};
        const row_sums several = {rows, bin.weight, column, NULL, DEPTH, 0};
        if (n == 0)
            for (ptrdiff_t i = 0; i < count; i++)
                target[i] = lanes_zero();
        else if (n > PIECE)
            rows_long(rows, bin.weight, n, column, depth, count, target);
        else if (!column)
            rows_by_taps(neighbours, n, count, target);
        else if (depth == 1)
            rows_by_taps(each, n, count, target);
        else if (DEPTH > 1 && depth == DEPTH)
            rows_by_taps(several, n, count, target);
        else /* the last channels: pixel by pixel */
            for (ptrdiff_t i = 0, at = 0; i < count; i += depth) {
                const ptrdiff_t step = (column[i / depth] - at) * (ptrdiff_t)depth * (ptrdiff_t)sizeof(lanes);
                for (int j = 0; j < n; j++)
                    tap[j] += step;
                rows_as(neighbours, n, depth, target + i);
                at = column[i / depth];
            }
    }
}

ROICY_NOINLINE void rows_long_back(const char *const *row, const real *weight, int taps,
                                   const int32_t *column, int count, lanes *target) {
    int i = 0;
    for (; !column && i + 8 <= count; i += 8) {
        lanes sum[8];
        rows_long_at(row, weight, taps, i, sum, 8);
        for (int v = 0; v < 8; v++)
            target[i + v] = lanes_madd(1, sum[v], target[i + v]);
    }
    for (; i < count; i++) {
        const int at = column ? column[i] - column[0] : i;
        lanes sum;
        rows_long_at(row, weight, taps, i, &sum, 1);
        target[at] = lanes_madd(1, sum, target[at]);
    }
}

/* The way back: one row of the tile receives the blended rows of the bins that touch it, `stride` vectors
 * apart; `target` is the first pixel in use there. */
ROICY_NOINLINE void pass_rows_back(const lanes *blended, ptrdiff_t stride, const tap_list *bins,
                                   const int32_t *column, int count, const char **tap, lanes *target) {
    const int n = bins->count;
    for (int j = 0; j < n; j++)
        tap[j] = (const char *)(blended + bins->position[j] * stride);
    const row_sums neighbours = {tap, bins->weight, NULL, NULL, 1, 1};
    const row_sums each = {tap, bins->weight, NULL, column, 1, 1};
    if (n > PIECE)
        rows_long_back(tap, bins->weight, n, column, count, target);
    else if (column)
        rows_as(each, n, count, target - column[0]);
    else
        rows_by_taps(neighbours, n, count, target);
}

enum { DOTS_PIECE = 8 * PIECE }; /* columns whose products are one chain, eight at a time */

/* The row pass of one bin, and with it dots[j] = sum over i of row[j][i] * other[i] for each of its rows. */
ROICY_INLINE void rows_and_dots_as(const row_sums how, int taps, ptrdiff_t i, const lanes *other,
                                   lanes *target, lanes *dots, const int width) {
    lanes sum[8], factor[8];
    for (int v = 0; v < width; v++) {
        factor[v] = other[i + v];
        sum[v] = lanes_zero();
    }
    for (int j = 0; j < taps; j++) {
        const lanes *source = (const lanes *)how.row[j] + (how.from ? 0 : i);
        lanes even = lanes_zero(), odd = lanes_zero();
        for (int v = 0; v < width; v++) {
            lanes x = source[how.from ? how.from[i + v] : v];
            sum[v] = j ? lanes_madd(how.weight[j], x, sum[v]) : lanes_scale(how.weight[0], x);
            if (v & 1)
                odd = lanes_multiply_add(factor[v], x, odd);
            else
                even = lanes_multiply_add(factor[v], x, even);
        }
        dots[j] = lanes_madd(1, even, lanes_madd(1, odd, dots[j]));
    }
    for (int v = 0; v < width; v++)
        target[i + v] = sum[v];
}

ROICY_INLINE void rows_and_dots(const row_sums how, int taps, ptrdiff_t i, ptrdiff_t count,
                                const lanes *other, lanes *target, lanes *dots) {
    for (; i + 8 <= count; i += 8)
        rows_and_dots_as(how, taps, i, other, target, dots, 8);
    for (; i + 4 <= count; i += 4)
        rows_and_dots_as(how, taps, i, other, target, dots, 4);
    for (; i < count; i++)
        rows_and_dots_as(how, taps, i, other, target, dots, 1);
}

/* The same for more columns or rows than a chain has terms. */
ROICY_NOINLINE void rows_and_dots_long(const row_sums how, int taps, int count, const lanes *other,
                                       lanes *target, lanes *dots) {
    lanes *const piece = dots + taps, *const lost = piece + taps;
    for (int j = 0; j < taps; j++)
        lost[j] = lanes_zero();
    for (int i = 0; i < count; i += DOTS_PIECE) {
        for (int j = 0; j < taps; j++)
            piece[j] = lanes_zero();
        rows_and_dots(how, taps, i, count - i < DOTS_PIECE ? count : i + DOTS_PIECE, other, target, piece);
        for (int j = 0; j < taps; j++)
            dots[j] = lanes_join(piece[j], dots[j], lost + j);
    }
    for (int j = 0; j < taps; j++)
        dots[j] = lanes_restore(dots[j], lost[j]);
    if (taps > PIECE)
        rows_long(how.row, how.weight, taps, how.from, 1, count, target);
}

/* `dots` has room for three times the rows. */
ROICY_NOINLINE void pass_rows_and_dots(const char *const *row, const tap_list *bin, const int32_t *column,
                                       int count, const lanes *other, const char **tap, lanes *target,
                                       lanes *dots) {
    const int n = bin->count;
    const char *const *const rows = rows_of(row, bin, column, 1, tap);
    const row_sums neighbours = {rows, bin->weight, NULL, NULL, 1, 0};
    const row_sums each = {rows, bin->weight, column, NULL, 1, 0};
    for (int j = 0; j < n; j++)
        dots[j] = lanes_zero();
    if (n == 0)
        for (int i = 0; i < count; i++)
            target[i] = lanes_zero();
    else if (count > DOTS_PIECE || n > PIECE)
        rows_and_dots_long(each, n, count, other, target, dots);
    else if (column)
        rows_and_dots(each, n, 0, count, other, target, dots);
    else
        rows_and_dots(neighbours, n, 0, count, other, target, dots);
}

ROICY_INLINE void columns_long_as(const lane_rows blended, const tap_list bin, lanes *target,
                                  ptrdiff_t target_stride, const int width) {
    const ptrdiff_t step = blended.stride * blended.depth;
    lanes sum[4];
    ROICY_LONG_SUM(sum, bin.weight, bin.count, width,
                   blended.first[bin.position[j] * (ptrdiff_t)blended.depth + v * step]);
    for (int v = 0; v < width; v++)
        target[v * target_stride] = sum[v];
}

/* One bin of `group` blended rows, with more taps than a chain has terms. */
ROICY_NOINLINE void columns_long(lane_rows blended, const tap_list bin, lanes *target,
                                 ptrdiff_t target_stride, int group) {
    const ptrdiff_t step = blended.stride * blended.depth;
    int r = 0;
    for (; r + 4 <= group; r += 4, blended.first += 4 * step)
        columns_long_as(blended, bin, target + r * target_stride, target_stride, 4);
    for (; r < group; r++, blended.first += step)
        columns_long_as(blended, bin, target + r * target_stride, target_stride, 1);
}

/* One vector of each pixel, or with a `width` of two the next one, too, which goes `block` vectors further. */
ROICY_INLINE void columns_as(const lane_rows blended, const tap_lists *bins, int count, lanes *target,
                             ptrdiff_t block, const int group, const int width) {
    const lanes *const first = blended.first;
    const ptrdiff_t depth = blended.depth, step = blended.stride * depth;
    for (int q = 0; q < count; q++) {
        const tap_list bin = taps_of(bins, q);
        lanes sum[8][2];
        for (int i = 0; ROICY_CHECKED && i < bin.count; i++)
            ROICY_INSIDE(bin.position[i], 0, blended.stride);
        if (bin.count == 0) {
            for (int r = 0; r < group; r++)
                for (int v = 0; v < width; v++)
                    target[v * block + r * (ptrdiff_t)count + q] = lanes_zero();
            continue;
        }
        if (bin.count > PIECE) {
            for (int v = 0; v < width; v++) {
                const lane_rows from = {first + v, blended.stride, blended.depth};
                columns_long(from, bin, target + v * block + q, count, group);
            }
            continue;
        }
        const lanes *pixel = first + bin.position[0] * depth;
        for (int r = 0; r < group; r++)
            for (int v = 0; v < width; v++)
                sum[r][v] = lanes_scale(bin.weight[0], pixel[r * step + v]);
        for (int i = 1; i < bin.count; i++) {
            pixel = first + bin.position[i] * depth;
            for (int r = 0; r < group; r++)
                for (int v = 0; v < width; v++)
                    sum[r][v] = lanes_madd(bin.weight[i], pixel[r * step + v], sum[r][v]);
        }
        for (int r = 0; r < group; r++)
            for (int v = 0; v < width; v++)
                target[v * block + r * (ptrdiff_t)count + q] = sum[r][v];
    }
}

/* Two vectors at a time where that leaves their sums in registers. */
ROICY_INLINE void columns_of(lane_rows blended, const tap_lists *bins, int count, lanes *target,
                             ptrdiff_t block, const int group) {
    int v = 0;
    for (; DEPTH > 1 && group < 8 && v + 2 <= blended.depth; v += 2, blended.first += 2)
        columns_as(blended, bins, count, target + v * block, block, group, 2);
    for (; v < blended.depth; v++, blended.first++)
        columns_as(blended, bins, count, target + v * block, block, group, 1);
}

/* target[v][r][q] = sum over the taps of bin q of weight * blended[r][position][v], for `group` blended rows
 * r at once, every one of `count` bins q and every vector v of a pixel, whose targets are `block` vectors
 * apart. */
ROICY_NOINLINE void pass_columns(const lane_rows *blended, int group, const tap_lists *bins, int count,
                                 lanes *target, ptrdiff_t block) {
    const lane_rows from = *blended;
    const tap_lists of = *bins;
    switch (group) {
    case 1:
        columns_of(from, &of, count, target, block, 1);
        break;
    case 2:
        columns_of(from, &of, count, target, block, 2);
        break;
    case 3:
        columns_of(from, &of, count, target, block, 3);
        break;
    case 4:
        columns_of(from, &of, count, target, block, 4);
        break;
    case 5:
        columns_of(from, &of, count, target, block, 5);
        break;
    case 6:
        columns_of(from, &of, count, target, block, 6);
        break;
    case 7:
        columns_of(from, &of, count, target, block, 7);
        break;
    default:
        columns_of(from, &of, count, target, block, 8);
    }
}

#endif
