"""How many threads the kernels use.

Each Python thread has its own setting. Without one, the number is what OpenMP would use (``OMP_NUM_THREADS``,
threadpoolctl), but no more than the CPUs that the control group grants. `roicy.cpu.runtime.parallel` runs the threads.
"""

import math
import os

from roicy.cpu.runtime.parallel cimport helping

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define ROICY_OPENMP 1
    static int roicy_max_threads(void) { return omp_in_parallel() ? 1 : omp_get_max_threads(); }
    #else
    #define ROICY_OPENMP 0
    static int roicy_max_threads(void) { return 0; }
    #endif
    #if defined(_MSC_VER)
    static __declspec(thread) int roicy_own_threads;
    #else
    static __thread int roicy_own_threads;
    #endif
    #if defined(__VERSION__) && defined(__clang__)
    #define ROICY_COMPILER __VERSION__
    #elif defined(__VERSION__)
    #define ROICY_COMPILER "GCC " __VERSION__
    #elif defined(_MSC_VER)
    #define ROICY_COMPILER "MSVC"
    #else
    #define ROICY_COMPILER "unknown"
    #endif
    """
    const bint ROICY_OPENMP
    const char* ROICY_COMPILER
    int roicy_max_threads() noexcept
    int own "roicy_own_threads"     # of this thread; 0: it has none


# What is known since it was first asked for; 0: not yet.
cdef int known_processors = 0
cdef int known_quota = 0


def openmp():
    """Whether threads are OpenMP's."""
    return ROICY_OPENMP


def compiler():
    """The C compiler's name and version."""
    return ROICY_COMPILER.decode()


def set_num_threads(n):
    """Set this Python thread's number; None goes back to the default."""
    global own
    own = n or 0


def own_num_threads():
    """This Python thread's own setting, None where it has none."""
    return own or None


cpdef int get_num_threads() except -1:
    """Threads that a call from this Python thread may use."""
    global known_processors, known_quota
    if own:
        return own
    if not known_quota:
        known_processors = processors()
        known_quota = processor_quota()
    return min(roicy_max_threads() or known_processors, known_quota)


def for_call():
    """Threads for a call that is about to run: one, while helpers cost more than they save."""
    return get_num_threads() if helping() else 1


def processors():
    """What OMP_NUM_THREADS says, else the processors that this process may run on."""
    named = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if named.isdigit() and int(named):
        return int(named)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_quota():
    """Processors that the control group grants, rounded up; a large number where it sets no bound."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no control groups, or "max"
        return 1 << 16
