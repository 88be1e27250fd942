"""Pasting masks: ``mask.h``."""

from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int32_t, int64_t, uint8_t

from roicy.cpu.lanes.lanes cimport real


cdef extern from "mask.h" nogil:
    enum:
        LINE_FRAME          # elements of a line beside those of the mask

    ctypedef struct mask_places:
        const int32_t* before
        const real* fraction

    ctypedef struct mask_stretches:
        const int32_t* before
        const int32_t* begin
        const real* first
        const real* last
        int count
        bint joined
        const real* fraction

    ctypedef struct mask_runs:
        int64_t* counts
        int64_t count, room, begin
        bint inside

    void mask_load "mask_load_as"(const char* source, ptrdiff_t step, int length, int dtype, real* line) noexcept
    void mask_clear(char* target, size_t size) noexcept
    void mask_across(const real* line, const mask_places* places, ptrdiff_t count, real* target) noexcept
    void mask_mix(const real* above, const real* below, real fraction, ptrdiff_t count, real* target) noexcept
    void mask_reach(const real* above, const real* below, real fraction, real threshold, ptrdiff_t count,
                    uint8_t* target) noexcept
    void mask_column(const mask_stretches* rows, const real* left, const real* right, real fraction, real threshold,
                     int64_t at, mask_runs* runs) noexcept
    void mask_change(mask_runs* runs, int64_t at) noexcept
