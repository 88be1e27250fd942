"""Averages over boxes and over rotated boxes, and their gradients."""

from __future__ import annotations

import roicy
from roicy import _arguments as settle
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    Flag,
    Integer,
    Layout,
    Real,
)
from roicy.compat.caffe2.inputs import Sampling, align, align_gradient


def RoIAlign(
    X: Array,
    rois: BoxArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag = False,
) -> Array:
    """Average each box of a feature map over bins, as Caffe2's RoIAlign.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps; with ``order="NHWC"`` of shape (N, H, W, C).
    rois : ndarray, shape (R, 5) or (R, 4)
        Rows ``[batch index, x1, y1, x2, y2]``; or ``[x1, y1, x2, y2]``, all of them boxes of image 0.
    order : {"NCHW", "NHWC"}, optional
        Order of the axes of `X` and of the result.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`.
    pooled_h, pooled_w : int, optional
        Rows and columns of bins.
    sampling_ratio : int, optional
        Samples per bin along each axis; 0 or less for adaptive.
    aligned : bool, optional
        Whether the centre of pixel ``i`` lies at ``i + 0.5`` (True) or at ``i``; 0 and 1 will do.

    Returns
    -------
    ndarray, shape (R, C, pooled_h, pooled_w)
        Pooled features; with ``order="NHWC"`` of shape (R, pooled_h, pooled_w, C).

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align` does, and ValueError where ``aligned=True`` and a box has a negative size.

    See Also
    --------
    roicy.roi_align : The same with other defaults, and its conventions.
    RoIAlignGradient : Its gradient.

    Notes
    -----
    Kept of Caffe2: ``aligned=True`` and a box of negative size is an error (its last CPU version); with
    ``aligned=True``, adaptive, a box without width or height has no samples and gives NaN; no boxes in any
    shape of size 0.

    Not kept: a batch index out of range is read from memory there, and an error here. The order of a sum and
    of a division differ, that is the last bit of results.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0.5, 0.5, 2.5, 2.5]], np.float32)
    >>> caffe2.RoIAlign(X, rois, pooled_h=2, pooled_w=2, sampling_ratio=1)[0, 0]
    array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    """
    pooled: Array = align(
        roicy.roi_align,
        settle.CORNERS,
        X,
        rois,
        (pooled_h, pooled_w),
        Sampling(order, spatial_scale, sampling_ratio, aligned),
    )
    return pooled


def RoIAlignGradient(
    X: AnyArray,
    rois: BoxArray,
    dY: Array,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag = False,
) -> Array:
    """Gradient of `RoIAlign` with respect to the features.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps that were pooled, of which the shape is used.
    rois : ndarray, shape (R, 5) or (R, 4)
        Boxes, as in `RoIAlign`.
    dY : ndarray, shape (R, C, pooled_h, pooled_w)
        Gradient with respect to the output of `RoIAlign`.
    order, spatial_scale, pooled_h, pooled_w, sampling_ratio, aligned : optional
        As in `RoIAlign`.

    Returns
    -------
    ndarray, shape of `X`
        Gradient with respect to `X`, of the dtype of `dY`.

    Raises
    ------
    TypeError, ValueError
        As `RoIAlign` does, and ValueError where `dY` has not the shape that `RoIAlign` returns.

    See Also
    --------
    RoIAlign : The operator, and what is kept of Caffe2.
    roicy.roi_align_backward : The same with other defaults.

    Notes
    -----
    Caffe2 has this for ``order="NCHW"`` only.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.zeros((1, 1, 3, 3), np.float32)
    >>> rois = np.array([[0, 0, 1, 1]], np.float32)
    >>> caffe2.RoIAlignGradient(X, rois, np.ones((1, 1, 1, 1), np.float32))[0, 0]
    array([[0.25, 0.25, 0.  ],
           [0.25, 0.25, 0.  ],
           [0.  , 0.  , 0.  ]], dtype=float32)
    """
    dX: Array = align_gradient(
        roicy.roi_align_backward,
        settle.CORNERS,
        X,
        rois,
        dY,
        (pooled_h, pooled_w),
        Sampling(order, spatial_scale, sampling_ratio, aligned),
    )
    return dX


def RoIAlignRotated(
    X: Array,
    rois: BoxArray,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag = False,
) -> Array:
    """Average each rotated box of a feature map over bins, as Caffe2's RoIAlignRotated.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps; with ``order="NHWC"`` of shape (N, H, W, C).
    rois : ndarray, shape (R, 6) or (R, 5)
        Rows ``[batch index, cx, cy, w, h, angle]``; or ``[cx, cy, w, h, angle]``, all of them boxes of image
        0. Angles are in degrees, counter-clockwise.
    order, spatial_scale, pooled_h, pooled_w, sampling_ratio, aligned : optional
        As in `RoIAlign`.

    Returns
    -------
    ndarray, shape (R, C, pooled_h, pooled_w)
        Pooled features; with ``order="NHWC"`` of shape (R, pooled_h, pooled_w, C).

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align_rotated` does, and ValueError where ``aligned=True`` and a box has a negative
        size.

    See Also
    --------
    roicy.roi_align_rotated : The same with other defaults, and its conventions.
    RoIAlignRotatedGradient : Its gradient.

    Notes
    -----
    What is kept of Caffe2 and what not is the same as in `RoIAlign`; `sampling_ratio` is at most 128.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[1.5, 1.5, 2, 2, 90]], np.float32)
    >>> caffe2.RoIAlignRotated(X, rois, pooled_h=2, pooled_w=2, sampling_ratio=1)[0, 0].round(3)
    array([[ 9.,  5.],
           [10.,  6.]], dtype=float32)
    """
    pooled: Array = align(
        roicy.roi_align_rotated,
        settle.ROTATED,
        X,
        rois,
        (pooled_h, pooled_w),
        Sampling(order, spatial_scale, sampling_ratio, aligned),
    )
    return pooled


def RoIAlignRotatedGradient(
    X: AnyArray,
    rois: BoxArray,
    dY: Array,
    *,
    order: Layout = "NCHW",
    spatial_scale: Real = 1.0,
    pooled_h: Integer = 1,
    pooled_w: Integer = 1,
    sampling_ratio: Integer = -1,
    aligned: Flag = False,
) -> Array:
    """Gradient of `RoIAlignRotated` with respect to the features.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps that were pooled, of which the shape is used.
    rois : ndarray, shape (R, 6) or (R, 5)
        Rotated boxes, as in `RoIAlignRotated`.
    dY : ndarray, shape (R, C, pooled_h, pooled_w)
        Gradient with respect to the output of `RoIAlignRotated`.
    order, spatial_scale, pooled_h, pooled_w, sampling_ratio, aligned : optional
        As in `RoIAlign`.

    Returns
    -------
    ndarray, shape of `X`
        Gradient with respect to `X`, of the dtype of `dY`.

    Raises
    ------
    TypeError, ValueError
        As `RoIAlignRotated` does, and ValueError where `dY` has not the shape that it returns.

    See Also
    --------
    RoIAlignRotated : The operator.
    roicy.roi_align_rotated_backward : The same with other defaults.

    Notes
    -----
    Caffe2 has this on CUDA only, for ``order="NCHW"`` and six columns.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import caffe2
    >>> X = np.zeros((1, 1, 3, 3), np.float32)
    >>> rois = np.array([[0, 0.5, 0.5, 1, 1, 30]], np.float32)
    >>> caffe2.RoIAlignRotatedGradient(X, rois, np.ones((1, 1, 1, 1), np.float32))[0, 0]
    array([[0.25, 0.25, 0.  ],
           [0.25, 0.25, 0.  ],
           [0.  , 0.  , 0.  ]], dtype=float32)
    """
    dX: Array = align_gradient(
        roicy.roi_align_rotated_backward,
        settle.ROTATED,
        X,
        rois,
        dY,
        (pooled_h, pooled_w),
        Sampling(order, spatial_scale, sampling_ratio, aligned),
    )
    return dX
