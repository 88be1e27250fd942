/* The rules of RoIPool, from ROUNDED on: which pixels each bin takes along one axis.
 *
 * The bins of RoIPool begin and end on pixels, so a bin is a range of rows and a range of columns. Ends are
 * computed in the boxes' own dtype and in the operation order of Caffe2 and torchvision: the product of a
 * bin's number and size may land just above a whole number, and then the bin has one pixel more. Not so by
 * the rule WHOLE: of whole numbers a double holds the products, and no quotient is rounded to one. */

#ifndef ROICY_RANGE_H
#define ROICY_RANGE_H

typedef struct {
    /* one axis of one box, in feature pixels */
    double start;
    KEPT size;
    int bins, length; /* bins of the box, pixels of the map */
    int rule;
} RangeSide;

#endif

GEOMETRY RangeSide OF(range_side)(BOX first, BOX second, double spatial_scale, int bins, int length,
                                  int rule) {
    const BOX scale = (BOX)spatial_scale;
    RangeSide side = {0, 0, bins, length, rule};
    if (rule == SCALED) {
        const BOX low = (BOX)round((double)first) * scale, high = (BOX)(round((double)second) + 1) * scale,
                  size = high - low;
        side.start = (double)low;
        side.size = size > (BOX)0.1 ? size : (BOX)0.1;
    } else if (rule != EXACT) {
        side.start = round((double)(first * scale));
        const double size =
            round((double)(second * scale)) - side.start + (rule == OPEN || rule == SHORT ? 0 : 1);
        side.size = (BOX)(1.0 > size ? 1.0 : size);
    } else {
        const BOX low = first * scale, high = (second + (BOX)1) * scale;
        side.start = (double)low;
        side.size = high - low;
    }
    return side;
}

/* The pixels of bin p; low == high where it has none. */
GEOMETRY Range OF(range_of)(RangeSide side, int p) {
    const BOX size = (BOX)side.size, bin_size = size / (BOX)side.bins;
    BOX first = (BOX)p * bin_size, last = (BOX)(p + 1) * bin_size;
    double begin, end;
    if (side.rule == WHOLE) {
        begin = floor((double)p * (double)size / side.bins) + side.start;
        end = ceil((p + 1.0) * (double)size / side.bins) + side.start;
    } else if (side.rule == EXACT || side.rule == SCALED) {
        first = first + (BOX)side.start;
        last = last + (BOX)side.start;
        begin = floor((double)first);
        end = ceil((double)last);
    } else { /* the start is a pixel and stays out of the sums */
        begin = floor((double)first) + side.start;
        end = ceil((double)last) + side.start;
    }
    const int length = side.rule == SHORT && side.length > 0 ? side.length - 1 : side.length;
    const int low = clipped(begin, 0, length), high = clipped(end, 0, length);
    const Range range = {low, size > 0 && high > low ? high : low};
    return range;
}
