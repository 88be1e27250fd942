/* The gradient of a maximum: each output's goes to the pixel that was chosen. */
#include "apply/owned.cuh"

struct Named {
    Rois rois;
    int *bounds; /* the lowest and the highest pixel of each RoI, and then of each row of its bins */
};

/* Some of a lane's bins: from where the gradient comes, and it. */
struct Terms {
    int at[AT_ONCE];
    STORED value[AT_ONCE];
};

KERNEL __launch_bounds__(32 * WARPS, RESIDENT)
    range_backward(VIEW(const STORED, gradient), VIEW(const int, argmax), VIEW(STORED, out),
                   const Named named, const Target target) {
    const int64 *__restrict__ image = named.rois.image;
    const int2 *__restrict__ bounds = reinterpret_cast<const int2 *>(named.bounds);
    const int rows = named.rois.rows, columns = named.rois.columns;
    extern __shared__ Sum all_sums[];
    __shared__ List list;
    __shared__ Crowd crowds[WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool joined =
        gradient_step.y == columns * gradient_step.x && argmax_step.y == columns * argmax_step.x;
    Sum *sums = all_sums + warp * target.size;
    Crowd &crowd = crowds[warp];
    clear_crowd(crowd);
    for (int64 task = blockIdx.x; task < target.tasks; task += gridDim.x) {
        const Owned owned = owned_by(task, target);
        const int c = owned.channel + min(warp, owned.channels - 1);
        const int64 end = owned.first + owned.pixels;
        clear_sums(sums, owned.pixels);
        auto inside = [&](int2 own) { return own.x < end & own.y >= owned.first; };
        /* both numbers are read at once, without a branch in between */
        auto meets = [&](int64 k) { return image[k] == owned.n & inside(bounds[k * (1 + rows)]); };
        auto rows_met = [&](int64 k) {
            if (rows > MANY_ROWS)
                return Rows{0, rows};
            Rows met = {rows, 0};
            for (int p = 0; p < rows; p++)
                if (inside(bounds[k * (1 + rows) + 1 + p])) {
                    met.low = min(met.low, p);
                    met.high = p + 1;
                }
            return met;
        };
        auto read = [&](int first, int count,
                        Terms &terms) { /* beyond the last bin that one again */
#pragma unroll
                                        for (int i = 0; i < AT_ONCE; i++) {
                                            const int listed = min(first + 32 * i + lane, count - 1);
                                            const Met &own = list.met[list.owner[listed]];
                                            const int b = own.base + listed, p = joined ? 0 : b / columns,
                                                      q = b - p * columns;
                                            terms.at[i] = argmax[AT(argmax, own.k, c, p, q)];
                                            terms.value[i] = gradient[AT(gradient, own.k, c, p, q)];
                                        }
        };
        auto walk = [&](int count) {
            if (warp >= owned.channels)
                return;
            Terms terms, next;
            read(0, count, next);
            for (int first = 0; first < count; first += 32 * AT_ONCE) {
                terms = next;
                read(first + 32 * AT_ONCE, count, next);
                Hit hit[AT_ONCE];
                REAL value[AT_ONCE];
#pragma unroll
                for (int i = 0; i < AT_ONCE; i++) {
                    const int at = terms.at[i] - (int)owned.first;
                    hit[i] = {at, first + 32 * i + lane < count && (unsigned)at < (unsigned)owned.pixels};
                    value[i] = real_of(terms.value[i]);
                }
                add_in_order(sums, crowd, hit, value);
            }
        };
        each_bin(candidates_of(owned.n, named.rois, target.by_image), target.by_image, columns, list, meets,
                 rows_met, walk);
        write_sums(owned, all_sums, target, out, out_step);
    }
}
