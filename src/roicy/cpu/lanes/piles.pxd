"""The sums of pixels that get very many terms: ``piles.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint8_t, uint16_t

from roicy.cpu.lanes.lanes cimport lanes, real


cdef extern from "piles.h" nogil:
    enum:
        CHAIN                # terms of a chain of a box's gradient, at the most

    bint piles_count(uint16_t* held, int columns, int terms, const uint8_t* along, int limit) noexcept
    void piles_join(lanes* tile, ptrdiff_t count, lanes* sum, lanes* lost) noexcept
    void piles_add_products(const lanes* x, const lanes* y, ptrdiff_t count, bint pieces, lanes* total,
                            lanes* lost) noexcept
    void piles_add_weighted(const real* weight, const lanes* x, ptrdiff_t count, bint pieces, lanes* piece,
                            lanes* total, lanes* lost) noexcept
    void piles_finish(lanes* tile, ptrdiff_t count, lanes* sum, lanes* lost) noexcept
