/* The product of two small matrices, for whoever has no cuBLAS.
 *
 * A block makes SIDE x SIDE numbers of it: tiles of both factors come to shared memory, one after the other
 * along the axis that is summed over, ascending. */
#include "lanes/types.cuh"

enum { SIDE = 16 };

KERNEL __launch_bounds__(SIDE *SIDE)
    product(const REAL *__restrict__ left, int64 left_y, int64 left_x, const REAL *__restrict__ right,
            int64 right_y, int64 right_x, REAL *__restrict__ out, int64 rows, int64 inner, int64 columns,
            int64 tasks) {
    __shared__ REAL a[SIDE][SIDE + 1], b[SIDE][SIDE + 1];
    const int y = threadIdx.x / SIDE, x = threadIdx.x % SIDE;
    const int64 across = (columns + SIDE - 1) / SIDE;
    for (int64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        const int64 row = task / across * SIDE + y, column = task % across * SIDE + x;
        REAL sum = 0;
        for (int64 from = 0; from < inner; from += SIDE) {
            a[y][x] = row < rows && from + x < inner ? left[row * left_y + (from + x) * left_x] : 0;
            b[y][x] =
                from + y < inner && column < columns ? right[(from + y) * right_y + column * right_x] : 0;
            __syncthreads();
            for (int i = 0; i < SIDE; i++)
                sum = madd(a[y][i], b[i][x], sum);
            __syncthreads();
        }
        if (row < rows && column < columns)
            out[row * columns + column] = sum;
    }
}
