"""Arithmetic of rows, by what the array library has."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray
from roicy.cuda.device import Device, name_of, table_options

#: Products that are held at a time where there is no matrix product.
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
        """Write float64 rows to the last columns of those of `out`, and zeros to the columns before."""
        first = out if out.flags.c_contiguous else out[:1, :1]
        steps = (np.int64(stride // out.itemsize) for stride in out.strides)
        arguments = (rows, np.int32(rows.shape[1]), first, *steps, np.int64(len(out)), np.int32(out.shape[1]))
        options = table_options(name_of(out.dtype), "float32")
        self.launch("rois", "put_rows", options, -(-out.size // 128), 128, arguments)

    def row_dots(self, rows: Ndarray, others: Ndarray) -> Ndarray:
        """Return the product of each row with the other, (rows, 1), in float64."""
        return (rows.astype(np.float64) * others).sum(axis=1, keepdims=True)

    def row_quotients(self, rows: Ndarray, divisors: Ndarray) -> Ndarray:
        """Return the rows divided by float64 numbers (rows, 1), in the dtype of the rows."""
        return (rows / divisors).astype(rows.dtype)
