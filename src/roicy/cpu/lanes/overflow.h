/* Sums that are infinite or no number although all of their terms are finite. */
#ifndef ROICY_OVERFLOW_H
#define ROICY_OVERFLOW_H

#include <fenv.h>
#include <float.h>

#include "elements.h"

/* How far an average may lie above the largest number: so much its weights may add up to more than 1. */
#define ROICY_ROUNDING 1e-6

/* The processor notes where a result is too large for its type, until it is told to forget. Of operands that
 * are no finite numbers themselves it notes nothing. */
#ifdef ROICY_X86 /* what <fenv.h> has looks at the older unit, too, and takes longer */
ROICY_INLINE int overflow_noted(void) { return (_mm_getcsr() & _MM_EXCEPT_OVERFLOW) != 0; }
ROICY_INLINE void overflow_forget(void) {
    if (overflow_noted())
        _mm_setcsr(_mm_getcsr() & ~(unsigned)_MM_EXCEPT_OVERFLOW);
}
#else
ROICY_INLINE int overflow_noted(void) { return fetestexcept(FE_OVERFLOW) != 0; }
ROICY_INLINE void overflow_forget(void) {
    if (overflow_noted())
        feclearexcept(FE_OVERFLOW);
}
#endif

/* Stores the number of which `half` is the half. One that is only by rounding larger than the largest number
 * is that; where it is larger still, or a NaN, what was stored before stays. */
ROICY_INLINE void overflow_store(double half, char *target, int dtype) {
    const double most = (sizeof(real) == 4 ? (double)FLT_MAX : DBL_MAX) / 2;
    const double size = half < 0 ? -half : half;
    if (size <= most * (1 + ROICY_ROUNDING))
        element_store((real)(2 * (size < most ? half : half < 0 ? -most : most)), target, dtype);
    else if (size > DBL_MAX)
        element_store((real)half, target, dtype);
}

#endif
