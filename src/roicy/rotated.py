"""RoIAlignRotated: average a feature map over the bins of rotated boxes, and the gradients of that.

Each function uses a plan (`roicy.plan`) once, but the last, which returns one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import ROTATED
from roicy._types import (
    AngleUnit,
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
from roicy.plan import RoIAlignRotatedPlan, keep

if TYPE_CHECKING:
    from typing import Unpack

    from roicy._types import RoIAlignRotatedOptions


def roi_align_rotated(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Pool each rotated box of a feature map to a fixed size by averaging bilinear samples.

    As `roi_align`, with a box that is turned about its centre, and the grid of its samples with it.

    Parameters
    ----------
    features : ndarray, shape (N, C, H, W)
        Feature maps, or images; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes in one of these forms:

        - (K, 6): rows ``[batch index, cx, cy, w, h, angle]``, the batch index truncated toward zero;
        - (K, 5): rows ``[cx, cy, w, h, angle]``, with `batch_indices`, or without where N is 1;
        - a list or tuple of N arrays (L_i, 5), the boxes of image 0, 1, ...; then K is the sum of all L_i;
        - nested lists or tuples of numbers, as deep as one of these, of which ``np.asarray`` makes arrays.

        ``cx, cy`` is the centre, ``w`` the size along x and ``h`` along y before the box is turned, all in
        units of `spatial_scale`. float32 and float64 are used as they are and decide in which precision
        positions are computed; float16, bfloat16 and integers of up to 16 bits are converted to float32,
        wider integers to float64.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW), at most 2**30 of them; an int is both.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`: 1/16 for boxes in image pixels and a map of stride 16.
    sampling_ratio : int, optional
        Samples per bin along each axis, at most 128. 0 or less: adaptive, ``ceil(box size / output size)``
        in feature pixels, for each box and axis.
    aligned : bool, optional
        True: coordinates are continuous and the centre of pixel ``i`` lies at ``i + 0.5``. False: the centre
        of pixel ``i`` lies at ``i``, and boxes that are less than one feature pixel wide or high are enlarged
        to one about their centre.
    angle_unit : {"degrees", "radians"}, optional
        Unit of the angles.
    clockwise : bool, optional
        Whether positive angles turn a box clockwise, as displayed with y pointing down; counter-clockwise by
        default.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `rois` of shape (K, 5) only.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features` and of the result.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the output of such a row is NaN.
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
        Where an array has the wrong shape, a number or word is not one of those listed, a row of `rois` is
        invalid and ``invalid="raise"``, or `out` cannot be written to.

    See Also
    --------
    roi_align_rotated_plan : For several feature maps of one shape.
    roi_align_rotated_backward : Gradient with respect to the features.
    roi_align_rotated_backward_rois : Gradient with respect to the boxes.
    roi_align : For boxes along the axes.

    Notes
    -----
    With ``o = 0.5`` if aligned else 0, ``s = spatial_scale``, ``t`` the angle counter-clockwise, and ``gx``
    and ``gy`` samples per bin, sample ``(iy, ix)`` of bin ``(p, q)`` lies at

        ``u = (q + (ix + 0.5) / gx) * w * s / PW - w * s / 2``

        ``v = (p + (iy + 0.5) / gy) * h * s / PH - h * s / 2``

        ``x = v * sin(t) + u * cos(t) + cx * s - o``

        ``y = v * cos(t) - u * sin(t) + cy * s - o``

    counted in pixels from the centre of the first. Samples near the border and outside of the map, and with
    ``aligned=True`` boxes of zero or negative size, are treated as in `roi_align`. With ``aligned=False`` a
    box of less than a feature pixel is enlarged about its centre here, from its corner on there; all other
    boxes with an angle of 0 have the positions that they have in `roi_align`, up to rounding. Where a size is
    a whole number of samples, rounding may add one to an adaptive grid, in either function.

    Sums are accumulated in float32, in float64 for float64 features. Results do not depend on the number of
    threads, the layout or the strides, to the last bit.

    These systems agree, to the rounding of a sum:

    - ``aligned=True``: detectron2 ``ROIAlignRotated``, and with ``angle_unit="radians"`` mmcv
      ``roi_align_rotated`` (its default) and OpenVINO ``ROIAlignRotated``, which both call this option
      `clockwise` or ``clockwise_mode``;
    - ``aligned=False``: Caffe2 ``RoIAlignRotated`` (its default; `roicy.compat.caffe2`) and MXNet
      ``RROIAlign``.

    torchvision and ONNX have no rotated boxes.

    References
    ----------
    J. Ma, W. Shao, H. Ye, L. Wang, H. Wang, Y. Zheng and X. Xue, "Arbitrary-Oriented Scene Text Detection via
    Rotation Proposals", IEEE Transactions on Multimedia, 2018. https://arxiv.org/abs/1703.01086

    Examples
    --------
    The whole map, and a box turned by a quarter counter-clockwise: its first bin comes to lie at the bottom
    left of the map, where that has 10.5. So the map appears turned clockwise.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 2, 2, 4, 4, 0], [0, 2, 2, 4, 4, 90]], np.float32)
    >>> roicy.roi_align_rotated(features, rois, 2, sampling_ratio=1)[:, 0].round(3)
    array([[[ 2.5,  4.5],
            [10.5, 12.5]],
    <BLANKLINE>
           [[10.5,  2.5],
            [12.5,  4.5]]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned, angle_unit, clockwise
    pooled: Array = once.pool(ROTATED, given, features, output_size, options, out)
    return pooled


def roi_align_rotated_backward(
    grad_output: Array,
    rois: Boxes,
    input_shape: InputShape,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `roi_align_rotated` with respect to the features.

    This is the adjoint of `roi_align_rotated`, which is linear in the features: the gradient of each bin is
    spread over the pixels that the bin averages, with the same weights.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `roi_align_rotated`; with ``layout="NHWC"`` of shape
        (K, PH, PW, C). float16, bfloat16 (of ml_dtypes), float32 or float64, strided in
        any way. PH and PW, both at least 1, are the output size: at most 2**30 bins a box.
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes, as in `roi_align_rotated`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    spatial_scale, sampling_ratio, aligned, angle_unit, clockwise, batch_indices, invalid, window : optional
        As in `roi_align_rotated`.
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
        As `roi_align_rotated` does.

    See Also
    --------
    roi_align_rotated : The function that this is the gradient of; conventions and systems that agree.
    roi_align_rotated_backward_rois : Gradient with respect to the boxes.

    Notes
    -----
    A sample outside the map has no gradient, but counts in the average. Sums are accumulated in float32, in
    float64 for float64 gradients, over the boxes of an image in a fixed order (on the CPU by their places on
    the map): the result is the same, to the last bit, for any number of threads. The systems that
    `roi_align_rotated` agrees with agree here too, but for MXNet and OpenVINO, which have no gradient.

    References
    ----------
    J. Ma, W. Shao, H. Ye, L. Wang, H. Wang, Y. Zheng and X. Xue, "Arbitrary-Oriented Scene Text Detection via
    Rotation Proposals", IEEE Transactions on Multimedia, 2018. https://arxiv.org/abs/1703.01086

    Examples
    --------
    In a box turned by a quarter, the first bin has its one sample at the lower left, where four pixels meet:

    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.array([[[[4, 0], [0, 0]]]], np.float32)
    >>> rois = np.array([[0, 2, 2, 4, 4, 90]], np.float32)
    >>> grad = roicy.roi_align_rotated_backward(grad_output, rois, (1, 1, 4, 4), sampling_ratio=1)
    >>> abs(grad[0, 0]).round(3)
    array([[0., 0., 0., 0.],
           [0., 0., 0., 0.],
           [1., 1., 0., 0.],
           [1., 1., 0., 0.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned, angle_unit, clockwise
    grad_features: Array = once.backward(ROTATED, given, grad_output, input_shape, options, out)
    return grad_features


@overload
def roi_align_rotated_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxArray,
    *,
    out: AnyArray | None = None,
    **options: Unpack[RoIAlignRotatedOptions],
) -> Array: ...


@overload
def roi_align_rotated_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxesOfImages,
    *,
    out: None = None,
    **options: Unpack[RoIAlignRotatedOptions],
) -> list[Array]: ...


def roi_align_rotated_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: Boxes,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array | list[Array]:
    """Gradient of `roi_align_rotated` with respect to the boxes.

    Moving, stretching or turning a box moves its samples; this is the slope of the features along that,
    summed over bins and channels with `grad_output` as weights.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `roi_align_rotated`; with ``layout="NHWC"`` of shape
        (K, PH, PW, C). Of the dtype that `roi_align_rotated` returns for `features`, strided in any way. PH
        and PW, both at least 1, are the output size: at most 2**30 bins a box.
    features : ndarray, shape (N, C, H, W)
        Feature maps that were pooled; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes, as in `roi_align_rotated`.
    spatial_scale, sampling_ratio, aligned, angle_unit, clockwise, batch_indices, invalid, window : optional
        As in `roi_align_rotated`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output` and `features`.
    out : ndarray, optional
        Where to write the result; not where `rois` is a sequence of arrays.

    Returns
    -------
    ndarray, shape of `rois`, or list of ndarray
        Gradient with respect to cx, cy, w, h and the angle, in units of `rois`, float32 or float64 as `rois`
        is used; `out` where that is given. The column of a batch index is 0. For a sequence of arrays a list
        of arrays (L_i, 5).

    Raises
    ------
    TypeError, ValueError
        As `roi_align_rotated` does.

    See Also
    --------
    roi_align_rotated : The function that this is the gradient of, and its conventions.
    roi_align_rotated_backward : Gradient with respect to the features.
    roi_align_backward_rois : The same for boxes along the axes; which slope it is at the pixels' centres.

    Notes
    -----
    The number of samples of an adaptive grid counts as constant, and where a box that is not aligned has been
    enlarged to one pixel its size has no gradient. The slope is that of the bilinear interpolant, zero where
    the border is replicated and outside the map, and on a pixel's centre that towards larger coordinates.

    detectron2, mmcv, Caffe2, MXNet and OpenVINO have no gradient with respect to the boxes.

    References
    ----------
    J. Ma, W. Shao, H. Ye, L. Wang, H. Wang, Y. Zheng and X. Xue, "Arbitrary-Oriented Scene Text Detection via
    Rotation Proposals", IEEE Transactions on Multimedia, 2018. https://arxiv.org/abs/1703.01086

    Examples
    --------
    A map that rises by 1 along x and by 4 along y, and the difference of two samples, each a quarter of the
    width away from the centre. Moving the box does not change it. Per unit of width they move apart by 1/2.
    Turned counter-clockwise by ``t`` radians, the right one goes up by ``t / 2`` and the left one down, and
    the difference falls by ``4 * t``.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float64).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 2.25, 2, 2, 2, 0]])
    >>> grad_output = np.array([[[[-1.0, 1.0]]]])
    >>> roicy.roi_align_rotated_backward_rois(
    ...     grad_output, features, rois, sampling_ratio=1, angle_unit="radians"
    ... ) + 0.0
    array([[ 0. ,  0. ,  0. ,  0.5,  0. , -4. ]])
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned, angle_unit, clockwise
    grad_rois: Array | list[Array] = once.backward_rois(ROTATED, given, grad_output, features, options, out)
    return grad_rois


def roi_align_rotated_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
) -> RoIAlignRotatedPlan[Array]:
    """Compute once what `roi_align_rotated` derives from the boxes, for several feature maps of one shape.

    The samples of each box and their weights depend on the boxes and on the shape of the map, not on its
    values. A plan keeps them: for the maps of several models or frames, and for the gradients of a pass that
    has been computed. The results are the same, bit for bit, as those of `roi_align_rotated`,
    `roi_align_rotated_backward` and `roi_align_rotated_backward_rois`.

    Parameters
    ----------
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes as in `roi_align_rotated`. They are copied: changing the array later does not change
        the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    output_size : int or (int, int)
        Rows and columns of bins, as in `roi_align_rotated`.
    spatial_scale, sampling_ratio, aligned, angle_unit, clockwise, batch_indices, invalid, window : optional
        As in `roi_align_rotated`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.

    Returns
    -------
    RoIAlignRotatedPlan
        ``plan(features, out=None)`` pools, ``plan.backward(grad_output, out=None)`` and
        ``plan.backward_rois(grad_output, features, out=None)`` are the gradients. Its attributes are
        `input_shape`, `output_size`, `output_shape` and `layout`. A plan can be used by several threads,
        copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `roi_align_rotated` does; invalid rows are found when the plan is made.

    See Also
    --------
    roi_align_rotated : Computes the same without a plan.
    roi_align_plan : The same for boxes along the axes.

    Notes
    -----
    The table for pooling float16, bfloat16, float32 and integer maps is made with the plan, those for float64
    maps and for the gradients when they are first asked for. All are kept as long as the plan. Copies and
    pickles hold the boxes and options, and make the tables again.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 2, 2, 4, 4, 90]], np.float32)
    >>> plan = roicy.roi_align_rotated_plan(rois, (1, 1, 4, 4), 2, sampling_ratio=1)
    >>> plan.output_shape
    (1, 1, 2, 2)
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> plan(features)[0, 0].round(3)
    array([[10.5,  2.5],
           [12.5,  4.5]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned, angle_unit, clockwise
    kept: RoIAlignRotatedPlan[Array] = keep(
        RoIAlignRotatedPlan, ROTATED, given, input_shape, output_size, options
    )
    return kept
