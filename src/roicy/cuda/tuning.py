"""Numbers that a source's text and its launches share: the compiler gets them by ``-D``."""

from __future__ import annotations

#: By source.
CONSTANTS: dict[str, dict[str, int]] = {
    # THREADS of a block, which looks at one RoI
    "argmax": {"THREADS": 256},
    "grid_backward_rois": {"THREADS": 256},
    # WARPS of a block, each with a channel of its own
    "grid_backward": {"WARPS": 8},
    "range_backward": {"WARPS": 8},
    # ENTRIES: samples of an axis that a block keeps at a time
    "grid_forward": {"THREADS": 128, "ENTRIES": 256},
    # ITEMS: places of a line that a warp keeps, rows of bins times columns of pixels; at most GROUP rows
    "range_forward": {"WARPS": 4, "ITEMS": 128, "GROUP": 4},
    # lanes are channels
    "range_forward_pixels": {"WARPS": 8},
}
