"""The least that a pass moves between a device and its memory: each item once, none in a cache before."""

import itertools
import math

import numpy as np

import roicy

FLOAT, INDEX = 4, 4  # bytes


def least_bytes(workload, name, rois):
    """Bytes that a pass of the workload must read and write, given its rows of boxes (or None).

    Of the features those pixels count that a sample or a bin touches; a gradient of them is written whole.
    """
    if workload.operator == "paste_masks":  # whose result is bool
        return rois.nbytes + len(rois) * math.prod(workload.bins) * FLOAT + math.prod(workload.output_shape)
    channels = workload.input_shape[1] // workload.maps_of_bins
    output = math.prod(workload.output_shape) * FLOAT
    maps = sum(map(math.prod, workload.input_shapes)) * FLOAT
    boxes = 0 if rois is None else rois.nbytes
    touched = touched_pixels(workload, rois) * channels * np.dtype(workload.dtype).itemsize
    argmax = math.prod(workload.output_shape) * INDEX
    if name == "forward":
        return boxes + touched + output
    if name == "with argmax":
        return boxes + touched + output + argmax
    if name == "backward" and workload.operator == "rmac":
        return maps + output + maps  # where the maxima are is found again
    if name == "backward":
        return boxes + output + (argmax if workload.takes_maxima else 0) + maps
    if name == "offset gradient":
        return boxes + output + touched + 2 * workload.offsets().nbytes
    assert name == "box gradient"
    return boxes + output + touched + (argmax if workload.takes_maxima else 0) + boxes


def touched_pixels(workload, rois):
    """Pixels of the maps that any box of the workload reads, over all images and the maps of all bins."""
    images, _, height, width = workload.input_shape
    if rois is None:
        return images * height * width
    if workload.levels > 1:
        return _pixels_of_levels(workload, rois)
    bins = [workload.maps_of_bins] if workload.maps_of_bins > 1 else []
    seen = np.zeros((images, *bins, height, width), bool)
    mark = {
        "roi_align": _mark_upright,
        "roi_align_rotated": _mark_rotated,
        "deform_roi_pool": _mark_upright,  # but for what offsets move
        "roi_pool": _mark_whole,
        "ps_roi_align": _mark_bins,
        "ps_roi_pool": _mark_bins,
        "crop_and_resize": _mark_upright,
        "crop_quads": _mark_quad,
    }
    for image, *box in rois.astype(np.float64).tolist():
        mark[workload.operator](seen[int(image)], box, workload)
    return int(seen.sum())


def _pixels_of_levels(workload, rois):
    levels, scales = roicy.fpn_levels(rois, workload.levels), workload.options["spatial_scales"]
    shapes = workload.input_shapes
    seen = [np.zeros((images, height, width), bool) for images, _, height, width in shapes]
    for (image, *box), level in zip(rois.astype(np.float64).tolist(), levels.tolist(), strict=True):
        box = [edge * scales[level] for edge in box]
        _mark_upright(seen[level][int(image)], box, workload)
    return sum(int(each.sum()) for each in seen)


def _samples(workload, size, axis):
    # offsets of a box's samples from its start along an axis, 0 for y
    per_bin = workload.sampling_ratio or math.ceil(size / workload.bins[axis])
    number = workload.bins[axis] * per_bin
    return (np.arange(number) + 0.5) * size / number


def _pixels(places, length):
    # of each place the pixel below and the one above, as far as they are on the map
    below = np.floor(np.clip(places, 0, length - 1)).astype(int)
    return below, np.minimum(below + 1, length - 1)


def _mark_upright(seen, box, workload):
    x1, y1, x2, y2 = box
    offset = 0.5 if workload.options.get("aligned", True) else 0
    rows = np.concatenate(_pixels(y1 - offset + _samples(workload, y2 - y1, 0), seen.shape[0]))
    columns = np.concatenate(_pixels(x1 - offset + _samples(workload, x2 - x1, 1), seen.shape[1]))
    seen[np.ix_(rows, columns)] = True


def _mark_rotated(seen, box, workload):
    centre_x, centre_y, width, height, angle = box
    across, down = np.meshgrid(
        _samples(workload, width, 1) - width / 2, _samples(workload, height, 0) - height / 2
    )
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y = centre_y - 0.5 + down * cosine - across * sine
    x = centre_x - 0.5 + down * sine + across * cosine
    _mark_places(seen, y, x)


def _mark_quad(seen, corners, workload):
    # u, v in 0 ... 1 of the crop are x / w, y / w of the view that has the corners where they are
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    given, wanted = [], []
    for (u, v), (x, y) in zip(square, np.reshape(corners, (4, 2)), strict=True):
        given += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        wanted += [x, y]
    view = np.append(np.linalg.solve(given, wanted), 1).reshape(3, 3)
    u, v = np.meshgrid(_samples(workload, 1, 1), _samples(workload, 1, 0))
    x, y, w = np.tensordot(view, np.stack([u, v, np.ones_like(u)]), 1)
    _mark_places(seen, y / w - 0.5, x / w - 0.5)


def _mark_places(seen, y, x):
    inside = (y >= -1) & (y <= seen.shape[0]) & (x >= -1) & (x <= seen.shape[1])
    for rows in _pixels(y[inside], seen.shape[0]):
        for columns in _pixels(x[inside], seen.shape[1]):
            seen[rows, columns] = True


def _mark_bins(seen, box, workload):
    x1, y1, x2, y2 = box
    rows = _bins_of(workload, y1, y2, seen.shape[1])
    columns = _bins_of(workload, x1, x2, seen.shape[2])
    for own, (y, x) in zip(seen, itertools.product(rows, columns), strict=True):
        own[np.ix_(y, x)] = True


def _bins_of(workload, low, high, length):
    # the pixels of each bin along an axis
    bins = workload.output_size
    if workload.operator == "ps_roi_align":
        samples = (low - 0.5 + _samples(workload, high - low, 0)).reshape(bins, -1)
        return [np.unique(np.concatenate(_pixels(own, length))) for own in samples]
    start = math.floor(low + 0.5)
    size = math.floor(high + 0.5) + 1 - start
    edges = [
        (math.floor(start + p * size / bins), math.ceil(start + (p + 1) * size / bins)) for p in range(bins)
    ]
    return [np.arange(max(first, 0), min(last, length)) for first, last in edges]


def _mark_whole(seen, box, workload):
    x1, y1, x2, y2 = (max(0, math.floor(edge + 0.5)) for edge in box)
    seen[y1 : y2 + 1, x1 : x2 + 1] = True
