"""The product of two matrices."""

from __future__ import annotations

import numpy as np

from roicy._types import Ndarray
from roicy.cuda.device import Arguments, Device, name_of, table_options

# As in product.cu: rows and columns that a block makes.
_SIDE = 16


class ProductKernels(Device):
    """What `roicy.cpu` has for matrices."""

    def product(self, left: Ndarray, right: Ndarray) -> Ndarray:
        """Return ``left @ right`` of two matrices of one dtype, float32 or float64."""
        (rows, inner), columns = left.shape, right.shape[1]
        out = self.xp.empty((rows, columns), left.dtype)
        tasks = -(-rows // _SIDE) * -(-columns // _SIDE)
        arguments = (*_view(left), *_view(right), out, *map(np.int64, (rows, inner, columns, tasks)))
        options = table_options("float32", name_of(left.dtype))[1:]
        self.launch("product", "product", options, tasks, _SIDE * _SIDE, arguments)
        return out

    def row_dots(self, rows: Ndarray, others: Ndarray) -> Ndarray:
        """Return the product of each row with the other, (rows, 1), in float64."""
        return (rows.astype(np.float64) * others).sum(axis=1, keepdims=True)

    def row_quotients(self, rows: Ndarray, divisors: Ndarray) -> Ndarray:
        """Return the rows divided by float64 numbers (rows, 1), in the dtype of the rows."""
        return (rows / divisors).astype(rows.dtype)


def _view(array: Ndarray) -> Arguments:
    y, x = (np.int64(stride // array.itemsize) for stride in array.strides)
    return array if array.flags.c_contiguous else array[:1, :1], y, x
