"""Where bins and samples lie, one text for the C compiler and for NVRTC: knows no array, uses nothing."""
