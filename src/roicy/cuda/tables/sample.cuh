/* Sample tables: where the samples of rotated boxes lie.
 *
 * Turned samples lie on no grid of rows and columns. What is kept of a box is its geometry alone; the
 * kernels compute positions from it. */
#pragma once
#include "tables/rois.cuh"

#include "geometry/samples.h"

#include "geometry/rotated.h"

#define BOX_NUMBERS 16

/* The table: BOX_NUMBERS of each RoI. */
struct Rotated {
    Rois rois;
    const BOX *boxes;
};

/* `position` of a sample of a grid that is not fine. */
INLINE BOX position_of(BOX base, BOX bin_size, BOX count, int sample) {
    return base + ((BOX)sample + (BOX)0.5) * bin_size / count;
}

/* The part of a side's length that lies between its middle and a sample. */
INLINE REAL share_of(int p, int bins, double count, double sample) {
    return (REAL)(sample + 0.5 + (p - 0.5 * bins) * count) / ((REAL)bins * (REAL)count);
}

/* The same for a grid of few samples: twice the number of samples between, which is whole, to be exact. */
INLINE REAL share_of(int p, int bins, int count, int sample) {
    return (REAL)(2 * ((int64)p * count + sample) + 1 - (int64)bins * count) /
           (REAL)(2 * (int64)bins * count);
}
