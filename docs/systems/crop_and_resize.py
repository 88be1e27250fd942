import numpy as np

import roicy


def crop_and_resize(image, boxes, box_indices, crop_size, extrapolation_value=0.0):
    """Return crops (K, height, width, C) in float32 of images (N, H, W, C), as tf.image.crop_and_resize."""
    boxes = np.asarray(boxes, np.float32)
    first, step, outside = [], [], []
    for axis in (1, 0):  # x, then y; boxes have y first
        start, end = boxes[:, axis], boxes[:, axis + 2]
        last, bins = np.float32(image.shape[1 + axis] - 1), crop_size[axis]
        # in TensorFlow's order of operations, so that the same samples are outside
        if bins == 1:
            start = (0.5 * (start + end).astype(np.float64) * last).astype(np.float32)
            distance = np.zeros_like(start)
        else:
            start, distance = start * last, (end - start) * last / np.float32(bins - 1)
        positions = start[:, None] + np.arange(bins, dtype=np.float32) * distance[:, None]
        outside.append((positions < 0) | (positions > last))
        first.append(start)
        step.append(distance)
    first, step = np.stack(first, axis=1).astype(np.float64), np.stack(step, axis=1)
    corners = first + 0.5 - step / 2  # so that the middle of the first bin is at `first`
    rois = np.concatenate([corners, corners + step * crop_size[::-1]], axis=1)
    crops = roicy.roi_align(
        image, rois, crop_size, sampling_ratio=1, batch_indices=np.asarray(box_indices), layout="NHWC"
    ).astype(np.float32)
    across, down = outside
    crops[down[:, :, None] | across[:, None, :]] = extrapolation_value
    return crops
