"""Gradients of deformable RoI pooling with respect to what moves and weights the bins."""

from __future__ import annotations

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import DEFORMED
from roicy._types import (
    AnyArray,
    Array,
    Boxes,
    Indices,
    Integer,
    Invalid,
    Layout,
    Real,
    Window,
)


def deform_roi_pool_backward_offsets(
    grad_output: Array,
    features: AnyArray,
    rois: Boxes,
    offsets: AnyArray,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    gamma: Real = 0.1,
    mask: AnyArray | None = None,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `deform_roi_pool` with respect to the offsets.

    An offset moves the samples of its bin; this is the slope of the features along that, summed over samples
    and channels with `grad_output` as weights.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `deform_roi_pool`; with ``layout="NHWC"`` of shape
        (K, PH, PW, C). Of the dtype that `deform_roi_pool` returns for `features`, strided in any way. PH and
        PW, both at least 1, are the output size: at most 2**30 bins a box.
    features : ndarray, shape (N, C, H, W)
        Feature maps that were pooled; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `deform_roi_pool`.
    offsets : ndarray, shape (K, 2, PH, PW)
        By how much each bin is moved, as in `deform_roi_pool`.
    spatial_scale, sampling_ratio, gamma, mask, batch_indices, invalid, window : optional
        As in `deform_roi_pool`; the gradient of an invalid row is 0.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output` and `features`.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way.

    Returns
    -------
    ndarray, shape (K, 2, PH, PW)
        Gradient with respect to the offsets along x (channel 0) and y (channel 1), float64 where `rois` or
        `offsets` are used as that, else float32; `out` where that is given.

    Raises
    ------
    TypeError, ValueError
        As `deform_roi_pool` does.

    See Also
    --------
    deform_roi_pool : The function that this is the gradient of, and its conventions.
    deform_roi_pool_backward : Gradient with respect to the features.
    deform_roi_pool_backward_mask : Gradient with respect to the mask.

    Notes
    -----
    The slope is that of the bilinear interpolant, zero where the border is replicated and outside the map,
    and on a pixel's centre that towards larger coordinates. So the gradient is exact wherever the result has
    one.

    mmcv's differs near the border, where it weights by positions before they are moved into the map: between
    the first pixel's centre and the border it goes on along the slopes inside, also along the axis on which
    the value is constant there, and beyond the last row's centre the slope along x is zero, beyond the last
    column's that along y. Everywhere else it agrees.

    References
    ----------
    J. Dai, H. Qi, Y. Xiong, Y. Li, G. Zhang, H. Hu and Y. Wei, "Deformable Convolutional Networks", IEEE
    International Conference on Computer Vision (ICCV), 2017. https://arxiv.org/abs/1703.06211

    Examples
    --------
    A map that rises by 1 along x and by 4 along y, and a box that is 4 wide and 2 high: an offset of 1 moves
    its bin by 0.4 to the right, or by 0.2 down.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0, 1, 4, 3]], np.float32)
    >>> offsets = np.zeros((1, 2, 1, 1), np.float32)
    >>> grad_output = np.ones((1, 1, 1, 1), np.float32)
    >>> roicy.deform_roi_pool_backward_offsets(
    ...     grad_output, features, rois, offsets, sampling_ratio=1
    ... ).ravel()
    array([0.4, 0.8], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window, offsets, mask)
    options = spatial_scale, sampling_ratio, gamma
    grad_offsets: Array = once.backward_bins("offsets", DEFORMED, given, grad_output, features, options, out)
    return grad_offsets


def deform_roi_pool_backward_mask(
    grad_output: Array,
    features: AnyArray,
    rois: Boxes,
    offsets: AnyArray | None,
    mask: AnyArray,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    gamma: Real = 0.1,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `deform_roi_pool` with respect to the mask.

    It is the sum over channels of `grad_output` times what is pooled without a mask, which is not stored for
    it.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `deform_roi_pool`; with ``layout="NHWC"`` of shape
        (K, PH, PW, C). Of the dtype that `deform_roi_pool` returns for `features`, strided in any way. PH and
        PW, both at least 1, are the output size: at most 2**30 bins a box.
    features : ndarray, shape (N, C, H, W)
        Feature maps that were pooled; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `deform_roi_pool`.
    offsets : ndarray, shape (K, 2, PH, PW), or None
        By how much each bin is moved, as in `deform_roi_pool`.
    mask : ndarray, shape (K, 1, PH, PW) or (K, PH, PW)
        What the average of each bin was multiplied by. The gradient has its shape; on its values it depends
        no further than that they are to be finite.
    spatial_scale, sampling_ratio, gamma, batch_indices, invalid, window : optional
        As in `deform_roi_pool`; the gradient of an invalid row is 0.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output` and `features`.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way.

    Returns
    -------
    ndarray, shape of `mask`
        Gradient with respect to the mask, float32 or float64 as `mask` is used; `out` where that is given.

    Raises
    ------
    TypeError, ValueError
        As `deform_roi_pool` does.

    See Also
    --------
    deform_roi_pool : The function that this is the gradient of, and its conventions.
    deform_roi_pool_backward_offsets : Gradient with respect to the offsets.

    References
    ----------
    X. Zhu, H. Hu, S. Lin and J. Dai, "Deformable ConvNets v2: More Deformable, Better Results", IEEE
    Conference on Computer Vision and Pattern Recognition (CVPR), 2019. https://arxiv.org/abs/1811.11168

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0, 1, 4, 2]], np.float32)
    >>> mask = np.ones((1, 1, 1, 2), np.float32)
    >>> grad_output = np.ones((1, 1, 1, 2), np.float32)
    >>> roicy.deform_roi_pool_backward_mask(grad_output, features, rois, None, mask, sampling_ratio=1)
    array([[[[4.5, 6.5]]]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window, offsets, mask)
    options = spatial_scale, sampling_ratio, gamma
    grad_mask: Array = once.backward_bins("mask", DEFORMED, given, grad_output, features, options, out)
    return grad_mask
