"""R-MAC: regions that cover a map at several scales, and the vector made of their maxima."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from roicy import _arguments as settle
from roicy._regions import regions
from roicy._rmac_once import gradient, vectors
from roicy._types import (
    Aggregate,
    AnyArray,
    Array,
    InputShape,
    Integer,
    Layout,
    Real,
)
from roicy._vectors import Whiten
from roicy.rmac_plan import RMACPlan, kept


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
    boxes = regions(height, width, scales, overlap)
    found = settle.new("the result for input_shape", (shape[0], len(boxes), 5), np.dtype(np.float32))
    if found.size:
        found[:, :, 0] = np.arange(shape[0])[:, None]
        found[:, :, 1:] = boxes
    rows: np.ndarray[tuple[int, int], np.dtype[np.float32]] = found.reshape(-1, 5)
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
        float64, or integers of up to 16 bits or bool, with any strides.
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
        Vectors of length 1 of the dtype of `features`, float32 for integers and bool. With
        `whiten`, D stands for C; with ``aggregate="concat"`` the shape is (N, R * C).

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or an argument is of another type.
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
    described: Array = vectors(features, (scales, overlap, layout, whiten, aggregate, eps))
    return described


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
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    scales, overlap, aggregate, eps : optional
        As in `rmac`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features` and of the result.
    whiten : (ndarray, ndarray), optional
        Mean and matrix as in `rmac`; a function has no known gradient and is an error.
    out : ndarray, optional
        Where to write the result; overwritten, not added to.

    Returns
    -------
    ndarray, shape of `features`
        Gradient with respect to the features, of the dtype of `grad_output`; `out` where that is given.

    Raises
    ------
    TypeError, ValueError
        As `rmac` does, and ValueError where the map has more than 2**31 - 1 pixels.

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
    options = scales, overlap, layout, whiten, aggregate, eps
    grad_features: Array = gradient(grad_output, features, options, out)
    return grad_features


def rmac_plan(
    input_shape: InputShape,
    *,
    scales: Integer = 3,
    overlap: Real = 0.4,
    layout: Layout = "NCHW",
    whiten: Whiten = None,
    aggregate: Aggregate = "sum",
    eps: Real = 1e-12,
) -> RMACPlan[Any]:
    """Compute once what `rmac` derives from the shape of the maps.

    Regions depend on the shape alone, and so do the tables that say which pixels they are. A plan keeps them.
    The results are the same, bit for bit, as those of `rmac` and `rmac_backward`.

    Parameters
    ----------
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    scales, overlap, layout, whiten, aggregate, eps : optional
        As in `rmac`. Arrays are copied.

    Returns
    -------
    RMACPlan
        ``plan(features)`` describes images, ``plan.backward(grad_output, features, out=None)`` is the
        gradient with respect to the features. Its attributes are `input_shape` and `layout`. A plan can be
        used by several threads, copied and pickled; maps may be in host memory and on any GPU.

    Raises
    ------
    TypeError, ValueError
        As `rmac` does.

    See Also
    --------
    rmac : Computes the same without a plan.
    roi_pool_plan : The same for any boxes.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> plan = roicy.rmac_plan((1, 2, 2, 2), scales=1)
    >>> plan(np.array([[[[3, 0], [1, 2]], [[0, 1], [2, 4]]]], np.float32))
    array([[0.6, 0.8]], dtype=float32)
    """
    return kept(input_shape, scales, overlap, layout, whiten, aggregate, eps)
