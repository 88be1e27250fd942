"""Arithmetic of rows."""

from __future__ import annotations

import numpy as np

from roicy._types import TERMS, DType, Ndarray
from roicy.cuda.device import Arguments, Device, name_of, row_options, table_options
from roicy.cuda.tuning import CONSTANTS

#: Products that are held in memory at a time, if there is no matrix product.
PRODUCTS = 1 << 24

_NONE: Arguments = ()
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class RowKernels(Device):
    """What `roicy.cpu` has for rows of matrices."""

    _multiplies = True

    def product(self, left: Ndarray, right: Ndarray) -> Ndarray:
        """Return ``left @ right`` of two matrices of one dtype, float32 or float64."""
        if self._multiplies:
            try:
                return self.xp.matmul(left, right)
            except ImportError:  # of cuBLAS, which is an option of CuPy
                self._multiplies = False
        inner, columns = right.shape
        out = self.xp.empty((len(left), columns), left.dtype)
        step = max(1, PRODUCTS // max(1, inner * columns))
        for first in range(0, len(left), step):
            rows = left[first : first + step]
            out[first : first + step] = (rows[:, :, None] * right).sum(axis=1)
        return out

    def put_rows(self, rows: Ndarray, out: Ndarray) -> None:
        """Write float64 rows to the last columns of those of `out`, and zeros to the columns before.

        Rows of three axes are several for each row, which are added to zeros.
        """
        first = out if out.flags.c_contiguous else out[:1, :1]
        steps = (np.int64(stride // out.itemsize) for stride in out.strides)
        parts = np.int32(len(rows) if rows.ndim == 3 else -1)
        sizes = np.int64(len(out)), np.int32(out.shape[1])
        arguments = rows, np.int32(rows.shape[-1]), parts, first, *steps, *sizes
        options = table_options(name_of(out.dtype), "float32")
        self.launch("rois", "put_rows", options, -(-out.size // 128), 128, arguments)

    def unit_rows(
        self, rows: Ndarray, eps: float, sums: int | None = None, dtype: DType | None = None
    ) -> tuple[Ndarray, Ndarray]:
        """Return rows over their lengths, at least `eps`, and the lengths, (rows, 1), in float64.

        Unless `sums` is None, as many sums of rows that follow each other stand for the rows. `dtype` is that
        of a result; without it units are for other kernels, and of the type that sums have.
        """
        rows = self.xp.ascontiguousarray(rows)
        count, columns = rows.shape
        real = _FLOAT64 if rows.dtype == _FLOAT64 else _FLOAT32
        kernel, last = "unit", _NONE
        if sums is not None:
            rows, terms = self._few_terms(rows, sums)
            kernel, count, last = "unit_sum", sums, (np.int64(terms),)
        shape = count, columns
        result = self.empty(shape, real) if dtype is None else self.xp.empty(shape, dtype)
        units = result if result.dtype == real else self.empty(shape, real)
        lengths = self.empty((count, 1))
        sizes = np.int64(count), np.int64(columns), np.float64(eps)
        self._launch_rows(kernel, (rows, result), count, (rows, *sizes, units, lengths, result, *last))
        return result, lengths

    def _few_terms(self, rows: Ndarray, sums: int) -> tuple[Ndarray, int]:
        # rows with the same sums, and how many each of these has, which can be added one after the other
        terms, kept = len(rows) // max(1, sums), 0
        while terms > TERMS:
            pieces = terms // TERMS + 1 + kept
            found = self.empty((sums * pieces, rows.shape[1]), rows.dtype)
            sizes = np.int64(sums), np.int64(rows.shape[1]), np.int64(terms), np.int64(kept)
            self._launch_rows("sum_pieces", (rows, found), len(found), (rows, *sizes, found))
            rows, terms, kept = found, terms // TERMS, kept + 1
        return rows, terms + kept

    def unit_rows_backward(
        self, grad_units: Ndarray, units: Ndarray, lengths: Ndarray, eps: float, dtype: DType | None = None
    ) -> Ndarray:
        """Return the gradient with respect to the rows that were made `units`, which may share gradients.

        It is of a dtype, or else of that of the units.
        """
        grad_units = self.xp.ascontiguousarray(grad_units)
        count, columns = units.shape
        grad = self.empty(units.shape, dtype or units.dtype)
        share = np.int64(max(1, count // max(1, len(grad_units))))
        sizes = np.int64(count), np.int64(columns), np.float64(eps)
        arguments = grad_units, *sizes, units, lengths, grad, share
        self._launch_rows("unit_backward", (grad_units, grad), count, arguments)
        return grad

    def _launch_rows(
        self, kernel: str, arrays: tuple[Ndarray, Ndarray], blocks: int, arguments: Arguments
    ) -> None:
        # `arrays`: what the kernel reads, and what it is for
        stored, result = arrays
        options = row_options(name_of(stored.dtype), name_of(result.dtype))
        self.launch("rows", kernel, options, blocks, CONSTANTS["rows"]["THREADS"], arguments)
