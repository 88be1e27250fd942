"""RoIAlign: the average of a feature map, or its largest sample, over the bins of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import of_roi_align
from roicy._types import (
    AnyArray,
    Array,
    Boxes,
    BoxLists,
    Flag,
    Indices,
    InputShape,
    Integer,
    Invalid,
    Layout,
    MaxRule,
    Mode,
    Out,
    OutputSize,
    Real,
    Window,
)
from roicy.plan import RoIAlignPlan, keep

if TYPE_CHECKING:
    from typing import Unpack

    from roicy._types import RoIAlignOptions


@overload
def roi_align(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    max_rule: MaxRule = "bilinear",
    return_argmax: Literal[False] = False,
    out: AnyArray | None = None,
    **options: Unpack[RoIAlignOptions],
) -> Array: ...


@overload
def roi_align(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    max_rule: MaxRule = "bilinear",
    return_argmax: Literal[True],
    out: Out = None,
    **options: Unpack[RoIAlignOptions],
) -> tuple[Array, Array]: ...


@overload
def roi_align(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    max_rule: MaxRule = "bilinear",
    return_argmax: bool,
    out: Out = None,
    **options: Unpack[RoIAlignOptions],
) -> Array | tuple[Array, Array]: ...


def roi_align(
    features: Array,
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    mode: Mode = "avg",
    max_rule: MaxRule = "bilinear",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    return_argmax: bool = False,
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: Out = None,
) -> Array | tuple[Array, Array]:
    """Pool each box of a feature map to a fixed size by averaging bilinear samples, or by their maximum.

    A box is divided into ``output_size`` bins, each bin is sampled at the points of a regular grid, and the
    bilinear values of the samples are averaged, or the largest is taken. Nothing is rounded to pixels.

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

        Coordinates are in units of `spatial_scale`. float32 and float64 are used as they are and decide in
        which precision positions are computed; float16, bfloat16 and integers of up to 16 bits are converted
        to float32, wider integers to float64.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW); an int is both.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`: 1/16 for boxes in image pixels and a map of stride 16.
    sampling_ratio : int, optional
        Samples per bin along each axis, at most 65536. 0 or less: adaptive, ``ceil(box size / output size)``
        in feature pixels, for each box and axis.
    aligned : bool, optional
        True: coordinates are continuous and the centre of pixel ``i`` lies at ``i + 0.5``, so the box of the
        whole map is ``[0, 0, W, H]``. False: the centre of pixel ``i`` lies at ``i``, and boxes that are less
        than one feature pixel wide or high are enlarged to one, from ``x1`` or ``y1`` on.
    mode : {"avg", "max"}, optional
        What is made of the samples of a bin: their average or their maximum.
    max_rule : {"bilinear", "onnx"}, optional
        For ``mode="max"``: what the value of a sample is. "bilinear": the sum of its four pixels, each times
        its bilinear weight, as for the average. "onnx": the largest of these four products, as the ONNX
        specification has it; this one has no argmax and no gradient.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `rois` of shape (K, 4) only.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `features` and of the result.
    return_argmax : bool, optional
        For ``mode="max"`` with ``max_rule="bilinear"``: whether to return which sample each maximum is, too.
        The gradients need it.
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
        With ``return_argmax=True`` only: the chosen sample of each bin, counted row by row,
        ``iy * samples along x + ix``, or -1 where there is none.

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or a number is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, a row of `rois` is
        invalid and ``invalid="raise"``, `out` cannot be written to, or `return_argmax` is True where no
        argmax exists: for ``mode="avg"``, for ``max_rule="onnx"``, and where a bin has more than 2**31 - 1
        samples.

    See Also
    --------
    roi_align_plan : For several feature maps of one shape.
    roi_align_backward : Gradient with respect to the features.
    roi_align_backward_rois : Gradient with respect to the boxes.
    roi_align_argmax_positions : Where the chosen samples lie.
    roi_align_rotated : For boxes that are turned by an angle.
    roi_pool : Maximum over whole pixels, of boxes rounded to pixels.

    Notes
    -----
    With ``o = 0.5`` if aligned else 0, and ``g`` samples per bin, sample ``i`` of bin ``q`` along x lies at

        ``x1 * spatial_scale - o + (q + (i + 0.5) / g) * (x2 - x1) * spatial_scale / PW``

    counted in pixels from the centre of the first. Positions from -1 to 0 take the value of the first pixel,
    those from the last pixel to one beyond it that of the last; a sample further out, in x or in y, counts as
    a zero.

    Boxes of zero or negative size are valid. With ``aligned=False`` they become one feature pixel wide or
    high. With ``aligned=True`` an adaptive grid has no samples in them and their output is 0; with a fixed
    `sampling_ratio` the samples of a box without width lie in a column, those of one without height in a row,
    and a box of negative size is mirrored.

    Sums are accumulated in float32, in float64 for float64 features. Results do not depend on the number of
    threads, the layout or the strides, to the last bit; on a GPU averages of the two layouts agree to the
    rounding of a sum.

    For ``mode="max"``, a sample outside the map takes part as a zero. Of equal samples the first counts, row
    by row, and a NaN is never chosen. The maximum starts at the lowest finite float32: a bin in which no
    sample is greater than that (all are NaN, say) has that value, which is -inf in float16 and bfloat16, and
    argmax -1. A bin without samples has value 0 and argmax -1. With ``max_rule="onnx"`` a NaN may hide other
    pixels of its samples.

    Where a bin has more than 16 samples along an axis for each pixel that it reaches, the maximum looks only
    at the first and the last sample between two pixels: in between, the map is linear. The value is that of
    all samples to the rounding of a product, and argmax names one of those that were looked at. The average
    takes their middle, counted for all of them, where there are more than 256 for each pixel.

    These systems agree, to the rounding of a sum:

    - ``aligned=True``: torchvision ``roi_align(aligned=True)``, detectron2 ``ROIAlign`` (its default), and
      ONNX ``RoiAlign`` with ``coordinate_transformation_mode="half_pixel"`` (the default since opset 16);
    - ``aligned=False``: torchvision ``roi_align`` (its default), Caffe2 ``RoIAlign``, and ONNX ``RoiAlign``
      with ``coordinate_transformation_mode="output_half_pixel"`` (what opset 10 does).

    The maximum is that of mmcv ``roi_align(pool_mode="max")``, whose argmax is the position of the sample
    instead (`roi_align_argmax_positions`), and whose bins without samples are not 0; and with
    ``max_rule="onnx"`` that of ONNX
    ``RoiAlign(mode="max")`` and of ONNX Runtime, whose CPU and CUDA kernels take the largest product, too.
    OpenVINO ``ROIAlign(mode="max")`` takes bilinear samples, but its maximum is at least 0. torchvision,
    detectron2 and Caffe2 know the average only.

    References
    ----------
    K. He, G. Gkioxari, P. Dollar and R. Girshick, "Mask R-CNN", IEEE International Conference on Computer
    Vision (ICCV), 2017. https://arxiv.org/abs/1703.06870

    ONNX operator specification, RoiAlign. https://onnx.ai/onnx/operators/onnx__RoiAlign.html

    Examples
    --------
    A map of 4 x 4 pixels pooled to 2 x 2 bins with one sample in the middle of each, where four pixels meet:

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 0, 0, 4, 4]], np.float32)
    >>> roicy.roi_align(features, rois, 2, sampling_ratio=1)[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)

    A box of 4 x 4 pixels pooled to as many bins is the crop itself; here channels come last:

    >>> image = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    >>> box = np.array([[2, 1, 6, 5]], np.float32)
    >>> roicy.roi_align(image, box, 4, layout="NHWC")[0, :, :, 0]
    array([[10., 11., 12., 13.],
           [18., 19., 20., 21.],
           [26., 27., 28., 29.],
           [34., 35., 36., 37.]], dtype=float32)

    The maximum of two samples along each axis: of sample 3, the last of the four, as the map rises.

    >>> pooled, argmax = roicy.roi_align(features, rois, 2, sampling_ratio=2, mode="max", return_argmax=True)
    >>> pooled[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    >>> argmax[0, 0]
    array([[3, 3],
           [3, 3]], dtype=int32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    kind = of_roi_align(mode, max_rule)
    pooled: Array | tuple[Array, Array] = once.pool(
        kind, given, features, output_size, options, out, return_argmax
    )
    return pooled


def roi_align_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shape: InputShape,
    output_size: OutputSize,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    mode: Mode = "avg",
    max_rule: MaxRule = "bilinear",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
) -> RoIAlignPlan[Array]:
    """Compute once what `roi_align` derives from the boxes, for several feature maps of one shape.

    The tables that say which pixels each bin averages depend on the boxes and on the shape of the map, not on
    its values. A plan keeps them: for the maps of several models or frames, and for the gradients of a pass
    that has been computed. The results are the same, bit for bit, as those of `roi_align`,
    `roi_align_backward` and `roi_align_backward_rois`.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes as in `roi_align`. They are copied: changing the array later does not change the plan.
    input_shape : tuple of 4 ints
        Shape of the feature maps, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    output_size : int or (int, int)
        Rows and columns of bins, as in `roi_align`.
    spatial_scale, sampling_ratio, aligned, mode, max_rule, batch_indices, invalid, window : optional
        As in `roi_align`.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of feature maps, of results and of `input_shape`.

    Returns
    -------
    RoIAlignPlan
        ``plan(features, out=None, *, return_argmax=False)`` pools,
        ``plan.backward(grad_output, out=None, *, argmax=None)`` and
        ``plan.backward_rois(grad_output, features, out=None, *, argmax=None)`` are the gradients. Its
        attributes are `input_shape`, `output_size`, `output_shape` and `layout`. A plan can be used by
        several threads, copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `roi_align` does; invalid rows are found when the plan is made.

    See Also
    --------
    roi_align : Computes the same without a plan.
    roi_align_rotated_plan : The same for rotated boxes.

    Notes
    -----
    The table for pooling float16, bfloat16, float32 and integer maps is made with the plan, those for float64
    maps and for the gradients when they are first asked for. All are kept as long as the plan. With
    ``mode="max"`` one table serves pooling and gradients. Copies and pickles hold the boxes and options, and
    make the tables again.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 0, 0, 4, 4]], np.float32)
    >>> plan = roicy.roi_align_plan(rois, (1, 1, 4, 4), 2, sampling_ratio=1)
    >>> plan.output_shape
    (1, 1, 2, 2)
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> plan(features)[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    >>> plan(2 * features)[0, 0]
    array([[ 5.,  9.],
           [21., 25.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    kind = of_roi_align(mode, max_rule)
    kept: RoIAlignPlan[Array] = keep(RoIAlignPlan, kind, given, input_shape, output_size, options)
    return kept
