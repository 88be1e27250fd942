"""Region-of-interest operators of object detection as functions on NumPy arrays.

========================= =======================================================
`roi_align`               pool boxes of a feature map by averaging samples
`roi_align_backward`      its gradient with respect to the features
`roi_align_backward_rois` its gradient with respect to the boxes
`roi_align_plan`          the same for several feature maps of one shape
`set_num_threads`         threads that calls from this Python thread may use
`get_num_threads`         how many those are
`num_threads`             the same within a ``with`` block
`show_config`             versions, CPU level, threads
========================= =======================================================
"""

from roicy._config import get_num_threads, num_threads, set_num_threads, show_config
from roicy.align import roi_align, roi_align_backward, roi_align_backward_rois
from roicy.plan import RoIAlignPlan, roi_align_plan

__all__ = [
    "RoIAlignPlan",
    "get_num_threads",
    "num_threads",
    "roi_align",
    "roi_align_backward",
    "roi_align_backward_rois",
    "roi_align_plan",
    "set_num_threads",
    "show_config",
]


def __getattr__(name):
    # The version is looked up when asked for: importlib.metadata takes longer to import than all of roicy.
    if name == "__version__":
        from importlib.metadata import version

        return version("roicy")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
