"""A box of a photograph at three angles, and what is in it."""

import matplotlib.pyplot as plt
import numpy as np
from paper import BLUE, INK, PINK, draw_points, draw_polygon, sample_points
from skimage import data

import roicy

CENTRE, SIZE = (142, 120), (150, 190)
TURNS = ((0, False), (30, False), (30, True))

photo = data.astronaut()[:260, 80:380]
shape = photo.shape[:2]
figure, every = plt.subplots(2, 3, figsize=(8.6, 6.4), layout="constrained", height_ratios=(1, 1.1))
for (angle, clockwise), (above, below) in zip(TURNS, every.T, strict=True):
    rois = np.float32([[*CENTRE, *SIZE, angle]])
    colour = PINK if clockwise else BLUE
    options = {"function": roicy.roi_align_rotated, "clockwise": clockwise}
    bins = sample_points(rois[0], shape, (9, 7), (1, 1), **options)
    quarters = sample_points(rois[0], shape, (2, 2), (1, 1), **options)  # halfway to the corners
    corners = np.add(CENTRE, 2 * (quarters.reshape(2, 4).T[[0, 1, 3, 2]] - CENTRE))
    above.imshow(photo, extent=(0, shape[1], shape[0], 0), alpha=0.75)
    draw_polygon(above, corners, colour)
    draw_points(above, bins, colour, 7)
    above.plot(*corners[0], "o", color=colour, markersize=8, markeredgecolor=INK, zorder=5)
    above.set(xlim=(0, shape[1]), ylim=(shape[0], 0))
    above.set_title(f"angle {angle}" + ", clockwise=True" * clockwise, color=colour)
    crop = roicy.roi_align_rotated(photo[None], rois, SIZE[::-1], layout="NHWC", clockwise=clockwise)[0]
    below.imshow(crop / 255)
    below.plot(0, 0, "o", color=colour, markersize=8, markeredgecolor=INK, clip_on=False, zorder=5)
    for axes in above, below:
        axes.set_axis_off()
