"""The regions of R-MAC: square boxes that cover a map at several scales."""

from __future__ import annotations

import functools
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from roicy._arguments.numbers import integer, real
from roicy._types import Cover, NumPyArray
from roicy.cpu.tables.cover import boxes_of_image

# At most this many more regions lie along the longer side than along the shorter one.
_MAX_STEPS = 6
# So many regions of one image are found in a fraction of a second.
_MAX_REGIONS = 2**20


def regions(height: int, width: int, scales: Any, overlap: Any) -> NumPyArray:
    """Return the regions of one image, (R, 4), read-only; options are as the caller gave them."""
    return boxes_of_image(cover_of(height, width, *settled(scales, overlap)))


def settled(scales: Any, overlap: Any) -> tuple[int, float]:
    """Return the options, which the caller gave, as `cover_of` takes them."""
    return _settled_scales(scales), _settled_overlap(overlap)


@functools.lru_cache(maxsize=64)
def cover_of(height: int, width: int, scales: int, overlap: float) -> Cover:
    """Return what describes the regions of one image, with the roundings that `rmac_regions` promises."""
    shorter = min(height, width)
    steps_x, steps_y = _steps(width, height, overlap), _steps(height, width, overlap)
    last = max(0, min(scales, 2 * shorter - 1))
    count = _sum_of_products(steps_x, steps_y, last)
    if count > _MAX_REGIONS:
        raise ValueError(
            f"scales must be smaller for a map of {height} x {width} pixels, got {scales}: "
            f"its {count} regions are more than {_MAX_REGIONS}"
        )
    return Cover(height, width, steps_y, steps_x, last, count)


def _sum_of_products(first: int, second: int, last: int) -> int:
    # the sum of (first + scale) * (second + scale) over the scales 1 to last
    squares = last * (last + 1) * (2 * last + 1) // 6
    return squares + (first + second) * last * (last + 1) // 2 + first * second * last


def _steps(side: int, other: int, overlap: float) -> int:
    # how many regions more than the scale lie along a side
    if side <= other or not other:
        return 0
    area = np.float32(other * other)
    distances = [
        abs((area - np.float32(other) * np.float32((side - other) / steps)) / area - np.float32(overlap))
        for steps in range(1, _MAX_STEPS + 1)
    ]
    return 1 + int(np.argmin(distances))


def _settled_scales(value: Any) -> int:
    count = integer("scales", value)
    if count < 1:
        raise ValueError(f"scales must be at least 1, got {count}")
    return count


def _settled_overlap(value: Any) -> float:
    part = real("overlap", value)
    if not 0.0 <= part < 1.0:
        raise ValueError(f"overlap must be at least 0 and less than 1, got {short_repr(value)}")
    return part
