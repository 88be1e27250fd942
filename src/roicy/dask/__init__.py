"""The operators of `roicy` on Dask arrays: maps, images and boxes larger than memory, or than a machine.

Functions have the names, arguments and results of those in `roicy`; a call makes a graph, in which each task
is a call of the function of `roicy` on a chunk of images. This module is imported by its name, and needs
``dask[array]``: roicy's extra ``dask``.

>>> import dask.array as da
>>> import numpy as np
>>> import roicy.dask
>>> features = da.random.random((8, 4, 16, 16), chunks=(2, 4, 16, 16))
>>> rois = np.array([[5, 1, 2, 9, 11], [0, 4, 4, 12, 8], [5, 0, 0, 16, 16]], np.float32)
>>> pooled = roicy.dask.roi_align(features, rois, 7)
>>> pooled.shape
(3, 4, 7, 7)
>>> bool((pooled.compute() == roicy.roi_align(features.compute(), rois, 7)).all())
True
"""

try:
    import dask.array as _  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"roicy.dask needs dask.array, which cannot be imported ({error}): "
        "python -m pip install 'dask[array]'"
    ) from error

from roicy._doubts import RoisWarning  # noqa: F401
from roicy.dask._images import from_images
from roicy.dask._public import public
from roicy.rmac import rmac_regions

roi_align = public("roi_align")
roi_align_backward = public("roi_align_backward")
roi_align_backward_rois = public("roi_align_backward_rois")
roi_align_rotated = public("roi_align_rotated")
roi_align_rotated_backward = public("roi_align_rotated_backward")
roi_align_rotated_backward_rois = public("roi_align_rotated_backward_rois")
roi_pool = public("roi_pool")
roi_pool_backward = public("roi_pool_backward")
prroi_pool = public("prroi_pool")
prroi_pool_backward = public("prroi_pool_backward")
prroi_pool_backward_rois = public("prroi_pool_backward_rois")
ps_roi_align = public("ps_roi_align")
ps_roi_align_backward = public("ps_roi_align_backward")
ps_roi_align_backward_rois = public("ps_roi_align_backward_rois")
ps_roi_pool = public("ps_roi_pool")
ps_roi_pool_backward = public("ps_roi_pool_backward")
deform_roi_pool = public("deform_roi_pool")
deform_roi_pool_backward = public("deform_roi_pool_backward")
deform_roi_pool_backward_offsets = public("deform_roi_pool_backward_offsets")
deform_roi_pool_backward_mask = public("deform_roi_pool_backward_mask")
multi_scale_roi_align = public("multi_scale_roi_align")
multi_scale_roi_align_backward = public("multi_scale_roi_align_backward")
multi_scale_roi_align_backward_rois = public("multi_scale_roi_align_backward_rois")
multi_scale_roi_align_rotated = public("multi_scale_roi_align_rotated")
multi_scale_roi_align_rotated_backward = public("multi_scale_roi_align_rotated_backward")
multi_scale_roi_align_rotated_backward_rois = public("multi_scale_roi_align_rotated_backward_rois")
multi_scale_roi_pool = public("multi_scale_roi_pool")
multi_scale_roi_pool_backward = public("multi_scale_roi_pool_backward")
rmac = public("rmac")
rmac_backward = public("rmac_backward")
paste_masks = public("paste_masks")
crop_and_resize = public("crop_and_resize")
crop_and_resize_backward = public("crop_and_resize_backward")
crop_and_resize_backward_boxes = public("crop_and_resize_backward_boxes")
crop_quads = public("crop_quads")

__all__ = [
    "crop_and_resize",
    "crop_and_resize_backward",
    "crop_and_resize_backward_boxes",
    "crop_quads",
    "deform_roi_pool",
    "deform_roi_pool_backward",
    "deform_roi_pool_backward_mask",
    "deform_roi_pool_backward_offsets",
    "from_images",
    "multi_scale_roi_align",
    "multi_scale_roi_align_backward",
    "multi_scale_roi_align_backward_rois",
    "multi_scale_roi_align_rotated",
    "multi_scale_roi_align_rotated_backward",
    "multi_scale_roi_align_rotated_backward_rois",
    "multi_scale_roi_pool",
    "multi_scale_roi_pool_backward",
    "paste_masks",
    "prroi_pool",
    "prroi_pool_backward",
    "prroi_pool_backward_rois",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_align_backward_rois",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "rmac",
    "rmac_backward",
    "rmac_regions",
    "roi_align",
    "roi_align_backward",
    "roi_align_backward_rois",
    "roi_align_rotated",
    "roi_align_rotated_backward",
    "roi_align_rotated_backward_rois",
    "roi_pool",
    "roi_pool_backward",
]
