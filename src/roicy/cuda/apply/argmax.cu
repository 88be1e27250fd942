/* Checks of an argmax that a caller passes to a gradient.
 *
 * A block checks the argmax of one RoI. It runs once a call, so it is compiled for 64-bit offsets only. */
#define INDEX int64
#include "apply/argmax.cuh"
#include "lanes/reduce.cuh"
#include "tables/rois.cuh"

/* How many samples a bin has; total: (K, PH + PW), of every bin along y and x. */
INLINE int64 samples_in(const int *total, int64 k, int p, int q, const Numbers &sizes) {
    const int *own = total + k * ((int64)sizes.rows + sizes.columns);
    return (int64)own[p] * own[sizes.rows + q];
}

/* Which pixels are named: bounds has the lowest and the highest one of each RoI, and then of each row of its
 * bins, (K, 1 + rows, 2); numbers that are not in 0 ... limit - 1 name none.
 *
 * A block goes through some rows at a time. Its threads are neighbours along the bins, or along the channels
 * where those are neighbours in memory. */
KERNEL __launch_bounds__(THREADS, 4)
    reach(VIEW(const int, argmax), const Numbers sizes, int64 limit, int2 *bounds) {
    __shared__ int lowest[THREADS + 1], highest[THREADS + 1]; /* of each row, and of all */
    const int channels = sizes.channels, rows = sizes.rows, columns = sizes.columns;
    const bool by_channel = sizes.by_channel;
    const unsigned below = (unsigned)min(limit, (int64)1 << 31);
    const int at_once = by_channel ? 1 : max(1, THREADS / columns);
    for (int64 k = blockIdx.x; k < sizes.rois; k += gridDim.x) {
        int2 *own = bounds + k * (1 + rows);
        for (int p = 0; p < rows; p += min(at_once, rows - p)) {
            const int here = min(at_once, rows - p), bins = here * columns;
            /* one bin and every `step`-th channel, or more bins where a row has more than there are threads */
            const int step = by_channel ? THREADS : max(1, THREADS / bins);
            const int first = by_channel ? threadIdx.x : threadIdx.x / bins;
            const int begin = by_channel ? 0 : threadIdx.x - first * bins, row = begin / columns;
            __syncthreads();
            for (int i = threadIdx.x; i <= THREADS; i += THREADS)
                if (i < here || (i == THREADS && p == 0)) {
                    lowest[i] = 0x7fffffff;
                    highest[i] = -1;
                }
            int low = 0x7fffffff, high = -1;
            for (int b = begin; b < bins && first < step; b += by_channel ? 1 : THREADS) {
                const int *index = argmax + AT(argmax, k, first, p + b / columns, b % columns);
#pragma unroll 8
                for (int c = first; c < channels; c += step, index += step * argmax_step.c) {
                    const bool named = (unsigned)*index < below;
                    low = named ? min(low, *index) : low;
                    high = named ? max(high, *index) : high;
                }
            }
            __syncthreads();
            if (high >= 0) {
                atomicMin(lowest + row, low);
                atomicMax(highest + row, high);
            }
            __syncthreads();
            if (threadIdx.x < here) {
                low = lowest[threadIdx.x];
                high = highest[threadIdx.x];
                own[1 + p + threadIdx.x] = make_int2(low, high);
                atomicMin(lowest + THREADS, low);
                atomicMax(highest + THREADS, high);
            }
        }
        __syncthreads();
        if (threadIdx.x == 0)
            own[0] = make_int2(lowest[THREADS], highest[THREADS]);
    }
}

/* wrong[k] = the first number of RoI k that is not in -1 ... limit - 1, counted in row-major order, or -1; also
 * where the RoI is none of the table's. */
KERNEL __launch_bounds__(THREADS, 4)
    survey(VIEW(const int, argmax), const Numbers sizes, int64 limit, const int64 *image, int64 *wrong) {
    __shared__ int64 room[THREADS];
    for (int64 k = blockIdx.x; k < sizes.rois; k += gridDim.x) {
        const int64 none = 0x7fffffffffffffffLL;
        int64 own = none;
        if (image[k] >= INVALID)
            each_item(sizes, sizes.by_channel, [&](int c, int p, int q, int64 number) {
                const int index = argmax[AT(argmax, k, c, p, q)];
                if (index < -1 || index >= limit)
                    own = min(own, number);
            });
        const int64 first = least_of_block(own, room);
        if (threadIdx.x == 0)
            wrong[k] = first == none ? -1 : first;
    }
}

/* The same of samples, of which each bin has its own number; RoIs of no image may hold anything. */
KERNEL __launch_bounds__(THREADS, 4) survey_of_samples(VIEW(const int, argmax), const Numbers sizes,
                                                       const int64 *image, const int *total, int64 *wrong) {
    __shared__ int64 room[THREADS];
    for (int64 k = blockIdx.x; k < sizes.rois; k += gridDim.x) {
        const int64 none = 0x7fffffffffffffffLL;
        int64 own = none;
        if (image[k] >= 0)
            each_item(sizes, sizes.by_channel, [&](int c, int p, int q, int64 number) {
                const int index = argmax[AT(argmax, k, c, p, q)];
                if (index < -1 || index >= samples_in(total, k, p, q, sizes))
                    own = min(own, number);
            });
        const int64 first = least_of_block(own, room);
        if (threadIdx.x == 0)
            wrong[k] = first == none ? -1 : first;
    }
}

/* found = the first RoI with a wrong number, or `rois`; which one it is, what it holds and,
 * of samples, how many the bin has. One block. */
KERNEL __launch_bounds__(THREADS, 4)
    first_wrong(VIEW(const int, argmax), const Numbers sizes, const int *total, int of_samples,
                const int64 *wrong, int64 *found) {
    __shared__ int64 room[THREADS];
    int64 own = sizes.rois;
    for (int64 k = threadIdx.x; k < sizes.rois && own == sizes.rois; k += blockDim.x)
        if (wrong[k] >= 0)
            own = k;
    const int64 k = least_of_block(own, room);
    if (threadIdx.x > 0)
        return;
    found[0] = k;
    found[1] = found[2] = found[3] = 0;
    if (k == sizes.rois)
        return;
    const int64 bins = (int64)sizes.rows * sizes.columns, c = wrong[k] / bins, b = wrong[k] - c * bins;
    const int p = (int)(b / sizes.columns), q = (int)(b - (int64)p * sizes.columns);
    found[1] = wrong[k];
    found[2] = argmax[AT(argmax, k, c, p, q)];
    found[3] = of_samples ? samples_in(total, k, p, q, sizes) : 0;
}
