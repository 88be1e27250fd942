"""Region-of-interest operators of object detection as functions on NumPy and CuPy arrays.

================================= ==========================================================
`roi_align`                       pool boxes of a feature map: average or maximum of samples
`roi_align_backward`              its gradient with respect to the features
`roi_align_backward_rois`         its gradient with respect to the boxes
`roi_align_argmax_positions`      where the samples lie that an argmax of it names
`roi_align_plan`                  the same for several feature maps of one shape
`roi_align_rotated`               pool rotated boxes by averaging samples
`roi_align_rotated_backward`      its gradient with respect to the features
`roi_align_rotated_backward_rois` its gradient with respect to the boxes
`roi_align_rotated_plan`          the same for several feature maps of one shape
`roi_pool`                        pool boxes rounded to pixels by their maximum
`roi_pool_backward`               its gradient with respect to the features
`roi_pool_plan`                   the same for several feature maps of one shape
`prroi_pool`                      pool boxes by the exact mean of the bilinear map
`prroi_pool_backward`             its gradient with respect to the features
`prroi_pool_backward_rois`        its gradient with respect to the boxes
`prroi_pool_plan`                 the same for several feature maps of one shape
`ps_roi_align`                    pool boxes by bilinear samples, each bin in channels of its own
`ps_roi_align_backward`           its gradient with respect to the features
`ps_roi_align_backward_rois`      its gradient with respect to the boxes
`ps_roi_align_plan`               the same for several feature maps of one shape
`ps_roi_pool`                     pool boxes by means of whole pixels, each bin in channels of its own
`ps_roi_pool_backward`            its gradient with respect to the features
`ps_roi_pool_plan`                the same for several feature maps of one shape
`deform_roi_pool`                 pool boxes by samples of bins that are moved by offsets
`deform_roi_pool_backward`        its gradient with respect to the features
``..._backward_offsets``          that with respect to the offsets
``..._backward_mask``             that with respect to the mask that multiplies bins
`deform_roi_pool_plan`            the same for several feature maps of one shape
`multi_scale_roi_align`           pool each box from the map of its level in a pyramid
`multi_scale_roi_align_rotated`   the same for rotated boxes
`multi_scale_roi_pool`            the same by the maximum, of boxes rounded to pixels
``multi_scale_..._backward``      their gradients with respect to the maps
``multi_scale_..._backward_rois`` those of the first two with respect to the boxes
``multi_scale_..._plan``          the same for several pyramids of the same shapes
`fpn_levels`                      which map of a feature pyramid each box is pooled from
`paste_masks`                     masks of boxes, laid back over the image
`crop_quads`                      cut quadrangles out of images, straightened
`rotated_corners`                 where the corners of rotated boxes are
`rmac_regions`                    the boxes of R-MAC, which cover a map at several scales
`rmac`                            R-MAC: one vector for each image
`rmac_backward`                   its gradient with respect to the features
`rmac_plan`                       the same for several feature maps of one shape
`crop_and_resize`                 cut boxes out of images for the next model: resized, filled up, normalised
`crop_and_resize_backward`        its gradient with respect to the images
`crop_and_resize_backward_boxes`  its gradient with respect to the boxes
`crop_and_resize_plan`            the same for several images of one shape
`set_num_threads`                 threads that calls from this Python thread may use
`get_num_threads`                 how many those are
`num_threads`                     the same within a ``with`` block
`set_output_cache`                bytes of memory that are held for new results
`empty_output_cache`              give them back to the system
`show_config`                     versions, CPU level, threads, memory, CUDA
`RoisWarning`                     most boxes look as if something else was meant
================================= ==========================================================

Arrays are NumPy's or CuPy's, and results are of the same library. Any other array that shares its memory, by
DLPack, the buffer protocol or ``__cuda_array_interface__``, is taken as one of these without a copy: as
NumPy's where it is in host memory, as CuPy's where it is on a GPU.

`roicy.compat` has the operators of Caffe2, MXNet, ONNX, TensorFlow and torchvision, under the names and with
the arguments that they have there.
"""

from typing import TYPE_CHECKING

from roicy._config import (
    empty_output_cache,
    get_num_threads,
    num_threads,
    set_num_threads,
    set_output_cache,
    show_config,
)
from roicy._doubts import RoisWarning
from roicy.align import roi_align, roi_align_plan
from roicy.align_backward import roi_align_backward, roi_align_backward_rois
from roicy.corners import rotated_corners
from roicy.crop import (
    crop_and_resize,
    crop_and_resize_backward,
    crop_and_resize_backward_boxes,
    crop_and_resize_plan,
)
from roicy.crop_plan import CropPlan
from roicy.deform import deform_roi_pool, deform_roi_pool_backward, deform_roi_pool_plan
from roicy.deform_backward import deform_roi_pool_backward_mask, deform_roi_pool_backward_offsets
from roicy.deform_plan import DeformRoIPoolPlan
from roicy.levels import fpn_levels
from roicy.multi_scale import MultiScalePlan
from roicy.multi_scale_align import (
    multi_scale_roi_align,
    multi_scale_roi_align_backward,
    multi_scale_roi_align_backward_rois,
    multi_scale_roi_align_plan,
)
from roicy.multi_scale_pool import (
    multi_scale_roi_pool,
    multi_scale_roi_pool_backward,
    multi_scale_roi_pool_plan,
)
from roicy.multi_scale_rotated import (
    multi_scale_roi_align_rotated,
    multi_scale_roi_align_rotated_backward,
    multi_scale_roi_align_rotated_backward_rois,
    multi_scale_roi_align_rotated_plan,
)
from roicy.paste import paste_masks
from roicy.plan import Plan, RoIAlignPlan, RoIAlignRotatedPlan
from roicy.pool import roi_pool, roi_pool_backward, roi_pool_plan
from roicy.positions import roi_align_argmax_positions
from roicy.precise import prroi_pool, prroi_pool_backward, prroi_pool_backward_rois, prroi_pool_plan
from roicy.ps_align import (
    ps_roi_align,
    ps_roi_align_backward,
    ps_roi_align_backward_rois,
    ps_roi_align_plan,
)
from roicy.ps_pool import ps_roi_pool, ps_roi_pool_backward, ps_roi_pool_plan
from roicy.quads import crop_quads
from roicy.rmac import rmac, rmac_backward, rmac_plan, rmac_regions
from roicy.rmac_plan import RMACPlan
from roicy.rotated import (
    roi_align_rotated,
    roi_align_rotated_backward,
    roi_align_rotated_backward_rois,
    roi_align_rotated_plan,
)
from roicy.windows import rois_window, rois_windows

__all__ = [
    "CropPlan",
    "DeformRoIPoolPlan",
    "MultiScalePlan",
    "Plan",
    "RMACPlan",
    "RoIAlignPlan",
    "RoIAlignRotatedPlan",
    "RoisWarning",
    "crop_and_resize",
    "crop_and_resize_backward",
    "crop_and_resize_backward_boxes",
    "crop_and_resize_plan",
    "crop_quads",
    "deform_roi_pool",
    "deform_roi_pool_backward",
    "deform_roi_pool_backward_mask",
    "deform_roi_pool_backward_offsets",
    "deform_roi_pool_plan",
    "empty_output_cache",
    "fpn_levels",
    "get_num_threads",
    "multi_scale_roi_align",
    "multi_scale_roi_align_backward",
    "multi_scale_roi_align_backward_rois",
    "multi_scale_roi_align_plan",
    "multi_scale_roi_align_rotated",
    "multi_scale_roi_align_rotated_backward",
    "multi_scale_roi_align_rotated_backward_rois",
    "multi_scale_roi_align_rotated_plan",
    "multi_scale_roi_pool",
    "multi_scale_roi_pool_backward",
    "multi_scale_roi_pool_plan",
    "num_threads",
    "paste_masks",
    "prroi_pool",
    "prroi_pool_backward",
    "prroi_pool_backward_rois",
    "prroi_pool_plan",
    "ps_roi_align",
    "ps_roi_align_backward",
    "ps_roi_align_backward_rois",
    "ps_roi_align_plan",
    "ps_roi_pool",
    "ps_roi_pool_backward",
    "ps_roi_pool_plan",
    "rmac",
    "rmac_backward",
    "rmac_plan",
    "rmac_regions",
    "roi_align",
    "roi_align_argmax_positions",
    "roi_align_backward",
    "roi_align_backward_rois",
    "roi_align_plan",
    "roi_align_rotated",
    "roi_align_rotated_backward",
    "roi_align_rotated_backward_rois",
    "roi_align_rotated_plan",
    "roi_pool",
    "roi_pool_backward",
    "roi_pool_plan",
    "rois_window",
    "rois_windows",
    "rotated_corners",
    "set_num_threads",
    "set_output_cache",
    "show_config",
]

if TYPE_CHECKING:  # what there is besides; a checker that saw `__getattr__` would accept any name
    from roicy import compat as compat

    __version__: str
else:

    def __getattr__(name):
        # The version is looked up when asked for: importlib.metadata takes longer to import than all of
        # roicy.
        if name == "__version__":
            from importlib.metadata import version

            return version("roicy")
        if name == "compat":
            import importlib

            return importlib.import_module("roicy.compat")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
