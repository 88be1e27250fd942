/* Pixels that get very many terms, one RoI after the other: what a pixel of the tile holds joins a sum of
 * pieces before there are too many, and is nothing again. When that is depends on the boxes alone. */
#ifndef ROICY_PILES_H
#define ROICY_PILES_H

#include "lanes.h"

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

/* The sums are the tile's. */
ROICY_NOINLINE void piles_finish(lanes *tile, ptrdiff_t count, lanes *sum, lanes *lost) {
    for (ptrdiff_t i = 0; i < count; i++) {
        const lanes total = lanes_join(tile[i], sum[i], lost + i);
        tile[i] = lanes_restore(total, lost[i]);
    }
}

#endif
