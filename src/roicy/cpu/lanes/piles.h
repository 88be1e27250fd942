/* Pixels that get very many terms, one RoI after the other: what a pixel of the tile holds joins a sum of
 * pieces before there are too many, and is nothing again. When that is depends on the boxes alone. */
#ifndef ROICY_PILES_H
#define ROICY_PILES_H

#include "long_sums.h"

/* Counts so many terms more on each pixel of a window whose rows lie `stride` apart; whether one of them then
 * has more than `limit`: these are the first ones of all of them. */
ROICY_NOINLINE int piles_count(uint16_t *held, ptrdiff_t stride, int rows, int columns, int terms,
                               int limit) {
    uint16_t most = 0;
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++) {
            const uint16_t now = (uint16_t)(held[y * stride + x] + terms);
            held[y * stride + x] = now;
            most = now > most ? now : most;
        }
    if (most <= limit)
        return 0;
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++)
            held[y * stride + x] = (uint16_t)terms;
    return most > terms; /* else there was nothing before */
}

/* What `count` vectors of the tile hold joins the sums. */
ROICY_NOINLINE void piles_join(lanes *tile, ptrdiff_t count, lanes *sum, lanes *lost) {
    for (ptrdiff_t i = 0; i < count; i++) {
        sum[i] = lanes_join(tile[i], sum[i], lost + i);
        tile[i] = lanes_zero();
    }
}

/* The slopes of one box: sums of the products of its bins and pixels. Up to CHAIN terms are one chain, more
 * are summed in pieces; `lost` is what these lost. */
enum { CHAIN = 320 };

ROICY_NOINLINE void piles_add_long(const real *weight, const lanes *x, const lanes *y, ptrdiff_t count,
                                   lanes *sum, lanes *lost) {
    for (ptrdiff_t begin = 0; begin < count; begin += PIECE) {
        const ptrdiff_t end = count - begin < PIECE ? count : begin + PIECE;
        lanes piece = lanes_zero();
        for (ptrdiff_t i = begin; i < end; i++)
            piece = lanes_multiply_add(weight ? lanes_fill(weight[i]) : y[i], x[i], piece);
        *sum = lanes_join(piece, *sum, lost);
    }
}

/* sum += the sum of x[i] * y[i] for i < count. */
ROICY_INLINE void piles_add_products(const lanes *x, const lanes *y, ptrdiff_t count, int pieces, lanes *sum,
                                     lanes *lost) {
    lanes total = *sum;
    if (pieces) {
        piles_add_long(NULL, x, y, count, sum, lost);
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++)
        total = lanes_multiply_add(x[i], y[i], total);
    *sum = total;
}

/* sum += the sum of weight[i] * x[i] for i < count. */
ROICY_INLINE void piles_add_weighted(const real *weight, const lanes *x, ptrdiff_t count, int pieces,
                                     lanes *sum, lanes *lost) {
    lanes total = *sum;
    if (pieces) {
        piles_add_long(weight, x, NULL, count, sum, lost);
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++)
        total = lanes_madd(weight[i], x[i], total);
    *sum = total;
}

/* The sums are the tile's. */
ROICY_NOINLINE void piles_finish(lanes *tile, ptrdiff_t count, lanes *sum, lanes *lost) {
    for (ptrdiff_t i = 0; i < count; i++) {
        const lanes total = lanes_join(tile[i], sum[i], lost + i);
        tile[i] = lanes_restore(total, lost[i]);
    }
}

#endif
