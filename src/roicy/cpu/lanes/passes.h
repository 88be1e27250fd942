/* The two inner loops: weighted sums of a few vectors, many at a time so that sums stay in registers.
 *
 * A result is one chain, first a product, then multiply-adds in the order of the taps; of more than PIECE
 * taps it is a sum of such chains (`lanes.h`). That holds however many results are made together: no blocking
 * here shows in the bits.
 */
#ifndef ROICY_PASSES_H
#define ROICY_PASSES_H

#include "lanes.h"

enum { GROUP = 8 };

/* target[i] (+)= sum over taps j of weight[j] * row[position[j]][i], for i < count.
 *
 * from / to: the pixels, of `depth` vectors each, whose vectors the i-th source and target are, NULL where
 * they are neighbours. `taps`, `depth` and `width` are constants at every call below, so that the loops
 * unroll and the weights stay in registers too; i and width are whole pixels. */
ROICY_INLINE void rows_at(const lanes *const *row, const real *weight, const int taps, const int32_t *from,
                          const int32_t *to, const int depth, const int add, ptrdiff_t i, lanes *target,
                          const int width) {
    lanes sum[8];
    const lanes *source = row[0] + (from ? 0 : i);
    if (from)
        from += i / depth;
    if (to)
        to += i / depth;
    else
        target += i;
    for (int v = 0; v < width; v++) {
        lanes x = source[from ? from[v / depth] * (ptrdiff_t)depth + v % depth : v];
        sum[v] = add ? lanes_madd(weight[0], x, target[to ? to[v / depth] * (ptrdiff_t)depth + v % depth : v])
                     : lanes_scale(weight[0], x);
    }
    for (int j = 1; j < taps; j++) {
        source = row[j] + (from ? 0 : i);
        for (int v = 0; v < width; v++)
            sum[v] = lanes_madd(weight[j], source[from ? from[v / depth] * (ptrdiff_t)depth + v % depth : v],
                                sum[v]);
    }
    for (int v = 0; v < width; v++)
        target[to ? to[v / depth] * (ptrdiff_t)depth + v % depth : v] = sum[v];
}

ROICY_INLINE void rows_as(const lanes *const *row, const real *weight, const int taps, const int32_t *from,
                          const int32_t *to, const int depth, const int add, ptrdiff_t count, lanes *target) {
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8)
        rows_at(row, weight, taps, from, to, depth, add, i, target, 8);
    if (i == count)
        return;
    if (i > 0 && !add) { /* once more, overlapping: cheaper than the rest one by one */
        rows_at(row, weight, taps, from, to, depth, add, count - 8, target, 8);
        return;
    }
    for (; i + 4 <= count; i += 4)
        rows_at(row, weight, taps, from, to, depth, add, i, target, 4);
    for (; depth < 4 && i + 2 <= count; i += 2)
        rows_at(row, weight, taps, from, to, depth, add, i, target, 2);
    if (depth < 2 && i < count)
        rows_at(row, weight, taps, from, to, depth, add, i, target, 1);
}

ROICY_INLINE void rows_long_at(const lanes *const *row, const real *weight, int taps, ptrdiff_t at,
                               lanes *target, const int width) {
    lanes sum[8];
    ROICY_LONG_SUM(sum, weight, taps, width, row[j][at + v]);
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

/* The same for more taps than a chain has terms, where pixels come from anywhere and go side by side. */
ROICY_NOINLINE void rows_long(const lanes *const *row, const real *weight, int taps, const int32_t *from,
                              int depth, ptrdiff_t count, lanes *target) {
    ptrdiff_t i = 0;
    for (; !from && i + 8 <= count; i += 8)
        rows_long_at(row, weight, taps, i, target + i, 8);
    for (; i < count; i++)
        rows_long_at(row, weight, taps, from ? from[i / depth] * (ptrdiff_t)depth + i % depth : i, target + i,
                     1);
}

ROICY_INLINE void rows_by_taps(const lanes *const *row, const real *weight, int taps, const int32_t *from,
                               const int32_t *to, const int depth, const int add, ptrdiff_t count,
                               lanes *target) {
    switch (taps) {
    case 1:
        rows_as(row, weight, 1, from, to, depth, add, count, target);
        break;
    case 2:
        rows_as(row, weight, 2, from, to, depth, add, count, target);
        break;
    case 3:
        rows_as(row, weight, 3, from, to, depth, add, count, target);
        break;
    case 4:
        rows_as(row, weight, 4, from, to, depth, add, count, target);
        break;
    case 5:
        rows_as(row, weight, 5, from, to, depth, add, count, target);
        break;
    default:
        rows_as(row, weight, taps, from, to, depth, add, count, target);
    }
}

/* `group` output rows before their columns, `count` vectors each, `depth` a pixel: the bins' rows of the
 * tile. `row` holds the line's rows, from the line's first pixel on; `column` the line's pixels, NULL where
 * they are neighbours; `tap` is scratch. */
ROICY_NOINLINE void pass_rows(const char *const *row, int group, const int64_t *start, const int32_t *taps,
                              const int32_t *position, const real *weight, const int32_t *column, int depth,
                              ptrdiff_t count, const lanes **tap, lanes *target) {
    const ptrdiff_t first = column ? column[0] * (ptrdiff_t)depth * (ptrdiff_t)sizeof(lanes) : 0;
    for (int r = 0; r < group; r++, target += count) {
        const int n = taps[r];
        const real *w = weight + start[r];
        for (int j = 0; j < n; j++)
            tap[j] = (const lanes *)(row[position[start[r] + j]] - first);
        if (n == 0)
            for (ptrdiff_t i = 0; i < count; i++)
                target[i] = lanes_zero();
        else if (n > PIECE)
            rows_long(tap, w, n, column, depth, count, target);
        else if (!column)
            rows_by_taps(tap, w, n, NULL, NULL, 1, 0, count, target);
        else if (depth == 1)
            rows_by_taps(tap, w, n, column, NULL, 1, 0, count, target);
        else if (DEPTH > 1 && depth == DEPTH)
            rows_by_taps(tap, w, n, column, NULL, DEPTH, 0, count, target);
        else /* the last channels: pixel by pixel */
            for (ptrdiff_t i = 0, at = 0; i < count; i += depth) {
                const ptrdiff_t step = (column[i / depth] - at) * (ptrdiff_t)depth;
                for (int j = 0; j < n; j++)
                    tap[j] += step;
                rows_as(tap, w, n, NULL, NULL, 1, 0, depth, target + i);
                at = column[i / depth];
            }
    }
}

ROICY_NOINLINE void rows_long_back(const lanes *const *row, const real *weight, int taps,
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

/* The way back: one row of the tile receives the lines of the bins that touch it; `target` is the line's
 * first pixel there. */
ROICY_NOINLINE void pass_rows_back(const lanes *lines, ptrdiff_t stride, const int32_t *bin,
                                   const real *weight, int taps, const int32_t *column, int count,
                                   const lanes **tap, lanes *target) {
    for (int j = 0; j < taps; j++)
        tap[j] = lines + bin[j] * stride;
    if (taps > PIECE)
        rows_long_back(tap, weight, taps, column, count, target);
    else if (column)
        rows_as(tap, weight, taps, NULL, column, 1, 1, count, target - column[0]);
    else
        rows_by_taps(tap, weight, taps, NULL, NULL, 1, 1, count, target);
}

enum { DOTS_PIECE = 8 * PIECE }; /* columns whose products are one chain, eight at a time */

/* The row pass of one bin, and with it dots[j] = sum over i of row[position[j]][i] * other[i] for each of its
 * rows. */
ROICY_INLINE void rows_and_dots_as(const lanes *const *row, const real *weight, int taps, const int32_t *from,
                                   ptrdiff_t i, const lanes *other, lanes *target, lanes *dots,
                                   const int width) {
    lanes sum[8], factor[8];
    for (int v = 0; v < width; v++) {
        factor[v] = other[i + v];
        sum[v] = lanes_zero();
    }
    for (int j = 0; j < taps; j++) {
        const lanes *source = row[j] + (from ? 0 : i);
        lanes even = lanes_zero(), odd = lanes_zero();
        for (int v = 0; v < width; v++) {
            lanes x = source[from ? from[i + v] : v];
            sum[v] = j ? lanes_madd(weight[j], x, sum[v]) : lanes_scale(weight[0], x);
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

ROICY_INLINE void rows_and_dots(const lanes *const *row, const real *weight, int taps, const int32_t *from,
                                ptrdiff_t i, ptrdiff_t count, const lanes *other, lanes *target,
                                lanes *dots) {
    for (; i + 8 <= count; i += 8)
        rows_and_dots_as(row, weight, taps, from, i, other, target, dots, 8);
    for (; i + 4 <= count; i += 4)
        rows_and_dots_as(row, weight, taps, from, i, other, target, dots, 4);
    for (; i < count; i++)
        rows_and_dots_as(row, weight, taps, from, i, other, target, dots, 1);
}

/* The same for more columns or rows than a chain has terms. */
ROICY_NOINLINE void rows_and_dots_long(const lanes *const *row, const real *weight, int taps,
                                       const int32_t *from, int count, const lanes *other, lanes *target,
                                       lanes *dots) {
    lanes *const piece = dots + taps, *const lost = piece + taps;
    for (int j = 0; j < taps; j++)
        lost[j] = lanes_zero();
    for (int i = 0; i < count; i += DOTS_PIECE) {
        for (int j = 0; j < taps; j++)
            piece[j] = lanes_zero();
        rows_and_dots(row, weight, taps, from, i, count - i < DOTS_PIECE ? count : i + DOTS_PIECE, other,
                      target, piece);
        for (int j = 0; j < taps; j++)
            dots[j] = lanes_join(piece[j], dots[j], lost + j);
    }
    for (int j = 0; j < taps; j++)
        dots[j] = lanes_restore(dots[j], lost[j]);
    if (taps > PIECE)
        rows_long(row, weight, taps, from, 1, count, target);
}

/* `dots` has room for three times the rows. */
ROICY_NOINLINE void pass_rows_and_dots(const char *const *row, const int32_t *position, const real *weight,
                                       int taps, const int32_t *column, int count, const lanes *other,
                                       const lanes **tap, lanes *target, lanes *dots) {
    const ptrdiff_t first = column ? column[0] * (ptrdiff_t)sizeof(lanes) : 0;
    for (int j = 0; j < taps; j++) {
        tap[j] = (const lanes *)(row[position[j]] - first);
        dots[j] = lanes_zero();
    }
    if (taps == 0)
        for (int i = 0; i < count; i++)
            target[i] = lanes_zero();
    else if (count > DOTS_PIECE || taps > PIECE)
        rows_and_dots_long(tap, weight, taps, column, count, other, target, dots);
    else if (column)
        rows_and_dots(tap, weight, taps, column, 0, count, other, target, dots);
    else
        rows_and_dots(tap, weight, taps, NULL, 0, count, other, target, dots);
}

ROICY_INLINE void columns_long_as(const lanes *lines, ptrdiff_t step, const int32_t *position,
                                  const real *weight, int taps, int depth, lanes *target,
                                  ptrdiff_t target_stride, const int width) {
    lanes sum[4];
    ROICY_LONG_SUM(sum, weight, taps, width, lines[position[j] * (ptrdiff_t)depth + v * step]);
    for (int v = 0; v < width; v++)
        target[v * target_stride] = sum[v];
}

/* One bin of `group` lines, which lie `step` vectors apart, with more taps than a chain has terms. */
ROICY_NOINLINE void columns_long(const lanes *lines, ptrdiff_t step, const int32_t *position,
                                 const real *weight, int taps, int depth, lanes *target,
                                 ptrdiff_t target_stride, int group) {
    int r = 0;
    for (; r + 4 <= group; r += 4)
        columns_long_as(lines + r * step, step, position, weight, taps, depth, target + r * target_stride,
                        target_stride, 4);
    for (; r < group; r++)
        columns_long_as(lines + r * step, step, position, weight, taps, depth, target + r * target_stride,
                        target_stride, 1);
}

ROICY_INLINE void columns_as(const lanes *lines, ptrdiff_t stride, const int depth, const int64_t *start,
                             const int32_t *taps, const int32_t *position, const real *weight, int count,
                             lanes *target, ptrdiff_t target_stride, ptrdiff_t block, const int group,
                             const int width) {
    for (int q = 0; q < count; q++) {
        const int32_t *place = position + start[q];
        const real *w = weight + start[q];
        const int n = taps[q];
        lanes sum[8][2];
        for (int i = 0; ROICY_CHECKED && i < n; i++)
            ROICY_INSIDE(place[i], 0, stride);
        if (n == 0) {
            for (int r = 0; r < group; r++)
                for (int v = 0; v < width; v++)
                    target[v * block + r * target_stride + q] = lanes_zero();
            continue;
        }
        if (n > PIECE) {
            for (int v = 0; v < width; v++)
                columns_long(lines + v, stride * depth, place, w, n, depth, target + v * block + q,
                             target_stride, group);
            continue;
        }
        for (int r = 0; r < group; r++)
            for (int v = 0; v < width; v++)
                sum[r][v] = lanes_scale(w[0], lines[(place[0] + r * stride) * depth + v]);
        for (int i = 1; i < n; i++)
            for (int r = 0; r < group; r++)
                for (int v = 0; v < width; v++)
                    sum[r][v] = lanes_madd(w[i], lines[(place[i] + r * stride) * depth + v], sum[r][v]);
        for (int r = 0; r < group; r++)
            for (int v = 0; v < width; v++)
                target[v * block + r * target_stride + q] = sum[r][v];
    }
}

/* Two vectors at a time where that leaves their sums in registers. */
ROICY_INLINE void columns_of(const lanes *lines, ptrdiff_t stride, int depth, const int64_t *start,
                             const int32_t *taps, const int32_t *position, const real *weight, int count,
                             lanes *target, ptrdiff_t target_stride, ptrdiff_t block, const int group) {
    int v = 0;
    for (; DEPTH > 1 && group < 8 && v + 2 <= depth; v += 2)
        columns_as(lines + v, stride, depth, start, taps, position, weight, count, target + v * block,
                   target_stride, block, group, 2);
    for (; v < depth; v++)
        columns_as(lines + v, stride, depth, start, taps, position, weight, count, target + v * block,
                   target_stride, block, group, 1);
}

/* target[v][r][q] = sum over taps i of weight[i] * lines[r][position[i]][v], for `group` lines r at once,
 * every q and every v. Lines have `stride` positions of `depth` vectors v, whose targets are `block` vectors
 * apart. */
ROICY_NOINLINE void pass_columns(const lanes *lines, ptrdiff_t stride, int depth, int group,
                                 const int64_t *start, const int32_t *taps, const int32_t *position,
                                 const real *weight, int count, lanes *target, ptrdiff_t target_stride,
                                 ptrdiff_t block) {
#define ROICY_COLUMNS(group)                                                                                 \
    columns_of(lines, stride, depth, start, taps, position, weight, count, target, target_stride, block,     \
               group)
    switch (group) {
    case 1:
        ROICY_COLUMNS(1);
        break;
    case 2:
        ROICY_COLUMNS(2);
        break;
    case 3:
        ROICY_COLUMNS(3);
        break;
    case 4:
        ROICY_COLUMNS(4);
        break;
    case 5:
        ROICY_COLUMNS(5);
        break;
    case 6:
        ROICY_COLUMNS(6);
        break;
    case 7:
        ROICY_COLUMNS(7);
        break;
    default:
        ROICY_COLUMNS(8);
    }
#undef ROICY_COLUMNS
}

/* ---- channels last: a pixel is a run of vectors
 * --------------------------------------------------------------- */

ROICY_INLINE void pixels_as(const char *const *row, const int32_t *position, ptrdiff_t offset,
                            const real *weight, int taps, lanes *target, const int width) {
    lanes sum[8];
    const char *source = row[position[0]] + offset;
    for (int v = 0; v < width; v++)
        sum[v] = lanes_scale(weight[0], lanes_load_own(source + v * (ptrdiff_t)sizeof(lanes)));
    for (int j = 1; j < taps; j++) {
        source = row[position[j]] + offset;
        for (int v = 0; v < width; v++)
            sum[v] = lanes_madd(weight[j], lanes_load_own(source + v * (ptrdiff_t)sizeof(lanes)), sum[v]);
    }
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

ROICY_INLINE void pixels_long_as(const char *const *row, const int32_t *position, ptrdiff_t offset,
                                 const real *weight, int taps, lanes *target, const int width) {
    lanes sum[4];
    ROICY_LONG_SUM(sum, weight, taps, width,
                   lanes_load_own(row[position[j]] + offset + v * (ptrdiff_t)sizeof(lanes)));
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

/* The same for more taps than a chain has terms. */
ROICY_NOINLINE void pixels_long(const char *const *row, const int32_t *position, ptrdiff_t offset,
                                const real *weight, int taps, ptrdiff_t channels, lanes *target) {
    const ptrdiff_t vectors = channels / LANES, size = sizeof(lanes);
    const int rest = (int)(channels % LANES);
    ptrdiff_t i = 0;
    for (; i + 4 <= vectors; i += 4)
        pixels_long_as(row, position, offset + i * size, weight, taps, target + i, 4);
    for (; i < vectors; i++)
        pixels_long_as(row, position, offset + i * size, weight, taps, target + i, 1);
    if (rest)
        ROICY_LONG_SUM(target + i, weight, taps, 1,
                       lanes_load_part(row[position[j]] + offset + (i + v) * size, rest, OWN));
}

/* The row pass for all channels of one column; the rows' elements are of type real. */
ROICY_NOINLINE void pass_pixels(const char *const *row, const int32_t *position, ptrdiff_t offset,
                                const real *weight, int taps, ptrdiff_t channels, lanes *target) {
    const ptrdiff_t vectors = channels / LANES, rest = channels % LANES, size = sizeof(lanes);
    const int dtype = sizeof(real) == 4 ? FLOAT32 : FLOAT64;
    ptrdiff_t v = 0;
    if (taps == 0) {
        for (; v < vectors + (rest > 0); v++)
            target[v] = lanes_zero();
        return;
    }
    if (taps > PIECE) {
        pixels_long(row, position, offset, weight, taps, channels, target);
        return;
    }
    for (; v + 8 <= vectors; v += 8)
        pixels_as(row, position, offset + v * size, weight, taps, target + v, 8);
    for (; v + 4 <= vectors; v += 4)
        pixels_as(row, position, offset + v * size, weight, taps, target + v, 4);
    for (; v < vectors; v++)
        pixels_as(row, position, offset + v * size, weight, taps, target + v, 1);
    if (rest) {
        target[v] =
            lanes_scale(weight[0], lanes_load_part(row[position[0]] + offset + v * size, (int)rest, dtype));
        for (int j = 1; j < taps; j++)
            target[v] =
                lanes_madd(weight[j], lanes_load_part(row[position[j]] + offset + v * size, (int)rest, dtype),
                           target[v]);
    }
}

ROICY_INLINE void vectors_as(const lanes *line, const int32_t *position, const real *weight, int taps,
                             ptrdiff_t step, lanes *target, const int width) {
    lanes sum[8];
    for (int v = 0; v < width; v++)
        sum[v] = lanes_scale(weight[0], line[position[0] * step + v]);
    for (int i = 1; i < taps; i++)
        for (int v = 0; v < width; v++)
            sum[v] = lanes_madd(weight[i], line[position[i] * step + v], sum[v]);
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

ROICY_INLINE void vectors_long_as(const lanes *line, const int32_t *position, const real *weight, int taps,
                                  ptrdiff_t step, lanes *target, const int width) {
    lanes sum[4];
    ROICY_LONG_SUM(sum, weight, taps, width, line[position[j] * step + v]);
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

ROICY_NOINLINE void vectors_long(const lanes *line, const int32_t *position, const real *weight, int taps,
                                 ptrdiff_t vectors, lanes *target) {
    ptrdiff_t i = 0;
    for (; i + 4 <= vectors; i += 4)
        vectors_long_as(line + i, position, weight, taps, vectors, target + i, 4);
    for (; i < vectors; i++)
        vectors_long_as(line + i, position, weight, taps, vectors, target + i, 1);
}

/* The column pass of one bin for all channels. */
ROICY_NOINLINE void pass_vectors(const lanes *line, const int32_t *position, const real *weight, int taps,
                                 ptrdiff_t vectors, lanes *target) {
    ptrdiff_t v = 0;
    if (taps == 0) {
        for (; v < vectors; v++)
            target[v] = lanes_zero();
        return;
    }
    if (taps > PIECE) {
        vectors_long(line, position, weight, taps, vectors, target);
        return;
    }
    for (; v + 8 <= vectors; v += 8)
        vectors_as(line + v, position, weight, taps, vectors, target + v, 8);
    for (; v + 4 <= vectors; v += 4)
        vectors_as(line + v, position, weight, taps, vectors, target + v, 4);
    for (; v < vectors; v++)
        vectors_as(line + v, position, weight, taps, vectors, target + v, 1);
}

#endif
