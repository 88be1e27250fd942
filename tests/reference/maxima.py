"""RoIAlign with maxima in slow, plain NumPy: the definition that the package is tested against.

Two operators share it. That of `roi_align` takes the samples that an average takes, with the geometry stated
by `reference`. That of MXNet's example steps from the edge of a bin by one pixel at a time. Arrays are NCHW;
an argmax is ``iy * (samples of the bin along x) + ix``.

Between pixels a bilinear value is linear along either axis, and so is a weighted corner: the largest of many
samples between the same pixels is the first or the last one. Where a bin has more than DENSE of them for each
such cell along an axis, `roi_align` looks at those alone.
"""

from typing import NamedTuple

import numpy as np

from reference.average import SUM, box_edge, image_index, images_of
from reference.pool import first_largest
from reference.samples import Places, corners, places, samples, slopes

DENSE = 16


class Axis(NamedTuple):
    """The samples of a box along one axis, those of bin 0 first."""

    bin: np.ndarray
    index: np.ndarray  # in its bin
    counts: np.ndarray  # how many samples each bin has; where they are too many, not all of them are here
    places: Places
    by_low: np.ndarray  # d position / d low edge of the box
    by_high: np.ndarray
    looked_at: np.ndarray  # whether a maximum needs the sample

    def seen(self):
        """The samples that are looked at for a maximum."""
        found = self.looked_at
        place = Places(*(a[found] for a in self.places))
        return self._replace(bin=self.bin[found], index=self.index[found], places=place)

    def of_bin(self, p):
        """Which of the samples belong to a bin."""
        return slice(*np.searchsorted(self.bin, [p, p + 1]))

    def find(self, p, i):
        """Where the samples `i` of bins `p` are among all."""
        most = self.counts.max(initial=1)
        return np.searchsorted(self.bin * most + self.index, p * most + i)


def ends_of_cells(position, length):
    """Which samples of a bin, in the order of their numbers, are looked at along one axis.

    All, or if more than DENSE of them hit the map for each cell from the first to the last one that they
    reach: of each cell the first one and, of those at the position of the last one, the first. A cell lies
    between two pixels, or before the first, or behind the last. Of the samples that miss the map the first.
    """
    hit = (position >= -1) & (position <= length) & (length > 0)
    cell = np.where(position < 0, -1, np.where(hit, np.minimum(position, length - 1), 0)).astype(int)
    cells = np.unique(cell[hit])
    if hit.sum() <= DENSE * (np.ptp(cells) + 1 if len(cells) else 1):
        return np.ones(len(position), bool)
    looked_at = np.zeros(len(position), bool)
    looked_at[np.flatnonzero(~hit)[:1]] = True
    for own in cells:
        inside = np.flatnonzero(hit & (cell == own))
        same = np.flatnonzero(position == position[inside[-1]])
        looked_at[[inside[0], same[0]]] = True
    return looked_at


def usual_axis(low, high, length, bins, *, indices=None, **options):
    """One axis of a box of `roi_align`.

    `indices(edge, p)` may name the samples of bin `p` to look at; by default all of them are looked at.
    """
    with np.errstate(all="ignore"):  # the largest boxes have samples at infinity
        edge = box_edge(low, high, bins, **options)
        inside = [range(edge.count) if indices is None else indices(edge, p) for p in range(bins)]
        p = np.repeat(np.arange(bins), [len(found) for found in inside])
        i = np.array([index for found in inside for index in found], int)
        position = edge.position(p, i)
    t = (p + (i + 0.5) / max(edge.count, 1)) / bins
    by_low, by_high = (np.ones_like(t), np.zeros_like(t)) if edge.widened else (1 - t, t)
    scale = options["spatial_scale"]
    counts = np.full(bins, min(edge.count, 2**62))
    with np.errstate(invalid="ignore"):
        ends = np.cumsum([len(found) for found in inside])[:-1]
        looked_at = [ends_of_cells(found, length) for found in np.split(position, ends)]
    return Axis(
        p, i, counts, places(position, length), scale * by_low, scale * by_high, np.concatenate(looked_at)
    )


def example_axis(low, high, length, bins, *, spatial_scale):
    """One axis of a box of MXNet's example, on a map with a pixel more: zeros, into which the values fade."""
    real = low.dtype.type
    start = low * real(spatial_scale)
    bin_size = (high * real(spatial_scale) - start + real(1)) / real(bins)
    found = []
    for p in range(bins):
        position, end = (min(max(real(e) * bin_size + start, real(0)), real(length)) for e in (p, p + 1))
        found.append([])
        while position < end:
            found[p].append(position)
            position = position + real(1)
    counts = np.array([len(positions) for positions in found])
    position = np.array([position for positions in found for position in positions], np.float64)
    lower, everywhere = position.astype(int), np.ones(len(position), bool)
    place = Places(lower, lower + 1, position - lower, everywhere, everywhere)
    index = np.array([i for positions in found for i in range(len(positions))], int)
    return Axis(np.repeat(np.arange(bins), counts), index, counts, place, None, None, everywhere)


def axes(axis, roi, map_size, output_size, **options):
    """The y axis and the x axis of the box of a row of rois."""
    x1, y1, x2, y2 = roi[1:]
    return (
        axis(y1, y2, map_size[0], output_size[0], **options),
        axis(x1, x2, map_size[1], output_size[1], **options),
    )


def weighted_corners(image, y, x):
    """The largest of a sample's four pixels, each times its own weight: what ONNX takes for its value.

    Of two, rows first, a NaN stays that comes first, and is passed over that comes second.
    """
    if not image.size:
        return samples(image, y, x)
    hit = (y.hit & x.hit)[..., None]
    with np.errstate(invalid="ignore"):  # 0 * infinity
        upper_left, upper_right, lower_left, lower_right = (
            np.where(hit, weight * image[pixel], 0.0) for pixel, weight in corners(y, x)
        )
    return larger(larger(upper_left, lower_left), larger(upper_right, lower_right))


def larger(first, second):
    return np.where(second > first, second, first)


RULES = {"bilinear": samples, "onnx": weighted_corners}


def maxima(image, ys, xs, rule="bilinear"):
    """Largest sample of each bin and its index: both (C, PH, PW)."""
    channels = image.shape[2]
    ys, xs = ys.seen(), xs.seen()
    rows, columns = Places(*(a[:, None] for a in ys.places)), Places(*(a[None, :] for a in xs.places))
    values = RULES[rule](image, rows, columns)  # (samples along y, along x, C)
    out = np.zeros((channels, len(ys.counts), len(xs.counts)))
    argmax = np.full(out.shape, -1, np.int64)
    for p, q in np.argwhere((ys.counts[:, None] > 0) & (xs.counts > 0)):
        own_y, own_x = ys.of_bin(p), xs.of_bin(q)
        index = (ys.index[own_y, None] * xs.counts[q] + xs.index[own_x]).reshape(-1)
        found = values[own_y, own_x].reshape(len(index), channels)
        out[:, p, q], place = first_largest(found.T)
        argmax[:, p, q] = np.where(place < 0, -1, index[place])
    return out, argmax


class Chosen(NamedTuple):
    """The samples of a box that an argmax (C, PH, PW) names, in one row."""

    bin: tuple[np.ndarray, np.ndarray, np.ndarray]  # channel, p, q
    iy: np.ndarray  # among all samples along y
    ix: np.ndarray
    y: Places
    x: Places


def chosen(argmax, ys, xs):
    channel, p, q = np.nonzero(argmax >= 0)
    iy, ix = np.divmod(argmax[channel, p, q].astype(np.int64), xs.counts[q])
    iy, ix = ys.find(p, iy), xs.find(q, ix)
    y, x = Places(*(a[iy] for a in ys.places)), Places(*(a[ix] for a in xs.places))
    return Chosen((channel, p, q), iy, ix, y, x)


def spread_to_chosen(grad_image, grad_bins, argmax, ys, xs):
    """Add the gradient of one box's bins (C, PH, PW) to the pixels of the samples that were chosen."""
    found = chosen(argmax, ys, xs)
    for (row, column), weight in corners(found.y, found.x):
        if grad_image.size:
            np.add.at(grad_image, (row, column, found.bin[0]), weight[:, 0] * grad_bins[found.bin])


def box_gradient(image, grad_bins, argmax, ys, xs):
    """d sum(maxima * grad_bins) / d (x1, y1, x2, y2), where other samples stay smaller.

    The four sums come with those of the absolute terms, which tell how exact a sum that cancels can be.
    """
    found = chosen(argmax, ys, xs)
    own = np.arange(len(found.iy)), found.bin[0]
    along_y, along_x = (slope[own] * grad_bins[found.bin] for slope in slopes(image, found.y, found.x))
    shares = [
        along_x * xs.by_low[found.ix],
        along_y * ys.by_low[found.iy],
        along_x * xs.by_high[found.ix],
        along_y * ys.by_high[found.iy],
    ]
    return [share.sum() for share in shares], [np.abs(share).sum() for share in shares]


# ---------------------------------------------------------------- the operator of roi_align


def settled(options):
    """All options of the geometry."""
    return {"spatial_scale": 1.0, "sampling_ratio": 0, "aligned": True, **options}


def roi_align_max(features, rois, output_size, *, rule="bilinear", **options):
    """Maxima and their indices: (N, C, H, W) and (K, 5) to float64 and int64 (K, C, PH, PW)."""
    images = images_of(features)
    n, h, w, c = images.shape
    out = np.full((len(rois), c, *output_size), np.nan)
    argmax = np.full(out.shape, -1)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            ys, xs = axes(usual_axis, roi, (h, w), output_size, **settled(options))
            out[k], argmax[k] = maxima(images[index], ys, xs, rule)
    return out, argmax


def roi_align_max_backward(grad_output, argmax, rois, input_shape, **options):
    """Gradient with respect to the features: (K, C, PH, PW) to float64 (N, C, H, W)."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad_images = np.zeros((n, h, w, c), SUM)
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            ys, xs = axes(usual_axis, roi, (h, w), grad_output.shape[2:], **settled(options))
            spread_to_chosen(grad_images[index], grad_output[k], argmax[k], ys, xs)
    return grad_images.transpose(0, 3, 1, 2).astype(np.float64)


def roi_align_max_backward_rois(grad_output, argmax, features, rois, **options):
    """Gradient with respect to the boxes: float64 (K, 5) with a column of zeros for the batch index.

    It comes with the sums of the absolute terms, of the same shape.
    """
    grad_output = np.asarray(grad_output).astype(np.float64)
    images = images_of(features)
    n, h, w, _ = images.shape
    grad_rois, terms = np.zeros((2, len(rois), 5))
    for k, roi in enumerate(rois):
        index = image_index(roi, n)
        if index is not None:
            ys, xs = axes(usual_axis, roi, (h, w), grad_output.shape[2:], **settled(options))
            found = box_gradient(images[index], grad_output[k], argmax[k], ys, xs)
            grad_rois[k, 1:], terms[k, 1:] = found
    return grad_rois, terms


# ---------------------------------------------------------------- the operator of MXNet's example


def max_roi_align(features, rois, output_size, *, spatial_scale=1.0):
    """Maxima and their indices, of rows with a valid batch index."""
    images = images_of(features)
    _, h, w, c = images.shape
    faded = np.pad(images, ((0, 0), (0, 1), (0, 1), (0, 0)))
    out = np.zeros((len(rois), c, *output_size))
    argmax = np.full(out.shape, -1)
    for k, roi in enumerate(rois):
        ys, xs = axes(example_axis, roi, (h, w), output_size, spatial_scale=spatial_scale)
        out[k], argmax[k] = maxima(faded[int(roi[0])], ys, xs)
    return out, argmax


def countable_edge(low, high, bins, **options):
    """A box of no finite size has more samples than any argmax names."""
    try:
        return box_edge(low, high, bins, **options)
    except OverflowError:
        return box_edge(low, high, bins, **{**options, "sampling_ratio": 1})._replace(count=np.inf)


def positions(argmax, rois, **options):
    """Where the samples lie that an argmax of `roi_align` names: y and x, NaN where it or the box is none."""
    found = np.full((2, *argmax.shape), np.nan, rois.dtype)
    for k, (x1, y1, x2, y2) in enumerate(rois[:, -4:]):
        if not np.isfinite(rois[k, -4:]).all():
            continue
        with np.errstate(all="ignore"):
            try:
                y_edge = countable_edge(y1, y2, argmax.shape[2], **options)
                x_edge = countable_edge(x1, x2, argmax.shape[3], **options)
            except ValueError:  # a side that is no number
                continue
            for c, p, q in np.argwhere(argmax[k] >= 0):
                iy, ix = divmod(int(argmax[k, c, p, q]), x_edge.count)
                found[:, k, c, p, q] = y_edge.position(p, iy), x_edge.position(q, ix)
    return found


def max_roi_align_positions(argmax, rois, map_size, *, spatial_scale=1.0):
    """x and y of the samples that an argmax names, -1 where it names none."""
    x, y = np.full((2, *argmax.shape), -1.0)
    for k, roi in enumerate(rois):
        ys, xs = axes(example_axis, roi, map_size, argmax.shape[2:], spatial_scale=spatial_scale)
        found = chosen(argmax[k], ys, xs)
        y[k][found.bin] = found.y.lower + found.y.fraction
        x[k][found.bin] = found.x.lower + found.x.fraction
    return x, y


def max_roi_align_backward(grad_output, argmax, rois, input_shape, *, spatial_scale=1.0):
    """Gradient with respect to the features."""
    grad_output = np.asarray(grad_output).astype(np.float64)
    n, c, h, w = input_shape
    grad_faded = np.zeros((n, h + 1, w + 1, c), SUM)
    for k, roi in enumerate(rois):
        ys, xs = axes(example_axis, roi, (h, w), grad_output.shape[2:], spatial_scale=spatial_scale)
        spread_to_chosen(grad_faded[int(roi[0])], grad_output[k], argmax[k], ys, xs)
    return grad_faded[:, :h, :w].transpose(0, 3, 1, 2).astype(np.float64)
