"""
A detection head
================

The second stage of a detector with a feature pyramid: boxes of all sizes proposed anywhere on two images,
each one pooled from the map of its level, scored and moved by a linear head, and thinned out. The head is
fitted on the coins in the upper half of a picture. It is tried on the lower half, and on a part of that at
twice the size: there the same coins belong to coarser maps.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from skimage import data, transform

import roicy

STRIDES, ORIENTATIONS, BINS = (2, 4, 8, 16), 8, 7
SEAM = 160  # between the rows of coins that are known and those that are not

coins = np.pad(data.coins().astype(np.float32) / 255, [(0, 1), (0, 0)], mode="edge")  # 304 = 16 * 19 rows
nearer = transform.resize(coins[152:, 74:266], coins.shape)
images = np.stack([coins, nearer])[:, None]
KNOWN = np.array(  # centre and radius of the coins in the upper rows of the first image
    [
        (44, 54, 22), (100, 57, 20), (155, 52, 24), (216, 51, 24), (276, 52, 21), (335, 44, 29),
        (45, 123, 21), (103, 125, 20), (154, 127, 21), (206, 125, 21), (271, 119, 26), (337, 124, 20),
    ],
    np.float32,
)  # fmt: skip
known = np.concatenate([KNOWN[:, :2] - KNOWN[:, 2:], KNOWN[:, :2] + KNOWN[:, 2:]], axis=1)

# %%
# The backbone: how much edge of which direction there is, a channel for each, and the brightness, of the
# images at four resolutions. `roicy.roi_align` itself averages pixels: of a box of the whole image, as many
# bins as the smaller image has pixels.


def smaller(images, stride):
    """Return the averages of blocks of stride x stride pixels."""
    height, width = (side // stride for side in images.shape[2:])
    everything = [np.array([[0, 0, width * stride, height * stride]], np.float32)] * len(images)
    return roicy.roi_align(images, everything, (height, width))


def feature_map(images):
    """Return channels (N, C, H, W) of images (N, 1, H, W)."""
    down, across = np.gradient(images, axis=(2, 3))
    strength, angle = np.hypot(down, across), np.arctan2(down, across)
    edges = [
        strength * np.maximum(np.cos(angle - 2 * np.pi * k / ORIENTATIONS), 0) ** 2
        for k in range(ORIENTATIONS)
    ]
    return np.concatenate([*edges, 0.2 * images], axis=1)


maps = [smaller(feature_map(smaller(images, stride // 2)), 2) for stride in STRIDES]
print("pyramid", *[features.shape for features in maps])

# %%
# Proposals: squares of all sizes, everywhere, the same on both images. Each belongs to a level by its size:
# here one with sides of 48 pixels to the map of stride 4.

proposals = []
for side in 30 * 2 ** np.arange(0, 3.1, 0.25):
    x, y = np.meshgrid(*(np.arange(0, length - side, side / 7) for length in coins.shape[::-1]))
    proposals.append(np.stack([x, y, x + side, y + side], axis=-1).reshape(-1, 4))
proposals = np.concatenate(proposals).astype(np.float32)
boxes = [proposals, proposals]
levels = roicy.fpn_levels(boxes, len(maps), canonical_size=48, canonical_level=2, finest_level=1)
print("proposals on each map", np.bincount(levels))

# %%
# One call pools them all, in their order.

pooled = roicy.multi_scale_roi_align(
    maps, boxes, BINS, spatial_scales=[1 / stride for stride in STRIDES], levels=levels, sampling_ratio=2
)
rows = pooled.reshape(len(pooled), -1)
rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
rows = np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)
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


upper = np.flatnonzero(proposals[:, 3] < SEAM)  # the first image's come first
overlap = overlaps(proposals[upper], known)
nearest, sizes = known[overlap.argmax(axis=1)], proposals[upper, 2:] - proposals[upper, :2]
by_score = fit(rows[upper], np.clip(2.5 * overlap.max(axis=1) - 1, 0, 1), 0.3)
good = overlap.max(axis=1) > 0.45
shifts = (nearest - proposals[upper]) / np.tile(sizes, 2)
by_shift = fit(rows[upper][good], shifts[good], 0.1)

# %%
# Now what it has not seen: score all proposals, move the good ones, and of those that overlap keep the best.


def detect(chosen, threshold=0.5):
    """Return which of the chosen proposals are coins, and where they lie."""
    boxes = np.concatenate([proposals, proposals])[chosen]
    scores = rows[chosen] @ by_score
    boxes = boxes + (rows[chosen] @ by_shift) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    found = []
    for candidate in np.argsort(-scores):
        if scores[candidate] < threshold:
            break
        if not found or overlaps(boxes[candidate][None], boxes[found]).max() < 0.3:
            found.append(candidate)
    return chosen[found], boxes[found], scores[found]


detected = [
    detect(np.flatnonzero(proposals[:, 1] > SEAM - 10)),
    detect(np.arange(len(proposals), len(rows))),
]
for name, (found, _, _) in zip(("lower half", "nearer"), detected, strict=True):
    counts = np.bincount(levels[found], minlength=len(maps)).tolist()
    print(f"{name}: {len(found)} coins, by stride {dict(zip(STRIDES, counts, strict=True))}")

# %%

colours = ("tab:orange", "tab:cyan", "tab:pink", "tab:purple")
figure, every = plt.subplots(1, 2, figsize=(11, 5.3), layout="constrained")
for axes, (image,), (found, boxes, scores) in zip(every, images, detected, strict=True):
    axes.imshow(image, cmap="gray", extent=(0, image.shape[1], image.shape[0], 0))
    for level, (x1, y1, x2, y2), score in zip(levels[found], boxes, scores, strict=True):
        colour = colours[level]
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=2))
        axes.text(x1, y1 - 2, f"{score:.2f}", color=colour, fontsize=9)
    axes.set_axis_off()
for x1, y1, x2, y2 in known:
    every[0].add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor="white", linestyle="--"))
every[0].axhline(SEAM, color="white", linewidth=0.8, linestyle=":")
every[0].set_title("known (white), and found below")
every[1].set_title("found at twice the size")
figure.legend(
    handles=[Rectangle((0, 0), 1, 1, color=colour) for colour in colours],
    labels=[f"stride {stride}" for stride in STRIDES],
    loc="outside lower center",
    ncols=4,
    frameon=False,
)
plt.show()

# %%
# What the head saw of them: the brightness in 7 × 7 bins, above of the first image's coins, below of the
# second one's. Coins look alike on both: on the maps of their levels they are of about the same size.

figure, every = plt.subplots(2, 12, figsize=(11, 2.1), layout="constrained")
for line, (found, _, _) in zip(every, detected, strict=True):
    for axes in line[len(found) :]:
        axes.set_axis_off()
    for axes, index in zip(line, found[np.argsort(levels[found], kind="stable")], strict=False):
        axes.imshow(pooled[index, -1], cmap="gray")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(edgecolor=colours[levels[index]], linewidth=3)
plt.show()
