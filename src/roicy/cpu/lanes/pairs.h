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

/* Bytes of columns: the pixels of two rows. */
typedef struct {
    const char *row[2];
    uint64_t *pixels[2];
} pair_bytes;

ROICY_INLINE void pairs_fetch(const pair_rows *rows) {
    for (ptrdiff_t b = 0; b < rows->span; b += 64) {
        lanes_prefetch(rows->ahead[0] + b);
        lanes_prefetch(rows->ahead[1] + b);
    }
}

/* ---- what becomes of LANES columns from `q` on: a vector for each of so many channels ---- */

ROICY_INLINE char *pairs_put(lanes x[PIXEL], ptrdiff_t q, const pair_target *to, char *target,
                             const int channels, const int dtype) {
    const ptrdiff_t size = LANES * (ptrdiff_t)element_size(dtype);
    for (int c = 0; to->finishes && c < channels; c++)
        x[c] = finish_columns(x[c], to->finishes + c, q);
    if (!to->joined) {
        for (int c = 0; c < channels; c++)
            lanes_store(x[c], target + c * to->step, dtype);
        return target + size;
    }
    for (int c = 0; to->reversed && c < channels / 2; c++) {
        const lanes other = x[c];
        x[c] = x[channels - 1 - c];
        x[channels - 1 - c] = other;
    }
    crops_join(x, to->pixel, channels);
    for (int c = 0; c < channels; c++)
        lanes_store(x[c], target + c * size, dtype);
    return target + channels * size;
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
        at = pairs_put(x, q, &target, at, channels, dtype);
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

typedef uint32_t lane_bits __attribute__((vector_size(ROICY_LANE_BYTES)));

/* The pixels of all columns. */
ROICY_INLINE void gather_bytes(const char *row, const pair_columns *columns, uint64_t *pixels) {
    const int32_t *const offset = columns->offset;
    const ptrdiff_t count = columns->count;
    for (ptrdiff_t q = 0; q < count; q += 4) {
        uint64_t four[4];
        for (int i = 0; i < 4; i++)
            memcpy(four + i, row + offset[q + i], sizeof *four);
        for (int i = 0; i < 4; i++)
            memcpy(pixels + q + i, four + i, sizeof *four);
    }
}

/* Those of LANES columns, in two vectors of four elements each. */
ROICY_INLINE void load_bytes(const uint64_t *pixels, lane_bits four[2]) {
    lane_bits low, high;
    lane_ints even, odd;
    ROICY_EACH(l) even[l] = 2 * l, odd[l] = 2 * l + 1;
    memcpy(&low, pixels, sizeof low);
    memcpy(&high, pixels + LANES / 2, sizeof high);
    four[0] = __builtin_shuffle(low, high, (lane_bits)even);
    four[1] = __builtin_shuffle(low, high, (lane_bits)odd);
}

ROICY_INLINE lanes byte_of(const lane_bits four[2], int element) {
    const lane_bits some = element < 4 ? four[0] : four[1];
    return __builtin_convertvector((lane_ints)(some >> element % 4 * 8 & 255), lanes);
}

ROICY_INLINE void pairs_bytes_as(const pair_bytes *bytes, const pair_rows *rows, const pair_columns *columns,
                                 const pair_target *to, const int channels, const int elements,
                                 const int dtype) {
    const pair_columns of = *columns;
    const real own = rows->weight[0], other = rows->weight[1];
    const uint64_t *const upper = bytes->pixels[0], *const lower = bytes->pixels[1];
    row_finish finishes[PIXEL];
    const pair_target target = pairs_target(to, channels, finishes);
    char *at = to->data;
    lanes x[PIXEL];
    for (ptrdiff_t q = 0; q < of.count; q += LANES) {
        lane_bits four[2][2];
        const lanes first = lanes_load_own((const char *)(of.weight[0] + q));
        const lanes second = lanes_load_own((const char *)(of.weight[1] + q));
        load_bytes(upper + q, four[0]);
        load_bytes(lower + q, four[1]);
        for (int c = 0; c < channels; c++) {
            lanes left = lanes_scale(own, byte_of(four[0], c));
            lanes right = lanes_scale(own, byte_of(four[0], elements + c));
            left = lanes_madd(other, byte_of(four[1], c), left);
            right = lanes_madd(other, byte_of(four[1], elements + c), right);
            x[c] = lanes_multiply_add(second, right, lanes_times(first, left));
        }
        at = pairs_put(x, q, &target, at, channels, dtype);
    }
}

ROICY_INLINE void pairs_bytes_of(const pair_bytes *bytes, const pair_rows *rows, const pair_columns *columns,
                                 const pair_target *to, const int channels, const int dtype) {
    if (columns->elements == 3)
        pairs_bytes_as(bytes, rows, columns, to, channels, 3, dtype);
    else
        pairs_bytes_as(bytes, rows, columns, to, channels, columns->elements, dtype);
}

/* One output row of bytes. Pixels of rows that the last one had, too, are kept. */
ROICY_NOINLINE void pairs_bytes(const pair_rows *rows, const pair_columns *columns, pair_bytes *bytes,
                                const pair_target *to) {
    const int channels = columns->channels;
    pairs_fetch(rows);
    if (rows->row[0] == bytes->row[1]) {
        uint64_t *const pixels = bytes->pixels[0];
        bytes->pixels[0] = bytes->pixels[1];
        bytes->pixels[1] = pixels;
        bytes->row[1] = bytes->row[0];
        bytes->row[0] = rows->row[0];
    }
    for (int j = 0; j < 2; j++)
        if (rows->row[j] != bytes->row[j]) {
            gather_bytes(rows->row[j], columns, bytes->pixels[j]);
            bytes->row[j] = rows->row[j];
        }
    ROICY_PAIRS_AS(to, channels, pairs_bytes_of, bytes, rows, columns, to)
}
#else
ROICY_INLINE void pairs_floats(const pair_rows *rows, const pair_columns *columns, real *line,
                               const pair_target *to) {
    (void)rows, (void)columns, (void)line, (void)to;
}

ROICY_INLINE void pairs_bytes(const pair_rows *rows, const pair_columns *columns, pair_bytes *bytes,
                              const pair_target *to) {
    (void)rows, (void)columns, (void)bytes, (void)to;
}
#endif

#endif
