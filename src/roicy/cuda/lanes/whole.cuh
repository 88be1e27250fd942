/* Conversion of values to integer types. */
#pragma once
#include "lanes/types.cuh"

/* what a result may be beside the types of maps */
typedef signed char int8;
typedef unsigned short uint16;
typedef short int16;

/* Round to nearest, ties to even, and saturate; NaN becomes 0. */
template <class T> INLINE T whole_of(REAL value, REAL least, REAL most) {
    value = value > least ? value : value <= least ? least : 0;
    return (T)rint(value < most ? value : most);
}
