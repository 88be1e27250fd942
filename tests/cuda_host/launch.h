// From the addresses of a launch's arguments to a call of the kernel, and the kernel's parameters as text.
#pragma once

namespace cuda_host {

template <int... Index> struct Indices {};
template <int Count, int... Index> struct CountedTo : CountedTo<Count - 1, Count - 1, Index...> {};
template <int... Index> struct CountedTo<0, Index...> {
    using type = Indices<Index...>;
};

template <class Function> struct Call;
template <class... Parameter> struct Call<void (*)(Parameter...)> {
    template <int... Index>
    static void with(void (*kernel)(Parameter...), void **arguments, Indices<Index...>) {
        kernel(*static_cast<Parameter *>(arguments[Index])...);
    }
    using Every = typename CountedTo<sizeof...(Parameter)>::type;
};

// A kernel as the runtime takes it: what one thread of a launch runs.
template <auto kernel> static void one_thread(void **arguments) {
    using Kernel = Call<decltype(kernel)>;
    Kernel::with(kernel, arguments, typename Kernel::Every());
}

// A type's name as module.py knows it: NumPy's kind and bytes, with the vectors' lengths; any other is its
// size.
template <class T> struct Name {
    static constexpr const char *text = nullptr;
};
#define CUDA_HOST_NAME(TYPE, TEXT)                                                                           \
    template <> struct Name<TYPE> {                                                                          \
        static constexpr const char *text = TEXT;                                                            \
    };
CUDA_HOST_NAME(void, "any")
CUDA_HOST_NAME(bool, "b1")
CUDA_HOST_NAME(char, "i1")
CUDA_HOST_NAME(signed char, "i1")
CUDA_HOST_NAME(unsigned char, "u1")
CUDA_HOST_NAME(short, "i2")
CUDA_HOST_NAME(unsigned short, "u2")
CUDA_HOST_NAME(int, "i4")
CUDA_HOST_NAME(unsigned, "u4")
CUDA_HOST_NAME(long, "i8")
CUDA_HOST_NAME(unsigned long, "u8")
CUDA_HOST_NAME(long long, "i8")
CUDA_HOST_NAME(unsigned long long, "u8")
CUDA_HOST_NAME(__half, "f2")
CUDA_HOST_NAME(__nv_bfloat16, "bfloat16")
CUDA_HOST_NAME(float, "f4")
CUDA_HOST_NAME(double, "f8")
CUDA_HOST_NAME(__half2, "f2x2")
CUDA_HOST_NAME(__nv_bfloat162, "bfloat16x2")
#define CUDA_HOST_VECTOR_NAMES(NAME, TEXT)                                                                   \
    CUDA_HOST_NAME(NAME##2, TEXT "x2")                                                                       \
    CUDA_HOST_NAME(NAME##4, TEXT "x4")
CUDA_HOST_VECTOR_NAMES(char, "i1")
CUDA_HOST_VECTOR_NAMES(uchar, "u1")
CUDA_HOST_VECTOR_NAMES(short, "i2")
CUDA_HOST_VECTOR_NAMES(ushort, "u2")
CUDA_HOST_VECTOR_NAMES(int, "i4")
CUDA_HOST_VECTOR_NAMES(uint, "u4")
CUDA_HOST_VECTOR_NAMES(longlong, "i8")
CUDA_HOST_VECTOR_NAMES(ulonglong, "u8")
CUDA_HOST_VECTOR_NAMES(float, "f4")
CUDA_HOST_VECTOR_NAMES(double, "f8")

struct Parameter {
    const char *type; // null: no type that NumPy has
    int size;
    bool is_array, is_const;
    const Parameter *fields; // of a struct that module.py has found in the source
    int field_count;
    const char *name; // of a field, and where it is in its struct
    int offset;
};

template <class T> struct Fields {
    static constexpr const Parameter *list = nullptr;
    static constexpr int count = 0;
};
template <class T> struct Describe {
    static constexpr Parameter value = {Name<T>::text,   sizeof(T),        false,   false,
                                        Fields<T>::list, Fields<T>::count, nullptr, 0};
};
template <class T> struct SizeOf {
    static constexpr int value = sizeof(T);
};
template <> struct SizeOf<void> {
    static constexpr int value = 1;
};
template <class T> struct Describe<T *> {
    static constexpr Parameter value = {Name<T>::text, SizeOf<T>::value, true, false, nullptr, 0, nullptr, 0};
};
template <class T> struct Describe<const T *> {
    static constexpr Parameter value = {Name<T>::text, SizeOf<T>::value, true, true, nullptr, 0, nullptr, 0};
};
template <class T> struct Describe<const T> : Describe<T> {};
template <class T> struct Describe<T *__restrict__> : Describe<T *> {};

constexpr Parameter field(Parameter described, const char *name, int offset) {
    described.name = name;
    described.offset = offset;
    return described;
}

struct Kernel {
    const char *name;
    void (*one_thread)(void **arguments);
    int most_threads;
    int parameters;
    const Parameter *described;
};

template <class Function> struct Parameters;
template <class... Type> struct Parameters<void (*)(Type...)> {
    static constexpr int count = sizeof...(Type);
    static constexpr Parameter described[sizeof...(Type) + 1] = {Describe<Type>::value...};
};

} // namespace cuda_host

// What cuda_host_kernels, a table that module.py writes behind the source, says of one kernel.
#define CUDA_HOST_KERNEL(NAME, MOST_THREADS)                                                                 \
    {#NAME, cuda_host::one_thread<&NAME>, MOST_THREADS, cuda_host::Parameters<decltype(&NAME)>::count,       \
     cuda_host::Parameters<decltype(&NAME)>::described}

// What it says of a struct: the fields in their order, CUDA_HOST_FIELD each.
#define CUDA_HOST_STRUCT(TYPE, ...)                                                                          \
    template <> struct cuda_host::Fields<::TYPE> {                                                             \
        static constexpr Parameter of[] = {__VA_ARGS__};                                                     \
        static constexpr const Parameter *list = of;                                                         \
        static constexpr int count = sizeof(of) / sizeof(*of);                                               \
    };
#define CUDA_HOST_FIELD(TYPE, FIELD)                                                                         \
    cuda_host::field(cuda_host::Describe<decltype(::TYPE::FIELD)>::value, #FIELD,                              \
                     __builtin_offsetof(::TYPE, FIELD))
