/* Sums of two rows of bytes in integers, where both weights of the rows are multiples of 2^-15. That holds for all
 * rows that lie 256 pixels or more below the picture's first: float positions are multiples of 2^-15 there. A weight
 * times a byte has at most 23 bits then, and the sum of two products at most 24, so that a float holds it exactly. For
 * each channel c, a column's bytes c and c + 3 are those of its two pixels:
 *
 *     both rows ── index ──▶ [column]: c, c + 3 of the upper row, c, c + 3 of the lower one ── taps of p ──▶ c, c + 3
 *
 * Other rows are summed in floats (pair_bytes.h), which gives the same bits. */
#ifndef ROICY_WHOLE_BYTES_H
#define ROICY_WHOLE_BYTES_H

#include "near_bytes.h"

#if defined(ROICY_NEAR)
enum { WHOLE_PARTS = 4 }; /* most parts that a group of columns is divided into */

/* Where a group of LANES columns reads two rows. It has one, two or four parts of equally many columns, and one vector
 * of a row holds all bytes of a part. With four parts, index[j] has the bytes to pick of part j, else index[c] those of
 * channel c of all columns. They count from the beginning of the part's vector. */
typedef struct {
    uint8_t index[WHOLE_PARTS][4 * ROICY_LANE_COUNT];
    int32_t base[ROICY_LANE_COUNT]; /* of each column: first byte of its part's vector, in the row */
} whole_group;

/* Weights of two rows as 16-bit numbers of `unit`s: the upper row's in the low half, the lower row's in the high. */
typedef struct {
    int32_t weights;
    real unit;
} whole_rows;

/* Whether the weights of two rows are 16-bit numbers of units; fills `rows` if so. */
ROICY_INLINE int whole_weights(const real weight[2], whole_rows *rows) {
    for (int bits = 15; bits >= 14; bits--) { /* with 15 bits, 1 is too large */
        const real times = (real)(1 << bits), upper = weight[0] * times, lower = weight[1] * times;
        if (!(upper >= 0 && upper < 32768 && lower >= 0 && lower < 32768))
            continue;
        if (upper != (real)(int32_t)upper || lower != (real)(int32_t)lower)
            continue;
        rows->weights = (int32_t)upper | (int32_t)lower << 16;
        rows->unit = 1 / times;
        return 1;
    }
    return 0;
}

/* Finds the first byte of a part: that of its first column with taps. Returns whether one vector from there on holds
 * all bytes of its columns. */
ROICY_INLINE int whole_part(const int32_t *offset, const int32_t *taps, int columns, int32_t *base) {
    int32_t first = INT32_MAX, last = 0;
    for (int l = 0; l < columns; l++) {
        first = taps[l] && offset[l] < first ? offset[l] : first;
        last = taps[l] && offset[l] > last ? offset[l] : last;
    }
    *base = first < last ? first : last;
    return last - *base <= NEAR_VECTOR - NEAR_BYTES;
}

/* Fills a group's indices. `at` has each column's first byte, four times. For channel c of a column, four bytes are
 * picked: c and c + 3 of the upper row, then the same of the lower one. With four parts, one permutation picks all
 * channels of a part: each 16 bytes of its result hold one channel of its four columns. In this order the channels are
 * 2 2 0 1 in the first two parts, 0 1 2 2 in the last two, which suits whole_pick_four. */
ROICY_INLINE void whole_index(whole_group *group, __m512i at, int parts) {
    const __m512i pair = _mm512_add_epi8(at, _mm512_set1_epi32(0x03000300)),
                  one = _mm512_set1_epi32(0x01010101);
    if (parts < WHOLE_PARTS) {
        for (int c = 0; c < 3; c++)
            _mm512_storeu_si512(group->index[c], _mm512_add_epi8(pair, _mm512_set1_epi32(0x01010101 * c)));
        return;
    }
    const __m512i late =
        _mm512_add_epi8(_mm512_maskz_mov_epi32(0xfff0, one), _mm512_maskz_mov_epi32(0xff00, one));
    const __m512i early = _mm512_shuffle_i32x4(late, late, 0x4e);
    _mm512_storeu_si512(group->index[0], _mm512_add_epi8(_mm512_shuffle_i32x4(pair, pair, 0x00), early));
    _mm512_storeu_si512(group->index[1], _mm512_add_epi8(_mm512_shuffle_i32x4(pair, pair, 0x55), early));
    _mm512_storeu_si512(group->index[2], _mm512_add_epi8(_mm512_shuffle_i32x4(pair, pair, 0xaa), late));
    _mm512_storeu_si512(group->index[3], _mm512_add_epi8(_mm512_shuffle_i32x4(pair, pair, 0xff), late));
}

/* Fills the groups of columns, as near_describe does. Returns how many parts all groups have; or 0 if the columns of a
 * quarter of a group lie too far apart, if the processor has no VBMI, or if a column's weight is so small that products
 * may be subnormal, which units round otherwise. */
ROICY_NOINLINE int whole_describe(whole_group *groups, const int32_t *offset, const int32_t *taps,
                                  real *const weight[2], ptrdiff_t count, ptrdiff_t span) {
    const __m512i every = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    const int32_t end = span > NEAR_VECTOR - NEAR_BYTES ? (int32_t)(span + NEAR_BYTES - NEAR_VECTOR) : 0;
    int parts = 1, small = !__builtin_cpu_supports("avx512vbmi");
    for (ptrdiff_t q = 0; q < count; q++)
        for (int i = 0; i < 2; i++)
            small |= weight[i][q] != 0 && weight[i][q] < 0x1p-60f;
    for (ptrdiff_t q = 0; q < count && !small; q += LANES) {
        whole_group *const group = groups + q / LANES;
        for (int l = 0; l < LANES;) {
            const int columns = LANES / parts;
            int32_t base;
            if (!whole_part(offset + q + l, taps + q + l, columns, &base)) {
                if (parts == WHOLE_PARTS)
                    return 0;
                parts *= 2, q = -LANES; /* start over: all groups have equally many parts */
                break;
            }
            for (int32_t *own = group->base + l; own < group->base + l + columns; own++)
                *own = base < end ? base : end;
            l += columns;
        }
        if (q < 0)
            continue;
        const __m512i at = _mm512_sub_epi32(_mm512_loadu_si512(offset + q), _mm512_loadu_si512(group->base));
        whole_index(group, _mm512_shuffle_epi8(at, every), parts);
    }
    return small ? 0 : parts;
}

/* Picks the bytes of each channel (see whole_index) for a group of four parts. Channel by channel that would take 24
 * permutations of bytes. Part by part it takes 8, four shuffles of 16-byte pieces, and three blends, which either of
 * the two vector units can do. */
ROICY_NEAR ROICY_INLINE void whole_pick_four(const char *const row[2], const whole_group *group,
                                             __m512i both[3]) {
    __m512i part[WHOLE_PARTS];
    for (int j = 0; j < WHOLE_PARTS; j++) {
        const int32_t base = group->base[j * (LANES / WHOLE_PARTS)];
        const __m512i index = _mm512_loadu_si512(group->index[j]);
        part[j] = _mm512_permutexvar_epi8(index, _mm512_loadu_si512(row[0] + base));
        part[j] = _mm512_mask_permutexvar_epi8(part[j], 0xcccccccccccccccc, index,
                                               _mm512_loadu_si512(row[1] + base));
    }
    const __m512i left = _mm512_shuffle_i32x4(part[0], part[1], 0xee);
    const __m512i right = _mm512_shuffle_i32x4(part[2], part[3], 0x44);
    both[0] = _mm512_shuffle_i32x4(left, right, 0x88);
    both[1] = _mm512_shuffle_i32x4(left, right, 0xdd);
    both[2] = _mm512_mask_blend_epi32(0xff00, _mm512_mask_blend_epi32(0xfff0, part[0], part[1]),
                                      _mm512_mask_blend_epi32(0xf000, part[2], part[3]));
}

/* The three channels of a group of columns, in units. `left` and `right` are the weights of the columns' first and
 * second pixels. */
ROICY_NEAR ROICY_INLINE void whole_sums(const char *const row[2], const whole_group *group, __m512i weights,
                                        const real *left, const real *right, const int parts, lanes x[3]) {
    const lanes first = lanes_load_own((const char *)left), second = lanes_load_own((const char *)right);
    const __mmask64 lower = 0xcccccccccccccccc, part = 0xffffffff;
    __m512i from[2][2], four[3];
    for (int i = 0; i < 2 && parts < WHOLE_PARTS; i++)
        for (int j = 0; j < parts; j++)
            from[i][j] = _mm512_loadu_si512(row[i] + group->base[j * (LANES / 2)]);
    if (parts == WHOLE_PARTS)
        whole_pick_four(row, group, four);
    for (int c = 0; c < 3; c++) {
        __m512i both = four[c];
        if (parts < WHOLE_PARTS) {
            const __m512i index = _mm512_loadu_si512(group->index[c]);
            both = _mm512_permutexvar_epi8(index, from[0][0]);
            if (parts == 2)
                both = _mm512_mask_permutexvar_epi8(both, part << 32, index, from[0][1]);
            both = _mm512_mask_permutexvar_epi8(both, lower, index, from[1][0]);
            if (parts == 2)
                both = _mm512_mask_permutexvar_epi8(both, part << 32 & lower, index, from[1][1]);
        }
        const __m512i even = _mm512_and_si512(both, _mm512_set1_epi16(255)), odd = _mm512_srli_epi16(both, 8);
        const lanes one = (lanes)_mm512_cvtepi32_ps(_mm512_madd_epi16(even, weights));
        const lanes other = (lanes)_mm512_cvtepi32_ps(_mm512_madd_epi16(odd, weights));
        x[c] = lanes_multiply_add(second, other, lanes_times(first, one));
    }
}
#else
typedef int64_t whole_group;

ROICY_INLINE int whole_describe(whole_group *groups, const int32_t *offset, const int32_t *taps,
                                real *const weight[2], ptrdiff_t count, ptrdiff_t span) {
    (void)groups, (void)offset, (void)taps, (void)weight, (void)count, (void)span;
    return 0;
}
#endif

#endif
