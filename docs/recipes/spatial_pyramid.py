import numpy as np

import roicy


def whole_maps(features):
    """Return a box for each map (N, C, H, W), which is all of it."""
    n, _, height, width = features.shape
    return [np.array([[0, 0, width - 1, height - 1]], np.float32)] * n


def spatial_pyramid(features, rois, levels=(1, 2, 4), **options):
    """Pool boxes to grids of 1, 4 and 16 bins, and put these together as one vector for each box."""
    channels, vectors = features.shape[1], []
    for bins in levels:
        grid = roicy.roi_pool(features, rois, bins, rounding="whole", **options)
        vectors.append(grid.reshape(len(grid), channels * bins * bins))
    return np.concatenate(vectors, axis=1)
