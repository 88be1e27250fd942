"""RoIAlign in slow, plain NumPy: the definition that the package is tested against.

Three functions state the operator, its adjoint and its gradient with respect to the boxes. They follow the
original kernels (Caffe2, torchvision) sample by sample, with no attempt at speed:

- where a sample lies, how many samples a bin has and whether a sample misses the map is computed in the dtype
  of the boxes, one rounding per operation and in the order of the original kernels, because a last bit can
  move a sample across the border of the map;
- everything after that (weights, sums, averages) is float64, sums of samples more.

Arrays are NCHW, boxes are rows ``[batch index, x1, y1, x2, y2]``. A row is invalid if its batch index,
truncated toward zero, names no image or if one of its numbers is not finite: such a row gives NaN and takes
part in no gradient.
"""

import math
from typing import NamedTuple

import numpy as np

#: What sums of samples are kept in: in thousands of terms float64 loses digits that a result is held to.
SUM = np.longdouble


class Sample(NamedTuple):
    """Where one sample of one axis falls between two pixels, and how it moves with the box."""

    lower: int
    upper: int
    fraction: float  # 0 at `lower`, 1 at `upper`
    sloped: bool  # False where the position was clamped: there the value does not follow the position
    by_low: float  # d position / d low edge of the box, in the coordinates of the box
    by_high: float  # d position / d high edge


class Axis(NamedTuple):
    """The samples of one box along one axis: a list for each bin, and how many there were to begin with."""

    bins: list[list[Sample]]  # without those that miss the map
    count: int  # samples of each bin, including those that miss the map


def locate(position, length):
    """The two pixels around a position, the fraction between them and if it is sloped; None off the map."""
    if length == 0 or not -1 <= position <= length:  # this form rejects NaN as well
        return None
    clamped = max(position, position.dtype.type(0))
    lower = int(clamped)
    if lower >= length - 1:
        return length - 1, length - 1, 0.0, False
    return lower, lower + 1, float(clamped) - lower, bool(position >= 0)


class BoxEdge(NamedTuple):
    """One axis of a box in the pixels of the feature map."""

    start: np.floating
    bin_size: np.floating
    count: int
    widened: bool  # whether the box was smaller than the one pixel that an unaligned box has at least

    def position(self, p, i):
        """Position of sample `i` of bin `p`: ``start + p * bin_size + (i + 0.5) * bin_size / count``."""
        real = type(self.start)
        return self.start + real(p) * self.bin_size + (real(i) + real(0.5)) * self.bin_size / real(self.count)


def box_edge(low, high, bins, *, spatial_scale, sampling_ratio, aligned):
    real = low.dtype.type
    offset = real(0.5 if aligned else 0.0)
    start = low * real(spatial_scale) - offset
    size = high * real(spatial_scale) - offset - start
    widened = not aligned and bool(size < 1)
    if widened:
        size = real(1)
    bin_size = size / real(bins)
    count = sampling_ratio if sampling_ratio > 0 else max(math.ceil(bin_size), 0)
    return BoxEdge(start, bin_size, count, widened)


def axis(low, high, length, bins, *, spatial_scale, sampling_ratio, aligned, indices=None):
    """The samples of a box along one axis of the map.

    `indices(edge, p)` may name the sample indices of bin `p` to look at, where it is known that no other hits
    the map; by default all of them are looked at.
    """
    with np.errstate(all="ignore"):  # the largest finite boxes have an infinite size
        edge = box_edge(
            low, high, bins, spatial_scale=spatial_scale, sampling_ratio=sampling_ratio, aligned=aligned
        )
        found = []
        for p in range(bins):
            found.append([])
            for i in range(edge.count) if indices is None else indices(edge, p):
                place = locate(edge.position(p, i), length)
                if place is None:
                    continue
                t = (p + (i + 0.5) / edge.count) / bins
                by_low, by_high = (1.0, 0.0) if edge.widened else (1.0 - t, t)
                found[p].append(Sample(*place, spatial_scale * by_low, spatial_scale * by_high))
    return Axis(found, edge.count)


def box_axes(box, map_size, output_size, **options):
    """The y axis and the x axis of one box ``x1, y1, x2, y2``."""
    x1, y1, x2, y2 = box
    return (
        axis(y1, y2, map_size[0], output_size[0], **options),
        axis(x1, x2, map_size[1], output_size[1], **options),
    )


def stacked(bins, *axes):
    """All samples of each bin at once, as arrays along an axis of (y, x, channels), or None."""
    return [
        Sample(*(np.array(field)[axes] for field in zip(*found, strict=True))) if found else None
        for found in bins
    ]


def grids(ys, xs):
    """The bins that have samples: p, q, and all samples along y and along x."""
    down, across = stacked(ys.bins, ..., None, None), stacked(xs.bins, ..., None)
    for p, y in enumerate(down):
        for q, x in enumerate(across):
            if y and x:
                yield p, q, y, x


def pixels(image, rows, columns):
    """Pixels of an (H, W, C) image where rows and columns cross: (rows, columns, C)."""
    return image[rows[..., 0], columns[..., 0]]


def bilinear(image, y, x):
    """Values of an (H, W, C) image at samples: (samples along y, samples along x, C)."""
    top = (1 - x.fraction) * pixels(image, y.lower, x.lower) + x.fraction * pixels(image, y.lower, x.upper)
    bottom = (1 - x.fraction) * pixels(image, y.upper, x.lower) + x.fraction * pixels(image, y.upper, x.upper)
    return (1 - y.fraction) * top + y.fraction * bottom


def slope_y(image, y, x):
    """d value / d y of an (H, W, C) image at samples."""
    left = pixels(image, y.upper, x.lower) - pixels(image, y.lower, x.lower)
    right = pixels(image, y.upper, x.upper) - pixels(image, y.lower, x.upper)
    return np.where(y.sloped, (1 - x.fraction) * left + x.fraction * right, 0)


def slope_x(image, y, x):
    """d value / d x of an (H, W, C) image at samples."""
    top = pixels(image, y.lower, x.upper) - pixels(image, y.lower, x.lower)
    bottom = pixels(image, y.upper, x.upper) - pixels(image, y.upper, x.lower)
    return np.where(x.sloped, (1 - y.fraction) * top + y.fraction * bottom, 0)


def average(image, ys, xs):
    """Mean over the samples of each bin; samples that miss the map count as zeros. Shape (C, PH, PW)."""
    out = np.zeros((image.shape[2], len(ys.bins), len(xs.bins)), SUM)
    for p, q, y, x in grids(ys, xs):
        out[:, p, q] += bilinear(image, y, x).sum(axis=(0, 1), dtype=SUM)
    return (out / max(ys.count * xs.count, 1)).astype(np.float64)


def spread(grad_image, grad_bins, ys, xs):
    """Adjoint of `average`: add the gradient of one box's bins (C, PH, PW) to that of the (H, W, C) image."""
    for p, bin_y in enumerate(ys.bins):
        for q, bin_x in enumerate(xs.bins):
            share = grad_bins[:, p, q] / max(ys.count * xs.count, 1)
            for y in bin_y:
                for x in bin_x:
                    grad_image[y.lower, x.lower] += (1 - y.fraction) * (1 - x.fraction) * share
                    grad_image[y.lower, x.upper] += (1 - y.fraction) * x.fraction * share
                    grad_image[y.upper, x.lower] += y.fraction * (1 - x.fraction) * share
                    grad_image[y.upper, x.upper] += y.fraction * x.fraction * share


def box_gradient(image, grad_bins, ys, xs):
    """d sum(average * grad_bins) / d (x1, y1, x2, y2) with the number of samples held constant."""
    grad = np.zeros(4, SUM)
    for p, q, y, x in grids(ys, xs):
        share = grad_bins[:, p, q] / max(ys.count * xs.count, 1)
        along_y, along_x = (slope(image, y, x) @ share for slope in (slope_y, slope_x))
        low_x, low_y, high_x, high_y = x.by_low[:, 0], y.by_low[:, 0], x.by_high[:, 0], y.by_high[:, 0]
        moves = [along_x * low_x, along_y * low_y, along_x * high_x, along_y * high_y]
        grad += [move.sum(dtype=SUM) for move in moves]
    return grad.astype(np.float64)


def images_of(features):
    """NCHW of any real dtype as float64 images (N, H, W, C)."""
    return np.ascontiguousarray(np.asarray(features).astype(np.float64).transpose(0, 2, 3, 1))


def image_index(roi, images):
    """The image of a row of rois, or None for an invalid row."""
    if not np.isfinite(roi).all() or not 0 <= int(roi[0]) < images:
        return None
    return int(roi[0])


def roi_align(features, rois, output_size, *, spatial_scale=1.0, sampling_ratio=0, aligned=True):
    """RoIAlign with averages: (N, C, H, W) and (K, 5) to float64 (K, C, PH, PW)."""
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    images = images_of(features)
    n, h, w, c = images.shape
    out = np.full((len(rois), c, *output_size), np.nan)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            out[k] = average(images[index], *box_axes(roi[1:], (h, w), output_size, **options))
    return out


def roi_align_backward(grad_output, rois, input_shape, *, spatial_scale=1.0, sampling_ratio=0, aligned=True):
    """Gradient with respect to the features: (K, C, PH, PW) to float64 (N, C, H, W)."""
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad_images = np.zeros((n, h, w, c), SUM)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            axes = box_axes(roi[1:], (h, w), grad_output.shape[2:], **options)
            spread(grad_images[index], grad_output[k], *axes)
    return grad_images.transpose(0, 3, 1, 2).astype(np.float64)


def roi_align_backward_rois(
    grad_output, features, rois, *, spatial_scale=1.0, sampling_ratio=0, aligned=True
):
    """Gradient with respect to the boxes: float64 (K, 5) with a column of zeros for the batch index."""
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    grad_output = np.asarray(grad_output).astype(np.float64)
    images = images_of(features)
    n, h, w, _ = images.shape
    grad_rois = np.zeros((len(rois), 5))
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            axes = box_axes(roi[1:], (h, w), grad_output.shape[2:], **options)
            grad_rois[k, 1:] = box_gradient(images[index], grad_output[k], *axes)
    return grad_rois
