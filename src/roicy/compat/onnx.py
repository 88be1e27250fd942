"""ONNX's operators on regions of interest: its names, inputs in its order, its attributes and defaults.

============ ====================================================================
`RoiAlign`   average of bilinear samples, or largest weighted pixel, over boxes
`MaxRoiPool` maximum over boxes rounded to pixels
============ ====================================================================

Inputs are positional, attributes are keywords. What versions of an operator differ in is said by `opset`.
Where the standard leaves a decision open it is ONNX Runtime's. `spatial_scale` is rounded to float32, as ONNX
keeps an attribute; arrays of dtypes that it does not have are treated as `roicy` treats them. There are no
gradients: ONNX has none.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import roicy
from roicy import _arguments as settle
from roicy._backend import adopt_single
from roicy._types import (
    Array,
    BoxArray,
    Indices,
    Integer,
    Mode,
    OutputSize,
    Real,
)
from roicy.compat._boxes import check_batch_column, scale_in_float32
from roicy.compat._words import Words

__all__ = ["MaxRoiPool", "RoiAlign"]

Convention: TypeAlias = Literal["half_pixel", "output_half_pixel"]

_WORDS = Words(features="X", output_size="(output_height, output_width)")
_POOL_WORDS = Words(features="X", output_size="pooled_shape")
_CONVENTIONS: tuple[Convention, Convention] = ("half_pixel", "output_half_pixel")
_ROI_ALIGN, _WITH_CONVENTIONS = 10, 16  # the opsets in which there is the operator, and the attribute


def RoiAlign(
    X: Array,
    rois: BoxArray,
    batch_indices: Indices,
    *,
    coordinate_transformation_mode: Convention | None = None,
    mode: Mode = "avg",
    output_height: Integer = 1,
    output_width: Integer = 1,
    sampling_ratio: Integer = 0,
    spatial_scale: Real = 1.0,
    opset: Integer = 22,
) -> Array:
    """Pool each box of a feature map to bins, as ONNX's RoiAlign.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps.
    rois : ndarray, shape (R, 4)
        Rows ``[x1, y1, x2, y2]``.
    batch_indices : ndarray, shape (R,), any integer dtype
        The image of each box.
    coordinate_transformation_mode : {"half_pixel", "output_half_pixel"}, optional
        "half_pixel": the centre of pixel ``i`` lies at ``i + 0.5``. "output_half_pixel": at ``i``, and a box
        is at least one pixel wide and high. By default "half_pixel" since opset 16, and "output_half_pixel"
        before, when there was no such attribute.
    mode : {"avg", "max"}, optional
        "avg": the average of a bin's samples. "max": the largest of the four weighted pixels of each sample.
    output_height, output_width : int, optional
        Rows and columns of bins.
    sampling_ratio : int, optional
        Samples per bin along each axis; 0 for adaptive.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`.
    opset : int, optional
        The version of ONNX's operators: at least 10, the first that has this one. It changed with 16; 22 has
        bfloat16, too.

    Returns
    -------
    ndarray, shape (R, C, output_height, output_width)
        Pooled features, of the dtype of `X`.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_align` does, and ValueError where `sampling_ratio` is negative, and for a
        `coordinate_transformation_mode` before opset 16.

    See Also
    --------
    roicy.roi_align : The same with other defaults, its conventions and its gradients.

    Notes
    -----
    Kept of ONNX Runtime: a batch index out of range and a coordinate that is not finite are errors (since its
    version 1.31); a bin without samples has the value 0.

    Not kept: with "half_pixel", adaptive, a box that is reversed along one axis only is an error there, and 0
    here. The largest is NaN there where the very first weighted pixel of a bin is, and other NaN are passed
    over, or hide the pixels of their sample; here it is never NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import onnx
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> rois, batch_indices = np.array([[0.5, 0.5, 2.5, 2.5]], np.float32), np.array([0])
    >>> size = {"output_height": 2, "output_width": 2, "sampling_ratio": 1}
    >>> onnx.RoiAlign(X, rois, batch_indices, **size)[0, 0]
    array([[2.5, 3.5],
           [6.5, 7.5]], dtype=float32)
    >>> onnx.RoiAlign(X, rois, batch_indices, opset=10, **size)[0, 0]
    array([[ 5.,  6.],
           [ 9., 10.]], dtype=float32)
    """
    with _WORDS:
        if batch_indices is None:
            raise TypeError("batch_indices must be an array of integers, one for each row of rois, got None")
        _, X, boxes, images = adopt_single(X=X, rois=rois, batch_indices=batch_indices)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"rois must have shape (R, 4), rows [x1, y1, x2, y2], got {boxes.shape}")
        ratio = settle.integer("sampling_ratio", sampling_ratio)
        if ratio < 0:
            raise ValueError(f"sampling_ratio must be at least 0, for adaptive, got {ratio}")
        pooled: Array = roicy.roi_align(
            X,
            boxes,
            (output_height, output_width),
            spatial_scale=scale_in_float32(spatial_scale),
            sampling_ratio=ratio,
            aligned=_convention(coordinate_transformation_mode, opset) == "half_pixel",
            mode=mode,
            max_rule="onnx",
            batch_indices=images,
        )
        return pooled


def MaxRoiPool(X: Array, rois: BoxArray, *, pooled_shape: OutputSize, spatial_scale: Real = 1.0) -> Array:
    """Take the maximum over the bins of boxes rounded to pixels, as ONNX's MaxRoiPool.

    Parameters
    ----------
    X : ndarray, shape (N, C, H, W)
        Feature maps.
    rois : ndarray, shape (R, 5)
        Rows ``[batch index, x1, y1, x2, y2]``; the last pixel belongs to a box.
    pooled_shape : (int, int)
        Rows and columns of bins.
    spatial_scale : float, optional
        Feature pixels per unit of `rois`.

    Returns
    -------
    ndarray, shape (R, C, rows, columns)
        Pooled features, of the dtype of `X`.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_pool` does; a batch index out of range is an error, as in ONNX Runtime.

    See Also
    --------
    roicy.roi_pool : The same, its conventions, argmax and gradient.

    Notes
    -----
    The results are ONNX Runtime's, bit for bit, but where NaN is in a bin: there one is the maximum if it is
    the last pixel, and else hides what comes before it; here it is passed over.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import onnx
    >>> X = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> onnx.MaxRoiPool(X, np.array([[0, 0, 0, 3, 3]], np.float32), pooled_shape=(2, 2))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    with _POOL_WORDS:
        _, X, boxes = adopt_single(X=X, rois=rois)
        check_batch_column(boxes)
        pooled: Array = roicy.roi_pool(X, boxes, pooled_shape, spatial_scale=scale_in_float32(spatial_scale))
        return pooled


def _convention(value: Convention | None, opset: Integer) -> Convention:
    version = settle.integer("opset", opset)
    if version < _ROI_ALIGN:
        raise ValueError(f"opset must be at least {_ROI_ALIGN}, the first that has RoiAlign, got {version}")
    if value is None:
        return _CONVENTIONS[version < _WITH_CONVENTIONS]
    if version < _WITH_CONVENTIONS:
        raise ValueError(
            f"coordinate_transformation_mode must be None for opset {version}: it came with "
            f"opset {_WITH_CONVENTIONS}, got {value!r}"
        )
    return settle.choice("coordinate_transformation_mode", value, _CONVENTIONS)
