"""Memory of the CPU's tables and kernels.

Large blocks are reused. Memory that goes back to the system must be mapped and cleared again at the next call, which
costs as much as pooling a few boxes. So this module keeps the last blocks, up to a bound, and lends them to the next
call that they fit.

Callers hold Python's lock, which guards the list of blocks; no function here releases it.

Small pieces, such as lists of tasks, are allocated with malloc: in the list they would take the places of large blocks.
"""

from libc.stdlib cimport calloc, free, malloc, realloc

from roicy.cpu.runtime.checks cimport fence, spoil, unfence

cdef enum:
    SLOTS = 16
    HEADER = 64                 # bytes before a block, in which its size stands; blocks begin on a cache line


cdef void* idle[SLOTS]
cdef int idle_count = 0
cdef size_t idle_bytes = 0
cdef size_t kept_bytes = 1 << 25    # of all the blocks that lie idle, at the most


cdef inline size_t* size_of(void* block) noexcept:
    return <size_t*> (<char*> block - HEADER)


cdef inline void release(void* block) noexcept:
    free(<void*> size_of(block)[1])


cdef inline void lend(void* block, size_t size) noexcept:
    # In debug and sanitizer builds: no byte more than asked for, and nothing that the last call left.
    unfence(block, size)
    spoil(block, size)
    fence(<char*> block + size, size_of(block)[1] + size_of(block)[0] + 2 * HEADER - <size_t> block - size)


cdef void* borrow(size_t size) except NULL:
    """Return a block of at least `size` bytes, aligned to a cache line, or raise MemoryError."""
    global idle_count, idle_bytes
    cdef int i, best = -1
    cdef void* block
    cdef char* raw
    for i in range(idle_count):
        if size_of(idle[i])[0] >= size and (best < 0 or size_of(idle[i])[0] < size_of(idle[best])[0]):
            best = i
    # a block far too large stays for the calls that need it
    if best >= 0 and size_of(idle[best])[0] <= 8 * size + 65536:
        block = idle[best]
        idle_count -= 1
        idle[best] = idle[idle_count]
        idle_bytes -= size_of(block)[0]
        lend(block, size)
        return block
    raw = <char*> malloc(size + 2 * HEADER)
    if raw == NULL:
        raise MemoryError(f"roicy: no memory for {size} bytes of scratch")
    block = <void*> ((<size_t> raw + 2 * HEADER - 1) & ~(<size_t> HEADER - 1))
    size_of(block)[0] = size
    size_of(block)[1] = <size_t> raw
    lend(block, size)
    return block


cdef void* allocate(size_t size) except NULL:
    """Return a piece of the system's memory, or raise MemoryError."""
    cdef void* piece = malloc(max(size, <size_t> 1))
    if piece == NULL:
        raise MemoryError(f"roicy: no memory for {size} bytes of scratch")
    return piece


cdef void* allocate_zeros(size_t size) except NULL:
    """As `allocate`, all zeros."""
    cdef void* piece = calloc(max(size, <size_t> 1), 1)
    if piece == NULL:
        raise MemoryError(f"roicy: no memory for {size} bytes of scratch")
    return piece


cdef void* reallocate(void* piece, size_t size) noexcept nogil:
    """Return a piece with more room, or NULL; then the old one stays as it was."""
    return realloc(piece, size)


cdef void deallocate(void* piece) noexcept nogil:
    """Return a piece to the system; NULL is none."""
    free(piece)


cdef int try_bytes(size_t size) except -1:
    """Raise MemoryError unless the system has this many bytes. They go back at once: as an idle block they would take
    the slot of a useful one."""
    cdef void* raw = malloc(size)
    if raw == NULL:
        raise MemoryError(f"roicy: no memory for {size} bytes of scratch")
    free(raw)
    return 0


cdef void drop_oldest() noexcept:
    global idle_count, idle_bytes
    idle_count -= 1
    idle_bytes -= size_of(idle[0])[0]
    release(idle[0])
    idle[0] = idle[idle_count]


def keep(size_t size):
    """Set how many bytes may lie idle; with 0 each block comes from the system and goes back there."""
    global kept_bytes
    kept_bytes = size
    while idle_bytes > kept_bytes:
        drop_oldest()


cdef void give_back(void* block) noexcept:
    """Take back a block that was borrowed; NULL is none."""
    global idle_count, idle_bytes
    if block == NULL:
        return
    fence(block, size_of(block)[0])
    while idle_count and (idle_count == SLOTS or idle_bytes + size_of(block)[0] > kept_bytes):
        drop_oldest()
    if size_of(block)[0] <= kept_bytes:
        idle[idle_count] = block
        idle_count += 1
        idle_bytes += size_of(block)[0]
    else:
        release(block)
