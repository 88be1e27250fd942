"""Boxes of a pyramid's maps, assigned on the device: which table each of them belongs to."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from roicy._types import ByArea, Ndarray
from roicy.cuda.device import Device, box_options, name_of
from roicy.cuda.structs import POINTER, Layout, Struct
from roicy.cuda.tables.rois import packed_boxes

#: Areas that a struct has room for, one for each map but the first.
_NAMES = "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"
MOST_MAPS = len(_NAMES) + 1
_RULES = {"openvino": 1, "tensorrt": 2}
_THREADS = 128

#: As in levels.cu.
AREAS = Layout(**dict.fromkeys(_NAMES, np.float64))
SHARING = Layout(
    levels=POINTER,
    long_levels=POINTER,
    least=AREAS,
    maps=np.int32,
    rule=np.int32,
    single=np.int32,
    numbers=np.int32,
)
SHARED = Layout(boxes=POINTER, images=POINTER, levels=POINTER)


class LevelKernels(Device):
    """What assigns boxes to the maps of a pyramid."""

    most_maps = MOST_MAPS

    def share_out(
        self,
        boxes: Ndarray,
        images: Ndarray | None,
        numbers: int,
        levels: Ndarray | ByArea,
        shapes: tuple[int, int],
    ) -> tuple[Ndarray, Sequence[Ndarray], Ndarray]:
        """Assign boxes, each of so many numbers, to as many maps as `shapes` says of as many images.

        `levels` are int32 or int64, C-contiguous, or a rule. Returns copies of the boxes, for the table of
        each map their images, and their maps: -1 for boxes on none, -2 for those of a wrong level.
        """
        maps, count = shapes
        rows = boxes.shape[0]
        own, found = self.empty(boxes.shape, boxes.dtype), self.empty(rows, np.int32)
        apart = self.empty((maps, rows), np.int64)
        if isinstance(levels, ByArea):
            given: tuple[Ndarray | None, Ndarray | None] = None, None
            how = _areas(levels), _RULES.get(levels.rule, 0), int(levels.single)
        else:
            given = (levels, None) if levels.dtype.itemsize == 4 else (None, levels)
            how = _areas(None), 0, 0
        sharing = SHARING(
            levels=given[0],
            long_levels=given[1],
            least=how[0],
            maps=maps,
            rule=how[1],
            single=how[2],
            numbers=numbers,
        )
        packed = packed_boxes(self, boxes, images, int(boxes.shape[1] == numbers))
        shared = SHARED(boxes=own, images=apart, levels=found)
        arguments = packed, np.int64(rows), np.int64(count), sharing, shared
        options = box_options(name_of(boxes.dtype))
        self.launch("levels", "share_out", options, -(-rows // _THREADS), _THREADS, arguments)
        return own, [apart[level] for level in range(maps)], found


@functools.lru_cache(64)
def _areas(rule: ByArea | None) -> Struct:
    # NaN behind the areas that there are: none is as large
    least = () if rule is None else rule.least
    values = (*least, *[float("nan")] * (len(_NAMES) - len(least)))
    return AREAS(**dict(zip(_NAMES, values, strict=True)))
