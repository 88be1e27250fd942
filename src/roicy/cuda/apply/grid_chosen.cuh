/* From the number of a bin's sample back to where it lies. */
#pragma once
#include "tables/grid.cuh"

struct Chosen {
    /* one sample along an axis */
    double number; /* in its bin */
    int low, high; /* the pixels around it */
    REAL low_weight, high_weight;
    bool flat; /* whether the value there does not follow the position */
};

/* The row and the column of the sample that a bin's index names, if it is one that hits the map. */
INLINE bool chosen(const Grid &grid, int64 k, int p, int q, int index, Chosen &y, Chosen &x) {
    const int rows = grid.rois.rows;
    const int64 first = k * ((int64)rows + grid.rois.columns);
    const int total = grid.total[first + rows + q];
    if (index < 0 || total == 0)
        return false;
#pragma unroll 1 /* one copy of what is long */
    for (int axis = 0; axis < 2; axis++) {
        const Bin bin = bin_at(grid.bins, grid.steps, first + (axis ? rows + q : p), 2 * k + axis);
        const int number = axis ? index % total : index / total;
        const double at = other_way(bin, number);
        if (!(at >= bin.span.first && at <= bin.span.last))
            return false;
        const int length = axis ? grid.rois.map_width : grid.rois.map_height;
        const int begin = axis ? grid.rois.left : grid.rois.top;
        const Sample sample = sample_at(bin, at, length, grid.rule);
        const Chosen found = {sample.number,           sample.low - begin,       sample.high - begin,
                              (REAL)sample.low_weight, (REAL)sample.high_weight, sample.flat};
        if (axis)
            x = found;
        else
            y = found;
    }
    return true;
}
