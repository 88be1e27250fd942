// What runtime.cpp and the kernels know of each other.
#pragma once

#define CUDA_HOST_VECTORS(TYPE, NAME, BYTES)                                                                 \
    struct NAME##1 { TYPE x; };                                                                              \
    struct alignas(2 * BYTES) NAME##2 { TYPE x, y; };                                                        \
    struct NAME##3 { TYPE x, y, z; };                                                                        \
    struct alignas(4 * BYTES > 16 ? 16 : 4 * BYTES) NAME##4 { TYPE x, y, z, w; };                            \
    static inline NAME##1 make_##NAME##1(TYPE x) { return {x}; }                                             \
    static inline NAME##2 make_##NAME##2(TYPE x, TYPE y) { return {x, y}; }                                  \
    static inline NAME##3 make_##NAME##3(TYPE x, TYPE y, TYPE z) { return {x, y, z}; }                       \
    static inline NAME##4 make_##NAME##4(TYPE x, TYPE y, TYPE z, TYPE w) { return {x, y, z, w}; }

CUDA_HOST_VECTORS(signed char, char, 1)
CUDA_HOST_VECTORS(unsigned char, uchar, 1)
CUDA_HOST_VECTORS(short, short, 2)
CUDA_HOST_VECTORS(unsigned short, ushort, 2)
CUDA_HOST_VECTORS(int, int, 4)
CUDA_HOST_VECTORS(unsigned, uint, 4)
CUDA_HOST_VECTORS(long long, longlong, 8)
CUDA_HOST_VECTORS(unsigned long long, ulonglong, 8)
CUDA_HOST_VECTORS(float, float, 4)
CUDA_HOST_VECTORS(double, double, 8)

struct dim3 {
    unsigned x, y, z;
};

// What a lane hands to others: in registers, as memory that is written in parts is slow to read as a whole.
struct cuda_host_words {
    unsigned long long low, high;
};

extern "C" {
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern char *cuda_host_shared; // dynamic shared memory of the running block

void cuda_host_block_barrier(int line);
void cuda_host_warp_barrier(int line, unsigned mask);
// Hands in 16 bytes, and returns the 16 bytes that lane `source` hands in.
cuda_host_words cuda_host_shuffle(int line, unsigned mask, int source, cuda_host_words value);
// Returns the lanes of the mask whose predicate is true, or whose value is that of the caller.
unsigned cuda_host_ballot(int line, unsigned mask, bool predicate);
unsigned cuda_host_match(int line, unsigned mask, unsigned long long value);
[[noreturn]] void cuda_host_fail(int line, const char *what);
int printf(const char *, ...);
}
