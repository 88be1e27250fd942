"""RoIAlign on the maps of a pyramid, each box on the map of its level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from roicy import _pyramid_once as once
from roicy._given import Given, Sharing
from roicy._kinds import AVERAGE
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
    LevelRule,
    Merge,
    OutputSize,
    Real,
    Window,
)
from roicy.multi_scale import MultiScalePlan, keep

if TYPE_CHECKING:
    from typing import Unpack

    from roicy._types import MultiScaleRoIAlignOptions


def multi_scale_roi_align(
    features: Sequence[Array],
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Pool each box from the map of its level in a feature pyramid, by averaging bilinear samples.

    The second stage of detectors with a feature pyramid: large boxes are pooled from coarse maps, small ones
    from fine maps. Results are in the order of the boxes; nothing is copied for a level.

    Parameters
    ----------
    features : list of ndarray, shapes (N, C, H_l, W_l)
        Maps, the finest first, of one dtype and with the same N and C; with ``layout="NHWC"`` of shapes
        (N, H_l, W_l, C). Dtypes and strides as in `roi_align`.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`, in pixels of the image where `levels` is the name of a rule.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW); an int is both.
    spatial_scales : list of float
        Pixels of each map per unit of `rois`: ``[1/4, 1/8, 1/16, 1/32]``.
    levels : {"torchvision", "detectron2", "mmdet", "openvino", "tensorrt"} or array of ints, optional
        Which map each box is pooled from: whose rule decides it (`fpn_levels`, with the canonical size 224),
        or its position in `features` as any integer dtype, -1 for none. For the rules "torchvision" and
        "detectron2" scales must be powers of two, each half of the one before. A single map is that of all
        boxes, but by OpenVINO's rule.
    merge : {"assigned", "sum"}, optional
        "assigned": a box is pooled from the map of its level. "sum": from every map, and what comes of it is
        added; `levels` is not looked at.
    sampling_ratio, aligned, batch_indices, layout, invalid, out : optional
        As in `roi_align`. torchvision's and detectron2's older poolers have ``aligned=False``.
    windows : list of tuple of 4 ints or None, optional
        For each map ``(y, x, height, width)``, in pixels of that map, where `features` has a part of it only,
        as `window` of `roi_align` does; None for a whole map. A map holds what the boxes of its level read;
        `rois_window` finds that of every map.

    Returns
    -------
    ndarray, shape (K, C, PH, PW)
        Pooled features, with ``layout="NHWC"`` of shape (K, PH, PW, C); `out` where that is given. Of the
        dtype of the maps, float32 for integers and bool. Rows without a level are 0.

    Raises
    ------
    TypeError, ValueError
        As `roi_align` does; ValueError where maps differ in N or C, TypeError where they differ in dtype, and
        ValueError where a level is neither -1 nor that of a map and ``invalid="raise"``: with
        ``invalid="nan"`` such a row is NaN.

    See Also
    --------
    fpn_levels : The rules, and levels for other canonical sizes.
    multi_scale_roi_align_plan : For several pyramids of the same shapes.
    multi_scale_roi_align_backward : Gradients with respect to the maps.
    multi_scale_roi_align_backward_rois : Gradient with respect to the boxes.
    multi_scale_roi_align_rotated : For rotated boxes.
    multi_scale_roi_pool : The maximum over whole pixels.

    Notes
    -----
    Each row has the bits that `roi_align` gives it on the map of its level. With ``merge="sum"`` maps are
    added in their order, in float32 (float64 for float64), and rounded once.

    These systems agree, to the rounding of a sum:

    - ``aligned=False, levels="torchvision"``: torchvision ``MultiScaleRoIAlign``;
    - ``levels="detectron2"``: detectron2 ``ROIPooler`` of type "ROIAlignV2", with ``aligned=False`` of type
      "ROIAlign";
    - ``levels="mmdet"``: mmdet ``SingleRoIExtractor``, and with ``merge="sum"`` ``GenericRoIExtractor``
      without its layers;
    - ``aligned=False, levels="openvino"``: OpenVINO ``ExperimentalDetectronROIFeatureExtractor``.

    References
    ----------
    T.-Y. Lin, P. Dollar, R. Girshick, K. He, B. Hariharan and S. Belongie, "Feature Pyramid Networks for
    Object Detection", IEEE Conference on Computer Vision and Pattern Recognition (CVPR), 2017.
    https://arxiv.org/abs/1612.03144

    L. Rossi, A. Karimi and A. Prati, "A novel Region of Interest Extraction Layer for Instance Segmentation",
    International Conference on Pattern Recognition (ICPR), 2020: the sum. https://arxiv.org/abs/2004.13665

    Examples
    --------
    A pyramid whose maps hold the numbers of their levels:

    >>> import numpy as np
    >>> import roicy
    >>> maps = [np.full((1, 1, 256 >> level, 256 >> level), level, np.float32) for level in (2, 3, 4, 5)]
    >>> sides = np.array([50, 120, 240], np.float32)
    >>> boxes = np.stack([0 * sides, 0 * sides, sides, sides], axis=1)
    >>> options = {"spatial_scales": [1 / 4, 1 / 8, 1 / 16, 1 / 32], "sampling_ratio": 2}
    >>> roicy.multi_scale_roi_align(maps, boxes, 1, **options)[:, 0, 0, 0]
    array([2., 3., 4.], dtype=float32)

    The first box is to have no level, the second one the last:

    >>> roicy.multi_scale_roi_align(maps, boxes[:2], 1, levels=np.array([-1, 3]), **options)[:, 0, 0, 0]
    array([0., 5.], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    options = sampling_ratio, aligned
    pooled: Array = once.pool_levels(AVERAGE, given, sharing, features, output_size, options, out)
    return pooled


def multi_scale_roi_align_backward(
    grad_output: Array,
    rois: Boxes,
    input_shapes: Sequence[InputShape],
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: Sequence[AnyArray] | None = None,
) -> list[Array]:
    """Gradients of `multi_scale_roi_align` with respect to the maps.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `multi_scale_roi_align`; dtypes and strides as in
        `roi_align_backward`.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`.
    input_shapes : list of tuple of 4 ints
        Shapes of the maps, (N, C, H_l, W_l) or, with ``layout="NHWC"``, (N, H_l, W_l, C).
    spatial_scales, levels, merge, sampling_ratio, aligned, batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_align`.
    out : list of ndarray, optional
        Where to write the results; overwritten, not added to.

    Returns
    -------
    list of ndarray, shapes `input_shapes`
        Gradients with respect to the maps, of the dtype of `grad_output`; the arrays of `out` where that is
        given. A map of no box gets zeros.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_align` does.

    See Also
    --------
    multi_scale_roi_align : The function that these are the gradients of.
    roi_align_backward : The gradient on one map; each map's gradient has its bits.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> boxes = np.array([[0, 0, 2, 2], [0, 0, 4, 4]], np.float32)
    >>> grad_output = np.array([8, 1], np.float32).reshape(2, 1, 1, 1)
    >>> shapes = [(1, 1, 4, 4), (1, 1, 2, 2)]
    >>> fine, coarse = roicy.multi_scale_roi_align_backward(
    ...     grad_output, boxes, shapes, spatial_scales=[1, 1 / 2], levels=np.array([0, 1])
    ... )
    >>> fine[0, 0]
    array([[2., 2., 0., 0.],
           [2., 2., 0., 0.],
           [0., 0., 0., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    >>> coarse[0, 0]
    array([[0.25, 0.25],
           [0.25, 0.25]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    options = sampling_ratio, aligned
    grads: list[Array] = once.backward_levels(
        AVERAGE, given, sharing, grad_output, input_shapes, options, out
    )
    return grads


@overload
def multi_scale_roi_align_backward_rois(
    grad_output: Array,
    features: Sequence[AnyArray],
    rois: BoxArray,
    *,
    spatial_scales: Sequence[Real],
    out: AnyArray | None = None,
    **options: Unpack[MultiScaleRoIAlignOptions],
) -> Array: ...


@overload
def multi_scale_roi_align_backward_rois(
    grad_output: Array,
    features: Sequence[AnyArray],
    rois: BoxesOfImages,
    *,
    spatial_scales: Sequence[Real],
    out: None = None,
    **options: Unpack[MultiScaleRoIAlignOptions],
) -> list[Array]: ...


def multi_scale_roi_align_backward_rois(
    grad_output: Array,
    features: Sequence[AnyArray],
    rois: Boxes,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: AnyArray | None = None,
) -> Array | list[Array]:
    """Gradient of `multi_scale_roi_align` with respect to the boxes.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `multi_scale_roi_align`, of the dtype of that.
    features : list of ndarray, shapes (N, C, H_l, W_l)
        The maps, as in `multi_scale_roi_align`.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`.
    spatial_scales, levels, merge, sampling_ratio, aligned, batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_align`.
    out : ndarray, optional
        Where to write the result; overwritten, not added to. Not for `rois` that are a sequence.

    Returns
    -------
    ndarray, shape of `rois`, or list of ndarray
        As `roi_align_backward_rois` returns it. A box without a level has no gradient, and the choice of a
        level, which jumps, none anywhere.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_align` does.

    See Also
    --------
    multi_scale_roi_align : The function that this is the gradient of.
    roi_align_backward_rois : The gradient on one map.

    Examples
    --------
    A map that rises by 1 along x and by 4 along y, below one that is zero:

    >>> import numpy as np
    >>> import roicy
    >>> maps = [np.zeros((1, 1, 8, 8), np.float32), np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)]
    >>> boxes = np.array([[2, 2, 6, 6]], np.float32)
    >>> roicy.multi_scale_roi_align_backward_rois(
    ...     np.ones((1, 1, 1, 1), np.float32),
    ...     maps,
    ...     boxes,
    ...     spatial_scales=[1, 1 / 2],
    ...     levels=np.array([1]),
    ...     sampling_ratio=1,
    ... )
    array([[0.25, 1.  , 0.25, 1.  ]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    options = sampling_ratio, aligned
    grad_rois: Array | list[Array] = once.backward_rois_levels(
        AVERAGE, given, sharing, grad_output, features, options, out
    )
    return grad_rois


def multi_scale_roi_align_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shapes: Sequence[InputShape],
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
) -> MultiScalePlan[Array]:
    """Compute once what `multi_scale_roi_align` derives from the boxes, for pyramids of the same shapes.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_align`. They are copied: changing the array later does not change the plan.
    input_shapes : list of tuple of 4 ints
        Shapes of the maps, (N, C, H_l, W_l) or, with ``layout="NHWC"``, (N, H_l, W_l, C).
    output_size : int or (int, int)
        Rows and columns of bins.
    spatial_scales, levels, merge, sampling_ratio, aligned, batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_align`.

    Returns
    -------
    MultiScalePlan
        ``plan(features, out=None)`` pools, ``plan.backward(grad_output, out=None)`` and
        ``plan.backward_rois(grad_output, features, out=None)`` are the gradients. Its attributes are
        `input_shapes`, `output_size`, `output_shape` and `layout`. A plan can be used by several threads,
        copied and pickled.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_align` does; invalid rows are found when the plan is made.

    See Also
    --------
    multi_scale_roi_align : Computes the same without a plan.
    roi_align_plan : The same for one map.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> boxes = np.array([[0, 0, 100, 100], [0, 0, 200, 200]], np.float32)
    >>> plan = roicy.multi_scale_roi_align_plan(
    ...     boxes, [(1, 1, 64, 64), (1, 1, 32, 32)], 1, spatial_scales=[1 / 4, 1 / 8], sampling_ratio=2
    ... )
    >>> plan([np.ones((1, 1, 64, 64), np.float32), np.zeros((1, 1, 32, 32), np.float32)])[:, 0, 0, 0]
    array([1., 0.], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    options = sampling_ratio, aligned
    kept: MultiScalePlan[Array] = keep(AVERAGE, given, sharing, input_shapes, output_size, options)
    return kept
