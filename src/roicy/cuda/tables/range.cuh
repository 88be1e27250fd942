/* Range tables: which pixels each bin of a RoI takes the maximum of. */
#pragma once
#include "tables/rois.cuh"

/* Along either axis of every RoI the pixels [start, start + length) of each bin, (K, bins). Starts never fall
 * along the bins, and neither do ends; a bin without pixels has length 0. */
struct Ranges {
    Rois rois;
    int *y_start, *y_length, *x_start, *x_length;
};
