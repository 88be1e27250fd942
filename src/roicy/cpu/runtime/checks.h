/* Assertions and fences of the builds ROICY_BUILD=debug and sanitize (see setup.py); empty in other builds.
 *
 * A failed check prints where and what, and ends the process. The address sanitizer does not see the pieces that a
 * block of scratch is divided into; fences between them make it see them.
 */
#ifndef ROICY_CHECKS_H
#define ROICY_CHECKS_H

#ifdef ROICY_CHECKS

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __attribute__((noreturn, unused, noinline)) void roicy_end(void) {
    fflush(stderr);
    abort();
}

static inline __attribute__((unused)) void roicy_assert(int holds, const char *condition, const char *file,
                                                        int line) {
    if (!holds) {
        fprintf(stderr, "%s:%d: roicy: does not hold: %s\n", file, line, condition);
        roicy_end();
    }
}

static inline __attribute__((unused)) void roicy_inside(int64_t index, int64_t begin, int64_t end,
                                                        const char *name, const char *file, int line) {
    if (index < begin || index >= end) {
        fprintf(stderr, "%s:%d: roicy: %s is %lld, not in [%lld, %lld)\n", file, line, name, (long long)index,
                (long long)begin, (long long)end);
        roicy_end();
    }
}

enum { ROICY_CHECKED = 1 };
#define ROICY_ASSERT(condition) roicy_assert((condition) != 0, #condition, __FILE__, __LINE__)
#define ROICY_INSIDE(index, begin, end) roicy_inside(index, begin, end, #index, __FILE__, __LINE__)
/* Fill with NaNs and negative indices, so that a read of unwritten memory shows in the result. */
#define ROICY_SPOIL(start, size) memset(start, 0xff, size)

#else

enum { ROICY_CHECKED = 0 };
/* sizeof: named, so that nothing counts as unused, and never computed */
#define ROICY_ASSERT(condition) ((void)sizeof(condition))
#define ROICY_INSIDE(index, begin, end) ((void)sizeof((index) + (begin) + (end)))
#define ROICY_SPOIL(start, size) ((void)0)

#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { ROICY_FENCE_BYTES = 64 }; /* between neighbours */
#define ROICY_FENCE(start, size) __asan_poison_memory_region(start, size)
#define ROICY_OPEN(start, size) __asan_unpoison_memory_region(start, size)
#else
enum { ROICY_FENCE_BYTES = 0 };
#define ROICY_FENCE(start, size) ((void)0)
#define ROICY_OPEN(start, size) ((void)0)
#endif

#endif
