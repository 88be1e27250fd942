/* Finish a value before it is stored: add fill for the part outside of the map, then normalise.
 *
 *     (value + fill * outside - mean) * scale
 *
 * `outside` is the weight of what lies outside of the map: of a bin whose row has `down` and whose column has
 * `across` of it, down + across * (1 - down). */
#ifndef ROICY_FINISH_H
#define ROICY_FINISH_H

#include "elements.h"

/* Of a call: numbers for each channel of the result, none of which is NULL. */
typedef struct {
    const real *fill, *mean, *scale;
    int filled; /* whether any fill is not 0 */
} finish;

/* Of a row of bins in one channel. */
typedef struct {
    real fill, mean, scale;
    real down;
    const real *across; /* of each column; NULL where neither the row nor a column reaches outside */
} row_finish;

ROICY_INLINE row_finish row_finish_of(const finish *of, ptrdiff_t channel, real down, const real *across) {
    row_finish row;
    row.fill = of->fill[channel];
    row.mean = of->mean[channel];
    row.scale = of->scale[channel];
    row.down = down;
    row.across = across;
    return row;
}

ROICY_INLINE real finish_outside(real down, real across) { return down + across * (1 - down); }

/* LANES columns from `q` on. */
ROICY_INLINE lanes finish_columns(lanes x, const row_finish *row, ptrdiff_t q) {
    if (row->across) {
        lanes across = lanes_load_own((const char *)(row->across + q));
        across = lanes_madd(1 - row->down, across, lanes_fill(row->down));
        x = lanes_madd(row->fill, across, x);
    }
    return lanes_scale(row->scale, lanes_less(x, lanes_fill(row->mean)));
}

/* LANES channels, from `channel` on, of a bin. The numbers of whole vectors are there. */
ROICY_INLINE lanes finish_channels(lanes x, const finish *of, ptrdiff_t channel, real outside) {
    if (outside != 0)
        x = lanes_madd(outside, lanes_load_own((const char *)(of->fill + channel)), x);
    x = lanes_less(x, lanes_load_own((const char *)(of->mean + channel)));
    return lanes_times(x, lanes_load_own((const char *)(of->scale + channel)));
}

/* One value, in double precision. */
ROICY_INLINE double finish_value(double value, const finish *of, ptrdiff_t channel, double outside) {
    return (value + outside * of->fill[channel] - of->mean[channel]) * of->scale[channel];
}

#endif
