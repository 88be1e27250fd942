"""What every operator is told about boxes, as the caller gave it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from roicy._types import AnyArray, Boxes, Indices, Invalid, Layout, LevelRule, Merge, Ndarray, Real, Window


class Given(NamedTuple):
    """Boxes, and what every operator on boxes is told about them, as the caller gave it."""

    rois: Boxes
    batch_indices: Indices | None
    layout: Layout
    invalid: Invalid
    offsets: AnyArray | None = None
    mask: AnyArray | None = None
    window: Window | None = None


class Sharing(NamedTuple):
    """How boxes are shared out among the maps, as the caller gave it."""

    spatial_scales: Sequence[Real]
    levels: LevelRule | Indices
    merge: Merge
    windows: Sequence[Window | None] | None = None

    def adopted(self, levels: Ndarray | None) -> Sharing:
        """Return the same with levels that are an array as the kernels take it."""
        return self if levels is None else self._replace(levels=levels)
