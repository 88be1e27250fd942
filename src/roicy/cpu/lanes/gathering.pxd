"""The inner loops of ``gathering.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint8_t

from roicy.cpu.lanes.lanes cimport lanes, real


cdef extern from "gathering.h" nogil:
    ctypedef struct bin_taps:
        const int32_t* offset
        const real* weight
        const int32_t* count
        int bins

    ctypedef struct offset_range:
        int64_t low, high

    ptrdiff_t pass_gather(const lanes* pixels, const bin_taps* bins, int depth, lanes* target,
                          ptrdiff_t block) noexcept
    void pass_spread(lanes* pixels, const bin_taps* bins, int depth, const lanes* source, ptrdiff_t block) noexcept
    void pass_spread_within(lanes* pixels, const bin_taps* bins, int depth, const lanes* source, ptrdiff_t block,
                            const offset_range* rows) noexcept
    void pass_spread_piles(lanes* pixels, const bin_taps* bins, int depth, const lanes* source, ptrdiff_t block,
                           const offset_range* rows, const uint8_t* full, ptrdiff_t apart) noexcept
    void pass_gather_slopes(const lanes* pixels, const int32_t* offset, const real* slope, const int32_t* taps,
                            int bins, const lanes* factor, lanes* total) noexcept
    void pass_gather_bin_slopes(const lanes* pixels, const int32_t* offset, const real* slope, const int32_t* taps,
                                int bins, const lanes* factor, double* part, int slopes) noexcept
    void pass_gather_runs(const char* pixels, const int64_t* offset, const real* weight, int taps, ptrdiff_t channels,
                          lanes* target) noexcept
