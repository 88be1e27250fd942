/* A tilted row of samples of bytes: each sample reads two pairs of neighbouring pixels.
 *
 *     pixels of LANES samples [pixel][channel] ── four weights ──▶ a vector for each channel ── finish ──▶ output
 *
 * Where a row lies inside of the map, its samples are found as they come, LANES ahead of the sums. Sums are those of
 * turned.h, multiply-add by multiply-add. */
#ifndef ROICY_TURNED_BYTES_H
#define ROICY_TURNED_BYTES_H

#include "pair_bytes.h"
#include "projected.h"

/* How a row goes from samples to the output. */
typedef struct {
    crops_pixel pixel;
    row_finish finishes[PIXEL];
    char *chunk;    /* the row as whole vectors */
    ptrdiff_t room; /* samples, in whole vectors */
    int finished;   /* whether there are finishes */
} turned_bytes;

/* Floats of scratch memory for each sample of the room, which are followed by some. */
enum { TURNED_BYTES_FLOATS = 2 * QUAD, TURNED_BYTES_MORE = 2 * QUAD * LANES };

ROICY_INLINE void turned_bytes_describe(turned_bytes *of, int channels, float *scratch, ptrdiff_t room) {
    crops_describe_pixel(&of->pixel, channels);
    of->chunk = (char *)scratch;
    of->room = room;
    of->finished = 0;
}

/* Finish sums; `outside` is the weight outside of the map. */
ROICY_INLINE void turned_bytes_finish(turned_bytes *of, const turned_finish *finish, const float *outside) {
    of->finished = 1;
    for (int c = 0; c < QUAD; c++) {
        const row_finish row = {finish->fill[c], finish->mean[c], finish->scale[c], 0, (const real *)outside};
        of->finishes[c] = row;
    }
}

/* How to compute the positions of a row of samples that all lie inside of the map: in perspective, or along a line.
 * Both are NULL if positions are known already. Pixels `ahead` bytes further are prefetched, unless it is 0. */
typedef struct {
    const projected_line *projected;
    const turned_line *turned;
    ptrdiff_t ahead;
} turned_where;

/* Bytes from a pixel to the one y rows and x columns further, rounded; 0 if that is further than rows of a crop lie. */
ROICY_INLINE ptrdiff_t turned_bytes_ahead(const turned_map *map, double y, double x) {
    const double far = 4096;
    if (!(fabs(y) < far && fabs(x) < far))
        return 0;
    return (ptrdiff_t)floor(y + 0.5) * map->row + (ptrdiff_t)floor(x + 0.5) * map->column;
}

/* Whether rows of samples can go this way, if PAIR_ELEMENTS can be read from each pixel on. */
ROICY_INLINE int turned_bytes_like(const turned_map *map) {
    const int joined = (map->channel == 1 || map->channels == 1) && map->column >= map->channels;
    if (!PAIRS || map->dtype != UINT8 || map->column < 1 || map->column > PIXEL || map->channel < 0)
        return 0;
    return joined || map->column == 1;
}

/* Whether they can with `further` bytes from the last pixel's first one to the end of the map's memory. */
ROICY_INLINE int turned_bytes_can(const turned_map *map, ptrdiff_t further) {
    return turned_bytes_like(map) && further >= PAIR_ELEMENTS;
}

/* Whether all samples of a line lie inside of the map: its ends decide, as positions never turn back. */
ROICY_INLINE int turned_inside(const turned_map *map, const turned_line *line, ptrdiff_t count) {
    const float bottom = (float)(map->height - 1), end = (float)(map->width - 1);
    for (int last = 0; last < 2; last++) {
        const float y = turned_y(line, last * (count - 1)), x = turned_x(line, last * (count - 1));
        if (!(y >= 0 && y < bottom && x >= 0 && x < end))
            return 0;
    }
    return 1;
}

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
/* Whether LANES numbers are the same one. */
ROICY_INLINE int all_equal(const int32_t *numbers, int32_t number) {
#if defined(__AVX512F__)
    return _mm512_cmpneq_epi32_mask(_mm512_loadu_si512(numbers), _mm512_set1_epi32(number)) == 0;
#else
    int32_t different = 0;
    ROICY_EACH(l) different |= numbers[l] ^ number;
    return different == 0;
#endif
}

/* LANES samples: where the pixel above and to the left of each is, and the weights of all four. Those below are one row
 * further, or where `below` says if they are `apart`. */
typedef struct {
    int32_t offset[LANES], below[LANES];
    lanes weight[4];
    int apart;
} turned_group;

/* Samples from the i-th on of a row that lies inside of the map. */
ROICY_INLINE void turned_bytes_find(const turned_map *map, const turned_where *where, ptrdiff_t i,
                                    const int elements, turned_group *group) {
    lanes y, x;
    if (where->projected != NULL) {
        const projected_line *line = where->projected;
        const lanes part = 1 / (line->row_w + lanes_load_own((const char *)(line->w + i)));
        x = (line->row_x + lanes_load_own((const char *)(line->x + i))) * part;
        y = (line->row_y + lanes_load_own((const char *)(line->y + i))) * part;
    } else {
        const turned_line *line = where->turned;
        y = line->y - lanes_load_own((const char *)(line->down + i)) + line->cy;
        x = line->x + lanes_load_own((const char *)(line->along + i)) + line->cx;
    }
    const lane_ints pixel_y = __builtin_convertvector(y, lane_ints),
                    pixel_x = __builtin_convertvector(x, lane_ints);
    const lanes part_y = y - __builtin_convertvector(pixel_y, lanes),
                part_x = x - __builtin_convertvector(pixel_x, lanes);
    const lanes down[2] = {1 - part_y, part_y}, across[2] = {1 - part_x, part_x};
    const lane_ints offset = pixel_y * (int32_t)map->row + pixel_x * elements;
    memcpy(group->offset, &offset, sizeof offset);
    for (int corner = 0; corner < 4; corner++)
        group->weight[corner] = down[corner >> 1] * across[corner & 1];
}

/* Those that are known. Where a sample has no next pixel to the right, the one that is read counts for nothing, and the
 * own one for both. */
ROICY_INLINE void turned_bytes_take(const turned_map *map, const turned_samples *samples, ptrdiff_t i,
                                    turned_group *group) {
    memcpy(group->offset, samples->offset + i, sizeof group->offset);
    for (int corner = 0; corner < 4; corner++)
        group->weight[corner] = lanes_load_own((const char *)(samples->weight[corner] + i));
    group->apart = !all_equal(samples->down + i, (int32_t)map->row) ||
                   !all_equal(samples->right + i, (int32_t)map->column);
    if (!group->apart)
        return;
    const lane_ints none = (lane_ints)lanes_load_own((const char *)(samples->right + i)) == 0;
    for (int row = 0; row < 4; row += 2) {
        group->weight[row] += lanes_where(none, group->weight[row + 1]);
        group->weight[row + 1] = lanes_where(~none, group->weight[row + 1]);
    }
    ROICY_EACH(l) group->below[l] = group->offset[l] + samples->down[i + l];
}

ROICY_NOINLINE void turned_bytes_load_apart(const char *source, const turned_group *group,
                                            lane_bits four[2][2]) {
    load_bytes(source, group->offset, four[0]);
    load_bytes(source, group->below, four[1]);
}

/* The eight bytes at the offsets of both rows, as load_bytes does it; a few samples at a time for both, so that their
 * offsets stay in registers. */
ROICY_INLINE void turned_bytes_load(const char *source, ptrdiff_t row, const turned_group *group,
                                    lane_bits four[2][2]) {
    if (group->apart) {
        turned_bytes_load_apart(source, group, four);
        return;
    }
#if defined(ROICY_X86)
    __m128 even[2][LANES / 4], odd[2][LANES / 4];
    for (int part = 0; part < LANES / 4; part++) {
        even[0][part] = two_eights(source, group->offset + 4 * part);
        even[1][part] = two_eights(source + row, group->offset + 4 * part);
        odd[0][part] = two_eights(source, group->offset + 4 * part + 2);
        odd[1][part] = two_eights(source + row, group->offset + 4 * part + 2);
    }
    join_eights(even[0], odd[0], four[0]);
    join_eights(even[1], odd[1], four[1]);
#else
    load_bytes(source, group->offset, four[0]);
    load_bytes(source + row, group->offset, four[1]);
#endif
}

ROICY_INLINE lanes turned_bytes_sum(const turned_group *group, const lane_bits four[2][2], const int element,
                                    const int elements) {
    lanes sum = lanes_times(group->weight[0], byte_of(four[0], element));
    sum = lanes_multiply_add(group->weight[1], byte_of(four[0], element + elements), sum);
    sum = lanes_multiply_add(group->weight[2], byte_of(four[1], element), sum);
    return lanes_multiply_add(group->weight[3], byte_of(four[1], element + elements), sum);
}

/* Of planes, in which a pixel has one element, the pixels of each channel lie `plane` bytes behind those of the last. */
ROICY_INLINE void turned_bytes_as(const turned_map *from, const turned_samples *samples,
                                  const turned_where *where, ptrdiff_t count, const pair_target *to,
                                  const int channels, const int elements, const int dtype) {
    const turned_map map = *from;
    const int inside = where->projected != NULL || where->turned != NULL;
    row_finish finishes[PIXEL];
    const pair_target target = pairs_target(to, channels, finishes);
    char *at = to->data;
    lanes x[PIXEL];
    turned_group groups[2] = {{.apart = 0}, {.apart = 0}};
    for (int c = 0; inside && c < channels; c++)
        finishes[c].across = NULL;
    for (ptrdiff_t i = -LANES; i < count; i += LANES) {
        const turned_group *group = groups + (i / LANES & 1);
        const ptrdiff_t next = i + LANES;
        if (next < count) {
            turned_group *found = groups + (next / LANES & 1);
            if (inside)
                turned_bytes_find(&map, where, next, elements, found);
            else
                turned_bytes_take(&map, samples, next, found);
        }
        if (i < 0)
            continue;
        for (int l = LANES / 8; where->ahead && l < LANES; l += LANES / 4)
            lanes_prefetch(map.source + group->offset[l] + where->ahead);
        lane_bits four[2][2];
        turned_bytes_load(map.source, map.row, group, four);
        x[0] = turned_bytes_sum(group, four, 0, elements);
        for (int c = 1; elements == 1 && c < channels; c++) {
            turned_bytes_load(map.source + c * map.channel, map.row, group, four);
            x[c] = turned_bytes_sum(group, four, 0, elements);
        }
        if (elements > 1 && channels > 1)
            x[1] = turned_bytes_sum(group, four, 1, elements);
        if (elements > 1 && channels > 2)
            x[2] = turned_bytes_sum(group, four, 2, elements);
        if (elements > 1 && channels > 3)
            x[3] = turned_bytes_sum(group, four, 3, elements);
        at = pairs_put(x, i, count, &target, at, channels, dtype);
    }
}

ROICY_INLINE void turned_bytes_of(const turned_map *map, const turned_samples *samples,
                                  const turned_where *where, ptrdiff_t count, const pair_target *to,
                                  const int channels, const int dtype) {
    if (map->column == 3)
        turned_bytes_as(map, samples, where, count, to, channels, 3, dtype);
    else if (map->column == 1)
        turned_bytes_as(map, samples, where, count, to, channels, 1, dtype);
    else
        turned_bytes_as(map, samples, where, count, to, channels, (int)map->column, dtype);
}

/* A row of samples, into its place in the output; where the columns of that are no neighbours, by way of the chunk.
 * Behind the last known sample whole vectors of them are there, which read some pixel; of a row inside of the map the
 * places behind its end repeat those before. */
ROICY_NOINLINE void turned_bytes_row(const turned_bytes *of, const turned_map *map,
                                     const turned_samples *samples, const turned_where *where,
                                     ptrdiff_t count, const turned_row *to) {
    const ptrdiff_t size = (ptrdiff_t)element_size(to->dtype);
    const int channels = map->channels, backwards = to->channel < 0;
    const int joined =
        channels > 1 && to->column == channels * size && to->channel == (backwards ? -size : size);
    const int straight = joined || to->column == size;
    pair_target target = {to->data, to->channel, to->dtype, joined, backwards, &of->pixel, NULL};
    if (!straight)
        target.data = of->chunk, target.step = of->room * size;
    else if (joined && backwards)
        target.data += (channels - 1) * to->channel;
    if (of->finished)
        target.finishes = of->finishes;
    ROICY_PAIRS_AS(&target, channels, turned_bytes_of, map, samples, where, count, &target)
    for (int c = 0; c < channels && !straight; c++)
        crops_scatter(of->chunk + c * target.step, size, count, to->data + c * to->channel, to->column);
}

/* Samples before `begin` and from `end` on are nowhere: they read the pixel at this offset. */
ROICY_NOINLINE void turned_bytes_clear(const turned_bytes *of, const turned_samples *samples, ptrdiff_t begin,
                                       ptrdiff_t end, int32_t offset) {
    for (ptrdiff_t i = 0; i < of->room; i++) {
        if (i == begin && begin < end)
            i = end;
        if (i == of->room)
            break;
        samples->offset[i] = offset;
        samples->right[i] = samples->down[i] = 0;
        for (int corner = 0; corner < 4; corner++)
            samples->weight[corner][i] = 0;
    }
}
#else
ROICY_INLINE void turned_bytes_row(const turned_bytes *of, const turned_map *map,
                                   const turned_samples *samples, const turned_where *where, ptrdiff_t count,
                                   const turned_row *to) {
    (void)of, (void)map, (void)samples, (void)where, (void)count, (void)to;
}

ROICY_INLINE void turned_bytes_clear(const turned_bytes *of, const turned_samples *samples, ptrdiff_t begin,
                                     ptrdiff_t end, int32_t offset) {
    (void)of, (void)samples, (void)begin, (void)end, (void)offset;
}
#endif

#endif
