/* Feature maps copied so that the channels of a pixel are neighbours: for kernels that read pixels here and
 * there.
 *
 *     features[n][c][pixel] ──▶ tile[channel][pixel] ──▶ out[n][pixel][c]   lanes over pixels, then channels */
#include "lanes/types.cuh"

enum { TILE = 32 };

/* Maps, and the tasks of a call: tiles of channels before those of pixels before images. */
struct Maps {
    int64 tasks, pixels;
    int channels, width;
};

KERNEL __launch_bounds__(THREADS, 4)
    channels_last(VIEW(const STORED, features), STORED *__restrict__ out, const Maps maps) {
    __shared__ STORED tile[TILE][TILE + 1];
    const int lane = threadIdx.x % TILE, row = threadIdx.x / TILE;
    const int across = (maps.channels + TILE - 1) / TILE;
    const int64 along = (maps.pixels + TILE - 1) / TILE;
    const bool joined = features_step.y == maps.width * features_step.x;
    for (int64 task = blockIdx.x; task < maps.tasks; task += gridDim.x) {
        const int64 rest = task / across, n = rest / along;
        const int first = (int)(task - rest * across) * TILE;
        const int64 begin = (rest - n * along) * TILE, pixel = begin + lane;
        if (pixel < maps.pixels) {
            const int64 y = joined ? 0 : pixel / maps.width, x = pixel - y * maps.width;
#pragma unroll
            for (int i = 0; i < TILE; i += THREADS / TILE)
                if (first + row + i < maps.channels)
                    tile[row + i][lane] = features[AT(features, n, first + row + i, y, x)];
        }
        __syncthreads();
        if (first + lane < maps.channels)
#pragma unroll
            for (int i = 0; i < TILE; i += THREADS / TILE)
                if (begin + row + i < maps.pixels)
                    out[(n * maps.pixels + begin + row + i) * maps.channels + first + lane] =
                        tile[lane][row + i];
        __syncthreads();
    }
}
