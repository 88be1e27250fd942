/* Range tables: which pixels each bin of a RoI takes the maximum of. */
#pragma once
#include "tables/rois.cuh"

/* One axis of every RoI: the pixels [start, start + length) of each bin, (K, bins). Starts never fall along
 * the bins, and neither do ends; a bin without pixels has length 0. */
#define RANGES(name)                                                                                         \
    const int *__restrict__ name##_start, const int *__restrict__ name##_length, int name##_bins
