"""Position-sensitive RoIPool: each bin averages whole pixels of channels of its own; and its gradient.

Each function uses a plan (`roicy.plan`) once, but the last, which returns one.
"""

from __future__ import annotations

from collections.abc import Sequence

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import POSITION_SENSITIVE_PIXELS
from roicy._types import (
    AnyArray,
    Array,
    Boxes,
    BoxLists,
    Indices,
    InputShape,
    Invalid,
    Layout,
    OutputSize,
    Real,
    Window,
)
from roicy.plan import Plan, keep


def ps_roi_pool(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Pool each box of a feature map by the mean over whole pixels, every bin in channels of its own.

    A map has a channel for each bin of each channel of the result: bin ``(p, q)`` of channel ``c`` is the
    mean of its pixels in channel ``(c * PH + p) * PW + q``. A box costs as much as its bins do in their own
    channels.

    Parameters
    ----------
    features : ndarray, shape (N, C * PH * PW, H, W)
        Feature maps; with ``layout="NHWC"`` of shape (N, H, W, C * PH * PW). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes in the forms of `roi_pool`: ``x2`` and ``y2`` are the last pixel that belongs to the box.
    output_size, spatial_scale, batch_indices, invalid, window
        As in `roi_pool`.
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
        As `roi_pool` does; ValueError where the number of channels of `features` is no multiple of PH * PW.

    See Also
    --------
    ps_roi_pool_plan : For several feature maps of one shape.
    ps_roi_pool_backward : Gradient with respect to the features.
    ps_roi_align : The average of bilinear samples instead, of boxes that are not rounded.
    roi_pool : All bins in the same channels.

    Notes
    -----
    Along x, a box begins at ``round(x1) * spatial_scale`` and ends at ``(round(x2) + 1) * spatial_scale``,
    halves rounded away from zero, and is at least 0.1 pixels wide. Bin ``q`` of PW equal parts has the pixels
    from the last whole number before its beginning up to the first one after its end; y is alike. What lies
    outside of the map is left out, and a bin without pixels is 0. Bins may share pixels.

    Sums are accumulated in float32, in float64 for float64 features. Results do not depend on the number of
    threads, the layout or the strides, to the last bit.

    These systems agree, to the rounding of a sum: the published R-FCN, MXNet ``contrib.PSROIPooling``,
    PaddlePaddle ``psroi_pool`` and OpenVINO ``PSROIPooling(mode="average")``. torchvision ``ps_roi_pool``
    rounds boxes after they have been scaled, ends them before their last pixel, and never looks at the last
    row and column of the map.

    References
    ----------
    J. Dai, Y. Li, K. He and J. Sun, "R-FCN: Object Detection via Region-based Fully Convolutional Networks",
    Advances in Neural Information Processing Systems (NIPS), 2016. https://arxiv.org/abs/1605.06409

    Examples
    --------
    Four channels, one for each bin, of which the first rises by 1 for each pixel to the right:

    >>> import numpy as np
    >>> import roicy
    >>> features = np.zeros((1, 4, 6, 6), np.float32) + np.arange(4, dtype=np.float32)[:, None, None]
    >>> features[0, 0] += np.arange(6)
    >>> rois = np.array([[0, 1, 1, 4, 4]], np.float32)
    >>> roicy.ps_roi_pool(features, rois, 2)[0, 0]
    array([[1.5, 1. ],
           [2. , 3. ]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    pooled: Array = once.pool(POSITION_SENSITIVE_PIXELS, given, features, output_size, (spatial_scale,), out)
    return pooled


def ps_roi_pool_backward(
    grad_output: Array,
    rois: Boxes,
    input_shape: InputShape,
    *,
    spatial_scale: Real = 1.0,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `ps_roi_pool` with respect to the features.

    This is the adjoint of `ps_roi_pool`, which is linear in the features: the gradient of each bin is spread
    evenly over the pixels of its channel that the bin averages.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `ps_roi_pool`; with ``layout="NHWC"`` of shape (K, PH, PW, C).
        float16, bfloat16 (of ml_dtypes), float32 or float64, strided in any way. PH and
        PW, both at least 1, are the output size: at most 2**30 bins a box.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `ps_roi_pool`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C * PH * PW, H, W) or, with ``layout="NHWC"``, (N, H, W, C * PH * PW).
    spatial_scale, batch_indices, invalid, window
        As in `ps_roi_pool`.
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
        As `ps_roi_pool` does.

    See Also
    --------
    ps_roi_pool : The function that this is the gradient of; conventions and systems that agree.
    ps_roi_pool_plan : Keeps what both derive from the boxes.

    Notes
    -----
    Sums are accumulated in float32, in float64 for float64 gradients, over the boxes of an image in a fixed
    order (on the CPU by their places on the map): the result is the same, to the last bit, for any number of
    threads. As boxes are rounded to pixels, there is no gradient with respect to them.

    Examples
    --------
    Two bins side by side, the second one of the second channel:

    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.array([[[[1, 2]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 3, 0]], np.float32)
    >>> roicy.ps_roi_pool_backward(grad_output, rois, (1, 2, 1, 4))[0]
    array([[[0.5, 0.5, 0. , 0. ]],
    <BLANKLINE>
           [[0. , 0. , 1. , 1. ]]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    grad_features: Array = once.backward(
        POSITION_SENSITIVE_PIXELS, given, grad_output, input_shape, (spatial_scale,), out
    )
    return grad_features


def ps_roi_pool_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
) -> Plan[Array]:
    """Compute once what `ps_roi_pool` derives from the boxes, for several feature maps of one shape.

    A plan keeps the tables that say which pixels each bin averages, for the maps of several models or frames,
    and for the gradient. The results are the same, bit for bit, as those of `ps_roi_pool` and
    `ps_roi_pool_backward`.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes as in `ps_roi_pool`. They are copied: changing the array later does not change the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C * PH * PW, H, W) or, with ``layout="NHWC"``, (N, H, W, C * PH * PW).
    output_size, spatial_scale, batch_indices, invalid, window
        As in `ps_roi_pool`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.

    Returns
    -------
    Plan
        ``plan(features, out=None)`` pools, ``plan.backward(grad_output, out=None)`` is the gradient with
        respect to the features. Its attributes are `input_shape`, `output_size`, `output_shape` and `layout`.
        A plan can be used by several threads, copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `ps_roi_pool` does; invalid rows are found when the plan is made.

    See Also
    --------
    ps_roi_pool : Computes the same without a plan.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 1, 1, 4, 4]], np.float32)
    >>> plan = roicy.ps_roi_pool_plan(rois, (1, 8, 6, 6), 2)
    >>> plan.output_shape
    (1, 2, 2, 2)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    kept: Plan[Array] = keep(
        Plan, POSITION_SENSITIVE_PIXELS, given, input_shape, output_size, (spatial_scale,)
    )
    return kept
