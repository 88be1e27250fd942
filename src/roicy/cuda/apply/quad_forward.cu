/* Crops of quadrangles: a thread takes up to QUAD channels of a pixel of a crop, and its samples one after the
 * other. Positions and the order of sums are the CPU's.
 *
 * The output type is an argument, not a specialisation, so the source is not compiled for each type. */
#include "apply/numbers.cuh"
#include "lanes/overflow.cuh"
#include "lanes/piles.cuh"
#include "lanes/whole.cuh"
#include "tables/quad.cuh"

/* As in quad.py; those of half precision are there where FLOAT16 and BFLOAT16 are. */
enum { TO_FLOAT32, TO_FLOAT64, TO_FLOAT16, TO_BFLOAT16, TO_UINT8, TO_INT8, TO_UINT16, TO_INT16, TO_BOOL };

/* What a launch is about: crops of the images `first` to `first` + `images`. */
struct Crops {
    const QuadView *views;
    int64 count, first, images;
    Finishing numbers;
    int channels, rows, columns; /* of crops */
    int height, width;           /* of images, of which */
    int top, left;               /* is where those begin that are given */
    int border, nearest, dtype;
    int last; /* whether the channels of a crop lie side by side */
};

INLINE void put(void *out, int64 at, REAL value, int dtype) {
    switch (dtype) {
    case TO_FLOAT32:
        ((float *)out)[at] = value;
        break;
    case TO_FLOAT64:
        ((double *)out)[at] = value;
        break;
#ifdef FLOAT16
    case TO_FLOAT16:
        ((float16 *)out)[at] = rounded_to<float16>(value);
        break;
#endif
#ifdef BFLOAT16
    case TO_BFLOAT16:
        ((bfloat16 *)out)[at] = rounded_to<bfloat16>(value);
        break;
#endif
    case TO_UINT8:
        ((uint8 *)out)[at] = whole_of<uint8>(value, 0, 255);
        break;
    case TO_INT8:
        ((int8 *)out)[at] = whole_of<int8>(value, -128, 127);
        break;
    case TO_UINT16:
        ((uint16 *)out)[at] = whole_of<uint16>(value, 0, 65535);
        break;
    case TO_INT16:
        ((int16 *)out)[at] = whole_of<int16>(value, -32768, 32767);
        break;
    case TO_BOOL:
        ((bool *)out)[at] = whole_of<bool>(value, 0, 1);
        break;
    }
}

/* Sums one channel of a pixel again, by halves and in double precision, after an overflow. */
INLINE REAL settled(REAL value, const QuadView *view, int p, int q, const Crops &crops, const STORED *source,
                    const Strides &step, int64 channel) {
    const QuadMap map = {crops.height, crops.width, crops.border, crops.nearest != 0};
    const int samples = view->rows * view->columns;
    const double most = largest() / 2;
    double half = 0, away = 0;
    for (int sample = 0; sample < samples; sample++) {
        QuadPlace y, x;
        const REAL missing = quad_sample(view, sample, p, q, map, &y, &x);
        away += missing;
        if (missing == 1)
            continue;
        for (int corner = 0; corner < 4; corner++) {
            const int row = y.low - crops.top + (corner > 1 && y.next),
                      column = x.low - crops.left + (corner % 2 && x.next);
            overflow_add(half, (double)y.weight[corner / 2] * x.weight[corner % 2],
                         source[(INDEX)step.y * row + (INDEX)step.x * column]);
        }
    }
    if (crops.numbers.any) {
        half = ((half + 0.5 * away * fill_of(crops.numbers, channel)) / samples -
                0.5 * mean_of(crops.numbers, channel)) *
               scale_of(crops.numbers, channel);
    } else
        half /= samples;
    if (fabs(half) <= most * (1 + ROUNDING))
        return (REAL)(2 * (fabs(half) < most ? half : copysign(most, half)));
    return isinf(half) ? (REAL)half : value;
}

KERNEL __launch_bounds__(THREADS, 1)
    quad_forward(VIEW(const STORED, images), VIEW(void, out), const Crops crops) {
    const QuadView *__restrict__ views = crops.views;
    const int rows = crops.rows, columns = crops.columns, groups = (crops.channels + QUAD - 1) / QUAD;
    const int64 pixels = (int64)rows * columns, count = crops.count * groups * pixels;
    for (int64 i = blockIdx.x * (int64)THREADS + threadIdx.x; i < count; i += gridDim.x * (int64)THREADS) {
        const int64 k = i / (groups * pixels), within = i - k * groups * pixels;
        const int64 pixel = crops.last ? within / groups : within % pixels;
        const int first = QUAD * (int)(crops.last ? within % groups : within / pixels);
        const int p = (int)(pixel / columns), q = (int)(pixel - (int64)p * columns);
        const int64 own = views[k].image, image = own - crops.first;
        if (own < 0 ? crops.first > 0 : image < 0 || image >= crops.images)
            continue;
        const int channels = min(QUAD, crops.channels - first);
        const int samples = own < 0 ? 0 : views[k].rows * views[k].columns;
        const QuadMap map = {crops.height, crops.width, crops.border, crops.nearest != 0};
        const STORED *__restrict__ source = own < 0 ? images : images + AT(images, image, first, 0, 0);
        REAL sums[QUAD] = {}, outside = 0;
        double totals[QUAD] = {}, away = 0; /* of pieces */
        for (int sample = 0; sample < samples; sample++) {
            if (sample > 0 && sample % PILE == 0) {
                away += outside;
                outside = 0;
#pragma unroll
                for (int c = 0; c < QUAD; c++) {
                    totals[c] += sums[c];
                    sums[c] = 0;
                }
            }
            QuadPlace y, x;
            const REAL missing = quad_sample(views + k, sample, p, q, map, &y, &x);
            outside += missing;
            if (missing == 1)
                continue;
            const STORED *const at = source + AT(images, 0, 0, y.low - crops.top, x.low - crops.left);
            const INDEX below = y.next ? (INDEX)images_step.y : 0, right = x.next ? (INDEX)images_step.x : 0;
#pragma unroll
            for (int c = 0; c < QUAD; c++) {
                if (c >= channels)
                    continue;
                const STORED *const own_channel = at + (INDEX)images_step.c * c;
                REAL mixed = real_of(own_channel[0]);
                if (!crops.nearest) {
                    mixed *= y.weight[0] * x.weight[0];
                    mixed = madd(y.weight[0] * x.weight[1], real_of(own_channel[right]), mixed);
                    mixed = madd(y.weight[1] * x.weight[0], real_of(own_channel[below]), mixed);
                    mixed = madd(y.weight[1] * x.weight[1], real_of(own_channel[below + right]), mixed);
                }
                sums[c] += mixed;
            }
        }
#pragma unroll
        for (int c = 0; c < QUAD; c++) {
            if (c >= channels)
                continue;
            REAL value = own < 0 ? not_a_number() : samples > PILE ? (REAL)(totals[c] + sums[c]) : sums[c];
            REAL filled = samples > PILE ? (REAL)(away + outside) : outside;
            if (samples > 1) {
                const REAL share = (REAL)(1.0 / samples);
                value *= share;
                filled *= share;
            }
            if (crops.numbers.any) {
                const int64 channel = first + c;
                value = madd(filled, fill_of(crops.numbers, channel), value);
                value = (value - mean_of(crops.numbers, channel)) * scale_of(crops.numbers, channel);
            }
            if (samples > 0 && overflowed(value))
                value = settled(value, views + k, p, q, crops, source + (INDEX)images_step.c * c, images_step,
                                first + c);
            put(out, AT(out, k, first + c, p, q), value, crops.dtype);
        }
    }
}
