"""
On a GPU
========

There is no other function for a GPU: with CuPy arrays a call runs where the arrays are. This program runs on
either, and says on which it did.
"""

# %%
# Is there a device, a CuPy and a compiler for its kernels? ``roicy info`` prints the same.

import time

import matplotlib.pyplot as plt
import numpy as np

import roicy

cuda = roicy.show_config("dicts")["CUDA"]
if cuda["state"] == "ready":
    import cupy as xp

    print("on", cuda["devices"][0])
else:
    xp = np
    print("no CUDA here, so on the CPU:", cuda["problem"])

# %%
# Arrays go to the device once and stay there: maps, boxes, results and gradients.

rng = np.random.default_rng(0)
features = xp.asarray(rng.random((2, 256, 100, 136), dtype=np.float32))
corners = rng.uniform((0, 0), (400, 260), (512, 2))
boxes = np.concatenate([corners, corners + rng.uniform(20, 140, (512, 2))], axis=1)
rois = xp.asarray(np.column_stack([rng.integers(2, size=512), boxes]).astype(np.float32))

options = {"spatial_scale": 1 / 4, "sampling_ratio": 2}
pooled = roicy.roi_align(features, rois, 7, **options)
gradient = roicy.roi_align_backward(pooled, rois, features.shape, **options)
print(type(pooled), pooled.shape)
print(type(gradient), gradient.shape)

# %%
# On a device a call returns before its result is there, so a clock has to wait for it. ``invalid="nan"``
# never waits to see whether the boxes are as they must be.


def milliseconds(function, *arguments, **options):
    """Return the best of five times, the first call's compilation left out."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        function(*arguments, **options)
        if xp is not np:
            xp.cuda.get_current_stream().synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return min(times[1:])


taken = {
    "roi_align": milliseconds(roicy.roi_align, features, rois, 7, invalid="nan", **options),
    "roi_align_backward": milliseconds(
        roicy.roi_align_backward, pooled, rois, features.shape, invalid="nan", **options
    ),
    "roi_pool": milliseconds(roicy.roi_pool, features, rois, 7, spatial_scale=1 / 4, invalid="nan"),
    "rmac": milliseconds(roicy.rmac, features),
}
for name, time_taken in taken.items():
    print(f"{name:20} {time_taken:8.3f} ms")

# %%

figure, axes = plt.subplots(figsize=(7, 2.2), layout="constrained")
axes.barh(list(taken), list(taken.values()), color="tab:cyan")
axes.set(xlabel="milliseconds, " + ("on the CPU" if xp is np else "on the GPU"))
axes.invert_yaxis()
plt.show()
