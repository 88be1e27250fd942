// What CUDA C++ has and C++ has not, so that g++ compiles a kernel's source for the machine it runs on. Kept
// free of the standard library: it is parsed before every kernel, and most of a compilation would be that.
//
// runtime.cpp runs the threads. Where the source says that threads meet (a barrier, a shuffle), a call goes
// there together with the line it comes from: threads that wait for each other at different lines are a
// mistake.
#pragma once
#include "runtime.h"

// ---------------------------------------------------------------- words of the language

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...) // module.py reads it from the source
#define __align__(bytes) alignas(bytes)
#define __grid_constant__

// Blocks run one after another, so one copy of a block's memory will do. The section lets the runtime find
// and spoil it between blocks; the address sanitizer puts fences around variables that have no section of
// their own.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static __attribute__((section("cuda_shared")))
#endif

constexpr int warpSize = 32;

namespace cuda_host {

template <class To, class From> static inline To bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "one size");
    To out;
    __builtin_memcpy(&out, &value, sizeof(To));
    return out;
}

// Where the compiler keeps values of memory in registers over a call, it must not do so over this one.
static inline void fence() { asm volatile("" ::: "memory"); }

static inline int lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % warpSize;
}

static inline void block_barrier(int line) {
    fence();
    cuda_host_block_barrier(line);
    fence();
}

static inline void warp_barrier(int line, unsigned mask = ~0u) {
    fence();
    cuda_host_warp_barrier(line, mask);
    fence();
}

template <class T> static inline T exchange(int line, unsigned mask, int source, T value) {
    static_assert(sizeof(T) <= 16, "a shuffle moves up to 16 bytes");
    cuda_host_words words = {};
    __builtin_memcpy(&words, &value, sizeof(T));
    fence();
    words = cuda_host_shuffle(line, mask, source, words);
    fence();
    __builtin_memcpy(&value, &words, sizeof(T));
    return value;
}

// A shuffle goes on inside sections of `width` lanes; a lane whose source is outside keeps its own value.
template <class T>
static inline T shuffle(int line, unsigned mask, T value, int source, int width = warpSize) {
    return exchange(line, mask, (lane() & ~(width - 1)) | (source & (width - 1)), value);
}

template <class T>
static inline T shuffle_down(int line, unsigned mask, T value, unsigned delta, int width = warpSize) {
    int inside = lane() & (width - 1);
    return exchange(line, mask, inside + (int)delta < width ? lane() + (int)delta : lane(), value);
}

template <class T>
static inline T shuffle_up(int line, unsigned mask, T value, unsigned delta, int width = warpSize) {
    int inside = lane() & (width - 1);
    return exchange(line, mask, inside >= (int)delta ? lane() - (int)delta : lane(), value);
}

template <class T>
static inline T shuffle_xor(int line, unsigned mask, T value, int flipped, int width = warpSize) {
    // a partner in a later section is out of reach, one in an earlier section is not
    int source = lane() ^ flipped;
    return exchange(line, mask, source <= (lane() | (width - 1)) ? source : lane(), value);
}

static inline unsigned ballot(int line, unsigned mask, int predicate) {
    fence();
    unsigned lanes = cuda_host_ballot(line, mask, predicate != 0);
    fence();
    return lanes;
}

static inline int any(int line, unsigned mask, int predicate) { return ballot(line, mask, predicate) != 0; }

static inline int all(int line, unsigned mask, int predicate) { return ballot(line, mask, !predicate) == 0; }

template <class T> static inline unsigned match_any(int line, unsigned mask, T value) {
    static_assert(sizeof(T) <= 8, "a match compares up to 8 bytes");
    unsigned long long word = 0;
    __builtin_memcpy(&word, &value, sizeof(T));
    fence();
    unsigned lanes = cuda_host_match(line, mask, word);
    fence();
    return lanes;
}

template <class T> static inline unsigned match_all(int line, unsigned mask, T value, int *same) {
    unsigned live = ballot(line, mask, 1);
    *same = match_any(line, mask, value) == live;
    return *same ? mask : 0;
}

// Conversions to integers as the processor of a GPU has them: what is too large becomes the largest, NaN
// zero.
template <class Integer, class Real> static inline Integer saturated(Real value) {
    constexpr bool is_signed = Integer(-1) < Integer(0);
    constexpr Integer largest = is_signed ? Integer((1ull << (8 * sizeof(Integer) - 1)) - 1) : Integer(~0ull);
    if (value != value)
        return 0;
    if (value >= Real(largest))
        return largest;
    if (value <= Real(Integer(~largest)))
        return Integer(~largest);
    return Integer(value);
}

} // namespace cuda_host

#define __syncthreads() cuda_host::block_barrier(__LINE__)
#define __syncwarp(...) cuda_host::warp_barrier(__LINE__, ##__VA_ARGS__)
#define __shfl_sync(...) cuda_host::shuffle(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) cuda_host::shuffle_down(__LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) cuda_host::shuffle_up(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) cuda_host::shuffle_xor(__LINE__, __VA_ARGS__)
#define __ballot_sync(...) cuda_host::ballot(__LINE__, __VA_ARGS__)
#define __any_sync(...) cuda_host::any(__LINE__, __VA_ARGS__)
#define __all_sync(...) cuda_host::all(__LINE__, __VA_ARGS__)
#define __match_any_sync(...) cuda_host::match_any(__LINE__, __VA_ARGS__)
#define __match_all_sync(...) cuda_host::match_all(__LINE__, __VA_ARGS__)
#define __trap() cuda_host_fail(__LINE__, "trap")
#define assert(condition) ((condition) ? void() : cuda_host_fail(__LINE__, "failed assertion: " #condition))
#define __threadfence() cuda_host::fence()
#define __threadfence_block() cuda_host::fence()

#include "arithmetic.h"
#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "launch.h"
