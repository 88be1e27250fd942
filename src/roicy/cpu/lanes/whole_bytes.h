/* Columns of two rows of bytes whose weights are wholes of 2^-15: those of all rows that lie 256 pixels
 * or more below the picture's first. Products with bytes, and sums of two, have no more than 24 bits then, so that they can be
 * found as integers, of both pixels of a column for each channel c:
 *
 *     both rows ── index ──▶ [column]: c, c + 3 of the upper row, c, c + 3 of the lower one ── taps of p ──▶ c, c + 3
 *
 * Other rows have sums of floats, of the same bits. */
#ifndef ROICY_WHOLE_BYTES_H
#define ROICY_WHOLE_BYTES_H

#include "near_bytes.h"

#if defined(ROICY_NEAR)
enum { WHOLE_PARTS = 4 }; /* of a group of columns, at the most */

/* Where LANES columns are. */
typedef struct {
    uint8_t index[3][4 * ROICY_LANE_COUNT]; /* of channel c, from the part's base on */
    int32_t base[ROICY_LANE_COUNT];         /* of each column's part, in the row */
} whole_group;

/* Weights of an upper and of a lower row, one in each half, in `unit`s. */
typedef struct {
    int32_t weights;
    real unit;
} whole_rows;

/* Whether the weights of two rows are wholes. */
ROICY_INLINE int whole_weights(const real weight[2], whole_rows *rows) {
    for (int bits = 15; bits >= 14; bits--) { /* 1 is too large for 15 */
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

/* Where the first of some columns begins, those without taps aside; whether one vector has all of them. */
ROICY_INLINE int whole_part(const int32_t *offset, const int32_t *taps, int columns, int32_t *base) {
    int32_t first = INT32_MAX, last = 0;
    for (int l = 0; l < columns; l++) {
        first = taps[l] && offset[l] < first ? offset[l] : first;
        last = taps[l] && offset[l] > last ? offset[l] : last;
    }
    *base = first < last ? first : last;
    return last - *base <= NEAR_VECTOR - NEAR_BYTES;
}

/* Lists the groups of columns, as near_describe does. Returns in how many parts each of them is, one vector of a row for
 * each part, or 0: columns are too far apart, or weights so small that a unit changes how products are rounded. */
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
                parts *= 2, q = -LANES; /* once more, all of them */
                break;
            }
            for (int32_t *own = group->base + l; own < group->base + l + columns; own++)
                *own = base < end ? base : end;
            l += columns;
        }
        if (q < 0)
            continue;
        const __m512i at = _mm512_sub_epi32(_mm512_loadu_si512(offset + q), _mm512_loadu_si512(group->base));
        const __m512i same = _mm512_shuffle_epi8(at, every);
        for (int c = 0; c < 3; c++)
            _mm512_storeu_si512(group->index[c],
                                _mm512_add_epi8(same, _mm512_set1_epi32(0x03000300 + 0x01010101 * c)));
    }
    return small ? 0 : parts;
}

/* Sums of LANES columns, in units. */
ROICY_NEAR ROICY_INLINE void whole_sums(const char *const row[2], const whole_group *group, __m512i weights,
                                        const real *left, const real *right, const int parts, lanes x[3]) {
    const lanes first = lanes_load_own((const char *)left), second = lanes_load_own((const char *)right);
    const __mmask64 lower = 0xcccccccccccccccc, part = parts == 2 ? 0xffffffff : 0xffff;
    __m512i from[2][WHOLE_PARTS];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < parts; j++)
            from[i][j] = _mm512_loadu_si512(row[i] + group->base[j * (LANES / parts)]);
    for (int c = 0; c < 3; c++) {
        const __m512i index = _mm512_loadu_si512(group->index[c]);
        __m512i both = _mm512_permutexvar_epi8(index, from[0][0]);
        for (int j = 1; j < parts; j++)
            both = _mm512_mask_permutexvar_epi8(both, part << 64 / parts * j, index, from[0][j]);
        both = _mm512_mask_permutexvar_epi8(both, lower, index, from[1][0]);
        for (int j = 1; j < parts; j++)
            both = _mm512_mask_permutexvar_epi8(both, part << 64 / parts * j & lower, index, from[1][j]);
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
