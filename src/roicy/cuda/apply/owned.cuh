/* Accumulators of a warp: some pixels of one plane of a gradient, in shared memory.
 *
 *     plane n, c of the gradient:   [ pixels of a block | of the next one | ... ]   each warp has its own channel
 *
 * Every pixel sums its RoIs in ascending order and their bins in row-major order, without atomics, so any number of
 * blocks gives the same bits. At the end the pixels are written once, rounded to the gradient's dtype.
 *
 * The block lists the bins that may touch its pixels: the bins of all RoIs in one list, so that each lane has one.
 * Its warps go through the list, and read the next bins before they add the current ones. */
#pragma once
#include "tables/rois.cuh"

enum {
    AT_ONCE = 4,                  /* values that a lane adds at once */
    BUCKETS = 64,                 /* of Crowd; a power of two */
    OF_THREAD = 3,                /* RoIs of each thread among MET */
    MET = OF_THREAD * 32 * WARPS, /* most RoIs whose bins are listed at a time */
    LISTED = 1024,                /* most bins that are listed at a time */
    MANY_ROWS = 32                /* with more rows of bins, all bins of a RoI are listed */
};
static_assert(OF_THREAD >= 2, "gather() looks at two RoIs of each thread at a time");

/* The sum of a pixel. LONG: of many terms; the rounding error of each addition is kept. */
#if LONG
struct alignas(2 * sizeof(REAL)) Sum {
    REAL total, lost;
};

INLINE void add(REAL value, Sum &sum) { join(value, sum.total, sum.lost); }
INLINE REAL value_of(const Sum &sum) { return restored(sum.total, sum.lost); }
#define NO_SUM {0, NOTHING_LOST}
#else
struct Sum {
    REAL total;
};

INLINE void add(REAL value, Sum &sum) { sum.total += value; }
INLINE REAL value_of(const Sum &sum) { return sum.total; }
#define NO_SUM {0}
#endif

/* Where a lane's value goes: to sums[at], if `hits`; else nowhere. */
struct Hit {
    int at;
    bool hits;
};

/* What a lane adds: a value for a pixel. */
struct alignas(2 * sizeof(REAL)) Brought {
    REAL value;
    int at;
};

/* By this, the lanes of a warp find the other lanes with the same pixel: a hash table of pixels for each of the AT_ONCE
 * values of a lane. Outside of add_in_order, `lanes` is 0.
 *
 * The device has an instruction that finds equal numbers, but it goes through them one after the other. */
struct Crowd {
    Brought brought[AT_ONCE][32];
    unsigned lanes[AT_ONCE][BUCKETS]; /* a bit for each lane whose pixel has this bucket */
};

INLINE void clear_crowd(Crowd &crowd) {
    for (int i = threadIdx.x & 31; i < AT_ONCE * BUCKETS; i += 32)
        crowd.lanes[i / BUCKETS][i % BUCKETS] = 0;
    __syncwarp();
}

INLINE unsigned bucket_of(int pixel) { return (unsigned)pixel * 0x9e3779b1u / (0xffffffffu / BUCKETS + 1); }

/* Adds each lane's values to the sums. If several lanes have the same pixel, the lowest of them leads: it adds the
 * values of all, in the order of the lanes. */
INLINE void add_in_order(Sum *sums, Crowd &crowd, const Hit *hit, const REAL *value) {
    const int lane = threadIdx.x & 31;
    const unsigned own = 1u << lane, below = own - 1;
    unsigned near[AT_ONCE]; /* lanes of the same bucket; few of these have another pixel */
    bool leads[AT_ONCE], other[AT_ONCE];
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
        crowd.brought[i][lane] = {value[i], hit[i].at};
        if (hit[i].hits)
            atomicOr(&crowd.lanes[i][bucket_of(hit[i].at)], own);
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++)
        near[i] = hit[i].hits ? crowd.lanes[i][bucket_of(hit[i].at)] : own;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
        const bool lowest = !(near[i] & below);
        if (hit[i].hits && lowest)
            crowd.lanes[i][bucket_of(hit[i].at)] = 0;
        leads[i] = hit[i].hits && lowest;
        other[i] = crowd.brought[i][__ffs(near[i]) - 1].at != hit[i].at;
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
        if (other[i]) { /* the lowest lane of the bucket has another pixel */
            leads[i] = true;
#pragma unroll 1
            for (unsigned rest = near[i] & below; rest && leads[i]; rest &= rest - 1)
                leads[i] = crowd.brought[i][__ffs(rest) - 1].at != hit[i].at;
        }
        if (leads[i]) {
            Sum sum = sums[hit[i].at];
            add(value[i], sum);
#pragma unroll 1
            for (unsigned rest = near[i] & ~below & ~own; rest; rest &= rest - 1) {
                const Brought next = crowd.brought[i][__ffs(rest) - 1];
                if (next.at == hit[i].at)
                    add(next.value, sum);
            }
            sums[hit[i].at] = sum;
        }
        __syncwarp();
    }
}

/* A gradient (image, channel, row, column). Each plane is divided into `ranges` ranges of `size` pixels. */
struct Target {
    ByImage by_image;
    int64 images, plane, ranges, tasks; /* `plane`: pixels of a plane */
    int channels, width, size, by_channel;
};

/* The part of the gradient that a block owns: a range of pixels, in the planes of some channels. */
struct Owned {
    int64 n, first; /* the image and the first pixel */
    int pixels;
    int channel, channels; /* the first channel of the block and how many it has */
};

/* The part of a task. Tasks count ranges first, then images, then channels. */
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

INLINE void clear_sums(Sum *sums, int pixels) {
    for (int i = threadIdx.x % 32; i < pixels; i += 32)
        sums[i] = NO_SUM;
    __syncwarp();
}

/* Writes the sums of all warps, sums[warp][pixel], to the gradient in the order of its memory. */
INLINE void write_sums(const Owned &owned, const Sum *sums, const Target &target, VIEW(STORED, out)) {
    if (!target.by_channel && out_step.y == target.width * out_step.x) {
        const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
        STORED *to =
            out + AT(out, owned.n, owned.channel + warp, 0, 0) + (INDEX)out_step.x * (INDEX)owned.first;
        __syncwarp();
        for (int i = lane; i < owned.pixels && warp < owned.channels; i += 32)
            to[(INDEX)out_step.x * i] = rounded_to<STORED>(value_of(sums[warp * target.size + i]));
        __syncwarp();
        return;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < owned.pixels * owned.channels; i += blockDim.x) {
        const int c = target.by_channel ? i % owned.channels : i / owned.pixels;
        const int pixel = target.by_channel ? i / owned.channels : i - c * owned.pixels;
        const int64 at = owned.first + pixel;
        const int64 y = at >> 31 ? at / target.width : (int)at / target.width;
        out[AT(out, owned.n, owned.channel + c, y, at - y * target.width)] =
            rounded_to<STORED>(value_of(sums[c * target.size + pixel]));
    }
    __syncthreads();
}

/* Rows of a RoI's bins, [low, high). */
struct Rows {
    int low, high;
};

/* A RoI whose bins are listed: bin `base` + i is entry i of the list, from `start` on. */
struct Met {
    int64 k;
    int start, base;
};

struct List {
    Met met[MET + 1];
    unsigned short owner[LISTED]; /* which of the RoIs in `met` has the bin */
    int counts[2 * WARPS];
    int64 totals[OF_THREAD][WARPS];
};

/* Fills list.met with the next RoIs that may touch the block's pixels, as `meets` says, in ascending order. Stops when
 * there may be no room for the RoIs of another step. Returns how many RoIs there are. */
template <class Meets>
INLINE int gather(const Candidates &candidates, int64 &from, const ByImage &by_image, List &list,
                  Meets meets) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int meeting = 0;
    while (from < candidates.end && meeting <= MET - 64 * WARPS) {
        int64 roi[2];
        unsigned votes[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int64 candidate = from + i * 32 * WARPS + threadIdx.x;
            roi[i] = candidate < candidates.end ? roi_of(candidate, by_image) : -1;
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            votes[i] = __ballot_sync(~0u, roi[i] >= 0 && meets(roi[i]));
            if (lane == 0)
                list.counts[i * WARPS + warp] = __popc(votes[i]);
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int before = meeting;
            for (int other = 0; other < WARPS; other++) {
                before += other < warp ? list.counts[i * WARPS + other] : 0;
                meeting += list.counts[i * WARPS + other];
            }
            if (votes[i] >> lane & 1)
                list.met[before + __popc(votes[i] & ((1u << lane) - 1))].k = roi[i];
        }
        __syncthreads();
        from += 64 * WARPS;
    }
    return meeting;
}

/* Returns the sum of `value` over the threads before this one; sets `total` to the sum over all threads. */
INLINE int64 sum_before(int64 value, int64 *room, int64 &total) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int64 before = value;
    for (int apart = 1; apart < 32; apart *= 2) {
        const int64 other = __shfl_up_sync(~0u, before, apart);
        before += lane >= apart ? other : 0;
    }
    if (lane == 31)
        room[warp] = before;
    __syncthreads();
    before -= value;
    total = 0;
    for (int other = 0; other < WARPS; other++) {
        before += other < warp ? room[other] : 0;
        total += room[other];
    }
    return before;
}

/* Goes through the bins that may touch the pixels of a block, with all of its threads together:
 *
 *     meets(k)            whether RoI k may touch them
 *     rows_met(k)         which rows of its bins may
 *     walk(list, count)   the listed bins, in their order, between barriers
 */
template <class Meets, class RowsMet, class Walk>
INLINE void each_bin(const Candidates &candidates, const ByImage &by_image, int columns, List &list,
                     Meets meets, RowsMet rows_met, Walk walk) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int64 from = candidates.begin; from < candidates.end;) {
        const int meeting = gather(candidates, from, by_image, list, meets);
        int64 begin[OF_THREAD], total = 0;
        int first[OF_THREAD];
#pragma unroll
        for (int i = 0; i < OF_THREAD; i++) {
            const int own = i * 32 * WARPS + threadIdx.x;
            if (i * 32 * WARPS >= meeting)
                break;
            Rows rows = {0, 0};
            if (own < meeting)
                rows = rows_met(list.met[own].k);
            int64 more;
            first[i] = rows.low * columns;
            begin[i] =
                total + sum_before(max(rows.high - rows.low, 0) * (int64)columns, list.totals[i], more);
            total += more;
        }
        for (int64 passed = 0; passed < total; passed += LISTED) {
            const int count = (int)min(total - passed, (int64)LISTED);
#pragma unroll
            for (int i = 0; i < OF_THREAD; i++) {
                const int own = i * 32 * WARPS + threadIdx.x;
                if (own < meeting) {
                    const int64 start = begin[i] - passed;
                    list.met[own].start = (int)max(min(start, (int64)count), (int64)0);
                    list.met[own].base = (int)(first[i] - start);
                }
            }
            if (threadIdx.x == 0)
                list.met[meeting].start = count;
            __syncthreads();
            for (int own = warp; own < meeting; own += WARPS)
                for (int i = list.met[own].start + lane; i < list.met[own + 1].start; i += 32)
                    list.owner[i] = (unsigned short)own;
            __syncthreads();
            walk(count);
            __syncthreads();
        }
    }
}
