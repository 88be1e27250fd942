"""What the kernels see of a grid table: plain C arrays."""

from libc.stdint cimport int8_t, int32_t, int64_t

from roicy.cpu.tables.rois cimport RoiTable
from roicy.cpu.tables.samples cimport Sampling, Span


cdef extern from "geometry/cpu.h" nogil:
    ctypedef struct Bin:
        double base, step, total
        Span span

    ctypedef struct Sample:
        double number
        int32_t low, high
        double low_weight, high_weight
        bint flat


cdef struct Grid:
    # One axis of every RoI, in the order of the table: the samples of each bin that hit the map, or those of them that
    # a maximum needs, in ascending order of their number in the bin. Weights are float or double, as the table's
    # `double` says.
    int32_t bins
    int32_t length          # pixels of the map
    int32_t begin           # from where on it is given
    bint single             # boxes are float32
    int rule
    int64_t* start          # (K * bins), where the bin's samples begin
    int32_t* count          # (K * bins)
    int32_t* total          # (K * bins), samples of the bin, hit or not; at most 2**31 - 1
    int32_t* missed         # (K * bins), number of the first one that misses the map, -1 where none does
    int32_t* number         # number in the bin
    int32_t* low            # the pixels around the sample, after the first one of the RoI's window
    int32_t* high
    void* low_weight
    void* high_weight
    int8_t* flat            # whether the value there does not follow the position
    int32_t* dense          # (K * bins), where the description of a bin is whose list has gaps, -1 for other bins
    Bin* dense_bin


cdef class GridTable(RoiTable):
    cdef Grid y, x
    cdef readonly Py_ssize_t first_too_fine
    cdef bint* widened      # (K, 2): whether the RoI's size along y and x was raised to 1
    cdef Sampling sampling


cdef class GridTables:
    cdef object regions, sampling
    cdef readonly str accumulate
    cdef readonly Py_ssize_t first_invalid, first_too_fine
    cdef readonly object beyond
    cdef readonly bint doubtful
    cdef list runs              # slices of the rows
    cdef GridTable only         # where there is one run

    cdef Py_ssize_t first_of(self, str attribute) except? -1
    cdef tuple first_beyond(self)


cdef bint dense_sample(Grid* axis, int64_t bin, int32_t number, int32_t origin, Sample* sample) noexcept nogil
