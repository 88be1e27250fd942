/* Gradients of maxima, summed term by term: very many bins may have chosen the same pixel.
 * Each sum counts its terms. When a piece is full, it is added to a sum of pieces and starts again at zero. Few pixels
 * have a sum of pieces, so a hash table holds these. */
#ifndef ROICY_COUNTED_H
#define ROICY_COUNTED_H

#include "blocks.h"

enum { COUNTED = 61 }; /* what a count begins with: one more than the terms of a piece */
enum { AHEAD = 256 };  /* bins that are fetched before it is their turn, at the most */
enum { NO_SUM = -1 };

#if defined(__GNUC__)
#define ROICY_UNLIKELY(x) __builtin_expect(x, 0)
#define ROICY_RESTRICT __restrict__
#else
#define ROICY_UNLIKELY(x) (x)
#define ROICY_RESTRICT
#endif

/* A sum of pieces, and what joining them took away. */
typedef struct {
    int64_t at; /* which one it is, or NO_SUM */
    real sum, lost;
} counted_pile;

typedef struct {
    real *piece;   /* (count) */
    uint8_t *left; /* (count) how many terms it may still get, and one more */
    int64_t count;
    counted_pile *piles;
    int64_t slots; /* a power of two, more than there are piles */
    int piled;     /* whether there are any */
} counted_sums;

ROICY_INLINE void counted_begin(counted_sums *sums) {
    memset(sums->piece, 0, (size_t)sums->count * sizeof(real));
    memset(sums->left, COUNTED, (size_t)sums->count);
    sums->piled = 0;
}

/* In the order in which a GPU adds. */
ROICY_INLINE void counted_join(real piece, counted_pile *pile) {
    const real before = pile->sum, total = before + piece, joined = total - before;
    pile->lost = ((before - (total - joined)) + (piece - joined)) + pile->lost;
    pile->sum = total;
}

ROICY_NOINLINE void counted_empty(counted_sums *sums, int64_t at) {
    const uint64_t mask = (uint64_t)sums->slots - 1;
    uint64_t slot = ((uint64_t)at * 0x9e3779b97f4a7c15u >> 32) & mask;
    for (int64_t i = 0; !sums->piled && i < sums->slots; i++)
        sums->piles[i].at = NO_SUM;
    sums->piled = 1;
    while (sums->piles[slot].at != at && sums->piles[slot].at != NO_SUM)
        slot = (slot + 1) & mask;
    if (sums->piles[slot].at == NO_SUM) {
        sums->piles[slot].at = at;
        sums->piles[slot].sum = sums->piles[slot].lost = 0;
    }
    counted_join(sums->piece[at], sums->piles + slot);
    sums->piece[at] = 0;
    sums->left[at] = COUNTED - 1;
}

ROICY_INLINE void counted_add(counted_sums *sums, int64_t at, real value) {
    if (ROICY_UNLIKELY(--sums->left[at] == 0))
        counted_empty(sums, at);
    sums->piece[at] += value;
}

/* The bins of a RoI, for some channels: in memory they lie so far from each other, and the next RoI's `ahead`. */
typedef struct {
    const char *value, *index;
    ptrdiff_t value_step, index_step, value_ahead, index_ahead;
    int64_t count;
    int channels;
} counted_bins;

ROICY_INLINE void counted_add_plane(counted_sums *sums, const real *ROICY_RESTRICT value,
                                    const int32_t *ROICY_RESTRICT index, int64_t bins, uint32_t first) {
    real *const piece = sums->piece;
    uint8_t *const left = sums->left;
    const uint32_t count = (uint32_t)sums->count; /* an index is no larger */
    for (int64_t i = 0; i < bins; i++) {
        const uint32_t at = (uint32_t)index[i] - first; /* a negative index becomes a large number */
        if (at >= count)
            continue;
        if (ROICY_UNLIKELY(--left[at] == 0))
            counted_empty(sums, at);
        piece[at] += value[i];
    }
}

/* Adds the value of each bin to sum number index - `first` of its channel. */
ROICY_NOINLINE void counted_add_bins(counted_sums *sums, const counted_bins *bins, int64_t first) {
    const ptrdiff_t size = bins->count < AHEAD ? (ptrdiff_t)(bins->count * sizeof(real)) : 0;
    for (int c = 0; c < bins->channels; c++) {
        const char *value = bins->value + c * bins->value_step, *index = bins->index + c * bins->index_step;
        for (ptrdiff_t i = 0; i < size; i += 64) {
            lanes_prefetch(value + bins->value_ahead + i);
            lanes_prefetch(index + bins->index_ahead + i);
        }
        counted_add_plane(sums + c, (const real *)value, (const int32_t *)index, bins->count,
                          (uint32_t)first);
    }
}

/* memcpy; mostly a cache line, for which the compiler makes no call. */
ROICY_INLINE void copy_line(void *target, const void *source, size_t bytes) {
    if (bytes == 64)
        memcpy(target, source, 64);
    else
        memcpy(target, source, bytes);
}

/* The pieces become the sums. */
ROICY_INLINE void counted_finish(counted_sums *sums) {
    for (int64_t i = 0; sums->piled && i < sums->slots; i++) {
        counted_pile *pile = sums->piles + i;
        if (pile->at == NO_SUM)
            continue;
        counted_join(sums->piece[pile->at], pile);
        /* a NaN or infinite sum has no rounding error to add */
        sums->piece[pile->at] = pile->lost == pile->lost ? pile->sum + pile->lost : pile->sum;
    }
}

#endif
