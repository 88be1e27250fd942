/* Quadrangles that crops are cut from, as the kernels see them. */
#pragma once
#include "lanes/types.cuh"

#include "geometry/rois.h"

#include "geometry/quad.h"

/* What views are found from. */
struct Quads {
    const double *corners; /* (count, 8) */
    const int64 *image;    /* of each */
    int64 count, images;
    int rows, columns, sampling_ratio; /* of a crop */
};

/* What their crops read is found from. */
struct QuadReads {
    const QuadView *views;
    int64 count;
    int rows, columns;   /* of a crop */
    int height, width;   /* of an image */
    int border, nearest; /* what lies outside, and whether a sample is one pixel */
};
