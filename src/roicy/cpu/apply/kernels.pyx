"""All kernels, as one extension for each CPU level and type of accumulation.

Each file is about one kernel. One extension includes them all: with an extension for each kernel, the overhead of
extensions would be most of the wheel and of the build time. All files share one module, so no two may define the same
name.
"""

from roicy.cpu cimport arrays as cnp
from roicy.cpu.lanes.phases cimport PHASE_OTHER, PHASE_SUMS, PHASES, PHASES_TOLD, phase_enter, phase_peak, phase_ticks

cnp.import_array()

include "axis_forward.pyx"
include "axis_forward_lone.pyx"
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
include "unit_rows.pyx"
include "mask_paste.pyx"
include "mask_runs.pyx"
include "quad_forward.pyx"


def phases():
    """Return the ticks of each phase since the last call; see ``phases.h``. None in other builds."""
    cdef int i
    if not PHASES_TOLD:
        return None
    phase_enter(PHASE_OTHER)
    ticks = [phase_ticks[i] for i in range(PHASES)]
    for i in range(PHASES):
        phase_ticks[i] = 0
    return ticks


def peak(rounds):
    """Do multiply-adds at peak speed and return how many. Only in builds that time phases."""
    phase_peak(rounds)
    return rounds * PHASE_SUMS * LANES
