"""Position-sensitive RoIAlign: each bin averages channels of its own; and its gradients.

Each function uses a plan (`roicy.plan`) once, but the last, which returns one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import POSITION_SENSITIVE_AVERAGE
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    Boxes,
    BoxesOfImages,
    BoxLists,
    Flag,
    Indices,
    InputShape,
    Integer,
    Invalid,
    Layout,
    OutputSize,
    Real,
    Window,
)
from roicy.plan import Plan, keep


def ps_roi_align(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Pool each box of a feature map by averaging bilinear samples, every bin in channels of its own.

    A map has a channel for each bin of each channel of the result: bin ``(p, q)`` of channel ``c`` is that of
    `roi_align` in channel ``(c * PH + p) * PW + q``. A box costs as much as its bins do in their own
    channels.

    Parameters
    ----------
    features : ndarray, shape (N, C * PH * PW, H, W)
        Feature maps; with ``layout="NHWC"`` of shape (N, H, W, C * PH * PW). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois, output_size, spatial_scale, sampling_ratio, aligned, batch_indices, invalid, window
        As in `roi_align`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features` and of the result.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way. A call that fails leaves it as it was, unless a signal has
        ended it.

    Returns
    -------
    ndarray, shape (K, C, PH, PW)
        Pooled features, with ``layout="NHWC"`` of shape (K, PH, PW, C); `out` where that is given. Of the
        dtype of `features`, float32 for integers and bool.

    Raises
    ------
    TypeError, ValueError
        As `roi_align` does; ValueError where the number of channels of `features` is no multiple of PH * PW.

    See Also
    --------
    ps_roi_align_plan : For several feature maps of one shape.
    ps_roi_align_backward : Gradient with respect to the features.
    ps_roi_align_backward_rois : Gradient with respect to the boxes.
    roi_align : All bins in the same channels; where samples lie, and what becomes of those outside the map.

    Notes
    -----
    With ``aligned=True`` an adaptive grid has no samples in a box of zero or negative size, whose output is
    0. Sums are accumulated in float32, in float64 for float64 features. Results do not depend on the number
    of threads, the layout or the strides, to the last bit.

    These systems agree, to the rounding of a sum: torchvision ``ps_roi_align`` (``aligned=True``), but that
    a box without samples is NaN there, and MXNet ``contrib.ROIAlign(position_sensitive=True)``, which has
    ``aligned=False`` by default.

    References
    ----------
    J. Dai, Y. Li, K. He and J. Sun, "R-FCN: Object Detection via Region-based Fully Convolutional Networks",
    Advances in Neural Information Processing Systems (NIPS), 2016. https://arxiv.org/abs/1605.06409

    Z. Li, C. Peng, G. Yu, X. Zhang, Y. Deng and J. Sun, "Light-Head R-CNN: In Defense of Two-Stage Object
    Detector", 2017. https://arxiv.org/abs/1711.07264

    Examples
    --------
    Four channels whose pixels are 0, 1, 2 and 3, one channel for each bin:

    >>> import numpy as np
    >>> import roicy
    >>> features = np.zeros((1, 4, 6, 6), np.float32) + np.arange(4, dtype=np.float32)[:, None, None]
    >>> rois = np.array([[0, 1, 1, 5, 5]], np.float32)
    >>> roicy.ps_roi_align(features, rois, 2)[0, 0]
    array([[0., 1.],
           [2., 3.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    pooled: Array = once.pool(POSITION_SENSITIVE_AVERAGE, given, features, output_size, options, out)
    return pooled


def ps_roi_align_backward(
    grad_output: Array,
    rois: Boxes,
    input_shape: InputShape,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `ps_roi_align` with respect to the features.

    This is the adjoint of `ps_roi_align`, which is linear in the features: the gradient of each bin is spread
    over the pixels of its channel that the bin averages, with the same weights.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `ps_roi_align`; with ``layout="NHWC"`` of shape
        (K, PH, PW, C). float16, bfloat16 (of ml_dtypes), float32 or float64, strided in
        any way. PH and PW, both at least 1, are the output size: at most 2**30 bins a box.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `ps_roi_align`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C * PH * PW, H, W) or, with ``layout="NHWC"``, (N, H, W, C * PH * PW).
    spatial_scale, sampling_ratio, aligned, batch_indices, invalid, window
        As in `ps_roi_align`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output`, of `input_shape` and of the result.
    out : ndarray, optional
        Where to write the result; overwritten, not added to.

    Returns
    -------
    ndarray, shape `input_shape`
        Gradient with respect to the features, of the dtype of `grad_output`; `out` where that is given.

    Raises
    ------
    TypeError, ValueError
        As `ps_roi_align` does.

    See Also
    --------
    ps_roi_align : The function that this is the gradient of; conventions and systems that agree.
    ps_roi_align_backward_rois : Gradient with respect to the boxes.
    ps_roi_align_plan : Keeps what both derive from the boxes.

    Notes
    -----
    Sums are accumulated in float32, in float64 for float64 gradients, over the boxes of an image in a fixed
    order (on the CPU by their places on the map): the result is the same, to the last bit, for any number of
    threads.

    Examples
    --------
    Two bins side by side, the second one of the second channel:

    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.array([[[[1, 2]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 4, 1]], np.float32)
    >>> roicy.ps_roi_align_backward(grad_output, rois, (1, 2, 1, 4))[0]
    array([[[0.5, 0.5, 0. , 0. ]],
    <BLANKLINE>
           [[0. , 0. , 1. , 1. ]]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    grad_features: Array = once.backward(
        POSITION_SENSITIVE_AVERAGE, given, grad_output, input_shape, options, out
    )
    return grad_features


@overload
def ps_roi_align_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxArray,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array: ...


@overload
def ps_roi_align_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxesOfImages,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: None = None,
) -> list[Array]: ...


def ps_roi_align_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: Boxes,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array | list[Array]:
    """Gradient of `ps_roi_align` with respect to the boxes.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `ps_roi_align`; with ``layout="NHWC"`` of shape
        (K, PH, PW, C). Of the dtype that `ps_roi_align` returns for `features`, strided in any way. PH and
        PW, both at least 1, are the output size: at most 2**30 bins a box.
    features : ndarray, shape (N, C * PH * PW, H, W)
        Feature maps that were pooled; with ``layout="NHWC"`` of shape (N, H, W, C * PH * PW).
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `ps_roi_align`.
    spatial_scale, sampling_ratio, aligned, batch_indices
        As in `ps_roi_align`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output` and `features`.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the gradient of such a row is 0.
    window : tuple of 4 ints, optional
        As in `roi_align`.
    out : ndarray, optional
        Where to write the result. Not where `rois` is a sequence of arrays.

    Returns
    -------
    ndarray, shape of `rois`, or list of ndarray
        Gradient with respect to `rois`, in units of `rois`, float32 or float64 as `rois` is used; `out` where
        that is given. The column of a batch index is 0. For a sequence of arrays a list of arrays (L_i, 4).

    Raises
    ------
    TypeError, ValueError
        As `ps_roi_align` does.

    See Also
    --------
    ps_roi_align : The function that this is the gradient of, and its conventions.
    ps_roi_align_backward : Gradient with respect to the features.
    roi_align_backward_rois : What counts as constant, and the gradient where there is a kink.

    Examples
    --------
    One channel rises by 1 for each pixel to the right, the other by 2. A sample in the middle of the left
    half of the box moves by three quarters of what its left edge does, one in the right half by a quarter:

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(8, dtype=np.float32) * np.array([[[1]], [[2]]], np.float32)[None]
    >>> rois = np.array([[0, 1, 0, 5, 1]], np.float32)
    >>> grad_output = np.ones((1, 1, 1, 2), np.float32)
    >>> roicy.ps_roi_align_backward_rois(grad_output, features, rois, sampling_ratio=1)
    array([[0.  , 1.25, 0.  , 1.75, 0.  ]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    grad_rois: Array | list[Array] = once.backward_rois(
        POSITION_SENSITIVE_AVERAGE, given, grad_output, features, options, out
    )
    return grad_rois


def ps_roi_align_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
) -> Plan[Array]:
    """Compute once what `ps_roi_align` derives from the boxes, for several feature maps of one shape.

    The tables are those of `roi_align_plan`. The results are the same, bit for bit, as those of
    `ps_roi_align`, `ps_roi_align_backward` and `ps_roi_align_backward_rois`.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes as in `roi_align`. They are copied: changing the array later does not change the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C * PH * PW, H, W) or, with ``layout="NHWC"``, (N, H, W, C * PH * PW).
    output_size, spatial_scale, sampling_ratio, aligned, batch_indices, invalid, window
        As in `ps_roi_align`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.

    Returns
    -------
    Plan
        ``plan(features, out=None)`` pools, ``plan.backward(grad_output, out=None)`` is the gradient with
        respect to the features, ``plan.backward_rois(grad_output, features, out=None)`` that with respect to
        the boxes. Its attributes are `input_shape`, `output_size`, `output_shape` and `layout`. A plan can be
        used by several threads, copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `ps_roi_align` does; invalid rows are found when the plan is made.

    See Also
    --------
    ps_roi_align : Computes the same without a plan.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 1, 1, 5, 5]], np.float32)
    >>> plan = roicy.ps_roi_align_plan(rois, (1, 8, 6, 6), 2)
    >>> plan.output_shape
    (1, 2, 2, 2)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    kept: Plan[Array] = keep(Plan, POSITION_SENSITIVE_AVERAGE, given, input_shape, output_size, options)
    return kept
