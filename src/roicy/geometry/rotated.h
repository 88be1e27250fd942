/* Rotated boxes: where their samples lie, and which of those can reach the map.
 *
 * Positions are computed in the boxes' own dtype, in the operation order of Caffe2 and detectron2 and without
 * contraction, so positions, grid counts and out-of-range decisions are the same bits. Along each axis of the box,
 * only samples that can reach the map are visited; bisection finds them. So no box, however large, costs more than
 * the map. */

#ifndef ROICY_ROTATED_H
#define ROICY_ROTATED_H

typedef struct {
    /* how a box's angle turns it */
    int degrees; /* else radians */
    int clockwise;
} Turn;

typedef struct ALIGNED {
    KEPT cx, cy, cos, sin; /* in feature pixels */
    KEPT start_y, start_x; /* of the first bin, along the box's own axes and from its centre */
    KEPT bin_y, bin_x;     /* size of a bin */
    KEPT count_y, count_x; /* samples of a bin */
    /* the part of the box's own axes from which the map can be reached, and what rounding may move a sample
     * by */
    KEPT low_y, high_y, low_x, high_x, error;
    KEPT grown; /* 1 where the height was raised to 1, and 2 more where the width was */
} RotatedBox;

typedef struct {
    /* positions from the first to the last sample that can reach the map; low > high where none does */
    double low, high;
} Extent;

typedef struct {
    /* samples of one bin along one axis of the box that can reach the map */
    Span span;
    Extent extent;
} Run;

typedef struct {
    KEPT y, x;
} Point;

typedef struct {
    /* a position that hits the map, along one axis of it */
    int low;   /* the pixel below */
    bool last; /* there is no pixel above */
    bool flat; /* the value there does not follow the position */
    KEPT part; /* of the way to the pixel above */
} Between;

typedef struct {
    Between y, x;
    bool hit; /* else there is no more to say */
} Landed;

GEOMETRY double lesser(double a, double b) { return b < a ? b : a; }
GEOMETRY double larger(double a, double b) { return b > a ? b : a; }

/* The pixels that samples in this part of the box can touch; `error` is what rounding may move them by. */
GEOMETRY Window window_of(const RotatedBox *box, Extent y, Extent x, double error, int height, int width) {
    const double c = box->cos, s = box->sin, cy = box->cy, cx = box->cx;
    const double top = lesser(y.low * c, y.high * c) - larger(x.low * s, x.high * s) + cy - error;
    const double bottom = larger(y.low * c, y.high * c) - lesser(x.low * s, x.high * s) + cy + error;
    const double left = lesser(y.low * s, y.high * s) + lesser(x.low * c, x.high * c) + cx - error;
    const double right = larger(y.low * s, y.high * s) + larger(x.low * c, x.high * c) + cx + error;
    Window window = {0, 0, 0, 0};
    if (bottom >= -1 && top <= height && right >= -1 && left <= width && height && width) {
        window.top = clipped(floor(top), 0, height - 1);
        window.bottom = clipped(floor(larger(bottom, 0)) + 2, window.top + 1, height);
        window.left = clipped(floor(left), 0, width - 1);
        window.right = clipped(floor(larger(right, 0)) + 2, window.left + 1, width);
    }
    return window;
}

GEOMETRY bool finite_box(const RotatedBox *box) {
    return isfinite(box->cx) && isfinite(box->cy) && isfinite(box->start_x) && isfinite(box->start_y) &&
           isfinite(box->bin_x) && isfinite(box->bin_y) && box->count_x >= 1 && box->count_y >= 1;
}

#endif

/* Finds the part of a box's own axes from which the map can be reached: where its corners come to lie, turned
 * back. A sample that is computed to hit the map lies no further from its centre than the map does. Returns
 * what rounding may move a sample by. */
GEOMETRY double OF(find_reach)(RotatedBox *box, int height, int width) {
    const double coarseness = sizeof(BOX) == sizeof(float) ? 1.1920929e-07 : 2.220446049250313e-16;
    const double c = box->cos, s = box->sin;
    const double far = (double)height + width + 2 + fabs((double)box->cx) + fabs((double)box->cy);
    const double error = 16 * coarseness * far;
    const double top = -1 - error - box->cy, bottom = height + error - box->cy;
    const double left = -1 - error - box->cx, right = width + error - box->cx;
    box->low_y = (KEPT)(lesser(top * c, bottom * c) + lesser(left * s, right * s) - error);
    box->high_y = (KEPT)(larger(top * c, bottom * c) + larger(left * s, right * s) + error);
    box->low_x = (KEPT)(lesser(left * c, right * c) - larger(top * s, bottom * s) - error);
    box->high_x = (KEPT)(larger(left * c, right * c) - lesser(top * s, bottom * s) + error);
    box->error = (KEPT)error;
    return error;
}

GEOMETRY RotatedBox OF(rotated_box)(const BOX *row, Sampling sampling, Turn turn, int rows, int columns) {
    RotatedBox box;
    const BOX scale = (BOX)sampling.spatial_scale, offset = sampling.aligned ? (BOX)0.5 : (BOX)0;
    BOX width = row[2] * scale, height = row[3] * scale;
    BOX angle = turn.degrees ? (BOX)((double)row[4] * 3.14159265358979323846 / 180.0) : row[4];
    if (turn.clockwise)
        angle = -angle;
    box.grown = 0;
    if (!sampling.aligned && height < 1) {
        height = 1;
        box.grown += 1;
    }
    if (!sampling.aligned && width < 1) {
        width = 1;
        box.grown += 2;
    }
    box.cx = OF(scaled)(row[0], scale, offset);
    box.cy = OF(scaled)(row[1], scale, offset);
    /* positions round them to BOX; a rounding that stands here would be lost by GCC 12, and only by that */
    box.cos = (KEPT)cos((double)angle);
    box.sin = (KEPT)sin((double)angle);
    box.start_x = -width / 2;
    box.start_y = -height / 2;
    box.bin_x = width / (BOX)columns;
    box.bin_y = height / (BOX)rows;
    box.count_x = sampling.sampling_ratio > 0 ? (KEPT)sampling.sampling_ratio : ceil(box.bin_x);
    box.count_y = sampling.sampling_ratio > 0 ? (KEPT)sampling.sampling_ratio : ceil(box.bin_y);
    return box;
}

/* A box x1, y1, x2, y2 along the map's axes: its own are those, from the centre of the map's first pixel on, and
 * positions along them are the map's. */
GEOMETRY RotatedBox OF(upright_box)(const BOX *row, Sampling sampling, int rows, int columns) {
    const Side y = OF(side_of)(row[1], row[3], sampling, rows, 0);
    const Side x = OF(side_of)(row[0], row[2], sampling, columns, 0);
    RotatedBox box = {0, 0, 1, 0};
    box.start_y = y.start;
    box.start_x = x.start;
    box.bin_y = y.size;
    box.bin_x = x.size;
    box.count_y = (KEPT)y.count;
    box.count_x = (KEPT)x.count;
    box.grown = 0;
    return box;
}

/* How far an offset of 1 moves a bin of such a box, in feature pixels. */
GEOMETRY Point OF(reach_of)(const BOX *row, Sampling sampling, double gamma) {
    const Side y = OF(side_of)(row[1], row[3], sampling, 1, 0);
    const Side x = OF(side_of)(row[0], row[2], sampling, 1, 0);
    const Point reach = {(BOX)gamma * (BOX)y.size, (BOX)gamma * (BOX)x.size};
    return reach;
}

/* Where bin (p, q) of such a box begins that is moved by an offset, in the operation order of mmcv. */
GEOMETRY Point OF(moved_base)(const RotatedBox *box, Point reach, Point offset, int p, int q) {
    const BOX down = (BOX)reach.y * (BOX)offset.y, along = (BOX)reach.x * (BOX)offset.x;
    const BOX start_y = (BOX)box->start_y + down, start_x = (BOX)box->start_x + along;
    const Point base = {OF(bin_base)(start_y, (BOX)box->bin_y, p), OF(bin_base)(start_x, (BOX)box->bin_x, q)};
    return base;
}

/* The samples with positions in [low, high]. */
GEOMETRY Run OF(run_of)(BOX base, BOX bin_size, double count, KEPT low, KEPT high) {
    Run run = {{count, 0, -1, bin_size < 0}, {0, -1}};
    const Span all = run.span;
    const double last = count - 1;
    if (OF(position_at)(base, bin_size, all, last) < low || OF(position_at)(base, bin_size, all, 0) > high)
        return run;
    if (OF(position_at)(base, bin_size, all, 0) < low)
        run.span.first = OF(bisect)(base, bin_size, all, 0, last, (BOX)low, false);
    if (OF(position_at)(base, bin_size, all, last) <= high)
        run.span.last = last;
    else
        run.span.last = OF(bisect)(base, bin_size, all, 0, last, (BOX)high, true) - 1;
    if (run.span.first <= run.span.last) {
        run.extent.low = OF(position_at)(base, bin_size, all, run.span.first);
        run.extent.high = OF(position_at)(base, bin_size, all, run.span.last);
    }
    return run;
}

GEOMETRY BOX OF(row_base)(const RotatedBox *box, int p) {
    return OF(bin_base)((BOX)box->start_y, (BOX)box->bin_y, p);
}

GEOMETRY BOX OF(column_base)(const RotatedBox *box, int q) {
    return OF(bin_base)((BOX)box->start_x, (BOX)box->bin_x, q);
}

GEOMETRY Run OF(row_run)(const RotatedBox *box, int p) {
    return OF(run_of)(OF(row_base)(box, p), (BOX)box->bin_y, box->count_y, box->low_y, box->high_y);
}

GEOMETRY Run OF(column_run)(const RotatedBox *box, int q) {
    return OF(run_of)(OF(column_base)(box, q), (BOX)box->bin_x, box->count_x, box->low_x, box->high_x);
}

/* The rows of a bin's samples that begin there; the columns where `across`. */
GEOMETRY Run OF(run_at)(const RotatedBox *box, BOX base, bool across) {
    const Run none = {{box->count_y, 0, -1, false}, {0, -1}};
    if (!isfinite(base))
        return none;
    return across ? OF(run_of)(base, (BOX)box->bin_x, box->count_x, box->low_x, box->high_x)
                  : OF(run_of)(base, (BOX)box->bin_y, box->count_y, box->low_y, box->high_y);
}

/* A row of samples that is so far from the centre along the box's axis: its part of their positions. */
GEOMETRY Point OF(row_turned)(const RotatedBox *box, BOX along) {
    const Point part = {along * (BOX)box->cos, along * (BOX)box->sin};
    return part;
}

/* The same for a column. */
GEOMETRY Point OF(column_turned)(const RotatedBox *box, BOX along) {
    const Point part = {along * (BOX)box->sin, along * (BOX)box->cos};
    return part;
}

/* Where the sample is in which they meet. */
GEOMETRY Point OF(meeting)(const RotatedBox *box, Point row, Point column) {
    const BOX y = (BOX)row.y - (BOX)column.y, x = (BOX)row.x + (BOX)column.x;
    const Point at = {y + (BOX)box->cy, x + (BOX)box->cx};
    return at;
}

GEOMETRY Between OF(between)(BOX position, int length) {
    Between at;
    at.low = position > 0 ? (int)position : 0;
    at.last = at.low >= length - 1;
    at.flat = at.last || position < 0;
    if (at.last)
        at.low = length - 1;
    at.part = at.flat ? (BOX)0 : position - (BOX)at.low;
    return at;
}

GEOMETRY bool OF(hits)(Point at, int height, int width) {
    const BOX y = (BOX)at.y, x = (BOX)at.x;
    return y >= -1 && y <= height && x >= -1 && x <= width;
}

/* Where the sample lies on the map. */
GEOMETRY Landed OF(landed)(const RotatedBox *box, Point row, Point column, int height, int width) {
    const Point at = OF(meeting)(box, row, column);
    Landed landed = {{0, false, false, 0}, {0, false, false, 0}, OF(hits)(at, height, width)};
    if (landed.hit) {
        landed.y = OF(between)((BOX)at.y, height);
        landed.x = OF(between)((BOX)at.x, width);
    }
    return landed;
}
