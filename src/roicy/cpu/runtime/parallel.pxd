"""How the pieces of a call are shared among threads."""

from libc.stdint cimport int64_t

# Works on one piece of a call; `thread` is less than the number of threads asked for, and no two at once have the same.
ctypedef void (*Piece)(void* call, int64_t number, int thread) noexcept nogil


cdef int run_pieces(Piece piece, void* call, int64_t count, int threads) except -1
