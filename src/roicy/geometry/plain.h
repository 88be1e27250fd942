/* Sides as most boxes have them: some samples a bin, which ascend and all hit the map. All that `align_stretch` and
 * `align_taps` find out bin by bin, of boxes of any kind, is then known from the first and the last sample of the box.
 * The numbers are theirs, to the last bit. */

#ifndef ROICY_PLAIN_H
#define ROICY_PLAIN_H

#define PLAIN_SAMPLES DENSE_AVERAGE /* of a bin: so many are never dense */
#define PLAIN_LENGTH                                                                                         \
    (1 << 20) /* pixels of the map, at the most: positions of floats are right to a quarter */

typedef struct {
    /* the pixels that a side's bins touch, from `low` to `high`, and how many taps it can have at the most; none in a
     * side that is not plain, and no room */
    int low, high;
    int64 room;
} Reach;

typedef struct {
    /* where the taps of a side go, from `at` on, and the pixels that they name; `start` and `count` are of its first
     * bin. Room behind the last tap is for one that counts for nothing. */
    int64 at;
    int64_t *start;
    int32_t *count, *position, *pixel;
    void *weight; /* of doubles or of floats */
    bool doubles;
} PlainTaps;

GEOMETRY void put_plain(PlainTaps *taps, int place, double weight) {
    taps->position[taps->at] = place;
    if (taps->doubles)
        ((double *)taps->weight)[taps->at] = weight;
    else
        ((float *)taps->weight)[taps->at] = (float)weight;
}

GEOMETRY int plain_clipped(int value, int length) { return value < 0 ? 0 : value > length ? length : value; }

#endif

GEOMETRY bool OF(may_be_plain)(Side side) {
    return side.size >= 0 && side.count >= 1 && side.count <= PLAIN_SAMPLES && side.bins > 0 &&
           side.length > 0 && side.length <= PLAIN_LENGTH;
}

/* From the start of a bin to a sample of it. */
GEOMETRY BOX OF(plain_shift)(Side side, int index) {
    const Span span = {side.count, 0, side.count - 1, false};
    return OF(position_at)((BOX)0, (BOX)side.size, span, index);
}

/* Whether all samples lie between the centres of the first and the last pixel, where those of crops are alike. */
GEOMETRY bool OF(plain_within)(Side side) {
    if (!OF(may_be_plain)(side))
        return false;
    const BOX start = (BOX)side.start, size = (BOX)side.size;
    return OF(bin_base)(start, size, 0) + OF(plain_shift)(side, 0) >= 0 &&
           OF(bin_base)(start, size, side.bins - 1) + OF(plain_shift)(side, (int)side.count - 1) <=
               side.length - 1;
}

GEOMETRY Reach OF(plain_reach)(Side side) {
    Reach reach = {side.length, -1, 0};
    if (!OF(may_be_plain)(side))
        return reach;
    const BOX start = (BOX)side.start, size = (BOX)side.size,
              first = OF(bin_base)(start, size, 0) + OF(plain_shift)(side, 0),
              last = OF(bin_base)(start, size, side.bins - 1) + OF(plain_shift)(side, (int)side.count - 1);
    if (first >= -1 && last <= side.length) {
        const int below = OF(pixel_below)(last, side.length);
        const double samples = 2 * side.count * side.bins;
        reach.low = OF(pixel_below)(first, side.length);
        reach.high = below < side.length - 1 ? below + 1 : below;
        reach.room = (int64)reach.high - reach.low +
                     3 * (int64)side.bins; /* three pixels may be those of the next, too */
        reach.room = 1 + (reach.room < samples ? reach.room : (int64)samples);
    }
    return reach;
}

/* Fills the lists of a side of so many samples a bin, a constant where they are few, and returns how many pixels it
 * touches; -1 where it is not plain. */
GEOMETRY int OF(plain_taps_of)(Side side, const int samples, PlainTaps taps) {
    const BOX start = (BOX)side.start, size = (BOX)side.size;
    const int length = side.length, edge = length - 1;
    const double part = 1 / (double)samples;
    BOX shift[PLAIN_SAMPLES];
    for (int i = 0; i < samples; i++)
        shift[i] = OF(plain_shift)(side, i);
    const BOX first = OF(bin_base)(start, size, 0) + shift[0],
              last = OF(bin_base)(start, size, side.bins - 1) + shift[samples - 1];
    if (!(first >= -1 && last <= length))
        return -1;
    /* the pixels of the list end with `newest`, below which `passed` are not in it; where positions are so coarse
     * that a bin begins before the last one ends, it has no gaps */
    int passed = OF(pixel_below)(first, length), newest = passed - 1;
    for (int p = 0; p < side.bins; p++) {
        const BOX base = OF(bin_base)(start, size, p);
        const int64_t begin = taps.at;
        /* the pixel before the last sample and the one behind: their weights so far */
        double older = 0, newer = 0;
        int pixel = OF(pixel_below)(base + shift[0], length);
        for (int i = 0; i < samples; i++) {
            const BOX position = base + shift[i];
            const int below = OF(pixel_below)(position, length), step = below - pixel;
            const double fraction = position > 0 && below < edge ? (double)(position - below) : 0.0;
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

GEOMETRY int OF(plain_taps)(Side side, PlainTaps taps) {
    if (!OF(may_be_plain)(side))
        return -1;
    switch ((int)side.count) {
    case 1:
        return OF(plain_taps_of)(side, 1, taps);
    case 2:
        return OF(plain_taps_of)(side, 2, taps);
    default:
        return OF(plain_taps_of)(side, (int)side.count, taps);
    }
}

/* ---- those of RoIPool ---- */

/* Whether all ends are whole numbers that an int holds. */
GEOMETRY bool OF(may_be_plain_range)(RangeSide side) {
    return side.size > 0 && side.size <= PLAIN_LENGTH && side.start >= -PLAIN_LENGTH &&
           side.start <= PLAIN_LENGTH && side.bins > 0 && side.length > 0 && side.length <= PLAIN_LENGTH;
}

/* `range_of`, of such a side. */
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

/* Bins ascend, and each begins where the one before ends, or at the pixel before: the list has no gaps. */
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
