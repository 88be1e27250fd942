"""Crops for the next model: boxes of images, resized and made what it takes; and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from roicy import _backend
from roicy._crop_once import crop, crop_backward, crop_backward_boxes, learn
from roicy._kinds import CROP
from roicy._types import (
    AnyArray,
    Array,
    Border,
    Boxes,
    Flag,
    Indices,
    InputShape,
    Integer,
    Interpolation,
    Invalid,
    Layout,
    OutputSize,
    PerChannel,
    SamplePlaces,
    Window,
)
from roicy.crop_plan import CropPlan, GivenCrops, keep


def crop_and_resize(
    images: Array | Sequence[Array],
    boxes: Boxes,
    output_size: OutputSize,
    *,
    batch_indices: Indices | None = None,
    sampling: SamplePlaces = "half_pixel",
    interpolation: Interpolation = "bilinear",
    sampling_ratio: Integer = 1,
    border: Border = "constant",
    fill: PerChannel = 0.0,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    dtype: Any = None,
    invalid: Invalid = "raise",
    window: Window | Sequence[Window | None] | None = None,
    out: AnyArray | None = None,
) -> Array:
    """Cut boxes out of images, resize them to one size, and make of them what the next model takes.

    A crop is sampled, filled up outside of the image, normalised, put into another order of axes and of
    channels, and rounded to another dtype in one pass over the pixels.

    Parameters
    ----------
    images : ndarray, shape (N, H, W, C) or (H, W, C), or sequence of ndarray, shape (H_i, W_i, C)
        Images; with ``layout="NCHW"`` the channels come before the rows. A sequence is a list or tuple of
        images of different sizes, all of one dtype. float16, bfloat16 (of ml_dtypes), float32, float64,
        uint8, int8, uint16, int16 or bool in native byte order, strided in any way; with
        ``interpolation="nearest"`` also int32, uint32, int64 or uint64.
    boxes : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes in one of these forms, in pixels of the image:

        - (K, 5): rows ``[batch index, x1, y1, x2, y2]``, the batch index truncated toward zero;
        - (K, 4): rows ``[x1, y1, x2, y2]``, with `batch_indices`, or without where there is one image;
        - a list or tuple of N arrays (L_i, 4), the boxes of image 0, 1, ...; then K is the sum of all L_i.

        float32 and float64 are used as they are and decide in which precision samples are placed; float16,
        bfloat16 and integers of up to 16 bits are converted to float32, wider integers to float64. A box
        whose second coordinate is the smaller one gives a mirrored crop.
    output_size : int or (int, int)
        Rows and columns of a crop (PH, PW); an int is both.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `boxes` of shape (K, 4) only.
    sampling : {"half_pixel", "corners"}, optional
        Where samples lie. "half_pixel": pixel ``i`` of an image reaches from ``i`` to ``i + 1``, and so the
        whole image is the box (0, 0, W, H); a box is divided into equal parts, one for each pixel of the
        crop, which are sampled in their middle. "corners": pixel ``i`` lies at ``i``, and so the whole image
        is the box (0, 0, W - 1, H - 1); the first and the last sample are at the ends of the box, or the only
        one in its middle.
    interpolation : {"bilinear", "nearest"}, optional
        What a sample is: a mean of the four pixels around it, or the pixel that it lies in: the one to the
        right of, or below, the border between two. "nearest" is for labels.
    sampling_ratio : int, optional
        Samples along either axis for each pixel of a crop, which is their mean. 0 is for as many as it covers
        pixels of the image: a crop that is smaller than its box has no aliasing then. 1 with
        ``interpolation="nearest"``.
    border : {"constant", "edge", "reject"}, optional
        What lies outside of the image. "constant": pixels of `fill`, with which those at the border are
        interpolated. "edge": the outermost pixels go on. "reject": `fill` for a sample that lies beyond the
        centres of the outermost pixels, as a whole.
    fill : float or sequence of C floats, optional
        The value of what is outside, in units of the image; one for each channel of the result.
    mean, std : float or sequence of C floats, optional
        What is subtracted from the values, and what they are then divided by: one for each channel of the
        result, in units of the image.
    reverse_channels : bool, optional
        Whether the first channel of the result is the last one of the image: BGR to RGB.
    layout : {"NHWC", "NCHW"}, optional
        Order of the axes of `images`.
    out_layout : {"NHWC", "NCHW"}, optional
        Order of the axes of the result, `layout` unless it is given.
    dtype : dtype, optional
        Of the result: float32, float16, bfloat16 or uint8, or that of the images. Integers are rounded, ties
        to the even one, and clipped to their range. float32 unless it is given; that of the images with
        ``interpolation="nearest"`` without `mean` and `std`.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the crop is NaN, in integers 0.
    window : tuple of 4 ints, or list of them or None, optional
        ``(y, x, height, width)``: `images` are an array of parts of images of ``height x width`` pixels, and
        ``y`` and ``x`` are their first row and column there. Boxes lie on the whole images, and the result is
        that of whole images, bit for bit. A box that reads pixels beyond the part is an error; `rois_window`
        finds what boxes read. Of a list of images, a list with a window, or None, for each.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, writeable, without overlap with itself or
        with an input; strided in any way. A call that fails leaves it as it was, unless a signal has
        ended it.

    Returns
    -------
    ndarray, shape (K, PH, PW, C)
        Crops, with ``out_layout="NCHW"`` of shape (K, C, PH, PW); `out` where that is given.

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or a number is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, a row of `boxes` is
        invalid and ``invalid="raise"``, or `out` cannot be written to.

    See Also
    --------
    crop_and_resize_backward : Gradient with respect to the images.
    crop_and_resize_backward_boxes : Gradient with respect to the boxes.
    crop_and_resize_plan : The same boxes for several images of one shape.
    roi_align : The same samples, averaged, of feature maps.

    Notes
    -----
    Inside of the image, samples are those of `roi_align` with ``spatial_scale=1``: along x, sample ``i`` of
    ``n`` of column ``q`` lies at ``x1 + (q + (i + 0.5) / n) * (x2 - x1) / PW - 0.5``, where whole numbers are
    the centres of pixels. With ``sampling="corners"`` it lies at
    ``x1 + (q + (i + 0.5) / n - 0.5) * (x2 - x1) / (PW - 1)``. y is alike.

    A sample has a weight ``w`` inside of the image along either axis, 1 or a fraction of it at the border;
    it gets ``fill`` with the weight ``1 - w_x * w_y``. The result is ``(value - mean) / std``.

    Sums are accumulated in float32, in float64 for float64 images; integers of up to 16 bits are exact in
    these. Results do not depend on the number of threads, the layout or the strides, to the last bit.

    These systems agree, to rounding: OpenCV's ``resize`` of a crop by whole pixels with ``INTER_LINEAR``
    (here with ``border="edge"``, inside of half a pixel from the border of the crop) and
    ``INTER_NEAREST_EXACT``, Pillow's ``NEAREST``; TensorFlow's ``crop_and_resize`` (``sampling="corners"``,
    ``border="reject"``).

    Examples
    --------
    A crop that reaches out of the image, from uint8 to what a model wants:

    >>> import numpy as np
    >>> import roicy
    >>> image = np.full((4, 4, 3), 100, np.uint8)
    >>> crops = roicy.crop_and_resize(
    ...     image, np.array([[-2, 0, 2, 4]]), 4, fill=114, mean=(90, 100, 110), std=10, out_layout="NCHW"
    ... )
    >>> crops.shape
    (1, 3, 4, 4)
    >>> crops[0, :, 0]
    array([[ 2.4,  2.4,  1. ,  1. ],
           [ 1.4,  1.4,  0. ,  0. ],
           [ 0.4,  0.4, -1. , -1. ]], dtype=float32)
    """
    options = sampling, interpolation, sampling_ratio, border
    settings = output_size, options, fill, mean, std, reverse_channels, layout, out_layout, dtype, invalid
    again = _backend.cpu.crops_again if window is None else None
    if again is not None:
        crops: Array | None = again.crop(settings, images, boxes, batch_indices, out)
        if crops is not None:
            return crops
    given = GivenCrops(boxes, batch_indices, layout, invalid, options, window)
    finish = {
        "fill": fill,
        "mean": mean,
        "std": std,
        "reverse_channels": reverse_channels,
        "dtype": dtype,
        "out_layout": out_layout,
    }
    made: Array = crop(CROP, given, images, output_size, finish, out)
    if again is not None:
        learn(again, settings, images)
    return made


@overload
def crop_and_resize_backward(
    grad_output: Array,
    boxes: Boxes,
    input_shape: InputShape,
    *,
    batch_indices: Indices | None = None,
    sampling: SamplePlaces = "half_pixel",
    interpolation: Interpolation = "bilinear",
    sampling_ratio: Integer = 1,
    border: Border = "constant",
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    invalid: Invalid = "raise",
    window: Window | Sequence[Window | None] | None = None,
    out: AnyArray | None = None,
) -> Array: ...


@overload
def crop_and_resize_backward(
    grad_output: Array,
    boxes: Boxes,
    input_shape: list[tuple[int, int, int]],
    *,
    batch_indices: Indices | None = None,
    sampling: SamplePlaces = "half_pixel",
    interpolation: Interpolation = "bilinear",
    sampling_ratio: Integer = 1,
    border: Border = "constant",
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    invalid: Invalid = "raise",
    window: Window | Sequence[Window | None] | None = None,
    out: Sequence[AnyArray] | None = None,
) -> list[Array]: ...


def crop_and_resize_backward(
    grad_output: Array,
    boxes: Boxes,
    input_shape: InputShape | list[tuple[int, int, int]],
    *,
    batch_indices: Indices | None = None,
    sampling: SamplePlaces = "half_pixel",
    interpolation: Interpolation = "bilinear",
    sampling_ratio: Integer = 1,
    border: Border = "constant",
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    invalid: Invalid = "raise",
    window: Window | Sequence[Window | None] | None = None,
    out: AnyArray | Sequence[AnyArray] | None = None,
) -> Array | list[Array]:
    """Gradient of `crop_and_resize` with respect to the images.

    Each pixel of a crop spreads its gradient, divided by `std`, over the pixels of the image that it was made
    of, with the same weights. What is outside of the image gets none.

    Parameters
    ----------
    grad_output : ndarray, shape (K, PH, PW, C)
        Gradient with respect to the crops; with ``out_layout="NCHW"`` of shape (K, C, PH, PW). float16,
        bfloat16 (of ml_dtypes), float32 or float64 in native byte order, strided in any way.
    boxes : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `crop_and_resize`.
    input_shape : tuple of 4 or 3 ints, or list of tuples of 3 ints
        Shape of the images, in the order of `layout`; a list of shapes for a list of images.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `boxes` of shape (K, 4) only.
    sampling, interpolation, sampling_ratio, border, std, reverse_channels
        As in `crop_and_resize`. `fill` and `mean` are in no gradient of the images.
    layout : {"NHWC", "NCHW"}, optional
        Order of the axes of `input_shape` and of the result.
    out_layout : {"NHWC", "NCHW"}, optional
        Order of the axes of `grad_output`, `layout` unless it is given.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": such a row adds nothing.
    window : tuple of 4 ints, or list of them or None, optional
        As in `crop_and_resize`.
    out : ndarray, or list of ndarray, optional
        Where to write the result; overwritten, not added to. A call that fails leaves it as it was.

    Returns
    -------
    ndarray, shape `input_shape`, or list of ndarray
        Gradient with respect to the images, of the dtype of `grad_output`; `out` where that is given. A list
        where `input_shape` is one.

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or a number is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, a row of `boxes` is
        invalid and ``invalid="raise"``, or `out` cannot be written to.

    See Also
    --------
    crop_and_resize : The function that this is the gradient of.

    Notes
    -----
    Sums are accumulated in float32, in float64 for float64 gradients, over the boxes of an image in a fixed
    order: the result is the same, to the last bit, for any number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> grad_output = np.ones((1, 2, 2, 1), np.float32)
    >>> grad_image = roicy.crop_and_resize_backward(grad_output, np.array([[0, 0, 4, 4]]), (4, 4, 1))
    >>> grad_image[:, :, 0]
    array([[0.25, 0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25, 0.25],
           [0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    options = sampling, interpolation, sampling_ratio, border
    given = GivenCrops(boxes, batch_indices, layout, invalid, options, window)
    finish = {"std": std, "reverse_channels": reverse_channels, "out_layout": out_layout}
    grads: Array | list[Array] = crop_backward(CROP, given, grad_output, input_shape, finish, out)
    return grads


def crop_and_resize_backward_boxes(
    grad_output: Array,
    images: AnyArray | Sequence[AnyArray],
    boxes: Boxes,
    *,
    batch_indices: Indices | None = None,
    sampling: SamplePlaces = "half_pixel",
    interpolation: Interpolation = "bilinear",
    sampling_ratio: Integer = 1,
    border: Border = "constant",
    fill: PerChannel = 0.0,
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    invalid: Invalid = "raise",
    window: Window | Sequence[Window | None] | None = None,
    out: AnyArray | None = None,
) -> Array | list[Array]:
    """Gradient of `crop_and_resize` with respect to the boxes.

    Samples move with the ends of a box, and values with the samples; how many samples there are counts as
    constant.

    Parameters
    ----------
    grad_output : ndarray, shape (K, PH, PW, C)
        Gradient with respect to the crops; with ``out_layout="NCHW"`` of shape (K, C, PH, PW). float16,
        bfloat16 (of ml_dtypes), float32 or float64 in native byte order, strided in any way.
    images : ndarray, shape (N, H, W, C) or (H, W, C), or sequence of ndarray, shape (H_i, W_i, C)
        Images, as in `crop_and_resize`, but for int32 and wider.
    boxes : ndarray, shape (K, 5) or (K, 4), or sequence of N ndarrays, shape (L_i, 4)
        Boxes, as in `crop_and_resize`.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each box, for `boxes` of shape (K, 4) only.
    sampling, interpolation, sampling_ratio, border, fill, std, reverse_channels
        As in `crop_and_resize`; `interpolation` is "bilinear".
    layout : {"NHWC", "NCHW"}, optional
        Order of the axes of `images`.
    out_layout : {"NHWC", "NCHW"}, optional
        Order of the axes of `grad_output`, `layout` unless it is given.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the gradient of such a row is 0.
    window : tuple of 4 ints, or list of them or None, optional
        As in `crop_and_resize`.
    out : ndarray, optional
        Where to write the result. Not where `boxes` is a sequence of arrays.

    Returns
    -------
    ndarray, shape of `boxes`, or list of ndarray
        Gradient with respect to `boxes`, float32 or float64 as `boxes` is used; `out` where that is given.
        The column of a batch index is 0. For a sequence of arrays a list of arrays (L_i, 4).

    Raises
    ------
    TypeError
        Where an argument is no array, an array has a dtype that is not listed, some arrays are in host memory
        and others on a GPU, or a number is of another type.
    ValueError
        Where an array has the wrong shape, a number or word is not one of those listed, a row of `boxes` is
        invalid and ``invalid="raise"``, or `out` cannot be written to.

    See Also
    --------
    crop_and_resize : The function that this is the gradient of.

    Notes
    -----
    Where a sample lies on a pixel, its value has a kink: the slope is that towards the next pixel, and with
    ``sampling="corners"`` 0, as TensorFlow has it.

    Examples
    --------
    An image that rises by 1 along x and by 4 along y; a sample in the middle of the box moves by half of what
    either end does:

    >>> import numpy as np
    >>> import roicy
    >>> image = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    >>> boxes = np.array([[0.5, 0.5, 3, 3]], np.float32)
    >>> grad_output = np.ones((1, 1, 1, 1), np.float32)
    >>> roicy.crop_and_resize_backward_boxes(grad_output, image, boxes)
    array([[0.5, 2. , 0.5, 2. ]], dtype=float32)
    """
    options = sampling, interpolation, sampling_ratio, border
    given = GivenCrops(boxes, batch_indices, layout, invalid, options, window)
    finish = {"fill": fill, "std": std, "reverse_channels": reverse_channels, "out_layout": out_layout}
    grads: Array | list[Array] = crop_backward_boxes(CROP, given, grad_output, images, finish, out)
    return grads


def crop_and_resize_plan(
    boxes: Boxes,
    input_shape: InputShape | list[tuple[int, int, int]],
    output_size: OutputSize,
    *,
    batch_indices: Indices | None = None,
    sampling: SamplePlaces = "half_pixel",
    interpolation: Interpolation = "bilinear",
    sampling_ratio: Integer = 1,
    border: Border = "constant",
    fill: PerChannel = 0.0,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    dtype: Any = None,
    invalid: Invalid = "raise",
    window: Window | Sequence[Window | None] | None = None,
) -> CropPlan[Any]:
    """Prepare `crop_and_resize` for several images of one shape, with the same boxes.

    Parameters
    ----------
    boxes, output_size, batch_indices
        As in `crop_and_resize`. Boxes are copied: changing the array later does not change the plan.
    input_shape : tuple of 4 or 3 ints, or list of tuples of 3 ints
        Shape of the images, in the order of `layout`; a list of shapes for a list of images.
    sampling, interpolation, sampling_ratio, border, fill, mean, std : optional
        As in `crop_and_resize`.
    reverse_channels, layout, out_layout, dtype, invalid, window : optional
        As in `crop_and_resize`.

    Returns
    -------
    CropPlan
        Call it with images, and with `out` if wanted. Its methods `backward` and `backward_boxes` are the
        gradients. Several threads may use it at a time, and it can be copied and pickled.

    Raises
    ------
    TypeError, ValueError
        Where `crop_and_resize` raises them, for all that is not the images.

    See Also
    --------
    crop_and_resize : The function that this prepares, with the same results to the last bit.

    Examples
    --------
    The same part of each frame of a film:

    >>> import numpy as np
    >>> import roicy
    >>> plan = roicy.crop_and_resize_plan([[8, 4, 40, 36]], (48, 64, 3), 16, mean=128, std=64)
    >>> frames = np.zeros((3, 48, 64, 3), np.uint8)
    >>> [float(plan(frame)[0, 0, 0, 0]) for frame in frames]
    [-2.0, -2.0, -2.0]
    """
    options = sampling, interpolation, sampling_ratio, border
    given = GivenCrops(boxes, batch_indices, layout, invalid, options, window)
    finish = {
        "fill": fill,
        "mean": mean,
        "std": std,
        "reverse_channels": reverse_channels,
        "dtype": dtype,
        "out_layout": out_layout,
    }
    return keep(CROP, given, input_shape, output_size, finish)
