/* Where the samples of a bin lie along one axis, in the boxes' own dtype.
 *
 * Positions are computed in the operation order of torchvision and without contraction, so that sample
 * positions, grid counts and out-of-range decisions are the same bits. Positions never decrease with the sample
 * index (never increase in a reversed box). So bisection finds the samples that hit the map, and no box, however
 * large, costs more than the map.
 *
 * A dense bin has many samples between the same two pixels. There a bilinear value is linear along either axis, so
 * a maximum needs only the first and the last sample, and an average only the middle. */

#ifndef ROICY_SAMPLES_H
#define ROICY_SAMPLES_H

/* Above this many samples a bin, neighbours may share a position: a run of equal ones is then found by
 * bisection. */
#define FINE_GRID 4194304.0
/* Above this many samples for each cell of the map that a bin reaches, it is dense: for a maximum, for an
 * average. */
#define DENSE 16
#define DENSE_AVERAGE 256

typedef struct {
    /* The samples of one bin. `index` counts them in the order of ascending position. */
    double count;       /* samples on this axis, hit or not */
    double first, last; /* the ones that hit the map; first > last where none does */
    bool mirrored;      /* a reversed box: position falls with the sample index */
} Span;

typedef struct {
    /* how a call lays samples into boxes */
    double spatial_scale;
    int sampling_ratio; /* samples of a bin along an axis; where it is not positive, as many as it has pixels */
    int aligned;        /* pixel i is centred at i + 0.5 */
    int rule;
    int border;  /* of crops, what is outside */
    int nearest; /* of crops, a sample is the pixel that it lies in */
} Sampling;

typedef struct {
    /* one axis of one box, before its taps are known */
    KEPT start, size; /* of the first bin, of each bin */
    double count;     /* samples of a bin */
    bool unit_size;   /* the box's size was raised to 1 */
    int bins, length; /* bins of the box, pixels of the map */
} Side;

#endif

GEOMETRY BOX OF(scaled)(BOX coordinate, BOX scale, BOX offset) { return coordinate * scale - offset; }

GEOMETRY BOX OF(position_at)(BOX base, BOX bin_size, Span span, double index) {
    const double sample = span.mirrored ? span.count - 1 - index : index;
    const BOX shift = ((BOX)sample + (BOX)0.5) * bin_size;
    return base + shift / (BOX)span.count;
}

/* The smallest index in (low, high] whose position is >= bound (> bound if `above`), given that it holds at
 * high. */
GEOMETRY double OF(bisect)(BOX base, BOX bin_size, Span span, double low, double high, BOX bound,
                           bool above) {
    while (high - low > 1) {
        const double middle = low + floor((high - low) / 2);
        if (middle <= low || middle >= high)
            break;
        const BOX value = OF(position_at)(base, bin_size, span, middle);
        if (value > bound || (!above && value == bound))
            high = middle;
        else
            low = middle;
    }
    return high;
}

GEOMETRY Span OF(span_of)(BOX base, BOX bin_size, double count, int length) {
    Span span = {count, 0, -1, bin_size < 0};
    const double last = count - 1;
    if (!(count >= 1) || length == 0 || !isfinite(base) || !isfinite(bin_size))
        return span;
    if (!(OF(position_at)(base, bin_size, span, last) >= -1) ||
        !(OF(position_at)(base, bin_size, span, 0) <= length))
        return span;
    if (!(OF(position_at)(base, bin_size, span, 0) >= -1))
        span.first = OF(bisect)(base, bin_size, span, 0, last, (BOX)-1, false);
    if (OF(position_at)(base, bin_size, span, last) <= length)
        span.last = last;
    else
        span.last = OF(bisect)(base, bin_size, span, 0, last, (BOX)length, true) - 1;
    return span;
}

GEOMETRY int OF(pixel_below)(BOX position, int length) {
    if (!(position > 0))
        return 0;
    if (position >= length - 1)
        return length - 1;
    return (int)position;
}

/* The first index behind the run of samples that share the position of this one. */
GEOMETRY double OF(next_position)(BOX base, BOX bin_size, Span span, double index) {
    double following = index + 1;
    if (span.count > FINE_GRID && span.last > index) {
        const BOX position = OF(position_at)(base, bin_size, span, index);
        if (OF(position_at)(base, bin_size, span, span.last) > position)
            following = OF(bisect)(base, bin_size, span, index, span.last, position, true);
        else
            following = span.last + 1;
    }
    if (following <= index) /* indices beyond 2**53 are themselves rounded */
        following = nextafter(index, 2 * index);
    return following;
}

/* Positions in a cell lie between the same two pixels, or repeat the same one: the first is -1, before all
 * pixels. */
GEOMETRY int OF(cell_of)(BOX position, int length) {
    return position < 0 ? -1 : OF(pixel_below)(position, length);
}

/* From the first to the last cell of a dense bin's samples, how many there are; 0 for other bins. */
GEOMETRY int64 OF(dense_cells)(BOX base, BOX bin_size, Span span, int length, int few) {
    if (!(span.last - span.first >= few))
        return 0;
    const int64 cells = 1 + (int64)OF(cell_of)(OF(position_at)(base, bin_size, span, span.last), length) -
                        OF(cell_of)(OF(position_at)(base, bin_size, span, span.first), length);
    return span.last - span.first + 1 > few * (double)cells ? cells : 0;
}

/* The first index in this cell or behind it; some are. */
GEOMETRY double OF(cell_begin)(BOX base, BOX bin_size, Span span, int cell) {
    if (OF(position_at)(base, bin_size, span, span.first) >= cell)
        return span.first;
    return OF(bisect)(base, bin_size, span, span.first, span.last, (BOX)cell, false);
}

/* The last index in this cell or before it; some are. */
GEOMETRY double OF(cell_end)(BOX base, BOX bin_size, Span span, int cell, int length) {
    if (OF(cell_of)(OF(position_at)(base, bin_size, span, span.last), length) <= cell)
        return span.last;
    return OF(cell_begin)(base, bin_size, span, cell + 1) - 1;
}

/* Index of the i-th sample that a maximum over a dense bin needs, two for each cell in the order of their
 * numbers: the first one in the cell and, of those at the position of the last one, the first. In a reversed
 * box they are found from the other side. */
GEOMETRY double OF(dense_index)(BOX base, BOX bin_size, Span span, int length, int64 i) {
    if (span.mirrored) {
        const int cell = OF(cell_of)(OF(position_at)(base, bin_size, span, span.last), length) - (int)(i / 2);
        if (i % 2 == 0)
            return OF(cell_end)(base, bin_size, span, cell, length);
        const double index = OF(cell_begin)(base, bin_size, span, cell);
        const BOX position = OF(position_at)(base, bin_size, span, index);
        if (OF(position_at)(base, bin_size, span, span.last) == position)
            return span.last;
        return OF(bisect)(base, bin_size, span, index, span.last, position, true) - 1;
    }
    const int cell = OF(cell_of)(OF(position_at)(base, bin_size, span, span.first), length) + (int)(i / 2);
    if (i % 2 == 0)
        return OF(cell_begin)(base, bin_size, span, cell);
    const double index = OF(cell_end)(base, bin_size, span, cell, length);
    const BOX position = OF(position_at)(base, bin_size, span, index);
    if (OF(position_at)(base, bin_size, span, span.first) == position)
        return span.first;
    return OF(bisect)(base, bin_size, span, span.first, index, position, false);
}

GEOMETRY Side OF(side_of)(BOX first, BOX second, Sampling sampling, int bins, int length) {
    Side side;
    const BOX scale = (BOX)sampling.spatial_scale, offset = sampling.aligned ? (BOX)0.5 : (BOX)0;
    const BOX low = OF(scaled)(first, scale, offset), high = OF(scaled)(second, scale, offset);
    BOX size = high - low;
    side.unit_size = !sampling.aligned && size < 1;
    if (side.unit_size)
        size = 1;
    size = size / (BOX)bins;
    side.start = low;
    side.size = size;
    side.count = sampling.sampling_ratio > 0 ? (double)sampling.sampling_ratio : ceil((double)size);
    side.bins = bins;
    side.length = length;
    return side;
}

GEOMETRY BOX OF(bin_base)(BOX start, BOX bin_size, int p) { return start + (BOX)p * bin_size; }
