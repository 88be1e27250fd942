"""Memory, scratch, threads and checks: knows nothing of pooling beyond how many RoIs an image has."""
