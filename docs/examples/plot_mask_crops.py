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
# Back again, each mask is stretched over its box, and a pixel is part of the object from one half on.

pasted = roicy.paste_masks(small, boxes, image.shape)
overlap = (pasted & masks).sum(axis=(1, 2)) / (pasted | masks).sum(axis=(1, 2))
print(f"what pasted masks and true ones share: {overlap.min():.3f} to {overlap.max():.3f} of both")

# %%
# A whole image for each object is much to hold. The parts that the masks reach, or their run lengths as COCO
# has them, are found without:

windows = roicy.paste_masks(small, boxes, image.shape, to="windows")
runs = roicy.paste_masks(small, boxes, image.shape, to="rle")
print(pasted.size, "pixels,", sum(part.size for y, x, part in windows), "in windows,", end=" ")
print(sum(len(run["counts"]) for run in runs), "run lengths")
y, x, part = windows[0]
assert (part == pasted[0, y : y + part.shape[0], x : x + part.shape[1]]).all()
assert sum(runs[0]["counts"][1::2]) == pasted[0].sum()

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
