/* Sums that are infinite or no number although all of their terms are finite. */
#ifndef ROICY_OVERFLOW_H
#define ROICY_OVERFLOW_H

#include <fenv.h>
#include <float.h>

#include "elements.h"

/* How far an average may lie above the largest number: rounding lets its weights add up to this much more than 1. */
#define ROICY_ROUNDING 1e-6

/* The processor sets a sticky flag if a finite operation gives a result that is too large for its type. Operations on
 * infinities and NaNs do not set it. */
#ifdef ROICY_X86 /* <fenv.h> also checks the x87 unit, which takes longer */
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

/* Stores twice `half`. A result above the largest number only by rounding becomes the largest number; a larger one, or
 * a NaN, leaves the stored value unchanged. */
ROICY_INLINE void overflow_store(double half, char *target, int dtype) {
    const double most = (sizeof(real) == 4 ? (double)FLT_MAX : DBL_MAX) / 2;
    const double size = half < 0 ? -half : half;
    if (size <= most * (1 + ROICY_ROUNDING))
        element_store((real)(2 * (size < most ? half : half < 0 ? -most : most)), target, dtype);
    else if (size > DBL_MAX)
        element_store((real)half, target, dtype);
}

#endif
