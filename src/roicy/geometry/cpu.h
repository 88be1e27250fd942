/* The geometry as C code has it: each text twice, for boxes of floats (its functions are name_f) and of doubles
 * (name_d).
 *
 * A text is C that is C++ too. It finds
 *
 *     GEOMETRY    what stands before a function
 *     BOX         numbers of a box: float or double
 *     OF(name)    the name of what depends on BOX
 *     KEPT        numbers of a box in what is kept of it: a type that holds every BOX there is
 *     int64       a type of 64 bits
 *
 * here, and in cuda/lanes/types.cuh, where a source has one kind of box. It is compiled without contraction by
 * either compiler: positions, counts and decisions are the same bits. */
#ifndef ROICY_GEOMETRY_H
#define ROICY_GEOMETRY_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GEOMETRY static inline
#define KEPT double
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
#include "geometry/samples.h"

#include "geometry/axis.h"
#undef BOX
#undef OF

#define BOX double
#define OF(name) name##_d
#include "geometry/samples.h"

#include "geometry/axis.h"
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

static inline Stretch stretch_of(bool single, Side side, int p, int rule) {
    return single ? stretch_of_f(side, p, rule) : stretch_of_d(side, p, rule);
}

static inline void add_taps(bool single, Side side, Stretch stretch, int p, Sampling sampling, Taps *taps) {
    if (single)
        add_taps_f(side, stretch, p, sampling, taps);
    else
        add_taps_d(side, stretch, p, sampling, taps);
}

#endif
