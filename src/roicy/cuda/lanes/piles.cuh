/* Gradients of pixels that get very many terms: they are summed in pieces. Before a thread's sums get more than PILE
 * terms, they are added to sums of pieces and start again at zero. */
#pragma once
#include "lanes/types.cuh"

#define PILE 60
#define PILED 64

/* A sum of pieces, and its rounding error. */
template <int COUNT> struct Piles {
    REAL sum[COUNT], lost[COUNT];
};

/* Index of the first sum: 0, but the compiler cannot know that. So it keeps the sums in memory; in registers they would
 * slow down every call. */
INLINE unsigned piles_begin(unsigned held) { return held / (2 * PILED); }

/* Counts the next terms, at most PILE. `held`, 0 at first, is the number of terms since the last join, and
 * PILED more if there was one. */
template <int COUNT>
INLINE void piles_count(unsigned terms, unsigned &held, REAL *sums, Piles<COUNT> &piles) {
    if (sizeof(REAL) > sizeof(float))
        return;
    if (held % PILED + terms > PILE) {
        REAL *sum = piles.sum + piles_begin(held), *lost = piles.lost + piles_begin(held);
        const bool any = held >= PILED;
#pragma unroll
        for (int v = 0; v < COUNT; v++) {
            REAL total = any ? sum[v] : (REAL)0, rest = any ? lost[v] : NOTHING_LOST;
            join(sums[v], total, rest);
            sum[v] = total;
            lost[v] = rest;
            sums[v] = 0;
        }
        held = PILED;
    }
    held += terms;
}

/* A sum with its pieces. */
template <int COUNT> INLINE REAL piles_finish(REAL sum, unsigned held, const Piles<COUNT> &piles, int v) {
    if (sizeof(REAL) > sizeof(float) || held < PILED)
        return sum;
    REAL total = piles.sum[piles_begin(held) + v], rest = piles.lost[piles_begin(held) + v];
    join(sum, total, rest);
    return restored(total, rest);
}
