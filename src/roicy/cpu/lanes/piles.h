/* Pixels that get very many terms: they are summed in pieces. Before a piece would get too many terms, it is added to a
 * sum of pieces and starts again at zero. When that happens depends only on the boxes. */
#ifndef ROICY_PILES_H
#define ROICY_PILES_H

#include "long_sums.h"

/* Counts `terms` more terms on each pixel of a row of a window, times those of its column unless `along` is
 * NULL. Returns whether a pixel then has more than `limit`. */
ROICY_NOINLINE int piles_count(uint16_t *held, int columns, int terms, const uint8_t *along, int limit) {
    uint16_t most = 0;
    for (int x = 0; x < columns; x++) {
        const uint16_t now = (uint16_t)(held[x] + (along ? terms * along[x] : terms));
        held[x] = now;
        most = now > most ? now : most;
    }
    return most > limit;
}

/* Add `count` vectors of the tile to the sums of pieces. */
ROICY_NOINLINE void piles_join(lanes *tile, ptrdiff_t count, lanes *sum, lanes *lost) {
    for (ptrdiff_t i = 0; i < count; i++) {
        sum[i] = lanes_join(tile[i], sum[i], lost + i);
        tile[i] = lanes_zero();
    }
}

/* The slopes of one box: sums of the products of its bins and pixels. Up to CHAIN terms are one chain, more are
 * summed in pieces; `lost` is the rounding error. */
enum { CHAIN = 60 };

/* A piece is four chains, of every fourth term each. */
ROICY_NOINLINE void piles_add_long(const real *weight, const lanes *x, const lanes *y, ptrdiff_t count,
                                   lanes *sum, lanes *lost) {
    for (ptrdiff_t i = 0, end; i < count;) {
        lanes chain[4] = {lanes_zero(), lanes_zero(), lanes_zero(), lanes_zero()};
        end = count - i < 4 * PIECE ? count : i + 4 * PIECE;
        for (; i + 4 <= end; i += 4)
            for (int j = 0; j < 4; j++)
                chain[j] =
                    lanes_multiply_add(weight ? lanes_fill(weight[i + j]) : y[i + j], x[i + j], chain[j]);
        for (int j = 0; i < end; i++, j++)
            chain[j] = lanes_multiply_add(weight ? lanes_fill(weight[i]) : y[i], x[i], chain[j]);
        chain[0] = lanes_madd(1, lanes_madd(1, chain[3], chain[2]), lanes_madd(1, chain[1], chain[0]));
        *sum = lanes_join(chain[0], *sum, lost);
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

/* sum += the sum of weight[i] * x[i] for i < count: in `piece`, unless they are many and to be `pieces`
 * of their own. */
ROICY_INLINE void piles_add_weighted(const real *weight, const lanes *x, ptrdiff_t count, int pieces,
                                     lanes *piece, lanes *sum, lanes *lost) {
    lanes total = *piece;
    if (pieces && count > PIECE) {
        piles_add_long(weight, x, NULL, count, sum, lost);
        return;
    }
    for (ptrdiff_t i = 0; i < count; i++)
        total = lanes_madd(weight[i], x[i], total);
    *piece = total;
}

/* The sums are the tile's. */
ROICY_NOINLINE void piles_finish(lanes *tile, ptrdiff_t count, lanes *sum, lanes *lost) {
    for (ptrdiff_t i = 0; i < count; i++) {
        const lanes total = lanes_join(tile[i], sum[i], lost + i);
        tile[i] = lanes_restore(total, lost[i]);
    }
}

#endif
