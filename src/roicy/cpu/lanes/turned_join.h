/* Copy the bytes of three planes side by side, pixel by pixel, for the pixels that the samples of a box read. A tilted
 * row of samples then needs fewer loads.
 *
 *     rows of the map, from where a box's edges cross them ── three planes ──▶ [y][x][channel] of a patch */
#ifndef ROICY_TURNED_JOIN_H
#define ROICY_TURNED_JOIN_H

#include "turned_bytes.h"

/* The first and the last sample of the first row and those of the last one, in the order of the edges between them. */
typedef struct {
    float y[4], x[4];
} turned_corners;

/* Memory of a patch of the map, `room` bytes: first two numbers for each of its rows, then the pixels. */
typedef struct {
    char *memory, *pixels;
    size_t room;
    int top, left, rows, columns;
    ptrdiff_t row;
} turned_patch;

/* JOIN_MARGIN pixels are more than what rounding moves samples by on maps of up to JOIN_LENGTH rows and columns. */
#define JOIN_MARGIN 0.125f
enum { JOIN_LENGTH = 1 << 15, JOIN_AT_ONCE = 16 };

/* Bytes of a patch with these rows and columns. */
ROICY_INLINE size_t turned_patch_bytes(ptrdiff_t rows, ptrdiff_t columns) {
    return (size_t)(rows + 4) * (size_t)(3 * (columns + 4) + 2 * (ptrdiff_t)sizeof(float)) + 4 * JOIN_AT_ONCE;
}

/* Whether to join the pixels that `samples` samples between these corners read; if so, fills `patch`. All must lie
 * inside of the map, and pixels must be few enough, compared with samples, for joining to pay. */
ROICY_INLINE int turned_joins(const turned_map *map, const turned_corners *at, double samples,
                              turned_patch *patch) {
    const float bottom = (float)map->height - 1.5f, end = (float)map->width - 1.5f;
    float top = INFINITY, low = 0, left = INFINITY, right = 0;
    double twice = 0; /* the area */
    if (!PAIRS || map->dtype != UINT8 || map->channels != 3 || map->column != 1 || map->row < 1 ||
        map->height > JOIN_LENGTH || map->width > JOIN_LENGTH)
        return 0;
    for (int i = 0; i < 4; i++) {
        const int next = (i + 1) & 3;
        if (!(at->y[i] > 0.5f && at->y[i] < bottom && at->x[i] > 0.5f && at->x[i] < end))
            return 0;
        twice += (double)at->x[i] * at->y[next] - (double)at->x[next] * at->y[i];
        top = fminf(top, at->y[i]), low = fmaxf(low, at->y[i]);
        left = fminf(left, at->x[i]), right = fmaxf(right, at->x[i]);
    }
    patch->top = (int)(top - JOIN_MARGIN), patch->rows = (int)(low + JOIN_MARGIN) + 2 - patch->top;
    patch->left = (int)(left - JOIN_MARGIN), patch->columns = (int)(right + JOIN_MARGIN) + 2 - patch->left;
    patch->row = 3 * (ptrdiff_t)patch->columns;
    patch->pixels = patch->memory + 2 * (size_t)patch->rows * sizeof(float);
    return fabs(twice) <= 4 * samples && turned_patch_bytes(patch->rows, patch->columns) <= patch->room;
}

/* Of each row of the patch, between which columns edges lie that pass the row above, it or the one below. */
ROICY_INLINE void turned_patch_spans(const turned_patch *patch, const turned_corners *at, float *low,
                                     float *high) {
    for (int y = 0; y < patch->rows; y++)
        low[y] = INFINITY, high[y] = 0;
    for (int i = 0; i < 4; i++) {
        const int next = (i + 1) & 3, down = at->y[next] >= at->y[i], from = down ? i : next,
                  to = down ? next : i;
        const float y0 = at->y[from], y1 = at->y[to], x0 = at->x[from], x1 = at->x[to];
        const float slope = y1 - y0 > JOIN_MARGIN ? (x1 - x0) / (y1 - y0) : 0;
        const int last = (int)(y1 + JOIN_MARGIN) + 1 - patch->top;
        for (int y = (int)(y0 - JOIN_MARGIN) - patch->top; y <= last; y++) {
            const float middle = (float)(patch->top + y);
            const float above = fmaxf(y0, middle - 1 - JOIN_MARGIN),
                        below = fminf(y1, middle + 1 + JOIN_MARGIN);
            const float first = slope == 0 ? x0 : x0 + (above - y0) * slope;
            const float second = slope == 0 ? x1 : x0 + (below - y0) * slope;
            low[y] = fminf(low[y], fminf(first, second));
            high[y] = fmaxf(high[y], fmaxf(first, second));
        }
    }
}

/* JOIN_AT_ONCE pixels. */
ROICY_INLINE void turned_join_some(const char *red, ptrdiff_t plane, char *target) {
#if defined(__SSSE3__) && defined(ROICY_X86)
    const __m128i r = _mm_loadu_si128((const __m128i *)red),
                  g = _mm_loadu_si128((const __m128i *)(red + plane)),
                  b = _mm_loadu_si128((const __m128i *)(red + 2 * plane));
    /* which byte of a plane comes where: -1 for none */
    const __m128i first = _mm_setr_epi8(0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5);
    const __m128i second = _mm_setr_epi8(-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1);
    const __m128i third = _mm_setr_epi8(-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1);
    const __m128i first_g = _mm_setr_epi8(-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1);
    const __m128i second_g = _mm_setr_epi8(5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10);
    const __m128i third_g = _mm_setr_epi8(-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1);
    const __m128i first_b = _mm_setr_epi8(-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1);
    const __m128i second_b = _mm_setr_epi8(-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1);
    const __m128i third_b = _mm_setr_epi8(10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15);
    const __m128i joined[3] = {
        _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(r, first), _mm_shuffle_epi8(g, first_g)),
                     _mm_shuffle_epi8(b, first_b)),
        _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(r, second), _mm_shuffle_epi8(g, second_g)),
                     _mm_shuffle_epi8(b, second_b)),
        _mm_or_si128(_mm_or_si128(_mm_shuffle_epi8(r, third), _mm_shuffle_epi8(g, third_g)),
                     _mm_shuffle_epi8(b, third_b))};
    memcpy(target, joined, sizeof joined);
#else
    for (int i = 0; i < JOIN_AT_ONCE; i++)
        for (int c = 0; c < 3; c++)
            target[3 * i + c] = red[c * plane + i];
#endif
}

/* Joins the pixels that samples between the corners read. Returns the map as if it had all of its pixels so. */
ROICY_NOINLINE turned_map turned_join(const turned_map *map, const turned_corners *at,
                                      const turned_patch *patch) {
    float *const low = (float *)patch->memory, *const high = low + patch->rows;
    turned_map joined = *map;
    joined.row = patch->row, joined.column = 3, joined.channel = 1;
    joined.source = patch->pixels - patch->top * patch->row - 3 * (ptrdiff_t)patch->left;
    turned_patch_spans(patch, at, low, high);
    for (int y = 0; y < patch->rows; y++) {
        const char *const source = map->source + (patch->top + y) * map->row;
        /* rounding may take the end of an edge a little further than its corner */
        const int begin = (int)(low[y] - JOIN_MARGIN), behind = (int)(high[y] + JOIN_MARGIN) + 2;
        const int right = patch->left + patch->columns, end = behind < right ? behind : right;
        int x = begin > patch->left ? begin : patch->left;
        for (int ahead = x; y + 4 < patch->rows && ahead < end; ahead += 64)
            for (int c = 0; c < 3; c++)
                lanes_prefetch(source + 4 * map->row + c * map->channel + ahead);
        /* what this writes behind the row comes before the row there */
        for (; x < end && x + JOIN_AT_ONCE <= map->width; x += JOIN_AT_ONCE)
            turned_join_some(source + x, map->channel,
                             patch->pixels + y * patch->row + 3 * (ptrdiff_t)(x - patch->left));
        for (; x < end; x++)
            for (int c = 0; c < 3; c++)
                patch->pixels[y * patch->row + 3 * (ptrdiff_t)(x - patch->left) + c] =
                    source[x + c * map->channel];
    }
    return joined;
}

#endif
