"""torchvision's operators on regions of interest: its names, arguments, defaults and classes, on arrays.

================================= ======================================================
`roi_align`, `RoIAlign`           average over boxes
`roi_pool`, `RoIPool`             maximum over boxes rounded to pixels
`ps_roi_align`, `PSRoIAlign`      average over boxes, each bin in channels of its own
`ps_roi_pool`, `PSRoIPool`        mean over boxes rounded to pixels, likewise
`MultiScaleRoIAlign`              average over boxes, on the maps of a feature pyramid
`roi_align_backward` ...          gradients with respect to the features
================================= ======================================================

Boxes are (R, 5), rows ``[image, x1, y1, x2, y2]``, or a list with an array (L, 4) for each image. Arrays are
NumPy's or CuPy's where torchvision has tensors, and of different dtypes if need be. Gradients are functions;
boxes have none there, and those of `roicy.roi_align_backward_rois` here.
"""

from roicy.compat.torchvision.align import RoIAlign, roi_align, roi_align_backward
from roicy.compat.torchvision.pool import RoIPool, roi_pool, roi_pool_backward
from roicy.compat.torchvision.position_sensitive import (
    PSRoIAlign,
    PSRoIPool,
    ps_roi_align,
    ps_roi_align_backward,
    ps_roi_pool,
    ps_roi_pool_backward,
)
from roicy.compat.torchvision.pyramid import MultiScaleRoIAlign

__all__ = [
    "MultiScaleRoIAlign",
    "PSRoIAlign",
    "PSRoIPool",
    "RoIAlign",
    "RoIPool",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "roi_align",
    "roi_align_backward",
    "roi_pool",
    "roi_pool_backward",
]
