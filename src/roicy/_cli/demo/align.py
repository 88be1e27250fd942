"""Three boxes of the photo, their bins and samples, and the boxes pooled to three sizes."""

import numpy as np
from matplotlib.patches import Rectangle

import roicy
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, INK, MARGIN, PINK, Sheet, show, tag

# x1, y1, x2, y2 in pixels of the photo; colour of the drawing
BOXES = {
    "cap badge": ((194, 24, 346, 106), AMBER),
    "face": ((154, 128, 378, 336), CYAN),
    "medals": ((316, 480, 460, 534), PINK),
}
SIZES = (7, 14, 224)
SAMPLING_RATIO = 2


def draw(photo, stopwatch):
    """Draw the photo, and beside it a row per box and a column per size, cells in their box's proportions."""
    rois = np.array([box for box, _ in BOXES.values()], dtype=np.float32)
    options = {"sampling_ratio": SAMPLING_RATIO, "layout": "NHWC"}
    crops = {
        size: stopwatch.time(f"{size} x {size} bins", roicy.roi_align, photo[None], rois, size, **options)
        for size in SIZES
    }

    cell, gap, label = 2.5, 0.16, 0.38  # inches
    heights = [cell * (y2 - y1) / (x2 - x1) for (x1, y1, x2, y2), _ in BOXES.values()]
    tall = sum(heights) + label * len(heights)
    wide = tall * photo.shape[1] / photo.shape[0]
    left = wide + 3 * MARGIN
    sheet = Sheet(
        left + len(SIZES) * (cell + gap) - gap + MARGIN,
        HEAD + tall + MARGIN,
        "roi_align on the photo itself",
        "the boxes, their 7 × 7 bins, and 2 × 2 sampling points in each bin",
    )
    _draw_boxes(sheet.axes(MARGIN, HEAD, wide, tall), photo)
    for column, size in enumerate(SIZES):
        x, y = left + column * (cell + gap), HEAD
        sheet.text(x + cell / 2, 0.68, f"{size} × {size}", fontsize=13, weight="bold", ha="center")
        for row, (name, (box, colour)) in enumerate(BOXES.items()):
            if column == 0:
                words = f"{name}, {box[2] - box[0]} × {box[3] - box[1]} pixels"
                sheet.text(x, y + 0.66 * label, words, fontsize=10, color=FAINT)
            show(sheet.axes(x, y + label, cell, heights[row]), crops[size][row], colour)
            y += label + heights[row]
    return sheet


def _draw_boxes(axes, photo):
    show(axes, photo, smooth=True)
    bins, samples = SIZES[0], SIZES[0] * SAMPLING_RATIO
    for name, ((x1, y1, x2, y2), colour) in BOXES.items():
        xs, ys = np.linspace(x1, x2, bins + 1), np.linspace(y1, y2, bins + 1)
        axes.vlines(xs, y1, y2, color=colour, linewidth=0.5, alpha=0.7)
        axes.hlines(ys, x1, x2, color=colour, linewidth=0.5, alpha=0.7)
        steps = (np.arange(samples) + 0.5) / samples
        grid = np.meshgrid(x1 + steps * (x2 - x1), y1 + steps * (y2 - y1))
        dot = min(4.5, 0.5 * (y2 - y1) / samples)
        axes.scatter(*grid, s=dot, color="white", edgecolors=INK, linewidths=0.4, zorder=3)
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.8))
        tag(axes, x1 + 2.5, y1 - 4.5, name, colour)
