/* The samples of a box, a stage at a time: all threads of a block compute them once, then apply them to all
 * channels.
 *
 * A stage holds all samples of as many bins as there is room for. A bin with more samples comes in pieces: only
 * samples that can reach the map are visited, and samples that share a position are merged. So no box, however large,
 * costs more than the map. */
#pragma once
#include "tables/sample.cuh"

#define STAGE THREADS /* samples that are held at a time */
#define LISTED 128    /* rows or columns of samples of a bin that are listed at a time */

struct Samples1D {
    /* a row or column of the samples of a bin */
    BOX position; /* along the box's axis */
    REAL run;     /* the part of the bin's rows or columns that lie there */
    REAL share;   /* how far along the side, from its middle */
};

struct Lists {
    /* rows and columns of the samples of a bin */
    Samples1D along[2][LISTED];
    int listed[2];
    bool done[2];   /* the bin has no more of them */
    double next[2]; /* sample to begin the next list with */
};

INLINE Samples1D samples_of_axis(BOX base, BOX bin_size, const Span &span, double index, double run, int p,
                                 int bins) {
    const double sample = span.mirrored ? span.count - 1 - index : index;
    return {position_at(base, bin_size, span, index), (REAL)(run / span.count),
            share_of(p, bins, span.count, sample)};
}

/* Lists rows and columns of samples, as many as there is room for: the first ones of a bin where it `begins`,
 * else the columns that come next, or the next rows with the first columns. One half of the block takes the
 * rows, the other the columns. Returns whether they are the last ones of the bin. */
INLINE bool list_next(const RotatedBox &box, int bin, const Bins &of, bool begins, Lists &lists) {
    const int axis = threadIdx.x / LISTED, thread = threadIdx.x % LISTED;
    const int p = axis ? bin % of.columns() : bin / of.columns(), bins = axis ? of.columns() : of.rows();
    const BOX bin_size = axis ? box.bin_x : box.bin_y;
    const BOX base =
        axis ? column_base(box, of, bin / of.columns(), p) : row_base(box, of, p, bin % of.columns());
    const Span span = run_at(&box, base, axis).span;
    const bool restart = begins || (axis && lists.done[1]), stay = !begins && !axis && !lists.done[1];
    double from = restart ? span.first : lists.next[axis];
    __syncthreads();
    if (!stay) {
        Samples1D *along = lists.along[axis];
        int count = 0;
        if (span.count <= FINE_GRID) {
            count = (int)fmin(span.last - from + 1, (double)LISTED);
            if (thread < count)
                along[thread] = samples_of_axis(base, bin_size, span, from + thread, 1, p, bins);
            from += count;
        } else if (thread == 0) {
            while (from <= span.last && count < LISTED) {
                const double following = next_position(base, bin_size, span, from);
                const double run = fmin(following, span.last + 1) - from;
                along[count++] = samples_of_axis(base, bin_size, span, from, run, p, bins);
                from = following;
            }
        }
        if (thread == 0) {
            lists.listed[axis] = count;
            lists.next[axis] = from;
            lists.done[axis] = from > span.last;
        }
    }
    __syncthreads();
    return (lists.done[0] && lists.done[1]) || lists.listed[0] == 0 || lists.listed[1] == 0;
}

/* Goes through bins [first, last) of a box. For each stage the threads call, once for each sample and with
 * barriers before and after all of that,
 *
 *     put(slot, bin, row, column)                the sample where a row and a column meet has a slot of the stage
 *     apply(bin, bins, samples, begins, ends)    all samples have: as many in each of the bins from `bin` on
 *
 * `begins` and `ends` say whether there is more of the bin, if it is one alone, before and after this stage.
 */
template <class Put, class Apply>
INLINE void stages(const RotatedBox &box, const Bins &of, int first, int last, Lists &lists, Put put,
                   Apply apply) {
    const int slot = threadIdx.x;
    const bool straight = box.count_y <= STAGE && box.count_x <= STAGE && box.count_y * box.count_x <= STAGE;
    int piece = 0;
    bool begins = true, complete = true;
    for (int bin = first; bin < last;) {
        int bins = 1, samples, of_bin = bin;
        Samples1D row, column;
        if (straight) {
            const int down = (int)box.count_y, along = (int)box.count_x;
            samples = down * along;
            bins = min(STAGE / samples, last - bin);
            const int b = slot / samples, j = slot - b * samples, y = j / along, x = j - y * along;
            of_bin = min(bin + b, last - 1);
            const int p = of_bin / of.columns(), q = of_bin - p * of.columns();
            row = {position_of(row_base(box, of, p, q), box.bin_y, box.count_y, y), 1 / (REAL)down,
                   share_of(p, of.rows(), down, y)};
            column = {position_of(column_base(box, of, p, q), box.bin_x, box.count_x, x), 1 / (REAL)along,
                      share_of(q, of.columns(), along, x)};
        } else {
            if (piece == 0)
                complete = list_next(box, bin, of, begins, lists);
            const int width = lists.listed[1], listed = lists.listed[0] * width;
            samples = min(STAGE, listed - piece);
            if (slot < samples) {
                row = lists.along[0][(piece + slot) / width];
                column = lists.along[1][(piece + slot) % width];
            }
            piece = piece + STAGE < listed ? piece + STAGE : 0;
        }
        const bool ends = complete && piece == 0;
        if (slot < bins * samples)
            put(slot, of_bin, row, column);
        __syncthreads();
        apply(bin, bins, samples, begins, ends);
        __syncthreads();
        begins = ends;
        bin += ends ? bins : 0;
    }
}
