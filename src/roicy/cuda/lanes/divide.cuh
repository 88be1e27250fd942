/* Division of task numbers: 64-bit integers that nearly always fit 32 bits. */
#pragma once
#include "lanes/types.cuh"

struct Divided {
    int64 quotient;
    int rest;
};

/* Of a number that is not negative. */
INLINE Divided divided(int64 number, int by) {
    if (number >> 32 == 0) {
        const unsigned quotient = (unsigned)number / (unsigned)by;
        return {quotient, (int)((unsigned)number - quotient * (unsigned)by)};
    }
    return {number / by, (int)(number % by)};
}
