/* Finish sums. A thread takes a bin of a channel. Of averages: add fill for the part outside of the map, normalise,
 * and round to the result's type. As in cpu/lanes/finish.h:
 *
 *     (value + fill * outside - mean) * scale
 */
#include "apply/numbers.cuh"
#include "lanes/whole.cuh"
#include "tables/axis.cuh"

struct Finish {
    const REAL *down,
        *across; /* the weights of what lies outside, of rows and of columns; null: of no value */
    int64 channels;
    Finishing numbers;
};

#ifdef INTEGER
INLINE RESULT finished(REAL value) { return whole_of<RESULT>(value, INTEGER_LEAST, INTEGER_MOST); }
#else
INLINE RESULT finished(REAL value) { return rounded_to<RESULT>(value); }
#endif

KERNEL __launch_bounds__(THREADS)
    finish(VIEW(const REAL, sums), VIEW(RESULT, out), const Axes axes, const Finish given) {
    const int64 *__restrict__ image = axes.rois.image;
    const int rows = axes.rois.rows, columns = axes.rois.columns;
    const int64 count = axes.rois.count * given.channels * rows * columns;
    for (int64 i = blockIdx.x * (int64)THREADS + threadIdx.x; i < count; i += gridDim.x * (int64)THREADS) {
        /* in the order of what is read, of which channels or columns come last */
        const bool last = sums_step.c == 1;
        const int64 inner = last ? given.channels : columns;
        const int64 c = last ? i % inner : i / columns / rows % given.channels;
        const int q = (int)(last ? i / inner % columns : i % columns);
        const int p = (int)(last ? i / inner / columns % rows : i / columns % rows);
        const int64 k = i / given.channels / rows / columns;
        if (image[k] == ELSEWHERE)
            continue;
        REAL value = sums[AT(sums, k, c, p, q)];
        if (given.numbers.any) {
            if (given.down) {
                const REAL down = given.down[k * rows + p], across = given.across[k * columns + q];
                const REAL outside = madd(1 - down, across, down);
                if (outside != 0)
                    value = madd(fill_of(given.numbers, c), outside, value);
            }
            value = (value - mean_of(given.numbers, c)) * scale_of(given.numbers, c);
        }
        out[AT(out, k, c, p, q)] = finished(value);
    }
}

/* `items` sums without gaps, those of `part` being added unless that is the same array; `out` may be one of them. */
KERNEL __launch_bounds__(THREADS) add_part(const REAL *total, const REAL *part, int64 items, RESULT *out,
                                           const Strides out_step, int channels, int rows, int columns) {
    for (int64 i = blockIdx.x * (int64)THREADS + threadIdx.x; i < items; i += gridDim.x * (int64)THREADS) {
        const INDEX at = (INDEX)i, q = at % columns, line = at / columns, p = line % rows,
                    plane = line / rows;
        const INDEX c = plane % channels, k = plane / channels;
        out[AT(out, k, c, p, q)] = finished(part == total ? total[i] : total[i] + part[i]);
    }
}
