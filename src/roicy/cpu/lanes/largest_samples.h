/* Maxima over bilinear samples, and their gradients. */
#ifndef ROICY_LARGEST_SAMPLES_H
#define ROICY_LARGEST_SAMPLES_H

#include "long_sums.h"
#include "maxima.h"

/* The samples of a bin along one axis: their numbers, and the pixels around them. */
typedef struct {
    int count;
    int32_t total; /* those that miss the map counted, too */
    const int32_t *number, *low, *high;
    const real *low_weight, *high_weight;
    const int8_t *flat; /* whether the value there does not follow the position */
} sample_axis;

enum { SAMPLE_ROWS = 4 };

/* One row of samples before its columns: two rows of the window, blended, or under the rule of ONNX weighted
 * and the larger of the two. */
ROICY_NOINLINE void pass_sample_row(const lanes *low, const lanes *high, real low_weight, real high_weight,
                                    int by_corner, ptrdiff_t count, lanes *target) {
    if (by_corner)
        for (ptrdiff_t i = 0; i < count; i++)
            target[i] = lanes_greater(lanes_scale(high_weight, high[i]), lanes_scale(low_weight, low[i]));
    else
        for (ptrdiff_t i = 0; i < count; i++)
            target[i] = lanes_madd(high_weight, high[i], lanes_scale(low_weight, low[i]));
}

ROICY_INLINE void samples_as(const lane_rows blended, const int rows, const sample_axis x,
                             const lane_int *first, const int by_corner, const maxima bin) {
    lanes best = *bin.value;
    lane_ints argmax;
    if (bin.argmax)
        argmax = *bin.argmax;
    else
        argmax = ints_fill(0);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < x.count; i++) {
            const lanes *const pixel = blended.first + r * (blended.stride * blended.depth);
            const lanes left = pixel[(ptrdiff_t)x.low[i] * blended.depth],
                        right = pixel[(ptrdiff_t)x.high[i] * blended.depth];
            const lanes value =
                by_corner
                    ? lanes_greater(lanes_scale(x.high_weight[i], right), lanes_scale(x.low_weight[i], left))
                    : lanes_madd(x.high_weight[i], right, lanes_scale(x.low_weight[i], left));
            if (bin.argmax)
                lanes_take(value, ints_fill(first[r] + x.number[i]), &best, &argmax);
            else
                best = lanes_greater(value, best);
        }
    *bin.value = best;
    if (bin.argmax)
        *bin.argmax = argmax;
}

/* A bin's samples on `rows` of their rows, joining the largest so far. `first` holds the indices that the
 * samples of each row begin with. */
ROICY_NOINLINE void pass_samples(const lane_rows *blended, int rows, const sample_axis *columns,
                                 const lane_int *first, int by_corner, const maxima *bin) {
    const maxima value = {bin->value, NULL};
    const lane_rows from = *blended;
    const sample_axis x = *columns;
    if (by_corner)
        samples_as(from, rows, x, first, 1, value);
    else if (bin->argmax)
        samples_as(from, rows, x, first, 0, *bin);
    else
        samples_as(from, rows, x, first, 0, value);
}

/* ---- the way back from a sample ---- */

/* x in the lanes whose argmax is this index, zeros in the others */
ROICY_INLINE lanes lanes_chosen(lanes x, lane_ints argmax, lane_int here) {
#if defined(__GNUC__)
    return (lanes)((argmax == ints_fill(here)) & (lane_ints)x);
#else
    ROICY_EACH(l) x.lane[l] = argmax.lane[l] == here ? x.lane[l] : 0;
    return x;
#endif
}

/* Where samples send their gradient: the rows top to bottom of a RoI's window. What the sums lose is kept
 * where `lost` is not NULL. */
typedef struct {
    lanes *tile, *lost; /* the first pixel of the window's first row */
    ptrdiff_t top, bottom, columns;
} chosen_pixels;

ROICY_INLINE void chosen_as(const lanes *gradient, const lane_ints *argmax, const sample_axis *y,
                            const sample_axis *x, const chosen_pixels *to, const int keeps) {
    const lanes all = *gradient;
    const lane_ints at = *argmax;
    for (int j = 0; j < y->count; j++)
        for (int high = 0; high < 2; high++) {
            const ptrdiff_t row = high ? y->high[j] : y->low[j];
            const lanes weighted = lanes_scale(high ? y->high_weight[j] : y->low_weight[j], all);
            lanes *pixels = to->tile + row * to->columns, *lost = keeps ? to->lost + row * to->columns : NULL;
            if (row < to->top || row >= to->bottom)
                continue;
            for (int i = 0; i < x->count; i++) {
                const int64_t here = y->number[j] * (int64_t)x->total + x->number[i];
                const int before = x->low[i], after = x->high[i];
                if (here > INT32_MAX) /* which no index can name */
                    continue;
                const lanes part = lanes_chosen(weighted, at, (lane_int)here);
                const lanes left = lanes_scale(x->low_weight[i], part);
                const lanes right = lanes_scale(x->high_weight[i], part);
                pixels[before] = keeps ? lanes_join(left, pixels[before], lost + before)
                                       : lanes_madd(1, left, pixels[before]);
                pixels[after] = keeps ? lanes_join(right, pixels[after], lost + after)
                                      : lanes_madd(1, right, pixels[after]);
            }
        }
}

/* Each sample of a bin sends the lanes of `gradient` that chose it to the four pixels around it. The zeros of
 * the other lanes change nothing. */
ROICY_NOINLINE void pass_chosen(const lanes *gradient, const lane_ints *argmax, const sample_axis *y,
                                const sample_axis *x, const chosen_pixels *to) {
    if (to->lost)
        chosen_as(gradient, argmax, y, x, to, 1);
    else
        chosen_as(gradient, argmax, y, x, to, 0);
}

/* How far a sample moves with the first coordinate of the box along an axis, and with the second. */
typedef struct {
    real first, second;
} sample_share;

/* The lanes of a bin that chose one of its samples, times the slopes there of the value along y and x,
 * joining the slopes of the box's x1, y1, x2, y2. A sample moves with the second coordinate of an axis by its
 * share, with the first one by the rest. `row` holds the window's rows. */
ROICY_NOINLINE void pass_chosen_slopes(const lanes *gradient, const lane_ints *argmax, const char *const *row,
                                       const sample_axis *y, const sample_axis *x,
                                       const sample_share *y_share, const sample_share *x_share,
                                       lanes *slopes) {
    const lanes all = *gradient;
    const lane_ints at = *argmax;
    for (int j = 0; j < y->count; j++) {
        const lanes *top = (const lanes *)row[y->low[j]], *bottom = (const lanes *)row[y->high[j]];
        for (int i = 0; i < x->count; i++) {
            const int64_t number = y->number[j] * (int64_t)x->total + x->number[i];
            const lane_int here = (lane_int)number;
            if (number > INT32_MAX) /* which no index can name */
                continue;
            const lanes top_left = top[x->low[i]], top_right = top[x->high[i]];
            const lanes bottom_left = bottom[x->low[i]], bottom_right = bottom[x->high[i]];
            const real left = x->low_weight[i], right = x->high_weight[i];
            const real upper = y->low_weight[j], lower = y->high_weight[j];
            if (!y->flat[j]) {
                lanes above = lanes_madd(right, top_right, lanes_scale(left, top_left));
                lanes below = lanes_madd(right, bottom_right, lanes_scale(left, bottom_left));
                lanes slope = lanes_multiply_add(all, lanes_madd(-1, above, below), lanes_zero());
                slope = lanes_chosen(slope, at, here);
                slopes[1] = lanes_madd(y_share[j].first, slope, slopes[1]);
                slopes[3] = lanes_madd(y_share[j].second, slope, slopes[3]);
            }
            if (!x->flat[i]) {
                lanes before = lanes_madd(lower, bottom_left, lanes_scale(upper, top_left));
                lanes behind = lanes_madd(lower, bottom_right, lanes_scale(upper, top_right));
                lanes slope = lanes_multiply_add(all, lanes_madd(-1, before, behind), lanes_zero());
                slope = lanes_chosen(slope, at, here);
                slopes[0] = lanes_madd(x_share[i].first, slope, slopes[0]);
                slopes[2] = lanes_madd(x_share[i].second, slope, slopes[2]);
            }
        }
    }
}

#endif
