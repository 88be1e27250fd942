/* Loops of a block over the argmax of one RoI; lanes read neighbours in memory. */
#pragma once
#include "lanes/types.cuh"

/* An array of such numbers, (RoI, channel, row, column). Where `by_channel`, channels are neighbours. */
struct Numbers {
    int64 rois;
    int channels, rows, columns, by_channel;
};

/* Calls look(channel, p, q, number in row-major order) for the block's share of a RoI's numbers. */
template <class Look> INLINE void each_item(const Numbers &sizes, bool by_channel, Look look) {
    const int channels = sizes.channels, columns = sizes.columns, bins = sizes.rows * columns;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (by_channel)
        for (int b = warp; b < bins; b += warps) {
            const int p = b / columns, q = b - p * columns;
            for (int c = lane; c < channels; c += 32)
                look(c, p, q, (int64)c * bins + b);
        }
    else
        for (int b = lane; b < bins; b += 32) {
            const int p = b / columns, q = b - p * columns;
            for (int c = warp; c < channels; c += warps)
                look(c, p, q, (int64)c * bins + b);
        }
}
