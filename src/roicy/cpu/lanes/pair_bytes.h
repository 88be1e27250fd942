/* Crops of bytes whose columns read two neighbouring pixels each (pairs.h). A column loads all bytes of both pixels at
 * once; LANES columns are converted and summed together.
 *
 *     row ──▶ both pixels of each column, as numbers: [tap][channel]
 *     two of these ── taps of p, taps of q ──▶ [channel]
 *
 * Where output rows share rows of the picture, the pixels picked from a row are kept for the next output row. Rows
 * whose weights are multiples of 2^-15 are summed in integers instead: whole_bytes.h. */
#ifndef ROICY_PAIR_BYTES_H
#define ROICY_PAIR_BYTES_H

#include "near_bytes.h"
#include "pairs.h"
#include "whole_bytes.h"

/* The pixels picked from two rows of the picture. For each LANES columns: a vector for each channel of their first
 * pixels, then one for each channel of their second ones. */
typedef struct {
    const char *row[2]; /* address of the row in the picture, or NULL: no row is kept here yet */
    lanes *pixels[2];
} kept_pixels;

/* How columns read their pixels. */
typedef struct {
    near_group *near; /* one for each LANES columns */
    int window;       /* of near_describe; 0: each column is loaded by itself */
    ptrdiff_t reach;  /* bytes of a row, from its first one on, that loads may touch */
    whole_group *whole;
    int parts; /* of whole_describe; 0: no sums in integers */
    kept_pixels kept;
} pair_reading;

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
#if defined(ROICY_X86)
/* The eight bytes at each of two offsets, one after the other. */
ROICY_INLINE __m128 two_eights(const char *source, const int32_t *offset) {
    const __m128i first = _mm_loadl_epi64((const __m128i *)(source + offset[0]));
    return _mm_loadh_pi(_mm_castsi128_ps(first), (const __m64 *)(source + offset[1]));
}

/* Sorts eight bytes of each of LANES columns: bytes 0 to 3 go to four[0], bytes 4 to 7 to four[1]. Of each four
 * columns, `even` has the first two and `odd` the last two. */
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

/* Loads eight bytes for each of LANES columns: bytes 0 to 3 to four[0], bytes 4 to 7 to four[1]. */
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

/* Byte `element` (0 to 7) of each column, as a number. */
ROICY_INLINE lanes byte_of(const lane_bits four[2], int element) {
    const lane_bits some = element < 4 ? four[0] : four[1];
    const int at = element % 4;
#if defined(__AVX2__)
    const __m128i every = _mm_add_epi32(_mm_setr_epi32(-256, -252, -248, -244), _mm_set1_epi32(at));
    if (at == 1 || at == 2) /* one shuffle, not shift and mask: negative indices give 0 */
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

/* The pixels that columns q to q + LANES - 1 read from a row: x[i * channels + c] is channel c of pixel i. */
ROICY_INLINE void pixels_each(const char *row, const pair_columns *columns, ptrdiff_t q, const int channels,
                              const int elements, lanes x[2 * PIXEL]) {
    lane_bits four[2];
    load_bytes(row, columns->offset + q, four);
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < channels; c++)
            x[i * channels + c] = byte_of(four, i * elements + c);
}

typedef struct {
    lanes own, other;         /* of the upper and of the lower row */
    const real *left, *right; /* of each column's first and second pixel */
} pair_weights;

ROICY_INLINE pair_weights pair_weights_of(const pair_rows *rows, const pair_columns *columns) {
    const pair_weights weights = {lanes_fill(rows->weight[0]), lanes_fill(rows->weight[1]),
                                  columns->weight[0], columns->weight[1]};
    return weights;
}

/* The sums of columns q to q + LANES - 1 from their pixels in both rows: rows first, then columns. */
ROICY_INLINE void pairs_sums(const lanes *upper, const lanes *lower, const pair_weights *of, ptrdiff_t q,
                             const int channels, lanes x[PIXEL]) {
    const lanes first = lanes_load_own((const char *)(of->left + q));
    const lanes second = lanes_load_own((const char *)(of->right + q));
    for (int c = 0; c < channels; c++) {
        lanes left = lanes_times(of->own, upper[c]);
        lanes right = lanes_times(of->own, upper[channels + c]);
        left = lanes_multiply_add(of->other, lower[c], left);
        right = lanes_multiply_add(of->other, lower[channels + c], right);
        x[c] = lanes_multiply_add(second, right, lanes_times(first, left));
    }
}

/* The usual target, which has a loop of its own: floats, a row for each channel, normalised by mean and scale only. */
typedef struct {
    ptrdiff_t whole; /* columns that fill whole vectors; 0 for any other target */
    lanes mean[PIXEL], scale[PIXEL];
    ptrdiff_t step, row; /* bytes from one channel's row to the next one's; bytes of a row */
    int streamed;
} pair_planes;

ROICY_INLINE pair_planes pair_planes_of(const pair_target *to, ptrdiff_t count, const int channels) {
    pair_planes planes;
    planes.whole = to->joined || to->dtype != OWN || !to->finishes ? 0 : count / LANES * LANES;
    planes.step = to->step;
    planes.row = count * (ptrdiff_t)sizeof(real);
    planes.streamed = to->streams != NULL;
    for (int c = 0; to->finishes && c < channels; c++) {
        planes.mean[c] = lanes_fill(to->finishes[c].mean);
        planes.scale[c] = lanes_fill(to->finishes[c].scale);
        if (to->finishes[c].across)
            planes.whole = 0;
    }
    return planes;
}

/* Progress of prefetching the two rows ahead. A few lines are fetched beside each vector of columns: many at once
 * would delay the loads of the sums. `at`: bytes of each row that are fetched; `end`: bytes to fetch; `more`: bytes at
 * a time. */
typedef struct {
    const char *row[2];
    ptrdiff_t at, end, more;
} fetched_part;

ROICY_INLINE fetched_part fetched_part_of(const pair_rows *rows, ptrdiff_t columns) {
    const ptrdiff_t least = (columns + LANES - 1) / LANES * LINE; /* at a line for each vector */
    fetched_part part = {{rows->ahead[0], rows->ahead[1]}, 0, rows->span, LINE};
    if (rows->span > least)
        part.more = (rows->span + least - 1) / least * LINE;
    return part;
}

ROICY_INLINE void fetch_some(fetched_part *part) {
    const ptrdiff_t end = part->at + part->more < part->end ? part->at + part->more : part->end;
    for (; part->at < end; part->at += LINE) {
        lanes_prefetch(part->row[0] + part->at);
        lanes_prefetch(part->row[1] + part->at);
    }
}

/* For each of three channels: streams a line of the row before; or, if rows are not streamed, prefetches the memory
 * that the next row will be stored to. */
ROICY_INLINE void planes_line(const pair_planes *planes, streams_part *part, const char *at) {
    if (planes->streamed)
        streams_once(part, 3);
    else
        for (int c = 0; c < 3; c++)
            lanes_prefetch(at + planes->row + c * planes->step);
}

#define NO_UNIT ((const lanes *)NULL)

/* x - y, for a sum x in units. A unit is a power of two, so the product is exact, and only the difference is
 * rounded. */
ROICY_INLINE lanes unit_less(lanes x, const lanes *unit, lanes y) {
    return unit ? lanes_multiply_add(x, *unit, -y) : lanes_less(x, y);
}

/* Loops over the columns of an output row, LANES at a time: `sums` sets x[c] to the sums of channel c, in units unless
 * `unit` is NO_UNIT. The row before is streamed and the rows ahead are prefetched meanwhile. */
#define ROICY_PAIR_LOOP(sums, unit, channels, dtype)                                                         \
    const pair_columns of = *columns;                                                                        \
    row_finish finishes[PIXEL];                                                                              \
    const pair_target target = pairs_target(to, channels, finishes);                                         \
    streams_part part = streams_part_of(target.streams);                                                     \
    fetched_part ahead = fetched_part_of(rows, of.count);                                                    \
    char *at = to->data;                                                                                     \
    ptrdiff_t q = 0;                                                                                         \
    if ((dtype) == OWN && (channels) == 3) {                                                                 \
        const pair_planes planes = pair_planes_of(to, of.count, 3);                                          \
        for (; q < planes.whole; q += LANES, at += sizeof(lanes)) {                                          \
            lanes x[PIXEL];                                                                                  \
            fetch_some(&ahead);                                                                              \
            sums;                                                                                            \
            for (int c = 0; c < 3; c++)                                                                      \
                lanes_store(lanes_times(planes.scale[c], unit_less(x[c], unit, planes.mean[c])),             \
                            at + c * planes.step, OWN);                                                      \
            if (DEPTH == 1 || q % (LANES * DEPTH) == 0)                                                      \
                planes_line(&planes, &part, at);                                                             \
        }                                                                                                    \
    }                                                                                                        \
    for (; q < of.count; q += LANES) {                                                                       \
        lanes x[PIXEL];                                                                                      \
        fetch_some(&ahead);                                                                                  \
        sums;                                                                                                \
        for (int c = 0; unit && c < (channels); c++)                                                         \
            x[c] = lanes_times(x[c], *unit);                                                                 \
        at = pairs_put(x, q, of.count, &target, at, channels, dtype);                                        \
        pairs_stream(&part, &target, q, channels);                                                           \
    }                                                                                                        \
    streams_done(target.streams, &part);

ROICY_INLINE void pairs_each_as(const pair_rows *rows, const pair_columns *columns, const pair_target *to,
                                const int channels, const int elements, const int dtype) {
    const char *const row[2] = {rows->row[0], rows->row[1]};
    const pair_weights weights = pair_weights_of(rows, columns);
    ROICY_PAIR_LOOP(lanes upper[2 * PIXEL]; lanes lower[2 * PIXEL];
                    pixels_each(row[0], &of, q, channels, elements, upper);
                    pixels_each(row[1], &of, q, channels, elements, lower);
                    pairs_sums(upper, lower, &weights, q, channels, x), NO_UNIT, channels, dtype)
}

ROICY_INLINE void pairs_each_of(const pair_rows *rows, const pair_columns *columns, const pair_target *to,
                                const int channels, const int dtype) {
    if (columns->elements == 3)
        pairs_each_as(rows, columns, to, channels, 3, dtype);
    else
        pairs_each_as(rows, columns, to, channels, columns->elements, dtype);
}

ROICY_NOINLINE void pairs_each(const pair_rows *rows, const pair_columns *columns, const pair_target *to){
    ROICY_PAIRS_AS(to, columns -> channels, pairs_each_of, rows, columns, to)}

/* The same, from kept pixels of both rows. */
ROICY_INLINE
    void pairs_kept_as(const pair_rows *rows, const pair_columns *columns, const lanes *const pixels[2],
                       const pair_target *to, const int channels, const int dtype) {
    const lanes *const kept[2] = {pixels[0], pixels[1]};
    const pair_weights weights = pair_weights_of(rows, columns);
    ROICY_PAIR_LOOP(const lanes *const upper = kept[0] + q / LANES * 2 * channels;
                    const lanes *const lower = kept[1] + q / LANES * 2 * channels;
                    pairs_sums(upper, lower, &weights, q, channels, x), NO_UNIT, channels, dtype)
}

ROICY_NOINLINE void pairs_kept(const pair_rows *rows, const pair_columns *columns,
                               const lanes *const pixels[2], const pair_target *to){
    ROICY_PAIRS_AS(to, columns -> channels, pairs_kept_as, rows, columns, pixels, to)}

ROICY_INLINE void keep_each_as(const char *row, const pair_columns *columns, lanes *kept, const int channels,
                               const int elements) {
    for (ptrdiff_t q = 0; q < columns->count; q += LANES, kept += 2 * channels) {
        lanes x[2 * PIXEL];
        pixels_each(row, columns, q, channels, elements, x);
        for (int i = 0; i < 2 * channels; i++)
            kept[i] = x[i];
    }
}

/* Picks the pixels of all columns from a row, to be kept. */
ROICY_NOINLINE void keep_each(const char *row, const pair_columns *columns, lanes *kept) {
    if (columns->channels == 3 && columns->elements == 3)
        keep_each_as(row, columns, kept, 3, 3);
    else
        keep_each_as(row, columns, kept, columns->channels, columns->elements);
}

#if defined(ROICY_NEAR)
/* As pixels_each, for a group of near_describe: three channels, pixels of three bytes. */
ROICY_NEAR ROICY_INLINE void pixels_near(const char *row, const near_group *group, const int window,
                                         lanes x[6]) {
    lane_bits four[2];
    if (window == NEAR_VECTOR) {
        for (int i = 0; i < 6; i++)
            x[i] = near_byte(row, group, i);
        return;
    }
    near_load(row, group, window, four);
    for (int i = 0; i < 6; i++)
        x[i] = byte_of(four, i);
}

ROICY_NEAR ROICY_INLINE void pairs_near_as(const pair_rows *rows, const pair_columns *columns,
                                           const near_group *near, const pair_target *to, const int window,
                                           const int dtype) {
    const char *const row[2] = {rows->row[0], rows->row[1]};
    const pair_weights weights = pair_weights_of(rows, columns);
    ROICY_PAIR_LOOP(lanes upper[2 * PIXEL]; lanes lower[2 * PIXEL];
                    pixels_near(row[0], near + q / LANES, window, upper);
                    pixels_near(row[1], near + q / LANES, window, lower);
                    pairs_sums(upper, lower, &weights, q, 3, x), NO_UNIT, 3, dtype)
}

ROICY_NEAR ROICY_INLINE void keep_near_as(const char *row, const pair_columns *columns,
                                          const near_group *near, lanes *kept, const int window) {
    const ptrdiff_t groups = (columns->count + LANES - 1) / LANES;
    for (ptrdiff_t g = 0; g < groups; g++) {
        lanes x[6];
        pixels_near(row, near + g, window, x);
        for (int i = 0; i < 6; i++)
            kept[6 * g + i] = x[i];
    }
}

#define ROICY_NEAR_AS(window, function, ...)                                                                 \
    if ((window) == NEAR_VECTOR)                                                                             \
        function(__VA_ARGS__, NEAR_VECTOR);                                                                  \
    else if ((window) == 2 * NEAR_VECTOR)                                                                    \
        function(__VA_ARGS__, 2 * NEAR_VECTOR);                                                              \
    else                                                                                                     \
        function(__VA_ARGS__, 4 * NEAR_VECTOR)

ROICY_NEAR ROICY_INLINE void pairs_near_of(const pair_rows *rows, const pair_columns *columns,
                                           const near_group *near, const pair_target *to, const int window) {
    if (to->dtype == OWN)
        pairs_near_as(rows, columns, near, to, window, OWN);
    else if (to->dtype == UINT8)
        pairs_near_as(rows, columns, near, to, window, UINT8);
    else
        pairs_near_as(rows, columns, near, to, window, to->dtype);
}

ROICY_NEAR ROICY_NOINLINE void pairs_near(const pair_rows *rows, const pair_columns *columns,
                                          const pair_reading *how, const pair_target *to) {
    ROICY_NEAR_AS(how->window, pairs_near_of, rows, columns, how->near, to);
}

ROICY_NEAR ROICY_NOINLINE void keep_near(const char *row, const pair_columns *columns,
                                         const pair_reading *how, lanes *kept) {
    ROICY_NEAR_AS(how->window, keep_near_as, row, columns, how->near, kept);
}

ROICY_NEAR ROICY_INLINE void pairs_whole_as(const pair_rows *rows, const pair_columns *columns,
                                            const whole_group *groups, const whole_rows *whole,
                                            const pair_target *to, const int parts, const int dtype) {
    const char *const row[2] = {rows->row[0], rows->row[1]};
    const real *const left = columns->weight[0], *const right = columns->weight[1];
    const __m512i weights = _mm512_set1_epi32(whole->weights);
    const lanes unit = lanes_fill(whole->unit);
    ROICY_PAIR_LOOP(whole_sums(row, groups + q / LANES, weights, left + q, right + q, parts, x), (&unit), 3,
                    dtype)
}

#define ROICY_WHOLE_AS(parts, dtype, ...)                                                                    \
    if ((parts) == 1)                                                                                        \
        pairs_whole_as(__VA_ARGS__, 1, dtype);                                                               \
    else if ((parts) == 2)                                                                                   \
        pairs_whole_as(__VA_ARGS__, 2, dtype);                                                               \
    else                                                                                                     \
        pairs_whole_as(__VA_ARGS__, 4, dtype)

ROICY_NEAR ROICY_NOINLINE void pairs_whole(const pair_rows *rows, const pair_columns *columns,
                                           const pair_reading *how, const whole_rows *whole,
                                           const pair_target *to) {
    if (to->dtype == OWN)
        ROICY_WHOLE_AS(how->parts, OWN, rows, columns, how->whole, whole, to);
    else
        ROICY_WHOLE_AS(how->parts, UINT8, rows, columns, how->whole, whole, to);
}

/* Sums an output row in integers, if whole_bytes.h can and results are floats or bytes. Returns whether it did. */
ROICY_INLINE int pairs_if_whole(const pair_rows *rows, const pair_columns *columns, const pair_reading *how,
                                const pair_target *to) {
    whole_rows whole;
    if (!how->parts || (to->dtype != OWN && to->dtype != UINT8) || !whole_weights(rows->weight, &whole))
        return 0;
    pairs_whole(rows, columns, how, &whole, to);
    return 1;
}
#else
ROICY_INLINE int pairs_if_whole(const pair_rows *rows, const pair_columns *columns, const pair_reading *how,
                                const pair_target *to) {
    (void)rows, (void)columns, (void)how, (void)to;
    return 0;
}

ROICY_INLINE void pairs_near(const pair_rows *rows, const pair_columns *columns, const pair_reading *how,
                             const pair_target *to) {
    (void)rows, (void)columns, (void)how, (void)to;
}

ROICY_INLINE void keep_near(const char *row, const pair_columns *columns, const pair_reading *how,
                            lanes *kept) {
    (void)row, (void)columns, (void)how, (void)kept;
}
#endif

/* Decides how columns read rows, of which they use `span` bytes. `one` is the argument of near_describe. */
ROICY_NOINLINE void pairs_settle(pair_reading *how, const pair_columns *columns, int dtype, ptrdiff_t span,
                                 int one) {
    how->kept.row[0] = how->kept.row[1] = NULL;
    how->window = how->parts = 0;
    if (dtype == UINT8 && columns->elements == 3 && columns->channels == 3) {
        how->window = near_describe(how->near, columns->offset, columns->taps, columns->count, span, one);
        how->parts =
            whole_describe(how->whole, columns->offset, columns->taps, columns->weight, columns->count, span);
    }
    how->reach = span + PAIR_ELEMENTS * (ptrdiff_t)element_size(dtype);
    if (how->reach < how->window)
        how->reach = how->window;
    if (how->parts && how->reach < NEAR_VECTOR)
        how->reach = NEAR_VECTOR;
}

/* Returns which of the two places keeps the pixels of the row at address `whose`. If none does, they are picked from
 * `row`, into the place that does not keep the row `other`, which the same output row needs. */
ROICY_INLINE int keep(const char *whose, const char *row, const pair_columns *columns, pair_reading *how,
                      const char *other) {
    kept_pixels *const kept = &how->kept;
    const int place = kept->row[0] == whose ? 0 : kept->row[1] == whose ? 1 : kept->row[0] == other;
    if (kept->row[place] != whose) {
        kept->row[place] = whose;
        if (how->window)
            keep_near(row, columns, how, kept->pixels[place]);
        else
            keep_each(row, columns, kept->pixels[place]);
    }
    return place;
}

/* One output row of a crop of bytes. If pixels are to be kept, `whose` has the addresses of both rows in the picture
 * (the rows that are read may be copies); else it is NULL. */
ROICY_NOINLINE void pairs_bytes(const pair_rows *rows, const char *const *whose, const pair_columns *columns,
                                pair_reading *how, const pair_target *to) {
    if (pairs_if_whole(rows, columns, how, to))
        return;
    if (whose) {
        const int upper = keep(whose[0], rows->row[0], columns, how, whose[1]);
        const int lower = keep(whose[1], rows->row[1], columns, how, whose[0]);
        const lanes *const pixels[2] = {how->kept.pixels[upper], how->kept.pixels[lower]};
        pairs_kept(rows, columns, pixels, to);
    } else if (how->window) {
        pairs_near(rows, columns, how, to);
    } else {
        pairs_each(rows, columns, to);
    }
}
#else
ROICY_INLINE void pairs_settle(pair_reading *how, const pair_columns *columns, int dtype, ptrdiff_t span,
                               int one) {
    (void)how, (void)columns, (void)dtype, (void)span, (void)one;
}

ROICY_INLINE void pairs_bytes(const pair_rows *rows, const char *const *whose, const pair_columns *columns,
                              pair_reading *how, const pair_target *to) {
    (void)rows, (void)whose, (void)columns, (void)how, (void)to;
}
#endif

#endif
