/* Bins of one sample each: four pixels read straight from the planes (two or one at the last row or column).
 *
 * As everywhere, rows are blended before columns: first a product, then multiply-adds. */
#ifndef ROICY_LANES_LONE_H
#define ROICY_LANES_LONE_H

#include "elements.h"

/* Where the sample of a row or of a column of bins lies: bytes to its pixels, their weights, how many they
 * are. */
typedef struct {
    ptrdiff_t offset[2];
    real weight[2];
    int taps;
} lone_place;

/* The values of a box: `rows` times `columns` of them, in each of the channels. Steps are in bytes; `bin` is
 * that from the channel of one bin to that of the next. */
typedef struct {
    const lone_place *down, *across;
    int rows, columns;
    ptrdiff_t channels, channel, bin;
    ptrdiff_t to_channel, to_row, to_column;
} lone_values;

ROICY_INLINE real lone_madd(real weight, real x, real sum) {
#if defined(__AVX512F__) || (defined(__FMA__) && defined(__AVX__))
#ifdef ROICY_DOUBLE
    return _mm_cvtsd_f64(_mm_fmadd_sd(_mm_set_sd(weight), _mm_set_sd(x), _mm_set_sd(sum)));
#else
    return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(weight), _mm_set_ss(x), _mm_set_ss(sum)));
#endif
#else
    return weight * x + sum;
#endif
}

/* One bin, in each channel; `whole`: its sample takes two rows and two columns. */
ROICY_INLINE void lone_bin_as(const lone_values *of, const lone_place *down, const lone_place *across,
                              const char *source, char *target, const int whole, const int dtype,
                              const int to) {
    const int rows = whole ? 2 : down->taps, columns = whole ? 2 : across->taps;
    const ptrdiff_t step = of->channel, to_step = of->to_channel;
    const real top = down->weight[0], bottom = down->weight[1], left = across->weight[0],
               right = across->weight[1];
    const char *at = source + down->offset[0] + across->offset[0];
    const ptrdiff_t below = down->offset[1] - down->offset[0], beside = across->offset[1] - across->offset[0];
    for (ptrdiff_t c = of->channels; c > 0; c--, at += step, target += to_step) {
        real sum = 0, next;
        if (rows > 0 && columns > 0) {
            sum = top * element_load(at, dtype);
            if (rows > 1)
                sum = lone_madd(bottom, element_load(at + below, dtype), sum);
            sum *= left;
        }
        if (rows > 0 && columns > 1) {
            next = top * element_load(at + beside, dtype);
            if (rows > 1)
                next = lone_madd(bottom, element_load(at + below + beside, dtype), next);
            sum = lone_madd(right, next, sum);
        }
        element_store(sum, target, to);
    }
}

ROICY_INLINE void lone_box_as(const lone_values *values, const char *source, char *target, const int to,
                              const int dtype) {
    const lone_values of = *values;
    for (int p = 0; p < of.rows; p++, target += of.to_row)
        for (int q = 0; q < of.columns; q++, source += of.bin) {
            const lone_place down = of.down[p], across = of.across[q];
            char *const bin = target + q * of.to_column;
            if (down.taps == 2 && across.taps == 2)
                lone_bin_as(&of, &down, &across, source, bin, 1, dtype, to);
            else
                lone_bin_as(&of, &down, &across, source, bin, 0, dtype, to);
        }
}

/* From the planes of an image at `source`, of a dtype, to the bins of a box at `target`, which are of another. */
ROICY_NOINLINE void lone_box(const lone_values *values, const char *source, int dtype, char *target, int to) {
    if (dtype == OWN && to == OWN)
        lone_box_as(values, source, target, OWN, OWN);
    else
        lone_box_as(values, source, target, to, dtype);
}

#endif
