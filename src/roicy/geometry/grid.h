/* The rules of grid tables: the position of each sample of a bin along one axis.
 *
 * Each sample has a number in its bin. `index` counts samples by ascending position; in a reversed box that is the
 * opposite order. A sample is "listed" if a table needs it: if it hits the map, or, in a dense bin (samples.h), if it
 * is one of the few that a maximum needs. */

#ifndef ROICY_GRID_H
#define ROICY_GRID_H

/* Numbers of samples above this are all treated as this one. */
#define MOST_SAMPLES 2147483647

typedef struct {
    KEPT base, step; /* where samples are laid from, and how far they or bins are apart */
    Span span;
    double total; /* samples, hit or not */
} Bin;

typedef struct {
    double number; /* in its bin */
    int low, high; /* the pixels around it */
    double low_weight, high_weight;
    bool flat; /* whether the value there does not follow the position */
} Sample;

GEOMETRY int bounded(double value) { return (int)(value < MOST_SAMPLES ? value : MOST_SAMPLES); }

/* The number of the first sample that misses the map, -1 where none does. */
GEOMETRY double missed_of(Bin bin) {
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

/* From the number of a sample to its index, and back. */
GEOMETRY double other_way(Bin bin, double number) {
    return bin.span.mirrored ? bin.total - 1 - number : number;
}

/* Whether more samples of a bin hit the map than are listed. */
GEOMETRY bool is_dense(Bin bin, int64 listed) { return listed < bin.span.last - bin.span.first + 1; }

typedef struct {
    /* goes through the listed samples of a bin, in the order of their numbers */
    Bin bin;
    int64 listed, i;
    KEPT position; /* of the last one */
} Walk;

#endif

/* ---- ALIGN ---- */

GEOMETRY Bin OF(align_bin)(Side side, int p) {
    const BOX size = (BOX)side.size, base = OF(bin_base)((BOX)side.start, size, p);
    const Bin bin = {base, size, OF(span_of)(base, size, side.count, side.length),
                     side.count >= 1 ? side.count : 0};
    return bin;
}

GEOMETRY Sample OF(align_sample)(BOX position, double number, int length) {
    const int low = OF(pixel_below)(position, length);
    const bool last = low == length - 1;
    const double fraction = !last && position > 0 ? (double)(position - (BOX)low) : 0;
    const Sample sample = {number,       low,      last ? low : low + 1,
                           1 - fraction, fraction, last || !(position >= 0)};
    return sample;
}

/* ---- UNIT_STEP ---- */

/* Bins are clipped to the map: all samples hit it. */
GEOMETRY Bin OF(unit_step_bin)(Side side, int p) {
    const BOX low = (BOX)side.start, size = (BOX)side.size, most = (BOX)side.length;
    BOX start = (BOX)p * size, end = (BOX)(p + 1) * size;
    double total = 0;
    start = start + low;
    end = end + low;
    start = start < 0 ? 0 : start;
    start = most < start ? most : start;
    end = end < 0 ? 0 : end;
    end = most < end ? most : end;
    for (BOX position = start; position < end; total++) {
        const BOX next = position + 1;
        if (!(next > position)) /* beyond the precision */
            break;
        position = next;
    }
    const Bin bin = {start, 1, {total, 0, total - 1, false}, total};
    return bin;
}

/* The sum of single steps, in the order in which a walk adds them. */
GEOMETRY BOX OF(unit_step_position)(Bin bin, double index) {
    BOX position = (BOX)bin.base;
    for (int i = 0; i < index; i++)
        position = position + 1;
    return position;
}

/* The far neighbour of a sample beyond the last pixel is a zero. */
GEOMETRY Sample OF(unit_step_sample)(BOX position, double number, int length) {
    const double below = floor((double)position);
    Sample sample = {number, (int)below, (int)below, 1 - (position - below), 0, false};
    if (sample.low < length - 1 && position > below) {
        sample.high++;
        sample.high_weight = position - below;
    }
    return sample;
}

/* ---- every rule ---- */

GEOMETRY Side OF(grid_side)(BOX first, BOX second, Sampling sampling, int bins, int length) {
    Side side = OF(side_of)(first, second, sampling, bins, length);
    if (sampling.rule == UNIT_STEP) {
        const BOX scale = (BOX)sampling.spatial_scale, low = first * scale, high = second * scale;
        BOX size = high - low;
        size = size + 1;
        side.start = low;
        side.size = size / (BOX)bins;
        side.count = 0; /* which a bin of its own */
        side.unit_size = false;
    }
    return side;
}

GEOMETRY Bin OF(bin_of)(Side side, int p, int rule) {
    return rule == UNIT_STEP ? OF(unit_step_bin)(side, p) : OF(align_bin)(side, p);
}

/* How many samples of a bin are listed. */
GEOMETRY int64 OF(listed_of)(Bin bin, int length, int rule) {
    const int64 cells =
        rule == UNIT_STEP ? 0 : OF(dense_cells)((BOX)bin.base, (BOX)bin.step, bin.span, length, DENSE);
    return cells ? 2 * cells : (int64)(bin.span.last - bin.span.first + 1);
}

/* The index of the i-th listed sample, in the order of their numbers. */
GEOMETRY double OF(listed_index)(Bin bin, int64 listed, int length, int64 i) {
    if (is_dense(bin, listed))
        return OF(dense_index)((BOX)bin.base, (BOX)bin.step, bin.span, length, i);
    return bin.span.mirrored ? bin.span.last - i : bin.span.first + i;
}

GEOMETRY Sample OF(sample_at)(Bin bin, double index, int length, int rule) {
    if (rule == UNIT_STEP)
        return OF(unit_step_sample)(OF(unit_step_position)(bin, index), index, length);
    return OF(align_sample)(OF(position_at)((BOX)bin.base, (BOX)bin.step, bin.span, index),
                            other_way(bin, index), length);
}

/* The same of the next one on a walk. */
GEOMETRY Sample OF(next_sample)(Walk *walk, int length, int rule) {
    const Bin bin = walk->bin;
    const int64 i = walk->i++;
    if (rule == UNIT_STEP) {
        walk->position = i ? (BOX)((BOX)walk->position + 1) : (BOX)bin.base;
        return OF(unit_step_sample)((BOX)walk->position, (double)i, length);
    }
    return OF(sample_at)(bin, OF(listed_index)(bin, walk->listed, length, i), length, rule);
}
