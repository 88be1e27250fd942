/* The rules of crops, which cut a part out of an image: samples as in RoIAlign, or from one end of the box to the
 * other. Samples outside of the map have a value, too.
 *
 * A sample outside has the same weight as one inside. For each axis, `outside` of the taps is the sum of these
 * weights. A bin's value is the sum over its pixels, plus 1 - (1 - outside of y) * (1 - outside of x) times the
 * value outside. */

#ifndef ROICY_CROP_H
#define ROICY_CROP_H

/* A part of a bin's samples at a position, inside of the map or not; how far the position moves with either coordinate
 * of the box. */
GEOMETRY void put_sample(Taps *taps, double position, double part, double start, double end, int length,
                         Sampling sampling) {
    const double last = length - 1;
    const bool between = position >= 0 && position <= last;
    if (length == 0 || (sampling.border == REJECT && !between) ||
        (sampling.border == CONSTANT && !(position > -1 && position < length))) {
        taps->outside += part;
        return;
    }
    if (sampling.border != CONSTANT && !between) {
        position = position > last ? last : 0;
        start = end = 0;
    }
    int below = (int)floor(position);
    const double fraction = position - below;
    if (sampling.nearest) {
        below += fraction >= 0.5;
        if (below >= 0 && below < length)
            add_tap(taps, below, part, 0, 0);
        else
            taps->outside += part;
        return;
    }
    /* TensorFlow takes no neighbour of a pixel that a sample lies on */
    if (fraction == 0 && (sampling.rule != HALF_PIXEL || below == length - 1)) {
        const bool falls = sampling.border == CONSTANT && below == length - 1;
        add_tap(taps, below, part, falls ? -part * start : 0, falls ? -part * end : 0);
        return;
    }
    if (below >= 0)
        add_tap(taps, below, part * (1 - fraction), -part * start, -part * end);
    else
        taps->outside += part * (1 - fraction);
    if (below + 1 < length)
        add_tap(taps, below + 1, part * fraction, part * start, part * end);
    else
        taps->outside += part * fraction;
}

#endif

/* How many samples lie before a bound, or up to it. */
GEOMETRY double OF(samples_before)(BOX base, BOX size, Span span, BOX bound, bool up_to) {
    const double last = span.count - 1;
    const BOX least = OF(position_at)(base, size, span, 0), most = OF(position_at)(base, size, span, last);
    if (least > bound || (!up_to && least == bound))
        return 0;
    if (most < bound || (up_to && most == bound))
        return span.count;
    return OF(bisect)(base, size, span, 0, last, bound, up_to);
}

GEOMETRY Side OF(crop_side)(BOX first, BOX second, Sampling sampling, int bins, int length) {
    Side side = {0, 0, 0, false, bins, length};
    if (sampling.rule == HALF_PIXEL)
        side = OF(side_of)(first, second, sampling, bins, length);
    else { /* in the order of TensorFlow's operations */
        const BOX scale = sampling.rule == CORNERS ? (BOX)1 : (BOX)(length - 1);
        const BOX distance = second - first, parts = (BOX)(bins - 1);
        if (bins == 1) {
            side.start = (BOX)(0.5 * (double)(first + second) * (double)scale);
            side.size = distance * scale;
        } else {
            side.start = first * scale;
            side.size = sampling.rule == UNIT_SLOPES ? distance * (scale / parts) : distance * scale / parts;
        }
    }
    side.count =
        sampling.sampling_ratio > 0 ? (double)sampling.sampling_ratio : ceil(fabs((double)side.size));
    if (!(side.count >= 1) || !isfinite(side.start) || !isfinite(side.size))
        side.count = 1;
    return side;
}

/* Where the only sample of a bin lies. */
GEOMETRY BOX OF(crop_position)(BOX base, BOX size, int rule) {
    const Span span = {1, 0, 0, false};
    return rule == HALF_PIXEL ? OF(position_at)(base, size, span, 0) : base;
}

GEOMETRY Stretch OF(crop_stretch)(Side side, int p, Sampling sampling) {
    const BOX size = (BOX)side.size;
    BOX base = OF(bin_base)((BOX)side.start, size, p);
    const int last = side.length - 1;
    BOX from, to;
    bool before, behind;
    Stretch stretch = stretch_over(side, 0, -1);
    stretch.span.count = side.count;
    stretch.span.mirrored = size < 0;
    if (side.length == 0)
        return stretch;
    if (side.count == 1) {
        from = to = OF(crop_position)(base, size, sampling.rule);
        before = !(from >= 0);
        behind = from > last;
        stretch.span.last = 0;
    } else {
        const bool beyond = sampling.border == CONSTANT;
        if (sampling.rule != HALF_PIXEL)
            base = base - size / 2;
        const double first = OF(samples_before)(base, size, stretch.span, beyond ? (BOX)-1 : (BOX)0, beyond),
                     end = OF(samples_before)(base, size, stretch.span, beyond ? (BOX)side.length : (BOX)last,
                                              !beyond);
        stretch.span.first = first;
        stretch.span.last = end - 1;
        before = first > 0;
        behind = end < side.count;
        from = OF(position_at)(base, size, stretch.span, first <= end - 1 ? first : 0);
        to = OF(position_at)(base, size, stretch.span, first <= end - 1 ? end - 1 : 0);
        if (first > end - 1) { /* all of them are outside, on one side of the map or on both */
            from = before ? (BOX)0 : (BOX)last;
            to = behind ? (BOX)last : (BOX)0;
        }
    }
    stretch.base = base;
    if (sampling.border != EDGE && side.count == 1 && !(from > -1 && from < side.length))
        return stretch;
    if (sampling.border != EDGE && stretch.span.first > stretch.span.last)
        return stretch;
    stretch.low = before ? 0 : OF(pixel_below)(from, side.length);
    stretch.high = behind ? last : OF(pixel_below)(to, side.length);
    stretch.high += stretch.high < last;
    stretch.room = (int64)stretch.high - stretch.low + 1;
    if (stretch.room > 2 * side.count)
        stretch.room = (int64)(2 * side.count);
    return stretch;
}

GEOMETRY void OF(crop_taps)(Side side, Stretch stretch, int p, Sampling sampling, Taps *taps) {
    const BOX base = (BOX)stretch.base, size = (BOX)side.size;
    const Span span = stretch.span;
    const int length = side.length;
    const double scale = sampling.rule == HALF_PIXEL || sampling.rule == CORNERS ? 1 : length - 1.0;
    const bool dense = span.count > 1 && span.count <= FINE_GRID &&
                       OF(dense_cells)(base, size, span, length, DENSE_AVERAGE) > 0;
    if (span.first > 0)
        put_sample(taps, -2, span.first / span.count, 0, 0, length, sampling);
    for (double index = span.first; index <= span.last;) {
        BOX position;
        double following = index + 1, middle = index;
        if (span.count == 1)
            position = OF(crop_position)(OF(bin_base)((BOX)side.start, size, p), size, sampling.rule);
        else {
            position = OF(position_at)(base, size, span, index);
            following = dense ? OF(cell_end)(base, size, span, OF(cell_of)(position, length), length) + 1
                              : OF(next_position)(base, size, span, index);
            if (dense)
                middle = (index + following - 1) / 2;
        }
        const double number = span.mirrored ? span.count - 1 - middle : middle;
        const double part = (following - index) / span.count;
        double at = position;
        if (dense && following - index > 1) { /* not beyond the cell, whose samples they are */
            const double cell = OF(cell_of)(position, length);
            at = base + (number + 0.5) * size / span.count;
            at = at > cell ? (at < cell + 1 ? at : cell + 1) : cell;
        }
        /* how far along the box the sample lies: it moves with the first coordinate by 1 - share, with the
         * second by share */
        double share = (number + 0.5) / span.count;
        if (sampling.rule == HALF_PIXEL)
            share = (p + share) / side.bins;
        else
            share = side.bins == 1 ? share : (p + share - 0.5) / (side.bins - 1);
        put_sample(taps, at, part, scale * (1 - share), scale * share, length, sampling);
        index = following;
    }
    if (span.last < span.count - 1)
        put_sample(taps, length + 1.0, (span.count - 1 - span.last) / span.count, 0, 0, length, sampling);
}
