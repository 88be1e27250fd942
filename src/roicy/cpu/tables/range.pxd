"""What the kernels see of a range table: plain C arrays."""

from libc.stdint cimport int32_t

from roicy.cpu.tables.rois cimport RoiTable


cdef struct Ranges:
    # One axis of every RoI, in the order of the table: the pixels [start, start + length) of each bin.
    int32_t bins
    int32_t* start          # (K * bins), pixels after the first one of the RoI's window
    int32_t* length         # (K * bins), 0 for an empty bin


cdef enum:
    MOST_RANGES = 64


cdef struct SharedRanges:
    # The ranges of rows that an image's bins have, each once, and the strips of rows that these are made of.
    int ranges, strips
    int32_t edge[2 * MOST_RANGES]       # rows where strips begin and end
    int32_t end[2 * MOST_RANGES]        # where each strip ends, if it is part of a range; else where it begins
    int32_t first[MOST_RANGES]          # strips of each range: [first, last)
    int32_t last[MOST_RANGES]
    int32_t left, right                 # columns of all bins


cdef class RangeTable(RoiTable):
    cdef Ranges y, x
    # where bins share so few ranges of rows that the largest of each is best found first; else NULL
    cdef SharedRanges* shared_ranges    # (images)
    cdef int32_t* range_number          # (K * y.bins) which one a bin has, where it has any
    cdef int most_ranges, most_strips   # of an image
    cdef readonly bint shared           # whether it is so
