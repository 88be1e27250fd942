"""Lower bounds for a pass: bytes that must be moved once (cold caches), and multiply-adds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

import roicy
from roicy._cli.workloads import Workload
from roicy._types import Ndarray

FLOAT, INDEX = 4, 4  # bytes
#: Operators whose multiply-adds are counted.
SUMMED = (
    "roi_align", "multi_scale_roi_align", "ps_roi_align", "ps_roi_pool", "roi_pool", "roi_align_rotated",
    "deform_roi_pool",
)  # fmt: skip


def least_bytes(workload: Workload, name: str, rois: Ndarray | None) -> int:
    """Bytes that a pass of the workload must read and write, given its rows of boxes (or None).

    Of the features those pixels count that a sample or a bin touches; a gradient of them is written whole.
    """
    if workload.operator == "paste_masks":  # whose result is bool
        assert rois is not None
        masks = len(rois) * math.prod(workload.bins) * FLOAT
        return int(rois.nbytes) + masks + math.prod(workload.output_shape)
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


def multiply_adds(workload: Workload, name: str, rois: Ndarray | None) -> int:
    """Multiply-adds of a pass: of rows, then of columns, or of the pixels of bins that are not upright.

    Of maxima comparisons. Gradients with respect to boxes take three such sums, other gradients as many as
    the forward pass.
    """
    if workload.takes_maxima and name == "backward":
        return math.prod(workload.output_shape)
    assert rois is not None
    number, levels = 0, np.zeros(len(rois), int)
    if workload.levels > 1:
        levels = roicy.fpn_levels(rois, workload.levels)
    for (_, *box), level in zip(rois.astype(np.float64).tolist(), levels.tolist(), strict=True):
        height, width = workload.input_shapes[level][2:]
        if workload.levels > 1:
            box = [edge * workload.options["spatial_scales"][level] for edge in box]
        if workload.operator in ("roi_align_rotated", "deform_roi_pool"):
            number += _pixels_of_bins(workload, box, (height, width))
            continue
        rows, columns = _bins_of(workload, box[1], box[3], height), _bins_of(workload, box[0], box[2], width)
        number += sum(map(len, rows)) * len(np.unique(np.concatenate(columns)))
        number += len(rows) * sum(map(len, columns))
    return (3 if name == "box gradient" else 1) * number * workload.output_shape[1]


def _pixels_of_bins(workload: Workload, box: Sequence[float], size: tuple[int, int]) -> int:
    # the pixels of each bin's samples, once for each bin
    y, x = _rotated_places(workload, box) if len(box) == 5 else _upright_places(workload, box)
    down, across = (
        np.repeat(np.arange(bins), n // bins) for n, bins in zip(y.shape, workload.bins, strict=True)
    )
    bin_of = np.add.outer(down * workload.bins[1], across)
    inside = (y >= -1) & (y <= size[0]) & (x >= -1) & (x <= size[1])
    found = [
        (bin_of[inside] * size[0] + rows) * size[1] + columns
        for rows in _pixels(y[inside], size[0])
        for columns in _pixels(x[inside], size[1])
    ]
    return len(np.unique(np.concatenate(found)))


def touched_pixels(workload: Workload, rois: Ndarray | None) -> int:
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


def _pixels_of_levels(workload: Workload, rois: Ndarray) -> int:
    levels, scales = roicy.fpn_levels(rois, workload.levels), workload.options["spatial_scales"]
    shapes = workload.input_shapes
    seen = [np.zeros((images, height, width), bool) for images, _, height, width in shapes]
    for (image, *box), level in zip(rois.astype(np.float64).tolist(), levels.tolist(), strict=True):
        box = [edge * scales[level] for edge in box]
        _mark_upright(seen[level][int(image)], box, workload)
    return sum(int(each.sum()) for each in seen)


def _samples(workload: Workload, size: float, axis: int) -> Ndarray:
    # offsets of a box's samples from its start along an axis, 0 for y
    per_bin = workload.sampling_ratio or math.ceil(size / workload.bins[axis])
    number = workload.bins[axis] * per_bin
    return (np.arange(number) + 0.5) * size / number


def _pixels(places: Ndarray, length: int) -> tuple[Ndarray, Ndarray]:
    # of each place the pixel below and the one above, as far as they are on the map
    below = np.floor(np.clip(places, 0, length - 1)).astype(int)
    return below, np.minimum(below + 1, length - 1)


def _mark_upright(seen: Ndarray, box: Sequence[float], workload: Workload) -> None:
    x1, y1, x2, y2 = box
    offset = 0.5 if workload.options.get("aligned", True) else 0
    rows = np.concatenate(_pixels(y1 - offset + _samples(workload, y2 - y1, 0), seen.shape[0]))
    columns = np.concatenate(_pixels(x1 - offset + _samples(workload, x2 - x1, 1), seen.shape[1]))
    seen[np.ix_(rows, columns)] = True


def _rotated_places(workload: Workload, box: Sequence[float]) -> tuple[Ndarray, Ndarray]:
    # y and x of the samples, (rows, columns)
    centre_x, centre_y, width, height, angle = box
    across, down = np.meshgrid(
        _samples(workload, width, 1) - width / 2, _samples(workload, height, 0) - height / 2
    )
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    y: Ndarray = centre_y - 0.5 + down * cosine - across * sine
    x: Ndarray = centre_x - 0.5 + down * sine + across * cosine
    return y, x


def _upright_places(workload: Workload, box: Sequence[float]) -> tuple[Ndarray, Ndarray]:
    # the same, but for what offsets move
    x1, y1, x2, y2 = box
    across, down = np.meshgrid(
        x1 - 0.5 + _samples(workload, x2 - x1, 1), y1 - 0.5 + _samples(workload, y2 - y1, 0)
    )
    return down, across


def _mark_rotated(seen: Ndarray, box: Sequence[float], workload: Workload) -> None:
    _mark_places(seen, *_rotated_places(workload, box))


def _mark_quad(seen: Ndarray, corners: Sequence[float], workload: Workload) -> None:
    # u, v in 0 ... 1 of the crop are x / w, y / w of the view that has the corners where they are
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    given: list[list[float]] = []
    wanted: list[float] = []
    for (u, v), (x, y) in zip(square, np.reshape(corners, (4, 2)), strict=True):
        given += [[u, v, 1, 0, 0, 0, -u * x, -v * x], [0, 0, 0, u, v, 1, -u * y, -v * y]]
        wanted += [x, y]
    view = np.append(np.linalg.solve(given, wanted), 1).reshape(3, 3)
    u, v = np.meshgrid(_samples(workload, 1, 1), _samples(workload, 1, 0))
    x, y, w = np.tensordot(view, np.stack([u, v, np.ones_like(u)]), 1)
    _mark_places(seen, y / w - 0.5, x / w - 0.5)


def _mark_places(seen: Ndarray, y: Ndarray, x: Ndarray) -> None:
    inside = (y >= -1) & (y <= seen.shape[0]) & (x >= -1) & (x <= seen.shape[1])
    for rows in _pixels(y[inside], seen.shape[0]):
        for columns in _pixels(x[inside], seen.shape[1]):
            seen[rows, columns] = True


def _mark_bins(seen: Ndarray, box: Sequence[float], workload: Workload) -> None:
    x1, y1, x2, y2 = box
    rows = _bins_of(workload, y1, y2, seen.shape[1])
    columns = _bins_of(workload, x1, x2, seen.shape[2])
    for own, (y, x) in zip(seen, itertools.product(rows, columns), strict=True):
        own[np.ix_(y, x)] = True


def _bins_of(workload: Workload, low: float, high: float, length: int) -> list[Ndarray]:
    # the pixels of each bin along an axis, of as many bins as the other has
    bins = workload.bins[0]
    if not workload.operator.endswith("pool"):
        offset = 0.5 if workload.options.get("aligned", True) else 0
        samples = (low - offset + _samples(workload, high - low, 0)).reshape(bins, -1)
        return [np.unique(np.concatenate(_pixels(own, length))) for own in samples]
    start = math.floor(low + 0.5)
    size = math.floor(high + 0.5) + 1 - start
    edges = [
        (math.floor(start + p * size / bins), math.ceil(start + (p + 1) * size / bins)) for p in range(bins)
    ]
    return [np.arange(max(first, 0), min(last, length)) for first, last in edges]


def _mark_whole(seen: Ndarray, box: Sequence[float], workload: Workload) -> None:
    x1, y1, x2, y2 = (max(0, math.floor(edge + 0.5)) for edge in box)
    seen[y1 : y2 + 1, x1 : x2 + 1] = True
