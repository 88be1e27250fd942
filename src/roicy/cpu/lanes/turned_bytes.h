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
/* Two weights of pixels, the other of which has none where there is no next one. */
ROICY_INLINE void load_weights(const turned_samples *samples, int row, ptrdiff_t i, lanes weight[2]) {
    const lane_ints none = (lane_ints)lanes_load_own((const char *)(samples->right + i)) == 0;
    weight[0] = lanes_load_own((const char *)(samples->weight[2 * row] + i));
    weight[1] = lanes_load_own((const char *)(samples->weight[2 * row + 1] + i));
    weight[0] += lanes_where(none, weight[1]);
    weight[1] = lanes_where(~none, weight[1]);
}

ROICY_INLINE void turned_bytes_as(const char *source, const turned_samples *samples, ptrdiff_t count,
                                  const pair_target *to, const int channels, const int elements,
                                  const int dtype) {
    row_finish finishes[PIXEL];
    const pair_target target = pairs_target(to, channels, finishes);
    char *at = to->data;
    lanes x[PIXEL];
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        lane_bits four[2][2];
        lanes weight[2][2];
        int32_t below[LANES];
        ROICY_EACH(l) below[l] = samples->offset[i + l] + samples->down[i + l];
        for (int row = 0; row < 2; row++) {
            load_bytes(source, row ? below : samples->offset + i, four[row]);
            load_weights(samples, row, i, weight[row]);
        }
        for (int c = 0; c < channels; c++) {
            x[c] = lanes_times(weight[0][0], byte_of(four[0], c));
            x[c] = lanes_multiply_add(weight[0][1], byte_of(four[0], elements + c), x[c]);
            x[c] = lanes_multiply_add(weight[1][0], byte_of(four[1], c), x[c]);
            x[c] = lanes_multiply_add(weight[1][1], byte_of(four[1], elements + c), x[c]);
        }
        at = pairs_put(x, i, &target, at, channels, dtype);
    }
}

ROICY_INLINE void turned_bytes_of(const char *source, const turned_samples *samples, ptrdiff_t count,
                                  const pair_target *to, int elements, const int channels, const int dtype) {
    if (elements == 3)
        turned_bytes_as(source, samples, count, to, channels, 3, dtype);
    else
        turned_bytes_as(source, samples, count, to, channels, elements, dtype);
}

/* A row of samples, into its place in the output. Behind the last one whole vectors of them are there, which read
 * some pixel. */
ROICY_NOINLINE void turned_bytes_row(const turned_bytes *of, const turned_map *map,
                                     const turned_samples *samples, ptrdiff_t count, const turned_row *to) {
    const ptrdiff_t size = (ptrdiff_t)element_size(to->dtype);
    const int channels = map->channels, elements = (int)map->column, planes = elements == 1 ? channels : 1;
    const int each = channels / planes, backwards = to->channel < 0;
    pair_target target = {of->chunk, of->room * size, to->dtype, 0, backwards, &of->pixel, NULL};
    target.joined = planes == 1 && channels > 1 && to->column == channels * size &&
                    to->channel == (backwards ? -size : size);
    for (int plane = 0; plane < planes; plane++) {
        target.data = of->chunk + plane * target.step;
        target.finishes = of->finished ? of->finishes + plane : NULL;
        ROICY_PAIRS_AS(&target, each, turned_bytes_of, map->source + plane * map->channel, samples, count,
                       &target, elements)
    }
    if (target.joined) {
        memcpy(to->data + (backwards ? (channels - 1) * to->channel : 0), of->chunk,
               (size_t)(count * channels * size));
        return;
    }
    for (int c = 0; c < channels; c++) {
        const char *const row = of->chunk + c * target.step;
        if (to->column == size)
            memcpy(to->data + c * to->channel, row, (size_t)(count * size));
        else
            crops_scatter(row, size, count, to->data + c * to->channel, to->column);
    }
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
