/* Lane primitives: the few operations on a short vector of channels that a C compiler does not find by
 * itself (register transposes, half precision, streaming stores). The algorithms are in the .pyx files.
 *
 * A `lanes` holds LANES values of `real`, one per channel of a block. ROICY_DOUBLE makes `real` a double; the
 * instruction set that the file is compiled for decides LANES. Where a compiler has no vector extension, the
 * same functions are plain loops over a struct. Multiply-adds are written out: the file is compiled without
 * contraction, so that every path through the library rounds alike.
 */
#ifndef ROICY_LANES_H
#define ROICY_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "checks.h"

#if defined(_MSC_VER) && !defined(__clang__)
#define ROICY_INLINE static __forceinline
#define ROICY_NOINLINE static __declspec(noinline)
#define ROICY_ALIGNED(n) __declspec(align(n))
#else
#define ROICY_INLINE static inline __attribute__((always_inline, unused))
#define ROICY_NOINLINE static __attribute__((noinline, unused))
#define ROICY_ALIGNED(n) __attribute__((aligned(n)))
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define ROICY_X86 1
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define ROICY_LANE_BYTES 64
#elif defined(__AVX__)
#define ROICY_LANE_BYTES 32
#else
#define ROICY_LANE_BYTES 16
#endif

#ifdef ROICY_DOUBLE
typedef double real;
#define ROICY_LANE_COUNT (ROICY_LANE_BYTES / 8)
#else
typedef float real;
#define ROICY_LANE_COUNT (ROICY_LANE_BYTES / 4)
#endif

/* Blocks of channels that some kernels take side by side: the shorter the vectors, the more, so that what is
 * common to them costs no more. */
enum { DEPTH = 64 / ROICY_LANE_BYTES };
enum { LANES = ROICY_LANE_COUNT };
enum { LINE_LANES = 64 / sizeof(real) }; /* elements of a cache line */
enum { BURST = 4 * LINE_LANES };         /* elements of a plane that are streamed together */

/* Element types of the arrays outside. INDEX: int32, which in a `lanes` are integers as wide as a `real`. */
enum { FLOAT32, FLOAT64, FLOAT16, BFLOAT16, UINT8, INDEX };
enum { OWN = sizeof(real) == 4 ? (int)FLOAT32 : (int)FLOAT64 }; /* the one that is `real` */

#if defined(__GNUC__)
typedef real lanes __attribute__((vector_size(ROICY_LANE_BYTES)));
#define ROICY_EACH(l) for (int l = 0; l < LANES; l++)
#define ROICY_LANE(x, l) ((x)[l])
#else
typedef struct {
    real lane[ROICY_LANE_COUNT];
} lanes;
#define ROICY_EACH(l) for (int l = 0; l < LANES; l++)
#define ROICY_LANE(x, l) ((x).lane[l])
#endif

/* ---- arithmetic -------------------------------------------------------------------------------------------
 */

/* A vector of the accumulation type, from anywhere. */
ROICY_INLINE lanes lanes_load_own(const char *source) {
    lanes x;
    memcpy(&x, source, sizeof x);
    return x;
}

ROICY_INLINE lanes lanes_fill(real value) {
    lanes x;
#if defined(__GNUC__)
    x = value - (lanes){0}; /* a scalar spreads to every lane; unlike a sum, this keeps the sign of zero */
#else
    ROICY_EACH(l) x.lane[l] = value;
#endif
    return x;
}

ROICY_INLINE lanes lanes_zero(void) { return lanes_fill(0); }

ROICY_INLINE lanes lanes_scale(real weight, lanes x) {
#if defined(__GNUC__)
    return weight * x;
#else
    ROICY_EACH(l) x.lane[l] *= weight;
    return x;
#endif
}

/* a * b + sum, rounded once where the processor has the instruction */
ROICY_INLINE lanes lanes_multiply_add(lanes a, lanes b, lanes sum) {
#if defined(__AVX512F__) && defined(ROICY_DOUBLE)
    return (lanes)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)sum);
#elif defined(__AVX512F__)
    return (lanes)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
#elif defined(__FMA__) && defined(__AVX__) && defined(ROICY_DOUBLE)
    return (lanes)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)sum);
#elif defined(__FMA__) && defined(__AVX__)
    return (lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
#elif defined(__GNUC__)
    return a * b + sum;
#else
    ROICY_EACH(l) sum.lane[l] += a.lane[l] * b.lane[l];
    return sum;
#endif
}

ROICY_INLINE lanes lanes_madd(real weight, lanes x, lanes sum) {
    return lanes_multiply_add(lanes_fill(weight), x, sum);
}

ROICY_INLINE double lanes_sum(lanes x) {
    real copy[ROICY_LANE_COUNT];
    double sum = 0;
    memcpy(copy, &x, sizeof x);
    ROICY_EACH(l) sum += (double)copy[l];
    return sum;
}

/* ---- long sums
 * ----------------------------------------------------------------------------------------------
 *
 * One chain of multiply-adds rounds each of its terms at the size of the sum: for equal values always the
 * same way, so that the error grows with the number of terms. A sum of more than PIECE terms is one of
 * pieces, each a chain. What is lost where a piece joins the sum is kept and joins it at the end.
 */

enum { PIECE = 24 }; /* terms of a chain, at the most */

/* sum + piece, rounded; what the rounding took away is added to `lost`. */
ROICY_INLINE lanes lanes_join(lanes piece, lanes sum, lanes *lost) {
    const lanes total = lanes_madd(1, piece, sum);
    const lanes joined = lanes_madd(-1, sum, total); /* of the piece */
    const lanes stayed = lanes_madd(-1, joined, total);
    *lost = lanes_madd(1, lanes_madd(-1, stayed, sum), lanes_madd(1, lanes_madd(-1, joined, piece), *lost));
    return total;
}

/* The sum with what it lost; of one that is no number, or infinite, there is nothing to be had. */
ROICY_INLINE lanes lanes_restore(lanes sum, lanes lost) {
    lanes kept = lanes_zero();
    ROICY_EACH(l) ROICY_LANE(kept, l) = ROICY_LANE(lost, l) == ROICY_LANE(lost, l) ? ROICY_LANE(lost, l) : 0;
    return lanes_madd(1, kept, sum);
}

/* sum[v] = the sum over taps j of weight[j] * x, an expression of j and v, for v < width. */
#define ROICY_LONG_SUM(sum, weight, taps, width, x)                                                          \
    do {                                                                                                     \
        lanes piece_[width], lost_[width];                                                                   \
        for (int v = 0; v < (width); v++)                                                                    \
            (sum)[v] = lost_[v] = lanes_zero();                                                              \
        for (int begin_ = 0; begin_ < (taps); begin_ += PIECE) {                                             \
            const int end_ = (taps) - begin_ < PIECE ? (taps) : begin_ + PIECE;                              \
            int j = begin_;                                                                                  \
            for (int v = 0; v < (width); v++)                                                                \
                piece_[v] = lanes_scale((weight)[j], x);                                                     \
            for (j++; j < end_; j++)                                                                         \
                for (int v = 0; v < (width); v++)                                                            \
                    piece_[v] = lanes_madd((weight)[j], x, piece_[v]);                                       \
            for (int v = 0; v < (width); v++)                                                                \
                (sum)[v] = begin_ ? lanes_join(piece_[v], (sum)[v], lost_ + v) : piece_[v];                  \
        }                                                                                                    \
        for (int v = 0; v < (width); v++)                                                                    \
            (sum)[v] = lanes_restore((sum)[v], lost_[v]);                                                    \
    } while (0)

/* ---- one element ------------------------------------------------------------------------------------------
 */

ROICY_INLINE float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

ROICY_INLINE uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return bits;
}

/* A half's exponent and fraction sit 13 bits below a float's; the power of two corrects the bias and makes
 * normal numbers of subnormal ones. */
ROICY_INLINE float half_to_float(uint16_t half) {
    uint32_t magnitude = (uint32_t)(half & 0x7fff) << 13;
    float value = float_of_bits(magnitude) * float_of_bits(0x77800000); /* 2^112 */
    uint32_t bits = bits_of_float(value);
    if (magnitude >= 0x0f800000)
        bits |= 0x7f800000; /* infinity and NaN */
    return float_of_bits(bits | (uint32_t)(half & 0x8000) << 16);
}

/* to nearest, ties to even */
ROICY_INLINE uint16_t float_to_half(float value) {
    uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); /* rounds to 2^16 or more */
    if (magnitude < 0x38800000) {         /* subnormal: the adder rounds at 2^-24 */
        float shifted = float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(shifted) - 0x3f000000));
    }
    return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
}

ROICY_INLINE uint16_t float_to_bfloat(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

ROICY_INLINE size_t element_size(int dtype) {
    return dtype == FLOAT64 ? 8 : dtype == FLOAT32 || dtype == INDEX ? 4 : dtype == UINT8 ? 1 : 2;
}

ROICY_INLINE real element_load(const char *source, int dtype) {
    uint16_t half;
    float single;
    double full;
    switch (dtype) {
    case FLOAT32:
        memcpy(&single, source, 4);
        return (real)single;
    case FLOAT64:
        memcpy(&full, source, 8);
        return (real)full;
    case FLOAT16:
        memcpy(&half, source, 2);
        return (real)half_to_float(half);
    case BFLOAT16:
        memcpy(&half, source, 2);
        return (real)float_of_bits((uint32_t)half << 16);
    default:
        return (real)(*(const uint8_t *)source);
    }
}

ROICY_INLINE void index_store(real value, char *target) {
#ifdef ROICY_DOUBLE
    int64_t wide;
    memcpy(&wide, &value, 8);
    int32_t index = (int32_t)wide;
    memcpy(target, &index, 4);
#else
    memcpy(target, &value, 4);
#endif
}

ROICY_INLINE void element_store(real value, char *target, int dtype) {
    uint16_t half;
    float single = (float)value;
    double full = (double)value;
    switch (dtype) {
    case FLOAT32:
        memcpy(target, &single, 4);
        break;
    case FLOAT64:
        memcpy(target, &full, 8);
        break;
    case FLOAT16:
        half = float_to_half(single), memcpy(target, &half, 2);
        break;
    case INDEX:
        index_store(value, target);
        break;
    default:
        half = float_to_bfloat(single), memcpy(target, &half, 2);
        break;
    }
}

/* ---- LANES neighbouring elements
 * --------------------------------------------------------------------------- */

ROICY_INLINE lanes lanes_load(const char *source, int dtype) {
    lanes x;
#ifdef ROICY_DOUBLE
    if (dtype == FLOAT64) {
#else
    if (dtype == FLOAT32) {
#endif
        memcpy(&x, source, sizeof x);
        return x;
    }
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    if (dtype == UINT8)
        return (lanes)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)source)));
    if (dtype == FLOAT16)
        return (lanes)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)source));
    if (dtype == BFLOAT16)
        return (lanes)_mm512_castsi512_ps(
            _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)source)), 16));
#elif defined(__AVX2__) && defined(__F16C__) && !defined(ROICY_DOUBLE)
    if (dtype == UINT8)
        return (lanes)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)source)));
    if (dtype == FLOAT16)
        return (lanes)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)source));
    if (dtype == BFLOAT16)
        return (lanes)_mm256_castsi256_ps(
            _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)source)), 16));
#endif
    real copy[ROICY_LANE_COUNT]; /* a loop over an array is one that compilers vectorise */
    size_t size = element_size(dtype);
    ROICY_EACH(l) copy[l] = element_load(source + (size_t)l * size, dtype);
    memcpy(&x, copy, sizeof x);
    return x;
}

ROICY_INLINE void lanes_store(lanes x, char *target, int dtype) {
#ifdef ROICY_DOUBLE
    if (dtype == FLOAT64) {
#else
    if (dtype == FLOAT32 || dtype == INDEX) {
#endif
        memcpy(target, &x, sizeof x);
        return;
    }
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    if (dtype == FLOAT16) {
        _mm256_storeu_si256((__m256i *)target, _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT));
        return;
    }
#elif defined(__F16C__) && defined(__AVX2__) && !defined(ROICY_DOUBLE)
    if (dtype == FLOAT16) {
        _mm_storeu_si128((__m128i *)target, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
        return;
    }
#endif
    real copy[ROICY_LANE_COUNT];
    size_t size = element_size(dtype);
    memcpy(copy, &x, sizeof x);
    ROICY_EACH(l) element_store(copy[l], target + (size_t)l * size, dtype);
}

/* The first `count` of the elements at `source`, zeros behind them; nothing past them is read. */
ROICY_INLINE lanes lanes_load_part(const char *source, int count, int dtype) {
    ROICY_ALIGNED(64) char copy[ROICY_LANE_BYTES * 2];
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    if (dtype == FLOAT32)
        return (lanes)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), source);
#endif
    memset(copy, 0, sizeof copy);
    memcpy(copy, source, (size_t)count * element_size(dtype));
    return lanes_load(copy, dtype);
}

ROICY_INLINE void lanes_store_part(lanes x, char *target, int count, int dtype) {
    ROICY_ALIGNED(64) char copy[ROICY_LANE_BYTES * 2];
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    if (dtype == FLOAT32 || dtype == INDEX) {
        _mm512_mask_storeu_ps(target, (__mmask16)((1u << count) - 1), (__m512)x);
        return;
    }
#endif
    lanes_store(x, copy, dtype);
    memcpy(target, copy, (size_t)count * element_size(dtype));
}

/* ---- one pixel: a lane per channel, `step` bytes apart
 * -------------------------------------------------------- */

ROICY_INLINE lanes lanes_load_pixel(const char *source, ptrdiff_t step, int count, int dtype) {
    if (step == (ptrdiff_t)element_size(dtype))
        return count == LANES ? lanes_load(source, dtype) : lanes_load_part(source, count, dtype);
    lanes x = lanes_zero();
    for (int l = 0; l < count; l++)
        ROICY_LANE(x, l) = element_load(source + l * step, dtype);
    return x;
}

ROICY_INLINE void lanes_store_pixel(lanes x, char *target, ptrdiff_t step, int count, int dtype) {
    if (step == (ptrdiff_t)element_size(dtype)) {
        if (count == LANES)
            lanes_store(x, target, dtype);
        else
            lanes_store_part(x, target, count, dtype);
        return;
    }
    for (int l = 0; l < count; l++)
        element_store(ROICY_LANE(x, l), target + l * step, dtype);
}

/* ---- LANES pixels by LANES channels
 * --------------------------------------------------------------------------
 *
 *   memory: channel-major                     registers: pixel-major
 *   c0: p0 p1 p2 ...                          p0: c0 c1 c2 ...
 *   c1: p0 p1 p2 ...        <-------->        p1: c0 c1 c2 ...
 */
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

/* LANES neighbouring pixels of `channels` planes that lie `step` bytes apart, a vector a pixel, `stride`
 * vectors apart, into `target`. Of a row's last pixels `count` are left; a load that would end past `limit`
 * is cut short. */
ROICY_INLINE void block_load_as(const char *source, ptrdiff_t step, int channels, int count,
                                const char *limit, lanes *target, ptrdiff_t stride, const int dtype) {
    const ptrdiff_t full = LANES * (ptrdiff_t)element_size(dtype);
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

ROICY_NOINLINE void lanes_load_block(const char *source, ptrdiff_t step, int channels, int count,
                                     const char *limit, lanes *target, ptrdiff_t stride, int dtype) {
    switch (dtype) {
    case FLOAT32:
        block_load_as(source, step, channels, count, limit, target, stride, FLOAT32);
        break;
    case FLOAT64:
        block_load_as(source, step, channels, count, limit, target, stride, FLOAT64);
        break;
    case FLOAT16:
        block_load_as(source, step, channels, count, limit, target, stride, FLOAT16);
        break;
    case BFLOAT16:
        block_load_as(source, step, channels, count, limit, target, stride, BFLOAT16);
        break;
    default:
        block_load_as(source, step, channels, count, limit, target, stride, UINT8);
    }
}

/* The weighted sum of `rows` rows of the planes, else as lanes_load_block. */
ROICY_INLINE void block_blend_as(const char *const *source, const real *weight, int rows, ptrdiff_t offset,
                                 ptrdiff_t step, int channels, int count, const char *limit, lanes *target,
                                 const int dtype) {
    const ptrdiff_t full = LANES * (ptrdiff_t)element_size(dtype);
    lanes r[ROICY_LANE_COUNT];
    if (channels == LANES &&
        (count == LANES || source[rows - 1] + offset + (LANES - 1) * step + full <= limit)) {
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

ROICY_INLINE void block_blend_long_as(const char *const *source, const real *weight, int rows,
                                      ptrdiff_t offset, ptrdiff_t step, int channels, int count,
                                      const char *limit, lanes *target, const int dtype) {
    const ptrdiff_t full = LANES * (ptrdiff_t)element_size(dtype);
    lanes r[ROICY_LANE_COUNT];
    ROICY_EACH(c) r[c] = lanes_zero();
    if (channels == LANES &&
        (count == LANES || source[rows - 1] + offset + (LANES - 1) * step + full <= limit))
        ROICY_LONG_SUM(r, weight, rows, LANES, lanes_load(source[j] + offset + v * step, dtype));
    else
        for (int c = 0; c < channels; c++)
            ROICY_LONG_SUM(r + c, weight, rows, 1,
                           lanes_load_part(source[j] + offset + c * step + v, count, dtype));
    lanes_transpose(r);
    for (int i = 0; i < count; i++)
        target[i] = r[i];
}

/* The same for more rows than a chain has terms. */
ROICY_NOINLINE void block_blend_long(const char *const *source, const real *weight, int rows,
                                     ptrdiff_t offset, ptrdiff_t step, int channels, int count,
                                     const char *limit, lanes *target, int dtype) {
    switch (dtype) {
    case FLOAT32:
        block_blend_long_as(source, weight, rows, offset, step, channels, count, limit, target, FLOAT32);
        break;
    case FLOAT64:
        block_blend_long_as(source, weight, rows, offset, step, channels, count, limit, target, FLOAT64);
        break;
    case FLOAT16:
        block_blend_long_as(source, weight, rows, offset, step, channels, count, limit, target, FLOAT16);
        break;
    case BFLOAT16:
        block_blend_long_as(source, weight, rows, offset, step, channels, count, limit, target, BFLOAT16);
        break;
    default:
        block_blend_long_as(source, weight, rows, offset, step, channels, count, limit, target, UINT8);
    }
}

ROICY_NOINLINE void lanes_blend_block(const char *const *source, const real *weight, int rows,
                                      ptrdiff_t offset, ptrdiff_t step, int channels, int count,
                                      const char *limit, lanes *target, int dtype) {
    if (rows > PIECE) {
        block_blend_long(source, weight, rows, offset, step, channels, count, limit, target, dtype);
        return;
    }
    switch (dtype) {
    case FLOAT32:
        block_blend_as(source, weight, rows, offset, step, channels, count, limit, target, FLOAT32);
        break;
    case FLOAT64:
        block_blend_as(source, weight, rows, offset, step, channels, count, limit, target, FLOAT64);
        break;
    case FLOAT16:
        block_blend_as(source, weight, rows, offset, step, channels, count, limit, target, FLOAT16);
        break;
    case BFLOAT16:
        block_blend_as(source, weight, rows, offset, step, channels, count, limit, target, BFLOAT16);
        break;
    default:
        block_blend_as(source, weight, rows, offset, step, channels, count, limit, target, UINT8);
    }
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

/* The way back: `count` pixels, a vector each and `stride` vectors apart, into `channels` planes. */
ROICY_INLINE void block_store_as(const lanes *source, ptrdiff_t stride, char *target, ptrdiff_t step,
                                 int channels, int count, const int dtype) {
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

ROICY_NOINLINE void lanes_store_block(const lanes *source, ptrdiff_t stride, char *target, ptrdiff_t step,
                                      int channels, int count, int dtype) {
    switch (dtype) {
    case FLOAT32:
        block_store_as(source, stride, target, step, channels, count, FLOAT32);
        break;
    case FLOAT64:
        block_store_as(source, stride, target, step, channels, count, FLOAT64);
        break;
    case FLOAT16:
        block_store_as(source, stride, target, step, channels, count, FLOAT16);
        break;
    case INDEX:
        block_store_as(source, stride, target, step, channels, count, INDEX);
        break;
    default:
        block_store_as(source, stride, target, step, channels, count, BFLOAT16);
    }
}

/* The same past the cache, for elements of type real and whole cache lines of every plane: `count` pixels, at
 * most BURST. The parts of a line follow each other, or processors write each of them to memory by itself. */
ROICY_NOINLINE void lanes_stream_block(const lanes *source, ptrdiff_t stride, char *target, ptrdiff_t step,
                                       int channels, int count) {
    lanes planes[ROICY_LANE_COUNT][BURST / ROICY_LANE_COUNT], r[ROICY_LANE_COUNT];
    for (int i = 0; i < count / LANES; i++, source += LANES * stride) {
        lanes_load_square((const char *)source, stride * (ptrdiff_t)sizeof(lanes), r, OWN);
        ROICY_EACH(c) planes[c][i] = r[c];
    }
    for (int c = 0; c < channels; c++, target += step)
        for (int i = 0; i < count / LANES; i++)
            lanes_stream(planes[c][i], target + i * (ptrdiff_t)sizeof(lanes));
}

/* `count` pixels channel by channel into one piece of memory, with room for LANES elements more behind it.
 * The last vectors of a channel may overlap the next one's start: they go first. */
ROICY_INLINE void chunk_store_as(const lanes *source, char *target, ptrdiff_t count, int channels,
                                 const int dtype) {
    const ptrdiff_t size = (ptrdiff_t)element_size(dtype);
    for (ptrdiff_t i = (count - 1) / LANES * LANES; i >= 0; i -= LANES)
        block_store_as(source + i, 1, target + i * size, count * size, channels, LANES, dtype);
}

ROICY_NOINLINE void lanes_store_chunk(const lanes *source, char *target, ptrdiff_t count, int channels,
                                      int dtype) {
    switch (dtype) {
    case FLOAT32:
        chunk_store_as(source, target, count, channels, FLOAT32);
        break;
    case FLOAT64:
        chunk_store_as(source, target, count, channels, FLOAT64);
        break;
    case FLOAT16:
        chunk_store_as(source, target, count, channels, FLOAT16);
        break;
    case INDEX:
        chunk_store_as(source, target, count, channels, INDEX);
        break;
    default:
        chunk_store_as(source, target, count, channels, BFLOAT16);
    }
}

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

/* Streamed stores of this thread become visible to the others. */
ROICY_INLINE void lanes_fence(void) {
#if defined(ROICY_X86)
    _mm_sfence();
#endif
}

ROICY_INLINE void lanes_prefetch(const char *source) {
#if defined(__GNUC__)
    __builtin_prefetch(source);
#endif
}

#endif
