"""The sums of pixels that get very many terms: ``piles.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport uint16_t

from roicy.cpu.lanes.lanes cimport lanes


cdef extern from "piles.h" nogil:
    int piles_count(uint16_t* held, ptrdiff_t stride, int rows, int columns, int terms, int limit) noexcept
    void piles_join(lanes* tile, ptrdiff_t count, lanes* sum, lanes* lost) noexcept
    void piles_finish(lanes* tile, ptrdiff_t count, lanes* sum, lanes* lost) noexcept
