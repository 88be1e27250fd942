"""Normalise rows to unit length (L2), and the gradient of that: the last steps of R-MAC.

A piece is a few rows.
"""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from roicy.cpu cimport arrays as cnp
from roicy.cpu.lanes.lanes cimport real
from roicy.cpu.runtime.parallel cimport run_pieces
from roicy.cpu.tuning cimport UNIT_ROWS_SERIAL_ELEMENTS


cdef extern from "unit_rows.h" nogil:
    double unit_row(const real* row, ptrdiff_t count, double eps, real* unit) noexcept
    void unit_row_backward(const real* grad, const real* unit, ptrdiff_t count, double length, double eps,
                           real* target) noexcept

cdef enum:
    ROWS_OF_A_PIECE = 8


cdef struct UnitRowsCall:
    const real* grad        # NULL: rows are made units; else each row of it is that of `share` rows
    const real* rows        # or the units that they were made
    real* target
    double* length
    int64_t count, columns, share
    double eps


cdef void unit_rows_piece(void* settled, int64_t number, int thread) noexcept nogil:
    cdef UnitRowsCall* call = <UnitRowsCall*> settled
    cdef int64_t k, at
    for k in range(number * ROWS_OF_A_PIECE, min(call.count, (number + 1) * ROWS_OF_A_PIECE)):
        at = k * call.columns
        if call.grad == NULL:
            call.length[k] = unit_row(call.rows + at, call.columns, call.eps, call.target + at)
        else:
            unit_row_backward(call.grad + k // call.share * call.columns, call.rows + at, call.columns, call.length[k],
                              call.eps, call.target + at)


def unit_rows(cnp.ndarray grad, cnp.ndarray rows, cnp.ndarray lengths, double eps, cnp.ndarray target, int threads):
    """Fill `target` with `rows` over their lengths, and `lengths`; or, of units, with the gradient of the rows.

    All are C-contiguous and of the type of accumulation, `lengths` are float64; `grad` is None for the former. A row of
    it may be the gradient of several that follow each other.
    """
    cdef UnitRowsCall call
    call.grad = NULL
    call.share = 1
    if grad is not None and cnp.PyArray_DIM(grad, 0):
        call.grad = <const real*> cnp.PyArray_DATA(grad)
        call.share = cnp.PyArray_DIM(rows, 0) // cnp.PyArray_DIM(grad, 0)
    call.rows = <const real*> cnp.PyArray_DATA(rows)
    call.target = <real*> cnp.PyArray_DATA(target)
    call.length = <double*> cnp.PyArray_DATA(lengths)
    call.count = cnp.PyArray_DIM(rows, 0)
    call.columns = cnp.PyArray_DIM(rows, 1)
    call.eps = eps
    if call.count * <double> call.columns < UNIT_ROWS_SERIAL_ELEMENTS:
        threads = 1
    run_pieces(unit_rows_piece, &call, (call.count + ROWS_OF_A_PIECE - 1) // ROWS_OF_A_PIECE, threads)
