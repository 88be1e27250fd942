/* Numbers that a caller hands back as where maxima were found, looked at before they are used.
 *
 * A block looks at those of one RoI. Once a call: it is compiled for offsets of any size. */
#define INDEX int64
#include "argmax.cuh"

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
    const int *own = total + k * (rows + columns);
    return (int64)own[p] * own[rows + q];
}

/* The pixels of each RoI: bounds[k] is the lowest and the highest one, wrong[k] the first number that is not
 * in -1 ... limit - 1, counted in row-major order, or -1. */
KERNEL __launch_bounds__(SURVEYORS)
    survey(VIEW(const int, argmax), int64 rois, int channels, int rows, int columns, int by_channel,
           int64 limit, int *bounds, int64 *wrong) {
    __shared__ int64 least[SURVEYORS];
    for (int64 k = blockIdx.x; k < rois; k += gridDim.x) {
        const int64 none = 0x7fffffffffffffffLL;
        int64 own = none;
        int low = 0x7fffffff, high = -1;
        each_item(channels, rows, columns, by_channel, [&](int c, int p, int q, int64 number) {
            const int index = argmax[AT(argmax, k, c, p, q)];
            if (index < -1 || index >= limit)
                own = min(own, number);
            else if (index >= 0) {
                low = min(low, index);
                high = max(high, index);
            }
        });
        const int64 lowest = least_of(low, least), highest = -least_of(-(int64)high, least);
        const int64 first = least_of(own, least);
        if (threadIdx.x == 0) {
            bounds[2 * k] = (int)lowest;
            bounds[2 * k + 1] = (int)highest;
            wrong[k] = first == none ? -1 : first;
        }
    }
}

/* The same of samples, of which each bin has its own number; RoIs of no image may hold anything. */
KERNEL __launch_bounds__(SURVEYORS)
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
KERNEL __launch_bounds__(SURVEYORS)
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
