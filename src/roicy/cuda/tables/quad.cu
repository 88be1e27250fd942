/* Computes the views of quadrangles (a thread for each), and which pixels crops read (a thread for each row). */
#include "tables/quad.cuh"

KERNEL __launch_bounds__(THREADS) quad_views(const Quads quads, QuadView *views) {
    for (int64 k = blockIdx.x * (int64)THREADS + threadIdx.x; k < quads.count;
         k += gridDim.x * (int64)THREADS) {
        double corners[8];
#pragma unroll
        for (int i = 0; i < 8; i++)
            corners[i] = quads.double_corners ? static_cast<const double *>(quads.corners)[8 * k + i]
                                              : static_cast<const float *>(quads.corners)[8 * k + i];
        views[k] = quad_view(corners, quads.image ? quads.image[k] : 0, quads.images, quads.rows,
                             quads.columns, quads.sampling_ratio);
    }
}

/* Of each quadrangle the first row and column that are read, which come as large numbers, and those after the last,
 * which come as zeros. */
KERNEL __launch_bounds__(THREADS) quad_windows(const QuadReads reads, int *windows) {
    for (int64 i = blockIdx.x * (int64)THREADS + threadIdx.x; i < reads.count * reads.rows;
         i += gridDim.x * (int64)THREADS) {
        const int64 k = i / reads.rows;
        const QuadMap map = {reads.height, reads.width, reads.border, reads.nearest != 0};
        const Window part = quad_window(reads.views + k, (int)(i - k * reads.rows), reads.columns, map);
        if (part.bottom > part.top) {
            atomicMin(windows + 4 * k, part.top);
            atomicMin(windows + 4 * k + 1, part.left);
            atomicMax(windows + 4 * k + 2, part.bottom);
            atomicMax(windows + 4 * k + 3, part.right);
        }
    }
}
