"""Precise RoI pooling in slow, plain NumPy: the definition that the package is tested against.

Between the centres of its pixels the map is bilinear, and it falls to zero over one pixel outside of them:
outside are zeros. A bin is the mean of that over its area. Along an axis the map is a sum of hats, one over
each pixel, and the integral of a hat has a closed form: so the mean is a sum over pixels, of a weight along y
times one along x, the integrals of their hats over the bin's sides divided by the sides' lengths. A weight
along a side from a to b moves with its ends: d weight / d a = (weight - hat(a)) / (b - a), and d weight / d b
= (hat(b) - weight) / (b - a).

Corners are scaled, and sides divided into bins, in the dtype of the boxes. From there on all has so many
digits that nothing cancels, until it is a float64. Conventions, and what becomes of an invalid row, are those
of `reference`.
"""

import math
from decimal import Context, Decimal, localcontext
from typing import NamedTuple

import numpy as np

from reference.average import image_index, images_of

DIGITS = Context(prec=60)


class Axis(NamedTuple):
    """One axis of a box, (bins, pixels): weights, and d weight / d first and second coordinate of the box."""

    weight: np.ndarray
    by_low: np.ndarray
    by_high: np.ndarray
    terms_low: np.ndarray  # of what `by_low` is the sum, without signs
    terms_high: np.ndarray


def hat(t):
    """The hat over a pixel, at a distance from it."""
    return max(1 - abs(t), 0)


def hat_below(t):
    """The integral of the hat from minus infinity to `t`."""
    if t <= -1:
        return 0
    if t >= 1:
        return 1
    return (t + 1) ** 2 / 2 if t <= 0 else 1 - (1 - t) ** 2 / 2


def axis(low, high, length, bins, spatial_scale):
    """The weights of a box along one axis of the map."""
    with localcontext(DIGITS):
        return _axis(low, high, length, bins, spatial_scale)


def _axis(low, high, length, bins, spatial_scale):
    found = Axis(*np.zeros((5, bins, length)))
    real = low.dtype.type
    with np.errstate(all="ignore"):  # the largest finite boxes have an infinite size
        start = low * real(spatial_scale)
        size = (high * real(spatial_scale) - start) / real(bins)
    if not np.isfinite(start) or not 0 < size < np.inf:
        return found
    start, size, scale = Decimal(float(start)), Decimal(float(size)), Decimal(spatial_scale)
    for p in range(bins):
        a, b = start + p * size, start + (p + 1) * size
        # a lies p / bins of the way from the first coordinate to the second, b lies (p + 1) / bins
        low_a, low_b, high_a, high_b = (scale * n / bins / size for n in (bins - p, bins - p - 1, p, p + 1))
        for pixel in range(max(math.floor(max(a, -1)), 0), min(math.ceil(min(b, length)) + 1, length)):
            weight = (hat_below(b - pixel) - hat_below(a - pixel)) / size
            at_a, at_b = hat(a - pixel), hat(b - pixel)
            found.weight[p, pixel] = weight
            found.by_low[p, pixel] = (weight - at_a) * low_a + (at_b - weight) * low_b
            found.by_high[p, pixel] = (weight - at_a) * high_a + (at_b - weight) * high_b
            found.terms_low[p, pixel] = (weight + at_a) * low_a + (at_b + weight) * low_b
            found.terms_high[p, pixel] = (weight + at_a) * high_a + (at_b + weight) * high_b
    return found


def box_axes(box, map_size, output_size, spatial_scale):
    """The y axis and the x axis of one box ``x1, y1, x2, y2``."""
    x1, y1, x2, y2 = box
    return (
        axis(y1, y2, map_size[0], output_size[0], spatial_scale),
        axis(x1, x2, map_size[1], output_size[1], spatial_scale),
    )


def pooled(image, weights_y, weights_x):
    """An (H, W, C) image, summed with the weights of both axes: (C, PH, PW)."""
    # the slopes of a side of 1e-323 have no end: times no pixels they are no number
    with np.errstate(invalid="ignore"):
        return weights_y @ image.transpose(2, 0, 1) @ weights_x.T


def prroi_pool(features, rois, output_size, *, spatial_scale=1.0):
    """Precise RoI pooling: (N, C, H, W) and (K, 5) to float64 (K, C, PH, PW)."""
    images = images_of(features)
    n, h, w, c = images.shape
    out = np.full((len(rois), c, *output_size), np.nan)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            y, x = box_axes(roi[1:], (h, w), output_size, spatial_scale)
            out[k] = pooled(images[index], y.weight, x.weight)
    return out


def prroi_pool_backward(grad_output, rois, input_shape, *, spatial_scale=1.0):
    """Gradient with respect to the features: (K, C, PH, PW) to float64 (N, C, H, W)."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad_features = np.zeros((n, c, h, w))
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            y, x = box_axes(roi[1:], (h, w), grad_output.shape[2:], spatial_scale)
            grad_features[index] += y.weight.T @ grad_output[k] @ x.weight
    return grad_features


def prroi_pool_backward_rois(grad_output, features, rois, *, spatial_scale=1.0):
    """Gradient with respect to the boxes and the sums of its absolute terms: float64 (K, 5), with a column of
    zeros for the batch index.
    """
    grad_output = np.asarray(grad_output).astype(np.float64)
    images = images_of(features)
    n, h, w, _ = images.shape
    grad_rois, terms = np.zeros((2, len(rois), 5))
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            y, x = box_axes(roi[1:], (h, w), grad_output.shape[2:], spatial_scale)
            moved = [(y.weight, x.by_low), (y.by_low, x.weight), (y.weight, x.by_high), (y.by_high, x.weight)]
            grad_rois[k, 1:] = [np.sum(pooled(images[index], *pair) * grad_output[k]) for pair in moved]
            moved = [
                (y.weight, x.terms_low),
                (y.terms_low, x.weight),
                (y.weight, x.terms_high),
                (y.terms_high, x.weight),
            ]
            image, grad = np.abs(images[index]), np.abs(grad_output[k])
            terms[k, 1:] = [np.sum(pooled(image, *pair) * grad) for pair in moved]
    return grad_rois, terms
