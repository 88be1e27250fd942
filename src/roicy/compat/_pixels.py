"""RoIPool with a 64-bit argmax, for maps with more pixels than int32 can count."""

from __future__ import annotations

from typing import Any

import numpy as np

import roicy
from roicy import _arguments as settle
from roicy._types import Ndarray, OutputSize, Shape

#: Pixels that the argmax of `roicy.roi_pool` can count.
MOST_PIXELS = 2**31 - 1


def pool_with_pixels(
    data: Ndarray, rois: Ndarray, images: Ndarray, pooled_size: OutputSize, options: dict[str, Any]
) -> tuple[Ndarray, Ndarray]:
    """Return `roicy.roi_pool` of NCHW maps, and the pixels of its maxima however many there are.

    Parameters
    ----------
    data, rois, pooled_size, options
        What `roicy.roi_pool` is called with; `rois` are five columns of numbers that are finite.
    images : ndarray, (R,), int64
        The image of each box; below 0, or N and more, if the box has no image.
    """
    n, _, h, w = data.shape
    if h * w <= MOST_PIXELS:
        pooled: tuple[Ndarray, Ndarray] = roicy.roi_pool(
            data, rois, pooled_size, return_argmax=True, **options
        )
        return pooled
    out: Ndarray = roicy.roi_pool(data, rois, pooled_size, **options)
    xp = settle.library_of(out)
    boxes = settle.rois(rois, None, n, xp).boxes
    _, _, rows, columns = out.shape
    scale = options["spatial_scale"]
    ys = settle.on_host(_edges(xp, boxes[:, 2], boxes[:, 4], scale, rows, h))
    xs = settle.on_host(_edges(xp, boxes[:, 1], boxes[:, 3], scale, columns, w))
    pixels = xp.zeros(out.shape, np.int64) - 1
    for k, image in enumerate(settle.on_host(images).tolist()):
        if not 0 <= image < n:
            continue
        for p, q in np.ndindex(rows, columns):
            (top, bottom), (left, right) = ys[k, p].tolist(), xs[k, q].tolist()
            if top < bottom and left < right:
                bin = data[image : image + 1, :, top:bottom, left:right]
                chosen = _first_largest(bin)
                place = (top + chosen // (right - left)) * w + left + chosen % (right - left)
                pixels[k, :, p, q] = xp.where(chosen < 0, -1, place)
    return out, pixels


def _edges(xp: Any, first: Ndarray, last: Ndarray, scale: float, bins: int, length: int) -> Ndarray:
    # Where bins begin and end along an axis, (R, bins, 2), with the roundings of `roicy.roi_pool`.
    real = first.dtype.type
    with np.errstate(all="ignore"):
        low, high = (_rounded(xp, corner * real(scale)).astype(np.float64) for corner in (first, last))
        size = xp.maximum(high - low + 1, 1).astype(first.dtype) / real(bins)
        edges = xp.arange(bins + 1, dtype=first.dtype) * size[:, None]
        begin = xp.floor(edges[:, :-1]).astype(np.float64) + low[:, None]
        end = xp.ceil(edges[:, 1:]).astype(np.float64) + low[:, None]
    # not a number where a box is beyond the precision
    return xp.nan_to_num(xp.clip(xp.stack([begin, end], axis=-1), 0, length)).astype(np.int64)


def _rounded(xp: Any, values: Ndarray) -> Ndarray:
    whole = xp.trunc(values)
    return whole + xp.where(abs(values - whole) >= 0.5, xp.sign(values), 0)  # halves go away from zero


def _first_largest(bin: Ndarray) -> Ndarray:
    # The largest pixel of each channel of a map (1, C, rows, columns), counted row by row; -1 where none is.
    _, _, rows, columns = bin.shape
    xp = settle.library_of(bin)
    step = max(MOST_PIXELS // columns, 1)
    best, chosen = xp.zeros(bin.shape[1], bin.dtype), xp.zeros(bin.shape[1], np.int64) - 1
    for top in range(0, rows, step):
        part = bin[:, :, top : top + step]
        whole = xp.asarray(np.array([[0, 0, 0, columns - 1, part.shape[2] - 1]], np.float64))
        value, at = (found[0, :, 0, 0] for found in roicy.roi_pool(part, whole, 1, return_argmax=True))
        larger = (at >= 0) & ((chosen < 0) | (value > best))
        best = xp.where(larger, value, best)
        chosen = xp.where(larger, at.astype(np.int64) + top * columns, chosen)
    return chosen


def spread_to_pixels(xp: Any, out_grad: Ndarray, pixels: Ndarray, rois: Ndarray, shape: Shape) -> Ndarray:
    """Return the gradient of `roicy.roi_pool` for an argmax of int64, however many pixels the map has."""
    _, _, h, w = shape
    if h * w <= MOST_PIXELS:
        return roicy.roi_pool_backward(out_grad, pixels.astype(np.int32), rois, shape, invalid="nan")
    _, dtype = settle.grad_output(out_grad, pixels.shape)
    grad: Ndarray = settle.new("the gradient", shape, dtype, xp)
    step = max(MOST_PIXELS // w, 1)
    for top in range(0, h, step):
        part = grad[:, :, top : top + step]
        inside = (pixels >= top * w) & (pixels < (top + part.shape[2]) * w)
        chosen = xp.where(inside, pixels - top * w, -1).astype(np.int32)
        roicy.roi_pool_backward(out_grad, chosen, rois, part.shape, invalid="nan", out=part)
    return grad
