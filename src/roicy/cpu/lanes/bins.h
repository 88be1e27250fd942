/* Both passes of a single bin of a position-sensitive map. It has few pixels and shares no rows with other bins:
 *
 *     rows of pixels ── down: weights of rows ──▶ a line of each column ── along: weights of columns ──▶ bin */
#ifndef ROICY_BINS_H
#define ROICY_BINS_H

#include "passes.h"

ROICY_INLINE lanes bin_line(const char *const *row, const real *down, const int rows, ptrdiff_t at) {
    lanes line = lanes_scale(down[0], lanes_load_own(row[0] + at));
    for (int j = 1; j < rows; j++)
        line = lanes_madd(down[j], lanes_load_own(row[j] + at), line);
    return line;
}

/* A bin's rows and columns; the pixels that the columns refer to; the steps from pixel to pixel of a row and from
 * vector to vector of the target. */
typedef struct {
    tap_list down, along;
    const int32_t *pixel;
    ptrdiff_t step, block;
} pixels_of_bin;

/* Both passes of a bin for `width` vectors of a pixel, a line of its rows after the other. */
ROICY_INLINE void bin_as(const char *const *row, const pixels_of_bin *of, const int rows, lanes *target,
                         const int width) {
    const ptrdiff_t size = sizeof(lanes);
    const real *const down = of->down.weight;
    const tap_list along = of->along;
    lanes sum[2];
    ptrdiff_t at = of->pixel[along.position[0]] * of->step;
    for (int v = 0; v < width; v++)
        sum[v] = lanes_scale(along.weight[0], bin_line(row, down, rows, at + v * size));
    for (int i = 1; i < along.count; i++) {
        at = of->pixel[along.position[i]] * of->step;
        for (int v = 0; v < width; v++)
            sum[v] = lanes_madd(along.weight[i], bin_line(row, down, rows, at + v * size), sum[v]);
    }
    for (int v = 0; v < width; v++)
        target[v * of->block] = sum[v];
}

ROICY_INLINE void bin_by_rows(const char *const *row, const pixels_of_bin *of, lanes *target,
                              const int width) {
    switch (of->down.count) {
    case 1:
        bin_as(row, of, 1, target, width);
        break;
    case 2:
        bin_as(row, of, 2, target, width);
        break;
    case 3:
        bin_as(row, of, 3, target, width);
        break;
    case 4:
        bin_as(row, of, 4, target, width);
        break;
    default:
        bin_as(row, of, of->down.count, target, width);
    }
}

ROICY_INLINE lanes bin_line_long(const char *const *row, const real *down, int rows, ptrdiff_t at) {
    lanes line;
    if (rows <= PIECE)
        return bin_line(row, down, rows, at);
    ROICY_LONG_SUM(&line, down, rows, 1, lanes_load_own(row[j] + at + v));
    return line;
}

/* The same for more rows or columns than a chain has terms. */
ROICY_NOINLINE void bin_long(const char *const *row, const tap_list down, const tap_list along,
                             const int32_t *pixel, ptrdiff_t step, lanes *target) {
    if (along.count <= PIECE) {
        *target = lanes_scale(along.weight[0],
                              bin_line_long(row, down.weight, down.count, pixel[along.position[0]] * step));
        for (int i = 1; i < along.count; i++)
            *target = lanes_madd(along.weight[i],
                                 bin_line_long(row, down.weight, down.count, pixel[along.position[i]] * step),
                                 *target);
        return;
    }
    ROICY_LONG_SUM(target, along.weight, along.count, 1,
                   bin_line_long(row, down.weight, down.count, pixel[along.position[j]] * step + v));
}

/* Both passes of a single bin that has pixels: target[v] for every vector v of a pixel, `block` vectors apart. Row j
 * of the bin has pixel 0 at row[j], which is scratch; tap i of the columns is pixel[position[i]]. */
ROICY_NOINLINE void pass_bin(const char **row, const tap_list *rows, const tap_list *columns,
                             const int32_t *pixel, int depth, lanes *target, ptrdiff_t block) {
    const tap_list down = *rows, along = *columns;
    const ptrdiff_t step = depth * (ptrdiff_t)sizeof(lanes);
    const pixels_of_bin of = {down, along, pixel, step, block};
    const int together = down.count <= PIECE && along.count <= PIECE ? 2 : 1;
    for (int v = 0, width; v < depth; v += width, target += width * block) {
        width = v + together <= depth ? together : 1;
        if (down.count > PIECE || along.count > PIECE)
            bin_long(row, down, along, pixel, step, target);
        else if (width == 2)
            bin_by_rows(row, &of, target, 2);
        else
            bin_by_rows(row, &of, target, 1);
        for (int j = 0; v + width < depth && j < down.count; j++)
            row[j] += width * sizeof(lanes);
    }
}

#endif
