"""
Bins that move to what they show
================================

The bins of `roicy.deform_roi_pool` are moved, each by an offset of its own, and
`roicy.deform_roi_pool_backward_offsets` says which way. In a network a layer predicts the offsets. Here they
go downhill by themselves: the bins of a box on a bent picture find where they were on the straight one.
"""

# %%
# A face, and the same picture with its rows shifted to and fro.

import matplotlib.pyplot as plt
import numpy as np
from skimage import data, filters

import roicy

BOX = np.array([[105.0, 25, 215, 165]])
BINS = 14

photo = data.astronaut()[:200, 60:380].mean(axis=2)
shifts = np.rint(14 * np.sin(np.arange(200) / 22)).astype(int)
bent = np.stack([np.roll(row, shift) for row, shift in zip(photo, shifts, strict=True)])

# %%
# The loss is the squared difference to what the box has on the straight picture. Its gradient with respect to
# the offsets is one call; with ``gamma=1``, 1 is the width or the height of the box. Slopes reach further in
# a blurred picture, so the first steps are taken there.

options = {"sampling_ratio": 2, "gamma": 1}
offsets, mean, square = np.zeros((1, 2, BINS, BINS)), 0, 0
for step in range(1, 301):
    blur = 12 if step <= 150 else 4
    straight, moved = (filters.gaussian(picture, blur)[None, None] for picture in (photo, bent))
    sought = roicy.deform_roi_pool(straight, BOX, None, BINS, **options)
    difference = roicy.deform_roi_pool(moved, BOX, offsets, BINS, **options) - sought
    gradient = roicy.deform_roi_pool_backward_offsets(difference, moved, BOX, offsets, **options)
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.99 * square + 0.01 * gradient**2
    offsets -= 0.002 * mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)

# %%
# Dots are the middles of the bins. They were on a grid, and follow the face now: what they pool is nearly the
# straight one again. Where the picture has one colour, nothing tells a bin how far to go.

x1, y1, x2, y2 = BOX[0]
places = (np.arange(BINS) + 0.5) / BINS
x = x1 + (x2 - x1) * (places + offsets[0, 0])
y = y1 + (y2 - y1) * (places[:, None] + offsets[0, 1])
pooled = [
    roicy.deform_roi_pool(picture[None, None], BOX, moves, BINS, **options)[0, 0]
    for picture, moves in ((photo, None), (bent, None), (bent, offsets))
]
print("mean difference to the straight face, before and after:")
print(*(f"{np.abs(each - pooled[0]).mean():.1f}" for each in pooled[1:]))

figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), width_ratios=[1.6, 1, 1, 1], layout="constrained")
axes[0].imshow(bent, cmap="gray")
axes[0].plot(x.ravel(), y.ravel(), ".", color="tab:orange", markersize=4)
axes[0].set_title("bins that were moved")
titles = "straight", "bent", "bent, bins moved"
for axis, each, title in zip(axes[1:], pooled, titles, strict=True):
    axis.imshow(each, cmap="gray", vmin=0, vmax=255)
    axis.set_title(title)
for axis in axes:
    axis.set_axis_off()
plt.show()
