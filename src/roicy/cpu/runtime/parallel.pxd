"""How the pieces of a call are shared among threads."""

from libc.stdint cimport int64_t

# Works on one piece of a call; `thread` is less than the number of threads asked for, and no two at once have the same.
ctypedef void (*Piece)(void* call, int64_t number, int thread) noexcept nogil


cpdef bint helping() noexcept
cdef int run_pieces(Piece piece, void* call, int64_t count, int threads) except -1


cdef enum:
    STEPS_AT_ONCE = 1 << 14     # of some ten to hundred nanoseconds each, before signals are looked for


cdef struct Listener:
    # looks for signals, now and then, in work that is not shared
    bint listening          # on the main thread
    double listened
    int64_t steps           # since then


cdef Listener listener() noexcept nogil
cdef bint listens(Listener* ear) noexcept nogil


cdef inline bint hears(Listener* ear, int64_t steps) noexcept nogil:
    """Return, after `steps` more steps, whether a signal handler raises an error, which is then set."""
    ear.steps += steps
    return ear.steps >= STEPS_AT_ONCE and listens(ear)
