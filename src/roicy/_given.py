"""What every operator is told about boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from roicy._types import AnyArray, Boxes, Indices, Invalid, Layout, LevelRule, Merge, Ndarray, Real, Window

if TYPE_CHECKING:
    from roicy._arguments import Rois


@dataclass(slots=True, eq=False)
class Given:
    """Boxes, and what every operator on boxes is told about them.

    As the caller gave it; a call puts its arrays and its layout here as the kernels take them.
    """

    rois: Boxes | Rois
    batch_indices: Indices | None
    layout: Layout
    invalid: Invalid
    window: Window | None = None
    offsets: AnyArray | None = None
    mask: AnyArray | None = None


class Sharing(NamedTuple):
    """How boxes are shared out among the maps, as the caller gave it."""

    spatial_scales: Sequence[Real]
    levels: LevelRule | Indices
    merge: Merge
    windows: Sequence[Window | None] | None = None

    def adopted(self, levels: Ndarray | None) -> Sharing:
        """Return the same with levels that are an array as the kernels take it."""
        return self if levels is None else self._replace(levels=levels)
