/* Elements of a caller's arrays: one, LANES neighbours, or one for each channel of a pixel. */
#ifndef ROICY_ELEMENTS_H
#define ROICY_ELEMENTS_H

#include "lanes.h"

/* Element types of the arrays outside. INDEX: int32, which in a `lanes` are integers as wide as a `real`. */
enum { FLOAT32, FLOAT64, FLOAT16, BFLOAT16, UINT8, INDEX, INT8, UINT16, INT16, BOOL };
enum { OWN = sizeof(real) == 4 ? (int)FLOAT32 : (int)FLOAT64 }; /* the one that is `real` */

/* Whether a type is rare. Rare types share one function, which checks the type for each vector. In double precision,
 * all types but double are rare. */
ROICY_INLINE int is_rare(int dtype) {
#ifdef ROICY_DOUBLE
    return dtype != FLOAT64 && dtype != INDEX;
#else
    return dtype == FLOAT64 || dtype >= INT8;
#endif
}

/* A rare type; the compiler knows that it is none of the common ones. */
ROICY_INLINE int rare_dtype(int dtype) {
#if defined(__GNUC__)
    if (!is_rare(dtype))
        __builtin_unreachable();
#endif
    return dtype;
}

/* function(arguments, dtype) with the element type as a constant: of an array that is read, of one that is
 * written. */
#ifdef ROICY_DOUBLE
#define ROICY_READ_AS(dtype, function, ...)                                                                  \
    switch (dtype) {                                                                                         \
    case FLOAT64:                                                                                            \
        function(__VA_ARGS__, FLOAT64);                                                                      \
        break;                                                                                               \
    default:                                                                                                 \
        function(__VA_ARGS__, rare_dtype(dtype));                                                            \
    }
#define ROICY_WRITE_AS(dtype, function, ...)                                                                 \
    switch (dtype) {                                                                                         \
    case FLOAT64:                                                                                            \
        function(__VA_ARGS__, FLOAT64);                                                                      \
        break;                                                                                               \
    case INDEX:                                                                                              \
        function(__VA_ARGS__, INDEX);                                                                        \
        break;                                                                                               \
    default:                                                                                                 \
        function(__VA_ARGS__, rare_dtype(dtype));                                                            \
    }
#else
#define ROICY_READ_AS(dtype, function, ...)                                                                  \
    switch (dtype) {                                                                                         \
    case FLOAT32:                                                                                            \
        function(__VA_ARGS__, FLOAT32);                                                                      \
        break;                                                                                               \
    case FLOAT16:                                                                                            \
        function(__VA_ARGS__, FLOAT16);                                                                      \
        break;                                                                                               \
    case BFLOAT16:                                                                                           \
        function(__VA_ARGS__, BFLOAT16);                                                                     \
        break;                                                                                               \
    case UINT8:                                                                                              \
        function(__VA_ARGS__, UINT8);                                                                        \
        break;                                                                                               \
    default:                                                                                                 \
        function(__VA_ARGS__, rare_dtype(dtype));                                                            \
    }
#define ROICY_WRITE_AS(dtype, function, ...)                                                                 \
    switch (dtype) {                                                                                         \
    case FLOAT32:                                                                                            \
        function(__VA_ARGS__, FLOAT32);                                                                      \
        break;                                                                                               \
    case FLOAT16:                                                                                            \
        function(__VA_ARGS__, FLOAT16);                                                                      \
        break;                                                                                               \
    case INDEX:                                                                                              \
        function(__VA_ARGS__, INDEX);                                                                        \
        break;                                                                                               \
    case BFLOAT16:                                                                                           \
        function(__VA_ARGS__, BFLOAT16);                                                                     \
        break;                                                                                               \
    default:                                                                                                 \
        function(__VA_ARGS__, dtype == UINT8 ? (int)UINT8 : rare_dtype(dtype));                              \
    }
#endif

/* ---- one element ---- */

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
    return dtype == FLOAT64                                   ? 8
           : dtype == FLOAT32 || dtype == INDEX               ? 4
           : dtype == UINT8 || dtype == INT8 || dtype == BOOL ? 1
                                                              : 2;
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
    case INT8:
        return (real)(*(const int8_t *)source);
    case UINT16:
        memcpy(&half, source, 2);
        return (real)half;
    case INT16:
        memcpy(&half, source, 2);
        return (real)(int16_t)half;
    case BOOL:
        return (real)(*source != 0);
    default:
        return (real)(*(const uint8_t *)source);
    }
}

/* ---- to integers: to the nearest, ties to even, and to the ends of the type; of no number 0 ---- */

ROICY_INLINE real integer_least(int dtype) { return dtype == INT8 ? -128 : dtype == INT16 ? -32768 : 0; }

ROICY_INLINE real integer_most(int dtype) {
    return dtype == UINT8 ? 255 : dtype == INT8 ? 127 : dtype == UINT16 ? 65535 : dtype == INT16 ? 32767 : 1;
}

ROICY_INLINE int32_t integer_of(real value, int dtype) {
    const real least = integer_least(dtype), most = integer_most(dtype);
    /* a number whose last digit is that of whole numbers: the adder rounds */
    const real whole = sizeof(real) == 4 ? (real)12582912.0f : (real)6755399441055744.0;
    value = value > least ? value : value <= least ? least : 0;
    value = value < most ? value : most;
    return (int32_t)(value + whole - whole);
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
    case BFLOAT16:
        half = float_to_bfloat(single), memcpy(target, &half, 2);
        break;
    case UINT16:
    case INT16:
        half = (uint16_t)integer_of(value, dtype), memcpy(target, &half, 2);
        break;
    default:
        *target = (char)integer_of(value, dtype);
        break;
    }
}

/* ---- LANES neighbouring elements ---- */

/* Rare types, not inlined: in loops that load whole blocks, this code would be repeated many times. */
ROICY_NOINLINE lanes lanes_load_rare(const char *source, int dtype) {
    real copy[ROICY_LANE_COUNT];
    const size_t size = element_size(dtype);
    lanes x;
#if defined(__AVX512F__) && !defined(ROICY_DOUBLE)
    if (dtype == INT8)
        return (lanes)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)source)));
    if (dtype == UINT16)
        return (lanes)_mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)source)));
    if (dtype == INT16)
        return (lanes)_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)source)));
#elif defined(__AVX2__) && defined(__F16C__) && !defined(ROICY_DOUBLE)
    if (dtype == INT8)
        return (lanes)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)source)));
    if (dtype == UINT16)
        return (lanes)_mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)source)));
    if (dtype == INT16)
        return (lanes)_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)source)));
#endif
    ROICY_EACH(l) copy[l] = element_load(source + (size_t)l * size, dtype);
    memcpy(&x, copy, sizeof x);
    return x;
}

ROICY_INLINE lanes lanes_load(const char *source, int dtype) {
    lanes x;
    if (is_rare(dtype))
        return lanes_load_rare(source, dtype);
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

ROICY_NOINLINE void lanes_store_rare(lanes x, char *target, int dtype) {
    real copy[ROICY_LANE_COUNT];
    const size_t size = element_size(dtype);
    memcpy(copy, &x, sizeof x);
    ROICY_EACH(l) element_store(copy[l], target + (size_t)l * size, dtype);
}

ROICY_INLINE void lanes_store(lanes x, char *target, int dtype) {
    if (is_rare(dtype)) {
        lanes_store_rare(x, target, dtype);
        return;
    }
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
    if (dtype == UINT8) {
        const __m512 most = _mm512_set1_ps(255), inside = _mm512_max_ps((__m512)x, _mm512_setzero_ps());
        _mm_storeu_si128((__m128i *)target,
                         _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_min_ps(inside, most))));
        return;
    }
#elif defined(__F16C__) && defined(__AVX2__) && !defined(ROICY_DOUBLE)
    if (dtype == FLOAT16) {
        _mm_storeu_si128((__m128i *)target, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
        return;
    }
    if (dtype == UINT8) {
        const __m256 most = _mm256_set1_ps(255), inside = _mm256_max_ps((__m256)x, _mm256_setzero_ps());
        const __m256i whole = _mm256_cvtps_epi32(_mm256_min_ps(inside, most));
        const __m128i halves =
            _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
        _mm_storel_epi64((__m128i *)target, _mm_packus_epi16(halves, halves));
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

/* ---- one pixel: a lane per channel, `step` bytes apart ---- */

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
    if (dtype == OWN) {
        real copy[ROICY_LANE_COUNT];
        memcpy(copy, &x, sizeof x);
        for (int l = 0; l < count; l++, target += step)
            memcpy(target, copy + l, sizeof(real));
        return;
    }
    for (int l = 0; l < count; l++)
        element_store(ROICY_LANE(x, l), target + l * step, dtype);
}

#endif
