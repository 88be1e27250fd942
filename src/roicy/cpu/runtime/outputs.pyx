"""Memory of new results: when a program drops a result, the next result reuses its memory.

The system clears the memory of a large array page by page at the first write; for a result of 50 MB that takes longer
than pooling. So NumPy takes the memory of large results from this module, and gives it back when the array and its
views are gone. The module keeps the last blocks, up to a bound.

Callers see no difference: this is a NumPy memory handler, and the array owns its data as usual. Once an array exists,
nothing here needs Python, so arrays may outlive the interpreter's modules.
"""

import atexit

from cpython.ref cimport Py_INCREF
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memmove, memset

from roicy.cpu cimport arrays as cnp
from roicy.cpu.runtime.checks cimport CHECKED
from roicy.cpu.runtime.parallel cimport run_pieces

cnp.import_array()

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <windows.h>
    static volatile LONG roicy_taken;
    #define roicy_enter() (InterlockedExchange(&roicy_taken, 1) == 0)
    #define roicy_leave() ((void) InterlockedExchange(&roicy_taken, 0))
    #else
    static int roicy_taken;
    #define roicy_enter() (__atomic_exchange_n(&roicy_taken, 1, __ATOMIC_ACQUIRE) == 0)
    #define roicy_leave() (__atomic_store_n(&roicy_taken, 0, __ATOMIC_RELEASE))
    #endif
    #if defined(_MSC_VER)
    #define roicy_map(size) (VirtualAlloc(NULL, (size), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
    #define roicy_unmap(start, size) ((void) VirtualFree((start), 0, MEM_RELEASE))
    #else
    #include <sys/mman.h>
    static void* roicy_map(size_t size) {
        void* start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return start == MAP_FAILED ? NULL : start;
    }
    #define roicy_unmap(start, size) ((void) munmap((start), (size)))
    #endif
    #if defined(MADV_HUGEPAGE)
    #define roicy_large_pages(start, size) ((void) madvise((start), (size), MADV_HUGEPAGE))
    #else
    #define roicy_large_pages(start, size) ((void) 0)
    #endif
    static void roicy_touch(char* start) {
        volatile char* byte = start;
        *byte = *byte;
    }
    """
    # Try to take the lock; holders release it after a few instructions.
    bint roicy_enter() noexcept nogil
    void roicy_leave() noexcept nogil
    # Zeroed pages from the system, or NULL.
    void* roicy_map(size_t size) noexcept nogil
    void roicy_unmap(void* start, size_t size) noexcept nogil
    void roicy_large_pages(void* start, size_t size) noexcept nogil
    void roicy_touch(char* start) noexcept nogil    # writes what stands there

cdef extern from "numpy/arrayobject.h":
    ctypedef struct Allocator "PyDataMemAllocator":
        void* ctx
        void* (*malloc)(void*, size_t) noexcept nogil
        void* (*calloc)(void*, size_t, size_t) noexcept nogil
        void* (*realloc)(void*, void*, size_t) noexcept nogil
        void (*free)(void*, void*, size_t) noexcept nogil
    ctypedef struct Handler "PyDataMem_Handler":
        char[127] name
        uint8_t version
        Allocator allocator
    object set_handler "PyDataMem_SetHandler"(object handler)
    # These take a reference to the dtype.
    cnp.ndarray empty_array "PyArray_Empty"(int axes, cnp.npy_intp* length, cnp.dtype dtype, int fortran)
    cnp.ndarray zeros_array "PyArray_Zeros"(int axes, cnp.npy_intp* length, cnp.dtype dtype, int fortran)

cdef enum:
    SLOTS = 64
    LINE = 64                   # bytes before a block, in which its size stands; blocks begin on a cache line
    LARGE_PAGE = 1 << 21        # bytes, from which blocks begin on such a page
    SPARE = 8                   # a block serves results that are at least all but this part of it
    MOST_AXES = 8               # of a result
    LEAST_BYTES = 1 << 17       # of a result whose memory comes from here: what malloc asks the system for, too
    TOUCHED_BYTES = 1 << 28     # of a result whose pages come before anything is written to it: a quarter of a second
    TOUCHED_AT_ONCE = 1 << 24

cdef struct Header:
    size_t size                 # of the block
    void* pages                 # in which it lies
    size_t mapped               # bytes of them

cdef struct Idle:
    void* block[SLOTS]          # the one that came back first is first
    int count
    size_t held                 # bytes of all of them
    size_t most                 # of what may be held

cdef Idle idle
idle.count = 0
idle.held = 0
idle.most = 0 if CHECKED else 1 << 28


cdef inline Header* header_of(void* block) noexcept nogil:
    return <Header*> (<char*> block - LINE)


cdef inline size_t size_of(void* block) noexcept nogil:
    return header_of(block).size


cdef inline void to_system(void* block) noexcept nogil:
    roicy_unmap(header_of(block).pages, header_of(block).mapped)


cdef void* from_system(size_t size) noexcept nogil:
    # Zeros; NULL: there is no memory.
    cdef size_t line = LARGE_PAGE if size >= 2 * LARGE_PAGE else LINE, mapped = size + LINE + line
    cdef char* pages = <char*> roicy_map(mapped) if size <= <size_t> 1 << 62 else NULL
    cdef void* block
    if pages == NULL:
        return NULL
    block = <void*> ((<size_t> pages + LINE + line - 1) & ~(line - 1))
    header_of(block)[0] = Header(size=size, pages=pages, mapped=mapped)
    if line == LARGE_PAGE:
        roicy_large_pages(block, size)
    return block


cdef void* take_out(int i) noexcept nogil:
    cdef void* block = idle.block[i]
    idle.count -= 1
    idle.held -= size_of(block)
    memmove(idle.block + i, idle.block + i + 1, (idle.count - i) * sizeof(void*))
    return block


cdef void* from_idle(size_t size) noexcept nogil:
    # NULL: none fits.
    cdef int i, best = -1
    cdef size_t room
    cdef void* block = NULL
    if roicy_enter():
        for i in range(idle.count):
            room = size_of(idle.block[i])
            if room - room // SPARE <= size <= room and (best < 0 or room < size_of(idle.block[best])):
                best = i
        if best >= 0:
            block = take_out(best)
        roicy_leave()
    return block


cdef void* from_emptied(size_t size) noexcept nogil:
    # As `from_system`; where that has no more, all that is held goes back to it first.
    cdef void* block = from_system(size)
    if block == NULL:
        while not roicy_enter():
            pass
        while idle.count:
            to_system(take_out(0))
        roicy_leave()
        block = from_system(size)
    return block


cdef void* lend(void* ctx, size_t size) noexcept nogil:
    cdef void* block = from_idle(size)
    return block if block != NULL else from_emptied(size)


cdef void take_back(void* ctx, void* block, size_t size) noexcept nogil:
    # Also after Python has ended, and in any thread.
    cdef size_t room
    if block == NULL:
        return
    room = size_of(block)
    if room <= idle.most and roicy_enter():
        while idle.count and (idle.count == SLOTS or idle.held + room > idle.most):
            to_system(take_out(0))
        if room <= idle.most:
            idle.block[idle.count] = block
            idle.count += 1
            idle.held += room
            block = NULL
        roicy_leave()
    if block != NULL:
        to_system(block)


cdef void* lend_zeros(void* ctx, size_t count, size_t size) noexcept nogil:
    # NumPy has seen that the product is a size.
    cdef void* block = from_idle(count * size)
    if block == NULL:
        return from_emptied(count * size)
    memset(block, 0, count * size)
    return block


cdef void* lend_other(void* ctx, void* block, size_t size) noexcept nogil:
    # For an array that is given another size.
    cdef void* other = lend(ctx, size)
    if other != NULL and block != NULL:
        memcpy(other, block, min(size, size_of(block)))
        take_back(ctx, block, 0)
    return other


cdef Handler handler
memset(&handler, 0, sizeof(handler))
memcpy(handler.name, b"roicy", 6)
handler.version = 1
handler.allocator = Allocator(ctx=NULL, malloc=lend, calloc=lend_zeros, realloc=lend_other, free=take_back)
cdef object _handler = PyCapsule_New(&handler, b"mem_handler", NULL)


def new_array(tuple shape, cnp.dtype dtype, bint blank):
    """Return an array of zeros, or of undefined values; if it is large, its memory comes from here."""
    cdef double size = dtype.itemsize
    cdef cnp.npy_intp[MOST_AXES] length
    cdef int axis
    for axis in range(len(shape)):
        length[axis] = shape[axis]
        size *= length[axis]
    if size < LEAST_BYTES:
        return made(len(shape), length, dtype, blank)
    before = set_handler(_handler)
    try:
        return made(len(shape), length, dtype, blank)
    finally:
        set_handler(before)


cdef cnp.ndarray made(int axes, cnp.npy_intp* length, cnp.dtype dtype, bint blank):
    Py_INCREF(dtype)
    return zeros_array(axes, length, dtype, 0) if blank else empty_array(axes, length, dtype, 0)


cdef struct Touched:
    char* start
    size_t size


cdef void touch_piece(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Touched* touched = <Touched*> settled
    cdef size_t at = <size_t> number * TOUCHED_AT_ONCE, end = min(at + TOUCHED_AT_ONCE, touched.size)
    while at < end:
        roicy_touch(touched.start + at)
        at += LARGE_PAGE


cdef int touch_pages(char* start, size_t size, int threads) except -1:
    """Touch the large pages of a result before the call, checking for signals between them. Values stay.

    Boxes are pooled in the order of the map. So the first piece of a call may write to every page of a new result, and
    the system clears two million bytes for each page: a gigabyte took 1.2 seconds on a virtual machine. Pages that
    exist already cost nothing here; new ones cost 2 to 7 % of a call more than without this function.
    """
    cdef Touched touched = Touched(start=start, size=size)
    if size < TOUCHED_BYTES:
        return 0
    return run_pieces(touch_piece, &touched, <int64_t> ((size - 1) // TOUCHED_AT_ONCE + 1), threads)


def set_most(size_t size):
    """Set how many bytes may be held, and give back what is beyond that."""
    while not roicy_enter():
        pass
    idle.most = size
    while idle.held > size:
        to_system(take_out(0))
    roicy_leave()


def most():
    """Return how many bytes may be held."""
    return idle.most


def held():
    """Return how many bytes are held."""
    return idle.held


def empty():
    """Give all that is held back to the system."""
    cdef size_t most = idle.most
    set_most(0)
    idle.most = most


atexit.register(set_most, 0)
