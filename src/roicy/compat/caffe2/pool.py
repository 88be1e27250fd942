"""Maxima over boxes rounded to pixels, their gradient, and the boxes of R-MAC."""

from __future__ import annotations

from typing import Literal, overload

import roicy
from roicy import _arguments as settle
from roicy._backend import adopt_single
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    Flag,
    Integer,
    Layout,
    Real,
)
from roicy.compat._boxes import check_batch_column, scale_in_float32
from roicy.compat.caffe2.inputs import WORDS, check_bins, check_nchw


@overload
def RoIPool(
    X: Array,
    rois: BoxArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Literal[0, False] = 0,
) -> tuple[Array, Array]: ...


@overload
def RoIPool(
    X: Array,
    rois: BoxArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Literal[1, True],
) -> Array: ...


@overload
def RoIPool(
    X: Array,
    rois: BoxArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Flag,
) -> Array | tuple[Array, Array]: ...


def RoIPool(
    X: Array,
    rois: BoxArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Flag = 0,
) -> Array | tuple[Array, Array]:
    """Take the maximum over the bins of boxes rounded to pixels, as Caffe2's RoIPool.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps.
    rois : ndarray, shape (R, 5)
        Rows ``[batch index, x1, y1, x2, y2]``; the last pixel belongs to a box.
    order : {"NCHW"}, optional
        Order of the axes; Caffe2 has no other one here.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`, greater than 0.
    pooled_h, pooled_w : int, optional
        Rows and columns of bins.
    is_test : int or bool, optional
        1 or True: without `argmaxes`.

    Returns
    -------
    Y : ndarray, shape (R, C, pooled_h, pooled_w)
        Pooled features.
    argmaxes : ndarray, shape of `Y`, int32
        Unless `is_test`: the chosen pixels, ``row * W + column``, or -1.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_pool` does; a batch index out of range is an error, as in Caffe2.

    See Also
    --------
    roicy.roi_pool : The same with other defaults, and its conventions.
    RoIPoolGradient : Its gradient.

    Notes
    -----
    The results are Caffe2's, bit for bit. Kept of Caffe2: five columns only, ``order="NCHW"`` only, and a
    batch index out of range is an error (its CPU version).

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 1, 1, 2, 2]], np.float32)
    >>> Y, argmaxes = caffe2.RoIPool(X, rois)
    >>> Y, argmaxes
    (array([[[[10.]]]], dtype=float32), array([[[[10]]]], dtype=int32))
    """
    with WORDS:
        _, X, rois = adopt_single(X=X, rois=rois)
        check_nchw(order)
        check_batch_column(rois)
        return roicy.roi_pool(
            X,
            rois,
            (pooled_h, pooled_w),
            spatial_scale=scale_in_float32(spatial_scale),
            return_argmax=not settle.flag("is_test", is_test),
        )


def RoIPoolGradient(
    X: AnyArray,
    rois: BoxArray,
    argmaxes: AnyArray,
    dY: Array,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    is_test: Flag = 0,
) -> Array:
    """Gradient of `RoIPool` with respect to the features.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps that were pooled, of which the shape is used.
    rois : ndarray, shape (R, 5)
        Boxes, as in `RoIPool`; only their batch indices are used.
    argmaxes : ndarray, shape of `dY`, int32
        The chosen pixels, as `RoIPool` returns them.
    dY : ndarray, shape (R, C, pooled_h, pooled_w)
        Gradient with respect to the first output of `RoIPool`.
    order, spatial_scale, pooled_h, pooled_w, is_test : optional
        As in `RoIPool`, of which a gradient operator has all arguments; `is_test` must not be set.

    Returns
    -------
    ndarray, shape of `X`
        Gradient with respect to `X`, of the dtype of `dY`.

    Raises
    ------
    TypeError, ValueError
        As `RoIPool` does, and ValueError where `dY` has not the shape that it returns, or `argmaxes` holds a
        number that is no pixel's and not -1.

    See Also
    --------
    RoIPool : The operator.
    roicy.roi_pool_backward : The same.

    Notes
    -----
    Caffe2 has this on CUDA only.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.array([[[[1, 5], [3, 2]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 1, 1]], np.float32)
    >>> Y, argmaxes = caffe2.RoIPool(X, rois)
    >>> caffe2.RoIPoolGradient(X, rois, argmaxes, np.ones_like(Y))[0, 0]
    array([[0., 1.],
           [0., 0.]], dtype=float32)
    """
    with WORDS:
        _, maps, boxes, argmaxes, dY = adopt_single(X=X, rois=rois, argmaxes=argmaxes, dY=dY)
        check_nchw(order)
        check_batch_column(boxes)
        scale_in_float32(spatial_scale)
        check_bins(dY, settle.output_size((pooled_h, pooled_w)), "NCHW")
        if settle.flag("is_test", is_test):
            raise ValueError(f"is_test must be 0 for a gradient, got {is_test!r}")
        return roicy.roi_pool_backward(dY, argmaxes, boxes, maps.shape)


def RMACRegions(X: Array, *, scales: Integer = 3, overlap: Real = 0.4) -> Array:
    """Boxes of the regions of R-MAC for all images, as Caffe2's RMACRegions.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps of any dtype, of which the shape is used.
    scales : int, optional
        Number of scales, at least 1.
    overlap : float, optional
        Overlap of neighbouring regions that is aimed at, at least 0 and less than 1.

    Returns
    -------
    ndarray, shape (N * M, 5), float32
        Rows ``[batch index, x1, y1, x2, y2]`` for `RoIPool`, those of image 0 first.

    Raises
    ------
    TypeError, ValueError
        As `roicy.rmac_regions` does.

    See Also
    --------
    roicy.rmac_regions : The same, from a shape.
    roicy.rmac : The vectors that they are for.

    Notes
    -----
    Kept of Caffe2: its arithmetic in float32, and no regions for an `X` without elements. The operator has no
    gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> caffe2.RMACRegions(np.zeros((1, 8, 4, 6), np.float32), scales=1)
    array([[0., 0., 0., 3., 3.],
           [0., 2., 0., 5., 3.]], dtype=float32)
    """
    with WORDS:
        kernels, X = adopt_single(X=X)
        regions = roicy.rmac_regions(settle.features_shape(X, "NCHW"), scales=scales, overlap=overlap)
        boxes: Array = kernels.xp.asarray(regions if X.size else regions[:0])
        return boxes
