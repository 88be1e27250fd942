/* Samples of a perspective view: where a row of them lies, and what lies outside of the map. */
#ifndef ROICY_PROJECTED_H
#define ROICY_PROJECTED_H

#include <math.h>

#include "turned.h"

/* Samples of a row that a perspective view lays on the map: x = (row_x + x[i]) / (row_w + w[i]), y alike; whatever has
 * a divisor that is not positive lies nowhere. */
typedef struct {
    const float *x, *y, *w;
    float row_x, row_y, row_w;
} projected_line;

/* What lies outside of the map, as in geometry/rois.h, and whether a sample is the nearest pixel. */
typedef struct {
    int border, nearest;
} projected_rule;

/* Of a row of samples: how far from the map's first pixel the last one is that any of them reads, in bytes, where the
 * map's steps are not negative; and whether one of them lies outside as a whole. */
typedef struct {
    int32_t reach, missing;
} projected_seen;

enum { PROJECTED_EDGE, PROJECTED_CONSTANT, PROJECTED_REJECT };

/* Whether all samples of a row lie inside of the map and read nothing of its last row. The two ends decide, since
 * positions in perspective are monotonic along a row. The margin of half a pixel is more than rounding can move a
 * sample: the bounds on the sums guarantee that. */
ROICY_INLINE int projected_inside_as_a_whole(const turned_map *map, const projected_line *line,
                                             ptrdiff_t count) {
    const double row_x = line->row_x, row_y = line->row_y, row_w = line->row_w;
    double least = INFINITY, most = 0, furthest = 0;
    for (int last = 0; last < 2; last++) {
        const ptrdiff_t i = last * (count - 1);
        const double w = row_w + line->w[i], x = (row_x + line->x[i]) / w, y = (row_y + line->y[i]) / w;
        if (!(w > 0 && y > 0.5 && y < map->height - 2.5 && x > 0.5 && x < map->width - 1.5))
            return 0;
        least = fmin(least, w);
        most = fmax(most, fabs(row_w) + fabs(line->w[i]));
        furthest = fmax(furthest, fabs(row_x) + fabs(line->x[i]));
        furthest = fmax(furthest, fabs(row_y) + fabs(line->y[i]));
    }
    return most <= 16 * least && furthest <= 65536 * least;
}

#if defined(__GNUC__) && !defined(ROICY_DOUBLE)
/* Positions along an axis: returns the pixel below, or the first one; the weights of it and of the next one, and
 * whether there are both. */
ROICY_INLINE lane_ints projected_between(lanes at, lane_ints seen, int length, projected_rule rule,
                                         lanes *weight, lane_ints *next) {
    const float size = (float)length, last = (float)(length - 1);
    if (rule.nearest) {
        at += 0.5f;
        lane_ints whole = __builtin_convertvector(lanes_where((at > -2) & (at < size + 1), at), lane_ints);
        whole += __builtin_convertvector(whole, lanes) > at;
        at = lanes_where((at > -2) & (at < size + 1), __builtin_convertvector(whole, lanes)) +
             lanes_where(~((at > -2) & (at < size + 1)), at);
    }
    if (rule.border == PROJECTED_EDGE) {
        at = lanes_where(at > 0, at);
        const lane_ints beyond = at > last;
        at = lanes_where(~beyond, at) + lanes_where(beyond, lanes_fill(last));
    } else if (rule.border == PROJECTED_CONSTANT)
        seen &= (at > -1) & (at < size);
    else
        seen &= (at >= 0) & (at <= last);
    at = lanes_where(seen, at);
    /* the last pixel of a long axis may be rounded to a float past the end, and past what an int holds */
    const lane_ints before = at < last;
    const lanes inner = lanes_where(before, at);
    lane_ints low = __builtin_convertvector(inner, lane_ints);
    low += __builtin_convertvector(low, lanes) > inner; /* a mask is -1 */
    low = (low & before) | ((length - 1) & ~before);
    const lane_ints is_pixel = low >= 0, has_next = low < length - 1;
    const lanes fraction = at - __builtin_convertvector(low, lanes);
    weight[0] = lanes_where(seen & is_pixel, 1 - fraction);
    weight[1] = lanes_where(seen & has_next, fraction);
    *next = is_pixel & has_next;
    return low & is_pixel;
}

/* Turns pixels of the map into pixels of a part of it, which has `length`; those that are not read lie on any. */
ROICY_INLINE lane_ints projected_part(lane_ints pixel, int begin, int length, lane_ints *next) {
    pixel -= begin;
    pixel &= pixel >= 0;
    const lane_ints has_next = pixel < length - 1;
    *next &= has_next;
    return (pixel & has_next) | ((length - 1) & ~has_next);
}

/* Whether all of some numbers are more than 0 and less than `end`. */
ROICY_INLINE int projected_within(lanes x, float end) {
#if defined(__AVX512F__)
    const __mmask16 positive = _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mask_cmp_ps_mask(positive, (__m512)x, _mm512_set1_ps(end), _CMP_LT_OQ) == 0xffff;
#else
    const lane_ints within = (x > 0) & (x < end);
#if defined(__AVX__)
    return _mm256_movemask_ps((__m256)within) == 0xff;
#elif defined(ROICY_X86)
    return _mm_movemask_ps((__m128)within) == 0xf;
#else
    lane_int all = -1;
    ROICY_EACH(l) all &= within[l];
    return all;
#endif
#endif
}

/* Samples from the i-th on: where the pixel of each lies, what is added for the one below it and the one to its
 * right, and what the rows and columns count. Returns what part of each lies outside. */
ROICY_INLINE lanes projected_put(const lane_ints place[3], const lanes down[2], const lanes across[2],
                                 ptrdiff_t i, const turned_samples *to) {
    const lanes outside = 1 - (down[0] + down[1]) * (across[0] + across[1]);
    memcpy(to->offset + i, place, sizeof *place);
    memcpy(to->down + i, place + 1, sizeof *place);
    memcpy(to->right + i, place + 2, sizeof *place);
    memcpy(to->outside + i, &outside, sizeof outside);
    for (int corner = 0; corner < 4; corner++) {
        const lanes weight = down[corner >> 1] * across[corner & 1];
        memcpy(to->weight[corner] + i, &weight, sizeof weight);
    }
    return outside;
}

/* Samples that all lie between the first and the last pixels, where no border is near: returns their offsets. */
ROICY_INLINE lane_ints projected_inside(lanes y, lanes x, int32_t row, int32_t column, ptrdiff_t i,
                                        const turned_samples *to) {
    const lane_ints pixel_y = __builtin_convertvector(y, lane_ints),
                    pixel_x = __builtin_convertvector(x, lane_ints);
    const lanes part_y = y - __builtin_convertvector(pixel_y, lanes),
                part_x = x - __builtin_convertvector(pixel_x, lanes);
    const lanes down[2] = {1 - part_y, part_y}, across[2] = {1 - part_x, part_x};
    const lane_ints place[3] = {pixel_y * row + pixel_x * column, row - (lane_ints){0},
                                column - (lane_ints){0}};
    projected_put(place, down, across, i, to);
    return place[0];
}

/* Where `count` samples lie, and what part of each lies outside; there is room for whole vectors, all of which are
 * filled. */
ROICY_NOINLINE projected_seen projected_places(const turned_map *map, const projected_line *line,
                                               projected_rule rule, ptrdiff_t count,
                                               const turned_samples *to) {
    const int32_t row = (int32_t)map->row, column = (int32_t)map->column;
    const int plain = !rule.nearest && !map->parted;
    const float bottom = (float)(map->height - 1), end = (float)(map->width - 1);
    projected_seen seen_of_row = {0, 0};
    lane_ints reach = {0}, missing = {0};
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const lanes w = line->row_w + lanes_load_own((const char *)(line->w + i)), part = 1 / w;
        const lanes x = (line->row_x + lanes_load_own((const char *)(line->x + i))) * part;
        const lanes y = (line->row_y + lanes_load_own((const char *)(line->y + i))) * part;
        if (plain && projected_within(w, INFINITY) && projected_within(y, bottom) &&
            projected_within(x, end)) {
            const lane_ints last = projected_inside(y, x, row, column, i, to) + (row + column),
                            further = last > reach;
            reach = (last & further) | (reach & ~further);
            continue;
        }
        const lane_ints seen = w > 0;
        lanes down[2], across[2];
        lane_ints below, right;
        lane_ints pixel_y = projected_between(y, seen, map->height, rule, down, &below);
        lane_ints pixel_x = projected_between(x, seen, map->width, rule, across, &right);
        if (map->parted) {
            pixel_y = projected_part(pixel_y, map->top, map->rows, &below);
            pixel_x = projected_part(pixel_x, map->left, map->columns, &right);
        }
        const lane_ints place[3] = {pixel_y * row + pixel_x * column, below & row, right & column};
        const lane_ints last = place[0] + place[1] + place[2], further = last > reach;
        reach = (last & further) | (reach & ~further);
        missing |= projected_put(place, down, across, i, to) == 1;
    }
    for (int l = 0; l < LANES; l++) {
        seen_of_row.reach = reach[l] > seen_of_row.reach ? reach[l] : seen_of_row.reach;
        seen_of_row.missing |= missing[l];
    }
    return seen_of_row;
}
#else
ROICY_INLINE int projected_between(float at, int seen, int length, projected_rule rule, float *weight,
                                   int *next) {
    const float last = (float)(length - 1);
    if (rule.nearest)
        at = floorf(at + 0.5f);
    if (rule.border == PROJECTED_EDGE)
        at = at > 0 ? (at < last ? at : last) : 0;
    else if (rule.border == PROJECTED_CONSTANT)
        seen = seen && at > -1 && at < (float)length;
    else
        seen = seen && at >= 0 && at <= last;
    const int low = !seen ? 0 : at < last ? (int)floorf(at) : length - 1; /* as above */
    const float fraction = seen ? at - (float)low : 0;
    weight[0] = seen && low >= 0 ? 1 - fraction : 0;
    weight[1] = seen && low < length - 1 ? fraction : 0;
    *next = low >= 0 && low < length - 1;
    return low < 0 ? 0 : low;
}

ROICY_INLINE int projected_part(int pixel, int begin, int length, int *next) {
    pixel = pixel > begin ? pixel - begin : 0;
    *next = *next && pixel < length - 1;
    return pixel < length - 1 ? pixel : length - 1;
}

ROICY_NOINLINE projected_seen projected_places(const turned_map *map, const projected_line *line,
                                               projected_rule rule, ptrdiff_t count,
                                               const turned_samples *to) {
    projected_seen seen = {0, 0};
    for (ptrdiff_t i = 0; i < count; i++) {
        const float w = line->row_w + line->w[i], part = 1 / w;
        float down[2], across[2];
        int below, right;
        int y = projected_between((line->row_y + line->y[i]) * part, w > 0, map->height, rule, down, &below);
        int x = projected_between((line->row_x + line->x[i]) * part, w > 0, map->width, rule, across, &right);
        if (map->parted) {
            y = projected_part(y, map->top, map->rows, &below);
            x = projected_part(x, map->left, map->columns, &right);
        }
        to->offset[i] = (int32_t)(y * map->row + x * map->column);
        to->down[i] = below ? (int32_t)map->row : 0;
        to->right[i] = right ? (int32_t)map->column : 0;
        to->outside[i] = 1 - (down[0] + down[1]) * (across[0] + across[1]);
        for (int corner = 0; corner < 4; corner++)
            to->weight[corner][i] = down[corner >> 1] * across[corner & 1];
        const int32_t last = to->offset[i] + to->right[i] + to->down[i];
        seen.reach = last > seen.reach ? last : seen.reach;
        seen.missing |= to->outside[i] == 1;
    }
    return seen;
}
#endif

/* Samples that lie outside as a whole have read a pixel without weight, which may be no number: their sums, `step`
 * floats each, are zero. */
ROICY_NOINLINE void projected_clear(const float *outside, ptrdiff_t count, int step, float *sums) {
    for (ptrdiff_t i = 0; i < count; i++)
        if (outside[i] == 1)
            memset(sums + step * i, 0, (size_t)step * sizeof(float));
}

/* Pixels that samples of the nearest one are, `step` floats each: no other one counts, not even without weight. */
ROICY_INLINE void projected_pick_of(const turned_map *from, const turned_samples *samples, ptrdiff_t count,
                                    float *sums, int step, const int dtype) {
    const turned_map map = *from;
    for (ptrdiff_t i = 0; i < count; i++) {
        const char *const own = map.source + samples->offset[i];
        const quad pixel = map.together ? quad_together(own, dtype) : quad_apart(own, &map, dtype);
        memcpy(sums + step * i, &pixel, sizeof pixel);
    }
}

ROICY_NOINLINE void projected_pick(const turned_map *map, const turned_samples *samples, ptrdiff_t count,
                                   float *sums, int step) {
    ROICY_READ_AS(map->dtype, projected_pick_of, map, samples, count, sums, step);
}

/* Adds a row of samples, QUAD floats each, to the sums of its pixels, or begins them with it. */
ROICY_NOINLINE void projected_add(const float *part, const float *missing, ptrdiff_t count, float *sums,
                                  float *outside, int first) {
    for (ptrdiff_t i = 0; i < QUAD * count; i++)
        sums[i] = part[i] + (first ? 0 : sums[i]);
    for (ptrdiff_t i = 0; i < count; i++)
        outside[i] = missing[i] + (first ? 0 : outside[i]);
}

/* Add the sums of some samples to those of others, or start with them: one long sum would lose digits. */
ROICY_NOINLINE void projected_join(const float *sums, const float *outside, ptrdiff_t count, double *totals,
                                   int first) {
    for (ptrdiff_t i = 0; i < QUAD * count; i++)
        totals[i] = sums[i] + (first ? 0 : totals[i]);
    totals += QUAD * count;
    for (ptrdiff_t i = 0; i < count; i++)
        totals[i] = outside[i] + (first ? 0 : totals[i]);
}

/* What has been joined. */
ROICY_NOINLINE void projected_joined(const double *totals, ptrdiff_t count, float *sums, float *outside) {
    for (ptrdiff_t i = 0; i < QUAD * count; i++)
        sums[i] = (float)totals[i];
    totals += QUAD * count;
    for (ptrdiff_t i = 0; i < count; i++)
        outside[i] = (float)totals[i];
}

/* Means from sums: multiply each by `share`, one over the number of samples. */
ROICY_NOINLINE void projected_share(float share, ptrdiff_t count, float *sums, float *outside) {
    for (ptrdiff_t i = 0; i < QUAD * count; i++)
        sums[i] *= share;
    for (ptrdiff_t i = 0; i < count; i++)
        outside[i] *= share;
}

/* Finish sums, QUAD numbers each: (sum + outside * fill - mean) * scale. */
typedef struct {
    float fill[QUAD], mean[QUAD], scale[QUAD];
} turned_finish;

ROICY_NOINLINE void turned_finished(const turned_finish *of, const float *outside, ptrdiff_t count,
                                    float *sums) {
    quad fill, mean, scale;
    memcpy(&fill, of->fill, sizeof fill);
    memcpy(&mean, of->mean, sizeof mean);
    memcpy(&scale, of->scale, sizeof scale);
    for (ptrdiff_t i = 0; i < count; i++) {
        quad sum;
        memcpy(&sum, sums + QUAD * i, sizeof sum);
#if defined(__GNUC__)
        sum = (quad_add(outside[i], fill, sum) - mean) * scale;
#else
        for (int c = 0; c < QUAD; c++)
            sum.channel[c] = (sum.channel[c] + outside[i] * of->fill[c] - of->mean[c]) * of->scale[c];
#endif
        memcpy(sums + QUAD * i, &sum, sizeof sum);
    }
}

#endif
