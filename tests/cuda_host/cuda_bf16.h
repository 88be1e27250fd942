// bfloat16 as device code has it: the upper half of a float32, rounded to even.
#pragma once
#ifndef CUDA_HOST_PREPROCESSING // where module.py looks for kernels, nothing may stand in for the words
#include "host.h"

namespace cuda_host {

static inline unsigned short to_bfloat16(float value) {
    unsigned word = bits<unsigned>(value);
    if ((word & 0x7fffffff) > 0x7f800000) // NaN: one pattern, without a sign
        return 0x7fff;
    return (word + 0x7fff + (word >> 16 & 1)) >> 16;
}

static inline float from_bfloat16(unsigned short word) { return bits<float>((unsigned)word << 16); }

} // namespace cuda_host

struct __nv_bfloat16_raw {
    unsigned short x;
};

struct __nv_bfloat16 {
    unsigned short word;

    __nv_bfloat16() = default;
    __nv_bfloat16(__nv_bfloat16_raw raw) : word(raw.x) {}
    __nv_bfloat16(float value) : word(cuda_host::to_bfloat16(value)) {}
    explicit __nv_bfloat16(double value) : word(cuda_host::to_bfloat16((float)value)) {}
    explicit __nv_bfloat16(int value) : word(cuda_host::to_bfloat16((float)value)) {}
    operator __nv_bfloat16_raw() const { return {word}; }
    operator float() const { return cuda_host::from_bfloat16(word); }
};
typedef __nv_bfloat16 nv_bfloat16;

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
typedef __nv_bfloat162 nv_bfloat162;

static inline float __bfloat162float(__nv_bfloat16 value) { return value; }
static inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
static inline __nv_bfloat16 __float2bfloat16_rn(float value) { return __nv_bfloat16(value); }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.word; }
static inline short __bfloat16_as_short(__nv_bfloat16 value) { return (short)value.word; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short word) {
    return __nv_bfloat16(__nv_bfloat16_raw{word});
}
static inline __nv_bfloat16 __short_as_bfloat16(short word) {
    return __ushort_as_bfloat16((unsigned short)word);
}
static inline float2 __bfloat1622float2(__nv_bfloat162 pair) { return {pair.x, pair.y}; }
static inline __nv_bfloat162 __float22bfloat162_rn(float2 pair) {
    return {__nv_bfloat16(pair.x), __nv_bfloat16(pair.y)};
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__nv_bfloat16(x), __nv_bfloat16(y)};
}
static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
static inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 pair) { return pair.x; }
static inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 pair) { return pair.y; }
static inline float __low2float(__nv_bfloat162 pair) { return pair.x; }
static inline float __high2float(__nv_bfloat162 pair) { return pair.y; }
static inline bool __hisnan(__nv_bfloat16 value) { return (value.word & 0x7fff) > 0x7f80; }
#endif
