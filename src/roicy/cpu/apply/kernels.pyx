"""All kernels, as one extension for each CPU level and type of accumulation.

Each file is about one kernel. They are put together because what an extension takes beside its kernels would else be
most of the wheel, and of the time that it takes to build. Names are those of one module: no two files may share one.
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
    """Return what each phase took since this was asked before, in ticks; see ``phases.h``. None in other builds."""
    cdef int i
    if not PHASES_TOLD:
        return None
    phase_enter(PHASE_OTHER)
    ticks = [phase_ticks[i] for i in range(PHASES)]
    for i in range(PHASES):
        phase_ticks[i] = 0
    return ticks


def peak(rounds):
    """Do multiply-adds as fast as they can be, in such a build, and return how many."""
    phase_peak(rounds)
    return rounds * PHASE_SUMS * LANES
