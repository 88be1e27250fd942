/* What the kernels of range_forward have in common. WITH_ARGMAX: whether it is asked for where maxima are. */
#pragma once
#include "lanes/maxima.cuh"
#include "lanes/reduce.cuh"
#include "tables/range.cuh"

INLINE void take_with_argmax(REAL value, int at, Best &best) {
    if (WITH_ARGMAX)
        take(value, at, best);
    else
        best.value = larger(value, best.value);
}

INLINE void take_first_with_argmax(const Best &other, Best &best) {
    if (WITH_ARGMAX)
        take_first(other, best);
    else
        best.value = larger(other.value, best.value);
}

/* Writes a bin of channels first ... first + count - 1. */
#define PUT(k, c, p, q, filled, best)                                                                        \
    do {                                                                                                     \
        out[AT(out, k, c, p, q)] = rounded_to<RESULT>((filled) ? (best).value : (REAL)0);                    \
        if (WITH_ARGMAX)                                                                                     \
            argmax[AT(argmax, k, c, p, q)] = (filled) ? index_out((best).at) : -1;                           \
    } while (0)

/* A RoI that reads no pixel, or that belongs to no image: channels [first, end). */
#define PUT_NOTHING(k, first, end)                                                                           \
    do {                                                                                                     \
        if (image[k] == ELSEWHERE)                                                                           \
            break;                                                                                           \
        const Best nothing = {image[k] == INVALID ? not_a_number() : (REAL)0, NOWHERE};                      \
        for (int i = threadIdx.x; i < y_bins * x_bins; i += blockDim.x)                                      \
            for (int c = first; c < end; c++)                                                                \
                PUT(k, c, i / x_bins, i % x_bins, true, nothing);                                            \
    } while (0)
