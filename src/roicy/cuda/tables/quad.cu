/* Finds the views of quadrangles; a thread takes one. */
#include "tables/quad.cuh"

KERNEL __launch_bounds__(THREADS) quad_views(const Quads quads, QuadView *views) {
    for (int64 k = blockIdx.x * (int64)THREADS + threadIdx.x; k < quads.count;
         k += gridDim.x * (int64)THREADS)
        views[k] = quad_view(quads.corners + 8 * k, quads.image[k], quads.images, quads.rows, quads.columns,
                             quads.sampling_ratio);
}
