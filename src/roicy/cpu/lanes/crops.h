/* Crops of maps with few channels and many output columns: lanes run along an output row.
 *
 * LANES neighbouring output columns are a group. Its taps are laid out one tap after the other: the first taps of
 * all its columns, then the second ones. A column with fewer taps than its neighbours skips the last ones.
 */
#ifndef ROICY_CROPS_H
#define ROICY_CROPS_H

#include "elements.h"
#include "finish.h"
#include "long_sums.h"

enum { WINDOW = 64 }; /* elements behind the end of a line that may be read: four vectors of crops_pick */

/* ---- columns ---- */

#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
enum { PICK = 16 };
#elif defined(__AVX2__) && !defined(ROICY_DOUBLE)
enum { PICK = 8 };
#else
enum { PICK = 0 }; /* elements of a vector that a permutation picks from; 0: elements are loaded one by one */
#endif

/* The elements line[index[l]] of LANES lanes. `windows` (1, 2 or 4) is the number of vectors from `line` on that hold
 * all of them, which are loaded whole and permuted; with 0, any index is allowed, and the elements are gathered. */
ROICY_INLINE lanes crops_pick(const real *line, const lane_int *index, const int windows) {
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    __m512i at = _mm512_loadu_si512(index);
    if (windows == 0)
        return (lanes)_mm512_i32gather_ps(at, line, 4);
    __m512 low = _mm512_permutex2var_ps(_mm512_loadu_ps(line), at, _mm512_loadu_ps(line + 16));
    if (windows == 2)
        return (lanes)low;
    __m512 high = _mm512_permutex2var_ps(_mm512_loadu_ps(line + 32), at, _mm512_loadu_ps(line + 48));
    return (lanes)_mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), low, high);
#elif defined(__AVX2__) && !defined(ROICY_DOUBLE)
    if (windows) {
        __m256i at = _mm256_loadu_si256((const __m256i *)index);
        __m256 part[4];
        for (int i = 0; i < windows; i++)
            part[i] = _mm256_permutevar8x32_ps(_mm256_loadu_ps(line + 8 * i), at);
        __m256 eights = _mm256_castsi256_ps(_mm256_slli_epi32(at, 28)); /* bit 3, as a sign: for a blend */
        __m256 sixteens = _mm256_castsi256_ps(_mm256_slli_epi32(at, 27));
        if (windows == 1)
            return (lanes)part[0];
        part[0] = _mm256_blendv_ps(part[0], part[1], eights);
        if (windows == 2)
            return (lanes)part[0];
        part[2] = _mm256_blendv_ps(part[2], part[3], eights);
        return (lanes)_mm256_blendv_ps(part[0], part[2], sixteens);
    }
#endif
    real copy[ROICY_LANE_COUNT];
    lanes x;
    (void)windows;
    ROICY_EACH(l) copy[l] = line[index[l]];
    memcpy(&x, copy, sizeof x);
    return x;
}

/* sum + weight * x in the lanes whose column has more than `tap` taps. The other lanes keep their sum: with a weight of
 * 0 instead, an infinite x would make it NaN. */
ROICY_INLINE lanes crops_add(const real *weight, lanes x, lanes sum, const lane_int *taps, lane_int tap) {
    real before[ROICY_LANE_COUNT], after[ROICY_LANE_COUNT];
    lanes w;
    memcpy(&w, weight, sizeof w);
    x = lanes_multiply_add(w, x, sum);
    memcpy(before, &sum, sizeof sum);
    memcpy(after, &x, sizeof x);
    ROICY_EACH(l) after[l] = taps[l] > tap ? after[l] : before[l];
    memcpy(&x, after, sizeof x);
    return x;
}

typedef struct {
    /* base: the element of the line from which the group's indices count
     * start: the vector of `index` and `weight` with which the group's taps begin */
    ptrdiff_t base, start;
    int32_t least, most; /* fewest and most taps of a column */
    int32_t windows;     /* see crops_pick */
} crops_group;

/* The taps of an output row's columns. */
typedef struct {
    crops_group *group;
    ptrdiff_t groups;
    lane_int *index; /* for each tap of a group a vector: where LANES columns read the line */
    real *weight;    /* likewise, the weights */
    lane_int *taps;  /* of each column: how many */
} crops_taps;

/* A group whose columns all have two taps: one sample a bin, inside the map. */
ROICY_INLINE lanes group_pairs(const real *line, const lane_int *index, const real *weight,
                               const int windows) {
    lanes first, second;
    memcpy(&first, weight, sizeof first);
    memcpy(&second, weight + LANES, sizeof second);
#if defined(__GNUC__)
    first *= crops_pick(line, index, windows);
#else
    first = lanes_multiply_add(first, crops_pick(line, index, windows), lanes_zero());
#endif
    return lanes_multiply_add(second, crops_pick(line, index + LANES, windows), first);
}

/* A group with `least` to `most` taps a column. The first `least` taps are added in all lanes, each later one only in
 * the lanes whose column has it. */
ROICY_INLINE lanes group_of(const real *line, const lane_int *index, const real *weight,
                            const lane_int *count, const int least, const int most, const int windows) {
    lanes sum = lanes_zero(), w;
    if (most > 0) {
        memcpy(&w, weight, sizeof w);
#if defined(__GNUC__)
        sum = w * crops_pick(line, index, windows);
#else
        sum = lanes_multiply_add(w, crops_pick(line, index, windows), sum);
#endif
        if (least == 0) {
            real masked[ROICY_LANE_COUNT];
            memcpy(masked, &sum, sizeof sum);
            ROICY_EACH(l) masked[l] = count[l] > 0 ? masked[l] : 0;
            memcpy(&sum, masked, sizeof sum);
        }
    }
    for (lane_int t = 1; t < least; t++) {
        memcpy(&w, weight + t * LANES, sizeof w);
        sum = lanes_multiply_add(w, crops_pick(line, index + t * LANES, windows), sum);
    }
    for (lane_int t = least > 1 ? least : 1; t < most; t++)
        sum = crops_add(weight + t * LANES, crops_pick(line, index + t * LANES, windows), sum, count, t);
    return sum;
}

/* A group with at most PIECE taps a column: each sum is one chain of multiply-adds (long_sums.h). */
ROICY_NOINLINE lanes group_chain(const real *line, const lane_int *index, const real *weight,
                                 const lane_int *count, int least, int most, int windows) {
    switch (windows) {
    case 1:
    case 2:
        return group_of(line, index, weight, count, least, most, 2);
    case 4:
        return group_of(line, index, weight, count, least, most, 4);
    default:
        return group_of(line, index, weight, count, least, most, 0);
    }
}

/* A group with any number of taps a column: sums of more than PIECE taps are made of pieces (long_sums.h). */
ROICY_NOINLINE lanes group_sum(const real *line, const lane_int *index, const real *weight,
                               const lane_int *count, int least, int most, int windows) {
    lanes sum = lanes_zero(), lost = lanes_zero();
    if (most <= PIECE)
        return group_chain(line, index, weight, count, least, most, windows);
    for (int begin = 0; begin < most; begin += PIECE) {
        const int rest = most - begin < PIECE ? most - begin : PIECE,
                  left = least > begin ? least - begin : 0;
        lane_int taps[LANES];
        ROICY_EACH(l) taps[l] = count[l] - begin;
        lanes piece = group_chain(line, index + begin * LANES, weight + begin * LANES, taps,
                                  left < rest ? left : rest, rest, windows);
        sum = lanes_join(piece, sum, &lost);
    }
    return lanes_restore(sum, lost);
}

/* The windows of crops_pick for groups whose taps lie within `span` elements. Vectors of 16 are permuted in pairs, so
 * there two windows are the least. */
ROICY_INLINE int crops_windows(ptrdiff_t span) {
    if (!PICK || span > 4 * PICK)
        return 0;
    return span > 2 * PICK ? 4 : span > PICK || PICK > 8 ? 2 : 1;
}

/* Group q of an output row. */
ROICY_INLINE lanes group_columns(const real *line, const crops_taps *columns, ptrdiff_t q) {
    const crops_group *const group = columns->group + q;
    const lane_int *const index = columns->index + group->start * LANES;
    const real *const weight = columns->weight + group->start * LANES;
    line += group->base;
    if (group->least != 2 || group->most != 2)
        return group_sum(line, index, weight, columns->taps + q * LANES, group->least, group->most,
                         group->windows);
    switch (group->windows) {
    case 1:
        return group_pairs(line, index, weight, 1);
    case 2:
        return group_pairs(line, index, weight, 2);
    case 4:
        return group_pairs(line, index, weight, 4);
    default:
        return group_pairs(line, index, weight, 0);
    }
}

ROICY_INLINE void row_columns_as(const real *line, const crops_taps *columns, const row_finish *row,
                                 char *target, const int dtype) {
    const crops_taps from = *columns; /* a local copy, which stores to `target` cannot change */
    const size_t size = LANES * element_size(dtype);
    for (ptrdiff_t q = 0; q < from.groups; q++, target += size) {
        lanes x = group_columns(line, &from, q);
        lanes_store(row ? finish_columns(x, row, q * LANES) : x, target, dtype);
    }
}

/* An output row whose values are finished (finish.h). */
ROICY_NOINLINE void finished_columns(const real *line, const crops_taps *columns, const row_finish *row,
                                     char *target, int dtype) {
    const row_finish of = *row;
    if (dtype == OWN)
        row_columns_as(line, columns, &of, target, OWN);
    else if (dtype == UINT8)
        row_columns_as(line, columns, &of, target, UINT8);
    else
        row_columns_as(line, columns, &of, target, dtype);
}

/* One output row, stored as whole vectors of the target's element type. If `row` is NULL, values are not finished. */
ROICY_NOINLINE void crops_columns(const real *line, const crops_taps *columns, const row_finish *row,
                                  char *target, int dtype) {
    if (row)
        finished_columns(line, columns, row, target, dtype);
    else if (dtype == OWN)
        row_columns_as(line, columns, NULL, target, OWN);
    else
        row_columns_as(line, columns, NULL, target, dtype);
}

/* ---- rows ---- */

/* The row pass, for two rows if `taps` is 2, and for `many` rows if it is 0. */
ROICY_INLINE void blend_as(const char *const *row, const real *weight, const int taps, int many,
                           ptrdiff_t count, const char *const *ahead, real *line, const int dtype) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    const char *first = row[0], *second = row[taps == 2], *soon = ahead[0], *also = ahead[1];
    const real own = weight[0], other = weight[taps == 2];
    const int rows = taps ? taps : many;
    ptrdiff_t i = 0;
    for (; i + 2 * LANES <= count; i += 2 * LANES) {
        const ptrdiff_t at = i * size, next = at + LANES * size;
        for (ptrdiff_t b = 0; b < 2 * LANES * size; b += 64) {
            lanes_prefetch(soon + at + b);
            lanes_prefetch(also + at + b);
        }
        lanes left = lanes_scale(own, lanes_load(first + at, dtype));
        lanes right = lanes_scale(own, lanes_load(first + next, dtype));
        if (taps == 2) {
            left = lanes_madd(other, lanes_load(second + at, dtype), left);
            right = lanes_madd(other, lanes_load(second + next, dtype), right);
        } else {
            for (int j = 1; j < rows; j++) {
                left = lanes_madd(weight[j], lanes_load(row[j] + at, dtype), left);
                right = lanes_madd(weight[j], lanes_load(row[j] + next, dtype), right);
            }
        }
        memcpy(line + i, &left, sizeof left);
        memcpy(line + i + LANES, &right, sizeof right);
    }
    for (; i < count; i += LANES) {
        const int part = count - i < LANES ? (int)(count - i) : LANES;
        lanes sum = lanes_zero();
        for (int j = 0; j < rows; j++) {
            const char *at = row[j] + i * size;
            lanes x = part == LANES ? lanes_load(at, dtype) : lanes_load_part(at, part, dtype);
            sum = j ? lanes_madd(weight[j], x, sum) : lanes_scale(weight[0], x);
        }
        memcpy(line + i, &sum, sizeof sum);
    }
}

ROICY_INLINE void blend_of(const char *const *row, const real *weight, int taps, ptrdiff_t count,
                           const char *const *ahead, real *line, const int dtype) {
    if (taps == 2)
        blend_as(row, weight, 2, taps, count, ahead, line, dtype);
    else if (taps)
        blend_as(row, weight, 0, taps, count, ahead, line, dtype);
    else
        memset(line, 0, (size_t)count * sizeof(real));
}

ROICY_INLINE void blend_long_as(const char *const *row, const real *weight, int rows, ptrdiff_t count,
                                real *line, const int dtype) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    lanes sum[4];
    ptrdiff_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES) {
        ROICY_LONG_SUM(sum, weight, rows, 4, lanes_load(row[j] + (i + v * LANES) * size, dtype));
        memcpy(line + i, sum, sizeof sum);
    }
    for (; i < count; i += LANES) {
        const int part = count - i < LANES ? (int)(count - i) : LANES;
        ROICY_LONG_SUM(sum, weight, rows, 1,
                       part == LANES ? lanes_load(row[j] + (i + v) * size, dtype)
                                     : lanes_load_part(row[j] + (i + v) * size, part, dtype));
        memcpy(line + i, sum, sizeof *sum);
    }
}

/* The row pass for more than PIECE rows: sums are made of pieces (long_sums.h). */
ROICY_NOINLINE void blend_long(const char *const *row, const real *weight, int rows, ptrdiff_t count,
                               int dtype, real *line){
    ROICY_READ_AS(dtype, blend_long_as, row, weight, rows, count, line)}

/* The row pass: line[i] = sum over j of weight[j] * row[j][i], for `taps` rows of any element type. The two rows
 * `ahead` are prefetched meanwhile. */
ROICY_NOINLINE void crops_rows(const char *const *row, const real *weight, int taps, ptrdiff_t count,
                               int dtype, const char *const *ahead, real *line) {
    if (taps > PIECE) {
        blend_long(row, weight, taps, count, dtype, line);
        return;
    }
    ROICY_READ_AS(dtype, blend_of, row, weight, taps, count, ahead, line)
}

ROICY_INLINE void crops_gather_as(const char *source, ptrdiff_t step, ptrdiff_t count, real *target,
                                  const int dtype) {
    for (ptrdiff_t i = 0; i < count; i++)
        target[i] = element_load(source + i * step, dtype);
}

/* Converts `count` elements of a row, which lie `step` bytes apart, and stores them one after the other. */
ROICY_NOINLINE void crops_gather(const char *source, ptrdiff_t step, ptrdiff_t count, int dtype,
                                 real *target) {
    ROICY_READ_AS(dtype, crops_gather_as, source, step, count, target)
}

/* ---- pixels whose channels are neighbours in memory ---- */

enum { PIXEL = 4 }; /* most elements of a pixel */

/* Indices that split LANES pixels into a vector for each channel, and that join such vectors to pixels. */
typedef struct {
    int elements;                  /* from one pixel to the next */
    lane_int every[LANES];         /* of the first channel of LANES pixels */
    lane_int joined[PIXEL][LANES]; /* for each vector of the joined pixels: where its elements are in the
                                      vectors of the channels, which lie one after the other */
} crops_pixel;

ROICY_INLINE void crops_describe_pixel(crops_pixel *pixel, int elements) {
    pixel->elements = elements;
    ROICY_EACH(l) pixel->every[l] = (lane_int)(l * elements);
    for (int i = 0; i < elements * LANES; i++)
        pixel->joined[i / LANES][i % LANES] = (lane_int)(i % elements * LANES + i / elements);
}

ROICY_INLINE lanes pick_pixels(const real *source, const lane_int *index, int elements) {
    if (!PICK)
        return crops_pick(source, index, 0);
    return elements <= 2 ? crops_pick(source, index, 2) : crops_pick(source, index, 4);
}

#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(ROICY_DOUBLE)
/* Splits eight pixels of three channels, which fill three vectors, and joins them again. Channel c of pixel q is
 * element 3 q + c, in lane (3 q + c) modulo 8 of one of the vectors. These lanes differ for the eight pixels of a
 * channel: a channel's elements are blended into one vector, then permuted into order. Joining permutes first, then
 * blends. LANES_r is the mask of the lanes l with l modulo 3 == r. */
enum { TRIPLES = 1, LANES_0 = 0x49, LANES_1 = 0x92, LANES_2 = 0x24 };

ROICY_INLINE __m256i triple_lanes(int channel) {
    return _mm256_and_si256(
        _mm256_add_epi32(_mm256_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21), _mm256_set1_epi32(channel)),
        _mm256_set1_epi32(7));
}

ROICY_INLINE void split_triples(const real *source, const crops_pixel *pixel, lanes part[3]) {
    (void)pixel;
    __m256 a = _mm256_loadu_ps(source), b = _mm256_loadu_ps(source + 8), c = _mm256_loadu_ps(source + 16);
    __m256 red = _mm256_blend_ps(_mm256_blend_ps(a, b, LANES_1), c, LANES_2);
    __m256 green = _mm256_blend_ps(_mm256_blend_ps(a, b, LANES_2), c, LANES_0);
    __m256 blue = _mm256_blend_ps(_mm256_blend_ps(a, b, LANES_0), c, LANES_1);
    part[0] = (lanes)_mm256_permutevar8x32_ps(red, triple_lanes(0));
    part[1] = (lanes)_mm256_permutevar8x32_ps(green, triple_lanes(1));
    part[2] = (lanes)_mm256_permutevar8x32_ps(blue, triple_lanes(2));
}

ROICY_INLINE __m256 triple_spread(__m256 x, int channel) {
    /* lane l gets pixel (l - channel) / 3 modulo 8; that is 3 * (l - channel), because 3 * 3 = 1 modulo 8 */
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i apart = _mm256_sub_epi32(lane, _mm256_set1_epi32(channel));
    __m256i pixel = _mm256_add_epi32(apart, _mm256_slli_epi32(apart, 1));
    return _mm256_permutevar8x32_ps(x, _mm256_and_si256(pixel, _mm256_set1_epi32(7)));
}

ROICY_INLINE void join_triples(lanes sum[3], const crops_pixel *pixel) {
    (void)pixel;
    __m256 red = triple_spread((__m256)sum[0], 0), green = triple_spread((__m256)sum[1], 1);
    __m256 blue = triple_spread((__m256)sum[2], 2);
    sum[0] = (lanes)_mm256_blend_ps(_mm256_blend_ps(red, green, LANES_1), blue, LANES_2);
    sum[1] = (lanes)_mm256_blend_ps(_mm256_blend_ps(red, green, LANES_2), blue, LANES_0);
    sum[2] = (lanes)_mm256_blend_ps(_mm256_blend_ps(red, green, LANES_0), blue, LANES_1);
}
#elif defined(__AVX512F__) && !defined(ROICY_DOUBLE)
/* The same for sixteen pixels, whose indices are 0 to 47. The permutation of the first two vectors uses the low five
 * bits of an index; the one of the third vector uses the low four bits and is masked to the lanes that need it. */
enum { TRIPLES = 1 };

ROICY_INLINE void split_triples(const real *source, const crops_pixel *pixel, lanes part[3]) {
    const __m512 a = _mm512_loadu_ps(source), b = _mm512_loadu_ps(source + 16),
                 c = _mm512_loadu_ps(source + 32);
    const __m512i at = _mm512_loadu_si512(pixel->every);
    for (int channel = 0; channel < 3; channel++) {
        const __m512i index = _mm512_add_epi32(at, _mm512_set1_epi32(channel));
        const __mmask16 last = channel == 2 ? 0xfc00 : 0xf800; /* lanes with an element of `c` */
        part[channel] =
            (lanes)_mm512_mask_permutexvar_ps(_mm512_permutex2var_ps(a, index, b), last, index, c);
    }
}

ROICY_INLINE void join_triples(lanes sum[3], const crops_pixel *pixel) {
    const __m512 red = (__m512)sum[0], green = (__m512)sum[1], blue = (__m512)sum[2];
    for (int i = 0; i < 3; i++) {
        const __m512i index = _mm512_loadu_si512(pixel->joined[i]);
        const __mmask16 last = i == 0 ? 0x4924 : i == 1 ? 0x2492 : 0x9249; /* lanes of `blue` */
        sum[i] =
            (lanes)_mm512_mask_permutexvar_ps(_mm512_permutex2var_ps(red, index, green), last, index, blue);
    }
}
#else
enum { TRIPLES = 0 };
ROICY_INLINE void split_triples(const real *source, const crops_pixel *pixel, lanes part[3]) {
    (void)source, (void)pixel, (void)part;
}
ROICY_INLINE void join_triples(lanes sum[3], const crops_pixel *pixel) { (void)sum, (void)pixel; }
#endif

/* Splits LANES pixels of `elements` elements into a vector for each of their first `channels` channels. */
ROICY_INLINE void crops_part(const real *source, const crops_pixel *pixel, int elements, int channels,
                             lanes part[PIXEL]) {
    if (TRIPLES && elements == 3 && channels == 3)
        split_triples(source, pixel, part);
    else
        for (int c = 0; c < channels; c++)
            part[c] = pick_pixels(source + c, pixel->every, elements);
}

/* The inverse, in place: LANES pixels of `elements` channels from a vector for each channel. */
ROICY_INLINE void crops_join(lanes sum[PIXEL], const crops_pixel *pixel, int elements) {
    real copy[PIXEL * ROICY_LANE_COUNT] = {0};
    if (TRIPLES && elements == 3) {
        join_triples(sum, pixel);
        return;
    }
    memcpy(copy, sum, (size_t)elements * sizeof *sum);
    for (int c = 0; c < elements; c++)
        sum[c] = pick_pixels(copy, pixel->joined[c], elements);
}

/* Splits `count` pixels into a line for each of their first `channels` channels. Lines are `step` elements apart and
 * have room for whole vectors. */
ROICY_NOINLINE void crops_split(const real *source, const crops_pixel *pixel, int channels, ptrdiff_t count,
                                real *target, ptrdiff_t step) {
    lanes part[PIXEL];
    for (ptrdiff_t i = 0; i < count; i += LANES, source += LANES * pixel->elements, target += LANES) {
        crops_part(source, pixel, pixel->elements, channels, part);
        for (int c = 0; c < channels; c++)
            memcpy(target + c * step, part + c, sizeof *part);
    }
}

/* As crops_columns, for an output row whose pixels hold all channels: `lines` has a line for each channel, `step`
 * elements apart, and `rows` a finish for each channel, or is NULL. */
ROICY_NOINLINE void crops_pixels(const real *lines, ptrdiff_t step, const crops_pixel *pixel,
                                 const crops_taps *columns, const row_finish *rows, char *target, int dtype) {
    const crops_taps from = *columns;
    const size_t size = LANES * element_size(dtype);
    const int elements = pixel->elements;
    lanes sum[PIXEL];
    for (ptrdiff_t q = 0; q < from.groups; q++) {
        for (int c = 0; c < elements; c++)
            sum[c] = group_columns(lines + c * step, &from, q);
        if (rows)
            for (int c = 0; c < elements; c++)
                sum[c] = finish_columns(sum[c], rows + c, q * LANES);
        crops_join(sum, pixel, elements);
        for (int c = 0; c < elements; c++, target += size)
            lanes_store(sum[c], target, dtype);
    }
}

/* ---- outputs whose columns are not neighbours in memory ---- */

/* Copies `count` elements of `size` bytes to places that are `step` bytes apart. */
ROICY_NOINLINE void crops_scatter(const char *source, ptrdiff_t size, ptrdiff_t count, char *target,
                                  ptrdiff_t step) {
    for (ptrdiff_t i = 0; i < count; i++, source += size, target += step) {
        if (size == 4)
            memcpy(target, source, 4);
        else if (size == 8)
            memcpy(target, source, 8);
        else if (size == 2)
            memcpy(target, source, 2);
        else
            *target = *source;
    }
}

#endif
