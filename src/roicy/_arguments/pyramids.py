"""Several feature maps, and which of them each box is pooled from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from roicy._arguments import instead
from roicy._arguments.arrays import INT32, features, features_shape, input_shape, on_host, same_shape
from roicy._arguments.boxes import Rois
from roicy._arguments.numbers import MOST_LEVELS, choice, is_row, spatial_scale
from roicy._types import Accumulate, DType, Layout, LevelRule, Merge, Ndarray, NumPyArray, Shape

#: What stands for a level that is neither that of a map nor -1.
NO_SUCH_LEVEL = -2


def merge(value: object) -> Merge:
    """Return the way to merge maps: "assigned" pools each box from one map, "sum" from all."""
    return choice("merge", value, ("assigned", "sum"))


def no_rule(levels: Any) -> Any:
    """Return levels that are an array; None where they are the name of a rule."""
    if levels is None:
        raise TypeError("levels must be the name of a rule or an array of integers, got None")
    return None if isinstance(levels, str) else levels


def of_maps(name: str, value: Any) -> dict[str, Any]:
    """Return the arrays of the maps by the names that errors have for them."""
    return {f"{name}[{level}]": array for level, array in enumerate(sequence(name, value))}


def sequence(
    name: str, value: Any, each: str = "arrays, one for each map", *, or_none: bool = False
) -> tuple[Any, ...] | Any:
    """Return a sequence with one item for each map."""
    if value is None and or_none:
        return None
    if not isinstance(value, (list, tuple)):
        raise TypeError(
            f"{name} must be a list or tuple of {each}, got {type(value).__name__}"
            f"{instead.of_several(name, value)}"
        )
    if not 1 <= len(value) <= MOST_LEVELS:
        raise ValueError(f"{name} must be 1 to {MOST_LEVELS} {each}, got {len(value)}")
    return tuple(value)


def maps(arrays: Sequence[Ndarray], layout: Layout) -> tuple[Shape, ...]:
    """Return the shapes of the maps of a pyramid, in the order of their layout."""
    shapes = [features_shape(array, layout, f"features[{level}]") for level, array in enumerate(arrays)]
    return _alike("features", shapes, layout)


def input_shapes(value: Any, layout: Layout, name: str = "input_shapes") -> tuple[Shape, ...]:
    """Return the shapes of the maps of a pyramid, in the order of their layout."""
    given = sequence(name, value, "shapes, one for each map")
    shapes = [input_shape(shape, layout, f"{name}[{level}]") for level, shape in enumerate(given)]
    return _alike(name, shapes, layout)


def _alike(name: str, shapes: list[Shape], layout: Layout) -> tuple[Shape, ...]:
    channel = 1 if layout == "NCHW" else 3
    for level, shape in enumerate(shapes):
        for axis, what in ((0, "images"), (channel, "channels")):
            if shape[axis] != shapes[0][axis]:
                raise ValueError(
                    f"{name}[{level}] must have {shapes[0][axis]} {what}, as {name}[0] has, got shape {shape}"
                )
    return tuple(shapes)


def pyramid(arrays: Sequence[Ndarray], shapes: Sequence[Shape]) -> tuple[Accumulate, DType]:
    """Return the accumulation type for the maps of a pyramid, and the dtype of the output."""
    for level, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        same_shape(f"features[{level}]", array, shape)
        if array.dtype != arrays[0].dtype:
            raise TypeError(
                f"features[{level}] must be {arrays[0].dtype}, the dtype of features[0], got {array.dtype}"
            )
    return features(arrays[0], shapes[0], "features[0]")


def as_many(name: str, value: Sequence[Any], count: int) -> None:
    """Check that there is one of something for each map."""
    if len(value) != count:
        raise ValueError(f"{name} must have {count} items, one for each map, got {len(value)}")


def as_many_scales(name: str, maps: int, scales: Any) -> None:
    """Check that there is a scale for each map: either of both arguments may be the wrong one."""
    given = _scales(scales)
    if len(given) != maps:
        raise ValueError(
            f"{name} and spatial_scales must have one item for each map, got {maps} and {len(given)}"
        )


def _scales(value: Any) -> tuple[Any, ...]:
    if is_row(value):
        value = tuple(value)
    found: tuple[Any, ...] = sequence("spatial_scales", value, "numbers, one for each map")
    return found


def spatial_scales(value: Any, boxes: DType) -> tuple[float, ...]:
    """Return the scale of each map."""
    given = _scales(value)
    return tuple(spatial_scale(scale, boxes, f"spatial_scales[{level}]") for level, scale in enumerate(given))


def level_of_first(rule: LevelRule, scales: Sequence[float]) -> int:
    """Return the number of the first map's level, by a rule that numbers maps by their stride."""
    if rule not in ("torchvision", "detectron2"):
        return 2  # as these have it, whatever the stride is
    fraction, exponent = math.frexp(scales[0])
    if fraction != 0.5 or any(scale != math.ldexp(scales[0], -step) for step, scale in enumerate(scales)):
        raise ValueError(
            f"spatial_scales must be powers of two, each half of the one before, for levels={rule!r}, "
            f"got {short_repr(tuple(scales))}: {instead.of_scales(scales)}"
        )
    return 1 - exponent


def level_numbers(levels: Ndarray, rois: int) -> None:
    """Check that given levels are whole numbers, one for each box."""
    if levels.dtype.kind not in "iu":
        whole = ": pass levels.astype(int)" if levels.dtype.kind in "fb" else ""
        raise TypeError(
            f"levels must be the name of a rule or integers, got an array of {levels.dtype}{whole}"
        )
    if levels.shape != (rois,):
        raise ValueError(f"levels must have shape ({rois},), one for each row of rois, got {levels.shape}")


def level_array(levels: Ndarray, rois: int, count: int, xp: Any) -> Ndarray:
    """Return given levels as int32, -1 for no level and `NO_SUCH_LEVEL` for a wrong number."""
    level_numbers(levels, rois)
    wrong = levels > count - 1
    if levels.dtype.kind == "i":
        wrong |= levels < -1
    return xp.where(wrong, INT32.type(NO_SUCH_LEVEL), levels.astype(INT32))


def check_levels(levels: Ndarray, given: Ndarray, count: int) -> None:
    """Check that levels, as given and as `level_array` returns them, are -1 or those of maps; waits."""
    wrong = levels == NO_SUCH_LEVEL
    if wrong.any():
        row = int(on_host(wrong).argmax())
        raise ValueError(
            f"levels[{row}] must lie between -1 and {count - 1}, got {given[row]}; -1 stands for no level, "
            "and invalid='nan' accepts others"
        )


def image_numbers(rois: Rois, images: int, xp: Any) -> Ndarray:
    """Return the image of each box; from a column of numbers, -1 for a number that is not in [0, images)."""
    if rois.images is not None:
        return rois.images
    column = rois.boxes[:, 0]
    known = (column > -1) & (column < images)
    return xp.where(known, column, column.dtype.type(-1)).astype(np.int64)


def shared_out(rois: Rois, levels: NumPyArray, images: int) -> tuple[Rois, NumPyArray, NumPyArray | None]:
    """Return the boxes of a call on N images, with their images apart, and the map of each.

    Invalid rows, and rows of a wrong level, go to the first map as invalid boxes, where its table finds them.
    The last item has the numbers of the rows that are on no map; None if all are on one.
    """
    columns = rois.columns
    boxes = rois.boxes[:, -columns:]
    numbers = image_numbers(rois, images, np)
    if levels.min(initial=0) >= 0:
        return Rois(boxes.copy(), columns, numbers, rois.lengths, rois.given), levels, None
    valid = np.isfinite(boxes).all(axis=1) & (numbers >= 0) & (numbers < images)
    boxes = np.where((levels == NO_SUCH_LEVEL)[:, None], boxes.dtype.type(np.nan), boxes)
    nowhere = (levels == -1) & valid
    levels = np.where((levels < 0) & ~nowhere, levels.dtype.type(0), levels)
    return Rois(boxes, columns, numbers, rois.lengths, rois.given), levels, np.flatnonzero(nowhere)
