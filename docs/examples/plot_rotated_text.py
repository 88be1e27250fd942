"""
Straight lines of a tilted page
===============================

Rotated boxes read along a line of text whatever its angle. The same operator finds the angle first: in the
right direction, rows of text and the gaps between them are sharp.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Polygon
from skimage import data, filters, transform

import roicy

# %%
# A photographed page, turned by an angle that we pretend not to know, and how dark its ink is.

page = transform.rotate(data.page(), 23.7, resize=True, mode="edge", order=3)
ink = np.maximum(filters.gaussian(page, 12) - page - 0.05, 0)[None, None]
height, width = page.shape
centre = np.array([width / 2, height / 2])

# %%
# The angle: the page pooled in 241 directions at once, each to a column of 300 rows. Where neighbouring rows
# differ most, rows are lines.

WIDE, HIGH = 300, 190
angles = np.arange(-60, 60.5, 0.5)
rois = np.array([[*centre, WIDE, HIGH, angle] for angle in angles])
profiles = roicy.roi_align_rotated(ink, rois, (300, 1))[:, 0, :, 0]
contrast = np.square(np.diff(profiles, axis=1)).sum(axis=1)
angle = angles[contrast.argmax()]
print(f"the page is turned by {angle:g} degrees")

# %%
# The lines: runs of rows with ink in the profile of that angle. Each one becomes a box, whose centre lies on
# the normal through the page's centre.

profile = roicy.roi_align_rotated(ink, np.array([[*centre, WIDE, HIGH, angle]]), (2 * HIGH, 1))[0, 0, :, 0]
inked = np.concatenate([[0], profile > 0.15 * profile.max(), [0]])
starts, ends = (np.flatnonzero(np.diff(inked) == sign) / 2 - HIGH / 2 for sign in (1, -1))
tall = ends - starts > 4
starts, ends = starts[tall] - 4, ends[tall] + 4
normal = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
middles = centre + (starts + ends)[:, None] / 2 * normal
boxes = np.column_stack([middles, np.full(len(starts), 390), ends - starts, np.full(len(starts), angle)])
print(len(boxes), "lines")

# %%
# All lines in one call, three times as large as they are in the photo.

lines = roicy.roi_align_rotated(page[None, None], boxes, (60, 1170), sampling_ratio=1)[:, 0]

# %%


def corners(cx, cy, wide, high, angle):
    """Return the corners of a rotated box."""
    sin, cos = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    across, down = np.array([cos, -sin]) * wide / 2, np.array([sin, cos]) * high / 2
    offsets = np.array([-across - down, across - down, across + down, down - across])
    return np.add(offsets, (cx, cy))


figure = plt.figure(figsize=(9.5, 8.2), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1, 1.1))
left, right = above.subplots(1, 2, width_ratios=(1.25, 1))
left.imshow(page, cmap="gray", extent=(0, width, height, 0))
for box in boxes:
    left.add_patch(Polygon(corners(*box), fill=False, edgecolor="tab:orange", linewidth=1.5))
left.set_axis_off()
right.plot(angles, contrast / contrast.max(), color="tab:orange")
right.set(xlabel="angle", title="contrast between rows", yticks=[])
for axes, line in zip(below.subplots(len(lines), 1), lines, strict=True):
    axes.imshow(line, cmap="gray", aspect="auto")
    axes.set_axis_off()
plt.show()
