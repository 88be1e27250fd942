"""What the processor can run."""

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(_M_X64)) && defined(_MSC_VER) && !defined(__clang__)
    #include <immintrin.h>
    #include <intrin.h>
    static void roicy_cpuid(unsigned leaf, unsigned r[4]) { __cpuidex((int *)r, (int)leaf, 0); }
    static unsigned long long roicy_xgetbv(void) { return _xgetbv(0); }
    #define ROICY_CPUID 1
    #elif defined(__x86_64__)
    #include <cpuid.h>
    static void roicy_cpuid(unsigned leaf, unsigned r[4]) {
        r[0] = r[1] = r[2] = r[3] = 0;
        if (leaf <= __get_cpuid_max(0, 0)) __cpuid_count(leaf, 0, r[0], r[1], r[2], r[3]);
    }
    static unsigned long long roicy_xgetbv(void) {
        unsigned low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return (unsigned long long)high << 32 | low;
    }
    #define ROICY_CPUID 1
    #endif

    static int roicy_processor_level(void) {
        int level = 0;
    #ifdef ROICY_CPUID
        unsigned one[4], seven[4];
        unsigned long long saved;
        roicy_cpuid(1, one);
        roicy_cpuid(7, seven);
        /* FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; the system saves the wide registers */
        const unsigned first = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29;
        const unsigned second = 1u << 3 | 1u << 5 | 1u << 8;
        /* AVX-512 F, DQ, CD, BW, VL */
        const unsigned third = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
        if ((one[2] & first) != first || (seven[1] & second) != second) return level;
        saved = roicy_xgetbv();
        if ((saved & 0x6) == 0x6) level = 1;
        if (level && (seven[1] & third) == third && (saved & 0xe6) == 0xe6) level = 2;
    #endif
        return level;
    }
    """
    int roicy_processor_level() noexcept


def level():
    """Return 2 for x86-64-v4, 1 for x86-64-v3, else 0."""
    return roicy_processor_level()
