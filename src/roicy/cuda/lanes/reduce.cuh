/* Reductions over the lanes of a warp or the threads of a block, in a fixed order. */
#pragma once
#include "lanes/types.cuh"

/* Minimum and maximum over a warp, for all lanes. */
INLINE int least_of_warp(int value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_min_sync(~0u, value);
#else
    for (int apart = 16; apart > 0; apart /= 2)
        value = min(value, __shfl_xor_sync(~0u, value, apart));
    return value;
#endif
}

INLINE int most_of_warp(int value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    return __reduce_max_sync(~0u, value);
#else
    for (int apart = 16; apart > 0; apart /= 2)
        value = max(value, __shfl_xor_sync(~0u, value, apart));
    return value;
#endif
}

/* One of each of the block's threads, a power of two of them, joined by halves; `room` is for one of each.
 * Only thread 0 has the result; the others keep what they brought. */
template <class T, class Join> INLINE T joined_by_halves(T value, T *room, Join join) {
    T joined = value;
    __syncthreads();
    room[threadIdx.x] = value;
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            room[threadIdx.x] = joined = join(joined, room[threadIdx.x + half]);
    }
    return threadIdx.x == 0 ? joined : value;
}

INLINE int64 least_of_block(int64 value, int64 *room) {
    return joined_by_halves(value, room, [](int64 a, int64 b) { return b < a ? b : a; });
}

/* The same of sums, for all threads. */
INLINE int64 sum_of_block(int64 value, int64 *room) {
    joined_by_halves(value, room, [](int64 a, int64 b) { return a + b; });
    __syncthreads();
    return room[0];
}

INLINE double sum_by_halves(double value, double *room) {
    return joined_by_halves(value, room, [](double a, double b) { return a + b; });
}
