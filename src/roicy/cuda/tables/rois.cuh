/* The RoIs of a call, as every kernel sees them: their images, and the window of the map that each reads. */
#pragma once
#include "lanes/types.cuh"

#include "geometry/rois.h"

/* Instead of an image. INVALID: so is the row, and NaN is pooled. ELSEWHERE: it belongs to another table, and kernels
 * do not write it. ON_NO_MAP: it belongs to no map of a pyramid, and zeros are pooled. */
enum { INVALID = -1, ELSEWHERE = -2, ON_NO_MAP = -3 };

/* What every table knows. The kernel that fills a table fills `image` and `window`. */
struct Rois {
    int64 *image; /* of each RoI, or what is instead of it */
    int *window;  /* a Window of each */
    int64 count, images;
    int height, width;         /* of the maps as they are given: all of them, or a part */
    int map_height, map_width; /* of whole maps, on which samples lie */
    int top, left;             /* where on them the part begins */
    int rows, columns;         /* of bins */
};

INLINE Window window_at(const int *window, int64 k) {
    const int4 four = reinterpret_cast<const int4 *>(window)[k];
    return {four.x, four.y, four.z, four.w};
}

INLINE void put_window(int *window, int64 k, Window w) {
    reinterpret_cast<int4 *>(window)[k] = make_int4(w.top, w.bottom, w.left, w.right);
}

#ifdef BOX
/* What a table is filled from: four numbers of a box or five, behind the batch index where none are given. Given
 * ones are null where all are 0. */
struct Boxes {
    const BOX *numbers;
    const int64 *images;
    int columns, given;
};

/* A row of them; `given` says whether `image` is its batch index: 1, or 2 where something else may be
 * instead. */
struct Row {
    const BOX *numbers;
    int columns, given;
    int64 image;
};

enum { MOST_COLUMNS = 6 };

INLINE Row row_of(const Boxes &boxes, int64 k) {
    return {boxes.numbers + k * boxes.columns, boxes.columns, boxes.given,
            boxes.images ? boxes.images[k] : 0};
}

/* The same for the lanes of a warp; `room` holds MOST_COLUMNS numbers. Each box is read only once, because the caller
 * may overwrite it meanwhile. */
INLINE Row row_of_warp(const Boxes &boxes, int64 k, BOX *room) {
    const int lane = threadIdx.x & 31;
    Row row = row_of(boxes, k);
    __syncwarp();
    if (lane < row.columns)
        room[lane] = row.numbers[lane];
    row.image = __shfl_sync(~0u, row.image, 0);
    __syncwarp();
    row.numbers = room;
    return row;
}

INLINE int64 image_of(const Row &row, int64 images) {
    if (row.given == 2 && row.image < INVALID)
        return row.image;
    return image_of(row.numbers, row.columns, row.given != 0, row.image, images);
}
#endif

/* The RoIs sorted by image; null if that would not pay, and each image searches all RoIs. */
struct ByImage {
    const int64 *order, *start;
};

/* The RoIs that a block goes through, `blockDim.x` at a time: those of one image, ascending.
 *
 * Where `sorted`, order[start[n]] ... order[start[n + 1] - 1] are the RoIs of image n; else all RoIs are
 * looked at. */
struct Candidates {
    int64 begin, end;
};

INLINE Candidates candidates_of(int64 n, int64 rois, const int64 *start, int sorted) {
    if (sorted)
        return {start[n], start[n + 1]};
    return {0, rois};
}

INLINE Candidates candidates_of(int64 n, const Rois &rois, const ByImage &by_image) {
    if (by_image.order)
        return {by_image.start[n], by_image.start[n + 1]};
    return {0, rois.count};
}

INLINE int64 roi_of(int64 candidate, const ByImage &by_image) {
    return by_image.order ? by_image.order[candidate] : candidate;
}

/* Puts the RoIs of those threads that say `meets` into `met`, in the order of the threads, for all threads of
 * the block to see; returns how many there are. `met` has room for blockDim.x, `counts` for a number of each
 * warp. */
INLINE int gather_met(bool meets, int64 roi, int64 *met, int *counts) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    const unsigned votes = __ballot_sync(~0u, meets);
    int before = 0, total = 0;
    if (lane == 0)
        counts[warp] = __popc(votes);
    __syncthreads();
    for (int i = 0; i < warps; i++) {
        before += i < warp ? counts[i] : 0;
        total += counts[i];
    }
    if (meets)
        met[before + __popc(votes & ((1u << lane) - 1))] = roi;
    __syncthreads();
    return total;
}
