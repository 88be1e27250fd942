"""Which map of a feature pyramid each box is pooled from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from roicy import _arguments as settle
from roicy._backend import adopt
from roicy._types import (
    Array,
    BoxLists,
    ByArea,
    Flag,
    Integer,
    LevelRule,
    Ndarray,
    NumPyArray,
    Real,
    Size,
)

#: The canonical size, the level of boxes of that size, and the number of the finest level.
Canonical: TypeAlias = tuple[float, int, int]

#: The dtype that a rule computes in, where it is not that of the boxes.
_COMPUTES_IN: dict[str, Any] = {"detectron2": np.float32, "openvino": np.float32, "tensorrt": np.float32}


def fpn_levels(
    rois: Array | Sequence[Array] | BoxLists,
    num_levels: Integer,
    *,
    rule: LevelRule = "torchvision",
    canonical_size: Real = 224,
    canonical_level: Integer = 4,
    finest_level: Integer = 2,
    image_size: tuple[Integer, Integer] | None = None,
    rotated: Flag = False,
) -> Array:
    """Levels of a feature pyramid that boxes are pooled from, by their size.

    A box with the area of a square of side `canonical_size` belongs to `canonical_level`, one with sides
    twice as long to the next coarser one. Detectors round this differently; `rule` says whose decisions are
    taken.

    Parameters
    ----------
    rois : ndarray, shape (K, 5) or (K, 4), or sequence of ndarrays, shape (L_i, 4)
        Boxes in pixels of the image, as in `roi_align`, lists of numbers included; the batch index is not
        looked at. float16 is computed in float32, but for the rule "mmdet".
    num_levels : int
        How many maps the pyramid has.
    rule : {"torchvision", "detectron2", "mmdet", "openvino", "tensorrt"}, optional
        Whose decisions are taken: see Notes.
    canonical_size : float, optional
        Side of a square box, in pixels of the image, that belongs to `canonical_level`.
    canonical_level : int, optional
        Level of a box of the canonical size, numbered as `finest_level` is.
    finest_level : int, optional
        Number of the first map, the finest one: 2 for a map with a quarter of the image's rows.
    image_size : (int, int), optional
        Rows and columns of the image, for the rule "tensorrt" alone: boxes are clamped to it, and areas are
        compared as fractions of its area, rounded as such. Without it, areas are in pixels.
    rotated : bool, optional
        Whether `rois` are rotated boxes, as in `roi_align_rotated`; their area is width times height.

    Returns
    -------
    ndarray, shape (K,), int32
        Positions in the list of maps, 0 for the finest; -1 for a box of no level. Boxes beyond the first or
        the last map's sizes belong to that map.

    Raises
    ------
    TypeError
        If an argument is not an array or a number as listed.
    ValueError
        If an array has the wrong shape, a number or word is not one of those listed, or `image_size` is given
        for another rule than "tensorrt".

    Notes
    -----
    With the area ``a``, the canonical size ``s``, the canonical level ``k`` and the finest ``f``:

    ============= ================================================================================
    torchvision   ``floor(k + log2(sqrt(a) / s) + 1e-6) - f``, as ``LevelMapper``
    detectron2    ``floor(k + log2(sqrt(a) / s + 1e-8)) - f`` in float32, as ``ROIPooler``
    mmdet         ``floor(log2(sqrt(a) / (s / 2**(k - f)) + 1e-6))`` in the boxes' own dtype, as
                  ``SingleRoIExtractor``; it casts boxes to the dtype of the features before
    openvino      ``floor(log2(sqrt(a) / s + 1e-6) + (k - f))`` in float32, as
                  ``ExperimentalDetectronROIFeatureExtractor``
    tensorrt      how many of ``t, 4 t, 16 t, ...`` the area exceeds, in float32, with
                  ``t = (s / 2**(k - f - 1))**2``, as ``PyramidROIAlign_TRT``; corners are sorted
    ============= ================================================================================

    A box of side 112 belongs to the second map by the first four rules and to the first map by the last; one
    of side 111.9999 belongs to the second map by OpenVINO's rule only. A box without area belongs to the
    finest map, by OpenVINO's rule to none. A box that is reversed along one axis, or that holds a NaN,
    belongs to none; TensorRT's rule sorts the corners and counts a NaN as small.

    The least area of each level is found once, on the host, and the areas of boxes are compared with it. So
    NumPy and CuPy give the same levels, and nothing is waited for on a device. Square roots and logarithms
    are rounded correctly; PyTorch's may be one rounding off, which moves the border by as much.

    Examples
    --------
    >>> import numpy as np
    >>> import roicy
    >>> rois = np.array([[0, 0, 50, 50], [0, 0, 112, 112], [10, 20, 458, 468], [0, 0, 999, 999]], np.float32)
    >>> roicy.fpn_levels(rois, 4)
    array([0, 1, 3, 3], dtype=int32)
    >>> roicy.fpn_levels(rois, 4, rule="tensorrt")
    array([0, 0, 2, 3], dtype=int32)
    """
    kernels, rois = adopt(rois=rois)
    levels = settle.num_levels(num_levels)
    rule = settle.level_rule(rule)
    canonical = (
        settle.canonical_size(canonical_size),
        settle.level("canonical_level", canonical_level),
        settle.level("finest_level", finest_level),
    )
    turned = settle.flag("rotated", rotated)
    size = settle.image_size_of_levels(image_size, rule, turned)
    given: Any = rois if isinstance(rois, tuple) else (rois,)
    names = settle.ROTATED if turned else settle.CORNERS
    settled = settle.rois(rois, None, len(given), kernels.xp, names)
    found: Array = levels_of(boxes_for(rule, rois, settled), levels, rule, canonical, size, kernels.xp)
    return found


def boxes_for(rule: LevelRule, rois: Ndarray | tuple[Ndarray, ...], settled: settle.Rois) -> Ndarray:
    """Return the numbers of boxes as a rule looks at them, of arrays as they came and settled."""
    boxes = settled.boxes[:, -settled.columns :]
    given: Any = rois if isinstance(rois, tuple) else (rois,)
    if rule == "mmdet" and all(array.dtype == np.float16 for array in given):
        return boxes.astype(np.float16)
    return boxes


def levels_of_maps(
    levels: Any,
    rois: Ndarray | tuple[Ndarray, ...],
    settled: settle.Rois,
    scales: Sequence[float],
    checked: bool,
    xp: Any,
) -> Ndarray:
    """Return the map that each box is pooled from, by its scale in the order of the maps, -1 for none.

    Levels are an array, which becomes one of the call's inputs and where `checked` is looked at, or the name
    of a rule.
    """
    k, count = len(settled.boxes), len(scales)
    if not isinstance(levels, str):
        found = settle.level_array(levels, k, count, xp)
        settled.given = (levels, *settled.given)  # batch indices stay the last ones
        if checked:
            settle.check_levels(found, levels, count)
        return found
    rule = settle.level_rule(levels, "levels")
    if count == 1 and rule != "openvino":
        return xp.zeros(k, np.int32)
    canonical = 224.0, 4, settle.level_of_first(rule, scales)
    return levels_of(boxes_for(rule, rois, settled), count, rule, canonical, None, xp)


def by_area(rule: LevelRule, boxes: Ndarray, scales: Sequence[float]) -> ByArea:
    """Return from which areas on boxes belong to each of the maps with these scales."""
    count = len(scales)
    if count == 1 and rule != "openvino":
        return ByArea("tensorrt", (), False)  # by which any box has a map
    canonical = 224.0, 4, settle.level_of_first(rule, scales)
    dtype = np.dtype(_COMPUTES_IN.get(rule, boxes.dtype))
    if rule == "tensorrt":
        least = _thresholds(count, canonical, None)
    else:
        least = _least_areas(rule, dtype.name, count, canonical)
    return ByArea(rule, tuple(map(float, least)), dtype == np.float32)


def levels_of(
    boxes: Ndarray,
    levels: int,
    rule: LevelRule,
    canonical: Canonical,
    image_size: Size | None,
    xp: Any,
) -> Ndarray:
    """Return the levels of settled boxes, (K, 4) or rotated ones, (K, 5).

    `canonical` is the canonical size, its level's number and that of the finest one.
    """
    dtype = np.dtype(_COMPUTES_IN.get(rule, boxes.dtype))
    with np.errstate(all="ignore"):
        boxes = boxes.astype(dtype, copy=False)
        if boxes.shape[1] == 5:
            width, height = boxes[:, 2], boxes[:, 3]
        elif rule == "tensorrt":
            (x1, x2), (y1, y2) = (_sorted(boxes, axis, image_size, xp) for axis in (0, 1))
            width, height = x2 - x1, y2 - y1
        else:
            width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        area = width * height
    if rule == "tensorrt":
        least = _thresholds(levels, canonical, image_size)
        return sum((area > bound for bound in least), xp.zeros(len(area), np.int32))
    none = ~(area > 0) if rule == "openvino" else ~(area >= 0)
    found = xp.zeros(len(area), np.int32)
    for bound in _least_areas(rule, dtype.name, levels, canonical):
        found += area >= bound
    return xp.where(none, np.int32(-1), found)


def _sorted(boxes: Ndarray, axis: int, image_size: Size | None, xp: Any) -> tuple[Ndarray, Ndarray]:
    # a box's lower and upper coordinate along x (0) or y (1), as parts of the image where that is known
    one, other = boxes[:, axis], boxes[:, axis + 2]
    low, high = xp.fmin(one, other), xp.fmax(one, other)
    if image_size is None:
        return low, high
    length = np.float32(image_size[1 - axis])
    return tuple(xp.fmax(np.float32(0), xp.fmin(length, edge)) / length for edge in (low, high))


@functools.lru_cache(64)
def _thresholds(levels: int, canonical: Canonical, image_size: Size | None) -> tuple[np.float32, ...]:
    # the areas that a box must exceed to leave the first map, the second, ...
    size, level, finest = canonical
    size *= 2.0 ** (2 - (level - finest))  # as if the finest map were two levels below
    with np.errstate(over="ignore"):  # no area exceeds an infinity
        square = np.float32(size) * np.float32(size)
        if image_size is not None:
            part = np.sqrt(square / np.float32(image_size[0] * image_size[1]))
            square = part * part
        first = square / np.float32(4)
        return tuple(first * np.float32(4.0**level) for level in range(levels - 1))


@functools.lru_cache(64)
def _least_areas(rule: str, dtype: str, levels: int, canonical: Canonical) -> tuple[Any, ...]:
    # The least area of each level but the first, found among all numbers of the dtype: the formulas ascend.
    real = np.dtype(dtype).type
    level = _FORMULAS[rule]
    whole = np.dtype(f"i{np.dtype(dtype).itemsize}")
    low = np.zeros(levels - 1, whole)
    high = np.full(levels - 1, np.array(np.inf, dtype).view(whole) + 1)
    wanted = np.arange(1, levels)
    while (high - low > 1).any():
        middle = low + (high - low) // 2
        with np.errstate(all="ignore"):
            reached = level(middle.view(dtype), real, *canonical) >= wanted
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return tuple(high.view(dtype))


def _log2(value: NumPyArray, real: Any) -> NumPyArray:
    # correctly rounded, which vectorised libraries are not
    return np.log2(value, dtype=np.float64).astype(np.float32 if real is np.float16 else real).astype(real)


def _torchvision(area: NumPyArray, real: Any, size: float, level: int, finest: int) -> Any:
    return np.floor(real(level) + _log2(np.sqrt(area) / real(size), real) + real(1e-6)) - finest


def _detectron2(area: NumPyArray, real: Any, size: float, level: int, finest: int) -> Any:
    return np.floor(real(level) + _log2(np.sqrt(area) / real(size) + real(1e-8), real)) - finest


def _mmdet(area: NumPyArray, real: Any, size: float, level: int, finest: int) -> Any:
    finest_size = real(size / 2.0 ** (level - finest))
    return np.floor(_log2(np.sqrt(area) / finest_size + real(1e-6), real))


def _openvino(area: NumPyArray, real: Any, size: float, level: int, finest: int) -> Any:
    return np.floor(_log2(np.sqrt(area) / real(size) + real(1e-6), real) + real(level - finest))


_FORMULAS: dict[str, Callable[[NumPyArray, Any, float, int, int], Any]] = {
    "torchvision": _torchvision,
    "detectron2": _detectron2,
    "mmdet": _mmdet,
    "openvino": _openvino,
}
