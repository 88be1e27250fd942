"""What the inner loops get from a grid table."""

from libc.stdint cimport int64_t

from roicy.cpu.lanes.lanes cimport real
from roicy.cpu.lanes.maxima cimport sample_axis
from roicy.cpu.tables.grid cimport Grid


cdef inline sample_axis samples_of(Grid* axis, int64_t bin) noexcept nogil:
    cdef int64_t start = axis.start[bin]
    return sample_axis(count=axis.count[bin], total=axis.total[bin], number=axis.number + start,
                       low=axis.low + start, high=axis.high + start,
                       low_weight=<const real*> axis.low_weight + start,
                       high_weight=<const real*> axis.high_weight + start, flat=axis.flat + start)
