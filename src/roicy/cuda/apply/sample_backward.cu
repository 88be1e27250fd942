/* The transpose of sample tables: every pixel gathers its share of the gradients of the bins, without
 * atomics.
 *
 * A block takes a tile of pixels and some channels, and goes through the RoIs of the image in ascending order.
 * First, each thread takes a pixel and a RoI, finds the few samples that can touch the pixel, and lists the weight of
 * each bin. Then each thread sums some channels of a pixel:
 *
 *     (pixel, RoI) ──▶ list of (bin, weight) ──▶ sum over RoIs and bins, ascending, of weight * gradient
 *
 * So each weight is computed once for all channels of the block, and the bits are the same in every run.
 * Where a pixel gets very many terms, they are summed in pieces. Lanes lie along the pixels; where a
 * thread has several PIXELS, for maps that lie pixel by pixel, along the channels. */
#include "lanes/piles.cuh"
#include "tables/sample.cuh"

#define OWN ((int)(OWN_BYTES / sizeof(REAL)))                /* sums of a thread */
#define ENTRIES ((int)(64 / (sizeof(REAL) + sizeof(INDEX)))) /* of the list of a pixel and a RoI */
#define COLUMNS 4                                            /* of samples that are turned at a time */

/* blocks of a multiprocessor */
constexpr int RESIDENT = __CUDA_ARCH__ >= 750 && sizeof(REAL) + sizeof(BOX) + sizeof(INDEX) == 12 ? 2 : 1;

typedef decltype(REAL() + BOX()) WIDE; /* the wider of both */

struct Tile {
    int64 image;
    Candidates candidates;
    int top, left, bottom, right;
    INDEX step; /* from a channel of a thread to the next, in the gradient of the output */
};

struct Block {
    Tile tile; /* in shared memory, to save registers */
    int64 met[THREADS];
    int counts[THREADS / 32], more[THREADS / 32];
    int listed[THREADS];
    REAL weights[ENTRIES][THREADS];
    INDEX offsets[ENTRIES][THREADS];
};

struct Near {
    /* the part of a side of the box in which samples can touch a pixel, and the bins that reach into it */
    BOX low, high;
    BOX per; /* samples in one unit of length */
    int first, last;
};

struct Numbers {
    int first, last;
};

/* The numbers i in [0, count) with a position in [i, i + size] that lies between two others. */
INLINE Numbers whole_numbers(BOX one, BOX other, BOX size, int count) {
    const BOX from = ceil((one < other ? one : other) - size), to = floor(one < other ? other : one);
    Numbers numbers = {0, count - 1};
    if (from > 0)
        numbers.first = from < count ? (int)from : count;
    if (to < count)
        numbers.last = to >= 0 ? (int)to : -1;
    return numbers;
}

/* What rounding may move a sample by along a side. */
INLINE BOX slack_of(BOX start) {
    return 16 * (sizeof(BOX) == sizeof(float) ? (BOX)1.1920929e-07 : (BOX)2.220446049250313e-16) *
           fabs(start);
}

INLINE Near near_of(BOX middle, BOX margin, BOX start, BOX bin_size, BOX count, int bins) {
    const BOX slack = slack_of(start), low = middle - margin - slack, high = middle + margin + slack;
    const Numbers over = whole_numbers((low - start) / bin_size, (high - start) / bin_size, 1, bins);
    return {low, high, count / bin_size, over.first, over.last};
}

/* Numbers of samples of a bin that may lie between `low` and `high`; all of them where bins have no size. */
INLINE Numbers samples_of(const Near &near, BOX base, bool moved, int count) {
    if (!isfinite(near.per))
        return {0, count - 1};
    const BOX slack = moved ? slack_of(base) : (BOX)0;
    return whole_numbers((near.low - slack - base) * near.per - (BOX)0.5,
                         (near.high + slack - base) * near.per - (BOX)0.5, 0, count);
}

/* Whether samples of a bin that is moved, and begins there, may lie between `low` and `high`. */
INLINE bool overlaps(const Near &near, BOX base, BOX bin_size) {
    const BOX slack = slack_of(base), end = base + bin_size;
    return isfinite(base) && fmin(base, end) - slack <= near.high && fmax(base, end) + slack >= near.low;
}

INLINE bool reaches(const Near &near, BOX position) { return position >= near.low && position <= near.high; }

/* The weight of a sample on a pixel, below 0 where it does not touch it: samples beyond the centres of the
 * first and the last pixel belong to those. */
INLINE WIDE weight_on(BOX position, int pixel, int length) {
    const BOX inside = position < 0 ? (BOX)0 : (position > length - 1 ? (BOX)(length - 1) : position);
    const WIDE distance = (WIDE)inside - (WIDE)pixel;
    return distance < 1 ? 1 - fabs(distance) : (WIDE)-1;
}

struct Pixel {
    int row, column, height, width; /* and of the map that it is in */
};

struct Touch {
    /* what a bin weighs on a pixel, if any of its samples touches that */
    REAL weight;
    bool any;
};

INLINE void add(Touch &touch, Point at, const Pixel &pixel, REAL run) {
    if (hits(at, pixel.height, pixel.width)) {
        const WIDE y = weight_on(at.y, pixel.row, pixel.height),
                   x = weight_on(at.x, pixel.column, pixel.width);
        if (y >= 0 && x >= 0) {
            touch.weight = madd((REAL)y * run, (REAL)x, touch.weight);
            touch.any = true;
        }
    }
}

/* Goes through the positions in [low, high] at which samples of a bin lie, on a grid so fine that they share
 * some, and calls visit(position, part of the samples) for each. */
template <class Visit>
INLINE void for_positions(BOX base, BOX bin_size, BOX count, BOX low, BOX high, Visit visit) {
    const Span span = {count, 0, -1, bin_size < 0};
    BOX position = low;
    double first = 0;
#pragma unroll 1
    for (bool found = false; position <= high; found = true) {
        const double next = bisect(base, bin_size, span, -1, count, position, found);
        if (found)
            visit(position, (REAL)((next - first) / count));
        if (next >= count)
            break;
        position = position_at(base, bin_size, span, next);
        first = next;
    }
}

/* What bin (p, q) weighs. */
INLINE Touch touch_of(const RotatedBox &box, const Bins &bins, const Near &near_y, const Near &near_x, int p,
                      int q, const Pixel &pixel) {
    Touch touch = {0, false};
    const BOX base_y = row_base(box, bins, p, q), base_x = column_base(box, bins, p, q);
    if (bins.moved() && !(overlaps(near_y, base_y, box.bin_y) && overlaps(near_x, base_x, box.bin_x)))
        return touch;
    if (box.count_y <= (BOX)FINE_GRID && box.count_x <= (BOX)FINE_GRID) {
        const Numbers down = samples_of(near_y, base_y, bins.moved(), (int)box.count_y);
        const Numbers along = samples_of(near_x, base_x, bins.moved(), (int)box.count_x);
        for (int first = along.first; first <= along.last; first += COLUMNS) {
            Point columns[COLUMNS];
            bool reached = false;
#pragma unroll
            for (int i = 0; i < COLUMNS; i++) {
                const BOX position = position_of(base_x, box.bin_x, box.count_x, first + i);
                columns[i] = column_turned(&box, position);
                reached = reached || reaches(near_x, position);
            }
            if (!reached)
                continue;
            Touch part = {0, touch.any}; /* many small weights are summed in parts, which keeps sums exact */
            for (int iy = down.first; iy <= down.last; iy++) {
                const BOX position = position_of(base_y, box.bin_y, box.count_y, iy);
                const Point turned = row_turned(&box, position);
                if (!reaches(near_y, position))
                    continue;
                Touch line = {0, part.any};
#pragma unroll
                for (int i = 0; i < COLUMNS; i++)
                    if (first + i <= along.last)
                        add(line, meeting(&box, turned, columns[i]), pixel, 1);
                part = {part.weight + line.weight, line.any};
            }
            touch = {touch.weight + part.weight, part.any};
        }
        touch.weight /= (REAL)box.count_y * (REAL)box.count_x;
        return touch;
    }
    for_positions(base_y, box.bin_y, box.count_y, near_y.low, near_y.high, [&](BOX y, REAL run_y) {
        for_positions(base_x, box.bin_x, box.count_x, near_x.low, near_x.high, [&](BOX x, REAL run_x) {
            add(touch, meeting(&box, row_turned(&box, y), column_turned(&box, x)), pixel, run_y * run_x);
        });
    });
    return touch;
}

struct Cursor {
    /* a bin, p below 0 before the first one; `more` while bins are left */
    int p, q;
    bool more;
};

/* Goes on through the bins of a box that can touch a pixel; calls note(p, q, weight) for `most` that do. */
template <class Note>
INLINE void list_bins(const RotatedBox &box, const Bins &bins, const Pixel &pixel, int most, Cursor &at,
                      Note note) {
    const BOX y = pixel.row - box.cy, x = pixel.column - box.cx,
              margin = fabs(box.cos) + fabs(box.sin) + box.error;
    Near near_y =
        near_of(y * box.cos + x * box.sin, margin, box.start_y, box.bin_y, box.count_y, bins.rows());
    Near near_x =
        near_of(x * box.cos - y * box.sin, margin, box.start_x, box.bin_x, box.count_x, bins.columns());
    if (bins.moved()) { /* wherever bins are */
        near_y.first = near_x.first = 0;
        near_y.last = bins.rows() - 1;
        near_x.last = bins.columns() - 1;
    }
    if (at.p < 0) {
        at.p = near_y.first;
        at.q = near_x.first;
        at.more = near_y.first <= near_y.last && near_x.first <= near_x.last;
    }
    while (at.more && most > 0) {
        const Touch touch = touch_of(box, bins, near_y, near_x, at.p, at.q, pixel);
        if (touch.any) {
            note(at.p, at.q, touch.weight * factor_of(bins, at.p * bins.columns() + at.q));
            most--;
        }
        if (++at.q > near_x.last) {
            at.q = near_x.first;
            at.more = ++at.p <= near_y.last;
        }
    }
}

/* Adds the weighted bins in the lists of a few pixels to the sums of some channels. */
template <bool ALL>
INLINE void add_lists(const Block &block, int pair, const STORED *__restrict__ grad, int live, REAL *sum,
                      unsigned *held, Piles<OWN / PIXELS> *piles) {
    const int channels = OWN / PIXELS;
    const INDEX step = block.tile.step;
#pragma unroll
    for (int i = 0; i < PIXELS; i++) {
        const int listed = block.listed[pair + i];
        /* pieces end independently of the lengths of lists */
        const bool ends = held[i] % PILED + listed > PILE;
        if (!ends)
            held[i] += listed;
#pragma unroll 1
        for (int e = 0; e < listed; e++) {
            if (ends)
                piles_count(1, held[i], sum + i * channels, piles[i]);
            const REAL weight = block.weights[e][pair + i];
            const STORED *source = grad + block.offsets[e][pair + i];
#pragma unroll
            for (int v = 0; v < channels; v++)
                if (ALL || v < live)
                    sum[i * channels + v] = madd(weight, real_of(source[step * v]), sum[i * channels + v]);
        }
    }
}

/* Channels of the map; rows and columns of a block's pixels. */
struct Division {
    int channels, rows, columns;
};

KERNEL __launch_bounds__(THREADS, RESIDENT)
    sample_backward(VIEW(const STORED, grad), VIEW(STORED, out), const Rotated rotated,
                    const ByImage by_image, const Division division) {
    const Rois &rois = rotated.rois;
    const BOX *__restrict__ boxes = rotated.boxes;
    const int64 *__restrict__ image = rois.image;
    const int *__restrict__ window = rois.window;
    const int64 images = rois.images;
    const int height = rois.height, width = rois.width;
    const int channels = division.channels, tile_rows = division.rows, tile_columns = division.columns;
    __shared__ Block block;
    const bool across = PIXELS > 1;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, most = OWN / PIXELS;
    const int pixels = tile_rows * tile_columns, at_once = THREADS / pixels;
    const int channels_at_once = (across ? 32 : at_once) * most;
    const int64 tiles_x = (width - 1) / tile_columns + 1, tiles = ((height - 1) / tile_rows + 1) * tiles_x;
    const int64 parts = (channels - 1) / channels_at_once + 1;
    const int own = across ? warp * PIXELS : warp / at_once * 32 + lane; /* pixel of the thread's sums */
    const int between = across ? 32 : 1;
    for (int64 task = blockIdx.x; task < parts * images * tiles; task += gridDim.x) {
        const Tile &tile = block.tile;
        __syncthreads();
        if (threadIdx.x == 0) {
            const int64 n = task / tiles % images, t = task % tiles;
            const int top = (int)(t / tiles_x) * tile_rows, left = (int)(t % tiles_x) * tile_columns;
            block.tile = {n,
                          candidates_of(n, rois, by_image),
                          top,
                          left,
                          min(top + tile_rows, height),
                          min(left + tile_columns, width),
                          (INDEX)grad_step.c * between};
        }
        __syncthreads();
        const int c =
            (int)(task / tiles / images) * channels_at_once + (across ? lane : warp % at_once * most);
        const int live = c < channels ? min(most, (channels - 1 - c) / between + 1) : 0;
        const STORED *source = grad + (INDEX)grad_step.c * c;
        REAL sum[OWN];
#pragma unroll
        for (int i = 0; i < OWN; i++)
            sum[i] = 0;
        Piles<most> piles[PIXELS];
        unsigned held[PIXELS] = {};
        for (int64 begin = tile.candidates.begin; begin < tile.candidates.end; begin += THREADS) {
            const int64 i = begin + threadIdx.x, end = tile.candidates.end;
            const int64 roi = i < end ? roi_of(i, by_image) : i;
            bool meets = i < end && image[roi] == tile.image;
            if (meets) {
                const Window w = window_at(window, roi);
                meets =
                    w.top < tile.bottom && w.bottom > tile.top && w.left < tile.right && w.right > tile.left;
            }
            const int found = gather_met(meets, roi, block.met, block.counts);
            for (int first = 0; first < found; first += at_once) {
                const int batch = min(at_once, found - first), mine = threadIdx.x / pixels;
                Cursor at = {-1, 0, mine < batch};
                bool begins = true;
                /* Lists that are full are summed up before they go on, and those of the next RoIs after them.
                 */
                for (int next = 0; next < batch; begins = false) {
                    if (begins || mine == next) {
                        int listed = 0;
                        if (at.more) {
                            const int turn = threadIdx.x % pixels;
                            const int row = tile.top + turn / tile_columns,
                                      column = tile.left + turn % tile_columns;
                            const int64 k = block.met[first + mine];
                            const Window w = window_at(window, k);
                            at.more = row >= w.top && row < min(tile.bottom, w.bottom) && column >= w.left &&
                                      column < min(tile.right, w.right);
                            if (at.more)
                                list_bins(
                                    reinterpret_cast<const RotatedBox *>(boxes)[k], bins_of(rotated, k),
                                    {row + rois.top, column + rois.left, rois.map_height, rois.map_width},
                                    ENTRIES, at, [&](int p, int q, REAL weight) {
                                        block.weights[listed][threadIdx.x] = weight;
                                        block.offsets[listed][threadIdx.x] = AT(grad, k, 0, p, q);
                                        listed++;
                                    });
                        }
                        block.listed[threadIdx.x] = listed;
                        const unsigned votes = __ballot_sync(~0u, at.more);
                        if (lane == 0)
                            block.more[warp] = votes != 0;
                    }
                    __syncthreads();
                    for (bool more = false; next < batch; next++) {
                        if (live == most)
                            add_lists<true>(block, next * pixels + own, source, live, sum, held, piles);
                        else
                            add_lists<false>(block, next * pixels + own, source, live, sum, held, piles);
                        for (int i = next * pixels / 32; i < (next + 1) * pixels / 32; i++)
                            more = more || block.more[i];
                        if (more)
                            break;
                    }
                    __syncthreads();
                }
            }
        }
#pragma unroll
        for (int i = 0; i < OWN; i++) {
            const int v = i % most, pixel = own + i / most;
            const int y = tile.top + pixel / tile_columns, x = tile.left + pixel % tile_columns;
            if (v < live && y < tile.bottom && x < tile.right)
                out[AT(out, tile.image, c + between * v, y, x)] =
                    rounded_to<STORED>(piles_finish(sum[i], held[i / most], piles[i / most], v));
        }
    }
}
