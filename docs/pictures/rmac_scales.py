"""The regions of R-MAC on a map, scale by scale."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from paper import AMBER, BLUE, PINK, draw_map

import roicy

SHAPE, SCALES = (12, 16), 3

regions = roicy.rmac_regions((1, 1, *SHAPE), scales=SCALES)[:, 1:] + [0, 0, 1, 1]  # the last pixel is inside
sides = regions[:, 2] - regions[:, 0]
figure, every = plt.subplots(1, SCALES, figsize=(8.8, 2.7), layout="constrained")
for axes, side, colour in zip(every, -np.unique(-sides), (AMBER, BLUE, PINK), strict=True):
    draw_map(axes, *SHAPE)
    chosen = regions[sides == side]
    for number, (x1, y1, x2, y2) in enumerate(chosen):
        inset = 0.15 + 0.2 * (number % 3)  # regions overlap: their outlines should not
        corner, edges = (x1 + inset, y1 + inset), (x2 - x1 - 2 * inset, y2 - y1 - 2 * inset)
        axes.add_patch(
            Rectangle(corner, *edges, facecolor=colour + "1c", edgecolor=colour, linewidth=1.6, zorder=3)
        )
    axes.set_title(f"{len(chosen)} of {side:.0f} × {side:.0f} pixels", color=colour)
