"""MXNet's operators on regions of interest: its names, arguments and conventions.

================================================ ================================================
`ROIPooling`, `ROIPooling_backward`              maximum over boxes rounded to pixels
`ROIAlign`, `ROIAlign_backward`                  ``contrib.ROIAlign``: average over boxes
`MaxROIAlign`, `MaxROIAlign_backward`            maximum of samples one pixel apart
================================================ ================================================

Feature maps are NCHW. `rois` has shape (R, 5), rows ``[batch index, x1, y1, x2, y2]``. Gradients are with
respect to the features; MXNet gives boxes the gradient 0. Whatever the arrays are, `spatial_scale` is rounded
to float32, as it is there.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np

import roicy
from roicy import _arguments as settle
from roicy import _once as once
from roicy._backend import adopt_single, put
from roicy._kinds import LARGEST_UNIT_STEP
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    Flag,
    InputShape,
    Integer,
    Ndarray,
    OutputSize,
    Real,
)
from roicy.compat import _mxnet_boxes as inputs
from roicy.compat._boxes import scale_in_float32
from roicy.compat._elements import check_elements, check_kind
from roicy.compat._pixels import pool_with_pixels, spread_to_pixels

__all__ = [
    "MaxROIAlign",
    "MaxROIAlign_backward",
    "ROIAlign",
    "ROIAlign_backward",
    "ROIPooling",
    "ROIPooling_backward",
]


@overload
def ROIPooling(
    data: Array,
    rois: BoxArray,
    pooled_size: OutputSize,
    spatial_scale: Real,
    *,
    return_argmax: Literal[False] = False,
) -> Array: ...


@overload
def ROIPooling(
    data: Array, rois: BoxArray, pooled_size: OutputSize, spatial_scale: Real, *, return_argmax: Literal[True]
) -> tuple[Array, Array]: ...


@overload
def ROIPooling(
    data: Array, rois: BoxArray, pooled_size: OutputSize, spatial_scale: Real, *, return_argmax: bool
) -> Array | tuple[Array, Array]: ...


def ROIPooling(
    data: Array, rois: BoxArray, pooled_size: OutputSize, spatial_scale: Real, *, return_argmax: bool = False
) -> Array | tuple[Array, Array]:
    """Take the maximum over the bins of boxes rounded to pixels, as MXNet's ROIPooling.

    Parameters
    ----------
    data : ndarray, shape (N, C, H, W)
        Feature maps.
    rois : ndarray, shape (R, 5)
        Rows ``[batch index, x1, y1, x2, y2]``; the last pixel belongs to a box.
    pooled_size : int or (int, int)
        Rows and columns of bins (PH, PW).
    spatial_scale : float
        Feature pixels per unit of `rois`.
    return_argmax : bool, optional
        Whether to return the operator's second output, which the gradient needs. MXNet hides it.

    Returns
    -------
    out : ndarray, shape (R, C, PH, PW)
        Pooled features.
    argmax : ndarray, shape of `out`, int64
        With ``return_argmax=True`` only: the chosen elements, counted through all of `data`,
        ``((image * C + channel) * H + row) * W + column``, or -1 where there is none.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_pool` does, but not for a batch index out of range.

    See Also
    --------
    roicy.roi_pool : The same with argmax counted within a plane, and its conventions.
    ROIPooling_backward : Its gradient.

    Notes
    -----
    Kept of MXNet, as of version 1.6: argmax counts through all images and channels, and a box whose batch
    index is out of range gives 0 and -1.

    Not kept: NaN or infinite coordinates, whose conversion to an integer is undefined there, are an error;
    `spatial_scale` may be greater than 1, and not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import mxnet
    >>> data = np.arange(48, dtype=np.float32).reshape(1, 1, 8, 6)
    >>> rois = np.array([[0, 0, 0, 4, 4]], np.float32)
    >>> mxnet.ROIPooling(data, rois, (2, 2), 1.0)[0, 0]
    array([[14., 16.],
           [26., 28.]], dtype=float32)
    """
    with inputs.WORDS:
        kernels, data, rois = adopt_single(data=data, rois=rois)
        xp = kernels.xp
        n, c, h, w = settle.features_shape(data, "NCHW")
        images = inputs.images_of(xp, rois, n)
        skipped = (images < 0) | (images >= n)
        options: dict[str, Any] = {"spatial_scale": scale_in_float32(spatial_scale), "invalid": "nan"}
        if not settle.flag("return_argmax", return_argmax):
            out: Array = roicy.roi_pool(data, rois, pooled_size, **options)
            put(out, skipped, 0, xp)
            return out
        pixels: Ndarray
        out, pixels = pool_with_pixels(data, rois, images, pooled_size, options)
        put(out, skipped, 0, xp)
        argmax = pixels + inputs.planes(xp, images, c) * (h * w)
        put(argmax, pixels < 0, -1, xp)
        return out, argmax


def ROIPooling_backward(out_grad: Array, rois: BoxArray, argmax: AnyArray, data_shape: InputShape) -> Array:
    """Gradient of `ROIPooling` with respect to the features.

    Parameters
    ----------
    out_grad : ndarray, shape (R, C, PH, PW)
        Gradient with respect to the first output of `ROIPooling`.
    rois : ndarray, shape (R, 5)
        Boxes, as in `ROIPooling`; only their batch indices are used.
    argmax : ndarray, shape of `out_grad`, int64
        The chosen elements, as `ROIPooling` returns them.
    data_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W).

    Returns
    -------
    ndarray, shape `data_shape`
        Gradient with respect to the features, of the dtype of `out_grad`.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_pool_backward` does, and ValueError where `argmax` holds a number that is neither -1 nor
        that of a pixel in the plane of its image and channel.

    See Also
    --------
    ROIPooling : The operator.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import mxnet
    >>> data = np.array([[[[1, 5], [3, 2]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 1, 1]], np.float32)
    >>> out, argmax = mxnet.ROIPooling(data, rois, 1, 1.0, return_argmax=True)
    >>> mxnet.ROIPooling_backward(np.ones_like(out), rois, argmax, data.shape)[0, 0]
    array([[0., 1.],
           [0., 0.]], dtype=float32)
    """
    with inputs.WORDS:
        kernels, out_grad, boxes, chosen = adopt_single(out_grad=out_grad, rois=rois, argmax=argmax)
        n, c, h, w = settle.input_shape(data_shape, "NCHW")
        images = inputs.images_of(kernels.xp, boxes, n)
        rows, columns = settle.grad_output_size(out_grad, "NCHW")
        check_kind("argmax", chosen, "iu", (len(boxes), c, rows, columns))
        pixels = chosen.astype(np.int64) - inputs.planes(kernels.xp, images, c) * (h * w)
        good = (pixels >= 0) & (pixels < h * w) & ((images >= 0) & (images < n))[:, None, None, None]
        nothing = chosen == -1
        check_elements("argmax", chosen, good | nothing, "a pixel of its image and channel")
        pixels[nothing] = -1
        grad: Array = spread_to_pixels(kernels.xp, out_grad, pixels, boxes, (n, c, h, w))
        return grad


def ROIAlign(
    data: Array,
    rois: BoxArray,
    pooled_size: OutputSize,
    spatial_scale: Real,
    sample_ratio: Integer = -1,
    position_sensitive: Flag = False,
    aligned: Flag = False,
) -> Array:
    """Average each box of a feature map over bins, as MXNet's contrib.ROIAlign.

    Parameters
    ----------
    data : ndarray, shape (N, C, H, W)
        Feature maps.
    rois : ndarray, shape (R, 5)
        Rows ``[batch index, x1, y1, x2, y2]``.
    pooled_size : int or (int, int)
        Rows and columns of bins (PH, PW).
    spatial_scale : float
        Feature pixels per unit of `rois`.
    sample_ratio : int, optional
        Samples per bin along each axis; 0 or less for adaptive.
    position_sensitive : bool, optional
        Whether every bin has channels of its own: bin ``(p, q)`` of output channel ``c`` averages channel
        ``(c * PH + p) * PW + q``.
    aligned : bool, optional
        Whether the centre of pixel ``i`` lies at ``i + 0.5`` (True) or at ``i``.

    Returns
    -------
    ndarray, shape (R, C, PH, PW)
        Pooled features; if `position_sensitive` of shape (R, C / (PH * PW), PH, PW).

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align` does, but not for a negative batch index; ValueError where ``aligned=True`` and a
        box has no width or height or a negative one, and where C is no multiple of PH * PW for
        `position_sensitive`.

    See Also
    --------
    roicy.roi_align, roicy.ps_roi_align : The same with other defaults, and their conventions.
    ROIAlign_backward : Its gradient.

    Notes
    -----
    Kept of MXNet: a negative batch index, truncated toward zero, gives 0 (its CUDA version; the one for CPUs
    leaves most of that box's output as it was); ``aligned=True`` and a box whose size is not greater than 0
    is an error (its CPU version).

    Not kept: a batch index of N or more is read from memory there, and an error here; `spatial_scale` may be
    greater than 1, and not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import mxnet
    >>> data = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0.5, 0.5, 2.5, 2.5], [-1, 0, 0, 1, 1]], np.float32)
    >>> mxnet.ROIAlign(data, rois, 2, 1.0, sample_ratio=1)[:, 0]
    array([[[ 5.,  6.],
            [ 9., 10.]],
    <BLANKLINE>
           [[ 0.,  0.],
            [ 0.,  0.]]], dtype=float32)
    """
    with inputs.WORDS:
        kernels, data, rois = adopt_single(data=data, rois=rois)
        xp = kernels.xp
        boxes: Ndarray = rois
        n, *_ = settle.features_shape(data, "NCHW")
        skipped, options = inputs.align_options(xp, boxes, n, spatial_scale, sample_ratio, aligned)
        by_position = settle.flag("position_sensitive", position_sensitive)
        align = roicy.ps_roi_align if by_position else roicy.roi_align
        out: Array = align(data, boxes, pooled_size, **options)
        out[skipped] = 0
        return out


def ROIAlign_backward(
    out_grad: Array,
    rois: BoxArray,
    data_shape: InputShape,
    spatial_scale: Real,
    sample_ratio: Integer = -1,
    position_sensitive: Flag = False,
    aligned: Flag = False,
) -> Array:
    """Gradient of `ROIAlign` with respect to the features.

    Parameters
    ----------
    out_grad : ndarray, shape (R, C, PH, PW)
        Gradient with respect to the output of `ROIAlign`, and of the shape of that.
    rois : ndarray, shape (R, 5)
        Boxes, as in `ROIAlign`.
    data_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W).
    spatial_scale, sample_ratio, position_sensitive, aligned
        As in `ROIAlign`.

    Returns
    -------
    ndarray, shape `data_shape`
        Gradient with respect to the features, of the dtype of `out_grad`. A box with a negative batch index
        adds nothing.

    Raises
    ------
    TypeError, ValueError
        As `ROIAlign` does.

    See Also
    --------
    ROIAlign : The operator, and what is kept of MXNet.
    roicy.roi_align_backward, roicy.ps_roi_align_backward : The same with other defaults.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import mxnet
    >>> out_grad = np.array([[[[4, 8]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 2, 1]], np.float32)
    >>> mxnet.ROIAlign_backward(out_grad, rois, (1, 1, 2, 3), 1.0)[0, 0]
    array([[1., 3., 2.],
           [1., 3., 2.]], dtype=float32)
    >>> mxnet.ROIAlign_backward(out_grad, rois, (1, 2, 2, 3), 1.0, position_sensitive=True)[0]
    array([[[1., 1., 0.],
            [1., 1., 0.]],
    <BLANKLINE>
           [[0., 2., 2.],
            [0., 2., 2.]]], dtype=float32)
    """
    with inputs.WORDS:
        kernels, out_grad, rois = adopt_single(out_grad=out_grad, rois=rois)
        xp = kernels.xp
        boxes: Ndarray = rois
        n, *_ = settle.input_shape(data_shape, "NCHW")
        _, options = inputs.align_options(xp, boxes, n, spatial_scale, sample_ratio, aligned)
        by_position = settle.flag("position_sensitive", position_sensitive)
        backward = roicy.ps_roi_align_backward if by_position else roicy.roi_align_backward
        grad: Array = backward(out_grad, boxes, data_shape, **options)
        return grad


def MaxROIAlign(
    data: Array, rois: BoxArray, pooled_size: OutputSize, spatial_scale: Real
) -> tuple[Array, Array, Array]:
    """Take the maximum of bilinear samples that lie one pixel apart, from the edge of each bin on.

    Neither edges of boxes nor those of bins are rounded. The samples of a bin are at its upper left corner
    and at steps of one pixel from there, as long as they lie within the bin.

    Parameters
    ----------
    data : ndarray, shape (N, C, H, W)
        Feature maps.
    rois : ndarray, shape (R, 5)
        Rows ``[batch index, x1, y1, x2, y2]``; the last pixel belongs to a box.
    pooled_size : int or (int, int)
        Rows and columns of bins (PH, PW).
    spatial_scale : float
        Feature pixels per unit of `rois`.

    Returns
    -------
    out : ndarray, shape (R, C, PH, PW)
        Pooled features.
    max_idx_x, max_idx_y : ndarray, shape of `out`, float32 or float64 as `rois` is used
        Position of the chosen sample in feature pixels, -1 where there is none.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align` does.

    See Also
    --------
    roicy.roi_align : With ``mode="max"``, the maximum of samples centred in the bin.
    ROIPooling : The maximum over whole pixels.
    MaxROIAlign_backward : Its gradient.

    Notes
    -----
    This is the ``ROIAlign`` of a variant of MXNet's example ``rcnn``, in the revision whose samples are
    bilinear. With ``size = (x2 - x1) * spatial_scale + 1``, bin ``q`` along x reaches from
    ``x1 * spatial_scale + q * size / PW`` to the next one, clipped to 0 ... W. Pixels beyond the last one are
    0: values fade out there. A bin that does not reach the map has the value 0.

    Not kept: a negative batch index, which is 0 there on CUDA, is an error.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import mxnet
    >>> data = np.arange(48, dtype=np.float32).reshape(1, 1, 8, 6)
    >>> rois = np.array([[0, 0, 0, 4, 4]], np.float32)
    >>> out, max_idx_x, max_idx_y = mxnet.MaxROIAlign(data, rois, 2, 1.0)
    >>> out[0, 0]
    array([[14. , 16.5],
           [29. , 31.5]], dtype=float32)
    >>> max_idx_x[0, 0]
    array([[2. , 4.5],
           [2. , 4.5]], dtype=float32)
    """
    with inputs.WORDS:
        kernels, data, rois = adopt_single(data=data, rois=rois)
        shape, size = settle.features_shape(data, "NCHW"), settle.output_size(pooled_size)
        steps, given, options = inputs.unit_steps(kernels.xp, rois, shape, size, spatial_scale)
        out, argmax = once.pool(LARGEST_UNIT_STEP, given, data, size, options, None, True)
        max_idx_x, max_idx_y = steps.positions(argmax)
        return out, max_idx_x, max_idx_y


def MaxROIAlign_backward(
    out_grad: Array,
    rois: BoxArray,
    max_idx_x: AnyArray,
    max_idx_y: AnyArray,
    data_shape: InputShape,
    spatial_scale: Real,
) -> Array:
    """Gradient of `MaxROIAlign` with respect to the features.

    Parameters
    ----------
    out_grad : ndarray, shape (R, C, PH, PW)
        Gradient with respect to the first output of `MaxROIAlign`.
    rois : ndarray, shape (R, 5)
        Boxes, as in `MaxROIAlign`.
    max_idx_x, max_idx_y : ndarray, shape of `out_grad`
        Positions of the chosen samples, as `MaxROIAlign` returns them.
    data_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W).
    spatial_scale : float
        Feature pixels per unit of `rois`.

    Returns
    -------
    ndarray, shape `data_shape`
        Gradient with respect to the features, of the dtype of `out_grad`.

    Raises
    ------
    TypeError, ValueError
        As `MaxROIAlign` does, and ValueError where `max_idx_x` or `max_idx_y` holds a number that is neither
        -1 nor the position of a sample of its bin.

    See Also
    --------
    MaxROIAlign : The operator.

    Notes
    -----
    This is the adjoint: each bin's gradient goes to the pixels around its sample, with their bilinear
    weights. Not kept: the operator's own gradient computes bins anew from rounded boxes, and misses some
    samples.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import mxnet
    >>> data = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    >>> rois = np.array([[0, 0.5, 0, 1.5, 1]], np.float32)
    >>> out, max_idx_x, max_idx_y = mxnet.MaxROIAlign(data, rois, 1, 1.0)
    >>> out, max_idx_x, max_idx_y
    (array([[[[5.5]]]], dtype=float32), array([[[[1.5]]]], dtype=float32), array([[[[1.]]]], dtype=float32))
    >>> mxnet.MaxROIAlign_backward(np.ones_like(out), rois, max_idx_x, max_idx_y, data.shape, 1.0)[0, 0]
    array([[0. , 0. , 0. , 0. ],
           [0. , 0.5, 0.5, 0. ],
           [0. , 0. , 0. , 0. ]], dtype=float32)
    """
    with inputs.WORDS:
        kernels, out_grad, rois, max_idx_x, max_idx_y = adopt_single(
            out_grad=out_grad, rois=rois, max_idx_x=max_idx_x, max_idx_y=max_idx_y
        )
        shape, size = settle.input_shape(data_shape, "NCHW"), settle.grad_output_size(out_grad, "NCHW")
        steps, given, options = inputs.unit_steps(kernels.xp, rois, shape, size, spatial_scale)
        argmax = steps.argmax(max_idx_x, max_idx_y)
        grad: Array = once.backward(LARGEST_UNIT_STEP, given, out_grad, shape, options, None, argmax)
        return grad
