"""R-MAC: regions that cover a map at several scales, and the vector made of their maxima."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import (
    Aggregate,
    AnyArray,
    Array,
    InputShape,
    Integer,
    Kernels,
    Layout,
    Ndarray,
    NumPyArray,
    Real,
)
from roicy.pool import roi_pool, roi_pool_backward

# Up to so many regions more fit along the longer side than along the shorter one.
_MAX_STEPS = 6
# So many regions of one image are found in a fraction of a second.
_MAX_REGIONS = 2**20

Whiten: TypeAlias = Callable[[Any], Any] | Sequence[AnyArray] | None


def rmac_regions(
    input_shape: InputShape, *, scales: Integer = 3, overlap: Real = 0.4, layout: Layout = "NCHW"
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Boxes of the square regions of R-MAC, which cover a map at several scales.

    At scale 1 the regions are as large as the map's shorter side, at scale ``l`` by a factor of
    ``2 / (l + 1)`` smaller, rounded down to pixels. They are evenly spread from border to border.

    Parameters
    ----------
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    scales : int, optional
        Number of scales, at least 1. Scales whose regions would be smaller than a pixel are left out. The
        regions of an image may be up to 1048576, which is 146 scales of a square map.
    overlap : float, optional
        Which part of a region, at least 0 and less than 1, its neighbour at scale 1 should cover. Of 1 to 6
        additional regions along the longer side, the number is taken that comes closest.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `input_shape`.

    Returns
    -------
    ndarray, shape (N * R, 5), float32
        Rows ``[batch index, x1, y1, x2, y2]`` as `roi_pool` takes them: ``x2`` and ``y2`` are the last pixel
        of the region. The R regions of image 0 come first, by scale, then by x, then by y; the other images
        follow with the same ones.

    Raises
    ------
    TypeError
        Where an argument is of another type.
    ValueError
        Where an argument is out of range, or there are too many regions.

    See Also
    --------
    rmac : The vector that these regions are for.
    roi_pool : Their maxima.

    Notes
    -----
    Positions are computed in float32 and truncated to pixels, as Caffe2 ``RMACRegions`` does, so that all
    regions are the same, also where exact arithmetic would round otherwise: some end a pixel before the
    border. The regions of scale 1 cover a map of up to seven times its width or height, with an `overlap` of
    a quarter or more; smaller ones may leave gaps between them.

    References
    ----------
    G. Tolias, R. Sicre and H. Jegou, "Particular Object Retrieval with Integral Max-Pooling of CNN
    Activations", International Conference on Learning Representations (ICLR), 2016.
    https://arxiv.org/abs/1511.05879

    Examples
    --------
    A map of 4 rows and 6 columns: at scale 1 two squares that share half of their pixels, which is as close
    to 0.4 as it gets.

    >>> import roicy
    >>> roicy.rmac_regions((1, 256, 4, 6), scales=1)
    array([[0., 0., 0., 3., 3.],
           [0., 2., 0., 5., 3.]], dtype=float32)
    """
    layout = settle.layout(layout)
    shape = settle.input_shape(input_shape, layout)
    height, width = shape[2:] if layout == "NCHW" else shape[1:3]
    boxes = _boxes(height, width, settle.scales(scales), settle.overlap(overlap))
    regions = settle.new("the result for input_shape", (shape[0], len(boxes), 5), np.dtype(np.float32))
    if regions.size:
        regions[:, :, 0] = np.arange(shape[0])[:, None]
        regions[:, :, 1:] = boxes
    rows: np.ndarray[tuple[int, int], np.dtype[np.float32]] = regions.reshape(-1, 5)
    return rows


def rmac(
    features: Array,
    *,
    scales: Integer = 3,
    overlap: Real = 0.4,
    layout: Layout = "NCHW",
    whiten: Whiten = None,
    aggregate: Aggregate = "sum",
    eps: Real = 1e-12,
) -> Array:
    """Describe each image by one vector: regional maximum activations of convolutions.

    The maxima of each channel over a region make a vector, which is divided by its length, and those of all
    regions are summed up and divided by the length again. Vectors of similar images have a large dot product.

    Parameters
    ----------
    features : ndarray, shape (N, C, H, W)
        Feature maps; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of ml_dtypes), float32,
        float64 or uint8 in native byte order, strided in any way.
    scales : int, optional
        Number of scales of the regions, as in `rmac_regions`.
    overlap : float, optional
        Overlap of neighbouring regions, as in `rmac_regions`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features`.
    whiten : callable or (ndarray, ndarray), optional
        What is done to the vectors of the regions, once they have length 1; afterwards they are divided by
        their length again. A pair ``(mean, matrix)`` of shapes (C,) and (D, C) stands for
        ``(vector - mean) @ matrix.T``, such as a principal component analysis with whitening. A function is
        called once with the vectors of all regions of all images, (N * R, C) of float32, or float64 for
        float64 features, and returns as many rows (N * R, D).
    aggregate : {"sum", "concat"}, optional
        "sum": the vectors of an image's regions are added. "concat": they are joined, in the order of
        `rmac_regions`.
    eps : float, optional
        The least length that vectors are divided by; vectors that are shorter stay shorter than 1.

    Returns
    -------
    ndarray, shape (N, C)
        Vectors of length 1 of the dtype of `features`, float32 for uint8. With `whiten`, D stands for C; with
        ``aggregate="concat"`` the shape is (N, R * C).

    Raises
    ------
    TypeError
        Where an array is none, or of another dtype than listed, some arrays are in host memory and others on
        a GPU, or an argument is of another type.
    ValueError
        Where an array has the wrong shape, or a number or word is not one of those listed.

    See Also
    --------
    rmac_regions : The regions.
    rmac_backward : Gradient with respect to the features.

    Notes
    -----
    Vectors are whitened and added up in float32, in float64 for float64 features; their lengths are float64.
    A map without pixels has no regions and the vector 0.

    Caffe2 has the regions only (`roicy.compat.caffe2`); pooled by its ``RoIPool`` they are the maxima here.
    cirtorch adds the vector of the whole map and does not divide the sum: the documentation has a page on it.

    References
    ----------
    G. Tolias, R. Sicre and H. Jegou, "Particular Object Retrieval with Integral Max-Pooling of CNN
    Activations", International Conference on Learning Representations (ICLR), 2016.
    https://arxiv.org/abs/1511.05879

    Examples
    --------
    Two channels with the maxima 3 and 4, in one region: the length is 5.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.array([[[[3, 0], [1, 2]], [[0, 1], [2, 4]]]], np.float32)
    >>> roicy.rmac(features, scales=1)
    array([[0.6, 0.8]], dtype=float32)
    """
    kernels, features, *pair = adopt(features=features, **_whiten_arrays(whiten))
    whiten = pair or whiten
    description = _Description(kernels, features, scales, overlap, layout, whiten, aggregate, eps)
    vectors: Array = description.of(roi_pool(features, description.boxes, 1, **description.options))
    return vectors


def rmac_backward(
    grad_output: Array,
    features: AnyArray,
    *,
    scales: Integer = 3,
    overlap: Real = 0.4,
    layout: Layout = "NCHW",
    whiten: Sequence[AnyArray] | None = None,
    aggregate: Aggregate = "sum",
    eps: Real = 1e-12,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `rmac` with respect to the features.

    It goes back through every division by a length and through `whiten`, and then to the pixels that were the
    maxima of the regions.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C)
        Gradient with respect to the output of `rmac`, of the shape and dtype that `rmac` returns for
        `features`, strided in any way.
    features : ndarray, shape (N, C, H, W)
        Feature maps that were described; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64 or uint8 in native byte order, strided in any way.
    scales : int, optional
        Number of scales of the regions, as in `rmac_regions`.
    overlap : float, optional
        Overlap of neighbouring regions, as in `rmac_regions`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features` and of the result.
    whiten : (ndarray, ndarray), optional
        Mean and matrix as in `rmac`; a function has no known gradient and is an error.
    aggregate : {"sum", "concat"}, optional
        How the vectors of the regions were put together, as in `rmac`.
    eps : float, optional
        The least length that vectors were divided by.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way. It is overwritten, not added to. A call that fails leaves it as it
        was.

    Returns
    -------
    ndarray, shape of `features`
        Gradient with respect to the features, of the dtype of `grad_output`; `out` where that is given.

    Raises
    ------
    TypeError
        Where an array is none, or of another dtype than listed, some arrays are in host memory and others on
        a GPU, or an argument is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, the map has more than
        2**31 - 1 pixels, or `out` cannot be written to.

    See Also
    --------
    rmac : The function that this is the gradient of.
    roi_pool_backward : The last step.

    Notes
    -----
    The maxima are found again; the first of equal pixels gets the gradient. A vector that is not longer than
    `eps` counts as divided by a constant. `mean` and `matrix` have no gradient here.

    References
    ----------
    F. Radenovic, G. Tolias and O. Chum, "Fine-Tuning CNN Image Retrieval with No Human Annotation", IEEE
    Transactions on Pattern Analysis and Machine Intelligence, 2019: networks trained through such vectors.
    https://arxiv.org/abs/1711.02512

    Examples
    --------
    One region with the maxima 3 and 4. The gradient (1, 0) less its part along the vector (0.6, 0.8) is
    (0.64, -0.48); divided by the length 5 it goes to the two pixels.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.array([[[[3, 0], [1, 2]], [[0, 1], [2, 4]]]], np.float64)
    >>> roicy.rmac_backward(np.array([[1.0, 0.0]]), features, scales=1).round(3) + 0.0
    array([[[[ 0.128,  0.   ],
             [ 0.   ,  0.   ]],
    <BLANKLINE>
            [[ 0.   ,  0.   ],
             [ 0.   , -0.096]]]])
    """
    if callable(whiten):
        raise TypeError(f"whiten must be None or a pair (mean, matrix) for a gradient, got {whiten!r}")
    kernels, gradient, maps, out, *pair = adopt(
        grad_output=grad_output, features=features, out=out, **_whiten_arrays(whiten)
    )
    whiten = pair or whiten
    description = _Description(kernels, maps, scales, overlap, layout, whiten, aggregate, eps)
    settle.grad_output_of(maps, gradient, description.shape)
    out = settle.out(out, maps.shape, gradient.dtype, gradient, maps, *pair)
    boxes, options = description.boxes, description.options
    pooled, argmax = roi_pool(maps, boxes, 1, return_argmax=True, **options)
    description.of(pooled)
    grad = description.adjoint(gradient).reshape(pooled.shape)
    grad_features: Array = roi_pool_backward(grad, argmax, boxes, maps.shape, out=out, **options)
    return grad_features


class _Description:
    """The way from the maxima of all regions to one vector for each image, and back.

    Attributes
    ----------
    boxes : array, shape (N * R, 4), float32
        The regions of all images.
    options : dict
        What else `roi_pool` and its gradient are told about them: which image each one belongs to, and that
        no one needs to look for invalid ones.
    shape : tuple of int
        Shape of the vectors; the number of columns is not known where a function whitens.
    """

    def __init__(
        self,
        kernels: Kernels,
        features: Ndarray,
        scales: Integer,
        overlap: Real,
        layout: Layout,
        whiten: Whiten,
        aggregate: Aggregate,
        eps: Real,
    ) -> None:
        layout = settle.layout(layout)
        shape = settle.features_shape(features, layout)
        accumulate, _ = settle.features(features, shape)
        if layout == "NCHW":
            n, c, h, w = shape
        else:
            n, h, w, c = shape
        boxes = _boxes(h, w, settle.scales(scales), settle.overlap(overlap))
        r = len(boxes)
        self.boxes = kernels.xp.asarray(np.tile(boxes, (n, 1)))
        self.options: dict[str, Any] = {
            "batch_indices": kernels.xp.asarray(np.repeat(np.arange(n), r)),
            "layout": layout,
            "invalid": "nan",
        }
        self._kernels = kernels
        self._accumulate = np.dtype(accumulate)
        self._eps = settle.eps(eps)
        self._joined = settle.aggregate(aggregate) == "concat"
        self._whiten = settle.whiten(whiten, c, self._accumulate)
        self._regions = n, r
        self._channels = c
        d = c if whiten is None or callable(whiten) else len(self._whiten[1])
        self.shape = (n, r * d) if self._joined else (n, d)

    def of(self, pooled: Ndarray) -> Ndarray:
        """Return the vectors of the images, made of the maxima of the regions."""
        n, r = self._regions
        self._units: list[tuple[Ndarray, Ndarray]] = []
        rows = self._unit(pooled.reshape(n * r, self._channels).astype(self._accumulate, copy=False))
        if self._whiten is not None:
            rows = self._unit(self._whitened(rows))
        d = rows.shape[1]
        rows = rows.reshape(n, r * d) if self._joined else rows.reshape(n, r, d).sum(axis=1)
        return self._unit(rows).astype(pooled.dtype, copy=False)

    @np.errstate(all="ignore")
    def adjoint(self, grad: Ndarray) -> Ndarray:
        """Return the gradient with respect to the maxima that `of` was last called with, once."""
        grad_rows = self._unit_adjoint(grad.astype(self._accumulate, copy=False))
        if self._joined:
            grad_rows = grad_rows.reshape(self._units[-1][0].shape)
        else:
            grad_rows = self._kernels.xp.repeat(grad_rows, self._regions[1], axis=0)
        if self._whiten is not None:
            grad_rows = self._kernels.product(self._unit_adjoint(grad_rows), self._whiten[1])
        return self._unit_adjoint(grad_rows).astype(grad.dtype, copy=False)

    def _whitened(self, rows: Ndarray) -> Ndarray:
        if callable(self._whiten):
            whitened = settle.whitened(self._whiten(rows), len(rows), self._kernels.xp)
            return whitened.astype(self._accumulate, copy=False)
        mean, matrix = self._whiten
        with np.errstate(all="ignore"):
            return self._kernels.product(rows - mean, matrix.T)

    @np.errstate(all="ignore")
    def _unit(self, rows: Ndarray) -> Ndarray:
        # Lengths are in float64, where squares of float32 do not overflow. They are kept for `adjoint`.
        xp = self._kernels.xp
        lengths = xp.sqrt(self._kernels.row_dots(rows, rows))
        units: Ndarray = self._kernels.row_quotients(rows, xp.maximum(lengths, self._eps))
        self._units.append((units, lengths))
        return units

    def _unit_adjoint(self, grad: Ndarray) -> Ndarray:
        # A unit vector only turns: what lies along it is taken away. A shorter one was divided by a constant.
        xp = self._kernels.xp
        units, lengths = self._units.pop()
        along = self._kernels.row_dots(grad, units)
        across = grad - xp.where(lengths > self._eps, along, 0) * units
        return (across / xp.maximum(lengths, self._eps)).astype(self._accumulate)


def _whiten_arrays(whiten: Any) -> dict[str, Ndarray]:
    # the arrays of a pair, by the names that errors give them
    if isinstance(whiten, (tuple, list)):
        return {f"whiten[{index}]": array for index, array in enumerate(whiten)}
    return {}


@functools.lru_cache(maxsize=64)
def _boxes(height: int, width: int, scales: int, overlap: float) -> NumPyArray:
    # The regions of one image, (R, 4), with the roundings that `rmac_regions` promises. Kept:
    # finding them takes as long as pooling a small map.
    shorter = min(height, width)
    steps_x, steps_y = _steps(width, height, overlap), _steps(height, width, overlap)
    last = max(0, min(scales, 2 * shorter - 1))
    count = _sum_of_products(steps_x, steps_y, last)
    if count > _MAX_REGIONS:
        raise ValueError(
            f"scales must be smaller for a map of {height} x {width} pixels, got {scales}: "
            f"its {count} regions are more than {_MAX_REGIONS}"
        )
    boxes = [np.empty((0, 4), np.float32)]
    for scale in range(1, last + 1):
        size = 2 * shorter // (scale + 1)
        x = _starts(width, size, scale + steps_x)
        y = _starts(height, size, scale + steps_y)
        starts = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        boxes.append(np.concatenate([starts, starts + (size - 1)], axis=1).astype(np.float32))
    regions = np.concatenate(boxes)
    regions.flags.writeable = False
    return regions


def _sum_of_products(first: int, second: int, last: int) -> int:
    # the sum of (first + scale) * (second + scale) over the scales 1 to last
    squares = last * (last + 1) * (2 * last + 1) // 6
    return squares + (first + second) * last * (last + 1) // 2 + first * second * last


def _steps(side: int, other: int, overlap: float) -> int:
    # how many regions more than the scale lie along a side
    if side <= other or not other:
        return 0
    area = np.float32(other * other)
    distances = [
        abs((area - np.float32(other) * np.float32((side - other) / steps)) / area - np.float32(overlap))
        for steps in range(1, _MAX_STEPS + 1)
    ]
    return 1 + int(np.argmin(distances))


def _starts(side: int, size: int, count: int) -> NumPyArray:
    # The first pixel of each of so many regions of a size, spread evenly along a side.
    distance = np.float32((side - size) / (count - 1) if count > 1 else 0)
    starts = (distance * np.arange(count, dtype=np.float32)).astype(np.int64)
    return np.minimum(starts, side - size)
