/* What every table stores for a row of boxes: its image, and the window of the map that it reads. */

#ifndef ROICY_ROIS_H
#define ROICY_ROIS_H

/* The rules by which a box's bins take from the map. */
enum {
    ALIGN,     /* RoIAlign: bilinear samples in the middle of equal parts */
    UNIT_STEP, /* MXNet's maximum: bilinear samples from the edge of a bin in steps of one pixel */
    PRECISE,   /* Precise RoI pooling: no samples, the integral of the bilinear map; outside are zeros */
    /* RoIPool: whole pixels, of which the last one of a box is part of it, and */
    ROUNDED, /* first the box is rounded to pixels, then its bins */
    EXACT,   /* only bins are */
    WHOLE,   /* as ROUNDED, but where bins begin and end is found in whole numbers */
    SCALED,  /* corners are rounded before they are scaled (R-FCN), and then bins are */
    OPEN,    /* as ROUNDED, but the last pixel of a box is no part of it (torchvision's ps_roi_pool) */
    SHORT,   /* as OPEN, of a map without its last row and column */
    /* crops: bilinear samples as of ALIGN, or the nearest pixels; there is a rule for what lies outside, and */
    HALF_PIXEL,   /* pixel i is centred at i + 0.5, samples are in the middle of equal parts */
    CORNERS,      /* pixel i is centred at i, the first and the last sample are at the ends of the box */
    UNIT_CORNERS, /* the same, 1 being the last pixel's centre (TensorFlow) */
    UNIT_SLOPES   /* the same, with the other order of operations that its gradient of boxes has */
};

/* Whether it is one of RoIPool's, whose bins are ranges of pixels. */
GEOMETRY bool is_range(int rule) { return rule >= ROUNDED && rule <= SHORT; }

/* What crops have outside of the map. */
enum {
    EDGE,     /* its outermost pixels go on */
    CONSTANT, /* pixels of a constant */
    REJECT    /* a sample that is not between the centres of pixels is the constant as a whole */
};

typedef struct {
    /* the part of the map that a RoI reads: rows [top, bottom), columns [left, right); all zero where there
     * is none */
    int top, bottom, left, right;
} Window;

typedef struct {
    /* pixels [low, high) along one axis */
    int low, high;
} Range;

/* A whole number of the kind that bins and pixels are counted in, from one that may lie far outside. */
GEOMETRY int clipped(double value, double low, double high) {
    return (int)(value > low ? (value < high ? value : high) : low);
}

#endif

#ifdef BOX
GEOMETRY bool OF(all_finite)(const BOX *numbers, int64 count) {
    bool finite = true;
    for (int64 i = 0; i < count; i++)
        finite = finite & (isfinite(numbers[i]) != 0);
    return finite;
}

/* The image of a row of `columns` numbers, -1 if the row is invalid. `given` says whether `image` is its
 * batch index; else it is the row's first number. */
GEOMETRY int64 OF(image_of)(const BOX *row, int columns, bool given, int64 image, int64 images) {
    for (int i = 0; i < columns; i++)
        if (!isfinite(row[i]))
            return -1;
    if (given)
        return image >= 0 && image < images ? image : -1;
    return row[0] > -1 && row[0] < (BOX)images && (int64)row[0] < images ? (int64)row[0] : -1;
}
#endif
