"""Constants that a source and its launches share; the compiler gets them by ``-D``."""

from __future__ import annotations

from roicy._types import TERMS

#: By source.
CONSTANTS: dict[str, dict[str, int]] = {
    # a warp takes an axis of a RoI; where few have lists to be transposed, a block does
    "axis": {"WARPS": 4},
    # a warp has GROUP channels and at most ROWS rows of bins, of which it keeps ROOM taps, and all of the
    # columns where these are COLUMNS at the most; a lane reads at most SPREAD columns, fewer of doubles, and
    # TOGETHER rows of them before the first is used. RESIDENT blocks are to have room on a multiprocessor
    "axis_forward": {
        "WARPS": 2,
        "RESIDENT": 14,
        "SPREAD": 4,
        "TOGETHER": 4,
        "ROWS": 8,
        "ROOM": 64,
        "COLUMNS": 96,
        "GROUP": 8,
    },
    "channels_last": {"THREADS": 256},
    "finish": {"THREADS": 256},
    # lanes are channels
    "axis_forward_pixels": {"WARPS": 8},
    # a warp has a tile of ROWS rows of pixels. It stages LINES rows of bins, all in all STAGED groups of
    # channels, AHEAD reads before the first of them is used, and has TAPS bins of a pixel in registers; a
    # block looks for MET RoIs before it goes through them
    "axis_backward": {"WARPS": 4, "ROWS": 8, "STAGED": 256, "LINES": 16, "TAPS": 4, "AHEAD": 2, "MET": 128},
    # CHANNELS of a thread, a pixel of a warp, in ROWS rows
    "axis_backward_pixels": {"WARPS": 8, "CHANNELS": 8, "ROWS": 2},
    # as axis_forward; ACROSS channels where lanes lie along them, more instead of more than GROUPS groups;
    # ITEMS of a lane, and THREADS of a block that adds what the warps have
    "axis_backward_rois": {
        "WARPS": 2,
        "RESIDENT": 12,
        "ITEMS": 3,
        "ROWS": 8,
        "ROOM": 64,
        "GROUP": 8,
        "ACROSS": 32,
        "GROUPS": 64,
        "THREADS": 128,
    },
    # PART: channels of a block at the most
    "sample_forward": {"THREADS": 256, "PART": 64},
    # OWN_BYTES: the sums of a thread
    "sample_backward": {"THREADS": 256, "OWN_BYTES": 64},
    # PART: channels of a block, BINS: its bins; the parts of a sum, the same on any device
    "sample_backward_rois": {"THREADS": 256, "PART": 64, "BINS": 64},
    # THREADS of a block, which takes a row; TERMS decide about bits
    "rows": {"THREADS": 256, "TERMS": TERMS},
    # THREADS of a block, which looks at one RoI
    "argmax": {"THREADS": 256},
    "grid_backward_rois": {"THREADS": 256},
    # THREADS of a block, and ROWS that it has of a mask's window
    "mask": {"THREADS": 128, "ROWS": 16},
    "quad": {"THREADS": 128},
    # QUAD: channels of a thread at the most
    "quad_forward": {"THREADS": 128, "QUAD": 4},
    # WARPS of a block, each with a channel of its own. RESIDENT blocks are to have room
    "grid_backward": {"WARPS": 4},
    "range_backward": {"WARPS": 4, "RESIDENT": 4},
    # ENTRIES: samples of an axis that a block keeps at a time; ITEMS: places of their rows that a warp keeps,
    # of at most GROUP rows of bins
    "grid_forward": {"THREADS": 128, "ENTRIES": 256, "ITEMS": 320, "GROUP": 4},
    # ITEMS: places of a line that a warp keeps, rows of bins times columns of pixels; at most GROUP rows
    "range_forward": {"WARPS": 4, "ITEMS": 128, "GROUP": 4, "TOGETHER": 4},
    # SORTERS: threads of a block, which looks for the RoIs of an image
    "rois": {"SORTERS": 1024},
    # lanes are channels
    "range_forward_pixels": {"WARPS": 8},
}
