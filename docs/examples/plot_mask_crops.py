"""
Crops, masks, and masks pasted back
===================================

What a mask head needs before and after: the crops of its boxes, masks of 28 × 28 for it to learn from, and
masks of that size laid back over the image.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import data, filters, measure, morphology, segmentation

import roicy

SIZE = 28

# %%
# Some objects, each with a mask and a box: what is brighter than the ground, in one piece and not at the
# border.

image = data.coins()[50:-50, 50:-50]
bright = morphology.closing(image > filters.threshold_otsu(image), np.ones((3, 3)))
labels = measure.label(segmentation.clear_border(bright))
regions = [region for region in measure.regionprops(labels) if region.area > 300]
masks = np.stack([labels == region.label for region in regions])
boxes = np.array([region.bbox for region in regions], np.float32)[:, [1, 0, 3, 2]]  # it has y first
print(len(boxes), "objects")

# %%
# Crops of an image are one call; the image stays uint8, and its channels last.

crops = roicy.roi_align(image[None, :, :, None], boxes, 96, layout="NHWC")[..., 0]

# %%
# The masks are a batch of images with one box each. A bin belongs to the object if at least half of it does.

batch = masks[:, None].astype(np.uint8)
small = roicy.roi_align(batch, boxes, SIZE, batch_indices=np.arange(len(boxes)))
targets = small >= 0.5

# %%
# Back again, the small mask is the feature map, and the image a box on it that reaches far beyond the mask,
# with a bin for each pixel. Around the mask there is nothing, and right from its border on: each mask gets a
# frame of zeros, as `roicy.roi_align` would repeat the border for one more pixel of the mask, which may be
# ten of the image. In pixels of the framed mask the image begins at ``1 - x1 * columns / (x2 - x1)``.


def paste(masks, boxes, height, width):
    """Lay masks (K, 1, rows, columns) into their boxes (K, 4) on images (K, height, width), as detectron2."""
    framed = np.pad(masks, [(0, 0), (0, 0), (1, 1), (1, 1)])
    start, end = boxes[:, :2].astype(np.float64), boxes[:, 2:]
    scale = masks.shape[:1:-1] / (end - start)  # pixels of the mask for one of the image: x, y
    image = np.concatenate([-start * scale, ([width, height] - start) * scale], axis=1) + 1
    options = {"sampling_ratio": 1, "batch_indices": np.arange(len(boxes))}
    return roicy.roi_align(framed, image, (height, width), **options)[:, 0]


pasted = paste(small, boxes, *image.shape) >= 0.5
overlap = (pasted & masks).sum(axis=(1, 2)) / (pasted | masks).sum(axis=(1, 2))
print(f"what pasted masks and true ones share: {overlap.min():.3f} to {overlap.max():.3f} of both")

# %%
# A mask that is full fills its box from the first pixel to the last one, but for the very corners, which
# interpolation rounds off:

full = paste(np.ones((1, 1, SIZE, SIZE), np.float32), np.array([[100.0, 100, 380, 380]]), 480, 480)[0] >= 0.5
print("painted:", *np.flatnonzero(full.any(axis=0))[[0, -1]])

# %%

figure = plt.figure(figsize=(9, 6.6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=(1, 1.6))
for axes, picture in zip(above.subplots(2, 8).flat, [*crops[:8] / 255, *targets[:8, 0]], strict=True):
    axes.imshow(picture, cmap="gray")
    axes.set_axis_off()
axes = below.subplots()
axes.imshow(image, cmap="gray")
numbers = np.arange(1, len(pasted) + 1)[:, None, None]
axes.imshow(np.ma.masked_equal((pasted * numbers).max(axis=0), 0), cmap="rainbow", alpha=0.5)
axes.set_title("masks of 28 × 28, pasted")
axes.set_axis_off()
plt.show()
