/* Axis tables: which pixels each output row and column of a RoI averages, and with what weights.
 *
 * On an axis-aligned grid a bilinear weight is a product of one weight in y and one in x, a sample is dropped
 * where y is out *or* x is out, and the divisor is the product of both counts. So the average over a bin
 * needs one short list of (pixel, weight) taps for its row and one for its column. */
#pragma once
#include "lanes/reduce.cuh"
#include "tables/rois.cuh"

struct alignas(2 * sizeof(REAL)) Tap {
    REAL weight;
    int at; /* a pixel of the map; in the transposed lists a bin */
};

/* One axis of every RoI. Lists of a RoI begin where its room does: at k * room, or at first[k] where room is
 * 0. Each is as long as what a bin could have at the most, so that all bins of a RoI are laid out at once. */
struct Axis {
    const int *start, *count; /* of the taps of each bin of each RoI */
    const REAL *taps;
    const int64 *first;
    int64 room;
};

struct Axes {
    Rois rois;
    Axis y, x;
};

/* The transpose of an axis: for each pixel of the RoI's window the bins that touch it, ascending. Beside it, the
 * axis that it is made of. */
struct Turned {
    const int *start; /* of each pixel's taps, and the end of the last one's */
    const REAL *taps;
    const int64 *first, *first_pixel;
    int64 room, pixels;
    const int *bin_start, *bin_count;
    const REAL *bin_taps;
};

struct TurnedAxes {
    Rois rois;
    Turned y, x;
};

INLINE int64 begin_of(int64 k, int64 room, const int64 *first) { return room ? k * room : first[k]; }

template <class LISTS> INLINE int64 begin_of(int64 k, const LISTS &axis) {
    return begin_of(k, axis.room, axis.first);
}

INLINE const Tap *taps_at(const REAL *taps, int64 begin) {
    return reinterpret_cast<const Tap *>(taps) + begin;
}
