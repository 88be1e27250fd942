/* Columns of crops that take at most two pixels each, which are neighbours: one sample a pixel. Where the channels of
 * a pixel are neighbours, too, a column reads all of that at once, and nothing else is read of a row:
 *
 *     floats   two rows ── taps of p ──▶ both pixels [channel] ── taps of q ──▶ line [column][channel]
 *     bytes    two rows ──▶ both pixels of each column ── taps of p, taps of q, LANES columns at a time ──▶ [channel]
 *
 * Sums are those of crops.h, multiply-add by multiply-add. */
#ifndef ROICY_PAIRS_H
#define ROICY_PAIRS_H

#include "crops.h"
#include "near_bytes.h"
#include "turned.h"

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
enum { PAIRS = 1 }; /* whether there is such a way here */
#else
enum { PAIRS = 0 };
#endif

enum { PAIR_ELEMENTS = 2 * PIXEL }; /* that are read from a column's first pixel on */

/* Numbers of each column, and zeros for whole vectors of them. */
typedef struct {
    int32_t *offset; /* of its first pixel, in bytes */
    int32_t *taps;   /* at most two */
    real *weight[2]; /* zero where there are fewer */
    ptrdiff_t count;
    int elements, channels; /* from one pixel to the next, and those in use */
    near_group *picked;     /* of bytes: LANES columns each */
    int picked_pairs;       /* of vectors that these need; 0: they are too far apart */
    ptrdiff_t reach;        /* bytes of a row that may be read */
} pair_columns;

/* Some rows, two at most; those that are `ahead` are fetched meanwhile. */
typedef struct {
    const char *row[2], *ahead[2];
    real weight[2]; /* zero where there are fewer */
    int taps;
    ptrdiff_t span; /* bytes of a row */
} pair_rows;

/* Where a row goes: `step` bytes from one channel's row to the next one's, or the channels of a pixel together, and
 * then backwards if they are `reversed`. For what becomes of the values, `finishes` of the channels or NULL. */
typedef struct {
    char *data;
    ptrdiff_t step;
    int dtype, joined, reversed;
    const crops_pixel *pixel;
    const row_finish *finishes;
} pair_target;

ROICY_INLINE void pairs_fetch(const pair_rows *rows) {
    for (ptrdiff_t b = 0; b < rows->span; b += 64) {
        lanes_prefetch(rows->ahead[0] + b);
        lanes_prefetch(rows->ahead[1] + b);
    }
}

/* ---- pixels of three bytes ---- */

#if defined(__AVX512BW__) && !defined(ROICY_DOUBLE)
enum { BYTE_TRIPLES = 1 };

ROICY_INLINE __m512i nearest_wholes(lanes x) {
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(255), (__m512)x));
}

ROICY_INLINE void store_byte_triples(const lanes x[3], char *target) {
    const __m512i blue = nearest_wholes(x[2]), words = _mm512_packs_epi32(blue, blue);
    const __m512i apart =
        _mm512_packus_epi16(_mm512_packs_epi32(nearest_wholes(x[0]), nearest_wholes(x[1])), words);
    const __m128i joined = _mm_setr_epi8(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, -1, -1, -1, -1);
    const __m512i pixels = _mm512_shuffle_epi8(apart, _mm512_broadcast_i32x4(joined));
    const __m512i used = _mm512_setr_epi32(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 3, 3, 3);
    _mm512_mask_storeu_epi32(target, 0xfff, _mm512_permutexvar_epi32(used, pixels));
}
#elif defined(__AVX2__) && !defined(__AVX512F__) && !defined(ROICY_DOUBLE)
enum { BYTE_TRIPLES = 1 };

ROICY_INLINE __m256i nearest_wholes(lanes x) {
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(255), (__m256)x));
}

ROICY_INLINE void store_byte_triples(const lanes x[3], char *target) {
    const __m256i blue = nearest_wholes(x[2]), words = _mm256_packs_epi32(blue, blue);
    const __m256i apart =
        _mm256_packus_epi16(_mm256_packs_epi32(nearest_wholes(x[0]), nearest_wholes(x[1])), words);
    const __m128i joined = _mm_setr_epi8(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, -1, -1, -1, -1);
    const __m256i pixels = _mm256_shuffle_epi8(apart, _mm256_broadcastsi128_si256(joined));
    const __m256i used = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 3);
    const __m256i together = _mm256_permutevar8x32_epi32(pixels, used);
    _mm_storeu_si128((__m128i *)target, _mm256_castsi256_si128(together));
    _mm_storel_epi64((__m128i *)(target + 16), _mm256_extracti128_si256(together, 1));
}
#else
enum { BYTE_TRIPLES = 0 };
ROICY_INLINE void store_byte_triples(const lanes x[3], char *target) { (void)x, (void)target; }
#endif

/* ---- what becomes of LANES columns from `q` on: a vector for each of so many channels ---- */

ROICY_INLINE void pairs_store(lanes x[PIXEL], const pair_target *to, char *target, ptrdiff_t step,
                              const int channels, const int dtype) {
    const ptrdiff_t size = LANES * (ptrdiff_t)element_size(dtype);
    if (!to->joined) {
        for (int c = 0; c < channels; c++)
            lanes_store(x[c], target + c * step, dtype);
        return;
    }
    for (int c = 0; to->reversed && c < channels / 2; c++) {
        const lanes other = x[c];
        x[c] = x[channels - 1 - c];
        x[channels - 1 - c] = other;
    }
    if (BYTE_TRIPLES && dtype == UINT8 && channels == 3) {
        store_byte_triples(x, target);
        return;
    }
    crops_join(x, to->pixel, channels);
    for (int c = 0; c < channels; c++)
        lanes_store(x[c], target + c * size, dtype);
}

/* Of `count` columns; behind the last one nothing is written. Returns where the next ones go. */
ROICY_INLINE char *pairs_put(lanes x[PIXEL], ptrdiff_t q, ptrdiff_t count, const pair_target *to,
                             char *target, const int channels, const int dtype) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype), pixel = to->joined ? channels * size : size;
    char whole[PIXEL * ROICY_LANE_BYTES * 2];
    for (int c = 0; to->finishes && c < channels; c++)
        x[c] = finish_columns(x[c], to->finishes + c, q);
    if (count - q >= LANES) {
        pairs_store(x, to, target, to->step, channels, dtype);
        return target + LANES * pixel;
    }
    pairs_store(x, to, whole, LANES * size, channels, dtype);
    for (int c = 0; c < (to->joined ? 1 : channels); c++)
        memcpy(target + c * to->step, whole + c * LANES * size, (size_t)((count - q) * pixel));
    return NULL;
}

/* The target of a row as it is used for each of its columns, with the finishes in `own`. */
ROICY_INLINE pair_target pairs_target(const pair_target *to, int channels, row_finish own[PIXEL]) {
    pair_target target = *to;
    if (to->finishes) {
        memcpy(own, to->finishes, (size_t)channels * sizeof *own);
        target.finishes = own;
    }
    return target;
}

#define ROICY_PAIRS_AS(to, channels, function, ...)                                                          \
    if ((channels) == 3 && (to)->dtype == OWN)                                                               \
        function(__VA_ARGS__, 3, OWN);                                                                       \
    else if ((channels) == 3 && (to)->dtype == UINT8)                                                        \
        function(__VA_ARGS__, 3, UINT8);                                                                     \
    else                                                                                                     \
        function(__VA_ARGS__, channels, (to)->dtype);

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
/* ---- floats ---- */

#if defined(__AVX2__) && defined(__FMA__)
typedef __m256 quads; /* of a pixel and the next one, the channels of which follow each other */

ROICY_INLINE quads quads_load(const char *source, int elements) {
    (void)elements;
    return _mm256_loadu_ps((const float *)source);
}

ROICY_INLINE quads quads_scale(real weight, quads x) { return _mm256_mul_ps(_mm256_set1_ps(weight), x); }

ROICY_INLINE quads quads_add(real weight, quads x, quads sum) {
    return _mm256_fmadd_ps(_mm256_set1_ps(weight), x, sum);
}

ROICY_INLINE quad quads_first(quads x) { return (quad)_mm256_castps256_ps128(x); }

ROICY_INLINE quad quads_second(quads x, lane_int elements) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (quad)_mm256_castps256_ps128(
        _mm256_permutevar8x32_ps(x, _mm256_add_epi32(lane, _mm256_set1_epi32(elements))));
}
#else
typedef struct {
    quad first, second;
} quads;

ROICY_INLINE quads quads_load(const char *source, int elements) {
    const quads x = {quad_together(source, OWN),
                     quad_together(source + elements * (ptrdiff_t)sizeof(real), OWN)};
    return x;
}

ROICY_INLINE quads quads_scale(real weight, quads x) {
    x.first *= weight, x.second *= weight;
    return x;
}

ROICY_INLINE quads quads_add(real weight, quads x, quads sum) {
    sum.first = quad_add(weight, x.first, sum.first);
    sum.second = quad_add(weight, x.second, sum.second);
    return sum;
}

ROICY_INLINE quad quads_first(quads x) { return x.first; }

ROICY_INLINE quad quads_second(quads x, lane_int elements) {
    (void)elements;
    return x.second;
}
#endif

ROICY_INLINE void pairs_line_as(const pair_rows *rows, const pair_columns *columns, real *line,
                                const int taps) {
    const pair_columns of = *columns;
    const pair_rows from = *rows;
    for (ptrdiff_t q = 0; q < of.count; q++, line += of.channels) {
        const ptrdiff_t offset = of.offset[q];
        quads x = quads_scale(from.weight[0], quads_load(from.row[0] + offset, of.elements));
        if (taps == 2)
            x = quads_add(from.weight[1], quads_load(from.row[1] + offset, of.elements), x);
        quad sum = of.weight[0][q] * quads_first(x);
        if (of.taps[q] == 2)
            sum = quad_add(of.weight[1][q], quads_second(x, of.elements), sum);
        else if (of.taps[q] == 0)
            sum = (quad){0};
        memcpy(line, &sum, sizeof sum);
    }
}

ROICY_INLINE void pairs_part(const real *line, ptrdiff_t count, const pair_target *to, const int channels,
                             const int dtype) {
    lanes x[PIXEL];
    row_finish own[PIXEL];
    const pair_target target = pairs_target(to, channels, own);
    char *at = to->data;
    for (ptrdiff_t q = 0; q < count; q += LANES, line += LANES * channels) {
        crops_part(line, target.pixel, channels, channels, x);
        at = pairs_put(x, q, count, &target, at, channels, dtype);
    }
}

/* One output row of floats: by a line of pixels, with room for some behind it. */
ROICY_NOINLINE void pairs_floats(const pair_rows *rows, const pair_columns *columns, real *line,
                                 const pair_target *to) {
    const int channels = columns->channels;
    const ptrdiff_t count = columns->count, elements = count * channels;
    const int as_it_is = to->joined && !to->reversed && !to->finishes;
    real *const direct = as_it_is && to->dtype == OWN ? (real *)to->data : line;
    pairs_fetch(rows);
    if (rows->taps == 0)
        memset(direct, 0, (size_t)elements * sizeof *line);
    else if (rows->taps == 1)
        pairs_line_as(rows, columns, direct, 1);
    else
        pairs_line_as(rows, columns, direct, 2);
    if (!as_it_is)
        ROICY_PAIRS_AS(to, channels, pairs_part, line, count, to)
    else if (to->dtype != OWN)
        for (ptrdiff_t i = 0; i < elements; i += LANES)
            lanes_store(lanes_load_own((const char *)(line + i)),
                        to->data + i * (ptrdiff_t)element_size(to->dtype), to->dtype);
}

/* ---- bytes ---- */

#if defined(ROICY_X86)
/* The eight bytes at each of two offsets. */
ROICY_INLINE __m128 two_eights(const char *source, const int32_t *offset) {
    const __m128i first = _mm_loadl_epi64((const __m128i *)(source + offset[0]));
    return _mm_loadh_pi(_mm_castsi128_ps(first), (const __m64 *)(source + offset[1]));
}

/* The eight bytes of LANES columns in two vectors of four: of every four columns, `even` has those of the first two. */
ROICY_INLINE void join_eights(const __m128 even[LANES / 4], const __m128 odd[LANES / 4], lane_bits four[2]) {
#if defined(__AVX512F__)
    __m512 first = _mm512_castps128_ps512(even[0]), second = _mm512_castps128_ps512(odd[0]);
    first = _mm512_insertf32x4(first, even[1], 1), second = _mm512_insertf32x4(second, odd[1], 1);
    first = _mm512_insertf32x4(first, even[2], 2), second = _mm512_insertf32x4(second, odd[2], 2);
    first = _mm512_insertf32x4(first, even[3], 3), second = _mm512_insertf32x4(second, odd[3], 3);
    four[0] = (lane_bits)_mm512_shuffle_ps(first, second, 0x88);
    four[1] = (lane_bits)_mm512_shuffle_ps(first, second, 0xdd);
#elif defined(__AVX__)
    const __m256 first = _mm256_insertf128_ps(_mm256_castps128_ps256(even[0]), even[1], 1);
    const __m256 second = _mm256_insertf128_ps(_mm256_castps128_ps256(odd[0]), odd[1], 1);
    four[0] = (lane_bits)_mm256_shuffle_ps(first, second, 0x88);
    four[1] = (lane_bits)_mm256_shuffle_ps(first, second, 0xdd);
#else
    four[0] = (lane_bits)_mm_shuffle_ps(even[0], odd[0], 0x88);
    four[1] = (lane_bits)_mm_shuffle_ps(even[0], odd[0], 0xdd);
#endif
}
#endif

/* The eight bytes at each of LANES offsets, in two vectors of four. */
ROICY_INLINE void load_bytes(const char *source, const int32_t *offset, lane_bits four[2]) {
#if defined(ROICY_X86)
    __m128 even[LANES / 4], odd[LANES / 4];
    for (int part = 0; part < LANES / 4; part++) {
        even[part] = two_eights(source, offset + 4 * part);
        odd[part] = two_eights(source, offset + 4 * part + 2);
    }
    join_eights(even, odd, four);
#else
    ROICY_EACH(l) {
        uint32_t two[2];
        memcpy(two, source + offset[l], sizeof two);
        four[0][l] = two[0], four[1][l] = two[1];
    }
#endif
}

/* One of every four, as a number. */
ROICY_INLINE lanes byte_of(const lane_bits four[2], int element) {
    const lane_bits some = element < 4 ? four[0] : four[1];
    const int at = element % 4;
#if defined(__AVX2__)
    const __m128i every = _mm_add_epi32(_mm_setr_epi32(-256, -252, -248, -244), _mm_set1_epi32(at));
    if (at == 1 || at == 2) /* one instruction; another byte's index is negative, which makes it zero */
#if defined(__AVX512BW__)
        return (lanes)_mm512_cvtepi32_ps(_mm512_shuffle_epi8((__m512i)some, _mm512_broadcast_i32x4(every)));
#else
        return (lanes)_mm256_cvtepi32_ps(
            _mm256_shuffle_epi8((__m256i)some, _mm256_broadcastsi128_si256(every)));
#endif
#endif
    const lane_bits shifted = some >> at * 8;
    return __builtin_convertvector((lane_ints)(at == 3 ? shifted : shifted & 255), lanes);
}

/* The sums of LANES columns: two pixels each of two rows. */
ROICY_INLINE void pairs_sums(lane_bits four[2][2], real own, real other, lanes first, lanes second,
                             const int channels, const int elements, lanes x[PIXEL]) {
    for (int c = 0; c < channels; c++) {
        lanes left = lanes_scale(own, byte_of(four[0], c));
        lanes right = lanes_scale(own, byte_of(four[0], elements + c));
        left = lanes_madd(other, byte_of(four[1], c), left);
        right = lanes_madd(other, byte_of(four[1], elements + c), right);
        x[c] = lanes_multiply_add(second, right, lanes_times(first, left));
    }
}

ROICY_INLINE void pairs_bytes_as(const pair_rows *rows, const pair_columns *columns, const pair_target *to,
                                 const int channels, const int elements, const int dtype) {
    const int32_t *const offset = columns->offset;
    const real *const left = columns->weight[0], *const right = columns->weight[1];
    const ptrdiff_t count = columns->count;
    const real own = rows->weight[0], other = rows->weight[1];
    const char *const upper = rows->row[0], *const lower = rows->row[1];
    row_finish finishes[PIXEL];
    const pair_target target = pairs_target(to, channels, finishes);
    char *at = to->data;
    lanes x[PIXEL];
    for (ptrdiff_t q = 0; q < count; q += LANES) {
        lane_bits four[2][2];
        const lanes first = lanes_load_own((const char *)(left + q));
        const lanes second = lanes_load_own((const char *)(right + q));
        load_bytes(upper, offset + q, four[0]);
        load_bytes(lower, offset + q, four[1]);
        pairs_sums(four, own, other, first, second, channels, elements, x);
        at = pairs_put(x, q, count, &target, at, channels, dtype);
    }
}

ROICY_INLINE void pairs_bytes_of(const pair_rows *rows, const pair_columns *columns, const pair_target *to,
                                 const int channels, const int dtype) {
    if (columns->elements == 3)
        pairs_bytes_as(rows, columns, to, channels, 3, dtype);
    else
        pairs_bytes_as(rows, columns, to, channels, columns->elements, dtype);
}

#if defined(ROICY_NEAR)
/* The same for columns that are near each other, of three channels of three elements. */
ROICY_NEAR ROICY_INLINE void pairs_near_as(const pair_rows *rows, const pair_columns *columns,
                                           const pair_target *to, const int pairs, const int dtype) {
    const pair_columns of = *columns;
    const real own = rows->weight[0], other = rows->weight[1];
    const char *const upper = rows->row[0], *const lower = rows->row[1];
    row_finish finishes[PIXEL];
    const pair_target target = pairs_target(to, 3, finishes);
    char *at = to->data;
    lanes x[PIXEL];
    for (ptrdiff_t q = 0; q < of.count; q += LANES) {
        lane_bits four[2][2];
        const lanes first = lanes_load_own((const char *)(of.weight[0] + q));
        const lanes second = lanes_load_own((const char *)(of.weight[1] + q));
        near_load(upper, of.picked + q / LANES, pairs, four[0]);
        near_load(lower, of.picked + q / LANES, pairs, four[1]);
        pairs_sums(four, own, other, first, second, 3, 3, x);
        at = pairs_put(x, q, of.count, &target, at, 3, dtype);
    }
}

#define ROICY_NEAR_AS(dtype)                                                                                 \
    if (columns->picked_pairs == 1)                                                                          \
        pairs_near_as(rows, columns, to, 1, dtype);                                                          \
    else                                                                                                     \
        pairs_near_as(rows, columns, to, 2, dtype);

ROICY_NEAR ROICY_NOINLINE void pairs_near(const pair_rows *rows, const pair_columns *columns,
                                          const pair_target *to) {
    if (to->dtype == OWN) {
        ROICY_NEAR_AS(OWN)
    } else if (to->dtype == UINT8) {
        ROICY_NEAR_AS(UINT8)
    } else {
        ROICY_NEAR_AS(to->dtype)
    }
}
#else
ROICY_INLINE void pairs_near(const pair_rows *rows, const pair_columns *columns, const pair_target *to) {
    (void)rows, (void)columns, (void)to;
}
#endif

/* Settles how the columns are read, of rows of `span` bytes that are used. */
ROICY_NOINLINE void pairs_settle(pair_columns *columns, int dtype, ptrdiff_t span) {
    columns->picked_pairs = 0;
    columns->reach = span + PAIR_ELEMENTS * (ptrdiff_t)element_size(dtype);
    if (dtype == UINT8 && columns->elements == 3 && columns->channels == 3)
        columns->picked_pairs =
            near_describe(columns->picked, columns->offset, columns->taps, columns->count, span);
    if (columns->picked_pairs && columns->reach < columns->picked_pairs * NEAR_PAIR)
        columns->reach = columns->picked_pairs * NEAR_PAIR;
}

/* One output row of bytes. */
ROICY_NOINLINE void pairs_bytes(const pair_rows *rows, const pair_columns *columns, const pair_target *to) {
    const int channels = columns->channels;
    pairs_fetch(rows);
    if (columns->picked_pairs) {
        pairs_near(rows, columns, to);
        return;
    }
    ROICY_PAIRS_AS(to, channels, pairs_bytes_of, rows, columns, to)
}
#else
ROICY_INLINE void pairs_settle(pair_columns *columns, int dtype, ptrdiff_t span) {
    (void)columns, (void)dtype, (void)span;
}

ROICY_INLINE void pairs_floats(const pair_rows *rows, const pair_columns *columns, real *line,
                               const pair_target *to) {
    (void)rows, (void)columns, (void)line, (void)to;
}

ROICY_INLINE void pairs_bytes(const pair_rows *rows, const pair_columns *columns, const pair_target *to) {
    (void)rows, (void)columns, (void)to;
}
#endif

#endif
