/* Columns of crops that are near each other: pixels of three bytes, of which LANES columns take theirs from few vectors.
 * A permutation of bytes (AVX-512 VBMI, which level v4 need not have) picks those of all columns at once:
 *
 *     two pairs of vectors of a row, at the most ── index ──▶ the first four bytes of each column, the next four */
#ifndef ROICY_NEAR_BYTES_H
#define ROICY_NEAR_BYTES_H

#include "lanes.h"

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
typedef uint32_t lane_bits
    __attribute__((vector_size(ROICY_LANE_BYTES))); /* four bytes of each of LANES columns */
#endif

#if defined(__GNUC__) && defined(__AVX512BW__) && !defined(ROICY_DOUBLE)
#define ROICY_NEAR __attribute__((target("avx512vbmi")))

enum {
    NEAR_VECTOR = 64,
    NEAR_BYTES = 8,
    NEAR_USED = 6
}; /* bytes of a vector, of a column, and those in use */

/* Where LANES columns are. */
typedef struct {
    uint8_t index[NEAR_USED][4 * ROICY_LANE_COUNT]; /* each column's bytes, from `base` on */
    int32_t base;                                   /* in the row */
    int32_t unused[15];                             /* to the next cache line */
} near_group;

/* Lists the groups of columns that begin at these offsets, in rows of `span` bytes that are used. Columns of no taps may be
 * anywhere. Returns how many bytes a group needs, one vector, two or four, or 0: the columns are too far apart. Of
 * one vector a column's bytes are picked one by one, else four at a time. */
ROICY_INLINE int near_describe(near_group *groups, const int32_t *offset, const int32_t *taps,
                               ptrdiff_t count, ptrdiff_t span, int one) {
    const __m512i every = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    const __m512i bytes = _mm512_set1_epi32(0x03020100), more = _mm512_set1_epi32(0x04040404);
    int32_t widest = 0;
    if (!__builtin_cpu_supports("avx512vbmi"))
        return 0;
    for (ptrdiff_t q = 0; q < count; q += LANES) {
        const __m512i at = _mm512_loadu_si512(offset + q);
        const __mmask16 used = _mm512_test_epi32_mask(_mm512_loadu_si512(taps + q), _mm512_set1_epi32(-1));
        const int32_t last = used ? _mm512_mask_reduce_max_epi32(used, at) : 0;
        const int32_t first = used ? _mm512_mask_reduce_min_epi32(used, at) : 0;
        if (last - first + NEAR_BYTES > widest)
            widest = last - first + NEAR_BYTES;
        groups[q / LANES].base = first;
    }
    if (widest > 4 * NEAR_VECTOR)
        return 0;
    const int window = widest > 2 * NEAR_VECTOR       ? 4 * NEAR_VECTOR
                       : widest > NEAR_VECTOR || !one ? 2 * NEAR_VECTOR
                                                      : NEAR_VECTOR;
    const ptrdiff_t end = span + NEAR_BYTES - window; /* the last place where so many bytes begin */
    for (ptrdiff_t q = 0; q < count; q += LANES) {
        near_group *const group = groups + q / LANES;
        if (group->base > end)
            group->base = end > 0 ? (int32_t)end : 0;
        const __m512i at = _mm512_sub_epi32(_mm512_loadu_si512(offset + q), _mm512_set1_epi32(group->base));
        const __m512i four = _mm512_add_epi8(_mm512_shuffle_epi8(at, every), bytes);
        if (window == NEAR_VECTOR) {
            for (int i = 0; i < NEAR_USED; i++)
                _mm512_storeu_si512(group->index[i], _mm512_add_epi32(at, _mm512_set1_epi32(i)));
        } else {
            _mm512_storeu_si512(group->index[0], four);
            _mm512_storeu_si512(group->index[1], _mm512_add_epi8(four, more));
        }
    }
    return window;
}

/* One of each column's bytes, as a number, from one vector. */
ROICY_NEAR ROICY_INLINE lanes near_byte(const char *row, const near_group *group, int i) {
    const __m512i index = _mm512_loadu_si512(group->index[i]), from = _mm512_loadu_si512(row + group->base);
    return (lanes)_mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(0x1111111111111111, index, from));
}

/* The eight bytes of each of a group's columns, in two vectors of four. */
ROICY_NEAR ROICY_INLINE void near_load(const char *row, const near_group *group, const int window,
                                       lane_bits four[2]) {
    const char *const from = row + group->base;
    const __m512i first = _mm512_loadu_si512(from), second = _mm512_loadu_si512(from + 64);
    for (int i = 0; i < 2; i++) {
        const __m512i index = _mm512_loadu_si512(group->index[i]);
        __m512i x = _mm512_permutex2var_epi8(first, index, second);
        if (window == 4 * NEAR_VECTOR) {
            const __m512i third = _mm512_loadu_si512(from + 128), fourth = _mm512_loadu_si512(from + 192);
            x = _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), x,
                                       _mm512_permutex2var_epi8(third, index, fourth));
        }
        four[i] = (lane_bits)x;
    }
}
#else
enum { NEAR_VECTOR = 0 };

typedef int64_t near_group; /* what lies behind some of them is aligned */

ROICY_INLINE int near_describe(near_group *groups, const int32_t *offset, const int32_t *taps,
                               ptrdiff_t count, ptrdiff_t span, int one) {
    (void)groups, (void)offset, (void)taps, (void)count, (void)span, (void)one;
    return 0;
}
#endif

#endif
