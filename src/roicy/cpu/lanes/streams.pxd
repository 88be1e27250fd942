from libc.stddef cimport ptrdiff_t


cdef extern from "streams.h" nogil:
    enum:
        LINE
    ctypedef struct row_streams:
        ptrdiff_t step

    ptrdiff_t streams_step(ptrdiff_t size) noexcept
    void streams_start(row_streams* of, char* buffers, int pieces, ptrdiff_t size, ptrdiff_t apart,
                       ptrdiff_t columns) noexcept
    char* streams_place(const row_streams* of) noexcept
    void streams_take(row_streams* of, char* target) noexcept
    void streams_end(row_streams* of) noexcept
