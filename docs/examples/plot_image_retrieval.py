"""
Finding an image again with R-MAC
=================================

One vector for each image, made of the maxima of regions at several scales. Similar images have vectors with a
large dot product, so a search is a matrix product. Each query here is a picture of the collection that was
cut, darkened, mirrored or made smaller.
"""

import matplotlib.pyplot as plt
import numpy as np
from skimage import color, data, transform

import roicy

NAMES = "astronaut brick camera chelsea coffee coins grass immunohistochemistry moon page rocket text"
collection = {name: getattr(data, name)() for name in NAMES.split()}
collection = {
    name: picture if picture.ndim == 3 else color.gray2rgb(picture) for name, picture in collection.items()
}

# %%
# The network: what any first layer learns, edges of all directions and opponent colours, at two widths. Each
# channel is averaged to a map of stride 16 by `roicy.roi_align`.

STRIDE, ORIENTATIONS = 16, 8


def feature_map(picture):
    """Return features (1, C, H, W) of a picture (H, W, 3)."""
    picture = transform.rescale(picture / picture.max(), 400 / max(picture.shape), channel_axis=2)
    red, green, blue = np.moveaxis(picture, 2, 0)
    grey = picture.mean(axis=2)
    channels = []
    for step in (1, 3):
        log = np.log(grey[::step, ::step] + 0.05)
        down, across = (np.kron(slope, np.ones((step, step))) for slope in np.gradient(log))
        down, across = (slope[: grey.shape[0], : grey.shape[1]] for slope in (down, across))
        strength, angle = np.minimum(np.hypot(down, across), 1), np.arctan2(down, across)
        for k in range(ORIENTATIONS):
            channels.append(strength * np.maximum(np.cos(angle - 2 * np.pi * k / ORIENTATIONS), 0) ** 4)
    for opponent in (red - green, green - red, blue - (red + green) / 2, (red + green) / 2 - blue):
        channels.append(np.maximum(opponent, 0) / (grey + 0.05))
    channels.append(1 - np.ptp(picture, axis=2))
    height, width = (side // STRIDE for side in grey.shape)
    everything = np.array([[0, 0, width * STRIDE, height * STRIDE]], np.float32)
    return roicy.roi_align(np.stack(channels)[None].astype(np.float32), everything, (height, width))


maps = {name: feature_map(picture) for name, picture in collection.items()}

# %%
# Whitening: what all regions have in common says nothing about any of them. Mean and directions are learned
# from the regions of the collection.

vectors = np.concatenate(
    [roicy.roi_pool(each, roicy.rmac_regions(each.shape), 1)[:, :, 0, 0] for each in maps.values()]
)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
mean = vectors.mean(axis=0)
_, deviations, directions = np.linalg.svd(vectors - mean, full_matrices=False)
whiten = mean, directions[:16] / deviations[:16, None]


def describe(features):
    """Return the vector of an image."""
    return roicy.rmac(features, whiten=whiten)[0]


names = list(collection)
index = np.stack([describe(each) for each in maps.values()])

# %%
# The search.

queries = {
    "a part": collection["chelsea"][20:230, 90:380],
    "darker": (0.4 * collection["astronaut"]).astype(np.uint8),
    "mirrored": collection["coffee"][:, ::-1],
    "small": transform.rescale(collection["rocket"], 0.3, channel_axis=2),
    "another part": collection["immunohistochemistry"][:300, 200:],
}
similarities = {name: index @ describe(feature_map(query)) for name, query in queries.items()}
for name, similarity in similarities.items():
    best = np.argsort(-similarity)[:3]
    print(f"{name:14}", ", ".join(f"{names[k]} {similarity[k]:.2f}" for k in best))

# %%

figure, every = plt.subplots(len(queries), 5, figsize=(9, 8.4), layout="constrained")
for row, (name, query) in zip(every, queries.items(), strict=True):
    row[0].imshow(query)
    row[0].set_title(f"query: {name}", fontsize=9, weight="bold")
    for axes, k in zip(row[1:], np.argsort(-similarities[name]), strict=False):
        axes.imshow(collection[names[k]])
        axes.set_title(f"{similarities[name][k]:.2f}", fontsize=9)
    for axes in row:
        axes.set_axis_off()
plt.show()
