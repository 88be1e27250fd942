"""Memory, scratch, threads and debug checks. Knows nothing of pooling but the number of RoIs of an image."""
