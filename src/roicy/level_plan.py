"""The plan of the boxes on one map of a pyramid, and the assignment of boxes to maps."""

from __future__ import annotations

from typing import Any

from roicy import _arguments as settle
from roicy._types import Array, Merge, Ndarray
from roicy.levels import levels_of_maps
from roicy.plan import Plan


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


def shared_out(
    levels: Any,
    merge: Merge,
    rois: Any,
    settled: settle.Rois,
    scales: tuple[float, ...],
    checked: bool,
    of: tuple[int, Any],
) -> tuple[settle.Rois, Ndarray | None, Ndarray | None, Ndarray | None]:
    """Assign boxes to the maps of a pyramid; `of` is the number of images and the array library.

    Returns the boxes, the map of each from the caller or the rule, the map that each is pooled from, and
    which boxes are on no map. The last three are None if all boxes are on all maps; the last one if every box
    has a map.
    """
    if merge == "assigned":
        found = levels_of_maps(levels, rois, settled, scales, checked, of[1])
        shared, of_level, nowhere = settle.shared_out(settled, found, *of)
        return shared, found, of_level, nowhere
    if not isinstance(levels, str):
        raise ValueError("levels must be the name of a rule for merge='sum', which looks at none")
    settle.level_rule(levels, "levels")
    return settled, None, None, None
