"""From the number of a chosen sample to where it lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import (
    Array,
    Boxes,
    Flag,
    Integer,
    Invalid,
    Layout,
    Ndarray,
    Real,
    Size,
)

_MOST = 2**31 - 1  # samples along an axis that an argmax can count


def roi_align_argmax_positions(
    argmax: Array,
    rois: Boxes,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
) -> tuple[Array, Array]:
    """Positions of the samples that the argmax of `roi_align` names.

    With ``mode="max"`` and ``return_argmax=True``, `roi_align` returns the number of the sample that each
    maximum was taken of. This returns where the sample lies on the feature map.

    Parameters
    ----------
    argmax : ndarray, shape (K, C, PH, PW), int32
        The chosen samples; with ``layout="NHWC"`` of shape (K, PH, PW, C). Strided in any way.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`. Batch indices are not looked at, and not needed.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`.
    sampling_ratio : int, optional
        Samples per bin along each axis, at most 65536; 0 or less for adaptive.
    aligned : bool, optional
        Whether the centre of pixel ``i`` lies at ``i + 0.5`` (True) or at ``i``.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `argmax` and of the results.
    invalid : {"raise", "nan"}, optional
        What to do about rows that hold a NaN or an infinity. "raise": ValueError that names the first such
        row. "nan": such a row gives NaN.

    Returns
    -------
    y, x : ndarray, shape of `argmax`, float32 or float64 as `rois` is used
        Row and column of each sample in feature pixels, NaN where nothing was chosen (-1). The centre of
        pixel ``i`` is at ``i``, aligned or not. Samples beyond the first and last pixel are where the box has
        them, not where their value comes from.

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or a number is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, a row of `rois` is
        invalid and ``invalid="raise"``, or `argmax` holds a number that is neither -1 nor that of a sample of
        its bin.

    See Also
    --------
    roi_align : The function that returns the argmax.
    roi_align_backward : Takes the argmax as it is.

    Notes
    -----
    Of the ``gy * gx`` samples of a bin, number ``i`` is in row ``i // gx`` and column ``i % gx``. Positions
    have the roundings of `roi_align`. They are what mmcv's ``roi_align`` keeps as ``argmax_y`` and
    ``argmax_x``, but for -1 there where nothing was chosen: ``np.nan_to_num(y, nan=-1)``.

    Examples
    --------
    Two samples along each axis of a bin of 2 x 2 pixels, on the centres of the pixels. As the map rises, the
    last one is chosen.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0, 0, 4, 4]], np.float32)
    >>> pooled, argmax = roicy.roi_align(features, rois, 2, sampling_ratio=2, mode="max", return_argmax=True)
    >>> argmax[0, 0]
    array([[3, 3],
           [3, 3]], dtype=int32)
    >>> y, x = roicy.roi_align_argmax_positions(argmax, rois, sampling_ratio=2)
    >>> y[0, 0]
    array([[1., 1.],
           [3., 3.]], dtype=float32)
    >>> x[0, 0]
    array([[1., 3.],
           [1., 3.]], dtype=float32)
    """
    kernels, argmax, rois = adopt(argmax=argmax, rois=rois)
    xp = kernels.xp
    numbers: Ndarray = argmax
    layout = settle.layout(layout)
    size: Size = settle.argmax_size(numbers, layout)
    images = len(rois) if isinstance(rois, (list, tuple)) else 1
    settled = settle.rois(rois, None, images, xp)
    boxes = settled.boxes[:, -4:]
    options = (
        settle.spatial_scale(spatial_scale, boxes.dtype),
        settle.sampling_ratio(sampling_ratio),
        settle.flag("aligned", aligned),
    )
    raising = settle.invalid(invalid) == "raise"
    channels = numbers.shape[1 if layout == "NCHW" else 3]
    settle.argmax(
        numbers, (len(boxes), channels, *size) if layout == "NCHW" else (len(boxes), *size, channels)
    )
    finite = xp.isfinite(boxes).all(axis=1)
    if raising and not finite.all():
        raise settled.invalid_row(int(settle.on_host(finite).argmin()), images)
    finite = finite[:, None, None, None]
    bins = 2 if layout == "NCHW" else 1  # the axis of the rows of bins
    with np.errstate(all="ignore"):
        rows = _Samples(xp, boxes[:, 1], boxes[:, 3], size[0], bins, *options)
        columns = _Samples(xp, boxes[:, 0], boxes[:, 2], size[1], bins + 1, *options)
        limits = rows.count * columns.count
        named = (numbers >= 0) & (numbers < limits) & finite
        if raising or kernels.streams is None:
            _check(numbers, named | (numbers == -1) | ~finite, limits, layout)
        row, column = xp.divmod(xp.where(named, numbers, 0), xp.maximum(columns.count, 1))
        y, x = (xp.where(named, axis.at(i), axis.real("nan")) for axis, i in ((rows, row), (columns, column)))
    return y, x


class _Samples:
    """Where samples lie along one axis, with the roundings of the kernels; all as it goes with argmax.

    Attributes
    ----------
    real : type
        Of positions.
    count : array, (K, 1, 1, 1), int64
        How many samples a bin of each box has, as far as an argmax counts.
    """

    def __init__(
        self,
        xp: Any,
        low: Ndarray,
        high: Ndarray,
        bins: int,
        axis: int,
        scale: float,
        ratio: int,
        aligned: bool,
    ) -> None:
        self.real = real = low.dtype.type
        offset = real(0.5 if aligned else 0)
        start, end = ((edge * real(scale) - offset)[:, None, None, None] for edge in (low, high))
        size = end - start
        if not aligned:
            size = xp.where(size < 1, real(1), size)
        self._step = step = size / real(bins)
        numbers = [1, 1, 1, 1]
        numbers[axis] = bins
        self._base = start + xp.arange(bins, dtype=low.dtype).reshape(numbers) * step
        samples = xp.ceil(step) if ratio == 0 else xp.zeros_like(step) + real(ratio)
        self._samples = samples
        self.count = xp.clip(xp.nan_to_num(samples), 0, _MOST).astype(np.int64)

    def at(self, index: Ndarray) -> Ndarray:
        """Return the positions of samples by their numbers along the axis."""
        return self._base + (index.astype(self.real) + self.real(0.5)) * self._step / self._samples


def _check(numbers: Ndarray, good: Ndarray, limits: Ndarray, layout: Layout) -> None:
    if not good.all():
        index = tuple(np.argwhere(~settle.on_host(good))[0].tolist())
        value, limit = int(numbers[index]), int(limits[index[0], 0, 0, 0])
        k, *rest = index
        c, p, q = rest if layout == "NCHW" else (rest[2], rest[0], rest[1])
        raise settle.argmax_error(((k, c, p, q), value, limit), layout)
