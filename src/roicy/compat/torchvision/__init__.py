"""torchvision's operators on regions of interest: its names, arguments, defaults and classes, on arrays.

======================================= ==================================================
`roi_align`, `RoIAlign`                 average over boxes
`roi_pool`, `RoIPool`                   maximum over boxes rounded to pixels
`roi_align_backward`                    their gradients with respect to the features
`roi_pool_backward`
======================================= ==================================================

Boxes are (R, 5), rows ``[image, x1, y1, x2, y2]``, or a list with an array (L, 4) for each image. Arrays are
NumPy's or CuPy's where torchvision has tensors, and of different dtypes if need be. Gradients are functions;
boxes have none there, and those of `roicy.roi_align_backward_rois` here.
"""

from roicy.compat.torchvision.align import RoIAlign, roi_align, roi_align_backward
from roicy.compat.torchvision.pool import RoIPool, roi_pool, roi_pool_backward

__all__ = [
    "RoIAlign",
    "RoIPool",
    "roi_align",
    "roi_align_backward",
    "roi_pool",
    "roi_pool_backward",
]
