import numpy as np
from recipes.segments import pool_segments, pool_segments_backward

import roicy


def pool_volumes(volumes, rois, output_size, **options):
    """Pool boxes (K, 7), [volume, x1, y1, z1, x2, y2, z2], of volumes (N, C, D, H, W).

    The result is (K, C, PD, PH, PW): averages of trilinear samples.
    """
    (n, c, depth, height, width), (planes, rows, columns) = volumes.shape, output_size
    upright, along = parts(rois)
    slices = roicy.roi_align(
        volumes.reshape(n, c * depth, height, width), upright, (rows, columns), **options
    )
    bins = slices.reshape(len(rois), c, depth, rows, columns).transpose(0, 1, 3, 4, 2)
    signals = bins.reshape(len(rois), c * rows * columns, depth)
    pooled = pool_segments(signals, along, planes, **options)
    return pooled.reshape(len(rois), c, rows, columns, planes).transpose(0, 1, 4, 2, 3)


def pool_volumes_backward(grad_output, rois, input_shape, **options):
    """Return the gradient with respect to the volumes, by both calls backwards."""
    (n, c, depth, height, width), (planes, rows, columns) = input_shape, grad_output.shape[2:]
    upright, along = parts(rois)
    signals = len(rois), c * rows * columns
    grad = grad_output.transpose(0, 1, 3, 4, 2).reshape(*signals, planes)
    grad = pool_segments_backward(grad, along, (*signals, depth), **options)
    grad = grad.reshape(len(rois), c, rows, columns, depth).transpose(0, 1, 4, 2, 3)
    grad = grad.reshape(len(rois), c * depth, rows, columns)
    slices = n, c * depth, height, width
    return roicy.roi_align_backward(grad, upright, slices, **options).reshape(input_shape)


def parts(rois):
    """Return the boxes' sides along x and y, and those along z, of which each is on a signal of its own."""
    along = rois[:, [0, 3, 6]]
    along[:, 0] = np.arange(len(rois))
    return rois[:, [0, 1, 2, 4, 5]], along
