/* The transpose of axis tables, on maps that lie plane by plane: dX = A_y' dY A_x, gathered without atomics.
 *
 * A warp owns a tile of ROWS times `columns` pixels, in some planes. It sums the RoIs of its image in ascending
 * order (very many of them in pieces), so every run gives the same bits. Lanes lie along the columns; lanes that are
 * left over lie along the channels, each with GROUP of them:
 *
 *     grad [p][q] ── staged ──▶ bins [p][q] x channels ── along q ──▶ lines [column] of a row p of bins
 *                                                      ── down the rows that p touches ──▶ sums [row][column]
 *
 * A line serves all rows of the tile. The bins that touch these rows, and their weights, are the same for all lanes.
 * The warps of a block have the same tile in other planes, or tiles one below the other in the same planes. The warps
 * search the RoIs together and keep those whose windows overlap the block's pixels. */
#include "lanes/pack.cuh"
#include "lanes/piles.cuh"
#include "tables/axis.cuh"

#define THREADS (32 * WARPS)
#define GROUP ((int)(16 / sizeof(REAL))) /* channels of a lane */
#define SETS 4                           /* of groups of a warp, at the most */

/* blocks per multiprocessor that registers must suffice for: five would spill before sm_90 */
constexpr int RESIDENT = __CUDA_ARCH__ >= 900 && sizeof(REAL) + sizeof(INDEX) == 8 ? 5 : 4;

typedef Pack<REAL, GROUP> Group;

/* How the gradient is divided. */
struct Tiles {
    int64 tasks, of_map, of_row; /* tiles of blocks: all for all planes, of a map, of a row of these */
    int64 apart,
        bins;     /* position-sensitive maps have a channel for each of the bins, `apart` items apart: then
                          a tile is one bin's; else that is 0 */
    int channels; /* of the maps */
    int planes, rows; /* of a block's tile */
    int columns;      /* a power of two */
    int abreast;      /* warps of the block that share its pixels */
    int room;         /* bins that are staged at a time */
};

/* A RoI (or some of its bins, if there are many), as the warps that share a tile see it. */
struct Share {
    const STORED *grad;
    int p, q, lines, columns; /* the bins; no lines where the tile has nothing of the RoI */
    int first_tap, taps;      /* of each pixel of a line */
    int terms;                /* that a pixel gets at the most */
    bool more;                /* there are other bins or taps */
    Tap along[TAPS][32]; /* taps of each column; each names where the bin is staged, -1 where it is not */
    Group down[LINES * (ROWS / GROUP)]; /* weights of each line for each row; NaN where it has none */
};

/* The transposed taps that name the bin, of those that name several. */
INLINE void narrow(const Tap *taps, int bin, int &begin, int &end) {
    while (begin < end && taps[begin].at != bin)
        begin++;
    end = min(end, begin + 1);
}

/* The pixels of a tile along one axis, seen by a lane that has one of them. */
struct Touched {
    const Tap *taps;
    int begin, end; /* of the lane's */
    int low, high;  /* bins that any pixel has a tap of */
    int most;       /* taps of a pixel */
};

INLINE Touched touched(const Turned &axis, int64 k, int pixel, int low, int high, int bin) {
    Touched found = {taps_at(axis.taps, begin_of(k, axis)), 0, 0, 0, 0, 0};
    int first = 0x7fffffff, last = 0;
    if (pixel >= low && pixel < high) {
        const int *start = axis.start + begin_of(k, axis.pixels, axis.first_pixel) + (pixel - low);
        found.begin = start[0];
        found.end = start[1];
        if (bin >= 0)
            narrow(found.taps, bin, found.begin, found.end);
        if (found.begin < found.end) {
            first = found.taps[found.begin].at;
            last = found.taps[found.end - 1].at + 1;
        }
    }
    found.low = least_of_warp(first);
    found.high = most_of_warp(last);
    found.most = most_of_warp(found.end - found.begin);
    return found;
}

/* Whether a bin of RoI k has a tap in the pixels `low` to `high` - 1. */
INLINE bool touches(const Turned &axis, int64 k, int bins, int bin, int low, int high) {
    const int start = axis.bin_start[k * bins + bin], count = axis.bin_count[k * bins + bin];
    const Tap *taps = taps_at(axis.bin_taps, begin_of(k, axis)) + start;
    return count > 0 && taps[0].at < high && taps[count - 1].at >= low;
}

/* The part of the gradient that a block owns: tiles of some planes of an image. */
struct Block {
    int64 n;
    Candidates candidates;
    int top, bottom, left, right;
    int bin_row, bin_column; /* the bin that has these channels; -1 if all bins share them */
    unsigned channel;
};

INLINE Block block_of(int64 task, const Rois &rois, const ByImage &by_image, const Tiles &tiles) {
    const int64 tile = task % tiles.of_map, plane = task / tiles.of_map, n = plane % rois.images;
    const int64 part = plane / rois.images;
    const int bin = tiles.apart ? (int)(part % tiles.bins) : -1;
    const int64 down = tile / tiles.of_row;
    const int top = (int)down * tiles.rows, left = (int)(tile - down * tiles.of_row) * tiles.columns;
    return {n,
            candidates_of(n, rois, by_image),
            top,
            min(top + tiles.rows, rois.height),
            left,
            min(left + tiles.columns, rois.width),
            tiles.apart ? bin / rois.columns : -1,
            tiles.apart ? bin % rois.columns : -1,
            (unsigned)(part / tiles.bins) * (unsigned)tiles.planes};
}

/* Where a warp's tile is, and how its lanes lie there. */
struct Own {
    int top, lane, columns,
        pitch; /* columns of the tile, groups of channels from a staged bin to the next one */
};

/* Marks a share as empty. */
INLINE void clear(Share &share, int lane) {
    __syncwarp();
    if (lane == 0) {
        share.lines = 0;
        share.more = false;
    }
}

/* Fills what is shared of RoI k: its first bins, or where `next`, those that follow what it holds. */
INLINE void prepare(Share &share, bool next, int64 k, const TurnedAxes &axes, const Block &block,
                    const Own &own, int room) {
    const Window w = window_at(axes.rois.window, k);
    const int row = own.top + own.lane % ROWS, column = block.left + (own.lane & (own.columns - 1));
    const Touched y = touched(axes.y, k, row, w.top, min(w.bottom, block.bottom), block.bin_row);
    const Touched x = touched(axes.x, k, column, w.left, min(w.right, block.right), block.bin_column);
    const int columns = min(x.high - x.low, room);
    int lines = min(y.high - y.low, LINES), p = y.low, q = x.low, first_tap = 0;
    if (lines <= 0 || columns <= 0) {
        clear(share, own.lane);
        return;
    }
    if (lines * columns > room)
        lines = room / columns;
    if (next) {
        p = share.p;
        q = share.q;
        first_tap = share.first_tap + TAPS;
        if (first_tap >= x.most) {
            first_tap = 0;
            p += lines;
        }
        if (p >= y.high) {
            p = y.low;
            q += columns;
        }
    }
    const int some_lines = min(lines, y.high - p), some_columns = min(columns, x.high - q);
    __syncwarp();
    if (own.lane == 0) {
        share.p = p;
        share.q = q;
        share.lines = some_lines;
        share.columns = some_columns;
        share.first_tap = first_tap;
        share.taps = min(TAPS, x.most - first_tap);
        share.terms = min(some_lines, y.most);
        share.more = first_tap + TAPS < x.most || p + lines < y.high || q + columns < x.high;
    }
    for (int i = own.lane; i < some_lines * (ROWS / GROUP); i += 32)
#pragma unroll
        for (int v = 0; v < GROUP; v++)
            share.down[i].item[v] = not_a_number();
#pragma unroll
    for (int t = 0; t < TAPS; t++) {
        const int i = x.begin + first_tap + t;
        Tap tap = {0, -1};
        if (i < x.end) {
            tap.weight = x.taps[i].weight; /* not the gap between taps of float64, which is never written */
            const int at = x.taps[i].at - q;
            tap.at = at >= 0 && at < some_columns ? at * own.pitch : -1;
        }
        share.along[t][own.lane] = tap;
    }
    __syncwarp();
    for (int i = y.begin + own.lane / ROWS; i < y.end; i += 32 / ROWS) {
        const Tap tap = y.taps[i];
        const int at = tap.at - p;
        if (at >= 0 && at < some_lines)
            share.down[at * (ROWS / GROUP) + own.lane % ROWS / GROUP].item[own.lane % GROUP] = tap.weight;
    }
}

/* Stages the bins of a share, of `live` channels. Lanes lie along the bins, then along the channels of a group. */
INLINE void stage(const Share &share, const STORED *source, const Strides &step, int live, int lane,
                  int pitch, Group *staged) {
    const int at_once = 32 / GROUP, first = lane % at_once, v = lane / at_once;
    const int columns = share.columns, bins = share.lines * columns;
    const float part = 1.0f / (float)columns;
    const int down = (int)((at_once + 0.5f) * part), along = at_once - down * columns;
    int line = (int)((first + 0.5f) * part), bin = first - line * columns;
    const INDEX between = (INDEX)step.c * GROUP;
    source += (INDEX)step.c * v + (INDEX)step.y * share.p + (INDEX)step.x * share.q;
    REAL *target = &staged[first * pitch].item[v];
#pragma unroll 1
    for (int i = first; i < bins; i += AHEAD * at_once) {
        REAL values[AHEAD][SETS]; /* issue all loads before the first result is used */
#pragma unroll
        for (int j = 0; j < AHEAD; j++) {
            const STORED *from = source + ((INDEX)step.y * line + (INDEX)step.x * bin);
#pragma unroll
            for (int s = 0; s < SETS; s++)
                if (i + j * at_once < bins && s * GROUP + v < live)
                    values[j][s] = real_of(from[between * s]);
            line += down;
            bin += along;
            if (bin >= columns) {
                bin -= columns;
                line++;
            }
        }
#pragma unroll
        for (int j = 0; j < AHEAD; j++)
#pragma unroll
            for (int s = 0; s < SETS; s++)
                if (i + j * at_once < bins && s * GROUP + v < live)
                    target[(j * at_once * pitch + s) * GROUP] = values[j][s];
        target += AHEAD * at_once * pitch * GROUP;
    }
}

/* Adds what the staged bins of a share give to the pixels. */
INLINE void add_share(const Share &share, const Group *bins, int pitch, const Tap *along, REAL *sums) {
    const int taps = share.taps, lines = share.lines, columns = share.columns;
    Tap own[TAPS];
#pragma unroll
    for (int t = 0; t < TAPS; t++)
        own[t] = along[32 * t];
#pragma unroll 1
    for (int line = 0; line < lines; line++, bins += columns * pitch) {
        Group sum;
#pragma unroll
        for (int v = 0; v < GROUP; v++)
            sum.item[v] = 0;
#pragma unroll
        for (int t = 0; t < TAPS; t++) {
            if (t >= taps)
                break;
            if (own[t].at >= 0) {
                const Group bin = bins[own[t].at];
#pragma unroll
                for (int v = 0; v < GROUP; v++)
                    sum.item[v] = madd(own[t].weight, bin.item[v], sum.item[v]);
            }
        }
#pragma unroll
        for (int group = 0; group < ROWS / GROUP; group++) {
            const Group weights = share.down[line * (ROWS / GROUP) + group];
            bool any = false;
#pragma unroll
            for (int r = 0; r < GROUP; r++)
                any |= weights.item[r] == weights.item[r];
            if (!any)
                continue;
#pragma unroll
            for (int r = 0; r < GROUP; r++)
                if (weights.item[r] == weights.item[r])
#pragma unroll
                    for (int v = 0; v < GROUP; v++) {
                        REAL &pixel = sums[(group * GROUP + r) * GROUP + v];
                        pixel = madd(weights.item[r], sum.item[v], pixel);
                    }
        }
    }
}

KERNEL __launch_bounds__(THREADS, RESIDENT)
    axis_backward(VIEW(const STORED, grad), VIEW(STORED, out), const TurnedAxes axes, const ByImage by_image,
                  const Tiles tiles) {
    const Rois &rois = axes.rois;
    __shared__ Block block;
    __shared__ Group staged[WARPS][STAGED];
    __shared__ Share shares[WARPS];
    __shared__ int64 met[MET + THREADS];
    __shared__ int counts[WARPS];
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int shift = __ffs(tiles.columns) - 1, sets = 32 >> shift, set = lane >> shift, pitch = sets | 1;
    const int team = warp / tiles.abreast, number = warp % tiles.abreast;
    for (int64 task = blockIdx.x; task < tiles.tasks; task += gridDim.x) {
        __syncthreads();
        if (threadIdx.x == 0)
            block = block_of(task, rois, by_image, tiles);
        __syncthreads();
        const unsigned channel = block.channel + number * (sets * GROUP);
        const int live = channel < (unsigned)tiles.channels
                             ? (int)min((unsigned)tiles.channels - channel, (unsigned)(sets * GROUP))
                             : 0;
        REAL sums[ROWS * GROUP];
#pragma unroll
        for (int i = 0; i < ROWS * GROUP; i++)
            sums[i] = 0;
        Piles<ROWS * GROUP> piles;
        unsigned held = 0;
        for (int64 first = block.candidates.begin; first < block.candidates.end;) {
            int found = 0;
            for (; first < block.candidates.end && found < MET; first += THREADS) {
                const int64 i = first + threadIdx.x, k = i < block.candidates.end ? roi_of(i, by_image) : i;
                bool meets = i < block.candidates.end && rois.image[k] == block.n;
                if (meets) {
                    const Window w = window_at(rois.window, k);
                    meets = w.top < block.bottom && w.bottom > block.top && w.left < block.right &&
                            w.right > block.left;
                    /* position-sensitive: this bin of most RoIs is not in the tile */
                    if (meets && tiles.apart)
                        meets = touches(axes.y, k, rois.rows, block.bin_row, block.top, block.bottom) &&
                                touches(axes.x, k, rois.columns, block.bin_column, block.left, block.right);
                }
                found += gather_met(meets, k, met + found, counts);
            }
            for (int m = 0; m < found; m += tiles.abreast) {
                bool more = false;
                do {
                    /* each warp prepares one RoI for all that share its tile */
                    if (m + number < found && (!more || shares[warp].more)) {
                        const int64 k = met[m + number];
                        if (!more && lane == 0)
                            shares[warp].grad = grad + AT(grad, k, 0, 0, 0);
                        prepare(shares[warp], more, k, axes, block,
                                {block.top + team * ROWS, lane, tiles.columns, pitch}, tiles.room);
                    } else {
                        clear(shares[warp], lane);
                    }
                    __syncthreads();
                    more = false;
                    for (int i = 0; i < WARPS; i++)
                        more |= shares[i].more;
                    for (int i = team * tiles.abreast; i < (team + 1) * tiles.abreast && live; i++) {
                        const Share &share = shares[i];
                        if (share.lines == 0)
                            continue;
                        __syncwarp();
                        stage(share, share.grad + (INDEX)grad_step.c * (INDEX)channel, grad_step, live, lane,
                              pitch, staged[warp]);
                        __syncwarp();
                        piles_count(share.terms, held, sums, piles);
                        add_share(share, staged[warp] + set, pitch,
                                  share.along[0] + (lane & (tiles.columns - 1)), sums);
                    }
                    __syncthreads();
                } while (more);
            }
        }
        if (held >= PILED)
#pragma unroll
            for (int i = 0; i < ROWS * GROUP; i++)
                sums[i] = piles_finish(sums[i], held, piles, i);
        const int top = block.top + team * ROWS, rows = rois.height - top;
        const int column = block.left + (lane & (tiles.columns - 1));
        if (column < block.right) {
            STORED *target = out + AT(out, block.n, channel + set * GROUP, top, column);
            if (tiles.apart)
                target += (INDEX)tiles.apart * (INDEX)(block.bin_row * rois.columns + block.bin_column);
#pragma unroll
            for (int v = 0; v < GROUP; v++)
                if (set * GROUP + v < live) {
                    STORED *pixel = target + (INDEX)out_step.c * v;
#pragma unroll
                    for (int r = 0; r < ROWS; r++) {
                        if (r < rows)
                            *pixel = rounded_to<STORED>(sums[r * GROUP + v]);
                        pixel += out_step.y;
                    }
                }
        }
    }
}
