/* Maxima of vectors, with the place where each lane's maximum was found.
 *
 * A value replaces another where it is greater, so a NaN never does, and of equal ones the first stays. */
#ifndef ROICY_MAXIMA_H
#define ROICY_MAXIMA_H

#include "lanes.h"

#include <float.h>

#ifdef ROICY_DOUBLE
typedef int64_t place;
#else
typedef int32_t place;
#endif
#if defined(__GNUC__)
typedef place places __attribute__((vector_size(ROICY_LANE_BYTES)));
#else
typedef struct {
    place lane[ROICY_LANE_COUNT];
} places;
#endif

/* Where nothing was found. Stays negative when a column is added. */
#define NOWHERE ((place)INT32_MIN)

ROICY_INLINE lanes lanes_lowest(void) { return lanes_fill(-FLT_MAX); }

ROICY_INLINE places places_fill(place value) {
    places x;
#if defined(__GNUC__)
    x = value - (places){0};
#else
    ROICY_EACH(l) x.lane[l] = value;
#endif
    return x;
}

ROICY_INLINE places places_add(places a, place b) {
#if defined(__GNUC__)
    return a + b;
#else
    ROICY_EACH(l) a.lane[l] += b;
    return a;
#endif
}

/* What the arrays outside get: -1 for nowhere. */
ROICY_INLINE lanes places_out(places at) {
    lanes x;
    place copy[ROICY_LANE_COUNT];
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
    places greater = x > best;
    return (lanes)((greater & (places)x) | (~greater & (places)best));
#else
    ROICY_EACH(l) best.lane[l] = x.lane[l] > best.lane[l] ? x.lane[l] : best.lane[l];
    return best;
#endif
}

ROICY_INLINE void lanes_take(lanes x, places at, lanes *best, places *best_at) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    __mmask8 greater = _mm512_cmp_pd_mask((__m512d)x, (__m512d)*best, _CMP_GT_OQ);
    *best = (lanes)_mm512_max_pd((__m512d)x, (__m512d)*best);
    *best_at = (places)_mm512_mask_mov_epi64((__m512i)*best_at, greater, (__m512i)at);
#elif defined(__AVX512F__)
    __mmask16 greater = _mm512_cmp_ps_mask((__m512)x, (__m512)*best, _CMP_GT_OQ);
    *best = (lanes)_mm512_max_ps((__m512)x, (__m512)*best);
    *best_at = (places)_mm512_mask_mov_epi32((__m512i)*best_at, greater, (__m512i)at);
#elif defined(__AVX2__) && defined(ROICY_DOUBLE)
    __m256d greater = _mm256_cmp_pd((__m256d)x, (__m256d)*best, _CMP_GT_OQ);
    *best = (lanes)_mm256_max_pd((__m256d)x, (__m256d)*best);
    *best_at = (places)_mm256_blendv_pd((__m256d)*best_at, (__m256d)at, greater);
#elif defined(__AVX2__)
    __m256 greater = _mm256_cmp_ps((__m256)x, (__m256)*best, _CMP_GT_OQ);
    *best = (lanes)_mm256_max_ps((__m256)x, (__m256)*best);
    *best_at = (places)_mm256_blendv_ps((__m256)*best_at, (__m256)at, greater);
#elif defined(__GNUC__)
    places greater = x > *best;
    *best = (lanes)((greater & (places)x) | (~greater & (places)*best));
    *best_at = (greater & at) | (~greater & *best_at);
#else
    ROICY_EACH(l) if (x.lane[l] > best->lane[l]) {
        best->lane[l] = x.lane[l];
        best_at->lane[l] = at.lane[l];
    }
#endif
}

/* As lanes_take, for candidates that do not come in the order of their places: of equal ones the first place
 * wins. */
ROICY_INLINE void lanes_take_first(lanes x, places at, lanes *best, places *best_at) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    __mmask8 take = _mm512_cmp_pd_mask((__m512d)x, (__m512d)*best, _CMP_GT_OQ) |
                    (_mm512_cmp_pd_mask((__m512d)x, (__m512d)*best, _CMP_EQ_OQ) &
                     _mm512_cmplt_epi64_mask((__m512i)at, (__m512i)*best_at));
    *best = (lanes)_mm512_mask_mov_pd((__m512d)*best, take, (__m512d)x);
    *best_at = (places)_mm512_mask_mov_epi64((__m512i)*best_at, take, (__m512i)at);
#elif defined(__AVX512F__)
    __mmask16 take = _mm512_cmp_ps_mask((__m512)x, (__m512)*best, _CMP_GT_OQ) |
                     _mm512_mask_cmplt_epi32_mask(_mm512_cmp_ps_mask((__m512)x, (__m512)*best, _CMP_EQ_OQ),
                                                  (__m512i)at, (__m512i)*best_at);
    *best = (lanes)_mm512_mask_mov_ps((__m512)*best, take, (__m512)x);
    *best_at = (places)_mm512_mask_mov_epi32((__m512i)*best_at, take, (__m512i)at);
#elif defined(__GNUC__)
    places take = (x > *best) | ((x == *best) & (at < *best_at));
    *best = (lanes)((take & (places)x) | (~take & (places)*best));
    *best_at = (take & at) | (~take & *best_at);
#else
    ROICY_EACH(l)
    if (x.lane[l] > best->lane[l] || (x.lane[l] == best->lane[l] && at.lane[l] < best_at->lane[l])) {
        best->lane[l] = x.lane[l];
        best_at->lane[l] = at.lane[l];
    }
#endif
}

/* ---- down the rows of a window, then along its columns ---- */

/* target[i] = largest of row[j][i] over the rows j, for i < count; at[i] becomes the place of the row it is
 * in, the first one's being `first` and the others `step` apart. */
ROICY_INLINE void max_rows_at(const char *const *row, const int rows, ptrdiff_t i, const int with_places,
                              place first, place step, lanes *target, places *at, const int width) {
    lanes best[8];
    places best_at[8];
    for (int v = 0; v < width; v++) {
        best[v] = lanes_lowest();
        best_at[v] = places_fill(NOWHERE);
    }
    for (int j = 0; j < rows; j++) {
        const lanes *source = (const lanes *)row[j] + i;
        places here = places_fill(first + j * step);
        for (int v = 0; v < width; v++)
            if (with_places)
                lanes_take(source[v], here, &best[v], &best_at[v]);
            else
                best[v] = lanes_greater(source[v], best[v]);
    }
    for (int v = 0; v < width; v++) {
        target[i + v] = best[v];
        if (with_places)
            at[i + v] = best_at[v];
    }
}

ROICY_INLINE void max_rows_as(const char *const *row, const int rows, const int with_places, place first,
                              place step, ptrdiff_t count, lanes *target, places *at) {
    /* as many columns at once as leave their maxima in registers */
    const int most = with_places && ROICY_LANE_BYTES < 64 ? 4 : 8;
    ptrdiff_t i = 0;
    for (; i + most <= count; i += most)
        max_rows_at(row, rows, i, with_places, first, step, target, at, most);
    if (i == count)
        return;
    if (i > 0) { /* once more, overlapping: cheaper than the rest one by one */
        max_rows_at(row, rows, count - most, with_places, first, step, target, at, most);
        return;
    }
    if (most > 4)
        for (; i + 4 <= count; i += 4)
            max_rows_at(row, rows, i, with_places, first, step, target, at, 4);
    for (; i + 2 <= count; i += 2)
        max_rows_at(row, rows, i, with_places, first, step, target, at, 2);
    if (i < count)
        max_rows_at(row, rows, i, with_places, first, step, target, at, 1);
}

/* The rows of `group` bins, `count` vectors each: bin r has the rows start[r] to start[r] + length[r].
 * `first` is the place of row[0], rows lie `step` places apart; `at` may be NULL. */
ROICY_NOINLINE void pass_max_rows(const char *const *row, int group, const int32_t *start,
                                  const int32_t *length, place first, place step, ptrdiff_t count,
                                  lanes *target, places *at) {
    for (int r = 0; r < group; r++, target += count) {
        const char *const *rows = row + start[r];
        if (at) {
            max_rows_as(rows, length[r], 1, first + start[r] * step, step, count, target, at);
            at += count;
            continue;
        }
        switch (length[r]) {
        case 0:
            break;
        case 1:
            max_rows_as(rows, 1, 0, 0, 0, count, target, NULL);
            break;
        case 2:
            max_rows_as(rows, 2, 0, 0, 0, count, target, NULL);
            break;
        case 3:
            max_rows_as(rows, 3, 0, 0, 0, count, target, NULL);
            break;
        case 4:
            max_rows_as(rows, 4, 0, 0, 0, count, target, NULL);
            break;
        default:
            max_rows_as(rows, length[r], 0, 0, 0, count, target, NULL);
        }
    }
}

ROICY_INLINE void max_columns_as(const lanes *lines, ptrdiff_t stride, int depth, int length, lanes *target,
                                 ptrdiff_t target_stride, ptrdiff_t block, const int group, const int width) {
    lanes best[4][2];
    for (int r = 0; r < group; r++)
        for (int v = 0; v < width; v++)
            best[r][v] = lines[r * stride + v];
    for (int i = 1; i < length; i++)
        for (int r = 0; r < group; r++)
            for (int v = 0; v < width; v++)
                best[r][v] = lanes_greater(lines[r * stride + (ptrdiff_t)i * depth + v], best[r][v]);
    for (int r = 0; r < group; r++)
        for (int v = 0; v < width; v++)
            target[v * block + r * target_stride] = best[r][v];
}

/* Places of columns: those of their rows, plus how far along the row they are. */
ROICY_INLINE void max_columns_and_places_as(const lanes *lines, const places *at, ptrdiff_t stride, int depth,
                                            int start, int length, lanes *target, lanes *target_at,
                                            ptrdiff_t target_stride, const int group) {
    lanes best[4];
    places best_at[4];
    for (int r = 0; r < group; r++) {
        best[r] = lines[r * stride];
        best_at[r] = places_add(at[r * stride], start);
    }
    for (int i = 1; i < length; i++)
        for (int r = 0; r < group; r++)
            lanes_take_first(lines[r * stride + (ptrdiff_t)i * depth],
                             places_add(at[r * stride + (ptrdiff_t)i * depth], start + i), &best[r],
                             &best_at[r]);
    for (int r = 0; r < group; r++) {
        target[r * target_stride] = best[r];
        target_at[r * target_stride] = places_out(best_at[r]);
    }
}

/* Two vectors at a time where no places join them in the registers. */
ROICY_INLINE void max_columns_of(const lanes *lines, const places *at, ptrdiff_t stride, int depth,
                                 const int32_t *start, const int32_t *length, int count, lanes *target,
                                 lanes *target_at, ptrdiff_t block, const int group) {
    for (int q = 0; q < count; q++, target++, target_at++) {
        const ptrdiff_t from = (ptrdiff_t)start[q] * depth;
        const int n = length[q];
        int v = n == 0 ? depth : 0;
        if (at) {
            for (; v < depth; v++)
                max_columns_and_places_as(lines + from + v, at + from + v, stride, depth, start[q], n,
                                          target + v * block, target_at + v * block, count, group);
            continue;
        }
        for (; v + 2 <= depth; v += 2)
            max_columns_as(lines + from + v, stride, depth, n, target + v * block, count, block, group, 2);
        for (; v < depth; v++)
            max_columns_as(lines + from + v, stride, depth, n, target + v * block, count, block, group, 1);
    }
}

/* The columns of `group` bins' lines, of 1 to 4 at once, for `count` bins: bin q has the columns start[q] to
 * start[q] + length[q] of a line, `depth` vectors each. Block v of the channels goes to target + v * block.
 * Empty bins are left alone; `at` may be NULL. */
ROICY_NOINLINE void pass_max_columns(const lanes *lines, const places *at, ptrdiff_t stride, int group,
                                     int depth, const int32_t *start, const int32_t *length, int count,
                                     lanes *target, lanes *target_at, ptrdiff_t block) {
#define ROICY_COLUMNS(at, group)                                                                             \
    max_columns_of(lines, at, stride, depth, start, length, count, target, target_at, block, group)
    switch (at ? group : group + 4) {
    case 1:
        ROICY_COLUMNS(at, 1);
        break;
    case 2:
        ROICY_COLUMNS(at, 2);
        break;
    case 3:
        ROICY_COLUMNS(at, 3);
        break;
    case 4:
        ROICY_COLUMNS(at, 4);
        break;
    case 5:
        ROICY_COLUMNS(NULL, 1);
        break;
    case 6:
        ROICY_COLUMNS(NULL, 2);
        break;
    case 7:
        ROICY_COLUMNS(NULL, 3);
        break;
    default:
        ROICY_COLUMNS(NULL, 4);
    }
#undef ROICY_COLUMNS
}

/* ---- maxima over bilinear samples ---- */

enum { SAMPLE_ROWS = 4 };

/* One row of samples before its columns: two rows of the window, blended, or under the rule of ONNX weighted
 * and the larger of the two. */
ROICY_NOINLINE void pass_sample_row(const lanes *low, const lanes *high, real low_weight, real high_weight,
                                    int by_corner, ptrdiff_t count, lanes *target) {
    if (by_corner)
        for (ptrdiff_t i = 0; i < count; i++)
            target[i] = lanes_greater(lanes_scale(high_weight, high[i]), lanes_scale(low_weight, low[i]));
    else
        for (ptrdiff_t i = 0; i < count; i++)
            target[i] = lanes_madd(high_weight, high[i], lanes_scale(low_weight, low[i]));
}

ROICY_INLINE void samples_as(const lanes *const line, ptrdiff_t stride, const int rows, const int32_t *low,
                             const int32_t *high, const real *low_weight, const real *high_weight,
                             int samples, int depth, const place *first, const int32_t *number,
                             const int by_corner, const int with_places, lanes *best, places *best_at) {
    lanes top = *best;
    places top_at;
    if (with_places)
        top_at = *best_at;
    else
        top_at = places_fill(0);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < samples; i++) {
            const lanes left = line[r * stride + (ptrdiff_t)low[i] * depth],
                        right = line[r * stride + (ptrdiff_t)high[i] * depth];
            const lanes value =
                by_corner
                    ? lanes_greater(lanes_scale(high_weight[i], right), lanes_scale(low_weight[i], left))
                    : lanes_madd(high_weight[i], right, lanes_scale(low_weight[i], left));
            if (with_places)
                lanes_take(value, places_fill(first[r] + number[i]), &top, &top_at);
            else
                top = lanes_greater(value, top);
        }
    *best = top;
    if (with_places)
        *best_at = top_at;
}

/* A bin's samples on `rows` of their rows, joining the largest so far. `first` holds the places that the
 * rows' numbers begin with, `number` those of the columns; `best_at` may be NULL. */
ROICY_NOINLINE void pass_samples(const lanes *line, ptrdiff_t stride, int rows, const int32_t *low,
                                 const int32_t *high, const real *low_weight, const real *high_weight,
                                 int samples, int depth, const place *first, const int32_t *number,
                                 int by_corner, lanes *best, places *best_at) {
    if (by_corner)
        samples_as(line, stride, rows, low, high, low_weight, high_weight, samples, depth, first, number, 1,
                   0, best, best_at);
    else if (best_at)
        samples_as(line, stride, rows, low, high, low_weight, high_weight, samples, depth, first, number, 0,
                   1, best, best_at);
    else
        samples_as(line, stride, rows, low, high, low_weight, high_weight, samples, depth, first, number, 0,
                   0, best, best_at);
}

/* ---- the way back from a sample ---- */

/* The samples of a bin along one axis: their numbers, and the pixels around them. */
typedef struct {
    int count;
    const int32_t *number, *low, *high;
    const real *low_weight, *high_weight;
    const int8_t *level; /* whether the value there does not follow the position */
} sample_axis;

/* x in the lanes that are at this place, zeros in the others */
ROICY_INLINE lanes lanes_at_place(lanes x, places at, place here) {
#if defined(__GNUC__)
    return (lanes)((at == places_fill(here)) & (places)x);
#else
    ROICY_EACH(l) x.lane[l] = at.lane[l] == here ? x.lane[l] : 0;
    return x;
#endif
}

/* Each sample of a bin sends the lanes of `gradient` that chose it to the four pixels around it, in the rows
 * top to bottom of the tile. The zeros of the other lanes change nothing. */
ROICY_NOINLINE void pass_chosen(const lanes *gradient, const places *chosen, const sample_axis *y,
                                const sample_axis *x, int32_t total, ptrdiff_t top, ptrdiff_t bottom,
                                ptrdiff_t columns, lanes *tile) {
    const lanes all = *gradient;
    const places at = *chosen;
    for (int j = 0; j < y->count; j++)
        for (int high = 0; high < 2; high++) {
            const ptrdiff_t row = high ? y->high[j] : y->low[j];
            const lanes weighted = lanes_scale(high ? y->high_weight[j] : y->low_weight[j], all);
            lanes *line = tile + row * columns;
            if (row < top || row >= bottom)
                continue;
            for (int i = 0; i < x->count; i++) {
                const int64_t here = y->number[j] * (int64_t)total + x->number[i];
                if (here > INT32_MAX) /* which no index can name */
                    continue;
                const lanes part = lanes_at_place(weighted, at, (place)here);
                lanes *left = line + x->low[i], *right = line + x->high[i];
                *left = lanes_madd(1, lanes_scale(x->low_weight[i], part), *left);
                *right = lanes_madd(1, lanes_scale(x->high_weight[i], part), *right);
            }
        }
}

/* How far a sample moves with the first coordinate of the box along an axis, and with the second. */
typedef struct {
    real first, second;
} sample_share;

/* The lanes of a bin that chose one of its samples, times the slopes there of the value along y and x,
 * joining the slopes of the box's x1, y1, x2, y2. A sample moves with the second coordinate of an axis by its
 * share, with the first one by the rest. `row` holds the window's rows. */
ROICY_NOINLINE void pass_chosen_slopes(const lanes *gradient, const places *chosen, const char *const *row,
                                       const sample_axis *y, const sample_axis *x, int32_t total,
                                       const sample_share *y_share, const sample_share *x_share,
                                       lanes *slopes) {
    const lanes all = *gradient;
    const places at = *chosen;
    for (int j = 0; j < y->count; j++) {
        const lanes *top = (const lanes *)row[y->low[j]], *bottom = (const lanes *)row[y->high[j]];
        for (int i = 0; i < x->count; i++) {
            const int64_t number = y->number[j] * (int64_t)total + x->number[i];
            const place here = (place)number;
            if (number > INT32_MAX) /* which no index can name */
                continue;
            const lanes top_left = top[x->low[i]], top_right = top[x->high[i]];
            const lanes bottom_left = bottom[x->low[i]], bottom_right = bottom[x->high[i]];
            const real left = x->low_weight[i], right = x->high_weight[i];
            const real upper = y->low_weight[j], lower = y->high_weight[j];
            if (!y->level[j]) {
                lanes above = lanes_madd(right, top_right, lanes_scale(left, top_left));
                lanes below = lanes_madd(right, bottom_right, lanes_scale(left, bottom_left));
                lanes slope = lanes_multiply_add(all, lanes_madd(-1, above, below), lanes_zero());
                slope = lanes_at_place(slope, at, here);
                slopes[1] = lanes_madd(y_share[j].first, slope, slopes[1]);
                slopes[3] = lanes_madd(y_share[j].second, slope, slopes[3]);
            }
            if (!x->level[i]) {
                lanes before = lanes_madd(lower, bottom_left, lanes_scale(upper, top_left));
                lanes behind = lanes_madd(lower, bottom_right, lanes_scale(upper, top_right));
                lanes slope = lanes_multiply_add(all, lanes_madd(-1, before, behind), lanes_zero());
                slope = lanes_at_place(slope, at, here);
                slopes[0] = lanes_madd(x_share[i].first, slope, slopes[0]);
                slopes[2] = lanes_madd(x_share[i].second, slope, slopes[2]);
            }
        }
    }
}

#endif
