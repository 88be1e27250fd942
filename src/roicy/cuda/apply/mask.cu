/* Masks pasted into images, or into the parts of them that they reach.
 *
 * A block takes ROWS rows of a mask's window. A thread computes once between which columns of the mask a column of
 * the window lies. Values are interpolated as on the CPU, between columns and then between rows, with the same bits.
 *
 *     SOFT     write the values, instead of whether they reach the threshold */
#include "lanes/types.cuh"

#include "geometry/rois.h"

#include "geometry/paste.h"

#if SOFT
typedef float PASTED;
#else
typedef uint8 PASTED;
#endif

/* What a call is about, and in what parts. */
struct Pasting {
    const BOX *boxes;    /* (masks, 4) */
    const int64 *start;  /* items of the output before each window; null: it has whole images */
    int64 masks, groups; /* of ROWS rows, of a window at the most */
    double threshold;
    int rows, columns, height, width; /* of a mask, of the image */
    int rule;
};

struct MaskWindow {
    PasteSide y, x;
    bool valid;
};

/* The part of the image that a mask reaches: without a threshold all of it where its box is none. */
INLINE MaskWindow window_of(const Pasting &pasting, int64 k) {
    const BOX *box = pasting.boxes + 4 * k;
    MaskWindow window = {};
    window.valid = isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]);
    if (window.valid) {
        const int columns = pasting.columns, rule = pasting.rule;
        window.y = paste_side(box[1], box[3], pasting.rows, columns, pasting.height, rule);
        window.x = paste_side(box[0], box[2], columns, columns, pasting.width, rule);
    } else if (SOFT) {
        window.y.high = pasting.height;
        window.x.high = pasting.width;
    }
    if (window.y.low == window.y.high || window.x.low == window.x.high) {
        window.y.high = window.y.low;
        window.x.high = window.x.low;
    }
    return window;
}

INLINE REAL between(REAL first, REAL second, REAL fraction) { return madd(fraction, second - first, first); }

/* edges[k] = top, left, bottom, right of the window. */
KERNEL __launch_bounds__(THREADS) windows(const Pasting pasting, int *edges) {
    for (int64 k = blockIdx.x * (int64)THREADS + threadIdx.x; k < pasting.masks;
         k += gridDim.x * (int64)THREADS) {
        const MaskWindow window = window_of(pasting, k);
        edges[4 * k] = window.y.low;
        edges[4 * k + 1] = window.x.low;
        edges[4 * k + 2] = window.y.high;
        edges[4 * k + 3] = window.x.high;
    }
}

/* Writes the windows; the area around them is filled already. */
KERNEL __launch_bounds__(THREADS, 1)
    paste(VIEW(const STORED, masks), VIEW(PASTED, out), const Pasting pasting) {
    const int rows = pasting.rows, columns = pasting.columns;
    const REAL threshold = (REAL)pasting.threshold;
    for (int64 task = blockIdx.x; task < pasting.masks * pasting.groups; task += gridDim.x) {
        const int64 k = task / pasting.groups, group = task - k * pasting.groups;
        const MaskWindow window = window_of(pasting, k);
        const int64 first = window.y.low + group * ROWS;
        if (first >= window.y.high)
            continue;
        const int end = (int)min(first + ROWS, (int64)window.y.high);
        const int64 width = window.x.high - window.x.low;
        auto value = [&](int y, int x) -> REAL {
            const bool inside = y >= 0 && y < rows && x >= 0 && x < columns;
            return inside ? real_of(masks[AT(masks, k, 0, y, x)]) : (REAL)0;
        };
        for (int64 x = window.x.low + threadIdx.x; x < window.x.high; x += THREADS) {
            const MaskPlace across = paste_at(window.x, (int)x);
            const REAL right = (REAL)across.fraction;
            for (int y = (int)first; y < end; y++) {
                const MaskPlace down = paste_at(window.y, y);
                const int above = down.before, before = across.before;
                REAL mixed = not_a_number();
                if (window.valid)
                    mixed = between(between(value(above, before), value(above, before + 1), right),
                                    between(value(above + 1, before), value(above + 1, before + 1), right),
                                    (REAL)down.fraction);
                PASTED *target =
                    pasting.start == nullptr
                        ? out + AT(out, k, 0, y, x)
                        : out + pasting.start[k] + (int64)(y - window.y.low) * width + (x - window.x.low);
                *target = SOFT ? (PASTED)mixed : (PASTED)(mixed >= threshold);
            }
        }
    }
}
