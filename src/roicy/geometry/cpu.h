/* Includes each geometry header twice: for float boxes (functions name_f) and for double boxes (name_d).
 *
 * The headers are valid C and C++. They expect these definitions:
 *
 *     GEOMETRY    prefix of every function
 *     BOX         numbers of a box: float or double
 *     OF(name)    the name of what depends on BOX
 *     KEPT        type of stored box numbers; it holds every BOX
 *     ALIGNED     prefix of a struct whose numbers are read together
 *     int64       a type of 64 bits
 *
 * The CPU has them here, CUDA in cuda/lanes/types.cuh, where a source has one kind of box. Both compilers compile
 * without contraction, so positions, counts and decisions are the same bits. */
#ifndef ROICY_GEOMETRY_H
#define ROICY_GEOMETRY_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GEOMETRY static inline
#define KEPT double
#define ALIGNED
typedef long long int64;

typedef struct {
    /* where an axis table's taps go */
    int64 at; /* the next one */
    int32_t *pixel;
    void *weight, *start, *end; /* of doubles or of floats; slopes only where there are arrays for them */
    bool doubles;
} Lists;

GEOMETRY void put_tap(Lists *lists, int pixel, double weight, double start, double end) {
    const int64 at = lists->at++;
    lists->pixel[at] = pixel;
    if (lists->doubles)
        ((double *)lists->weight)[at] = weight;
    else
        ((float *)lists->weight)[at] = (float)weight;
    if (lists->start == NULL)
        return;
    if (lists->doubles) {
        ((double *)lists->start)[at] = start;
        ((double *)lists->end)[at] = end;
    } else {
        ((float *)lists->start)[at] = (float)start;
        ((float *)lists->end)[at] = (float)end;
    }
}

#define BOX float
#define OF(name) name##_f
#include "geometry/rois.h"
#include "geometry/samples.h"

#include "geometry/range.h"

#include "geometry/axis.h"
#include "geometry/grid.h"
#include "geometry/lone.h"
#include "geometry/paste.h"
#include "geometry/plain.h"
#include "geometry/rotated.h"

#include "geometry/quad.h"
#undef BOX
#undef OF

#define BOX double
#define OF(name) name##_d
#include "geometry/rois.h"
#include "geometry/samples.h"

#include "geometry/range.h"

#include "geometry/axis.h"
#include "geometry/grid.h"
#include "geometry/lone.h"
#include "geometry/paste.h"
#include "geometry/plain.h"
#include "geometry/rotated.h"
#undef BOX
#undef OF

/* What the tables ask, of a box of floats (`single`) or of doubles. */

/* One axis of the box x1, y1, x2, y2: 0 is x. */
static inline Side axis_side(const void *box, bool single, int axis, Sampling sampling, int bins,
                             int length) {
    const float *f = (const float *)box + axis;
    const double *d = (const double *)box + axis;
    return single ? axis_side_f(f[0], f[2], sampling, bins, length)
                  : axis_side_d(d[0], d[2], sampling, bins, length);
}

static inline Stretch stretch_of(bool single, Side side, int p, Sampling sampling) {
    return single ? stretch_of_f(side, p, sampling) : stretch_of_d(side, p, sampling);
}

static inline void add_taps(bool single, Side side, Stretch stretch, int p, Sampling sampling, Taps *taps) {
    if (single)
        add_taps_f(side, stretch, p, sampling, taps);
    else
        add_taps_d(side, stretch, p, sampling, taps);
}

static inline void plain_sides(const void *const *box, bool single, int axis, Sampling sampling, int bins,
                               int length, Sides *sides) {
    if (single)
        plain_sides_f(box, axis, sampling, bins, length, sides);
    else
        plain_sides_d(box, axis, sampling, bins, length, sides);
}

static inline void plain_reaches(bool single, const Sides *sides, Sampling sampling, Reaches *reaches) {
    if (single)
        plain_reaches_f(sides, sampling, reaches);
    else
        plain_reaches_d(sides, sampling, reaches);
}

static inline void plain_lists(bool single, const Sides *sides, const int *plain, int samples,
                               const PlainLists *lists, int64_t k) {
    if (single)
        plain_lists_f(sides, plain, samples, lists, k);
    else
        plain_lists_d(sides, plain, samples, lists, k);
}

static inline PlainSide plain_side(bool single, const Sides *sides, int side) {
    return single ? plain_side_f(sides, side) : plain_side_d(sides, side);
}

static inline void plain_singles(bool single, PlainSide side, int bins, int length, const PlainLists *lists,
                                 int64_t k) {
    if (single)
        plain_singles_f(side, bins, length, lists, k);
    else
        plain_singles_d(side, bins, length, lists, k);
}

static inline Reach plain_range_reach(bool single, Side side, int rule) {
    return single ? plain_range_reach_f(side, rule) : plain_range_reach_d(side, rule);
}

static inline int plain_range_taps(bool single, Side side, int rule, PlainTaps taps) {
    return single ? plain_range_taps_f(side, rule, taps) : plain_range_taps_d(side, rule, taps);
}

/* Of LONE boxes, whose rows are `columns` numbers and end with x1, y1, x2, y2. */
static inline void lone_bins(const void *rows, bool single, int columns, int axis, Sampling sampling,
                             int bins, int length, Lone *lone) {
    if (single)
        lone_bins_f((const float *)rows + columns - 4, columns, axis, sampling, bins, length, lone);
    else
        lone_bins_d((const double *)rows + columns - 4, columns, axis, sampling, bins, length, lone);
}

static inline int64 image_of(const void *row, bool single, int columns, bool given, int64 image,
                             int64 images) {
    return single ? image_of_f((const float *)row, columns, given, image, images)
                  : image_of_d((const double *)row, columns, given, image, images);
}

/* The first coordinate of a box along an axis: 0 is x. */
static inline double coordinate(const void *box, bool single, int axis) {
    return single ? ((const float *)box)[axis] : ((const double *)box)[axis];
}

static inline RangeSide range_side(const void *box, bool single, int axis, double spatial_scale, int bins,
                                   int length, int rule) {
    const float *f = (const float *)box + axis;
    const double *d = (const double *)box + axis;
    return single ? range_side_f(f[0], f[2], spatial_scale, bins, length, rule)
                  : range_side_d(d[0], d[2], spatial_scale, bins, length, rule);
}

static inline Range range_of(bool single, RangeSide side, int p) {
    return single ? range_of_f(side, p) : range_of_d(side, p);
}

static inline Side grid_side(const void *box, bool single, int axis, Sampling sampling, int bins,
                             int length) {
    const float *f = (const float *)box + axis;
    const double *d = (const double *)box + axis;
    return single ? grid_side_f(f[0], f[2], sampling, bins, length)
                  : grid_side_d(d[0], d[2], sampling, bins, length);
}

static inline Bin bin_of(bool single, Side side, int p, int rule) {
    return single ? bin_of_f(side, p, rule) : bin_of_d(side, p, rule);
}

static inline int64 listed_of(bool single, Bin bin, int length, int rule) {
    return single ? listed_of_f(bin, length, rule) : listed_of_d(bin, length, rule);
}

static inline Sample sample_at(bool single, Bin bin, double index, int length, int rule) {
    return single ? sample_at_f(bin, index, length, rule) : sample_at_d(bin, index, length, rule);
}

static inline Sample next_sample(bool single, Walk *walk, int length, int rule) {
    return single ? next_sample_f(walk, length, rule) : next_sample_d(walk, length, rule);
}

static inline RotatedBox rotated_box(const void *row, bool single, Sampling sampling, Turn turn, int rows,
                                     int columns) {
    return single ? rotated_box_f((const float *)row, sampling, turn, rows, columns)
                  : rotated_box_d((const double *)row, sampling, turn, rows, columns);
}

static inline RotatedBox upright_box(const void *row, bool single, Sampling sampling, int rows, int columns) {
    return single ? upright_box_f((const float *)row, sampling, rows, columns)
                  : upright_box_d((const double *)row, sampling, rows, columns);
}

static inline Point reach_of(const void *row, bool single, Sampling sampling, double gamma) {
    return single ? reach_of_f((const float *)row, sampling, gamma)
                  : reach_of_d((const double *)row, sampling, gamma);
}

static inline double number_at(const void *numbers, bool single, int64 i) {
    return single ? ((const float *)numbers)[i] : ((const double *)numbers)[i];
}

static inline bool all_finite(const void *numbers, bool single, int64 first, int64 count) {
    return single ? all_finite_f((const float *)numbers + first, count)
                  : all_finite_d((const double *)numbers + first, count);
}

/* Offset i is that along x; that along y lies `bins` numbers further. */
static inline Point moved_base(bool single, const RotatedBox *box, Point reach, const void *offsets, int64 i,
                               int64 bins, int p, int q) {
    const float *f = (const float *)offsets + i;
    const double *d = (const double *)offsets + i;
    if (single) {
        const Point offset = {f[bins], f[0]};
        return moved_base_f(box, reach, offset, p, q);
    }
    const Point offset = {d[bins], d[0]};
    return moved_base_d(box, reach, offset, p, q);
}

static inline Run run_at(bool single, const RotatedBox *box, double base, bool across) {
    return single ? run_at_f(box, (float)base, across) : run_at_d(box, base, across);
}

static inline double find_reach(bool single, RotatedBox *box, int height, int width) {
    return single ? find_reach_f(box, height, width) : find_reach_d(box, height, width);
}

static inline Run row_run(bool single, const RotatedBox *box, int p) {
    return single ? row_run_f(box, p) : row_run_d(box, p);
}

static inline Run column_run(bool single, const RotatedBox *box, int q) {
    return single ? column_run_f(box, q) : column_run_d(box, q);
}

/* One axis of the box x1, y1, x2, y2 that a mask is pasted into: 0 is x. */
static inline PasteSide paste_side(const void *box, bool single, int axis, int length, int width, int limit,
                                   int rule) {
    const float *f = (const float *)box + axis;
    const double *d = (const double *)box + axis;
    return single ? paste_side_f(f[0], f[2], length, width, limit, rule)
                  : paste_side_d(d[0], d[2], length, width, limit, rule);
}

static inline MaskPlace paste_at(bool single, PasteSide side, int index) {
    return single ? paste_at_f(side, index) : paste_at_d(side, index);
}

#endif
