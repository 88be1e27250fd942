/* Crops whose columns read at most two neighbouring pixels each, as with one sample a bin. Where the channels of a
 * pixel are neighbours in memory, too, a column loads both pixels at once, straight from the rows of the picture.
 * Pixels that no column reads are not loaded. For floats:
 *
 *     two rows ── taps of p ──▶ both pixels [channel] ── taps of q ──▶ line [column][channel]
 *
 * For bytes, see pair_bytes.h. Both do the multiply-adds of crops.h in the same order, so results are the same
 * bits. */
#ifndef ROICY_PAIRS_H
#define ROICY_PAIRS_H

#include "crops.h"
#include "streams.h"
#include "turned.h"

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
enum { PAIRS = 1 }; /* whether this build has these functions */
#else
enum { PAIRS = 0 };
#endif

enum { PAIR_ELEMENTS = 2 * PIXEL }; /* elements that are loaded from a column's first pixel on */

/* The taps of each column. The lists go on with zeros to a whole vector. */
typedef struct {
    int32_t *offset; /* bytes from the start of a row to the column's first pixel */
    int32_t *taps;   /* at most two */
    real *weight[2]; /* of the first and the second pixel; 0 without such a tap */
    ptrdiff_t count;
    int elements, channels; /* elements from one pixel to the next; those of a crop's channels */
} pair_columns;

/* The rows of the picture for an output row, at most two. The rows `ahead` belong to a later output row and are
 * prefetched meanwhile. */
typedef struct {
    const char *row[2], *ahead[2]; /* can be read even without such a tap */
    real weight[2];                /* 0 without such a tap */
    int taps;
    ptrdiff_t span; /* bytes of a row that columns use */
} pair_rows;

/* Where an output row goes. */
typedef struct {
    char *data;
    ptrdiff_t step; /* bytes from one channel's row to the next one's, unless `joined` */
    /* joined: each pixel has its channels one after the other; reversed: the last channel comes first then */
    int dtype, joined, reversed;
    const crops_pixel *pixel;
    const row_finish *finishes; /* one for each channel; NULL: values stay as they are */
    row_streams *streams;       /* the row before, which is streamed meanwhile; NULL: no row is streamed */
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

/* Limited to 255, since larger floats may not fit an int32. Packing limits negative ones to 0. */
ROICY_INLINE __m512i nearest_wholes(lanes x) {
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(255), (__m512)x));
}

/* Stores LANES pixels of three channels as bytes. Packing leaves four pixels in each 16 bytes, channel by channel; a
 * shuffle orders these by pixel, in 12 bytes, and a permutation closes the gaps. */
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

/* ---- LANES columns from `q` on: finish and store x[c], their values in each channel ---- */

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

/* Finishes and stores LANES columns, of a row of `count`; nothing is written behind the last column. Returns where the
 * next columns go. */
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

/* At every DEPTH-th vector of columns, streams some lines of the row before. */
ROICY_INLINE void pairs_stream(streams_part *part, const pair_target *to, ptrdiff_t q, const int channels) {
    if (to->streams == NULL || q % (LANES * DEPTH))
        return;
    if (to->joined)
        streams_some(part, 1);
    else
        streams_some(part, channels);
}

/* A local copy of the target and, in `own`, of its finishes: compilers know that stores to the target do not change it,
 * and need not load it again for each vector. */
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
typedef __m256 quads; /* eight elements: those of a pixel, followed by those of the next pixel */

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

/* One output row of a crop of floats. Its pixels go to `line` first, which has room for a vector behind the last one.
 * They go straight to the target if that takes them as they are: channels together and in order, of the same dtype,
 * not finished. */
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

#else
ROICY_INLINE void pairs_floats(const pair_rows *rows, const pair_columns *columns, real *line,
                               const pair_target *to) {
    (void)rows, (void)columns, (void)line, (void)to;
}
#endif

#endif
