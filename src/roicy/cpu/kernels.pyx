"""All kernels, as one extension for each CPU level and type of accumulation.

Each file is about one kernel. They are put together because what an extension takes beside its kernels would else be
most of the wheel, and of the time that it takes to build. Names are those of one module: no two files may share one.
"""

cimport numpy as cnp

cnp.import_array()

include "separable.pyx"
include "channels_last.pyx"
include "crops.pyx"
include "adjoint.pyx"
include "box_gradient.pyx"
include "gather.pyx"
include "gather_adjoint.pyx"
include "gather_box_gradient.pyx"
include "grid_max.pyx"
include "grid_scatter.pyx"
include "grid_box_gradient.pyx"
include "range_max.pyx"
include "range_shared.pyx"
include "scatter.pyx"
