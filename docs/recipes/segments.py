import numpy as np

import roicy


def of_rows(segments):
    """Return boxes on maps of one row for segments (K, 3), [signal, start, end]."""
    signal, start, end = segments.T
    return np.stack([signal, start, np.zeros_like(start), end, np.ones_like(end)], axis=1)


def pool_segments(signals, segments, bins, **options):
    """Pool segments of signals (N, C, T) to (K, C, bins)."""
    return roicy.roi_align(signals[:, :, None], of_rows(segments), (1, bins), **options)[:, :, 0]


def pool_segments_backward(grad_output, segments, input_shape, **options):
    """Return the gradient with respect to the signals: (K, C, bins) to (N, C, T)."""
    n, c, length = input_shape
    shape = (n, c, 1, length)
    return roicy.roi_align_backward(grad_output[:, :, None], of_rows(segments), shape, **options)[:, :, 0]
