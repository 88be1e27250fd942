"""Bilinear samples at any positions of a map, whole arrays at a time.

What `reference` states for one sample, stated for all samples of a box at once: operators whose samples lie
on no grid along the axes, or are not averaged, are told by it. Positions come in the dtype of the boxes;
fractions, weights, values and sums are float64.
"""

from typing import NamedTuple

import numpy as np


class Places(NamedTuple):
    """Where positions along one axis fall between two pixels: arrays of one shape."""

    lower: np.ndarray
    upper: np.ndarray
    fraction: np.ndarray  # 0 at `lower`, 1 at `upper`
    hit: (
        np.ndarray
    )  # whether the position is on the map: from one pixel before the first to one after the last
    sloped: np.ndarray  # False where the position misses the map or was moved into it


def places(position, length):
    """Where positions fall on an axis of `length` pixels."""
    with np.errstate(invalid="ignore"):  # the largest boxes have samples at NaN and infinity
        hit = (position >= -1) & (position <= length) & (length > 0)
    inside = np.clip(np.where(hit, position, 0), 0, max(length - 1, 0)).astype(np.float64)
    lower = inside.astype(int)
    last = lower >= length - 1
    upper = np.where(last, lower, lower + 1)
    return Places(lower, upper, inside - lower, hit, hit & (position >= 0) & ~last)


def corners(y, x):
    """The four pixels around each sample with their weights; of samples that miss the map all are zero."""
    hit = y.hit & x.hit
    for row, weight_y in ((y.lower, 1 - y.fraction), (y.upper, y.fraction)):
        for column, weight_x in ((x.lower, 1 - x.fraction), (x.upper, x.fraction)):
            yield (row, column), np.where(hit, weight_y * weight_x, 0.0)[..., None]


def samples(image, y, x):
    """Values of an (H, W, C) image at samples: their shape with C behind it."""
    hit = (y.hit & x.hit)[..., None]
    values = np.zeros((*hit.shape[:-1], image.shape[2]))
    if image.size:
        for pixel, weight in corners(y, x):
            with np.errstate(invalid="ignore"):  # 0 * infinity
                values += np.where(hit, weight * image[pixel], 0.0)
    return values


def slopes(image, y, x):
    """d value / d y and d value / d x at samples, both of the shape of the values."""
    along_y = np.zeros((*y.hit.shape, image.shape[2]))
    along_x = np.zeros_like(along_y)
    if image.size:
        right, lower = x.fraction[..., None], y.fraction[..., None]
        left_rise = image[y.upper, x.lower] - image[y.lower, x.lower]
        right_rise = image[y.upper, x.upper] - image[y.lower, x.upper]
        upper_rise = image[y.lower, x.upper] - image[y.lower, x.lower]
        lower_rise = image[y.upper, x.upper] - image[y.upper, x.lower]
        along_y += np.where((x.hit & y.sloped)[..., None], (1 - right) * left_rise + right * right_rise, 0.0)
        along_x += np.where((y.hit & x.sloped)[..., None], (1 - lower) * upper_rise + lower * lower_rise, 0.0)
    return along_y, along_x


def spread(grad_image, gradient, y, x):
    """Adjoint of `samples`: add gradients of values to that of the (H, W, C) image."""
    if grad_image.size:
        for pixel, weight in corners(y, x):
            np.add.at(grad_image, pixel, weight * gradient)
