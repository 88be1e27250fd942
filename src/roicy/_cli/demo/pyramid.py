"""Boxes of the photo on the maps of a pyramid: which map each one belongs to, and what is pooled from it."""

import numpy as np
from matplotlib.patches import Rectangle

import roicy
from roicy._cli.demo.pool import coarse
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, MARGIN, PINK, VIOLET, Sheet, show, tag

# x1, y1, x2, y2 in pixels of the photo
BOXES = {
    "star": (40, 62, 98, 120),
    "medals": (316, 480, 460, 534),
    "name plate": (74, 478, 172, 528),
    "cap": (188, 24, 364, 130),
    "glasses": (156, 158, 372, 254),
    "collar": (196, 372, 338, 546),
    "head": (138, 16, 388, 350),
    "flag": (3, 34, 162, 392),
    "uniform": (46, 402, 496, 590),
    "portrait": (14, 5, 509, 597),
}
STRIDES = {4: AMBER, 8: CYAN, 16: PINK, 32: VIOLET}  # of the maps, and their colours
BINS = 14


def draw(photo, stopwatch):
    """Draw the photo with its boxes, and beside it a row for each map: its boxes on it, and their bins."""
    maps = [coarse(photo, stride) for stride in STRIDES]
    rois = np.array(list(BOXES.values()), np.float32)
    levels = roicy.fpn_levels(rois, len(maps))
    pooled = stopwatch.time(
        f"{len(rois)} boxes",
        roicy.multi_scale_roi_align,
        maps,
        rois,
        BINS,
        spatial_scales=[1 / stride for stride in STRIDES],
        levels=levels,
        sampling_ratio=2,
        layout="NHWC",
    )

    row, gap, label = 1.62, 0.2, 0.34  # inches
    tall = len(maps) * (row + label)
    wide = tall * photo.shape[1] / photo.shape[0]
    left = wide + 3 * MARGIN
    across = row * photo.shape[1] / photo.shape[0]
    widths = [_width(box, row) for box in BOXES.values()]
    right = left + across + 2 * MARGIN
    longest = max(
        sum(width + gap for width, of in zip(widths, levels, strict=True) if of == level)
        for level in range(len(maps))
    )
    sheet = Sheet(
        right + longest - gap + MARGIN,
        HEAD + tall + MARGIN,
        "multi_scale_roi_align: each box from the map of its level",
        "large boxes are pooled from coarse maps, small ones from fine maps",
    )
    sheet.text(left, 0.68, "the pyramid", fontsize=13, weight="bold")
    sheet.text(right, 0.68, f"{BINS} × {BINS} bins", fontsize=13, weight="bold")
    colours = list(STRIDES.values())
    axes = sheet.axes(MARGIN, HEAD, wide, tall)
    show(axes, photo, smooth=True)
    for (name, box), level in zip(BOXES.items(), levels, strict=True):
        _frame(axes, box, colours[level])
        tag(axes, box[0] + 2.5, box[1] + 11.5 if box[1] < 30 else box[1] - 4.5, name, colours[level])

    x = [right] * len(maps)  # where the next box of each row goes
    for level, (stride, features) in enumerate(zip(STRIDES, maps, strict=True)):
        y = HEAD + level * (row + label)
        rows, columns = features.shape[1:3]
        sheet.text(left, y + 0.66 * label, f"stride {stride}: {rows} × {columns}", fontsize=10, color=FAINT)
        down = row * rows * stride / photo.shape[0]  # a map has whole pixels of the photo's height only
        axes = sheet.axes(left, y + label, across, down)
        show(axes, features[0], colours[level])
    for (name, box), level, bins, width in zip(BOXES.items(), levels, pooled, widths, strict=True):
        y, colour = HEAD + level * (row + label), colours[level]
        height = width * (box[3] - box[1]) / (box[2] - box[0])
        sheet.text(x[level], y + 0.66 * label, name, fontsize=10, color=FAINT)
        show(sheet.axes(x[level], y + label, width, height), bins, colour)
        x[level] += width + gap
    return sheet


def _width(box, side):
    """Return how wide a box is drawn within a square of this side."""
    return side * min(1.25, (box[2] - box[0]) / (box[3] - box[1]))


def _frame(axes, box, colour):
    x1, y1, x2, y2 = box
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=2))
