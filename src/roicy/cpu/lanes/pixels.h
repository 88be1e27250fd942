/* The two passes of channels-last arrays: a pixel is a run of vectors, whose elements are of type real. Bins of at most
 * two pixels along each axis do both passes at once: the sum of a column stays in registers as long as bins use it. */
#ifndef ROICY_PIXELS_H
#define ROICY_PIXELS_H

#include "blocks.h"
#include "elements.h"
#include "passes.h"

ROICY_INLINE void pixels_as(const char *const *row, const tap_list bin, ptrdiff_t offset, lanes *target,
                            const int width) {
    lanes sum[8];
    const char *source = row[bin.position[0]] + offset;
    for (int v = 0; v < width; v++)
        sum[v] = lanes_scale(bin.weight[0], lanes_load_own(source + v * (ptrdiff_t)sizeof(lanes)));
    for (int j = 1; j < bin.count; j++) {
        source = row[bin.position[j]] + offset;
        for (int v = 0; v < width; v++)
            sum[v] = lanes_madd(bin.weight[j], lanes_load_own(source + v * (ptrdiff_t)sizeof(lanes)), sum[v]);
    }
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

ROICY_INLINE void pixels_long_as(const char *const *row, const tap_list bin, ptrdiff_t offset, lanes *target,
                                 const int width) {
    lanes sum[4];
    ROICY_LONG_SUM(sum, bin.weight, bin.count, width,
                   lanes_load_own(row[bin.position[j]] + offset + v * (ptrdiff_t)sizeof(lanes)));
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

/* The same for more taps than a chain has terms. */
ROICY_NOINLINE void pixels_long(const char *const *row, const tap_list bin, ptrdiff_t offset,
                                ptrdiff_t channels, lanes *target) {
    const ptrdiff_t vectors = channels / LANES, size = sizeof(lanes);
    const int rest = (int)(channels % LANES);
    ptrdiff_t i = 0;
    for (; i + 4 <= vectors; i += 4)
        pixels_long_as(row, bin, offset + i * size, target + i, 4);
    for (; i < vectors; i++)
        pixels_long_as(row, bin, offset + i * size, target + i, 1);
    if (rest)
        ROICY_LONG_SUM(target + i, bin.weight, bin.count, 1,
                       lanes_load_part(row[bin.position[j]] + offset + (i + v) * size, rest, OWN));
}

/* The row pass of a bin for all channels of the column that lies `offset` bytes from the start of the rows. */
ROICY_NOINLINE void pass_pixels(const char *const *row, const tap_list *rows, ptrdiff_t offset,
                                ptrdiff_t channels, lanes *target) {
    const ptrdiff_t vectors = channels / LANES, rest = channels % LANES, size = sizeof(lanes);
    const tap_list bin = *rows;
    ptrdiff_t v = 0;
    if (bin.count == 0) {
        for (; v < vectors + (rest > 0); v++)
            target[v] = lanes_zero();
        return;
    }
    if (bin.count > PIECE) {
        pixels_long(row, bin, offset, channels, target);
        return;
    }
    for (; v + 8 <= vectors; v += 8)
        pixels_as(row, bin, offset + v * size, target + v, 8);
    for (; v + 4 <= vectors; v += 4)
        pixels_as(row, bin, offset + v * size, target + v, 4);
    for (; v < vectors; v++)
        pixels_as(row, bin, offset + v * size, target + v, 1);
    for (int j = 0; rest && j < bin.count; j++) {
        const lanes x = lanes_load_part(row[bin.position[j]] + offset + v * size, (int)rest, OWN);
        target[v] = j ? lanes_madd(bin.weight[j], x, target[v]) : lanes_scale(bin.weight[0], x);
    }
}

ROICY_INLINE void vectors_as(const lanes *blended, const tap_list bin, ptrdiff_t step, lanes *target,
                             const int width) {
    lanes sum[8];
    for (int v = 0; v < width; v++)
        sum[v] = lanes_scale(bin.weight[0], blended[bin.position[0] * step + v]);
    for (int i = 1; i < bin.count; i++)
        for (int v = 0; v < width; v++)
            sum[v] = lanes_madd(bin.weight[i], blended[bin.position[i] * step + v], sum[v]);
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

ROICY_INLINE void vectors_long_as(const lanes *blended, const tap_list bin, ptrdiff_t step, lanes *target,
                                  const int width) {
    lanes sum[4];
    ROICY_LONG_SUM(sum, bin.weight, bin.count, width, blended[bin.position[j] * step + v]);
    for (int v = 0; v < width; v++)
        target[v] = sum[v];
}

ROICY_NOINLINE void vectors_long(const lanes *blended, const tap_list bin, ptrdiff_t vectors, lanes *target) {
    ptrdiff_t i = 0;
    for (; i + 4 <= vectors; i += 4)
        vectors_long_as(blended + i, bin, vectors, target + i, 4);
    for (; i < vectors; i++)
        vectors_long_as(blended + i, bin, vectors, target + i, 1);
}

/* The column pass of a bin for all channels. */
ROICY_NOINLINE void pass_vectors(const lanes *blended, const tap_list *columns, ptrdiff_t vectors,
                                 lanes *target) {
    const tap_list bin = *columns;
    ptrdiff_t v = 0;
    if (bin.count == 0) {
        for (; v < vectors; v++)
            target[v] = lanes_zero();
        return;
    }
    if (bin.count > PIECE) {
        vectors_long(blended, bin, vectors, target);
        return;
    }
    for (; v + 8 <= vectors; v += 8)
        vectors_as(blended + v, bin, vectors, target + v, 8);
    for (; v + 4 <= vectors; v += 4)
        vectors_as(blended + v, bin, vectors, target + v, 4);
    for (; v < vectors; v++)
        vectors_as(blended + v, bin, vectors, target + v, 1);
}

/* ---- both at once ---- */

enum { TOGETHER = 4 }; /* vectors of a pixel; those of two pixels fit the registers of every level */

/* The row pass of `width` vectors of a pixel, `offset` bytes from the start of the rows. */
ROICY_INLINE void both_rows(const char *const *row, const tap_list rows, ptrdiff_t offset, lanes *sum,
                            const int width) {
    for (int v = 0; v < width; v++)
        sum[v] = lanes_zero();
    if (rows.count) {
        const char *const source = row[rows.position[0]] + offset;
        for (int v = 0; v < width; v++)
            sum[v] = lanes_scale(rows.weight[0], lanes_load_own(source + v * (ptrdiff_t)sizeof(lanes)));
    }
    if (rows.count == 2) {
        const char *const source = row[rows.position[1]] + offset;
        for (int v = 0; v < width; v++)
            sum[v] =
                lanes_madd(rows.weight[1], lanes_load_own(source + v * (ptrdiff_t)sizeof(lanes)), sum[v]);
    }
}

/* A row of bins: what its rows are, and the columns of each. */
typedef struct {
    const char *const *row;
    tap_list rows;
    tap_lists bins;
    int count;
    const ptrdiff_t *offset; /* of each column from the start of the rows */
    ptrdiff_t step;          /* from bin to bin of the target */
} bin_row;

ROICY_INLINE void both_as(const bin_row *of, ptrdiff_t at, char *target, const int width, const int stream) {
    const char *const *const row = of->row;
    const tap_list rows = of->rows;
    const tap_lists bins = of->bins;
    const ptrdiff_t *const offset = of->offset;
    lanes left[TOGETHER], right[TOGETHER];
    int32_t left_of = -1, right_of = -1; /* the pixels whose sums these are */
    for (int v = 0; v < width; v++)
        left[v] = right[v] = lanes_zero();
    for (int q = 0; q < of->count; q++, target += of->step) {
        const tap_list bin = taps_of(&bins, q);
        lanes sum[TOGETHER];
        if (bin.count && bin.position[0] != left_of) {
            left_of = bin.position[0];
            if (left_of == right_of)
                for (int v = 0; v < width; v++)
                    left[v] = right[v];
            else
                both_rows(row, rows, offset[left_of] + at, left, width);
        }
        if (bin.count == 2 && bin.position[1] != right_of) {
            right_of = bin.position[1];
            both_rows(row, rows, offset[right_of] + at, right, width);
        }
        for (int v = 0; v < width; v++) {
            sum[v] = bin.count ? lanes_scale(bin.weight[0], left[v]) : lanes_zero();
            if (bin.count == 2)
                sum[v] = lanes_madd(bin.weight[1], right[v], sum[v]);
            if (stream)
                lanes_stream(sum[v], target + v * (ptrdiff_t)sizeof(lanes));
            else
                memcpy(target + v * (ptrdiff_t)sizeof(lanes), sum + v, sizeof *sum);
        }
    }
}

/* Both passes of a row of `count` bins of at most two taps along each axis, for this many vectors of channels. Column i
 * of the lists lies `offset[i]` bytes from the start of the rows. Bins lie side by side in the target; they are
 * streamed if the target is aligned. */
ROICY_NOINLINE void pass_both(const char *const *row, const tap_list *rows, const tap_lists *columns,
                              int count, const ptrdiff_t *offset, ptrdiff_t vectors, char *target,
                              int stream) {
    const ptrdiff_t size = sizeof(lanes);
    const bin_row of = {row, *rows, *columns, count, offset, vectors * size};
    ptrdiff_t v = 0;
    if (stream)
        for (; v + TOGETHER <= vectors; v += TOGETHER)
            both_as(&of, v * size, target + v * size, TOGETHER, 1);
    else
        for (; v + TOGETHER <= vectors; v += TOGETHER)
            both_as(&of, v * size, target + v * size, TOGETHER, 0);
    for (; v < vectors; v++)
        both_as(&of, v * size, target + v * size, 1, 0);
}

#endif
