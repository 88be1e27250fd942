"""What the kernels see of a range table: plain C arrays."""

from libc.stdint cimport int32_t

from roicy.cpu.roi_table cimport RoiTable


cdef struct Ranges:
    # One axis of every RoI, in the order of the table: the pixels [start, start + length) of each bin.
    int32_t bins
    int32_t* start          # (K * bins), pixels after the first one of the RoI's window
    int32_t* length         # (K * bins), 0 for an empty bin


cdef class RangeTable(RoiTable):
    cdef Ranges y, x
