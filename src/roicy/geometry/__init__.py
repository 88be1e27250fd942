"""Positions of bins and samples: one text for the C compiler and NVRTC. Knows no arrays, uses nothing."""
