"""Memory of the CPU's tables and kernels: large blocks that are reused, small pieces that are allocated."""

from libc.stddef cimport size_t


cdef inline size_t most_bytes() noexcept nogil:
    # No block is as large: the sizes of a call can be added up.
    return <size_t> 1 << 48


cdef inline size_t bytes_of(size_t count, size_t more, size_t size) noexcept nogil:
    # What `count` times `more` items take, `most_bytes` where it is that or more.
    return (most_bytes() if count * <double> more * size >= <double> most_bytes()
            else count * more * size)


cdef void* borrow(size_t size) except NULL
cdef void give_back(void* block) noexcept
cdef void* allocate(size_t size) except NULL
cdef void* allocate_zeros(size_t size) except NULL
cdef void* reallocate(void* piece, size_t size) noexcept nogil
cdef void deallocate(void* piece) noexcept nogil
cdef int try_bytes(size_t size) except -1
