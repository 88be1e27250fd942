/* Sums that a warp alone adds to: some pixels of one plane of a gradient, in shared memory.
 *
 *     plane n, c of the gradient:   [ pixels of a block | of the next one | ... ]   each warp a channel of
 * its own
 *
 * RoIs come in ascending order and their bins in row-major order, whoever owns a pixel: no atomics, and the
 * same bits for any number of blocks. At the end the pixels are written once, rounded to the gradient's
 * dtype. */
#pragma once
#include "tables/rois.cuh"

enum { OWNERS = 8 /* warps of a block */ };

/* Adds `value` to sums[at] where the lane `hits`: of several lanes with one place the lowest comes first. */
INLINE void add_in_order(REAL *sums, bool hits, int at, REAL value) {
    if (!__any_sync(~0u, hits))
        return;
    const int lane = threadIdx.x & 31;
    const unsigned same = __match_any_sync(~0u, hits ? at : -1 - lane);
    const int before = __popc(same & ((1u << lane) - 1));
    for (int turn = 0; __any_sync(~0u, hits && before >= turn); turn++) {
        if (hits && before == turn)
            sums[at] += value;
        __syncwarp();
    }
}

/* From the first to the last row of bins for which the lane `meets` says so: [low, high). Where there are
 * more rows than lanes, all of them. */
struct Rows {
    int low, high;
};

INLINE Rows rows_met(bool meets, int rows) {
    const unsigned votes = __ballot_sync(~0u, meets);
    if (rows > 32)
        return {0, rows};
    return {votes ? __ffs(votes) - 1 : 0, votes ? 32 - __clz(votes) : 0};
}

/* Some pixels of a plane, those of some neighbouring channels in a block. */
struct Owned {
    int64 n, first; /* the image and the first pixel */
    int pixels;
    int channel, channels; /* the first channel of the block and how many it has */
};

/* Which pixels a task is about: `ranges` of `size` pixels a plane, ranges before images before channels. */
INLINE Owned owned_by(int64 task, int64 plane, int size, int64 ranges, int64 images, int channels) {
    const int64 rest = task / ranges, part = rest / images;
    Owned owned;
    owned.first = (task - rest * ranges) * size;
    owned.n = rest - part * images;
    owned.pixels = (int)(plane - owned.first < size ? plane - owned.first : size);
    owned.channel = (int)part * OWNERS;
    owned.channels = min(channels - owned.channel, (int)OWNERS);
    return owned;
}

INLINE void clear_sums(REAL *sums, int pixels) {
    for (int i = threadIdx.x % 32; i < pixels; i += 32)
        sums[i] = 0;
    __syncwarp();
}

/* The sums of all warps go to the gradient, in the order of its memory: sums[warp][pixel], `size` apart. */
INLINE void write_sums(const Owned &owned, const REAL *sums, int size, VIEW(STORED, target), int width,
                       bool by_channel) {
    __syncthreads();
    for (int i = threadIdx.x; i < owned.pixels * owned.channels; i += blockDim.x) {
        const int c = by_channel ? i % owned.channels : i / owned.pixels;
        const int pixel = by_channel ? i / owned.channels : i - c * owned.pixels;
        const int64 at = owned.first + pixel;
        const int64 y = at >> 31 ? at / width : (int)at / width;
        target[AT(target, owned.n, owned.channel + c, y, at - y * width)] =
            rounded_to<STORED>(sums[c * size + pixel]);
    }
    __syncthreads();
}
