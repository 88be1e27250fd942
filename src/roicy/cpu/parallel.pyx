"""How the pieces of a call are shared among threads: the one place where a call has more than one.

Pieces are taken one by one, so that a thread which comes late, or is held up, leaves them to the others.
"""

from cython.parallel cimport parallel, prange, threadid

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(_M_X64)
    #include <xmmintrin.h>
    #define roicy_fence() _mm_sfence()
    #else
    #define roicy_fence() ((void) 0)
    #endif
    """
    # Streamed stores of this thread become visible to the others.
    void roicy_fence() noexcept nogil


cdef int run_pieces(Piece piece, void* call, int64_t count, int threads) except -1:
    """Have `piece` work on the numbers 0 to count - 1 of a call, in any order, on up to so many threads."""
    cdef int64_t number
    threads = <int> min(<int64_t> threads, count)
    with nogil:
        if threads <= 1:
            for number in range(count):
                piece(call, number, 0)
            roicy_fence()
        else:
            with parallel(num_threads=threads):
                for number in prange(count, schedule="dynamic", chunksize=1):
                    piece(call, number, threadid())
                roicy_fence()
    return 0
