/* LANES pixels by LANES channels, between the planes of a caller's array and a tile.
 *
 *   memory: channel-major                     registers: pixel-major
 *   c0: p0 p1 p2 ...                          p0: c0 c1 c2 ...
 *   c1: p0 p1 p2 ...        <-------->        p1: c0 c1 c2 ...
 */
#ifndef ROICY_BLOCKS_H
#define ROICY_BLOCKS_H

#include "elements.h"
#include "long_sums.h"

enum { LINE_LANES = 64 / sizeof(real) }; /* elements of a cache line */
enum { BURST = 4 * LINE_LANES };         /* elements of a plane that are streamed together */

/* A block of channels outside, whose elements along a row are neighbours. */
typedef struct {
    ptrdiff_t step;    /* bytes from one channel to the next */
    const char *limit; /* of an array that is read: nothing is from there on */
    int channels, dtype;
} planes;

ROICY_INLINE void lanes_transpose(lanes r[]) {
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    __m512 a[16], b[16];
    for (int i = 0; i < 8; i++) {
        a[2 * i] = _mm512_unpacklo_ps((__m512)r[2 * i], (__m512)r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_ps((__m512)r[2 * i], (__m512)r[2 * i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; h++) {
            __m512d low = _mm512_castps_pd(a[i + h]), high = _mm512_castps_pd(a[i + 2 + h]);
            b[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            b[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0x88);
        a[4 + i] = _mm512_shuffle_f32x4(b[i], b[4 + i], 0xdd);
        a[8 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0x88);
        a[12 + i] = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = (lanes)_mm512_shuffle_f32x4(a[i], a[8 + i], 0x88);
        r[8 + i] = (lanes)_mm512_shuffle_f32x4(a[i], a[8 + i], 0xdd);
        r[4 + i] = (lanes)_mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0x88);
        r[12 + i] = (lanes)_mm512_shuffle_f32x4(a[4 + i], a[12 + i], 0xdd);
    }
#elif defined(__AVX512F__)
    __m512d a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm512_unpacklo_pd((__m512d)r[2 * i], (__m512d)r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_pd((__m512d)r[2 * i], (__m512d)r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        b[i] = _mm512_shuffle_f64x2(a[i], a[2 + i], 0x88);
        b[2 + i] = _mm512_shuffle_f64x2(a[i], a[2 + i], 0xdd);
        b[4 + i] = _mm512_shuffle_f64x2(a[4 + i], a[6 + i], 0x88);
        b[6 + i] = _mm512_shuffle_f64x2(a[4 + i], a[6 + i], 0xdd);
    }
    for (int i = 0; i < 2; i++) {
        r[i] = (lanes)_mm512_shuffle_f64x2(b[i], b[4 + i], 0x88);
        r[4 + i] = (lanes)_mm512_shuffle_f64x2(b[i], b[4 + i], 0xdd);
        r[2 + i] = (lanes)_mm512_shuffle_f64x2(b[2 + i], b[6 + i], 0x88);
        r[6 + i] = (lanes)_mm512_shuffle_f64x2(b[2 + i], b[6 + i], 0xdd);
    }
#elif defined(__AVX__) && !defined(ROICY_DOUBLE)
    __m256 a[8], b[8];
    for (int i = 0; i < 4; i++) {
        a[2 * i] = _mm256_unpacklo_ps((__m256)r[2 * i], (__m256)r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_ps((__m256)r[2 * i], (__m256)r[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int h = 0; h < 2; h++) {
            b[i + 2 * h] = _mm256_shuffle_ps(a[i + h], a[i + 2 + h], 0x44);
            b[i + 2 * h + 1] = _mm256_shuffle_ps(a[i + h], a[i + 2 + h], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        r[i] = (lanes)_mm256_permute2f128_ps(b[i], b[4 + i], 0x20);
        r[4 + i] = (lanes)_mm256_permute2f128_ps(b[i], b[4 + i], 0x31);
    }
#elif defined(__AVX__)
    __m256d a[4];
    for (int i = 0; i < 2; i++) {
        a[2 * i] = _mm256_unpacklo_pd((__m256d)r[2 * i], (__m256d)r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_pd((__m256d)r[2 * i], (__m256d)r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[i] = (lanes)_mm256_permute2f128_pd(a[i], a[2 + i], 0x20);
        r[2 + i] = (lanes)_mm256_permute2f128_pd(a[i], a[2 + i], 0x31);
    }
#elif defined(ROICY_X86) && defined(__GNUC__) && !defined(ROICY_DOUBLE)
    __m128 a = (__m128)r[0], b = (__m128)r[1], c = (__m128)r[2], d = (__m128)r[3];
    _MM_TRANSPOSE4_PS(a, b, c, d);
    r[0] = (lanes)a, r[1] = (lanes)b, r[2] = (lanes)c, r[3] = (lanes)d;
#else
    for (int i = 0; i < LANES; i++)
        for (int j = i + 1; j < LANES; j++) {
            real swap = ROICY_LANE(r[i], j);
            ROICY_LANE(r[i], j) = ROICY_LANE(r[j], i);
            ROICY_LANE(r[j], i) = swap;
        }
#endif
}

/* LANES elements each of as many rows, which lie `step` bytes apart, transposed: of planes, r[i] is a pixel.
 */
ROICY_INLINE void lanes_load_square(const char *source, ptrdiff_t step, lanes r[], const int dtype) {
#if defined(__AVX__) && !defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    if (dtype == FLOAT32) { /* halves are put together by the loads: a third less to shuffle */
        for (int h = 0; h < 2; h++) {
            __m256 a[4], b[4];
            for (int c = 0; c < 4; c++) {
                const float *low = (const float *)(source + c * step) + 4 * h;
                const float *high = (const float *)(source + (4 + c) * step) + 4 * h;
                a[c] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
            }
            for (int c = 0; c < 4; c += 2) {
                b[c] = _mm256_unpacklo_ps(a[c], a[c + 1]);
                b[c + 1] = _mm256_unpackhi_ps(a[c], a[c + 1]);
            }
            r[4 * h] = (lanes)_mm256_shuffle_ps(b[0], b[2], 0x44);
            r[4 * h + 1] = (lanes)_mm256_shuffle_ps(b[0], b[2], 0xee);
            r[4 * h + 2] = (lanes)_mm256_shuffle_ps(b[1], b[3], 0x44);
            r[4 * h + 3] = (lanes)_mm256_shuffle_ps(b[1], b[3], 0xee);
        }
        return;
    }
#elif defined(__AVX__) && !defined(__AVX512F__)
    if (dtype == FLOAT64) {
        for (int h = 0; h < 2; h++) {
            __m256d a[2];
            for (int c = 0; c < 2; c++) {
                const double *low = (const double *)(source + c * step) + 2 * h;
                const double *high = (const double *)(source + (2 + c) * step) + 2 * h;
                a[c] = _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(low)), _mm_loadu_pd(high), 1);
            }
            r[2 * h] = (lanes)_mm256_unpacklo_pd(a[0], a[1]);
            r[2 * h + 1] = (lanes)_mm256_unpackhi_pd(a[0], a[1]);
        }
        return;
    }
#endif
    ROICY_EACH(c) r[c] = lanes_load(source + c * step, dtype);
    lanes_transpose(r);
}

/* LANES neighbouring pixels of the planes, a vector a pixel, `stride` vectors apart, into `target`. Of a
 * row's last pixels `count` are left; a load that would end past the limit is cut short. */
ROICY_INLINE void block_load_as(const planes *from, const char *source, int count, lanes *target,
                                ptrdiff_t stride, const int dtype) {
    const ptrdiff_t full = LANES * (ptrdiff_t)element_size(dtype), step = from->step;
    const char *const limit = from->limit;
    const int channels = from->channels;
    lanes r[ROICY_LANE_COUNT];
    if (channels == LANES && count == LANES) {
        lanes_load_square(source, step, r, dtype);
        ROICY_EACH(i) target[i * stride] = r[i];
        return;
    }
    ROICY_EACH(c) {
        const char *row = source + c * step;
        if (c >= channels)
            r[c] = lanes_zero();
        else if (count == LANES || row + full <= limit)
            r[c] = lanes_load(row, dtype);
        else
            r[c] = lanes_load_part(row, count, dtype);
    }
    lanes_transpose(r);
    for (int i = 0; i < count; i++)
        target[i * stride] = r[i];
}

ROICY_NOINLINE void lanes_load_block(const planes *from, const char *source, int count, lanes *target,
                                     ptrdiff_t stride){
    ROICY_READ_AS(from -> dtype, block_load_as, from, source, count, target, stride)}

/* `count` pixels that lie `column` bytes apart. */
ROICY_NOINLINE void lanes_load_pixels(const planes *from, const char *source, ptrdiff_t column,
                                      ptrdiff_t count, lanes *target, ptrdiff_t stride) {
    for (ptrdiff_t i = 0; i < count; i++)
        target[i * stride] = lanes_load_pixel(source + i * column, from->step, from->channels, from->dtype);
}

/* Whether there are LANES planes, and whole vectors can be read at `offset` bytes in each row. Only the first and the
 * last plane and row are checked, since one of them ends last. */
ROICY_INLINE int block_is_whole(const planes *from, const char *const *source, int rows, ptrdiff_t offset,
                                int count, const int dtype) {
    const char *const row = source[0] < source[rows - 1] ? source[rows - 1] : source[0];
    const ptrdiff_t plane = from->step > 0 ? (LANES - 1) * from->step : 0;
    return from->channels == LANES &&
           (count == LANES || row + offset + plane + LANES * (ptrdiff_t)element_size(dtype) <= from->limit);
}

/* The weighted sum of `rows` rows of the planes, each of them from `offset` bytes on, else as
 * lanes_load_block. */
ROICY_INLINE void block_blend_as(const planes *from, const char *const *source, const real *weight, int rows,
                                 ptrdiff_t offset, int count, lanes *target, const int dtype) {
    const ptrdiff_t step = from->step;
    const int channels = from->channels;
    lanes r[ROICY_LANE_COUNT];
    if (block_is_whole(from, source, rows, offset, count, dtype)) {
        const char *row = source[0] + offset;
        ROICY_EACH(c) r[c] = lanes_scale(weight[0], lanes_load(row + c * step, dtype));
        for (int j = 1; j < rows; j++) {
            row = source[j] + offset;
            ROICY_EACH(c) r[c] = lanes_madd(weight[j], lanes_load(row + c * step, dtype), r[c]);
        }
    } else {
        ROICY_EACH(c) r[c] = lanes_zero();
        for (int c = 0; c < channels; c++)
            for (int j = 0; j < rows; j++) {
                lanes x = lanes_load_part(source[j] + offset + c * step, count, dtype);
                r[c] = j ? lanes_madd(weight[j], x, r[c]) : lanes_scale(weight[0], x);
            }
    }
    lanes_transpose(r);
    for (int i = 0; i < count; i++)
        target[i] = r[i];
}

/* Sums of few channels, or at the end of a map: rare, so one function serves all cases. */
ROICY_NOINLINE void block_blend_long_part(const planes *from, const char *const *source, const real *weight,
                                          int rows, ptrdiff_t offset, int count, lanes *sum) {
    for (int c = 0; c < from->channels; c++)
        ROICY_LONG_SUM(sum + c, weight, rows, 1,
                       lanes_load_part(source[j] + offset + c * from->step + v, count, from->dtype));
}

ROICY_INLINE void block_blend_long_as(const planes *from, const char *const *source, const real *weight,
                                      int rows, ptrdiff_t offset, int count, lanes *target, const int dtype) {
    const ptrdiff_t step = from->step;
    lanes r[ROICY_LANE_COUNT];
    ROICY_EACH(c) r[c] = lanes_zero();
    if (block_is_whole(from, source, rows, offset, count, dtype))
        ROICY_LONG_SUM(r, weight, rows, LANES, lanes_load(source[j] + offset + v * step, dtype));
    else
        block_blend_long_part(from, source, weight, rows, offset, count, r);
    lanes_transpose(r);
    for (int i = 0; i < count; i++)
        target[i] = r[i];
}

/* The same for more rows than a chain has terms. */
ROICY_NOINLINE void block_blend_long(const planes *from, const char *const *source, const real *weight,
                                     int rows, ptrdiff_t offset, int count, lanes *target){
    ROICY_READ_AS(from -> dtype, block_blend_long_as, from, source, weight, rows, offset, count, target)}

ROICY_NOINLINE void lanes_blend_block(const planes *from, const char *const *source, const real *weight,
                                      int rows, ptrdiff_t offset, int count, lanes *target) {
    if (rows > PIECE)
        block_blend_long(from, source, weight, rows, offset, count, target);
    else
        ROICY_READ_AS(from->dtype, block_blend_as, from, source, weight, rows, offset, count, target)
}

ROICY_INLINE void lanes_stream(lanes x, char *target) {
    ROICY_ASSERT((uintptr_t)target % sizeof x == 0);
#if defined(__SANITIZE_ADDRESS__) /* which does not see what these instructions write */
    memcpy(target, &x, sizeof x);
#elif defined(__AVX512F__)
    _mm512_stream_si512((__m512i *)target, (__m512i)x);
#elif defined(__AVX__)
    _mm256_stream_si256((__m256i *)target, (__m256i)x);
#elif defined(ROICY_X86) && defined(__GNUC__)
    _mm_stream_si128((__m128i *)target, (__m128i)x);
#else
    memcpy(target, &x, sizeof x);
#endif
}

/* The way back: `count` pixels, a vector each and `stride` vectors apart, into planes. */
ROICY_INLINE void block_store_as(const lanes *source, ptrdiff_t stride, const planes *to, char *target,
                                 int count, const int dtype) {
    const ptrdiff_t step = to->step;
    const int channels = to->channels;
    lanes r[ROICY_LANE_COUNT];
    if (count == LANES) {
        lanes_load_square((const char *)source, stride * (ptrdiff_t)sizeof(lanes), r, OWN);
        if (channels == LANES)
            ROICY_EACH(c) lanes_store(r[c], target + c * step, dtype);
        else
            for (int c = 0; c < channels; c++)
                lanes_store(r[c], target + c * step, dtype);
        return;
    }
    ROICY_EACH(i) r[i] = i < count ? source[i * stride] : lanes_zero();
    lanes_transpose(r);
    for (int c = 0; c < channels; c++)
        lanes_store_part(r[c], target + c * step, count, dtype);
}

ROICY_NOINLINE void lanes_store_block(const lanes *source, ptrdiff_t stride, const planes *to, char *target,
                                      int count){
    ROICY_WRITE_AS(to -> dtype, block_store_as, source, stride, to, target, count)}

/* Of pixels that lie `column` bytes apart. */
ROICY_NOINLINE void lanes_store_pixels(const lanes *source, ptrdiff_t stride, const planes *to, char *target,
                                       ptrdiff_t column, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++)
        lanes_store_pixel(source[i * stride], target + i * column, to->step, to->channels, to->dtype);
}

/* As lanes_store_block, past the cache: elements of type real, whole cache lines of every plane, `count`
 * pixels, at most BURST. The parts of a line follow each other, or processors write each of them to memory by itself. */
ROICY_NOINLINE void lanes_stream_block(const lanes *source, ptrdiff_t stride, const planes *to, char *target,
                                       int count) {
    lanes plane[ROICY_LANE_COUNT][BURST / ROICY_LANE_COUNT], r[ROICY_LANE_COUNT];
    for (int i = 0; i < count / LANES; i++, source += LANES * stride) {
        lanes_load_square((const char *)source, stride * (ptrdiff_t)sizeof(lanes), r, OWN);
        ROICY_EACH(c) plane[c][i] = r[c];
    }
    for (int c = 0; c < to->channels; c++, target += to->step)
        for (int i = 0; i < count / LANES; i++)
            lanes_stream(plane[c][i], target + i * (ptrdiff_t)sizeof(lanes));
}

/* `count` pixels channel by channel into one piece of memory, with room for LANES elements more behind it.
 * The last vectors of a channel may overlap the next one's start: they go first. */
ROICY_INLINE void chunk_store_as(const lanes *source, char *target, ptrdiff_t count, int channels,
                                 const int dtype) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    const planes to = {count * size, NULL, channels, dtype};
    for (ptrdiff_t i = (count - 1) / LANES * LANES; i >= 0; i -= LANES)
        block_store_as(source + i, 1, &to, target + i * size, LANES, dtype);
}

ROICY_NOINLINE void lanes_store_chunk(const lanes *source, char *target, ptrdiff_t count, int channels,
                                      int dtype){
    ROICY_WRITE_AS(dtype, chunk_store_as, source, target, count, channels)}

/* Copies past the cache: whole cache lines are streamed, the ends are stored. */
ROICY_NOINLINE void lanes_stream_bytes(char *target, const char *source, size_t size) {
    size_t head = (64 - ((uintptr_t)target & 63)) & 63;
    if (head > size)
        head = size;
    memcpy(target, source, head);
    target += head, source += head, size -= head;
    for (; size >= 64; target += 64, source += 64, size -= 64)
        for (int i = 0; i < 64; i += ROICY_LANE_BYTES) {
            lanes x;
            memcpy(&x, source + i, sizeof x);
            lanes_stream(x, target + i);
        }
    memcpy(target, source, size);
}

#endif
