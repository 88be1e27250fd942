/* Grid tables: where the samples of each bin lie, one by one, along either axis of a RoI.
 *
 * A maximum over a bin's samples does not separate into rows and columns, but the samples do: they lie on a
 * grid, so that what describes the rows and what describes the columns of a bin describe them all. Neither is
 * a list: of each bin the table has where its samples begin and which of them hit the map, and a sample's
 * pixels and weights are computed from that, exactly, where they are needed. Those that a list would have are
 * called listed: of a dense bin, one of many samples between the same two pixels, the few that a maximum
 * needs (geometry/samples.h), so that no number of samples costs more than the map. */
#pragma once
#include "tables/rois.cuh"

#include "geometry/samples.h"

/* Above this a number of samples is not told from others. */
#define MOST_SAMPLES 2147483647

/* Every RoI's bins along y and then those along x, (K, PH + PW), and what the bins of an axis have in common,
 * (K, 2). */
struct Grid {
    Rois rois;
    double *bins;        /* records */
    int *listed, *total; /* samples, those that are listed and altogether */
    double *steps;       /* the size of the bins, and whether the RoI's was raised to 1 */
    int *bin_rows;       /* of each row of bins the pixel rows [low, high) that it reads, (K, PH) */
    double spatial_scale;
    int from_edge; /* samples lie in steps of one pixel from the edge of each bin */
};

struct GridBin {
    BOX base, step; /* the bin's edge, its size; from the edge, the first sample and 1 */
    Span span;
    double total; /* samples, hit or not */
};

struct Sample {
    double number; /* in its bin */
    int low, high; /* the pixels around it */
    REAL low_weight, high_weight;
    bool level; /* whether the value there does not follow the position */
};

INLINE int bounded(double value) { return (int)(value < MOST_SAMPLES ? value : MOST_SAMPLES); }

/* The record of a bin: base, first and last sample that hit the map, total. */
enum { RECORD = 4 };

INLINE GridBin bin_at(const double *bins, const double *steps, int64 bin, int64 axis) {
    const double2 *record = reinterpret_cast<const double2 *>(bins + RECORD * bin);
    const double2 head = record[0], tail = record[1];
    GridBin found;
    found.base = (BOX)head.x;
    found.step = (BOX)steps[2 * axis];
    found.span = {tail.y, head.y, tail.x, found.step < 0};
    found.total = tail.y;
    return found;
}

/* The number of the first sample that misses the map, -1 where none does. */
INLINE double missed_of(const GridBin &bin) {
    if (bin.total == 0)
        return -1;
    if (bin.span.first > bin.span.last)
        return 0;
    if (bin.span.mirrored) { /* numbers fall as positions rise */
        if (bin.span.last < bin.total - 1)
            return 0;
        return bin.span.first > 0 ? bin.total - bin.span.first : -1;
    }
    if (bin.span.first > 0)
        return 0;
    return bin.span.last < bin.total - 1 ? bin.span.last + 1 : -1;
}

INLINE Sample grid_sample(const GridBin &bin, double index, int length) {
    const BOX place = position(bin.base, bin.step, bin.span, index);
    double fraction = 0;
    Sample sample;
    sample.number = bin.span.mirrored ? bin.total - 1 - index : index;
    sample.low = sample.high = pixel_below(place, length);
    sample.level = !(place >= 0) || sample.low == length - 1;
    if (sample.low < length - 1) {
        sample.high++;
        fraction = place > 0 ? (double)(place - (BOX)sample.low) : 0;
    }
    sample.low_weight = (REAL)(1 - fraction);
    sample.high_weight = (REAL)fraction;
    return sample;
}

/* From the edge of the bin in steps of one pixel: summed up, as whoever goes along would. The far neighbour
 * of a sample beyond the last pixel is a zero. */
INLINE Sample edge_sample(const GridBin &bin, double index, int length) {
    BOX place = bin.base;
    for (int i = 0; i < index; i++)
        place = place + 1;
    const double below = floor((double)place);
    Sample sample;
    sample.number = index;
    sample.low = sample.high = (int)below;
    sample.level = false;
    sample.low_weight = (REAL)(1 - (place - below));
    sample.high_weight = 0;
    if (sample.low < length - 1 && place > below) {
        sample.high++;
        sample.high_weight = (REAL)(place - below);
    }
    return sample;
}

/* Where the bin's `i`-th listed sample is, of so many, as `index` below. Along a reversed box the last
 * position has the first number. */
INLINE double listed_at(const GridBin &bin, int listed, int length, int i) {
    const Span &span = bin.span;
    if (listed < span.last - span.first + 1) /* dense */
        return dense_index(bin.base, bin.step, span, length, i);
    return span.mirrored ? span.last - i : span.first + i;
}

/* `index` counts samples in the order of ascending position. */
INLINE Sample sample_at(const GridBin &bin, double index, int from_edge, int length) {
    return from_edge ? edge_sample(bin, index, length) : grid_sample(bin, index, length);
}
