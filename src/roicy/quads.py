"""Crops of quadrangles, in perspective."""

from __future__ import annotations

from typing import Any

import numpy as np

from roicy import _arguments as settle
from roicy import cpu
from roicy._backend import adopt
from roicy._types import (
    CONSTANT,
    EDGE,
    REJECT,
    AnyArray,
    Array,
    Border,
    Flag,
    Indices,
    Interpolation,
    Invalid,
    Layout,
    Ndarray,
    NumPyArray,
    OutputSize,
    PerChannel,
    Size,
)

_BORDERS = {"edge": EDGE, "constant": CONSTANT, "reject": REJECT}
_NAMES = tuple(f"{axis}{corner}" for corner in range(1, 5) for axis in "xy")


def crop_quads(
    images: Array,
    corners: AnyArray,
    output_size: OutputSize,
    *,
    batch_indices: Indices | None = None,
    interpolation: Interpolation = "bilinear",
    border: Border = "constant",
    fill: PerChannel = 0.0,
    mean: PerChannel | None = None,
    std: PerChannel | None = None,
    reverse_channels: Flag = False,
    layout: Layout = "NHWC",
    out_layout: Layout | None = None,
    dtype: Any = None,
    invalid: Invalid = "raise",
    out: AnyArray | None = None,
) -> Array:
    """Cut quadrangles out of images, each straightened into a rectangle, and normalise what is cut.

    What four corners show in perspective, a line of text on a poster or a number plate, becomes a crop as it
    would look from before it, made what the next model takes in one pass over the pixels.

    Parameters
    ----------
    images : ndarray, shape (N, H, W, C) or (H, W, C)
        Images of at least one pixel; with ``layout="NCHW"`` the channels come before the rows. float16,
        bfloat16 (of ml_dtypes), float32, float64, uint8, int8, uint16, int16 or bool, strided in any way.
    corners : ndarray, shape (K, 4, 2)
        x and y of the corners that become top left, top right, bottom right and bottom left, in pixels of
        the image, where pixel ``i`` reaches from ``i`` to ``i + 1``. Of rotated boxes, and of OpenCV's
        rectangles, `rotated_corners` says where they are; corners for OpenCV's functions are these less 0.5.
    output_size : int or (int, int)
        Rows and columns of a crop (PH, PW); an int is both.
    batch_indices : ndarray, shape (K,), any integer dtype, or list of int, optional
        The image of each quadrangle, where there are several.
    interpolation : {"bilinear", "nearest"}, optional
        What a sample is: a mean of the four pixels around it, or the pixel that it lies in.
    border, fill, mean, std, reverse_channels, layout, out_layout, dtype : optional
        As in `crop_and_resize`.
    invalid : {"raise", "nan"}, optional
        What to do about rows whose batch index lies outside 0 ... N - 1 or that hold a NaN or an infinity.
        "raise": ValueError that names the first such row. "nan": the crop is NaN, in integers 0.
    out : ndarray, optional
        Where to write the result: of its exact shape and dtype, strided in any way.

    Returns
    -------
    ndarray, shape (K, PH, PW, C)
        Crops, with ``out_layout="NCHW"`` of shape (K, C, PH, PW); `out` where that is given.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as listed, or a row of `corners` is invalid and ``invalid="raise"``.
    NotImplementedError
        For images on a GPU.

    See Also
    --------
    crop_and_resize : The same of boxes, of more samples for a pixel and of lists of images.
    rotated_corners : The corners of rotated boxes.

    Notes
    -----
    Pixel (p, q) of a crop is one sample, where the perspective view that lays the corners of the crop on
    those of the quadrangle has the point ((p + 0.5) / PH, (q + 0.5) / PW). Of a parallelogram, and so of a
    rotated box, that is as in `roi_align_rotated` with ``sampling_ratio=1``, to rounding, inside of the
    image. What lies behind the horizon is `fill`. Of three corners in a line there is no such view: what the
    crop holds then has no meaning, but is finite.

    With the matrix that ``cv2.getPerspectiveTransform`` finds between these corners, less 0.5, and those of
    the crop, (-0.5, -0.5), (PW - 0.5, -0.5), (PW - 0.5, PH - 0.5) and (-0.5, PH - 0.5),
    ``cv2.warpPerspective`` gives the same to its own rounding; with corners at (0, 0), (PW, 0), ..., as is
    often seen, what is cut is half a pixel off.

    Samples are placed and summed in float32. Results do not depend on the number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
    >>> corners = np.array([[[4, 0], [4, 4], [0, 4], [0, 0]]])
    >>> roicy.crop_quads(image, corners, 4)[0, :, :, 0]
    array([[ 3.,  7., 11., 15.],
           [ 2.,  6., 10., 14.],
           [ 1.,  5.,  9., 13.],
           [ 0.,  4.,  8., 12.]], dtype=float32)
    """
    kernels, images, corners, batch_indices, out = adopt(
        images=images, corners=corners, batch_indices=batch_indices, out=out
    )
    source: Ndarray = images
    if kernels.streams is not None:
        raise NotImplementedError(
            "crops are not there yet for images on a GPU: images must be in host memory"
        )
    order = settle.layout(layout)
    if source.ndim == 3:
        source = source[None]
    shape = settle.features_shape(source, order, "images")
    maps = settle.nchw(source, order)
    count, channels, rows, columns = maps.shape
    if not (rows and columns):
        raise ValueError(f"images must have at least one pixel, got shape {shape}")
    size: Size = settle.output_size(output_size)
    quads, indices = _settled(corners, batch_indices, count)
    nearest = settle.interpolation(interpolation) == "nearest"
    rule = _BORDERS[settle.border(border)], nearest
    finish = settle.finish(
        channels,
        order,
        fill=fill,
        mean=mean,
        std=std,
        reverse_channels=reverse_channels,
        dtype=dtype,
        out_layout=out_layout,
        chosen=nearest,
    )
    if source.dtype not in settle.WIDE_LABELS:
        settle.features(source, source.shape, "images")
    elif nearest:
        raise TypeError(f"images must have at most 16 bits for integers, got {source.dtype}")
    result = finish.result_dtype(source.dtype)
    k = len(quads)
    crop_shape = (k, channels, *size) if finish.layout == "NCHW" else (k, *size, channels)
    crops: Ndarray = settle.out(out, crop_shape, result, images, corners)
    valid = np.isfinite(quads).all(axis=(1, 2)) & (indices >= 0) & (indices < count)
    if settle.invalid(invalid) == "raise" and not valid.all():
        row = int(valid.argmin())
        raise ValueError(
            f"corners row {row}, {quads[row].tolist()} of image {int(indices[row])}, must be finite numbers "
            f"of an image of at least 0 and below N = {count}; invalid='nan' accepts such rows"
        )
    numbers = finish.numbers("float32", True, np)
    if numbers is None:
        numbers = np.zeros((3, channels + 16), np.float32)
        numbers[2] = 1
    if finish.reversed:  # the last channel of the result is the first one of the image
        numbers[:, :channels] = numbers[:, :channels][:, ::-1].copy()
    written = settle.written_to(crops, False)
    target = finish.ordered(settle.nchw(written, finish.layout))
    matrices = _views(np.where(valid[:, None, None], quads, 0), size)
    cpu.quad_forward(maps, matrices, np.where(valid, indices, -1), target, numbers, rule)
    if written is not crops:
        crops[...] = written
    found: Array = crops
    return found


def _settled(corners: Any, batch_indices: Any, images: int) -> tuple[NumPyArray, NumPyArray]:
    # corners in float64 and the image of each, in memory of their own
    if corners.ndim != 3 or corners.shape[1:] != (4, 2):
        raise ValueError(f"corners must have shape (K, 4, 2), x and y of four corners, got {corners.shape}")
    if batch_indices is None and images != 1:
        raise ValueError(
            f"batch_indices must say the image of each of the corners where N is {images}, got None"
        )
    found = settle.rois(corners.reshape(len(corners), 8), batch_indices, images, np, _NAMES, name="corners")
    return found.boxes.astype(np.float64).reshape(-1, 4, 2), found.images


def _views(corners: NumPyArray, size: Size) -> NumPyArray:
    # (K, 3, 3): from column + 0.5, row + 0.5 and 1 of a crop to x, y, with pixels at whole numbers, and the
    # divisor
    with np.errstate(all="ignore"):
        p0, p1, p2, p3 = corners.transpose(1, 2, 0)
        skew = p0 - p1 + p2 - p3
        first, second = p1 - p2, p3 - p2
        determinant = first[0] * second[1] - second[0] * first[1]
        flat = (skew == 0).all(axis=0)
        g = np.where(flat, 0, (skew[0] * second[1] - second[0] * skew[1]) / determinant)
        h = np.where(flat, 0, (first[0] * skew[1] - skew[0] * first[1]) / determinant)
        rows, columns = size
        matrices = np.empty((len(corners), 3, 3))
        matrices[:, :2, 0] = ((p1 - p0 + g * p1) / columns).T
        matrices[:, :2, 1] = ((p3 - p0 + h * p3) / rows).T
        matrices[:, :2, 2] = p0.T
        matrices[:, 2] = np.stack([g / columns, h / rows, np.ones_like(g)], axis=1)
        matrices[:, :2] -= 0.5 * matrices[:, 2:]
    return matrices
