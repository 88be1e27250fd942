"""How averages are filled up and normalised before they are stored: the options of a call for ``finish.h``."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.lanes.lanes cimport lanes, real
from roicy.cpu.tables.axis cimport Axis, AxisTable

cdef extern from "finish.h" nogil:
    ctypedef struct finish:
        const real* fill
        const real* mean
        const real* scale
        bint filled

    ctypedef struct row_finish:
        pass

    row_finish row_finish_of(const finish* of, ptrdiff_t channel, real down, const real* across) noexcept
    real finish_outside(real down, real across) noexcept
    lanes finish_channels(lanes x, const finish* of, ptrdiff_t channel, real outside) noexcept
    double finish_value(double value, const finish* of, ptrdiff_t channel, double outside) noexcept


cdef struct Finish:
    finish numbers
    bint given              # else values stay as they are


cdef inline Finish finish_of(cnp.ndarray numbers, AxisTable table):
    # Rows of `numbers`: fill, mean and scale of each channel of the result, and LANES numbers more.
    cdef Finish made
    cdef const real* first
    cdef ptrdiff_t c
    made.given = numbers is not None
    if made.given:
        first = <const real*> cnp.PyArray_DATA(numbers)
        made.numbers = finish(fill=first, mean=first + cnp.PyArray_DIM(numbers, 1),
                              scale=first + 2 * cnp.PyArray_DIM(numbers, 1), filled=False)
        if table.y.outside != NULL:
            for c in range(cnp.PyArray_DIM(numbers, 1)):
                made.numbers.filled = made.numbers.filled or first[c] != 0
    return made


cdef inline real outside_of(Axis* axis, int64_t k, int bin) noexcept nogil:
    # The weight outside of the map, for a row or column of bins.
    return (<const real*> axis.outside)[k * axis.bins + bin]
