"""Deformable RoI pooling: RoIAlign whose bins are moved by offsets, the gradient to the features, and a plan.

Those with respect to offsets and mask are in `roicy.deform_backward`. Each function uses a plan
(`roicy.deform_plan`) once, but the last, which returns one.
"""

from __future__ import annotations

from collections.abc import Sequence

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import DEFORMED
from roicy._types import (
    AnyArray,
    Array,
    Boxes,
    BoxLists,
    Indices,
    InputShape,
    Integer,
    Invalid,
    Layout,
    OutputSize,
    Real,
    Window,
)
from roicy.deform_plan import DeformRoIPoolPlan
from roicy.plan import keep


def deform_roi_pool(
    features: Array,
    rois: Boxes,
    offsets: AnyArray | None,
    output_size: OutputSize,
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
    """Pool each box of a feature map to a fixed size by averaging samples of bins that are moved by offsets.

    As `roi_align` with ``aligned=True``; each bin is moved before, by a part of the box's size that a network
    has found, and may be weighted by a mask (modulated deformable pooling).

    Parameters
    ----------
    features : ndarray, shape (N, C, H, W)
        Feature maps, or images; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`.
    offsets : ndarray, shape (K, 2, PH, PW), or None
        By how much each bin is moved, along x (channel 0) and along y (channel 1), as a part of the box's
        width and height over `gamma`; the same shape in either `layout`. float32 and float64 are used as they
        are, other real dtypes are converted up; where boxes or offsets are float64, positions are computed in
        it. None: bins stay where they are, as in `roi_align`, which is faster then.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW), at most 2**30 of them; an int is both.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`: 1/16 for boxes in image pixels and a map of stride 16.
    sampling_ratio : int, optional
        Samples per bin along each axis, at most 128. 0 or less: adaptive, ``ceil(box size / output size)``
        in feature pixels, for each box and axis.
    gamma : float, optional
        The part of the box's size by which an offset of 1 moves a bin.
    mask : ndarray, shape (K, 1, PH, PW) or (K, PH, PW), optional
        What the average of each bin is multiplied by; of the dtypes that `offsets` may have.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `rois` of shape (K, 4) only.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features` and of the result.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity, in
        `rois`, `offsets` or `mask`. "raise": ValueError that names the first such row. "nan": the output of
        such a row is NaN.
    window : tuple of 4 ints, optional
        ``(y, x, height, width)``: `features` is a part of maps of ``height x width`` pixels, and ``y`` and
        ``x`` are its first row and column there. Boxes lie on the whole maps, and the result is that of whole
        maps, bit for bit. A box that reads pixels beyond the part is an error; `rois_window` finds what boxes
        read.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way. A call that fails leaves it as it was,
        unless a signal has ended it.

    Returns
    -------
    ndarray, shape (K, C, PH, PW)
        Pooled features, with ``layout="NHWC"`` of shape (K, PH, PW, C); `out` where that is given. Of the
        dtype of `features`, float32 for integers and bool.

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or a number is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, a row is invalid and
        ``invalid="raise"``, or `out` cannot be written to.

    See Also
    --------
    deform_roi_pool_plan : For several feature maps of one shape.
    deform_roi_pool_backward : Gradient with respect to the features.
    deform_roi_pool_backward_offsets : Gradient with respect to the offsets.
    deform_roi_pool_backward_mask : Gradient with respect to the mask.
    roi_align : Where bins stay where they are.

    Notes
    -----
    With ``s = spatial_scale``, ``w = (x2 - x1) * s``, and ``gx`` samples per bin along x, sample ``ix`` of
    bin ``(p, q)`` lies at

        ``x = x1 * s - 0.5 + gamma * w * offsets[k, 0, p, q] + (q + (ix + 0.5) / gx) * w / PW``

    counted in pixels from the centre of the first; y is alike, with channel 1 and the height. A bin that is
    moved keeps its size and its number of samples. Samples near the border and outside of the map, and boxes
    of zero or negative size, are treated as in `roi_align`: a bin moved off the map is 0.

    Sums are accumulated in float32, in float64 for float64 features. Results do not depend on the number of
    threads, the layout or the strides, to the last bit; on a GPU those of the two layouts agree to the
    rounding of a sum.

    mmcv ``deform_roi_pool``, which runs on a GPU only, agrees to the rounding of float32; its
    ``ModulatedDeformRoIPoolPack`` multiplies the result by the mask. OpenVINO ``DeformablePSROIPooling`` and
    MXNet ``DeformablePSROIPooling`` have other samples, and a bin there takes from channels of its own.

    References
    ----------
    J. Dai, H. Qi, Y. Xiong, Y. Li, G. Zhang, H. Hu and Y. Wei, "Deformable Convolutional Networks", IEEE
    International Conference on Computer Vision (ICCV), 2017. https://arxiv.org/abs/1703.06211

    X. Zhu, H. Hu, S. Lin and J. Dai, "Deformable ConvNets v2: More Deformable, Better Results", IEEE
    Conference on Computer Vision and Pattern Recognition (CVPR), 2019. https://arxiv.org/abs/1811.11168

    Examples
    --------
    Two bins of a box that is 4 wide, with a sample each; the second is moved by ``0.1 * 4 * -2.5``, that is,
    by a pixel to the left. A mask halves the first.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0, 1, 4, 2]], np.float32)
    >>> offsets = np.zeros((1, 2, 1, 2), np.float32)
    >>> roicy.deform_roi_pool(features, rois, offsets, (1, 2), sampling_ratio=1)[0, 0]
    array([[4.5, 6.5]], dtype=float32)
    >>> offsets[0, 0, 0, 1] = -2.5
    >>> roicy.deform_roi_pool(features, rois, offsets, (1, 2), sampling_ratio=1)[0, 0]
    array([[4.5, 5.5]], dtype=float32)
    >>> mask = np.array([[[[0.5, 1]]]], np.float32)
    >>> roicy.deform_roi_pool(features, rois, offsets, (1, 2), sampling_ratio=1, mask=mask)[0, 0]
    array([[2.25, 5.5 ]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window, offsets, mask)
    options = spatial_scale, sampling_ratio, gamma
    pooled: Array = once.pool(DEFORMED, given, features, output_size, options, out)
    return pooled


def deform_roi_pool_backward(
    grad_output: Array,
    rois: Boxes,
    offsets: AnyArray | None,
    input_shape: InputShape,
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
    """Gradient of `deform_roi_pool` with respect to the features.

    This is the adjoint of `deform_roi_pool`, which is linear in the features: the gradient of each bin is
    spread over the pixels that the bin averages, with the same weights.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `deform_roi_pool`; with ``layout="NHWC"`` of shape
        (K, PH, PW, C). float16, bfloat16 (of ml_dtypes), float32 or float64 in native byte order, strided in
        any way. PH and PW, both at least 1, are the output size: at most 2**30 bins a box.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `deform_roi_pool`.
    offsets : ndarray, shape (K, 2, PH, PW), or None
        By how much each bin is moved, as in `deform_roi_pool`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    spatial_scale, sampling_ratio, gamma, mask, batch_indices, invalid, window : optional
        As in `deform_roi_pool`; an invalid row adds nothing.
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
        As `deform_roi_pool` does.

    See Also
    --------
    deform_roi_pool : The function that this is the gradient of; conventions and systems that agree.
    deform_roi_pool_backward_offsets : Gradient with respect to the offsets.

    Notes
    -----
    A sample outside the map has no gradient, but counts in the average. Sums are accumulated in float32, in
    float64 for float64 gradients, over the boxes of an image in a fixed order (on the CPU by their places on
    the map): the result is the same, to the last bit, for any number of threads.

    References
    ----------
    J. Dai, H. Qi, Y. Xiong, Y. Li, G. Zhang, H. Hu and Y. Wei, "Deformable Convolutional Networks", IEEE
    International Conference on Computer Vision (ICCV), 2017. https://arxiv.org/abs/1703.06211

    Examples
    --------
    One bin with one sample, in the middle of four pixels; moved to the right by ``0.1 * 2 * 2.5``, half a
    pixel, it lies between two.

    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.full((1, 1, 1, 1), 4, np.float32)
    >>> rois = np.array([[0, 0, 0, 2, 2]], np.float32)
    >>> offsets = np.zeros((1, 2, 1, 1), np.float32)
    >>> offsets[0, 0] = 2.5
    >>> roicy.deform_roi_pool_backward(grad_output, rois, offsets, (1, 1, 2, 3), sampling_ratio=1)[0, 0]
    array([[0., 2., 0.],
           [0., 2., 0.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window, offsets, mask)
    options = spatial_scale, sampling_ratio, gamma
    grad_features: Array = once.backward(DEFORMED, given, grad_output, input_shape, options, out)
    return grad_features


def deform_roi_pool_plan(
    rois: Array | Sequence[Array] | BoxLists,
    offsets: AnyArray | None,
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    gamma: Real = 0.1,
    mask: AnyArray | None = None,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
) -> DeformRoIPoolPlan[Array]:
    """Compute once what `deform_roi_pool` derives from boxes and offsets, for several maps of one shape.

    The samples of each bin and their weights depend on the boxes, the offsets, the mask and the shape of the
    map, not on its values. A plan keeps them: for the maps of several models or frames, and for the gradients
    of a pass that has been computed. The results are the same, bit for bit, as those of `deform_roi_pool` and
    its gradients.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes as in `deform_roi_pool`. They are copied, as are offsets and mask: changing the arrays later
        does not change the plan.
    offsets : ndarray, shape (K, 2, PH, PW), or None
        By how much each bin is moved, as in `deform_roi_pool`.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    output_size : int or (int, int)
        Rows and columns of bins, as in `deform_roi_pool`.
    spatial_scale, sampling_ratio, gamma, mask, batch_indices, invalid, window : optional
        As in `deform_roi_pool`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.

    Returns
    -------
    DeformRoIPoolPlan
        ``plan(features, out=None)`` pools, ``plan.backward(grad_output, out=None)``,
        ``plan.backward_offsets(grad_output, features, out=None)`` and
        ``plan.backward_mask(grad_output, features, out=None)`` are the gradients. Its attributes are
        `input_shape`, `output_size`, `output_shape` and `layout`. A plan can be used by several threads,
        copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `deform_roi_pool` does; invalid rows are found when the plan is made.

    See Also
    --------
    deform_roi_pool : Computes the same without a plan.
    roi_align_plan : The same for bins that stay where they are.

    Notes
    -----
    The table for pooling float16, bfloat16, float32 and integer maps is made with the plan, those for float64
    maps and for the gradients when they are first asked for. All are kept as long as the plan. Copies and
    pickles hold the arrays and options, and make the tables again.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 0, 1, 4, 2]], np.float32)
    >>> offsets = np.array([[[[0, -2.5]], [[0, 0]]]], np.float32)
    >>> plan = roicy.deform_roi_pool_plan(rois, offsets, (1, 1, 4, 4), (1, 2), sampling_ratio=1)
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> plan(features)[0, 0]
    array([[4.5, 5.5]], dtype=float32)
    >>> plan.backward_offsets(np.ones((1, 1, 1, 2), np.float32), features)[0].round(3)
    array([[[0.4, 0.4]],
    <BLANKLINE>
           [[0.4, 0.4]]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window, offsets, mask)
    options = spatial_scale, sampling_ratio, gamma
    kept: DeformRoIPoolPlan[Array] = keep(
        DeformRoIPoolPlan, DEFORMED, given, input_shape, output_size, options
    )
    return kept
