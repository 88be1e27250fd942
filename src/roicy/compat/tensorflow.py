"""TensorFlow's operator on boxes of images, `tf.image.crop_and_resize`, and its gradients.

================================ ===================================================================
`crop_and_resize`                boxes cut out of images and resized by samples
`crop_and_resize_gradient_image` its gradient with respect to the images
`crop_and_resize_gradient_boxes` its gradient with respect to the boxes
================================ ===================================================================

Images are (batch, height, width, depth). Boxes are y1, x1, y2, x2, of which 0 and 1 are the centres of the
first and of the last pixel. Which samples lie outside of an image is decided in float32 and in TensorFlow's
order of operations: the box of the whole image may lose its last row or column, as it does there.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt_single
from roicy._crop_once import crop, crop_backward, crop_backward_boxes
from roicy._kinds import UNIT_CROP
from roicy._types import (
    AnyArray,
    Array,
    BoxArray,
    Indices,
    InputShape,
    Integer,
    Ndarray,
    Real,
)
from roicy.compat._words import Words
from roicy.crop_plan import GivenCrops

__all__ = ["crop_and_resize", "crop_and_resize_gradient_boxes", "crop_and_resize_gradient_image"]

Method: TypeAlias = Literal["bilinear", "nearest"]

_WORDS = Words(
    images="image",
    batch_indices="box_indices",
    output_size="crop_size",
    interpolation="method",
    fill="extrapolation_value",
    grad_output="grad",
    input_shape="image_shape",
)


def crop_and_resize(
    image: Array,
    boxes: BoxArray,
    box_indices: Indices,
    crop_size: tuple[Integer, Integer] | list[int],
    method: Method = "bilinear",
    extrapolation_value: Real = 0.0,
) -> Array:
    """Cut boxes out of images and resize them, as ``tf.image.crop_and_resize``.

    Parameters
    ----------
    image : ndarray, shape (batch, image_height, image_width, depth)
        Images, of any dtype that `roicy.crop_and_resize` takes.
    boxes : ndarray, shape (num_boxes, 4)
        Rows ``[y1, x1, y2, x2]``; converted to float32.
    box_indices : ndarray, shape (num_boxes,), any integer dtype
        The image of each box.
    crop_size : (int, int)
        Rows and columns of a crop.
    method : {"bilinear", "nearest"}, optional
        What a sample is.
    extrapolation_value : float, optional
        The value of samples that lie beyond the centres of the outermost pixels.

    Returns
    -------
    ndarray, shape (num_boxes, crop_height, crop_width, depth)
        Crops, float32.

    Raises
    ------
    TypeError, ValueError
        As `roicy.crop_and_resize` does; a box index out of range and a coordinate that is not finite are
        ValueErrors.

    See Also
    --------
    roicy.crop_and_resize : The same with other defaults, with more options, and its conventions.

    Notes
    -----
    Kept: a sample is at ``y1 * (H - 1) + p * ((y2 - y1) * (H - 1) / (crop_height - 1))``, in float32. Values
    are those of TensorFlow to the rounding of float32.

    Not kept: images of int32 and int64 are no images here; a GPU's kernel there gives `extrapolation_value`
    for boxes that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import tensorflow
    >>> image = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    >>> boxes, box_indices = np.array([[0, 0, 0.5, 2]]), np.array([0])
    >>> tensorflow.crop_and_resize(image, boxes, box_indices, (2, 2), extrapolation_value=-1)[0, :, :, 0]
    array([[ 0., -1.],
           [ 4., -1.]], dtype=float32)
    """
    with _WORDS:
        _, image, boxes, box_indices = adopt_single(image=image, boxes=boxes, batch_indices=box_indices)
        given = _given(boxes, box_indices, method)
        finish = {"fill": settle.real("extrapolation_value", extrapolation_value), "dtype": np.float32}
        crops: Array = crop(UNIT_CROP, given, _batch(image), crop_size, finish, None)
        return crops


def crop_and_resize_gradient_image(
    grad: Array,
    boxes: BoxArray,
    box_indices: Indices,
    image_shape: InputShape,
    method: Method = "bilinear",
) -> Array:
    """Gradient of `crop_and_resize` with respect to the images, as TensorFlow's ``CropAndResizeGradImage``.

    Parameters
    ----------
    grad : ndarray, shape (num_boxes, crop_height, crop_width, depth)
        Gradient with respect to the crops.
    boxes : ndarray, shape (num_boxes, 4)
        Rows ``[y1, x1, y2, x2]``; converted to float32.
    box_indices : ndarray, shape (num_boxes,), any integer dtype
        The image of each box.
    image_shape : tuple of 4 ints
        Shape of the images, (batch, image_height, image_width, depth).
    method : {"bilinear", "nearest"}, optional
        What a sample was.

    Returns
    -------
    ndarray, shape `image_shape`
        Gradient with respect to the images, of the dtype of `grad`.

    Raises
    ------
    TypeError, ValueError
        As `roicy.crop_and_resize_backward` does.

    See Also
    --------
    roicy.crop_and_resize_backward : The same with other defaults and with more options.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import tensorflow
    >>> grad, boxes = np.ones((1, 2, 2, 1), np.float32), np.array([[0, 0, 1, 0.5]])
    >>> tensorflow.crop_and_resize_gradient_image(grad, boxes, np.array([0]), (1, 2, 3, 1))[0, :, :, 0]
    array([[1., 1., 0.],
           [1., 1., 0.]], dtype=float32)
    """
    with _WORDS:
        _, grad, boxes, box_indices = adopt_single(grad_output=grad, boxes=boxes, batch_indices=box_indices)
        given = _given(boxes, box_indices, method)
        shape = settle.input_shape(image_shape, "NHWC")
        gradient: Array = crop_backward(UNIT_CROP, given, grad, shape, {}, None)
        return gradient


def crop_and_resize_gradient_boxes(
    grad: Array, image: AnyArray, boxes: BoxArray, box_indices: Indices
) -> Array:
    """Gradient of `crop_and_resize` with respect to the boxes, as TensorFlow's ``CropAndResizeGradBoxes``.

    Parameters
    ----------
    grad : ndarray, shape (num_boxes, crop_height, crop_width, depth)
        Gradient with respect to the crops, of ``method="bilinear"``.
    image : ndarray, shape (batch, image_height, image_width, depth)
        The images that were cropped.
    boxes : ndarray, shape (num_boxes, 4)
        Rows ``[y1, x1, y2, x2]``; converted to float32.
    box_indices : ndarray, shape (num_boxes,), any integer dtype
        The image of each box.

    Returns
    -------
    ndarray, shape (num_boxes, 4)
        Gradient with respect to `boxes`, in their order, float32.

    Raises
    ------
    TypeError, ValueError
        As `roicy.crop_and_resize_backward_boxes` does.

    See Also
    --------
    roicy.crop_and_resize_backward_boxes : The same with other defaults and with more options.

    Notes
    -----
    Kept: samples lie where TensorFlow's gradient has them, which rounds otherwise than its
    `crop_and_resize`, so that one may be outside here that was inside there; a sample on the centre of a
    pixel does not move.

    Examples
    --------
    >>> import numpy as np
    >>> from roicy.compat import tensorflow
    >>> image = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    >>> grad, boxes = np.ones((1, 1, 1, 1), np.float32), np.array([[0.25, 0.125, 0.5, 0.625]])
    >>> tensorflow.crop_and_resize_gradient_boxes(grad, image, boxes, np.array([0]))
    array([[4. , 1.5, 4. , 1.5]], dtype=float32)
    """
    with _WORDS:
        _, grad, image, boxes, box_indices = adopt_single(
            grad_output=grad, image=image, boxes=boxes, batch_indices=box_indices
        )
        given = _given(boxes, box_indices, "bilinear")
        x1_first = crop_backward_boxes(UNIT_CROP, given, grad, _batch(image), {}, None)
        gradient: Array = x1_first[:, [1, 0, 3, 2]]
        return gradient


def _given(boxes: Ndarray, box_indices: Ndarray, method: Method) -> GivenCrops:
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape (num_boxes, 4), rows [y1, x1, y2, x2], got {boxes.shape}")
    with np.errstate(over="ignore"):
        x1_first = settle.library_of(boxes).ascontiguousarray(boxes[:, [1, 0, 3, 2]].astype(np.float32))
    return GivenCrops(x1_first, box_indices, "NHWC", "raise", ("corners", method, 1, "reject"))


def _batch(image: Ndarray) -> Ndarray:
    if image.ndim != 4:
        raise ValueError(
            f"image must have 4 axes (batch, image_height, image_width, depth), got shape {image.shape}"
        )
    return image
