/* Grid tables: where the samples of each bin lie, one by one, along either axis of a RoI.
 *
 * A maximum over a bin's samples does not separate into rows and columns, but their positions do: samples lie on a
 * grid. So a record for the rows and one for the columns describe all samples of a bin. A record is no list: it says
 * where the samples begin and which of them hit the map. Kernels compute pixels and weights from it, with the same bits
 * as a list would hold. So no number of samples costs more than the map. */
#pragma once
#include "tables/rois.cuh"

#include "geometry/samples.h"

#include "geometry/grid.h"

/* Every RoI's bins along y and then those along x, (K, PH + PW), and what the bins of an axis have in common,
 * (K, 2). */
struct Grid {
    Rois rois;
    double *bins;        /* records */
    int *listed, *total; /* samples, those that are listed and altogether */
    double *steps;       /* the size of the bins, and whether the RoI's was raised to 1 */
    int *bin_rows;       /* of each row of bins the pixel rows [low, high) that it reads, (K, PH) */
    double spatial_scale;
    int rule; /* by which samples are laid */
};

/* The record of a bin: base, first and last sample that hit the map, total. */
enum { RECORD = 4 };

INLINE Bin bin_at(const double *bins, const double *steps, int64 bin, int64 axis) {
    const double2 *record = reinterpret_cast<const double2 *>(bins + RECORD * bin);
    const double2 head = record[0], tail = record[1];
    const BOX step = (BOX)steps[2 * axis];
    return {(BOX)head.x, step, {tail.y, head.y, tail.x, step < 0}, tail.y};
}
