/* The gradient of a maximum of bilinear samples: it goes to the pixels around the chosen one.
 *
 *     argmax ──▶ its row and its column of samples, looked up ──▶ a lane for each of the 4 pixels of 8 bins ──▶ sums */
#include "apply/grid_chosen.cuh"
#include "apply/owned.cuh"

/* A pixel, and its weight in a sample, along one axis; -1 where the sample misses the map. */
struct alignas(2 * sizeof(REAL)) Corner {
    int pixel;
    REAL weight;
};

/* The first `kept` samples of each bin along y and of each along x, of each the two pixels around it:
 * (K, PH + PW, kept, 2). */
struct Corners {
    Corner *corner;
    int kept;
};

struct Goal {
    Corners corners;
    Target target;
};

KERNEL __launch_bounds__(128) list_corners(const Grid grid, const Corners corners) {
    const int rows = grid.rois.rows, sides = rows + grid.rois.columns;
    const int64 entries = grid.rois.count * sides * corners.kept;
    for (int64 i = blockIdx.x * (int64)blockDim.x + threadIdx.x; i < entries;
         i += gridDim.x * (int64)blockDim.x) {
        const int64 bin = i / corners.kept, k = bin / sides;
        const int axis = bin - k * sides >= rows, length = axis ? grid.rois.map_width : grid.rois.map_height;
        const int begin = axis ? grid.rois.left : grid.rois.top;
        const Bin own = bin_at(grid.bins, grid.steps, bin, 2 * k + axis);
        const double at = other_way(own, (double)(i - bin * corners.kept));
        Corner *two = corners.corner + 2 * i;
        two[0].pixel = two[1].pixel = -1;
        if (!(at >= own.span.first && at <= own.span.last))
            continue;
        const Sample sample = sample_at(own, at, length, grid.rule);
        two[0] = {sample.low - begin, (REAL)sample.low_weight};
        two[1] = {sample.high - begin, (REAL)sample.high_weight};
    }
}

/* A lane's bin: the sample that it chose, its number, and the gradient. */
struct Term {
    int64 k;
    int p, q, number, total; /* `total`: samples of a row */
    STORED value;
};

/* The pixel of a sample that a lane has, of the four in row-major order, and what it gets. */
struct Part {
    int64 at; /* -1 for none */
    REAL value;
};

INLINE Part part_of(const Corner &y, const Corner &x, REAL value, int width) {
    if (y.pixel < 0 || x.pixel < 0)
        return {-1, 0};
    const REAL part = value * y.weight;
    return {y.pixel * (int64)width + x.pixel, part * x.weight};
}

/* The same of samples that are not kept, of the bin that lane `of` has. */
INLINE Part part_of(const Grid &grid, const Term &term, int of) {
    const int lane = threadIdx.x & 31;
    const int64 k = __shfl_sync(~0u, term.k, of);
    const int p = __shfl_sync(~0u, term.p, of), q = __shfl_sync(~0u, term.q, of);
    const int number = __shfl_sync(~0u, term.number, of);
    const REAL value = __shfl_sync(~0u, real_of(term.value), of);
    Chosen y, x;
    if (number < 0 || !chosen(grid, k, p, q, number, y, x))
        return {-1, 0};
    return part_of(lane & 2 ? Corner{y.high, y.high_weight} : Corner{y.low, y.low_weight},
                   lane & 1 ? Corner{x.high, x.high_weight} : Corner{x.low, x.low_weight}, value,
                   grid.rois.width);
}

KERNEL __launch_bounds__(32 * WARPS, sizeof(REAL) == 8 || sizeof(INDEX) == 8 ? 3 : 4)
    grid_backward(VIEW(const STORED, gradient), VIEW(const int, argmax), VIEW(STORED, out), const Grid grid,
                  const Goal goal) {
    const Corners &corners = goal.corners;
    const Target &target = goal.target;
    const int64 *__restrict__ image = grid.rois.image;
    const int *__restrict__ window = grid.rois.window, *__restrict__ totals = grid.total;
    const int2 *__restrict__ bin_rows = reinterpret_cast<const int2 *>(grid.bin_rows);
    const Corner *__restrict__ corner = corners.corner;
    const int rows = grid.rois.rows, columns = grid.rois.columns, width = grid.rois.width;
    extern __shared__ Sum all_sums[];
    __shared__ List list;
    __shared__ Crowd crowds[WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Sum *sums = all_sums + warp * target.size;
    Crowd &crowd = crowds[warp];
    clear_crowd(crowd);
    for (int64 task = blockIdx.x; task < target.tasks; task += gridDim.x) {
        const Owned owned = owned_by(task, target);
        const int c = owned.channel + min(warp, owned.channels - 1);
        const int64 end = owned.first + owned.pixels;
        clear_sums(sums, owned.pixels);
        auto meets = [&](int64 k) {
            const Window part = window_at(window, k);
            return image[k] == owned.n && part.bottom > part.top &&
                   part.top * (int64)width + part.left < end &&
                   (part.bottom - 1) * (int64)width + part.right > owned.first;
        };
        auto rows_met = [&](int64 k) {
            if (rows > MANY_ROWS)
                return Rows{0, rows};
            Rows met = {rows, 0};
            for (int p = 0; p < rows; p++) {
                const int2 own = bin_rows[k * rows + p];
                if (own.x * (int64)width < end && own.y * (int64)width > owned.first) {
                    met.low = min(met.low, p);
                    met.high = p + 1;
                }
            }
            return met;
        };
        auto read = [&](int first, int count) {
            Term term;
            const int listed = min(first + lane, count - 1);
            const Met &own = list.met[list.owner[listed]];
            const int b = own.base + listed;
            term.k = own.k;
            term.p = b / columns;
            term.q = b - term.p * columns;
            term.number = argmax[AT(argmax, own.k, c, term.p, term.q)];
            term.total = totals[own.k * ((int64)rows + columns) + rows + term.q];
            term.value = gradient[AT(gradient, own.k, c, term.p, term.q)];
            return term;
        };
        auto walk = [&](int count) {
            if (warp >= owned.channels)
                return;
            Term term, next = read(0, count);
            for (int first = 0; first < count; first += 32) {
                term = next;
                next = read(first + 32, count);
                /* where the row and the column of the sample are kept, -1 for none */
                int row = -1, column = -1;
                bool all_kept = true;
                if (first + lane >= count || term.total == 0)
                    term.number = -1;
                if (term.number >= 0) {
                    const int y = term.number / term.total, x = term.number - y * term.total;
                    const int64 first_side = term.k * ((int64)rows + columns);
                    all_kept = y < corners.kept && x < corners.kept;
                    if (all_kept) {
                        row = (int)((first_side + term.p) * corners.kept + y);
                        column = (int)((first_side + rows + term.q) * corners.kept + x);
                    }
                }
                all_kept = __all_sync(~0u, all_kept);
                Hit hit[AT_ONCE];
                REAL share[AT_ONCE];
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int of = 8 * i + lane / 4;
                    const int of_row = __shfl_sync(~0u, row, of), of_column = __shfl_sync(~0u, column, of);
                    const REAL value = __shfl_sync(~0u, real_of(term.value), of);
                    Part part = {-1, 0};
                    if (of_row >= 0)
                        part = part_of(corner[2 * of_row + (lane >> 1 & 1)],
                                       corner[2 * of_column + (lane & 1)], value, width);
                    hit[i] = {(int)(part.at - owned.first), part.at >= owned.first && part.at < end};
                    share[i] = part.value;
                }
                if (!all_kept)
#pragma unroll 1
                    for (int i = 0; i < 4; i++) {
                        const Part part = part_of(grid, term, 8 * i + lane / 4);
#pragma unroll
                        for (int j = 0; j < 4; j++)
                            if (i == j) {
                                hit[j] = {(int)(part.at - owned.first),
                                          part.at >= owned.first && part.at < end};
                                share[j] = part.value;
                            }
                    }
                add_in_order(sums, crowd, hit, share);
            }
        };
        each_bin(candidates_of(owned.n, grid.rois, target.by_image), target.by_image, columns, list, meets,
                 rows_met, walk);
        write_sums(owned, all_sums, target, out, out_step);
    }
}
