"""The arguments about boxes that all operators share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from roicy._types import AnyArray, Boxes, Indices, Invalid, Layout, LevelRule, Merge, Ndarray, Real, Window

if TYPE_CHECKING:
    from roicy._arguments import Rois


@dataclass(slots=True, eq=False)
class Given:
    """Boxes and the other arguments about boxes that all operators share.

    First as the caller gave them; a call then replaces the arrays and the layout by what the kernels take.
    """

    rois: Boxes | Rois
    batch_indices: Indices | None
    layout: Layout
    invalid: Invalid
    window: Window | None = None
    offsets: AnyArray | None = None
    mask: AnyArray | None = None


class Sharing(NamedTuple):
    """Arguments that assign boxes to the maps of a pyramid, as the caller gave them."""

    spatial_scales: Sequence[Real]
    levels: LevelRule | Indices
    merge: Merge
    windows: Sequence[Window | None] | None = None

    def adopted(self, levels: Ndarray | None) -> Sharing:
        """Return the same with levels that are an array as the kernels take it."""
        return self if levels is None else self._replace(levels=levels)
