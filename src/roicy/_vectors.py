"""From the maxima of regions to one vector for each image, and back: the arithmetic of R-MAC."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from roicy._arguments.arrays import is_bfloat16
from roicy._arguments.numbers import choice, real, shown
from roicy._types import Accumulate, AnyArray, DType, Ndarray

if TYPE_CHECKING:
    from roicy._protocols import Backend

Whiten: TypeAlias = Callable[[Any], Any] | Sequence[AnyArray] | None


class Recipe:
    """What is made of the maxima.

    Parameters
    ----------
    whiten, aggregate, eps
        As in `roicy.rmac`, arrays as the kernels take them.
    """

    __slots__ = ("eps", "joined", "whiten")

    def __init__(self, whiten: Any, aggregate: Any, eps: Any) -> None:
        self.whiten = whiten
        self.eps = _settled_eps(eps)
        self.joined = choice("aggregate", aggregate, ("sum", "concat")) == "concat"

    def keep(self, channels: int) -> None:
        """Check and copy the arrays: from here on the caller's may change."""
        settled_whiten(self.whiten, channels, np.dtype(np.float32))
        if whiten_arrays(self.whiten):
            self.whiten = tuple(array.copy() for array in self.whiten)


class Vectors:
    """The way from the maxima of all regions to one vector for each image, and back.

    Parameters
    ----------
    kernels : Backend
        Whose arrays the maxima are.
    recipe : Recipe
        What is made of them.
    counts : tuple of int
        Images, regions of an image and channels.
    accumulate : {"float32", "float64"}
        What sums are kept in.

    Attributes
    ----------
    shape : tuple of int
        Shape of the vectors; the number of columns is not known where a function whitens.
    """

    def __init__(
        self, kernels: Backend, recipe: Recipe, counts: tuple[int, int, int], accumulate: Accumulate
    ) -> None:
        n, r, c = self._counts = counts
        self._kernels = kernels
        self._accumulate = np.dtype(accumulate)
        self._joined, self._eps = recipe.joined, recipe.eps
        self._whiten = settled_whiten(recipe.whiten, c, self._accumulate)
        d = c if self._whiten is None or callable(self._whiten) else len(self._whiten[1])
        self.shape = (n, r * d) if self._joined else (n, d)

    def of(self, pooled: Ndarray) -> Ndarray:
        """Return the vectors of the images, made of the maxima of the regions."""
        return self._of(pooled, pooled.dtype)

    @np.errstate(all="ignore")
    def adjoint(self, pooled: Ndarray, grad: Ndarray) -> Ndarray:
        """Return the gradient with respect to the maxima, rows of regions."""
        self._of(pooled)
        grad_rows = self._unit_adjoint(grad)
        if self._joined:
            grad_rows = grad_rows.reshape(self._units[-1][0].shape)
        if self._whiten is not None:
            grad_rows = self._kernels.product(self._unit_adjoint(grad_rows), self._whiten[1])
        return self._unit_adjoint(grad_rows, grad.dtype)

    def _of(self, pooled: Ndarray, dtype: DType | None = None) -> Ndarray:
        # of a dtype for the caller; or, for `adjoint`, of the type of sums
        n, r, c = self._counts
        self._units: list[tuple[Ndarray, Ndarray]] = []
        rows = self._unit(pooled.reshape(n * r, c))
        if self._whiten is not None:
            rows = self._unit(self._whitened(rows))
        if self._joined:
            return self._unit(rows.reshape(n, r * rows.shape[1]), None, dtype)
        return self._unit(rows, n, dtype)

    def _whitened(self, rows: Ndarray) -> Ndarray:
        if callable(self._whiten):
            made = _checked(self._whiten(rows), len(rows), self._kernels.xp)
            return made.astype(self._accumulate, copy=False)
        mean, matrix = self._whiten
        with np.errstate(all="ignore"):
            return self._kernels.product(rows - mean, matrix.T)

    def _unit(self, rows: Ndarray, sums: int | None = None, dtype: DType | None = None) -> Ndarray:
        # with what `adjoint` will ask for
        units, lengths = self._kernels.unit_rows(rows, self._eps, sums, dtype)
        self._units.append((units, lengths))
        return units

    def _unit_adjoint(self, grad: Ndarray, dtype: DType | None = None) -> Ndarray:
        return self._kernels.unit_rows_backward(grad, *self._units.pop(), self._eps, dtype)


def _settled_eps(value: Any) -> float:
    least = real("eps", value)
    if not 0.0 < least < math.inf:
        raise ValueError(f"eps must be finite and greater than 0, got {short_repr(value)}")
    return least


def settled_whiten(value: Any, channels: int, dtype: DType) -> Any:
    """Return what whitens rows: None, a function, or mean and matrix of a dtype."""
    if value is None or callable(value):
        return value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise TypeError(f"whiten must be None, a function or a pair (mean, matrix), got {shown(value)}")
    mean, matrix = value
    for index, array in enumerate(value):
        if array.dtype.kind not in "fiu" and not is_bfloat16(array.dtype):
            raise TypeError(f"whiten[{index}] must be real numbers, got {array.dtype}")
    if mean.shape != (channels,):
        raise ValueError(f"whiten[0] must be a mean of shape {(channels,)}, got {mean.shape}")
    if matrix.ndim != 2 or matrix.shape[1] != channels:
        raise ValueError(f"whiten[1] must be a matrix of shape (D, {channels}), got {matrix.shape}")
    return mean.astype(dtype), matrix.astype(dtype)


def _checked(value: Any, rows: int, xp: Any = np) -> Ndarray:
    """Check what a function made of rows."""
    if not isinstance(value, xp.ndarray) or value.dtype.kind not in "fiu":
        raise TypeError(f"whiten must return a {xp.__name__}.ndarray of real numbers, got {shown(value)}")
    if value.ndim != 2 or len(value) != rows:
        raise ValueError(f"whiten must return an array of shape ({rows}, D), got {value.shape}")
    return value


def whiten_arrays(whiten: Any) -> dict[str, Ndarray]:
    """Return the arrays of a pair, by the names that errors give them."""
    if isinstance(whiten, (tuple, list)):
        return {f"whiten[{index}]": array for index, array in enumerate(whiten)}
    return {}
