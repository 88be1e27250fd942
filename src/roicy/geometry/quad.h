/* Crops of quadrangles: the perspective view that maps the corners of a crop to the corners of a quadrangle, the
 * number of samples of a pixel of the crop, and the pixels of the map around a sample. The view is computed in double
 * precision, samples in single precision, rounded after each operation. */

#ifndef ROICY_QUAD_H
#define ROICY_QUAD_H

/* The largest number of samples of a pixel along an axis that is chosen automatically. */
#define QUAD_SAMPLES 128
/* By how much of a sample a side may be longer than whole samples are: corners are rounded. */
#define QUAD_SLACK (1.0 / 1024)

typedef struct {
    /* from a crop's column + 0.5, row + 0.5 and 1 to x, y and their divisor, pixels of the map at whole numbers */
    double matrix[9];
    int64 image;       /* -1: the row is invalid */
    int rows, columns; /* samples of a pixel */
} QuadView;

typedef struct {
    /* along an axis: the pixel at or before a sample, the weights of it and of the next one, and whether there is a
     * next one to be read */
    int low;
    float weight[2];
    bool next;
} QuadPlace;

typedef struct {
    /* an image: its size, what lies outside of it, and whether a sample is the nearest pixel */
    int height, width, border;
    bool nearest;
} QuadMap;

/* How many samples a pixel has where `pixels` of them show two sides of a quadrangle. */
GEOMETRY int quad_samples(double dx, double dy, double other_dx, double other_dy, int pixels) {
    const double side = sqrt(dx * dx + dy * dy), other = sqrt(other_dx * other_dx + other_dy * other_dy);
    return clipped(ceil((side > other ? side : other) / pixels - QUAD_SLACK), 1, QUAD_SAMPLES);
}

/* `corners` are x and y of what becomes top left, top right, bottom right and bottom left of a crop of rows x columns
 * pixels; of three corners in a line there is no view, and the numbers are some or none. */
GEOMETRY QuadView quad_view(const double *corners, int64 image, int64 images, int rows, int columns,
                            int sampling_ratio) {
    QuadView view = {{0, 0, 0, 0, 0, 0, 0, 0, 0}, -1, 1, 1};
    for (int i = 0; i < 8; i++)
        if (!isfinite(corners[i]))
            return view;
    if (image < 0 || image >= images)
        return view;
    view.image = image;
    const double *const p = corners, *const q = corners + 2, *const r = corners + 4, *const s = corners + 6;
    const double skew_x = p[0] - q[0] + r[0] - s[0], skew_y = p[1] - q[1] + r[1] - s[1];
    double g = 0, h = 0;
    if (skew_x != 0 || skew_y != 0) {
        const double right_x = q[0] - r[0], right_y = q[1] - r[1], low_x = s[0] - r[0], low_y = s[1] - r[1];
        const double determinant = right_x * low_y - low_x * right_y;
        g = (skew_x * low_y - low_x * skew_y) / determinant;
        h = (right_x * skew_y - skew_x * right_y) / determinant;
    }
    for (int axis = 0; axis < 2; axis++) {
        view.matrix[3 * axis] = (q[axis] - p[axis] + g * q[axis]) / columns;
        view.matrix[3 * axis + 1] = (s[axis] - p[axis] + h * s[axis]) / rows;
        view.matrix[3 * axis + 2] = p[axis];
    }
    view.matrix[6] = g / columns;
    view.matrix[7] = h / rows;
    view.matrix[8] = 1;
    for (int i = 0; i < 6; i++)
        view.matrix[i] -= 0.5 * view.matrix[6 + i % 3];
    view.rows = view.columns = sampling_ratio;
    if (sampling_ratio == 0) {
        view.rows = quad_samples(s[0] - p[0], s[1] - p[1], r[0] - q[0], r[1] - q[1], rows);
        view.columns = quad_samples(q[0] - p[0], q[1] - p[1], r[0] - s[0], r[1] - s[1], columns);
    }
    return view;
}

/* Where samples so far `down` in the crop, and so far behind the middle of each column, begin along one of x, y and
 * their divisor. */
GEOMETRY float quad_row(const double *numbers, double down, double across) {
    return (float)(numbers[1] * down + numbers[2] + numbers[0] * across);
}

/* A position along an axis of `length` pixels, seen or behind the horizon. */
GEOMETRY QuadPlace quad_between(float at, bool seen, int length, int border, bool nearest) {
    QuadPlace place = {0, {0, 0}, false};
    const float last = (float)(length - 1);
    if (nearest)
        at = floorf(at + 0.5f);
    if (border == EDGE)
        at = at > 0 ? (at < last ? at : last) : 0;
    else if (border == CONSTANT)
        seen = seen && at > -1 && at < (float)length;
    else
        seen = seen && at >= 0 && at <= last;
    if (!seen)
        return place;
    /* the last pixel of a long axis may be rounded to a float past the end, and past what an int holds */
    const int low = at < last ? (int)floorf(at) : length - 1;
    const float fraction = at - (float)low;
    place.low = low < 0 ? 0 : low;
    place.weight[0] = low >= 0 ? 1 - fraction : 0;
    place.weight[1] = low < length - 1 ? fraction : 0;
    place.next = low >= 0 && low < length - 1;
    return place;
}

/* Between which pixels of the map sample `number` of pixel (p, q) lies; returns what part of it lies outside. */
GEOMETRY float quad_sample(const QuadView *view, int number, int p, int q, QuadMap map, QuadPlace *y,
                           QuadPlace *x) {
    const double *const matrix = view->matrix;
    const double down = p + (number / view->columns + 0.5) / view->rows, middle = q + 0.5,
                 across = (number % view->columns + 0.5) / view->columns - 0.5;
    const float w = quad_row(matrix + 6, down, across) + (float)(matrix[6] * middle), part = 1 / w;
    const float at_y = (quad_row(matrix + 3, down, across) + (float)(matrix[3] * middle)) * part;
    const float at_x = (quad_row(matrix, down, across) + (float)(matrix[0] * middle)) * part;
    *y = quad_between(at_y, w > 0, map.height, map.border, map.nearest);
    *x = quad_between(at_x, w > 0, map.width, map.border, map.nearest);
    return 1 - (y->weight[0] + y->weight[1]) * (x->weight[0] + x->weight[1]);
}

/* What row p of a crop reads of the map. */
GEOMETRY Window quad_window(const QuadView *view, int p, int columns, QuadMap map) {
    Window read = {0, 0, 0, 0};
    const int samples = view->image < 0 ? 0 : view->rows * view->columns;
    for (int q = 0; q < columns; q++)
        for (int number = 0; number < samples; number++) {
            QuadPlace y, x;
            if (quad_sample(view, number, p, q, map, &y, &x) == 1)
                continue;
            const int bottom = y.low + 1 + (y.next && !map.nearest),
                      right = x.low + 1 + (x.next && !map.nearest);
            const bool none = read.bottom == read.top;
            read.top = none || y.low < read.top ? y.low : read.top;
            read.left = none || x.low < read.left ? x.low : read.left;
            read.bottom = bottom > read.bottom ? bottom : read.bottom;
            read.right = right > read.right ? right : read.right;
        }
    return read;
}

#endif
