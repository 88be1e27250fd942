import numpy as np

import roicy


def regions(height, width, scales=3, overlap=0.4):
    """Return the boxes x1, y1, x2, y2 that cirtorch takes maxima over: the whole map, then its squares."""
    shorter = min(height, width)
    steps = np.arange(1, 7, dtype=np.float32)  # one to six regions more along the longer side
    distances = np.float32(abs(height - width)) * (1 / steps)  # as PyTorch divides a number by a tensor
    shares = (shorter**2 - np.float32(shorter) * distances) / np.float32(shorter**2)
    more = 1 + int(np.argmin(abs(shares - np.float32(overlap))))
    boxes = [(0, 0, width - 1, height - 1)]
    for scale in range(1, scales + 1):
        size = 2 * shorter // (scale + 1)
        middle = np.float32(size // 2 - 1)  # added before rounding down, and taken away after it
        starts = []
        for side, other in (height, width), (width, height):
            count = scale + (more if side > other else 0)
            distance = np.float32((side - size) / (count - 1)) if count > 1 else np.float32(0)
            starts.append(np.floor(middle + np.arange(count, dtype=np.float32) * distance) - middle)
        if size:
            boxes += [(x, y, x + size - 1, y + size - 1) for y in starts[0] for x in starts[1]]
    return np.array(boxes, np.float32)


def rmac(features, scales=3, eps=1e-6):
    """Return the vectors (N, C) of maps (N, C, H, W), as cirtorch.layers.functional.rmac."""
    n, c, height, width = features.shape
    boxes = regions(height, width, scales)
    indices = np.repeat(np.arange(n), len(boxes))
    maxima = roicy.roi_pool(features, np.tile(boxes, (n, 1)), 1, batch_indices=indices)
    vectors = maxima.reshape(n, len(boxes), c)
    vectors = vectors / (np.linalg.norm(vectors, axis=2, keepdims=True) + np.float32(eps))
    return vectors.sum(axis=1)
