"""SIMD vectors and the inner loops over them. Uses nothing of roicy but the debug checks."""
