/* Averages whose sums overflow although the average itself fits. Results that are not finite are summed again, by
 * halves and in double precision. */
#pragma once
#include "lanes/types.cuh"

/* How far an average may lie above the largest number: rounding lets its weights add up to this much more than 1. */
#define ROUNDING 1e-6
/* Sums of narrower types and whole numbers do not come near the largest number. */
#define MAY_OVERFLOW (sizeof(STORED) == sizeof(REAL))

INLINE double largest() {
    return __longlong_as_double(sizeof(REAL) == sizeof(float) ? 0x47efffffe0000000LL : 0x7fefffffffffffffLL);
}

/* A probe of many sums is zero as long as all of them are finite. */
INLINE void probe_for_overflow(REAL sum, REAL &probe) {
    if (MAY_OVERFLOW)
        probe = fma(sum, (REAL)0, probe);
}

INLINE bool overflowed(REAL sum) { return MAY_OVERFLOW && !(fabs(sum) <= (REAL)largest()); }

/* Adds a term of an average to its half, which becomes a NaN where the term is one. */
INLINE void overflow_add(double &half, double weight, STORED value) {
    half += 0.5 * weight * (double)real_of(value);
}

/* Stores twice `half`. A result above the largest number only by rounding becomes the largest number; a larger one, or
 * a NaN, leaves the stored value unchanged. */
INLINE void overflow_store(double half, RESULT *target) {
    const double most = largest() / 2, size = fabs(half);
    if (size <= most * (1 + ROUNDING))
        *target = rounded_to<RESULT>((REAL)(2 * (size < most ? half : copysign(most, half))));
    else if (isinf(half))
        *target = rounded_to<RESULT>((REAL)half);
}
