"""Position-sensitive pooling: each bin takes channels of its own; and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

import roicy
from roicy import _arguments as settle
from roicy import _once as once
from roicy._backend import adopt
from roicy._given import Given
from roicy._kinds import POSITION_SENSITIVE_CLIPPED
from roicy._types import Array, Boxes, InputShape, Integer, Ndarray, OutputSize, Real
from roicy.compat._boxes import aligned_sizes
from roicy.compat.torchvision.inputs import WORDS, adopted, boxes_of


def ps_roi_align(
    input: Array,
    boxes: Boxes,
    output_size: OutputSize,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = -1,
) -> Array:
    """Average each bin of a box over channels of its own, as torchvision's ps_roi_align.

    Parameters
    ----------
    input : ndarray, shape (N, C * PH * PW, H, W)
        Feature maps; those of bin ``(p, q)`` of channel ``c`` are ``(c * PH + p) * PW + q``.
    boxes, output_size, spatial_scale, sampling_ratio
        As in `roi_align`; the centre of pixel ``i`` lies at ``i + 0.5``.

    Returns
    -------
    ndarray, shape (R, C, PH, PW)
        Pooled features.

    Raises
    ------
    TypeError, ValueError
        As `roicy.ps_roi_align` does, and ValueError for boxes (R, 4) that are no list.

    See Also
    --------
    roicy.ps_roi_align : The same, and its conventions.
    ps_roi_align_backward : Its gradient.
    PSRoIAlign : It with some arguments.

    Notes
    -----
    Kept of torchvision: adaptive, a bin that is to have no samples along an axis, as in a box without width,
    is NaN. What else is kept and what not is the same as in `roi_align`.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> input = np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1) + np.zeros((1, 4, 5, 5), np.float32)
    >>> torchvision.ps_roi_align(input, [np.array([[1, 1, 4, 4], [2, 1, 2, 4]], np.float32)], 2)[:, 0]
    array([[[ 0.,  1.],
            [ 2.,  3.]],
    <BLANKLINE>
           [[nan, nan],
            [nan, nan]]], dtype=float32)
    """
    with WORDS:
        xp, input, given = adopted(input, boxes)
        size, ratio = settle.output_size(output_size), settle.sampling_ratio(sampling_ratio)
        pooled: Array = roicy.ps_roi_align(
            input, output_size=size, spatial_scale=spatial_scale, sampling_ratio=ratio, **given
        )
        if ratio == 0:
            images = settle.features_shape(input, "NCHW")[0]
            corners = settle.rois(given["rois"], given.get("batch_indices"), images, xp).boxes[:, -4:]
            pooled[_without_samples(xp, corners, spatial_scale, size)] = np.nan
        return pooled


def _without_samples(xp: Any, corners: Ndarray, spatial_scale: Real, size: tuple[int, int]) -> Ndarray:
    # which boxes have bins in which adaptive sampling is of no samples along an axis: 0 / 0
    scale = settle.spatial_scale(spatial_scale, corners.dtype)
    bins = aligned_sizes(corners, scale) / xp.asarray(np.array(size[::-1], corners.dtype))
    return (xp.ceil(bins) == 0).any(axis=1)


def ps_roi_align_backward(
    grad_output: Array,
    boxes: Boxes,
    input_shape: InputShape,
    spatial_scale: Real = 1.0,
    sampling_ratio: Integer = -1,
) -> Array:
    """Gradient of `ps_roi_align` with respect to the features.

    Parameters
    ----------
    grad_output : ndarray, shape (R, C, PH, PW)
        Gradient with respect to the output of `ps_roi_align`.
    boxes : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
        Boxes, as in `roi_align`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C * PH * PW, H, W).
    spatial_scale, sampling_ratio : optional
        As in `ps_roi_align`.

    Returns
    -------
    ndarray, shape `input_shape`
        Gradient with respect to the features, of the dtype of `grad_output`.

    Raises
    ------
    TypeError, ValueError
        As `ps_roi_align` does.

    See Also
    --------
    ps_roi_align : The operator.
    roicy.ps_roi_align_backward : The same.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> grad_output = np.array([[[[1, 2]]]], np.float32)
    >>> boxes = np.array([[0, 0, 0, 4, 1]], np.float32)
    >>> torchvision.ps_roi_align_backward(grad_output, boxes, (1, 2, 1, 4))[0]
    array([[[0.5, 0.5, 0. , 0. ]],
    <BLANKLINE>
           [[0. , 0. , 1. , 1. ]]], dtype=float32)
    """
    with WORDS:
        kernels, grad_output, given = adopt(grad_output=grad_output, rois=boxes)
        shape = settle.input_shape(input_shape, "NCHW")
        grad: Array = roicy.ps_roi_align_backward(
            grad_output,
            input_shape=shape,
            spatial_scale=spatial_scale,
            sampling_ratio=sampling_ratio,
            **boxes_of(kernels.xp, given, shape[0]),
        )
        return grad


class PSRoIAlign:
    """`ps_roi_align` with some arguments, as torchvision's layer.

    Call it with `input` and `rois`.

    Parameters
    ----------
    output_size, spatial_scale, sampling_ratio
        As in `ps_roi_align`.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> pool = torchvision.PSRoIAlign(2, spatial_scale=0.5, sampling_ratio=2)
    >>> pool(np.ones((1, 8, 10, 10), np.float32), [np.array([[2, 4, 12, 16]], np.float32)]).shape
    (1, 2, 2, 2)
    """

    def __init__(self, output_size: OutputSize, spatial_scale: Real, sampling_ratio: Integer) -> None:
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio

    def __call__(self, input: Array, rois: Boxes) -> Array:
        """Pool the boxes.

        Parameters
        ----------
        input : ndarray, shape (N, C * PH * PW, H, W)
            Feature maps.
        rois : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
            Boxes.

        Returns
        -------
        ndarray, shape (R, C, PH, PW)
            As `ps_roi_align` returns it.
        """
        pooled: Array = ps_roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)
        return pooled

    def __repr__(self) -> str:
        return (
            f"PSRoIAlign(output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio})"
        )


def ps_roi_pool(input: Array, boxes: Boxes, output_size: OutputSize, spatial_scale: Real = 1.0) -> Array:
    """Average the pixels of each bin of a box over channels of its own, as torchvision's ps_roi_pool.

    Parameters
    ----------
    input : ndarray, shape (N, C * PH * PW, H, W)
        Feature maps; those of bin ``(p, q)`` of channel ``c`` are ``(c * PH + p) * PW + q``.
    boxes, output_size, spatial_scale
        As in `roi_pool`, but that the last pixel does not belong to a box.

    Returns
    -------
    ndarray, shape (R, C, PH, PW)
        Pooled features.

    Raises
    ------
    TypeError, ValueError
        As `roicy.ps_roi_pool` does, and ValueError for boxes (R, 4) that are no list.

    See Also
    --------
    roicy.ps_roi_pool : The published rule: boxes are rounded before they are scaled, the last pixel included.
    ps_roi_pool_backward : Its gradient.
    PSRoIPool : It with some arguments.

    Notes
    -----
    Kept of torchvision: corners are rounded after they have been scaled, a box ends before its last pixel,
    and the last row and column of the map are never looked at. What else is kept and what not is the same as
    in `roi_align`.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> input = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> torchvision.ps_roi_pool(input, [np.array([[0, 0, 2, 2], [2, 2, 4, 4]], np.float32)], 1)[:, 0, 0]
    array([[ 2.5],
           [10. ]], dtype=float32)
    """
    with WORDS:
        _, input, given = adopted(input, boxes)
        pooled: Array = once.pool(
            POSITION_SENSITIVE_CLIPPED, _given(given), input, output_size, (spatial_scale,), None
        )
        return pooled


def _given(boxes: dict[str, Any]) -> Given:
    return Given(boxes["rois"], boxes.get("batch_indices"), "NCHW", "raise")


def ps_roi_pool_backward(
    grad_output: Array, boxes: Boxes, input_shape: InputShape, spatial_scale: Real = 1.0
) -> Array:
    """Gradient of `ps_roi_pool` with respect to the features, as torchvision has it.

    Parameters
    ----------
    grad_output : ndarray, shape (R, C, PH, PW)
        Gradient with respect to the output of `ps_roi_pool`.
    boxes : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
        Boxes, as in `ps_roi_pool`.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C * PH * PW, H, W).
    spatial_scale : float, optional
        Feature pixels per unit of `boxes`.

    Returns
    -------
    ndarray, shape `input_shape`
        Gradient with respect to the features, of the dtype of `grad_output`.

    Raises
    ------
    TypeError, ValueError
        As `ps_roi_pool` does.

    See Also
    --------
    ps_roi_pool : The operator.
    roicy.ps_roi_pool_backward : The gradient of the published rule.

    Notes
    -----
    Kept of torchvision: the last row and column of the map get their part of the gradient, though
    `ps_roi_pool` never looks at them.

    Not kept: coordinates of float64 are rounded to float32 before they are rounded to pixels there.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> boxes = np.array([[0, 1, 1, 3, 3]], np.float32)
    >>> torchvision.ps_roi_pool_backward(np.full((1, 1, 1, 1), 4, np.float32), boxes, (1, 1, 3, 3))[0, 0]
    array([[0., 0., 0.],
           [0., 1., 1.],
           [0., 1., 1.]], dtype=float32)
    """
    with WORDS:
        kernels, grad_output, given = adopt(grad_output=grad_output, rois=boxes)
        shape = settle.input_shape(input_shape, "NCHW")
        rows = _given(boxes_of(kernels.xp, given, shape[0]))
        grad: Array = once.backward(
            POSITION_SENSITIVE_CLIPPED, rows, grad_output, shape, (spatial_scale,), None
        )
        return grad


class PSRoIPool:
    """`ps_roi_pool` with some arguments, as torchvision's layer.

    Call it with `input` and `rois`.

    Parameters
    ----------
    output_size, spatial_scale
        As in `ps_roi_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> pool = torchvision.PSRoIPool(2, spatial_scale=0.5)
    >>> pool(np.ones((1, 8, 10, 10), np.float32), [np.array([[2, 4, 12, 16]], np.float32)]).shape
    (1, 2, 2, 2)
    """

    def __init__(self, output_size: OutputSize, spatial_scale: Real) -> None:
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def __call__(self, input: Array, rois: Boxes) -> Array:
        """Pool the boxes.

        Parameters
        ----------
        input : ndarray, shape (N, C * PH * PW, H, W)
            Feature maps.
        rois : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
            Boxes.

        Returns
        -------
        ndarray, shape (R, C, PH, PW)
            As `ps_roi_pool` returns it.
        """
        pooled: Array = ps_roi_pool(input, rois, self.output_size, self.spatial_scale)
        return pooled

    def __repr__(self) -> str:
        return f"PSRoIPool(output_size={self.output_size}, spatial_scale={self.spatial_scale})"
