// The functions that device code has without a header.
#pragma once

#define CUDA_HOST_REAL(NAME)                                                                                 \
    extern "C" double NAME(double);                                                                          \
    extern "C" float NAME##f(float);                                                                         \
    static inline float NAME(float x) { return NAME##f(x); }

CUDA_HOST_REAL(floor)
CUDA_HOST_REAL(ceil)
CUDA_HOST_REAL(trunc)
CUDA_HOST_REAL(round)
CUDA_HOST_REAL(rint)
CUDA_HOST_REAL(nearbyint)
CUDA_HOST_REAL(fabs)
CUDA_HOST_REAL(sqrt)
CUDA_HOST_REAL(sin)
CUDA_HOST_REAL(cos)
CUDA_HOST_REAL(exp)
CUDA_HOST_REAL(exp2)
CUDA_HOST_REAL(log)
CUDA_HOST_REAL(log2)

#define CUDA_HOST_REALS(NAME)                                                                                \
    extern "C" double NAME(double, double);                                                                  \
    extern "C" float NAME##f(float, float);                                                                  \
    static inline float NAME(float x, float y) { return NAME##f(x, y); }

CUDA_HOST_REALS(fmod)
CUDA_HOST_REALS(pow)
CUDA_HOST_REALS(atan2)
CUDA_HOST_REALS(copysign)
CUDA_HOST_REALS(nextafter)

// As the C library's, which are calls: of a NaN and a number the number, of equal ones the second.
#define CUDA_HOST_EXTREME(NAME, TYPE, BEFORE)                                                                \
    static inline TYPE NAME(TYPE x, TYPE y) { return y != y || x BEFORE y ? x : y; }

CUDA_HOST_EXTREME(fmin, double, <)
CUDA_HOST_EXTREME(fmin, float, <)
CUDA_HOST_EXTREME(fminf, float, <)
CUDA_HOST_EXTREME(fmax, double, >)
CUDA_HOST_EXTREME(fmax, float, >)
CUDA_HOST_EXTREME(fmaxf, float, >)

extern "C" double fma(double, double, double);
extern "C" float fmaf(float, float, float);
static inline float fma(float x, float y, float z) { return fmaf(x, y, z); }

extern "C" int abs(int) noexcept;
static inline long long abs(long long x) { return x < 0 ? -x : x; }
static inline float abs(float x) { return __builtin_fabsf(x); }
static inline double abs(double x) { return __builtin_fabs(x); }

static inline void sincos(double x, double *sine, double *cosine) { *sine = sin(x), *cosine = cos(x); }
static inline void sincosf(float x, float *sine, float *cosine) { *sine = sinf(x), *cosine = cosf(x); }
static inline void sincos(float x, float *sine, float *cosine) { sincosf(x, sine, cosine); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }

static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline bool isnan(double x) { return __builtin_isnan(x); }
static inline bool isinf(float x) { return __builtin_isinf(x); }
static inline bool isinf(double x) { return __builtin_isinf(x); }
static inline bool isfinite(float x) { return __builtin_isfinite(x); }
static inline bool isfinite(double x) { return __builtin_isfinite(x); }
static inline bool signbit(float x) { return __builtin_signbit(x); }
static inline bool signbit(double x) { return __builtin_signbit(x); }

// Of a NaN and a number CUDA's min and max take the number, as fmin and fmax do.
#define CUDA_HOST_EXTREMES(TYPE, SMALLER, LARGER)                                                            \
    static inline TYPE min(TYPE x, TYPE y) { return SMALLER; }                                               \
    static inline TYPE max(TYPE x, TYPE y) { return LARGER; }

CUDA_HOST_EXTREMES(int, x<y ? x : y, x> y ? x : y)
CUDA_HOST_EXTREMES(unsigned, x<y ? x : y, x> y ? x : y)
CUDA_HOST_EXTREMES(long, x<y ? x : y, x> y ? x : y)
CUDA_HOST_EXTREMES(unsigned long, x<y ? x : y, x> y ? x : y)
CUDA_HOST_EXTREMES(long long, x<y ? x : y, x> y ? x : y)
CUDA_HOST_EXTREMES(unsigned long long, x<y ? x : y, x> y ? x : y)
CUDA_HOST_EXTREMES(float, fminf(x, y), fmaxf(x, y))
CUDA_HOST_EXTREMES(double, fmin(x, y), fmax(x, y))

// Rounded once, and never contracted by the compiler.
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { return x * y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __dadd_rn(double x, double y) { return x + y; }
static inline double __dsub_rn(double x, double y) { return x - y; }
static inline double __dmul_rn(double x, double y) { return x * y; }
static inline double __ddiv_rn(double x, double y) { return x / y; }
static inline double __dsqrt_rn(double x) { return sqrt(x); }
static inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

#define CUDA_HOST_TO_INTEGERS(REAL, FROM)                                                                    \
    CUDA_HOST_TO_INTEGER(REAL, FROM, int, int)                                                               \
    CUDA_HOST_TO_INTEGER(REAL, FROM, unsigned, uint)                                                         \
    CUDA_HOST_TO_INTEGER(REAL, FROM, long long, ll)                                                          \
    CUDA_HOST_TO_INTEGER(REAL, FROM, unsigned long long, ull)
#define CUDA_HOST_TO_INTEGER(REAL, FROM, INTEGER, TO)                                                        \
    static inline INTEGER __##FROM##2##TO##_rd(REAL x) { return cuda_host::saturated<INTEGER>(floor(x)); }   \
    static inline INTEGER __##FROM##2##TO##_ru(REAL x) { return cuda_host::saturated<INTEGER>(ceil(x)); }    \
    static inline INTEGER __##FROM##2##TO##_rz(REAL x) { return cuda_host::saturated<INTEGER>(trunc(x)); }   \
    static inline INTEGER __##FROM##2##TO##_rn(REAL x) { return cuda_host::saturated<INTEGER>(rint(x)); }

CUDA_HOST_TO_INTEGERS(float, float)
CUDA_HOST_TO_INTEGERS(double, double)

static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }
static inline float __ll2float_rn(long long x) { return (float)x; }
static inline float __double2float_rn(double x) { return (float)x; }
static inline double __int2double_rn(int x) { return x; }
static inline double __ll2double_rn(long long x) { return (double)x; }

static inline int __float_as_int(float x) { return cuda_host::bits<int>(x); }
static inline unsigned __float_as_uint(float x) { return cuda_host::bits<unsigned>(x); }
static inline float __int_as_float(int x) { return cuda_host::bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return cuda_host::bits<float>(x); }
static inline long long __double_as_longlong(double x) { return cuda_host::bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return cuda_host::bits<double>(x); }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned __umulhi(unsigned x, unsigned y) {
    return (unsigned)((unsigned long long)x * y >> 32);
}
static inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}

// Loads and stores with a wish as to which caches take part.
template <class T> static inline T __ldg(const T *from) { return *from; }
template <class T> static inline T __ldca(const T *from) { return *from; }
template <class T> static inline T __ldcg(const T *from) { return *from; }
template <class T> static inline T __ldcs(const T *from) { return *from; }
template <class T> static inline void __stcs(T *to, T value) { *to = value; }
template <class T> static inline void __stcg(T *to, T value) { *to = value; }
template <class T> static inline void __stwt(T *to, T value) { *to = value; }

// Threads run in turn, which makes everything atomic.
template <class T> struct CudaHostSame {
    using type = T;
};
#define CUDA_HOST_ATOMIC(NAME, CHANGED)                                                                      \
    template <class T> static inline T NAME(T *at, typename CudaHostSame<T>::type value) {                   \
        T before = *at;                                                                                      \
        *at = CHANGED;                                                                                       \
        return before;                                                                                       \
    }

CUDA_HOST_ATOMIC(atomicAdd, before + value)
CUDA_HOST_ATOMIC(atomicSub, before - value)
CUDA_HOST_ATOMIC(atomicMin, before < value ? before : value)
CUDA_HOST_ATOMIC(atomicMax, before > value ? before : value)
CUDA_HOST_ATOMIC(atomicAnd, before &value)
CUDA_HOST_ATOMIC(atomicOr, before | value)
CUDA_HOST_ATOMIC(atomicExch, value)

template <class T>
static inline T atomicCAS(T *at, typename CudaHostSame<T>::type expected,
                          typename CudaHostSame<T>::type value) {
    T before = *at;
    if (before == expected)
        *at = value;
    return before;
}
