"""
A detection head
================

The second stage of a detector: boxes proposed anywhere on an image, all pooled from one feature map, scored
and moved by a linear head, and thinned out. The head is fitted on the coins in the upper half of a picture
and tried on the lower half.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from skimage import data

import roicy

STRIDE, ORIENTATIONS, BINS = 4, 8, 7
SEAM = 160  # between the rows of coins that are known and those that are not

image = data.coins().astype(np.float32) / 255
KNOWN = np.array(  # centre and radius of the coins in the upper rows
    [
        (44, 54, 22), (100, 57, 20), (155, 52, 24), (216, 51, 24), (276, 52, 21), (335, 44, 29),
        (45, 123, 21), (103, 125, 20), (154, 127, 21), (206, 125, 21), (271, 119, 26), (337, 124, 20),
    ],
    np.float32,
)  # fmt: skip
known = np.concatenate([KNOWN[:, :2] - KNOWN[:, 2:], KNOWN[:, :2] + KNOWN[:, 2:]], axis=1)

# %%
# The backbone: how much edge of which direction there is, a channel for each, and the brightness. They are
# averaged to a map of stride 4 by `roicy.roi_align` itself: of a box of the whole image, as many bins as the
# map has pixels.

down, across = np.gradient(image)
strength, angle = np.hypot(down, across), np.arctan2(down, across)
edges = [
    strength * np.maximum(np.cos(angle - 2 * np.pi * k / ORIENTATIONS), 0) ** 2 for k in range(ORIENTATIONS)
]
channels = np.stack([*edges, 0.2 * image])[None]
height, width = (side // STRIDE for side in image.shape)
everything = np.array([[0, 0, width * STRIDE, height * STRIDE]], np.float32)
features = roicy.roi_align(channels, everything, (height, width))
print("feature map", features.shape)

# %%
# Proposals: squares of six sizes, everywhere. One call pools them all.

proposals = []
for side in (36, 42, 48, 54, 60, 66):
    x, y = np.meshgrid(np.arange(0, image.shape[1] - side, 6), np.arange(0, image.shape[0] - side, 6))
    proposals.append(np.stack([x, y, x + side, y + side], axis=-1).reshape(-1, 4))
proposals = np.concatenate(proposals).astype(np.float32)
pooled = roicy.roi_align(features, proposals, BINS, spatial_scale=1 / STRIDE, sampling_ratio=2)
rows = pooled.reshape(len(pooled), -1)
rows = np.concatenate([rows / np.linalg.norm(rows, axis=1, keepdims=True), np.ones((len(rows), 1))], axis=1)
print("pooled", pooled.shape)


# %%
# The head: a score, and how far each corner should move in units of the box's size. Ridge regression fits
# both, the latter on proposals that lie on a coin.


def overlaps(boxes, others):
    """Return the intersection over union of all pairs."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas, other_areas = (np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, others))
    return shared / (areas[:, None] + other_areas - shared)


def fit(rows, targets, weight):
    """Fit a linear map from rows to targets."""
    return np.linalg.solve(rows.T @ rows + weight * np.eye(rows.shape[1]), rows.T @ targets)


upper = proposals[:, 3] < SEAM
overlap = overlaps(proposals[upper], known)
nearest, sizes = known[overlap.argmax(axis=1)], proposals[upper, 2:] - proposals[upper, :2]
by_score = fit(rows[upper], np.clip(2.5 * overlap.max(axis=1) - 1, 0, 1), 0.3)
good = overlap.max(axis=1) > 0.45
shifts = (nearest - proposals[upper]) / np.tile(sizes, 2)
by_shift = fit(rows[upper][good], shifts[good], 0.1)

# %%
# Now the lower half: score all proposals, move the good ones, and of those that overlap keep the best.

lower = proposals[:, 1] > SEAM - 10
boxes, scores = proposals[lower], rows[lower] @ by_score
boxes = boxes + (rows[lower] @ by_shift) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
found = []
for candidate in np.argsort(-scores):
    if scores[candidate] < 0.45:
        break
    if not found or overlaps(boxes[candidate][None], boxes[found]).max() < 0.3:
        found.append(candidate)
print(len(found), "coins found")

# %%

figure, axes = plt.subplots(figsize=(8, 6.3), layout="constrained")
axes.imshow(image, cmap="gray", extent=(0, image.shape[1], image.shape[0], 0))
for x1, y1, x2, y2 in known:
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="tab:orange", linestyle="--"))
for x1, y1, x2, y2 in boxes[found]:
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="tab:cyan", linewidth=2))
for (x1, y1, _, _), score in zip(boxes[found], scores[found], strict=True):
    axes.text(x1, y1 - 2, f"{score:.2f}", color="tab:cyan", fontsize=9)
axes.axhline(SEAM, color="white", linewidth=0.8, linestyle=":")
axes.set_title("known (orange) and found (blue)")
axes.set_axis_off()
plt.show()
