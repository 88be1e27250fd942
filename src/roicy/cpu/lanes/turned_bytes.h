/* A row of samples of bytes, that lie along no row of the map: four pixels each, of which two are neighbours.
 *
 *     pixels of LANES samples [pixel][channel] ── four weights ──▶ a vector for each channel ── finish ──▶ output
 *
 * Sums are those of turned.h, multiply-add by multiply-add. */
#ifndef ROICY_TURNED_BYTES_H
#define ROICY_TURNED_BYTES_H

#include "pairs.h"
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

/* What becomes of sums, of which `outside` lies beside the map. */
ROICY_INLINE void turned_bytes_finish(turned_bytes *of, const turned_finish *finish, const float *outside) {
    of->finished = 1;
    for (int c = 0; c < QUAD; c++) {
        const row_finish row = {finish->fill[c], finish->mean[c], finish->scale[c], 0, (const real *)outside};
        of->finishes[c] = row;
    }
}

/* Whether rows of samples can go this way: each with `further` bytes from its last pixel's first one to the end of the
 * map's memory. */
ROICY_INLINE int turned_bytes_can(const turned_map *map, ptrdiff_t further) {
    const int joined = (map->channel == 1 || map->channels == 1) && map->column >= map->channels;
    if (!PAIRS || map->dtype != UINT8 || map->column < 1 || map->column > PIXEL || map->channel < 0)
        return 0;
    return (joined || map->column == 1) && further >= PAIR_ELEMENTS;
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

/* Of planes, in which a pixel has one element, the pixels of each channel lie `plane` bytes behind those of the last.
 * Where a sample has no next pixel to the right, the one that is read counts for nothing, and the own one for both. */
ROICY_INLINE void turned_bytes_as(const turned_map *map, const turned_samples *samples, ptrdiff_t count,
                                  const pair_target *to, const int channels, const int elements,
                                  const int dtype) {
    const char *const source = map->source;
    const ptrdiff_t plane = map->channel;
    row_finish finishes[PIXEL];
    const pair_target target = pairs_target(to, channels, finishes);
    char *at = to->data;
    lanes x[PIXEL];
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        lane_bits four[2][2];
        lanes weight[4];
        const int32_t *offset[2] = {samples->offset + i, samples->offset + i};
        const char *from[2] = {source, source + map->row};
        int32_t below[LANES];
        for (int corner = 0; corner < 4; corner++)
            weight[corner] = lanes_load_own((const char *)(samples->weight[corner] + i));
        if (!all_equal(samples->down + i, (int32_t)map->row) ||
            !all_equal(samples->right + i, (int32_t)map->column)) {
            const lane_ints none = (lane_ints)lanes_load_own((const char *)(samples->right + i)) == 0;
            for (int row = 0; row < 4; row += 2) {
                weight[row] += lanes_where(none, weight[row + 1]);
                weight[row + 1] = lanes_where(~none, weight[row + 1]);
            }
            ROICY_EACH(l) below[l] = offset[0][l] + samples->down[i + l];
            offset[1] = below;
            from[1] = source;
        }
        for (int c = 0; c < channels; c++) {
            const int element = elements == 1 ? 0 : c;
            if (element == 0)
                for (int row = 0; row < 2; row++)
                    load_bytes(from[row] + c * plane, offset[row], four[row]);
            x[c] = lanes_times(weight[0], byte_of(four[0], element));
            x[c] = lanes_multiply_add(weight[1], byte_of(four[0], element + elements), x[c]);
            x[c] = lanes_multiply_add(weight[2], byte_of(four[1], element), x[c]);
            x[c] = lanes_multiply_add(weight[3], byte_of(four[1], element + elements), x[c]);
        }
        at = pairs_put(x, i, count, &target, at, channels, dtype);
    }
}

ROICY_INLINE void turned_bytes_of(const turned_map *map, const turned_samples *samples, ptrdiff_t count,
                                  const pair_target *to, const int channels, const int dtype) {
    if (map->column == 3)
        turned_bytes_as(map, samples, count, to, channels, 3, dtype);
    else if (map->column == 1)
        turned_bytes_as(map, samples, count, to, channels, 1, dtype);
    else
        turned_bytes_as(map, samples, count, to, channels, (int)map->column, dtype);
}

/* A row of samples, into its place in the output; where the columns of that are no neighbours, by way of the chunk.
 * Behind the last sample whole vectors of them are there, which read some pixel. */
ROICY_NOINLINE void turned_bytes_row(const turned_bytes *of, const turned_map *map,
                                     const turned_samples *samples, ptrdiff_t count, const turned_row *to) {
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
    ROICY_PAIRS_AS(&target, channels, turned_bytes_of, map, samples, count, &target)
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
                                   const turned_samples *samples, ptrdiff_t count, const turned_row *to) {
    (void)of, (void)map, (void)samples, (void)count, (void)to;
}

ROICY_INLINE void turned_bytes_clear(const turned_bytes *of, const turned_samples *samples, ptrdiff_t begin,
                                     ptrdiff_t end, int32_t offset) {
    (void)of, (void)samples, (void)begin, (void)end, (void)offset;
}
#endif

#endif
