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
    int place; /* a pixel of the map; in the transposed lists a bin */
};

/* One axis of every RoI. Lists of a RoI begin where its room does: at k * room, or at first[k] where room is
 * 0. Each is as long as what a bin could have at the most, so that all bins of a RoI are laid out at once. */
#define AXIS(name)                                                                                           \
    const int *__restrict__ name##_start, const int *__restrict__ name##_count,                              \
        const REAL *__restrict__ name##_taps, int64 name##_room, const int64 *__restrict__ name##_first,     \
        int name##_bins

/* The transpose: for each pixel of the RoI's window the bins that touch it, ascending. */
#define TRANSPOSE(name)                                                                                      \
    const int *__restrict__ name##_start, const REAL *__restrict__ name##_taps, int64 name##_room,           \
        const int64 *__restrict__ name##_first, int64 name##_pixels, const int64 *__restrict__ name##_line

INLINE int64 begin_of(int64 k, int64 room, const int64 *first) { return room ? k * room : first[k]; }

INLINE const Tap *taps_at(const REAL *taps, int64 begin) {
    return reinterpret_cast<const Tap *>(taps) + begin;
}
