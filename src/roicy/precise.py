"""Precise RoI pooling: the exact mean of a bilinear feature map over the bins of boxes, and its gradients.

Each function uses a plan (`roicy.plan`) once, but the last, which returns one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import PRECISE_AVERAGE
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    Boxes,
    BoxesOfImages,
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


def prroi_pool(
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
    """Pool each box of a feature map to a fixed size by the exact mean of the bilinear map over each bin.

    A box is divided into ``output_size`` bins, and each gets the integral of the bilinearly interpolated map
    over it, divided by its area. Nothing is rounded to pixels and nothing is sampled: the result follows the
    box without jumps or kinks.

    Parameters
    ----------
    features : ndarray, shape (N, C, H, W)
        Feature maps, or images; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes in one of these forms:

        - (K, 5): rows ``[batch index, x1, y1, x2, y2]``, the batch index truncated toward zero;
        - (K, 4): rows ``[x1, y1, x2, y2]``, with `batch_indices`, or without where N is 1;
        - a list or tuple of N arrays (L_i, 4), the boxes of image 0, 1, ...; then K is the sum of all L_i;
        - nested lists or tuples of numbers, as deep as one of these, of which ``np.asarray`` makes arrays.

        Coordinates are in units of `spatial_scale`; the centre of pixel ``i`` lies at ``i``. float32 and
        float64 are used as they are and decide in which precision corners are scaled; float16, bfloat16 and
        integers of up to 16 bits are converted to float32, wider integers to float64.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW); an int is both.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`: 1/16 for boxes in image pixels and a map of stride 16.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `rois` of shape (K, 4) only.
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
        with an input; strided in any way. A call that fails leaves it as it was, unless a signal has
        ended it.

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
    prroi_pool_plan : For several feature maps of one shape.
    prroi_pool_backward : Gradient with respect to the features.
    prroi_pool_backward_rois : Gradient with respect to the boxes.
    roi_align : The mean of samples instead of the integral.

    Notes
    -----
    Along x, the box from ``x1 * spatial_scale`` to ``x2 * spatial_scale`` is divided into PW equal parts, and
    pixel ``j`` has the weight ``(F(b - j) - F(a - j)) / (b - a)`` in the part from ``a`` to ``b``, where
    ``F(t)`` is the integral of the hat ``max(1 - |t|, 0)`` up to ``t``; y is alike, and the weight of a pixel
    is the product of both. Pixels outside the map are zeros: over one pixel beyond its outermost centres the
    map falls to zero, and further out there is nothing. Boxes of zero or negative size are valid; their
    output is 0.

    Sums are accumulated in float32, in float64 for float64 features. Results do not depend on the number of
    threads, the layout or the strides, to the last bit; on a GPU those of the two layouts agree to the
    rounding of a sum.

    These systems agree, to the rounding of float32: the published PreciseRoIPooling, mmcv ``prroi_pool`` and
    PaddlePaddle's ``prroi_pool`` (up to 2.4).

    References
    ----------
    B. Jiang, R. Luo, J. Mao, T. Xiao and Y. Jiang, "Acquisition of Localization Confidence for Accurate
    Object Detection", European Conference on Computer Vision (ECCV), 2018. https://arxiv.org/abs/1807.11590

    Examples
    --------
    A box from pixel centre to pixel centre, each bin of one pixel's size: the mean of the four pixels at its
    corners.

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 1, 1, 3, 3]], np.float32)
    >>> roicy.prroi_pool(features, rois, 2)[0, 0]
    array([[ 7.5,  8.5],
           [11.5, 12.5]], dtype=float32)

    A box that ends a pixel outside of the map, where it has fallen to zero:

    >>> ones = np.ones((1, 1, 4, 4), np.float32)
    >>> roicy.prroi_pool(ones, np.array([[0, 1, 1, 4, 3]], np.float32), (1, 3))[0, 0]
    array([[1. , 1. , 0.5]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    pooled: Array = once.pool(PRECISE_AVERAGE, given, features, output_size, (spatial_scale,), out)
    return pooled


def prroi_pool_backward(
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
    """Gradient of `prroi_pool` with respect to the features.

    This is the adjoint of `prroi_pool`, which is linear in the features: the gradient of each bin is spread
    over the pixels that the bin averages, with the same weights.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `prroi_pool`; with ``layout="NHWC"`` of shape (K, PH, PW, C).
        float16, bfloat16 (of ml_dtypes), float32 or float64, strided in any way. PH and
        PW, both at least 1, are the output size: at most 2**30 bins a box.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `prroi_pool`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    spatial_scale : float, optional
        Feature pixels per unit of `rois`.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `rois` of shape (K, 4) only.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output`, of `input_shape` and of the result.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": such a row adds nothing.
    window : tuple of 4 ints, optional
        As in `prroi_pool`.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way. It is overwritten, not added to. A call that fails leaves it as it
        was.

    Returns
    -------
    ndarray, shape `input_shape`
        Gradient with respect to the features, of the dtype of `grad_output`; `out` where that is given.

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
    prroi_pool : The function that this is the gradient of; conventions and systems that agree.
    prroi_pool_backward_rois : Gradient with respect to the boxes.
    prroi_pool_plan : Keeps what both derive from the boxes.

    Notes
    -----
    Sums are accumulated in float32, in float64 for float64 gradients, over the boxes of an image in a fixed
    order (on the CPU by their places on the map): the result is the same, to the last bit, for any number of
    threads.

    References
    ----------
    B. Jiang, R. Luo, J. Mao, T. Xiao and Y. Jiang, "Acquisition of Localization Confidence for Accurate
    Object Detection", European Conference on Computer Vision (ECCV), 2018. https://arxiv.org/abs/1807.11590

    Examples
    --------
    One bin from the centre of a pixel to that of the next but one, along both axes: the pixel in its middle
    has half of the weight on either axis, those at its sides a quarter.

    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.full((1, 1, 1, 1), 16, np.float32)
    >>> rois = np.array([[0, 0, 1, 2, 3]], np.float32)
    >>> roicy.prroi_pool_backward(grad_output, rois, (1, 1, 4, 4))[0, 0]
    array([[0., 0., 0., 0.],
           [1., 2., 1., 0.],
           [2., 4., 2., 0.],
           [1., 2., 1., 0.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    grad_features: Array = once.backward(
        PRECISE_AVERAGE, given, grad_output, input_shape, (spatial_scale,), out
    )
    return grad_features


@overload
def prroi_pool_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxArray,
    *,
    spatial_scale: Real = 1.0,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array: ...


@overload
def prroi_pool_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxesOfImages,
    *,
    spatial_scale: Real = 1.0,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: None = None,
) -> list[Array]: ...


def prroi_pool_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: Boxes,
    *,
    spatial_scale: Real = 1.0,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array | list[Array]:
    """Gradient of `prroi_pool` with respect to the boxes.

    It is exact: `prroi_pool` is continuously differentiable in the boxes, also where they cross pixels or the
    border of the map.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `prroi_pool`; with ``layout="NHWC"`` of shape (K, PH, PW, C).
        Of the dtype that `prroi_pool` returns for `features`, strided in any way. PH and PW, both at least 1,
        are the output size: at most 2**30 bins a box.
    features : ndarray, shape (N, C, H, W)
        Feature maps that were pooled; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `prroi_pool`.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `rois` of shape (K, 4) only.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output` and `features`.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the gradient of such a row is 0.
    window : tuple of 4 ints, optional
        As in `prroi_pool`.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way. A call that fails leaves it as it was, unless a signal has
        ended it. Not where `rois` is a sequence of arrays.

    Returns
    -------
    ndarray, shape of `rois`, or list of ndarray
        Gradient with respect to `rois`, in units of `rois`, float32 or float64 as `rois` is used; `out` where
        that is given. The column of a batch index is 0. For a sequence of arrays a list of arrays (L_i, 4).

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
    prroi_pool : The function that this is the gradient of, and its conventions.
    prroi_pool_backward : Gradient with respect to the features.
    roi_align_backward_rois : The same for samples, whose number counts as constant.

    Notes
    -----
    The mean over a bin from ``a`` to ``b`` along x moves with its edges: by the mean minus the map at ``a``,
    over ``b - a``, for a unit of ``a``, and by the map at ``b`` minus the mean, over ``b - a``, for a unit of
    ``b``. Edge ``q`` of ``PW + 1`` moves by ``spatial_scale * (1 - q / PW)`` for a unit of ``x1`` and by
    ``spatial_scale * q / PW`` for a unit of ``x2``; y is alike. The gradient of a box of zero or negative
    size is 0.

    The published PreciseRoIPooling and mmcv ``prroi_pool`` have this gradient, in float32 on a GPU;
    PaddlePaddle's differs, by a mistake.

    References
    ----------
    B. Jiang, R. Luo, J. Mao, T. Xiao and Y. Jiang, "Acquisition of Localization Confidence for Accurate
    Object Detection", European Conference on Computer Vision (ECCV), 2018. https://arxiv.org/abs/1807.11590

    Examples
    --------
    A map that rises by 1 along x and by 4 along y; its mean over the box is its value in the middle, which
    moves by half of what either edge does:

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0.5, 0.5, 2.5, 2.5]], np.float32)
    >>> grad_output = np.ones((1, 1, 1, 1), np.float32)
    >>> roicy.prroi_pool_backward_rois(grad_output, features, rois)
    array([[0. , 0.5, 2. , 0.5, 2. ]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    grad_rois: Array | list[Array] = once.backward_rois(
        PRECISE_AVERAGE, given, grad_output, features, (spatial_scale,), out
    )
    return grad_rois


def prroi_pool_plan(
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
    """Compute once what `prroi_pool` derives from the boxes, for several feature maps of one shape.

    The tables that say which pixels each bin averages depend on the boxes and on the shape of the map, not on
    its values. A plan keeps them: for the maps of several models or frames, and for the gradients of a pass
    that has been computed. The results are the same, bit for bit, as those of `prroi_pool`,
    `prroi_pool_backward` and `prroi_pool_backward_rois`.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes as in `prroi_pool`. They are copied: changing the array later does not change the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    output_size, spatial_scale, batch_indices, invalid, window
        As in `prroi_pool`.
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
        As `prroi_pool` does; invalid rows are found when the plan is made.

    See Also
    --------
    prroi_pool : Computes the same without a plan.

    Notes
    -----
    The tables for pooling float16, bfloat16, float32 and integer maps are made with the plan, those for
    float64 maps and for the gradients when they are first asked for. All are kept as long as the plan. Copies
    and pickles hold the boxes and options, and make the tables again.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 1, 1, 3, 3]], np.float32)
    >>> plan = roicy.prroi_pool_plan(rois, (1, 1, 4, 4), 2)
    >>> plan(np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4))[0, 0]
    array([[ 7.5,  8.5],
           [11.5, 12.5]], dtype=float32)
    >>> plan.backward(np.ones((1, 1, 2, 2), np.float32)).sum()
    np.float32(4.0)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    kept: Plan[Array] = keep(Plan, PRECISE_AVERAGE, given, input_shape, output_size, (spatial_scale,))
    return kept
