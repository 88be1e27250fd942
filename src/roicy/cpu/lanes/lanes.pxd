"""The lane primitives of ``lanes.h``: one vector holds one value for each channel of a block."""

from libc.stddef cimport ptrdiff_t, size_t


cdef extern from "lanes.h" nogil:
    enum:
        LANES
        DEPTH
        PIECE
        LINE_LANES
        BURST
        FLOAT32
        FLOAT64
        FLOAT16
        BFLOAT16
        UINT8
        INDEX

    ctypedef float real  # a double where the module is compiled for float64
    ctypedef struct lanes:
        pass

    lanes lanes_zero() noexcept
    lanes lanes_fill(real value) noexcept
    lanes lanes_scale(real weight, lanes x) noexcept
    lanes lanes_madd(real weight, lanes x, lanes total) noexcept
    lanes lanes_multiply_add(lanes a, lanes b, lanes total) noexcept
    double lanes_sum(lanes x) noexcept
    lanes lanes_join(lanes piece, lanes total, lanes* lost) noexcept
    lanes lanes_restore(lanes total, lanes lost) noexcept

    size_t element_size(int dtype) noexcept
    real element_load(const char* source, int dtype) noexcept
    void element_store(real value, char* target, int dtype) noexcept

    lanes lanes_load(const char* source, int dtype) noexcept
    void lanes_store(lanes x, char* target, int dtype) noexcept
    lanes lanes_load_part(const char* source, int count, int dtype) noexcept
    void lanes_store_part(lanes x, char* target, int count, int dtype) noexcept
    lanes lanes_load_pixel(const char* source, ptrdiff_t step, int count, int dtype) noexcept
    void lanes_store_pixel(lanes x, char* target, ptrdiff_t step, int count, int dtype) noexcept

    void lanes_load_block(const char* source, ptrdiff_t step, int channels, int count, const char* limit,
                          lanes* target, ptrdiff_t stride, int dtype) noexcept
    void lanes_blend_block(const char* const* source, const real* weight, int rows, ptrdiff_t offset,
                           ptrdiff_t step, int channels, int count, const char* limit, lanes* target,
                           int dtype) noexcept
    void lanes_store_block(const lanes* source, ptrdiff_t stride, char* target, ptrdiff_t step, int channels,
                           int count, int dtype) noexcept
    void lanes_stream_block(const lanes* source, ptrdiff_t stride, char* target, ptrdiff_t step, int channels,
                            int count) noexcept
    void lanes_store_chunk(const lanes* source, char* target, ptrdiff_t count, int channels, int dtype) noexcept
    void lanes_stream_bytes(char* target, const char* source, size_t size) noexcept
    void lanes_fence() noexcept
    void lanes_prefetch(const char* source) noexcept
