"""Crops in slow, plain NumPy: the definition that the package is tested against.

Along either axis each pixel of a crop has samples; where they lie is computed in the dtype of the boxes, one
rounding per operation, because a last bit can move a sample out of the image: in the order of TensorFlow's
operations with ``sampling="corners"``, else as RoIAlign has it. A sample has two neighbours with weights, and
a neighbour that is no pixel of the image has the value of `fill`. All that comes after that is float64.

Images are NHWC, boxes are rows ``[batch index, x1, y1, x2, y2]``; what an invalid row is,
`reference.average` says.
"""

import math
from typing import NamedTuple

import numpy as np

from reference.average import image_index


class Neighbour(NamedTuple):
    """A pixel, -1 for what is outside, its weight in a sample, and how that moves with the box."""

    pixel: int
    weight: float
    by_low: float = 0.0
    by_high: float = 0.0


class Corners(NamedTuple):
    """How boxes are meant whose ends are samples: in pixels, or with 1 as the last pixel's centre; and for
    gradients of boxes TensorFlow has another order of operations.
    """

    unit: bool = False
    slopes: bool = False


def neighbours(position, length, *, interpolation, border, corners):
    """The neighbours of a sample and whether it moves: [(pixel or -1, weight, slope)]."""
    last = length - 1
    inside = bool(0 <= position <= last)
    if length == 0:  # which has no edge
        return [] if border == "edge" else [(-1, 1.0, 0.0)]
    if border == "reject" and not inside:
        return [(-1, 1.0, 0.0)]
    if border == "constant" and not -1 < position < length:
        return [(-1, 1.0, 0.0)]
    if border != "constant" and not inside:
        return [(last if position > last else 0, 1.0, 0.0)]
    below = math.floor(position)
    fraction = float(position) - below
    if interpolation == "nearest":
        pixel = below + (fraction >= 0.5)
        return [(pixel if 0 <= pixel < length else -1, 1.0, 0.0)]
    if fraction == 0 and corners:  # on a pixel, which has no neighbours then
        return [(below, 1.0, -1.0 if border == "constant" and below == last else 0.0)]
    if fraction == 0 and below == last:
        return [(below, 1.0, -1.0 if border == "constant" else 0.0)]
    return [
        (below if below >= 0 else -1, 1 - fraction, -1.0),
        (below + 1 if below < last else -1, fraction, 1.0),
    ]


def axis(low, high, length, bins, *, sampling_ratio, corners, **options):
    """The neighbours of each bin's samples, with the weights that they have in its mean."""
    real = low.dtype.type
    found = []
    scale = length - 1 if corners and corners.unit else 1
    with np.errstate(all="ignore"):  # the largest finite boxes have an infinite size
        if not corners:
            start = low - real(0.5)
            size = (high - real(0.5) - start) / real(bins)
        elif bins == 1:
            start = real(0.5 * np.float64(low + high) * scale)
            size = (high - low) * real(scale)
        else:
            start = low * real(scale)
            parts = real(bins - 1)
            size = (
                (high - low) * (real(scale) / parts) if corners.slopes else (high - low) * real(scale) / parts
            )
        finite = np.isfinite(start) and np.isfinite(size)
        count = sampling_ratio if sampling_ratio > 0 else math.ceil(abs(size)) if finite else 1
        count = max(count, 1) if finite else 1
        for p in range(bins):
            found.append([])
            base = start + real(p) * size
            if corners and count > 1:
                base = base - size / real(2)
            for i in range(count):
                position = base
                if not corners or count > 1:
                    position = base + (real(i) + real(0.5)) * size / real(count)
                share = (i + 0.5) / count
                if not corners:
                    share = (p + share) / bins
                elif bins > 1:
                    share = (p + share - 0.5) / (bins - 1)
                for pixel, weight, slope in neighbours(position, length, corners=corners, **options):
                    moves = slope * scale / count
                    found[p].append(Neighbour(pixel, weight / count, moves * (1 - share), moves * share))
    return found


def matrices(found, length):
    """Weights, and how they move with either coordinate: (bins, pixels + 1), what is outside last."""
    weight, by_low, by_high = np.zeros((3, len(found), length + 1))
    for p, bin_ in enumerate(found):
        for pixel, share, low, high in bin_:
            weight[p, pixel] += share
            by_low[p, pixel] += low
            by_high[p, pixel] += high
    return weight, by_low, by_high


def box_axes(box, height, width, output_size, **options):
    """The matrices of the y axis and of the x axis of a box."""
    x1, y1, x2, y2 = box
    return (
        matrices(axis(y1, y2, height, output_size[0], **options), height),
        matrices(axis(x1, x2, width, output_size[1], **options), width),
    )


def geometry(sampling="half_pixel", interpolation="bilinear", sampling_ratio=1, border="constant"):
    """The options that say where samples lie, as `box_axes` takes them."""
    return {
        "corners": sampling
        if isinstance(sampling, Corners)
        else Corners()
        if sampling == "corners"
        else None,
        "interpolation": interpolation,
        "sampling_ratio": sampling_ratio,
        "border": border,
    }


def surrounded(image, fill):
    """An image with `fill` in a row and a column behind its own, which stand for all that is outside."""
    height, width, channels = image.shape
    whole = np.empty((height + 1, width + 1, channels))
    whole[...] = fill
    whole[:height, :width] = image
    return whole


def crop_and_resize(
    images, boxes, output_size, *, fill=0.0, mean=0.0, std=1.0, reverse_channels=False, **options
):
    """Crops (K, PH, PW, C) in float64 of a list of images (H, W, C); NaN for invalid rows."""
    channels = images[0].shape[2]
    out = np.full((len(boxes), *output_size, channels), np.nan)
    for k, box in enumerate(boxes):
        index = image_index(box, len(images))
        if index is None:
            continue
        image = np.asarray(images[index]).astype(np.float64)
        if reverse_channels:
            image = image[:, :, ::-1]
        (y, _, _), (x, _, _) = box_axes(box[1:], *image.shape[:2], output_size, **geometry(**options))
        out[k] = (y @ surrounded(image, fill).transpose(2, 0, 1) @ x.T).transpose(1, 2, 0)
    return (out - mean) / std


def crop_and_resize_backward(grad_output, boxes, shapes, *, std=1.0, reverse_channels=False, **options):
    """Gradients with respect to images of shapes (H, W, C): a list of float64."""
    grads = [np.zeros(shape) for shape in shapes]
    for k, box in enumerate(boxes):
        index = image_index(box, len(shapes))
        if index is None:
            continue
        height, width, _ = shapes[index]
        (y, _, _), (x, _, _) = box_axes(box[1:], height, width, grad_output.shape[1:3], **geometry(**options))
        grad = (y.T @ (grad_output[k] / std).transpose(2, 0, 1) @ x).transpose(1, 2, 0)[:height, :width]
        grads[index] += grad[:, :, ::-1] if reverse_channels else grad
    return grads


def crop_and_resize_backward_boxes(
    grad_output, images, boxes, *, fill=0.0, std=1.0, reverse_channels=False, **options
):
    """The gradient with respect to the boxes (K, 5), and the sums of its absolute terms."""
    grad_boxes, terms = np.zeros((2, len(boxes), 5))
    for k, box in enumerate(boxes):
        index = image_index(box, len(images))
        if index is None:
            continue
        image = np.asarray(images[index]).astype(np.float64)
        if reverse_channels:
            image = image[:, :, ::-1]
        height, width, _ = image.shape
        (y, y_low, y_high), (x, x_low, x_high) = box_axes(
            box[1:], height, width, grad_output.shape[1:3], **geometry(**options)
        )
        grad = grad_output[k] / std
        above = image - fill
        pairs = [(y, x_low), (y_low, x), (y, x_high), (y_high, x)]
        # all that is outside has one value: its weight is what is left of 1, and moves as such
        for column, (down, along) in enumerate(pairs, 1):
            down, along = down[:, :height], along[:, :width]
            grad_boxes[k, column] = _sum(down, above, along, grad)
            outside = np.outer(down.sum(axis=1), along.sum(axis=1))
            terms[k, column] = _sum(abs(down), abs(image), abs(along), abs(grad))
            terms[k, column] += (abs(outside)[:, :, None] * np.abs(fill) * abs(grad)).sum()
    return grad_boxes, terms


def _sum(down, image, along, grad):
    return np.sum(down @ image.transpose(2, 0, 1) @ along.T * grad.transpose(2, 0, 1))
