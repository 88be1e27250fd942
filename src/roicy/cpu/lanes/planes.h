/* Maxima straight from the planes: lanes are neighbouring pixels of a row until its columns are joined. */
#ifndef ROICY_PLANES_H
#define ROICY_PLANES_H

#include "blocks.h"
#include "maxima.h"

enum { PLANE_AHEAD = 4096 }; /* how many bytes ahead of the loads planes are fetched */

/* `width` vectors of each row. */
ROICY_INLINE void max_rows_of_vectors(const char *source, ptrdiff_t step, int rows, lanes *target,
                                      const int ahead, const int dtype, const int width) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    lanes best[4];
    for (int v = 0; v < width; v++)
        best[v] = lanes_lowest();
    for (int j = 0; j < rows; j++) {
        const char *from = source + j * step;
        if (ahead)
            for (int b = 0; b < width * LANES * size; b += 64)
                lanes_prefetch(from + ahead + b);
        for (int v = 0; v < width; v++)
            best[v] = lanes_greater(lanes_load(from + v * LANES * size, dtype), best[v]);
    }
    for (int v = 0; v < width; v++)
        target[v] = best[v];
}

ROICY_INLINE void max_rows_of_plane(const char *source, ptrdiff_t step, int rows, ptrdiff_t count,
                                    const char *limit, lanes *target, const int ahead, const int dtype) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES, target += 4)
        max_rows_of_vectors(source + i * size, step, rows, target, ahead, dtype, 4);
    for (; i + 2 * LANES <= count; i += 2 * LANES, target += 2)
        max_rows_of_vectors(source + i * size, step, rows, target, ahead, dtype, 2);
    for (; i < count; i += LANES, target++) {
        const int some = (int)(count - i < LANES ? count - i : LANES);
        lanes best = lanes_lowest();
        for (int j = 0; j < rows; j++) {
            const char *from = source + j * step + i * size;
            best = lanes_greater(some == LANES || from + LANES * size <= limit
                                     ? lanes_load(from, dtype)
                                     : lanes_load_part(from, some, dtype),
                                 best);
        }
        *target = best;
    }
}

/* `count` runs of a plane's rows: the i-th one has the rows first[i] to last[i], if those are any. */
typedef struct {
    const int32_t *first, *last;
    int count, ahead; /* rows of a plane that are fetched before they are read */
} row_runs;

ROICY_INLINE void max_runs_of_plane(const char *source, ptrdiff_t step, const row_runs *runs, ptrdiff_t count,
                                    const char *limit, lanes *target, ptrdiff_t stride, const int dtype) {
    for (int i = 0; i < runs->count; i++) {
        const int32_t first = runs->first[i], rows = runs->last[i] - first;
        if (rows)
            max_rows_of_plane(source + first * step, step, rows, count, limit, target + i * stride,
                              runs->ahead, dtype);
    }
}

/* The largest of the rows of each run, which begin `step` bytes apart and hold `count` elements each, goes to
 * target + i * stride. The last vector goes on with anything. Nothing is read from `limit` on. */
ROICY_NOINLINE void pass_max_of_plane(const char *source, ptrdiff_t step, const row_runs *runs,
                                      ptrdiff_t count, const char *limit, lanes *target, ptrdiff_t stride,
                                      int dtype) {
    const row_runs of = {runs->first, runs->last, runs->count, PLANE_AHEAD};
    ROICY_READ_AS(dtype, max_runs_of_plane, source, step, &of, count, limit, target, stride)
}

/* The same for rows of vectors in the cache, `stride` apart, of which there are `rows`. */
ROICY_NOINLINE void pass_max_of_strips(const lanes *source, int rows, const row_runs *runs, ptrdiff_t count,
                                       lanes *target, ptrdiff_t stride) {
    const row_runs of = {runs->first, runs->last, runs->count, 0};
    max_runs_of_plane((const char *)source, stride * (ptrdiff_t)sizeof(lanes), &of, count,
                      (const char *)(source + rows * stride), target, stride, OWN);
}

/* The first `count` lanes, the lowest number in the others. */
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

/* The largest of the elements start to start + length of LANES lines, one line a lane. The lines lie `stride`
 * vectors apart, hold no NaN there, and are followed by LANES elements that may be read. */
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
    lanes_transpose(best);
    for (int half = LANES / 2; half; half /= 2)
        for (int c = 0; c < half; c++)
            best[c] = lanes_greater(best[c + half], best[c]);
    return best[0];
}

/* The same for `count` bins, whose columns begin at start[q] after column `left`. Empty ones are left alone.
 */
ROICY_NOINLINE void pass_max_of_lines(const lanes *lines, ptrdiff_t stride, int left, const int32_t *start,
                                      const int32_t *length, int count, lanes *target) {
    for (int q = 0; q < count; q++)
        if (length[q])
            target[q] = max_columns_of_planes(lines, stride, left + start[q], length[q]);
}

#endif
