/* Columns of crops that lie close together: LANES neighbouring columns read their pixels, of three bytes each, from at
 * most 256 bytes of a row of the picture. A permutation of bytes then picks the bytes of all these columns at once. It
 * needs AVX-512 VBMI, which not every processor of level v4 has.
 *
 *     two pairs of vectors of a row, at the most ── index ──▶ the first four bytes of each column, the next four */
#ifndef ROICY_NEAR_BYTES_H
#define ROICY_NEAR_BYTES_H

#include "lanes.h"

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
typedef uint32_t lane_bits
    __attribute__((vector_size(ROICY_LANE_BYTES))); /* four bytes for each of LANES columns */
#endif

#if defined(__GNUC__) && defined(__AVX512BW__) && !defined(ROICY_DOUBLE)
#define ROICY_NEAR __attribute__((target("avx512vbmi")))

enum {
    NEAR_VECTOR = 64, /* bytes of a vector */
    NEAR_BYTES = 8,   /* bytes that are loaded for a column, from its first pixel on */
    NEAR_USED = 6     /* bytes of these that are used: two pixels */
};

/* Where a group of LANES columns reads a row: indices of bytes, counted from `base`. If the group's window is one
 * vector, the first byte of each four of index[i] is the index of a column's byte i. Else index[0] has the indices of
 * each column's bytes 0 to 3, and index[1] those of bytes 4 to 7. */
typedef struct {
    uint8_t index[NEAR_USED][4 * ROICY_LANE_COUNT];
    int32_t base;       /* first byte of the window, in the row */
    int32_t unused[15]; /* up to the next cache line */
} near_group;

/* Fills the groups of columns that begin at byte `offset` of a row, of which columns use `span` bytes. A column
 * without taps is ignored: its weights are 0, so any bytes will do. Returns the window, the bytes that are loaded for
 * a group: one vector, two or four; or 0 if the columns of a group lie too far apart, or the processor has no VBMI. A
 * window of one vector is used only if `one` is set: each byte of a column is then picked by a permutation of its own,
 * which reads an index of its own from memory. From larger windows four bytes are picked at a time. */
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
    const ptrdiff_t end = span + NEAR_BYTES - window; /* the last byte at which a window may begin */
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

/* Byte i of each column as a number, for a window of one vector. */
ROICY_NEAR ROICY_INLINE lanes near_byte(const char *row, const near_group *group, int i) {
    const __m512i index = _mm512_loadu_si512(group->index[i]), from = _mm512_loadu_si512(row + group->base);
    return (lanes)_mm512_cvtepi32_ps(_mm512_maskz_permutexvar_epi8(0x1111111111111111, index, from));
}

/* Bytes 0 to 3 and 4 to 7 of each column, for a window of two or four vectors. A permutation looks at the low seven
 * bits of an index, which choose a byte of two vectors; the eighth chooses between the first two and the last two. */
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

typedef int64_t near_group; /* eight bytes: what lies behind an array of these is aligned */

ROICY_INLINE int near_describe(near_group *groups, const int32_t *offset, const int32_t *taps,
                               ptrdiff_t count, ptrdiff_t span, int one) {
    (void)groups, (void)offset, (void)taps, (void)count, (void)span, (void)one;
    return 0;
}
#endif

#endif
