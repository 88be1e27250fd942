"""Maxima over boxes rounded to pixels, and their gradient."""

from __future__ import annotations

from typing import Literal, overload

import roicy
from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import AnyArray, Array, Boxes, InputShape, OutputSize, Real
from roicy.compat.torchvision.inputs import WORDS, adopted, boxes_of


@overload
def roi_pool(
    input: Array,
    boxes: Boxes,
    output_size: OutputSize,
    spatial_scale: Real = 1.0,
    *,
    return_argmax: Literal[False] = False,
) -> Array: ...


@overload
def roi_pool(
    input: Array,
    boxes: Boxes,
    output_size: OutputSize,
    spatial_scale: Real = 1.0,
    *,
    return_argmax: Literal[True],
) -> tuple[Array, Array]: ...


@overload
def roi_pool(
    input: Array, boxes: Boxes, output_size: OutputSize, spatial_scale: Real = 1.0, *, return_argmax: bool
) -> Array | tuple[Array, Array]: ...


def roi_pool(
    input: Array,
    boxes: Boxes,
    output_size: OutputSize,
    spatial_scale: Real = 1.0,
    *,
    return_argmax: bool = False,
) -> Array | tuple[Array, Array]:
    """Take the maximum over the bins of boxes rounded to pixels, as torchvision's roi_pool.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        Feature maps.
    boxes : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
        Rows ``[image, x1, y1, x2, y2]``, or an array of rows ``[x1, y1, x2, y2]`` for each image; the last
        pixel belongs to a box.
    output_size : int or (int, int)
        Rows and columns of bins (PH, PW).
    spatial_scale : float, optional
        Feature pixels per unit of `boxes`.
    return_argmax : bool, optional
        Whether to return what the operator below torchvision's function returns second.

    Returns
    -------
    pooled : ndarray, shape (R, C, PH, PW)
        Pooled features.
    argmax : ndarray, shape of `pooled`, int32
        With ``return_argmax=True`` only: the chosen pixels, ``row * W + column``, or -1.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_pool` does, and ValueError for boxes (R, 4) that are no list.

    See Also
    --------
    roicy.roi_pool : The same, and its conventions.
    roi_pool_backward : Its gradient.
    RoIPool : It with some arguments.

    Notes
    -----
    The results are torchvision's, bit for bit, but for float16 boxes: all that is computed of them is rounded
    to float16 there. What is kept of torchvision and what not is the same as in `roi_align`.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> input = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> torchvision.roi_pool(input, [np.array([[0, 0, 3, 3]], np.float32)], 2)[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    with WORDS:
        _, input, given = adopted(input, boxes)
        pooled: Array | tuple[Array, Array] = roicy.roi_pool(
            input, output_size=output_size, spatial_scale=spatial_scale, return_argmax=return_argmax, **given
        )
        return pooled


def roi_pool_backward(grad_output: Array, boxes: Boxes, argmax: AnyArray, input_shape: InputShape) -> Array:
    """Gradient of `roi_pool` with respect to the features.

    Parameters
    ----------
    grad_output : ndarray, shape (R, C, PH, PW)
        Gradient with respect to the pooled features.
    boxes : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
        Boxes, as in `roi_pool`; only the images that they are on are used.
    argmax : ndarray, shape of `grad_output`, int32
        The chosen pixels, as `roi_pool` returns them.
    input_shape : tuple of 4 ints
        Shape of the features, (N, C, H, W).

    Returns
    -------
    ndarray, shape `input_shape`
        Gradient with respect to the features, of the dtype of `grad_output`.

    Raises
    ------
    TypeError, ValueError
        As `roicy.roi_pool_backward` does, and ValueError for boxes (R, 4) that are no list.

    See Also
    --------
    roi_pool : The operator.
    roicy.roi_pool_backward : The same.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> input = np.array([[[[1, 5], [3, 2]]]], np.float32)
    >>> boxes = [np.array([[0, 0, 1, 1]], np.float32)]
    >>> pooled, argmax = torchvision.roi_pool(input, boxes, 1, return_argmax=True)
    >>> torchvision.roi_pool_backward(np.ones_like(pooled), boxes, argmax, input.shape)[0, 0]
    array([[0., 1.],
           [0., 0.]], dtype=float32)
    """
    with WORDS:
        kernels, grad_output, given, argmax = adopt(grad_output=grad_output, rois=boxes, argmax=argmax)
        shape = settle.input_shape(input_shape, "NCHW")
        given = boxes_of(kernels.xp, given, shape[0])
        grad: Array = roicy.roi_pool_backward(grad_output, argmax, input_shape=shape, **given)
        return grad


class RoIPool:
    """`roi_pool` with some arguments, as torchvision's layer.

    Call it with `input` and `rois`.

    Parameters
    ----------
    output_size, spatial_scale
        As in `roi_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import torchvision
    >>> pool = torchvision.RoIPool((3, 2), spatial_scale=0.5)
    >>> pool(np.ones((1, 8, 10, 10), np.float32), [np.array([[2, 4, 12, 16]], np.float32)]).shape
    (1, 8, 3, 2)
    """

    def __init__(self, output_size: OutputSize, spatial_scale: Real) -> None:
        self.output_size = output_size
        self.spatial_scale = spatial_scale

    def __call__(self, input: Array, rois: Boxes) -> Array:
        """Pool the boxes.

        Parameters
        ----------
        input : ndarray, shape (N, C, H, W)
            Feature maps.
        rois : ndarray, shape (R, 5), or sequence of ndarrays, shape (L, 4)
            Boxes.

        Returns
        -------
        ndarray, shape (R, C, PH, PW)
            As `roi_pool` returns it.
        """
        pooled: Array = roi_pool(input, rois, self.output_size, self.spatial_scale)
        return pooled

    def __repr__(self) -> str:
        return f"RoIPool(output_size={self.output_size}, spatial_scale={self.spatial_scale})"
