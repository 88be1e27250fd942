"""A graph of `roicy.dask.roi_align`: chunks of images, boxes in groups, and rows in either order."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle
from paper import AMBER, BLUE, FAINT, PINK

COLOURS = BLUE, AMBER, PINK
GROUPS = [0, 4, 7], [2, 3, 8], [1, 5, 6]
COLUMNS = 0.0, 3.0, 6.2, 9.6


def box(axis, x, y, text, colour, height=0.62):
    axis.add_patch(
        Rectangle((x, y - height / 2), 1.9, height, facecolor=colour, alpha=0.25, edgecolor=colour)
    )
    axis.text(x + 0.95, y, text, ha="center", va="center", fontsize=9)


def arrow(axis, start, end, colour):
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, color=colour, alpha=0.8, linewidth=1)
    )


figure, axis = plt.subplots(figsize=(9, 2.9), layout="constrained")
titles = "features", "tasks: known boxes", 'order="image"', 'order="rois"'
for x, title in zip(COLUMNS, titles, strict=True):
    axis.text(x + 0.95, 3.15, title, ha="center", fontweight="bold", fontsize=9)
image_of = np.empty(9, int)
for chunk, rows in enumerate(GROUPS):
    image_of[rows] = chunk
for chunk, (rows, colour) in enumerate(zip(GROUPS, COLOURS, strict=True)):
    y = 2.5 - chunk
    box(axis, COLUMNS[0], y, f"chunk {chunk}", colour)
    box(axis, COLUMNS[1], y, "roi_align", colour)
    box(axis, COLUMNS[2], y, f"boxes {', '.join(map(str, rows))}", colour)
    arrow(axis, (COLUMNS[0] + 1.9, y), (COLUMNS[1], y), colour)
    arrow(axis, (COLUMNS[1] + 1.9, y), (COLUMNS[2], y), colour)
for chunk in range(3):
    y = 2.5 - chunk
    rows = range(3 * chunk, 3 * chunk + 3)
    box(axis, COLUMNS[3], y, f"boxes {', '.join(map(str, rows))}", FAINT)
    for source in sorted({int(image_of[row]) for row in rows}):
        arrow(axis, (COLUMNS[2] + 1.9, 2.5 - source), (COLUMNS[3], y), COLOURS[source])
axis.set_xlim(-0.2, 11.7)
axis.set_ylim(0, 3.4)
axis.set_axis_off()
