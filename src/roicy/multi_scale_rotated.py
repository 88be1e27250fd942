"""RoIAlign of rotated boxes on the maps of a pyramid, each on the map of its level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from roicy import _pyramid_once as once
from roicy._given import Given, Sharing
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
    LevelRule,
    Merge,
    OutputSize,
    Real,
    Window,
)
from roicy.multi_scale import MultiScalePlan, keep

if TYPE_CHECKING:
    from typing import Unpack

    from roicy._types import MultiScaleRoIAlignRotatedOptions


def multi_scale_roi_align_rotated(
    features: Sequence[Array],
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Pool each rotated box from the map of its level in a feature pyramid, by averaging bilinear samples.

    What `multi_scale_roi_align` does for upright boxes. The level follows from width times height.

    Parameters
    ----------
    features : list of ndarray, shapes (N, C, H_l, W_l)
        Maps, as in `multi_scale_roi_align`.
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes, as in `roi_align_rotated`, in pixels of the image where `levels` is a rule's name.
    output_size, spatial_scales, levels, merge, windows : optional
        As in `multi_scale_roi_align`.
    sampling_ratio, aligned, angle_unit, clockwise, batch_indices, layout, invalid, out : optional
        As in `roi_align_rotated`.

    Returns
    -------
    ndarray, shape (K, C, PH, PW)
        Pooled features, as `multi_scale_roi_align` returns them.

    Raises
    ------
    TypeError, ValueError
        As `roi_align_rotated` and `multi_scale_roi_align` do.

    See Also
    --------
    multi_scale_roi_align : For upright boxes; how maps are chosen and merged.
    multi_scale_roi_align_rotated_plan : For several pyramids of the same shapes.
    multi_scale_roi_align_rotated_backward : Gradients with respect to the maps.
    multi_scale_roi_align_rotated_backward_rois : Gradient with respect to the boxes.

    Notes
    -----
    Each row has the bits that `roi_align_rotated` gives it on the map of its level. detectron2 ``ROIPooler``
    of type "ROIAlignRotated" agrees with ``levels="detectron2"``, mmrotate ``RotatedSingleRoIExtractor`` with
    ``levels="mmdet"``, to the rounding of a sum.

    Examples
    --------
    A pyramid whose maps hold the numbers of their levels:

    >>> import numpy as np
    >>> import roicy
    >>> maps = [np.full((1, 1, 256 >> level, 256 >> level), level, np.float32) for level in (2, 3, 4, 5)]
    >>> boxes = np.array([[128, 128, 90, 40, 30], [128, 128, 100, 150, 30], [128, 128, 120, 20, -75]])
    >>> options = {"spatial_scales": [1 / 4, 1 / 8, 1 / 16, 1 / 32], "sampling_ratio": 1}
    >>> roicy.multi_scale_roi_align_rotated(maps, boxes, 1, **options)[:, 0, 0, 0]
    array([2., 3., 2.], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    options = sampling_ratio, aligned, angle_unit, clockwise
    pooled: Array = once.pool_levels(ROTATED, given, sharing, features, output_size, options, out)
    return pooled


def multi_scale_roi_align_rotated_backward(
    grad_output: Array,
    rois: Boxes,
    input_shapes: Sequence[InputShape],
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: Sequence[AnyArray] | None = None,
) -> list[Array]:
    """Gradients of `multi_scale_roi_align_rotated` with respect to the maps.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `multi_scale_roi_align_rotated`; dtypes and strides as in
        `roi_align_rotated_backward`.
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes, as in `roi_align_rotated`.
    input_shapes : list of tuple of 4 ints
        As in `multi_scale_roi_align_backward`.
    spatial_scales, levels, merge, sampling_ratio, aligned, angle_unit, clockwise : optional
        As in `multi_scale_roi_align_rotated`.
    batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_align_rotated`.
    out : list of ndarray, optional
        As in `multi_scale_roi_align_backward`.

    Returns
    -------
    list of ndarray, shapes `input_shapes`
        As `multi_scale_roi_align_backward` returns them.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_align_rotated` does.

    See Also
    --------
    multi_scale_roi_align_rotated : The function that these are the gradients of.
    roi_align_rotated_backward : The gradient on one map; each map's gradient has its bits.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> boxes = np.array([[1, 1, 2, 2, 90], [2, 2, 4, 4, 0]], np.float32)
    >>> grad_output = np.array([8, 1], np.float32).reshape(2, 1, 1, 1)
    >>> shapes = [(1, 1, 4, 4), (1, 1, 2, 2)]
    >>> fine, coarse = roicy.multi_scale_roi_align_rotated_backward(
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
    options = sampling_ratio, aligned, angle_unit, clockwise
    grads: list[Array] = once.backward_levels(
        ROTATED, given, sharing, grad_output, input_shapes, options, out
    )
    return grads


@overload
def multi_scale_roi_align_rotated_backward_rois(
    grad_output: Array,
    features: Sequence[AnyArray],
    rois: BoxArray,
    *,
    spatial_scales: Sequence[Real],
    out: AnyArray | None = None,
    **options: Unpack[MultiScaleRoIAlignRotatedOptions],
) -> Array: ...


@overload
def multi_scale_roi_align_rotated_backward_rois(
    grad_output: Array,
    features: Sequence[AnyArray],
    rois: BoxesOfImages,
    *,
    spatial_scales: Sequence[Real],
    out: None = None,
    **options: Unpack[MultiScaleRoIAlignRotatedOptions],
) -> list[Array]: ...


def multi_scale_roi_align_rotated_backward_rois(
    grad_output: Array,
    features: Sequence[AnyArray],
    rois: Boxes,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: AnyArray | None = None,
) -> Array | list[Array]:
    """Gradient of `multi_scale_roi_align_rotated` with respect to the boxes.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `multi_scale_roi_align_rotated`, of the dtype of that.
    features : list of ndarray, shapes (N, C, H_l, W_l)
        The maps, as in `multi_scale_roi_align_rotated`.
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes, as in `roi_align_rotated`.
    spatial_scales, levels, merge, sampling_ratio, aligned, angle_unit, clockwise : optional
        As in `multi_scale_roi_align_rotated`.
    batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_align_rotated`.
    out : ndarray, optional
        As in `multi_scale_roi_align_backward_rois`.

    Returns
    -------
    ndarray, shape of `rois`, or list of ndarray
        As `roi_align_rotated_backward_rois` returns it; of levels as `multi_scale_roi_align_backward_rois`.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_align_rotated` does.

    See Also
    --------
    multi_scale_roi_align_rotated : The function that this is the gradient of.
    roi_align_rotated_backward_rois : The gradient on one map.

    Examples
    --------
    A map that rises by 1 along x, below one that is zero, and the sample in the middle of a box on it:

    >>> import numpy as np
    >>> import roicy
    >>> maps = [np.zeros((1, 1, 8, 8), np.float32), np.tile(np.arange(4, dtype=np.float32), (1, 1, 4, 1))]
    >>> boxes = np.array([[4, 4, 4, 4, 0]], np.float32)
    >>> roicy.multi_scale_roi_align_rotated_backward_rois(
    ...     np.ones((1, 1, 1, 1), np.float32),
    ...     maps,
    ...     boxes,
    ...     spatial_scales=[1, 1 / 2],
    ...     levels=np.array([1]),
    ...     sampling_ratio=1,
    ... )
    array([[0.5, 0. , 0. , 0. , 0. ]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    options = sampling_ratio, aligned, angle_unit, clockwise
    grad_rois: Array | list[Array] = once.backward_rois_levels(
        ROTATED, given, sharing, grad_output, features, options, out
    )
    return grad_rois


def multi_scale_roi_align_rotated_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shapes: Sequence[InputShape],
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    sampling_ratio: Integer = 0,
    aligned: Flag = True,
    angle_unit: AngleUnit = "degrees",
    clockwise: Flag = False,
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
) -> MultiScalePlan[Array]:
    """Compute once what `multi_scale_roi_align_rotated` derives from the boxes, for pyramids of one shape.

    Parameters
    ----------
    rois : ndarray, shape (K, 6) or (K, 5), or sequence of N ndarrays, shape (L_i, 5)
        Rotated boxes, as in `roi_align_rotated`; the plan has a copy.
    input_shapes : list of tuple of 4 ints
        As in `multi_scale_roi_align_plan`.
    output_size, spatial_scales, levels, merge, sampling_ratio, aligned, angle_unit, clockwise : optional
        As in `multi_scale_roi_align_rotated`.
    batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_align_rotated`.

    Returns
    -------
    MultiScalePlan
        As `multi_scale_roi_align_plan` returns it.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_align_rotated` does; invalid rows are found when the plan is made.

    See Also
    --------
    multi_scale_roi_align_rotated : Computes the same without a plan.
    roi_align_rotated_plan : The same for one map.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> boxes = np.array([[50, 50, 100, 100, 45], [50, 50, 200, 200, 0]], np.float32)
    >>> plan = roicy.multi_scale_roi_align_rotated_plan(
    ...     boxes, [(1, 1, 64, 64), (1, 1, 32, 32)], 1, spatial_scales=[1 / 4, 1 / 8], sampling_ratio=2
    ... )
    >>> plan([np.ones((1, 1, 64, 64), np.float32), np.zeros((1, 1, 32, 32), np.float32)])[:, 0, 0, 0]
    array([1., 0.], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    options = sampling_ratio, aligned, angle_unit, clockwise
    kept: MultiScalePlan[Array] = keep(ROTATED, given, sharing, input_shapes, output_size, options)
    return kept
