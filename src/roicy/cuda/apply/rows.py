"""Arithmetic of rows."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray
from roicy.cuda.device import Device, name_of, real_options, table_options
from roicy.cuda.tuning import CONSTANTS

#: Products that are held in memory at a time, if there is no matrix product.
PRODUCTS = 1 << 24


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

    def unit_rows(self, rows: Ndarray, eps: float) -> tuple[Ndarray, Ndarray]:
        """Return rows over their lengths, at least `eps`, and the lengths, (rows, 1), in float64."""
        rows = self.xp.ascontiguousarray(rows)
        units, lengths = self.xp.empty(rows.shape, rows.dtype), self.xp.empty((len(rows), 1))
        self._launch_rows("unit", rows, eps, units, lengths)
        return units, lengths

    def unit_rows_backward(
        self, grad_units: Ndarray, units: Ndarray, lengths: Ndarray, eps: float
    ) -> Ndarray:
        """Return the gradient with respect to the rows that were made `units`, which may share gradients."""
        if len(grad_units) != len(units):  # maps without pixels have no regions, and no rows
            grad = self.xp.repeat(grad_units, len(units) // len(grad_units), axis=0)
        else:
            grad = self.xp.array(grad_units, order="C")
        self._launch_rows("unit_backward", grad, eps, units, lengths)
        return grad

    def _launch_rows(self, kernel: str, rows: Ndarray, eps: float, *others: Ndarray) -> None:
        sizes = (np.int64(size) for size in rows.shape)
        arguments = (rows, *sizes, np.float64(eps), *others)
        threads = CONSTANTS["rows"]["THREADS"]
        self.launch("rows", kernel, real_options(name_of(rows.dtype)), len(rows), threads, arguments)
