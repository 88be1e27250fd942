/* Maxima of ranges of rows and columns (RoIPool, R-MAC), straight from the planes of a map. First the maxima over rows
 * are found, with lanes along the columns; then those over columns, which leave a vector with a lane for each
 * plane. */
#ifndef ROICY_PLANES_H
#define ROICY_PLANES_H

#include "largest_lane.h"

enum {
    PLANE_AHEAD = 4096,  /* bytes from a load to its prefetch, if only loops over rows prefetch */
    PLANES_AHEAD = 16384 /* the same at the start of a task, if all steps prefetch (planes_ahead) */
};

/* The next cache line to prefetch, of planes that follow each other in memory. To keep the memory busy all the time,
 * half of the lines are prefetched while rows are read, the others in the steps between: so many lines for each range
 * of rows, and so many for each bin. */
typedef struct {
    const char *next;
    int of_range, of_bin;
} planes_ahead;

/* Prefetches the next lines. */
ROICY_INLINE void fetch_planes(planes_ahead *ahead, int lines) {
    const char *next = ahead->next;
    for (; lines > 0; lines--, next += 64)
        lanes_prefetch(next);
    ahead->next = next;
}

/* Rows of a plane, `step` bytes apart. Nothing at or behind `limit` is read. `first` is the argmax of the first pixel,
 * `columns` the width of the map, by which the argmax grows from row to row. If `ahead` is NULL, loops over rows
 * prefetch what is PLANE_AHEAD bytes further. */
typedef struct {
    const char *source, *limit;
    ptrdiff_t step;
    lane_int first, columns;
    int rows;
    planes_ahead *ahead;
} plane_rows;

/* The argmax of LANES neighbouring pixels: first, first + 1, ... */
ROICY_INLINE lane_ints pixels_from(lane_int first) {
    lane_ints number;
#if defined(__GNUC__)
    ROICY_EACH(l) number[l] = l;
#else
    ROICY_EACH(l) number.lane[l] = l;
#endif
    return ints_add(number, first);
}

/* The maxima over the rows, for `width` vectors of columns from column i on. */
ROICY_INLINE void max_rows_of_vectors(const plane_rows *from, ptrdiff_t i, const maxima to, const int dtype,
                                      const int width) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    lane_ints here = pixels_from(from->first + (lane_int)i), argmax[4];
    const char *next = from->ahead ? from->ahead->next : NULL;
    lanes best[4];
    for (int v = 0; v < width; v++) {
        best[v] = lanes_lowest();
        argmax[v] = ints_fill(NOWHERE);
    }
    for (int j = 0; j < from->rows; j++, here = ints_add(here, from->columns)) {
        const char *row = from->source + j * from->step + i * size;
        if (next)
            for (int b = 0; b < width * LANES * size; b += 128, next += 64)
                lanes_prefetch(next);
        else
            for (int b = 0; b < width * LANES * size; b += 64)
                lanes_prefetch(row + PLANE_AHEAD + b);
        for (int v = 0; v < width; v++) {
            const lanes x = lanes_load(row + v * LANES * size, dtype);
            if (to.argmax)
                lanes_take(x, here, &best[v], &argmax[v]);
            else
                best[v] = lanes_greater(x, best[v]);
        }
    }
    if (next)
        from->ahead->next = next;
    for (int v = 0; v < width; v++) {
        to.value[v] = best[v];
        if (to.argmax)
            to.argmax[v] = ints_add(argmax[v], v * LANES);
    }
}

/* The same for the last vector, which has only `some` columns. Its other lanes have any values. */
ROICY_INLINE void max_rows_of_part(const plane_rows *from, ptrdiff_t i, int some, const maxima to,
                                   const int dtype) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    lane_ints here = pixels_from(from->first + (lane_int)i), argmax = ints_fill(NOWHERE);
    lanes best = lanes_lowest();
    for (int j = 0; j < from->rows; j++, here = ints_add(here, from->columns)) {
        const char *row = from->source + j * from->step + i * size;
        const lanes x =
            row + LANES * size <= from->limit ? lanes_load(row, dtype) : lanes_load_part(row, some, dtype);
        if (to.argmax)
            lanes_take(x, here, &best, &argmax);
        else
            best = lanes_greater(x, best);
    }
    *to.value = best;
    if (to.argmax)
        *to.argmax = argmax;
}

/* Maxima from the i-th vector on. */
ROICY_INLINE maxima maxima_from(const maxima to, ptrdiff_t i) {
    const maxima from = {to.value + i, to.argmax ? to.argmax + i : NULL};
    return from;
}

ROICY_INLINE void max_rows_of_plane(const plane_rows *from, ptrdiff_t count, const maxima to,
                                    const int dtype) {
    ptrdiff_t i = 0, v = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES, v += 4)
        max_rows_of_vectors(from, i, maxima_from(to, v), dtype, 4);
    for (; i + 2 * LANES <= count; i += 2 * LANES, v += 2)
        max_rows_of_vectors(from, i, maxima_from(to, v), dtype, 2);
    for (; i + LANES <= count; i += LANES, v++)
        max_rows_of_vectors(from, i, maxima_from(to, v), dtype, 1);
    if (i < count)
        max_rows_of_part(from, i, (int)(count - i), maxima_from(to, v), dtype);
}

/* `count` runs of rows: run i has the rows first[i] to last[i] - 1, or none if these are equal. */
typedef struct {
    const int32_t *first, *last;
    int count;
} row_runs;

ROICY_INLINE void max_runs_of_plane(const plane_rows *plane, const row_runs *runs, ptrdiff_t count,
                                    const maxima to, ptrdiff_t stride, const int dtype) {
    plane_rows from = *plane;
    for (int i = 0; i < runs->count; i++) {
        const int32_t first = runs->first[i];
        from.rows = runs->last[i] - first;
        from.source = plane->source + first * plane->step;
        from.first = plane->first + first * plane->columns;
        if (from.rows)
            max_rows_of_plane(&from, count, maxima_from(to, i * stride), dtype);
    }
}

/* For each run of rows: finds the maximum of each of `count` columns. Run i's go to target->value + i * stride. The
 * argmax, the first of equal pixels, goes to target->argmax + i * stride unless that is NULL. Lanes behind the last
 * column get any values. Nothing is written for a run without rows. */
ROICY_NOINLINE void pass_max_of_plane(const plane_rows *plane, const row_runs *runs, ptrdiff_t count,
                                      const maxima *target, ptrdiff_t stride, int dtype) {
    maxima to = *target;
    if (to.argmax) {
        ROICY_READ_AS(dtype, max_runs_of_plane, plane, runs, count, to, stride)
    } else {
        to.argmax = NULL;
        ROICY_READ_AS(dtype, max_runs_of_plane, plane, runs, count, to, stride)
    }
}

/* `width` vectors of each run of strips (see pass_max_of_strips); each run has at least one strip. */
ROICY_INLINE void max_of_strips(const maxima strips, const row_runs *runs, const maxima to, ptrdiff_t stride,
                                planes_ahead *ahead, const int width) {
    for (int i = 0; i < runs->count; i++) {
        const ptrdiff_t last = runs->last[i] * stride;
        ptrdiff_t j = runs->first[i] * stride;
        lanes best[2];
        lane_ints argmax[2];
        if (ahead)
            fetch_planes(ahead, ahead->of_range);
        for (int v = 0; v < width; v++) {
            best[v] = strips.value[j + v];
            if (to.argmax)
                argmax[v] = strips.argmax[j + v];
        }
        for (j += stride; j < last; j += stride)
            for (int v = 0; v < width; v++)
                if (to.argmax)
                    lanes_take(strips.value[j + v], strips.argmax[j + v], &best[v], &argmax[v]);
                else
                    best[v] = lanes_greater(strips.value[j + v], best[v]);
        for (int v = 0; v < width; v++) {
            to.value[i * stride + v] = best[v];
            if (to.argmax)
                to.argmax[i * stride + v] = argmax[v];
        }
    }
}

ROICY_INLINE void max_of_strips_as(const maxima strips, const row_runs *runs, int count, const maxima to,
                                   ptrdiff_t stride, planes_ahead *ahead) {
    ptrdiff_t v = 0;
    for (; v + 2 <= count; v += 2)
        max_of_strips(maxima_from(strips, v), runs, maxima_from(to, v), stride, ahead, 2);
    if (v < count)
        max_of_strips(maxima_from(strips, v), runs, maxima_from(to, v), stride, ahead, 1);
}

/* As pass_max_of_plane, for runs of strips. A strip is the maxima of some rows, as pass_max_of_plane leaves them:
 * `count` vectors, `stride` vectors behind the strip before. */
ROICY_NOINLINE void pass_max_of_strips(const maxima *strips, const row_runs *runs, int count,
                                       const maxima *target, ptrdiff_t stride, planes_ahead *ahead) {
    const maxima values = {strips->value, NULL}, to_values = {target->value, NULL};
    if (target->argmax)
        max_of_strips_as(*strips, runs, count, *target, stride, ahead);
    else
        max_of_strips_as(values, runs, count, to_values, stride, ahead);
}

/* x in the first `count` lanes, the lowest number in the others. */
ROICY_INLINE lanes lanes_among(lanes x, int count) {
#if defined(__GNUC__)
    lane_ints number;
    ROICY_EACH(l) number[l] = l;
    number = number < ints_fill((lane_int)count);
    return (lanes)((number & (lane_ints)x) | (~number & (lane_ints)lanes_lowest()));
#else
    ROICY_EACH(l) x.lane[l] = l < count ? x.lane[l] : -FLT_MAX;
    return x;
#endif
}

/* The largest of elements start to start + length - 1 of LANES lines: lane c has that of line c. A line is the maxima
 * over some rows of a plane. Lines lie `stride` vectors apart and have no NaN; LANES elements behind each may be
 * read. */
ROICY_INLINE lanes max_columns_of_planes(const lanes *lines, ptrdiff_t stride, int start, int length) {
    const char *from = (const char *)((const real *)lines + start);
    const ptrdiff_t step = stride * (ptrdiff_t)sizeof(lanes), size = (ptrdiff_t)sizeof(real);
    lanes best[ROICY_LANE_COUNT];
    if (length < LANES) {
        ROICY_EACH(c) best[c] = lanes_among(lanes_load_own(from + c * step), length);
    } else { /* the last vector may overlap the one before */
        ROICY_EACH(c) best[c] = lanes_load_own(from + c * step + (length - LANES) * size);
        for (int i = 0; i + LANES < length; i += LANES)
            ROICY_EACH(c) best[c] = lanes_greater(lanes_load_own(from + c * step + i * size), best[c]);
    }
    return join_lanes(best, 0);
}

/* The same for `count` bins. Bin q has length[q] columns from left + start[q] on; for a bin without columns, nothing is
 * written. */
ROICY_NOINLINE void pass_max_of_lines(const lanes *lines, ptrdiff_t stride, int left, const range_lists *bins,
                                      int count, lanes *target, planes_ahead *ahead) {
    for (int q = 0; q < count; q++)
        if (bins->length[q]) {
            if (ahead)
                fetch_planes(ahead, ahead->of_bin);
            target[q] = max_columns_of_planes(lines, stride, left + bins->start[q], bins->length[q]);
        }
}

/* ---- the argmax of a bin, once its maximum is known ---- */

/* In lanes where a and b are equal: the lesser of `least` and `here`. In the others: `least`. */
ROICY_INLINE lane_ints ints_where_equal(lanes a, lanes b, lane_ints here, lane_ints least) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    const __mmask8 equal = _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_EQ_OQ);
    return (lane_ints)_mm512_mask_min_epi64((__m512i)least, equal, (__m512i)least, (__m512i)here);
#elif defined(__AVX512F__)
    const __mmask16 equal = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ);
    return (lane_ints)_mm512_mask_min_epi32((__m512i)least, equal, (__m512i)least, (__m512i)here);
#elif defined(__GNUC__)
    const lane_ints equal = a == b;
    return ints_lesser((equal & here) | (~equal & ints_fill(INT32_MAX)), least);
#else
    ROICY_EACH(l)
    if (a.lane[l] == b.lane[l] && here.lane[l] < least.lane[l])
        least.lane[l] = here.lane[l];
    return least;
#endif
}

/* Lines of LANES planes, `stride` vectors apart, and the argmax of each element. */
typedef struct {
    const lanes *value;
    const lane_ints *argmax;
    ptrdiff_t stride;
} plane_lines;

/* In each lane the lesser of `least` and the argmax of its element, if that is one of the first `count` and equals
 * `wanted`. */
ROICY_INLINE lane_ints first_of_elements(const real *value, const lane_int *argmax, int count, lanes wanted,
                                         lane_ints least) {
    const lanes x = lanes_load_own((const char *)value);
    /* Elements behind the first `count` count as the lowest number. If that is wanted, the bin has nothing larger: its
     * own elements have the argmax NOWHERE, which is less than any other. */
    return ints_where_equal(count < LANES ? lanes_among(x, count) : x, wanted,
                            ints_of(lanes_load_own((const char *)argmax)), least);
}

/* The least argmax among elements start to start + length - 1 of each line that equal `largest`: lane c has line
 * c's. */
ROICY_INLINE lane_ints argmax_columns_of_planes(const plane_lines *lines, int start, int length,
                                                lanes largest) {
    const real *value = (const real *)lines->value + start;
    const lane_int *argmax = (const lane_int *)lines->argmax + start;
    const ptrdiff_t step = lines->stride * LANES;
    const lane_ints none = ints_fill(INT32_MAX);
    const int last = length - LANES;
    real wanted[ROICY_LANE_COUNT];
    lanes least[ROICY_LANE_COUNT];
    memcpy(wanted, &largest, sizeof largest);
    if (last < 0) {
        ROICY_EACH(c) {
            const ptrdiff_t at = c * step;
            least[c] =
                lanes_of(first_of_elements(value + at, argmax + at, length, lanes_fill(wanted[c]), none));
        }
    } else {
        ROICY_EACH(c) {
            const ptrdiff_t at = c * step + last;
            least[c] =
                lanes_of(first_of_elements(value + at, argmax + at, LANES, lanes_fill(wanted[c]), none));
        }
    }
    for (int i = 0; i < last; i += LANES) {
        ROICY_EACH(c) {
            const ptrdiff_t at = c * step + i;
            least[c] = lanes_of(
                first_of_elements(value + at, argmax + at, LANES, lanes_fill(wanted[c]), ints_of(least[c])));
        }
    }
    return ints_of(join_lanes(least, 1));
}

/* Zeros of both signs are equal: gives a maximum of 0 the sign of the first zero, the one at its argmax. */
ROICY_NOINLINE lanes signs_of_zeros(const plane_lines *lines, int start, int length, lanes largest,
                                    lane_ints argmax) {
    const real *value = (const real *)lines->value + start;
    const lane_int *at = (const lane_int *)lines->argmax + start;
    for (int c = 0; c < LANES; c++, value += lines->stride * LANES, at += lines->stride * LANES) {
        int i = 0;
        if (ROICY_LANE(largest, c) != 0)
            continue;
        while (i < length && at[i] != ROICY_LANE(argmax, c))
            i++;
        if (i < length)
            ROICY_LANE(largest, c) = value[i];
    }
    return largest;
}

ROICY_INLINE int any_zero(lanes x) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    return _mm512_cmp_pd_mask((__m512d)x, _mm512_setzero_pd(), _CMP_EQ_OQ) != 0;
#elif defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_EQ_OQ) != 0;
#elif defined(__AVX__) && defined(ROICY_DOUBLE)
    return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)x, _mm256_setzero_pd(), _CMP_EQ_OQ)) != 0;
#elif defined(__AVX__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)x, _mm256_setzero_ps(), _CMP_EQ_OQ)) != 0;
#else
    int any = 0;
    ROICY_EACH(l) any |= ROICY_LANE(x, l) == 0;
    return any;
#endif
}

/* As pass_max_of_lines, with the argmax. */
ROICY_NOINLINE void pass_argmax_of_lines(const plane_lines *lines, int left, const range_lists *bins,
                                         int count, lanes *target, lanes *target_argmax,
                                         planes_ahead *ahead) {
    for (int q = 0; q < count; q++) {
        const int start = left + bins->start[q], length = bins->length[q];
        lanes largest;
        lane_ints argmax;
        if (length == 0)
            continue;
        if (ahead)
            fetch_planes(ahead, ahead->of_bin);
        largest = max_columns_of_planes(lines->value, lines->stride, start, length);
        argmax = argmax_columns_of_planes(lines, start, length, largest);
        target[q] = any_zero(largest) ? signs_of_zeros(lines, start, length, largest, argmax) : largest;
        target_argmax[q] = argmax_out(argmax);
    }
}

#endif
