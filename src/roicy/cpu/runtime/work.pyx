"""How a call is divided among threads, and the scratch memory that each gets.

All memory is allocated before a kernel starts, so a call that fails has written nothing.
"""

from libc.string cimport memcpy

from roicy.cpu.runtime.checks cimport FENCE_BYTES, check_inside, fence
from roicy.cpu.runtime.memory cimport allocate, borrow, deallocate, give_back, most_bytes
from roicy.cpu.runtime.parallel cimport run_pieces


cdef inline size_t lined(size_t size) noexcept:
    return ((size + CACHE_LINE - 1) & ~(<size_t> CACHE_LINE - 1)) + FENCE_BYTES


cdef inline void fence_behind(void* piece, size_t size) noexcept:
    fence(<char*> piece + size, lined(size) - size)


cdef struct Running:
    Kernel kernel
    void* call
    Task* tasks
    Scratch* scratch


cdef void run_task(void* call, int64_t number, int thread) noexcept nogil:
    cdef Running* running = <Running*> call
    running.kernel(running.call, running.tasks + number, running.scratch + thread)


cdef class Work:
    """The tasks of one call and the scratch of its threads.

    Parameters
    ----------
    team : Team or None
        With what else this is to run, when all of that has its memory; by itself without.
    """

    def __cinit__(self, Team team=None):
        self.team = team

    def __dealloc__(self):
        if self._call != NULL and self._closing != NULL:
            self._closing(self._call)
        deallocate(self._call)
        deallocate(self.tasks)
        deallocate(self.scratch)
        give_back(self._memory)

    cdef int divide(self, RoiTable table, int64_t begin, int64_t end, int64_t channels, int64_t block, int64_t parts,
                    int64_t bands) except -1:
        """List the tasks for the RoIs of ranks begin to end: image by image, bin by bin where each has
        its own, block of channels by block, in parts of the RoIs or bands of the map. Once those of all RoIs have been
        listed, those of some take no memory.
        """
        cdef int64_t image, group, bin, bin_end, channel, part, first, last, pieces, n = 0
        cdef int64_t blocks = (channels + block - 1) // block, row = max(<int64_t> 1, self.row)
        cdef int64_t shares = max(<int64_t> 1, self.shares), groups = max(<int64_t> 1, self.bins // row * shares)
        cdef int64_t least = parts_of(table.work * block * (end - begin) / max(<Py_ssize_t> 1, table.rois) / groups)
        if bands:
            bands = max(bands, min(least, <int64_t> table.height))
        else:
            parts = max(parts, least)
        for image in range(table.images):
            first, last = max(begin, table.image_start[image]), min(end, table.image_start[image + 1])
            n += groups * blocks * (bands if bands else min(parts, max(<int64_t> 0, last - first)))
        if n > self._room:
            deallocate(self.tasks)
            self.tasks = NULL
            self._room = 0
            self.tasks = <Task*> allocate(n * sizeof(Task))
            self._room = n
        self.count = 0
        for image in range(table.images):
            first = max(begin, table.image_start[image])
            last = max(first, min(end, table.image_start[image + 1]))
            pieces = bands if bands else min(parts, last - first)
            for group in range(groups):
                bin = group // shares * row + group % shares * row // shares
                bin_end = group // shares * row + (group % shares + 1) * row // shares
                for channel in range(0, blocks):
                    for part in range(pieces):
                        self.tasks[self.count] = Task(
                            image=image,
                            first=first if bands else first + (last - first) * part // pieces,
                            last=last if bands else first + (last - first) * (part + 1) // pieces,
                            channel=channel * block,
                            channels=<int> min(block, channels - channel * block),
                            bin=bin if self.bins else -1,
                            bins=<int> (bin_end - bin),
                            top=table.height * part // bands if bands else 0,
                            bottom=table.height * (part + 1) // bands if bands else table.height,
                        )
                        check_inside(self.count, 0, n)
                        self.count += 1
        return 0

    cdef int provide(self, RoiTable table, int threads, size_t tile, size_t blended, size_t bins,
                     size_t spare, size_t chunk) except -1:
        """Take scratch, of the given sizes in bytes, for as many threads as there is work for."""
        cdef Sizes sizes = Sizes(
            tile=tile, blended=blended, bins=bins, spare=spare, chunk=chunk,
            most=<size_t> max(table.tallest, table.widest, table.rows, table.columns) + 1,
        )
        self._table = table
        if max(tile, blended, bins, spare, chunk) >= most_bytes():
            raise MemoryError("roicy: no memory for the scratch of a call on a map of this size")
        if self.team is None:
            return self.share_out(threads, sizes)
        self.team.threads = max(self.team.threads, threads)
        self.team.sizes = larger_of(self.team.sizes, sizes)
        return 0

    cdef int share_out(self, int threads, Sizes sizes) except -1:
        cdef size_t tile = sizes.tile, blended = sizes.blended, bins = sizes.bins, spare = sizes.spare
        cdef size_t chunk = sizes.chunk, most = sizes.most
        cdef size_t each = (lined(tile) + lined(blended) + lined(bins) + lined(spare) + lined(chunk)
                            + 2 * lined(most * sizeof(char*)))
        cdef char* at
        cdef int t
        self.threads = <int> max(1, min(threads, self.count))
        self.scratch = <Scratch*> allocate(self.threads * sizeof(Scratch))
        self._memory = borrow(self.threads * each)
        at = <char*> self._memory
        for t in range(self.threads):
            self.scratch[t].tile = at
            self.scratch[t].blended = self.scratch[t].tile + lined(tile)
            self.scratch[t].bins = self.scratch[t].blended + lined(blended)
            self.scratch[t].spare = self.scratch[t].bins + lined(bins)
            self.scratch[t].chunk = self.scratch[t].spare + lined(spare)
            self.scratch[t].row = <const char**> (self.scratch[t].chunk + lined(chunk))
            self.scratch[t].tap = <const char**> (<char*> self.scratch[t].row + lined(most * sizeof(char*)))
            at += each
            fence_behind(self.scratch[t].tile, tile)
            fence_behind(self.scratch[t].blended, blended)
            fence_behind(self.scratch[t].bins, bins)
            fence_behind(self.scratch[t].spare, spare)
            fence_behind(self.scratch[t].chunk, chunk)
            fence_behind(self.scratch[t].row, most * sizeof(char*))
            fence_behind(self.scratch[t].tap, most * sizeof(char*))
        return 0

    cdef int run(self, Kernel kernel, void* call) except -1:
        """Have the kernel do all tasks."""
        cdef Running running = Running(kernel=kernel, call=call, tasks=self.tasks, scratch=self.scratch)
        return run_pieces(run_task, &running, self.count, self.threads)

    cdef int do(self, Kernel kernel, void* call, size_t size, Opening opening, Closing closing) except -1:
        """Have the kernel do all tasks, now or with the team; `size` is that of what `call` points to.

        `opening` is called before and `closing` after them, unless they are NULL.
        """
        cdef RoiTable table = self._table
        if self.team is None:
            try:
                if opening != NULL:
                    with nogil:
                        opening(table, call)
                return self.run(kernel, call)
            finally:
                if closing != NULL:
                    closing(call)
        try:
            self._call = allocate(size)
        except MemoryError:
            if closing != NULL:
                closing(call)
            raise
        memcpy(self._call, call, size)
        self._kernel, self._opening, self._closing = kernel, opening, closing
        self.team.works.append(self)
        self.team = None        # which is no circle
        return 0


cdef inline Sizes larger_of(Sizes a, Sizes b) noexcept:
    return Sizes(tile=max(a.tile, b.tile), blended=max(a.blended, b.blended), bins=max(a.bins, b.bins),
                 spare=max(a.spare, b.spare), chunk=max(a.chunk, b.chunk), most=max(a.most, b.most))


cdef struct Waiting:
    # a work of a team: its tasks end before `end`, among all
    Kernel kernel
    void* call
    Task* tasks
    int64_t end


cdef struct Joined:
    Waiting* waiting
    Scratch* scratch


cdef void run_joined(void* settled, int64_t number, int thread) noexcept nogil:
    cdef Joined* joined = <Joined*> settled
    cdef Waiting* waiting = joined.waiting
    cdef int64_t begin = 0
    while number >= waiting.end:
        begin = waiting.end
        waiting += 1
    waiting.kernel(waiting.call, waiting.tasks + number - begin, joined.scratch + thread)


cdef class Team:
    """Works that run together: each lists its tasks, then the threads share all tasks."""

    def __cinit__(self):
        self.works = []

    def __dealloc__(self):
        deallocate(self._waiting)

    def take(self):
        """Take all memory, which is that of the largest work for each thread."""
        cdef Waiting* waiting = <Waiting*> allocate(len(self.works) * sizeof(Waiting))
        cdef Work work
        cdef int n = 0
        self._waiting = waiting
        self._room = Work()
        for work in self.works:
            self._room.count += work.count
            waiting[n] = Waiting(kernel=work._kernel, call=work._call, tasks=work.tasks, end=self._room.count)
            n += 1
        self._room.share_out(self.threads, self.sizes)

    def run(self):
        """Do all tasks, once there is the memory for them."""
        cdef Joined joined = Joined(waiting=<Waiting*> self._waiting, scratch=self._room.scratch)
        cdef Work work
        cdef RoiTable table
        for work in self.works:
            if work._opening != NULL:
                table = work._table
                with nogil:
                    work._opening(table, work._call)
        run_pieces(run_joined, &joined, self._room.count, self._room.threads)
