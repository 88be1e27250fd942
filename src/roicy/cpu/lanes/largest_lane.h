/* The maximum over the lanes of each of LANES vectors (or minimum, of integers), as one vector. Two vectors at a time
 * are merged into one with half as many candidates of each, until one vector is left. Transposing first would take
 * twice as many shuffles. */
#ifndef ROICY_LARGEST_LANE_H
#define ROICY_LARGEST_LANE_H

#include "blocks.h"
#include "maxima.h"

ROICY_INLINE lane_ints ints_of(lanes x) {
    lane_ints bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

ROICY_INLINE lanes lanes_of(lane_ints bits) {
    lanes x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

ROICY_INLINE lane_ints ints_lesser(lane_ints a, lane_ints b) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    return (lane_ints)_mm512_min_epi64((__m512i)a, (__m512i)b);
#elif defined(__AVX512F__)
    return (lane_ints)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__) && !defined(ROICY_DOUBLE)
    return (lane_ints)_mm256_min_epi32((__m256i)a, (__m256i)b);
#elif defined(__GNUC__)
    lane_ints less = a < b;
    return (less & a) | (~less & b);
#else
    ROICY_EACH(l) a.lane[l] = a.lane[l] < b.lane[l] ? a.lane[l] : b.lane[l];
    return a;
#endif
}

/* The larger of two candidates for each lane, or the lesser integer; of equal ones the lower. */
ROICY_INLINE lanes join(lanes low, lanes high, const int least) {
    return least ? lanes_of(ints_lesser(ints_of(low), ints_of(high))) : lanes_greater(high, low);
}

/* Two vectors, each of which has candidates of one row (two, four), become one of twice as many rows:
 *
 *   a: a0 a1       low:  a0 b0
 *   b: b0 b1       high: a1 b1
 *
 * in halves, quarters, pairs and single lanes. */
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
#define ROICY_LOW_HIGH(function, low, high)                                                                  \
    (lanes) function((__m512)a, (__m512)b, low), (lanes)function((__m512)a, (__m512)b, high)
ROICY_INLINE lanes join_halves(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm512_shuffle_f32x4, 0x44, 0xee), least);
}
ROICY_INLINE lanes join_quarters(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm512_shuffle_f32x4, 0x88, 0xdd), least);
}
ROICY_INLINE lanes join_pairs(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm512_shuffle_ps, 0x44, 0xee), least);
}
ROICY_INLINE lanes join_single(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm512_shuffle_ps, 0x88, 0xdd), least);
}
#elif defined(__AVX512F__)
#define ROICY_LOW_HIGH(function, low, high)                                                                  \
    (lanes) function((__m512d)a, (__m512d)b, low), (lanes)function((__m512d)a, (__m512d)b, high)
ROICY_INLINE lanes join_halves(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm512_shuffle_f64x2, 0x44, 0xee), least);
}
ROICY_INLINE lanes join_quarters(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm512_shuffle_f64x2, 0x88, 0xdd), least);
}
ROICY_INLINE lanes join_single(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm512_shuffle_pd, 0x00, 0xff), least);
}
#elif defined(__AVX__) && !defined(ROICY_DOUBLE)
#define ROICY_LOW_HIGH(function, low, high)                                                                  \
    (lanes) function((__m256)a, (__m256)b, low), (lanes)function((__m256)a, (__m256)b, high)
ROICY_INLINE lanes join_halves(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm256_permute2f128_ps, 0x20, 0x31), least);
}
ROICY_INLINE lanes join_pairs(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm256_shuffle_ps, 0x44, 0xee), least);
}
ROICY_INLINE lanes join_single(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm256_shuffle_ps, 0x88, 0xdd), least);
}
#elif defined(__AVX__)
#define ROICY_LOW_HIGH(function, low, high)                                                                  \
    (lanes) function((__m256d)a, (__m256d)b, low), (lanes)function((__m256d)a, (__m256d)b, high)
ROICY_INLINE lanes join_halves(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm256_permute2f128_pd, 0x20, 0x31), least);
}
ROICY_INLINE lanes join_single(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm256_shuffle_pd, 0x0, 0xf), least);
}
#elif defined(ROICY_X86) && defined(__GNUC__) && !defined(ROICY_DOUBLE)
#define ROICY_LOW_HIGH(function, low, high)                                                                  \
    (lanes) function((__m128)a, (__m128)b, low), (lanes)function((__m128)a, (__m128)b, high)
ROICY_INLINE lanes join_pairs(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm_shuffle_ps, 0x44, 0xee), least);
}
ROICY_INLINE lanes join_single(lanes a, lanes b, const int least) {
    return join(ROICY_LOW_HIGH(_mm_shuffle_ps, 0x88, 0xdd), least);
}
#endif

/* Lane c is the largest of r[c], in which there is no NaN, or the least of the integers that these are. */
ROICY_INLINE lanes join_lanes(lanes r[], const int least) {
#if defined(__AVX512F__)
    enum { QUARTER = ROICY_LANE_COUNT / 4 }; /* lanes of a quarter */
    for (int i = 0; i < QUARTER; i++)
        r[i] = join_quarters(join_halves(r[i], r[i + QUARTER], least),
                             join_halves(r[i + 2 * QUARTER], r[i + 3 * QUARTER], least), least);
#elif defined(__AVX__)
    for (int i = 0; i < LANES / 2; i++)
        r[i] = join_halves(r[i], r[i + LANES / 2], least);
#endif
#if (defined(__AVX__) || defined(ROICY_X86) && defined(__GNUC__)) && !defined(ROICY_DOUBLE)
    return join_single(join_pairs(r[0], r[1], least), join_pairs(r[2], r[3], least), least);
#elif defined(__AVX__)
    return join_single(r[0], r[1], least);
#else
    lanes_transpose(r);
    for (int half = LANES / 2; half; half /= 2)
        for (int c = 0; c < half; c++)
            r[c] = join(r[c], r[c + half], least);
    return r[0];
#endif
}

#endif
