"""One box, aligned and not."""

import matplotlib.pyplot as plt
from paper import BLUE, FAINT, PINK, draw_bins, draw_box, draw_map, draw_points, sample_points

SHAPE, BOX, BINS = (4, 5), (1, 1, 4, 3), (2, 3)

figure, every = plt.subplots(1, 2, figsize=(8.2, 3.4), layout="constrained")
for axes, aligned, colour in zip(every, (True, False), (BLUE, PINK), strict=True):
    draw_map(axes, *SHAPE, margin=0.1)
    for x in range(SHAPE[1]):
        for y in range(SHAPE[0]):
            axes.plot(x + 0.5, y + 0.5, "+", color=FAINT, markersize=6, zorder=2)
    shift = 0 if aligned else 0.5  # in a drawing whose pixel i covers [i, i + 1)
    corners = [value + shift for value in BOX]
    draw_box(axes, *corners, colour)
    draw_bins(axes, *corners, *BINS, colour)
    draw_points(axes, sample_points(BOX, SHAPE, BINS, (1, 1), aligned=aligned), colour, 36)
    for i in range(SHAPE[1] + aligned):
        axes.text(i + shift, -0.12, i, ha="center", va="bottom", color=FAINT, fontsize=9)
    axes.set_title(f"aligned={aligned}", color=colour, pad=20)
