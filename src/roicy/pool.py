"""RoIPool: the maximum or the mean of a feature map over bins of whole pixels, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import of_roi_pool
from roicy._types import (
    AnyArray,
    Array,
    Boxes,
    BoxLists,
    Indices,
    InputShape,
    Invalid,
    Layout,
    Mode,
    Out,
    OutputSize,
    Real,
    Rounding,
    Window,
)
from roicy.plan import Plan, keep

if TYPE_CHECKING:
    from typing import Unpack

    from roicy._types import RoIPoolOptions


@overload
def roi_pool(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    return_argmax: Literal[False] = False,
    out: AnyArray | None = None,
    **options: Unpack[RoIPoolOptions],
) -> Array: ...


@overload
def roi_pool(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    return_argmax: Literal[True],
    out: Out = None,
    **options: Unpack[RoIPoolOptions],
) -> tuple[Array, Array]: ...


@overload
def roi_pool(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    return_argmax: bool,
    out: Out = None,
    **options: Unpack[RoIPoolOptions],
) -> Array | tuple[Array, Array]: ...


def roi_pool(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    rounding: Rounding = "round",
    mode: Mode = "max",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    return_argmax: bool = False,
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: Out = None,
) -> Array | tuple[Array, Array]:
    """Pool each box of a feature map to a fixed size by the maximum, or the mean, over whole pixels.

    The corners of a box are rounded to pixels, the box is divided into ``output_size`` bins whose edges are
    rounded outwards to pixels, and the largest pixel of each bin, or the mean of all its pixels, is taken.
    Bins may share pixels.

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

        Coordinates are in units of `spatial_scale`, and count pixels: ``x2`` and ``y2`` are the last pixel
        that belongs to the box, so ``[0, 0, W - 1, H - 1]`` is the whole map. float32 and float64 are used as
        they are and decide in which precision bins are computed; float16, bfloat16 and integers of up to 16
        bits are converted to float32, wider integers to float64.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW); an int is both.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`: 1/16 for boxes in image pixels and a map of stride 16.
    rounding : {"round", "none", "whole"}, optional
        "round": corners are rounded to the nearest pixel, halves away from zero, and a box is at least one
        pixel wide and high. "none": corners are not rounded, ``x2 + 1`` and ``y2 + 1`` are scaled instead of
        ``x2`` and ``y2``, and a box without width or height is empty. "whole": as "round", but where bins
        begin and end is found in whole numbers, as in adaptive pooling.
    mode : {"max", "avg"}, optional
        "max": the largest pixel of a bin. "avg": the mean of its pixels.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `rois` of shape (K, 4) only.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features` and of the result.
    return_argmax : bool, optional
        Whether to return which pixel each maximum is, too. The gradient needs it. Only for ``mode="max"``.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the output of such a row is NaN, its argmax
        -1, and it adds nothing to gradients.
    window : tuple of 4 ints, optional
        ``(y, x, height, width)``: `features` is a part of maps of ``height x width`` pixels, and ``y`` and
        ``x`` are its first row and column there. Boxes lie on the whole maps, and the result is that of whole
        maps, bit for bit. A box that reads pixels beyond the part is an error; `rois_window` finds what boxes
        read.
    out : ndarray or tuple of two ndarrays, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way. With ``return_argmax=True`` a tuple ``(values, argmax)`` says where
        both results go; an array is for the values alone. A call that fails leaves it as it was,
        unless a signal has ended it.

    Returns
    -------
    pooled : ndarray, shape (K, C, PH, PW)
        Pooled features, with ``layout="NHWC"`` of shape (K, PH, PW, C); `out` where that is given. Of the
        dtype of `features`, float32 for integers and bool.
    argmax : ndarray, shape of `pooled`, int32
        With ``return_argmax=True`` only: the chosen pixel of each bin, ``row * W + column`` whatever the
        layout, or -1 where there is none.

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or a number is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, a row of `rois` is
        invalid and ``invalid="raise"``, `out` cannot be written to, or `return_argmax` is True for a mean or
        for a map of more than 2**31 - 1 pixels.

    See Also
    --------
    roi_pool_plan : For several feature maps of one shape.
    roi_pool_backward : Gradient with respect to the features.
    roi_align : Without rounding to pixels: the average, or the maximum, of samples.
    rmac : Regions that cover a map, pooled and put together as one vector.

    Notes
    -----
    With ``start = round(x1 * spatial_scale)``, ``size = max(round(x2 * spatial_scale) - start + 1, 1)`` and
    ``step = size / PW``, bin ``q`` along x takes the pixels from ``start + floor(q * step)`` up to, but not
    including, ``start + ceil((q + 1) * step)``, as far as they lie on the map. With ``rounding="none"``,
    ``start = x1 * spatial_scale``, ``size = (x2 + 1) * spatial_scale - start``, and bin ``q`` takes those
    from ``floor(q * step + start)`` up to ``ceil((q + 1) * step + start)``. y is alike. All that is computed
    in the dtype of `rois`, where a multiple of ``step`` may be a little off the whole number that it should
    be: the bin has a pixel more then. With ``rounding="whole"`` bin ``q`` takes those from
    ``start + floor(q * size / PW)`` up to ``start + ceil((q + 1) * size / PW)``, exactly.

    A bin without pixels has value 0 and argmax -1. Of equal pixels the first counts, row by row, and a NaN is
    never chosen. The maximum starts at the lowest finite float32: a bin in which no pixel is greater than
    that (all are NaN, say) has that value, which is -inf in float16 and bfloat16, and argmax -1.

    The mean is that of all pixels of a bin, each with the same weight. Its sums are accumulated in float32,
    in float64 for float64 features, and are the same, to the last bit, for any number of threads.

    These systems have the same maxima, bit for bit in float32 and float64 (in float16 torchvision rounds
    corners to it):

    - ``rounding="round"``: Caffe2 ``RoIPool``, torchvision ``roi_pool`` and detectron2 ``ROIPool``, argmax
      included; MXNet ``ROIPooling``, whose argmax counts through all images and channels
      (`roicy.compat.mxnet`);
    - ``rounding="none"``: mmcv ``roi_pool``, except that its argmax of an empty box is 0;
    - ``rounding="whole"``: OpenVINO ``ROIPooling``, except that it treats NaN and -inf otherwise.

    ONNX Runtime ``MaxRoiPool`` agrees with the first ones, but for NaN. Of a box that is the whole map, bins
    of ``rounding="whole"`` are those of PyTorch's ``AdaptiveMaxPool2d`` and, with ``mode="avg"``,
    ``AdaptiveAvgPool2d``. Chainer's ``roi_average_pooling_2d`` takes means, too, but its boxes end before
    ``x2`` and ``y2``.

    References
    ----------
    R. Girshick, "Fast R-CNN", IEEE International Conference on Computer Vision (ICCV), 2015.
    https://arxiv.org/abs/1504.08083

    Examples
    --------
    A map of 4 x 4 pixels in 2 x 2 bins; as the values count pixels, each is its own argmax:

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0, 0, 3, 3]], np.float32)
    >>> pooled, argmax = roicy.roi_pool(features, rois, 2, return_argmax=True)
    >>> pooled[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    >>> argmax[0, 0]
    array([[ 5,  7],
           [13, 15]], dtype=int32)

    A box of 3 x 3 pixels: its bins share the pixels of the middle row and column.

    >>> box = np.array([[0, 0, 2, 2]], np.float32)
    >>> roicy.roi_pool(features, box, 2)[0, 0]
    array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    >>> roicy.roi_pool(features, box, 2, mode="avg")[0, 0]
    array([[2.5, 3.5],
           [6.5, 7.5]], dtype=float32)

    Adaptive pooling, which brings a map of any size to that of a head: its one box is the whole map.

    >>> whole = np.array([[0, 0, 3, 3]], np.float32)  # 0, 0, W - 1, H - 1
    >>> roicy.roi_pool(features, whole, (1, 3), mode="avg", rounding="whole")[0, 0]
    array([[6.5, 7.5, 8.5]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, rounding
    pooled: Array | tuple[Array, Array] = once.pool(
        of_roi_pool(mode), given, features, output_size, options, out, return_argmax
    )
    return pooled


def roi_pool_backward(
    grad_output: Array,
    argmax: AnyArray | None,
    rois: Boxes,
    input_shape: InputShape,
    *,
    spatial_scale: Real = 1.0,
    rounding: Rounding = "round",
    mode: Mode = "max",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `roi_pool` with respect to the features.

    The gradient of each bin is added to the pixel that was its maximum, or that of a mean spread evenly over
    the pixels of the bin.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `roi_pool`; with ``layout="NHWC"`` of shape (K, PH, PW, C).
        float16, bfloat16 (of ml_dtypes), float32 or float64, strided in any way. PH and
        PW, both at least 1, are the output size: at most 2**30 bins a box.
    argmax : ndarray, shape of `grad_output`, int32, or None
        The chosen pixels as `roi_pool` returns them with ``return_argmax=True``, strided in any way. None for
        ``mode="avg"``.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_pool`. With an argmax only the image that each one belongs to is used.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    spatial_scale, rounding, mode, batch_indices, invalid, window : optional
        As in `roi_pool`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output`, of `argmax`, of `input_shape` and of the result.
    out : ndarray, optional
        Where to write the result; overwritten, not added to.

    Returns
    -------
    ndarray, shape `input_shape`
        Gradient with respect to the features, of the dtype of `grad_output`; `out` where that is given.

    Raises
    ------
    TypeError, ValueError
        As `roi_pool` does, and ValueError where `argmax` holds a number outside -1 ... H * W - 1, is None for
        ``mode="max"`` or is not for ``mode="avg"``.

    See Also
    --------
    roi_pool : The function that this is the gradient of; conventions and systems that agree.

    Notes
    -----
    Where argmax is -1 nothing is added. Sums are accumulated in float32, in float64 for float64 gradients,
    over the boxes of an image in a fixed order: that of their rows or, for means on the CPU, that of their
    places on the map. The result is the same, to the last bit, for any number of threads. Boxes have no
    gradient: rounding makes the output constant between jumps.

    References
    ----------
    R. Girshick, "Fast R-CNN", IEEE International Conference on Computer Vision (ICCV), 2015.
    https://arxiv.org/abs/1504.08083

    Examples
    --------
    Two bins that chose pixel 5, one that chose pixel 2, and one that is empty:

    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.array([[[[1, 10], [100, 1000]]]], np.float32)
    >>> argmax = np.array([[[[5, 2], [5, -1]]]], np.int32)
    >>> rois = np.array([[0, 0, 0, 2, 2]], np.float32)
    >>> roicy.roi_pool_backward(grad_output, argmax, rois, (1, 1, 2, 3))[0, 0]
    array([[  0.,   0.,  10.],
           [  0.,   0., 101.]], dtype=float32)

    The mean of a box of nine pixels:

    >>> grad_output = np.full((1, 1, 1, 1), 9, np.float32)
    >>> roicy.roi_pool_backward(grad_output, None, rois, (1, 1, 3, 4), mode="avg")[0, 0]
    array([[1., 1., 1., 0.],
           [1., 1., 1., 0.],
           [1., 1., 1., 0.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, rounding
    grad_features: Array = once.backward(
        of_roi_pool(mode), given, grad_output, input_shape, options, out, argmax
    )
    return grad_features


def roi_pool_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    rounding: Rounding = "round",
    mode: Mode = "max",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
) -> Plan[Array]:
    """Compute once what `roi_pool` derives from the boxes, for several feature maps of one shape.

    The tables that say which pixels each bin takes depend on the boxes and on the shape of the
    map, not on its values. A plan keeps them: for the maps of several models or frames. The results are the
    same, bit for bit, as those of `roi_pool` and `roi_pool_backward`.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes as in `roi_pool`. They are copied: changing the array later does not change the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    output_size, spatial_scale, rounding, mode, batch_indices, invalid, window
        As in `roi_pool`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.

    Returns
    -------
    Plan
        ``plan(features, out=None, *, return_argmax=False)`` pools, ``plan.backward(grad_output, out=None, *,
        argmax=None)`` is the gradient with respect to the features. Its attributes are `input_shape`,
        `output_size`, `output_shape` and `layout`. A plan can be used by several threads, copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `roi_pool` does; invalid rows are found when the plan is made.

    See Also
    --------
    roi_pool : Computes the same without a plan.
    rmac_plan : The same for the regions of R-MAC.

    Notes
    -----
    The table for pooling float16, bfloat16, float32 and integer maps is made with the plan, those for float64
    maps and for the gradient when they are first asked for. All are kept as long as the plan. Copies and
    pickles hold the boxes and options, and make the tables again.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 0, 0, 3, 3]], np.float32)
    >>> plan = roicy.roi_pool_plan(rois, (1, 1, 4, 4), 2)
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> pooled, argmax = plan(features, return_argmax=True)
    >>> pooled[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    >>> plan.backward(pooled, argmax=argmax)[0, 0]
    array([[ 0.,  0.,  0.,  0.],
           [ 0.,  5.,  0.,  7.],
           [ 0.,  0.,  0.,  0.],
           [ 0., 13.,  0., 15.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, rounding
    kept: Plan[Array] = keep(Plan, of_roi_pool(mode), given, input_shape, output_size, options)
    return kept
