"""Averages whose sums overflow on the way although the average itself fits: they are summed again.

The CPU's overflow flag tells a kernel, after every few RoIs, whether this happened. The kernel then searches the output
for results that are not finite, and sums these again by halves and in double precision. Averages over a NaN stay NaN.
"""

from libc.math cimport NAN, isfinite
from libc.stdint cimport int32_t, int64_t

from roicy.cpu.apply.finish cimport Finish, finish_outside, finish_value, outside_of
from roicy.cpu.apply.view cimport View, block_at
from roicy.cpu.lanes.lanes cimport element_load, real
from roicy.cpu.tables.axis cimport Axis
from roicy.cpu.tables.rois cimport Window
from roicy.cpu.tables.sample cimport Samples


cdef extern from "overflow.h" nogil:
    bint overflow_noted() noexcept
    void overflow_forget() noexcept
    void overflow_store(double half, char* target, int dtype) noexcept


cdef struct Pooled:
    # some channels of one RoI, in the arrays
    View* features
    View* out
    int64_t image, roi, channel, channels
    const Finish* finish


cdef inline double half_of_axes(Axis* y, Axis* x, int64_t k, int p, int q, View* view,
                                const char* source) noexcept nogil:
    # Half of the average of a bin of an axis table.
    cdef int64_t first_row = y.tap_start[k * y.bins + p], first = x.tap_start[k * x.bins + q]
    cdef const int32_t* rows = y.pixels + y.pixel_start[k]
    cdef const int32_t* columns = x.pixels + x.pixel_start[k]
    cdef double total = 0, part, value
    cdef int j, i
    for j in range(y.tap_count[k * y.bins + p]):
        part = 0
        for i in range(x.tap_count[k * x.bins + q]):
            value = element_load(source + rows[y.tap_position[first_row + j]] * view.row
                                 + columns[x.tap_position[first + i]] * view.column, view.dtype)
            if value != value:
                return NAN
            part += 0.5 * (<const real*> x.tap_weight)[first + i] * value
        total += (<const real*> y.tap_weight)[first_row + j] * part
    return total


cdef inline void settle_axes(Axis* y, Axis* x, int64_t k, Pooled* pooled, int begin, int end, int left,
                             int right) noexcept nogil:
    # Rows begin to end of the RoI's bins, in columns left to right.
    cdef View* view = pooled.features
    cdef View* out = pooled.out
    cdef const char* source
    cdef char* target
    cdef double half, outside
    cdef int64_t c
    cdef int p, q
    overflow_forget()
    for c in range(pooled.channel, pooled.channel + pooled.channels):
        source = block_at(view, pooled.image, c)
        for p in range(begin, end):
            target = block_at(out, pooled.roi, c) + p * out.row + left * out.column
            for q in range(left, right):
                if not isfinite(element_load(target, out.dtype)):
                    half = half_of_axes(y, x, k, p, q, view, source)
                    if pooled.finish != NULL and pooled.finish.given:
                        outside = 0
                        if pooled.finish.numbers.filled:
                            outside = finish_outside(outside_of(y, k, p), outside_of(x, k, q))
                        half = finish_value(2 * half, &pooled.finish.numbers, c, outside) / 2
                    overflow_store(half, target, out.dtype)
                target += out.column


cdef inline double half_of_samples(Samples* samples, int64_t at, int64_t count, int64_t stride, View* view,
                                   const char* corner) noexcept nogil:
    # Half the average of a bin whose taps begin at `at`.
    cdef double total = 0, value
    cdef int64_t i
    for i in range(at, at + count):
        value = element_load(corner + samples.offset[i] // stride * view.row + samples.offset[i] % stride * view.column,
                             view.dtype)
        if value != value:
            return NAN
        total += 0.5 * (<const real*> samples.weight)[i] * value
    return total


cdef inline void settle_samples(Samples* samples, int64_t k, const Window* window, int64_t stride,
                                Pooled* pooled) noexcept nogil:
    # All bins of the RoI, whose window's rows lie `stride` pixels apart where taps are counted.
    cdef View* view = pooled.features
    cdef View* out = pooled.out
    cdef const int32_t* taps = samples.tap_count + (k - samples.first) * out.rows * out.columns
    cdef const char* corner
    cdef char* target
    cdef int64_t c, p, q, at
    overflow_forget()
    for c in range(pooled.channel, pooled.channel + pooled.channels):
        corner = block_at(view, pooled.image, c) + window.top * view.row + window.left * view.column
        at = samples.tap_start[k - samples.first]
        for p in range(out.rows):
            target = block_at(out, pooled.roi, c) + p * out.row
            for q in range(out.columns):
                if not isfinite(element_load(target, out.dtype)):
                    overflow_store(half_of_samples(samples, at, taps[p * out.columns + q], stride, view, corner),
                                   target, out.dtype)
                at += taps[p * out.columns + q]
                target += out.column
