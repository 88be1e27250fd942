"""The regions of R-MAC, made of what describes them; their twin for a GPU is in cuda/tables/rois.cu."""

from __future__ import annotations

import functools

import numpy as np

from roicy._types import Cover, NumPyArray


@functools.lru_cache(maxsize=64)
def boxes_of_image(cover: Cover) -> NumPyArray:
    """Return the regions of one image, (R, 4), float32, read-only: their first and last columns and rows."""
    # Kept: finding them takes as long as pooling a small map.
    shorter = min(cover.height, cover.width)
    found = [np.empty((0, 4), np.float32)]
    for scale in range(1, cover.scales + 1):
        size = 2 * shorter // (scale + 1)
        x = _starts(cover.width, size, scale + cover.steps_x)
        y = _starts(cover.height, size, scale + cover.steps_y)
        starts = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        found.append(np.concatenate([starts, starts + (size - 1)], axis=1).astype(np.float32))
    joined = np.concatenate(found)
    joined.flags.writeable = False
    return joined


def boxes_of_images(cover: Cover, images: int) -> NumPyArray:
    """Return the regions of all images, (images * R, 5), float64, each behind the number of its image."""
    found = boxes_of_image(cover)
    return np.column_stack([np.repeat(np.arange(images), len(found)), np.tile(found, (images, 1))])


def _starts(side: int, size: int, count: int) -> NumPyArray:
    # The first pixel of each region of a size, regions spread evenly along a side.
    distance = np.float32((side - size) / (count - 1) if count > 1 else 0)
    starts = (distance * np.arange(count, dtype=np.float32)).astype(np.int64)
    return np.minimum(starts, side - size)
