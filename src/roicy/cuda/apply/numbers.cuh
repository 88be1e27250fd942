/* What crops are finished with: numbers of each channel. Those of few channels come with the launch: there would be
 * nothing to order a copy of them before later launches of other streams. */
#pragma once
#include "lanes/types.cuh"

/* What is outside of the image, what is subtracted from values, and what they are multiplied by, of four channels. */
struct Few {
    double fill0, fill1, fill2, fill3;
    double mean0, mean1, mean2, mean3;
    double scale0, scale1, scale2, scale3;
};

/* The same of any number of channels: the means lie `step` numbers behind what is outside, and the scales behind
 * them; null for `few`. Where not `any`, nothing is to be done. */
struct Finishing {
    const REAL *rows;
    int64 step;
    Few few;
    int any;
};

INLINE REAL one_of(int64 channel, double first, double second, double third, double fourth) {
    return (REAL)(channel < 2 ? channel < 1 ? first : second : channel < 3 ? third : fourth);
}

INLINE REAL fill_of(const Finishing &given, int64 c) {
    const Few &few = given.few;
    return given.rows ? given.rows[c] : one_of(c, few.fill0, few.fill1, few.fill2, few.fill3);
}

INLINE REAL mean_of(const Finishing &given, int64 c) {
    const Few &few = given.few;
    return given.rows ? given.rows[given.step + c] : one_of(c, few.mean0, few.mean1, few.mean2, few.mean3);
}

INLINE REAL scale_of(const Finishing &given, int64 c) {
    const Few &few = given.few;
    return given.rows ? given.rows[2 * given.step + c]
                      : one_of(c, few.scale0, few.scale1, few.scale2, few.scale3);
}
