/* Sample tables: where the samples of rotated boxes lie.
 *
 * Turned samples lie on no grid of rows and columns. What is kept of a box is its geometry alone; whoever
 * applies the table computes positions from it, in the boxes' own dtype and in the operation order of the
 * CPU, so that positions, grid counts and out-of-range decisions are the same bits. */
#pragma once
#include "tables/rois.cuh"

#include "geometry/samples.h"

struct alignas(16) RotatedBox {
    BOX cx, cy, cos, sin; /* in feature pixels */
    BOX start_y, start_x; /* of the first bin, along the box's own axes and from its centre */
    BOX bin_y, bin_x;     /* size of a bin */
    BOX count_y, count_x; /* samples of a bin */
    /* the part of the box's own axes from which the map can be reached, and what rounding may move a sample
     * by */
    BOX low_y, high_y, low_x, high_x, error;
    BOX grown; /* 1 where the height was raised to 1, and 2 more where the width was */
};

#define BOX_NUMBERS 16

/* The samples with positions in [low, high]; first > last where there are none. */
INLINE Span run_of(BOX base, BOX bin_size, double count, BOX low, BOX high) {
    Span span = {count, 0, -1, bin_size < 0};
    const double last = count - 1;
    if (position(base, bin_size, span, last) < low || position(base, bin_size, span, 0) > high)
        return span;
    if (position(base, bin_size, span, 0) < low)
        span.first = bisect(base, bin_size, span, 0, last, low, false);
    if (position(base, bin_size, span, last) <= high)
        span.last = last;
    else
        span.last = bisect(base, bin_size, span, 0, last, high, true) - 1;
    return span;
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

struct Point {
    BOX y, x;
};

/* Where a sample comes to lie that is so far from the centre along the box's axes. */
INLINE Point turned(const RotatedBox &box, BOX along_y, BOX along_x) {
    return {(along_y * box.cos - along_x * box.sin) + box.cy,
            (along_y * box.sin + along_x * box.cos) + box.cx};
}

INLINE bool hits(Point at, int height, int width) {
    return at.y >= -1 && at.y <= height && at.x >= -1 && at.x <= width;
}

struct Between {
    /* a position that hits the map, between the pixel `low` and its neighbour */
    int low;
    bool last;  /* there is no neighbour */
    bool level; /* the value there does not follow the position */
    REAL part;  /* of the way to the neighbour */
};

INLINE Between between(BOX place, int length) {
    Between at;
    at.low = pixel_below(place, length);
    at.last = at.low == length - 1;
    at.level = at.last || place < 0;
    at.part = at.level ? (REAL)0 : (REAL)(place - at.low);
    return at;
}
