"""RoIPool and R-MAC in slow, plain NumPy: the definitions that the package is tested against.

RoIPool's bins are computed in the dtype of the boxes, one rounding per operation; its values are those of the
features. Arrays are NCHW, boxes are rows ``[batch index, x1, y1, x2, y2]`` whose corners are both inside.
"""

import numpy as np

from reference.average import SUM, image_index

LOWEST = -float(np.finfo(np.float32).max)  # what a maximum starts from, whatever the dtype


def half_away(value):
    """The nearest whole number, of two the one further from zero."""
    whole = int(value)
    if abs(value - value.dtype.type(whole)) >= 0.5:
        whole += 1 if value > 0 else -1
    return whole


def rounded_ranges(low, high, length, bins, spatial_scale):
    """Ranges [start, end) of pixels along one axis: the box rounded to pixels, the bins outwards again."""
    real = low.dtype.type
    return ranges_of_rounded(
        low,
        high,
        length,
        spatial_scale,
        bins,
        lambda size, p: np.float64(real(p) * (real(size) / real(bins))),
    )


def whole_ranges(low, high, length, bins, spatial_scale):
    """The same with the edges of bins as quotients of whole numbers, of which float64 has the products."""
    return ranges_of_rounded(
        low, high, length, spatial_scale, bins, lambda size, p: p * np.float64(size) / bins
    )


@np.errstate(all="ignore")
def ranges_of_rounded(low, high, length, spatial_scale, bins, edge):
    """The ranges of a rounded box, of which `edge(size, p)` is how far from its start bin p begins."""
    real = low.dtype.type
    low, high = low * real(spatial_scale), high * real(spatial_scale)
    known = np.isfinite(low) and np.isfinite(high)
    # what is no number then becomes 0
    first, last = (half_away(low), half_away(high)) if known else (np.float64(low), np.float64(high))
    size = last - first + 1
    size = real(1.0 if size < 1 else size)

    def at(p, rounded):
        place = rounded(edge(size, p))
        place = (int(place) if known and np.isfinite(place) else place) + first
        return int(min(place, length)) if place > 0 else 0

    return [(at(p, np.floor), at(p + 1, np.ceil)) for p in range(bins)]


def unrounded_ranges(low, high, length, bins, spatial_scale):
    """The same with nothing but the bins rounded; a box of no size has no pixel in any bin."""
    real = low.dtype.type
    start, size = (
        low * real(spatial_scale),
        (high + real(1)) * real(spatial_scale) - low * real(spatial_scale),
    )
    if size <= 0:
        return None
    bin_size = size / real(bins)

    def at(p, rounded):
        place = rounded(real(p) * bin_size + start)  # no number counts as 0
        return int(min(place, length)) if place > 0 else 0

    return [(at(p, np.floor), at(p + 1, np.ceil)) for p in range(bins)]


RANGES = {"round": rounded_ranges, "none": unrounded_ranges, "whole": whole_ranges}


def bins_of(roi, map_size, output_size, spatial_scale, rounding):
    """The bins of a box that have pixels: (p, q, top, bottom, left, right), ends not included."""
    x1, y1, x2, y2 = roi[1:]
    with np.errstate(all="ignore"):
        rows = RANGES[rounding](y1, y2, map_size[0], output_size[0], spatial_scale)
        columns = RANGES[rounding](x1, x2, map_size[1], output_size[1], spatial_scale)
    return [
        (p, q, top, bottom, left, right)
        for p, (top, bottom) in enumerate(rows or [])
        for q, (left, right) in enumerate(columns or [])
        if top < bottom and left < right
    ]


def roi_pool(features, rois, output_size, *, spatial_scale=1.0, rounding="round"):
    """Maxima and their indices: (N, C, H, W) and (K, 5) to float64 and int (K, C, PH, PW)."""
    n, c, h, w = features.shape
    planes = np.asarray(features).astype(np.float64)
    out = np.zeros((len(rois), c, *output_size))
    argmax = np.full(out.shape, -1)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is None:
            out[k] = np.nan
            continue
        for p, q, top, bottom, left, right in bins_of(roi, (h, w), output_size, spatial_scale, rounding):
            window = planes[index, :, top:bottom, left:right]
            out[k, :, p, q], place = first_largest(window.reshape(c, (bottom - top) * (right - left)))
            row, column = top + place // (right - left), left + place % (right - left)
            argmax[k, :, p, q] = np.where(place < 0, -1, row * w + column)
    return out, argmax


def first_largest(values):
    """The largest of the last axis and the first place of it; what is not above the lowest is never taken.

    NaN is not above anything.
    """
    comparable = np.where(values > LOWEST, values, -np.inf)
    place = comparable.argmax(axis=-1)
    largest = np.take_along_axis(comparable, place[..., None], axis=-1)[..., 0]
    nothing = largest == -np.inf
    return np.where(nothing, LOWEST, largest), np.where(nothing, -1, place)


def roi_pool_backward(grad_output, argmax, rois, input_shape):
    """Gradient with respect to the features: each bin's goes to the pixel that was chosen."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad = np.zeros((n, c, h * w), SUM)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            channel, p, q = np.nonzero(argmax[k] >= 0)
            np.add.at(grad[index], (channel, argmax[k, channel, p, q]), grad_output[k, channel, p, q])
    return grad.reshape(n, c, h, w).astype(np.float64)


def average(features, rois, output_size, *, spatial_scale=1.0, rounding="round"):
    """Means over the same bins: (N, C, H, W) and (K, 5) to float64 (K, C, PH, PW)."""
    n, c, h, w = features.shape
    planes = np.asarray(features).astype(np.float64)
    out = np.zeros((len(rois), c, *output_size))
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is None:
            out[k] = np.nan
            continue
        for p, q, top, bottom, left, right in bins_of(roi, (h, w), output_size, spatial_scale, rounding):
            out[k, :, p, q] = planes[index, :, top:bottom, left:right].mean(axis=(1, 2))
    return out


def average_backward(grad_output, rois, input_shape, *, spatial_scale=1.0, rounding="round"):
    """Gradient of the means with respect to the features: each bin's goes to all its pixels, evenly."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad = np.zeros((n, c, h, w), SUM)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is None:
            continue
        bins = bins_of(roi, (h, w), grad_output.shape[2:], spatial_scale, rounding)
        for p, q, top, bottom, left, right in bins:
            part = grad_output[k, :, p, q] / ((bottom - top) * (right - left))
            grad[index, :, top:bottom, left:right] += part[:, None, None]
    return grad.astype(np.float64)


# ---------------------------------------------------------------- R-MAC


def rmac_regions(images, height, width, scales=3, overlap=0.4):
    """Square regions of several sizes that cover a map evenly: rows ``[image, x1, y1, x2, y2]``.

    In float32, as in the original, where a truncated product may be a pixel short of the exact one.
    """
    real = np.float32
    short, long = min(height, width), max(height, width)
    steps = 0
    if height != width:
        # How many steps along the longer side bring the overlap of neighbours closest to the wanted one.
        area = real(short * short)
        distance = []
        for count in range(1, 7):
            stride = real((long - short) / count)
            distance.append(abs((area - real(short) * stride) / area - real(overlap)))
        steps = 1 + int(np.argmin(distance))
    boxes = []
    for level in range(1, scales + 1):
        side = 2 * short // (level + 1)
        if side == 0:
            break
        steps_x = level - 1 + (steps if width > height else 0)
        steps_y = level - 1 + (steps if height > width else 0)
        stride_x = real((width - side) / steps_x) if steps_x else real(0)
        stride_y = real((height - side) / steps_y) if steps_y else real(0)
        for i in range(steps_x + 1):
            for j in range(steps_y + 1):
                x = min(int(stride_x * real(i)), width - side)
                y = min(int(stride_y * real(j)), height - side)
                boxes.append((x, y, x + side - 1, y + side - 1))
    rows = [(image, *box) for image in range(images) for box in boxes]
    return np.array(rows, real).reshape(-1, 5)


def normalised(vectors, eps):
    """Vectors along the last axis with a length of one, or what there is of it below `eps`."""
    length = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return vectors / np.maximum(length, eps)


def rmac_backward(grad_output, features, *, scales=3, overlap=0.4, eps=1e-12):
    """The gradient of `rmac` with respect to the features, of sums that are not whitened: float64."""
    n, channels, h, w = features.shape
    grad = np.zeros(features.shape)
    regions = rmac_regions(1, h, w, scales, overlap)[:, 1:].astype(int)

    def unit_backward(slope, unit, length):
        return (slope - (slope @ unit if length > eps else 0.0) * unit) / max(length, eps)

    for image in range(n):
        where = np.empty((len(regions), channels), int)
        for r, (x1, y1, x2, y2) in enumerate(regions):
            at = features[image, :, y1 : y2 + 1, x1 : x2 + 1].reshape(channels, -1).argmax(axis=1)
            where[r] = (y1 + at // (x2 - x1 + 1)) * w + x1 + at % (x2 - x1 + 1)
        flat = features[image].reshape(channels, -1).astype(np.float64)
        maxima = np.take_along_axis(flat, where.T, axis=1).T
        units, total = normalised(maxima, eps), normalised(maxima, eps).sum(axis=0)
        vector = normalised(total, eps)
        slope = unit_backward(grad_output[image].astype(np.float64), vector, np.linalg.norm(total))
        for r in range(len(regions)):
            terms = unit_backward(slope, units[r], np.linalg.norm(maxima[r]))
            np.add.at(grad[image].reshape(channels, -1), (np.arange(channels), where[r]), terms)
    return grad


def rmac(features, *, scales=3, overlap=0.4, whiten=None, aggregate="sum", eps=1e-12):
    """The descriptor of each image: float64 (N, C), or (N, R * C) for ``aggregate="concat"``.

    `whiten` takes rows to rows.
    """
    n, _, h, w = features.shape
    regions = rmac_regions(1, h, w, scales, overlap)[:, 1:].astype(int)
    windows = [features[:, :, y1 : y2 + 1, x1 : x2 + 1] for x1, y1, x2, y2 in regions]
    pooled = np.stack([window.max(axis=(2, 3)) for window in windows], axis=1).astype(np.float64)
    pooled = normalised(pooled, eps)  # (N, R, C)
    r, c = pooled.shape[1:]
    if whiten is not None:
        rows = whiten(pooled.reshape(n * r, c))
        c = rows.shape[1]
        pooled = normalised(rows.reshape(n, r, c), eps)
    joined = pooled.sum(axis=1) if aggregate == "sum" else pooled.reshape(n, r * c)
    return normalised(joined, eps)
