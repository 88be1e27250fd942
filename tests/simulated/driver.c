/* What CuPy calls of the CUDA driver and runtime, for a device whose memory is a piece of the host's.
 *
 * Built as libcuda.so.1. Modules, kernels and launches are Python's business: the hooks. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

enum { DONE = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_FUNCTION = 98, NOT_SUPPORTED = 801 };
/* CUdevice_attribute, CUfunction_attribute */
enum {
    MAX_THREADS_PER_BLOCK = 1,
    MAX_GRID_X = 5,
    MAX_SHARED_PER_BLOCK = 8,
    WARP_SIZE = 10,
    MULTIPROCESSORS = 16,
    L2_BYTES = 38,
    CAPABILITY_MAJOR = 75,
    CAPABILITY_MINOR = 76,
    MAX_SHARED_PER_MULTIPROCESSOR = 81,
    MAX_SHARED_OPTIN = 97,
};

/* ---------------------------------------------------------------- memory */

#define MOST_ALLOCATIONS (1 << 22)
#define MEMORY ((size_t)16 << 30) /* what the device says that it has */

char *memory_base;
size_t memory_size, memory_used;
long allocations;
uint64_t allocation_start[MOST_ALLOCATIONS], allocation_end[MOST_ALLOCATIONS];

/* Addresses are never given twice: what has been given back stays out of bounds. */
int memory_begin(size_t size) {
    memory_base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_base == MAP_FAILED)
        return OUT_OF_MEMORY;
    memory_size = size;
    return DONE;
}

static int take(void **address, size_t size) {
    const size_t begin = (memory_used + 1023) / 512 * 512; /* 512 bytes of nobody's in between */
    if (size > MEMORY || begin + size > memory_size || allocations == MOST_ALLOCATIONS)
        return OUT_OF_MEMORY;
    memory_used = begin + size;
    *address = memory_base + begin;
    memset(*address, 0xA5, size);
    allocation_start[allocations] = (uint64_t)*address;
    allocation_end[allocations] = (uint64_t)*address + size;
    ++allocations;
    return DONE;
}

static int give_back(void *address) {
    long low = 0, high = allocations;
    if (address == NULL)
        return DONE;
    while (low < high) {
        const long middle = (low + high) / 2;
        if (allocation_start[middle] < (uint64_t)address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == allocations || allocation_start[low] != (uint64_t)address || allocation_end[low] == (uint64_t)address)
        return INVALID_VALUE;
    const uint64_t begin = (allocation_start[low] + 4095) / 4096 * 4096, end = allocation_end[low] / 4096 * 4096;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
    allocation_end[low] = allocation_start[low];
    return DONE;
}

/* ---------------------------------------------------------------- modules and kernels */

void *(*module_hook)(const void *image);
void *(*function_hook)(void *module, const char *name);
int (*launch_hook)(void *function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void **);
int (*attribute_hook)(void *function, int attribute, int value);

int cuInit(unsigned flags) { return DONE; }
int cuDriverGetVersion(int *version) { return *version = 13000, DONE; }
int cuGetErrorName(int error, const char **name) { return *name = "simulated", DONE; }
int cuGetErrorString(int error, const char **text) { return *text = "see what was printed", DONE; }
int cuCtxGetCurrent(void **context) { return *context = (void *)1, DONE; }
int cuCtxGetDevice(int *device) { return *device = 0, DONE; }
int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = (void *)1, DONE; }
int cuModuleLoadData(void **module, const void *image) { return (*module = module_hook(image)) ? DONE : INVALID_VALUE; }
int cuModuleUnload(void *module) { return DONE; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
    return (*function = function_hook(module, name)) ? DONE : INVALID_VALUE;
}
int cuModuleGetGlobal_v2(void **address, size_t *size, void *module, const char *name) { return NOT_SUPPORTED; }
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    return launch_hook(function, gx, gy, gz, bx, by, bz, shared, parameters);
}
int cuFuncGetAttribute(int *value, int attribute, void *function) { return *value = 0, DONE; }
int cuFuncSetAttribute(void *function, int attribute, int value) { return attribute_hook(function, attribute, value); }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads, size_t shared) {
    return *blocks = 2, DONE;
}
int cuOccupancyMaxPotentialBlockSize(int *blocks, int *threads, void *function, void *shared, size_t bytes, int most) {
    return *blocks = 264, *threads = 256, DONE;
}
int cuGetExportTable(const void **table, const void *id) { return *table = NULL, NOT_SUPPORTED; }

/* ---------------------------------------------------------------- the runtime; without a name here: nothing is done */

int runtime_not_supported(void) { return NOT_SUPPORTED; }
int runtime_cudaLaunchKernel(void) { return INVALID_FUNCTION; } /* what is compiled into CuPy cannot run here */
int runtime_cudaGetDevice(int *device) { return *device = 0, DONE; }
int runtime_cudaGetDeviceCount(int *count) { return *count = 1, DONE; }
int runtime_cudaDriverGetVersion(int *version) { return *version = 13000, DONE; }
int runtime_cudaRuntimeGetVersion(int *version) { return *version = 13000, DONE; }
int runtime_cudaDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case CAPABILITY_MAJOR: *value = 9; break;
    case CAPABILITY_MINOR: *value = 0; break;
    case MULTIPROCESSORS: *value = 132; break;
    case MAX_THREADS_PER_BLOCK: *value = 1024; break;
    case WARP_SIZE: *value = 32; break;
    case MAX_GRID_X: *value = 2147483647; break;
    case MAX_SHARED_PER_BLOCK: *value = 48 << 10; break;
    case MAX_SHARED_OPTIN: *value = 227 << 10; break;
    case MAX_SHARED_PER_MULTIPROCESSOR: *value = 228 << 10; break;
    case L2_BYTES: *value = 50 << 20; break;
    default: *value = 0;
    }
    return DONE;
}
int runtime_cudaGetDeviceProperties(char *properties, int device) {
    memset(properties, 0, 1024); /* cudaDeviceProp: a name, and sizes at the places of CUDA 12 and 13 */
    strcpy(properties, "simulated");
    *(size_t *)(properties + 288) = MEMORY;
    *(size_t *)(properties + 296) = 48 << 10;
    *(int *)(properties + 304) = 65536;
    *(int *)(properties + 308) = 32;
    *(size_t *)(properties + 312) = 2147483647;
    *(int *)(properties + 320) = 1024;
    return DONE;
}
int runtime_cudaMemGetInfo(size_t *left, size_t *whole) { return *left = *whole = MEMORY, DONE; }
int runtime_cudaMalloc(void **address, size_t size) { return take(address, size); }
int runtime_cudaMallocAsync(void **address, size_t size, void *stream) { return take(address, size); }
int runtime_cudaFree(void *address) { return give_back(address); }
int runtime_cudaFreeAsync(void *address, void *stream) { return give_back(address); }
int runtime_cudaMallocHost(void **address, size_t size) { return take(address, size); }
int runtime_cudaHostAlloc(void **address, size_t size, unsigned flags) { return take(address, size); }
int runtime_cudaFreeHost(void *address) { return give_back(address); }
int runtime_cudaMemcpy(void *to, const void *from, size_t size, int kind) { return memcpy(to, from, size), DONE; }
int runtime_cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
    return memcpy(to, from, size), DONE;
}
int runtime_cudaMemcpy2DAsync(char *to, size_t to_pitch, const char *from, size_t from_pitch, size_t width, size_t height,
                              int kind, void *stream) {
    for (size_t row = 0; row < height; ++row)
        memcpy(to + row * to_pitch, from + row * from_pitch, width);
    return DONE;
}
int runtime_cudaMemset(void *to, int value, size_t size) { return memset(to, value, size), DONE; }
int runtime_cudaMemsetAsync(void *to, int value, size_t size, void *stream) { return memset(to, value, size), DONE; }

static uintptr_t handles = 1 << 20;
static int new_handle(void **handle) { return *handle = (void *)++handles, DONE; }
int runtime_cudaEventCreate(void **event) { return new_handle(event); }
int runtime_cudaEventCreateWithFlags(void **event, unsigned flags) { return new_handle(event); }
int runtime_cudaEventElapsedTime(float *milliseconds, void *begin, void *end) { return *milliseconds = 1, DONE; }
int runtime_cudaStreamCreate(void **stream) { return new_handle(stream); }
int runtime_cudaStreamCreateWithFlags(void **stream, unsigned flags) { return new_handle(stream); }
int runtime_cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return new_handle(stream); }
int runtime_cudaStreamBeginCapture(void *stream, int mode) { return NOT_SUPPORTED; }
int runtime_cudaStreamIsCapturing(void *stream, int *status) { return *status = 0, DONE; }
int runtime_cudaStreamGetCaptureInfo(void *stream, int *status) { return *status = 0, DONE; }

struct attributes {
    int type, device;
    void *on_device, *on_host;
};
int runtime_cudaPointerGetAttributes(struct attributes *found, void *address) {
    *found = (struct attributes){2, 0, address, NULL};
    return DONE;
}
const char *runtime_cudaGetErrorName(int error) { return "simulated"; }
const char *runtime_cudaGetErrorString(int error) { return "see what was printed"; }
