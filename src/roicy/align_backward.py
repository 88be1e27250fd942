"""RoIAlign's gradients: with respect to the features, and to the boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from roicy import _once as once
from roicy._given import Given
from roicy._kinds import of_roi_align
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    Boxes,
    BoxesOfImages,
    Flag,
    Indices,
    InputShape,
    Integer,
    Invalid,
    Layout,
    Mode,
    Real,
    Window,
)

if TYPE_CHECKING:
    from typing import Unpack

    from roicy._types import RoIAlignOptions


def roi_align_backward(
    grad_output: Array,
    rois: Boxes,
    input_shape: InputShape,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    mode: Mode = "avg",
    argmax: AnyArray | None = None,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Gradient of `roi_align` with respect to the features.

    This is the adjoint of `roi_align`, which is linear in the features: the gradient of each bin is spread
    over the pixels that the bin averages, with the same weights. With ``mode="max"`` it goes to the four
    pixels around the chosen sample, with their bilinear weights.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `roi_align`; with ``layout="NHWC"`` of shape (K, PH, PW, C).
        float16, bfloat16 (of ml_dtypes), float32 or float64, strided in any way. PH and
        PW, both at least 1, are the output size: at most 2**30 bins a box.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W) or, with ``layout="NHWC"``, (N, H, W, C).
    spatial_scale, sampling_ratio, aligned, mode, batch_indices, invalid, window : optional
        As in `roi_align`.
    argmax : ndarray, shape of `grad_output`, int32, optional
        For ``mode="max"``, and required there: the chosen samples as `roi_align` returns them with
        ``return_argmax=True``, strided in any way.
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
        As `roi_align` does; ValueError where `argmax` is missing for ``mode="max"`` or given for
        ``mode="avg"``, too, or where it holds a number that is neither -1 nor that of a sample of its bin.

    See Also
    --------
    roi_align : The function that this is the gradient of; conventions and systems that agree.
    roi_align_backward_rois : Gradient with respect to the boxes.
    roi_align_plan : Keeps what both derive from the boxes.

    Notes
    -----
    A sample outside the map has no gradient, but counts in the average. Sums are accumulated in float32, in
    float64 for float64 gradients, over the boxes of an image in a fixed order (on the CPU by their places on
    the map): the result is the same, to the last bit, for any number of threads. The systems that `roi_align`
    agrees with agree here too, mmcv for the maximum (but that a sample at -1 exactly has no gradient there);
    ONNX has no gradients.

    References
    ----------
    K. He, G. Gkioxari, P. Dollar and R. Girshick, "Mask R-CNN", IEEE International Conference on Computer
    Vision (ICCV), 2017. https://arxiv.org/abs/1703.06870

    Examples
    --------
    One sample where the first four pixels meet, and one where the last four do:

    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.array([[[[1, 0], [0, 4]]]], np.float32)
    >>> rois = np.array([[0, 0, 0, 4, 4]], np.float32)
    >>> roicy.roi_align_backward(grad_output, rois, (1, 1, 4, 4), sampling_ratio=1)[0, 0]
    array([[0.25, 0.25, 0.  , 0.  ],
           [0.25, 0.25, 0.  , 0.  ],
           [0.  , 0.  , 1.  , 1.  ],
           [0.  , 0.  , 1.  , 1.  ]], dtype=float32)

    With ``mode="max"`` and two samples along each axis, on the centres of the pixels: sample 3, the last one,
    gets all of the gradient of its bin.

    >>> argmax = np.full((1, 1, 2, 2), 3, np.int32)
    >>> roicy.roi_align_backward(
    ...     grad_output, rois, (1, 1, 4, 4), sampling_ratio=2, mode="max", argmax=argmax
    ... )[0, 0]
    array([[0., 0., 0., 0.],
           [0., 1., 0., 0.],
           [0., 0., 0., 0.],
           [0., 0., 0., 4.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    grad_features: Array = once.backward(
        of_roi_align(mode), given, grad_output, input_shape, options, out, argmax
    )
    return grad_features


@overload
def roi_align_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxArray,
    *,
    argmax: AnyArray | None = None,
    out: AnyArray | None = None,
    **options: Unpack[RoIAlignOptions],
) -> Array: ...


@overload
def roi_align_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: BoxesOfImages,
    *,
    argmax: AnyArray | None = None,
    out: None = None,
    **options: Unpack[RoIAlignOptions],
) -> list[Array]: ...


def roi_align_backward_rois(
    grad_output: Array,
    features: AnyArray,
    rois: Boxes,
    *,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    mode: Mode = "avg",
    argmax: AnyArray | None = None,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    window: Window | None = None,
    out: AnyArray | None = None,
) -> Array | list[Array]:
    """Gradient of `roi_align` with respect to the boxes.

    Moving an edge of a box moves its samples; this is the slope of the features along that, summed over bins
    and channels with `grad_output` as weights. With ``mode="max"`` the chosen sample alone counts.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `roi_align`; with ``layout="NHWC"`` of shape (K, PH, PW, C). Of
        the dtype that `roi_align` returns for `features`, strided in any way. PH and PW, both at least 1, are
        the output size: at most 2**30 bins a box.
    features : ndarray, shape (N, C, H, W)
        Feature maps that were pooled; with ``layout="NHWC"`` of shape (N, H, W, C). float16, bfloat16 (of
        ml_dtypes), float32, float64, or integers of up to 16 bits or bool, with any strides.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`.
    spatial_scale, sampling_ratio, aligned, mode, batch_indices, invalid, window : optional
        As in `roi_align`.
    argmax : ndarray, shape of `grad_output`, int32, optional
        For ``mode="max"``, and required there: the chosen samples as `roi_align` returns them with
        ``return_argmax=True``, strided in any way.
    layout : {"NCHW", "NHWC"}, optional
        Order of the axes of `grad_output` and `features`.
    out : ndarray, optional
        Where to write the result; not where `rois` is a sequence of arrays.

    Returns
    -------
    ndarray, shape of `rois`, or list of ndarray
        Gradient with respect to `rois`, in units of `rois`, float32 or float64 as `rois` is used; `out` where
        that is given. The column of a batch index is 0. For a sequence of arrays a list of arrays (L_i, 4).

    Raises
    ------
    TypeError, ValueError
        As `roi_align` does; ValueError where `argmax` is missing for ``mode="max"`` or given for
        ``mode="avg"``, too, or where it holds a number that is neither -1 nor that of a sample of its bin.

    See Also
    --------
    roi_align : The function that this is the gradient of, and its conventions.
    roi_align_backward : Gradient with respect to the features.
    roi_align_rotated_backward_rois : The same for rotated boxes.

    Notes
    -----
    With ``t = (q + (i + 0.5) / g) / PW`` for sample ``i`` of ``g`` in bin ``q``, the sample moves by
    ``spatial_scale * (1 - t)`` for a unit of ``x1`` and by ``spatial_scale * t`` for a unit of ``x2``; y is
    alike. The number of samples of an adaptive grid counts as constant. Where a box that is not aligned has
    been enlarged to one pixel its samples move with ``x1`` alone.

    The slope is that of the bilinear interpolant: between the pixels on both sides of the sample, zero
    where the border is replicated and outside the map, and the right-hand one on a pixel's centre, where the
    interpolant has a kink.

    torchvision, detectron2, mmcv, Caffe2 and ONNX treat the boxes as constants, but for torchvision's variant
    for deterministic runs on a GPU.

    References
    ----------
    K. He, G. Gkioxari, P. Dollar and R. Girshick, "Mask R-CNN", IEEE International Conference on Computer
    Vision (ICCV), 2017. https://arxiv.org/abs/1703.06870

    B. Jiang, R. Luo, J. Mao, T. Xiao and Y. Jiang, "Acquisition of Localization Confidence for Accurate
    Object Detection", European Conference on Computer Vision (ECCV), 2018: boxes refined by such gradients.
    https://arxiv.org/abs/1807.11590

    Examples
    --------
    A map that rises by 1 along x and by 4 along y, and one sample in the middle of the box, which moves by
    half of what either edge does:

    >>> import numpy as np
    >>> import roicy
    >>> features = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois = np.array([[0, 1, 1, 3, 3]], np.float32)
    >>> grad_output = np.ones((1, 1, 1, 1), np.float32)
    >>> roicy.roi_align_backward_rois(grad_output, features, rois, sampling_ratio=1)
    array([[0. , 0.5, 2. , 0.5, 2. ]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid, window)
    options = spatial_scale, sampling_ratio, aligned
    grad_rois: Array | list[Array] = once.backward_rois(
        of_roi_align(mode), given, grad_output, features, options, out, argmax
    )
    return grad_rois
