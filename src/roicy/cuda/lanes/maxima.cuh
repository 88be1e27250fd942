/* Maxima, and where each of them was found.
 *
 * A value replaces another where it is greater, so a NaN never does, and of equal ones the first stays. */
#pragma once
#include "lanes/types.cuh"

/* Where a maximum begins, whatever the dtype; what is not above it is never chosen. */
#define LOWEST (-(REAL)3.402823466e+38f)
/* Where nothing was found. */
#define NOWHERE (-2147483647 - 1)

/* Of two the larger, and the second one if the first is NaN. */
INLINE REAL larger(REAL value, REAL best) { return fmax(value, best); }

/* Of two the larger; the second one unless the first is greater. */
INLINE REAL greater(REAL value, REAL best) { return value > best ? value : best; }

struct Best {
    REAL value;
    int at;
};

INLINE void take(REAL value, int at, Best &best) {
    if (value > best.value)
        best = {value, at};
}

/* As take, for candidates that do not come in the order of their indices: of equal ones the first wins.
 */
INLINE void take_first(const Best &other, Best &best) {
    if (other.value > best.value || (other.value == best.value && other.at < best.at))
        best = other;
}

/* What the arrays outside get: -1 for nowhere. */
INLINE int index_out(int at) { return at < 0 ? -1 : at; }
