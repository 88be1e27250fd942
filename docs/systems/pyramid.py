import numpy as np

import roicy


def levels(boxes, first=2, last=5):
    """Return which level each box (K, 4), in pixels of the image, belongs to; level l has the stride 2**l.

    A box without area belongs to the first one, one that is reversed along one axis to none: -1.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.floor(4 + np.log2(np.sqrt(areas) / 224) + 1e-6)
    return np.nan_to_num(np.clip(found, first, last), nan=-1).astype(int)


def multi_scale_roi_align(maps, boxes, output_size, sampling_ratio, first=2):
    """Pool each box from the maps (N, C, H, W) of its level, as torchvision's MultiScaleRoIAlign.

    Boxes are a list with an array (L, 4) for each image. Those of no level are pooled to zeros.
    """
    images = np.repeat(np.arange(len(boxes)), [len(each) for each in boxes])
    boxes = np.concatenate(boxes)
    found = levels(boxes, first, first + len(maps) - 1)
    rows, columns = np.broadcast_to(output_size, 2)
    pooled = np.zeros((len(boxes), maps[0].shape[1], rows, columns), maps[0].dtype)
    for level, features in enumerate(maps, first):
        here = found == level
        pooled[here] = roicy.roi_align(
            features,
            boxes[here],
            output_size,
            spatial_scale=1 / 2**level,
            sampling_ratio=sampling_ratio,
            aligned=False,
            batch_indices=images[here],
        )
    return pooled
