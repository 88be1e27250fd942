// float16 as device code has it: conversions with CUDA's bits, arithmetic in float32 rounded back.
#pragma once
#ifndef CUDA_HOST_PREPROCESSING // where module.py looks for kernels, nothing may stand in for the words
#include "host.h"

namespace cuda_host {

static inline unsigned short to_half(float value) {
    unsigned word = bits<unsigned>(value), sign = word >> 16 & 0x8000, magnitude = word & 0x7fffffff;
    if (magnitude > 0x7f800000) // NaN: one pattern, without a sign
        return 0x7fff;
    if (magnitude >= 0x477ff000) // 65520 and more
        return sign | 0x7c00;
    if (magnitude < 0x38800000) // below 2^-14: adding 0.5 rounds to the spacing of the subnormals, 2^-24
        return sign | (bits<unsigned>(bits<float>(magnitude) + 0.5f) - bits<unsigned>(0.5f));
    // to even: half of the last place that stays, less one unless that place is odd
    return sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13);
}

static inline float from_half(unsigned short word) {
    unsigned sign = (word & 0x8000u) << 16, magnitude = word & 0x7fff;
    if (magnitude >= 0x7c00)
        return bits<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    if (magnitude < 0x0400) // subnormal, in units of 2^-24
        return bits<float>(sign | bits<unsigned>((float)magnitude * 0x1p-24f));
    return bits<float>(sign | ((magnitude << 13) + 0x38000000));
}

} // namespace cuda_host

struct __half_raw {
    unsigned short x;
};

struct __half {
    unsigned short word;

    __half() = default;
    __half(__half_raw raw) : word(raw.x) {}
    __half(float value) : word(cuda_host::to_half(value)) {}
    explicit __half(double value) : word(cuda_host::to_half((float)value)) {}
    explicit __half(int value) : word(cuda_host::to_half((float)value)) {}
    operator __half_raw() const { return {word}; }
    operator float() const { return cuda_host::from_half(word); }
};
typedef __half half;

struct alignas(4) __half2 {
    __half x, y;
};
typedef __half2 half2;

static inline float __half2float(__half value) { return value; }
static inline __half __float2half(float value) { return __half(value); }
static inline __half __float2half_rn(float value) { return __half(value); }
static inline unsigned short __half_as_ushort(__half value) { return value.word; }
static inline short __half_as_short(__half value) { return (short)value.word; }
static inline __half __ushort_as_half(unsigned short word) { return __half(__half_raw{word}); }
static inline __half __short_as_half(short word) { return __ushort_as_half((unsigned short)word); }
static inline float2 __half22float2(__half2 pair) { return {pair.x, pair.y}; }
static inline __half2 __float22half2_rn(float2 pair) { return {__half(pair.x), __half(pair.y)}; }
static inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
static inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
static inline __half __low2half(__half2 pair) { return pair.x; }
static inline __half __high2half(__half2 pair) { return pair.y; }
static inline float __low2float(__half2 pair) { return pair.x; }
static inline float __high2float(__half2 pair) { return pair.y; }
static inline bool __hisnan(__half value) { return (value.word & 0x7fff) > 0x7c00; }
#endif
