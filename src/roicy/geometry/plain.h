/* Plain sides of boxes, as most are: bins have few samples, in ascending order, and all samples lie on the map. The
 * first and the last sample of a side then tell which pixels it touches, and each sample has taps. The results are
 * those of `align_stretch` and `align_taps`, which work bin by bin for any box, bit for bit. */

#ifndef ROICY_PLAIN_H
#define ROICY_PLAIN_H

#define PLAIN_SAMPLES DENSE_AVERAGE /* most samples of a bin: with more, it may be a dense one (samples.h) */
#define PLAIN_LENGTH                                                                                         \
    (1 << 20) /* most pixels of the map, and bins: positions in float are right to a quarter of a pixel */

enum {
    SIDES = 16,     /* boxes that are handled together */
    FEW_SIDES = 4,  /* with at most this many plain sides among them, each is filled by itself */
    PLAIN_BINS = 8, /* most bins of each side that are computed before they are listed */
    MANY_BINS = 32  /* with at least this many bins, a side is filled by itself, this many at a time */
};

typedef struct {
    /* The pixels that the bins of a side touch, from `low` to `high`, and the most taps they can have; a room of 0 and
     * no pixels if the side is not plain. */
    int low, high;
    int64 room;
} Reach;

typedef struct {
    /* The same axis of SIDES boxes: where each side starts, the size of its bins (both in the boxes' own dtype), and
     * the number of samples of a bin. */
    union {
        float start_f[SIDES];
        double start_d[SIDES];
    };
    union {
        float size_f[SIDES];
        double size_d[SIDES];
    };
    int samples[SIDES];
    int bins, length;
} Sides;

typedef struct {
    /* One of these sides; doubles hold the values of both dtypes. */
    double start, size;
} PlainSide;

typedef struct {
    /* Of each of SIDES sides: whether it is plain, the pixels that it touches, from `low` to `high`, and the most taps
     * it can have. */
    int plain[SIDES], low[SIDES], high[SIDES], room[SIDES];
} Reaches;

typedef struct {
    /* A bin with one or two samples, of each of SIDES sides. It has two or four taps, of which the first `count` are
     * used. Their pixels are first, first + 1, third and third + 1; `gap` pixels between the second and the third
     * belong to no tap. `newest` is the last pixel. */
    double weight[4][SIDES];
    int first[SIDES], third[SIDES], count[SIDES], gap[SIDES], newest[SIDES];
} PlainBin;

typedef struct {
    /* Where the lists of one side go: its taps from index `at` of `position` and `weight` on, its pixels to `pixel`.
     * `start` and `count` begin with its first bin. Behind the last tap, one more may be written, which is not used. */
    int64_t at;
    int64_t *start;
    int32_t *count, *position, *pixel;
    void *weight; /* of doubles or of floats */
    bool doubles;
} PlainTaps;

typedef struct {
    /* The lists of an axis table; see `Axis` in cpu/tables/axis.pxd. */
    const int64_t *pixel_start;
    int32_t *pixels, *pixel_count;
    int64_t *tap_start;
    int32_t *tap_count, *tap_position;
    void *tap_weight; /* of doubles or of floats */
    bool doubles;
} PlainLists;

GEOMETRY void put_plain(PlainTaps *taps, int place, double weight) {
    taps->position[taps->at] = place;
    if (taps->doubles)
        ((double *)taps->weight)[taps->at] = weight;
    else
        ((float *)taps->weight)[taps->at] = (float)weight;
}

GEOMETRY int plain_clipped(int value, int length) { return value < 0 ? 0 : value > length ? length : value; }

#endif

/* The distance from the start of a bin to its sample `index`. */
GEOMETRY BOX OF(plain_shift)(BOX size, int samples, int index) {
    return ((BOX)index + (BOX)0.5) * size / (BOX)samples;
}

/* The position moved onto the map, as by `pixel_below`; `edge` is the last pixel. */
GEOMETRY BOX OF(plain_held)(BOX position, BOX edge) {
    const BOX behind = position > 0 ? position : 0;
    return behind < edge ? behind : edge;
}

GEOMETRY int OF(plain_below)(BOX position, BOX edge) { return (int)OF(plain_held)(position, edge); }

/* The sides along an axis (0 is x) of boxes x1, y1, x2, y2. */
GEOMETRY void OF(plain_sides)(const void *const *box, int axis, Sampling sampling, int bins, int length,
                              Sides *sides) {
    const BOX scale = (BOX)sampling.spatial_scale, offset = sampling.aligned ? (BOX)0.5 : (BOX)0,
              least_size = sampling.aligned ? (BOX)-INFINITY : (BOX)1, parts = (BOX)bins;
    const int given = sampling.sampling_ratio, fewest = sampling.rule == HALF_PIXEL;
    BOX first[SIDES], second[SIDES];
    for (int i = 0; i < SIDES; i++) {
        const BOX *corner = (const BOX *)box[i] + axis;
        first[i] = corner[0];
        second[i] = corner[2];
    }
    for (int i = 0; i < SIDES; i++) {
        const BOX start = OF(scaled)(first[i], scale, offset), end = OF(scaled)(second[i], scale, offset),
                  whole = end - start, size = (whole < least_size ? least_size : whole) / parts;
        sides->OF(start)[i] = start;
        sides->OF(size)[i] = size;
        sides->samples[i] = given;
    }
    for (int i = 0; i < SIDES && given <= 0; i++) {
        const BOX size = sides->OF(size)[i],
                  held = size > 0 ? (size <= PLAIN_SAMPLES ? size : PLAIN_SAMPLES + 1) : 0;
        const int below = (int)held, samples = below + ((BOX)below < held);
        sides->samples[i] = samples > fewest ? samples : fewest;
    }
    sides->bins = bins;
    sides->length = length;
}

/* The pixels that each side touches. Samples of RoIAlign may lie up to one pixel beyond the centres of the first and
 * the last pixel. Samples of crops must lie between these centres, where both follow the same rule. */
GEOMETRY void OF(plain_reaches)(const Sides *sides, Sampling sampling, Reaches *reaches) {
    const int bins = sides->bins, length = sides->length;
    const BOX edge = (BOX)(length - 1), least = (BOX)(sampling.rule == HALF_PIXEL ? 0 : -1),
              most = (BOX)(sampling.rule == HALF_PIXEL ? length - 1 : length);
    for (int i = 0; i < SIDES; i++) {
        const BOX start = sides->OF(start)[i], size = sides->OF(size)[i];
        const int samples = sides->samples[i];
        const BOX from = start + OF(plain_shift)(size, samples, 0),
                  to = OF(bin_base)(start, size, bins - 1) + OF(plain_shift)(size, samples, samples - 1);
        const int low = OF(plain_below)(from, edge), below = OF(plain_below)(to, edge),
                  high = below + (below < length - 1);
        /* A bin may share up to three pixels with the next one, which count twice. The 3 below is for unused taps
         * behind the last one. */
        const int taps = high - low + 3 * bins, most_taps = 2 * samples * bins;
        reaches->plain[i] =
            (size >= 0) & (samples >= 1) & (samples <= PLAIN_SAMPLES) & (from >= least) & (to <= most);
        reaches->low[i] = low;
        reaches->high[i] = high;
        reaches->room[i] = 3 + (taps < most_taps ? taps : most_taps);
    }
}

/* Fills the lists of a plain side and returns how many pixels it touches. */
GEOMETRY int OF(plain_taps)(const Sides *sides, int side, PlainTaps taps) {
    const BOX start = sides->OF(start)[side], size = sides->OF(size)[side];
    const int bins = sides->bins, edge = sides->length - 1;
    const BOX end = (BOX)edge;
    const int samples = sides->samples[side];
    const double part = 1 / (double)samples;
    BOX shift[PLAIN_SAMPLES];
    for (int i = 0; i < samples; i++)
        shift[i] = OF(plain_shift)(size, samples, i);
    /* The list of pixels so far ends with `newest`, and lacks `passed` of the pixels below it. A bin begins before the
     * last one ends only where rounding is so coarse that the list has no gaps. */
    int passed = 0, newest = -1;
    for (int p = 0; p < bins; p++) {
        const BOX base = OF(bin_base)(start, size, p);
        const int64_t begin = taps.at;
        /* weights so far of the two pixels around the last sample */
        double older = 0, newer = 0;
        int pixel = 0;
        for (int i = 0; i < samples; i++) {
            const BOX held = OF(plain_held)(base + shift[i], end);
            const int below = (int)held, step = below - pixel;
            const double fraction = (double)(held - (BOX)below);
            if (i > 0) {
                put_plain(&taps, pixel - passed, older);
                taps.at += step > 0;
                put_plain(&taps, pixel + 1 - passed, newer);
                taps.at += step > 1;
                older = step == 0 ? older : step == 1 ? newer : 0;
                newer = step == 0 ? newer : 0;
            }
            older += part * (1 - fraction);
            newer += part * fraction;
            pixel = below;
            passed += below > newest + 1 ? below - newest - 1 : 0;
            newest = below < edge ? below + 1 : edge;
            taps.pixel[below - passed] = below;
            taps.pixel[below + 1 - passed] = below + 1;
        }
        put_plain(&taps, pixel - passed, older);
        taps.at++;
        put_plain(&taps, pixel + 1 - passed, newer);
        taps.at += pixel < edge;
        taps.start[p] = begin;
        taps.count[p] = (int32_t)(taps.at - begin);
    }
    return newest + 1 - passed;
}

/* Bin p of each of SIDES sides whose bins have one sample or two. Compilers vectorise the loops over sides. */
GEOMETRY void OF(plain_bin)(const Sides *sides, const int samples, int p, PlainBin *bin) {
    const int edge = sides->length - 1;
    const BOX end = (BOX)edge;
    const double part = 1 / (double)samples;
    BOX fraction[SIDES], next[SIDES];
    int step[SIDES];
    for (int i = 0; i < SIDES; i++) {
        const BOX size = sides->OF(size)[i], base = OF(bin_base)(sides->OF(start)[i], size, p),
                  first = OF(plain_held)(base + OF(plain_shift)(size, samples, 0), end),
                  second = OF(plain_held)(base + OF(plain_shift)(size, samples, samples - 1), end);
        const int below = (int)first, last = (int)second, apart = last - below;
        fraction[i] = first - (BOX)below;
        next[i] = second - (BOX)last;
        step[i] = apart;
        bin->first[i] = below;
        bin->third[i] = apart > 2 ? last : below + 2;
        bin->gap[i] = apart > 2 ? apart - 2 : 0;
        bin->count[i] = 1 + (last < edge) + (apart < 2 ? apart : 2);
        bin->newest[i] = last < edge ? last + 1 : edge;
    }
    for (int i = 0; i < SIDES; i++) {
        const double at = (double)fraction[i], weight = part * (1 - at), above = part * at;
        bin->weight[0][i] = weight;
        bin->weight[1][i] = above;
    }
    for (int i = 0; i < SIDES && samples == 2; i++) {
        const double at = (double)next[i], apart = (double)step[i], weight = bin->weight[0][i],
                     above = bin->weight[1][i], third = part * (1 - at), fourth = part * at,
                     first = weight + third, second = above + fourth, joined = above + third;
        bin->weight[0][i] = apart < 1 ? first : weight;
        bin->weight[1][i] = apart < 1 ? second : apart < 2 ? joined : above;
        bin->weight[2][i] = apart < 2 ? fourth : third;
        bin->weight[3][i] = fourth;
    }
}

/* Fills the lists of all plain sides, whose bins have one sample or two: computes PLAIN_BINS bins of all sides, then
 * lists them side by side. */
GEOMETRY void OF(plain_lists_of)(const Sides *sides, const int *plain, const int samples,
                                 const PlainLists *lists, int64_t k) {
    const int bins = sides->bins, most = samples == 1 ? 2 : 4;
    PlainBin bin[PLAIN_BINS];
    int64_t from[SIDES];
    int passed_by[SIDES], newest_of[SIDES];
    for (int i = 0; i < SIDES; i++) {
        from[i] = plain[i] ? lists->pixel_start[k + i] : 0;
        passed_by[i] = 0;
        newest_of[i] = -1;
    }
    for (int first = 0; first < bins; first += PLAIN_BINS) {
        const int held = bins - first < PLAIN_BINS ? bins - first : PLAIN_BINS;
        for (int p = 0; p < held; p++)
            OF(plain_bin)(sides, samples, first + p, bin + p);
        for (int i = 0; i < SIDES; i++) {
            if (!plain[i])
                continue;
            int64_t at = from[i], row = (k + i) * bins + first;
            int32_t *pixels = lists->pixels + lists->pixel_start[k + i];
            int passed = passed_by[i], newest = newest_of[i];
            for (int p = 0; p < held; p++) {
                const int pixel = bin[p].first[i];
                passed += pixel > newest + 1 ? pixel - newest - 1 : 0;
                const int place = pixel - passed;
                pixels[place] = pixel;
                pixels[place + 1] = pixel + 1;
                if (samples == 2) {
                    pixels[place + 2] = bin[p].third[i];
                    pixels[place + 3] = bin[p].third[i] + 1;
                    passed += bin[p].gap[i];
                }
                newest = bin[p].newest[i];
                for (int j = 0; j < most; j++)
                    lists->tap_position[at + j] = place + j;
                if (lists->doubles)
                    for (int j = 0; j < most; j++)
                        ((double *)lists->tap_weight)[at + j] = bin[p].weight[j][i];
                else
                    for (int j = 0; j < most; j++)
                        ((float *)lists->tap_weight)[at + j] = (float)bin[p].weight[j][i];
                lists->tap_start[row + p] = at;
                lists->tap_count[row + p] = bin[p].count[i];
                at += bin[p].count[i];
            }
            from[i] = at;
            passed_by[i] = passed;
            newest_of[i] = newest;
            lists->pixel_count[k + i] = newest + 1 - passed;
        }
    }
}

GEOMETRY PlainSide OF(plain_side)(const Sides *sides, int side) {
    const PlainSide alone = {(double)sides->OF(start)[side], (double)sides->OF(size)[side]};
    return alone;
}

/* Fills the lists of one side with many bins of one sample each, MANY_BINS at a time. Compilers vectorise most of the
 * loops. */
GEOMETRY void OF(plain_singles)(PlainSide side, int bins, int length, const PlainLists *lists, int64_t k) {
    const int edge = length - 1;
    const BOX start = (BOX)side.start, size = (BOX)side.size, end = (BOX)edge,
              shift = OF(plain_shift)(size, 1, 0);
    int64_t at = lists->pixel_start[k];
    int32_t *pixels = lists->pixels + at;
    int below[MANY_BINS], place[MANY_BINS], passed = 0, before = -2;
    double weight[MANY_BINS], above[MANY_BINS];
    for (int first = 0; first < bins; first += MANY_BINS) {
        const int held = bins - first < MANY_BINS ? bins - first : MANY_BINS;
        int64_t *starts = lists->tap_start + k * bins + first;
        int32_t *count = lists->tap_count + k * bins + first, *position = lists->tap_position + at;
        double *doubles = (double *)lists->tap_weight + at;
        float *floats = (float *)lists->tap_weight + at;
        for (int p = 0; p < MANY_BINS; p++) {
            const BOX sample = OF(plain_held)(OF(bin_base)(start, size, first + p) + shift, end);
            below[p] = (int)sample;
            above[p] = (double)(sample - (BOX)below[p]);
            weight[p] = 1 - above[p];
        }
        for (int p = 0; p < held; p++) { /* pixels between two bins are not listed */
            const int gap = below[p] - before - 2;
            passed += gap > 0 ? gap : 0;
            before = below[p];
            place[p] = before - passed;
            pixels[place[p]] = before;
            pixels[place[p] + 1] = before + 1;
        }
        for (int p = 0; p < held && lists->doubles; p++) {
            doubles[2 * p] = weight[p];
            doubles[2 * p + 1] = above[p];
        }
        for (int p = 0; p < held && !lists->doubles; p++) {
            floats[2 * p] = (float)weight[p];
            floats[2 * p + 1] = (float)above[p];
        }
        for (int p = 0; p < held; p++) {
            position[2 * p] = place[p];
            position[2 * p + 1] = place[p] + 1;
            starts[p] = at + 2 * p;
            count[p] = 2;
        }
        int used = before == edge ? 0 : 2 * held; /* if some bins have one tap: list again */
        for (int p = 0; p < held && before == edge; p++) {
            starts[p] = at + used;
            count[p] = 2 - (below[p] == edge);
            position[used] = place[p];
            position[used + 1] = place[p] + 1;
            if (lists->doubles) {
                doubles[used] = weight[p];
                doubles[used + 1] = above[p];
            } else {
                floats[used] = (float)weight[p];
                floats[used + 1] = (float)above[p];
            }
            used += count[p];
        }
        at += used;
    }
    lists->pixel_count[k] = (before < edge ? before + 1 : edge) + 1 - passed;
}

/* Fills the lists of all plain sides; the first side is that of RoI k. */
GEOMETRY void OF(plain_lists)(const Sides *sides, const int *plain, int samples, const PlainLists *lists,
                              int64_t k) {
    int count = 0;
    for (int i = 0; i < SIDES; i++)
        count += plain[i] != 0;
    const bool many = samples == 1 && sides->bins >= MANY_BINS;
    for (int i = 0; i < SIDES && many; i++)
        if (plain[i])
            OF(plain_singles)(OF(plain_side)(sides, i), sides->bins, sides->length, lists, k + i);
    if (many)
        return;
    if (count <= FEW_SIDES)
        samples = 0;
    if (samples == 1)
        OF(plain_lists_of)(sides, plain, 1, lists, k);
    else if (samples == 2)
        OF(plain_lists_of)(sides, plain, 2, lists, k);
    else
        for (int i = 0; i < SIDES; i++)
            if (plain[i]) {
                const int64_t at = lists->pixel_start[k + i], row = (k + i) * sides->bins;
                PlainTaps taps = {at,
                                  NULL,
                                  NULL,
                                  lists->tap_position,
                                  lists->pixels + at,
                                  lists->tap_weight,
                                  lists->doubles};
                taps.start = lists->tap_start + row;
                taps.count = lists->tap_count + row;
                lists->pixel_count[k + i] = OF(plain_taps)(sides, i, taps);
            }
}

/* ---- plain sides of RoIPool ---- */

/* Whether the ends of all bins are whole numbers that fit an int. */
GEOMETRY bool OF(may_be_plain_range)(RangeSide side) {
    return side.size > 0 && side.size <= PLAIN_LENGTH && side.start >= -PLAIN_LENGTH &&
           side.start <= PLAIN_LENGTH && side.bins > 0 && side.length > 0 && side.length <= PLAIN_LENGTH;
}

/* As `range_of`, for such a side. */
GEOMETRY Range OF(plain_range)(RangeSide side, int p) {
    const BOX size = (BOX)side.size, bin_size = size / (BOX)side.bins;
    const int length = side.rule == SHORT ? side.length - 1 : side.length;
    const bool whole = side.rule == WHOLE, exact = side.rule == EXACT || side.rule == SCALED;
    const BOX shift = exact ? (BOX)side.start : 0;
    const double first = whole ? (double)p * (double)size / side.bins : (BOX)p * bin_size + shift,
                 last = whole ? (p + 1.0) * (double)size / side.bins : (BOX)(p + 1) * bin_size + shift;
    const int start = exact ? 0 : (int)side.start, below = (int)first, under = (int)last;
    const int low = plain_clipped(start + below - (below > first), length),
              high = plain_clipped(start + under + (under < last), length);
    const Range range = {low, high > low ? high : low};
    return range;
}

/* The reach of a side of RoIPool; a room of 0 if it is not plain, or touches no pixel. */
GEOMETRY Reach OF(plain_range_reach)(Side side, int rule) {
    const RangeSide whole = {side.start, side.size, side.bins, side.length, rule};
    Reach reach = {side.length, -1, 0};
    if (!OF(may_be_plain_range)(whole))
        return reach;
    for (int p = 0; p < side.bins; p++) {
        const Range range = OF(plain_range)(whole, p);
        if (range.low == range.high)
            continue;
        reach.low = range.low < reach.low ? range.low : reach.low;
        reach.high = range.high - 1;
        reach.room += range.high - range.low;
    }
    return reach;
}

/* Fills the lists of a side of RoIPool and returns how many pixels it touches; -1 if it is not plain. Bins ascend, and
 * each begins with the last pixel of the bin before or with the pixel behind it, so the list has no gaps. */
GEOMETRY int OF(plain_range_taps)(Side side, int rule, PlainTaps taps) {
    const RangeSide whole = {side.start, side.size, side.bins, side.length, rule};
    int first = -1, listed = 0;
    if (!OF(may_be_plain_range)(whole))
        return -1;
    for (int p = 0; p < side.bins; p++) {
        const Range range = OF(plain_range)(whole, p);
        const int count = range.high - range.low;
        const double weight = 1.0 / count;
        taps.start[p] = taps.at;
        taps.count[p] = count;
        first = first < 0 && count > 0 ? range.low : first;
        for (int i = 0; i < count; i++, taps.at++)
            put_plain(&taps, range.low - first + i, weight);
        for (; count > 0 && listed < range.high - first; listed++)
            taps.pixel[listed] = first + listed;
    }
    return listed;
}
