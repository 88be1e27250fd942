/* Samples of tilted rows (rotated boxes, quadrangles), for up to four channels: first the positions of a row of
 * samples, with lanes along the row, then their values, with the channels of a sample as a vector. Boxes and sums are
 * floats; a build for doubles does not call this. */
#ifndef ROICY_TURNED_H
#define ROICY_TURNED_H

#include "elements.h"

enum { QUAD = 4 }; /* channels, at the most */

#if defined(__GNUC__)
typedef float quad __attribute__((vector_size(16)));
#define ROICY_QUAD(x, c) ((x)[c])
#else
typedef struct {
    float channel[QUAD];
} quad;
#define ROICY_QUAD(x, c) ((x).channel[c])
#endif

/* The map as samples see it: steps in bytes, and no pixel further from the first one than int32 counts. */
typedef struct {
    const char *source; /* its first pixel */
    ptrdiff_t row, column, channel;
    int height, width, channels, dtype;
    /* of perspective views: whether there is memory of a part of the map alone, where that begins, and its size */
    int parted, top, left, rows, columns;
    int together; /* QUAD neighbouring elements can be read where a pixel is, its channels first */
} turned_map;

/* A row of samples. Of each: where its first pixel is, how many bytes further the next one of the row and the one
 * of the next row are, or 0 at the edge; and the weights of the four. */
typedef struct {
    int32_t *offset, *right, *down;
    float *weight[4];
    float *outside; /* of perspective views: the weight of what is not on the map */
} turned_samples;

/* Samples along a line: `y - down[i] + cy`, `x + along[i] + cx`, each sum rounded. */
typedef struct {
    const float *down, *along;
    float y, x, cy, cx;
} turned_line;

ROICY_INLINE float turned_y(const turned_line *line, ptrdiff_t i) {
    return line->y - line->down[i] + line->cy;
}

ROICY_INLINE float turned_x(const turned_line *line, ptrdiff_t i) {
    return line->x + line->along[i] + line->cx;
}

ROICY_INLINE int turned_hits(const turned_map *map, const turned_line *line, ptrdiff_t i) {
    const float y = turned_y(line, i), x = turned_x(line, i);
    return y >= -1 && y <= (float)map->height && x >= -1 && x <= (float)map->width;
}

/* Those that hit the map are neighbours: positions along a line never turn back. Returns the first one; *end is
 * behind the last. */
ROICY_INLINE ptrdiff_t turned_first(const turned_map *map, const turned_line *line, ptrdiff_t count,
                                    ptrdiff_t *end) {
    ptrdiff_t begin = 0;
    while (begin < count && !turned_hits(map, line, begin))
        begin++;
    while (count > begin && !turned_hits(map, line, count - 1))
        count--;
    *end = count;
    return begin;
}

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
/* Numbers where a mask, all bits or none, is set. */
ROICY_INLINE lanes lanes_where(lane_ints mask, lanes x) { return (lanes)((lane_ints)x & mask); }

/* Between which pixels positions along an axis are: returns the one below, *part of the way to the next; where there
 * is none, *next is 0. */
ROICY_INLINE lane_ints turned_between(lanes position, int length, lanes *part, lane_ints *next) {
    const lane_ints before = position < 0,
                    low = __builtin_convertvector(position, lane_ints) & (position > 0);
    const lane_ints inside = low < length - 1;
    const lane_ints pixel = (low & inside) | ((length - 1) & ~inside);
    *next = inside;
    *part = lanes_where(inside & ~before, position - __builtin_convertvector(pixel, lanes));
    return pixel;
}

/* Where samples begin to end of a line lie, each of which weighs `share`; there is room for whole vectors of them. */
ROICY_NOINLINE void turned_places(const turned_map *map, const turned_line *line, ptrdiff_t begin,
                                  ptrdiff_t end, float share, const turned_samples *to) {
    const int32_t row = (int32_t)map->row, column = (int32_t)map->column;
    for (ptrdiff_t i = begin - begin % LANES; i < end; i += LANES) {
        const lanes y = line->y - lanes_load_own((const char *)(line->down + i)) + line->cy;
        const lanes x = line->x + lanes_load_own((const char *)(line->along + i)) + line->cx;
        lanes part_y, part_x;
        lane_ints down, right;
        const lane_ints pixel_y = turned_between(y, map->height, &part_y, &down);
        const lane_ints pixel_x = turned_between(x, map->width, &part_x, &right);
        const lanes lower = share * part_y, upper = share * (1 - part_y);
        const lanes weight[4] = {upper * (1 - part_x), upper * part_x, lower * (1 - part_x), lower * part_x};
        const lane_ints offset = pixel_y * row + pixel_x * column;
        down &= row;
        right &= column;
        memcpy(to->offset + i, &offset, sizeof offset);
        memcpy(to->down + i, &down, sizeof down);
        memcpy(to->right + i, &right, sizeof right);
        for (int corner = 0; corner < 4; corner++)
            memcpy(to->weight[corner] + i, weight + corner, sizeof *weight);
    }
}
#else
ROICY_INLINE int32_t turned_between(float position, int length, float *part, int32_t *next) {
    const int low = position > 0 ? (int)position : 0, last = low >= length - 1;
    *next = last ? 0 : -1;
    *part = last || position < 0 ? 0 : position - (float)low;
    return last ? length - 1 : low;
}

ROICY_NOINLINE void turned_places(const turned_map *map, const turned_line *line, ptrdiff_t begin,
                                  ptrdiff_t end, float share, const turned_samples *to) {
    for (ptrdiff_t i = begin; i < end; i++) {
        float part_y, part_x;
        int32_t down, right;
        const int32_t y = turned_between(turned_y(line, i), map->height, &part_y, &down);
        const int32_t x = turned_between(turned_x(line, i), map->width, &part_x, &right);
        to->offset[i] = (int32_t)(y * map->row + x * map->column);
        to->down[i] = down & (int32_t)map->row;
        to->right[i] = right & (int32_t)map->column;
        for (int corner = 0; corner < 4; corner++)
            to->weight[corner][i] =
                share * (corner & 2 ? part_y : 1 - part_y) * (corner & 1 ? part_x : 1 - part_x);
    }
}
#endif

ROICY_INLINE quad quad_add(float weight, quad x, quad sum) {
#if defined(__FMA__) && defined(__GNUC__)
    return (quad)_mm_fmadd_ps(_mm_set1_ps(weight), (__m128)x, (__m128)sum);
#elif defined(__GNUC__)
    return weight * x + sum;
#else
    for (int c = 0; c < QUAD; c++)
        sum.channel[c] += weight * x.channel[c];
    return sum;
#endif
}

/* Elements of rare types, `step` bytes apart. */
ROICY_NOINLINE quad quad_of_rare(const char *source, ptrdiff_t step, int count, int dtype) {
    quad x;
    memset(&x, 0, sizeof x);
    for (int c = 0; c < count; c++)
        ROICY_QUAD(x, c) = (float)element_load(source + c * step, dtype);
    return x;
}

/* QUAD neighbouring elements. */
ROICY_INLINE quad quad_together(const char *source, const int dtype) {
    quad x;
    if (is_rare(dtype))
        return quad_of_rare(source, (ptrdiff_t)element_size(dtype), QUAD, dtype);
    if (dtype == FLOAT32) {
        memcpy(&x, source, sizeof x);
        return x;
    }
#if defined(__GNUC__) && defined(ROICY_X86)
    if (dtype == UINT8) {
        int32_t bytes;
        memcpy(&bytes, source, sizeof bytes);
        __m128i wide = _mm_cvtsi32_si128(bytes);
#if defined(__SSE4_1__)
        wide = _mm_cvtepu8_epi32(wide);
#else
        wide = _mm_unpacklo_epi16(_mm_unpacklo_epi8(wide, _mm_setzero_si128()), _mm_setzero_si128());
#endif
        return (quad)_mm_cvtepi32_ps(wide);
    }
#if defined(__F16C__)
    if (dtype == FLOAT16)
        return (quad)_mm_cvtph_ps(_mm_loadl_epi64((const __m128i *)source));
#endif
#endif
    for (int c = 0; c < QUAD; c++)
        ROICY_QUAD(x, c) = (float)element_load(source + c * (ptrdiff_t)element_size(dtype), dtype);
    return x;
}

ROICY_INLINE quad quad_apart(const char *source, const turned_map *map, const int dtype) {
    quad x;
    if (is_rare(dtype))
        return quad_of_rare(source, map->channel, map->channels, dtype);
    memset(&x, 0, sizeof x);
    for (int c = 0; c < map->channels; c++)
        ROICY_QUAD(x, c) = (float)element_load(source + c * map->channel, dtype);
    return x;
}

ROICY_INLINE void turned_sum_as(const turned_map *from, const turned_samples *at, ptrdiff_t begin,
                                ptrdiff_t end, float *sums, const int fresh, const int together,
                                const int dtype) {
    const turned_map map = *from;
    const turned_samples samples = *at;
    const ptrdiff_t step = fresh ? fresh : QUAD;
#define PIXEL_AT(place) (together ? quad_together(place, dtype) : quad_apart(place, &map, dtype))
    for (ptrdiff_t i = begin; i < end; i++) {
        const char *const own = map.source + samples.offset[i];
        const ptrdiff_t right = samples.right[i], down = samples.down[i];
        quad sum;
        memset(&sum, 0, sizeof sum);
        if (!fresh)
            memcpy(&sum, sums + step * i, sizeof sum);
        sum = quad_add(samples.weight[0][i], PIXEL_AT(own), sum);
        sum = quad_add(samples.weight[1][i], PIXEL_AT(own + right), sum);
        sum = quad_add(samples.weight[2][i], PIXEL_AT(own + down), sum);
        sum = quad_add(samples.weight[3][i], PIXEL_AT(own + right + down), sum);
        memcpy(sums + step * i, &sum, sizeof sum);
    }
#undef PIXEL_AT
}

ROICY_INLINE void turned_sum_of(const turned_map *map, const turned_samples *samples, ptrdiff_t begin,
                                ptrdiff_t end, float *sums, int fresh, const int dtype) {
    if (!map->together)
        turned_sum_as(map, samples, begin, end, sums, fresh, 0, dtype);
    else if (fresh == 3)
        turned_sum_as(map, samples, begin, end, sums, 3, 1, dtype);
    else
        turned_sum_as(map, samples, begin, end, sums, fresh, 1, dtype);
}

/* Adds samples begin to end to their sums, QUAD floats each. Or they are the sums, `fresh` floats each; behind the
 * last one they leave something. */
ROICY_NOINLINE void turned_sum(const turned_map *map, const turned_samples *samples, ptrdiff_t begin,
                               ptrdiff_t end, float *sums, int fresh) {
    ROICY_READ_AS(map->dtype, turned_sum_of, map, samples, begin, end, sums, fresh);
}

/* Where a row of sums goes: steps in bytes. */
typedef struct {
    char *data;
    ptrdiff_t column, channel;
    int channels, dtype;
} turned_row;

ROICY_INLINE void turned_store_as(const float *sums, int step, ptrdiff_t count, const turned_row *to,
                                  const int dtype) {
    const turned_row row = *to;
    for (int c = 0; c < row.channels; c++)
        for (ptrdiff_t i = 0; i < count; i++)
            element_store((real)sums[step * i + c], row.data + c * row.channel + i * row.column, dtype);
}

/* Whether sums can be written straight to the output. */
ROICY_INLINE int turned_joined(const turned_row *to) {
    return to->dtype == FLOAT32 && to->column == to->channels * (ptrdiff_t)sizeof(float) &&
           (to->channels == 1 || to->channel == sizeof(float));
}

/* Floats of a sum: the channels only, if sums can be written straight to the output; else QUAD. */
ROICY_INLINE int turned_step(const turned_row *to) { return turned_joined(to) ? to->channels : QUAD; }

/* A row of sums, `step` floats each. */
ROICY_NOINLINE void turned_store(const float *sums, int step, ptrdiff_t count, const turned_row *to) {
    if (turned_joined(to) && step == to->channels)
        memcpy(to->data, sums, (size_t)count * (size_t)step * sizeof(float));
    else
        ROICY_WRITE_AS(to->dtype, turned_store_as, sums, step, count, to);
}

#endif
