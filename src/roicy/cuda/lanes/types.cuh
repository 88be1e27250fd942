/* The types that a source is specialised for, and how numbers are read and written.
 *
 *     STORED   items of the features or of a gradient: float16, bfloat16, float, double or uint8
 *     RESULT   items of what is pooled from them: STORED, but float for uint8
 *     REAL     what sums are kept in: float, but double for double
 *     BOX      numbers of a box: float or double
 *     INDEX    offsets into the arrays: int where they fit, else int64
 *     RULE     by what rule of geometry/rois.h an axis table is filled
 *
 * Code is compiled without contraction: fused multiply-adds are written as fma(). */
#pragma once
#ifdef FLOAT16
#include <cuda_fp16.h>
typedef __half float16;
#endif
#ifdef BFLOAT16
#include <cuda_bf16.h>
typedef __nv_bfloat16 bfloat16;
#endif

typedef long long int64;
typedef unsigned char uint8;

#define KERNEL extern "C" __global__ void
#define INLINE __device__ __forceinline__
/* definitions that the headers of geometry/ expect */
#define GEOMETRY INLINE
#define OF(name) name
#define KEPT BOX
#define ALIGNED alignas(16)

/* Arguments are packed: a struct that a kernel takes by value has its twin in structs.py. The compiler must assume that
 * pointers inside of a struct alias, so kernels start with __restrict__ copies of the pointers that they read most. */

/* From an item of an array shaped (image or RoI, channel, row, column) to the next one along each axis. */
struct Strides {
    int64 n, c, y, x;
};

/* Such an array: its first item, and its strides in items. */
#define VIEW(type, name) type *__restrict__ name, const Strides name##_step

/* Where an item of it lies. */
#define AT(name, image, channel, row, column)                                                                \
    ((INDEX)name##_step.n * (INDEX)(image) + (INDEX)name##_step.c * (INDEX)(channel) +                       \
     (INDEX)name##_step.y * (INDEX)(row) + (INDEX)name##_step.x * (INDEX)(column))

/* Makes the compiler keep an address in a register. Otherwise it computes the address again in each iteration, which
 * is most of a loop and keeps all its parts in registers. */
#define OWN_ADDRESS(pointer) asm("" : "+l"(pointer))

#ifdef REAL
INLINE REAL madd(REAL a, REAL b, REAL c) { return fma(a, b, c); }

/* Long sums in float are kept in pieces, chains of at most PIECE multiply-adds, as on the CPU. */
#define PIECE 24
#define IN_PIECES(taps) (sizeof(REAL) == sizeof(float) && (taps) > PIECE)

/* sum + piece; what the rounding takes away is added to `lost`, which begins as NOTHING_LOST. */
#define NOTHING_LOST (-(REAL)0)
INLINE void join(REAL piece, REAL &sum, REAL &lost) {
    const REAL total = sum + piece, joined = total - sum;
    lost = ((sum - (total - joined)) + (piece - joined)) + lost;
    sum = total;
}

/* The sum with its rounding error; a NaN or infinite sum stays as it is. */
INLINE REAL restored(REAL sum, REAL lost) { return lost == lost ? sum + lost : sum; }

template <class T> INLINE REAL real_of(T value) { return (REAL)value; }
template <class T> INLINE T rounded_to(REAL value) { return (T)value; }
#ifdef FLOAT16
template <> INLINE REAL real_of(float16 value) { return __half2float(value); }
template <> INLINE float16 rounded_to<float16>(REAL value) { return __float2half_rn(value); }
#endif
#ifdef BFLOAT16
template <> INLINE REAL real_of(bfloat16 value) { return __bfloat162float(value); }
template <> INLINE bfloat16 rounded_to<bfloat16>(REAL value) { return __float2bfloat16_rn(value); }
#endif

INLINE REAL not_a_number() { return (REAL)__int_as_float(0x7fc00000); }
#endif
