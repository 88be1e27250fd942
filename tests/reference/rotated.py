"""RoIAlign of rotated boxes in slow, plain NumPy: the definition that the package is tested against.

As `reference` does for boxes along the axes: where a sample lies and how many there are is computed in the
dtype of the boxes, one rounding per operation and in the order of the original kernels; weights, sums and
averages are float64. Arrays are NCHW, boxes are rows ``[batch index, cx, cy, w, h, angle]``, and the angle
turns the box counter-clockwise as displayed, with y downwards.
"""

import math
from typing import NamedTuple

import numpy as np

from reference.average import SUM, image_index, images_of
from reference.samples import Places, places, samples, slopes, spread


class Turned(NamedTuple):
    """A rotated box in the pixels of the feature map, in the dtype of the boxes."""

    center_y: np.floating
    center_x: np.floating
    height: np.floating
    width: np.floating
    cos: np.floating
    sin: np.floating
    radians: float  # counter-clockwise radians in a unit of the angle
    grown: tuple[bool, bool]  # whether height and width were below the one pixel of unaligned boxes
    counts: tuple[int, int]  # samples of a bin along the height and along the width


def turned(row, output_size, *, spatial_scale, sampling_ratio, aligned, angle_unit, clockwise):
    """The box of a row ``cx, cy, w, h, angle``."""
    cx, cy, w, h, angle = row
    real = row.dtype.type
    scale, offset = real(spatial_scale), real(0.5 if aligned else 0.0)
    height, width = h * scale, w * scale
    grown = (not aligned and bool(height < 1), not aligned and bool(width < 1))
    height, width = real(1) if grown[0] else height, real(1) if grown[1] else width
    counts = tuple(
        sampling_ratio if sampling_ratio > 0 else max(math.ceil(size / real(bins)), 0)
        for size, bins in zip((height, width), output_size, strict=True)
    )
    theta, radians = angle, 1.0
    if angle_unit == "degrees":
        theta, radians = real(float(angle) * math.pi / 180.0), math.pi / 180.0
    if clockwise:
        theta, radians = -theta, -radians
    turns = math.isfinite(theta)  # the largest angles have no radians in their dtype
    cos, sin = (real(math.cos(theta)), real(math.sin(theta))) if turns else (real(np.nan), real(np.nan))
    return Turned(cy * scale - offset, cx * scale - offset, height, width, cos, sin, radians, grown, counts)


def offset(size, bins, count, p, i):
    """Distance of samples `i` of bins `p` from the middle of a side of the box."""
    real = type(size)
    bin_size = size / real(bins)
    within = (i.astype(real) + real(0.5)) * bin_size / real(count)
    return (-size / real(2) + p.astype(real) * bin_size) + within


class Samples(NamedTuple):
    """Samples of a box that may hit the map: in which bin they are, where they fall, how they move."""

    bin: tuple[np.ndarray, np.ndarray]  # p, q
    positions: tuple[np.ndarray, np.ndarray]  # y, x
    y: Places
    x: Places
    moves: list[tuple[np.ndarray, np.ndarray]]  # d y and d x for a unit of cx, cy, w, h and angle
    divisor: int


def sampled(row, map_size, output_size, *, indices=None, **options):
    """The samples of the box of a row ``cx, cy, w, h, angle``.

    `indices(box)` may name those to look at, as arrays of p, q, iy and ix, where it is known that no other
    sample hits the map; by default all of them are looked at.
    """
    with np.errstate(all="ignore"):  # the largest boxes have samples at infinity
        box = turned(row, output_size, **options)
        if indices is None:
            p, q, iy, ix = np.indices((*output_size, *box.counts)).reshape(4, -1)
        else:
            p, q, iy, ix = indices(box)
        yy = offset(box.height, output_size[0], box.counts[0], p, iy)
        xx = offset(box.width, output_size[1], box.counts[1], q, ix)
        y = (yy * box.cos - xx * box.sin) + box.center_y
        x = (yy * box.sin + xx * box.cos) + box.center_x

        scale, cos, sin = options["spatial_scale"], float(box.cos), float(box.sin)
        along_h = 0 if box.grown[0] else (p + (iy + 0.5) / box.counts[0]) / output_size[0] - 0.5
        along_w = 0 if box.grown[1] else (q + (ix + 0.5) / box.counts[1]) / output_size[1] - 0.5
        moves = [
            (0, scale),
            (scale, 0),
            (-scale * along_w * sin, scale * along_w * cos),
            (scale * along_h * cos, scale * along_h * sin),
            (-box.radians * (yy * sin + xx * cos), box.radians * (yy * cos - xx * sin)),
        ]
    divisor = max(box.counts[0] * box.counts[1], 1)
    return Samples((p, q), (y, x), places(y, map_size[0]), places(x, map_size[1]), moves, divisor)


def average(image, found, output_size):
    """Mean over the samples of each bin; samples that miss the map count as zeros. Shape (C, PH, PW)."""
    out = np.zeros((*output_size, image.shape[2]), SUM)
    np.add.at(out, found.bin, samples(image, found.y, found.x))
    return (out.transpose(2, 0, 1) / found.divisor).astype(np.float64)


def add_gradient(grad_image, grad_bins, found):
    """Adjoint of `average`: add the gradient of one box's bins (C, PH, PW) to that of the (H, W, C) image."""
    spread(grad_image, grad_bins[:, *found.bin].T / found.divisor, found.y, found.x)


def box_gradient(image, grad_bins, found):
    """d sum(average * grad_bins) / d (cx, cy, w, h, angle) with the number of samples held constant.

    The five sums come with those of the absolute terms, which tell how exact a sum that cancels can be.
    """
    share = grad_bins[:, *found.bin].T / found.divisor
    along = [share * slope for slope in slopes(image, found.y, found.x)]

    def moved(slope, move):  # where there is no slope nothing changes, however far the sample goes
        with np.errstate(invalid="ignore"):
            return np.where(slope.T == 0, 0, slope.T * move).T

    terms = [[moved(*both) for both in zip(along, pair, strict=True)] for pair in found.moves]
    sums = [sum(term.sum() for term in pair) for pair in terms]
    return sums, [sum(np.abs(term).sum() for term in pair) for pair in terms]


def settled(options):
    """Options as `turned` wants them: all of them."""
    defaults = {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": True}
    return {**defaults, "angle_unit": "degrees", "clockwise": False, **options}


def roi_align_rotated(features, rois, output_size, **options):
    """Averages over rotated boxes: (N, C, H, W) and (K, 6) to float64 (K, C, PH, PW)."""
    images = images_of(features)
    n, h, w, c = images.shape
    out = np.full((len(rois), c, *output_size), np.nan)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            found = sampled(roi[1:], (h, w), output_size, **settled(options))
            out[k] = average(images[index], found, output_size)
    return out


def roi_align_rotated_backward(grad_output, rois, input_shape, **options):
    """Gradient with respect to the features: (K, C, PH, PW) to float64 (N, C, H, W)."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad_images = np.zeros((n, h, w, c), SUM)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            found = sampled(roi[1:], (h, w), grad_output.shape[2:], **settled(options))
            add_gradient(grad_images[index], grad_output[k], found)
    return grad_images.transpose(0, 3, 1, 2).astype(np.float64)


def roi_align_rotated_backward_rois(grad_output, features, rois, **options):
    """Gradient with respect to the boxes: float64 (K, 6) with a column of zeros for the batch index.

    It comes with the sums of the absolute terms, of the same shape.
    """
    grad_output = np.asarray(grad_output).astype(np.float64)
    images = images_of(features)
    n, h, w, _ = images.shape
    grad_rois, terms = np.zeros((2, len(rois), 6))
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            found = sampled(roi[1:], (h, w), grad_output.shape[2:], **settled(options))
            grad_rois[k, 1:], terms[k, 1:] = box_gradient(images[index], grad_output[k], found)
    return grad_rois, terms
