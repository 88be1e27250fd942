/* Pasting masks: interpolate lines (rows or columns) of a mask at the pixels of an image.
 *
 * A line has a frame of zeros, LINE_FRAME elements in all: pixel i is element i + 1. A pixel between two values is
 * before + fraction * (behind - before), which is monotonic in the fraction. So along a stretch of pixels between
 * the same two lines, a threshold is crossed at most once. */
#ifndef ROICY_MASK_H
#define ROICY_MASK_H

#include "elements.h"

enum { LINE_FRAME = 3 };
enum {
    CLEAR_STREAM_BYTES = 1 << 16
}; /* from this many on, zeros are streamed past the cache: more than the first-level cache holds */

#if defined(__GNUC__)
typedef uint8_t lane_bytes __attribute__((vector_size(ROICY_LANE_COUNT)));
#endif

/* How the pixels of a row, or of a column, lie between those of the mask. */
typedef struct {
    const int32_t *before;
    const real *fraction;
} mask_places;

/* A row or column of the mask, `step` bytes from pixel to pixel. */
ROICY_INLINE void mask_load(const char *source, ptrdiff_t step, int length, real *line, int dtype) {
    line[0] = line[length + 1] = line[length + 2] = 0;
    if (step == (ptrdiff_t)element_size(dtype)) {
        int i = 0;
        for (; i + LANES <= length; i += LANES) {
            const lanes x = lanes_load(source + i * step, dtype);
            memcpy(line + 1 + i, &x, sizeof x);
        }
        source += i * step;
        line += i;
        length -= i;
    }
    for (int i = 0; i < length; i++)
        line[1 + i] = element_load(source + i * step, dtype);
}

ROICY_NOINLINE void mask_load_as(const char *source, ptrdiff_t step, int length, int dtype, real *line) {
    ROICY_READ_AS(dtype, mask_load, source, step, length, line);
}

/* a + fraction * (b - a) */
ROICY_INLINE lanes mask_between(lanes a, lanes b, lanes fraction) {
#if defined(__GNUC__)
    return lanes_multiply_add(fraction, b - a, a);
#else
    ROICY_EACH(l) b.lane[l] -= a.lane[l];
    return lanes_multiply_add(fraction, b, a);
#endif
}

ROICY_INLINE lanes mask_lanes(const real *source) { return lanes_load_own((const char *)source); }

/* Elements of a line by their numbers. */
ROICY_INLINE lanes mask_pick(const real *line, const int32_t *index) {
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    return (lanes)_mm512_i32gather_ps(_mm512_loadu_si512(index), line, 4);
#else
    real picked[ROICY_LANE_COUNT];
    ROICY_EACH(l) picked[l] = line[index[l]];
    return lanes_load_own((const char *)picked);
#endif
}

/* Interpolate a line at `count` places: target[i]. Up to LANES - 1 more are written, so there must be places for these
 * too. */
ROICY_NOINLINE void mask_across(const real *line, const mask_places *places, ptrdiff_t count, real *target) {
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const int32_t *index = places->before + i; /* the frame's element stands before that of pixel 0 */
        const lanes x = mask_between(mask_pick(line + 1, index), mask_pick(line + 2, index),
                                     mask_lanes(places->fraction + i));
        memcpy(target + i, &x, sizeof x);
    }
}

/* A row of pixels between two lines, `fraction` of the way: target[i], and up to LANES - 1 more. */
ROICY_NOINLINE void mask_mix(const real *above, const real *below, real fraction, ptrdiff_t count,
                             real *target) {
    const lanes part = lanes_fill(fraction);
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const lanes x = mask_between(mask_lanes(above + i), mask_lanes(below + i), part);
        memcpy(target + i, &x, sizeof x);
    }
}

ROICY_INLINE void mask_reach_block(lanes x, lanes threshold, uint8_t *target) {
#if defined(__GNUC__)
    const lane_bytes reached = __builtin_convertvector(-(x >= threshold), lane_bytes);
    memcpy(target, &reached, sizeof reached);
#else
    ROICY_EACH(l) target[l] = x.lane[l] >= threshold.lane[l];
#endif
}

/* Whether they reach the threshold: one byte each, 0 or 1, and nothing behind the last. */
ROICY_NOINLINE void mask_reach(const real *above, const real *below, real fraction, real threshold,
                               ptrdiff_t count, uint8_t *target) {
    const lanes part = lanes_fill(fraction), level = lanes_fill(threshold);
    uint8_t rest[ROICY_LANE_COUNT];
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES)
        mask_reach_block(mask_between(mask_lanes(above + i), mask_lanes(below + i), part), level, target + i);
    if (i < count) {
        mask_reach_block(mask_between(mask_lanes(above + i), mask_lanes(below + i), part), level, rest);
        memcpy(target + i, rest, (size_t)(count - i));
    }
}

/* Write zeros; many are streamed past the cache, since they are seldom read soon. */
ROICY_NOINLINE void mask_clear(char *target, size_t size) {
    size_t i = 0;
#ifdef ROICY_X86
    if (size >= CLEAR_STREAM_BYTES) {
        i = (size_t)(-(intptr_t)target & 63);
        memset(target, 0, i);
        for (; i + 64 <= size; i += 64)
            for (int part = 0; part < 64; part += 16)
                _mm_stream_si128((__m128i *)(target + i + part), _mm_setzero_si128());
        _mm_sfence(); /* what follows is written over them */
    }
#endif
    memset(target + i, 0, size - i);
}

/* ---- run lengths ---- */

/* Bit l says whether lane l reaches the threshold. */
ROICY_INLINE uint32_t mask_bits(lanes x, lanes threshold) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    return _mm512_cmp_pd_mask((__m512d)x, (__m512d)threshold, _CMP_GE_OQ);
#elif defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)x, (__m512)threshold, _CMP_GE_OQ);
#elif defined(__AVX__) && defined(ROICY_DOUBLE)
    return (uint32_t)_mm256_movemask_pd(_mm256_cmp_pd((__m256d)x, (__m256d)threshold, _CMP_GE_OQ));
#elif defined(__AVX__)
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)x, (__m256)threshold, _CMP_GE_OQ));
#else
    uint32_t bits = 0;
    ROICY_EACH(l) bits |= (uint32_t)(ROICY_LANE(x, l) >= ROICY_LANE(threshold, l)) << l;
    return bits;
#endif
}

ROICY_INLINE int lowest_bit(uint64_t bits) {
#if defined(__GNUC__)
    return __builtin_ctzll(bits);
#else
    int bit = 0;
    while (!(bits >> bit & 1))
        bit++;
    return bit;
#endif
}

/* The rows of a window in stretches between the same two rows of the mask: of each the mask's row before it, where
 * it begins, and the fractions of its first and its last row. LANES - 1 more have places, too. */
typedef struct {
    const int32_t *before, *begin; /* begin[count] is where the last one ends */
    const real *first, *last;
    int count;
    int joined;           /* each one's row of the mask follows that of the one before */
    const real *fraction; /* of each row, and LANES - 1 more */
} mask_stretches;

/* Runs of equal pixels down one column after the other. */
typedef struct {
    int64_t *counts;
    int64_t count, room; /* that there are, and can be */
    int64_t begin;       /* of the run that goes on */
    int inside;          /* what its pixels are */
} mask_runs;

enum { STRETCHES = 64 }; /* that are looked at together */

ROICY_INLINE void mask_change(mask_runs *runs, int64_t at) {
    runs->counts[runs->count++] = at - runs->begin;
    runs->begin = at;
    runs->inside = !runs->inside;
}

/* The first row of a stretch that is on the other side of the threshold than its first row. */
ROICY_INLINE int mask_crossing(const mask_stretches *rows, int stretch, lanes above, lanes below, lanes level,
                               int inside) {
    const uint32_t flip = inside ? (uint32_t)(((uint64_t)1 << LANES) - 1) : 0;
    for (int row = rows->begin[stretch];; row += LANES) {
        const uint32_t other =
            mask_bits(mask_between(above, below, mask_lanes(rows->fraction + row)), level) ^ flip;
        if (other)
            return row + lowest_bit(other);
    }
}

/* Elements of a line at stretches from the s-th on. */
ROICY_INLINE lanes mask_at(const real *line, const mask_stretches *rows, int s) {
    return rows->joined ? mask_lanes(line + rows->before[s]) : mask_pick(line, rows->before + s);
}

/* One column of a window, which begins at pixel `at` of the image as its columns are counted through and lies
 * `fraction` of the way from one of the mask's to the next. There is room for two runs of each stretch. */
ROICY_NOINLINE void mask_column(const mask_stretches *rows, const real *left, const real *right,
                                real fraction, real threshold, int64_t at, mask_runs *runs) {
    const lanes part = lanes_fill(fraction), level = lanes_fill(threshold);
    real above[STRETCHES], below[STRETCHES];
    for (int s = 0; s < rows->count; s += STRETCHES) {
        const int some = rows->count - s < STRETCHES ? rows->count - s : STRETCHES;
        uint64_t first = 0, last = 0;
        for (int i = 0; i < some; i += LANES) {
            const lanes upper =
                mask_between(mask_at(left + 1, rows, s + i), mask_at(right + 1, rows, s + i), part);
            const lanes lower =
                mask_between(mask_at(left + 2, rows, s + i), mask_at(right + 2, rows, s + i), part);
            first |= (uint64_t)mask_bits(mask_between(upper, lower, mask_lanes(rows->first + s + i)), level)
                     << i;
            last |= (uint64_t)mask_bits(mask_between(upper, lower, mask_lanes(rows->last + s + i)), level)
                    << i;
            memcpy(above + i, &upper, sizeof upper);
            memcpy(below + i, &lower, sizeof lower);
        }
        const uint64_t mine = ~(uint64_t)0 >> (STRETCHES - some);
        const uint64_t between = (first ^ (last << 1 | (uint64_t)runs->inside)) & mine,
                       within = (first ^ last) & mine;
        for (uint64_t left_over = between | within; left_over; left_over &= left_over - 1) {
            const int one = lowest_bit(left_over);
            if (between >> one & 1)
                mask_change(runs, at + rows->begin[s + one]);
            if (within >> one & 1)
                mask_change(runs, at + mask_crossing(rows, s + one, lanes_fill(above[one]),
                                                     lanes_fill(below[one]), level, runs->inside));
        }
    }
}

#endif
