"""Two tilted things of the photo, in an upright box and in a rotated one."""

import numpy as np
from matplotlib.patches import Polygon

import roicy
from roicy._cli.demo.sheet import AMBER, CYAN, FAINT, HEAD, MARGIN, PINK, Sheet, show, tag

# cx, cy, width, height in pixels of the photo, degrees counter-clockwise
BOXES = {
    "star": (68.5, 87, 56, 56, 18),
    "name plate": (123, 500.5, 102, 42, -4.6),
}
COLUMNS = {"roi_align": ("the upright box around it", CYAN), "roi_align_rotated": ("the box itself", PINK)}
BINS = 160  # across; as many down as the box's proportions ask for
SAMPLING_RATIO = 2


def draw(photo, stopwatch):
    """Draw the photo with the boxes, and beside it a row per thing and a column per operator."""
    cell, gap, label = 3.3, 0.16, 0.38  # inches
    corners = {name: _corners(*box) for name, box in BOXES.items()}
    around = {name: np.concatenate([points.min(0), points.max(0)]) for name, points in corners.items()}
    heights = [cell * box[3] / box[2] for box in BOXES.values()]
    tall = sum(heights) + label * len(heights)
    wide = tall * photo.shape[1] / photo.shape[0]
    left = wide + 3 * MARGIN
    sheet = Sheet(
        left + len(COLUMNS) * (cell + gap) - gap + MARGIN,
        HEAD + tall + MARGIN,
        "roi_align_rotated straightens",
        "boxes turned counter-clockwise, and upright boxes around them",
    )
    axes = sheet.axes(MARGIN, HEAD, wide, tall)
    show(axes, photo, smooth=True)
    for name, points in corners.items():
        x1, y1, x2, y2 = around[name]
        axes.add_patch(Polygon([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], fill=False, edgecolor=CYAN, lw=1.2))
        axes.add_patch(Polygon(points, fill=False, edgecolor=PINK, linewidth=2))
        tag(axes, x1 + 2, y1 - 4.5, f"{name}, {BOXES[name][4]}°", AMBER)

    y = HEAD
    for (name, box), height in zip(BOXES.items(), heights, strict=True):
        size = round(BINS * box[3] / box[2]), BINS
        crops = {}
        for operator, rois in ("roi_align", around[name]), ("roi_align_rotated", box):
            crops[operator] = stopwatch.time(
                name,
                getattr(roicy, operator),
                photo[None],
                np.array([rois], np.float32),
                size,
                sampling_ratio=SAMPLING_RATIO,
                layout="NHWC",
            )[0]
        for column, (operator, (words, colour)) in enumerate(COLUMNS.items()):
            x = left + column * (cell + gap)
            if y == HEAD:
                sheet.text(x + cell / 2, 0.68, operator, fontsize=13, weight="bold", ha="center")
            sheet.text(x, y + 0.66 * label, f"{name}: {words}", fontsize=10, color=FAINT)
            show(sheet.axes(x, y + label, cell, height), crops[operator], colour)
        y += label + height
    return sheet


def _corners(cx, cy, width, height, degrees):
    """Return the corners of a rotated box as rows (x, y), from the upper left one clockwise."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    across, down = np.array([cos, -sin]) * width / 2, np.array([sin, cos]) * height / 2
    centre = np.array([cx, cy])
    return centre + np.array([-across - down, across - down, across + down, down - across])
