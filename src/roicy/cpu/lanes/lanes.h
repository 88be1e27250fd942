/* A short vector of channels and its arithmetic. The algorithms are in the .pyx files; this header and the others
 * in this folder have the operations that a C compiler does not find by itself.
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
#define ROICY_NOINLINE static __attribute__((noinline, unused, hot))
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

/* How many blocks of channels some kernels handle side by side: more with short vectors, so that overhead is shared by
 * as many channels. */
enum { DEPTH = 64 / ROICY_LANE_BYTES };
enum { LANES = ROICY_LANE_COUNT };

/* An integer as wide as a lane, and a vector of them. */
#ifdef ROICY_DOUBLE
typedef int64_t lane_int;
#else
typedef int32_t lane_int;
#endif

#if defined(__GNUC__)
typedef real lanes __attribute__((vector_size(ROICY_LANE_BYTES)));
typedef lane_int lane_ints __attribute__((vector_size(ROICY_LANE_BYTES)));
#define ROICY_LANE(x, l) ((x)[l])
#else
typedef struct {
    real lane[ROICY_LANE_COUNT];
} lanes;
typedef struct {
    lane_int lane[ROICY_LANE_COUNT];
} lane_ints;
#define ROICY_LANE(x, l) ((x).lane[l])
#endif
#define ROICY_EACH(l) for (int l = 0; l < LANES; l++)

/* Rows of `stride` pixels, `depth` vectors a pixel. */
typedef struct {
    const lanes *first;
    ptrdiff_t stride;
    int depth;
} lane_rows;

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

ROICY_INLINE lanes lanes_times(lanes a, lanes b) {
#if defined(__GNUC__)
    return a * b;
#else
    ROICY_EACH(l) a.lane[l] *= b.lane[l];
    return a;
#endif
}

ROICY_INLINE lanes lanes_less(lanes a, lanes b) {
#if defined(__GNUC__)
    return a - b;
#else
    ROICY_EACH(l) a.lane[l] -= b.lane[l];
    return a;
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

/* gcc would drop calls of a function that only prefetches; the empty asm statement counts as an effect. */
ROICY_INLINE void lanes_prefetch(const char *source) {
#if defined(__GNUC__)
    __builtin_prefetch(source);
    __asm__ volatile("");
#endif
}

/* Prefetch for writing: takes the cache line from other cores. */
ROICY_INLINE void lanes_prefetch_own(const char *target) {
#if defined(__GNUC__)
    __builtin_prefetch(target, 1);
    __asm__ volatile("");
#endif
}

/* To the second-level cache, and no nearer. */
ROICY_INLINE void lanes_prefetch_far(const char *source) {
#if defined(__GNUC__)
    __builtin_prefetch(source, 0, 2);
    __asm__ volatile("");
#endif
}

#endif
