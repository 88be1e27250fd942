/* Arguments of the kernels about quadrangles. */
#pragma once
#include "lanes/types.cuh"

#include "geometry/rois.h"

#include "geometry/quad.h"

/* Input of the views. */
struct Quads {
    const void *corners; /* (count, 8), of floats or of doubles */
    const int64 *image;  /* of each; null where that is 0 */
    int64 count, images;
    int rows, columns, sampling_ratio; /* of a crop */
    int double_corners;
};

/* Input of what crops read. */
struct QuadReads {
    const QuadView *views;
    int64 count;
    int rows, columns;   /* of a crop */
    int height, width;   /* of an image */
    int border, nearest; /* what lies outside, and whether a sample is one pixel */
};
