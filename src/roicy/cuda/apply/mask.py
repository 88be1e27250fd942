"""Masks pasted into images."""

from __future__ import annotations

import numpy as np

from roicy import _arguments as settle
from roicy import cpu
from roicy._types import Ndarray, NumPyArray, Pasting, Size
from roicy.cuda.device import SOFT, Device, Options, name_of, table_options
from roicy.cuda.structs import POINTER, Layout, Struct, view
from roicy.cuda.tuning import CONSTANTS

#: As in mask.cu.
PASTING = Layout(
    boxes=POINTER,
    start=POINTER,
    masks=np.int64,
    groups=np.int64,
    threshold=np.float64,
    rows=np.int32,
    columns=np.int32,
    height=np.int32,
    width=np.int32,
    rule=np.int32,
)


class MaskKernels(Device):
    """What `roicy.cpu` has for masks."""

    def mask_windows(self, boxes: Ndarray, mask_size: Size, pasting: Pasting) -> NumPyArray:
        """Return the part of the image that each mask reaches: top, left, bottom, right; waits."""
        edges = self.xp.empty((len(boxes), 4), np.int32)
        threads = CONSTANTS["mask"]["THREADS"]
        options = self._mask_options(np.dtype(np.float32), boxes, pasting, edges)
        arguments = _packed(boxes, mask_size, pasting, None, 0), edges
        self.launch("mask", "windows", options, -(-len(boxes) // threads), threads, arguments)
        found: NumPyArray = settle.on_host(edges)
        return found

    def mask_paste(
        self,
        masks: Ndarray,
        boxes: Ndarray,
        pasting: Pasting,
        out: Ndarray,
        starts: NumPyArray | None = None,
        *,
        blank: bool = False,
    ) -> None:
        """Fill `out` (K, H, W) with masks (K, M, N), or (items,) with their windows from their starts on.

        Images that are `blank` hold zeros already.
        """
        if not out.size:
            return
        placed = None if starts is None else self.xp.asarray(starts)
        images = out[:, None] if starts is None else out[None, None, None]
        if starts is None and not blank:
            out[...] = 0
        rows = CONSTANTS["mask"]["ROWS"]
        groups = -(-min(pasting.image_size[0], out.size) // rows)  # no window has more rows than items
        options = self._mask_options(masks.dtype, boxes, pasting, masks[:, None], images)
        arguments = (
            *view(masks[:, None]),
            *view(images),
            _packed(boxes, masks.shape[1:], pasting, placed, groups),
        )
        self.launch("mask", "paste", options, len(masks) * groups, CONSTANTS["mask"]["THREADS"], arguments)

    def mask_runs(self, masks: Ndarray, boxes: Ndarray, pasting: Pasting) -> list[list[int]]:
        """Return how long runs of equal pixels are in each pasted mask, found on the host; waits."""
        return cpu.mask_runs(settle.on_host(masks), settle.on_host(boxes), pasting)

    def _mask_options(self, dtype: np.dtype, boxes: Ndarray, pasting: Pasting, *arrays: Ndarray) -> Options:
        accumulate = "float64" if dtype == np.float64 else "float32"
        features = self.feature_options(dtype, accumulate, *arrays)
        box = table_options(name_of(boxes.dtype), accumulate)[:1]
        return features + box + SOFT[pasting.threshold is None]


def _packed(boxes: Ndarray, mask_size: Size, pasting: Pasting, start: Ndarray | None, groups: int) -> Struct:
    rows, columns = mask_size
    height, width = pasting.image_size
    return PASTING(
        boxes=boxes,
        start=start,
        masks=len(boxes),
        groups=groups,
        threshold=pasting.threshold or 0.0,
        rows=rows,
        columns=columns,
        height=height,
        width=width,
        rule=pasting.rule,
    )
