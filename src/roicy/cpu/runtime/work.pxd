"""How a call is divided among threads, and the scratch memory that each gets."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from roicy.cpu.tables.rois cimport RoiTable

cdef enum:
    CACHE_LINE = 64         # bytes of a cache line
    TASK_WORK = 1 << 29     # multiply-adds of a task; to the processor some tenth of a second
    SURVEYED = 64           # RoIs whose argmax is looked at between two looks for signals


cdef inline int64_t parts_of(double work) noexcept:
    # The least number of tasks for this many multiply-adds: between tasks a call looks for signals.
    return 1 + <int64_t> (work / TASK_WORK)


cdef struct Task:
    int64_t image, first, last      # ranks of its RoIs, [first, last)
    int64_t channel                 # first channel of the block
    int channels
    int64_t bin                     # the one that it is about, or the first of some in a row; -1 for all
    int bins                        # how many from that one on
    int64_t top, bottom             # rows of the map: all of them, or one band


cdef struct Scratch:
    char* tile              # planes of the block
    char* blended           # rows between the two passes
    char* bins              # outputs before they are stored, or gradients as they were loaded
    char* spare             # what else a kernel needs
    char* chunk             # outputs as the array outside wants them
    const char** row        # (tallest) where a line's rows are
    const char** tap        # (most) where the rows of one sum are


cdef struct Sizes:
    size_t tile, blended, bins, spare, chunk    # bytes of each
    size_t most                                 # pointers in `row` and in `tap`


# What a kernel does about one task of its call.
ctypedef void (*Kernel)(void* call, Task* task, Scratch* scratch) noexcept nogil
# What is written before all tasks, and what is given back after them.
ctypedef void (*Opening)(RoiTable table, void* call) noexcept nogil
ctypedef void (*Closing)(void* call) noexcept


cdef class Work


cdef class Team:
    # Works that run as one.
    cdef list works
    cdef int threads
    cdef Sizes sizes        # that serve each of them
    cdef Work _room         # has the scratch
    cdef void* _waiting


cdef class Work:
    cdef Team team          # that this one waits for; None: it runs by itself
    cdef Task* tasks
    cdef int64_t count
    cdef int64_t bins       # that have tasks of their own; 0: tasks are about all
    cdef int64_t row        # of these, those of a row, if they share tasks
    cdef int64_t shares     # tasks that share a row
    cdef int threads
    cdef Scratch* scratch   # (threads)
    cdef int64_t _room      # tasks that there is room for
    cdef void* _memory
    cdef RoiTable _table
    # of one that waits
    cdef Kernel _kernel
    cdef Opening _opening
    cdef Closing _closing
    cdef void* _call
    cdef object keep        # what has to live as long
    cdef int divide(self, RoiTable table, int64_t begin, int64_t end, int64_t channels, int64_t block, int64_t parts,
                    int64_t bands) except -1
    cdef int provide(self, RoiTable table, int threads, size_t tile, size_t blended, size_t bins, size_t spare,
                     size_t chunk) except -1
    cdef int share_out(self, int threads, Sizes sizes) except -1
    cdef int run(self, Kernel kernel, void* call) except -1
    cdef int do(self, Kernel kernel, void* call, size_t size, Opening opening, Closing closing) except -1
