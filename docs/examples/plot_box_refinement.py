"""
Boxes that find their place
===========================

`roicy.roi_align_backward_rois` is the gradient with respect to the box itself. So a box can be *moved
downhill*: until what is pooled from it looks like what is sought. Here boxes that lie anywhere near a face
slide onto it, and one of the wrong angle turns itself straight.
"""

# %%
# What is sought: a face, pooled to 12 × 12 bins. Where it is sought: the same picture, darker and with noise.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Polygon, Rectangle
from skimage import data, filters

import roicy

FACE = np.array([105.0, 25, 215, 165])
BINS = 12

photo = data.astronaut()[:300, 60:420].mean(axis=2)[None, None]
rng = np.random.default_rng(1)
dark = 0.7 * photo + rng.normal(0, 8, photo.shape)


def blurred(picture, sigma):
    """Blur, and make brightness and contrast those of any other picture."""
    smooth = filters.gaussian(picture[0, 0], sigma)
    return ((smooth - smooth.mean()) / smooth.std())[None, None]


# %%
# The loss of a box is the squared difference to what is sought, and its gradient one call. All boxes go
# downhill in the same calls; Adam, a common rule for the length of steps, is five lines. Slopes reach further
# in a blurred picture, so the first steps are taken there; with less blur the noise is back, and so is some
# of the loss.


def descend(boxes, pool, pool_backward_rois):
    """Return the boxes of all steps, and their losses."""
    path, losses = [boxes], []
    mean, square, step = 0, 0, 0
    for sigma in (16, 6):
        sought = pool(blurred(photo, sigma), target)
        features = blurred(dark, sigma)
        for _ in range(120):
            difference = pool(features, boxes) - sought
            gradient = pool_backward_rois(2 * difference / difference[0].size, features, boxes)
            losses.append((difference**2).mean(axis=(1, 2, 3)))
            step += 1
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.99 * square + 0.01 * gradient**2
            length = np.sqrt(square / (1 - 0.99**step)) + 1e-9
            boxes = boxes - sigma / 12 * (mean / (1 - 0.9**step)) / length
            path.append(boxes)
    return np.array(path), np.array(losses)


# %%
# Twelve boxes around the face, off by up to 40 pixels and a third of its size:

target = FACE[None]
middles = (FACE[:2] + FACE[2:]) / 2 + rng.uniform(-40, 40, (12, 2))
sizes = (FACE[2:] - FACE[:2]) * rng.uniform(0.7, 1.35, (12, 2))
starts = np.concatenate([middles - sizes / 2, middles + sizes / 2], axis=1)
path, losses = descend(
    starts,
    lambda features, boxes: roicy.roi_align(features, boxes, BINS),
    roicy.roi_align_backward_rois,
)
print("corners, away from the face's: ", np.abs(path[0] - FACE).max(axis=1).round(1))
print("and at the end:                ", np.abs(path[-1] - FACE).max(axis=1).round(1))

# %%

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(11, 3.6), layout="constrained", width_ratios=(1, 1, 0.9)
)
colours = plt.get_cmap("tab20")(np.arange(len(starts)))
for axes, boxes, title in (left, path[0], "where they start"), (middle, path[-1], "where they come to rest"):
    axes.imshow(dark[0, 0], cmap="gray", extent=(0, 360, 300, 0))
    for (x1, y1, x2, y2), colour in zip(boxes, colours, strict=True):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.5))
    axes.set_title(title)
    axes.set_axis_off()
for way, colour in zip(np.moveaxis((path[..., :2] + path[..., 2:]) / 2, 1, 0), colours, strict=True):
    middle.plot(*way.T, color=colour, linewidth=1)
for curve, colour in zip(losses.T, colours, strict=True):
    right.semilogy(curve, color=colour, linewidth=1)
right.set(title="loss", xlabel="step")
right.axvline(120, color="0.8", zorder=0)
plt.show()

# %%
# A rotated box has five numbers to move, the angle among them. A degree is worth about a pixel at the
# corners, so all of them go in the same units.

cx, cy = (FACE[:2] + FACE[2:]) / 2
wide, high = FACE[2:] - FACE[:2]
target = np.array([[cx, cy, wide, high, 0]])
starts = np.array(
    [[cx + 22, cy - 15, 0.8 * wide, 1.2 * high, 35], [cx - 25, cy + 12, 1.2 * wide, 0.9 * high, -30]]
)
path, losses = descend(
    starts,
    lambda features, boxes: roicy.roi_align_rotated(features, boxes, BINS),
    roicy.roi_align_rotated_backward_rois,
)
for start, end in zip(path[0], path[-1], strict=True):
    print("from", start.round(1), "to", end.round(1), "for", target[0].round(1))

# %%


def corners(cx, cy, wide, high, angle):
    """Return the corners of a rotated box."""
    sin, cos = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    across, down = np.array([cos, -sin]) * wide / 2, np.array([sin, cos]) * high / 2
    offsets = np.array([-across - down, across - down, across + down, down - across])
    return np.add(offsets, (cx, cy))


figure, every = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained", width_ratios=(1.3, 0.8, 0.8, 0.8))
every[0].imshow(dark[0, 0], cmap="gray", extent=(0, 360, 300, 0))
for way, colour in zip(np.moveaxis(path, 1, 0), ("tab:orange", "tab:cyan"), strict=True):
    for box in way[:120:8]:
        every[0].add_patch(Polygon(corners(*box), fill=False, edgecolor=colour, linewidth=0.8, alpha=0.8))
    every[0].add_patch(Polygon(corners(*way[-1]), fill=False, edgecolor=colour, linewidth=2.5))
shown = (
    ("in the orange box", dark, path[0, 0]),
    ("in the end", dark, path[-1, 0]),
    ("what is sought", photo, target[0]),
)
for axes, (title, picture, box) in zip(every[1:], shown, strict=True):
    axes.imshow(roicy.roi_align_rotated(picture, box[None], (140, 110))[0, 0], cmap="gray")
    axes.set_title(title)
for axes in every:
    axes.set_axis_off()
plt.show()

# %%
# RoIAlign in torchvision, detectron2 and mmcv takes boxes for constants; only a variant that torchvision has
# for deterministic runs on a GPU does not.
