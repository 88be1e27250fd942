"""Boxes of three sizes, the samples that each one gets, and those of a fixed number."""

import matplotlib.pyplot as plt
import numpy as np
from paper import (
    AMBER,
    BLUE,
    PINK,
    draw_bins,
    draw_box,
    draw_map,
    draw_points,
    sample_points,
    samples_per_bin,
)

SHAPE, BINS = (12, 20), (3, 3)
BOXES = ((0.7, 1.2, 3.1, 3.4), (4.3, 1.1, 10.2, 6.9), (11.4, 0.6, 19.3, 11.5))

figure, every = plt.subplots(2, 1, figsize=(7.4, 9.2), layout="constrained")
for axes, ratio in zip(every, (0, 2), strict=True):
    draw_map(axes, *SHAPE)
    grids = samples_per_bin(BOXES, SHAPE, BINS, sampling_ratio=ratio)
    for box, grid, colour in zip(BOXES, grids, (AMBER, BLUE, PINK), strict=True):
        draw_box(axes, *box, colour)
        draw_bins(axes, *box, *BINS, colour)
        draw_points(axes, sample_points(box, SHAPE, BINS, grid), colour)
        high, wide = np.subtract(box[2:], box[:2])[::-1] / BINS
        words = f"bin {high:.1f} × {wide:.1f} pixels\n{grid[0]} × {grid[1]} sample" + "s" * (grid != (1, 1))
        below = box[3] < 9  # and beside the largest
        place = {"va": "top", "ha": "left"} if below else {"va": "bottom", "ha": "right"}
        axes.text(
            box[0] - 0.2 * (not below), box[3] + 0.2 * below, words, color=colour, fontsize=8.5, **place
        )
    axes.set_title(f"sampling_ratio={ratio}" + (", adaptive" if not ratio else ""))
