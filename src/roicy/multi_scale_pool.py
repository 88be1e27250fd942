"""RoIPool on the maps of a pyramid, each box on the map of its level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

from roicy import _pyramid_once as once
from roicy._given import Given, Sharing
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
    LevelRule,
    Merge,
    Mode,
    Out,
    OutputSize,
    Real,
    Rounding,
    Window,
)
from roicy.multi_scale import MultiScalePlan, keep

if TYPE_CHECKING:
    from typing import Unpack

    from roicy._types import MultiScaleRoIPoolOptions


@overload
def multi_scale_roi_pool(
    features: Sequence[Array],
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    return_argmax: Literal[False] = False,
    out: AnyArray | None = None,
    **options: Unpack[MultiScaleRoIPoolOptions],
) -> Array: ...


@overload
def multi_scale_roi_pool(
    features: Sequence[Array],
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    return_argmax: Literal[True],
    out: Out = None,
    **options: Unpack[MultiScaleRoIPoolOptions],
) -> tuple[Array, Array]: ...


@overload
def multi_scale_roi_pool(
    features: Sequence[Array],
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    return_argmax: bool,
    out: Out = None,
    **options: Unpack[MultiScaleRoIPoolOptions],
) -> Array | tuple[Array, Array]: ...


def multi_scale_roi_pool(
    features: Sequence[Array],
    rois: Boxes,
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    rounding: Rounding = "round",
    mode: Mode = "max",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    return_argmax: bool = False,
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: Out = None,
) -> Array | tuple[Array, Array]:
    """Pool each box from the map of its level in a pyramid, by the maximum or the mean of whole pixels.

    Parameters
    ----------
    features : list of ndarray, shapes (N, C, H_l, W_l)
        Maps, as in `multi_scale_roi_align`.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_pool`, in pixels of the image where `levels` is the name of a rule.
    output_size, spatial_scales, levels, merge, windows : optional
        As in `multi_scale_roi_align`.
    rounding, mode, batch_indices, layout, invalid : optional
        As in `roi_pool`.
    return_argmax : bool, optional
        Whether to return which pixel each maximum is, too. The gradient needs it. Only for ``mode="max"``.
    out : ndarray or tuple of two ndarrays, optional
        Where to write the result, or with ``return_argmax=True`` both; as in `roi_pool`.

    Returns
    -------
    pooled : ndarray, shape (K, C, PH, PW)
        Pooled features, as `multi_scale_roi_align` returns them.
    argmax : ndarray, shape of `pooled`, int32
        With ``return_argmax=True`` only: the chosen pixel, row times W_l plus column of the map that the box
        is pooled from, or -1 where there is none. With ``merge="sum"`` there is one for each map: the axis of
        the maps comes first.

    Raises
    ------
    TypeError, ValueError
        As `roi_pool` and `multi_scale_roi_align` do.

    See Also
    --------
    multi_scale_roi_align : Averages of samples; how maps are chosen and merged.
    multi_scale_roi_pool_plan : For several pyramids of the same shapes.
    multi_scale_roi_pool_backward : Gradients with respect to the maps.

    Notes
    -----
    Each row has the bits that `roi_pool` gives it on the map of its level. detectron2 ``ROIPooler`` of type
    "ROIPool" agrees with ``levels="detectron2"``.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> maps = [np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8), np.zeros((1, 1, 4, 4), np.float32)]
    >>> boxes = np.array([[0, 0, 3, 3], [0, 0, 7, 7]], np.float32)
    >>> pooled, argmax = roicy.multi_scale_roi_pool(
    ...     maps, boxes, 1, spatial_scales=[1, 1 / 2], levels=np.array([0, 1]), return_argmax=True
    ... )
    >>> pooled[:, 0, 0, 0]
    array([27.,  0.], dtype=float32)
    >>> argmax[:, 0, 0, 0]
    array([27,  0], dtype=int32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    pooled: Array | tuple[Array, Array] = once.pool_levels(
        of_roi_pool(mode), given, sharing, features, output_size, (rounding,), out, return_argmax
    )
    return pooled


def multi_scale_roi_pool_backward(
    grad_output: Array,
    argmax: AnyArray | None,
    rois: Boxes,
    input_shapes: Sequence[InputShape],
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    rounding: Rounding = "round",
    mode: Mode = "max",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
    out: Sequence[AnyArray] | None = None,
) -> list[Array]:
    """Gradients of `multi_scale_roi_pool` with respect to the maps.

    Parameters
    ----------
    grad_output : ndarray, shape (K, C, PH, PW)
        Gradient with respect to the output of `multi_scale_roi_pool`; dtypes and strides as in
        `roi_pool_backward`.
    argmax : ndarray, int32, or None
        The chosen pixels as `multi_scale_roi_pool` returns them with ``return_argmax=True``; None for
        ``mode="avg"``.
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_pool`.
    input_shapes : list of tuple of 4 ints
        As in `multi_scale_roi_align_backward`.
    spatial_scales, levels, merge, rounding, mode, batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_pool`.
    out : list of ndarray, optional
        As in `multi_scale_roi_align_backward`.

    Returns
    -------
    list of ndarray, shapes `input_shapes`
        As `multi_scale_roi_align_backward` returns them.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_pool` does, and ValueError where `argmax` holds a number that is neither -1 nor
        that of a pixel of the box's map.

    See Also
    --------
    multi_scale_roi_pool : The function that these are the gradients of.
    roi_pool_backward : The gradient on one map; each map's gradient has its bits.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> boxes = np.array([[0, 0, 1, 1], [0, 0, 3, 3]], np.float32)
    >>> grad_output = np.array([8, 1], np.float32).reshape(2, 1, 1, 1)
    >>> argmax = np.array([3, 2], np.int32).reshape(2, 1, 1, 1)
    >>> fine, coarse = roicy.multi_scale_roi_pool_backward(
    ...     grad_output,
    ...     argmax,
    ...     boxes,
    ...     [(1, 1, 2, 2), (1, 1, 1, 4)],
    ...     spatial_scales=[1, 1 / 2],
    ...     levels=np.array([0, 1]),
    ... )
    >>> fine[0, 0]
    array([[0., 0.],
           [0., 8.]], dtype=float32)
    >>> coarse[0, 0]
    array([[0., 0., 1., 0.]], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    grads: list[Array] = once.backward_levels(
        of_roi_pool(mode), given, sharing, grad_output, input_shapes, (rounding,), out, argmax
    )
    return grads


def multi_scale_roi_pool_plan(
    rois: Array | Sequence[Array] | BoxLists,
    input_shapes: Sequence[InputShape],
    output_size: OutputSize,
    *,
    spatial_scales: Sequence[Real],
    levels: LevelRule | Indices = "torchvision",
    merge: Merge = "assigned",
    rounding: Rounding = "round",
    mode: Mode = "max",
    batch_indices: Indices | None = None,
    layout: Layout = "NCHW",
    invalid: Invalid = "raise",
    windows: Sequence[Window | None] | None = None,
) -> MultiScalePlan[Array]:
    """Compute once what `multi_scale_roi_pool` derives from the boxes, for pyramids of the same shapes.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `roi_pool`; the plan has a copy.
    input_shapes : list of tuple of 4 ints
        As in `multi_scale_roi_align_plan`.
    output_size, spatial_scales, levels, merge, rounding, mode : optional
        As in `multi_scale_roi_pool`.
    batch_indices, layout, invalid, windows : optional
        As in `multi_scale_roi_pool`.

    Returns
    -------
    MultiScalePlan
        ``plan(features, out=None, *, return_argmax=False)`` pools, ``plan.backward(grad_output, out=None, *,
        argmax=None)`` is the gradient; else as `multi_scale_roi_align_plan` returns it.

    Raises
    ------
    TypeError, ValueError
        As `multi_scale_roi_pool` does; invalid rows are found when the plan is made.

    See Also
    --------
    multi_scale_roi_pool : Computes the same without a plan.
    roi_pool_plan : The same for one map.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> boxes = np.array([[0, 0, 100, 100], [0, 0, 200, 200]], np.float32)
    >>> plan = roicy.multi_scale_roi_pool_plan(
    ...     boxes, [(1, 1, 64, 64), (1, 1, 32, 32)], 1, spatial_scales=[1 / 4, 1 / 8]
    ... )
    >>> plan([np.ones((1, 1, 64, 64), np.float32), np.zeros((1, 1, 32, 32), np.float32)])[:, 0, 0, 0]
    array([1., 0.], dtype=float32)
    """
    given = Given(rois, batch_indices, layout, invalid)
    sharing = Sharing(spatial_scales, levels, merge, windows)
    kept: MultiScalePlan[Array] = keep(
        of_roi_pool(mode), given, sharing, input_shapes, output_size, (rounding,)
    )
    return kept
