"""Position-sensitive pooling in slow, plain NumPy: the definition that the package is tested against.

A map has a channel for each bin (p, q) of each channel c of the output, number (c PH + p) PW + q, and the
bin is pooled from that one alone. An average over a bin is separable, so a box is a matrix (bins, pixels) for
each of its axes. What samples weigh, which rows are invalid and what becomes of these is said in
`reference.average`.
"""

import math

import numpy as np

from reference.average import SUM, box_axes, image_index, images_of
from reference.pool import half_away


def weights(axis, length):
    """What the pixels of an axis weigh in its bins, and how that moves with the box's low and high edge."""
    found = np.zeros((3, len(axis.bins), length), SUM)
    mean, by_low, by_high = found
    for p, samples in enumerate(axis.bins):
        for it in samples:
            for pixel, share, slope in ((it.lower, 1 - it.fraction, -1.0), (it.upper, it.fraction, 1.0)):
                mean[p, pixel] += share / axis.count
                if it.sloped:
                    by_low[p, pixel] += slope * it.by_low / axis.count
                    by_high[p, pixel] += slope * it.by_high / axis.count
    return tuple(found.astype(np.float64))


def matrices(box, map_size, output_size, *, spatial_scale=1.0, sampling_ratio=0, aligned=True):
    """`weights` of the y axis and of the x axis of a box."""
    options = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    axes = box_axes(box, map_size, output_size, **options)
    return tuple(weights(axis, length) for axis, length in zip(axes, map_size, strict=True))


@np.errstate(all="ignore")
def scaled_ranges(low, high, length, bins, spatial_scale):
    """Pixels [start, end) of each bin along one axis: corners rounded, then scaled, and bins outwards."""
    real = low.dtype.type
    start = real(half_away(low)) * real(spatial_scale)
    end = real(half_away(high) + 1) * real(spatial_scale)
    size = end - start
    bin_size = (size if size > real(0.1) else real(0.1)) / real(bins)
    edges = [
        (np.floor(real(p) * bin_size + start), np.ceil(real(p + 1) * bin_size + start)) for p in range(bins)
    ]
    return [tuple(int(np.clip(np.nan_to_num(edge, nan=0), 0, length)) for edge in pair) for pair in edges]


def pixel_matrices(box, map_size, output_size, *, spatial_scale=1.0):
    """Means over whole pixels: what those of the y axis and of the x axis weigh in each bin."""
    x1, y1, x2, y2 = box
    found = []
    for (low, high), length, bins in zip(((y1, y2), (x1, x2)), map_size, output_size, strict=True):
        mean = np.zeros((bins, length))
        for p, (start, end) in enumerate(scaled_ranges(low, high, length, bins, spatial_scale)):
            if start < end:
                mean[p, start:end] = 1 / (end - start)
        found.append((mean,))
    return found


def own_channels(maps, output_size):
    """The channels of (H, W, C * PH * PW) maps by channel and bin: (H, W, C, PH, PW)."""
    height, width, channels = maps.shape
    return maps.reshape(height, width, channels // math.prod(output_size), *output_size)


def pooled(own, y, x):
    """The sum over pixels with the weights of both axes: (C, PH, PW)."""
    rows, columns = y.any(axis=0), x.any(axis=0)
    window = own[np.ix_(rows, columns)]
    return np.einsum("py,ycpq->cpq", y[:, rows], np.einsum("qx,yxcpq->ycpq", x[:, columns], window))


def ps_roi_align(features, rois, output_size, *, matrices=matrices, **options):
    """(N, C * PH * PW, H, W) and (K, 5) to float64 (K, C, PH, PW)."""
    images = images_of(features)
    n, h, w, c = images.shape
    out = np.full((len(rois), c // math.prod(output_size), *output_size), np.nan)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            y, x = matrices(roi[1:], (h, w), output_size, **options)
            out[k] = pooled(own_channels(images[index], output_size), y[0], x[0])
    return out


def ps_roi_align_backward(grad_output, rois, input_shape, *, matrices=matrices, **options):
    """Gradient with respect to the features: (K, C, PH, PW) to float64 (N, C * PH * PW, H, W)."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    size = grad_output.shape[2:]
    grad_images = np.zeros((n, h, w, c), SUM)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            y, x = matrices(roi[1:], (h, w), size, **options)
            rows, columns = y[0].any(axis=0), x[0].any(axis=0)
            along_x = np.einsum("qx,cpq->xcpq", x[0][:, columns], grad_output[k])
            grad = np.einsum("py,xcpq->yxcpq", y[0][:, rows], along_x)
            own_channels(grad_images[index], size)[np.ix_(rows, columns)] += grad
    return grad_images.transpose(0, 3, 1, 2).astype(np.float64)


def ps_roi_align_backward_rois(grad_output, features, rois, **options):
    """Gradient with respect to the boxes: float64 (K, 5) with a column of zeros for the batch index."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    images = images_of(features)
    n, h, w, _ = images.shape
    size = grad_output.shape[2:]
    grad_rois = np.zeros((len(rois), 5))
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            y, x = matrices(roi[1:], (h, w), size, **options)
            own = own_channels(images[index], size)
            moved = [(y[0], x[1]), (y[1], x[0]), (y[0], x[2]), (y[2], x[0])]
            grad_rois[k, 1:] = [np.sum(pooled(own, *pair) * grad_output[k]) for pair in moved]
    return grad_rois


def ps_roi_pool(*call, **options):
    """Means over whole pixels; arrays as in `ps_roi_align`."""
    return ps_roi_align(*call, matrices=pixel_matrices, **options)


def ps_roi_pool_backward(*call, **options):
    """Their gradient with respect to the features; arrays as in `ps_roi_align_backward`."""
    return ps_roi_align_backward(*call, matrices=pixel_matrices, **options)
