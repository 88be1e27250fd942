/* Pixels that get very many terms of a gradient, one RoI after the other: before a thread's sums would have
 * more than PILE terms, what they hold joins sums of pieces, and is nothing again. */
#pragma once
#include "lanes/types.cuh"

#define PILE 60
#define PILED 64

/* What came together, and what it lost. */
template <int COUNT> struct Piles {
    REAL sum[COUNT], lost[COUNT];
};

/* Where the sums begin: 0, which a compiler does not know. It keeps in memory what lies at such places, and
 * would keep it in registers else, at a cost to every call. */
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
