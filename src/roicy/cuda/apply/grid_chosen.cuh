/* From the number of a bin's sample back to where it lies. */
#pragma once
#include "tables/grid.cuh"

/* The row and the column of the sample that a bin's index names, if it is one that hits the map. */
INLINE bool chosen(const Grid &grid, int64 k, int p, int q, int index, Sample &y, Sample &x) {
    const int rows = grid.rois.rows;
    const int64 first = k * ((int64)rows + grid.rois.columns);
    const int total = grid.total[first + rows + q];
    if (index < 0 || total == 0)
        return false;
#pragma unroll 1 /* one copy of what is long */
    for (int axis = 0; axis < 2; axis++) {
        const GridBin bin = bin_at(grid.bins, grid.steps, first + (axis ? rows + q : p), 2 * k + axis);
        const int number = axis ? index % total : index / total;
        const double at = bin.span.mirrored ? bin.total - 1 - number : number;
        if (!(at >= bin.span.first && at <= bin.span.last))
            return false;
        const Sample sample = sample_at(bin, at, grid.from_edge, axis ? grid.rois.width : grid.rois.height);
        if (axis)
            x = sample;
        else
            y = sample;
    }
    return true;
}
