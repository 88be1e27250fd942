"""All kernels, as one extension for each CPU level and type of accumulation.

Each file is about one kernel. They are put together because what an extension takes beside its kernels would else be
most of the wheel, and of the time that it takes to build. Names are those of one module: no two files may share one.
"""

cimport numpy as cnp

cnp.import_array()

include "axis_forward.pyx"
include "axis_forward_pixels.pyx"
include "axis_forward_crops.pyx"
include "axis_backward.pyx"
include "axis_backward_rois.pyx"
include "sample_forward_turned.pyx"
include "sample_forward.pyx"
include "sample_backward.pyx"
include "sample_backward_rois.pyx"
include "grid_forward.pyx"
include "grid_backward.pyx"
include "grid_backward_rois.pyx"
include "range_forward.pyx"
include "range_forward_shared.pyx"
include "range_backward.pyx"
include "mask_paste.pyx"
include "mask_runs.pyx"
include "quad_forward.pyx"
