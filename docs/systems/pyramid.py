import numpy as np

import roicy


def levels(boxes, first=2, last=5):
    """Return which level each box (K, 4), in pixels of the image, belongs to; level l has the stride 2**l."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.clip(np.floor(4 + np.log2(np.sqrt(areas) / 224) + 1e-6), first, last).astype(int)


def multi_scale_roi_align(maps, boxes, output_size, sampling_ratio, first=2):
    """Pool each box from the map (1, C, H, W) of its level, as torchvision's MultiScaleRoIAlign."""
    found = levels(boxes, first, first + len(maps) - 1)
    options = {"sampling_ratio": sampling_ratio, "aligned": False}
    pooled = np.empty((len(boxes), maps[0].shape[1], output_size, output_size), maps[0].dtype)
    for level, features in enumerate(maps, first):
        here = found == level
        pooled[here] = roicy.roi_align(
            features, boxes[here], output_size, spatial_scale=1 / 2**level, **options
        )
    return pooled
