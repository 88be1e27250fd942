/* Numbers that a caller hands back as where maxima were found, looked at before they are used.
 *
 * A block looks at those of one RoI. Once a call: it is compiled for offsets of any size. */
#define INDEX int64
#include "apply/argmax.cuh"

/* The least of the block's numbers, for all threads; `least` has room for one of each thread. */
INLINE int64 least_of(int64 value, int64 *least) {
    __syncthreads();
    least[threadIdx.x] = value;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half && least[threadIdx.x + half] < least[threadIdx.x])
            least[threadIdx.x] = least[threadIdx.x + half];
    }
    __syncthreads();
    return least[0];
}

/* How many samples a bin has; total: (K, PH + PW), of every bin along y and x. */
INLINE int64 samples_in(const int *total, int64 k, int p, int q, int rows, int columns) {
    const int *own = total + k * ((int64)rows + columns);
    return (int64)own[p] * own[rows + q];
}

/* Which pixels are named: bounds has the lowest and the highest one of each RoI, and then of each row of its
 * bins, (K, 1 + rows, 2); numbers that are not in 0 ... limit - 1 name none. A warp takes a row of bins. */
KERNEL __launch_bounds__(SURVEYORS, 4) reach(VIEW(const int, argmax), int64 rois, int channels, int rows,
                                             int columns, int by_channel, int64 limit, int *bounds) {
    __shared__ int64 least[SURVEYORS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    /* lanes are channels, or columns of bins and where these are few a few channels */
    const int step = by_channel ? 32 : columns < 32 ? 32 / columns : 1;
    const int first = by_channel ? lane : lane / columns;
    for (int64 k = blockIdx.x; k < rois; k += gridDim.x) {
        int *own = bounds + 2 * k * (1 + rows);
        int lowest = 0x7fffffff, highest = -1;
        for (int p = warp; p < rows; p += SURVEYORS / 32) {
            int low = 0x7fffffff, high = -1;
            for (int c = first; first < step && c < channels; c += step)
                for (int q = by_channel ? 0 : lane - first * columns; q < columns; q += by_channel ? 1 : 32) {
                    const int index = argmax[AT(argmax, k, c, p, q)];
                    if (index >= 0 && index < limit) {
                        low = min(low, index);
                        high = max(high, index);
                    }
                }
            for (int apart = 16; apart > 0; apart /= 2) {
                low = min(low, __shfl_xor_sync(~0u, low, apart));
                high = max(high, __shfl_xor_sync(~0u, high, apart));
            }
            if (lane == 0) {
                own[2 + 2 * p] = low;
                own[3 + 2 * p] = high;
            }
            lowest = min(lowest, low);
            highest = max(highest, high);
        }
        const int64 low = least_of(lowest, least), high = -least_of(-(int64)highest, least);
        if (threadIdx.x == 0) {
            own[0] = (int)low;
            own[1] = (int)high;
        }
    }
}

/* wrong[k] = the first number of RoI k that is not in -1 ... limit - 1, counted in row-major order, or -1. */
KERNEL __launch_bounds__(SURVEYORS, 4) survey(VIEW(const int, argmax), int64 rois, int channels, int rows,
                                              int columns, int by_channel, int64 limit, int64 *wrong) {
    __shared__ int64 least[SURVEYORS];
    for (int64 k = blockIdx.x; k < rois; k += gridDim.x) {
        const int64 none = 0x7fffffffffffffffLL;
        int64 own = none;
        each_item(channels, rows, columns, by_channel, [&](int c, int p, int q, int64 number) {
            const int index = argmax[AT(argmax, k, c, p, q)];
            if (index < -1 || index >= limit)
                own = min(own, number);
        });
        const int64 first = least_of(own, least);
        if (threadIdx.x == 0)
            wrong[k] = first == none ? -1 : first;
    }
}

/* The same of samples, of which each bin has its own number; RoIs of no image may hold anything. */
KERNEL __launch_bounds__(SURVEYORS, 4)
    survey_of_samples(VIEW(const int, argmax), int64 rois, int channels, int rows, int columns,
                      int by_channel, const int64 *image, const int *total, int64 *wrong) {
    __shared__ int64 least[SURVEYORS];
    for (int64 k = blockIdx.x; k < rois; k += gridDim.x) {
        const int64 none = 0x7fffffffffffffffLL;
        int64 own = none;
        if (image[k] >= 0)
            each_item(channels, rows, columns, by_channel, [&](int c, int p, int q, int64 number) {
                const int index = argmax[AT(argmax, k, c, p, q)];
                if (index < -1 || index >= samples_in(total, k, p, q, rows, columns))
                    own = min(own, number);
            });
        const int64 first = least_of(own, least);
        if (threadIdx.x == 0)
            wrong[k] = first == none ? -1 : first;
    }
}

/* found = the first RoI with a wrong number, `rois` where there is none; which one it is, what it holds and,
 * of samples, how many the bin has. One block. */
KERNEL __launch_bounds__(SURVEYORS, 4)
    first_wrong(VIEW(const int, argmax), int64 rois, int rows, int columns, const int *total, int of_samples,
                const int64 *wrong, int64 *found) {
    __shared__ int64 least[SURVEYORS];
    int64 own = rois;
    for (int64 k = threadIdx.x; k < rois && own == rois; k += blockDim.x)
        if (wrong[k] >= 0)
            own = k;
    const int64 k = least_of(own, least);
    if (threadIdx.x > 0)
        return;
    found[0] = k;
    if (k == rois)
        return;
    const int64 bins = (int64)rows * columns, c = wrong[k] / bins, b = wrong[k] - c * bins;
    const int p = (int)(b / columns), q = (int)(b - (int64)p * columns);
    found[1] = wrong[k];
    found[2] = argmax[AT(argmax, k, c, p, q)];
    found[3] = of_samples ? samples_in(total, k, p, q, rows, columns) : 0;
}
