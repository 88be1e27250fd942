"""The plan of the boxes on one map of a pyramid, and the assignment of boxes to maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from roicy import _arguments as settle
from roicy._types import Array, ByArea, Merge, Ndarray
from roicy.levels import boxes_for, by_area, levels_of_maps
from roicy.plan import Plan

if TYPE_CHECKING:
    from roicy._protocols import Backend, Pyramids


class LevelPlan(Plan[Array]):
    """The boxes on one map of a pyramid, as a plan."""

    __slots__ = ()

    @property
    def _window_name(self) -> str:  # type: ignore[override]
        return f"windows[{self._regions.level}]"

    def _argmax_of_part(self, argmax: Ndarray, may_wait: bool) -> Ndarray:
        if self._kind.argmax == "pixel":
            named = self._layout, may_wait, self._window_name
            argmax = settle.argmax_of_part(argmax, self._regions, *named)
        return argmax


class SharedOut(NamedTuple):
    """How boxes are assigned to the maps of a pyramid.

    Attributes
    ----------
    rois : sequence of Rois
        The boxes of each map's plan, one object for all maps or one for each.
    found : array or None
        The map of each box, from the caller or a rule; None if all boxes are on all maps.
    of_level : array or None
        The map that each box is pooled from, -1 for none; None alike.
    apart : bool
        Whether the boxes of a map have images that say which are of other maps.
    nowhere : array or None
        Which boxes are on no map, if kernels do not see them; None if every box has a map.
    """

    rois: Sequence[settle.Rois]
    found: Ndarray | None = None
    of_level: Ndarray | None = None
    apart: bool = False
    nowhere: Ndarray | None = None


def shared_out(
    kernels: Backend,
    merge: Merge,
    levels: Any,
    rois: Any,
    settled: settle.Rois,
    scales: tuple[float, ...],
    checked: bool,
    images: int,
) -> SharedOut:
    """Assign boxes to the maps of a pyramid; `rois` are arrays as they came."""
    maps, xp = len(scales), kernels.xp
    if merge == "sum":
        if not isinstance(levels, str):
            raise ValueError("levels must be the name of a rule for merge='sum', which looks at none")
        settle.level_rule(levels, "levels")
        return SharedOut((settled,) * maps)
    if kernels.pyramids is not None:
        return _by_kernel(
            kernels.pyramids,
            _deciding(kernels, levels, rois, settled, scales, checked),
            settled,
            (maps, images),
        )
    found = levels_of_maps(levels, rois, settled, scales, checked, xp)
    shared, of_level, nowhere = settle.shared_out(settled, found, images)
    return SharedOut((shared,) * maps, found, of_level, False, nowhere)


def _deciding(
    kernels: Backend,
    levels: Any,
    rois: Any,
    settled: settle.Rois,
    scales: tuple[float, ...],
    checked: bool,
) -> Ndarray | ByArea:
    # what decides about levels on a device: numbers in memory without gaps, or a rule
    pyramids: Any = kernels.pyramids
    if isinstance(levels, str):
        rule = settle.level_rule(levels, "levels")
        boxes = boxes_for(rule, rois, settled)
        if len(scales) <= pyramids.most_maps and boxes.dtype != np.float16:
            return by_area(rule, boxes, scales)
    elif not checked and levels.dtype in (np.int32, np.int64):
        settle.level_numbers(levels, len(settled.boxes))
        settled.given = (levels, *settled.given)  # batch indices stay the last ones
        return settle.own(levels, levels.dtype, True)
    return levels_of_maps(levels, rois, settled, scales, checked, kernels.xp)


def _by_kernel(
    pyramids: Pyramids, levels: Ndarray | ByArea, settled: settle.Rois, shapes: tuple[int, int]
) -> SharedOut:
    given = None if settled.alone else settled.images
    boxes, images, found = pyramids.share_out(settled.boxes, given, settled.columns, levels, shapes)
    rois = [settle.Rois(boxes, settled.columns, own, settled.lengths, settled.given) for own in images]
    return SharedOut(rois, found, found, True)
