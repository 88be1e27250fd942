/* The rules of axis tables: which pixels a bin takes along one axis, and with which weights.
 *
 * A rule is a name (rois.h) and three functions: the side of a box, the stretch of the map that one of its
 * bins reaches, and the taps in the stretch. `axis_side`, `stretch_of` and `add_taps` call the functions of a
 * rule. Taps go to the lists of a table, for which each including file defines a type `Lists` and
 *
 *     void put_tap(Lists *lists, int pixel, double weight, double start, double end)
 *
 * where `start` and `end` are d weight / d (first and second coordinate of the box). */

#ifndef ROICY_AXIS_H
#define ROICY_AXIS_H

typedef struct {
    /* what a bin reaches: the pixels from `low` to `high`, none where that is less */
    int low, high;
    int64 room; /* taps at the most */
    Span span;  /* its samples, if it has some */
    KEPT base;  /* where it begins */
} Stretch;

typedef struct {
    int pixel; /* -1: none yet */
    double weight, start, end;
} Pending;

typedef struct {
    /* Taps of a bin while they are summed: positions ascend, so a pixel that was seen before is the last one or
     * the last but one. */
    Pending older, newer;
    double outside; /* weight of what lies outside of the map, where that has a value */
    Lists lists;
} Taps;

/* What reaches the pixels from `low` to `high`, without samples. */
GEOMETRY Stretch stretch_over(Side side, int low, int high) {
    const Span none = {0, 0, -1, false};
    Stretch stretch = {side.length, -1, 0, none, 0};
    if (low <= high) {
        stretch.low = low;
        stretch.high = high;
        stretch.room = (int64)high - low + 1;
    }
    return stretch;
}

GEOMETRY Taps taps_into(Lists lists) {
    const Pending none = {-1, 0, 0, 0};
    Taps taps;
    taps.older = taps.newer = none;
    taps.outside = 0;
    taps.lists = lists;
    return taps;
}

GEOMETRY void put_pending(Taps *taps, Pending tap) {
    if (tap.pixel >= 0)
        put_tap(&taps->lists, tap.pixel, tap.weight, tap.start, tap.end);
}

/* Ends a bin. */
GEOMETRY void put_rest(Taps *taps) {
    put_pending(taps, taps->older);
    put_pending(taps, taps->newer);
    taps->older.pixel = taps->newer.pixel = -1;
}

GEOMETRY void add_tap(Taps *taps, int pixel, double weight, double start, double end) {
    if (taps->older.pixel == pixel) {
        taps->older.weight += weight;
        taps->older.start += start;
        taps->older.end += end;
        return;
    }
    if (taps->newer.pixel != pixel) {
        const Pending none = {pixel, 0, 0, 0};
        put_pending(taps, taps->older);
        taps->older = taps->newer;
        taps->newer = none;
    }
    taps->newer.weight += weight; /* the sum of zero and a weight: never -0 */
    taps->newer.start += start;
    taps->newer.end += end;
}

/* ---- PRECISE ---- */

typedef struct {
    /* a position as the sum of two numbers: what is left of it near a pixel, or of a side that begins far from the
     * map, is right to the last digits */
    double near, rest;
} Position;

typedef struct {
    /* where a bin begins and ends, and what is between; and the first and last of the cells between two pixels
     * that it meets, -1 before all pixels */
    Position begin, end;
    double size;
    int first, last;
} Interval;

/* Of the first bin's begin, and `p` bins on. */
GEOMETRY Position position_of(Side side, double p) {
    const double start = (double)side.start, size = (double)side.size, way = p * size, sum = start + way;
    /* what the product lost, and the sum */
    const double lost = fma(p, size, -way), added = sum - start;
    const double rest = lost + ((start - (sum - added)) + (way - added)), near = sum + rest;
    const Position position = {near, rest - (near - sum)};
    return position;
}

/* How far a position lies behind a pixel. */
GEOMETRY double behind(Position position, double pixel) { return (position.near - pixel) + position.rest; }

GEOMETRY Interval interval_of(Side side, int p) {
    Interval bin;
    bin.begin = position_of(side, p);
    bin.end = position_of(side, p + 1.0);
    bin.size = (double)side.size;
    bin.first = 0;
    bin.last = -1;
    if (isfinite(bin.begin.near) && isfinite(bin.end.near) && bin.size > 0 &&
        behind(bin.begin, side.length) < 0 && behind(bin.end, -1) > 0) {
        bin.first = bin.last = -1;
        if (behind(bin.begin, -1) > 0) {
            bin.first = (int)floor(bin.begin.near);
            bin.first -= behind(bin.begin, bin.first) < 0;
        }
        bin.last = side.length - 1;
        if (behind(bin.end, side.length) < 0) {
            bin.last = (int)ceil(bin.end.near) - 1;
            bin.last += behind(bin.end, bin.last + 1.0) > 0;
        }
    }
    return bin;
}

GEOMETRY Stretch precise_stretch(Side side, int p) {
    const Interval bin = interval_of(side, p);
    if (bin.first > bin.last)
        return stretch_over(side, 0, -1);
    return stretch_over(side, bin.first > 0 ? bin.first : 0,
                        bin.last < side.length - 1 ? bin.last + 1 : side.length - 1);
}

typedef struct {
    /* a bin's part within a cell: its width, also as a share of the bin, and what is of the bin before it and
     * behind it */
    double width, share, before, behind;
    /* how much the pixel below the cell and the one above it count in the bin's mean, and in the values at its
     * begin and end, if these lie in the cell */
    double weight[2], at_begin[2], at_end[2];
} Part;

/* Within a cell the map is linear: the integral over a part there is its width times the value in its middle. */
GEOMETRY Part part_of(Interval bin, int cell) {
    const double begin = behind(bin.begin, cell), begin_left = -behind(bin.begin, cell + 1.0),
                 end = behind(bin.end, cell), end_left = -behind(bin.end, cell + 1.0);
    const bool begins = begin >= 0, ends = end_left >= 0;
    const double at_begin[2] = {begins ? begin_left : 1, begins ? begin : 0},
                 at_end[2] = {ends ? end_left : 0, ends ? end : 1};
    Part part;
    part.width = begins ? ends ? bin.size : begin_left : ends ? end : 1;
    part.share = part.width / bin.size;
    part.before = begins ? 0 : -begin;
    part.behind = ends ? 0 : -end_left;
    for (int above = 0; above < 2; above++) {
        part.weight[above] = part.share * ((at_begin[above] + at_end[above]) / 2);
        part.at_begin[above] = begins ? at_begin[above] : 0;
        part.at_end[above] = ends ? at_end[above] : 0;
    }
    return part;
}

/* What moves the mean can be written in two ways:
 *
 *     d mean / d begin = 1 / size^2 times the integral of slope * (end - t) = (mean - value at begin) / size,
 *     d mean / d end   = 1 / size^2 times the integral of slope * (t - begin) = (value at end - mean) / size.
 *
 * In bins of less than a pixel the values are nearly the mean, so the slopes tell: the middle of each part moves as
 * a sample there does. In wider ones the slopes on both sides of a pixel nearly cancel, so the values tell. Of the
 * size of the box, a bin's begin goes (bins - p) / bins with the first coordinate and p / bins with the second;
 * its end, one bin on. */
GEOMETRY void precise_taps(Side side, int p, double scale, Taps *taps) {
    const Interval bin = interval_of(side, p);
    const double others = side.bins - 1.0 - p, unit = scale / side.bins, wide = unit / bin.size;
    for (int cell = bin.first; cell <= bin.last; cell++) {
        const Part part = part_of(bin, cell);
        double by_first[2], by_second[2];
        if (bin.size < 1) {
            /* both shares as sums: in a box that begins far before the map one rounds to 1, and the other is not
             * 0 */
            const double half = part.width / 2, slope = unit * part.share;
            by_first[1] = slope * (others + (part.behind + half) / bin.size);
            by_second[1] = slope * (p + (part.before + half) / bin.size);
            by_first[0] = -by_first[1];
            by_second[0] = -by_second[1];
        } else
            for (int above = 0; above < 2; above++) {
                const double begin = part.at_begin[above], end = part.at_end[above];
                by_first[above] = wide * (part.weight[above] - (others + 1) * begin + others * end);
                by_second[above] = wide * ((p + 1.0) * end - p * begin - part.weight[above]);
            }
        for (int above = 0; above < 2; above++)
            if (cell + above >= 0 && cell + above < side.length)
                add_tap(taps, cell + above, part.weight[above], by_first[above], by_second[above]);
    }
}

/* ---- those of RoIPool ---- */

/* All pixels alike. */
GEOMETRY void pixel_taps(Stretch stretch, Taps *taps) {
    for (int pixel = stretch.low; pixel <= stretch.high; pixel++)
        add_tap(taps, pixel, 1.0 / stretch.room, 0, 0);
}

#endif

GEOMETRY Side OF(precise_side)(BOX first, BOX second, Sampling sampling, int bins, int length) {
    const BOX scale = (BOX)sampling.spatial_scale, low = OF(scaled)(first, scale, 0),
              size = OF(scaled)(second, scale, 0) - low;
    const Side side = {low, size > 0 ? size / (BOX)bins : 0, 0, false, bins, length};
    return side;
}

/* ---- those of RoIPool ---- */

/* Of size the whole box's. */
GEOMETRY Side OF(pixel_side)(BOX first, BOX second, Sampling sampling, int bins, int length) {
    const RangeSide range =
        OF(range_side)(first, second, sampling.spatial_scale, bins, length, sampling.rule);
    const Side side = {(KEPT)range.start, range.size, 0, false, bins, length};
    return side;
}

GEOMETRY Stretch OF(pixel_stretch)(Side side, int p, int rule) {
    const RangeSide whole = {side.start, side.size, side.bins, side.length, rule};
    const Range range = OF(range_of)(whole, p);
    return stretch_over(side, range.low, range.high - 1);
}

/* ---- ALIGN ---- */

GEOMETRY Stretch OF(align_stretch)(Side side, int p) {
    const BOX size = (BOX)side.size, base = OF(bin_base)((BOX)side.start, size, p);
    Stretch stretch = {side.length, -1, 0, OF(span_of)(base, size, side.count, side.length), base};
    const Span span = stretch.span;
    if (span.first <= span.last) {
        const double samples = 2 * (span.last - span.first + 1);
        const int last = OF(pixel_below)(OF(position_at)(base, size, span, span.last), side.length);
        stretch.low = OF(pixel_below)(OF(position_at)(base, size, span, span.first), side.length);
        stretch.high = last < side.length - 1 ? last + 1 : last;
        stretch.room = (int64)stretch.high - stretch.low + 1;
        if (stretch.room > samples)
            stretch.room = (int64)samples;
    }
    return stretch;
}

GEOMETRY void OF(align_taps)(Side side, Stretch stretch, int p, double scale, Taps *taps) {
    const BOX base = (BOX)stretch.base, size = (BOX)side.size;
    const Span span = stretch.span;
    const int length = side.length;
    /* positions on finer grids are too coarse for it */
    const bool dense =
        span.count <= FINE_GRID && OF(dense_cells)(base, size, span, length, DENSE_AVERAGE) > 0;
    for (double index = span.first; index <= span.last;) {
        const BOX position = OF(position_at)(base, size, span, index);
        const double following =
                         dense ? OF(cell_end)(base, size, span, OF(cell_of)(position, length), length) + 1
                               : OF(next_position)(base, size, span, index),
                     middle = dense ? (index + following - 1) / 2 : index,
                     part = (following - index) / span.count;
        /* how far along the box the sample lies: it moves with the first coordinate by 1 - share, with the
         * second by share */
        const double number = span.mirrored ? span.count - 1 - middle : middle;
        const double share = (p + (number + 0.5) / span.count) / side.bins;
        double start = side.unit_size ? scale : scale * (1 - share), end = side.unit_size ? 0 : scale * share;
        const int below = OF(pixel_below)(position, length);
        if (below == length - 1)
            add_tap(taps, below, part, 0, 0);
        else {
            double fraction = position > 0 ? (double)(position - below) : 0.0;
            if (dense && position >= 0) {
                fraction = base + (number + 0.5) * size / span.count - below;
                fraction = fraction > 0 ? (fraction < 1 ? fraction : 1) : 0;
            }
            if (!(position >= 0))
                start = end = 0;
            add_tap(taps, below, part * (1 - fraction), -part * start, -part * end);
            add_tap(taps, below + 1, part * fraction, part * start, part * end);
        }
        index = following;
    }
}

#include "geometry/crop.h"

/* ---- every rule ---- */

GEOMETRY Side OF(axis_side)(BOX first, BOX second, Sampling sampling, int bins, int length) {
    switch (sampling.rule) {
    case PRECISE:
        return OF(precise_side)(first, second, sampling, bins, length);
    case ALIGN:
        return OF(side_of)(first, second, sampling, bins, length);
    case HALF_PIXEL:
    case CORNERS:
    case UNIT_CORNERS:
    case UNIT_SLOPES:
        return OF(crop_side)(first, second, sampling, bins, length);
    default:
        return OF(pixel_side)(first, second, sampling, bins, length);
    }
}

/* What bin p reaches. */
GEOMETRY Stretch OF(stretch_of)(Side side, int p, Sampling sampling) {
    switch (sampling.rule) {
    case PRECISE:
        return precise_stretch(side, p);
    case ALIGN:
        return OF(align_stretch)(side, p);
    case HALF_PIXEL:
    case CORNERS:
    case UNIT_CORNERS:
    case UNIT_SLOPES:
        return OF(crop_stretch)(side, p, sampling);
    default:
        return OF(pixel_stretch)(side, p, sampling.rule);
    }
}

/* Adds the taps of bin p, pixels ascending. */
GEOMETRY void OF(add_taps)(Side side, Stretch stretch, int p, Sampling sampling, Taps *taps) {
    switch (sampling.rule) {
    case PRECISE:
        precise_taps(side, p, sampling.spatial_scale, taps);
        break;
    case ALIGN:
        OF(align_taps)(side, stretch, p, sampling.spatial_scale, taps);
        break;
    case HALF_PIXEL:
    case CORNERS:
    case UNIT_CORNERS:
    case UNIT_SLOPES:
        OF(crop_taps)(side, stretch, p, sampling, taps);
        break;
    default:
        pixel_taps(stretch, taps);
    }
}
