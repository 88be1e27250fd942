"""How many threads the kernels use.

The number is the caller's: each Python thread has its own setting. Without one it follows OpenMP
(``OMP_NUM_THREADS``, threadpoolctl), capped by the processor share that the control group grants.
"""

import math
import os
import threading

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define ROICY_OPENMP 1
    static int roicy_max_threads(void) { return omp_get_max_threads(); }
    #else
    #define ROICY_OPENMP 0
    static int roicy_max_threads(void) { return 1; }
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


_own = threading.local()
_state = {"entered": False, "forked": False, "quota": None}


def openmp():
    """Whether the kernels were built with OpenMP."""
    return ROICY_OPENMP


def compiler():
    """The C compiler's name and version."""
    return ROICY_COMPILER.decode()


def set_num_threads(n):
    """Set this Python thread's number; None goes back to the default."""
    _own.threads = n


def own_num_threads():
    """This Python thread's own setting, None where it has none."""
    return getattr(_own, "threads", None)


def get_num_threads():
    """Threads that a call from this Python thread may use."""
    if not ROICY_OPENMP or _state["forked"]:
        return 1
    n = getattr(_own, "threads", None)
    if n is None:
        n = roicy_max_threads()
        quota = _state["quota"]
        if quota is None:
            quota = _state["quota"] = processor_quota()
        n = min(n, quota)
    return n


def threads_to_enter():
    """Threads for a call that is about to run; remembers that OpenMP was entered."""
    n = get_num_threads()
    if n > 1:
        _state["entered"] = True
    return n


def processor_quota():
    """Processors that the control group grants, rounded up; a large number where it sets no bound."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no control groups, or "max"
        return 1 << 16


def _after_fork_in_child():
    # The threads that OpenMP keeps do not survive a fork, and waiting for them would never end.
    if _state["entered"]:
        _state["forked"] = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
