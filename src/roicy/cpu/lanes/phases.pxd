"""Timing the parts of a kernel: ``phases.h``; empty but with ROICY_BUILD=phases."""

from libc.stdint cimport int64_t, uint64_t


cdef extern from "phases.h" nogil:
    enum:
        PHASE_OTHER, PHASE_LOAD, PHASE_ROWS, PHASE_COLUMNS, PHASE_TURN, PHASE_STORE, PHASES
        PHASES_TOLD, PHASE_SUMS

    uint64_t* phase_ticks
    int phase_enter(int phase) noexcept     # returns the one that it was until now
    void phase_peak(int64_t rounds) noexcept
