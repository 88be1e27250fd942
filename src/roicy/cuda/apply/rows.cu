/* Normalise rows to unit length, or sums of rows, and the gradient of that; a block takes a row. Lengths are in double,
 * where squares do not overflow. Rows are STORED, what a kernel is for is RESULT, and what it works with REAL: at least
 * one of both is as well. */
#include "lanes/reduce.cuh"

/* What a row is divided by: its length, or eps where it is shorter; a NaN stays one. */
INLINE double divisor_of(double length, double eps) { return length <= eps ? eps : length; }

/* units = row / max(length, eps), also as `out` where that is of another type, and the length. `units` may be the row. */
template <class T>
INLINE void normalise(const T *row, int64 columns, double eps, REAL *units, double *length, RESULT *out) {
    __shared__ double room[THREADS], divisor;
    double sum = 0;
    for (int64 i = threadIdx.x; i < columns; i += THREADS) {
        const double value = (double)real_of(row[i]);
        sum = fma(value, value, sum);
    }
    sum = sum_by_halves(sum, room);
    if (threadIdx.x == 0) {
        *length = sqrt(sum);
        divisor = divisor_of(*length, eps);
    }
    __syncthreads();
    for (int64 i = threadIdx.x; i < columns; i += THREADS) {
        const REAL unit = (REAL)((double)real_of(row[i]) / divisor);
        units[i] = unit;
        if constexpr (sizeof(RESULT) != sizeof(REAL))
            out[i] = rounded_to<RESULT>(unit);
    }
}

/* The sum of items that are `step` apart, one after the other. */
INLINE REAL sum_of(const STORED *first, int64 terms, int64 step) {
    REAL sum = 0;
#pragma unroll 8 /* reads that do not wait for each other */
    for (int64 t = 0; t < terms; t++)
        sum += real_of(first[t * step]);
    return sum;
}

/* units = rows / max(length, eps), and the lengths. */
KERNEL __launch_bounds__(THREADS, 4) unit(const STORED *rows, int64 count, int64 columns, double eps,
                                          REAL *units, double *lengths, RESULT *out) {
    for (int64 k = blockIdx.x; k < count; k += gridDim.x)
        normalise(rows + k * columns, columns, eps, units + k * columns, lengths + k, out + k * columns);
}

/* The same of sums, each of so many rows, or `terms`, that follow each other. */
KERNEL __launch_bounds__(THREADS, 4) unit_sum(const STORED *rows, int64 count, int64 columns, double eps,
                                              REAL *units, double *lengths, RESULT *out, int64 terms) {
    for (int64 k = blockIdx.x; k < count; k += gridDim.x) {
        REAL *sums = units + k * columns; /* a thread reads what it has written itself */
        for (int64 i = threadIdx.x; i < columns; i += THREADS)
            sums[i] = sum_of(rows + k * terms * columns + i, terms, columns);
        normalise(sums, columns, eps, sums, lengths + k, out + k * columns);
    }
}

/* Sums of very many rows, in pieces that are to be added in their order, as on the CPU. Of each group of rows, those of
 * TERMS rows come first, then that of the rows that are left, then the last rows of the group as they are.
 *
 *     terms                          kept          a group of terms + kept rows
 *     TERMS   TERMS   TERMS   rest   row   row     becomes one of terms / TERMS + 1 + kept */
KERNEL __launch_bounds__(THREADS)
    sum_pieces(const STORED *rows, int64 groups, int64 columns, int64 terms, int64 kept, REAL *sums) {
    const int64 whole = terms / TERMS, pieces = whole + 1 + kept;
    for (int64 k = blockIdx.x; k < groups * pieces; k += gridDim.x) {
        const int64 group = k / pieces, piece = k - group * pieces;
        const int64 begin = piece <= whole ? piece * TERMS : terms + piece - whole - 1;
        const int64 length = piece < whole ? TERMS : piece == whole ? terms - begin : 1;
        const STORED *first = rows + (group * (terms + kept) + begin) * columns;
        for (int64 i = threadIdx.x; i < columns; i += THREADS)
            sums[k * columns + i] = sum_of(first + i, length, columns);
    }
}

/* The adjoint: the gradient of a unit without its component along the unit, unless the row was divided by eps, a
 * constant. `share` rows that follow each other have the same gradient. */
KERNEL __launch_bounds__(THREADS)
    unit_backward(const STORED *grad, int64 count, int64 columns, double eps, const REAL *units,
                  const double *lengths, RESULT *out, int64 share) {
    __shared__ double room[THREADS], along;
    for (int64 k = blockIdx.x; k < count; k += gridDim.x) {
        const int64 first = k * columns, from = k / share * columns;
        double sum = 0;
        for (int64 i = threadIdx.x; i < columns; i += THREADS)
            sum = fma((double)real_of(grad[from + i]), (double)units[first + i], sum);
        sum = sum_by_halves(sum, room);
        if (threadIdx.x == 0)
            along = lengths[k] > eps ? sum : 0;
        __syncthreads();
        const double divisor = divisor_of(lengths[k], eps);
        for (int64 i = threadIdx.x; i < columns; i += THREADS) {
            const double rest = (double)real_of(grad[from + i]) - along * (double)units[first + i];
            out[first + i] = rounded_to<RESULT>((REAL)(rest / divisor));
        }
    }
}
