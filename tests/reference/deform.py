"""Deformable RoI pooling in slow, plain NumPy: the definition that the package is tested against.

As `reference.average` does: where a sample lies and how many there are is computed in the dtype of the
boxes, one rounding per operation and in the order of mmcv's kernel; weights, sums and averages are float64.
Arrays are NCHW, boxes are rows ``[batch index, x1, y1, x2, y2]``, offsets (K, 2, PH, PW), x before y, of the
dtype of the boxes; a mask is (K, PH, PW).
"""

import math
from typing import NamedTuple

import numpy as np

from reference.average import SUM, image_index, images_of
from reference.rotated import add_gradient, average
from reference.samples import Places, places, samples, slopes


class Moved(NamedTuple):
    """Samples of a box that may hit the map: in which bin they are, where they fall, what moves them."""

    bin: tuple[np.ndarray, np.ndarray]  # p, q
    positions: tuple[np.ndarray, np.ndarray]  # y, x
    y: Places
    x: Places
    reach: tuple[float, float]  # how far an offset of 1 moves a bin along y and x
    counts: tuple[int, int]  # samples of a bin along y and x
    divisor: int


def moved(
    row, offsets, map_size, output_size, *, spatial_scale=1.0, sampling_ratio=0, gamma=0.1, indices=None
):
    """The samples of the box of a row ``x1, y1, x2, y2`` whose bins are moved by offsets (2, PH, PW).

    `indices(counts)` may name those to look at, as arrays of p, q, iy and ix, where it is known that no other
    sample hits the map; by default all of them are looked at.
    """
    real = row.dtype.type
    x1, y1, x2, y2 = row
    starts, sizes, counts = [], [], []
    with np.errstate(all="ignore"):  # the largest boxes have an infinite size
        for low, high, bins in ((y1, y2, output_size[0]), (x1, x2, output_size[1])):
            start = low * real(spatial_scale) - real(0.5)
            size = high * real(spatial_scale) - real(0.5) - start
            starts.append(start)
            sizes.append(size)
            counts.append(sampling_ratio if sampling_ratio > 0 else max(math.ceil(size / real(bins)), 0))
        if indices is None:
            p, q, iy, ix = np.indices((*output_size, *counts)).reshape(4, -1)
        else:
            p, q, iy, ix = indices(counts)
        positions = []
        for axis, (bin_of_axis, i) in enumerate(((p, iy), (q, ix))):
            bin_size = sizes[axis] / real(output_size[axis])
            offset = real(gamma) * sizes[axis] * offsets[1 - axis, p, q]
            within = (i.astype(real) + real(0.5)) * bin_size / real(counts[axis])
            positions.append((starts[axis] + offset) + bin_of_axis.astype(real) * bin_size + within)
        y, x = positions
    reach = float(gamma) * float(sizes[0]), float(gamma) * float(sizes[1])
    divisor = max(counts[0] * counts[1], 1)
    return Moved(
        (p, q), (y, x), places(y, map_size[0]), places(x, map_size[1]), reach, tuple(counts), divisor
    )


def each(rois, offsets, mask, images, map_size, output_size, options):
    """Number, image, samples and mask of each row that is valid."""
    bins = (len(rois), *output_size)
    offsets = np.zeros((len(rois), 2, *output_size), rois.dtype) if offsets is None else offsets
    mask = np.ones(bins) if mask is None else np.asarray(mask, np.float64).reshape(bins)
    for k, roi in enumerate(rois):
        index = image_index(roi, images)
        if index is not None and np.isfinite(offsets[k]).all() and np.isfinite(mask[k]).all():
            yield k, index, moved(roi[1:], offsets[k], map_size, output_size, **options), mask[k]


def deform_roi_pool(features, rois, output_size, *, offsets=None, mask=None, **options):
    """Averages over bins that are moved: (N, C, H, W) and (K, 5) to float64 (K, C, PH, PW)."""
    images = images_of(features)
    n, h, w, c = images.shape
    out = np.full((len(rois), c, *output_size), np.nan)
    for k, index, found, factor in each(rois, offsets, mask, n, (h, w), output_size, options):
        out[k] = average(images[index], found, output_size) * factor
    return out


def deform_roi_pool_backward(grad_output, rois, input_shape, *, offsets=None, mask=None, **options):
    """Gradient with respect to the features: (K, C, PH, PW) to float64 (N, C, H, W)."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad_images = np.zeros((n, h, w, c), SUM)
    for k, index, found, factor in each(rois, offsets, mask, n, (h, w), grad_output.shape[2:], options):
        add_gradient(grad_images[index], grad_output[k] * factor, found)
    return grad_images.transpose(0, 3, 1, 2).astype(np.float64)


def deform_roi_pool_backward_offsets(grad_output, features, rois, *, offsets, mask=None, **options):
    """Gradient with respect to the offsets, float64 (K, 2, PH, PW), and the sums of its absolute terms."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    images = images_of(features)
    n, h, w, _ = images.shape
    size = grad_output.shape[2:]
    grad_offsets, terms = np.zeros((2, len(rois), 2, *size), SUM)
    for k, index, found, factor in each(rois, offsets, mask, n, (h, w), size, options):
        share = (grad_output[k] * factor)[:, *found.bin].T / found.divisor
        along_y, along_x = slopes(images[index], found.y, found.x)
        for channel, slope, reach in ((0, along_x, found.reach[1]), (1, along_y, found.reach[0])):
            with np.errstate(invalid="ignore"):  # a box may be wider than the largest number: then NaN
                np.add.at(grad_offsets[k, channel], found.bin, (share * slope).sum(axis=1) * reach)
                np.add.at(terms[k, channel], found.bin, np.abs(share * slope).sum(axis=1) * abs(reach))
    return grad_offsets.astype(np.float64), terms.astype(np.float64)


def deform_roi_pool_backward_mask(grad_output, features, rois, *, offsets=None, mask=None, **options):
    """Gradient with respect to the mask, float64 (K, PH, PW), and the sums of its absolute terms."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    images = images_of(features)
    n, h, w, _ = images.shape
    size = grad_output.shape[2:]
    grad_mask, terms = np.zeros((2, len(rois), *size), SUM)
    for k, index, found, _ in each(rois, offsets, mask, n, (h, w), size, options):
        share = grad_output[k][:, *found.bin].T / found.divisor
        values = share * samples(images[index], found.y, found.x)
        np.add.at(grad_mask[k], found.bin, values.sum(axis=1))
        np.add.at(terms[k], found.bin, np.abs(values).sum(axis=1))
    return grad_mask.astype(np.float64), terms.astype(np.float64)
