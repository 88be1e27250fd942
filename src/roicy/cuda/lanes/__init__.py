"""Headers that all kernels share: types, views, maxima. Uses nothing of roicy."""
