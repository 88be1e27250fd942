"""A box, the pixels that RoIPool makes of it, and the pixels of its bins."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from paper import AMBER, BLUE, FAINT, GREEN, INK, PINK, coordinates, draw_box, draw_map

import roicy

SHAPE, BINS = (8, 10), 3
BOX = (1.3, 0.7, 7.7, 5.4)
INSET = 0.12

# Of a map of its own coordinates, the largest pixel of a bin is the last, and of the negative map the first.
ramps = coordinates(*SHAPE)
ends, starts = (np.abs(roicy.roi_pool(sign * ramps, np.float64([BOX]), BINS)[0]) for sign in (1, -1))

figure, every = plt.subplots(1, 2, figsize=(8.6, 3.7), layout="constrained")
for axes in every:
    draw_map(axes, *SHAPE, margin=0.05)
left, right = every
x1, y1 = starts[:, 0, 0] - 0.5
x2, y2 = ends[:, -1, -1] + 0.5
left.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, color=BLUE, alpha=0.16, zorder=2))
draw_box(left, x1, y1, x2, y2, BLUE)
draw_box(left, *np.add(BOX, 0.5), INK, linestyle="--", linewidth=1.4)
left.set_title("corners to pixels, both of them inside")
for column, colour in enumerate((PINK, AMBER, GREEN)):
    for row in range(BINS):
        first, last = starts[:, row, column] - 0.5, ends[:, row, column] + 0.5
        inset = INSET * (1 + (row + column) % 2)
        wide, high = last - first - 2 * inset
        right.add_patch(
            Rectangle(
                first + inset, wide, high, facecolor=colour + "22", edgecolor=colour, linewidth=1.6, zorder=3
            )
        )
right.set_title(f"{BINS} × {BINS} bins, which share pixels")
for axes in every:
    for i in range(SHAPE[1]):
        axes.text(i + 0.5, SHAPE[0] + 0.1, i, ha="center", va="top", color=FAINT, fontsize=8.5)
