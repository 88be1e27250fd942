/* Sample tables: where the samples of rotated boxes lie, and of upright ones whose bins are moved.
 *
 * These samples lie on no grid of rows and columns. The table stores only the geometry of a box, and for moved bins
 * where each begins; the kernels compute positions from that. */
#pragma once
#include "tables/rois.cuh"

#include "geometry/samples.h"

#include "geometry/rotated.h"

#define BOX_NUMBERS 16

/* The table: BOX_NUMBERS of each RoI; where each of its bins begins along y and along x, null if all of them
 * follow from the box; and what the average of each bin is multiplied by, null for 1. */
struct Rotated {
    Rois rois;
    const BOX *boxes, *bases;
    const REAL *factors;
};

/* The bins of a RoI, by rows; of the table it is the first that is so far in. */
struct Bins {
    const Rotated &table;
    int64 first;

    INLINE int rows() const { return table.rois.rows; }
    INLINE int columns() const { return table.rois.columns; }
    INLINE bool moved() const { return table.bases != nullptr; }
};

INLINE Bins bins_of(const Rotated &rotated, int64 k) {
    return {rotated, k * rotated.rois.rows * rotated.rois.columns};
}

/* Where a bin begins along y. */
INLINE BOX row_base(const RotatedBox &box, const Bins &bins, int p, int q) {
    return bins.moved() ? bins.table.bases[2 * (bins.first + p * (int64)bins.columns() + q)]
                        : bin_base(box.start_y, box.bin_y, p);
}

/* The same along x. */
INLINE BOX column_base(const RotatedBox &box, const Bins &bins, int p, int q) {
    return bins.moved() ? bins.table.bases[2 * (bins.first + p * (int64)bins.columns() + q) + 1]
                        : bin_base(box.start_x, box.bin_x, q);
}

INLINE REAL factor_of(const Bins &bins, int bin) {
    return bins.table.factors ? bins.table.factors[bins.first + bin] : (REAL)1;
}

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
