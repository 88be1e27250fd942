/* Lanes along a row: the column pass where channels are few and output columns many.
 *
 * The taps of LANES neighbouring output columns are laid out one tap after the other; a column with fewer
 * taps than its neighbours skips the last ones.
 */
#ifndef ROICY_CROPS_H
#define ROICY_CROPS_H

#include "lanes.h"

#ifdef ROICY_DOUBLE
typedef int64_t lane_int;
#else
typedef int32_t lane_int;
#endif

enum { WINDOW = 64 }; /* elements behind a line that may be read */

/* LANES elements of `line`, `index` apart from `base`; `span` is more than the largest index. */
ROICY_INLINE lanes crops_pick(const real *line, const lane_int *index, ptrdiff_t base, ptrdiff_t span) {
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    __m512i at = _mm512_loadu_si512(index);
    const real *window = line + base;
    if (span <= 32)
        return (lanes)_mm512_permutex2var_ps(_mm512_loadu_ps(window), at, _mm512_loadu_ps(window + 16));
    if (span <= 64) {
        __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(window), at, _mm512_loadu_ps(window + 16));
        __m512 high = _mm512_permutex2var_ps(_mm512_loadu_ps(window + 32), at, _mm512_loadu_ps(window + 48));
        return (lanes)_mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), low, high);
    }
    return (lanes)_mm512_i32gather_ps(at, window, 4);
#else
    real copy[ROICY_LANE_COUNT];
    lanes x;
    (void)span;
    ROICY_EACH(l) copy[l] = line[base + index[l]];
    memcpy(&x, copy, sizeof x);
    return x;
#endif
}

/* sum + weight * x in the lanes that have more than `tap` taps */
ROICY_INLINE lanes crops_add(const real *weight, lanes x, lanes sum, const lane_int *taps, lane_int tap) {
    real before[ROICY_LANE_COUNT], after[ROICY_LANE_COUNT];
    lanes w;
    memcpy(&w, weight, sizeof w);
    x = lanes_multiply_add(w, x, sum);
    memcpy(before, &sum, sizeof sum);
    memcpy(after, &x, sizeof x);
    ROICY_EACH(l) after[l] = taps[l] > tap ? after[l] : before[l];
    memcpy(&x, after, sizeof x);
    return x;
}

typedef struct {
    ptrdiff_t base, span; /* the part of the line that the group's taps lie in */
    lane_int least, most; /* taps of its columns */
    ptrdiff_t start;      /* of its taps, in vectors */
} crops_group;

/* One output row: `groups` groups of LANES columns. */
ROICY_NOINLINE void crops_columns(const real *line, const crops_group *group, ptrdiff_t groups,
                                  const lane_int *index, const real *weight, const lane_int *taps,
                                  lanes *target) {
    for (ptrdiff_t q = 0; q < groups; q++) {
        const ptrdiff_t base = group[q].base, span = group[q].span;
        const lane_int *at = index + group[q].start * LANES, *count = taps + q * LANES;
        const real *w = weight + group[q].start * LANES;
        lanes sum = lanes_zero(), first;
        if (group[q].most > 0) {
            memcpy(&first, w, sizeof first);
#if defined(__GNUC__)
            sum = first * crops_pick(line, at, base, span);
#else
            sum = lanes_multiply_add(first, crops_pick(line, at, base, span), sum);
#endif
            if (group[q].least == 0) {
                real masked[ROICY_LANE_COUNT];
                memcpy(masked, &sum, sizeof sum);
                ROICY_EACH(l) masked[l] = count[l] > 0 ? masked[l] : 0;
                memcpy(&sum, masked, sizeof sum);
            }
        }
        for (lane_int t = 1; t < group[q].least; t++) {
            memcpy(&first, w + t * LANES, sizeof first);
            sum = lanes_multiply_add(first, crops_pick(line, at + t * LANES, base, span), sum);
        }
        for (lane_int t = group[q].least > 1 ? group[q].least : 1; t < group[q].most; t++)
            sum = crops_add(w + t * LANES, crops_pick(line, at + t * LANES, base, span), sum, count, t);
        target[q] = sum;
    }
}

ROICY_INLINE void rows_of(const char *const *row, const real *weight, int taps, ptrdiff_t count, int dtype,
                          const char *const *ahead, real *line) {
    ptrdiff_t i = 0, size = (ptrdiff_t)element_size(dtype);
    for (; i < count; i += LANES) {
        if (ahead[0]) {
            lanes_prefetch(ahead[0] + i * size);
            lanes_prefetch(ahead[1] + i * size);
        }
        const int left = count - i < LANES ? (int)(count - i) : LANES;
        lanes sum = lanes_zero();
        for (int j = 0; j < taps; j++) {
            const char *at = row[j] + i * size;
            lanes x = left == LANES ? lanes_load(at, dtype) : lanes_load_part(at, left, dtype);
            sum = j ? lanes_madd(weight[j], x, sum) : lanes_scale(weight[0], x);
        }
        memcpy(line + i, &sum, sizeof sum);
    }
}

/* The row pass of one plane: line[i] = sum over j of weight[j] * row[j][i], rows of any element type. The two
 * rows `ahead`, where there are any, are fetched meanwhile. */
ROICY_NOINLINE void crops_rows(const char *const *row, const real *weight, int taps, ptrdiff_t count,
                               int dtype, const char *const *ahead, real *line) {
    switch (dtype) {
    case FLOAT32:
        rows_of(row, weight, taps, count, FLOAT32, ahead, line);
        break;
    case FLOAT64:
        rows_of(row, weight, taps, count, FLOAT64, ahead, line);
        break;
    case FLOAT16:
        rows_of(row, weight, taps, count, FLOAT16, ahead, line);
        break;
    case BFLOAT16:
        rows_of(row, weight, taps, count, BFLOAT16, ahead, line);
        break;
    default:
        rows_of(row, weight, taps, count, UINT8, ahead, line);
    }
}

ROICY_INLINE void gather_as(const char *source, ptrdiff_t step, ptrdiff_t count, const int dtype,
                            real *target) {
    for (ptrdiff_t i = 0; i < count; i++)
        target[i] = element_load(source + i * step, dtype);
}

/* `count` elements of a row that lie `step` bytes apart. */
ROICY_NOINLINE void crops_gather(const char *source, ptrdiff_t step, ptrdiff_t count, int dtype,
                                 real *target) {
    switch (dtype) {
    case FLOAT32:
        gather_as(source, step, count, FLOAT32, target);
        break;
    case FLOAT64:
        gather_as(source, step, count, FLOAT64, target);
        break;
    case FLOAT16:
        gather_as(source, step, count, FLOAT16, target);
        break;
    case BFLOAT16:
        gather_as(source, step, count, BFLOAT16, target);
        break;
    default:
        gather_as(source, step, count, UINT8, target);
    }
}

#endif
