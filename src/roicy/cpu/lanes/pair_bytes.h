/* Pairs of pixels of bytes: a column takes all bytes of both at once, LANES columns at a time.
 *
 *     row ──▶ both pixels of each column, as numbers: [tap][channel]      two of these ── taps of p, taps of q ──▶ [channel]
 *
 * Where output rows share rows of the picture, what a row's columns take is kept for the next one. Rows whose weights are
 * wholes are summed as integers instead: whole_bytes.h. */
#ifndef ROICY_PAIR_BYTES_H
#define ROICY_PAIR_BYTES_H

#include "near_bytes.h"
#include "pairs.h"
#include "whole_bytes.h"

/* What the columns of two rows take: a vector for each channel of both pixels of LANES columns. */
typedef struct {
    const char *row[2]; /* whose it is, or NULL */
    lanes *pixels[2];
} kept_pixels;

/* How columns are read. */
typedef struct {
    near_group *near; /* LANES columns each */
    int window;       /* bytes of a row that each of these needs, or 0: they are too far apart */
    ptrdiff_t reach;  /* bytes of a row that may be read */
    whole_group *whole;
    int parts; /* of each of these, or 0 */
    kept_pixels kept;
} pair_reading;

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
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

/* What columns from q on take of a row. */
ROICY_INLINE void pixels_each(const char *row, const pair_columns *columns, ptrdiff_t q, const int channels,
                              const int elements, lanes x[2 * PIXEL]) {
    lane_bits four[2];
    load_bytes(row, columns->offset + q, four);
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < channels; c++)
            x[i * channels + c] = byte_of(four, i * elements + c);
}

typedef struct {
    lanes own, other; /* of the rows */
    const real *left, *right;
} pair_weights;

ROICY_INLINE pair_weights pair_weights_of(const pair_rows *rows, const pair_columns *columns) {
    const pair_weights weights = {lanes_fill(rows->weight[0]), lanes_fill(rows->weight[1]),
                                  columns->weight[0], columns->weight[1]};
    return weights;
}

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

/* Rows of one channel each, of whole vectors of floats: what most callers ask for. */
typedef struct {
    ptrdiff_t whole; /* columns, or 0: it is something else */
    lanes mean[PIXEL], scale[PIXEL];
    ptrdiff_t step, row; /* bytes from channel to channel, and of a row */
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

/* What is left to fetch of the rows ahead, line by line: sums wait for many that are fetched at once. */
typedef struct {
    const char *row[2];
    ptrdiff_t at, end, more;
} fetched_part;

ROICY_INLINE fetched_part fetched_part_of(const pair_rows *rows, ptrdiff_t columns) {
    const ptrdiff_t least = (columns + LANES - 1) / LANES * LINE; /* a line of each at a time */
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

/* A line of each of three channels: of the row before, to be streamed, or of the next one, to be stored to. */
ROICY_INLINE void planes_line(const pair_planes *planes, streams_part *part, const char *at) {
    if (planes->streamed)
        streams_once(part, 3);
    else
        for (int c = 0; c < 3; c++)
            lanes_prefetch(at + planes->row + c * planes->step);
}

#define NO_UNIT ((const lanes *)NULL)

/* What is less than a number, of sums in units: their products with these are exact. */
ROICY_INLINE lanes unit_less(lanes x, const lanes *unit, lanes y) {
    return unit ? lanes_multiply_add(x, *unit, -y) : lanes_less(x, y);
}

/* A loop over the columns of a row, in which `sums` finds `x`, in units. */
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

/* The same of rows whose pixels are kept. */
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

/* What the columns take of a row. */
ROICY_NOINLINE void keep_each(const char *row, const pair_columns *columns, lanes *kept) {
    if (columns->channels == 3 && columns->elements == 3)
        keep_each_as(row, columns, kept, 3, 3);
    else
        keep_each_as(row, columns, kept, columns->channels, columns->elements);
}

#if defined(ROICY_NEAR)
/* Columns that are near each other, of three channels of three elements. */
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

/* The same of floats or bytes as results, if the rows' weights are wholes. */
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

/* How the columns are read is settled, of rows of `span` bytes that are used; `one`: whether vectors one by one, too. */
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

/* Where what is kept of a row is: it is found if it is not there, in place of that of the other one. */
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

/* One output row of bytes. `whose` names the rows of the picture if what is taken of them is to be kept, or is NULL. */
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
