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

/* A gradient, (image, channel, row, column), whose planes are cut into `ranges` of `size` pixels. */
struct Target {
    ByImage by_image;
    int64 images, plane, ranges, tasks; /* `plane`: its pixels */
    int channels, width, size, by_channel;
};

/* What a block owns of it: some pixels of a plane and of those of the next channels. */
struct Owned {
    int64 n, first; /* the image and the first pixel */
    int pixels;
    int channel, channels; /* the first channel of the block and how many it has */
};

/* What a task is about: ranges before images before channels. */
INLINE Owned owned_by(int64 task, const Target &target) {
    const int64 rest = task / target.ranges, part = rest / target.images;
    Owned owned;
    owned.first = (task - rest * target.ranges) * target.size;
    owned.n = rest - part * target.images;
    owned.pixels = (int)(target.plane - owned.first < target.size ? target.plane - owned.first : target.size);
    owned.channel = (int)part * WARPS;
    owned.channels = min(target.channels - owned.channel, WARPS);
    return owned;
}

INLINE void clear_sums(REAL *sums, int pixels) {
    for (int i = threadIdx.x % 32; i < pixels; i += 32)
        sums[i] = 0;
    __syncwarp();
}

/* The sums of all warps go to the gradient, in the order of its memory: sums[warp][pixel]. */
INLINE void write_sums(const Owned &owned, const REAL *sums, const Target &target, VIEW(STORED, out)) {
    __syncthreads();
    for (int i = threadIdx.x; i < owned.pixels * owned.channels; i += blockDim.x) {
        const int c = target.by_channel ? i % owned.channels : i / owned.pixels;
        const int pixel = target.by_channel ? i / owned.channels : i - c * owned.pixels;
        const int64 at = owned.first + pixel;
        const int64 y = at >> 31 ? at / target.width : (int)at / target.width;
        out[AT(out, owned.n, owned.channel + c, y, at - y * target.width)] =
            rounded_to<STORED>(sums[c * target.size + pixel]);
    }
    __syncthreads();
}
