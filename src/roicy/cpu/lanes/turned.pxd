"""Rows of samples that lie along no row of the map, of few channels: ``turned.h`` and ``projected.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t


cdef extern from "turned.h" nogil:
    enum:
        QUAD                # channels, at the most

    ctypedef struct turned_map:
        const char* source
        ptrdiff_t row, column, channel
        int height, width, channels, dtype
        bint parted
        int top, left, rows, columns
        bint together

    ctypedef struct turned_samples:
        int32_t* offset
        int32_t* right
        int32_t* down
        float* weight[4]
        float* outside

    ctypedef struct turned_line:
        const float* down
        const float* along
        float y, x, cy, cx

    ctypedef struct turned_row:
        char* data
        ptrdiff_t column, channel
        int channels, dtype

    ptrdiff_t turned_first(const turned_map* map, const turned_line* line, ptrdiff_t count, ptrdiff_t* end) noexcept
    void turned_places(const turned_map* map, const turned_line* line, ptrdiff_t begin, ptrdiff_t end, float share,
                       const turned_samples* to) noexcept
    void turned_sum(const turned_map* map, const turned_samples* samples, ptrdiff_t begin, ptrdiff_t end,
                    float* sums, int fresh) noexcept
    int turned_step(const turned_row* to) noexcept
    void turned_store(const float* sums, int step, ptrdiff_t count, const turned_row* to) noexcept


cdef extern from "projected.h" nogil:
    ctypedef struct projected_line:
        const float* x
        const float* y
        const float* w
        float row_x, row_y, row_w

    ctypedef struct projected_rule:
        int border
        bint nearest

    ctypedef struct turned_finish:
        float[4] fill
        float[4] mean
        float[4] scale

    ctypedef struct projected_seen:
        int reach, missing

    bint projected_inside_as_a_whole(const turned_map* map, const projected_line* line, ptrdiff_t count) noexcept
    projected_seen projected_places(const turned_map* map, const projected_line* line, projected_rule rule,
                                    ptrdiff_t count, const turned_samples* to) noexcept
    void projected_pick(const turned_map* map, const turned_samples* samples, ptrdiff_t count, float* sums,
                        int step) noexcept
    void projected_add(const float* part, const float* missing, ptrdiff_t count, float* sums, float* outside,
                       bint first) noexcept
    void projected_join(const float* sums, const float* outside, ptrdiff_t count, double* totals, bint first) noexcept
    void projected_joined(const double* totals, ptrdiff_t count, float* sums, float* outside) noexcept
    void projected_share(float share, ptrdiff_t count, float* sums, float* outside) noexcept
    void projected_clear(const float* outside, ptrdiff_t count, int step, float* sums) noexcept
    void turned_finished(const turned_finish* of, const float* outside, ptrdiff_t count, float* sums) noexcept


cdef extern from "turned_bytes.h" nogil:
    enum:
        TURNED_BYTES_FLOATS     # of scratch memory for each sample, and some more behind them
        TURNED_BYTES_MORE

    ctypedef struct turned_bytes:
        pass

    ctypedef struct turned_where:
        const projected_line* projected
        const turned_line* turned
        ptrdiff_t ahead

    void turned_bytes_describe(turned_bytes* of, int channels, float* scratch, ptrdiff_t room) noexcept
    void turned_bytes_finish(turned_bytes* of, const turned_finish* finish, const float* outside) noexcept
    ptrdiff_t turned_bytes_ahead(const turned_map* map, double y, double x) noexcept
    bint turned_bytes_like(const turned_map* map) noexcept
    bint turned_bytes_can(const turned_map* map, ptrdiff_t further) noexcept
    bint turned_inside(const turned_map* map, const turned_line* line, ptrdiff_t count) noexcept
    void turned_bytes_row(const turned_bytes* of, const turned_map* map, const turned_samples* samples,
                          const turned_where* where, ptrdiff_t count, const turned_row* to) noexcept
    void turned_bytes_clear(const turned_bytes* of, const turned_samples* samples, ptrdiff_t begin,
                            ptrdiff_t end, int32_t offset) noexcept


cdef extern from "turned_join.h" nogil:
    ctypedef struct turned_corners:
        float[4] y, x

    ctypedef struct turned_patch:
        char* memory
        size_t room

    float turned_y(const turned_line* line, ptrdiff_t i) noexcept
    float turned_x(const turned_line* line, ptrdiff_t i) noexcept
    size_t turned_patch_bytes(ptrdiff_t rows, ptrdiff_t columns) noexcept
    bint turned_joins(const turned_map* map, const turned_corners* at, double samples, turned_patch* patch) noexcept
    turned_map turned_join(const turned_map* map, const turned_corners* at, const turned_patch* patch) noexcept
