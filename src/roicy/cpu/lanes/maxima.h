/* Maxima of vectors, with the index at which each lane's maximum was found, its argmax.
 *
 * A value replaces another where it is greater, so a NaN never does, and of equal ones the first stays. */
#ifndef ROICY_MAXIMA_H
#define ROICY_MAXIMA_H

#include "lanes.h"

#include <float.h>

/* Where nothing was found. Stays negative when a column is added. */
#define NOWHERE ((lane_int)INT32_MIN)

ROICY_INLINE lanes lanes_lowest(void) { return lanes_fill(-FLT_MAX); }

ROICY_INLINE lane_ints ints_fill(lane_int value) {
    lane_ints x;
#if defined(__GNUC__)
    x = value - (lane_ints){0};
#else
    ROICY_EACH(l) x.lane[l] = value;
#endif
    return x;
}

ROICY_INLINE lane_ints ints_add(lane_ints a, lane_int b) {
#if defined(__GNUC__)
    return a + b;
#else
    ROICY_EACH(l) a.lane[l] += b;
    return a;
#endif
}

/* What the arrays outside get: -1 for nowhere. */
ROICY_INLINE lanes argmax_out(lane_ints at) {
    lanes x;
    lane_int copy[ROICY_LANE_COUNT];
    memcpy(copy, &at, sizeof copy);
    ROICY_EACH(l) copy[l] = copy[l] < 0 ? -1 : copy[l];
    memcpy(&x, copy, sizeof x);
    return x;
}

ROICY_INLINE lanes lanes_greater(lanes x, lanes best) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    return (lanes)_mm512_max_pd((__m512d)x, (__m512d)best);
#elif defined(__AVX512F__)
    return (lanes)_mm512_max_ps((__m512)x, (__m512)best);
#elif defined(__AVX__) && defined(ROICY_DOUBLE)
    return (lanes)_mm256_max_pd((__m256d)x, (__m256d)best);
#elif defined(__AVX__)
    return (lanes)_mm256_max_ps((__m256)x, (__m256)best);
#elif defined(ROICY_X86) && defined(__GNUC__) && defined(ROICY_DOUBLE)
    return (lanes)_mm_max_pd((__m128d)x, (__m128d)best);
#elif defined(ROICY_X86) && defined(__GNUC__)
    return (lanes)_mm_max_ps((__m128)x, (__m128)best);
#elif defined(__GNUC__)
    lane_ints greater = x > best;
    return (lanes)((greater & (lane_ints)x) | (~greater & (lane_ints)best));
#else
    ROICY_EACH(l) best.lane[l] = x.lane[l] > best.lane[l] ? x.lane[l] : best.lane[l];
    return best;
#endif
}

ROICY_INLINE void lanes_take(lanes x, lane_ints at, lanes *best, lane_ints *argmax) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    __mmask8 greater = _mm512_cmp_pd_mask((__m512d)x, (__m512d)*best, _CMP_GT_OQ);
    *best = (lanes)_mm512_max_pd((__m512d)x, (__m512d)*best);
    *argmax = (lane_ints)_mm512_mask_mov_epi64((__m512i)*argmax, greater, (__m512i)at);
#elif defined(__AVX512F__)
    __mmask16 greater = _mm512_cmp_ps_mask((__m512)x, (__m512)*best, _CMP_GT_OQ);
    *best = (lanes)_mm512_max_ps((__m512)x, (__m512)*best);
    *argmax = (lane_ints)_mm512_mask_mov_epi32((__m512i)*argmax, greater, (__m512i)at);
#elif defined(__AVX2__) && defined(ROICY_DOUBLE)
    __m256d greater = _mm256_cmp_pd((__m256d)x, (__m256d)*best, _CMP_GT_OQ);
    *best = (lanes)_mm256_max_pd((__m256d)x, (__m256d)*best);
    *argmax = (lane_ints)_mm256_blendv_pd((__m256d)*argmax, (__m256d)at, greater);
#elif defined(__AVX2__)
    __m256 greater = _mm256_cmp_ps((__m256)x, (__m256)*best, _CMP_GT_OQ);
    *best = (lanes)_mm256_max_ps((__m256)x, (__m256)*best);
    *argmax = (lane_ints)_mm256_blendv_ps((__m256)*argmax, (__m256)at, greater);
#elif defined(__GNUC__)
    lane_ints greater = x > *best;
    *best = (lanes)((greater & (lane_ints)x) | (~greater & (lane_ints)*best));
    *argmax = (greater & at) | (~greater & *argmax);
#else
    ROICY_EACH(l) if (x.lane[l] > best->lane[l]) {
        best->lane[l] = x.lane[l];
        argmax->lane[l] = at.lane[l];
    }
#endif
}

/* As lanes_take, for candidates that do not come in the order of their indices: of equal ones the lowest
 * index wins. */
ROICY_INLINE void lanes_take_first(lanes x, lane_ints at, lanes *best, lane_ints *argmax) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    __mmask8 take = _mm512_cmp_pd_mask((__m512d)x, (__m512d)*best, _CMP_GT_OQ) |
                    (_mm512_cmp_pd_mask((__m512d)x, (__m512d)*best, _CMP_EQ_OQ) &
                     _mm512_cmplt_epi64_mask((__m512i)at, (__m512i)*argmax));
    *best = (lanes)_mm512_mask_mov_pd((__m512d)*best, take, (__m512d)x);
    *argmax = (lane_ints)_mm512_mask_mov_epi64((__m512i)*argmax, take, (__m512i)at);
#elif defined(__AVX512F__)
    __mmask16 take = _mm512_cmp_ps_mask((__m512)x, (__m512)*best, _CMP_GT_OQ) |
                     _mm512_mask_cmplt_epi32_mask(_mm512_cmp_ps_mask((__m512)x, (__m512)*best, _CMP_EQ_OQ),
                                                  (__m512i)at, (__m512i)*argmax);
    *best = (lanes)_mm512_mask_mov_ps((__m512)*best, take, (__m512)x);
    *argmax = (lane_ints)_mm512_mask_mov_epi32((__m512i)*argmax, take, (__m512i)at);
#elif defined(__GNUC__)
    lane_ints take = (x > *best) | ((x == *best) & (at < *argmax));
    *best = (lanes)((take & (lane_ints)x) | (~take & (lane_ints)*best));
    *argmax = (take & at) | (~take & *argmax);
#else
    ROICY_EACH(l)
    if (x.lane[l] > best->lane[l] || (x.lane[l] == best->lane[l] && at.lane[l] < argmax->lane[l])) {
        best->lane[l] = x.lane[l];
        argmax->lane[l] = at.lane[l];
    }
#endif
}

/* The ranges of many bins: the i-th one has the rows or columns start[i] to start[i] + length[i]. */
typedef struct {
    const int32_t *start, *length;
} range_lists;

/* Where maxima go, and their argmax unless that is NULL. */
typedef struct {
    lanes *value;
    lane_ints *argmax;
} maxima;

/* ---- down the rows of a window, then along its columns ---- */

/* value[i] = largest of row[j][i] over the rows j, for i < count; argmax[i] becomes the index of the row it is
 * in, the first one's being `first` and the others `step` apart. */
ROICY_INLINE void max_rows_at(const char *const *row, const int rows, ptrdiff_t i, lane_int first,
                              lane_int step, const maxima to, const int width) {
    lanes best[8];
    lane_ints argmax[8];
    for (int v = 0; v < width; v++) {
        best[v] = lanes_lowest();
        argmax[v] = ints_fill(NOWHERE);
    }
    for (int j = 0; j < rows; j++) {
        const lanes *source = (const lanes *)row[j] + i;
        lane_ints here = ints_fill(first + j * step);
        for (int v = 0; v < width; v++)
            if (to.argmax)
                lanes_take(source[v], here, &best[v], &argmax[v]);
            else
                best[v] = lanes_greater(source[v], best[v]);
    }
    for (int v = 0; v < width; v++) {
        to.value[i + v] = best[v];
        if (to.argmax)
            to.argmax[i + v] = argmax[v];
    }
}

/* As many columns at once as leave their maxima in registers: `most` of them. */
ROICY_INLINE void max_rows_as(const char *const *row, const int rows, lane_int first, lane_int step,
                              ptrdiff_t count, const maxima to, const int most) {
    ptrdiff_t i = 0;
    for (; i + most <= count; i += most)
        max_rows_at(row, rows, i, first, step, to, most);
    if (i == count)
        return;
    if (i > 0) { /* once more, overlapping: cheaper than the rest one by one */
        max_rows_at(row, rows, count - most, first, step, to, most);
        return;
    }
    if (most > 4)
        for (; i + 4 <= count; i += 4)
            max_rows_at(row, rows, i, first, step, to, 4);
    for (; i + 2 <= count; i += 2)
        max_rows_at(row, rows, i, first, step, to, 2);
    if (i < count)
        max_rows_at(row, rows, i, first, step, to, 1);
}

ROICY_INLINE void max_rows_by_length(const char *const *row, int rows, ptrdiff_t count, lanes *target) {
    const maxima to = {target, NULL};
    switch (rows) {
    case 0:
        break;
    case 1:
        max_rows_as(row, 1, 0, 0, count, to, 8);
        break;
    case 2:
        max_rows_as(row, 2, 0, 0, count, to, 8);
        break;
    case 3:
        max_rows_as(row, 3, 0, 0, count, to, 8);
        break;
    case 4:
        max_rows_as(row, 4, 0, 0, count, to, 8);
        break;
    default:
        max_rows_as(row, rows, 0, 0, count, to, 8);
    }
}

/* The rows of `group` bins, `count` vectors each. `first` is the index of row[0], rows lie `step` apart. */
ROICY_NOINLINE void pass_max_rows(const char *const *row, int group, const range_lists *bins, lane_int first,
                                  lane_int step, ptrdiff_t count, const maxima *target) {
    maxima to = *target;
    for (int r = 0; r < group; r++, to.value += count) {
        const int start = bins->start[r], length = bins->length[r];
        if (to.argmax) {
            max_rows_as(row + start, length, first + start * step, step, count, to,
                        ROICY_LANE_BYTES < 64 ? 4 : 8);
            to.argmax += count;
        } else
            max_rows_by_length(row + start, length, count, to.value);
    }
}

/* Rows of maxima before their columns, and their argmax unless that is NULL. */
typedef struct {
    lane_rows value;
    const lane_ints *argmax;
} max_rows;

/* The first `length` columns of `group` rows; the bins of a row are `target_stride` after those of
 * the one before, those of the next vector of a pixel `block`. */
ROICY_INLINE void max_columns_as(const lane_rows from, int length, lanes *target, ptrdiff_t target_stride,
                                 ptrdiff_t block, const int group, const int width) {
    const ptrdiff_t step = from.stride * from.depth;
    lanes best[4][2];
    for (int r = 0; r < group; r++)
        for (int v = 0; v < width; v++)
            best[r][v] = from.first[r * step + v];
    for (int i = 1; i < length; i++)
        for (int r = 0; r < group; r++)
            for (int v = 0; v < width; v++)
                best[r][v] = lanes_greater(from.first[r * step + (ptrdiff_t)i * from.depth + v], best[r][v]);
    for (int r = 0; r < group; r++)
        for (int v = 0; v < width; v++)
            target[v * block + r * target_stride] = best[r][v];
}

/* The argmax of columns: that of their rows, plus how far along the row they are. */
ROICY_INLINE void max_columns_and_argmax_as(const max_rows rows, int start, int length, lanes *target,
                                            lanes *target_argmax, ptrdiff_t target_stride, const int group) {
    const lanes *const value = rows.value.first;
    const ptrdiff_t step = rows.value.stride * rows.value.depth;
    lanes best[4];
    lane_ints argmax[4];
    for (int r = 0; r < group; r++) {
        best[r] = value[r * step];
        argmax[r] = ints_add(rows.argmax[r * step], start);
    }
    for (int i = 1; i < length; i++)
        for (int r = 0; r < group; r++) {
            const ptrdiff_t at = r * step + (ptrdiff_t)i * rows.value.depth;
            lanes_take_first(value[at], ints_add(rows.argmax[at], start + i), &best[r], &argmax[r]);
        }
    for (int r = 0; r < group; r++) {
        target[r * target_stride] = best[r];
        target_argmax[r * target_stride] = argmax_out(argmax[r]);
    }
}

/* Two vectors at a time where no argmax joins them in the registers. */
ROICY_INLINE void max_columns_of(const max_rows rows, const range_lists bins, int count, lanes *target,
                                 lanes *target_argmax, ptrdiff_t block, const int group) {
    const int depth = rows.value.depth;
    for (int q = 0; q < count; q++, target++, target_argmax++) {
        const ptrdiff_t first = (ptrdiff_t)bins.start[q] * depth;
        const int n = bins.length[q];
        max_rows at = rows;
        int v = n == 0 ? depth : 0;
        at.value.first += first;
        if (rows.argmax) {
            at.argmax += first;
            for (; v < depth; v++, at.value.first++, at.argmax++)
                max_columns_and_argmax_as(at, bins.start[q], n, target + v * block, target_argmax + v * block,
                                          count, group);
            continue;
        }
        for (; v + 2 <= depth; v += 2, at.value.first += 2)
            max_columns_as(at.value, n, target + v * block, count, block, group, 2);
        for (; v < depth; v++, at.value.first++)
            max_columns_as(at.value, n, target + v * block, count, block, group, 1);
    }
}

/* The columns of `group` bins' rows, of 1 to 4 at once, for `count` bins. Vector v of a pixel goes to
 * target + v * block. Empty bins are left alone. */
ROICY_NOINLINE void pass_max_columns(const max_rows *from, int group, const range_lists *columns, int count,
                                     lanes *target, lanes *target_argmax, ptrdiff_t block) {
    const max_rows rows = *from, values = {from->value, NULL};
    const range_lists bins = *columns;
    switch (rows.argmax ? group : group + 4) {
    case 1:
        max_columns_of(rows, bins, count, target, target_argmax, block, 1);
        break;
    case 2:
        max_columns_of(rows, bins, count, target, target_argmax, block, 2);
        break;
    case 3:
        max_columns_of(rows, bins, count, target, target_argmax, block, 3);
        break;
    case 4:
        max_columns_of(rows, bins, count, target, target_argmax, block, 4);
        break;
    case 5:
        max_columns_of(values, bins, count, target, target_argmax, block, 1);
        break;
    case 6:
        max_columns_of(values, bins, count, target, target_argmax, block, 2);
        break;
    case 7:
        max_columns_of(values, bins, count, target, target_argmax, block, 3);
        break;
    default:
        max_columns_of(values, bins, count, target, target_argmax, block, 4);
    }
}

#endif
