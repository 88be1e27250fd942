"""Vectors of channels, and how they get from arrays and back: ``lanes.h`` and what is built on it."""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t


cdef extern from "lanes.h" nogil:
    enum:
        LANES
        DEPTH

    ctypedef float real  # a double where the module is compiled for float64
    ctypedef int32_t lane_int
    ctypedef struct lanes:
        pass
    ctypedef struct lane_ints:
        pass
    ctypedef struct lane_rows:
        const lanes* first
        ptrdiff_t stride
        int depth

    lanes lanes_zero() noexcept
    lanes lanes_fill(real value) noexcept
    lanes lanes_scale(real weight, lanes x) noexcept
    lanes lanes_madd(real weight, lanes x, lanes total) noexcept
    lanes lanes_multiply_add(lanes a, lanes b, lanes total) noexcept
    double lanes_sum(lanes x) noexcept
    void lanes_prefetch(const char* source) noexcept
    void lanes_prefetch_own(const char* target) noexcept
    void lanes_prefetch_far(const char* source) noexcept


cdef extern from "long_sums.h" nogil:
    enum:
        PIECE

    lanes lanes_join(lanes piece, lanes total, lanes* lost) noexcept
    lanes lanes_restore(lanes total, lanes lost) noexcept


cdef extern from "elements.h" nogil:
    enum:
        FLOAT32
        FLOAT64
        FLOAT16
        BFLOAT16
        UINT8
        INDEX
        INT8
        UINT16
        INT16
        BOOL
        OWN

    size_t element_size(int dtype) noexcept
    real element_load(const char* source, int dtype) noexcept
    void element_store(real value, char* target, int dtype) noexcept
    void lanes_store_pixel(lanes x, char* target, ptrdiff_t step, int count, int dtype) noexcept


cdef extern from "blocks.h" nogil:
    enum:
        LINE_LANES
        BURST

    ctypedef struct planes:
        ptrdiff_t step
        const char* limit
        int channels, dtype

    void lanes_load_block(const planes* source_planes, const char* source, int count, lanes* target,
                          ptrdiff_t stride) noexcept
    void lanes_load_pixels(const planes* source_planes, const char* source, ptrdiff_t column, ptrdiff_t count,
                           lanes* target, ptrdiff_t stride) noexcept
    void lanes_blend_block(const planes* source_planes, const char* const* source, const real* weight, int rows,
                           ptrdiff_t offset, int count, lanes* target) noexcept
    void lanes_store_block(const lanes* source, ptrdiff_t stride, const planes* target_planes, char* target,
                           int count) noexcept
    void lanes_store_pixels(const lanes* source, ptrdiff_t stride, const planes* target_planes, char* target,
                            ptrdiff_t column, ptrdiff_t count) noexcept
    void lanes_stream_block(const lanes* source, ptrdiff_t stride, const planes* target_planes, char* target,
                            int count) noexcept
    void lanes_store_chunk(const lanes* source, char* target, ptrdiff_t count, int channels, int dtype) noexcept
    void lanes_stream_bytes(char* target, const char* source, size_t size) noexcept
