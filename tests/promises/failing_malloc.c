/* A malloc that fails when it is told to, to be loaded before a program: see test_failing_memory.py.
 *
 * Allocations are counted from when a number is set; that one fails. Those of the OpenMP library, which would
 * end the process, and of the dynamic linker are none; where a library is named, only its own are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static atomic_long left = -1;
static atomic_int armed, failed;
static const char *only = "";

void fail_at(long number) {
    failed = 0;
    left = number;
    armed = 1;
}

void fail_only(const char *library) { only = library; }

/* No more from here on; returns whether one did. */
int fail_no_more(void) {
    armed = 0;
    return failed;
}

static int fails(void *caller) {
    static _Thread_local int inside;
    if (!armed || inside)
        return 0;
    Dl_info info;
    inside = 1;
    const char *name = dladdr(caller, &info) ? info.dli_fname : "";
    inside = 0;
    if (strstr(name, "omp") || strstr(name, "ld-linux") || !strstr(name, only) ||
        atomic_fetch_sub(&left, 1) != 0)
        return 0;
    failed = 1;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size) { return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(block, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}
