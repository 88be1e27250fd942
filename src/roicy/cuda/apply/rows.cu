/* Normalise rows to unit length, and the gradient of that; a block takes a row. Lengths are in double, where squares do
 * not overflow. */
#include "lanes/reduce.cuh"

/* What a row is divided by: its length, or eps where it is shorter; a NaN stays one. */
INLINE double divisor_of(double length, double eps) { return length <= eps ? eps : length; }

/* units = rows / max(length, eps), and the lengths. */
KERNEL __launch_bounds__(THREADS)
    unit(const REAL *rows, int64 count, int64 columns, double eps, REAL *units, double *lengths) {
    __shared__ double room[THREADS], length;
    for (int64 k = blockIdx.x; k < count; k += gridDim.x) {
        const int64 first = k * columns;
        double sum = 0;
        for (int64 i = threadIdx.x; i < columns; i += THREADS)
            sum = fma((double)rows[first + i], (double)rows[first + i], sum);
        sum = sum_by_halves(sum, room);
        if (threadIdx.x == 0)
            lengths[k] = length = sqrt(sum);
        __syncthreads();
        const double divisor = divisor_of(length, eps);
        for (int64 i = threadIdx.x; i < columns; i += THREADS)
            units[first + i] = (REAL)((double)rows[first + i] / divisor);
    }
}

/* The adjoint, in place of the gradient of the units: subtracts the component along the unit, unless the row was
 * divided by eps, a constant. */
KERNEL __launch_bounds__(THREADS) unit_backward(REAL *grad, int64 count, int64 columns, double eps,
                                                const REAL *units, const double *lengths) {
    __shared__ double room[THREADS], along;
    for (int64 k = blockIdx.x; k < count; k += gridDim.x) {
        const int64 first = k * columns;
        double sum = 0;
        for (int64 i = threadIdx.x; i < columns; i += THREADS)
            sum = fma((double)grad[first + i], (double)units[first + i], sum);
        sum = sum_by_halves(sum, room);
        if (threadIdx.x == 0)
            along = lengths[k] > eps ? sum : 0;
        __syncthreads();
        const double divisor = divisor_of(lengths[k], eps);
        for (int64 i = threadIdx.x; i < columns; i += THREADS)
            grad[first + i] = (REAL)(((double)grad[first + i] - along * (double)units[first + i]) / divisor);
    }
}
